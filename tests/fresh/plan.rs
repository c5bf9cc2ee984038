//! What may happen in the days of a mirror.

use proptest::{collection::vec, prelude::*};

/// How many people there are.
pub(super) const PEOPLE: usize = 6;
/// A run may come so much later than it should, in seconds.
pub(super) const LATEST: u64 = 60;

/// How a run goes.
#[derive(Clone, Debug)]
pub(super) enum Goes {
    Well,
    /// In a process that has just started.
    Elsewhere,
    Missed,
    /// At this door of vault or store.
    Killed(usize),
    /// Two processes begin one at the same moment.
    Twice,
    /// The vault takes so many seconds for a write.
    Slowly(u8),
    /// The vault refuses to write for some: one bit each.
    Refused(u8),
    /// It writes, and some replies are lost.
    Unheard(u8),
    /// The vault is away for so many runs.
    VaultAway(u8),
    /// One of the first commits fails, or its reply is lost.
    Commit(u8, bool),
    StoreAway,
    /// Somebody does something while it stands at this door.
    Meanwhile(usize, Deed),
}

/// What somebody does.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Read(usize, Reader),
    SignIn(usize),
    /// Sees to it that somebody is there, enabled, mirrored and signed in.
    Settle(usize),
    Disable(usize),
    NewPassword(usize),
    OwnPassword(usize),
    EndByHand(usize),
    Unmirror(usize),
    Delete(usize),
    /// The clock is set so many seconds forward or back.
    Jump(i16),
    RotateKeys,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Reader {
    Mirror,
    Owner,
    Admin,
    Granted,
}

/// What happens from one run's time to the next one's.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// By so many seconds, at most [`LATEST`].
    pub(super) late: u64,
    pub(super) goes: Goes,
    /// Each so many seconds after the run's time.
    pub(super) deeds: Vec<(u64, Deed)>,
}

fn reader() -> impl Strategy<Value = Reader> {
    prop_oneof![4 => Just(Reader::Mirror), 1 => Just(Reader::Owner), 1 => Just(Reader::Admin), 2 => Just(Reader::Granted)]
}

fn change() -> impl Strategy<Value = Deed> {
    let who = 0..PEOPLE;
    prop_oneof![
        8 => who.clone().prop_map(Deed::Settle),
        3 => who.clone().prop_map(Deed::SignIn),
        1 => who.clone().prop_map(Deed::Disable),
        1 => who.clone().prop_map(Deed::NewPassword),
        1 => who.clone().prop_map(Deed::OwnPassword),
        1 => who.clone().prop_map(Deed::EndByHand),
        1 => who.clone().prop_map(Deed::Unmirror),
        1 => who.prop_map(Deed::Delete),
        1 => (-600_i16..=600).prop_map(Deed::Jump),
        1 => Just(Deed::RotateKeys),
    ]
}

fn goes(calm: bool) -> BoxedStrategy<Goes> {
    let some = 1_u8..(1 << PEOPLE);
    if calm {
        return prop_oneof![5 => Just(Goes::Well), 2 => Just(Goes::Missed), 2 => (1_u8..=30).prop_map(Goes::Slowly)]
            .boxed();
    }
    prop_oneof![
        60 => Just(Goes::Well),
        25 => Just(Goes::Missed),
        20 => (1_u8..=30).prop_map(Goes::Slowly),
        5 => Just(Goes::Elsewhere),
        8 => (0_usize..40).prop_map(Goes::Killed),
        8 => Just(Goes::Twice),
        12 => some.clone().prop_map(Goes::Refused),
        5 => some.prop_map(Goes::Unheard),
        2 => (1_u8..=5).prop_map(Goes::VaultAway),
        6 => (0_u8..6, any::<bool>()).prop_map(|(at, lost)| Goes::Commit(at, lost)),
        2 => Just(Goes::StoreAway),
        8 => (0_usize..40, change()).prop_map(|(door, deed)| Goes::Meanwhile(door, deed)),
    ]
    .boxed()
}

/// A history of so many runs. A calm one has only runs that are late, slow or missed, and nobody who changes anything.
pub(super) fn slots(count: usize, calm: bool) -> impl Strategy<Value = Vec<Slot>> {
    let reads = (0..PEOPLE, reader()).prop_map(|(who, reader)| Deed::Read(who, reader));
    let deed = if calm { reads.boxed() } else { prop_oneof![6 => reads, 1 => change()].boxed() };
    let late = prop_oneof![1 => Just(0), 1 => Just(LATEST), 2 => 0..=LATEST];
    let slot = (late, goes(calm), vec((0_u64..120, deed), 0..3));
    let slot = slot.prop_map(|(late, goes, mut deeds)| {
        deeds.sort_by_key(|(at, _)| *at);
        Slot { late, goes, deeds }
    });
    vec(slot, count..=count)
}
