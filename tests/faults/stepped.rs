//! A proxy whose process ends at any point where one of its tasks waits.
//!
//! It has a thread and a runtime of its own, which runs one task at a time up to where it waits, and looks here after each: so a process can be ended
//! between any two such steps, whatever goes on at the same time. What it has under way is gone then; its connections are closed by nobody
//! but the system.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use chesterfield::{
    config::Config,
    fanout::FanOut,
    proxy::{
        Proxy, serve,
        validate::Validating,
        writes::{FanningOut, Limits},
    },
    upstream::{self, Timeouts},
};
use tokio::{net::TcpListener, runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

/// Until a process ends that is told to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks whether a socket or a timer has something for a runtime that has nothing to do.
const PAUSE: Duration = Duration::from_micros(20);

pub struct Stepped {
    pub url: String,
    steps: Arc<Steps>,
    stop: CancellationToken,
    ended: oneshot::Receiver<Ended>,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// At the step at which it was to be.
    Killed,
    /// When all was done, after so many steps.
    Done(usize),
}

/// Counts the steps of a runtime.
#[derive(Default)]
struct Steps {
    done: AtomicUsize,
    /// When it ends; none as long as nothing is counted.
    end: Mutex<Option<usize>>,
    turns: Mutex<Turns>,
}

/// How it is known that a task has taken a step: whoever watches is woken all the time, and so looks after each of them; and a task that does
/// nothing comes behind all others. Where that one follows itself there is nothing to do.
#[derive(Default)]
struct Turns {
    idle: Option<Waker>,
    /// It was the turn of the task that does nothing.
    was_idle: bool,
    /// Steps of others since then.
    steps: usize,
}

impl Steps {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap()
    }

    fn idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut turns = self.turns();
        turns.idle = Some(cx.waker().clone());
        turns.was_idle = true;
        Poll::Pending
    }

    /// Answers at the end.
    fn watch(&self, cx: &mut Context<'_>) -> Poll<()> {
        cx.waker().wake_by_ref();
        let mut turns = self.turns();
        if std::mem::take(&mut turns.was_idle) {
            let was_busy = std::mem::take(&mut turns.steps) > 0;
            let idle = turns.idle.clone();
            drop(turns);
            if !was_busy {
                // Were the runtime left to wait by itself, it would run what comes next without a look from here.
                thread::sleep(PAUSE);
            }
            idle.inspect(Waker::wake_by_ref);
        } else if turns.idle.is_some() {
            turns.steps += 1;
            let end = *self.end.lock().unwrap();
            if end.is_some_and(|end| self.done.fetch_add(1, Ordering::Relaxed) + 1 >= end) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

impl Stepped {
    /// A migrating proxy before the upstream at this address, with its credentials.
    pub fn start(config: &Config, upstream: String) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let steps = Arc::new(Steps::default());
        let stop = CancellationToken::new();
        let (tell, ended) = oneshot::channel();
        let proxy = run(config.clone(), upstream, listener, stop.clone());
        let counted = steps.clone();
        thread::spawn(move || {
            // Whoever does not wait any more does not need it.
            _ = tell.send(counted.run(proxy));
        });
        Self {
            url,
            steps,
            stop,
            ended,
        }
    }

    /// The process ends after so many steps from now on.
    pub fn doom(&self, steps: usize) {
        *self.steps.end.lock().unwrap() = Some(steps);
    }

    /// Tells it to stop, and waits until it has ended in one way or the other.
    pub async fn ended(self) -> Ended {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.ended).await;
        ended.expect("it does not stop").unwrap()
    }
}

impl Steps {
    fn run(self: Arc<Self>, process: impl Future<Output = ()> + Send + 'static) -> Ended {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(1)
            .build()
            .unwrap();
        let ended = runtime.block_on(async {
            let idle = self.clone();
            tokio::spawn(std::future::poll_fn(move |cx| idle.idle(cx)));
            let process = tokio::spawn(process);
            let watch = self.clone();
            tokio::select! {
                biased;
                () = std::future::poll_fn(move |cx| watch.watch(cx)) => Ended::Killed,
                done = process => {
                    done.unwrap();
                    Ended::Done(self.done.load(Ordering::Relaxed))
                }
            }
        });
        // Nothing that is still under way goes on.
        runtime.shutdown_background();
        ended
    }
}

/// What a process does from its beginning until it is told to stop.
async fn run(config: Config, upstream: String, listener: std::net::TcpListener, stop: CancellationToken) {
    let upstream = upstream::http(&upstream, Timeouts::default()).unwrap();
    let schemas = &config.schemas;
    let fan_out = FanOut::new(
        upstream.clone(),
        schemas.registry.clone(),
        schemas.lenses.clone().into(),
    );
    let limits = Limits::default();
    let fanning_out = Arc::new(FanningOut::new(upstream.clone(), fan_out, limits));
    let writes = Validating::before(fanning_out.clone(), config.judge(), limits.held);
    let proxy = Proxy::new(config.proxy.clone(), upstream, writes).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    serve(listener, Arc::new(proxy), stop).await;
    fanning_out.finish().await;
}
