//! The vault port: one conformance suite for every backend, and what the file vault's directory can go through.

use std::{path::PathBuf, sync::Arc};

use gatemint::{
    domain::Secret,
    vault::{FileVault, MemoryVault, Vault, VaultError},
};
use tempfile::TempDir;

/// A vault and what it stands on; `twin` is another way to the same secrets, as another process has.
pub(crate) struct Bed {
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) twin: Arc<dyn Vault>,
    pub(crate) _directory: Option<TempDir>,
}

fn memory() -> Bed {
    let vault: Arc<dyn Vault> = Arc::new(MemoryVault::new());
    Bed { twin: Arc::clone(&vault), vault, _directory: None }
}

fn file() -> Bed {
    let (directory, path) = scratch();
    let vault = Arc::new(FileVault::create(&path).unwrap());
    let twin = Arc::new(FileVault::open(&path).unwrap());
    Bed { vault, twin, _directory: Some(directory) }
}

fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vault");
    (directory, path)
}

fn secret(text: &str) -> Secret<Vec<u8>> {
    Secret::new(text.into())
}

const NAME: &str = "keys/signing";
// Request ids, as Secrets Manager takes them, too.
const R1: &str = "11111111111111111111111111111111";
const R2: &str = "22222222222222222222222222222222";
const R3: &str = "33333333333333333333333333333333";

async fn current(vault: &dyn Vault, name: &str) -> Option<(String, String)> {
    vault.current(name).await.unwrap().map(|version| (version.id, text(&version.value)))
}

async fn value(vault: &dyn Vault, name: &str) -> Option<String> {
    current(vault, name).await.map(|(_, value)| value)
}

async fn staged(vault: &dyn Vault, name: &str) -> Option<(String, String)> {
    vault.staged(name).await.unwrap().map(|version| (version.id, text(&version.value)))
}

fn text(value: &Secret<Vec<u8>>) -> String {
    String::from_utf8(value.expose().clone()).unwrap()
}

fn refused(outcome: Result<(), VaultError>) -> String {
    match outcome {
        Err(VaultError::Conflict(text)) => text,
        other => panic!("a conflict was expected, not {other:?}"),
    }
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, VaultError>) -> String {
    match outcome {
        Err(VaultError::Unavailable(error)) => error.to_string(),
        other => panic!("Unavailable was expected, not {other:?}"),
    }
}

/// What every vault promises.
pub(crate) mod suite {
    use super::*;

    pub(crate) async fn a_secret_is_made_once_and_read_back(bed: Bed) {
        let vault = &*bed.vault;
        assert_eq!(current(vault, NAME).await, None);
        vault.create(NAME, secret("one")).await.unwrap();
        assert_eq!(value(&*bed.twin, NAME).await.as_deref(), Some("one"));
        refused(bed.twin.create(NAME, secret("two")).await);
        assert_eq!(value(vault, NAME).await.as_deref(), Some("one"));
        let bytes: Vec<u8> = (0..=255).collect();
        vault.create("bytes", Secret::new(bytes.clone())).await.unwrap();
        assert_eq!(*vault.current("bytes").await.unwrap().unwrap().value.expose(), bytes);
    }

    pub(crate) async fn a_put_makes_or_replaces_and_gives_a_new_version(bed: Bed) {
        let vault = &*bed.vault;
        vault.put(NAME, secret("one")).await.unwrap();
        let (one, _) = current(vault, NAME).await.unwrap();
        vault.stage(NAME, R1, secret("waiting")).await.unwrap();
        vault.put(NAME, secret("one")).await.unwrap();
        let (two, value) = current(vault, NAME).await.unwrap();
        assert_eq!(value, "one");
        assert_ne!(one, two);
        assert_eq!(staged(vault, NAME).await.unwrap().1, "waiting");
        refused(vault.promote(NAME, R1, &one).await);
        vault.promote(NAME, R1, &two).await.unwrap();
    }

    pub(crate) async fn a_staged_version_waits_until_it_is_promoted(bed: Bed) {
        let vault = &*bed.vault;
        refused(vault.stage(NAME, R1, secret("two")).await);
        refused(vault.promote(NAME, R1, R3).await);
        vault.create(NAME, secret("one")).await.unwrap();
        let (one, _) = current(vault, NAME).await.unwrap();
        assert_eq!(staged(vault, NAME).await, None);
        for _ in 0..2 {
            vault.stage(NAME, R1, secret("two")).await.unwrap();
        }
        refused(vault.stage(NAME, R1, secret("other")).await);
        assert_eq!(value(vault, NAME).await.as_deref(), Some("one"));
        assert_eq!(staged(&*bed.twin, NAME).await, Some((R1.into(), "two".into())));

        refused(vault.promote(NAME, R2, &one).await);
        refused(vault.promote(NAME, R1, R3).await);
        assert_eq!(staged(vault, NAME).await, Some((R1.into(), "two".into())));
        for _ in 0..2 {
            vault.promote(NAME, R1, &one).await.unwrap();
        }
        assert_eq!(current(&*bed.twin, NAME).await, Some((R1.into(), "two".into())));
        assert_eq!(staged(vault, NAME).await, None);
        // A late retry of the staging is recognised, and another value under the same id is not let in.
        vault.stage(NAME, R1, secret("two")).await.unwrap();
        refused(vault.stage(NAME, R1, secret("other")).await);
        assert_eq!(staged(vault, NAME).await, None);

        vault.stage(NAME, R2, secret("three")).await.unwrap();
        vault.stage(NAME, R3, secret("four")).await.unwrap();
        refused(vault.promote(NAME, R2, R1).await);
        vault.promote(NAME, R3, R1).await.unwrap();
        assert_eq!(value(vault, NAME).await.as_deref(), Some("four"));
    }

    pub(crate) async fn what_is_given_up_is_staged_no_more_and_another_takes_its_turn(bed: Bed) {
        let vault = &*bed.vault;
        vault.unstage("never/was", R1).await.unwrap();
        vault.create(NAME, secret("one")).await.unwrap();
        let (one, _) = current(vault, NAME).await.unwrap();
        vault.unstage(NAME, R1).await.unwrap();
        vault.unstage(NAME, &one).await.unwrap();
        vault.stage(NAME, R1, secret("two")).await.unwrap();
        // Of another id: nothing happens to what is staged.
        vault.unstage(NAME, R2).await.unwrap();
        assert_eq!(staged(&*bed.twin, NAME).await, Some((R1.into(), "two".into())));
        for _ in 0..2 {
            vault.unstage(NAME, R1).await.unwrap();
            assert_eq!(staged(&*bed.twin, NAME).await, None);
        }
        refused(vault.promote(NAME, R1, &one).await);
        assert_eq!(current(vault, NAME).await, Some((one.clone(), "one".into())));
        vault.stage(NAME, R2, secret("three")).await.unwrap();
        vault.unstage(NAME, R1).await.unwrap();
        vault.promote(NAME, R2, &one).await.unwrap();
        // What has been promoted is not staged, and stays.
        vault.unstage(NAME, R2).await.unwrap();
        assert_eq!(current(&*bed.twin, NAME).await, Some((R2.into(), "three".into())));
        vault.stage(NAME, R3, secret("four")).await.unwrap();
        vault.promote(NAME, R3, R2).await.unwrap();
    }

    pub(crate) async fn names_are_listed_by_prefix_and_deleted_secrets_are_gone(bed: Bed) {
        let vault = &*bed.vault;
        for name in ["refresh/b", "keys/a", "refresh/a.b-c_9", "refresh", "refresh/deep/er"] {
            vault.create(name, secret(name)).await.unwrap();
        }
        let list = async |prefix: &str| bed.twin.list(prefix).await.unwrap();
        assert_eq!(list("").await, ["keys/a", "refresh", "refresh/a.b-c_9", "refresh/b", "refresh/deep/er"]);
        assert_eq!(list("refresh/").await, ["refresh/a.b-c_9", "refresh/b", "refresh/deep/er"]);
        assert_eq!(list("refresh/a").await, ["refresh/a.b-c_9"]);
        assert_eq!(list("none").await, [""; 0]);
        for _ in 0..2 {
            vault.delete("refresh/b").await.unwrap();
            vault.delete("never/was").await.unwrap();
        }
        assert_eq!(current(vault, "refresh/b").await, None);
        assert_eq!(staged(vault, "refresh/b").await, None);
        assert_eq!(list("refresh/").await, ["refresh/a.b-c_9", "refresh/deep/er"]);
        vault.create("refresh/b", secret("again")).await.unwrap();
    }

    pub(crate) async fn a_name_that_leads_elsewhere_is_refused(bed: Bed) {
        for name in
            ["", "/", "a/", "/a", "a//b", "..", "a/../b", ".lock", "a/.hidden", "A", "a b", "a.json", "a\0", "é"]
        {
            let text = unavailable(bed.vault.put(name, secret("x")).await);
            assert!(text.contains("is not a secret's name"), "{text}");
            unavailable(bed.vault.current(name).await);
            unavailable(bed.vault.delete(name).await);
            unavailable(bed.vault.unstage(name, R1).await);
        }
        assert_eq!(bed.vault.list("").await.unwrap(), [""; 0]);
    }

    pub(crate) async fn of_many_who_create_or_promote_one_wins(bed: Bed) {
        let rounds = 20;
        for round in 0..rounds {
            let name = format!("race/{round}");
            let racers = 8;
            let created = race(&bed, racers, |vault, racer| {
                let name = name.clone();
                async move { vault.create(&name, secret(&racer.to_string())).await }
            });
            let winner = created.await;
            let (from, standing) = current(&*bed.vault, &name).await.unwrap();
            assert_eq!(standing, winner.to_string());

            // Each stages for itself before it promotes; whoever was replaced meanwhile or came late is refused.
            let promoted = race(&bed, racers, |vault, racer| {
                let (name, from) = (name.clone(), from.clone());
                async move {
                    let request = format!("{racer:032x}");
                    vault.stage(&name, &request, secret(&request)).await?;
                    loop {
                        match vault.promote(&name, &request, &from).await {
                            Err(VaultError::Conflict(_)) if vault.current(&name).await?.unwrap().id == from => {
                                vault.stage(&name, &request, secret(&request)).await?;
                            }
                            outcome => return outcome,
                        }
                    }
                }
            });
            let winner = format!("{:032x}", promoted.await);
            assert_eq!(current(&*bed.twin, &name).await, Some((winner.clone(), winner)));
        }
        println!("counted: {} races, {} with one winner", 2 * rounds, 2 * rounds);
    }

    /// Lets racers go at once, by turns through each of the two ways; the number of the one that won.
    async fn race<F: Future<Output = Result<(), VaultError>> + Send + 'static>(
        bed: &Bed,
        racers: usize,
        start: impl Fn(Arc<dyn Vault>, usize) -> F,
    ) -> usize {
        let running: Vec<_> = (0..racers)
            .map(|racer| tokio::spawn(start(Arc::clone(if racer % 2 == 0 { &bed.vault } else { &bed.twin }), racer)))
            .collect();
        let mut winners = Vec::new();
        for (racer, run) in running.into_iter().enumerate() {
            match run.await.unwrap() {
                Ok(()) => winners.push(racer),
                other => drop(refused(other)),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        winners[0]
    }
}

/// The whole suite as a module, on vaults that a function makes.
macro_rules! conformance {
    ($module:ident, $bed:path) => {
        $crate::vault::conformance! {
            @each $module, $bed,
            a_secret_is_made_once_and_read_back
            a_put_makes_or_replaces_and_gives_a_new_version
            a_staged_version_waits_until_it_is_promoted
            what_is_given_up_is_staged_no_more_and_another_takes_its_turn
            names_are_listed_by_prefix_and_deleted_secrets_are_gone
            a_name_that_leads_elsewhere_is_refused
            of_many_who_create_or_promote_one_wins
        }
    };
    (@each $module:ident, $bed:path, $($test:ident)*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    $crate::vault::suite::$test($bed()).await;
                }
            )*
        }
    };
}
pub(crate) use conformance;

conformance!(in_memory, crate::vault::memory);
conformance!(in_files, crate::vault::file);

/// What happens to a directory and not to a map.
mod directory {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

    use gatemint::vault::OpenError;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test]
    async fn everything_in_a_vault_is_its_owners_alone() {
        let (_directory, path) = scratch();
        assert!(matches!(FileVault::open(&path).unwrap_err(), OpenError::Missing { .. }));
        let vault = FileVault::create(&path).unwrap();
        vault.create(NAME, secret("one")).await.unwrap();
        vault.stage(NAME, "r", secret("two")).await.unwrap();
        for (part, expected) in [("", 0o700), ("keys", 0o700), ("keys/signing.json", 0o600), (".lock", 0o600)] {
            assert_eq!(mode(&path.join(part)), expected, "{part}");
        }
        FileVault::create(&path).unwrap();
        assert_eq!(value(&FileVault::open(&path).unwrap(), NAME).await.as_deref(), Some("one"));
    }

    #[tokio::test]
    async fn a_vault_that_others_may_enter_or_read_is_refused_with_the_command_that_mends_it() {
        let (_directory, path) = scratch();
        let vault = FileVault::create(&path).unwrap();
        vault.create(NAME, secret("one")).await.unwrap();
        for (part, wrong) in [("", 0o750), ("", 0o701), ("keys", 0o755), ("keys/signing.json", 0o640)] {
            let place = if part.is_empty() { path.clone() } else { path.join(part) };
            let right = mode(&place);
            set_mode(&place, wrong);
            for outcome in [FileVault::open(&path), FileVault::create(&path)] {
                let error = outcome.unwrap_err();
                assert!(matches!(error, OpenError::Exposed { .. }));
                let said = error.to_string();
                let mend = said.split('`').nth(1).unwrap();
                assert_eq!(mend, format!("chmod {right:o} '{}'", place.display()));
            }
            if !place.is_dir() {
                // Also one that was opened before somebody let others in.
                assert!(unavailable(vault.current(NAME).await).contains("chmod 600"));
            }
            let said = FileVault::open(&path).unwrap_err().to_string();
            assert!(Command::new("sh").args(["-c", said.split('`').nth(1).unwrap()]).status().unwrap().success());
            FileVault::open(&path).unwrap();
        }
        assert!(matches!(FileVault::open(&path.join("keys/signing.json")).unwrap_err(), OpenError::Unusable { .. }));
    }

    #[tokio::test]
    async fn what_a_killed_process_left_behind_harms_nothing() {
        let (_directory, path) = scratch();
        let vault = FileVault::create(&path).unwrap();
        vault.create(NAME, secret("one")).await.unwrap();
        let draft = path.join("keys/.signing.json.new");
        // Killed while it wrote; and after the new name, before the old one went.
        let half = |draft: &Path| fs::write(draft, "{\"v\":1,\"curr").unwrap();
        let twice = |draft: &Path| fs::hard_link(path.join("keys/signing.json"), draft).unwrap();
        for (n, leave) in [&half as &dyn Fn(&Path), &twice].into_iter().enumerate() {
            leave(&draft);
            set_mode(&draft, 0o600);
            let vault = FileVault::open(&path).unwrap();
            assert_eq!(vault.list("").await.unwrap(), [NAME]);
            let before = value(&vault, NAME).await.unwrap();
            refused(vault.create(NAME, secret("never")).await);
            assert_eq!(value(&vault, NAME).await.unwrap(), before);
            assert!(!draft.exists());
            leave(&draft);
            set_mode(&draft, 0o600);
            let next = format!("next-{n}");
            vault.put(NAME, secret(&next)).await.unwrap();
            assert_eq!(value(&vault, NAME).await.unwrap(), next);
            leave(&draft);
            vault.delete("keys/other").await.unwrap();
            vault.put(NAME, secret(&next)).await.unwrap();
            assert!(!draft.exists());
        }
        twice(&draft);
        vault.delete(NAME).await.unwrap();
        assert!(!draft.exists(), "a deleted secret has no second name");
    }

    #[tokio::test]
    async fn a_damaged_secret_is_unavailable_and_its_text_is_not_told() {
        let (_directory, path) = scratch();
        let vault = FileVault::create(&path).unwrap();
        vault.create(NAME, secret("one")).await.unwrap();
        let file = path.join("keys/signing.json");
        let whole = fs::read_to_string(&file).unwrap();
        let damages = [
            String::new(),
            whole[..whole.len() / 2].to_owned(),
            "{\"v\":1,\"current\":\"hush-hush\"}".into(),
            "{\"v\":1,\"current\":{\"id\":\"x\",\"value\":\"hush-hush!\"}}".into(),
            whole.replace("\"v\":1", "\"v\":2"),
        ];
        for damage in damages {
            fs::write(&file, &damage).unwrap();
            for said in [unavailable(vault.current(NAME).await), unavailable(vault.stage(NAME, "r", secret("x")).await)]
            {
                assert!(said.contains("signing.json is damaged") && !said.contains("hush"), "{said}");
            }
            assert_eq!(fs::read_to_string(&file).unwrap(), damage);
            // Who knows all that it is to hold needs nothing of what was there.
            vault.put(NAME, secret("mended")).await.unwrap();
            assert_eq!(value(&vault, NAME).await.as_deref(), Some("mended"));
        }
        fs::write(&file, &whole).unwrap();
        assert_eq!(value(&vault, NAME).await.as_deref(), Some("one"));
    }
}
