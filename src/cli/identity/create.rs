//! `gatemint identity create`: the four steps of the guide's manual way, each of which finds done what was done before.

use std::path::Path;

use axum::http::Method;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::{Account, Chosen, log::Log, steps::Steps, token_file::TokenFile};
use crate::{
    cli::{CliError, Global, ask, door::Access, output},
    client::{ClientError, ServiceAccountToken},
    domain::Secret,
    settings::Settings,
    wiring::StateLocation,
};

const TITLE: &str = "Kubernetes ServiceAccount Creator";
const LOG: &str = "service_account_creator.log";
/// What the guide's program marks its service accounts with.
const LABEL: &str = "arrikto.com/service-account-creator";
const STEPS: usize = 4;
const RBAC: &str = "rbac.authorization.k8s.io";

/// What is read of a ServiceAccount.
/// What a service says of itself.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
}

#[derive(Deserialize)]
struct AccountObject {
    #[serde(default)]
    secrets: Vec<SecretName>,
}

#[derive(Deserialize)]
struct SecretName {
    name: String,
}

/// What is read of a Secret.
#[derive(Deserialize)]
struct SecretObject {
    #[serde(default)]
    data: SecretData,
}

#[derive(Default, Deserialize)]
struct SecretData {
    token: Option<String>,
}

impl Drop for SecretData {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

pub(super) async fn run(account: Account, global: &Global, settings: &Settings) -> Result<(), CliError> {
    if StateLocation::of_settings(settings)?.is_some() {
        return Err(CliError::Usage(
            "`identity create` works over HTTP with a login, not on a store: leave --data, GATEMINT_DATA and GATEMINT_STORE \
             out (on a store: gatemint service-account create -n NS)"
                .into(),
        ));
    }
    let access = Access::of_login(global).await?;
    // What is asked for is asked for below the title; where nobody is asked, a missing answer comes before it.
    let asks = ask::somebody(global);
    let title = || output::aside(&format!("{TITLE}\n"));
    if asks {
        title();
    }
    let chosen = account.chosen(Some(&access), global).await?;
    if !asks {
        title();
    }
    let mut log = Log::open(Path::new(LOG))?;
    let made = Creator { access: &access, chosen: &chosen, log: &mut log }.run().await;
    let (file, is_new) = made.map_err(|error| {
        let error = access.with_what_to_grant(error);
        log.error(&error.to_string());
        CliError::Failed(format!("{error}\nWhat was done is in {LOG}; it is safe to run this again."))
    })?;
    let Chosen { namespace, name } = &chosen;
    let text = format!("Successfully created ServiceAccount `{namespace}/{name}' and retrieved its token!");
    log.info(&text);
    if global.json {
        let json = json!({ "namespace": namespace, "name": name, "file": file, "log": LOG, "new_token": is_new });
        return output::json(&json);
    }
    output::line(&text);
    output::aside(&format!("The token is in {file}, and what was done in {LOG}."));
    Ok(())
}

struct Creator<'a> {
    access: &'a Access,
    chosen: &'a Chosen,
    log: &'a mut Log,
}

impl Creator<'_> {
    /// The file, and whether the token in it is a new one.
    async fn run(mut self) -> Result<(String, bool), CliError> {
        let Chosen { namespace, name } = self.chosen;
        let path = format!("{namespace}-{name}.token");
        let file = TokenFile::prepare(Path::new(&path))?;
        self.log.info(&format!("{TITLE}: {namespace}/{name}, by {}", self.access.username));
        let mut steps = Steps::begin(STEPS);

        self.say(&mut steps, "Creating ServiceAccount...");
        self.create_account().await?;
        self.say(&mut steps, "Created ServiceAccount!");
        steps.step();

        self.say(&mut steps, "Authorizing ServiceAccount to create tokens for itself...");
        self.authorize().await?;
        self.say(&mut steps, "Authorized ServiceAccount!");
        steps.step();

        self.say(&mut steps, "Getting a long-lived token for the ServiceAccount...");
        let (token, is_new) = match self.kept(&file).await? {
            Some(token) => (token, false),
            None => (self.issue().await?, true),
        };
        self.say(&mut steps, "Retrieved token!");
        steps.step();

        self.say(&mut steps, "Storing token in file...");
        file.store(&token)?;
        self.log.info(&format!("stored in {path}"));
        steps.step();
        Ok((path, is_new))
    }

    fn say(&mut self, steps: &mut Steps, text: &str) {
        self.log.info(text);
        steps.say(text);
    }

    fn core(&self, kind: &'static str) -> Vec<&str> {
        vec!["api", "v1", "namespaces", self.chosen.namespace.as_str(), kind]
    }

    fn rbac(&self, kind: &'static str) -> Vec<&str> {
        vec!["apis", RBAC, "v1", "namespaces", self.chosen.namespace.as_str(), kind]
    }

    async fn create_account(&mut self) -> Result<(), CliError> {
        let Chosen { namespace, name } = self.chosen;
        let body = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": name, "namespace": namespace, "labels": { LABEL: "" } },
        });
        let path = self.core("serviceaccounts");
        let made: Result<Value, _> = self.access.ask_at(Method::POST, &path, &[], Some(body)).await;
        self.made("ServiceAccount", made)
    }

    async fn authorize(&mut self) -> Result<(), CliError> {
        let Chosen { namespace, name } = self.chosen;
        let role_name = format!("{name}-create-token");
        let metadata = json!({ "name": role_name, "namespace": namespace });
        let rule = json!({
            "apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [name], "verbs": ["create"],
        });
        let version = format!("{RBAC}/v1");
        let body = json!({ "apiVersion": version, "kind": "Role", "metadata": metadata, "rules": [rule] });
        let made: Result<Value, _> = self.access.ask_at(Method::POST, &self.rbac("roles"), &[], Some(body)).await;
        self.made("Role", made)?;
        let body = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
            "roleRef": { "apiGroup": RBAC, "kind": "Role", "name": role_name },
        });
        let made: Result<Value, _> =
            self.access.ask_at(Method::POST, &self.rbac("rolebindings"), &[], Some(body)).await;
        self.made("RoleBinding", made)
    }

    /// What is there already was made by an earlier run.
    fn made(&mut self, what: &str, made: Result<Value, ClientError>) -> Result<(), CliError> {
        match made {
            Ok(_) => self.log.info(&format!("{what} made")),
            Err(ClientError::Conflict(_)) => self.log.info(&format!("{what} already exists")),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The token of an earlier run, if it is still good: each one that is issued anew stays good as well, and there are
    /// only so many.
    async fn kept(&mut self, file: &TokenFile) -> Result<Option<Secret<String>>, CliError> {
        let Chosen { namespace, name } = self.chosen;
        let Some(token) = file.stored(namespace.as_str(), name.as_str()) else { return Ok(None) };
        // Another service must neither be shown it, nor have it replaced by one of its own.
        let metadata: Metadata =
            self.access.ask_at(Method::GET, &[".well-known", "openid-configuration"], &[], None).await?;
        if token.issuer.to_string().trim_end_matches('/') != metadata.issuer.trim_end_matches('/') {
            return Err(CliError::Failed(format!(
                "the file {namespace}-{name}.token holds a token of {}, which is another service than {}: run this in \
                 another directory, or move the file away",
                token.issuer, metadata.issuer
            )));
        }
        // Whatever it may do, only a token that stands gets another answer than that nobody knows it.
        let path = [&self.core("serviceaccounts")[..], &[name.as_str()]].concat();
        match self.access.ask_as::<Value>(&token.token, Method::GET, &path).await {
            Err(ClientError::Unauthenticated(_)) => {
                self.log.info("the token in the file is of no use any more");
                Ok(None)
            }
            Ok(_) | Err(ClientError::Forbidden(_) | ClientError::Lacking(_) | ClientError::Absent(_)) => {
                self.log.info("the token in the file is still good, and stays");
                Ok(Some(token.token))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// By reading the Secret that the account names.
    async fn issue(&mut self) -> Result<Secret<String>, CliError> {
        let Chosen { namespace, name } = self.chosen;
        let path = [&self.core("serviceaccounts")[..], &[name.as_str()]].concat();
        let account: AccountObject = self.access.ask_at(Method::GET, &path, &[], None).await?;
        let none = || CliError::Failed("No tokens exist for the specific ServiceAccount".into());
        let secret = account.secrets.first().ok_or_else(none)?;
        let path = [&self.core("secrets")[..], &[secret.name.as_str()]].concat();
        let secret: SecretObject = self.access.ask_at(Method::GET, &path, &[], None).await?;
        let unpopulated = || CliError::Failed("The ServiceAccount secret is not populated with a token".into());
        let encoded = secret.data.token.as_ref().ok_or_else(unpopulated)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| unpopulated())?);
        let text = std::str::from_utf8(&bytes).map_err(|_| unpopulated())?;
        let token = ServiceAccountToken::parse(text).map_err(|_| unpopulated())?;
        if token.namespace != namespace.as_str() || token.name != name.as_str() {
            return Err(CliError::Failed("the service gave another service account's token".into()));
        }
        self.log.info("a token was issued");
        Ok(token.token)
    }
}
