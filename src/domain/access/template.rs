//! The two templates of a site: a host with `{placeholders}` in it, and the resource that is made of what they stand for.

use serde::{Deserialize, Serialize};

use super::{
    MAX_RESOURCE, Resource,
    resource::{is_scheme, of_another_cluster},
};
use crate::domain::{
    Refusal,
    ids::{Name, is_name},
};

/// The longest host, and the longest template of one, in bytes (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;
/// The longest label of a host, and so the longest that a placeholder stands for, in bytes.
const MAX_LABEL: usize = 63;
/// The longest template of a resource, in bytes.
const MAX_TEMPLATE: usize = 512;
/// The longest name of a placeholder, in bytes.
const MAX_WORD: usize = 32;
/// What stands for the service's own cluster. It is resolved when a template is parsed, so none is left in one.
const CLUSTER: &str = "{cluster}";

const HOST_FORM: &str = "must be a DNS name in lower case without a port, at most 253 characters, in which placeholders \
                         stand in place of a part of a label, each once, and with something between two of them, e.g. \
                         {name}--{owner}.jobs.{cluster}.example.org";
const RESOURCE_FORM: &str = "must be scheme://cluster/namespace[/segment…], at most 512 bytes and 768 when it is filled \
                             in, without empty segments, '.', '..', '?', '#' and '%'; placeholders may stand anywhere \
                             after the cluster, e.g. job://{cluster}/{owner}/{name}";

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// It stands for itself.
    Literal(&'a str),
    /// The name between braces.
    Placeholder(&'a str),
}

/// A text's pieces; none for one that is not sound: a brace without its other one, or a bad name between two.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Option<Piece<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0;
        if text.is_empty() {
            return None;
        }
        let (piece, rest) = if let Some(opened) = text.strip_prefix('{') {
            let (word, rest) = opened.split_once('}').unwrap_or((opened, ""));
            let closed = word.len() < opened.len();
            ((closed && is_word(word)).then_some(Piece::Placeholder(word)), rest)
        } else {
            let (literal, rest) = text.split_at(text.find('{').unwrap_or(text.len()));
            ((!literal.contains('}')).then_some(Piece::Literal(literal)), rest)
        };
        self.0 = rest;
        Some(piece)
    }
}

/// The names of a text's placeholders, in their order.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    Pieces(text).filter_map(|piece| match piece {
        Some(Piece::Placeholder(word)) => Some(word),
        _ => None,
    })
}

/// `[a-z][a-z0-9_]*`
fn is_word(text: &str) -> bool {
    text.len() <= MAX_WORD
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What a label's literal parts and the values of placeholders are made of: `[a-z0-9-]`.
fn is_of_a_label(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A host with placeholders, e.g. `{name}--{owner}.jobs.default.example.org`. A placeholder stands for 1 to 63 of
/// `[a-z0-9-]` within one label, never for a dot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostTemplate(String);

/// What a template makes of a host.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading<'t, 'h> {
    /// It is not one of its hosts.
    None,
    /// The one way to read it: each placeholder's name, and what it stands for.
    One(Vec<(&'t str, &'h str)>),
    /// There is more than one way.
    Many,
}

impl HostTemplate {
    /// Parses a template, and puts the cluster in place of `{cluster}`.
    ///
    /// # Errors
    /// `Invalid` for `host`.
    pub fn parse(text: &str, cluster: &Name) -> Result<Self, Refusal> {
        let sound = (text.len() <= MAX_HOST).then(|| text.replace(CLUSTER, cluster.as_str()));
        sound.filter(|text| is_host(text)).map(Self).ok_or_else(|| Refusal::invalid("host", HOST_FORM))
    }

    /// The template as text, the cluster in it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How a host is read by this template. `host` is in lower case, without a port and a final dot.
    pub(super) fn read<'t, 'h>(&'t self, host: &'h str) -> Reading<'t, 'h> {
        let mut values = Vec::new();
        let mut many = false;
        let mut labels = host.split('.');
        for template in self.0.split('.') {
            match labels.next().and_then(|label| read_label(template, label, &mut values)) {
                Some(Ways::One) => {}
                Some(Ways::Many) => many = true,
                None => return Reading::None,
            }
        }
        match labels.next() {
            Some(_) => Reading::None,
            None if many => Reading::Many,
            None => Reading::One(values),
        }
    }
}

/// In how many ways a label can be read.
enum Ways {
    One,
    Many,
}

/// Reads one label; the values of its placeholders, if there is one way only, are added. None: it is another label.
///
/// A reading is a place for each literal between two placeholders. If the leftmost places and the rightmost ones are the
/// same, there is one reading; if they differ, there are two at least. So it takes two walks, whatever a caller has thought up.
fn read_label<'t, 'h>(template: &'t str, label: &'h str, values: &mut Vec<(&'t str, &'h str)>) -> Option<Ways> {
    if !template.contains('{') {
        return (template == label).then_some(Ways::One);
    }
    if label.len() > MAX_LABEL || !is_of_a_label(label) {
        return None;
    }
    // Between what it begins and what it ends with a label alternates: placeholder, literal, … placeholder.
    let start = template.find('{')?;
    let end = template.rfind('}')? + 1;
    let label = label.strip_prefix(template.get(..start)?)?.strip_suffix(template.get(end..)?)?;
    let (mut names, mut literals) = (Vec::new(), Vec::new());
    for piece in Pieces(template.get(start..end)?) {
        match piece? {
            Piece::Placeholder(name) => names.push(name),
            Piece::Literal(literal) => literals.push(literal),
        }
    }
    let mut leftmost = Vec::with_capacity(literals.len());
    let mut from = 0;
    for literal in &literals {
        // One character at least is the value's.
        let at = from + 1 + label.get(from + 1..)?.find(literal)?;
        leftmost.push(at);
        from = at + literal.len();
    }
    if from >= label.len() {
        return None;
    }
    let mut to = label.len();
    for (literal, leftmost) in literals.iter().zip(&leftmost).rev() {
        to = label.get(..to - 1)?.rfind(literal)?;
        if to != *leftmost {
            return Some(Ways::Many);
        }
    }
    let mut from = 0;
    for (n, name) in names.into_iter().enumerate() {
        let to = leftmost.get(n).copied().unwrap_or(label.len());
        values.push((name, label.get(from..to)?));
        from = to + literals.get(n).map_or(0, |literal| literal.len());
    }
    Some(Ways::One)
}

fn is_host(text: &str) -> bool {
    let mut seen = Vec::new();
    let fresh = placeholders(text).all(|word| {
        let fresh = !seen.contains(&word);
        seen.push(word);
        fresh
    });
    (1..=MAX_HOST).contains(&text.len()) && fresh && text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let mut shortest = 0;
    let mut last = None;
    let sound = Pieces(text).all(|piece| {
        let follows = matches!(last, Some(Piece::Placeholder(_)));
        last = piece;
        match piece {
            Some(Piece::Literal(literal)) => {
                shortest += literal.len();
                is_of_a_label(literal)
            }
            Some(Piece::Placeholder(_)) => {
                shortest += 1;
                !follows
            }
            None => false,
        }
    });
    sound && (1..=MAX_LABEL).contains(&shortest) && !text.starts_with('-') && !text.ends_with('-')
}

/// A resource with placeholders, e.g. `job://default/{owner}/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceTemplate(String);

impl ResourceTemplate {
    /// Parses a template, and puts the cluster in place of `{cluster}`.
    ///
    /// # Errors
    /// `Invalid` for `resource`: it is none, or in another cluster.
    pub fn parse(text: &str, cluster: &Name) -> Result<Self, Refusal> {
        let sound = (text.len() <= MAX_TEMPLATE).then(|| text.replace(CLUSTER, cluster.as_str()));
        let sound = sound.filter(|text| is_resource(text));
        let template = sound.map(Self).ok_or_else(|| Refusal::invalid("resource", RESOURCE_FORM))?;
        if cluster_of(&template.0) == Some(cluster.as_str()) {
            Ok(template)
        } else {
            Err(of_another_cluster(cluster, "resource"))
        }
    }

    /// The template as text, the cluster in it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource with these values in place of the placeholders. None if one is missing, or if it comes to no resource: an
    /// owner `-a` is nobody's name.
    pub(super) fn fill(&self, values: &[(&str, &str)]) -> Option<Resource> {
        let mut text = String::with_capacity(2 * self.0.len());
        for piece in Pieces(&self.0) {
            text.push_str(match piece? {
                Piece::Literal(literal) => literal,
                Piece::Placeholder(wanted) => values.iter().find(|(name, _)| *name == wanted)?.1,
            });
        }
        Resource::parse(&text, "resource").ok()
    }
}

/// Refuses two templates that do not have the same placeholders: one in the resource alone would stand for nothing, and of
/// one in the host alone nobody would ask.
///
/// # Errors
/// `Invalid` for the one that has more.
pub(super) fn check_pair(host: &HostTemplate, resource: &ResourceTemplate) -> Result<(), Refusal> {
    let missing = |of: &str, other: &str| {
        placeholders(of).find(|word| placeholders(other).all(|have| have != *word)).map(str::to_owned)
    };
    if let Some(word) = missing(&resource.0, &host.0) {
        return Err(Refusal::invalid("resource", format!("the placeholder {{{word}}} must be in the host, too")));
    }
    if let Some(word) = missing(&host.0, &resource.0) {
        return Err(Refusal::invalid("host", format!("the placeholder {{{word}}} must be in the resource, too")));
    }
    Ok(())
}

/// What stands between `://` and the next `/`.
fn cluster_of(text: &str) -> Option<&str> {
    text.split_once("://")?.1.split('/').next()
}

fn is_resource(text: &str) -> bool {
    let (mut filled, mut longest) = (String::with_capacity(text.len()), 0);
    for piece in Pieces(text) {
        match piece {
            Some(Piece::Literal(literal)) => {
                filled.push_str(literal);
                longest += literal.len();
            }
            Some(Piece::Placeholder(_)) => {
                filled.push('x');
                longest += MAX_LABEL;
            }
            None => return false,
        }
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    text.len() <= MAX_TEMPLATE + MAX_LABEL
        && longest <= MAX_RESOURCE
        && scheme.is_some_and(is_scheme)
        && cluster_of(text).is_some_and(is_name)
        && Resource::parse(&filled, "resource").is_ok_and(|resource| resource.namespace().is_some())
}

impl TryFrom<String> for HostTemplate {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        if is_host(&text) { Ok(Self(text)) } else { Err(Refusal::invalid("host", HOST_FORM)) }
    }
}

impl From<HostTemplate> for String {
    fn from(template: HostTemplate) -> Self {
        template.0
    }
}

impl TryFrom<String> for ResourceTemplate {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        if is_resource(&text) { Ok(Self(text)) } else { Err(Refusal::invalid("resource", RESOURCE_FORM)) }
    }
}

impl From<ResourceTemplate> for String {
    fn from(template: ResourceTemplate) -> Self {
        template.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Name {
        Name::parse("default", "name").unwrap()
    }

    fn host(text: &str) -> HostTemplate {
        HostTemplate::parse(text, &cluster()).unwrap()
    }

    fn resource(text: &str) -> ResourceTemplate {
        ResourceTemplate::parse(text, &cluster()).unwrap()
    }

    #[test]
    fn a_host_is_a_dns_name_with_placeholders() {
        let longest_label = format!("{{a}}{}", "x".repeat(62));
        let good = [
            "wiki.example.org",
            "localhost",
            "{name}",
            "{name}--{owner}.jobs.{cluster}.example.org",
            "{a}.{b}",
            "x{a_1}y",
            &longest_label,
        ];
        for good in good {
            assert!(HostTemplate::parse(good, &cluster()).is_ok(), "{good}");
        }
        assert_eq!(host("{a}.{cluster}.{cluster}").as_str(), "{a}.default.default");
        let (long, long_label) = (["abcdefgh"; 29].join("."), format!("{longest_label}x"));
        let bad = [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "*.example.org",
            "A.example.org",
            "a_b.example.org",
            "a b",
            "ä.example.org",
            "a.example.org:443",
            "https://a.example.org",
            "a/b",
            "[::1]",
            "a\n",
            "-a",
            "a-",
            "{a}-",
            "a.-{a}",
            "{a}{b}",
            "{a}.{a}",
            "{",
            "}",
            "{}",
            "{a",
            "a}",
            "{a.b}",
            "{A}",
            "{1}",
            "{a-b}",
            "{{a}}",
            "{a}}",
            "{a}-{Cluster}",
            &long,
            &long_label,
            &"{a}-".repeat(100),
            &format!("{{{}}}", "a".repeat(33)),
        ];
        for bad in bad {
            assert_eq!(HostTemplate::parse(bad, &cluster()).unwrap_err().field, Some("host"), "{bad}");
        }
    }

    #[test]
    fn a_resource_has_placeholders_after_its_cluster() {
        let good = [
            "job://{cluster}/{owner}/{name}",
            "flow://default/ada",
            "job://default/x-{a}/{b}{c}/{a}",
            "blob://default/{a}.{b}",
        ];
        for good in good {
            assert!(ResourceTemplate::parse(good, &cluster()).is_ok(), "{good}");
        }
        let bad = [
            "",
            "job:{name}",
            "{s}://default/ada",
            "j{s}://default/ada",
            "job://{a}/ada",
            "job://{cluster}",
            "job://{cluster}/",
            "job://{cluster}/{owner}/",
            "job://{cluster}/{owner}//{name}",
            "job://{cluster}/{owner}/../{name}",
            "job://{cluster}/{owner}/{name",
            "job://{cluster}/{owner}/name}",
            "job://{cluster}/{Owner}",
            "job://{cluster}/-{owner}",
            "job://{cluster}/{owner}?{name}",
            "job://{cluster}/{owner}/%2e",
            "job://other/{owner}",
            "job://{cluster}x/{owner}",
            &format!("job://default/{}", "{a}".repeat(100)),
            &format!("job://default/{}", "x/".repeat(300)),
            &format!("job://default/ada/{}", "{cluster}/".repeat(40)),
        ];
        for bad in bad {
            assert_eq!(ResourceTemplate::parse(bad, &cluster()).unwrap_err().field, Some("resource"), "{bad}");
        }
    }

    #[test]
    fn both_have_the_same_placeholders() {
        let field = |of: &str, to: &str| check_pair(&host(of), &resource(to)).err().and_then(|refusal| refusal.field);
        assert_eq!(field("{a}.{b}", "job://default/{b}/{a}/{b}"), None);
        assert_eq!(field("a.b", "job://default/ada"), None);
        assert_eq!(field("{a}.b", "job://default/ada"), Some("host"));
        assert_eq!(field("a.b", "job://default/{a}"), Some("resource"));
        assert_eq!(field("{a}.b", "job://default/{b}"), Some("resource"));
    }

    #[test]
    fn a_host_is_read_in_one_way_or_told_to_have_more() {
        let template = host("{name}--{owner}.jobs.example.org");
        let read = |label: &str| match template.read(&format!("{label}.jobs.example.org")) {
            Reading::None => "none".to_owned(),
            Reading::Many => "many".to_owned(),
            Reading::One(values) => format!("{} {}", values[0].1, values[1].1),
        };
        for (label, expected) in [
            ("a--b", "a b"),
            ("web-1--ada-2", "web-1 ada-2"),
            ("a--b--c", "many"),
            ("a---b", "many"),
            ("---", "none"),
            ("----", "- -"),
            ("-----", "many"),
            ("--b", "none"),
            ("a--", "none"),
            ("--", "none"),
            ("a-b", "none"),
            ("", "none"),
            ("A--b", "none"),
            ("a_--b", "none"),
            ("ä--b", "none"),
            ("{name}--{owner}", "none"),
        ] {
            assert_eq!(read(label), expected, "{label}");
        }
        for host in
            ["a--b", "a--b.jobs", "a--b.jobs.example.org.x", "x.a--b.jobs.example.org", "a--b.jobsx.example.org"]
        {
            assert_eq!(template.read(host), Reading::None, "{host}");
        }
        assert_eq!(template.read(&format!("{}--b.jobs.example.org", "a".repeat(61))), Reading::None);
    }

    /// How many readings a label has, counted one by one.
    fn readings(pieces: &[Piece<'_>], label: &str) -> usize {
        match pieces.split_first() {
            None => usize::from(label.is_empty()),
            Some((Piece::Literal(literal), rest)) => {
                label.strip_prefix(literal).map_or(0, |label| readings(rest, label))
            }
            Some((Piece::Placeholder(_), rest)) => (1..=label.len()).map(|n| readings(rest, &label[n..])).sum(),
        }
    }

    #[test]
    fn two_walks_find_what_counting_finds() {
        let alphabet = ["a", "-"];
        let mut labels = vec![String::new()];
        for _ in 0..9 {
            let longer: Vec<_> = labels.iter().flat_map(|label| alphabet.map(|c| format!("{label}{c}"))).collect();
            labels.extend(longer);
            labels.sort_unstable();
            labels.dedup();
        }
        let mut seen = [0; 3];
        for template in [
            "{x}",
            "a{x}",
            "{x}a",
            "{x}-{y}",
            "{x}--{y}",
            "{x}-a-{y}",
            "a-{x}a{y}",
            "{x}a{y}-{z}",
            "{x}-{y}-{z}a",
            "a{x}a{y}a",
        ] {
            let template = host(template);
            let pieces: Vec<_> = Pieces(template.as_str()).flatten().collect();
            for label in labels.iter().filter(|label| !label.is_empty()) {
                let found = template.read(label);
                match readings(&pieces, label) {
                    0 => assert_eq!(found, Reading::None, "{template:?} {label}"),
                    1 => {
                        let Reading::One(values) = &found else { panic!("{template:?} {label}: {found:?}") };
                        let filled: String = pieces
                            .iter()
                            .map(|piece| match piece {
                                Piece::Literal(literal) => literal,
                                Piece::Placeholder(wanted) => values.iter().find(|(name, _)| name == wanted).unwrap().1,
                            })
                            .collect();
                        assert_eq!(&filled, label);
                    }
                    _ => assert_eq!(found, Reading::Many, "{template:?} {label}"),
                }
                seen[readings(&pieces, label).min(2)] += 1;
            }
        }
        assert!(seen.iter().all(|seen| *seen > 500), "{seen:?}");
    }

    #[test]
    fn what_comes_to_no_resource_is_none() {
        let template = resource("job://default/{owner}/{name}");
        let fill = |owner: &str| template.fill(&[("name", "x"), ("owner", owner)]).map(|resource| resource.to_string());
        assert_eq!(fill("ada").unwrap(), "job://default/ada/x");
        assert_eq!((fill("-a"), fill("a-"), fill("-")), (None, None, None));
        assert_eq!(template.fill(&[("owner", "ada")]), None);
        assert_eq!(resource("flow://default/ada").fill(&[]).unwrap().as_str(), "flow://default/ada");
    }
}
