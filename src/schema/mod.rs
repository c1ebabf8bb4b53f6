//! What the apps agree on: classes, how their documents are named, which classes lenses tie
//! together, and what each app version works with.

pub mod class;
pub mod filter;
pub mod fingerprint;
pub mod flaw;
pub mod lifecycle;
pub mod manifest;
pub mod older;
pub mod pattern;
pub mod registry;
pub mod validator;

pub use class::{CLASS_FIELDS, Class, ClassId, ClassName, DocumentName, InvalidClassName, bare};
pub use filter::Filter;
pub use fingerprint::Fingerprints;
pub use flaw::{Flaw, Rule, Severity};
pub use lifecycle::{InvalidMoment, Moment};
pub use manifest::{AppManifest, AppVersion, Apps, Manifest, Newer, Scope, VersionError};
pub use pattern::{IdPattern, InvalidPattern};
pub use registry::{Direction, Place, Registry, Step};
pub use validator::{Validator, Violation};
