//! What shells and packagers ask of the program: its version, its completions, its manual pages.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::support::process::gatemint;

fn printed(arguments: &[&str]) -> String {
    // A setting that would be refused does not matter: a shell that starts must not stumble over it.
    let done = gatemint().args(arguments).env("GATEMINT_NO_SUCH_SETTING", "x").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The commands of a level, as its help lists them.
fn commands(path: &[&str]) -> Vec<String> {
    let help = printed(&[path, &["--help"]].concat());
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default().lines().take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_version_names_the_commit_that_it_was_built_from() {
    let git = |arguments: &[&str]| {
        let done = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        done.status.success().then(|| String::from_utf8(done.stdout).unwrap().trim().to_owned())
    };
    let ours = git(&["rev-parse", "--show-prefix"]).as_deref() == Some("");
    let commit = ours.then(|| git(&["log", "-1", "--no-show-signature", "--abbrev=12", "--format=%h %cs"])).flatten();
    let version = env!("CARGO_PKG_VERSION");
    let expected = commit.map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"));
    assert_eq!(printed(&["--version"]).trim(), format!("gatemint {expected}"));
    println!("counted: 1 version, gatemint {expected}");
}

#[test]
fn every_shell_learns_every_command() {
    let shells = ["bash", "zsh", "fish", "elvish", "powershell"];
    let all = commands(&[]);
    assert!(
        ["serve", "user", "token", "completions", "man"].iter().all(|one| all.contains(&(*one).to_owned())),
        "{all:?}"
    );
    for shell in shells {
        let script = printed(&["completions", shell]);
        for command in &all {
            assert!(script.contains(command.as_str()), "{shell} does not know {command}");
        }
        assert!(script.contains("jwks"), "{shell} does not know the options of token inspect");
    }
    // A shell takes it: bash itself parses what it is given, and offers a command for its beginning.
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("gatemint");
    fs::write(&script, printed(&["completions", "bash"])).unwrap();
    let offer = r#"source "$1"; COMP_WORDS=(gatemint comp); COMP_CWORD=1; _gatemint gatemint comp gatemint; echo "${COMPREPLY[@]}""#;
    let done = Command::new("bash").args(["--norc", "-c", offer, "bash"]).arg(&script).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&done.stdout).trim(),
        "completions",
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    println!("counted: {} shells learnt {} commands", shells.len(), all.len());
}

/// The pages that the help of a command and of all below it make one expect.
fn expected(path: &[&str], pages: &mut BTreeSet<String>) {
    pages.insert(format!("{}.1", [&["gatemint"], path].concat().join("-")));
    for command in commands(path) {
        expected(&[path, &[command.as_str()]].concat(), pages);
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_command_has_its_manual_page() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("share/man1");
    assert_eq!(printed(&["man", "--out", out.to_str().unwrap()]), "");
    let mut pages = BTreeSet::new();
    expected(&[], &mut pages);
    assert_eq!(names(&out), pages);
    for page in &pages {
        let text = fs::read_to_string(out.join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains(".SH NAME"), "{page}: {text}");
    }
    let main = printed(&["man"]);
    assert!(main.starts_with(".ie") && main.contains("gatemint\\-user(1)"), "{main}");
    println!("counted: {} manual pages, one for each command", pages.len());
}
