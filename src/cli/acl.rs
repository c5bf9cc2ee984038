//! `gatemint acl`

use axum::http::Method;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    CliError, Global,
    door::{Access, Door, Place},
    output,
};
use crate::{
    client::{ClientError, Lacking},
    domain::{
        access::{Action, Permission, Principal, Resource, Subject, permission},
        ids::Name,
    },
    settings::Settings,
};

#[derive(Subcommand)]
pub(super) enum Acl {
    /// Give a permission on a resource and all below it; what one has already is never lowered
    #[command(after_help = "\
Examples:
  gatemint acl grant job:mytestjob janedoe/service-accounts/test read
  gatemint acl grant gatetoken:vms ada write --data .gatemint       ada may mint gate tokens in the namespace vms
  gatemint acl grant storage://default/ada/data ada/readers read    for whoever has the role ada/readers

A URI is scheme://CLUSTER/NAMESPACE[/…], or short: job:notebook is below one's own namespace, job:/NS/notebook below another
one, job: is all of one's own, and gatetoken:NS is gatetoken://CLUSTER/NS. To grant takes `manage` on the resource; owners
have it on their own namespaces, gate tokens excepted. `deny` refuses whatever else is granted, on the resource and below.")]
    Grant {
        /// The resource
        uri: String,
        /// A user, NAMESPACE/service-accounts/NAME, or a role with a '/'
        user: String,
        /// list, read, write or manage, each implies those before it; or deny
        #[arg(value_parser = parse_action)]
        action: Action,
        #[command(flatten)]
        scope: Scope,
    },
    /// Take the permission on a resource away; what was granted above or below it stays
    #[command(after_help = "\
Examples:
  gatemint acl revoke job:mytestjob janedoe/service-accounts/test
  gatemint acl revoke gatetoken:vms ada --data .gatemint")]
    Revoke {
        /// The resource
        uri: String,
        /// A user, NAMESPACE/service-accounts/NAME, or a role with a '/'
        user: String,
        #[command(flatten)]
        scope: Scope,
    },
    /// List what was granted to somebody, with what the roles have, or what others have of somebody's
    #[command(
        name = "ls",
        alias = "list",
        after_help = "\
Examples:
  gatemint acl ls                                            what one was granted oneself
  gatemint acl ls job: -u janedoe/service-accounts/test      what another one may do with one's own jobs
  gatemint acl ls job: --shared                              what all others may do with them
  gatemint acl ls -u ada --data .gatemint"
    )]
    List {
        /// Only what is about this resource, or below it; storage:// is all of the current cluster
        uri: Option<String>,
        /// Whose: a user, NAMESPACE/service-accounts/NAME, or a role with a '/' [default: one's own; on a store it must be said]
        #[arg(short = 'u', long, alias = "username", value_name = "NAME")]
        user: Option<String>,
        /// What others have of what is the user's own
        #[arg(long)]
        shared: bool,
        #[command(flatten)]
        scope: Scope,
    },
    /// Say whether somebody may do something with a resource; exit code 0 or 1
    #[command(after_help = "Example:\n  gatemint acl check job:mytestjob janedoe/service-accounts/test read")]
    Check {
        /// The resource
        uri: String,
        /// A user, NAMESPACE/service-accounts/NAME, or a role with a '/'
        user: String,
        /// list, read, write or manage
        #[arg(value_parser = parse_wanted)]
        action: Action,
        #[command(flatten)]
        scope: Scope,
    },
}

/// Where a short URI is.
#[derive(Args)]
pub(super) struct Scope {
    /// The namespace of a short URI [default: one's own]
    #[arg(short = 'n', long, value_name = "NS")]
    namespace: Option<String>,
}

fn parse_action(text: &str) -> Result<Action, String> {
    Action::parse(text).ok_or_else(|| "one of list, read, write, manage, deny".to_owned())
}

/// What can be wanted: nobody wants to be denied.
fn parse_wanted(text: &str) -> Result<Action, String> {
    Action::parse(text)
        .filter(|action| *action != Action::Deny)
        .ok_or_else(|| "one of list, read, write, manage".to_owned())
}

/// A permission as it is shown, and as it comes over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PermissionView {
    /// Who has it, in a list of what is shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    uri: String,
    pub(super) action: String,
}

impl PermissionView {
    fn of(permission: &Permission) -> Self {
        Self { user: None, uri: permission.resource.to_string(), action: permission.action.as_str().to_owned() }
    }
}

impl Acl {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let door = Door::open(settings, global).await?;
        let place = door.place().await?;
        match self {
            Self::Grant { uri, user, action, scope } => {
                let (resource, to) = (place.resource(&uri, scope)?, principal(&user)?);
                let now = door.grant(&place, &to, &[(resource, action)]).await?;
                let Some(has) = now.first() else { return Err(strange()) };
                if has.action != action.as_str() {
                    output::aside(&format!("User already has higher permission: {}", has.action));
                    output::aside(&format!("To lower it: gatemint acl revoke {} {to}, then acl grant.", has.uri));
                }
                if global.json {
                    return output::json(has);
                }
                output::sheet(&[("Uri", has.uri.clone()), ("Action", has.action.clone())]);
                Ok(())
            }
            Self::Revoke { uri, user, scope } => {
                let (resource, of) = (place.resource(&uri, scope)?, principal(&user)?);
                door.take_away(&place, &of, &resource).await?;
                output::aside(&format!(
                    "{of} has no permission of its own on {resource} any more; one on what is above it, or of a role, still counts."
                ));
                Ok(())
            }
            Self::List { uri, user, shared, scope } => {
                let below = uri.map(|uri| place.below(&uri, scope)).transpose()?;
                let of = match (user, &door) {
                    (Some(user), _) => principal(&user)?,
                    (None, Door::Remote(access)) => principal(&access.username)?,
                    (None, Door::Store(_)) => {
                        return Err(CliError::Usage("whose permissions? give --user NAME (-u)".into()));
                    }
                };
                let all = door.permissions(&place, &of, below.as_ref(), shared).await?;
                if global.json {
                    return output::json(&all);
                }
                let rows = all.into_iter().map(|view| [view.uri, view.action].into_iter().chain(view.user).collect());
                let headings = ["uri", "action", "user"];
                output::table(if shared { &headings } else { &headings[..2] }, rows);
                Ok(())
            }
            Self::Check { uri, user, action, scope } => {
                let (resource, of) = (place.resource(&uri, scope)?, principal(&user)?);
                let may = door.may(&place, &of, &resource, action).await?;
                if global.json {
                    let missing = if may { vec![] } else { vec![lacking(&resource, action)] };
                    output::json(&json!({ "missing": missing }))?;
                } else {
                    let verdict = if may { "yes" } else { "no" };
                    output::line(&format!("{verdict}: {} on {resource}", action.as_str()));
                }
                if may { Ok(()) } else { Err(CliError::AnsweredNo) }
            }
        }
    }
}

/// Reads who a permission is for.
///
/// # Errors
/// Nobody can be called that.
pub(super) fn principal(text: &str) -> Result<Principal, CliError> {
    Ok(Principal::parse(text, "user")?)
}

fn lacking(resource: &Resource, action: Action) -> Lacking {
    Lacking { uri: resource.to_string(), action: action.as_str().to_owned() }
}

fn strange() -> CliError {
    CliError::Failed("the service's answer holds no permission: is it a gatemint of this version?".into())
}

impl Place {
    /// A URI as a person writes it.
    fn resource(&self, uri: &str, scope: Scope) -> Result<Resource, CliError> {
        let of_scope = scope.namespace.map(|namespace| Name::parse(&namespace, "namespace")).transpose()?;
        let namespace = of_scope.as_ref().or(self.namespace.as_ref());
        if let (Some(cluster), false) = (&self.cluster, uri.contains("://")) {
            return Ok(Resource::named(uri, cluster, namespace, "uri")?);
        }
        if !uri.contains("://") {
            return Err(CliError::Usage(
                "which cluster? the service names none to you: give a whole URI, e.g. job://default/ada/notebook"
                    .into(),
            ));
        }
        Ok(Resource::parse(&self.without_organisation(uri), "uri")?)
    }

    /// The same, or all of a scheme in the current cluster.
    fn below(&self, uri: &str, scope: Scope) -> Result<Resource, CliError> {
        match (uri.strip_suffix("://"), &self.cluster) {
            (Some(scheme), Some(cluster)) => Ok(Resource::parse(&format!("{scheme}://{cluster}"), "uri")?),
            _ => self.resource(uri, scope),
        }
    }

    /// A URI as we write it. Others have an organisation between cluster and namespace, which no namespace is called.
    fn without_organisation(&self, uri: &str) -> String {
        let plain = || uri.to_owned();
        let Some(organisation) = &self.organisation else { return plain() };
        let Some((scheme, rest)) = uri.split_once("://") else { return plain() };
        let mut parts = rest.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(cluster), Some(second), rest) if second == organisation => {
                let rest = rest.map(|rest| format!("/{rest}")).unwrap_or_default();
                format!("{scheme}://{cluster}{rest}")
            }
            _ => plain(),
        }
    }

    /// A URI as it goes over HTTP. Without the organisation a namespace that nobody has would be taken for one.
    fn with_organisation(&self, resource: &Resource) -> String {
        let rest = || resource.as_str().splitn(4, '/').nth(3);
        match (&self.organisation, rest()) {
            (Some(organisation), Some(rest)) => {
                format!("{}://{}/{organisation}/{rest}", resource.scheme(), resource.cluster())
            }
            _ => resource.to_string(),
        }
    }

    fn shown(&self, view: PermissionView) -> PermissionView {
        PermissionView { uri: self.without_organisation(&view.uri), ..view }
    }
}

/// The path of somebody's permissions; a principal's `/` is `:` there.
fn path_of(principal: &Principal) -> String {
    principal.to_string().replace('/', ":")
}

impl Access {
    async fn ask_permissions<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        of: &Principal,
        more: Option<&str>,
        about: Option<&str>,
        body: Option<Value>,
    ) -> Result<T, ClientError> {
        let of = path_of(of);
        let path: Vec<_> = ["api", "v1", "users", &of, "permissions"].into_iter().chain(more).collect();
        let query: Vec<_> = about.map(|uri| ("uri", uri)).into_iter().collect();
        self.ask_at(method, &path, &query, body).await
    }
}

fn wire(place: &Place, permissions: &[(Resource, Action)]) -> Value {
    permissions
        .iter()
        .map(|(resource, action)| json!({ "uri": place.with_organisation(resource), "action": action.as_str() }))
        .collect()
}

impl Door {
    /// Gives permissions; says what holds now.
    ///
    /// # Errors
    /// It is not the caller's to give; there is nobody of that name.
    pub(super) async fn grant(
        &self,
        place: &Place,
        to: &Principal,
        wanted: &[(Resource, Action)],
    ) -> Result<Vec<PermissionView>, CliError> {
        match self {
            Self::Store(service) => {
                let now = permission::grant(service, service.now(), &Subject::operator(), to, wanted).await?;
                Ok(now.iter().map(PermissionView::of).collect())
            }
            Self::Remote(access) => {
                let now: Vec<PermissionView> =
                    access.ask_permissions(Method::POST, to, None, None, Some(wire(place, wanted))).await?;
                Ok(now.into_iter().map(|view| place.shown(view)).collect())
            }
        }
    }

    async fn take_away(&self, place: &Place, of: &Principal, resource: &Resource) -> Result<(), CliError> {
        match self {
            Self::Store(service) => {
                let which = std::slice::from_ref(resource);
                Ok(permission::revoke(service, service.now(), &Subject::operator(), of, which).await?)
            }
            Self::Remote(access) => {
                let uri = place.with_organisation(resource);
                Ok(access.ask_permissions(Method::DELETE, of, None, Some(&uri), None).await?)
            }
        }
    }

    async fn permissions(
        &self,
        place: &Place,
        of: &Principal,
        below: Option<&Resource>,
        shared: bool,
    ) -> Result<Vec<PermissionView>, CliError> {
        let mut all: Vec<PermissionView> = match self {
            Self::Store(service) => {
                let (now, by) = (service.now(), Subject::operator());
                if shared {
                    let all = permission::shared(service, now, &by, of, below).await?;
                    let with_user = |one: &Permission| PermissionView {
                        user: Some(one.principal.to_string()),
                        ..PermissionView::of(one)
                    };
                    all.iter().map(with_user).collect()
                } else {
                    let all = permission::held(service, now, &by, of, below, true).await?;
                    all.iter().map(PermissionView::of).collect()
                }
            }
            Self::Remote(access) => {
                let more = shared.then_some("shared");
                let below = below.map(|below| place.with_organisation(below));
                let all = access.ask_permissions(Method::GET, of, more, below.as_deref(), None).await;
                let all: Vec<_> = all.map_err(|error| match error {
                    ClientError::Forbidden(told) if below.is_none() => CliError::Failed(format!(
                        "{told}\nSay what it is about: gatemint acl ls job: -u {of}, and so for storage:, image: and others"
                    )),
                    error => error.into(),
                })?;
                all.into_iter().map(|view| place.shown(view)).collect()
            }
        };
        all.sort_by(|one, other| (&one.uri, &one.user, &one.action).cmp(&(&other.uri, &other.user, &other.action)));
        Ok(all)
    }

    async fn may(&self, place: &Place, of: &Principal, resource: &Resource, action: Action) -> Result<bool, CliError> {
        let asked = [(resource.clone(), action)];
        match self {
            Self::Store(service) => {
                let missing = permission::missing(service, service.now(), &Subject::operator(), of, &asked).await?;
                Ok(missing.is_empty())
            }
            Self::Remote(access) => {
                let answer: Result<Value, _> =
                    access.ask_permissions(Method::POST, of, Some("check"), None, Some(wire(place, &asked))).await;
                match answer {
                    Ok(_) => Ok(true),
                    Err(ClientError::Lacking(missing)) if missing.iter().all(|one| one.action == action.as_str()) => {
                        Ok(false)
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let name = |text: &str| Name::parse(text, "name").ok();
        Place { cluster: name("default"), organisation: Some("default-org".into()), namespace: name("ada") }
    }

    fn read(uri: &str, namespace: Option<&str>) -> Result<String, CliError> {
        place().resource(uri, Scope { namespace: namespace.map(str::to_owned) }).map(|resource| resource.to_string())
    }

    #[test]
    fn a_uri_may_be_short_and_may_have_others_organisation() {
        for (uri, whole) in [
            ("job:x", "job://default/ada/x"),
            ("job:", "job://default/ada"),
            ("job:/eve/x", "job://default/eve/x"),
            ("gatetoken:vms", "gatetoken://default/vms"),
            ("job://default/ada/x", "job://default/ada/x"),
            ("job://default/default-org/ada/x", "job://default/ada/x"),
            ("job://default/default-org", "job://default"),
            ("job://default/default-org.x/a", "job://default/default-org.x/a"),
            ("job://default/ada/default-org/x", "job://default/ada/default-org/x"),
            ("tokenreview://default", "tokenreview://default"),
        ] {
            assert_eq!(read(uri, None).unwrap(), whole);
            let resource = Resource::parse(whole, "uri").unwrap();
            assert_eq!(place().without_organisation(&place().with_organisation(&resource)), whole);
        }
        let resource = Resource::parse("job://default/ada/x", "uri").unwrap();
        assert_eq!(place().with_organisation(&resource), "job://default/default-org/ada/x");
        assert_eq!(read("job:x", Some("eve")).unwrap(), "job://default/eve/x");
        assert!(read("job:x", Some("Eve")).is_err() && read("x", None).is_err() && read("", None).is_err());
    }

    #[test]
    fn a_short_uri_needs_a_cluster() {
        let nowhere = Place { cluster: None, ..place() };
        let scope = || Scope { namespace: None };
        assert!(matches!(nowhere.resource("job:x", scope()), Err(CliError::Usage(_))));
        assert!(nowhere.resource("job://default/ada/x", scope()).is_ok());
        assert_eq!(place().below("storage://", scope()).unwrap().as_str(), "storage://default");
    }

    #[test]
    fn a_principal_s_slash_is_a_colon_in_a_path() {
        assert_eq!(path_of(&principal("ada/service-accounts/ci").unwrap()), "ada:service-accounts:ci");
        assert!(principal("ada:service-accounts:ci").is_err());
    }
}
