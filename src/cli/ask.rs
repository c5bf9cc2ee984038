//! What is asked on a terminal, and where nothing can be.

use std::io::{IsTerminal, Write};

use super::{CliError, Global};

/// Whether somebody is there to be asked.
pub(super) fn somebody(global: &Global) -> bool {
    !global.no_input && std::io::stdin().is_terminal()
}

/// Asks for a line; an empty one is the usual answer, if there is one.
///
/// # Errors
/// The terminal cannot be read; no answer was given.
pub(super) fn line(question: &str, usual: Option<&str>) -> Result<String, CliError> {
    let mut err = std::io::stderr().lock();
    let colon = if question.ends_with('?') { "" } else { ":" };
    let asked = match usual {
        Some(usual) => write!(err, "{question} [{usual}]{colon} "),
        None => write!(err, "{question}{colon} "),
    };
    let mut answer = String::new();
    let read = asked
        .and_then(|()| err.flush())
        .and_then(|()| std::io::stdin().read_line(&mut answer))
        .map_err(|error| CliError::Failed(format!("the answer could not be read: {error}")))?;
    match (answer.trim(), usual) {
        // The end of the input is no answer, and what follows it is not asked for either.
        ("", _) if read == 0 => Err(CliError::Usage("no answer was given; nothing was done".into())),
        ("", Some(usual)) => Ok(usual.to_owned()),
        ("", None) => Err(CliError::Usage("no answer was given; nothing was done".into())),
        (answer, _) => Ok(answer.to_owned()),
    }
}
