//! `gatemint user`

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{
    CliError, Global,
    door::{Door, OPERATOR, all_pages},
    output,
    password::{self, NewPassword},
};
use crate::{
    domain::account::manage::{self, AccountPatch, NewAccount},
    http::UserView,
    settings::Settings,
};

#[derive(Subcommand)]
pub(super) enum User {
    /// Make a user
    #[command(
        after_help = "Example:\n  gatemint user create ada --email ada@example.org --role analysts --generate --data .gatemint"
    )]
    Create {
        /// The name, for ever: a-z, 0-9, '-' and '.'
        name: String,
        /// The e-mail address
        #[arg(long, default_value = "")]
        email: String,
        /// A role that the user's tokens carry (repeatable); `admin` grants everything
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// The namespace, for ever [default: the name]
        #[arg(long)]
        namespace: Option<String>,
        #[command(flatten)]
        password: NewPassword,
    },
    /// List all users
    #[command(alias = "ls")]
    List {
        /// Only those whose password hash is weaker than one that is made now: they have not signed in since
        #[arg(long)]
        stale_hash: bool,
    },
    /// Show a user
    Get {
        /// The name
        name: String,
    },
    /// Change a user
    #[command(after_help = "Example:\n  gatemint user set ada --role analysts --role jobs --data .gatemint")]
    Set {
        /// The name
        name: String,
        /// The e-mail address; '' for none
        #[arg(long)]
        email: Option<String>,
        /// All the user's roles from now on (repeatable)
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// No roles from now on
        #[arg(long, conflicts_with = "roles")]
        no_roles: bool,
        /// Whether the user's token that is always fresh is kept in the secrets manager as well, which costs money there
        #[arg(long, value_name = "on|off")]
        mirror_token: Option<OnOff>,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Let no one sign in as the user, and end all the user's sessions
    Disable {
        /// The name
        name: String,
    },
    /// Let the user sign in again
    Enable {
        /// The name
        name: String,
    },
    /// Delete a user with all sessions; a user made again under the name inherits nothing
    #[command(alias = "rm")]
    Delete {
        /// The name
        name: String,
    },
}

/// A switch.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnOff {
    On,
    Off,
}

pub(super) fn show(view: &UserView, global: &Global) -> Result<(), CliError> {
    if global.json {
        return output::json(view);
    }
    let mut rows = vec![
        ("Name", view.name.clone()),
        ("Uid", view.uid.clone()),
        ("Namespace", view.namespace.clone()),
        ("E-mail", view.email.clone()),
        ("Roles", view.roles.join(", ")),
        ("Enabled", yes_or_no(view.enabled)),
        ("Created at", view.created_at.clone()),
    ];
    if view.mirror_token {
        rows.push(("Mirrored", "yes: the token that is always fresh is in the secrets manager, too".to_owned()));
    }
    if let Some(password) = &view.password {
        rows.push(("Password", format!("{password}   (shown once)")));
    }
    output::sheet(&rows);
    Ok(())
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

impl User {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let door = Door::open(settings, global).await?;
        match self {
            Self::Create { name, email, roles, namespace, password } => {
                let (password, made) = password.get(global, settings)?;
                let new = NewAccount { name, namespace, email, roles, enabled: true, password, mirror_token: false };
                let made = made.map(|made| made.expose().clone());
                show(&UserView { password: made, ..door.create_user(new).await? }, global)
            }
            Self::List { stale_hash } => {
                let all = door.users(stale_hash).await?;
                if global.json {
                    return output::json(&all);
                }
                let rows = all.into_iter().map(|user| {
                    vec![user.name, user.email, user.roles.join(", "), yes_or_no(user.enabled), user.created_at]
                });
                output::table(&["name", "e-mail", "roles", "enabled", "created at"], rows);
                Ok(())
            }
            Self::Get { name } => show(&door.user(&name).await?, global),
            Self::Set { name, email, roles, no_roles, mirror_token, password } => {
                let (password, made) = if password.is_given() {
                    let (password, made) = password.get(global, settings)?;
                    (Some(password), made)
                } else {
                    (None, None)
                };
                let roles = (no_roles || !roles.is_empty()).then_some(roles);
                let mirror_token = mirror_token.map(|wanted| wanted == OnOff::On);
                if email.is_none() && roles.is_none() && password.is_none() && mirror_token.is_none() {
                    return Err(CliError::Usage(
                        "nothing to change: give --email, --role, --no-roles, --mirror-token, --password, \
                         --password-stdin or --generate"
                            .into(),
                    ));
                }
                let patch = AccountPatch { email, roles, enabled: None, password, mirror_token };
                let made = made.map(|made| made.expose().clone());
                show(&UserView { password: made, ..door.change_user(&name, patch).await? }, global)
            }
            Self::Disable { name } => enable(&door, global, &name, false).await,
            Self::Enable { name } => enable(&door, global, &name, true).await,
            Self::Delete { name } => {
                door.delete_user(&name).await?;
                output::aside(&format!("The user {name} and all sessions are gone."));
                Ok(())
            }
        }
    }
}

async fn enable(door: &Door, global: &Global, name: &str, on: bool) -> Result<(), CliError> {
    let patch = AccountPatch { enabled: Some(on), ..AccountPatch::default() };
    show(&door.change_user(name, patch).await?, global)
}

impl Door {
    async fn create_user(&self, new: NewAccount) -> Result<UserView, CliError> {
        match self {
            Self::Store(service) => Ok(UserView::of(&manage::create(service, service.now(), new, OPERATOR).await?)),
            Self::Remote(access) => {
                let password = password::text(new.password.expose())?;
                let body = json!({
                    "name": new.name,
                    "namespace": new.namespace,
                    "email": new.email,
                    "roles": new.roles,
                    "enabled": new.enabled,
                    "password": password.expose(),
                });
                Ok(access.post(&["users"], body).await?)
            }
        }
    }

    /// All of them, or those with a weak hash alone: only the store itself knows about hashes.
    async fn users(&self, stale_hash: bool) -> Result<Vec<UserView>, CliError> {
        match self {
            Self::Store(service) => {
                let now = service.now();
                let all = all_pages(async |after, limit| manage::list(service, now, after, limit).await).await?;
                Ok(all.iter().filter(|user| !stale_hash || user.password.is_stale()).map(UserView::of).collect())
            }
            Self::Remote(_) if stale_hash => Err(CliError::Usage(
                "--stale-hash looks at the state itself, since no hash goes over HTTP: give --data DIR".into(),
            )),
            Self::Remote(access) => access.all(&["users"], &[]).await,
        }
    }

    async fn user(&self, name: &str) -> Result<UserView, CliError> {
        match self {
            Self::Store(service) => Ok(UserView::of(&manage::get(service, service.now(), name).await?.record)),
            Self::Remote(access) => Ok(access.get(&["users", name]).await?),
        }
    }

    async fn change_user(&self, name: &str, patch: AccountPatch) -> Result<UserView, CliError> {
        match self {
            Self::Store(service) => {
                Ok(UserView::of(&manage::update(service, service.now(), name, patch, OPERATOR).await?))
            }
            Self::Remote(access) => {
                let mut body = serde_json::Map::new();
                let mut set = |field: &str, value: Option<serde_json::Value>| {
                    body.extend(value.map(|value| (field.to_owned(), value)));
                };
                set("email", patch.email.map(Into::into));
                set("roles", patch.roles.map(Into::into));
                set("enabled", patch.enabled.map(Into::into));
                set("mirror_token", patch.mirror_token.map(Into::into));
                let password = patch.password.map(|password| password::text(password.expose())).transpose()?;
                set("password", password.map(|password| password.expose().as_str().into()));
                Ok(access.patch(&["users", name], body.into()).await?)
            }
        }
    }

    async fn delete_user(&self, name: &str) -> Result<(), CliError> {
        match self {
            Self::Store(service) => Ok(manage::delete(service, service.now(), name, OPERATOR).await?),
            Self::Remote(access) => Ok(access.delete(&["users", name]).await?),
        }
    }
}
