use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

/// What has opened somebody's door, or might.
pub(crate) const CORPUS: [&str; 62] = [
    "/",
    "//",
    "///",
    "/x",
    "/x/",
    "/x//",
    "//evil",
    "//evil/x",
    "/\\evil",
    "/%09/evil",
    "/a/../b",
    "/a/./b",
    "/a/..",
    "/a/.",
    "/../a",
    "/a/...",
    "/a/.../b",
    "/a/..b",
    "/%2e%2e/a",
    "/%2e%2e%2fa",
    "/a/.%2e/b",
    "/a/%2E./b",
    "/a/%2e/b",
    "/%252e%252e/a",
    "/a%2fb",
    "/a%2Fb",
    "/a%252fb",
    "/a%5cb",
    "/a%5Cb",
    "/a/..\\b",
    "/a/..%5cb",
    "/a/..;/b",
    "/a;x=y",
    "/a;x=y/b",
    "/a%3bx",
    "/a?b",
    "/a%3fb",
    "/a#b",
    "/a%23b",
    "/a%00",
    "/a%00.png",
    "/a%0d%0aSet-Cookie:x",
    "/a%7f",
    "/a%c2%85",
    "/a%25",
    "/a%",
    "/a%4",
    "/a%zz",
    "/a%u002e",
    "/%c0%ae%c0%ae/a",
    "/%c0%af",
    "/%e0%80%af",
    "/%f0%80%80%af",
    "/%ed%a0%80",
    "/%f4%90%80%80",
    "/%ff",
    "/podsecrets",
    "/pods",
    "/pods/a",
    "/k8s/apis/subresources.kubevirt.io/v1/namespaces/ns/virtualmachineinstances/vm/vnc",
    "/k8s/api%20s/%C3%A9",
    "/x%2a",
];

/// What paths are put together from.
const PIECES: [&str; 56] = [
    "/",
    "/",
    "/",
    "/",
    "/",
    "/",
    "x",
    "x",
    "y",
    "xy",
    "a",
    "b",
    "X",
    "pods",
    ".",
    "..",
    "...",
    "%2e",
    "%2E",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "%25",
    "%252e",
    "%252F",
    "%",
    "%4",
    "%zz",
    "%78",
    "%61",
    ";",
    "%3b",
    "?",
    "%3f",
    "#",
    "%23",
    "%00",
    "%0a",
    "%7f",
    "%c2%80",
    "%c0%af",
    "%e0%80%af",
    "%c3%a9",
    "%C3%A9",
    "%c3",
    "%f0%9f%94%91",
    "%ff",
    "é",
    " ",
    "%20",
    "*",
    "%2a",
    ",",
    "\t",
    "@",
];
/// Those that do no harm.
const GOOD: [&str; 16] =
    ["/x", "/y", "/xy", "/a", "/pods", "x", "y", "a", "%78", "%61", "%20", "%c3%a9", "%2a", "...", "-", "/X"];

/// One text: a path, or nearly one, or none at all.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let anything = vec(select(&PIECES[..]), 0..7).prop_map(|pieces| pieces.concat());
    let below_root = vec(select(&PIECES[..]), 0..7).prop_map(|pieces| format!("/{}", pieces.concat()));
    let good = (vec(select(&GOOD[..]), 0..6), any::<bool>()).prop_map(|(pieces, slash)| {
        let text = pieces.concat();
        let text = if text.starts_with('/') { text } else { format!("/{text}") };
        if slash && text.len() > 1 { format!("{text}/") } else { text }
    });
    let changed = (select(&CORPUS[..]), any::<Index>(), select(&PIECES[..])).prop_map(|(text, at, piece)| {
        let mut text = text.to_owned();
        text.insert_str(at.index(text.len() + 1), piece);
        text
    });
    let long = (2030..2060_usize, any::<bool>()).prop_map(|(length, slash)| {
        let end = if slash { "/" } else { "" };
        format!("/{}{end}", "x".repeat(length))
    });
    prop_oneof![
        24 => good,
        24 => below_root,
        6 => anything,
        6 => select(&CORPUS[..]).prop_map(str::to_owned),
        12 => changed,
        6 => vec(any::<char>(), 0..6).prop_map(|characters| format!("/{}", String::from_iter(characters))),
        6 => vec(any::<u8>(), 0..6).prop_map(|bytes| bytes.iter().fold("/".to_owned(), |text, byte| format!("{text}%{byte:02x}"))),
        1 => (8180..8200_usize).prop_map(|length| format!("/{}", "y".repeat(length))),
        1 => long,
    ]
}

/// Scheme, host and port: what they are, and how they are written.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) https: bool,
    pub(crate) name: usize,
    pub(crate) port: Option<u16>,
    /// Bits: in capitals; with a final dot; with the scheme's own port.
    pub(crate) spelling: u8,
}

const NAMES: [&str; 4] = ["h.example", "vnc--ada.jobs.example", "127.0.0.1", "[2001:db8::1]"];

impl Site {
    fn own_port(&self) -> u16 {
        if self.https { 443 } else { 80 }
    }

    /// `host[:port]`
    pub(crate) fn authority(&self) -> String {
        let mut name = NAMES[self.name].to_owned();
        if self.spelling & 1 != 0 {
            name = name.to_uppercase();
        }
        if self.spelling & 2 != 0 && !name.starts_with('[') {
            name.push('.');
        }
        match self.port {
            Some(port) => format!("{name}:{port}"),
            None if self.spelling & 4 != 0 => format!("{name}:{}", self.own_port()),
            None => name,
        }
    }

    /// With the scheme.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!(
            "{}://{}",
            if self.spelling & 1 == 0 { scheme.to_owned() } else { scheme.to_uppercase() },
            self.authority()
        )
    }

    /// Whether a request for the other is one for this; where it does not tell its scheme, both schemes' ports are its own.
    pub(crate) fn is_that_of(&self, other: &Self, told: bool) -> bool {
        let own = self.port.filter(|port| *port != self.own_port());
        let others = if told {
            other.port.filter(|port| *port != other.own_port())
        } else {
            other.port.filter(|port| *port != 80 && *port != 443)
        };
        self.name == other.name && own == others && (!told || self.https == other.https)
    }
}

fn site() -> impl Strategy<Value = Site> {
    let port = select(vec![None, None, None, Some(80), Some(443), Some(8443)]);
    let name = prop_oneof![4 => Just(0), 1 => 0..NAMES.len()];
    (any::<bool>(), name, port, 0..8_u8).prop_map(|(https, name, port, spelling)| Site { https, name, port, spelling })
}

/// What a request wants, but for its path.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) site: Site,
    /// Whether the scheme is told.
    pub(crate) told: bool,
}

/// A pattern: its path, and on which site it is.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) path: String,
    pub(crate) site: Option<Site>,
}

/// Texts to be judged as paths, patterns made from them, and requests.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) texts: Vec<String>,
    pub(crate) patterns: Vec<Draft>,
    pub(crate) wanted: Vec<Wanted>,
}

/// How a pattern is made from a text.
#[derive(Clone, Debug)]
struct Cut {
    of: Index,
    at: Index,
    whole: bool,
    end: &'static str,
    escape: bool,
    site: Option<Site>,
}

impl Cut {
    fn draft(self, texts: &[String]) -> Draft {
        let text = self.of.get(texts);
        let at = if self.whole { text.len() } else { text.floor_char_boundary(self.at.index(text.len() + 1)) };
        let mut path = format!("{}{}", &text[..at], self.end);
        if self.escape {
            // The same path in another spelling.
            path = path.replace('x', "%78").replace("%61", "a");
        }
        Draft { path, site: self.site }
    }
}

/// One round.
pub(crate) fn round() -> impl Strategy<Value = Round> {
    let end = select(vec!["", "*", "*", "/*", "/*", "*/", "**", "//*", "/"]);
    let cut = (any::<Index>(), any::<Index>(), any::<bool>(), end, any::<bool>(), proptest::option::of(site()))
        .prop_map(|(of, at, whole, end, escape, site)| Cut { of, at, whole, end, escape, site });
    let wanted = (site(), any::<bool>()).prop_map(|(site, told)| Wanted { site, told });
    (vec(text(), 16), vec(cut, 20), vec(wanted, 8)).prop_map(|(texts, cuts, wanted)| {
        // A pattern on a site is a URL by construction; without one only what begins with a slash is surely none.
        let drafts = cuts.into_iter().map(|cut| cut.draft(&texts));
        let patterns = drafts.filter(|draft| draft.site.is_none() || draft.path.starts_with('/')).collect();
        Round { texts, patterns, wanted }
    })
}
