//! A function under measurement: a child process, and the Runtime API that feeds it. Ended with its value.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, StatusCode},
    routing::{get, post},
};
use serde_json::Value;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// How long anything may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What something cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// The Runtime API's side of the conversation.
struct Desk {
    events: Mutex<mpsc::UnboundedReceiver<String>>,
    asked: mpsc::UnboundedSender<()>,
    answered: mpsc::UnboundedSender<(Instant, String)>,
}

/// A running function.
pub(crate) struct Child {
    process: std::process::Child,
    begun: Instant,
    api: JoinHandle<()>,
    events: mpsc::UnboundedSender<String>,
    asked: mpsc::UnboundedReceiver<()>,
    answered: mpsc::UnboundedReceiver<(Instant, String)>,
    last: Value,
}

async fn next(State(desk): State<Arc<Desk>>) -> ([(HeaderName, String); 3], String) {
    let _ = desk.asked.send(());
    let Some(event) = desk.events.lock().await.recv().await else { return std::future::pending().await };
    let header = |name: &'static str, value: &str| (HeaderName::from_static(name), value.to_owned());
    let headers = [
        header("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
        header("lambda-runtime-deadline-ms", "4102444800000"),
        header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:gatemint"),
    ];
    (headers, event)
}

async fn answered(State(desk): State<Arc<Desk>>, body: String) -> StatusCode {
    let _ = desk.answered.send((Instant::now(), body));
    StatusCode::ACCEPTED
}

impl Child {
    /// Starts a program with the variables that Lambda sets, and these.
    pub(crate) async fn start(program: &Path, variables: &[(String, String)]) -> Self {
        let (events, queue) = mpsc::unbounded_channel();
        let (ask, asked) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk { events: Mutex::new(queue), asked: ask, answered: answer });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(answered))
            .with_state(desk);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "gatemint")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024")
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            // Lines are made and written, as they are on Lambda.
            .stdout(File::options().write(true).open("/dev/null").unwrap());
        let begun = Instant::now();
        let process = command.spawn().unwrap();
        Self { process, begun, api, events, asked, answered: answers, last: Value::Null }
    }

    /// Waits until it asks for an event, and is at rest.
    async fn rest(&mut self) {
        tokio::time::timeout(PATIENCE, self.asked.recv()).await.expect("the function asks for events").unwrap();
    }

    /// Hands it an event and waits for the answer.
    async fn invoke(&mut self, event: &str) -> Instant {
        self.events.send(event.to_owned()).unwrap();
        let answer = tokio::time::timeout(PATIENCE, self.answered.recv()).await;
        let (at, body) = answer.expect("the function answers").unwrap();
        self.last = serde_json::from_str(&body).unwrap();
        at
    }

    /// The first request of its life; call it once. Time counts from the start to the answer.
    pub(crate) async fn first(&mut self, event: &str) -> Cost {
        self.rest().await;
        let answered = self.invoke(event).await;
        self.rest().await;
        Cost { wall: answered - self.begun, cpu: self.cpu_time() }
    }

    /// So many requests, one after the other; each event may be made from the answer before it. Per request.
    pub(crate) async fn many(&mut self, number: usize, mut event: impl FnMut(Option<&Value>) -> String) -> Cost {
        let (mut wall, before) = (Duration::ZERO, self.cpu_time());
        for n in 0..number {
            let event = event((n > 0).then_some(&self.last));
            let begun = Instant::now();
            wall += self.invoke(&event).await - begun;
            self.rest().await;
        }
        let number = u32::try_from(number).unwrap();
        let cpu = self.cpu_time().checked_sub(before).unwrap();
        Cost { wall: wall / number, cpu: cpu / number }
    }

    /// The last answer.
    pub(crate) fn answer(&self) -> &Value {
        &self.last
    }

    /// The processor time of all its threads so far: what the scheduler has counted, in nanoseconds, which it brings up to
    /// date when a thread lies down. So it is read until it stands still.
    fn cpu_time(&self) -> Duration {
        let read = || -> Duration {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
            let of_task = |task: std::io::Result<fs::DirEntry>| {
                let counted = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
                counted.split(' ').next()?.parse::<u64>().ok()
            };
            Duration::from_nanos(tasks.filter_map(of_task).sum())
        };
        let mut seen = read();
        loop {
            std::thread::sleep(Duration::from_millis(2));
            let now = read();
            if now == seen {
                return now;
            }
            seen = now;
        }
    }

    /// The most memory that it ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
        peak.trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.api.abort();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
