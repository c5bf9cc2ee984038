//! `gatemint token inspect`: what any JWT says, and whether it is valid.

use std::{
    fs::File,
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{CliError, Global, output};
use crate::{
    client::{Http, WebUrl},
    clock::{Clock, SystemClock, Timestamp},
    domain::key::foreign::{self, BadJwks, Fault, Inspection, Jwks, MAX_JWKS, NumericDate, Object, Signature},
};

/// A longer input is not read to its end: it holds no token that would be looked at, nor a reply with one.
const MOST: u64 = 512 * 1024;

#[derive(Args)]
#[command(after_help = "\
The answer is `valid`, or `not valid` with every reason; exit code 0 or 1. Judged are the signature, exp, nbf and iat.
Whether the token is for you (aud), from whom you want (iss), and not revoked, it does not say.

Examples:
  gatemint token inspect --jwks https://auth.example.org/.well-known/jwks.json < access-token
  jq -r .access_token reply.json | gatemint token inspect --jwks keys.json --json")]
pub(super) struct Inspect {
    /// A file with the token; `-` is stdin. A token is never an argument itself: every process could read it there
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// The issuer's public keys (JWKS), to check the signature with: a file, or an http or https URL
    #[arg(long, value_name = "FILE|URL")]
    jwks: Option<String>,
}

impl Inspect {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        let input = self.input(global)?;
        let (token, taken_from) = token_in(&input);
        if let Some(member) = taken_from {
            output::aside(&format!("The token is the reply's {member}."));
        }
        let keys = match &self.jwks {
            Some(place) => Some(keys_at(place).await?),
            None => None,
        };
        let now = SystemClock.now();
        let found = foreign::inspect(&token, keys.as_ref(), now);
        if global.json {
            output::json(&InspectionView::of(&found))?;
        } else {
            show(&found, now);
        }
        if found.faults.contains(&Fault::NoKeys) {
            output::aside(&next_step(found.claims.as_ref()));
        }
        if found.is_valid() { Ok(()) } else { Err(CliError::AnsweredNo) }
    }

    fn input(&self, global: &Global) -> Result<String, CliError> {
        let stdin = std::io::stdin();
        if self.file != Path::new("-") {
            let looks = self.file.to_str().is_some_and(|name| name.starts_with("eyJ") && name.contains('.'));
            return read_file(&self.file, MOST).map(text).map_err(|error| {
                // Without the name, if it is a token: an error may end in a log.
                if looks && !self.file.exists() {
                    CliError::Usage(
                        "a token as an argument can be read by every process of this machine; pass it on stdin, or a \
                         file that holds it"
                            .into(),
                    )
                } else {
                    CliError::Failed(format!("{}: {error}", self.file.display()))
                }
            });
        }
        if stdin.is_terminal() {
            if global.no_input {
                return Err(CliError::Usage(
                    "a token is needed, on stdin or in a file: gatemint token inspect FILE".into(),
                ));
            }
            output::aside("Paste the token, then a line end and Ctrl-D.");
        }
        let bytes = read(stdin.lock(), MOST);
        bytes.map(text).map_err(|error| CliError::Failed(format!("stdin could not be read: {error}")))
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// One byte more than `most` at most, so that what is too long is seen to be.
fn read(from: impl Read, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_file(file: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    read(File::open(file)?, most)
}

/// The token in what was given: a line end after it, `Bearer` before it and quotes around it are no part of it. Of a token
/// endpoint's reply it is the access token, or else the id token; which, comes back too.
fn token_in(input: &str) -> (String, Option<&'static str>) {
    let mut text = input.trim_start_matches('\u{feff}').trim();
    if text.starts_with('{')
        && let Ok(Value::Object(reply)) = serde_json::from_str(text)
    {
        let token = |name| Some((reply.get(name)?.as_str()?.to_owned(), Some(name)));
        if let Some(found) = token("access_token").or_else(|| token("id_token")) {
            return found;
        }
    }
    for prefix in ["Authorization:", "Bearer ", "DPoP "] {
        if text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)) {
            text = text[prefix.len()..].trim_start();
        }
    }
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    (bare.to_owned(), None)
}

/// Reads the keys where the user says, and never where a token says.
async fn keys_at(place: &str) -> Result<Jwks, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(one_line(&format!("no keys: {error}")));
    let scheme = place.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let text = if place.contains("://") || matches!(scheme.as_deref(), Some("http" | "https")) {
        let url = WebUrl::parse(place).map_err(|error| CliError::Usage(format!("--jwks: {error}")))?;
        if url.is_exposed() {
            output::aside(
                "WARNING: keys that come over plain http can be changed on their way, and so can the verdict; use https",
            );
        }
        Http::new(&url).map_err(|error| failed(&error))?.get(&url, MAX_JWKS).await.map_err(|error| failed(&error))?
    } else {
        read_file(Path::new(place), MAX_JWKS as u64).map_err(|error| failed(&format!("{place}: {error}")))?
    };
    Jwks::parse(&text).map_err(|error| {
        let next = if matches!(error, BadJwks::Metadata(_)) { "; give that to --jwks" } else { "" };
        failed(&format!("{place}: {error}{next}"))
    })
}

/// What `--json` shows.
#[derive(Serialize)]
struct InspectionView<'a> {
    valid: bool,
    /// `valid`, `mismatch` or `not_checked`.
    signature: &'static str,
    /// The `kid` of the key that matched.
    key: Option<&'a str>,
    reasons: Vec<ReasonView>,
    notes: &'a [&'static str],
    header: Option<&'a Object>,
    claims: Option<&'a Object>,
}

#[derive(Serialize)]
struct ReasonView {
    code: &'static str,
    text: String,
}

impl<'a> InspectionView<'a> {
    fn of(found: &'a Inspection) -> Self {
        let (signature, key) = match &found.signature {
            Signature::Matches(kid) => ("valid", kid.as_deref()),
            Signature::Mismatch => ("mismatch", None),
            Signature::NotChecked => ("not_checked", None),
        };
        Self {
            valid: found.is_valid(),
            signature,
            key,
            reasons: found
                .faults
                .iter()
                .map(|fault| ReasonView { code: fault.code(), text: fault.to_string() })
                .collect(),
            notes: &found.notes,
            header: found.header.as_ref(),
            claims: found.claims.as_ref(),
        }
    }
}

fn show(found: &Inspection, now: Timestamp) {
    for (title, members) in [("header", &found.header), ("claims", &found.claims)] {
        if let Some(members) = members {
            output::line(title);
            show_members(members, now);
        }
    }
    if found.header.is_some() {
        output::line(&match &found.signature {
            Signature::Matches(Some(kid)) => format!("signature  matches the key {}", one_line(kid)),
            Signature::Matches(None) => "signature  matches a key without kid".to_owned(),
            Signature::Mismatch => "signature  does not match".to_owned(),
            Signature::NotChecked => "signature  not checked".to_owned(),
        });
    }
    for note in &found.notes {
        output::line(&format!("note: {note}"));
    }
    for fault in &found.faults {
        output::line(&format!("not valid: {}", one_line(&fault.to_string())));
    }
    if found.is_valid() {
        output::line("valid");
    }
}

fn show_members(members: &Object, now: Timestamp) {
    // A name of a stranger's choice must not push all the values off the screen.
    const WIDEST: usize = 24;
    let width = members.members().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(WIDEST);
    for (name, value) in members.members() {
        output::line(&format!("  {:width$}  {}", one_line(name), shown(name, value, now)));
    }
}

/// A claim's value, and in words if it is a time.
fn shown(name: &str, value: &Value, now: Timestamp) -> String {
    let plain = match value {
        // What would read as another kind of value, or as none, keeps its quotes.
        Value::String(text) if !text.is_empty() && serde_json::from_str::<Value>(text).is_err() => one_line(text),
        other => one_line(&other.to_string()),
    };
    match NumericDate::of(value).filter(|_| NumericDate::CLAIMS.contains(&name)) {
        Some(date) => match date.rfc3339() {
            Some(moment) => format!("{plain}  {moment} ({})", date.words(now)),
            None => format!("{plain}  ({}; are these milliseconds?)", date.words(now)),
        },
        None => plain,
    }
}

/// The text without what a terminal would obey, a line end included: one claim must not look like two.
fn one_line(text: &str) -> String {
    output::harmless(text).replace('\n', "\u{fffd}")
}

/// Where the keys could be. The URL is only shown, never fetched: the token says it, and nobody has checked the token.
fn next_step(claims: Option<&Object>) -> String {
    let ask = "The signature was not checked. Give the issuer's keys with --jwks FILE or --jwks URL";
    let issuer = claims.and_then(|claims| claims.text("iss")).filter(|issuer| is_plain_url(issuer));
    let Some(issuer) = issuer.map(|issuer| issuer.trim_end_matches('/')) else { return format!("{ask}.") };
    let realm = issuer.rsplit_once("/realms/").is_some_and(|(_, realm)| !realm.is_empty() && !realm.contains('/'));
    let path = if realm { "/protocol/openid-connect/certs" } else { "/.well-known/jwks.json" };
    format!(
        "{ask}. If you trust the issuer that it names, likely:\n  --jwks {issuer}{path}\n(or what jwks_uri says in \
         {issuer}/.well-known/openid-configuration)"
    )
}

/// Whether it is a URL of characters that mean nothing to a shell: it will be pasted into one.
fn is_plain_url(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:[]%".contains(c);
    text.len() <= 200 && text.chars().all(plain) && WebUrl::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_around_a_token_is_no_part_of_it() {
        for around in [
            "a.b.c",
            " a.b.c\r\n",
            "\u{feff}a.b.c\n",
            "Bearer a.b.c",
            "bearer   a.b.c\n",
            "Authorization: Bearer a.b.c",
            "DPoP a.b.c",
            "\"a.b.c\"\n",
        ] {
            assert_eq!(token_in(around), ("a.b.c".to_owned(), None), "{around:?}");
        }
        let reply = r#" {"token_type":"Bearer","access_token":"a.b.c","id_token":"d.e.f"} "#;
        assert_eq!(token_in(reply), ("a.b.c".to_owned(), Some("access_token")));
        assert_eq!(token_in(r#"{"id_token":"d.e.f"}"#), ("d.e.f".to_owned(), Some("id_token")));
        for other in ["", "{", "{\"access_token\":1}", "a b.c", "é"] {
            assert_eq!(token_in(other), (other.to_owned(), None));
        }
    }

    #[test]
    fn a_claim_is_shown_as_what_it_is() {
        let now = Timestamp(1_800_000_000);
        assert_eq!(shown("sub", &json!("ada"), now), "ada");
        assert_eq!(shown("sub", &json!("17"), now), "\"17\"");
        assert_eq!(shown("sub", &json!(""), now), "\"\"");
        assert_eq!(shown("aud", &json!(["a", "b"]), now), r#"["a","b"]"#);
        assert_eq!(shown("exp", &json!(1_800_000_900), now), "1800000900  2027-01-15T08:15:00Z (in 15 minutes)");
        assert_eq!(shown("exp", &json!("1800000900"), now), "\"1800000900\"");
        assert!(shown("exp", &json!(1_800_000_900_000_i64), now).ends_with("years; are these milliseconds?)"));
        assert_eq!(shown("n", &json!(1_800_000_900), now), "1800000900");
        assert_eq!(one_line("a\nvalid: \u{1b}[2J\u{9b}\u{202e}b"), "a\u{fffd}valid: \u{fffd}[2J\u{fffd}\u{fffd}b");
    }

    #[test]
    fn the_next_step_can_be_pasted_whatever_the_token_says() {
        let step = |iss: &str| next_step(Some(&Object::parse(json!({ "iss": iss }).to_string().as_bytes()).unwrap()));
        assert!(step("https://auth.example.org/").contains("--jwks https://auth.example.org/.well-known/jwks.json\n"));
        assert!(step("https://a.example/realms/x").contains("/realms/x/protocol/openid-connect/certs"));
        for strange in [
            "ada",
            "https://x/$(reboot)",
            "https://x/;ls",
            "https://x/\n",
            "http://x y",
            "file:///etc/passwd",
            "https://u:p@x",
        ] {
            assert!(!step(strange).contains("likely"), "{strange}");
        }
    }
}
