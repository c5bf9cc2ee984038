//! `gatemint identity authorize`: what a service account may do in a namespace, in the words of Kubeflow's roles.

use clap::ValueEnum;
use serde_json::json;

use super::{Account, Chosen, given};
use crate::{
    cli::{CliError, Global, door::Door, output},
    domain::{
        access::{Action, Principal, Resource},
        ids::Name,
    },
    settings::Settings,
};

/// What a namespace's work is made of. With its secrets, roles and service accounts one could become somebody else.
const SCHEMES: [&str; 6] = ["job", "storage", "image", "blob", "disk", "flow"];

/// What a service account may do in a namespace.
#[derive(Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Role {
    /// Look at everything: `read`
    View,
    /// Change it: `write`
    Edit,
    /// Let others do so: `manage`
    Admin,
}

impl Role {
    fn action(self) -> Action {
        match self {
            Self::View => Action::Read,
            Self::Edit => Action::Write,
            Self::Admin => Action::Manage,
        }
    }
}

pub(super) async fn run(
    account: Account,
    namespace: Option<String>,
    role: Role,
    global: &Global,
    settings: &Settings,
) -> Result<(), CliError> {
    let namespace = namespace.map(|namespace| given(&namespace, "--namespace")).transpose()?;
    let door = Door::open(settings, global).await?;
    let access = match &door {
        Door::Remote(access) => Some(&**access),
        Door::Store(_) => None,
    };
    let Chosen { namespace: of, name } = account.chosen(access, global).await?;
    let place = door.place().await?;
    let target = namespace.unwrap_or_else(|| of.clone());
    let principal = Principal::ServiceAccount { namespace: of, name };
    let cluster = place.cluster.as_ref().map_or("", Name::as_str);
    let wanted = SCHEMES.map(|scheme| Resource::parse(&format!("{scheme}://{cluster}/{target}"), "namespace"));
    let wanted = wanted.into_iter().map(|resource| Ok((resource?, role.action())));
    let wanted: Vec<_> = wanted.collect::<Result<_, CliError>>()?;
    let now = door.grant(&place, &principal, &wanted).await?;
    let action = role.action().as_str();
    if let Some(higher) = now.iter().find(|has| has.action != action) {
        output::aside(&format!("User already has higher permission: {}", higher.action));
    }
    if global.json {
        return output::json(&json!({ "principal": principal, "permissions": now }));
    }
    output::line(&format!("{principal} has {action} on what is in the namespace {target}."));
    output::aside(&format!("To see it: gatemint acl ls job://{cluster}/{target} -u {principal}"));
    Ok(())
}
