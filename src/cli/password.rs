//! Where a password comes from: never from the command line itself, which every process of the machine can read.

use std::io::{IsTerminal, Read};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use zeroize::Zeroize;

use super::{CliError, Global};
use crate::{
    domain::Secret,
    entropy::{Entropy, SystemEntropy},
    settings::Settings,
};

/// More than a password may have, so that one that is too long is refused as such.
const MOST: u32 = 4096;

/// How a new password is given.
#[derive(Args, Clone, Copy)]
#[group(multiple = false)]
pub(super) struct NewPassword {
    /// Ask for the password on the terminal
    #[arg(long)]
    password: bool,
    /// Read the password from stdin; one line end is taken off
    #[arg(long)]
    password_stdin: bool,
    /// Make a password and print it, once
    #[arg(long)]
    generate: bool,
}

/// A new password and, if it was made here, the same to be shown.
pub(super) type Chosen = (Secret<Vec<u8>>, Option<Secret<String>>);

impl NewPassword {
    /// Whether any way was chosen.
    pub(super) fn is_given(self) -> bool {
        self.password || self.password_stdin || self.generate
    }

    /// Gets the password; with it, if it was made here, the same to be shown.
    ///
    /// # Errors
    /// Nothing was given and nobody can be asked; two entries differ.
    pub(super) fn get(self, global: &Global, settings: &Settings) -> Result<Chosen, CliError> {
        if self.generate {
            let made = generate(&SystemEntropy, settings.password_min);
            return Ok((Secret::new(made.expose().clone().into_bytes()), Some(made)));
        }
        if self.password_stdin {
            return Ok((from_stdin()?, None));
        }
        if global.no_input || !std::io::stdin().is_terminal() {
            return Err(CliError::Usage(
                "a password is needed and nobody can be asked: --password-stdin or --generate".into(),
            ));
        }
        let asked = ask_twice()?;
        Ok((Secret::new(asked.expose().clone().into_bytes()), None))
    }
}

/// 144 random bits or more in letters that need no quoting, at least `min` of them.
pub(super) fn generate(entropy: &dyn Entropy, min: usize) -> Secret<String> {
    const PIECE: usize = 18;
    let pieces = min.div_ceil(PIECE * 4 / 3).max(1);
    let mut text = String::with_capacity(pieces * PIECE * 4 / 3);
    for _ in 0..pieces {
        let mut bytes = entropy.bytes::<PIECE>();
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        bytes.zeroize();
    }
    Secret::new(text)
}

/// Asks for a new password until it was given the same twice.
pub(super) fn ask_twice() -> Result<Secret<String>, CliError> {
    let first = ask("New password: ")?;
    let again = ask("The same again: ")?;
    if first.expose() != again.expose() {
        return Err(CliError::Usage("the two passwords differ; nothing was changed".into()));
    }
    Ok(first)
}

/// Asks for a secret on the terminal.
pub(super) fn ask(prompt: &str) -> Result<Secret<String>, CliError> {
    rpassword::prompt_password(prompt)
        .map(Secret::new)
        .map_err(|error| CliError::Failed(format!("the password could not be read: {error}")))
}

/// A password of UTF-8 from stdin.
///
/// # Errors
/// Stdin cannot be read, or is not UTF-8.
pub(super) fn line_from_stdin() -> Result<Secret<String>, CliError> {
    text(from_stdin()?.expose())
}

/// Two passwords from stdin, a line each.
///
/// # Errors
/// Stdin cannot be read, is not UTF-8, or has one line.
pub(super) fn two_lines_from_stdin() -> Result<(Secret<String>, Secret<String>), CliError> {
    let both = line_from_stdin()?;
    let (old, new) = both
        .expose()
        .split_once('\n')
        .ok_or_else(|| CliError::Usage("stdin must hold the old password and the new one, a line each".into()))?;
    if new.contains('\n') {
        return Err(CliError::Usage("stdin holds more than two lines: the old password and the new one, once".into()));
    }
    Ok((Secret::new(old.trim_end_matches('\r').to_owned()), Secret::new(new.to_owned())))
}

/// As text, which is what JSON and forms carry.
pub(super) fn text(bytes: &[u8]) -> Result<Secret<String>, CliError> {
    let text = std::str::from_utf8(bytes).map_err(|_| CliError::Usage("the password is not UTF-8".into()))?;
    Ok(Secret::new(text.to_owned()))
}

fn from_stdin() -> Result<Secret<Vec<u8>>, CliError> {
    // Room for all of it: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Vec::with_capacity(MOST as usize + 1);
    std::io::stdin()
        .lock()
        .take(MOST.into())
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::Failed(format!("stdin could not be read: {error}")))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok(Secret::new(bytes))
}
