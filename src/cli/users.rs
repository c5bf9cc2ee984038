//! `gatemint user`

use clap::Subcommand;

use super::{
    CliError, Global,
    door::{OPERATOR, all_pages, store},
    output,
    password::NewPassword,
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

fn show(view: &UserView, global: &Global) -> Result<(), CliError> {
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
        let service = store(settings).await?;
        let now = service.now();
        match self {
            Self::Create { name, email, roles, namespace, password } => {
                let (password, made) = password.get(global, &service)?;
                let new = NewAccount { name, namespace, email, roles, enabled: true, password };
                let account = manage::create(&service, now, new, OPERATOR).await?;
                let shown = made.map(|made| made.expose().clone());
                show(&UserView { password: shown, ..UserView::of(&account) }, global)
            }
            Self::List { stale_hash } => {
                let mut accounts =
                    all_pages(async |after, limit| manage::list(&service, now, after, limit).await).await?;
                accounts.retain(|account| !stale_hash || account.password.is_stale());
                let all: Vec<_> = accounts.iter().map(UserView::of).collect();
                if global.json {
                    return output::json(&all);
                }
                let rows = all.into_iter().map(|user| {
                    vec![user.name, user.email, user.roles.join(", "), yes_or_no(user.enabled), user.created_at]
                });
                output::table(&["name", "e-mail", "roles", "enabled", "created at"], rows);
                Ok(())
            }
            Self::Get { name } => show(&UserView::of(&manage::get(&service, now, &name).await?.record), global),
            Self::Set { name, email, roles, no_roles, password } => {
                let (password, made) = if password.is_given() {
                    let (password, made) = password.get(global, &service)?;
                    (Some(password), made)
                } else {
                    (None, None)
                };
                let roles = (no_roles || !roles.is_empty()).then_some(roles);
                if email.is_none() && roles.is_none() && password.is_none() {
                    return Err(CliError::Usage(
                        "nothing to change: give --email, --role, --no-roles, --password, --password-stdin or --generate".into(),
                    ));
                }
                let patch = AccountPatch { email, roles, enabled: None, password };
                let account = manage::update(&service, now, &name, patch, OPERATOR).await?;
                let shown = made.map(|made| made.expose().clone());
                show(&UserView { password: shown, ..UserView::of(&account) }, global)
            }
            Self::Disable { name } => enable(&service, global, &name, false).await,
            Self::Enable { name } => enable(&service, global, &name, true).await,
            Self::Delete { name } => {
                manage::delete(&service, now, &name, OPERATOR).await?;
                output::aside(&format!("The user {name} and all sessions are gone."));
                Ok(())
            }
        }
    }
}

async fn enable(service: &crate::domain::Service, global: &Global, name: &str, on: bool) -> Result<(), CliError> {
    let patch = AccountPatch { enabled: Some(on), ..AccountPatch::default() };
    show(&UserView::of(&manage::update(service, service.now(), name, patch, OPERATOR).await?), global)
}
