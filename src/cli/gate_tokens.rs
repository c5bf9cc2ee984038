//! `gatemint gate-token`

use axum::http::Method;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    CliError, Global,
    door::{Access, Door, OPERATOR, all_pages},
    output,
};
use crate::{
    client::ClientError,
    domain::{
        Secret, Service,
        gate::{
            GateToken as Record,
            mint::{self, Shown},
        },
        ids::Name,
    },
    http::gate_token_object,
    settings::Settings,
    store::Row,
};

#[derive(Subcommand)]
pub(super) enum GateToken {
    /// Make a gate token, and print it: it is all that stands on stdout
    #[command(after_help = "\
Examples:
  gatemint gate-token create --allow '/reports/*' --duration 8h
  gatemint gate-token create ci --allow /hooks/build --verb post -n vms
  (umask 077; gatemint gate-token create --allow 'https://train--ada.jobs.example.org/*' > token)

It takes `write` on the namespace's gate tokens, which an operator grants: gatemint acl grant gatetoken:NS USER write --data DIR
A path opens no host that a site maps; a URL on such a host takes `manage` on the site's resource.")]
    Create {
        #[command(flatten)]
        spec: Spec,
        /// The namespace [default: one's own]
        #[arg(short = 'n', long, value_name = "NS")]
        namespace: Option<String>,
    },
    /// List the gate tokens of a namespace
    #[command(alias = "ls")]
    List {
        /// The namespace [default: one's own]
        #[arg(short = 'n', long, value_name = "NS")]
        namespace: Option<String>,
    },
    /// Show a gate token
    #[command(after_help = "Example:\n  (umask 077; gatemint gate-token get ci --token -n vms > token)")]
    Get {
        /// Its name
        name: String,
        /// The namespace [default: one's own]
        #[arg(short = 'n', long, value_name = "NS")]
        namespace: Option<String>,
        /// Print the token itself, and nothing else; it is signed anew
        #[arg(long)]
        token: bool,
    },
    /// End a gate token, and every link and cookie that came of it, at once
    #[command(aliases = ["delete", "rm"], after_help = "Example:\n  gatemint gate-token revoke ci -n vms")]
    Revoke {
        /// Its name
        name: String,
        /// The namespace [default: one's own]
        #[arg(short = 'n', long, value_name = "NS")]
        namespace: Option<String>,
    },
}

/// What a gate token is to be.
#[derive(Args)]
pub(super) struct Spec {
    /// Its name in the namespace [default: one is made up]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// What it opens: a path, or a whole URL; `*` at the end stands for anything. May be given again
    #[arg(long = "allow", value_name = "URL")]
    pub(super) urls: Vec<String>,
    /// A method, e.g. post; may be given again [default: get]
    #[arg(long = "verb", value_name = "METHOD")]
    pub(super) verbs: Vec<String>,
    /// From when on, e.g. 2026-11-22T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// How long, e.g. 30m or 8h [default: 1h]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    duration: Option<String>,
    /// A link that works once: what is printed is good for a link alone
    #[arg(long)]
    pub(super) one_time: bool,
}

/// What the commands read of a GateToken.
#[derive(Deserialize)]
pub(super) struct View {
    pub(super) metadata: Metadata,
    spec: ViewedSpec,
    status: Status,
}

#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: String,
}

#[derive(Deserialize)]
struct ViewedSpec {
    urls: Vec<String>,
    verbs: Vec<String>,
    #[serde(rename = "one-time", default)]
    one_time: bool,
}

#[derive(Deserialize)]
struct Status {
    token: Option<String>,
    conditions: Vec<Condition>,
    data: Data,
}

#[derive(Deserialize)]
struct Condition {
    status: String,
    message: String,
}

#[derive(Deserialize)]
struct Data {
    from: String,
    until: String,
}

/// A GateToken, as it came and as it is read.
pub(super) struct Got {
    pub(super) object: Value,
    pub(super) view: View,
}

impl Got {
    fn of(object: Value) -> Result<Self, CliError> {
        let view = View::deserialize(&object).map_err(|_| {
            CliError::Failed("what answered is no GateToken: is the service a gatemint of this version?".into())
        })?;
        Ok(Self { object, view })
    }

    /// The signed token, which goes onto terminals and into URLs.
    pub(super) fn token(&self) -> Result<Secret<String>, CliError> {
        let token = self.view.status.token.as_deref().ok_or_else(|| {
            CliError::Failed(format!(
                "{}/{} has no token to show: {}, or you may only read it",
                self.view.metadata.namespace,
                self.view.metadata.name,
                self.view.state()
            ))
        })?;
        let is_token = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if token.split('.').count() != 3 || !token.split('.').all(is_token) {
            return Err(CliError::Failed("the service's answer holds no token".into()));
        }
        Ok(Secret::new(token.to_owned()))
    }
}

impl View {
    fn state(&self) -> String {
        match self.status.conditions.first() {
            Some(condition) if condition.status == "True" => "ready".to_owned(),
            Some(condition) => condition.message.clone(),
            None => "unknown".to_owned(),
        }
    }

    /// Until when it is good, and how it is ended.
    pub(super) fn told(&self) -> String {
        let Metadata { name, namespace } = &self.metadata;
        format!(
            "{namespace}/{name}, good until {}. To end it: gatemint gate-token revoke {name} -n {namespace}",
            self.status.data.until
        )
    }
}

impl GateToken {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let door = Door::open(settings, global).await?;
        match self {
            Self::Create { spec, namespace } => {
                let made = create(&door, spec, namespace).await?;
                let token = made.token()?;
                output::aside(&made.view.told());
                if global.json {
                    return output::json(&made.object);
                }
                output::line(token.expose());
                Ok(())
            }
            Self::List { namespace } => {
                let all = door.gate_tokens(namespace).await?;
                if global.json {
                    return output::json(&all.into_iter().map(|got| got.object).collect::<Vec<_>>());
                }
                let rows = all.into_iter().map(|got| {
                    let kind = if got.view.spec.one_time { "link" } else { "token" };
                    let (state, opens) = (got.view.state(), opens(&got.view.spec));
                    vec![got.view.metadata.name, kind.to_owned(), state, got.view.status.data.until, opens]
                });
                output::table(&["name", "kind", "state", "until", "opens"], rows);
                Ok(())
            }
            Self::Get { name, namespace, token } => {
                let got = door.gate_token(namespace, &name).await?;
                if token && !global.json {
                    output::line(got.token()?.expose());
                    return Ok(());
                }
                show(&got, global)
            }
            Self::Revoke { name, namespace } => {
                let namespace = door.revoke_gate_token(namespace, &name).await?;
                output::aside(&format!("{namespace}/{name} is ended, with every link and cookie that came of it."));
                Ok(())
            }
        }
    }
}

/// The first URL, and how many there are besides.
fn opens(spec: &ViewedSpec) -> String {
    let first = spec.urls.first().map(String::as_str).unwrap_or_default();
    match spec.urls.len() {
        0 | 1 => first.to_owned(),
        more => format!("{first} and {} more", more - 1),
    }
}

fn show(got: &Got, global: &Global) -> Result<(), CliError> {
    if global.json {
        return output::json(&got.object);
    }
    let View { metadata, spec, status } = &got.view;
    output::sheet(&[
        ("Name", metadata.name.clone()),
        ("Namespace", metadata.namespace.clone()),
        ("State", got.view.state()),
        ("Opens", spec.urls.join(" ")),
        ("Methods", spec.verbs.join(" ")),
        ("From", status.data.from.clone()),
        ("Until", status.data.until.clone()),
        ("One-time", if spec.one_time { "yes" } else { "no" }.to_owned()),
    ]);
    Ok(())
}

/// The path of a namespace's gate tokens.
fn path_of(namespace: &str) -> [&str; 6] {
    ["apis", "kubegateway.kubevirt.io", "v1beta1", "namespaces", namespace, "gatetokens"]
}

/// Makes a gate token, with the login.
///
/// # Errors
/// On a store: a gate token is made by an account, and stands and ends with it.
pub(super) async fn create(door: &Door, spec: Spec, namespace: Option<String>) -> Result<Got, CliError> {
    let Door::Remote(access) = door else {
        return Err(CliError::Usage(
            "a gate token is made by a user, and ends with the user: sign in (gatemint login --url URL), and leave --data, \
             GATEMINT_DATA and GATEMINT_STORE out"
                .into(),
        ));
    };
    if spec.urls.is_empty() {
        return Err(CliError::Usage("what is it to open? give --allow URL, e.g. --allow '/reports/*'".into()));
    }
    let namespace = access.namespace_or_own(namespace).await?;
    let mut metadata = json!({ "namespace": namespace });
    match spec.name {
        Some(name) => metadata["name"] = name.into(),
        None => metadata["generateName"] = "cli-".into(),
    }
    let mut wanted = json!({ "urls": spec.urls });
    if !spec.verbs.is_empty() {
        wanted["verbs"] = spec.verbs.into();
    }
    for (field, text) in [("from", spec.from), ("duration", spec.duration)] {
        if let Some(text) = text {
            wanted[field] = text.into();
        }
    }
    if spec.one_time {
        wanted["one-time"] = true.into();
    }
    let body = json!({
        "apiVersion": "kubegateway.kubevirt.io/v1beta1", "kind": "GateToken", "metadata": metadata, "spec": wanted
    });
    let made = access.ask_at(Method::POST, &path_of(&namespace), &[], Some(body)).await;
    Got::of(made.map_err(|error| access.with_next_step(error, &namespace, "write"))?)
}

impl Access {
    /// A namespace, or else one's own.
    ///
    /// # Errors
    /// The service does not answer.
    pub(super) async fn namespace_or_own(&self, namespace: Option<String>) -> Result<String, CliError> {
        match namespace {
            Some(namespace) => Ok(namespace),
            None => Ok(self.own_namespace().await?),
        }
    }

    /// What an operator has to do, if something was not granted.
    fn with_next_step(&self, error: impl Into<CliError>, namespace: &str, action: &str) -> CliError {
        match self.with_what_to_grant(error) {
            CliError::Client(ClientError::Forbidden(text)) => {
                self.to_be_granted(&text, action, &format!("gatetoken:{namespace}"))
            }
            other => other,
        }
    }
}

fn needed(namespace: Option<String>) -> Result<Name, CliError> {
    let namespace = namespace.ok_or_else(|| CliError::Usage("which namespace? give -n NS".into()))?;
    Ok(Name::parse(&namespace, "namespace")?)
}

async fn stored(service: &Service, namespace: &Name) -> Result<Vec<Row<Record>>, CliError> {
    let now = service.now();
    all_pages(async |after, limit| mint::standing_of(service, now, namespace, after, limit).await).await
}

async fn stored_one(service: &Service, namespace: &Name, name: &str) -> Result<Row<Record>, CliError> {
    Ok(mint::find(service, service.now(), namespace, name).await?)
}

impl Door {
    async fn gate_tokens(&self, namespace: Option<String>) -> Result<Vec<Got>, CliError> {
        let objects = match self {
            Self::Store(service) => {
                let rows = stored(service, &needed(namespace)?).await?.into_iter();
                rows.map(|row| gate_token_object(&Shown { row, token: None }, service.now())).collect()
            }
            Self::Remote(access) => {
                let namespace = access.namespace_or_own(namespace).await?;
                let all = access.all_at(&path_of(&namespace)).await;
                all.map_err(|error| access.with_next_step(error, &namespace, "read"))?
            }
        };
        objects.into_iter().map(Got::of).collect()
    }

    async fn gate_token(&self, namespace: Option<String>, name: &str) -> Result<Got, CliError> {
        Got::of(match self {
            Self::Store(service) => {
                let row = stored_one(service, &needed(namespace)?, name).await?;
                gate_token_object(&Shown { row, token: None }, service.now())
            }
            Self::Remote(access) => {
                let namespace = access.namespace_or_own(namespace).await?;
                let path = [&path_of(&namespace)[..], &[name]].concat();
                let got = access.ask_at(Method::GET, &path, &[], None).await;
                got.map_err(|error| access.with_next_step(error, &namespace, "read"))?
            }
        })
    }

    /// Ends a gate token; says in which namespace.
    async fn revoke_gate_token(&self, namespace: Option<String>, name: &str) -> Result<String, CliError> {
        match self {
            Self::Store(service) => {
                let namespace = needed(namespace)?;
                let row = stored_one(service, &namespace, name).await?;
                mint::end(service, service.now(), row, OPERATOR).await?;
                Ok(namespace.to_string())
            }
            Self::Remote(access) => {
                let namespace = access.namespace_or_own(namespace).await?;
                let path = [&path_of(&namespace)[..], &[name]].concat();
                let ended: Result<Value, _> = access.ask_at(Method::DELETE, &path, &[], None).await;
                ended.map_err(|error| access.with_next_step(error, &namespace, "write"))?;
                Ok(namespace)
            }
        }
    }
}
