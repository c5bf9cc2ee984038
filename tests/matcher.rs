//! Which URLs a token opens, judged twice: by the matcher and by a slow and obvious reference. And whatever a parser gets
//! to read, it ends with a verdict.

// Paths and patterns, mostly nasty ones.
pub(crate) mod nasty;
// Tokens, forms, cookies and the proxies' headers.
pub(crate) mod parsers;
// The rule again, character by character.
pub(crate) mod reference;

use gatemint::domain::gate::{Host, Method, Path, Pattern, Scheme, Target};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};

use nasty::{Draft, Round, Site};

/// How often both were asked, and what they said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Agreed {
    /// Texts judged as paths, encoded and decoded.
    paths: usize,
    /// Of these, the ones that are paths.
    good_paths: usize,
    /// Texts judged as patterns.
    patterns: usize,
    /// Of these, the ones that are patterns.
    good_patterns: usize,
    /// Pairs of a pattern and a request.
    pairs: usize,
    /// Of these, the ones where the pattern covers the request.
    covered: usize,
    /// Pairs of a path and a prefix.
    stripped: usize,
}

impl Agreed {
    /// What was judged in all.
    pub(crate) fn cases(&self) -> usize {
        self.paths + self.patterns + self.pairs + self.stripped
    }
}

/// Runs a property so many times; a panic in it is a failure as well.
pub(crate) fn check<S: Strategy>(rounds: u32, strategy: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases: rounds, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    match TestRunner::new(config).run(strategy, property) {
        Ok(()) => {}
        Err(TestError::Fail(why, input)) => panic!("{why}\n{input:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// Matcher and reference on so many rounds of random paths and patterns.
pub(crate) fn agreement(rounds: u32) -> Agreed {
    let all = std::cell::Cell::new(Agreed::default());
    check(rounds, &nasty::round(), |round| {
        let mut agreed = all.get();
        agree(&round, &mut agreed)?;
        all.set(agreed);
        Ok(())
    });
    let agreed = all.get();
    // Both would agree on anything if everything were refused, or everything allowed.
    for (some, of_all) in
        [(agreed.good_paths, agreed.paths), (agreed.good_patterns, agreed.patterns), (agreed.covered, agreed.pairs)]
    {
        assert!(some * 50 > of_all && (of_all - some) * 50 > of_all, "one-sided: {agreed:?}");
    }
    agreed
}

fn agree(round: &Round, agreed: &mut Agreed) -> Result<(), TestCaseError> {
    let mut paths = Vec::new();
    for text in &round.texts {
        let judged = Path::of_encoded(text).ok();
        let expected = reference::path(text, true);
        prop_assert_eq!(characters(judged.as_ref()), expected.clone(), "encoded {:?}", text);
        let decoded = Path::of_decoded(text).ok();
        prop_assert_eq!(characters(decoded.as_ref()), reference::path(text, false), "decoded {:?}", text);
        agreed.paths += 2;
        agreed.good_paths += usize::from(judged.is_some()) + usize::from(decoded.is_some());
        // A path that was decoded is the path that it was decoded to.
        if let (Some(path), Some(characters)) = (judged, expected) {
            prop_assert_eq!(Path::of_decoded(path.as_str()), Ok(path.clone()));
            if path.as_str().len() * 3 <= Path::MAX {
                prop_assert_eq!(Path::of_encoded(&escaped(path.as_str())), Ok(path.clone()));
            }
            paths.push((path, characters));
        }
    }
    for (path, of_path) in &paths {
        for (prefix, of_prefix) in &paths {
            let left = path.strip(prefix);
            prop_assert_eq!(characters(left.as_ref()), reference::strip(of_path, of_prefix), "{} of {}", prefix, path);
            agreed.stripped += 1;
        }
    }
    for Draft { path, site } in &round.patterns {
        let text = site.as_ref().map_or_else(|| path.clone(), |site| format!("{}{path}", site.url()));
        let pattern = Pattern::parse(&text).ok();
        let expected = reference::is_pattern(&text, path);
        prop_assert_eq!(pattern.is_some(), expected, "{:?}", text);
        agreed.patterns += 1;
        let Some(pattern) = pattern else { continue };
        agreed.good_patterns += 1;
        prop_assert_eq!(pattern.as_str(), &text);
        for (wanted, (path_of_target, characters)) in round.wanted.iter().zip(paths.iter().cycle()) {
            let target = target(wanted, path_of_target.clone());
            let expected = reference::covers(path, characters)
                && site.as_ref().is_none_or(|site| site.is_that_of(&wanted.site, wanted.told));
            prop_assert_eq!(pattern.covers(&target), expected, "{} and {:?}", text, target);
            agreed.pairs += 1;
            agreed.covered += usize::from(expected);
        }
        for (path_of_target, characters) in &paths {
            let expected = reference::covers(path, characters);
            prop_assert_eq!(pattern.covers_path(path_of_target), expected, "{} and {}", text, path_of_target);
            agreed.pairs += 1;
            agreed.covered += usize::from(expected);
        }
    }
    Ok(())
}

fn characters(path: Option<&Path>) -> Option<Vec<char>> {
    path.map(|path| path.as_str().chars().collect())
}

fn target(wanted: &nasty::Wanted, path: Path) -> Target {
    let scheme = wanted.told.then_some(if wanted.site.https { Scheme::Https } else { Scheme::Http });
    let host = Host::parse(&wanted.site.authority(), scheme).unwrap();
    Target { method: Method::parse("GET").unwrap(), scheme, host, path }
}

/// The same path with everything escaped that may be.
fn escaped(path: &str) -> String {
    use std::fmt::Write;
    path.bytes().fold(String::new(), |mut text, byte| {
        if byte == b'/' {
            text.push('/');
        } else {
            write!(text, "%{byte:02x}").unwrap();
        }
        text
    })
}

/// Prints what was compared, for `tests/run`.
pub(crate) fn report(agreed: &Agreed) {
    println!(
        "counted: {} cases in which matcher and reference agree ({} paths, {} of them good; {} patterns, {} good; \
         {} pairs, {} covered; {} prefixes)",
        agreed.cases(),
        agreed.paths,
        agreed.good_paths,
        agreed.patterns,
        agreed.good_patterns,
        agreed.pairs,
        agreed.covered,
        agreed.stripped,
    );
}

#[test]
fn matcher_and_reference_agree() {
    let agreed = agreement(800);
    assert!(agreed.cases() >= 100_000, "{agreed:?}");
    report(&agreed);
}

#[test]
fn matcher_and_reference_agree_on_every_known_attack() {
    let sites = [None, Some(Site { https: true, name: 0, port: None, spelling: 0 })];
    let mut agreed = Agreed::default();
    let open = |text: &str| format!("{}*", text.trim_end_matches('*'));
    for site in sites {
        let patterns = nasty::CORPUS
            .iter()
            .flat_map(|text| [(*text).to_owned(), open(text)])
            .map(|path| Draft { path, site: site.clone() })
            .collect();
        let texts = nasty::CORPUS.iter().map(|text| (*text).to_owned()).collect();
        let wanted = vec![nasty::Wanted { site: Site { https: true, name: 0, port: None, spelling: 7 }, told: true }];
        agree(&Round { texts, patterns, wanted }, &mut agreed).unwrap();
    }
    println!("counted: {} cases of {} known attacks", agreed.cases(), nasty::CORPUS.len());
}

#[test]
fn the_reference_says_what_the_rule_says() {
    let path = |text: &str| reference::path(text, true).map(String::from_iter);
    assert_eq!(path("/a%20b/%c3%a9"), Some("/a b/é".into()));
    for bad in [
        "", "x", "//", "/a//b", "/.", "/a/..", "/%2e", "/%2f", "/%25", "/%252e", "/\\", "/;", "/?", "/#", "/%00",
        "/%c0%af", "/%", "/é",
    ] {
        assert_eq!(path(bad), None, "{bad}");
    }
    let covers = |pattern: &str, path: &str| reference::covers(pattern, &reference::path(path, true).unwrap());
    for (pattern, path, covered) in [
        ("/x/*", "/x/", true),
        ("/x/*", "/x/y", true),
        ("/x/*", "/x", false),
        ("/x*", "/x", true),
        ("/x*", "/x/y", true),
        ("/x*", "/xy", false),
        ("/x", "/x", true),
        ("/x", "/X", false),
        ("/*", "/x", true),
    ] {
        assert_eq!(covers(pattern, path), covered, "{pattern} {path}");
    }
}
