//! Whether a commit happens: the one judgement for the backends that look at their rows themselves.

use super::{Version, When, Write};
use crate::clock::Timestamp;

/// What a judgement needs to know of a row that is physically there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) version: Version,
    pub(super) expires_at: Option<Timestamp>,
}

/// What is to be done with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every condition holds.
    Do,
    /// This very commit was done before: its first reply was lost.
    Done,
    /// The condition of the write at this index is the first that does not hold.
    Conflict(usize),
}

/// Whether a row that may be purged at `expires_at` is still there for every purpose.
pub(super) fn stands(expires_at: Option<Timestamp>, now: Timestamp) -> bool {
    expires_at.is_none_or(|at| now < at)
}

/// Judges `writes`, with `rows` the rows that are physically there, in the same order.
pub(super) fn judge(now: Timestamp, id: Version, writes: &[Write], rows: &[Option<Seen>]) -> Verdict {
    // Asked before any condition: once a commit is done its own conditions no longer hold. One surviving row is proof
    // enough, since all were written together; a purged one proves it as well as any.
    let done = |(write, row): (&Write, &Option<Seen>)| {
        matches!(write, Write::Put { .. }) && row.is_some_and(|row| row.version == id)
    };
    if writes.iter().zip(rows).any(done) {
        return Verdict::Done;
    }
    let fails = |(write, row): (&Write, &Option<Seen>)| {
        let row = row.filter(|row| stands(row.expires_at, now));
        match (write.when(), row) {
            (When::Always, _) | (When::Absent, None) => false,
            (When::Absent, Some(_)) => true,
            (When::VersionIs(wanted), Some(row)) => row.version != wanted,
            // The row is gone, which is what a delete wanted; it may be its own work, whose reply was lost.
            (When::VersionIs(_), None) => !matches!(write, Write::Delete { .. }),
        }
    };
    writes.iter().zip(rows).position(fails).map_or(Verdict::Do, Verdict::Conflict)
}
