//! Who asks, by the access token of the Authorization header.

use axum::http::{HeaderMap, header};

use super::App;
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret,
        access::{self, Caller, Identity},
        service_account,
    },
};

/// The account whose access token a request shows. No cookie is read.
///
/// # Errors
/// `Malformed`: more than one Authorization header. `Unauthenticated`, `Forbidden`, `Unavailable` as [`access::caller`].
pub(super) async fn caller(app: &App, now: Timestamp, headers: &HeaderMap) -> Result<Caller, Refusal> {
    access::caller(&app.service, now, token(headers)?).await
}

/// The account whose access token, or the service account whose long-lived token a request shows. No cookie is read.
///
/// # Errors
/// As [`caller`].
pub(super) async fn identity(app: &App, now: Timestamp, headers: &HeaderMap) -> Result<Identity, Refusal> {
    let identity = access::identity(&app.service, now, token(headers)?).await?;
    if let Identity::ServiceAccount(holder) = &identity {
        service_account::mark(&app.service, holder.used.clone()).await;
    }
    Ok(identity)
}

fn token(headers: &HeaderMap) -> Result<Option<Secret<String>>, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let token = values
        .next()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
        .map(|(_, token)| Secret::new(token.trim().to_owned()));
    if values.next().is_some() {
        return Err(Refusal::malformed("more than one Authorization header"));
    }
    Ok(token)
}
