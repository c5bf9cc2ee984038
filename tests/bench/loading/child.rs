//! The servers under load: child processes, ended with the value that stands for them.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use gatemint::domain::key::Algorithm;

/// A server that answers.
pub(crate) struct Server {
    child: Child,
    // Kept open: who writes to a closed pipe gets an error.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

/// The program, in an environment without settings.
pub(crate) fn gatemint() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatemint"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GATEMINT_") {
            command.env_remove(name);
        }
    }
    command
}

impl Server {
    /// `gatemint serve` on that directory; a first start makes keys for `alg`. Its log goes to a file that nobody
    /// reads, `/dev/null`: the lines are made and written nevertheless, unless there is to be no `log`.
    pub(crate) fn gatemint(data: &Path, alg: Algorithm, log: bool) -> Self {
        let mut command = gatemint();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        command.env("GATEMINT_SIGNING_ALG", alg.as_str());
        if !log {
            command.env("GATEMINT_LOG", "off");
        }
        Self::start(command)
    }

    /// This very program as the prototype.
    pub(crate) fn prototype(directory: &Path, alg: Algorithm) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["prototype", alg.as_str()]).arg(directory);
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let log = File::options().write(true).open("/dev/null").unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let _ = stdout.read_line(&mut line);
        // `NAME on http://ADDRESS:PORT, …`
        let address = line.split("http://").nth(1).and_then(|rest| rest.split([',', '\n']).next()?.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("a server did not start: {line}");
        };
        Self { child, _stdout: stdout, address }
    }

    /// The processor time that it has taken so far, its own and the system's for it, in seconds.
    pub(crate) fn cpu_time(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // After the name, which is in brackets and may hold anything: state is the 3rd field, utime and stime 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: f64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum();
        // Linux counts in hundredths of a second here, on every machine.
        ticks / 100.0
    }

    /// The most memory that it ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
        peak.trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
