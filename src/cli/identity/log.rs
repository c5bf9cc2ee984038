//! The log of what was done, beside the token: what, when, and what failed; never a token.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::{
    cli::{CliError, output},
    clock::{Clock, SystemClock},
};

/// A log file, which is appended to.
pub(super) struct Log(File);

impl Log {
    /// Opens it, or makes it, for its owner's eyes.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let failed = |why: &dyn std::fmt::Display| CliError::Failed(format!("{}: {why}", path.display()));
        // A pipe would be waited for.
        if std::fs::metadata(path).is_ok_and(|data| !data.is_file()) {
            return Err(failed(&"it is not a file; move it away"));
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        file.map(Self).map_err(|error| failed(&error))
    }

    /// Notes something that happened.
    pub(super) fn info(&mut self, text: &str) {
        self.line("INFO", text);
    }

    /// Notes what failed.
    pub(super) fn error(&mut self, text: &str) {
        self.line("ERROR", text);
    }

    /// The log is no part of the work: a full disk is told where something depends on it.
    fn line(&mut self, level: &str, text: &str) {
        let text = output::harmless(&without_tokens(text)).replace('\n', " ");
        let _ = writeln!(self.0, "{} {level} {text}", SystemClock.now().rfc3339());
    }
}

/// A service may repeat what it was sent, in what it refuses with.
fn without_tokens(text: &str) -> String {
    let words = text.split(' ').map(|word| if word.contains("eyJ") { "[secret]" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_gets_into_the_log() {
        let text = without_tokens("refused: \"eyJhbGciOiJFUzI1NiJ9.e30.c2ln\" is bad");
        assert_eq!(text, "refused: [secret] is bad");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::open(&path).unwrap();
        log.info("one\nline");
        drop(log);
        Log::open(&path).unwrap().error("eyJx");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(lines, ["INFO one line", "ERROR [secret]"]);
        assert!(Log::open(directory.path()).is_err());
    }
}
