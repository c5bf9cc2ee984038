//! `gatemint tokens`

use clap::Subcommand;

use super::{
    CliError, Global,
    door::{OPERATOR, all_pages, store},
    output,
};
use crate::{
    domain::{account::manage, session::revoke},
    http::TokenView,
    settings::Settings,
};

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

impl Tokens {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let service = store(settings).await?;
        let now = service.now();
        match self {
            Self::List { account } => {
                let account = manage::get(&service, now, &account).await?.record;
                let tokens =
                    all_pages(async |after, limit| revoke::list(&service, now, &account, after, limit).await).await?;
                let all: Vec<_> = tokens.iter().map(|token| TokenView::of(token, &account)).collect();
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
