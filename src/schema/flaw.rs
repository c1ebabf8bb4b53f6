//! What is wrong in schema files, and how bad it is.

use std::fmt;

use serde::{Serialize, Serializer};

/// Something wrong in a schema file: told to people by `chesterfield check`, never a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where in its file, as a JSON pointer (`/steps/2/field`); empty for the whole file.
    pub at: String,
    /// What is wrong; more lines may follow the first.
    pub what: String,
    /// How to mend it.
    pub mend: String,
    /// The rule that it breaks; none for what cannot be read or understood at all.
    pub rule: Option<Rule>,
}

/// How bad a flaw is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It works, but hardly as meant.
    Warning,
    /// Nothing is started with it, or it must not be released.
    Error,
}

/// A rule for files that can all be read, named in reports so that tools and people can look it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Versions of a schema that different apps work with are tied by no lens.
    NoLens,
    /// The same, where at most one side of the gap has an app.
    LooseClass,
    /// A class that no app works with, nor with one that is tied to it.
    UnusedClass,
    /// A class asks for fields to be merged, and a newer one, where it would be done, does not.
    NotMerged,
    /// A lens without examples.
    NoExample,
    /// What a class requires is made of nothing by a lens.
    NotProduced,
    /// What a class has does not arrive on the far side of a lens, or that side's class does not know it.
    NotConsumed,
    /// An example that does not hold.
    Example,
    /// A test that does not hold.
    Test,
    /// A document that fits its class, and that a lens cannot carry.
    NotCarried,
    /// A document that a lens makes of one that fits, and that does not fit its own class.
    Misfit,
    /// Putting back what was just got changes something.
    GetPut,
    /// What was put cannot be got again.
    PutGet,
    /// From the oldest versions to the newest and back something has changed.
    ThereAndBack,
    /// No document that fits a class could be made up, so no law was tried on any.
    NotTried,
    /// Since an earlier state a class has changed in a way that released apps cannot live with.
    Breaks,
    /// The same, where they may be able to.
    Risks,
    /// A class has changed and its version has not.
    SameVersion,
    /// A class is gone.
    GoneClass,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 19] = [
        Self::NoLens,
        Self::LooseClass,
        Self::UnusedClass,
        Self::NotMerged,
        Self::NoExample,
        Self::NotProduced,
        Self::NotConsumed,
        Self::Example,
        Self::Test,
        Self::NotCarried,
        Self::Misfit,
        Self::GetPut,
        Self::PutGet,
        Self::ThereAndBack,
        Self::NotTried,
        Self::Breaks,
        Self::Risks,
        Self::SameVersion,
        Self::GoneClass,
    ];

    /// What it is called: stable.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoLens => "no-lens",
            Self::LooseClass => "loose-class",
            Self::UnusedClass => "unused-class",
            Self::NotMerged => "not-merged",
            Self::NoExample => "no-example",
            Self::NotProduced => "not-produced",
            Self::NotConsumed => "not-consumed",
            Self::Example => "example",
            Self::Test => "test",
            Self::NotCarried => "not-carried",
            Self::Misfit => "misfit",
            Self::GetPut => "get-put",
            Self::PutGet => "put-get",
            Self::ThereAndBack => "there-and-back",
            Self::NotTried => "not-tried",
            Self::Breaks => "breaking-change",
            Self::Risks => "risky-change",
            Self::SameVersion => "same-version",
            Self::GoneClass => "gone-class",
        }
    }

    /// How bad it is to break it.
    pub const fn severity(self) -> Severity {
        match self {
            Self::LooseClass
            | Self::UnusedClass
            | Self::NotMerged
            | Self::NoExample
            | Self::NotConsumed
            | Self::NotTried
            | Self::Risks
            | Self::SameVersion
            | Self::GoneClass => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// A flaw that breaks it.
    pub fn flaw(self, at: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Flaw {
        Flaw {
            rule: Some(self),
            ..Flaw::new(at, what, mend)
        }
    }
}

impl Flaw {
    /// An error at a place of a file.
    pub fn new(at: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            what: what.into(),
            mend: mend.into(),
            rule: None,
        }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.rule.map_or(Severity::Error, Rule::severity)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.code())
    }
}
