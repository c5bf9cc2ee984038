//! Log lines on their way to stderr: the service never waits for whoever reads them.
//!
//! A thread of its own writes; between it and the others is a queue with an end. When the reader stops, lines are
//! dropped and counted, audit lines last; when it reads again, it is told how many. At a normal end nothing is lost.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::metric;

/// What may wait to be written, in bytes: some thousand lines, for a reader that is away for a moment.
const ROOM: usize = 1 << 20;
/// What may wait when audit lines are counted in.
const ROOM_WITH_AUDIT: usize = 8 << 20;
/// How long the end waits for a reader that reads nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many bytes of lines are written at once: a pipe takes so much whole (POSIX's `PIPE_BUF` here), so that the lines
/// of several processes on one pipe do not get into each other.
const AT_ONCE: usize = 4096;

/// How long the thread rests once it has written all. Waking it for each line of a busy service would cost more than
/// the line itself; a line that comes alone is written at once.
const REST: Duration = Duration::from_millis(2);

/// The target of audit events.
const AUDIT: &str = "gatemint::audit";
/// Where `serve` tells of its beginning and its end: a few lines, which find room wherever audit lines do. Nobody may have
/// read for long when it is asked to stop.
const LIFE: &str = "gatemint::cli::serve";

/// A line and its place in the order.
type Numbered = (u64, Vec<u8>);

#[derive(Default)]
struct Waiting {
    audit: VecDeque<Numbered>,
    other: VecDeque<Numbered>,
    bytes: usize,
    other_bytes: usize,
    next: u64,
    /// Lines that were dropped since the reader was last told.
    dropped: Dropped,
    /// The thread is at some lines, or rests before it looks for more.
    writing: bool,
    /// How many lines were written: how the end sees that the reader reads.
    written: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Dropped {
    audit: u64,
    other: u64,
}

impl Waiting {
    /// Counts a line that is dropped, at once: while nobody reads the log, the metric is what shows it.
    fn drop_one(&mut self, audit: bool) {
        let (audit, other) = (u64::from(audit), u64::from(!audit));
        metric::log_lines_dropped(audit, other);
        self.dropped.audit += audit;
        self.dropped.other += other;
    }

    fn push(&mut self, line: Vec<u8>, audit: bool) {
        if audit {
            while self.bytes + line.len() > ROOM_WITH_AUDIT {
                let Some((_, oldest)) = self.other.pop_front() else { break };
                self.bytes -= oldest.len();
                self.other_bytes -= oldest.len();
                self.drop_one(false);
            }
            if self.bytes + line.len() > ROOM_WITH_AUDIT {
                self.drop_one(true);
                return;
            }
        } else {
            if self.other_bytes + line.len() > ROOM {
                self.drop_one(false);
                return;
            }
            self.other_bytes += line.len();
        }
        self.bytes += line.len();
        let queue = if audit { &mut self.audit } else { &mut self.other };
        queue.push_back((self.next, line));
        self.next += 1;
    }

    /// The oldest lines, as many as are written at once, and how many these are.
    fn pop_some(&mut self) -> Option<(Vec<u8>, u64)> {
        let mut lines = self.pop()?;
        let mut count = 1;
        while self.oldest().is_some_and(|next| lines.len() + next <= AT_ONCE) {
            let Some(line) = self.pop() else { break };
            lines.extend_from_slice(&line);
            count += 1;
        }
        Some((lines, count))
    }

    /// Whether the oldest line is one of the audit.
    fn audit_is_next(&self) -> bool {
        let first = |queue: &VecDeque<Numbered>| queue.front().map_or(u64::MAX, |(number, _)| *number);
        first(&self.audit) < first(&self.other)
    }

    /// How long the oldest line is.
    fn oldest(&self) -> Option<usize> {
        let queue = if self.audit_is_next() { &self.audit } else { &self.other };
        queue.front().map(|(_, line)| line.len())
    }

    /// The oldest line.
    fn pop(&mut self) -> Option<Vec<u8>> {
        let audit = self.audit_is_next();
        let (_, line) = if audit { self.audit.pop_front() } else { self.other.pop_front() }?;
        self.bytes -= line.len();
        if !audit {
            self.other_bytes -= line.len();
        }
        Some(line)
    }

    fn is_empty(&self) -> bool {
        self.audit.is_empty() && self.other.is_empty() && !self.writing
    }
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something was pushed, or written.
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where lines go; clones share one queue.
#[derive(Clone)]
pub(super) struct LogQueue(Arc<Shared>);

impl LogQueue {
    /// Starts the thread that writes to stderr.
    pub(super) fn to_stderr() -> io::Result<Self> {
        // A descriptor of our own: the library's stderr has a lock, which would be held while the reader is away.
        Self::to(File::from(io::stderr().as_fd().try_clone_to_owned()?))
    }

    fn to(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Self(Arc::default());
        let shared = Arc::clone(&queue.0);
        thread::Builder::new().name("log-writer".into()).spawn(move || write_all(&shared, sink))?;
        Ok(queue)
    }

    /// Waits until all is written, or until the reader has read nothing for three seconds.
    pub(super) fn finish(&self) {
        let mut waiting = self.0.lock();
        while !waiting.is_empty() {
            let written = waiting.written;
            let (after, timeout) =
                self.0.changed.wait_timeout(waiting, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            waiting = after;
            if timeout.timed_out() && waiting.written == written {
                return;
            }
        }
    }
}

fn write_all(shared: &Shared, mut sink: impl Write) {
    loop {
        let mut waiting = shared.lock();
        waiting.writing = false;
        shared.changed.notify_all();
        let (lines, count) = loop {
            if let Some(some) = waiting.pop_some() {
                break some;
            }
            waiting = shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        };
        waiting.writing = true;
        drop(waiting);
        // A log that nobody reads any more is no reason to stop.
        let _ = sink.write_all(&lines);
        let mut waiting = shared.lock();
        waiting.written += count;
        let dropped = std::mem::take(&mut waiting.dropped);
        let all = waiting.audit.is_empty() && waiting.other.is_empty();
        drop(waiting);
        if dropped != Dropped::default() {
            tracing::warn!(
                log.dropped_lines = dropped.other,
                log.dropped_audit_lines = dropped.audit,
                "log lines were dropped because nobody read them"
            );
        } else if all {
            // Still marked as writing: whoever has a line does not wake it.
            thread::sleep(REST);
        }
    }
}

/// One line on its way.
pub(super) struct Line<'a> {
    queue: &'a LogQueue,
    audit: bool,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            let mut waiting = self.queue.0.lock();
            waiting.push(std::mem::take(&mut self.text), self.audit);
            // While the thread writes it need not be woken: it looks again before it sleeps.
            let asleep = !waiting.writing;
            drop(waiting);
            if asleep {
                self.queue.0.changed.notify_all();
            }
        }
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: self, audit: false, text: Vec::new() }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        // What this file itself has to tell is told when there is no room for others.
        let audit = [AUDIT, LIFE, module_path!()].contains(&metadata.target());
        Line { queue: self, audit, text: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_lines_are_dropped_last_and_the_order_is_kept() {
        let mut waiting = Waiting::default();
        let line = |kind: u8| vec![kind; 1000];
        for _ in 0..2000 {
            waiting.push(line(b'o'), false);
        }
        let kept = ROOM / 1000;
        assert_eq!(waiting.dropped, Dropped { audit: 0, other: 2000 - kept as u64 });
        let most = ROOM_WITH_AUDIT / 1000;
        for _ in 0..most - kept {
            waiting.push(line(b'a'), true);
        }
        assert_eq!(waiting.dropped.audit, 0);
        assert_eq!(waiting.other.len(), kept, "there was room beside the others");
        for _ in 0..10 {
            waiting.push(line(b'a'), true);
        }
        assert_eq!(waiting.other.len(), kept - 10, "others make room");
        for _ in 0..kept {
            waiting.push(line(b'a'), true);
        }
        assert_eq!((waiting.other.len(), waiting.dropped.audit), (0, 10));
        waiting.push(line(b'o'), false);
        let mut last = 0;
        let mut popped = 0;
        while let Some(line) = waiting.pop() {
            popped += 1;
            last = line[0];
        }
        assert_eq!((popped, last), (most + 1, b'o'));
        assert_eq!((waiting.bytes, waiting.other_bytes), (0, 0));
    }

    #[test]
    fn the_end_waits_for_a_slow_reader() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = LogQueue::to(writer).unwrap();
        for _ in 0..500 {
            queue.make_writer().write_all(&[b'x'; 1000]).unwrap();
        }
        let reading = thread::spawn(move || {
            let mut read = vec![0; 500_000];
            io::Read::read_exact(&mut reader, &mut read).unwrap();
        });
        queue.finish();
        assert_eq!(queue.0.lock().written, 500);
        reading.join().unwrap();
    }
}
