//! What is printed: the one place that writes to stdout and stderr, and that starts and ends the log.

use std::{
    fmt::Write as _,
    io::{ErrorKind, IsTerminal, Write},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::{CliError, log_queue::LogQueue};
use crate::settings::{LogFormat, Settings};

/// Whether something that was to be printed is lost.
static LOST: AtomicBool = AtomicBool::new(false);

/// A line for the user. A closed pipe is not an error: whoever read has read enough. Any other failure is told at the end.
pub(super) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    if written.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Whether all that was to be printed was.
///
/// # Errors
/// It was not: what was to be seen once may be lost.
pub(super) fn all_printed() -> Result<(), CliError> {
    if LOST.load(Ordering::Relaxed) {
        return Err(CliError::Failed(
            "it was done, but its answer could not be written to stdout and is lost; a secret in it can be replaced: \
             `client set --new-secret`, `user set --generate`"
                .into(),
        ));
    }
    Ok(())
}

/// A line beside the answer, on stderr.
pub(super) fn aside(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", harmless(text));
}

/// What takes a while, for whoever watches.
pub(super) fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        aside(text);
    }
}

/// An error, with what caused it.
pub(super) fn error(text: &str, cause: Option<&str>) {
    aside(&format!("gatemint: {text}"));
    if let Some(cause) = cause {
        aside(&format!("  because: {cause}"));
    }
}

/// Whether a terminal would obey it, or show nothing for it: a control character, one that turns the direction of what
/// follows, one without width or ink.
fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let unseen = matches!(
        c,
        '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{3164}'
            | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
    );
    c.is_control() || turns || unseen || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The same for what stands on a line of its own: a line end in it would forge another line.
fn on_one_line(text: &str) -> String {
    harmless(text).replace('\n', "\u{fffd}")
}

/// The text without what a terminal would obey: names and paths in it may be anybody's choice.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A value as JSON. What a terminal would obey is written as an escape, which is the same value.
pub(super) fn json<T: Serialize>(value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Failed(error.to_string()))?;
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    line(&safe);
    Ok(())
}

/// Rows under headings.
pub(super) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| on_one_line(cell)));
    }
    for row in table.lines() {
        line(row.trim());
    }
}

/// Names and values, one under another.
pub(super) fn sheet(rows: &[(&str, String)]) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        line(format!("{name:width$}  {}", on_one_line(value)).trim_end());
    }
}

/// Names and values one under another, as Apolo's command line prints them.
pub(super) fn inset_sheet(rows: &[(&str, String)]) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        line(format!(" {name:width$}  {}", on_one_line(value)).trim_end());
    }
}

/// Rows under headings with a rule below them, as Apolo's command line prints them.
pub(super) fn ruled_table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|cell| on_one_line(&cell))).collect();
    let headings = headings.map(str::to_owned);
    let width = |column: usize| {
        let cells = std::iter::once(&headings).chain(&rows).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let shown = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(format!("  {}", cells.join("   ")).trim_end());
    };
    shown(&headings);
    line(&format!(" {}", "─".repeat(widths.iter().sum::<usize>() + 3 * (N - 1) + 2)));
    rows.iter().for_each(shown);
}

/// The log, once it was started.
static LOG: OnceLock<LogQueue> = OnceLock::new();

/// Starts the log on stderr: for eyes on a terminal, else JSON. `usual` is the filter unless another one is set.
///
/// # Errors
/// The filter cannot be read; the system gives no thread.
pub(super) fn start_log(settings: &Settings, usual: &str) -> Result<(), CliError> {
    let filter = settings.log.as_deref().unwrap_or(usual);
    let filter: Targets = filter.parse().map_err(|error| {
        CliError::Usage(format!("GATEMINT_LOG is not a filter: {error}; e.g. info or gatemint=debug"))
    })?;
    let terminal = std::io::stderr().is_terminal();
    let format = settings.log_format.unwrap_or(if terminal { LogFormat::Human } else { LogFormat::Json });
    let queue = LogQueue::to_stderr().map_err(|error| CliError::Failed(format!("the log did not start: {error}")))?;
    let log = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(queue.clone())
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Human => log.with_ansi(terminal).finish().with(filter).try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).finish().with(filter).try_init(),
    };
    started.map_err(|error| CliError::Failed(error.to_string()))?;
    let _ = LOG.set(queue);
    Ok(())
}

/// Has panics told of in the log: the usual hook writes to stderr itself, and waits for whoever reads it.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, cause = panic.payload_as_str(), "a thread panicked");
    }));
}

/// Waits until the log is written, as long as somebody reads it.
pub(super) fn finish_log() {
    if let Some(log) = LOG.get() {
        log.finish();
    }
}

/// One line on the terminal that the next one replaces; nothing where nobody watches. Says whether somebody does.
pub(super) fn progress_line(text: &str) -> bool {
    let mut terminal = std::io::stderr();
    terminal.is_terminal() && write!(terminal, "\r\x1b[K{text}").and_then(|()| terminal.flush()).is_ok()
}
