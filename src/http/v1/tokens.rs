//! `/v1/tokens`: every live token of an account, and the end of one.

use std::borrow::Cow;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    dress::Dressed,
    page::{Page, Query},
    request::Named,
};
use crate::{
    clock::Timestamp,
    domain::{
        account::{Account, manage},
        service_account::Listed,
        session::revoke::{self, LiveToken, TokenId},
    },
    http::{App, bearer},
};

/// A live token as it is shown, over HTTP and by the commands: no credential.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = LiveToken)]
pub(crate) struct TokenView {
    /// Names it; no credential.
    pub(crate) id: String,
    /// `session`: a sign-in with all its tokens; `service-account`: a long-lived token of a service account of the user's
    /// namespace; `token-request`: a short-lived one; `gate`: a gate token of the namespace; `fresh`: the user's token that
    /// is always fresh.
    #[schema(value_type = String, pattern = "^(session|service-account|token-request|gate|fresh)$")]
    pub(crate) kind: Cow<'static, str>,
    /// The user's name; of other tokens their `sub`.
    pub(crate) subject: String,
    /// The client that obtained it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) client_id: Option<String>,
    /// What a session is good for, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) scope: Option<String>,
    /// When the password was given, or the token made.
    #[schema(format = DateTime)]
    pub(crate) issued_at: String,
    /// When it ends; a session goes on if it is used before. Absent of what ends only by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime)]
    pub(crate) expires_at: Option<String>,
    /// When a session was refreshed last, a service account's long-lived token used (to the hour), or a one-time link used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime)]
    pub(crate) last_used_at: Option<String>,
}

impl TokenView {
    pub(crate) fn of(token: &LiveToken, account: &Account) -> Self {
        let id = TokenId::of(token, account.name.as_str()).to_string();
        match token {
            LiveToken::ServiceAccount(Listed::Long(account, token, used)) => Self {
                id,
                kind: "service-account".into(),
                subject: account.user_name(),
                client_id: None,
                scope: None,
                issued_at: token.issued_at.rfc3339(),
                expires_at: token.expires_at.map(Timestamp::rfc3339),
                last_used_at: used.map(Timestamp::rfc3339),
            },
            LiveToken::ServiceAccount(Listed::Short(token)) => Self {
                id,
                kind: "token-request".into(),
                subject: format!("system:serviceaccount:{}:{}", token.namespace, token.name),
                client_id: None,
                scope: None,
                issued_at: token.issued_at.rfc3339(),
                expires_at: Some(token.expires_at.rfc3339()),
                last_used_at: None,
            },
            LiveToken::Session(session) => Self {
                id,
                kind: "session".into(),
                subject: account.name.to_string(),
                client_id: Some(session.client.to_string()),
                scope: Some(session.scope.to_string()),
                issued_at: session.opened_at.rfc3339(),
                expires_at: Some(session.ends_at.rfc3339()),
                last_used_at: Some(session.rotated_at.rfc3339()),
            },
            LiveToken::Fresh(token) => Self {
                id,
                kind: "fresh".into(),
                subject: account.name.to_string(),
                client_id: None,
                scope: None,
                issued_at: token.begun_at.rfc3339(),
                expires_at: None,
                last_used_at: None,
            },
            LiveToken::Gate(token) => Self {
                id,
                kind: "gate".into(),
                subject: token.subject(),
                client_id: token.minter.exchange.as_ref().map(|exchange| exchange.client.to_string()),
                scope: None,
                issued_at: token.created_at.rfc3339(),
                expires_at: Some(token.exp.rfc3339()),
                last_used_at: token.used.as_ref().map(|used| used.at.rfc3339()),
            },
        }
    }
}

/// `GET /v1/tokens[?account=NAME]`: one's own; for admins anyone's.
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Json<Page<TokenView>>, Dressed> {
    let now = app.service.now();
    let caller = bearer::caller(&app, now, request.headers()).await?;
    let query = Query::parse(request.uri().query())?;
    let account = match query.get("account")? {
        Some(name) if name != caller.account.record.name.as_str() => {
            caller.require_admin()?;
            manage::get(&app.service, now, name).await?.record
        }
        _ => caller.account.record,
    };
    let (tokens, next) = revoke::list(&app.service, now, &account, query.after.as_deref(), query.limit).await?;
    Ok(Json(Page::new(tokens.iter().map(|token| TokenView::of(token, &account)).collect(), next)))
}

/// `DELETE /v1/tokens/{id}`: one's own; for admins anyone's.
pub(super) async fn end(State(app): State<App>, Named(id): Named, request: Request) -> Result<StatusCode, Dressed> {
    let now = app.service.now();
    let caller = bearer::caller(&app, now, request.headers()).await?;
    let account = &caller.account.record;
    let own = (!caller.is_admin()).then_some(account);
    revoke::end_by_id(&app.service, now, &id, own, account.name.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}
