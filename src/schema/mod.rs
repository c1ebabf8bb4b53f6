//! What the apps agree on: classes, how their documents are named, which classes lenses tie
//! together, and what each app version works with.

pub mod class;
pub mod filter;
pub mod lifecycle;
pub mod manifest;
pub mod older;
pub mod pattern;
pub mod registry;
pub mod validator;

pub use class::{Class, ClassId, ClassName, InvalidClassName};
pub use filter::Filter;
pub use lifecycle::{InvalidMoment, Moment};
pub use manifest::{AppManifest, AppVersion, Apps, Manifest, Newer, Scope, VersionError};
pub use pattern::{IdPattern, InvalidPattern};
pub use registry::{Direction, Place, Registry, Step};
pub use validator::{Validator, Violation};

/// Something wrong in a schema file: told to people by `chesterfield check`, never a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where in its file, as a JSON pointer (`/steps/2/field`); empty for the whole file.
    pub at: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

impl Flaw {
    /// A flaw at a place of a file.
    pub fn new(at: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            what: what.into(),
            mend: mend.into(),
        }
    }
}
