//! As much of Rust's grammar as the import rule needs: paths, written out in full, and string literals.

/// A source file, as far as the house rules look at it.
pub(crate) struct Source {
    /// Every path in code: from `use`, groups spread out, and in place. `self`, `super`, the library's own name and names
    /// that the file has imported from it are resolved to `crate`; single names are left out, except in a `use`.
    pub(crate) paths: Vec<Use>,
    /// Every string literal with its line.
    pub(crate) strings: Vec<(String, usize)>,
    /// Whether it begins with `//!`.
    pub(crate) has_doc: bool,
}

/// A path and where it stands.
pub(crate) struct Use {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// Inside a module that only tests are built with.
    pub(crate) in_tests: bool,
}

#[derive(PartialEq)]
enum Token {
    Name(String),
    Text(String),
    /// `::`
    Of,
    Mark(char),
}

impl Source {
    /// `file` is the path from the root, such as `src/domain/key/jwt.rs`.
    pub(crate) fn parse(file: &str, text: &str) -> Source {
        let tokens = tokens(text);
        let strings = tokens
            .iter()
            .filter_map(|(token, line)| if let Token::Text(text) = token { Some((text.clone(), *line)) } else { None })
            .collect();
        let has_doc = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with("#!"))
            .is_some_and(|line| line.starts_with("//!"));
        Source { paths: Walk::over(module_of(file), &tokens), strings, has_doc }
    }
}

/// `src/a/b.rs` and `src/a/b/mod.rs` are `crate::a::b`; the crate roots are `crate`.
fn module_of(file: &str) -> Vec<String> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module = vec!["crate".to_owned()];
    if !inner.starts_with("bin/") {
        module.extend(inner.split('/').filter(|part| !["lib", "main", "mod"].contains(part)).map(str::to_owned));
    }
    module
}

struct Walk<'a> {
    tokens: &'a [(Token, usize)],
    at: usize,
    file_is_test: bool,
    /// The file's module, then the inline ones around the present place: how deep their brace is, whether only tests
    /// see them.
    module: Vec<String>,
    inline: Vec<(usize, bool)>,
    found: Vec<Use>,
    /// What a `use` has brought in from the library itself, by the name that it has here.
    imported: Vec<(String, Vec<String>)>,
}

impl<'a> Walk<'a> {
    fn over(module: Vec<String>, tokens: &'a [(Token, usize)]) -> Vec<Use> {
        let file_is_test = module.last().is_some_and(|name| name == "tests");
        let mut walk =
            Walk { tokens, at: 0, file_is_test, module, inline: Vec::new(), found: Vec::new(), imported: Vec::new() };
        walk.run();
        let Walk { mut found, imported, .. } = walk;
        for Use { path, .. } in &mut found {
            if let Some((_, whole)) = imported.iter().find(|(name, _)| path.len() > 1 && *name == path[0]) {
                path.splice(..1, whole.iter().cloned());
            }
        }
        found
    }

    fn run(&mut self) {
        let mut depth = 0;
        let mut test_only = false;
        while let Some((token, _)) = self.tokens.get(self.at) {
            match token {
                Token::Mark('#') if self.is_cfg_test() => test_only = true,
                Token::Mark('{') => depth += 1,
                Token::Mark('}') => {
                    depth -= 1;
                    if self.inline.last().is_some_and(|(opened, _)| *opened > depth) {
                        self.inline.pop();
                        self.module.pop();
                    }
                }
                Token::Mark(';') => test_only = false,
                Token::Name(name) if name == "mod" && matches!(self.token(2), Some(Token::Mark('{'))) => {
                    if let Some(Token::Name(name)) = self.token(1) {
                        self.module.push(name.clone());
                        depth += 1;
                        self.inline.push((depth, test_only || name == "tests"));
                        test_only = false;
                        self.at += 2;
                    }
                }
                Token::Name(name) if name == "use" && !matches!(self.token(1), Some(Token::Mark('<'))) => {
                    self.at += 1;
                    self.tree(&[]);
                    continue;
                }
                Token::Name(_) if matches!(self.token(1), Some(Token::Of)) => {
                    self.chain();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn token(&self, ahead: usize) -> Option<&'a Token> {
        self.tokens.get(self.at + ahead).map(|(token, _)| token)
    }

    fn is_cfg_test(&self) -> bool {
        let name = |ahead, wanted: &str| matches!(self.token(ahead), Some(Token::Name(name)) if name == wanted);
        name(2, "cfg") && name(4, "test")
    }

    /// A path in place: `a::b::c`.
    fn chain(&mut self) {
        let line = self.tokens[self.at].1;
        let mut path = Vec::new();
        while let Some(Token::Name(name)) = self.token(0) {
            path.push(name.clone());
            self.at += 1;
            if !matches!(self.token(0), Some(Token::Of)) {
                break;
            }
            self.at += 1;
        }
        self.add(path, line);
    }

    /// A tree of a `use`, after `before`: up to the `,`, `}` or `;` that ends it.
    fn tree(&mut self, before: &[String]) {
        let line = self.tokens.get(self.at).map_or(0, |(_, line)| *line);
        let mut path = before.to_vec();
        let mut alias = None;
        loop {
            match self.token(0) {
                Some(Token::Name(name)) if name == "as" => {
                    alias = self.token(1);
                    self.at += 2;
                }
                Some(Token::Name(name)) if name == "self" && !path.is_empty() => self.at += 1,
                Some(Token::Name(name)) => {
                    path.push(name.clone());
                    self.at += 1;
                }
                Some(Token::Mark('{')) => {
                    self.at += 1;
                    while !matches!(self.token(0), Some(Token::Mark('}')) | None) {
                        self.tree(&path);
                        if matches!(self.token(0), Some(Token::Mark(','))) {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                Some(Token::Of | Token::Mark('*')) => self.at += 1,
                _ => break,
            }
        }
        self.add(path, line);
        if let Some(Use { path, .. }) =
            self.found.last().filter(|found| found.path[0] == "crate" && found.path.len() > 1)
        {
            let name = if let Some(Token::Name(alias)) = alias { alias } else { &path[path.len() - 1] };
            self.imported.push((name.clone(), path.clone()));
        }
    }

    fn add(&mut self, path: Vec<String>, line: usize) {
        let mut resolved: Vec<String> = Vec::new();
        for (index, part) in path.into_iter().enumerate() {
            match part.as_str() {
                "self" if index == 0 => resolved.clone_from(&self.module),
                "super" => {
                    if index == 0 {
                        resolved.clone_from(&self.module);
                    }
                    resolved.pop();
                }
                "gatemint" if index == 0 => resolved.push("crate".to_owned()),
                _ => resolved.push(part),
            }
        }
        if !resolved.is_empty() {
            let in_tests = self.file_is_test || self.inline.iter().any(|(_, test_only)| *test_only);
            self.found.push(Use { path: resolved, line, in_tests });
        }
    }
}

/// The tokens of a file with their lines. Comments, characters and numbers are of no interest here.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let text: Vec<char> = text.chars().collect();
    let at = |place: usize| text.get(place).copied().unwrap_or('\0');
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let (mut found, mut place) = (Vec::new(), 0);
    let (mut line, mut counted) = (1, 0);
    while place < text.len() {
        line += text[counted..place].iter().filter(|character| **character == '\n').count();
        counted = place;
        let start = place;
        match at(place) {
            '/' if at(place + 1) == '/' => {
                place = (place..text.len()).find(|end| at(*end) == '\n').unwrap_or(text.len());
            }
            '/' if at(place + 1) == '*' => {
                let mut depth = 0;
                while place < text.len() {
                    match (at(place), at(place + 1)) {
                        ('/', '*') => (depth, place) = (depth + 1, place + 2),
                        ('*', '/') => (depth, place) = (depth - 1, place + 2),
                        _ => place += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => {
                place += 1;
                while place < text.len() && at(place) != '"' {
                    place += if at(place) == '\\' { 2 } else { 1 };
                }
                found.push((Token::Text(text[start + 1..place.min(text.len())].iter().collect()), line));
                place += 1;
            }
            // A character, or else a lifetime.
            '\'' if at(place + 1) == '\\' => {
                place += 3;
                while place < text.len() && at(place) != '\'' {
                    place += 1;
                }
                place += 1;
            }
            '\'' => place += if at(place + 2) == '\'' { 3 } else { 1 },
            ':' if at(place + 1) == ':' => {
                found.push((Token::Of, line));
                place += 2;
            }
            first if is_name(first) => {
                while is_name(at(place)) {
                    place += 1;
                }
                let name: String = text[start..place].iter().collect();
                let hashes = (place..text.len()).take_while(|hash| at(*hash) == '#').count();
                if ["r", "br", "cr"].contains(&name.as_str()) && at(place + hashes) == '"' {
                    let open = place + hashes + 1;
                    let closes = |end: usize| at(end) == '"' && (1..=hashes).all(|hash| at(end + hash) == '#');
                    let end = (open..text.len()).find(|end| closes(*end)).unwrap_or(text.len());
                    found.push((Token::Text(text[open..end].iter().collect()), line));
                    place = end + 1 + hashes;
                } else if name == "r" && hashes == 1 {
                    place += 1; // r#name
                } else {
                    found.push((Token::Name(name), line));
                }
            }
            other => {
                if !other.is_whitespace() {
                    found.push((Token::Mark(other), line));
                }
                place += 1;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::Source;

    fn paths(text: &str) -> Vec<String> {
        Source::parse("src/domain/key/jwt.rs", text).paths.iter().map(|found| found.path.join("::")).collect()
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        assert_eq!(paths("use a::{b::{self, C}, d as e};"), ["a::b", "a::b::C", "a::d"]);
        assert_eq!(
            paths("use super::super::http; fn f() { crate::store::get::<x::Y>() }"),
            ["crate::domain::http", "crate::store::get", "x::Y"]
        );
        assert_eq!(
            paths("mod tests { use super::X; } use super::Y;"),
            ["crate::domain::key::jwt::X", "crate::domain::key::Y"]
        );
        assert_eq!(paths("use gatemint::http::router;"), ["crate::http::router"]);
        assert_eq!(
            paths("use crate::{http, store as kept}; fn f() { http::g(); kept::h::i() }"),
            ["crate::http", "crate::store", "crate::http::g", "crate::store::h::i"]
        );
    }

    #[test]
    fn what_is_no_code_is_no_path() {
        assert_eq!(paths("// use a::b;\n/* c::d /* e::f */ g::h */ let x = \"i::j // \\\" k::l\"; m::n"), ["m::n"]);
        assert_eq!(paths("let x = (r#\"a::\"b\"#, 'c', '\\'', b'\"'); fn f<'a>(g: &'a str) { h::i }"), ["h::i"]);
        assert_eq!(Source::parse("src/a.rs", "let x = \"account#\";").strings, [("account#".to_owned(), 1)]);
    }
}
