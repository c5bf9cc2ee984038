//! Where a request came from: what the throttle goes by, so it is never taken from a header that anybody can send.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{extract::ConnectInfo, http::Request};

/// The address of the peer, put into a request's extensions by whoever accepted it: API Gateway's `sourceIp`.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);

/// The address that counts, put into a request's extensions for its handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceAddress(pub(crate) IpAddr);

/// The peer's address, or with `n` trusted proxies the n-th entry of `X-Forwarded-For` from the right: the one that
/// the outermost of them saw. Entries further left are the client's own invention.
pub(super) fn of<B>(request: &Request<B>, trusted_proxies: usize) -> IpAddr {
    let extensions = request.extensions();
    let peer = extensions
        .get::<PeerAddress>()
        .map(|peer| peer.0)
        .or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()))
        // Nobody said: all such requests count as one source.
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if trusted_proxies == 0 {
        return peer;
    }
    // Whatever bytes a client puts into its own entries, the number of entries stays what the proxies made it.
    let lines: Vec<_> =
        request.headers().get_all("x-forwarded-for").iter().map(axum::http::HeaderValue::as_bytes).collect();
    let forwarded: Vec<String> = lines
        .iter()
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(|entry| String::from_utf8_lossy(entry).into_owned())
        .collect();
    let entry = forwarded.len().checked_sub(trusted_proxies).and_then(|at| forwarded.get(at)).map(|entry| entry.trim());
    entry
        .and_then(|entry| entry.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip())))
        .unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(forwarded: &[&str], trusted: usize) -> String {
        let mut request = Request::builder();
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        let mut request = request.body(()).unwrap();
        request.extensions_mut().insert(PeerAddress("192.0.2.1".parse().unwrap()));
        of(&request, trusted).to_string()
    }

    #[test]
    fn a_forwarded_address_counts_only_from_trusted_proxies() {
        assert_eq!(address(&["203.0.113.9"], 0), "192.0.2.1");
        assert_eq!(address(&["6.6.6.6, 203.0.113.9"], 1), "203.0.113.9");
        assert_eq!(address(&["6.6.6.6", "203.0.113.9, 10.0.0.1"], 2), "203.0.113.9");
        assert_eq!(address(&["203.0.113.9:4711"], 1), "203.0.113.9");
        assert_eq!(address(&["[2001:db8::1]:4711"], 1), "2001:db8::1");
        assert_eq!(address(&["junk"], 1), "192.0.2.1");
        assert_eq!(address(&["203.0.113.9"], 2), "192.0.2.1");
        assert_eq!(address(&[], 1), "192.0.2.1");
    }
}
