//! A new stack from its empty secret on; rotations whose steps are hours apart, and those that come too late.

use gatemint::{
    http::Options,
    vault::{FileVault, MemoryVault, Vault},
};

use super::*;
use crate::support::watched::WatchedStore;

const EMPTY: &str = "{ \"gatemint\": \"empty\" }";

/// What Secrets Manager asks for.
#[derive(Clone, Copy)]
enum Step {
    Create,
    Publish,
    Test,
    Finish,
}

use Step::{Create, Finish, Publish, Test};

async fn take(service: &Service, step: Step, id: &str) -> Result<(), gatemint::domain::Refusal> {
    let now = service.now();
    match step {
        Create => rotate::create(service, now, id, Pace::Announced).await.map(drop),
        Publish => rotate::publish(service, now, id).await,
        Test => rotate::test(service, now, id).await.map(drop),
        Finish => rotate::finish(service, now, id, "test").await,
    }
}

/// A service whose signing secret is empty.
async fn new_stack() -> TestService {
    let vault = MemoryVault::new();
    vault.create(KeySet::SECRET, gatemint::domain::Secret::new(EMPTY.into())).await.unwrap();
    let policy = policy(Algorithm::ES256);
    TestService::unfilled(WatchedStore::default(), Arc::new(vault), policy, &Options::default())
}

#[tokio::test]
async fn from_the_first_rotation_on_no_verifier_meets_an_unknown_key_however_slow_the_steps_are() {
    const STEP: Duration = Duration::from_mins(30);
    // A step every half hour; stopped, begun again under the same id, and repeated.
    let slow = [Create, Create, Publish, Create, Publish, Test, Test, Publish, Finish, Finish];
    let service = new_stack().await;
    let processes: Vec<_> = (0..3).map(|_| service.beside(policy(Algorithm::ES256))).collect();
    let mut verifiers = Vec::new();
    let (mut tokens, mut signed_by) = (Vec::<(String, Timestamp)>::new(), BTreeSet::new());
    let (mut judged, mut refused) = (0, 0);
    for step in 0_usize..(100 * 48) {
        let (rotation, at) = (step / (30 * 48), step % (30 * 48));
        let process = &processes[step % 3];
        if let Some(asked) = slow.get(at) {
            // The second is given up after its publication, and another one takes its place two days later.
            let given_up = rotation == 1 && at > 4;
            if !given_up {
                take(process, *asked, &format!("rotation-{rotation}")).await.unwrap();
            }
        }
        if rotation == 1
            && (96..).contains(&at)
            && let Some(asked) = slow.get(at - 96)
        {
            take(process, *asked, "in-its-place").await.unwrap();
        }
        let signer = &processes[(step + 1) % 3];
        if step + 1 < slow.len() - 1 {
            let claims = json!({});
            let refusal = signer.sign(signer.now(), Kind::Access, &claims).await.unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Unavailable);
            refused += 1;
            service.clock.advance(STEP);
            continue;
        }
        if verifiers.len() < 6 && step % 3 == 0 {
            verifiers.push(Verifier::new(&service).await);
        }
        let token = long_token(signer).await;
        signed_by.insert(kid(&token));
        for verifier in &mut verifiers {
            assert!(verifier.accepts(&service, &token).await, "step {step}: a new token");
            judged += 1;
        }
        if step % 12 == 0 && !verifiers.is_empty() {
            tokens.push((token, service.service.now() + 31 * DAY));
            tokens.retain(|(_, ends)| service.service.now() < *ends);
            let verifier = step / 12 % verifiers.len();
            for (token, _) in &tokens {
                assert!(verifiers[verifier].accepts(&service, token).await, "step {step}: a token of up to 31 days");
                judged += 1;
            }
        }
        service.clock.advance(STEP);
    }
    assert_eq!(signed_by.len(), 4, "{signed_by:?}");
    println!("counted: {judged} verdicts over 100 days from an empty secret, {refused} refusals before the first key");
}

#[tokio::test]
async fn a_rotation_that_was_held_up_for_too_long_is_not_gone_on_with_and_another_is_begun() {
    // How many steps were taken before the stop, for how long it stopped, and whether the rest may be done then.
    let cases = [
        (1, 21 * HOUR, true),
        (1, 22 * HOUR, false),
        (1, 40 * DAY, false),
        (2, 23 * HOUR, true),
        (2, 25 * HOUR, false),
        (3, 40 * DAY, false),
        (4, 40 * DAY, true),
    ];
    for (taken, stop, in_time) in cases {
        let service = TestService::new().await;
        let process = service.beside(Policy::new(ISSUER));
        let steps = [Create, Publish, Test, Finish];
        for step in &steps[..taken] {
            take(&process, *step, "held-up").await.unwrap();
        }
        let mut verifier = Verifier::new(&service).await;
        service.clock.advance(stop);
        let mut outcome = Ok(());
        for step in steps {
            outcome = outcome.and(take(&process, step, "held-up").await);
        }
        assert_eq!(outcome.is_ok(), in_time, "{taken} steps, {stop:?}: {outcome:?}");
        if let Err(refusal) = outcome {
            assert!(refusal.kind == RefusalKind::Conflict && refusal.text.contains("held up"), "{}", refusal.text);
            assert!(verifier.accepts(&service, &long_token(&process).await).await);
            assert!(process.vault.staged(KeySet::SECRET).await.unwrap().is_none(), "nothing is left to go on with");
            for step in steps {
                take(&process, step, "the-next").await.unwrap();
            }
            let listed = rotate::list(&process, process.now()).await.unwrap();
            assert_eq!(listed.iter().map(|key| key.state).collect::<Vec<_>>(), [State::Signing, State::Upcoming]);
            service.clock.advance(Duration::from_hours(24));
            assert_eq!(kid(&long_token(&process).await), listed[1].public.kid);
        }
        let token = long_token(&process).await;
        assert!(verifier.accepts(&service, &token).await, "{taken} steps, {stop:?}");
        let (public, private) = kids(&service).await;
        assert_eq!(public, private);
    }
    println!("counted: {} rotations held up", cases.len());
}

#[tokio::test]
async fn a_rotation_that_is_given_up_after_its_publication_ends_no_key_however_long_nobody_cares() {
    let service = TestService::new().await;
    let process = service.beside(Policy::new(ISSUER));
    for step in [Create, Publish, Test] {
        take(&process, step, "given-up").await.unwrap();
    }
    service.clock.advance(200 * DAY);
    let token = long_token(&process).await;
    assert!(judge(&jwks(&service).await, &token));
}

#[tokio::test]
async fn a_first_rotation_may_be_held_up_for_as_long_as_it_likes() {
    for taken in 0..4 {
        let service = new_stack().await;
        let process = service.beside(Policy::new(ISSUER));
        let steps = [Create, Publish, Test, Finish];
        for step in &steps[..taken] {
            take(&process, *step, "held-up").await.unwrap();
        }
        service.clock.advance(40 * DAY);
        for step in steps {
            take(&process, step, "held-up").await.unwrap();
        }
        assert!(judge(&jwks(&service).await, &long_token(&process).await));
    }
}

#[tokio::test]
async fn the_command_fills_empty_secrets_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    assert!(Serve::start(&data).terminate().success());
    let vault = FileVault::open(&data.join("vault")).unwrap();
    for (name, arguments, fills, says) in [
        // The store lists the keys that were there, and a new one in their place is an emergency.
        (KeySet::SECRET, &["key", "rotate"][..], &["key", "rotate", "--now"][..], "The first key"),
        (
            PepperRing::SECRET,
            &["key", "rotate", "--refresh"][..],
            &["key", "rotate", "--refresh"][..],
            "The first pepper",
        ),
    ] {
        vault.put(name, gatemint::domain::Secret::new(EMPTY.into())).await.unwrap();
        if name == KeySet::SECRET {
            let shown = operator(&data, &["key", "list"]);
            assert!(shown.status.success() && String::from_utf8_lossy(&shown.stderr).contains("WARNING: no token"));
        }
        assert_eq!(operator(&data, arguments).status.success(), arguments == fills);
        vault.put(name, gatemint::domain::Secret::new(EMPTY.into())).await.unwrap();
        let output = operator(&data, fills);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(says), "{said}");
        // What is garbage it names, and leaves as it is.
        vault.put(name, gatemint::domain::Secret::new(b"hush-hush".into())).await.unwrap();
        for more in [&[][..], &["--now"]] {
            let output = operator(&data, &[arguments, more].concat());
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains(name) && !said.contains("hush"), "{said}");
        }
        assert_eq!(vault.current(name).await.unwrap().unwrap().value.expose(), b"hush-hush");
        // For the other one to be asked for on a vault that is whole.
        vault.put(name, gatemint::domain::Secret::new(EMPTY.into())).await.unwrap();
        assert!(operator(&data, fills).status.success());
    }
    assert_eq!(listed(&data), [("ES256".to_owned(), "signing".to_owned())]);
}

#[tokio::test]
async fn a_store_and_a_vault_of_two_services_are_not_rotated_together_but_in_an_emergency() {
    let (here, there, empty) = (TestService::new().await, TestService::new().await, new_stack().await);
    let nowhere = gatemint::store::MemoryStore::new();
    let row = async || here.service.read::<PublicKeys>(here.service.now(), PublicKeys::row()).await.unwrap().unwrap();
    let before = row().await.version;
    let mixed = |store: Arc<dyn gatemint::store::Store>, vault: &Arc<dyn Vault>| {
        let service = &here.service;
        let entropy = service.entropy.clone();
        Service::new(store, vault.clone(), service.clock.clone(), entropy, service.policy.clone(), 1)
    };
    let mistaken = [
        mixed(here.service.store.clone(), &there.service.vault),
        mixed(here.service.store.clone(), &empty.service.vault),
        mixed(Arc::new(nowhere), &there.service.vault),
    ];
    for service in &mistaken {
        for refused in [
            rotate::rotate(service, Pace::Announced, "test").await.unwrap_err(),
            rotate::rotate_if_due(service, "test").await.unwrap_err(),
        ] {
            assert_eq!(refused.kind, RefusalKind::Conflict);
            assert!(refused.text.contains("GATEMINT_STORE and GATEMINT_VAULT"), "{}", refused.text);
        }
        assert!(service.vault.staged(KeySet::SECRET).await.unwrap().is_none(), "nothing is staged");
    }
    assert_eq!(row().await.version, before, "verifiers know what they knew");
    rotate::rotate(&mistaken[1], Pace::AtOnce, "test").await.unwrap();
    assert_ne!(row().await.version, before);
    println!("counted: {} mistaken pairs refused 6 times, 1 emergency done", mistaken.len());
}
