//! `gatemint completions` and `gatemint man`: what a shell and `man` want to know of the commands.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CliError, VERSION, output};

#[derive(Args)]
#[command(after_help = "\
Examples:
  gatemint completions bash > ~/.local/share/bash-completion/completions/gatemint
  gatemint completions zsh > ~/.zfunc/_gatemint      # with fpath+=~/.zfunc before compinit
  gatemint completions fish > ~/.config/fish/completions/gatemint.fish")]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "gatemint", &mut script);
        print(&script)
    }
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  gatemint man | man -l -
  gatemint man --out ~/.local/share/man/man1")]
pub(super) struct Man {
    /// Write the pages of all commands into this directory, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> Result<(), CliError> {
        // `help` is a page in itself, and needs none for each command.
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        let Some(directory) = &self.out else { return print(&page(command)?.1) };
        let failed = |error: io::Error| CliError::Failed(format!("{}: {error}", directory.display()));
        fs::create_dir_all(directory).map_err(failed)?;
        let mut commands = vec![command];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
            let (name, text) = page(command)?;
            fs::write(directory.join(name), text).map_err(failed)?;
        }
        output::aside(&format!("The manual pages are in {}.", output::harmless(&directory.display().to_string())));
        Ok(())
    }
}

/// A command's page, and the name of its file.
fn page(command: Command) -> Result<(String, Vec<u8>), CliError> {
    let man = clap_mangen::Man::new(command).source(format!("gatemint {VERSION}"));
    let mut text = Vec::new();
    man.render(&mut text).map_err(|error| CliError::Failed(error.to_string()))?;
    // What follows the options is mostly commands to be typed: their lines stay as they are.
    let text = String::from_utf8_lossy(&text).replace("\n.SH EXTRA\n", "\n.SH NOTES AND EXAMPLES\n.nf\n");
    let text = text.replace("\n.SH VERSION\n", "\n.fi\n.SH VERSION\n");
    Ok((man.get_filename(), text.into_bytes()))
}

fn print(text: &[u8]) -> Result<(), CliError> {
    let text = std::str::from_utf8(text).map_err(|error| CliError::Failed(error.to_string()))?;
    output::line(text.trim_end());
    Ok(())
}
