//! Tables of what was measured: printed, and written into the README between markers.

use std::{fmt::Write as _, fs, process::Command};

use gatemint::clock::{Clock as _, SystemClock};

/// One line of a table.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) floor: String,
    pub(crate) ours: String,
    pub(crate) against: String,
    pub(crate) target: String,
    /// None where there is no target.
    pub(crate) met: Option<bool>,
}

impl Row {
    fn cells(&self) -> [&str; 6] {
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "",
        };
        [&self.what, &self.floor, &self.ours, &self.against, &self.target, met]
    }
}

/// The table as Markdown, in columns.
fn render(rows: &[Row]) -> String {
    let headings = ["what", "floor", "ours", "ratio or difference (spread)", "target", ""];
    let cells: Vec<[&str; 6]> = std::iter::once(headings).chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [1; 6];
    for line in &cells {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for (n, line) in cells.iter().enumerate() {
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if n == 0 {
            for width in widths {
                let _ = write!(text, "|-{:-<width$}-", "");
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Machine, day and commit: what figures are worth nothing without.
fn where_and_when() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    // The README itself is what the table before this one was written into.
    let changed = git(&["status", "--porcelain", "--", ":/", ":!/README.md"]).is_some_and(|files| !files.is_empty());
    let changed = if changed { ", changed" } else { "" };
    let now = SystemClock.now().rfc3339();
    let day = now.split('T').next().unwrap_or_default();
    format!("{}, {cores} cores; {day}; commit {commit}{changed}", model.unwrap_or("a machine of unknown kind"))
}

/// Prints the table, and with `--readme` writes it into the README, between the markers of that name.
pub(crate) fn publish(name: &str, rows: &[Row], notes: &[String], into_readme: bool) {
    let mut text = render(rows);
    let _ = write!(text, "\n{}\n", where_and_when());
    for note in notes {
        let _ = writeln!(text, "{note}");
    }
    println!("\n{text}");
    if !into_readme {
        return;
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(file).unwrap();
    let (begin, end) = (format!("<!-- bench {name} -->\n"), format!("<!-- /bench {name} -->\n"));
    let (before, rest) = readme.split_once(&begin).expect("README.md has the table's first marker");
    let (_, after) = rest.split_once(&end).expect("README.md has the table's last marker");
    fs::write(file, format!("{before}{begin}\n{text}\n{end}{after}")).unwrap();
    println!("written into README.md");
}
