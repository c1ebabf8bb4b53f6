//! A replication job, made to read no more than its app is to see.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Value, value::RawValue};

use super::{
    super::{Settings, version::Fallback},
    place::{End, Here, Place},
};
use crate::{
    couch::route::decode,
    schema::{AppManifest, Filter, VersionError},
};

/// A job as it is written: its members in their order, each with its source text. Of a doubled one the last counts, as in
/// CouchDB.
pub type Job = IndexMap<String, Box<RawValue>>;

/// Why a job cannot be accepted from an app that declares its version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A filter that only the source can run.
    #[error(
        "filter={filter} cannot be combined with what {app} is to see of {db}; \
         use a selector or doc_ids, or this proxy's URL as the source, with {header} in its headers"
    )]
    Filter {
        /// As it is written.
        filter: String,
        /// The app version.
        app: String,
        /// The source.
        db: String,
        /// In which versions are declared.
        header: String,
    },
    /// It may be a pull, which is to be filtered, or a push, which must not be.
    #[error(
        "neither end of the job is known to be here, so it cannot be told what {app} is to see of {db}; \
         use this proxy's URL for the end that is here, or set {header} in the source's headers"
    )]
    Nowhere {
        /// The app version.
        app: String,
        /// The source.
        db: String,
        /// In which versions are declared.
        header: String,
    },
    /// The proxy, asked for the source by the replicator, would not take it for this app version.
    #[error(
        "the source is this proxy, which has to be told there too that it is {app} who reads: set {header} in the source's headers"
    )]
    Unsaid {
        /// The app version.
        app: String,
        /// In which versions are declared.
        header: String,
    },
    /// The version that the source declares has no manifest.
    #[error("source.headers: {header}: {source}")]
    Version {
        /// In which versions are declared.
        header: String,
        /// What is wrong with its value.
        source: VersionError,
    },
    /// CouchDB fails on it, too, save that it takes a list of numbers for a text.
    #[error("`doc_ids` must be an array of strings")]
    DocIds,
}

/// Who gives a job, and what is known of where it runs.
pub(in crate::proxy) struct Giver<'a> {
    /// Databases, apps and the header.
    pub settings: &'a Settings,
    /// What this proxy makes of clients of a database that declare no version.
    pub fallback: &'a dyn Fn(&str) -> &'a Fallback,
    /// As which version the job was given; none by a client that declared none, and is taken for what its source's database says.
    pub app: Option<&'a Arc<AppManifest>>,
    /// By what CouchDB and this proxy are known.
    pub here: Here,
}

impl Giver<'_> {
    /// Puts what the app is to see into the job, in place of what an app was to see when it was stored; true if that changes it.
    ///
    /// What CouchDB refuses is left to it.
    pub fn restrict(&self, job: &mut Job) -> Result<bool, Refusal> {
        let source = end(job, "source");
        let by_database = || (self.fallback)(&source.as_ref()?.db).app();
        let Some(giver) = self.app.or_else(by_database) else {
            return Ok(false);
        };
        let reader = self.reader(giver, job, source.as_ref())?;
        let stripped = self.strip(job);
        let Some((app, filter)) = reader.as_ref().and_then(|app| Some((app, app.replicates.as_ref()?))) else {
            return Ok(stripped);
        };
        if let Some(theirs) = job.get("filter") {
            return Err(Refusal::Filter {
                filter: theirs.get().trim_matches('"').to_owned(),
                app: app.to_string(),
                db: source.map(|source| source.db).unwrap_or_default(),
                header: self.header(),
            });
        }
        let selector = job.get("selector");
        // To CouchDB null is none (`couch_replicator_parse:convert_options`).
        let ids = job.get("doc_ids").filter(|ids| ids.get() != "null");
        match (ids, selector) {
            (Some(ids), None) => match narrow(ids, filter)? {
                None => Ok(stripped),
                Some(fewer) => {
                    job.insert("doc_ids".into(), fewer);
                    Ok(true)
                }
            },
            (None, None) => {
                job.insert("selector".into(), filter.selector().json().to_owned());
                Ok(true)
            }
            (None, Some(theirs)) if theirs.get().starts_with('{') => {
                let both = filter.selector().and(theirs).map(|both| both.json().to_owned());
                if let Ok(both) = both {
                    job.insert("selector".into(), both);
                }
                Ok(true)
            }
            // `doc_ids` and a selector, or one that is no object.
            _ => Ok(stripped),
        }
    }

    /// Whose view of the source the job itself has to be restricted to; none if it has not to be.
    ///
    /// * A source that is no configured database holds no versions.
    /// * The upstream filters nothing by itself. A version that stands with this source is the reader's, else the giver's is.
    /// * A source that declares a version is a proxy's, which filters it: the job works as it is.
    /// * This proxy would take the replicator for a client that declares none.
    /// * A source elsewhere is a device's, or another server's. It is pushed here, where it is filtered for whoever reads it;
    ///   to filter it on its way would lose what older versions of an app have written.
    fn reader(
        &self,
        giver: &Arc<AppManifest>,
        job: &Job,
        source: Option<&End>,
    ) -> Result<Option<Arc<AppManifest>>, Refusal> {
        let Some(source) = source.filter(|source| self.settings.databases.contains(&source.db)) else {
            return Ok(None);
        };
        let declared = source.declares(self.settings.version_header.as_str());
        match (self.here.place(source), declared) {
            (Place::Upstream, Some(declared)) => match self.settings.apps.resolve(&declared) {
                Ok(app) => Ok(Some(app.clone())),
                Err(source) => Err(Refusal::Version {
                    header: self.header(),
                    source,
                }),
            },
            (Place::Upstream, None) => Ok(Some(giver.clone())),
            (_, Some(_)) => Ok(None),
            (Place::Proxy, None) => match (self.fallback)(&source.db) {
                Fallback::Everything => Ok(Some(giver.clone())),
                Fallback::App(app) if tag(app) == tag(giver) => Ok(None),
                Fallback::App(_) | Fallback::Nobody => Err(Refusal::Unsaid {
                    app: giver.to_string(),
                    header: self.header(),
                }),
            },
            (Place::Elsewhere, None) => {
                let is_push = end(job, "target").is_some_and(|target| self.here.place(&target) != Place::Elsewhere);
                if is_push || giver.replicates.is_none() {
                    return Ok(None);
                }
                Err(Refusal::Nowhere {
                    app: giver.to_string(),
                    db: source.db.clone(),
                    header: self.header(),
                })
            }
        }
    }

    /// Takes a selector off that was put into the job for an app of ours, whichever: a stored job is read, changed and written
    /// back, maybe by another version, or for another source. True if there was one.
    fn strip(&self, job: &mut Job) -> bool {
        let parsed = job
            .get("selector")
            .and_then(|text| Some((text, serde_json::from_str(text.get()).ok()?)));
        let Some((text, selector)): Option<(_, Value)> = parsed else {
            return false;
        };
        if self.is_ours(&selector) {
            job.shift_remove("selector");
            return true;
        }
        let both = selector.as_object().filter(|members| members.len() == 1);
        let theirs = match both.and_then(|both| both.get("$and")?.as_array()).map(Vec::as_slice) {
            Some([ours, _]) if self.is_ours(ours) => second(text),
            _ => None,
        };
        let Some(theirs) = theirs else { return false };
        job.insert("selector".into(), theirs);
        true
    }

    fn is_ours(&self, selector: &Value) -> bool {
        let filters = self.settings.apps.iter().filter_map(|app| app.replicates.as_ref());
        filters
            .map(Filter::selector)
            .any(|ours| serde_json::from_str::<Value>(ours.json().get()).is_ok_and(|ours| ours == *selector))
    }

    fn header(&self) -> String {
        self.settings.version_header.to_string()
    }
}

fn end(job: &Job, name: &str) -> Option<End> {
    End::read(job.get(name)?)
}

fn tag(app: &AppManifest) -> Option<&str> {
    app.replicates.as_ref().map(Filter::tag)
}

/// The second of `{"$and":[a, b]}`, as it was written.
fn second(both: &RawValue) -> Option<Box<RawValue>> {
    let members: Job = serde_json::from_str(both.get()).ok()?;
    let mut all: Vec<Box<RawValue>> = serde_json::from_str(members.get("$and")?.get()).ok()?;
    all.pop()
}

/// The ids that pass, if some do not. None left is none to be replicated (measured on 3.5.0), not all of them.
fn narrow(ids: &RawValue, filter: &Filter) -> Result<Option<Box<RawValue>>, Refusal> {
    // `parameter `doc_ids` must be an array`
    let Ok(mut ids) = serde_json::from_str::<Vec<Box<RawValue>>>(ids.get()) else {
        return Ok(None);
    };
    let texts: Vec<String> = ids
        .iter()
        .map(|id| serde_json::from_str(id.get()).map_err(|_| Refusal::DocIds))
        .collect::<Result<_, _>>()?;
    // They may be percent-encoded (`couch_replicator_parse:convert_options`).
    let mut admitted = texts.iter().map(|id| filter.admits(&decode(id)));
    let before = ids.len();
    ids.retain(|_| admitted.next().unwrap_or_default());
    let fewer = (ids.len() < before).then(|| serde_json::value::to_raw_value(&ids));
    // An array of what was read as JSON always becomes JSON.
    Ok(fewer.and_then(Result::ok))
}

#[cfg(test)]
mod tests;
