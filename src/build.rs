//! Tells the program which commit it was built from. Without git, or from a source archive, it tells nothing.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    let version = env!("CARGO_PKG_VERSION");
    // In the top directory of a repository the prefix is empty. Elsewhere the commit is that of somebody else's, who has
    // unpacked this somewhere in his.
    let ours = git(&["rev-parse", "--show-prefix"]).is_some_and(|prefix| prefix.is_empty());
    let commit = ours.then(|| git(&["log", "-1", "--no-show-signature", "--abbrev=12", "--format=%h %cs"])).flatten();
    let Some(commit) = commit else {
        println!("cargo::rustc-env=VERSION_AND_COMMIT={version}");
        return;
    };
    println!("cargo::rustc-env=VERSION_AND_COMMIT={version} ({commit})");
    // HEAD names a branch; the log and the branch's own file change with every commit, and one of them may be missing. A
    // path that is not there would mean a build each time.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for file in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// What git answers; nothing if it is not there or does not want to. A hook's environment would lead it elsewhere.
fn git(arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    let answer = git.args(arguments).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").output().ok()?;
    answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}
