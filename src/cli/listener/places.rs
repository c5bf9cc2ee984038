//! How many may be connected, in all and of one peer.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::phase::now;

/// A line about the same thing is written once in this time.
const SELDOM: Duration = Duration::from_mins(1);

/// Whom a connection counts for.
type Peer = [u8; 8];

/// The places.
pub(super) struct Places {
    seats: Arc<Semaphore>,
    peers: Arc<Mutex<HashMap<Peer, usize>>>,
    per_peer: usize,
    exempt: fn(IpAddr) -> bool,
    complained: Mutex<Option<Instant>>,
}

/// A place, given back when dropped.
pub(super) struct Place {
    _seat: OwnedSemaphorePermit,
    peer: Option<Peer>,
    peers: Arc<Mutex<HashMap<Peer, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        match peers.get_mut(&peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(peers.remove(&peer)),
        }
    }
}

impl Places {
    pub(super) fn new(connections: usize, per_peer: usize, exempt: fn(IpAddr) -> bool) -> Self {
        Self {
            seats: Arc::new(Semaphore::new(connections)),
            peers: Arc::default(),
            per_peer,
            exempt,
            complained: Mutex::default(),
        }
    }

    /// Waits for a place among all.
    pub(super) async fn seat(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() {
            return Some(seat);
        }
        self.complain(|| tracing::warn!("as many connections are open as may be; others wait until one is closed"));
        Arc::clone(&self.seats).acquire_owned().await.ok()
    }

    /// Gives the seat to this peer, unless it has as many as it may.
    pub(super) fn take(&self, seat: OwnedSemaphorePermit, address: IpAddr) -> Option<Place> {
        // IPv4 through a dual-stack socket is IPv4.
        let address = address.to_canonical();
        let peer = (!(self.exempt)(address)).then(|| peer_of(address));
        if let Some(peer) = peer {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            let count = peers.entry(peer).or_default();
            if *count >= self.per_peer {
                drop(peers);
                self.complain(|| tracing::warn!(client.address = %address, "this peer has too many connections"));
                return None;
            }
            *count += 1;
        }
        Some(Place { _seat: seat, peer, peers: Arc::clone(&self.peers) })
    }

    /// Says something about connections, unless something was said a moment ago.
    pub(super) fn complain(&self, say: impl FnOnce()) {
        let mut last = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now().duration_since(last) >= SELDOM) {
            *last = Some(now());
            say();
        }
    }
}

/// IPv4 as it is, in the part of IPv6 that maps it; IPv6 by its /64, since that is what one subscriber has.
fn peer_of(address: IpAddr) -> Peer {
    let mut peer = Peer::default();
    match address {
        // No IPv6 prefix that is routed begins with zeros.
        IpAddr::V4(four) => peer[4..].copy_from_slice(&four.octets()),
        IpAddr::V6(six) => peer.copy_from_slice(&six.octets()[..8]),
    }
    peer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_peer_has_so_many_places_and_leaves_the_others_theirs() {
        let places = Places::new(10, 2, |peer| peer.is_loopback());
        let take = async |address: &str| {
            let seat = places.seat().await.unwrap();
            places.take(seat, address.parse().unwrap())
        };
        let first = take("192.0.2.1").await.unwrap();
        let second = take("::ffff:192.0.2.1").await.unwrap();
        assert!(take("192.0.2.1").await.is_none());
        let other = take("192.0.2.2").await.unwrap();
        let subscriber = [take("2001:db8::1").await.unwrap(), take("2001:db8::2").await.unwrap()];
        assert!(take("2001:db8:0:0:1::").await.is_none());
        let next_door = take("2001:db8:0:1::1").await.unwrap();
        let at_home = [take("127.0.0.1").await.unwrap(), take("127.0.0.1").await.unwrap(), take("::1").await.unwrap()];
        drop(first);
        let third = take("192.0.2.1").await.unwrap();
        assert_eq!(places.seats.available_permits(), 1);
        drop((second, third, other, subscriber, next_door, at_home));
        assert!(places.peers.lock().unwrap().is_empty());
        assert_eq!(places.seats.available_permits(), 10);
    }
}
