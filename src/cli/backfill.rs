//! `chesterfield backfill`

use std::{
    io,
    time::{Duration, Instant},
};

use chesterfield::{
    config::{Config, Overrides},
    fanout::Report,
    follower::{self, Names, Progress},
    upstream::Upstream,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, args::Which, log, say, serve};

/// How often a line is written where there is no bar.
const TOLD: Duration = Duration::from_secs(5);

/// How far one database is, on a screen or in lines.
struct Shown<'a> {
    db: &'a str,
    bar: ProgressBar,
    begun: Instant,
    told: Instant,
    report: Report,
}

/// Brings whole databases in step, one after another.
pub fn run(overrides: &Overrides, which: Which) -> Result<(), Failure> {
    let config = Config::load(overrides)?;
    log::start(config.log);
    serve::runtime()?.block_on(async {
        let upstream = serve::upstream(&config).await?;
        say(io::stdout(), &upstream.name);
        let schemas = &config.schemas;
        let fan_out = serve::fan_out(&config, upstream.clone());
        let mut databases = Databases::new(&config, upstream, which);
        while let Some(db) = databases.next().await? {
            let mut shown = Shown::new(&db);
            let done = follower::backfill(fan_out.clone(), &schemas.fingerprints, &db, |page| shown.page(page)).await;
            shown.bar.finish_and_clear();
            done.map_err(|error| Failure::Unavailable(format!("{db}: {error}")))?;
            let Report {
                written,
                refused,
                stuck,
                waiting,
                failed,
                parked: _,
                lost: _,
            } = shown.report;
            let mut told = format!(
                "{db}: {written} revisions written, {refused} refused; {stuck} entities no lens could carry, {waiting} wait for a document"
            );
            if failed > 0 {
                told.push_str(&format!(", {failed} cannot be read or written"));
            }
            say(io::stdout(), &told);
        }
        Ok(())
    })
}

/// The databases that a command is about.
pub struct Databases {
    named: std::vec::IntoIter<String>,
    names: Option<Names>,
}

impl Databases {
    /// Those that the command line names, or all that the configuration does.
    pub fn new(config: &Config, upstream: Upstream, which: Which) -> Self {
        let names = Names::new(upstream, config.proxy.databases.clone(), &config.databases);
        Self {
            named: which.databases.into_iter(),
            names: which.all.then_some(names),
        }
    }

    /// The next one.
    pub async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(name) = self.named.next() {
                return Ok(Some(name));
            }
            let Some(names) = &mut self.names else { return Ok(None) };
            let page = names.next().await;
            match page.map_err(|error| Failure::Unavailable(format!("the databases cannot be listed: {error}")))? {
                Some(page) => self.named = page.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

impl<'a> Shown<'a> {
    fn new(db: &'a str) -> Self {
        let form = "{prefix} {wide_bar} {human_pos} of {human_len} documents, {per_sec}, {eta} left, {msg}";
        let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
        let now = Instant::now();
        Self {
            bar: ProgressBar::new(0).with_style(style).with_prefix(db.to_owned()),
            db,
            begun: now,
            told: now,
            report: Report::default(),
        }
    }

    fn page(&mut self, page: &Progress) {
        self.report += page.report;
        let parked = self.report.parked;
        self.bar.set_length(page.of.max(page.done));
        self.bar.set_position(page.done);
        self.bar.set_message(format!("{parked} parked"));
        // A bar is drawn on terminals alone.
        if self.bar.is_hidden() && self.told.elapsed() >= TOLD {
            self.told = Instant::now();
            let rate = page.done as f64 / self.begun.elapsed().as_secs_f64();
            let (db, done, of) = (self.db, page.done, page.of);
            say(
                io::stderr(),
                &format_args!("{db}: {done} of {of} documents, {rate:.0} a second, {parked} parked"),
            );
        }
    }
}
