//! Clients that go away within a request or its answer, and come again with the same one: whatever was written is written once, and everywhere,
//! without anybody who follows.

use http::StatusCode;

use crate::{
    app::App,
    check::Seen,
    kills::prepared,
    line::{Cut, Line},
    stage::Stage,
    world::Counts,
    writing::{self, Writing},
};

/// Places at which each connection is cut in each way.
const PLACES: usize = 5;

pub fn all() -> impl Iterator<Item = &'static Writing> {
    writing::ALL.iter()
}

/// How often somebody comes again who is not answered by a CouchDB: it resets the connection of an upload that it refuses before it has read it,
/// and the answer may be lost with that (3.5.0, under load).
fn patience() -> usize {
    if std::env::var_os("COUCHDB_URL").is_some() {
        5
    } else {
        0
    }
}

/// Where connections are cut; the first of all is not.
fn cuts() -> impl Iterator<Item = Option<(Cut, usize)>> {
    let places = |cut| (0..PLACES).map(move |place| Some((cut, place)));
    std::iter::once(None).chain(Cut::ALL.into_iter().flat_map(places))
}

/// Cuts connections of one kind of write; answers what was done, and what is wrong.
pub async fn tried(writing: &Writing) -> (Counts, Vec<String>) {
    let schemas = writing.model.schemas();
    let mut stage = Stage::of(&schemas.path()).await;
    let app = App::new(writing.model, stage.config());
    let numbers: Vec<usize> = (0..cuts().count()).collect();
    let requests = prepared(&mut stage, writing, &numbers).await;
    let proxy = stage.proxy().await;
    let line = Line::new(&proxy, None, 0);
    let (mut acknowledged, mut wrong) = (Vec::new(), Vec::new());
    let mut again = 0;
    for (cut, asked) in cuts().zip(&requests) {
        let sending = asked.sending();
        if let Some((cut, place)) = cut {
            let length = sending.body.len().max(1);
            // What comes of that nobody is told.
            _ = line.cut_off(&sending, cut, place * length / PLACES).await;
        }
        let mut sent = line.send(&sending).await;
        for _ in 0..patience() {
            if sent.is_err() {
                sent = line.send(&sending).await;
            }
        }
        match sent {
            Ok((status, answer)) if status.is_success() => acknowledged.extend(asked.acknowledged(&answer)),
            // It was written before.
            Ok((StatusCode::CONFLICT | StatusCode::NOT_FOUND, _)) if cut.is_some() => again += 1,
            Ok((status, answer)) => wrong.push(format!("{cut:?}: {status} {answer}")),
            Err(lost) => wrong.push(format!("{cut:?}: {lost:?}")),
        }
    }
    // Then every fan-out is done.
    stage.ended().await;
    let seen = Seen::read(&stage.direct()).await;
    wrong.extend(seen.lost(&app, &acknowledged));
    wrong.extend(seen.disagreements(&app));
    wrong.extend(seen.conflicts(&app, |_| !writing.is_conflict));
    let revisions = |n: &usize| -> Vec<usize> {
        let documents = app.mains(&format!("k{n}")).into_iter();
        documents
            .map(|id| seen.tree(&id).map_or(0, |tree| tree.revs().count()))
            .collect()
    };
    for (n, cut) in numbers.iter().zip(cuts()) {
        let (uncut, here) = (revisions(&0), revisions(n));
        if here != uncut {
            wrong.push(format!(
                "{cut:?} makes so many revisions: {here:?} instead of {uncut:?}"
            ));
        }
    }
    wrong.extend(Seen::missed(&stage, &app).await);
    stage.end().await;
    let findings = wrong.into_iter().map(|wrong| format!("{}: {wrong}", writing.name));
    let counts = Counts::from([("connections cut", requests.len() - 1), ("had been written", again)]);
    (counts, findings.collect())
}
