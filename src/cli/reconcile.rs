//! `chesterfield reconcile`

use std::io;

use chesterfield::{
    config::{Config, Overrides},
    fanout::{FanOut, Report},
};

use super::{Failure, log, say, serve};

/// Brings whole databases in step, one after another.
pub fn run(overrides: &Overrides, databases: &[String]) -> Result<(), Failure> {
    let config = Config::load(overrides)?;
    log::start(config.log);
    serve::runtime()?.block_on(async {
        let upstream = serve::upstream(&config).await?;
        say(io::stdout(), &upstream.name);
        let fan_out = FanOut::new(
            upstream,
            config.schemas.registry.clone(),
            config.schemas.lenses.clone().into(),
        );
        for db in databases {
            let report = fan_out.sweep(db).await;
            let Report {
                written,
                refused,
                stuck,
                waiting,
                lost: _,
            } = report.map_err(|error| Failure::Unavailable(format!("{db}: {error}")))?;
            say(
                io::stdout(),
                &format_args!(
                    "{db}: {written} revisions written, {refused} refused; {stuck} entities no lens could carry, \
                     {waiting} wait for a document"
                ),
            );
        }
        Ok(())
    })
}
