//! What the design promises about the code itself: who may import whom, how long a file gets, under which licences
//! the dependencies come. Judged over the files, so that a promise cannot be broken by accident.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

mod source;

use source::{Source, Use};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What the files of one part of the library may name of the rest of it, and of the crates that not everybody may use.
struct Area {
    /// A module's path without `.rs`: its file, and the folder with what is below it. The first area that fits counts.
    files: &'static str,
    /// Paths below `crate`, with all that is below them.
    may_name: &'static [&'static str],
    /// Of the [`GUARDED`] crates and modules.
    may_use: &'static [&'static str],
}

/// Crates, and one module of the standard library, that only the areas that list them may use. `aws_lc_rs` is
/// cryptography and no SDK: anybody's.
const GUARDED: &[&str] = &[
    "axum",
    "aws_config",
    "aws_sdk_*",
    "aws_smithy_*",
    "clap",
    "clap_complete",
    "clap_mangen",
    "comfy_table",
    "etcetera",
    "http",
    "http_body_util",
    "hyper",
    "hyper_util",
    "jsonwebtoken",
    "lambda_http",
    "lambda_runtime",
    "metrics",
    "metrics_exporter_prometheus",
    "reqwest",
    "rpassword",
    "rusqlite",
    "std::env",
    "tokio_io_timeout",
    "tower",
    "tower_http",
    "tracing_subscriber",
    "utoipa",
];

/// The import rule: main, bin → cli, lambda → http → domain → store and vault, clock, entropy; `client` for `cli` alone.
const AREAS: &[Area] = &[
    Area { files: "src/lib", may_name: &[], may_use: &[] },
    Area { files: "src/main", may_name: &["cli"], may_use: &["std::env"] },
    Area { files: "src/bin", may_name: &["lambda"], may_use: &["std::env"] },
    Area { files: "src/build", may_name: &[], may_use: &[] },
    Area {
        files: "src/cli",
        may_name: &[
            "cli", "client", "clock", "domain", "entropy", "http", "metric", "settings", "store", "vault", "wiring",
        ],
        may_use: &[
            "axum",
            "clap",
            "clap_complete",
            "clap_mangen",
            "comfy_table",
            "etcetera",
            "http",
            "hyper",
            "hyper_util",
            "metrics_exporter_prometheus",
            "rpassword",
            "std::env",
            "tokio_io_timeout",
            "tower",
            "tracing_subscriber",
        ],
    },
    Area {
        files: "src/lambda",
        may_name: &["clock", "domain", "entropy", "http", "lambda", "metric", "settings", "store", "vault", "wiring"],
        may_use: &[
            "axum",
            "http",
            "http_body_util",
            "lambda_http",
            "lambda_runtime",
            "metrics",
            "std::env",
            "tower",
            "tracing_subscriber",
        ],
    },
    Area {
        files: "src/client",
        may_name: &["client", "clock", "domain::Secret", "domain::secret::Secret", "words"],
        may_use: &["http", "hyper", "reqwest"],
    },
    // From settings to a service: of use to the two above alone.
    Area {
        files: "src/wiring",
        may_name: &["aws", "clock", "domain", "entropy", "settings", "store", "vault", "wiring"],
        may_use: &[],
    },
    // One way to speak to AWS, which wiring hands to the backends.
    Area {
        files: "src/aws",
        may_name: &["settings"],
        may_use: &["aws_config", "aws_sdk_*", "aws_smithy_*", "std::env"],
    },
    Area { files: "src/settings", may_name: &["domain", "settings"], may_use: &["std::env"] },
    Area {
        files: "src/http",
        may_name: &["clock", "domain", "entropy", "http", "metric"],
        may_use: &["axum", "http", "http_body_util", "hyper", "tower", "tower_http", "utoipa"],
    },
    Area {
        files: "src/domain/key/jwt",
        may_name: &["clock", "domain", "entropy", "store", "vault"],
        may_use: &["jsonwebtoken"],
    },
    Area { files: "src/domain", may_name: &["clock", "domain", "entropy", "metric", "store", "vault"], may_use: &[] },
    Area { files: "src/store/sqlite", may_name: &["clock", "entropy", "store"], may_use: &["rusqlite"] },
    Area {
        files: "src/store/dynamodb",
        may_name: &["clock", "entropy", "metric", "store", "words"],
        may_use: &["aws_config", "aws_sdk_*", "aws_smithy_*"],
    },
    Area { files: "src/store", may_name: &["clock", "entropy", "metric", "store"], may_use: &[] },
    Area {
        files: "src/vault/secrets_manager",
        may_name: &[
            "clock",
            "entropy",
            "vault",
            "words",
            "domain::Secret",
            "domain::same_secret",
            "domain::secret::Secret",
        ],
        may_use: &["aws_config", "aws_sdk_*", "aws_smithy_*"],
    },
    Area {
        files: "src/vault",
        may_name: &["clock", "entropy", "vault", "domain::Secret", "domain::same_secret", "domain::secret::Secret"],
        may_use: &[],
    },
    // How errors are told, for the backends that speak to AWS.
    Area { files: "src/words", may_name: &["words"], may_use: &[] },
    // Names of metrics, in one place.
    Area { files: "src/metric", may_name: &[], may_use: &["metrics"] },
    Area { files: "src/clock", may_name: &["clock"], may_use: &[] },
    Area { files: "src/entropy", may_name: &["entropy"], may_use: &[] },
];

/// What a store key begins with: only the domain, and the stores themselves, know that.
const KEY_KINDS: &[&str] = &[
    "account#",
    "session#",
    "client#",
    "throttle#",
    "gate#",
    "sa#",
    "perm#",
    "site#",
    "fresh#",
    "meta#",
    "keys#",
    "names#",
];

const TOP_LEVEL: &[&str] =
    &["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "events", "src", "template.yaml", "tests"];
/// Beside them names that begin with a dot; these have to be there.
const TOP_LEVEL_DOTS: &[&str] = &[".cargo", ".ci", ".gitignore"];

const LONGEST_FILE: usize = 800;

/// SPDX terms that a dependency may come under.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Where it runs.
const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Crates that may not come in, however deep: a second TLS or cryptography beside aws-lc, a second calendar beside jiff.
const BANNED: &[&str] = &["chrono", "native-tls", "openssl", "openssl-sys", "ring", "time@0.1"];
/// Crates that others may bring along, but that this one does not ask for: the standard library or a port does it.
const BANNED_HERE: &[&str] = &["lazy_static", "once_cell", "rand"];

/// Says what was looked at, for tests/run to show: nothing looked at is a failure there.
fn counted(number: usize, what: &str) {
    println!("counted: {number} {what}");
}

#[track_caller]
fn nothing_found(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The files below a directory with an extension, sorted, as paths from the root. Hidden and generated ones are left out.
fn files(directory: &str, extension: Option<&str>) -> Vec<String> {
    fn walk(place: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if ["__pycache__", "node_modules", "target", ".git", ".gatemint"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(ROOT).join(directory), &mut found);
    found.retain(|path| extension.is_none_or(|wanted| path.extension().is_some_and(|have| have == wanted)));
    let mut names: Vec<String> =
        found.iter().map(|path| path.strip_prefix(ROOT).unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_else(|why| panic!("{file}: {why}"))
}

fn sources() -> Vec<(String, Source)> {
    files("src", Some("rs")).into_iter().map(|file| (file.clone(), Source::parse(&file, &read(&file)))).collect()
}

/// Whether a file is a module's own, or below it; `src/client/mod.rs` is not in `src/cli`.
fn is_in(file: &str, module: &str) -> bool {
    file.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn area(file: &str) -> &'static Area {
    let found = AREAS.iter().find(|area| is_in(file, area.files));
    found.unwrap_or_else(|| panic!("{file} is in no area of the import rule"))
}

/// Whether a path is, or is below, a rule's path; a `*` at the end of a segment stands for any rest of it.
fn is_under(path: &[String], rule: &str) -> bool {
    let mut segments = path.iter();
    rule.split("::").all(|wanted| {
        segments.next().is_some_and(|have| match wanted.strip_suffix('*') {
            Some(start) => have.starts_with(start),
            None => have == wanted,
        })
    })
}

fn own(path: &[String]) -> Option<&[String]> {
    path.split_first().filter(|(root, _)| *root == "crate").map(|(_, rest)| rest).filter(|rest| !rest.is_empty())
}

/// Breaches of the import rule in one file.
fn breaches(file: &str, source: &Source) -> Vec<String> {
    let area = area(file);
    let mut found = Vec::new();
    for Use { path, line, .. } in &source.paths {
        let text = path.join("::");
        if let Some(rest) = own(path) {
            if !area.may_name.iter().any(|rule| is_under(rest, rule)) {
                found.push(format!("{file}:{line}: may not name {text}"));
            }
        } else if let Some(guarded) = GUARDED.iter().find(|guarded| is_under(path, guarded))
            && !area.may_use.contains(guarded)
        {
            found.push(format!("{file}:{line}: may not use {text}"));
        }
    }
    found
}

/// A store's or a vault's own type: to name one is to choose one, which is wiring. The traits are anybody's.
fn is_a_backend(path: &[String]) -> bool {
    own(path).is_some_and(|rest| match rest {
        [port, kind, ..] if port == "store" => kind.ends_with("Store") && kind != "Store",
        [port, kind, ..] if port == "vault" => kind.ends_with("Vault") && kind != "Vault",
        _ => false,
    })
}

/// The folder under `src/http` that a file or a path is in: its dialect.
fn dialect_of_file(file: &str) -> Option<&str> {
    file.strip_prefix("src/http/")?.split_once('/').map(|(dialect, _)| dialect)
}

#[test]
fn nobody_names_what_the_import_rule_keeps_from_him() {
    let sources = sources();
    let found: Vec<String> = sources.iter().flat_map(|(file, source)| breaches(file, source)).collect();
    nothing_found(&found);
    counted(sources.len(), "source files keep the import rule");
    counted(sources.iter().map(|(_, source)| source.paths.len()).sum(), "paths in them are allowed");
}

#[test]
fn the_import_rule_notices_a_breach() {
    let breaches_of = |file: &str, text: &str| breaches(file, &Source::parse(file, text)).len();
    let wrong = [
        ("src/domain/account.rs", "use axum::Router;"),
        ("src/domain/account.rs", "fn f() { std::env::var(\"X\"); }"),
        ("src/domain/account.rs", "use std::{env, fs};"),
        ("src/domain/account.rs", "use super::super::http::oauth;"),
        ("src/domain/account.rs", "fn f(request: http::Request<()>) {}"),
        ("src/domain/account.rs", "use aws_sdk_dynamodb::Client;"),
        ("src/domain/key/set.rs", "use jsonwebtoken::Algorithm;"),
        ("src/store/sqlite.rs", "use crate::domain::Secret;"),
        ("src/vault/file.rs", "use crate::domain::{Secret, Service};"),
        ("src/http/oauth/token.rs", "use crate::{domain, store::Key};"),
        ("src/client/mod.rs", "use crate::domain::Service;"),
        ("src/lambda/mod.rs", "use crate::cli;"),
        ("src/main.rs", "fn main() { gatemint::http::router(); }"),
        ("src/http/body.rs", "use crate::domain::access::{self as store}; fn f() { crate::store::open() }"),
    ];
    for (file, text) in wrong {
        assert_eq!(breaches_of(file, text), 1, "{file}: {text}");
    }
    let right = [
        ("src/domain/account.rs", "use aws_lc_rs::hmac; use crate::store::{Item, Store}; // axum::Router"),
        ("src/domain/key/jwt.rs", "use jsonwebtoken::Algorithm;"),
        ("src/vault/file.rs", "use crate::domain::Secret;"),
        ("src/http/oauth/token.rs", "use axum::Router; use crate::domain::Service; use super::super::body;"),
    ];
    for (file, text) in right {
        assert_eq!(breaches_of(file, text), 0, "{file}: {text}");
    }
    counted(wrong.len() + right.len(), "examples judged rightly");
}

#[test]
fn only_the_command_line_and_the_functions_choose_a_backend() {
    let mut found = Vec::new();
    let mut chosen = 0;
    for (file, source) in sources() {
        for Use { path, line, in_tests } in source.paths.iter().filter(|found| is_a_backend(&found.path)) {
            chosen += 1;
            let may = ["src/cli", "src/lambda", "src/wiring", "src/store", "src/vault"]
                .iter()
                .any(|module| is_in(&file, module));
            if !may && !in_tests {
                found.push(format!("{file}:{line}: {} is chosen outside cli, lambda and wiring", path.join("::")));
            }
        }
    }
    nothing_found(&found);
    counted(chosen, "places name a store or a vault of some kind");
}

#[test]
fn no_dialect_imports_another_and_none_knows_a_store_key() {
    let sources = sources();
    let mut found = Vec::new();
    let dialects: BTreeSet<&str> = sources.iter().filter_map(|(file, _)| dialect_of_file(file)).collect();
    for (file, source) in sources.iter().filter(|(file, _)| is_in(file, "src/http")) {
        for (text, line) in &source.strings {
            if let Some(kind) = KEY_KINDS.iter().find(|kind| text.starts_with(*kind)) {
                found.push(format!("{file}:{line}: names the store key {kind}"));
            }
        }
        let Some(dialect) = dialect_of_file(file) else { continue };
        for Use { path, line, .. } in &source.paths {
            let [http, other, ..] = own(path).unwrap_or_default() else { continue };
            if http == "http" && other != dialect && dialects.contains(other.as_str()) {
                found.push(format!("{file}:{line}: the dialect {dialect} imports {}", path.join("::")));
            }
        }
    }
    nothing_found(&found);
    counted(dialects.len(), "dialects keep to themselves");
}

#[test]
fn no_source_file_has_two_subjects() {
    let sources = files("src", Some("rs"));
    let lines: Vec<(usize, &String)> = sources.iter().map(|file| (read(file).lines().count(), file)).collect();
    let long = lines.iter().filter(|(lines, _)| *lines > LONGEST_FILE);
    nothing_found(
        &long.map(|(lines, file)| format!("{file}: {lines} lines, at most {LONGEST_FILE}")).collect::<Vec<_>>(),
    );
    counted(lines.len(), &format!("source files, the longest of {} lines", lines.iter().max().unwrap().0));
}

#[test]
fn every_module_says_what_it_owns() {
    let sources = sources();
    let silent = sources
        .iter()
        .filter(|(_, source)| !source.has_doc)
        .map(|(file, _)| format!("{file}: does not begin with //!"));
    nothing_found(&silent.collect::<Vec<_>>());
    counted(sources.len(), "source files begin with a doc");
}

#[test]
fn the_top_level_is_as_the_design_has_it() {
    let ignored = read(".gitignore");
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let have: BTreeSet<String> = fs::read_dir(ROOT)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !ignored.contains(&name.as_str()))
        .collect();
    let missing = TOP_LEVEL
        .iter()
        .chain(TOP_LEVEL_DOTS)
        .filter(|name| !have.contains(**name))
        .map(|name| format!("{name} is missing"));
    let strange = have.iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()));
    nothing_found(&missing.chain(strange.map(|name| format!("{name} is not on the list"))).collect::<Vec<_>>());
    counted(have.len(), "entries at the top, each known");
}

/// `cargo metadata` for the machines that gatemint is deployed on, every feature on.
fn metadata() -> Value {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    for platform in PLATFORMS {
        cargo.args(["--filter-platform", platform]);
    }
    let output = cargo.current_dir(ROOT).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Name and version of every package that is built with all features. `cargo metadata` also names those that a feature
/// could bring which nobody has asked for.
fn built_packages() -> BTreeSet<(String, String)> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "--locked", "--all-features", "--prefix", "none", "--format", "{p}"]);
    for platform in PLATFORMS {
        cargo.args(["--target", platform]);
    }
    let output = cargo.current_dir(ROOT).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let packages: BTreeSet<_> = lines
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(" v")?;
            Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
        })
        .collect();
    assert!(packages.len() > 100, "{lines}");
    packages
}

/// Whether an SPDX expression can be satisfied by allowed terms. `/` is an old spelling of OR.
fn is_allowed(expression: &str) -> bool {
    fn either(words: &mut &[String]) -> bool {
        let mut allowed = both(words);
        while words.first().is_some_and(|word| word == "OR") {
            *words = &words[1..];
            allowed |= both(words);
        }
        allowed
    }
    fn both(words: &mut &[String]) -> bool {
        let mut allowed = term(words);
        while words.first().is_some_and(|word| word == "AND") {
            *words = &words[1..];
            allowed &= term(words);
        }
        allowed
    }
    fn term(words: &mut &[String]) -> bool {
        let Some((first, rest)) = words.split_first() else { return false };
        *words = rest;
        if first == "(" {
            let allowed = either(words);
            let closed = words.first().is_some_and(|word| word == ")");
            *words = words.get(1..).unwrap_or_default();
            return allowed && closed;
        }
        let mut name = first.clone();
        if let [with, exception, rest @ ..] = *words
            && with == "WITH"
        {
            name = format!("{first} WITH {exception}");
            *words = rest;
        }
        LICENCES.contains(&name.as_str())
    }
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
    let mut rest = words.as_slice();
    either(&mut rest) && rest.is_empty()
}

#[test]
fn every_dependency_comes_under_a_licence_that_we_may_pass_on() {
    for (expression, allowed) in [
        ("MIT OR GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Apache-2.0 WITH LLVM-exception", true),
        ("MIT/Apache-2.0", true),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("(MIT", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression), allowed, "{expression}");
    }
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let refused = packages.iter().filter(|package| !is_allowed(package["license"].as_str().unwrap_or_default()));
    nothing_found(
        &refused
            .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
            .collect::<Vec<_>>(),
    );
    counted(packages.len(), "packages under licences of the list");
}

#[test]
fn no_banned_crate_has_come_in() {
    let packages = built_packages();
    let mut found = Vec::new();
    for (name, version) in &packages {
        let is_banned = |rule: &&&str| match rule.split_once('@') {
            Some((banned, start)) => name == banned && version.starts_with(&format!("{start}.")),
            None => name == **rule,
        };
        found.extend(BANNED.iter().filter(is_banned).map(|_| format!("{name} {version} is banned")));
    }
    let metadata = metadata();
    let all = metadata["packages"].as_array().unwrap();
    let ours = all.iter().find(|package| package["name"] == "gatemint").unwrap();
    let asked = ours["dependencies"].as_array().unwrap().iter().map(|dependency| dependency["name"].as_str().unwrap());
    found.extend(asked.filter(|name| BANNED_HERE.contains(name)).map(|name| format!("gatemint asks for {name}")));
    nothing_found(&found);
    counted(packages.len(), &format!("packages, none of the {} banned ones", BANNED.len() + BANNED_HERE.len()));
}

#[test]
fn the_readme_names_the_test_runner_and_nothing_points_out_of_the_clone() {
    assert!(read("README.md").contains("tests/run"), "README.md does not name tests/run");
    let outside = concat!("..", "/shared");
    let lock = "tests/strangers/package-lock.json";
    assert!(
        !read(lock).contains("\"resolved\""),
        "{lock} names a registry's host: write it with npm's omit-lockfile-registry-resolved"
    );
    let mut looked_at = 0;
    let mut found = Vec::new();
    for top in TOP_LEVEL.iter().chain(TOP_LEVEL_DOTS) {
        let names = if Path::new(ROOT).join(top).is_dir() { files(top, None) } else { vec![(*top).to_owned()] };
        for file in names {
            looked_at += 1;
            let bytes = fs::read(Path::new(ROOT).join(&file)).unwrap();
            if String::from_utf8_lossy(&bytes).contains(outside) {
                found.push(format!("{file}: mentions {outside}"));
            }
        }
    }
    nothing_found(&found);
    counted(looked_at, "files point to nothing outside");
}

#[test]
fn no_test_is_left_out() {
    let runner = read("tests/run");
    let main = read("tests/main.rs");
    let modules = main.lines().filter_map(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';'));
    let modules: Vec<&str> = modules.filter(|module| *module != "support").collect();
    let unheard = modules.iter().filter(|module| !runner.contains(&format!("\"{module}\"")));
    let mut found: Vec<String> =
        unheard.map(|module| format!("tests/run has no set for the module {module}")).collect();
    // A set's filter is `module::`, and libtest finds that anywhere in a name.
    for module in &modules {
        let longer = modules.iter().filter(|other| *other != module && other.ends_with(module));
        found.extend(longer.map(|longer| format!("the set of {module} would run the tests of {longer}, too")));
    }
    for entry in fs::read_dir(Path::new(ROOT).join("tests")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let module = name.strip_suffix(".rs").filter(|module| *module != "main");
        found.extend(
            module.filter(|module| !modules.contains(module)).map(|_| format!("tests/main.rs leaves out tests/{name}")),
        );
    }
    let ignore = concat!("#[", "ignore");
    let rust = [files("src", Some("rs")), files("tests", Some("rs"))].concat();
    found.extend(
        rust.iter().filter(|file| read(file).contains(ignore)).map(|file| format!("{file}: a test is ignored")),
    );
    nothing_found(&found);
    counted(modules.len(), "modules of tests, each a set of the runner");
}
