//! What a connection is at, and since when.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request's head arrives; also before the first one.
    Head,
    /// Its body arrives.
    Body,
    /// The service works on the answer.
    Answer,
    /// The answer is ready, or read, and nothing else came.
    Idle,
}

#[expect(clippy::disallowed_methods, reason = "time-outs of connections; nothing else is judged by it")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// A connection's phase, known to all its parts.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<(Phase, Instant)>>);

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new((Phase::Head, now()))))
    }

    pub(super) fn now(&self) -> (Phase, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (phase, now());
    }

    /// Enters a phase from another one only.
    fn advance(&self, from: Phase, to: Phase) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 == from {
            *held = (to, now());
        }
    }
}

/// The stream; the first byte after an answer is the beginning of a head.
pub(super) struct Watched {
    stream: TcpStream,
    progress: Progress,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, progress: Progress) -> Self {
        Self { stream, progress }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > before {
            self.progress.advance(Phase::Idle, Phase::Head);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A request's body; when all of it is there, the time is ours.
pub(super) struct Arriving {
    body: Incoming,
    progress: Progress,
}

impl Arriving {
    pub(super) fn new(body: Incoming, progress: Progress) -> Self {
        progress.enter(if body.is_end_stream() { Phase::Answer } else { Phase::Body });
        Self { body, progress }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.progress.advance(Phase::Body, Phase::Answer);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
