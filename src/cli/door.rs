//! Which service a command speaks to: the store itself, for an operator, or a gatemint over HTTP, with the login.

use axum::http::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{CliError, Global, login, passed_config::Passed};
use crate::{
    client::{ClientError, PassedConfig, Remote, ServiceAccountToken},
    clock::Timestamp,
    domain::{Refusal, Secret, Service, ids::Name},
    http::UserView,
    settings::Settings,
    wiring::{self, Opener, StateLocation, WiringError},
};

/// Who the audit events name.
pub(super) const OPERATOR: &str = "operator";

/// How many items of a service's list are taken: what has more than that is no list.
const MOST: usize = 500_000;

/// How many items are asked for at a time.
const PAGE: usize = 90;

/// What a command works on.
pub(super) enum Door {
    /// The state itself.
    Store(Box<Service>),
    /// A service that runs elsewhere, with what the login may do there.
    Remote(Box<Access>),
}

impl Door {
    /// Where a URI is that does not say it; on a store only the cluster is known.
    ///
    /// # Errors
    /// The service does not answer.
    pub(super) async fn place(&self) -> Result<Place, CliError> {
        match self {
            Self::Store(service) => Ok(Place {
                cluster: Some(service.policy.cluster.clone()),
                organisation: Some(service.policy.organisation.clone()),
                namespace: None,
            }),
            Self::Remote(access) => access.place().await,
        }
    }

    /// The one rule: `--data`, `GATEMINT_DATA` or `GATEMINT_STORE` name the store itself; else the login's service.
    ///
    /// # Errors
    /// The store cannot be opened; nobody is signed in; the session is over.
    pub(super) async fn open(settings: &Settings, global: &Global) -> Result<Self, CliError> {
        if StateLocation::of_settings(settings)?.is_none() {
            return Ok(Self::Remote(Box::new(Access::of_login(global).await?)));
        }
        if global.url.is_some() {
            return Err(CliError::Usage(
                "a store is named (--data, GATEMINT_DATA or GATEMINT_STORE) and --url too: leave one of them out"
                    .into(),
            ));
        }
        Ok(Self::Store(Box::new(store(settings).await?)))
    }
}

/// A gatemint and a token for it.
pub(super) struct Access {
    remote: Remote,
    /// Whose it is, as permissions name it.
    pub(super) username: String,
    pub(super) token: Secret<String>,
    /// When the token ends, if that is known.
    pub(super) token_ends_at: Option<Timestamp>,
    /// When the login ends unless it is used before, if there is one and that is known.
    pub(super) login_ends_at: Option<Timestamp>,
    /// Namespace and name, if it is a service account's.
    service_account: Option<(String, String)>,
    /// What stands in place of a login, and the variable that it is from.
    passed: Option<Box<Passed>>,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// Where a URI is that does not say it.
pub(super) struct Place {
    /// None where one may see none.
    pub(super) cluster: Option<Name>,
    /// What others have between cluster and namespace, and we have not.
    pub(super) organisation: Option<String>,
    pub(super) namespace: Option<Name>,
}

/// What is of use here of what the service tells about itself.
#[derive(Deserialize)]
struct ServiceConfig {
    #[serde(default)]
    clusters: Vec<ServiceCluster>,
}

#[derive(Deserialize)]
struct ServiceCluster {
    name: String,
    #[serde(default)]
    orgs: Vec<String>,
}

/// A list as Kubernetes has it.
#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
    metadata: ListMetadata,
}

#[derive(Deserialize)]
struct ListMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl Access {
    /// With a fresh access token of the login, or with what stands in its place.
    ///
    /// # Errors
    /// Nobody is signed in, or elsewhere than `--url` says; the session is over; a passed config is malformed.
    pub(super) async fn of_login(global: &Global) -> Result<Self, CliError> {
        if let Some(passed) = login::passed_in_place_of_a_login()? {
            let token = passed.config.token.clone();
            let access = Self::of_service_account(&passed.config.url, token, global)?;
            return Ok(Self { passed: Some(Box::new(passed)), ..access });
        }
        let (remote, session) = login::refresh(global).await?;
        Ok(Self {
            remote,
            username: session.login.username,
            token: session.access,
            token_ends_at: session.access_ends_at,
            login_ends_at: session.login.expires_at,
            service_account: None,
            passed: None,
        })
    }

    /// With a service account's long-lived token.
    ///
    /// # Errors
    /// `--url` names another service.
    pub(super) fn of_service_account(url: &str, with: ServiceAccountToken, global: &Global) -> Result<Self, CliError> {
        login::is_the_one(global, url)?;
        let remote = Remote::at(url)?;
        if remote.url().is_exposed() {
            super::output::aside(&format!("WARNING: {url} is plain http: the token crosses the network readable"));
        }
        Ok(Self {
            remote,
            username: with.principal(),
            token_ends_at: with.expires_at,
            login_ends_at: None,
            token: with.token,
            service_account: Some((with.namespace, with.name)),
            passed: None,
        })
    }

    /// Namespace and name, where a service account's long-lived token is what is asked with.
    pub(super) fn service_account(&self) -> Option<(&str, &str)> {
        self.service_account.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()))
    }

    /// Asks with another token than one's own.
    pub(super) async fn ask_as<T: DeserializeOwned>(
        &self,
        token: &Secret<String>,
        method: Method,
        path: &[&str],
    ) -> Result<T, ClientError> {
        self.remote.ask(token, method, path, &[], None).await
    }

    /// A refusal with what an operator has to do, if it names what was not granted.
    pub(super) fn with_what_to_grant(&self, error: impl Into<CliError>) -> CliError {
        match error.into() {
            CliError::Client(ClientError::Forbidden(text)) => match not_granted(&text) {
                Some((action, uri)) => self.to_be_granted(&text, action, uri),
                None => ClientError::Forbidden(text).into(),
            },
            CliError::Client(error @ ClientError::Lacking(_)) => {
                let text = error.to_string();
                match &error {
                    ClientError::Lacking(lacking) if lacking.len() == 1 => {
                        self.to_be_granted(&text, &lacking[0].action, &lacking[0].uri)
                    }
                    _ => error.into(),
                }
            }
            other => other,
        }
    }

    /// What an operator has to do, below what the service says.
    pub(super) fn to_be_granted(&self, text: &str, action: &str, uri: &str) -> CliError {
        let user = &self.username;
        CliError::Failed(format!(
            "{text}\nAn operator can grant it: gatemint acl grant {uri} {user} {action} --data DIR"
        ))
    }

    /// The passed config, where that stands in place of a login.
    pub(super) fn passed(&self) -> Option<&PassedConfig> {
        self.passed.as_ref().map(|passed| &passed.config)
    }

    /// One's own namespace.
    ///
    /// # Errors
    /// The service does not answer.
    pub(super) async fn own_namespace(&self) -> Result<String, ClientError> {
        match self.passed() {
            Some(passed) => Ok(passed.token.namespace.clone()),
            None => Ok(self.get::<UserView>(&["me"]).await?.namespace),
        }
    }

    /// Where a URI is that does not say it.
    ///
    /// # Errors
    /// The service does not answer; it names what cannot be a cluster or a namespace.
    pub(super) async fn place(&self) -> Result<Place, CliError> {
        let (cluster, organisation, namespace) = if let Some(passed) = self.passed() {
            let namespace = passed.project.clone().unwrap_or_else(|| passed.token.namespace.clone());
            (Some(passed.cluster.clone()), passed.organisation.clone(), namespace)
        } else {
            let config: ServiceConfig = self.ask_at(Method::GET, &["api", "v1", "config"], &[], None).await?;
            let first = config.clusters.into_iter().next();
            let (cluster, orgs) = first.map(|cluster| (cluster.name, cluster.orgs)).unzip();
            (cluster, orgs.unwrap_or_default().into_iter().next(), self.own_namespace().await?)
        };
        Ok(Place {
            cluster: cluster.map(|name| Name::parse(&name, "cluster")).transpose()?,
            organisation,
            namespace: Some(Name::parse(&namespace, "namespace")?),
        })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<T, ClientError> {
        self.must_be_a_users()?;
        self.ask_at(method, &[&["v1"], path].concat(), &[], body).await
    }

    /// Our own resources are for users, and a service account would be told that it is nobody.
    fn must_be_a_users(&self) -> Result<(), ClientError> {
        match self.passed.as_deref() {
            Some(Passed { variable, .. }) => Err(ClientError::Refused(format!(
                "this is for users, and {variable} is a service account's: gatemint login"
            ))),
            None => Ok(()),
        }
    }

    /// Asks for a resource of another dialect than our own; `path` is the whole path.
    pub(super) async fn ask_at<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<T, ClientError> {
        self.remote.ask(&self.token, method, path, query, body).await.map_err(|error| match error {
            ClientError::Unauthenticated(told) => self.nobody(&told),
            error => error,
        })
    }

    /// The refusal of one's token, with what may have become of it.
    pub(super) fn nobody(&self, told: &str) -> ClientError {
        ClientError::Unauthenticated(match self.passed.as_deref() {
            Some(Passed { variable, .. }) => format!(
                "the token in {variable} is of no use any more ({told}): it ended, was rotated or revoked, or its account is gone"
            ),
            None => told.to_owned(),
        })
    }

    /// Reads a resource; `path` is below `/v1`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None).await
    }

    /// Makes a resource.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: Value) -> Result<T, ClientError> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Changes a resource.
    pub(super) async fn patch<T: DeserializeOwned>(&self, path: &[&str], body: Value) -> Result<T, ClientError> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// Ends a resource.
    pub(super) async fn delete(&self, path: &[&str]) -> Result<(), ClientError> {
        self.ask(Method::DELETE, path, None).await
    }

    /// Everything that a list holds.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, CliError> {
        self.must_be_a_users()?;
        let limit = PAGE.to_string();
        let path = [&["v1"], path].concat();
        let mut seen = 0;
        every_page(async |after: Option<&str>| {
            let mut query = query.to_vec();
            query.push(("limit", &limit));
            query.extend(after.map(|cursor| ("cursor", cursor)));
            let page: Page<T> = self.ask_at(Method::GET, &path, &query, None).await?;
            seen += page.items.len();
            ends(after, page.next_cursor.as_deref(), seen)?;
            Ok::<_, CliError>((page.items, page.next_cursor))
        })
        .await
    }

    /// Everything that a list of Kubernetes' dialect holds; `path` is the whole path.
    pub(super) async fn all_at<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Vec<T>, CliError> {
        let mut seen = 0;
        every_page(async |after: Option<&str>| {
            let query: Vec<_> = after.map(|place| ("continue", place)).into_iter().collect();
            let list: List<T> = self.ask_at(Method::GET, path, &query, None).await?;
            seen += list.items.len();
            let next = list.metadata.next.filter(|next| !next.is_empty());
            ends(after, next.as_deref(), seen)?;
            Ok::<_, CliError>((list.items, next))
        })
        .await
    }
}

/// Refuses a list without end: of more than anybody has, or whose next page is the same. A page may be empty, where what
/// was on it is over.
fn ends(after: Option<&str>, next: Option<&str>, seen: usize) -> Result<(), CliError> {
    if next.is_some() && (next == after || seen > MOST) {
        return Err(CliError::Failed(format!("the list does not end: {seen} items, and more to come")));
    }
    Ok(())
}

/// The service on the store that `--data` or the settings name. Audit events go to stderr, as those of `serve` do.
///
/// # Errors
/// No store is named; it cannot be opened; it was never started.
pub(super) async fn store(settings: &Settings) -> Result<Service, CliError> {
    let place = StateLocation::of_settings(settings)?.ok_or(WiringError::NoStore)?;
    super::output::start_log(settings, "gatemint::audit=info,warn")?;
    Ok(wiring::existing(settings, &place, Opener::command()).await?)
}

/// Everything that a list of the store holds. `page` gets how many to ask for, and after which place.
///
/// # Errors
/// The first page's that fails.
pub(super) async fn all_pages<T>(
    mut page: impl AsyncFnMut(Option<&str>, usize) -> Result<(Vec<T>, Option<String>), Refusal>,
) -> Result<Vec<T>, CliError> {
    Ok(every_page(async |after: Option<&str>| page(after, PAGE).await).await?)
}

async fn every_page<T, E>(
    mut page: impl AsyncFnMut(Option<&str>) -> Result<(Vec<T>, Option<String>), E>,
) -> Result<Vec<T>, E> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let (items, next) = page(after.as_deref()).await?;
        all.extend(items);
        after = next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// Action and resource of a refusal that names them: `… manage on job://… was not granted …`.
fn not_granted(text: &str) -> Option<(&str, &str)> {
    let (before, after) = text.split_once(" on ")?;
    let (action, uri) = (before.rsplit(' ').next()?, after.split(' ').next()?);
    let known = ["list", "read", "write", "manage"].contains(&action) && uri.contains("://");
    known.then_some((action, uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_has_to_be_granted() {
        let told = r#"gatetokens.kubegateway.kubevirt.io "x" is forbidden: manage on job://default/ada/train was not granted to you"#;
        assert_eq!(not_granted(told), Some(("manage", "job://default/ada/train")));
        for other in ["", "writing gate tokens of this namespace was not granted to you", "based on x", "read on you"] {
            assert_eq!(not_granted(other), None, "{other}");
        }
    }

    #[test]
    fn a_list_may_have_empty_pages_and_must_have_an_end() {
        assert!(ends(None, Some("a"), 0).is_ok(), "what was on the first page is over");
        assert!(ends(Some("a"), Some("b"), 0).is_ok());
        assert!(ends(Some("a"), None, MOST + 1).is_ok());
        assert!(ends(Some("a"), Some("a"), 1).is_err(), "the same page again");
        assert!(ends(Some("a"), Some("b"), MOST + 1).is_err(), "more than anybody has");
    }
}
