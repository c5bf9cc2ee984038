//! A proxy in front of an emulator of AWS: it counts requests by operation, and does to them what networks and busy
//! services do. It knows the protocol (`X-Amz-Target`, JSON) and no service.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_config::SdkConfig;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{AbortHandle, JoinSet},
};

use super::emulator;

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is answered with this and not passed on.
    Answer { status: u16, body: Value },
    /// The connection is closed; it is not passed on.
    Cut,
    /// It is passed on, and the connection is closed instead of an answer.
    LostReply,
    /// It is passed on at once, and answered after this time.
    SlowReply(Duration),
    /// It is passed on after this time, whether or not anybody still waits for the answer.
    LateRequest(Duration),
    /// `BatchGetItem`: so many of its keys come back as unprocessed.
    Unprocessed(usize),
}

impl Fault {
    /// An error as AWS answers it.
    pub(crate) fn error(status: u16, kind: &str, message: &str) -> Self {
        Self::Answer { status, body: json!({"__type": kind, "message": message}) }
    }

    /// Too many requests for one partition of a table.
    pub(crate) fn throughput_exceeded() -> Self {
        Self::error(
            400,
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded.",
        )
    }

    /// Too many requests for an account.
    pub(crate) fn throttled() -> Self {
        Self::error(400, "ThrottlingException", "Rate exceeded")
    }

    /// A fault of the service itself.
    pub(crate) fn internal_error() -> Self {
        Self::error(500, "com.amazonaws.dynamodb.v20120810#InternalServerError", "Internal server error")
    }

    /// A transaction that was cancelled for these reasons, one for each of its writes.
    pub(crate) fn cancelled(reasons: &[&str]) -> Self {
        let list = reasons.join(", ");
        let message = format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{list}]");
        let reasons: Vec<Value> = reasons
            .iter()
            .map(|code| if *code == "None" { json!({"Code": code}) } else { json!({"Code": code, "Message": code}) })
            .collect();
        let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
        Self::Answer { status: 400, body: json!({"__type": kind, "Message": message, "CancellationReasons": reasons}) }
    }
}

/// A running proxy; dropping it ends it.
pub(crate) struct Proxy {
    address: SocketAddr,
    desk: Arc<Desk>,
    listening: AbortHandle,
}

struct Desk {
    target: String,
    http: reqwest::Client,
    /// Operations and bodies of requests, as they came.
    seen: Mutex<Vec<(String, Bytes)>>,
    /// Operation (`*` for any), how many more times, and what happens. The first that fits is used.
    faults: Mutex<Vec<(String, usize, Fault)>>,
    away: AtomicBool,
    /// Told when a late request was answered.
    late: Notify,
}

impl Proxy {
    /// In front of an endpoint, on a free port of the loopback address.
    pub(crate) async fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Desk {
            target: target.to_owned(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            seen: Mutex::default(),
            faults: Mutex::default(),
            away: AtomicBool::new(false),
            late: Notify::new(),
        });
        let listening = tokio::spawn(listen(listener, Arc::clone(&desk))).abort_handle();
        Self { address, desk, listening }
    }

    /// What clients that come through this proxy are made from.
    pub(crate) fn config(&self) -> SdkConfig {
        emulator::config(&format!("http://{}", self.address))
    }

    /// Does this to the next requests for an operation (`PutItem`; `*` for any), after what it was told before.
    pub(crate) fn fail(&self, operation: &str, times: usize, fault: Fault) {
        self.desk.faults.lock().unwrap().push((operation.to_owned(), times, fault));
    }

    /// Closes every connection as it comes, or answers again.
    pub(crate) fn set_away(&self, away: bool) {
        self.desk.away.store(away, Ordering::SeqCst);
    }

    /// Waits until a [`Fault::LateRequest`] has arrived and was answered.
    pub(crate) async fn late_request_arrived(&self) {
        self.desk.late.notified().await;
    }

    /// Forgets every fault.
    pub(crate) fn heal(&self) {
        self.set_away(false);
        self.desk.faults.lock().unwrap().clear();
    }

    /// Requests by operation since the last call, failed ones included.
    pub(crate) fn requests(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (operation, _) in self.bodies() {
            *counts.entry(operation).or_default() += 1;
        }
        counts
    }

    /// Requests with their bodies since the last call of this or of [`Proxy::requests`], in the order of their arrival.
    pub(crate) fn bodies(&self) -> Vec<(String, Bytes)> {
        std::mem::take(&mut *self.desk.seen.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, desk: Arc<Desk>) {
    // With the listener end its connections.
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await
            && !desk.away.load(Ordering::SeqCst)
        {
            connections.spawn(serve(stream, Arc::clone(&desk)));
        }
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    let service = service_fn(|request| pass(request, Arc::clone(&desk)));
    // An error closes the connection, which is what faults are made of.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Answer = Response<Full<Bytes>>;

async fn pass(request: Request<Incoming>, desk: Arc<Desk>) -> Result<Answer, io::Error> {
    let cut = || io::Error::from(io::ErrorKind::ConnectionAborted);
    if desk.away.load(Ordering::SeqCst) {
        return Err(cut());
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    desk.seen.lock().unwrap().push((operation.clone(), body.clone()));
    let fault = desk.next_fault(&operation);
    // What is passed on is passed on even if the caller goes away: in a task of its own.
    let forward = |body: Bytes, after: Duration| {
        let (desk, head) = (Arc::clone(&desk), head.clone());
        let path = head.uri.path().to_owned();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            desk.forward(&path, head.headers, body).await
        })
    };
    let answer = match fault {
        None => forward(body, Duration::ZERO).await,
        Some(Fault::Answer { status, body }) => return Ok(answer(status, &body)),
        Some(Fault::Cut) => return Err(cut()),
        Some(Fault::LostReply) => {
            let _ = forward(body, Duration::ZERO).await;
            return Err(cut());
        }
        Some(Fault::SlowReply(time)) => {
            let answer = forward(body, Duration::ZERO).await;
            tokio::time::sleep(time).await;
            answer
        }
        Some(Fault::LateRequest(time)) => {
            let (desk, late) = (Arc::clone(&desk), forward(body, time));
            // Waited for even if the caller goes away.
            tokio::spawn(async move {
                let answer = late.await;
                desk.late.notify_one();
                answer
            })
            .await
            .map_err(io::Error::other)?
        }
        Some(Fault::Unprocessed(number)) => {
            let (rest, left) = leave_unprocessed(&body, number);
            let reply = forward(rest, Duration::ZERO).await.map_err(io::Error::other)?.map_err(io::Error::other)?;
            let bytes = reply.into_body().collect().await.unwrap_or_else(|never: Infallible| match never {}).to_bytes();
            let mut reply: Value = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
            reply["UnprocessedKeys"] = left;
            return Ok(self::answer(200, &reply));
        }
    };
    answer.map_err(io::Error::other)?.map_err(io::Error::other)
}

fn answer(status: u16, body: &Value) -> Answer {
    let mut answer = Response::new(Full::from(body.to_string()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    let json = header::HeaderValue::from_static("application/x-amz-json-1.1");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// Takes keys out of a `BatchGetItem`, but not all of them (the emulator would refuse it); the rest, and what was taken out.
fn leave_unprocessed(body: &Bytes, number: usize) -> (Bytes, Value) {
    let mut request: Value = serde_json::from_slice(body).unwrap();
    let mut left = json!({});
    for (table, asked) in request["RequestItems"].as_object_mut().unwrap() {
        let keys = asked["Keys"].as_array_mut().unwrap();
        let taken = keys.split_off(keys.len().saturating_sub(number).max(1));
        if !taken.is_empty() {
            left[table] = json!({"Keys": taken, "ConsistentRead": asked["ConsistentRead"]});
        }
    }
    (request.to_string().into(), left)
}

impl Desk {
    fn next_fault(&self, operation: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let place = faults.iter().position(|(which, _, _)| which == operation || which == "*")?;
        let (_, times, fault) = &mut faults[place];
        let fault = fault.clone();
        *times -= 1;
        if *times == 0 {
            faults.remove(place);
        }
        Some(fault)
    }

    async fn forward(&self, path: &str, mut headers: HeaderMap, body: Bytes) -> Result<Answer, reqwest::Error> {
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::CONNECTION);
        let reply = self.http.post(format!("{}{path}", self.target)).headers(headers).body(body).send().await?;
        let (status, mut headers) = (reply.status(), reply.headers().clone());
        let body = reply.bytes().await?;
        for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
            headers.remove(name);
        }
        let mut answer = Response::new(Full::from(body));
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}
