//! `gatemint completions` and `gatemint man`: what a shell and `man` want to know of the commands.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CliError, output};

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
        let command = Cli::command().disable_help_subcommand(true);
        let Some(directory) = &self.out else {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).map_err(|error| CliError::Failed(error.to_string()))?;
            return print(&page);
        };
        fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory))
            .map_err(|error| CliError::Failed(format!("{}: {error}", directory.display())))?;
        output::aside(&format!("The manual pages are in {}.", output::harmless(&directory.display().to_string())));
        Ok(())
    }
}

fn print(text: &[u8]) -> Result<(), CliError> {
    let text = std::str::from_utf8(text).map_err(|error| CliError::Failed(error.to_string()))?;
    output::line(text.trim_end());
    Ok(())
}
