//! What apps declare: their versions and the classes they work with.

pub mod manifest;

pub use manifest::{AppManifest, AppVersion, Apps, Manifest, Newer, VersionError};
