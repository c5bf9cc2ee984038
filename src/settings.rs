//! Settings: `GATEMINT_*` variables, read once, judged together, and told about all at once.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::domain::{Policy, ids::Name, key::Algorithm};

/// Where the state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSetting {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// The process's memory: gone with it.
    Memory,
    /// A table of DynamoDB.
    DynamoDb(String),
}

/// Where private keys and peppers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultSetting {
    /// A directory.
    File(PathBuf),
    /// Secrets Manager, with what the secrets' names begin with.
    SecretsManager(String),
}

/// Which trust anchors AWS's certificates must end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRoots {
    /// Amazon's own four.
    Amazon,
    /// The system's.
    System,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Human,
    /// For machines.
    Json,
}

/// Everything that can be set. Durations have passed their ranges.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `GATEMINT_DATA`: one directory for store and vault.
    pub data: Option<PathBuf>,
    /// `GATEMINT_STORE`
    pub store: Option<StoreSetting>,
    /// `GATEMINT_VAULT`
    pub vault: Option<VaultSetting>,
    /// `GATEMINT_TLS_ROOTS`
    pub tls_roots: TlsRoots,
    /// `GATEMINT_LISTEN`
    pub listen: Option<SocketAddr>,
    /// `GATEMINT_METRICS_LISTEN`
    pub metrics_listen: Option<SocketAddr>,
    /// `GATEMINT_ISSUER`
    pub issuer: Option<String>,
    /// `GATEMINT_FUNCTION`
    pub function: Option<String>,
    /// `GATEMINT_CLUSTER`
    pub cluster: Name,
    /// `GATEMINT_ORG`
    pub organisation: String,
    /// `GATEMINT_ACCESS_LIFE`
    pub access_life: Duration,
    /// `GATEMINT_REFRESH_IDLE`
    pub refresh_idle: Duration,
    /// `GATEMINT_REFRESH_MAX`
    pub refresh_max: Duration,
    /// `GATEMINT_OFFLINE_IDLE`
    pub offline_idle: Duration,
    /// `GATEMINT_REUSE_WINDOW`
    pub reuse_window: Duration,
    /// `GATEMINT_GATE_MAX_LIFE`
    pub gate_max_life: Duration,
    /// `GATEMINT_KEY_SETS`
    pub key_sets: Vec<String>,
    /// `GATEMINT_LINK_TARGET`
    pub link_target: String,
    /// `GATEMINT_SIGNING_ALG`; none keeps what the newest key has
    pub signing_alg: Option<Algorithm>,
    /// `GATEMINT_KEY_ROTATE_EVERY`
    pub key_rotate_every: Duration,
    /// `GATEMINT_KEY_PUBLISH_AHEAD`
    pub key_publish_ahead: Duration,
    /// `GATEMINT_PASSWORD_MIN`, bytes
    pub password_min: usize,
    /// `GATEMINT_HASH_THREADS`
    pub hash_threads: usize,
    /// `GATEMINT_TRUSTED_PROXIES`
    pub trusted_proxies: usize,
    /// `GATEMINT_FORWARD_HEADERS`; none takes whichever family of headers is there
    pub forward_headers: Option<String>,
    /// `GATEMINT_CORS_ORIGINS`
    pub cors_origins: Vec<String>,
    /// `GATEMINT_LOG`: a filter as of tracing-subscriber
    pub log: Option<String>,
    /// `GATEMINT_LOG_FORMAT`
    pub log_format: Option<LogFormat>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The variable.
    pub variable: String,
    /// What it takes, with an example.
    pub expected: &'static str,
}

/// Every mistake in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings that cannot be used:")?;
        for Mistake { variable, expected } in &self.0 {
            write!(f, "\n  {variable}: {expected}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

const KNOWN: [&str; 29] = [
    "GATEMINT_ACCESS_LIFE",
    "GATEMINT_CLUSTER",
    "GATEMINT_CORS_ORIGINS",
    "GATEMINT_DATA",
    "GATEMINT_FORWARD_HEADERS",
    "GATEMINT_FUNCTION",
    "GATEMINT_GATE_MAX_LIFE",
    "GATEMINT_HASH_THREADS",
    "GATEMINT_ISSUER",
    "GATEMINT_KEY_PUBLISH_AHEAD",
    "GATEMINT_KEY_ROTATE_EVERY",
    "GATEMINT_KEY_SETS",
    "GATEMINT_LINK_TARGET",
    "GATEMINT_LISTEN",
    "GATEMINT_LOG",
    "GATEMINT_LOG_FORMAT",
    "GATEMINT_METRICS_LISTEN",
    "GATEMINT_OFFLINE_IDLE",
    "GATEMINT_ORG",
    // Of the command line alone, which reads it where there is no login.
    "GATEMINT_PASSED_CONFIG",
    "GATEMINT_PASSWORD_MIN",
    "GATEMINT_REFRESH_IDLE",
    "GATEMINT_REFRESH_MAX",
    "GATEMINT_REUSE_WINDOW",
    "GATEMINT_SIGNING_ALG",
    "GATEMINT_STORE",
    "GATEMINT_TLS_ROOTS",
    "GATEMINT_TRUSTED_PROXIES",
    "GATEMINT_VAULT",
];

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// What a variable's text becomes, or none if it is not of the right shape.
type Parse<T> = fn(&str) -> Option<T>;

struct Reader {
    variables: Vec<(String, String)>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn read<T>(&mut self, variable: &str, expected: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let (_, value) = self.variables.iter().find(|(name, _)| name == variable)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.mistakes.push(Mistake { variable: variable.to_owned(), expected });
        }
        parsed
    }

    fn duration(
        &mut self,
        variable: &str,
        usual: Duration,
        least: Duration,
        most: Duration,
        expected: &'static str,
    ) -> Duration {
        self.read(variable, expected, |text| parse_duration(text).filter(|it| (least..=most).contains(it)))
            .unwrap_or(usual)
    }
}

impl Settings {
    /// Reads the settings from variables (of the process's environment); others than `GATEMINT_*` are ignored.
    ///
    /// # Errors
    /// Every mistake: a variable that is not known, a value that is not of its shape or range.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Mistakes> {
        let variables: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with("GATEMINT_")).collect();
        let mistakes = variables
            .iter()
            .filter(|(name, _)| !KNOWN.contains(&name.as_str()))
            .map(|(name, _)| Mistake {
                variable: name.clone(),
                expected: "is not a setting of this version; the README lists them",
            })
            .collect();
        let mut reader = Reader { variables, mistakes };
        let path: Parse<PathBuf> = |text| (!text.is_empty()).then(|| PathBuf::from(text));
        let settings = Self {
            data: reader.read("GATEMINT_DATA", "a directory, e.g. /var/lib/gatemint", path),
            store: reader.read(
                "GATEMINT_STORE",
                "sqlite:PATH, dynamodb:TABLE or memory:, e.g. sqlite:/var/lib/gatemint/gatemint.db or dynamodb:gatemint",
                |text| match text.split_once(':')? {
                    ("sqlite", path) if !path.is_empty() => Some(StoreSetting::Sqlite(path.into())),
                    ("memory", "") => Some(StoreSetting::Memory),
                    ("dynamodb", table) if is_table(table) => Some(StoreSetting::DynamoDb(table.to_owned())),
                    _ => None,
                },
            ),
            vault: reader.read(
                "GATEMINT_VAULT",
                "file:DIR or secretsmanager:PREFIX, e.g. file:/var/lib/gatemint/vault or secretsmanager:gatemint",
                |text| match text.split_once(':')? {
                    ("file", path) if !path.is_empty() => Some(VaultSetting::File(path.into())),
                    ("secretsmanager", prefix) if is_prefix(prefix) => {
                        Some(VaultSetting::SecretsManager(prefix.to_owned()))
                    }
                    _ => None,
                },
            ),
            tls_roots: reader
                .read("GATEMINT_TLS_ROOTS", "amazon or system", |text| match text {
                    "amazon" => Some(TlsRoots::Amazon),
                    "system" => Some(TlsRoots::System),
                    _ => None,
                })
                .unwrap_or(TlsRoots::Amazon),
            listen: reader
                .read("GATEMINT_LISTEN", "an address and a port, e.g. 127.0.0.1:9000", |text| text.parse().ok()),
            metrics_listen: reader.read(
                "GATEMINT_METRICS_LISTEN",
                "an address and a port, e.g. 127.0.0.1:9464",
                |text| text.parse().ok(),
            ),
            issuer: reader.read(
                "GATEMINT_ISSUER",
                "an http or https URL without query, fragment and final slash, e.g. https://auth.example.org",
                |text| is_issuer(text).then(|| text.to_owned()),
            ),
            function: reader
                .read("GATEMINT_FUNCTION", "the name of a function, e.g. http", |text| Some(text.to_owned())),
            cluster: reader
                .read("GATEMINT_CLUSTER", "a name, e.g. default", |text| Name::parse(text, "cluster").ok())
                .unwrap_or_else(Name::usual_cluster),
            organisation: reader
                .read("GATEMINT_ORG", "a name, e.g. default-org", |text| {
                    Name::parse(text, "organisation").ok().map(|name| name.to_string())
                })
                .unwrap_or_else(|| "default-org".to_owned()),
            access_life: reader.duration(
                "GATEMINT_ACCESS_LIFE",
                15 * MINUTE,
                SECOND,
                DAY,
                "1s to 24h, e.g. 900s or 15m",
            ),
            refresh_idle: reader.duration("GATEMINT_REFRESH_IDLE", 7 * DAY, MINUTE, 400 * DAY, "1m to 400d, e.g. 7d"),
            refresh_max: reader.duration("GATEMINT_REFRESH_MAX", 30 * DAY, MINUTE, 400 * DAY, "1m to 400d, e.g. 30d"),
            offline_idle: reader.duration("GATEMINT_OFFLINE_IDLE", 30 * DAY, MINUTE, 400 * DAY, "1m to 400d, e.g. 30d"),
            reuse_window: reader.duration(
                "GATEMINT_REUSE_WINDOW",
                30 * SECOND,
                Duration::ZERO,
                MINUTE,
                "0s to 60s, e.g. 30s",
            ),
            gate_max_life: reader.duration(
                "GATEMINT_GATE_MAX_LIFE",
                DAY,
                SECOND,
                31 * DAY,
                "1s to 31d, e.g. 24h (what a gate token's duration may be at most)",
            ),
            key_sets: reader
                .read("GATEMINT_KEY_SETS", "1 to 16 names joined by commas, e.g. gatemint-jwt-secret", |text| {
                    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
                    let sound = names.len() <= 16
                        && names.iter().all(|name| crate::domain::ids::Name::parse(name, "key set").is_ok());
                    sound.then_some(names)
                })
                .unwrap_or_else(|| vec![Policy::KEY_SET.to_owned()]),
            link_target: reader
                .read(
                    "GATEMINT_LINK_TARGET",
                    "a path that may hold {namespace} and {name}, e.g. /console.html?vm={namespace}/{name}",
                    |text| is_link_target(text).then(|| text.to_owned()),
                )
                .unwrap_or_else(|| Policy::LINK_TARGET.to_owned()),
            signing_alg: reader.read("GATEMINT_SIGNING_ALG", "ES256, RS256 or EdDSA", Algorithm::parse),
            key_rotate_every: reader.duration(
                "GATEMINT_KEY_ROTATE_EVERY",
                30 * DAY,
                DAY,
                365 * DAY,
                "1d to 365d, e.g. 30d",
            ),
            key_publish_ahead: reader.duration(
                "GATEMINT_KEY_PUBLISH_AHEAD",
                DAY,
                150 * MINUTE,
                30 * DAY,
                "150m to 30d, e.g. 24h (verifiers may keep a JWKS for two hours)",
            ),
            password_min: reader
                .read("GATEMINT_PASSWORD_MIN", "8 to 1024 bytes, e.g. 15", |text| {
                    text.parse().ok().filter(|bytes| (8..=1024).contains(bytes))
                })
                .unwrap_or(15),
            hash_threads: reader
                .read("GATEMINT_HASH_THREADS", "1 to 256 threads, e.g. 1", |text| {
                    text.parse().ok().filter(|threads| (1..=256).contains(threads))
                })
                .unwrap_or_else(usual_hash_threads),
            trusted_proxies: reader
                .read("GATEMINT_TRUSTED_PROXIES", "0 to 16 proxies, e.g. 1", |text| {
                    text.parse().ok().filter(|proxies| *proxies <= 16)
                })
                .unwrap_or(0),
            forward_headers: reader.read("GATEMINT_FORWARD_HEADERS", "nginx, forwarded or envoy", |text| {
                ["nginx", "forwarded", "envoy"].contains(&text).then(|| text.to_owned())
            }),
            cors_origins: reader
                .read("GATEMINT_CORS_ORIGINS", "origins joined by commas, e.g. https://console.example.org", |text| {
                    text.split(',').map(|origin| is_origin(origin).then(|| origin.to_owned())).collect()
                })
                .unwrap_or_default(),
            log: reader
                .read("GATEMINT_LOG", "a level or a filter, e.g. info or gatemint=debug", |text| Some(text.to_owned())),
            log_format: reader.read("GATEMINT_LOG_FORMAT", "human or json", |text| match text {
                "human" => Some(LogFormat::Human),
                "json" => Some(LogFormat::Json),
                _ => None,
            }),
        };
        if settings.data.is_some() && (settings.store.is_some() || settings.vault.is_some()) {
            reader.mistakes.push(Mistake {
                variable: "GATEMINT_DATA".into(),
                expected: "stands for GATEMINT_STORE and GATEMINT_VAULT together; set it or the two",
            });
        }
        let in_the_cloud = (
            settings.store.as_ref().map(|store| matches!(store, StoreSetting::DynamoDb(_))),
            settings.vault.as_ref().map(|vault| matches!(vault, VaultSetting::SecretsManager(_))),
        );
        if matches!(in_the_cloud, (Some(store), Some(vault)) if store != vault) {
            reader.mistakes.push(Mistake {
                variable: "GATEMINT_VAULT".into(),
                expected: "belongs to GATEMINT_STORE: file: with sqlite: or memory:, secretsmanager: with dynamodb:",
            });
        }
        if settings.key_rotate_every <= settings.key_publish_ahead {
            reader.mistakes.push(Mistake {
                variable: "GATEMINT_KEY_ROTATE_EVERY".into(),
                expected: "must be longer than GATEMINT_KEY_PUBLISH_AHEAD",
            });
        }
        if settings.refresh_max < settings.access_life {
            reader.mistakes.push(Mistake {
                variable: "GATEMINT_REFRESH_MAX".into(),
                expected: "must not be shorter than GATEMINT_ACCESS_LIFE",
            });
        }
        if reader.mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(reader.mistakes)) }
    }
}

/// All cores but one, which is left to refreshes; at least one.
fn usual_hash_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).clamp(1, 256))
}

/// A table's name, or its ARN, as DynamoDB takes them.
fn is_table(text: &str) -> bool {
    let name = text.rsplit_once(":table/").map_or(text, |(_, name)| name);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (text == name || text.starts_with("arn:")) && (3..=255).contains(&name.len()) && name.bytes().all(allowed)
}

/// What a secret's name may begin with in Secrets Manager, which takes 512 characters in all.
fn is_prefix(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
    !text.is_empty() && text.len() <= 256 && text.bytes().all(allowed) && !text.starts_with('/') && !text.ends_with('/')
}

/// A duration as it is written in settings, and as an option: `900s`, `15m`, `24h`, `30d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(unit).map(Duration::from_secs)
}

/// A path on this host, with a query string or not, whose only placeholders are the two.
fn is_link_target(text: &str) -> bool {
    let rest = text.replace("{namespace}", "").replace("{name}", "");
    text.len() <= 1024
        && text.starts_with('/')
        && !text.starts_with("//")
        && !text.starts_with("/{")
        && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\{}<>\"`^|#".contains(&byte))
}

/// RFC 8414 §2: a URL with a host, without query and fragment.
fn is_issuer(text: &str) -> bool {
    let Some((host, path)) = after_scheme(text).map(|rest| rest.split_once('/').unwrap_or((rest, ""))) else {
        return false;
    };
    is_host(host)
        && text.len() <= 253
        && !text.ends_with('/')
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte))
}

fn is_origin(text: &str) -> bool {
    after_scheme(text).is_some_and(is_host)
}

fn after_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))
}

/// A host with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let sound = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)),
    };
    sound && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// Where `serve` listens unless told otherwise.
pub const USUAL_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Mistakes> {
        Settings::read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_variable() {
        let mistakes = read(&[
            ("GATEMINT_LISTEN", "localhost"),
            ("GATEMINT_ACESS_LIFE", "15m"),
            ("GATEMINT_REUSE_WINDOW", "61s"),
            ("GATEMINT_STORE", "dynamodb:a table"),
            ("PATH", "/bin"),
        ])
        .unwrap_err();
        let text = mistakes.to_string();
        assert_eq!(mistakes.0.len(), 4, "{text}");
        for variable in ["GATEMINT_LISTEN", "GATEMINT_ACESS_LIFE", "GATEMINT_REUSE_WINDOW", "GATEMINT_STORE"] {
            assert!(text.contains(variable), "{text}");
        }
    }

    #[test]
    fn store_and_vault_are_both_on_this_machine_or_both_in_the_cloud() {
        let stores = [("sqlite:/a/b", false), ("memory:", false), ("dynamodb:gatemint", true)];
        for (store, cloud_store) in stores {
            for (vault, cloud_vault) in [("file:/a", false), ("secretsmanager:gatemint", true)] {
                let settings = read(&[("GATEMINT_STORE", store), ("GATEMINT_VAULT", vault)]);
                assert_eq!(settings.is_ok(), cloud_store == cloud_vault, "{store} {vault}");
            }
        }
    }

    #[test]
    fn a_table_is_a_name_or_an_arn() {
        for good in ["gatemint", "a_b.c-d", "arn:aws:dynamodb:us-east-1:123456789012:table/gatemint"] {
            assert!(is_table(good), "{good}");
        }
        for bad in ["", "ab", "a b", "x/gatemint", ":table/gatemint", "a\n", "arn:aws:dynamodb:us-east-1:1:table/a b"] {
            assert!(!is_table(bad), "{bad}");
        }
    }

    #[test]
    fn nothing_set_is_the_default() {
        let settings = read(&[]).unwrap();
        assert_eq!((settings.access_life, settings.refresh_idle), (15 * MINUTE, 7 * DAY));
        assert!(settings.hash_threads >= 1);
    }

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        let good = [("900s", 900), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000), ("0s", 0)];
        for (text, seconds) in good {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "s", "900", "-1h", "1.5h", "1x", "1 h", "99999999999999999999d", "１s", "+1s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_issuer_is_a_plain_url() {
        for good in
            ["http://127.0.0.1:9000", "https://auth.example.org", "https://example.org/auth", "http://[::1]:9000"]
        {
            assert!(is_issuer(good), "{good}");
        }
        for bad in [
            "",
            "auth.example.org",
            "ftp://x",
            "https://",
            "https://x/",
            "https://x?y",
            "https://x#y",
            "https://x:0",
            "https://x:99999",
            "https://a b",
            "https://u@x",
        ] {
            assert!(!is_issuer(bad), "{bad}");
        }
    }
}
