//! Connections: who gets one, how long it may take for what, and how it ends.
//!
//! A connection is always in one phase, and each phase that a peer can draw out has an end: there is nothing that a
//! peer can do, or leave undone, that holds a connection for ever.

mod phase;
mod places;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{StatusCode, Version, header},
    response::IntoResponse as _,
};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use phase::{Arriving, Phase, Progress, Watched, now};
use places::{Place, Places};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time::{Instant, Sleep, sleep, sleep_until},
};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

use crate::metric::{self, Turned};

/// How long to wait after the system refused a connection: descriptors come back when others close.
const BREATH: Duration = Duration::from_millis(100);

/// What connections may take, in number, bytes and time.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in all. Beyond that nobody is accepted: newcomers wait in the system's queue, which costs those who
    /// are connected nothing, and come in as soon as one leaves. Turning them away would have them come again at once.
    pub connections: usize,
    /// Connections of one peer: an IPv4 address, or an IPv6 /64. One more is closed unheard.
    pub per_peer: usize,
    /// Whose connections do not count as one peer's.
    pub exempt: fn(IpAddr) -> bool,
    /// The most bytes of a request's head; a longer one is answered 431.
    pub head_bytes: usize,
    /// How long a head may take from its first byte, and the first byte after the connection.
    pub head_time: Duration,
    /// How long a connection may lie idle between two requests; also how long an answer may take to be read.
    pub idle_time: Duration,
    /// How long a peer may read nothing while there is something to read for it.
    pub write_time: Duration,
    /// How long a request that is only half there may hold up the end.
    pub stop_time: Duration,
    /// Whether these connections are the ones that the metrics tell of.
    pub measured: bool,
}

impl Limits {
    /// The usual ones.
    ///
    /// * 4096 connections, but no more than three quarters of the descriptors that the process may have: the store needs
    ///   some as well. A connection takes about 40 KiB when it is busy, so all of them are 160 MiB.
    /// * 256 of one peer: a whole office behind one address, and sixteen such offices.
    /// * 32 KiB of head: four times a large bearer token. Hyper's own limit is 400 KiB, for each connection.
    /// * 20 s for a head, which anybody sends in one packet; 75 s idle, because proxies keep theirs for 60 s, and the
    ///   side that closes first must be theirs, or their next request meets a closed connection.
    /// * 30 s without reading anything, as long as a body may take.
    pub fn usual() -> Self {
        Self {
            connections: 4096.min(descriptors().map_or(usize::MAX, |most| most / 4 * 3)).max(16),
            per_peer: 256,
            // What comes from this machine is a proxy, or its owner.
            exempt: |peer| peer.is_loopback(),
            head_bytes: 32 << 10,
            head_time: Duration::from_secs(20),
            idle_time: Duration::from_secs(75),
            write_time: Duration::from_secs(30),
            stop_time: Duration::from_secs(2),
            measured: true,
        }
    }

    /// The usual ones behind proxies: all connections are theirs.
    #[must_use]
    pub fn behind(self, trusted_proxies: usize) -> Self {
        if trusted_proxies == 0 { self } else { Self { exempt: |_| true, ..self } }
    }
}

/// How many descriptors the process may have, where the system says so in this way.
fn descriptors() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many may wait to be accepted, where the system lets so many: the usual 128 are fewer than come at once.
const BACKLOG: u32 = 4096;

/// Listens on an address. (As tokio's own `bind`, with room for more to wait.)
///
/// # Errors
/// The system refuses.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts and answers until `stop`, then finishes: idle connections are closed at once, requests under way are
/// answered, those that are only half there get [`Limits::stop_time`]. Returns when the last connection is closed.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: impl Future<Output = ()>) {
    let places = Places::new(limits.connections, limits.per_peer, limits.exempt);
    let limits = Arc::new(limits);
    let (stopping, watcher) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &places, limits.measured) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let connection = connection(stream, peer, router.clone(), Arc::clone(&limits), watcher.clone());
        let measured = limits.measured;
        tokio::spawn(async move {
            let (_place, _present) = (place, measured.then(metric::connected).flatten());
            connection.await;
        });
    }
    // Nobody can connect any more; who waits in the queue is told so by the system.
    drop((listener, watcher));
    let _ = stopping.send(true);
    stopping.closed().await;
}

/// The next connection that may stay; none if there was none, which is no reason to end.
async fn accept(listener: &TcpListener, places: &Places, measured: bool) -> Option<(TcpStream, SocketAddr, Place)> {
    let seat = places.seat().await?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            let Some(place) = places.take(seat, peer.ip()) else {
                if measured {
                    metric::connection_refused(Turned::Peer);
                }
                return None;
            };
            // Answers are small and whole: waiting for more to send only delays them.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, place))
        }
        // The peer was gone before its turn came.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
            ) =>
        {
            None
        }
        Err(error) => {
            if measured {
                metric::connection_refused(Turned::System);
            }
            places.complain(|| tracing::error!(cause = %error, "the system gives no more connections; trying again"));
            sleep(BREATH).await;
            None
        }
    }
}

/// Answers one connection to its end.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Arc<Limits>,
    stopping: watch::Receiver<bool>,
) {
    let progress = Progress::new();
    let mut stream = TimeoutStream::new(Watched::new(stream, progress.clone()));
    stream.set_write_timeout(Some(limits.write_time));
    let answers = progress.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let ambiguous = is_ambiguous(&request);
        let request = arrived(request, peer, &answers);
        let (answer, answers) = (router.clone().oneshot(request), answers.clone());
        async move {
            let answer: Result<Response<Body>, Infallible> = if ambiguous {
                Ok((StatusCode::BAD_REQUEST, [(header::CONNECTION, "close")]).into_response())
            } else {
                answer.await
            };
            answers.enter(Phase::Idle);
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Hyper has one clock for a head and for the wait before it; here they are two, and `overdue` keeps them.
        .header_read_timeout(None)
        .max_header_size(limits.head_bytes)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = pin!(connection);
    let mut asked = pin!(asked_to_stop(stopping.clone()));
    let mut clock = pin!(sleep_until(now() + limits.head_time));
    let mut stopped = None;
    poll_fn(|context| {
        if stopped.is_none() && asked.as_mut().poll(context).is_ready() {
            stopped = Some(now());
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            // A peer that breaks off, or sends what is no HTTP, was answered as far as it could be.
            if let Err(error) = ended {
                tracing::debug!(cause = %error, "a connection broke");
            }
            return Poll::Ready(());
        }
        match overdue(&progress, &limits, stopped) {
            Some(deadline) => past(clock.as_mut(), deadline).poll(context),
            None => Poll::Pending,
        }
    })
    .await;
}

/// Whether two readers may read the request differently, which is how requests are smuggled past a proxy: not one Host
/// (RFC 9112 §3.2), or a transfer coding besides chunked (§6.1).
fn is_ambiguous(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let hosts = headers.get_all(header::HOST).iter().count();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let plain = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) || !plain || codings.next().is_some()
}

/// A request as the router takes it, its body watched.
fn arrived(request: Request<Incoming>, peer: SocketAddr, progress: &Progress) -> Request<Body> {
    let mut request = request.map(|body| Body::new(Arriving::new(body, progress.clone())));
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

/// When the connection's time is up, if it goes on as it is; none while the time is ours.
fn overdue(progress: &Progress, limits: &Limits, stopped: Option<Instant>) -> Option<Instant> {
    let (phase, since) = progress.now();
    let (usual, at_the_end) = match phase {
        Phase::Head => (Some(since + limits.head_time), stopped.map(|at| at + limits.stop_time)),
        // How long a body may take is the router's to judge.
        Phase::Body => (None, stopped.map(|at| at + limits.stop_time)),
        Phase::Answer => (None, None),
        // Hyper closes it as soon as the answer is written.
        Phase::Idle => (Some(since + limits.idle_time), stopped.map(|_| since + limits.write_time)),
    };
    usual.into_iter().chain(at_the_end).min()
}

/// The clock, set to a deadline.
fn past(mut clock: Pin<&mut Sleep>, deadline: Instant) -> Pin<&mut Sleep> {
    if clock.deadline() != deadline {
        clock.as_mut().reset(deadline);
    }
    clock
}

/// Comes when the service is to end. The receiver lives as long as its connection: that is how the end is waited for.
async fn asked_to_stop(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}
