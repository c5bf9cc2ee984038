//! Rotations as Secrets Manager asks for them: the four steps as events, on secrets and a table in an emulator; from an
//! empty secret on, stopped after each, two at once, and with Secrets Manager away.

use std::{sync::Arc, time::Duration};

use aws_sdk_secretsmanager::Client;
use axum::http::{Method, StatusCode};
use gatemint::{
    domain::{
        Policy, RefusalKind, Service,
        key::{
            KeySet, PublicKeys, State,
            jwt::Kind,
            rotate::{self, Pace},
        },
        session::{self, PepperRing},
    },
    http::Options,
    lambda::rotation,
    store::{DynamoStore, Row},
    vault::SecretsManagerVault,
};
use serde_json::json;

use crate::{
    secrets_manager::prefix,
    support::{
        ISSUER, TestService,
        emulator::Emulator,
        fault_proxy::{Fault, Proxy},
        watched::{self, WatchedStore},
    },
};

const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];
const EMPTY: &str = r#"{"gatemint":"empty"}"#;
const PEPPER: &str = r#"{"v":1,"id":1,"secret":"a-pepper-as-GenerateSecretString-makes-it"}"#;

/// A stack as it is deployed: an empty signing secret, a pepper, and an empty table. Its service reaches Secrets Manager
/// through a proxy, and the table directly.
struct Stack {
    service: TestService,
    proxy: Proxy,
    /// Another way to the secrets, past the proxy.
    client: Client,
    /// The signing secret's name in the account.
    secret: String,
    /// Its ARN, as events have it.
    arn: String,
}

impl Stack {
    async fn new() -> Self {
        Self::with(EMPTY, PEPPER).await
    }

    async fn with(signing: &str, peppers: &str) -> Self {
        let emulator = Emulator::ministack();
        let proxy = Proxy::before(emulator.endpoint()).await;
        let vault = SecretsManagerVault::new(&proxy.config(), prefix());
        let client = Client::new(&emulator.config());
        let secret = vault.id_of(KeySet::SECRET);
        let made = client.create_secret().name(&secret).secret_string(signing).send().await.unwrap();
        let ring = vault.id_of(PepperRing::SECRET);
        client.create_secret().name(ring).secret_string(peppers).send().await.unwrap();
        let table = DynamoStore::new(&emulator.config(), emulator.table().await);
        let store = WatchedStore::around(Arc::new(table));
        let service = TestService::unfilled(store, Arc::new(vault), Policy::new(ISSUER), &Options::default());
        Self { service, proxy, client, secret, arn: made.arn.unwrap() }
    }

    /// Another process, with a memory of its own.
    fn process(&self) -> Arc<Service> {
        self.service.beside(Policy::new(ISSUER))
    }

    /// An event, by a process of its own; the error's text.
    async fn step(&self, step: &str, token: &str) -> Result<(), String> {
        take(&self.process(), &self.secret, &self.arn, step, token).await
    }

    /// A whole rotation.
    async fn rotate(&self, token: &str) {
        for step in STEPS {
            self.step(step, token).await.unwrap();
        }
    }

    /// The versions of the signing secret that have AWSPENDING and not AWSCURRENT: a rotation that Secrets Manager
    /// goes on with before it begins another.
    async fn pending(&self) -> Vec<String> {
        let described = self.client.describe_secret().secret_id(&self.secret).send().await.unwrap();
        let has = |labels: &[String], wanted: &str| labels.iter().any(|label| label == wanted);
        let versions = described.version_ids_to_stages.unwrap().into_iter();
        versions
            .filter(|(_, labels)| has(labels, "AWSPENDING") && !has(labels, "AWSCURRENT"))
            .map(|(id, _)| id)
            .collect()
    }

    /// Value and id of the signing secret's current version, as Secrets Manager has them.
    async fn current(&self) -> (String, String) {
        let read = self.client.get_secret_value().secret_id(&self.secret).version_stage("AWSCURRENT").send().await;
        let read = read.unwrap();
        (read.secret_string.unwrap(), read.version_id.unwrap())
    }

    /// The public row's ids, and the private keys'.
    async fn kids(&self) -> (Vec<String>, Vec<String>) {
        let now = self.service.service.now();
        let row: Row<PublicKeys> = self.process().read(now, PublicKeys::row()).await.unwrap().unwrap();
        let private = KeySet::parse(self.current().await.0.as_bytes()).unwrap();
        let ids = |keys: &PublicKeys| keys.keys.iter().map(|key| key.kid.clone()).collect();
        (ids(&row.record), ids(private.public()))
    }

    async fn states(&self) -> Vec<State> {
        let (process, now) = (self.process(), self.service.service.now());
        rotate::list(&process, now).await.unwrap().iter().map(|key| key.state).collect()
    }

    /// Signs with a process that remembers nothing, and judges by the public row.
    async fn signs(&self) -> bool {
        let process = self.process();
        let now = process.now();
        let signed = process.sign(now, Kind::Access, &json!({ "iat": now, "exp": now + Duration::from_mins(1) })).await;
        let Ok(token) = signed else { return false };
        let kid = jsonwebtoken::decode_header(token.expose()).unwrap().kid.unwrap();
        self.kids().await.0.contains(&kid)
    }

    async fn status(&self, path: &str) -> StatusCode {
        self.service.v1(Method::GET, path, "", None).await.status
    }
}

async fn take(service: &Service, secret: &str, arn: &str, step: &str, token: &str) -> Result<(), String> {
    let event = json!({ "Step": step, "SecretId": arn, "ClientRequestToken": token, "RotationToken": "x" });
    assert!(rotation::is_rotation(&event));
    rotation::answer(service, secret, &event).await.map_err(|refused| refused.error_message)
}

/// A request id as Secrets Manager makes them.
fn token(number: u32) -> String {
    format!("b3f2c1d4-e5f6-4718-a93b-{number:012}")
}

#[tokio::test]
async fn the_first_rotation_makes_the_keys_of_a_new_stack_and_the_next_announces_one() {
    let stack = Stack::new().await;
    let process = stack.process();
    // Nobody is served before it, and the log says why.
    let form = [("grant_type", "password"), ("username", "nobody"), ("password", "a password that is long enough")];
    assert_eq!(stack.status("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(stack.status("/.well-known/jwks.json").await, StatusCode::SERVICE_UNAVAILABLE);
    let now = process.now();
    for _ in 0..2 {
        let refused = process.sign(now, Kind::Access, &json!({})).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Unavailable);
        let cause = refused.source.unwrap().to_string();
        assert!(cause.contains("no signing keys yet") && cause.contains("first rotation"), "{cause}");
    }

    let first = token(1);
    for step in STEPS {
        // Each step twice, as somebody asks who has not heard the answer.
        for _ in 0..2 {
            stack.step(step, &first).await.unwrap();
        }
    }
    assert_eq!(stack.current().await.1, first);
    assert_eq!(stack.states().await, [State::Signing]);
    // The processes that were refused before go on, without a restart.
    process.sign(now, Kind::Access, &json!({})).await.unwrap();
    assert_eq!(stack.status("/readyz").await, StatusCode::OK);
    assert_eq!(stack.status("/.well-known/jwks.json").await, StatusCode::OK);
    assert_eq!(stack.service.form("/oauth2/token", &form).await.refusal().1, "invalid_grant");
    for step in STEPS {
        stack.step(step, &first).await.unwrap();
    }
    assert_eq!(stack.states().await, [State::Signing], "a rotation that is over may be asked for again");

    stack.service.clock.advance(Duration::from_hours(30 * 24));
    stack.rotate(&token(2)).await;
    assert_eq!(stack.current().await.1, token(2));
    assert_eq!(stack.states().await, [State::Signing, State::Upcoming]);
    // The schedule, or an operator, asks for another before the key has had its turn.
    let refused = stack.step("createSecret", &token(3)).await.unwrap_err();
    assert!(refused.contains("a new key is published already, and signs from"), "{refused}");
    for step in &STEPS[1..] {
        assert!(stack.step(step, &token(3)).await.unwrap_err().contains("nothing is staged"));
    }
    stack.service.clock.advance(Duration::from_hours(24));
    assert_eq!(stack.states().await, [State::Judging, State::Signing]);
    let (public, private) = stack.kids().await;
    assert_eq!(public, private);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_stopped_after_any_step_goes_on_or_another_takes_its_place() {
    let mut stopped = 0;
    for first in [true, false] {
        for steps in 0..=STEPS.len() {
            for same in [true, false] {
                let stack = Stack::new().await;
                if !first {
                    stack.rotate(&token(1)).await;
                    stack.service.clock.advance(Duration::from_hours(30 * 24));
                }
                for step in &STEPS[..steps] {
                    stack.step(step, &token(2)).await.unwrap();
                }
                let case = format!("first {first}, stopped after {steps}, same {same}");
                assert_eq!(stack.signs().await, !first || steps == 4, "{case}");
                let again = token(if same { 2 } else { 3 });
                // A rotation that came to its end announced a key, or made one: what comes after it is another one.
                if steps == 4 && !same && !first {
                    stack.service.clock.advance(Duration::from_hours(24));
                }
                stack.rotate(&again).await;
                assert_eq!(stack.current().await.1, again, "{case}");
                assert!(stack.signs().await, "{case}");
                let (public, private) = stack.kids().await;
                assert_eq!(public, private, "{case}: nothing is left of what was given up");
                let keys = usize::from(!first) + 1 + usize::from(steps == 4 && !same);
                assert_eq!(private.len(), keys, "{case}");
                if !same && (1..4).contains(&steps) {
                    for step in STEPS {
                        assert!(stack.step(step, &token(2)).await.is_err(), "{case}: {step} of what was replaced");
                    }
                    assert_eq!(stack.current().await.1, again, "{case}");
                    assert_eq!(stack.kids().await.1, private, "{case}");
                }
                stopped += 1;
            }
        }
    }
    println!("counted: {stopped} rotations stopped and begun again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_held_up_fails_once_and_the_next_one_ends_well() {
    let mut held_up = 0;
    for taken in 1..STEPS.len() {
        for meets_it in STEPS {
            let stack = Stack::new().await;
            stack.rotate(&token(1)).await;
            stack.service.clock.advance(Duration::from_hours(30 * 24));
            for step in &STEPS[..taken] {
                stack.step(step, &token(2)).await.unwrap();
            }
            assert_eq!(stack.pending().await, [token(2)]);
            stack.service.clock.advance(Duration::from_hours(2 * 24));
            let said = stack.step(meets_it, &token(2)).await.unwrap_err();
            assert!(said.contains("held up"), "{taken} steps, then {meets_it}: {said}");
            // Nothing is left that Secrets Manager could go on with, nor does it come back when it is asked for again.
            assert_eq!(stack.pending().await, [""; 0]);
            for step in STEPS {
                assert!(stack.step(step, &token(2)).await.is_err(), "{step}");
            }
            assert_eq!(stack.pending().await, [""; 0]);
            assert_eq!(stack.current().await.1, token(1));
            assert!(stack.signs().await);
            stack.rotate(&token(3)).await;
            assert_eq!(stack.current().await.1, token(3));
            assert_eq!(stack.states().await, [State::Signing, State::Upcoming]);
            let (public, private) = stack.kids().await;
            assert_eq!(public, private, "{taken} steps, then {meets_it}");
            held_up += 1;
        }
    }
    println!("counted: {held_up} rotations held up, each followed by one that ended well");
}

#[tokio::test]
async fn a_rotation_whose_secret_was_written_by_hand_meanwhile_fails_once_and_the_next_one_ends_well() {
    for first in [true, false] {
        let stack = Stack::new().await;
        if !first {
            stack.rotate(&token(1)).await;
            stack.service.clock.advance(Duration::from_hours(30 * 24));
        }
        stack.step("createSecret", &token(2)).await.unwrap();
        let value = stack.current().await.0;
        stack.client.put_secret_value().secret_id(&stack.secret).secret_string(value).send().await.unwrap();
        assert_eq!(stack.pending().await, [token(2)]);
        let said = stack.step("createSecret", &token(2)).await.unwrap_err();
        assert!(said.contains("another rotation was faster"), "{said}");
        assert_eq!(stack.pending().await, [""; 0]);
        stack.rotate(&token(3)).await;
        assert!(stack.signs().await);
        let (public, private) = stack.kids().await;
        assert_eq!(public, private);
    }
}

#[tokio::test]
async fn a_vault_that_still_shows_the_version_before_brings_nothing_of_it_into_the_public_row() {
    for first in [true, false] {
        let stack = Stack::new().await;
        if !first {
            stack.rotate(&token(1)).await;
            stack.service.clock.advance(Duration::from_hours(30 * 24));
        }
        let (value, id) = stack.current().await;
        for step in &STEPS[..3] {
            stack.step(step, &token(2)).await.unwrap();
        }
        // What is read before the promotion is right; from then on the version before it is shown.
        let labels = ["AWSCURRENT"];
        let old =
            json!({ "ARN": stack.arn, "Name": "x", "VersionId": id, "VersionStages": labels, "SecretString": value });
        stack.proxy.requests();
        stack.proxy.fail("GetSecretValue", 3, Fault::SlowReply(Duration::ZERO));
        stack.proxy.fail("GetSecretValue", 1000, Fault::Answer { status: 200, body: old });
        stack.step("finishSecret", &token(2)).await.unwrap();
        stack.proxy.heal();
        let asked: Vec<_> = stack.proxy.bodies().into_iter().map(|(operation, _)| operation).collect();
        let promoted = asked.iter().position(|operation| operation == "UpdateSecretVersionStage");
        assert_eq!(promoted, Some(3), "the old version was shown after the promotion: {asked:?}");
        let states = if first { vec![State::Signing] } else { vec![State::Signing, State::Upcoming] };
        assert_eq!(stack.states().await, states);
        let (public, private) = stack.kids().await;
        assert_eq!(public, private);
        stack.service.clock.advance(Duration::from_hours(24));
        let states = if first { vec![State::Signing] } else { vec![State::Judging, State::Signing] };
        assert_eq!(stack.states().await, states);
        assert!(stack.signs().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pepper_is_reported_also_if_the_word_of_it_was_lost_and_only_then() {
    for (fault, rotated) in [(Fault::LostReply, true), (Fault::Cut, false)] {
        let stack = Stack::new().await;
        // As often as the SDK tries it.
        stack.proxy.fail("UpdateSecretVersionStage", 3, fault.clone());
        let outcome = session::rotate_peppers(&stack.process(), Pace::AtOnce, "test").await;
        stack.proxy.heal();
        let held = stack.process().vault.current(PepperRing::SECRET).await.unwrap().unwrap();
        let ring = PepperRing::parse(held.value.expose(), stack.service.service.now()).unwrap();
        let ids: Vec<_> = ring.all().iter().map(|pepper| pepper.id).collect();
        match outcome {
            Ok(new) => assert!(rotated && ids == [2] && new.id == 2, "{fault:?}: {ids:?}"),
            Err(refused) => {
                assert!(!rotated && ids == [1] && refused.kind == RefusalKind::Unavailable, "{fault:?}: {ids:?}");
            }
        }
    }
}

#[tokio::test]
async fn steps_in_another_order_are_refused_and_break_nothing() {
    let stack = Stack::new().await;
    for step in ["finishSecret", "testSecret", "setSecret"] {
        assert!(stack.step(step, &token(1)).await.unwrap_err().contains("nothing is staged"), "{step}");
    }
    stack.step("createSecret", &token(1)).await.unwrap();
    assert!(stack.step("finishSecret", &token(1)).await.unwrap_err().contains("not published yet"));
    assert!(stack.step("testSecret", &token(1)).await.unwrap_err().contains("does not list it"));
    assert_eq!(stack.current().await.0, EMPTY);
    stack.step("setSecret", &token(1)).await.unwrap();
    stack.step("finishSecret", &token(1)).await.unwrap();
    assert!(stack.signs().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_rotations_at_once_one_wins_and_the_other_is_told_so() {
    let (mut won, mut lost) = (0, 0);
    for round in 0..16 {
        let stack = Stack::new().await;
        let first = round % 2 == 0;
        if !first {
            stack.rotate(&token(1)).await;
            stack.service.clock.advance(Duration::from_hours(30 * 24));
        }
        let racers: Vec<_> = [2, 3]
            .into_iter()
            .map(|number| {
                let (process, secret, arn) = (stack.process(), stack.secret.clone(), stack.arn.clone());
                tokio::spawn(async move {
                    for step in STEPS {
                        take(&process, &secret, &arn, step, &token(number)).await?;
                    }
                    Ok::<_, String>(number)
                })
            })
            .collect();
        let mut winners = vec![];
        for racer in racers {
            match racer.await.unwrap() {
                Ok(number) => winners.push(token(number)),
                Err(said) => {
                    let known =
                        ["another rotation was faster", "nothing is staged", "published already", "not list it"];
                    assert!(known.iter().any(|known| said.contains(known)), "{said}");
                    lost += 1;
                }
            }
        }
        // After a first rotation there may be a second at once, since the first key signs at once.
        assert!(winners.len() == 1 || (first && winners.len() == 2), "round {round}: {winners:?}");
        won += winners.len();
        assert!(winners.contains(&stack.current().await.1));
        assert!(stack.signs().await, "round {round}");
        let (public, private) = stack.kids().await;
        assert!(private.iter().all(|kid| public.contains(kid)), "round {round}: {public:?} {private:?}");
        rotate::rotate_if_due(&stack.process(), "test").await.unwrap();
        let (public, private) = stack.kids().await;
        assert_eq!(public, private, "round {round}");
    }
    println!("counted: {won} rotations won, {lost} lost against another");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_step_twice_at_once_is_one_step() {
    for round in 0..8 {
        let stack = Stack::new().await;
        for step in STEPS {
            let both: Vec<_> = (0..2)
                .map(|_| {
                    let (process, secret, arn) = (stack.process(), stack.secret.clone(), stack.arn.clone());
                    tokio::spawn(async move { take(&process, &secret, &arn, step, &token(1)).await })
                })
                .collect();
            let mut done = 0;
            for one in both {
                done += usize::from(one.await.unwrap().is_ok());
            }
            assert!(done > 0, "round {round}: {step}");
            // The emulator lets the second of two writers replace what the first has staged: then it is done once more.
            stack.step(step, &token(1)).await.unwrap();
        }
        assert_eq!(stack.current().await.1, token(1));
        assert!(stack.signs().await);
        let (public, private) = stack.kids().await;
        assert_eq!((public.len(), &public), (1, &private));
    }
}

#[tokio::test]
async fn what_is_neither_empty_nor_a_key_set_is_named_and_never_replaced() {
    let good = {
        let stack = Stack::new().await;
        stack.rotate(&token(1)).await;
        stack.current().await.0
    };
    let garbage = [
        "hush",
        "{}",
        r#"{"gatemint":"hush"}"#,
        r#"{"gatemint":"empty","v":1}"#,
        r#"{"v":1,"keys":[]}"#,
        &good.replace("\"v\":1", "\"v\":7"),
        // Whole to look at, but for one key.
        &good.replace("\"pkcs8\":\"MI", "\"pkcs8\":\"hushMI"),
        &good[..good.len() - 1],
    ];
    for garbage in garbage {
        let stack = Stack::with(garbage, PEPPER).await;
        let before = stack.current().await;
        for step in STEPS {
            let said = stack.step(step, &token(1)).await.unwrap_err();
            assert!(step != "createSecret" || said.contains(KeySet::SECRET), "{garbage}: {said}");
            assert!(!said.contains("hush"), "{said}");
        }
        let process = stack.process();
        for pace in [Pace::Announced, Pace::AtOnce] {
            let refused = rotate::rotate(&process, pace, "test").await.unwrap_err();
            assert_eq!(refused.kind, RefusalKind::Unavailable);
            assert!(refused.source.unwrap().to_string().contains(KeySet::SECRET));
        }
        assert!(rotate::rotate_if_due(&process, "test").await.is_err());
        assert!(gatemint::domain::birth::make_keys(&process).await.is_err());
        assert_eq!(stack.status("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(stack.current().await, before);
        let stack = Stack::with(EMPTY, garbage).await;
        for pace in [Pace::Announced, Pace::AtOnce] {
            let refused = session::rotate_peppers(&stack.process(), pace, "test").await.unwrap_err();
            let cause = refused.source.unwrap().to_string();
            assert!(cause.contains(PepperRing::SECRET) && !cause.contains("hush"), "{cause}");
        }
    }
    println!("counted: {} values left as they were", 2 * garbage.len());
}

#[tokio::test]
async fn an_event_about_another_secret_rotates_nothing() {
    let (stack, other) = (Stack::new().await, Stack::new().await);
    for step in STEPS {
        let event = json!({ "Step": step, "SecretId": other.arn, "ClientRequestToken": token(1) });
        let refused = rotation::answer(&stack.process(), &stack.secret, &event).await.unwrap_err();
        assert_eq!(refused.error_type, "RotationEventRefused");
    }
    assert_eq!((stack.current().await.0.as_str(), other.current().await.0.as_str()), (EMPTY, EMPTY));
}

#[tokio::test]
async fn an_operator_fills_empty_secrets_that_were_made_by_hand() {
    let stack = Stack::with(EMPTY, EMPTY).await;
    let process = stack.process();
    let first = rotate::rotate(&process, Pace::Announced, "test").await.unwrap();
    assert!(first.first && first.signs_from == process.now());
    let pepper = session::rotate_peppers(&process, Pace::Announced, "test").await.unwrap();
    assert!(pepper.first && pepper.active_from == process.now() && pepper.id == 1);
    assert_eq!(stack.status("/readyz").await, StatusCode::OK);
    // And a first start on such secrets does the same, once.
    let stack = Stack::with(EMPTY, EMPTY).await;
    for _ in 0..2 {
        gatemint::domain::birth::make_keys(&stack.process()).await.unwrap();
    }
    assert_eq!(stack.states().await, [State::Signing]);
    assert_eq!(stack.status("/readyz").await, StatusCode::OK);
}

#[tokio::test]
async fn a_pepper_of_a_template_makes_tokens_and_moves_on_with_its_sessions() {
    let stack = Stack::new().await;
    stack.rotate(&token(1)).await;
    let Stack { service, .. } = stack;
    let service = service.user("ada", &[]).await;
    let mut refresh = service.sign_in("ada").await.refresh;
    let rotated = session::rotate_peppers(&service.beside(Policy::new(ISSUER)), Pace::Announced, "test").await.unwrap();
    assert_eq!((rotated.id, rotated.first), (2, false));
    for _ in 0..4 {
        service.clock.advance(Duration::from_mins(30));
        refresh = service.refresh(&refresh).await.tokens().refresh;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_secrets_manager_a_start_is_a_503_and_what_has_started_goes_on() {
    let mut stack = Stack::new().await;
    stack.rotate(&token(1)).await;
    stack.service = stack.service.user("ada", &[]).await;
    let form = [("grant_type", "password"), ("username", "ada"), ("password", crate::support::PASSWORD)];
    let wrongs = [
        ("throttled", Fault::throttled()),
        ("an error", Fault::error(500, "InternalServiceError", "an error on our side")),
        ("slow", Fault::SlowReply(Duration::from_secs(5))),
        ("deleted", Fault::error(400, "InvalidRequestException", "the secret was marked for deletion")),
        ("denied", Fault::error(400, "AccessDeniedException", "not authorized")),
        ("away", Fault::Cut),
    ];
    for (what, fault) in wrongs {
        stack.service.restart();
        stack.proxy.fail("*", 1000, fault);
        stack.proxy.set_away(what == "away");
        let answer = stack.service.form("/oauth2/token", &form).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{what}: {}", answer.text);
        let process = stack.process();
        let refused = process.sign(process.now(), Kind::Access, &json!({})).await.unwrap_err();
        let cause = refused.source.unwrap().to_string();
        assert!(cause.contains("GetSecretValue") || cause.contains("not read in time"), "{what}: {cause}");
        // Nothing is restarted: the next one who asks gets a token.
        stack.proxy.heal();
        let mut refresh = stack.service.sign_in("ada").await.refresh;
        // And with the keys in memory it goes on, however old they are by then, for a day.
        for _ in 0..2 {
            stack.service.clock.advance(Duration::from_hours(1));
            stack.proxy.fail("*", 1000, Fault::throttled());
            stack.proxy.set_away(what == "away");
            refresh = stack.service.refresh(&refresh).await.tokens().refresh;
            stack.proxy.heal();
        }
    }
}

#[tokio::test]
async fn without_the_store_no_step_goes_ahead_of_the_public_row() {
    for first in [true, false] {
        let stack = Stack::new().await;
        if !first {
            stack.rotate(&token(1)).await;
            stack.service.clock.advance(Duration::from_hours(30 * 24));
        }
        let store = &stack.service.store;
        stack.step("createSecret", &token(2)).await.unwrap();
        let before = stack.current().await;
        for fault in [watched::Fault::Refused, watched::Fault::LostReply] {
            store.fail([Some(fault)]);
            assert!(stack.step("setSecret", &token(2)).await.is_err());
            if fault == watched::Fault::Refused {
                assert!(stack.step("testSecret", &token(2)).await.is_err());
                assert!(stack.step("finishSecret", &token(2)).await.unwrap_err().contains("not published yet"));
            }
        }
        store.set_away(true);
        for step in &STEPS[1..] {
            assert!(stack.step(step, &token(2)).await.is_err(), "{step}");
        }
        assert_eq!(stack.current().await, before, "nothing is promoted that the row may not list");
        store.set_away(false);
        stack.rotate(&token(2)).await;
        // Promoted, and the row not yet brought in line: what is there covers both, and the step may be repeated.
        stack.service.clock.advance(Duration::from_hours(31 * 24));
        for step in &STEPS[..3] {
            stack.step(step, &token(3)).await.unwrap();
        }
        store.fail([Some(watched::Fault::Refused)]);
        assert!(stack.step("finishSecret", &token(3)).await.is_err());
        assert_eq!(stack.current().await.1, token(3));
        assert!(stack.signs().await);
        stack.step("finishSecret", &token(3)).await.unwrap();
        let (public, private) = stack.kids().await;
        assert_eq!(public, private);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_failed_in_the_middle_may_be_asked_for_again() {
    let faults = [Fault::Cut, Fault::LostReply, Fault::throttled()];
    let operations = ["GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"];
    let mut failed = 0;
    for first in [true, false] {
        let stack = Stack::new().await;
        let mut number = 1;
        if !first {
            stack.rotate(&token(number)).await;
        }
        for (fault, operation) in faults.iter().flat_map(|fault| operations.map(|operation| (fault, operation))) {
            stack.service.clock.advance(Duration::from_hours(31 * 24));
            number += 1;
            for step in STEPS {
                // Once, which the SDK tries again; and three times, which ends the step.
                stack.proxy.fail(operation, 1, fault.clone());
                let once = stack.step(step, &token(number)).await;
                assert!(once.is_ok(), "{operation} {fault:?}: {once:?}");
                stack.proxy.heal();
                stack.proxy.fail(operation, 3, fault.clone());
                failed += usize::from(stack.step(step, &token(number)).await.is_err());
                stack.proxy.heal();
                stack.step(step, &token(number)).await.unwrap();
            }
            assert_eq!(stack.current().await.1, token(number));
            assert!(stack.signs().await);
            let (public, private) = stack.kids().await;
            assert_eq!(public, private);
        }
    }
    // The writing itself, whose step is over when it is asked for again.
    for fault in faults {
        let stack = Stack::new().await;
        for (step, operation) in [(0, "PutSecretValue"), (3, "UpdateSecretVersionStage")] {
            if step == 3 {
                stack.step(STEPS[1], &token(1)).await.unwrap();
            }
            stack.proxy.fail(operation, 3, fault.clone());
            assert!(stack.step(STEPS[step], &token(1)).await.unwrap_err().contains("try again"));
            failed += 1;
            stack.proxy.heal();
            stack.step(STEPS[step], &token(1)).await.unwrap();
        }
        assert_eq!(stack.current().await.1, token(1));
        assert!(stack.signs().await);
    }
    println!("counted: {failed} steps failed and taken again");
}
