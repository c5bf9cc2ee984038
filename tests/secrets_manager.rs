//! AWS Secrets Manager as the vault: the conformance suite on ministack, what only Secrets Manager has, and what a network
//! and a busy service do to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{Client, primitives::Blob};
use gatemint::{
    domain::Secret,
    vault::{SecretsManagerVault, Vault, VaultError},
};
use serde_json::json;

use crate::{
    support::{
        emulator::Emulator,
        fault_proxy::{Fault, Proxy},
    },
    vault::Bed,
};

const NAME: &str = "keys/signing";
const R1: &str = "11111111111111111111111111111111";
const R2: &str = "22222222222222222222222222222222";

/// A prefix that no other test has.
pub(crate) fn prefix() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("gatemint-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A vault in Secrets Manager where there are no secrets yet.
pub(crate) fn bed_on(config: &SdkConfig) -> Bed {
    let prefix = prefix();
    let vault = Arc::new(SecretsManagerVault::new(config, &prefix));
    Bed { vault, twin: Arc::new(SecretsManagerVault::new(config, prefix)), _directory: None }
}

fn ministack() -> Bed {
    bed_on(&Emulator::ministack().config())
}

crate::vault::conformance!(on_ministack, crate::secrets_manager::ministack);

/// A vault behind a proxy, and the way to its secrets that goes round both.
async fn proxied() -> (Proxy, SecretsManagerVault, Client) {
    let emulator = Emulator::ministack();
    let proxy = Proxy::before(emulator.endpoint()).await;
    let vault = SecretsManagerVault::new(&proxy.config(), prefix());
    (proxy, vault, Client::new(&emulator.config()))
}

fn secret(text: &str) -> Secret<Vec<u8>> {
    Secret::new(text.into())
}

async fn current(vault: &dyn Vault) -> Option<(String, String)> {
    let version = vault.current(NAME).await.unwrap()?;
    Some((version.id, String::from_utf8(version.value.expose().clone()).unwrap()))
}

async fn staged(vault: &dyn Vault) -> Option<String> {
    vault.staged(NAME).await.unwrap().map(|version| version.id)
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, VaultError>) -> String {
    match outcome {
        Err(VaultError::Unavailable(error)) => error.to_string(),
        other => panic!("Unavailable was expected, not {other:?}"),
    }
}

/// How long something takes.
#[expect(clippy::disallowed_methods, reason = "how long a caller waits is what is promised")]
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = std::time::Instant::now();
    (work.await, begun.elapsed())
}

#[tokio::test]
async fn what_others_have_written_is_read_whether_it_is_text_or_bytes() {
    let (_proxy, vault, client) = proxied().await;
    client.create_secret().name(vault.id_of("text")).secret_string("{\"gatemint\":\"empty\"}").send().await.unwrap();
    client.create_secret().name(vault.id_of("bytes")).secret_binary(Blob::new([0, 159, 146])).send().await.unwrap();
    let value = async |name: &str| vault.current(name).await.unwrap().unwrap().value.expose().clone();
    assert_eq!(value("text").await, b"{\"gatemint\":\"empty\"}");
    assert_eq!(value("bytes").await, [0, 159, 146]);
    // What is text can be read as text in the console.
    vault.put("bytes", secret("text now")).await.unwrap();
    let read = client.get_secret_value().secret_id(vault.id_of("bytes")).send().await.unwrap();
    assert_eq!(read.secret_string(), Some("text now"));
}

#[tokio::test]
async fn only_secrets_under_the_prefix_are_listed_however_many_there_are() {
    let (proxy, vault, client) = proxied().await;
    let mut expected = Vec::new();
    for number in 0..120 {
        let name = format!("fresh/{number:03}");
        client.create_secret().name(vault.id_of(&name)).secret_string("x").send().await.unwrap();
        expected.push(name);
    }
    // Beside them what others keep: the prefix is another one's beginning, or its end; or it is not spelt like ours.
    let prefix = vault.id_of("fresh/");
    for id in [prefix.replace("/fresh", "0/fresh"), format!("x{prefix}"), format!("{prefix}Not-Ours")] {
        client.create_secret().name(format!("{id}a")).secret_string("x").send().await.unwrap();
    }
    proxy.requests();
    assert_eq!(vault.list("fresh/").await.unwrap(), expected);
    let pages = proxy.requests()["ListSecrets"];
    assert!(pages > 1, "more than a page was wanted");
    assert_eq!(vault.list("fresh/11").await.unwrap(), expected[110..]);
    println!("counted: {} secrets listed in {pages} pages", expected.len());
}

#[tokio::test]
async fn a_secret_that_is_marked_for_deletion_is_not_taken_for_absent_and_nothing_is_written_to_it() {
    let (proxy, vault, client) = proxied().await;
    vault.create(NAME, secret("one")).await.unwrap();
    client.delete_secret().secret_id(vault.id_of(NAME)).recovery_window_in_days(7).send().await.unwrap();
    let refused = async || {
        [
            unavailable(vault.current(NAME).await),
            unavailable(vault.staged(NAME).await),
            unavailable(vault.stage(NAME, R1, secret("two")).await),
            unavailable(vault.unstage(NAME, R1).await),
            unavailable(vault.promote(NAME, R1, R2).await),
            unavailable(vault.put(NAME, secret("two")).await),
        ]
    };
    for said in refused().await {
        assert!(said.contains("may be scheduled for deletion") && said.contains(NAME), "{said}");
    }
    client.restore_secret().secret_id(vault.id_of(NAME)).send().await.unwrap();
    // Whatever AWS calls it, in any language.
    proxy.fail("*", 1000, Fault::error(400, "InvalidRequestException", "it is deleted, or it is not"));
    for said in refused().await {
        assert!(said.contains("may be scheduled for deletion") && said.contains(NAME), "{said}");
    }
    proxy.heal();
    assert_eq!(current(&vault).await.unwrap().1, "one");
}

#[tokio::test]
async fn a_version_that_a_rotation_was_begun_with_and_has_no_value_yet_is_not_staged_and_may_be_filled() {
    let (proxy, vault, _) = proxied().await;
    vault.create(NAME, secret("one")).await.unwrap();
    let one = current(&vault).await.unwrap().0;
    // Both ways in which it can be told.
    let empty = json!({ "ARN": "a", "Name": NAME, "VersionId": R1, "VersionStages": ["AWSPENDING"] });
    proxy.fail("GetSecretValue", 1, Fault::Answer { status: 200, body: empty.clone() });
    assert_eq!(staged(&vault).await, None);
    let none = "Secrets Manager can't find the specified secret value for VersionId";
    for answer in [Fault::Answer { status: 200, body: empty }, Fault::error(400, "ResourceNotFoundException", none)] {
        proxy.fail("GetSecretValue", 1, answer);
        vault.stage(NAME, R1, secret("two")).await.unwrap();
        assert_eq!(staged(&vault).await.as_deref(), Some(R1));
    }
    vault.promote(NAME, R1, &one).await.unwrap();
    assert_eq!(current(&vault).await.unwrap(), (R1.into(), "two".into()));
}

#[tokio::test]
async fn a_replaced_version_is_staged_again_under_its_own_id_and_with_its_own_value() {
    let (_proxy, vault, _) = proxied().await;
    vault.create(NAME, secret("one")).await.unwrap();
    let one = current(&vault).await.unwrap().0;
    vault.stage(NAME, R1, secret("two")).await.unwrap();
    vault.stage(NAME, R2, secret("three")).await.unwrap();
    assert_eq!(staged(&vault).await.as_deref(), Some(R2));
    assert!(matches!(vault.stage(NAME, R1, secret("other")).await, Err(VaultError::Conflict(_))));
    assert_eq!(staged(&vault).await.as_deref(), Some(R2));
    vault.stage(NAME, R1, secret("two")).await.unwrap();
    assert_eq!(staged(&vault).await.as_deref(), Some(R1));
    vault.promote(NAME, R1, &one).await.unwrap();
    assert_eq!(current(&vault).await.unwrap(), (R1.into(), "two".into()));
}

/// The versions that have AWSPENDING.
async fn pending(client: &Client, vault: &SecretsManagerVault) -> Vec<String> {
    let described = client.describe_secret().secret_id(vault.id_of(NAME)).send().await.unwrap();
    let versions = described.version_ids_to_stages.unwrap().into_iter();
    versions.filter(|(_, labels)| labels.iter().any(|label| label == "AWSPENDING")).map(|(id, _)| id).collect()
}

#[tokio::test]
async fn a_replaced_version_is_staged_again_also_while_an_empty_one_has_the_label() {
    let (proxy, vault, client) = proxied().await;
    vault.create(NAME, secret("one")).await.unwrap();
    let one = current(&vault).await.unwrap().0;
    let id = vault.id_of(NAME);
    // What an empty version is told as: on AWS it is no value at all.
    let none = || Fault::error(400, "ResourceNotFoundException", "can't find the specified secret value");
    vault.stage(NAME, R1, secret("two")).await.unwrap();
    for as_on_aws in [true, false] {
        // As RotateSecret begins a rotation: a version without a value takes the label.
        client.put_secret_value().secret_id(&id).client_request_token(R2).version_stages("X").send().await.unwrap();
        let moved = client.update_secret_version_stage().secret_id(&id).version_stage("AWSPENDING");
        moved.move_to_version_id(R2).remove_from_version_id(R1).send().await.unwrap();
        assert_eq!(staged(&vault).await, None);
        if as_on_aws {
            // The version's own value is read; the pending one's cannot be, twice.
            proxy.fail("GetSecretValue", 1, Fault::SlowReply(Duration::ZERO));
            proxy.fail("GetSecretValue", 2, none());
        }
        vault.stage(NAME, R1, secret("two")).await.unwrap();
        assert_eq!(pending(&client, &vault).await, [R1]);
        assert_eq!(staged(&vault).await.as_deref(), Some(R1));
    }
    vault.promote(NAME, R1, &one).await.unwrap();
    assert_eq!(current(&vault).await.unwrap(), (R1.into(), "two".into()));
}

#[tokio::test]
async fn what_was_not_staged_is_never_said_to_be() {
    let (proxy, vault, client) = proxied().await;
    vault.create(NAME, secret("one")).await.unwrap();
    let refused = || Fault::error(400, "InvalidParameterException", "the label is attached to another version");
    let none = || Fault::error(400, "ResourceNotFoundException", "can't find the specified secret value");
    let pass = || Fault::SlowReply(Duration::ZERO);
    vault.stage(NAME, R1, secret("two")).await.unwrap();
    vault.stage(NAME, R2, secret("three")).await.unwrap();
    // Another version has it, which is read; or is not, and the label is moved again before it can be moved here.
    for unread in [0, 2] {
        proxy.fail("GetSecretValue", 1, pass());
        if unread > 0 {
            proxy.fail("GetSecretValue", unread, none());
        }
        proxy.fail("UpdateSecretVersionStage", 1000, refused());
        let outcome = vault.stage(NAME, R1, secret("two")).await;
        assert!(matches!(outcome, Err(VaultError::Conflict(_))), "{outcome:?}");
        proxy.heal();
        assert_eq!(pending(&client, &vault).await, [R2]);
    }
    // Who may not look for the label says which right is missing.
    proxy.fail("GetSecretValue", 1, pass());
    proxy.fail("GetSecretValue", 2, none());
    proxy.fail("UpdateSecretVersionStage", 1, refused());
    proxy.fail("DescribeSecret", 1, Fault::error(400, "AccessDeniedException", "not authorized"));
    let said = unavailable(vault.stage(NAME, R1, secret("two")).await);
    assert!(said.contains("may not do secretsmanager:DescribeSecret"), "{said}");
    // Staged by a request whose reply was lost: the label is where it is to be.
    proxy.fail("UpdateSecretVersionStage", 1, Fault::LostReply);
    vault.stage(NAME, R1, secret("two")).await.unwrap();
    assert_eq!(pending(&client, &vault).await, [R1]);
}

#[tokio::test]
async fn a_version_that_was_given_up_has_lost_its_label_also_if_nobody_heard_of_it() {
    let (proxy, vault, client) = proxied().await;
    vault.create(NAME, secret("one")).await.unwrap();
    for (id, lost) in [(R1, 0), (R2, 1)] {
        vault.stage(NAME, id, secret("two")).await.unwrap();
        assert_eq!(pending(&client, &vault).await, [id]);
        if lost > 0 {
            proxy.fail("UpdateSecretVersionStage", lost, Fault::LostReply);
        }
        vault.unstage(NAME, id).await.unwrap();
        assert_eq!(pending(&client, &vault).await, [""; 0]);
        // Its id stands for that value, for good.
        assert!(matches!(vault.stage(NAME, id, secret("other")).await, Err(VaultError::Conflict(_))));
    }
    // Refused while it is staged: that it was taken off is not said.
    vault.stage(NAME, R1, secret("two")).await.unwrap();
    proxy.fail("UpdateSecretVersionStage", 1, Fault::error(400, "InvalidParameterException", "no"));
    unavailable(vault.unstage(NAME, R1).await);
    vault.unstage(NAME, R1).await.unwrap();
    assert_eq!(staged(&vault).await, None);
}

#[tokio::test]
async fn a_token_that_is_taken_for_another_value_between_the_look_and_the_writing_is_a_conflict() {
    let (proxy, vault, client) = proxied().await;
    vault.create(NAME, secret("one")).await.unwrap();
    let id = vault.id_of(NAME);
    let stage = client.put_secret_value().secret_id(&id).client_request_token(R1).version_stages("AWSPENDING");
    stage.secret_string("theirs").send().await.unwrap();
    // As AWS answers: nothing yet at the first look, and the token is taken when it is written.
    for (value, expected) in [("ours", false), ("theirs", true)] {
        proxy.fail("GetSecretValue", 1, Fault::error(400, "ResourceNotFoundException", "not yet"));
        proxy.fail("PutSecretValue", 1, Fault::error(400, "ResourceExistsException", "already in use for a version"));
        let outcome = vault.stage(NAME, R1, secret(value)).await;
        assert_eq!(outcome.is_ok(), expected, "{outcome:?}");
        assert!(matches!(outcome, Ok(()) | Err(VaultError::Conflict(_))));
    }
    assert_eq!(staged(&vault).await.as_deref(), Some(R1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_and_not_heard_of_is_recognised_by_whoever_tries_again() {
    let mut lost = 0;
    // Once, which the SDK tries again, and so often that the caller has to.
    for times in [1, 3] {
        let (proxy, vault, _) = proxied().await;
        let attempts = if times == 1 { 1 } else { 2 };
        for (operation, work) in
            [("CreateSecret", 0), ("PutSecretValue", 1), ("UpdateSecretVersionStage", 2), ("DeleteSecret", 3)]
        {
            let from = current(&vault).await.map(|current| current.0).unwrap_or_default();
            proxy.fail(operation, times, Fault::LostReply);
            for attempt in 1..=attempts {
                let outcome = match work {
                    0 => vault.create(NAME, secret("one")).await,
                    1 => vault.stage(NAME, R1, secret("two")).await,
                    2 => vault.promote(NAME, R1, &from).await,
                    _ => vault.delete(NAME).await,
                };
                assert_eq!(outcome.is_ok(), attempt == attempts, "{operation}, {times} lost: {outcome:?}");
                lost += 1;
            }
            proxy.heal();
            match work {
                0 => assert_eq!(current(&vault).await.unwrap().1, "one"),
                1 => assert_eq!(staged(&vault).await.as_deref(), Some(R1)),
                2 => assert_eq!(current(&vault).await.unwrap(), (R1.into(), "two".into())),
                _ => assert_eq!(current(&vault).await, None),
            }
        }
    }
    println!("counted: {lost} calls whose reply was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_and_errors_of_the_service_are_tried_again_but_not_for_longer_than_anybody_waits() {
    let (proxy, vault, _) = proxied().await;
    vault.create(NAME, secret("one")).await.unwrap();
    for fault in [Fault::throttled(), Fault::error(500, "InternalServiceError", "an error on our side"), Fault::Cut] {
        proxy.fail("GetSecretValue", 2, fault.clone());
        assert_eq!(current(&vault).await.unwrap().1, "one");
        assert_eq!(proxy.requests()["GetSecretValue"], 3);
        proxy.fail("GetSecretValue", 100, fault);
        let (outcome, took) = timed(vault.current(NAME)).await;
        let said = unavailable(outcome);
        assert!(said.contains("secretsmanager:GetSecretValue") && said.contains(NAME), "{said}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(proxy.requests()["GetSecretValue"], 3, "bounded");
        proxy.heal();
    }
    proxy.fail("GetSecretValue", 100, Fault::SlowReply(Duration::from_secs(5)));
    let (outcome, took) = timed(vault.current(NAME)).await;
    assert!(unavailable(outcome).contains("got no answer"));
    assert!(took < Duration::from_secs(5), "{took:?}");
    proxy.heal();
    // One that is slow once is asked again.
    proxy.fail("GetSecretValue", 1, Fault::SlowReply(Duration::from_secs(5)));
    assert_eq!(current(&vault).await.unwrap().1, "one");
}

#[tokio::test]
async fn an_error_says_what_is_missing_and_never_what_was_written() {
    let (proxy, vault, _) = proxied().await;
    vault.create(NAME, secret("one")).await.unwrap();
    let denied = "User: arn:aws:sts::000000000000:assumed-role/token is not authorized to perform: \
                  secretsmanager:GetSecretValue because no identity-based policy allows it";
    proxy.fail("GetSecretValue", 1, Fault::error(400, "AccessDeniedException", denied));
    let said = unavailable(vault.current(NAME).await);
    assert!(
        said.contains("may not do secretsmanager:GetSecretValue on") && said.contains("assumed-role/token"),
        "{said}"
    );
    // A validation may quote what it judges.
    let quoting = || Fault::error(400, "ValidationException", "Value 'hush-hush' failed to satisfy constraint");
    for operation in ["PutSecretValue", "CreateSecret"] {
        proxy.fail(operation, 1, quoting());
    }
    for outcome in [vault.put(NAME, secret("hush-hush")).await, vault.create("other", secret("hush-hush")).await] {
        let shown = format!("{outcome:?}");
        let said = unavailable(outcome);
        assert!(said.contains("ValidationException") && !shown.contains("hush"), "{shown}");
    }
    assert!(!format!("{vault:?}").contains("hush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_wait_for_their_turns_however_many_are_wanted_at_once_and_reading_waits_for_nobody() {
    let (proxy, vault, client) = proxied().await;
    let (names, turn) = (24, Duration::from_millis(25));
    let name = |number: usize| format!("fresh/{number:03}");
    // Not there yet: each is tried, and then made.
    let many = async |work: &str| {
        let running: Vec<_> = (0..names)
            .map(|number| {
                let (vault, work, name) = (vault.clone(), work.to_owned(), name(number));
                tokio::spawn(async move {
                    match work.as_str() {
                        "put" => vault.put(&name, secret("token")).await,
                        "delete" => vault.delete(&name).await,
                        _ => vault.current(&name).await.map(drop),
                    }
                })
            })
            .collect();
        for run in running {
            run.await.unwrap().unwrap();
        }
    };
    let mut paced = 0;
    for (work, requests) in [
        ("put", &[("PutSecretValue", names), ("CreateSecret", names)][..]),
        ("put", &[("PutSecretValue", names)]),
        ("delete", &[("DeleteSecret", names)]),
    ] {
        proxy.requests();
        let ((), took) = timed(many(work)).await;
        let made = proxy.requests();
        assert_eq!(made, requests.iter().map(|(operation, times)| ((*operation).to_owned(), *times)).collect());
        let changes: usize = made.values().sum();
        let least = turn * u32::try_from(changes - 1).unwrap();
        assert!(took >= least, "{changes} changes took {took:?}, and may not take less than {least:?}");
        paced += changes;
    }
    many("current").await;
    assert_eq!(proxy.requests()["GetSecretValue"], names);
    assert!(client.get_secret_value().secret_id(vault.id_of(&name(0))).send().await.is_err(), "it is gone for good");
    println!("counted: {paced} changes in their turns, 40 a second at most; {names} reads at once");
}

#[tokio::test]
async fn after_too_much_nothing_is_changed_for_a_second() {
    let (proxy, vault, _) = proxied().await;
    vault.put(NAME, secret("one")).await.unwrap();
    for operation in ["PutSecretValue", "DeleteSecret"] {
        // As often as it is tried.
        proxy.fail(operation, 3, Fault::throttled());
        let work = async {
            let outcome = match operation {
                "PutSecretValue" => vault.put(NAME, secret("two")).await,
                _ => vault.delete(NAME).await,
            };
            let said = unavailable(outcome);
            assert!(said.contains(operation) && said.contains("ThrottlingException"), "{said}");
            assert_eq!(current(&vault).await.unwrap().1, "one", "reading goes on");
            vault.put(NAME, secret("one")).await.unwrap();
        };
        let ((), took) = timed(work).await;
        assert!(took >= Duration::from_secs(1), "{operation}: {took:?}");
    }
    // Another refusal is about that secret alone.
    proxy.fail("PutSecretValue", 3, Fault::error(400, "LimitExceededException", "too many versions"));
    unavailable(vault.put(NAME, secret("three")).await);
    vault.put(NAME, secret("four")).await.unwrap();
    assert_eq!(current(&vault).await.unwrap().1, "four");
    println!("counted: 2 times too much, 2 rests");
}

#[tokio::test]
async fn a_secret_that_is_not_there_may_be_one_that_nobody_may_write_to_and_is_made_all_the_same() {
    let (proxy, vault, _) = proxied().await;
    let denied = || Fault::error(400, "AccessDeniedException", "not authorized on resource: fresh/ada");
    proxy.fail("PutSecretValue", 1, denied());
    vault.put(NAME, secret("one")).await.unwrap();
    assert_eq!(current(&vault).await.unwrap().1, "one");
    // What is there and must not be written is said to be so, and not called a secret that comes and goes.
    proxy.fail("PutSecretValue", 1, denied());
    let said = unavailable(vault.put(NAME, secret("two")).await);
    assert!(said.contains("may not do secretsmanager:PutSecretValue"), "{said}");
    // To make it may be what is not allowed.
    for first in [denied(), Fault::SlowReply(Duration::ZERO)] {
        proxy.fail("PutSecretValue", 1, first);
        proxy.fail("CreateSecret", 1, denied());
        let said = unavailable(vault.put("fresh/new", secret("one")).await);
        assert!(said.contains("may not do secretsmanager:CreateSecret"), "{said}");
        proxy.heal();
    }
    // The same for deleting: it is looked for before a right is said to be missing.
    proxy.fail("DeleteSecret", 1, denied());
    vault.delete("fresh/never-was").await.unwrap();
    proxy.fail("DeleteSecret", 1, denied());
    let said = unavailable(vault.delete(NAME).await);
    assert!(said.contains("may not do secretsmanager:DeleteSecret"), "{said}");
    proxy.fail("DeleteSecret", 1, denied());
    proxy.fail("ListSecrets", 1, denied());
    let said = unavailable(vault.delete("fresh/never-was").await);
    assert!(said.contains("may not do secretsmanager:DeleteSecret"), "{said}");
    assert_eq!(current(&vault).await.unwrap().1, "one");
    println!("counted: 7 refusals, 2 of them about what was not there");
}

#[tokio::test]
async fn what_somebody_has_marked_for_deletion_is_deleted_at_once_and_its_name_can_be_used_again() {
    let (_proxy, vault, client) = proxied().await;
    vault.put(NAME, secret("one")).await.unwrap();
    client.delete_secret().secret_id(vault.id_of(NAME)).recovery_window_in_days(30).send().await.unwrap();
    unavailable(vault.put(NAME, secret("two")).await);
    assert_eq!(vault.list("").await.unwrap(), [""; 0], "it is listed no more");
    vault.delete(NAME).await.unwrap();
    vault.put(NAME, secret("three")).await.unwrap();
    assert_eq!(current(&vault).await.unwrap().1, "three");
}
