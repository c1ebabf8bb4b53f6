//! `chesterfield status`

use std::io;

use chesterfield::{
    config::{Config, Overrides},
    fanout::{FanOut, Survey},
    follower::Status,
};

use super::{
    Failure,
    args::{Format, Which},
    backfill::Databases,
    log, say, serve,
};

/// Tells of one database after another.
pub fn run(overrides: &Overrides, which: Which, format: Format, is_thorough: bool) -> Result<(), Failure> {
    let config = Config::load(overrides)?;
    log::start(config.log);
    serve::runtime()?.block_on(async {
        let upstream = serve::upstream(&config).await?;
        let schemas = &config.schemas;
        let fan_out = FanOut::new(
            upstream.clone(),
            schemas.registry.clone(),
            schemas.lenses.clone().into(),
        );
        let mut databases = Databases::new(&config, upstream, which);
        while let Some(db) = databases.next().await? {
            let status = Status::read(&fan_out, &schemas.fingerprints, &db, is_thorough).await;
            let status = status.map_err(|error| Failure::Unavailable(format!("{db}: {error}")))?;
            match format {
                Format::Text => say(io::stdout(), &text(&status)),
                Format::Json => {
                    let line = serde_json::to_string(&status).map_err(|error| Failure::Internal(error.to_string()))?;
                    say(io::stdout(), &line);
                }
            }
        }
        Ok(())
    })
}

/// `todos: 3 changes not read; 0 parked, 0 failed`, and what else there is to say.
fn text(status: &Status) -> String {
    let mut told = format!("{}: ", status.database);
    told.push_str(&match status.followed {
        true => format!("{} changes not read", status.unread),
        false => format!("never followed, {} changes", status.unread),
    });
    if !status.missing.is_empty() && status.followed {
        let made = status
            .backfill
            .map(|made| format!(", {} of {} documents", made.done, made.of));
        let classes = status.missing.join(", ");
        told.push_str(&format!("; to be made up for: {classes}{}", made.unwrap_or_default()));
    }
    told.push_str(&format!("; {} parked, {} failed", status.parked, status.failed.len()));
    if let Some(Survey {
        entities,
        conflicts,
        waiting,
        stuck,
        behind,
    }) = status.survey
    {
        told.push_str(&format!(
            "; entities: {entities} in all, {conflicts} in conflict, {waiting} waiting, {stuck} stuck, {behind} behind"
        ));
    }
    told
}
