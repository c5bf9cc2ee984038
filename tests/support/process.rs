//! The real program as a process of its own, in a directory of its own, ended with the test.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

/// A running `gatemint serve`.
pub(crate) struct Serve {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    /// What it printed until it was ready.
    pub(crate) greeting: String,
}

/// The program, in an environment without settings, and where nobody is signed in.
pub(crate) fn gatemint() -> Command {
    let mut command = without_settings(Command::new(PROGRAM));
    command.env("HOME", "/nobody-is-at-home").env_remove("XDG_CONFIG_HOME");
    command
}

/// Where the program is.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_gatemint");

/// A command in an environment without settings.
pub(crate) fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GATEMINT_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end, with this on its stdin.
pub(crate) fn given(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that needs no input may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

/// Runs a command of the program on a data directory, to its end.
pub(crate) fn operator(data: &Path, arguments: &[&str]) -> Output {
    gatemint().args(arguments).arg("--data").arg(data).stdin(Stdio::null()).output().unwrap()
}

impl Serve {
    /// Starts it on a free port.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// Starts it on a free port with settings.
    pub(crate) fn start_with(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::launch(gatemint(), data, settings)
    }

    /// Starts it by a command that ends where the program's arguments begin.
    pub(crate) fn launch(mut command: Command, data: &Path, settings: &[(&str, &str)]) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        command.envs(settings.iter().copied());
        Self::run(command, &data.with_extension("log"))
    }

    /// Starts it as a command says, its log appended to a file.
    pub(crate) fn run(mut command: Command, log_file: &Path) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log_file).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        let mut greeting = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        // The first line says where; it is printed when everything is ready.
        lines.read_line(&mut greeting).unwrap();
        let url = greeting
            .split(" on ")
            .nth(1)
            .and_then(|rest| rest.split(',').next())
            .unwrap_or_else(|| {
                let log = std::fs::read_to_string(log_file).unwrap_or_default();
                panic!("serve did not start: {greeting}{log}")
            })
            .to_owned();
        // The pipe is emptied until the process ends, so that it never blocks on it.
        let (send, rest) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        while let Ok(line) = rest.recv_timeout(Duration::from_millis(300)) {
            greeting.push_str(&line);
            greeting.push('\n');
        }
        Self { child, url, greeting }
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a word, as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and goes on.
    pub(crate) fn ask_to_end(&self) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn terminate(mut self) -> std::process::ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
