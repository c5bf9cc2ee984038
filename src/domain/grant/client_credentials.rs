//! `client_credentials` (RFC 6749 §4.4): a program's own token. Its record is the client's row.

use super::{Scope, exchange::Subject};
use crate::domain::{GrantError, GrantRefusal, client::Client};

pub(super) fn redeem(client: &Client, asked: Option<&str>) -> Result<(Subject, Scope), GrantRefusal> {
    if client.secret.is_none() {
        return Err(GrantRefusal::new(GrantError::UnauthorizedClient, "A public client has no credentials of its own"));
    }
    let scope = Scope::granted(asked, &client.scopes)?;
    if scope.is_offline() {
        return Err(GrantRefusal::new(
            GrantError::InvalidScope,
            "Invalid scope: offline_access is for users' sessions",
        ));
    }
    tracing::info!(target: "gatemint::audit", event = "client_signed_in", client.id = %client.id);
    Ok((Subject::Client, scope))
}
