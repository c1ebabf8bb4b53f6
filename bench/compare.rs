//! Several ways to do the same, measured in turns within one run, and shown side by side.

use std::{
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use super::{
    client::Connection,
    process::{Process, cpu},
};

/// One way to do it.
pub struct Side<'a> {
    pub name: &'static str,
    /// The process whose processor time is told.
    pub process: Option<&'a Process>,
    pub connections: Vec<Connection>,
    /// Does it once.
    pub act: &'a (dyn Fn(&mut Connection) + Sync),
}

/// How often, and how long at most.
pub struct Plan {
    pub rounds: usize,
    /// A turn of one side; what has begun is ended.
    pub turn: Duration,
    /// No round begins after this, counted from the first.
    pub patience: Duration,
    /// The process of the database, if its processor time is to be told too.
    pub database: Option<u32>,
}

struct Turn {
    done: usize,
    /// Seconds for one, with all connections at work.
    each: f64,
    cpu: Option<Duration>,
    database: Option<Duration>,
}

/// Compares the last side with every other and prints a table. Answers how often each side acted, in all.
///
/// Every round gives each side a turn, and each round begins with another one: drift, and what else the machine does, meets all of them.
/// A ratio is made of two turns of one round; medians are taken over the rounds.
pub fn compare(title: &str, unit: &str, plan: &Plan, sides: &mut [Side<'_>]) -> Vec<usize> {
    let mut total = vec![0; sides.len()];
    for (side, total) in sides.iter_mut().zip(&mut total) {
        *total += take_turn(side, plan.turn / 4, plan.database).done;
    }
    let begun = Instant::now();
    let mut rounds: Vec<Vec<Turn>> = Vec::new();
    while rounds.len() < plan.rounds && (rounds.is_empty() || begun.elapsed() < plan.patience) {
        let mut turns: Vec<(usize, Turn)> = Vec::new();
        for n in 0..sides.len() {
            let n = (n + rounds.len()) % sides.len();
            turns.push((n, take_turn(&mut sides[n], plan.turn, plan.database)));
        }
        turns.sort_by_key(|(n, _)| *n);
        rounds.push(turns.into_iter().map(|(_, turn)| turn).collect());
    }
    for (n, total) in total.iter_mut().enumerate() {
        *total += rounds.iter().map(|turns| turns[n].done).sum::<usize>();
    }
    show(title, unit, sides, &rounds, plan.database.is_some()).expect("standard output");
    total
}

fn take_turn(side: &mut Side<'_>, turn: Duration, database: Option<u32>) -> Turn {
    let act = side.act;
    let idle = database.and_then(cpu);
    let before = side.process.and_then(Process::cpu);
    let begun = Instant::now();
    let done: usize = thread::scope(|scope| {
        let threads: Vec<_> = side
            .connections
            .iter_mut()
            .map(|connection| {
                scope.spawn(move || {
                    let mut done = 0;
                    while done == 0 || begun.elapsed() < turn {
                        act(connection);
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it is answered"))
            .sum()
    });
    let each = begun.elapsed().as_secs_f64() / done as f64;
    let after = side.process.and_then(Process::cpu);
    let busy = database.and_then(cpu);
    Turn {
        done,
        each,
        cpu: after.zip(before).map(|(after, before)| after - before),
        database: busy.zip(idle).map(|(busy, idle)| busy.saturating_sub(idle)),
    }
}

fn show(title: &str, unit: &str, sides: &[Side<'_>], rounds: &[Vec<Turn>], with_database: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let last = sides.len() - 1;
    writeln!(
        out,
        "\n### {title}\n\nMedians of {} rounds, in brackets the lowest and the highest.\n",
        rounds.len()
    )?;
    let (more, line) = match with_database {
        true => (" database's CPU µs each |", " --- |"),
        false => ("", ""),
    };
    writeln!(
        out,
        "| | {unit}/s | ms each | proxy takes × its time | CPU µs each | proxy takes × its CPU |{more}"
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- |{line}")?;
    let cpu = |n: usize| {
        let each = rounds
            .iter()
            .map(move |turns| Some(turns[n].cpu?.as_secs_f64() * 1e6 / turns[n].done as f64));
        each.collect::<Option<Vec<f64>>>()
    };
    for (n, side) in sides.iter().enumerate() {
        let rate = Spread::of(rounds.iter().map(|turns| 1.0 / turns[n].each));
        let each = Spread::of(
            rounds
                .iter()
                .map(|turns| turns[n].each * 1e3 * side.connections.len() as f64),
        );
        let ratio = Spread::of(rounds.iter().map(|turns| turns[last].each / turns[n].each));
        let (own, proxy) = (cpu(n), cpu(last));
        let cpu_ratio = own.as_ref().zip(proxy.as_ref()).map(|(own, proxy)| {
            let ratios = own.iter().zip(proxy).map(|(own, proxy)| proxy / own);
            Spread::of(ratios).in_brackets()
        });
        let taken = own.map_or_else(|| "–".to_owned(), |own| Spread::of(own.into_iter()).in_brackets());
        let (ratio, cpu_ratio) = match n == last {
            true => (String::new(), String::new()),
            false => (ratio.in_brackets(), cpu_ratio.unwrap_or_default()),
        };
        let (rate, each) = (rate.in_brackets(), number(each.median));
        let theirs = rounds
            .iter()
            .map(|turns| Some(turns[n].database?.as_secs_f64() * 1e6 / turns[n].done as f64));
        let theirs = theirs.collect::<Option<Vec<f64>>>();
        let theirs = theirs.map_or_else(String::new, |theirs| {
            format!(" {} |", Spread::of(theirs.into_iter()).in_brackets())
        });
        writeln!(
            out,
            "| {} | {rate} | {each} | {ratio} | {taken} | {cpu_ratio} |{theirs}",
            side.name
        )?;
    }
    out.flush()
}

struct Spread {
    lowest: f64,
    median: f64,
    highest: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self {
            lowest: values[0],
            median: (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0,
            highest: values[values.len() - 1],
        }
    }

    fn in_brackets(&self) -> String {
        format!(
            "{} ({} – {})",
            number(self.median),
            number(self.lowest),
            number(self.highest)
        )
    }
}

/// Three digits that say something.
fn number(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
