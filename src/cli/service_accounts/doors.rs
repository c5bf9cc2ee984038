//! Service accounts through either door. Both show the same: what the HTTP door shows.

use std::time::Duration;

use axum::http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Got, TokenView};
use crate::{
    cli::{
        CliError,
        door::{Access, Door, all_pages},
    },
    clock::Timestamp,
    domain::{
        Service,
        access::Subject,
        service_account::{self, Defaults, Issued, NewServiceAccount},
    },
    http::{service_account_object, service_account_token_objects},
};

/// For how long the older tokens work after a rotation that does not say.
const OVERLAP: Duration = Duration::from_hours(24);

/// What a new service account is to be. What is not said is the current one.
pub(super) struct New {
    pub(super) name: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) organisation: Option<String>,
    pub(super) project: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
}

impl Door {
    /// Whose service accounts it is about: on a store any namespace's, over HTTP the caller's own.
    ///
    /// # Errors
    /// On a store none was named; over HTTP another one was.
    pub(super) async fn namespace_of_service_accounts(&self, named: Option<String>) -> Result<String, CliError> {
        match (self, named) {
            (Self::Store(_), None) => Err(CliError::Usage("which namespace? give -n NS".into())),
            (Self::Store(_), Some(named)) => Ok(named),
            (Self::Remote(access), None) => Ok(access.own_namespace().await?),
            (Self::Remote(access), Some(named)) => {
                let own = access.own_namespace().await?;
                if named == own {
                    return Ok(own);
                }
                Err(CliError::Usage(format!(
                    "over HTTP these are the service accounts of one's own namespace, which is {own}: leave -n {named} out, or \
                     give --data DIR"
                )))
            }
        }
    }

    pub(super) async fn create_service_account(&self, namespace: &str, new: New) -> Result<Got, CliError> {
        match self {
            Self::Store(service) => {
                let policy = &service.policy;
                let defaults = Defaults {
                    cluster: new.cluster.unwrap_or_else(|| policy.cluster.to_string()),
                    project: new.project.unwrap_or_else(|| namespace.to_owned()),
                    org: Some(new.organisation.unwrap_or_else(|| policy.organisation.clone())),
                };
                let new = NewServiceAccount {
                    namespace: namespace.to_owned(),
                    name: new.name,
                    defaults: Some(defaults),
                    expires_at: new.expires_at,
                    with_token: true,
                    ..NewServiceAccount::default()
                };
                let issued = service_account::create(service, service.now(), &Subject::operator(), new).await?;
                Got::of(shown(service, &issued))
            }
            Self::Remote(access) => {
                let place = access.place().await?;
                let of_place = || place.cluster.as_ref().map(ToString::to_string);
                let body = json!({
                    "name": new.name,
                    "default_cluster": new.cluster.or_else(of_place),
                    "default_project": new.project.unwrap_or_else(|| namespace.to_owned()),
                    "default_org": new.organisation.or(place.organisation),
                    "expires_at": new.expires_at.map(Timestamp::rfc3339),
                });
                Got::of(access.service_accounts(Method::POST, &[], Some(body)).await?)
            }
        }
    }

    pub(super) async fn service_account(&self, namespace: &str, account: &str) -> Result<Got, CliError> {
        Got::of(match self {
            Self::Store(service) => {
                let by = Subject::operator();
                let account = service_account::get(service, service.now(), &by, namespace, account).await?;
                service_account_object(&service.policy, &account, None)
            }
            Self::Remote(access) => access.service_accounts(Method::GET, &[account], None).await?,
        })
    }

    pub(super) async fn service_accounts(&self, namespace: &str) -> Result<Vec<Got>, CliError> {
        let all: Vec<Value> = match self {
            Self::Store(service) => {
                let (now, by) = (service.now(), Subject::operator());
                let page = async |after: Option<&str>, limit| {
                    service_account::list(service, now, &by, namespace, after, limit).await
                };
                let all = all_pages(page).await?;
                all.iter().map(|account| service_account_object(&service.policy, account, None)).collect()
            }
            Self::Remote(access) => access.service_accounts(Method::GET, &[], None).await?,
        };
        all.into_iter().map(Got::of).collect()
    }

    pub(super) async fn remove_service_account(&self, namespace: &str, account: &str) -> Result<(), CliError> {
        match self {
            Self::Store(service) => {
                let by = Subject::operator();
                service_account::delete(service, service.now(), &by, namespace, account).await?;
                Ok(())
            }
            Self::Remote(access) => access.service_accounts(Method::DELETE, &[account], None).await,
        }
    }

    pub(super) async fn rotate_service_account(
        &self,
        namespace: &str,
        account: &str,
        overlap: Option<Duration>,
        expires_at: Option<Timestamp>,
    ) -> Result<Got, CliError> {
        match self {
            Self::Store(service) => {
                let (by, overlap) = (Subject::operator(), overlap.unwrap_or(OVERLAP));
                let issued =
                    service_account::rotate(service, service.now(), &by, namespace, account, overlap, expires_at)
                        .await?;
                Got::of(shown(service, &issued))
            }
            Self::Remote(access) => {
                let overlap = overlap.map(|overlap| overlap.as_secs());
                let body = json!({ "overlap": overlap, "expires_at": expires_at.map(Timestamp::rfc3339) });
                Got::of(access.service_accounts(Method::POST, &[account, "rotate"], Some(body)).await?)
            }
        }
    }

    pub(super) async fn tokens_of_service_account(
        &self,
        namespace: &str,
        account: &str,
    ) -> Result<Vec<TokenView>, CliError> {
        match self {
            Self::Store(service) => {
                let by = Subject::operator();
                let now = service.now();
                let (account, tokens) = service_account::tokens(service, now, &by, namespace, account).await?;
                let shown = service_account_token_objects(&account, tokens);
                serde_json::from_value(shown).map_err(|error| CliError::Failed(error.to_string()))
            }
            Self::Remote(access) => access.service_accounts(Method::GET, &[account, "tokens"], None).await,
        }
    }
}

/// With the token, which is seen this once.
fn shown(service: &Service, issued: &Issued) -> Value {
    service_account_object(&service.policy, &issued.account, issued.token.as_ref())
}

impl Access {
    async fn service_accounts<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<T, CliError> {
        let path = [&["api", "v1", "service_accounts"], path].concat();
        self.ask_at(method, &path, &[], body).await.map_err(|error| self.with_what_to_grant(error))
    }
}
