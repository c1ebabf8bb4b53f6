//! Whether and how databases are followed.

use std::{num::NonZeroU32, time::Duration};

use super::{
    compile::Settings,
    raw::{FollowerFile, FollowerOptions},
};
use crate::{
    follower::{self, Pauses},
    proxy::Databases,
};

const AT: &str = "/follower";

impl Settings<'_> {
    /// None if they are not. `patterns` are those of `databases`, as they are written.
    pub(super) fn follower(
        &mut self,
        file: Option<FollowerFile>,
        databases: Databases,
        patterns: &[String],
        drain: Duration,
    ) -> Option<follower::Settings> {
        let options = match file {
            None => FollowerOptions::default(),
            Some(FollowerFile::Options(options)) => options,
            Some(FollowerFile::Word(word)) => match word.as_str() {
                "on" => FollowerOptions::default(),
                "off" => return None,
                other => {
                    let what = format!("there is no follower `{other}`");
                    self.flaw(AT, what, "write `on`, `off`, or options as in `{ sweep: 5m }`");
                    return None;
                }
            },
        };
        let default = follower::Settings::default();
        let mut duration = |name: &str, text: Option<String>, default: Duration| {
            self.duration(&format!("{AT}/{name}"), text.as_deref(), default)
        };
        let sweep = duration("sweep", options.sweep, default.sweep);
        let rest = duration("pause", options.pause, default.pauses.rest);
        let lease = default.lease.map(|default| duration("lease", options.lease, default));
        let at_once = match options.databases {
            Some(0) => {
                let mend = "write a number above zero, or `follower: off`";
                self.flaw(&format!("{AT}/databases"), "no database would be looked at", mend);
                default.at_once
            }
            databases => databases.unwrap_or(default.at_once),
        };
        let rate = match options.backfill_rate.map(NonZeroU32::new) {
            Some(None) => {
                let mend = "write how many documents a second, above zero";
                self.flaw(&format!("{AT}/backfill-rate"), "nothing would be made up for", mend);
                default.rate
            }
            Some(rate) => rate,
            None => default.rate,
        };
        Some(follower::Settings {
            databases,
            patterns: patterns.to_vec(),
            sweep,
            pauses: Pauses { rest, ..default.pauses },
            at_once,
            rate,
            lease,
            drain,
        })
    }
}
