//! An upstream that fails in every way that a network, what stands in it, or CouchDB itself can, as a seed decides; and the end of the
//! process that asks it.
//!
//! What becomes of a request hangs on the seed, on what it asks for, and on how often that was asked for before: not on what others ask for in
//! between. So a seed brings back its faults although tasks take turns in another order.

use std::{
    collections::{BTreeMap, HashMap},
    future::pending,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use chesterfield::upstream::{Body, BoxError, Error, LiveFeed, UpstreamService, body::full};
use futures_util::stream;
use http::{Request, Response, StatusCode, header, request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tower::{Service as _, service_fn};

/// How a request fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is never sent.
    Unreachable,
    /// It breaks off.
    CutRequest,
    /// It is answered, and not done.
    Refused(StatusCode),
    /// It is done, and the connection is reset.
    LostAnswer,
    /// It is done, and the answer says that it failed.
    Denied(StatusCode),
    /// It is done, and the answer breaks off.
    CutAnswer,
    /// Of a batch some documents are written, as when one of several shards dies; the connection is reset.
    Torn,
    /// It is done twice, and the second answer counts.
    Doubled,
    /// It is done after a while.
    Late,
    /// It is done, and answered after a while.
    LateAnswer,
}

/// Where the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Before a request is sent.
    Before,
    /// When a request is done, before anything of the answer is seen.
    After,
    /// When the head of an answer has been seen, and nothing of its body.
    Within,
    /// While the documents of a batch are written; other requests are done.
    Torn,
}

/// All of them.
pub const DEATHS: [Death; 4] = [Death::Before, Death::After, Death::Within, Death::Torn];

/// An upstream as one process sees it.
#[derive(Clone)]
pub struct Faulty {
    inner: UpstreamService,
    state: Arc<Mutex<State>>,
}

struct State {
    seed: u64,
    /// Of a hundred requests, how many fare badly.
    rate: u8,
    asked: HashMap<String, u64>,
    /// Requests until the end, and how that comes.
    death: Option<(usize, Death)>,
    is_dead: bool,
    /// What ends with the process.
    process: Option<AbortHandle>,
    /// How often each thing was done to a request.
    counts: BTreeMap<&'static str, usize>,
}

/// What is to be done with a request.
enum Fate {
    Done,
    Fault(Fault, u64),
    Death(Death, u64),
    /// The process is no more.
    Never,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::CutRequest => "request cut",
            Self::Refused(_) => "refused",
            Self::LostAnswer => "answer lost",
            Self::Denied(_) => "done and denied",
            Self::CutAnswer => "answer cut",
            Self::Torn => "batch torn",
            Self::Doubled => "doubled",
            Self::Late => "late",
            Self::LateAnswer => "answer late",
        }
    }

    fn drawn(rng: &mut fastrand::Rng, is_batch: bool) -> Self {
        let refused = [
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::PAYLOAD_TOO_LARGE,
        ];
        match rng.u8(..if is_batch { 20 } else { 10 }) {
            0 => Self::Unreachable,
            1 => Self::CutRequest,
            2 | 3 => Self::Refused(refused[rng.usize(..4)]),
            4 => Self::LostAnswer,
            5 => Self::Denied(refused[rng.usize(..2)]),
            6 => Self::CutAnswer,
            7 => Self::Doubled,
            8 => Self::Late,
            9 => Self::LateAnswer,
            _ => Self::Torn,
        }
    }
}

impl Faulty {
    pub fn new(inner: UpstreamService, seed: u64) -> Self {
        let state = State {
            seed,
            rate: 0,
            asked: HashMap::new(),
            death: None,
            is_dead: false,
            process: None,
            counts: BTreeMap::new(),
        };
        Self {
            inner,
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub fn service(&self) -> UpstreamService {
        let this = self.clone();
        UpstreamService::new(service_fn(move |request| this.clone().answer(request)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on so many requests of a hundred fare badly.
    pub fn weather(&self, rate: u8) {
        self.state().rate = rate;
    }

    /// What is to end with the process.
    pub fn ends(&self, process: AbortHandle) {
        let mut state = self.state();
        if state.is_dead {
            process.abort();
        }
        state.process = Some(process);
    }

    /// The process ends at the request that comes after so many; or not at all.
    pub fn doom(&self, death: Option<(usize, Death)>) {
        self.state().death = death;
    }

    pub fn kill(&self) {
        self.state().die("killed");
    }

    pub fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    /// How often each thing was done to a request.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.state().counts.clone()
    }

    fn error(source: &str) -> Error {
        Error::Broken {
            name: "faulty".into(),
            source: source.into(),
        }
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let fate = self.state().fate(&request);
        let answer = self.clone().met(fate, request).await;
        // Nothing that a process would have done with an answer happens once it has ended.
        if self.is_dead() && !matches!(&answer, Ok(answer) if answer.extensions().get::<Last>().is_some()) {
            return pending().await;
        }
        answer
    }

    async fn met(self, fate: Fate, request: Request<Body>) -> Result<Response<Body>, Error> {
        let mut inner = self.inner.clone();
        match fate {
            Fate::Never => pending().await,
            Fate::Done => inner.call(request).await,
            Fate::Fault(fault, seed) => self.suffer(fault, seed, request).await,
            Fate::Death(death, seed) => {
                match death {
                    Death::Before => {}
                    Death::Torn if is_batch(&request) => _ = inner.call(torn(request, seed).await?).await,
                    Death::After | Death::Within | Death::Torn => {
                        // The rest of what it has under way may still arrive, or not.
                        let answer = inner.call(request).await;
                        if let (Death::Within, Ok(answer)) = (death, answer) {
                            self.state().die("killed");
                            let (mut head, _) = answer.into_parts();
                            head.extensions.insert(Last);
                            let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>());
                            return Ok(Response::from_parts(head, Body::new(body)));
                        }
                    }
                }
                self.state().die("killed");
                pending().await
            }
        }
    }

    async fn suffer(self, fault: Fault, seed: u64, request: Request<Body>) -> Result<Response<Body>, Error> {
        let mut inner = self.inner.clone();
        match fault {
            Fault::Unreachable => Err(Error::Unreachable {
                name: "faulty".into(),
                source: "a test".into(),
            }),
            Fault::Refused(status) => {
                // It is read all the same, as CouchDB does.
                _ = request.into_body().collect().await;
                Ok(failure(status))
            }
            Fault::CutRequest => {
                let (head, body) = held(request).await?;
                if !body.is_empty() {
                    let half = body.slice(..body.len() / 2);
                    _ = inner.call(Request::from_parts(head, broken_off(half))).await;
                }
                Err(Self::error("the request broke off"))
            }
            Fault::LostAnswer => {
                inner.call(request).await?;
                Err(Self::error("reset"))
            }
            Fault::Denied(status) => {
                inner.call(request).await?;
                Ok(failure(status))
            }
            Fault::CutAnswer => {
                let (head, body) = inner.call(request).await?.into_parts();
                let whole = body.collect().await.map_err(|_| Self::error("reset"))?.to_bytes();
                let half = whole.slice(..whole.len() / 2);
                Ok(Response::from_parts(head, broken_off(half)))
            }
            Fault::Torn => {
                inner.call(torn(request, seed).await?).await?;
                Err(Self::error("reset"))
            }
            Fault::Doubled => {
                let (head, body) = held(request).await?;
                inner
                    .call(Request::from_parts(head.clone(), full(body.clone())))
                    .await?;
                inner.call(Request::from_parts(head, full(body))).await
            }
            Fault::Late => {
                pause(seed).await;
                inner.call(request).await
            }
            Fault::LateAnswer => {
                let answer = inner.call(request).await;
                pause(seed).await;
                answer
            }
        }
    }
}

/// Marks the answer at which a process ends.
#[derive(Clone)]
struct Last;

impl State {
    fn fate(&mut self, request: &Request<Body>) -> Fate {
        if self.is_dead {
            return Fate::Never;
        }
        self.count("requests");
        // The name of the database is another one each time.
        let what = request.uri().path().splitn(3, '/').nth(2).unwrap_or_default();
        let what = format!("{} {what}", request.method());
        let times = self.asked.entry(what.clone()).or_default();
        *times += 1;
        let mixed = what.bytes().fold(self.seed ^ *times << 32, |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut rng = fastrand::Rng::with_seed(mixed);
        if let Some((left, death)) = self.death {
            if left == 0 {
                self.death = None;
                return Fate::Death(death, rng.u64(..));
            }
            self.death = Some((left - 1, death));
        }
        if rng.u8(..100) >= self.rate {
            return Fate::Done;
        }
        let is_live = request.extensions().get::<LiveFeed>().is_some();
        let fault = match is_live {
            // It has no end to be cut, nor can it be read whole.
            true => Fault::Unreachable,
            false => Fault::drawn(&mut rng, is_batch(request)),
        };
        self.count("faults");
        self.count(fault.name());
        Fate::Fault(fault, rng.u64(..))
    }

    fn die(&mut self, how: &'static str) {
        if !std::mem::replace(&mut self.is_dead, true) {
            self.count(how);
        }
        if let Some(process) = self.process.take() {
            process.abort();
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

fn is_batch(request: &Request<Body>) -> bool {
    request.uri().path().ends_with("/_bulk_docs")
}

/// The head without what tells of the body, which is another one.
async fn held(request: Request<Body>) -> Result<(request::Parts, Bytes), Error> {
    let (mut head, body) = request.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    let body = body
        .collect()
        .await
        .map_err(|_| Faulty::error("the request broke off"))?;
    Ok((head, body.to_bytes()))
}

/// A batch without some of its documents. What it holds of one is written at once, or not at all.
async fn torn(request: Request<Body>, seed: u64) -> Result<Request<Body>, Error> {
    let (head, body) = held(request).await?;
    let Ok(mut batch) = serde_json::from_slice::<Value>(&body) else {
        return Ok(Request::from_parts(head, full(body)));
    };
    if let Some(documents) = batch["docs"].as_array_mut() {
        let mut kept: HashMap<String, bool> = HashMap::new();
        let mut rng = fastrand::Rng::with_seed(seed);
        documents.retain(|document| {
            let id = document["_id"].as_str().unwrap_or_default().to_owned();
            *kept.entry(id).or_insert_with(|| rng.bool())
        });
    }
    Ok(Request::from_parts(head, full(batch.to_string())))
}

/// A body that ends too early.
fn broken_off(half: Bytes) -> Body {
    let frames = [Ok(Frame::data(half)), Err(BoxError::from("it broke off"))];
    Body::new(StreamBody::new(stream::iter(frames)))
}

fn failure(status: StatusCode) -> Response<Body> {
    let error = json!({"error": status.canonical_reason(), "reason": "a test"});
    let mut answer = Response::new(full(error.to_string()));
    *answer.status_mut() = status;
    answer
}

async fn pause(seed: u64) {
    tokio::time::sleep(Duration::from_micros(seed % 10_000)).await;
}
