//! `gatemint acl`

use clap::Subcommand;
use serde::Serialize;

use super::{CliError, Global, door::store, output};
use crate::{
    domain::{
        Service,
        access::{Action, Permission, Principal, Resource, Subject, permission},
    },
    settings::Settings,
    wiring::StateLocation,
};

#[derive(Subcommand)]
pub(super) enum Acl {
    /// Give a user a permission on a resource; what the user has already is never lowered
    #[command(after_help = "\
Examples:
  gatemint acl grant gatetoken:vms ada write --data .gatemint       ada may mint gate tokens in the namespace vms
  gatemint acl grant job://default/ada/notebook eve read --data .gatemint

A URI is scheme://CLUSTER/NAMESPACE[/…]; gatetoken:NAMESPACE is short for gatetoken://CLUSTER/NAMESPACE.
It counts for exactly this resource. Owners have everything of their own namespaces without it, gate tokens excepted.")]
    Grant {
        /// The resource
        uri: String,
        /// The user's name
        user: String,
        /// list, read, write or manage; each implies those before it
        #[arg(value_parser = parse_action)]
        action: Action,
    },
    /// Take a user's permission on a resource away
    #[command(after_help = "Example:\n  gatemint acl revoke gatetoken:vms ada --data .gatemint")]
    Revoke {
        /// The resource
        uri: String,
        /// The user's name
        user: String,
    },
    /// List what a user was granted
    #[command(name = "ls", alias = "list", after_help = "Example:\n  gatemint acl ls -u ada --data .gatemint")]
    List {
        /// Whose permissions
        #[arg(short = 'u', long, value_name = "USER")]
        user: String,
    },
}

/// What can be granted: `deny` would be no grant.
fn parse_action(text: &str) -> Result<Action, String> {
    Action::parse(text)
        .filter(|action| *action != Action::Deny)
        .ok_or_else(|| "one of list, read, write, manage".to_owned())
}

#[derive(Serialize)]
struct PermissionView<'a> {
    uri: &'a str,
    action: &'static str,
}

impl<'a> PermissionView<'a> {
    fn of(permission: &'a Permission) -> Self {
        Self { uri: permission.resource.as_str(), action: permission.action.as_str() }
    }
}

impl Acl {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        if StateLocation::of_settings(settings)?.is_none() {
            return Err(CliError::Usage(
                "in this version permissions are kept by commands on the state itself, not over HTTP: give --data DIR, or \
                 set GATEMINT_DATA or GATEMINT_STORE"
                    .into(),
            ));
        }
        let service = store(settings).await?;
        match self {
            Self::Grant { uri, user, action } => {
                let resource = resource(&service, &uri)?;
                let now = service.now();
                let to = Principal::parse(&user, "user")?;
                let has = permission::grant(&service, now, &Subject::operator(), &to, &[(resource, action)]).await?;
                let has = has.into_iter().next().ok_or_else(|| CliError::Failed("nothing was granted".into()))?;
                if has.action > action {
                    output::aside(&format!(
                        "{user} has {} on it already, which is more. To lower it: acl revoke, then acl grant.",
                        has.action.as_str()
                    ));
                }
                show(&has, global)
            }
            Self::Revoke { uri, user } => {
                let resource = resource(&service, &uri)?;
                let of = Principal::parse(&user, "user")?;
                let resources = std::slice::from_ref(&resource);
                permission::revoke(&service, service.now(), &Subject::operator(), &of, resources).await?;
                output::aside(&format!(
                    "{user} has no permission on {resource} any more, unless as an owner or admin."
                ));
                Ok(())
            }
            Self::List { user } => {
                let now = service.now();
                let of = Principal::parse(&user, "user")?;
                let all = permission::held(&service, now, &Subject::operator(), &of, None, true).await?;
                let views: Vec<_> = all.iter().map(PermissionView::of).collect();
                if global.json {
                    return output::json(&views);
                }
                let rows = views.into_iter().map(|view| vec![view.uri.to_owned(), view.action.to_owned()]);
                output::table(&["uri", "action"], rows);
                Ok(())
            }
        }
    }
}

fn resource(service: &Service, uri: &str) -> Result<Resource, CliError> {
    Ok(Resource::named(uri, &service.policy.cluster, None, "uri")?)
}

fn show(permission: &Permission, global: &Global) -> Result<(), CliError> {
    let view = PermissionView::of(permission);
    if global.json {
        return output::json(&view);
    }
    output::sheet(&[("Uri", view.uri.to_owned()), ("Action", view.action.to_owned())]);
    Ok(())
}
