//! AWS Secrets Manager as the vault: what is deployed keeps its keys and peppers there.
//!
//! A secret `keys/signing` is the secret `PREFIX/keys/signing` of the account. Its current version has the label
//! AWSCURRENT, its staged one AWSPENDING, and a version's id is the ClientRequestToken that it was written with: 32 to
//! 64 characters, which request ids have to be here. A rotation leaves AWSPENDING where it is, on what is current by
//! then, and begins with AWSPENDING on a version without a value: neither is a staged version.
//!
//! Secrets Manager takes 50 changes a second from a whole account and region, whoever makes them, and throttles everybody
//! beyond that. `put` and `delete`, of which many may be wanted at once, therefore take turns: see [`Pace`].
//!
//! What the SDK cannot be asked for: the value on its way, the request's and the answer's body and what is parsed from
//! it, lies in buffers of the SDK that nobody wipes when they are given back. What is handed on is wiped as ever.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    config::{Builder, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::{Filter, FilterNameStringType},
};
use tokio::time::{Instant, sleep_until};

use super::{
    SecretVersion, Vault, VaultError,
    entry::{check_name, exists, missing},
};
use crate::{
    domain::{Secret, same_secret},
    words,
};

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// How long one request may take with all its attempts: whoever waits for keys waits five seconds.
const PATIENCE: Duration = Duration::from_millis(4500);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ATTEMPT_WITHIN: Duration = Duration::from_secs(2);
/// From one change to the next: 40 a second, of the 50 of each kind that an account has in a region. The rest is left to
/// rotations, and to the account's other programs.
const BETWEEN_CHANGES: Duration = Duration::from_millis(25);
/// How long nothing is changed after Secrets Manager has said that there was too much.
const REST: Duration = Duration::from_secs(1);
/// As many names as a page of a list holds at most.
const PAGE: i32 = 100;

/// A [`Vault`] in Secrets Manager.
#[derive(Clone, Debug)]
pub struct SecretsManagerVault {
    client: Client,
    prefix: String,
    pace: Arc<Pace>,
}

/// Lets changes begin one after the other, with a pause between two, however many want to at once; reading waits for
/// nobody. It counts for a vault and its clones: another process has a pace of its own.
#[derive(Debug, Default)]
struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Takes the next turn, and waits for it. Turns that nobody wanted are not saved up.
    async fn turn(&self) {
        let begins = {
            let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = next.map_or_else(now, |next| next.max(now()));
            *next = Some(begins + BETWEEN_CHANGES);
            begins
        };
        sleep_until(begins).await;
    }

    /// Lets nobody begin for a while who has no turn yet.
    fn rest(&self) {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = now() + REST;
        *next = Some(next.map_or(rested, |next| next.max(rested)));
    }

    /// A change in its turn.
    async fn change<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.turn().await;
        let outcome = work.await;
        if outcome.as_ref().is_err_and(Failure::is_throttled) {
            self.rest();
        }
        outcome
    }
}

#[expect(clippy::disallowed_methods, reason = "a pause between requests; nothing is judged by it")]
fn now() -> Instant {
    Instant::now()
}

/// Which version is meant.
#[derive(Clone, Copy)]
enum Which<'a> {
    Labelled(&'static str),
    WithId(&'a str),
}

/// A version with its labels.
struct Found {
    version: SecretVersion,
    labels: Vec<String>,
}

impl Found {
    fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|has| has == label)
    }
}

impl SecretsManagerVault {
    /// The secrets whose names begin with `PREFIX/`, with time-outs and retries of its own: throttling, errors of the
    /// service and broken connections are tried again up to twice by the SDK's standard mode, which waits longer each
    /// time, by chance, and not at all while everything fails.
    pub fn new(config: &SdkConfig, prefix: impl Into<String>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN)
            .operation_attempt_timeout(ATTEMPT_WITHIN)
            .operation_timeout(PATIENCE)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(100))
            .with_max_backoff(Duration::from_secs(1));
        let config = Builder::from(config).timeout_config(timeouts).retry_config(retries).build();
        Self { client: Client::from_conf(config), prefix: prefix.into(), pace: Arc::default() }
    }

    /// What a secret is called in the account.
    pub fn id_of(&self, name: &str) -> String {
        super::id_under(&self.prefix, name)
    }

    /// None: there is no such secret or version, or it has no value yet. One that is scheduled for deletion is not
    /// absent: it may yet be restored, and AWS has no code for it alone.
    async fn read(&self, name: &str, which: Which<'_>) -> Result<Option<Found>, VaultError> {
        check_name(name)?;
        let id = self.id_of(name);
        let request = self.client.get_secret_value().secret_id(&id);
        let request = match which {
            Which::Labelled(label) => request.version_stage(label),
            Which::WithId(version) => request.version_id(version),
        };
        let output = match request.send().await {
            Ok(output) => output,
            Err(error) => {
                let failure = Failure::of("GetSecretValue", &id, Says::All, &error);
                return if failure.is_absent() { Ok(None) } else { Err(failure.unavailable()) };
            }
        };
        // Both are moved out, not copied.
        let value = match (output.secret_string, output.secret_binary) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(bytes)) => bytes.into_inner(),
            (None, None) => return Ok(None),
        };
        let version = SecretVersion { id: output.version_id.unwrap_or_default(), value: Secret::new(value) };
        Ok(Some(Found { version, labels: output.version_stages.unwrap_or_default() }))
    }

    /// Puts AWSPENDING on a version, whichever has it. `Conflict`: another one has got it meanwhile.
    async fn mark_pending(&self, name: &str, request_id: &str) -> Result<(), VaultError> {
        let holder = self.read(name, Which::Labelled(PENDING)).await?.map(|found| found.version.id);
        if holder.as_deref() == Some(request_id) {
            return Ok(());
        }
        match self.move_label(name, PENDING, Some(request_id), holder.as_deref()).await {
            // Another version has it than was read.
            Err(failure) if failure.is_refused() => {}
            moved => return moved.map_err(Failure::unavailable),
        }
        let overtaken = || VaultError::Conflict(format!("another version than {request_id} is being staged"));
        if let Some(found) = self.read(name, Which::Labelled(PENDING)).await? {
            // It has moved meanwhile: here, perhaps by a request whose reply was lost, or to what was staged later.
            return if found.version.id == request_id { Ok(()) } else { Err(overtaken()) };
        }
        // What has it holds no value: a rotation was begun, and nothing staged for it yet. Reading values shows no such.
        let holder = self.pending_holder(name).await?.ok_or_else(overtaken)?;
        if holder == request_id {
            return Ok(());
        }
        match self.move_label(name, PENDING, Some(request_id), Some(&holder)).await {
            Err(failure) if failure.is_refused() => Err(overtaken()),
            moved => moved.map_err(Failure::unavailable),
        }
    }

    /// The version that has AWSPENDING, whether or not it has a value.
    async fn pending_holder(&self, name: &str) -> Result<Option<String>, VaultError> {
        let id = self.id_of(name);
        let described = self.client.describe_secret().secret_id(&id).send().await;
        let described =
            described.map_err(|error| Failure::of("DescribeSecret", &id, Says::All, &error).unavailable())?;
        let mut versions = described.version_ids_to_stages.unwrap_or_default().into_iter();
        Ok(versions.find(|(_, labels)| labels.iter().any(|label| label == PENDING)).map(|(version, _)| version))
    }

    /// Moves a label; takes it off if it is to go nowhere. Refused unless it is where it is to be moved from.
    async fn move_label(&self, name: &str, label: &str, to: Option<&str>, from: Option<&str>) -> Result<(), Failure> {
        let id = self.id_of(name);
        let request = self.client.update_secret_version_stage().secret_id(&id).version_stage(label);
        let request = request.set_move_to_version_id(to.map(str::to_owned));
        let moved = request.set_remove_from_version_id(from.map(str::to_owned)).send().await;
        moved.map(drop).map_err(|error| Failure::of("UpdateSecretVersionStage", &id, Says::All, &error))
    }

    /// Writes a version; without an id the SDK makes one.
    async fn write(
        &self,
        name: &str,
        version: Option<&str>,
        label: &str,
        value: &Secret<Vec<u8>>,
    ) -> Result<(), Failure> {
        let id = self.id_of(name);
        let (text, bytes) = as_text_or_bytes(value);
        let request = self.client.put_secret_value().secret_id(&id).version_stages(label);
        let request = request.set_client_request_token(version.map(str::to_owned));
        let written = request.set_secret_string(text).set_secret_binary(bytes).send().await;
        written.map(drop).map_err(|error| Failure::of("PutSecretValue", &id, Says::CodeAlone, &error))
    }

    /// Makes a secret.
    async fn make(&self, name: &str, value: &Secret<Vec<u8>>) -> Result<(), Failure> {
        let id = self.id_of(name);
        let (text, bytes) = as_text_or_bytes(value);
        let request = self.client.create_secret().name(&id).set_secret_string(text).set_secret_binary(bytes);
        let made = request.send().await;
        made.map(drop).map_err(|error| Failure::of("CreateSecret", &id, Says::CodeAlone, &error))
    }
}

/// As text where it is text: an operator can read it in the console then, and GenerateSecretString writes such.
fn as_text_or_bytes(value: &Secret<Vec<u8>>) -> (Option<String>, Option<Blob>) {
    match std::str::from_utf8(value.expose()) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(Blob::new(value.expose().as_slice()))),
    }
}

#[async_trait]
impl Vault for SecretsManagerVault {
    async fn current(&self, name: &str) -> Result<Option<SecretVersion>, VaultError> {
        Ok(self.read(name, Which::Labelled(CURRENT)).await?.map(|found| found.version))
    }

    async fn create(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        check_name(name)?;
        match self.make(name, &value).await {
            Err(failure) if failure.code == "ResourceExistsException" => {}
            made => return made.map_err(Failure::unavailable),
        }
        // AWS itself recognises a request that is tried again; not everything that stands in for it does.
        let standing = self.current(name).await?;
        let ours = standing.is_some_and(|standing| same_secret(standing.value.expose(), value.expose()));
        if ours { Ok(()) } else { Err(exists(name)) }
    }

    async fn stage(&self, name: &str, request_id: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        let taken = || VaultError::Conflict(format!("{request_id} was staged with another value"));
        let differs = |found: &Found| !same_secret(found.version.value.expose(), value.expose());
        // Looked at first, although AWS would refuse another value: what stands in for it may overwrite.
        match self.read(name, Which::WithId(request_id)).await? {
            Some(found) if differs(&found) => return Err(taken()),
            Some(found) if found.has(CURRENT) => return Ok(()),
            Some(_) => {}
            None => match self.write(name, Some(request_id), PENDING, &value).await {
                Err(failure) if failure.code == "ResourceNotFoundException" => return Err(missing(name)),
                // Somebody else with this id was faster.
                Err(failure) if failure.code == "ResourceExistsException" => {
                    if self.read(name, Which::WithId(request_id)).await?.as_ref().is_none_or(differs) {
                        return Err(taken());
                    }
                }
                written => written.map_err(Failure::unavailable)?,
            },
        }
        // A version that another one replaced is staged again; and not everything that stands in for AWS takes the
        // label from the version that had it.
        self.mark_pending(name, request_id).await
    }

    async fn staged(&self, name: &str) -> Result<Option<SecretVersion>, VaultError> {
        let pending = self.read(name, Which::Labelled(PENDING)).await?;
        Ok(pending.filter(|found| !found.has(CURRENT)).map(|found| found.version))
    }

    async fn unstage(&self, name: &str, request_id: &str) -> Result<(), VaultError> {
        check_name(name)?;
        match self.move_label(name, PENDING, None, Some(request_id)).await {
            // It has no such label, or has it no more after a request whose reply was lost.
            Err(failure) if failure.is_refused() => match self.staged(name).await? {
                Some(staged) if staged.id == request_id => Err(failure.unavailable()),
                _ => Ok(()),
            },
            moved => moved.map_err(Failure::unavailable),
        }
    }

    async fn promote(&self, name: &str, request_id: &str, from: &str) -> Result<(), VaultError> {
        let is_current = async || -> Result<bool, VaultError> {
            let current = self.current(name).await?.ok_or_else(|| missing(name))?.id;
            if current != request_id && current != from {
                return Err(VaultError::Conflict(format!("the current version is {current}, not {from}")));
            }
            Ok(current == request_id)
        };
        if is_current().await? {
            return Ok(());
        }
        if self.staged(name).await?.is_none_or(|staged| staged.id != request_id) {
            // It may have been promoted between the two looks.
            return if is_current().await? {
                Ok(())
            } else {
                Err(VaultError::Conflict(format!("nothing is staged as {request_id}")))
            };
        }
        // A compare-and-swap: refused unless `from` has the label.
        match self.move_label(name, CURRENT, Some(request_id), Some(from)).await {
            // By somebody else, or by ourselves if the reply was lost and the SDK has tried again.
            Err(failure) if failure.is_refused() => {
                if is_current().await? {
                    Ok(())
                } else {
                    Err(failure.unavailable())
                }
            }
            moved => moved.map_err(Failure::unavailable),
        }
    }

    /// In its turn, and so is what makes the secret where there is none. One that is scheduled for deletion is not written
    /// to: whoever did that restores it, or waits; `delete` and `put` make a new one.
    async fn put(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        check_name(name)?;
        for _ in 0..2 {
            let refused = match self.pace.change(self.write(name, None, CURRENT, &value)).await {
                // Where rights are given by names, a secret that is not there may be refused for want of a right.
                Err(failure) if failure.is_absent() || failure.is_denied() => failure,
                written => return written.map_err(Failure::unavailable),
            };
            match self.pace.change(self.make(name, &value)).await {
                // Somebody else was faster: then it can be written to.
                Err(failure) if failure.code == "ResourceExistsException" && refused.is_absent() => {}
                // It is there, so the right to write to it is what is missing.
                Err(failure) if failure.code == "ResourceExistsException" => return Err(refused.unavailable()),
                made => return made.map_err(Failure::unavailable),
            }
        }
        Err(VaultError::unavailable(format!("{} comes and goes", self.id_of(name))))
    }

    /// In its turn, and for good: also one that is scheduled for deletion is gone after it. AWS may take a moment until the
    /// name is free.
    async fn delete(&self, name: &str) -> Result<(), VaultError> {
        check_name(name)?;
        let id = self.id_of(name);
        let request = self.client.delete_secret().secret_id(&id).force_delete_without_recovery(true);
        let deleted = async {
            let deleted = request.send().await;
            deleted.map(drop).map_err(|error| Failure::of("DeleteSecret", &id, Says::All, &error))
        };
        match self.pace.change(deleted).await {
            Err(failure) if failure.is_absent() => Ok(()),
            // As in `put`: one that is not there has no rights.
            Err(failure) if failure.is_denied() => match self.list(name).await {
                Ok(names) if !names.iter().any(|listed| listed == name) => Ok(()),
                _ => Err(failure.unavailable()),
            },
            deleted => deleted.map_err(Failure::unavailable),
        }
    }

    /// On AWS a list may be some minutes old, and it has none that is scheduled for deletion.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        let start = self.id_of("");
        let filter = Filter::builder().key(FilterNameStringType::Name).values(self.id_of(prefix)).build();
        let mut pages = self.client.list_secrets().filters(filter).max_results(PAGE).into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Failure::of("ListSecrets", &start, Says::All, &error).unavailable())?;
            let ids = page.secret_list.unwrap_or_default().into_iter().filter_map(|secret| secret.name);
            // The filter knows no exact beginnings everywhere; and what is not spelt like a secret of ours is none.
            let ours = ids.filter_map(|id| id.strip_prefix(&start).map(str::to_owned));
            names.extend(ours.filter(|name| name.starts_with(prefix) && check_name(name).is_ok()));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// Whether the service's own words may be told: about a value they may quote it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    All,
    CodeAlone,
}

/// Why a request was not done.
struct Failure {
    /// The service's code; empty if there was no answer.
    code: String,
    /// For the operator.
    text: String,
}

impl Failure {
    fn of<E: ProvideErrorMetadata + Error + 'static>(action: &str, id: &str, says: Says, error: &SdkError<E>) -> Self {
        let (code, message) = match error.as_service_error() {
            Some(error) => (error.code().unwrap_or("an error without a code"), error.message().unwrap_or_default()),
            None => ("", ""),
        };
        let told = says == Says::All && !message.is_empty();
        let said = if told { format!(": {}", words::shortened(message)) } else { String::new() };
        let text = match code {
            "" => format!("secretsmanager:{action} on {id} got no answer: {}", words::of(error)),
            "AccessDeniedException" => {
                format!("these credentials may not do secretsmanager:{action} on {id} ({code}){said}")
            }
            "ResourceNotFoundException" => format!("Secrets Manager has no secret {id} ({action}: {code})"),
            "InvalidRequestException" => format!(
                "secretsmanager:{action} on {id} was refused: the secret may be scheduled for deletion ({code}){said}"
            ),
            _ => format!("secretsmanager:{action} on {id} was refused: {code}{said}"),
        };
        Self { code: code.to_owned(), text }
    }

    /// There is nothing to read.
    fn is_absent(&self) -> bool {
        self.code == "ResourceNotFoundException"
    }

    /// A right is missing; or there is no such secret, and who may not see that is told so.
    fn is_denied(&self) -> bool {
        self.code == "AccessDeniedException"
    }

    /// There was too much, here or elsewhere in the account, and it was still too much when it was tried again.
    fn is_throttled(&self) -> bool {
        // Not LimitExceededException, which is about how much there is, of the versions of one secret, for example.
        ["Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException"]
            .contains(&self.code.as_str())
    }

    /// The labels are not where the request takes them to be.
    fn is_refused(&self) -> bool {
        ["InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException"]
            .contains(&self.code.as_str())
    }

    fn unavailable(self) -> VaultError {
        VaultError::unavailable(self.text)
    }
}
