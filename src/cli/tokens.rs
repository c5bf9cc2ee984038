//! `gatemint tokens`

use clap::Subcommand;
use serde::Serialize;

use super::{
    CliError, Global,
    door::{OPERATOR, store},
    output,
};
use crate::{
    domain::{account::manage, session::revoke},
    settings::Settings,
};

const PAGE: usize = 90;

#[derive(Subcommand)]
pub(super) enum Tokens {
    /// List the live tokens of a user
    #[command(alias = "ls")]
    List {
        /// Whose
        #[arg(long, value_name = "USER")]
        account: String,
    },
    /// End a token, with every access token that came of it
    Revoke {
        /// The id that `tokens list` shows
        id: String,
    },
}

#[derive(Serialize)]
struct View {
    id: String,
    kind: &'static str,
    client_id: String,
    scope: String,
    issued_at: String,
    expires_at: String,
    last_used_at: String,
}

impl Tokens {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let service = store(settings).await?;
        let now = service.now();
        match self {
            Self::List { account } => {
                let account = manage::get(&service, now, &account).await?.record;
                let (mut all, mut after) = (Vec::new(), None);
                loop {
                    let (tokens, next) = revoke::list(&service, now, &account, after.as_deref(), PAGE).await?;
                    all.extend(tokens.iter().map(|token| View {
                        id: token.id.to_string(),
                        kind: "session",
                        client_id: token.session.client.to_string(),
                        scope: token.session.scope.to_string(),
                        issued_at: token.session.opened_at.rfc3339(),
                        expires_at: token.session.ends_at.rfc3339(),
                        last_used_at: token.session.rotated_at.rfc3339(),
                    }));
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
                if global.json {
                    return output::json(&all);
                }
                let rows = all.into_iter().map(|token| {
                    vec![token.id, token.kind.to_owned(), token.client_id, token.last_used_at, token.expires_at]
                });
                output::table(&["id", "kind", "client", "last used", "expires"], rows);
                Ok(())
            }
            Self::Revoke { id } => {
                revoke::end_by_id(&service, now, &id, None, OPERATOR).await?;
                output::aside("The token is ended.");
                Ok(())
            }
        }
    }
}
