//! A stand-in for the Lambda Runtime API, and the deployed artefact running against it.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking, as a test does")]

use std::{
    collections::HashMap,
    fs::{self, File},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path as UrlPath, State},
    http::{HeaderName, StatusCode},
    routing::{get, post},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

/// How long an event, or the process's end, may take before the test gives up: far more than either needs.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the function made of an event.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It answered.
    Response(Value),
    /// It reported an error.
    Error(Value),
}

type Waiting = HashMap<String, oneshot::Sender<Outcome>>;

/// The side of the fake that the handlers see.
struct Desk {
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<(String, String)>>,
    waiting: Mutex<Waiting>,
}

impl Desk {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, id: &str, outcome: Outcome) -> StatusCode {
        let caller = self.waiting().remove(id);
        match caller.map(|caller| caller.send(outcome)) {
            Some(Ok(())) => StatusCode::ACCEPTED,
            _ => StatusCode::NOT_FOUND,
        }
    }
}

/// A Lambda Runtime API on a free port of the loopback address, for one function.
pub(crate) struct RuntimeApi {
    address: SocketAddr,
    desk: Arc<Desk>,
    events: mpsc::UnboundedSender<(String, String)>,
    invocations: u32,
}

impl RuntimeApi {
    /// Listens.
    pub(crate) async fn start() -> Self {
        let (events, queue) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk { events: tokio::sync::Mutex::new(queue), waiting: Mutex::default() });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(Arc::clone(&desk));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, desk, events, invocations: 0 }
    }
}

/// Long poll: the function gets the next event as soon as there is one.
async fn next(State(desk): State<Arc<Desk>>) -> ([(HeaderName, String); 3], String) {
    let Some((id, event)) = desk.events.lock().await.recv().await else {
        // The test is over; its process will be, too.
        return std::future::pending().await;
    };
    let headers = [
        (HeaderName::from_static("lambda-runtime-aws-request-id"), id),
        (HeaderName::from_static("lambda-runtime-deadline-ms"), "4102444800000".to_owned()),
        (
            HeaderName::from_static("lambda-runtime-invoked-function-arn"),
            "arn:aws:lambda:us-east-1:123456789012:function:gatemint".to_owned(),
        ),
    ];
    (headers, event)
}

async fn response(State(desk): State<Arc<Desk>>, UrlPath(id): UrlPath<String>, body: String) -> StatusCode {
    desk.settle(&id, Outcome::Response(serde_json::from_str(&body).unwrap()))
}

async fn error(State(desk): State<Arc<Desk>>, UrlPath(id): UrlPath<String>, body: String) -> StatusCode {
    desk.settle(&id, Outcome::Error(serde_json::from_str(&body).unwrap()))
}

/// A running `gatemint-lambda`. Dropping it ends this process, and no other.
pub(crate) struct Function {
    api: RuntimeApi,
    child: Child,
    home: TempDir,
}

impl Function {
    /// Starts the real binary with the variables that Lambda and cargo-lambda both set, and `variables`.
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        let api = RuntimeApi::start().await;
        let home = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gatemint-lambda"))
            .current_dir(home.path())
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "gatemint")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(home.path().join("stdout")).unwrap())
            .stderr(File::create(home.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Self { api, child, home }
    }

    /// Hands an event, any text, to the function and waits for what it makes of it.
    pub(crate) async fn invoke(&mut self, event: &str) -> Outcome {
        self.api.invocations += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.api.invocations);
        let (caller, outcome) = oneshot::channel();
        self.api.desk.waiting().insert(id.clone(), caller);
        self.api.events.send((id, event.to_owned())).unwrap();
        match tokio::time::timeout(PATIENCE, outcome).await {
            Ok(Ok(outcome)) => outcome,
            _ => panic!("no answer in {PATIENCE:?}; the process is {:?}; it wrote:\n{}", self.exited(), self.output()),
        }
    }

    /// Waits for the process to end by itself, as a failed init does.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let ended = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(status) = self.exited() {
                    return status;
                }
                // There is no event to wait for: the process was not started by tokio.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let Ok(status) = ended.await else {
            panic!("still running after {PATIENCE:?}; it wrote:\n{}", self.output());
        };
        (status, self.output())
    }

    /// The process's id: the same one as long as nothing died.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// How the process ended, if it did.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Everything that the process wrote so far.
    pub(crate) fn output(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.home.path().join(name)).unwrap();
        read("stdout") + &read("stderr")
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // It may have ended by itself already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
