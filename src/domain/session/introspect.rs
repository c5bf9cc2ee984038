//! Introspection (RFC 7662): what a token is good for now, judged by its record.

use super::{RefreshToken, Session, refresh};
use crate::{
    clock::Timestamp,
    domain::{
        GrantRefusal, Refusal, Secret, Service,
        access::{Holder, Standing, caller, standing},
        account::Account,
        client::{Client, Presented, manage},
    },
    store::{Row, decode},
};

/// Who asks.
pub enum Asker {
    /// A client, by id and what it presented.
    Client(String, Presented),
    /// The holder of an access token.
    Bearer(Secret<String>),
}

/// What an active token is.
pub enum Active {
    /// An access token.
    Access(Box<Standing>),
    /// A refresh token that can be used now.
    Refresh {
        /// The account as it is now.
        account: Box<Account>,
        /// The session.
        session: Box<Session>,
    },
}

/// Whose tokens the asker may see.
enum Sight {
    All,
    Own(Box<Client>),
    Nothing,
}

/// Judges a token for whoever may know of it. None: not active, or not for the asker to know.
///
/// A confidential client sees the tokens that it obtained or that name it in `aud`, or all if it is flagged so; an
/// admin sees all; everybody else nothing.
///
/// # Errors
/// `invalid_client` for public clients and bad credentials; `temporarily_unavailable`.
pub async fn introspect(
    service: &Service,
    asker: Asker,
    token: &Secret<String>,
) -> Result<Option<Active>, GrantRefusal> {
    let now = service.now();
    let sight = match asker {
        Asker::Client(id, presented) => {
            let client = manage::authenticate(service, now, &id, &presented).await?;
            if client.secret.is_none() {
                return Err(GrantRefusal::invalid_client());
            }
            if client.introspect { Sight::All } else { Sight::Own(Box::new(client)) }
        }
        Asker::Bearer(bearer) => {
            let caller = caller(service, now, Some(bearer)).await?;
            if caller.is_admin() { Sight::All } else { Sight::Nothing }
        }
    };
    let active = match RefreshToken::authentic(service, now, token).await? {
        Some(refresh) => of_refresh_token(service, now, &refresh).await?,
        None => standing(service, now, token).await?.map(|standing| Active::Access(Box::new(standing))),
    };
    Ok(active.filter(|active| match &sight {
        Sight::All => true,
        Sight::Own(client) => is_of(active, client),
        Sight::Nothing => false,
    }))
}

fn is_of(active: &Active, client: &Client) -> bool {
    match active {
        Active::Access(standing) => {
            let obtained = match &standing.holder {
                Holder::Account { record, .. } => record.session().is_some_and(|session| {
                    session.record.client == client.id && session.record.client_uid == client.uid
                }),
                Holder::Client(holder) => holder.id == client.id,
            };
            obtained || standing.claims.aud.contains(client.id.as_str())
        }
        Active::Refresh { session, .. } => session.client == client.id && session.client_uid == client.uid,
    }
}

async fn of_refresh_token(service: &Service, now: Timestamp, token: &RefreshToken) -> Result<Option<Active>, Refusal> {
    let keys = [Session::key_of(token.account, token.session), Account::key_of(token.account)];
    let mut rows = service.store.get(now, &keys).await?.into_iter();
    let session: Option<Row<Session>> = decode(rows.next().flatten())?;
    let account: Option<Row<Account>> = decode(rows.next().flatten())?;
    let (Some(session), Some(account)) = (session, account) else { return Ok(None) };
    let (session, account) = (session.record, account.record);
    let id = session.client.as_str();
    let client: Option<Row<Client>> = service.read(now, Client::key_of(id)).await?;
    let client = Client::of_row(id, client);
    // Whatever a refresh would accept now, a retry included, is active. Looking never ends a session.
    let usable = matches!(
        refresh::decide(&session, (token.generation, token.pepper), now, service.policy.reuse_window),
        refresh::Verdict::Rotate(_) | refresh::Verdict::Repeat
    );
    Ok((usable && session.is_upheld_by(Some(&account), client.as_ref()))
        .then(|| Active::Refresh { account: Box::new(account), session: Box::new(session) }))
}
