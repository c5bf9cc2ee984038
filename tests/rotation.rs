//! Signing keys and peppers take turns without anyone noticing; in an emergency what must die does, and nothing else.
//!
//! The verifiers here know nothing of this crate: they take a JWKS over HTTP, keep it for two hours whatever happens, and
//! judge with the jsonwebtoken crate.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};
use gatemint::{
    clock::Timestamp,
    domain::{
        Policy, RefusalKind, Service,
        key::{
            Algorithm, KeySet, PublicKeys, State,
            jwt::Kind,
            rotate::{self, Pace},
        },
        session::{self, PepperRing},
    },
    store::Row,
};
use serde_json::{Value, json};

use crate::support::{
    ISSUER, TestService,
    asking::{Asking, claims, random},
    process::{Serve, gatemint, operator},
};

// From a new stack's empty secret on, and rotations that are held up.
mod from_empty;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A verifier that reads a JWKS and keeps it for two hours, as API Gateway's does.
struct Verifier {
    jwks: Value,
    read_at: Timestamp,
}

impl Verifier {
    async fn new(service: &TestService) -> Self {
        Self { jwks: jwks(service).await, read_at: service.service.now() }
    }

    /// Judges a token; reads the JWKS again first if its two hours are over, and for no other reason.
    async fn accepts(&mut self, service: &TestService, token: &str) -> bool {
        if service.service.now().since(self.read_at) >= 2 * HOUR {
            *self = Self::new(service).await;
        }
        judge(&self.jwks, token)
    }
}

async fn jwks(service: &TestService) -> Value {
    let answer = service.v1(Method::GET, "/.well-known/jwks.json", "", None).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json
}

/// What somebody who has this JWKS thinks of a token's signature.
fn judge(jwks: &Value, token: &str) -> bool {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(jwks.clone()).unwrap();
    let Some(jwk) = set.find(header.kid.as_deref().unwrap()) else { return false };
    let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, header.alg).unwrap()
}

fn policy(algorithm: Algorithm) -> Policy {
    Policy { signing_alg: Some(algorithm), ..Policy::new(ISSUER) }
}

/// A token that lives as long as any here may.
async fn long_token(service: &Service) -> String {
    let now = service.now();
    let claims = json!({ "iat": now, "exp": now + 31 * DAY });
    service.sign(now, Kind::Access, &claims).await.unwrap().expose().clone()
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

/// The public row's ids, and the private keys'.
async fn kids(service: &TestService) -> (BTreeSet<String>, BTreeSet<String>) {
    let row: Row<PublicKeys> = service.service.read(service.service.now(), PublicKeys::row()).await.unwrap().unwrap();
    let vault = service.service.vault.current(KeySet::SECRET).await.unwrap().unwrap();
    let private = KeySet::parse(vault.value.expose()).unwrap();
    let ids = |keys: &PublicKeys| keys.keys.iter().map(|key| key.kid.clone()).collect();
    (ids(&row.record), ids(private.public()))
}

#[tokio::test]
async fn for_half_a_year_no_verifier_meets_an_unknown_key_or_refuses_a_good_token() {
    const STEP: Duration = Duration::from_mins(30);
    let service = TestService::with(policy(Algorithm::ES256), gatemint::http::Options::default()).await;
    // Three processes with memories of their own, which are asked in turn and all look whether a rotation is due. One
    // of them learns of another algorithm twice.
    let mut processes: Vec<Arc<Service>> = vec![
        service.service.clone(),
        service.beside(policy(Algorithm::ES256)),
        service.beside(policy(Algorithm::ES256)),
    ];
    let mut verifiers = Vec::new();
    let (mut tokens, mut judged, mut signed_by) = (Vec::<(String, Timestamp)>::new(), 0, BTreeSet::new());
    let mut algorithms = BTreeSet::new();
    for step in 0_u64..(180 * 48) {
        let day = step / 48;
        if step == 60 * 48 || step == 120 * 48 {
            let next = if day == 60 { Algorithm::RS256 } else { Algorithm::EdDSA };
            processes = (0..3).map(|_| service.beside(policy(next))).collect();
        }
        // A verifier more now and then, so that their two hours begin at different times.
        if verifiers.len() < 8 && step % 7 == 0 {
            verifiers.push(Verifier::new(&service).await);
        }
        let process = &processes[usize::try_from(step % 3).unwrap()];
        rotate::rotate_if_due(process, "test").await.unwrap();
        let token = long_token(&processes[usize::try_from((step + 1) % 3).unwrap()]).await;
        signed_by.insert(kid(&token));
        algorithms.insert(format!("{:?}", jsonwebtoken::decode_header(&token).unwrap().alg));
        let verifier = usize::try_from(step).unwrap() % verifiers.len();
        for verifier in [verifier, usize::try_from(random(verifiers.len() as u64)).unwrap()] {
            assert!(verifiers[verifier].accepts(&service, &token).await, "day {day}: a new token");
            judged += 1;
        }
        if step % 12 == 0 {
            tokens.push((token, service.service.now() + 31 * DAY));
            // All that are good to this moment, also those that end in the next half hour.
            tokens.retain(|(_, ends)| service.service.now() < *ends);
            for (token, _) in &tokens {
                assert!(verifiers[verifier].accepts(&service, token).await, "day {day}: a token of up to 31 days");
                judged += 1;
            }
        }
        service.clock.advance(STEP);
    }
    // One key a month, and one for each change of algorithm.
    assert!((6..=9).contains(&signed_by.len()), "{signed_by:?}");
    assert_eq!(algorithms.into_iter().collect::<Vec<_>>(), ["ES256", "EdDSA", "RS256"]);
    let (public, private) = kids(&service).await;
    assert_eq!(public, private);
    assert!(public.len() <= 3, "what is gone is dropped: {public:?}");
    println!("counted: {judged} verdicts of {} verifiers over 180 days, {} keys", verifiers.len(), signed_by.len());
}

#[tokio::test]
async fn a_key_is_published_a_day_before_it_signs_and_judges_until_its_last_token_is_over() {
    let service = TestService::new().await;
    let before = long_token(&service.service).await;
    let rotated = rotate::rotate(&service.service, Pace::Announced, "test").await.unwrap();
    assert_eq!(rotated.signs_from, service.service.now() + DAY);
    let states = async || -> Vec<State> {
        rotate::list(&service.service, service.service.now()).await.unwrap().iter().map(|key| key.state).collect()
    };
    assert_eq!(states().await, [State::Signing, State::Upcoming]);
    let refused = rotate::rotate(&service.service, Pace::Announced, "test").await.unwrap_err();
    assert!(refused.text.contains("published already"), "{}", refused.text);

    service.clock.advance(Duration::from_secs(24 * 3600 - 1));
    let last = long_token(&service.service).await;
    assert_eq!(kid(&last), kid(&before));
    service.clock.advance(Duration::from_secs(1));
    assert_eq!(kid(&long_token(&service.service).await), rotated.kid);
    assert_eq!(states().await, [State::Judging, State::Signing]);

    service.clock.advance(31 * DAY);
    assert!(judge(&jwks(&service).await, &last), "it is over now, and was judged to the end");
    service.clock.advance(2 * HOUR);
    assert_eq!(states().await, [State::Gone, State::Signing]);
    assert!(!judge(&jwks(&service).await, &last));
}

#[tokio::test]
async fn every_step_may_be_repeated_and_a_rotation_may_be_cut_off_after_any() {
    let service = TestService::new().await.user("ada", &[]).await;
    let tokens = service.sign_in("ada").await;
    let (mut refresh, mut cut_off) = (tokens.refresh, 0);
    for pace in [Pace::Announced, Pace::AtOnce] {
        for steps in 0..=4 {
            let other = service.beside(Policy::new(ISSUER));
            let now = service.service.now();
            let id = format!("{pace:?}-{steps}").to_lowercase();
            // Each step twice, as a caller does who has lost the reply.
            for step in (0..steps).flat_map(|step| [step, step]) {
                match step {
                    0 => rotate::create(&other, now, &id, pace).await.map(|_| ()).unwrap(),
                    1 => rotate::publish(&other, now, &id).await.unwrap(),
                    2 => rotate::test(&other, now, &id).await.map(|_| ()).unwrap(),
                    _ => rotate::finish(&other, now, &id, "test").await.unwrap(),
                }
            }
            // Whatever was done of it: what is signed is known to all.
            for minutes in [0, 1, 10, 24 * 60, 24 * 60] {
                service.clock.advance(minutes * MINUTE);
                let answer = service.refresh(&refresh).await;
                let tokens = answer.tokens();
                assert!(judge(&jwks(&service).await, &tokens.access), "{id} after {minutes} min");
                assert_eq!(service.v1(Method::GET, "/v1/me", &tokens.access, None).await.status, StatusCode::OK);
                refresh = tokens.refresh;
            }
            cut_off += 1;
            // And the next one goes through, and leaves nothing behind of the one before.
            rotate::rotate_if_due(&other, "test").await.unwrap();
            let (public, private) = kids(&service).await;
            assert!(public.is_superset(&private), "{id}");
            rotate::rotate(&other, Pace::AtOnce, "test").await.unwrap();
            let (public, private) = kids(&service).await;
            assert_eq!((&public, public.len()), (&private, 1), "{id}");
        }
    }
    println!("counted: {cut_off} rotations cut off, each step done twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_rotations_at_once_one_wins_and_the_row_covers_the_vault() {
    let (mut won, mut lost) = (0, 0);
    for round in 0..6 {
        let service = TestService::new().await;
        let pace = if round % 2 == 0 { Pace::Announced } else { Pace::AtOnce };
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let process = service.beside(Policy::new(ISSUER));
                tokio::spawn(async move { rotate::rotate(&process, pace, "test").await })
            })
            .collect();
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => won += 1,
                Err(refusal) => {
                    assert!(refusal.source.is_none() || !refusal.text.contains("not put to use"), "{refusal:?}");
                    lost += 1;
                }
            }
        }
        let (public, private) = kids(&service).await;
        assert!(public.is_superset(&private), "{public:?} {private:?}");
        rotate::rotate_if_due(&service.service, "test").await.unwrap();
        let (public, private) = kids(&service).await;
        assert_eq!(public, private);
        service.clock.advance(Duration::from_secs(1));
        assert_eq!(private.len(), if pace == Pace::Announced { 2 } else { 1 });
        assert!(judge(&jwks(&service).await, &long_token(&service.service).await));
    }
    println!("counted: {won} rotations won, {lost} lost against others");
    assert!(won >= 6);
}

#[tokio::test]
async fn a_rotation_that_comes_after_an_emergency_brings_no_dropped_key_back() {
    let service = TestService::new().await;
    let (now, vault) = (service.service.now(), &service.service.vault);
    // A rotation makes its document, and is slow to stage it.
    rotate::create(&service.beside(Policy::new(ISSUER)), now, "slow", Pace::Announced).await.unwrap();
    let slow = vault.staged(KeySet::SECRET).await.unwrap().unwrap();
    let emergency = rotate::rotate(&service.beside(Policy::new(ISSUER)), Pace::AtOnce, "test").await.unwrap();
    vault.stage(KeySet::SECRET, "slower", slow.value).await.unwrap();

    let late = service.beside(Policy::new(ISSUER));
    assert_eq!(rotate::publish(&late, now, "slower").await.unwrap_err().kind, RefusalKind::Conflict);
    assert_eq!(rotate::finish(&late, now, "slower", "test").await.unwrap_err().kind, RefusalKind::Conflict);
    let only: BTreeSet<_> = [emergency.kid].into();
    assert_eq!(kids(&service).await, (only.clone(), only.clone()));
    // What is left of it is in nobody's way.
    rotate::rotate_if_due(&late, "test").await.unwrap();
    assert_eq!(kids(&service).await, (only.clone(), only));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_beats_rotations_that_are_under_way() {
    for _ in 0..8 {
        let service = TestService::new().await;
        let old = kid(&long_token(&service.service).await);
        let routine: Vec<_> = (0..8)
            .map(|_| {
                let process = service.beside(Policy::new(ISSUER));
                tokio::spawn(async move { drop(rotate::rotate(&process, Pace::Announced, "test").await) })
            })
            .collect();
        let emergency = rotate::rotate(&service.beside(Policy::new(ISSUER)), Pace::AtOnce, "test").await.unwrap();
        for task in routine {
            task.await.unwrap();
        }
        let (public, private) = kids(&service).await;
        assert!(public.contains(&emergency.kid) && !public.contains(&old), "{public:?}");
        assert!(!private.contains(&old) && public.is_superset(&private), "{public:?} {private:?}");
    }
}

#[tokio::test]
async fn an_emergency_ends_every_access_token_and_no_session_in_every_process() {
    let service = TestService::new().await.user("ada", &[]).await;
    let tokens = service.sign_in("ada").await;
    let elsewhere = service.beside(Policy::new(ISSUER));
    let old = kid(&tokens.access);
    assert_eq!(rotate::list(&service.service, service.service.now()).await.unwrap().len(), 1);
    // The same memory as before the rotation, in the process that answers.
    service.clock.advance(MINUTE);
    let rotated = rotate::rotate(&elsewhere, Pace::AtOnce, "test").await.unwrap();
    assert_eq!(rotated.replaced, 1);
    assert_ne!(rotated.kid, old);
    let set = jwks(&service).await;
    assert_eq!(set["keys"].as_array().unwrap().len(), 1);

    // Another process notices when its memory grows old: 6 minutes at most.
    service.clock.advance(6 * MINUTE);
    assert_eq!(service.v1(Method::GET, "/v1/me", &tokens.access, None).await.status, StatusCode::UNAUTHORIZED);
    assert!(!judge(&jwks(&service).await, &tokens.access));
    let next = service.refresh(&tokens.refresh).await.tokens();
    assert_eq!(kid(&next.access), rotated.kid);
    assert_eq!(service.v1(Method::GET, "/v1/me", &next.access, None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_process_whose_memory_is_older_than_an_emergency_signs_with_the_new_key_or_the_old_but_never_fails() {
    for wait in 0..8 {
        let service = TestService::new().await.user("ada", &[]).await;
        let mut refresh = service.sign_in("ada").await.refresh;
        service.clock.advance(MINUTE);
        let elsewhere = service.beside(Policy::new(ISSUER));
        rotate::rotate(&elsewhere, Pace::AtOnce, "test").await.unwrap();
        // Public and private keys are read again at different moments, in an order that chance decides.
        service.clock.advance(wait * MINUTE);
        for _ in 0..12 {
            refresh = service.refresh(&refresh).await.tokens().refresh;
            service.clock.advance(Duration::from_secs(20));
        }
    }
}

#[tokio::test]
async fn a_pepper_takes_its_turn_and_sessions_that_lay_idle_go_on() {
    let service = TestService::new().await.user("ada", &[]).await;
    let (mut busy, idle) = (service.sign_in("ada").await.refresh, service.sign_in("ada").await.refresh);
    let other = service.beside(Policy::new(ISSUER));
    let rotated = session::rotate_peppers(&other, Pace::Announced, "test").await.unwrap();
    assert_eq!((rotated.id, rotated.active_from), (2, service.service.now() + HOUR));
    for _ in 0..(6 * 24) {
        service.clock.advance(HOUR);
        busy = service.refresh(&busy).await.tokens().refresh;
    }
    let idle = service.refresh(&idle).await.tokens().refresh;
    assert_eq!([pepper(&busy), pepper(&idle)], [2, 2]);
    // A retry across the change gets what it got before.
    let again = service.refresh(&busy).await.tokens();
    let repeated = service.refresh(&busy).await.tokens();
    assert_eq!(again.refresh, repeated.refresh);
    // The old one stays as long as a token of it may live, and goes with the next rotation after that.
    service.clock.advance(402 * DAY);
    session::rotate_peppers(&other, Pace::Announced, "test").await.unwrap();
    let ring = service.service.vault.current(PepperRing::SECRET).await.unwrap().unwrap();
    let ring = PepperRing::parse(ring.value.expose(), service.service.now()).unwrap();
    assert_eq!(ring.all().iter().map(|pepper| pepper.id).collect::<Vec<_>>(), [2, 3]);
}

/// Which pepper a refresh token names.
fn pepper(token: &str) -> u8 {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(token.strip_prefix("gmr_").unwrap()).unwrap()[1]
}

#[tokio::test]
async fn an_old_pepper_opens_no_session_that_has_moved_on() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let service = TestService::new().await.user("ada", &[]).await;
    let mut token = service.sign_in("ada").await.refresh;
    let stolen = service.service.vault.current(PepperRing::SECRET).await.unwrap().unwrap();
    let stolen: Value = serde_json::from_slice(stolen.value.expose()).unwrap();
    let pepper_1 = stolen["peppers"][0]["secret"].as_str().unwrap().to_owned();
    session::rotate_peppers(&service.service, Pace::Announced, "test").await.unwrap();
    service.clock.advance(2 * HOUR);
    for _ in 0..3 {
        token = service.refresh(&token).await.tokens().refresh;
    }
    // All that the attacker needs besides can be seen or guessed: it is that of the token, under the old pepper.
    let forge = |generation: u32| {
        let mut bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("gmr_").unwrap()).unwrap();
        bytes[1] = 1;
        bytes[34..38].copy_from_slice(&generation.to_be_bytes());
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, pepper_1.as_bytes());
        let message = [b"gatemint refresh v1\0".as_slice(), &bytes[..38]].concat();
        bytes[38..].copy_from_slice(aws_lc_rs::hmac::sign(&key, &message).as_ref());
        format!("gmr_{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    for generation in [2, 3, 4] {
        let refused = service.refresh(&forge(generation)).await;
        assert_eq!(refused.refusal(), (400, "invalid_grant", "Invalid refresh token"), "{generation}");
    }
    // The owner has noticed nothing of it; and a session that still is on the old pepper goes on, too.
    service.refresh(&token).await.tokens();
}

#[tokio::test]
async fn a_pepper_that_somebody_may_have_ends_every_session_and_what_it_made_names_none_again() {
    let service = TestService::new().await.user("ada", &[]).await;
    let old = service.sign_in("ada").await.refresh;
    service.clock.advance(MINUTE);
    let rotated = session::rotate_peppers(&service.beside(Policy::new(ISSUER)), Pace::AtOnce, "test").await.unwrap();
    assert_eq!(rotated.id, 2);
    service.clock.advance(6 * MINUTE);
    assert_eq!(service.refresh(&old).await.refusal(), (400, "invalid_grant", "Invalid refresh token"));
    let new = service.sign_in("ada").await.refresh;
    assert_eq!(pepper(&new), 2);
    service.refresh(&new).await.tokens();
}

/// The signing keys as the command lists them.
fn listed(data: &std::path::Path) -> Vec<(String, String)> {
    let output = operator(data, &["key", "list", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    view["signing"].as_array().unwrap().iter().map(|key| (text(key, "alg"), text(key, "state"))).collect()
}

/// Asks until the answer has this status, for as long as an emergency may take to be noticed.
async fn until(asking: &Asking, access: &str, status: StatusCode) {
    for _ in 0..80 {
        if asking.v1(Method::GET, "/v1/me", access, None).await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("no {status} within 20 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_command_reaches_a_running_service_and_says_what_dies() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    let asking = Asking::at(&serve.url);
    let tokens = asking.admin(&data).await;
    until(&asking, &tokens.access, StatusCode::OK).await;
    let output = operator(&data, &["key", "rotate", "--now"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for words in ["replaced the only key", "Dead: every access token", "Alive: all sessions"] {
        assert!(said.contains(words), "{said}");
    }
    until(&asking, &tokens.access, StatusCode::UNAUTHORIZED).await;
    let next = asking.refresh(&tokens.refresh).await.tokens();
    until(&asking, &next.access, StatusCode::OK).await;

    let output = operator(&data, &["key", "rotate", "--refresh", "--now"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("Dead: every session"));
    for _ in 0..80 {
        if asking.refresh(&next.refresh).await.status == StatusCode::BAD_REQUEST {
            break;
        }
        // The very same token again is a retry, and gets the same successor.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(asking.refresh(&next.refresh).await.refusal().1, "invalid_grant");
    until(&asking, &next.access, StatusCode::OK).await;
    asking.refresh(&asking.admin(&data).await.refresh).await.tokens();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_algorithm_is_a_rotation_that_serve_begins_by_itself() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let first = Serve::start(&data);
    let issuer = first.url.clone();
    assert!(first.terminate().success());
    assert_eq!(listed(&data), [("ES256".to_owned(), "signing".to_owned())]);
    let serve = Serve::start_with(&data, &[("GATEMINT_SIGNING_ALG", "RS256")]);
    for _ in 0..80 {
        if listed(&data).len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(
        listed(&data),
        [("ES256".to_owned(), "signing".to_owned()), ("RS256".to_owned(), "upcoming".to_owned())]
    );
    let asking = Asking::at(&serve.url);
    let access = asking.admin(&data).await.access;
    assert_eq!(claims(&access)["iss"], issuer.as_str());
    let set = asking.get("/.well-known/jwks.json").await.json;
    assert!(judge(&set, &access));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_in_the_middle_leaves_a_service_that_signs() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut serve = Serve::start(&data);
    let mut refresh = Asking::at(&serve.url).admin(&data).await.refresh;
    // How long one takes that is left alone.
    #[expect(clippy::disallowed_methods, reason = "when to kill is measured, nothing is judged by it")]
    let begun = std::time::Instant::now();
    assert!(operator(&data, &["key", "rotate", "--now"]).status.success());
    let whole = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let mut killed = 0;
    for round in 0..12 {
        let mut command = gatemint()
            .args(["key", "rotate", "--now", "--data"])
            .arg(&data)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random(whole)));
        command.kill().unwrap();
        killed += u32::from(command.wait().unwrap().code().is_none());
        // From nothing in memory as well as from what is there.
        if round % 3 == 0 {
            serve.kill();
            serve = Serve::start(&data);
        }
        let asking = Asking::at(&serve.url);
        // Between the two questions the process may learn of the rotation: then the next token fits.
        let mut fits = false;
        for _ in 0..3 {
            let tokens = asking.refresh(&refresh).await.tokens();
            fits |= judge(&asking.get("/.well-known/jwks.json").await.json, &tokens.access);
            refresh = tokens.refresh;
        }
        assert!(fits, "round {round}");
    }
    let output = operator(&data, &["key", "rotate", "--now"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(listed(&data).len(), 1);
    println!("counted: {killed} of 12 emergency rotations killed in the middle");
    assert!(killed > 0);
}
