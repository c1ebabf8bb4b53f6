//! `chesterfield reconcile`

use std::io;

use chesterfield::{
    config::{Config, Overrides},
    fanout::Report,
};

use super::{Failure, log, say, serve};

/// Brings whole databases in step, one after another.
pub fn run(overrides: &Overrides, databases: &[String]) -> Result<(), Failure> {
    let config = Config::load(overrides)?;
    log::start(config.log);
    serve::runtime()?.block_on(async {
        let upstream = serve::upstream(&config).await?;
        say(io::stdout(), &upstream.name);
        let fan_out = serve::fan_out(&config, upstream);
        for db in databases {
            let report = fan_out.sweep(db).await;
            let Report {
                written,
                refused,
                stuck,
                waiting,
                lost,
            } = report.map_err(|error| Failure::Unavailable(format!("{db}: {error}")))?;
            say(
                io::stdout(),
                &format_args!(
                    "{db}: {written} revisions written, {refused} refused; {stuck} entities no lens could carry, \
                     {waiting} wait for a document"
                ),
            );
            if lost > 0 {
                let what = format_args!("{db}: {lost} entities could not be parked: the log tells why").to_string();
                say(io::stderr(), &what);
            }
        }
        Ok(())
    })
}
