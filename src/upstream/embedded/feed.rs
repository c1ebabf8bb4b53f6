//! A changes feed as a stream: it reads, waits for the storage's notices, and ends when it is dropped.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use rouchdb_core::adapter::ChangeNotice;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until},
};

use super::{changes::Source, respond::Failure};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Longpoll,
    Continuous,
    EventSource,
}

pub struct Feed {
    source: Source,
    kind: Kind,
    notices: Option<Receiver<ChangeNotice>>,
    heartbeat: Option<Duration>,
    timeout: Duration,
    state: State,
    /// Whether a row was sent: what separates rows, and what ends a longpoll.
    any: bool,
}

enum State {
    Head,
    Reading,
    /// Nothing more to read; since when.
    Waiting(Instant),
    Tail,
    Done,
}

/// Why waiting ended.
enum Event {
    Changed,
    Heartbeat,
    Over,
}

impl Feed {
    pub fn new(
        source: Source,
        kind: Kind,
        notices: Option<Receiver<ChangeNotice>>,
        heartbeat: Option<Duration>,
        timeout: Duration,
    ) -> Self {
        Self {
            source,
            kind,
            notices,
            heartbeat,
            timeout,
            state: State::Head,
            any: false,
        }
    }

    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
        stream::try_unfold(self, Self::next)
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Failure> {
        loop {
            let text = match self.state {
                State::Head => {
                    self.state = State::Reading;
                    self.head().to_owned()
                }
                State::Reading => self.read().await?,
                State::Waiting(since) => match self.wait(since).await {
                    Event::Changed => {
                        self.state = State::Reading;
                        continue;
                    }
                    Event::Heartbeat => {
                        self.state = State::Waiting(Instant::now());
                        if self.kind == Kind::EventSource {
                            "event: heartbeat\ndata: \n\n"
                        } else {
                            "\n"
                        }
                        .to_owned()
                    }
                    Event::Over => {
                        self.state = State::Tail;
                        continue;
                    }
                },
                State::Tail => {
                    self.state = State::Done;
                    self.tail().await?
                }
                State::Done => return Ok(None),
            };
            if !text.is_empty() {
                return Ok(Some((Bytes::from(text), self)));
            }
        }
    }

    async fn read(&mut self) -> Result<String, Failure> {
        let page = self.source.page().await?;
        let mut text = String::new();
        for (row, seq) in page.rows {
            match self.kind {
                Kind::Normal | Kind::Longpoll => {
                    text.push_str(if self.any { ",\n" } else { "" });
                    text.push_str(&row);
                }
                Kind::Continuous => text.push_str(&format!("{row}\n")),
                Kind::EventSource => text.push_str(&format!("data: {row}\nid: {seq}\n\n")),
            }
            self.any = true;
        }
        let ends = match self.kind {
            Kind::Normal => page.last,
            Kind::Longpoll => page.full || (page.last && self.any),
            Kind::Continuous | Kind::EventSource => page.full,
        };
        if ends {
            self.state = State::Tail;
        } else if page.last {
            self.state = State::Waiting(Instant::now());
            // At once, so that the client sees that the feed stands.
            text.push('\n');
        }
        Ok(text)
    }

    async fn wait(&mut self, since: Instant) -> Event {
        let Some(notices) = &mut self.notices else {
            return Event::Over;
        };
        let patience = self.heartbeat.unwrap_or(self.timeout);
        let deadline = since + patience;
        loop {
            tokio::select! {
                notice = notices.recv() => match notice {
                    // The database is gone.
                    Ok(notice) if notice.reset => return Event::Over,
                    Err(RecvError::Closed) => return Event::Over,
                    // Of a batch that has been read with its first change.
                    Ok(notice) if notice.seq.as_num() <= self.source.position => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return Event::Changed,
                },
                () = sleep_until(deadline) => {
                    return if self.heartbeat.is_some() { Event::Heartbeat } else { Event::Over };
                }
            }
        }
    }

    fn head(&self) -> &'static str {
        match self.kind {
            Kind::Normal | Kind::Longpoll => "{\"results\":[\n",
            Kind::Continuous | Kind::EventSource => "",
        }
    }

    async fn tail(&self) -> Result<String, Failure> {
        let (seq, pending) = (self.source.seq(), self.source.pending().await?);
        Ok(match self.kind {
            Kind::Normal | Kind::Longpoll => format!("\n],\n\"last_seq\":\"{seq}\",\"pending\":{pending}}}\n"),
            Kind::Continuous => format!("{{\"last_seq\":\"{seq}\",\"pending\":{pending}}}\n"),
            Kind::EventSource => String::new(),
        })
    }
}
