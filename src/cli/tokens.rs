//! `gatemint tokens`

use clap::Subcommand;

use super::{
    CliError, Global,
    door::{Door, OPERATOR, all_pages},
    output,
};
use crate::{
    domain::{account::manage, session::revoke},
    http::TokenView,
    settings::Settings,
};

#[derive(Subcommand)]
pub(super) enum Tokens {
    /// List the live tokens: one's own, or a user's
    #[command(alias = "ls")]
    List {
        /// Whose [default: one's own; on a store it must be said]
        #[arg(long, value_name = "USER")]
        account: Option<String>,
    },
    /// End a token, with every access token that came of it
    Revoke {
        /// The id that `tokens list` shows
        id: String,
    },
}

impl Tokens {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let door = Door::open(settings, global).await?;
        match self {
            Self::List { account } => {
                let all = live_tokens(&door, account.as_deref()).await?;
                if global.json {
                    return output::json(&all);
                }
                let rows = all.into_iter().map(|token| {
                    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
                    let (client, used) = (or_none(token.client_id), or_none(token.last_used_at));
                    vec![token.id, token.kind.into_owned(), token.subject, client, used, or_none(token.expires_at)]
                });
                output::table(&["id", "kind", "subject", "client", "last used", "expires"], rows);
            }
            Self::Revoke { id } => {
                match door {
                    Door::Store(service) => revoke::end_by_id(&service, service.now(), &id, None, OPERATOR).await?,
                    Door::Remote(access) => access.delete(&["tokens", &id]).await?,
                }
                output::aside("The token is ended.");
            }
        }
        Ok(())
    }
}

async fn live_tokens(door: &Door, account: Option<&str>) -> Result<Vec<TokenView>, CliError> {
    match door {
        Door::Store(service) => {
            let account = account.ok_or_else(|| CliError::Usage("whose tokens? give --account USER".into()))?;
            let now = service.now();
            let account = manage::get(service, now, account).await?.record;
            let all = all_pages(async |after, limit| revoke::list(service, now, &account, after, limit).await).await?;
            Ok(all.iter().map(|token| TokenView::of(token, &account)).collect())
        }
        Door::Remote(access) => {
            let query: Vec<_> = account.map(|name| ("account", name)).into_iter().collect();
            access.all(&["tokens"], &query).await
        }
    }
}
