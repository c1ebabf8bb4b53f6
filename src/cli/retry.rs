//! `chesterfield retry`

use std::io;

use chesterfield::{
    config::{Config, Overrides},
    fanout::{Became, Which},
    parked::{Entry, Gone},
};

use super::{Failure, args, log, say, serve};

/// Something stays parked.
const LEFT: u8 = 1;

/// How many became what.
#[derive(Default)]
struct Count {
    carried: usize,
    needless: usize,
    stuck: usize,
    open: usize,
}

/// Tries what is parked.
pub fn run(overrides: &Overrides, which: args::Which) -> Result<(), Failure> {
    let config = Config::load(overrides)?;
    log::start(config.log);
    serve::runtime()?.block_on(async {
        let upstream = serve::upstream(&config).await?;
        say(io::stdout(), &upstream.name);
        let fan_out = serve::fan_out(&config, upstream);
        let which: Vec<Which> = match which.all {
            true => vec![Which::All(None)],
            false => which.databases.into_iter().map(|db| Which::All(Some(db))).collect(),
        };
        let mut count = Count::default();
        for which in which {
            let done = fan_out
                .retry(&which, &mut |entry, became| count.tell(entry, became))
                .await;
            done.map_err(|error| Failure::Unavailable(format!("parked documents: {error}")))?;
        }
        let Count {
            carried,
            needless,
            stuck,
            open,
        } = count;
        say(
            io::stdout(),
            &format_args!("{carried} carried, {needless} no longer needed, {stuck} still parked, {open} not tried"),
        );
        if stuck + open > 0 {
            Err(Failure::Said(LEFT))
        } else {
            Ok(())
        }
    })
}

impl Count {
    fn tell(&mut self, entry: &Entry, became: &Became) {
        let Entry { db, target, .. } = entry;
        let (counted, told) = match became {
            Became::Gone(Gone::Carried) => (&mut self.carried, format!("{target}: carried")),
            Became::Gone(Gone::Needless) => {
                let why = "its database or its lens is gone, and so is what was parked";
                (&mut self.needless, format!("{target}: {why}"))
            }
            Became::Stuck(stuck) => {
                let (error, reason) = (stuck.error.name(), &stuck.reason);
                (
                    &mut self.stuck,
                    format!("{}: still parked ({error}): {reason}", stuck.target),
                )
            }
            Became::Taken => (&mut self.open, format!("{target}: a proxy is trying it right now")),
            Became::Failed(reason) => (&mut self.open, format!("{target}: {reason}")),
        };
        *counted += 1;
        // Reasons may quote documents, and a terminal does what control characters say.
        say(io::stdout(), &format!("{db}: {told}").replace(char::is_control, " "));
    }
}
