use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use gatemint::metric::Stopwatch;

use super::Peer;
use crate::support::{
    asking::Asking,
    process::{Serve, gatemint},
};

fn address(serve: &Serve) -> SocketAddr {
    serve.url.trim_start_matches("http://").parse().unwrap()
}

#[test]
fn sigterm_is_not_held_up_by_half_a_request_nor_by_an_idle_connection() {
    let home = tempfile::tempdir().unwrap();
    let serve = Serve::start(&home.path().join("data"));
    let mut idle = Peer::at(address(&serve));
    assert_eq!(idle.ask("/healthz").hear().unwrap().0, 200);
    let mut half_a_head = Peer::at(address(&serve));
    half_a_head.say("GET /healthz HTTP/1.1\r\nHo");
    let mut half_a_form = Peer::at(address(&serve));
    half_a_form.say(
        "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 100\r\n\r\ngrant_type=",
    );
    // What was sent before it is read after it: the half requests have arrived.
    assert_eq!(Peer::at(address(&serve)).ask("/healthz").hear().unwrap().0, 200);
    let asked = Stopwatch::start();
    assert_eq!(serve.terminate().code(), Some(0));
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(15), "it took {took:?}, of 25 s that an answer may take");
    idle.is_closed();
    println!("counted: 3 connections that asked for nothing did not hold up the end");
}

#[test]
fn without_descriptors_nobody_is_accepted_and_when_there_are_some_again_all_are() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    let mut inside = Peer::at(address(&serve));
    assert_eq!(inside.ask("/readyz").hear().unwrap().0, 200);
    let id = serve.id().to_string();
    let open = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    let limit = |descriptors: &str| {
        let limited = Command::new("prlimit").arg(format!("--nofile={descriptors}:")).args(["--pid", &id]).status();
        assert!(limited.unwrap().success());
    };
    limit(&(open + 2).to_string());
    let mut outside: Vec<_> = (0..20).map(|_| Peer::at(address(&serve))).collect();
    for peer in &mut outside {
        peer.ask("/healthz");
    }
    let log = data.with_extension("log");
    while !fs::read_to_string(&log).unwrap().contains("the system gives no more connections") {
        std::thread::yield_now();
    }
    assert_eq!(inside.ask("/healthz").hear().unwrap().0, 200, "who is inside is served");
    let (spent, waited) = (cpu_time(&id), Stopwatch::start());
    assert!(outside[19].hears_nothing_yet());
    // A loop that tries again at once would have used all of the time.
    let spent = cpu_time(&id).saturating_sub(spent);
    assert!(spent < waited.elapsed() / 2 + Duration::from_millis(100), "{spent:?} of {:?}", waited.elapsed());
    limit("1024");
    for peer in &mut outside {
        assert_eq!(peer.hear().unwrap().0, 200);
    }
    let told = fs::read_to_string(&log).unwrap().matches("the system gives no more connections").count();
    assert_eq!(told, 1, "it is told once a minute");
    assert_eq!(serve.terminate().code(), Some(0));
    println!("counted: 20 connections waited for descriptors and were answered");
}

/// The processor time that a process has used.
fn cpu_time(id: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // In ticks, of which Linux tells user space that there are 100 in a second.
    Duration::from_millis((fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10)
}

/// A service whose log nobody reads, though its pipe stays open, and the address that it listens on.
fn unread(mut command: Command, data: &Path) -> (Child, String) {
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut greeting = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
    let address = greeting.split(" on http://").nth(1).unwrap().split(',').next().unwrap().to_owned();
    (child, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_holds_up_nobody_and_loses_no_audit_line() {
    const REFUSED: usize = 40;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (mut child, address) = unread(gatemint(), &data);
    let url = format!("http://{address}");

    // More lines than a pipe and the queue hold.
    let asking = Asking::at(&url);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let asking = asking.clone();
        requests.spawn(async move {
            for _ in 0..1000 {
                assert_eq!(asking.get("/healthz").await.status, 200);
            }
        });
    }
    requests.join_all().await;
    for n in 0..REFUSED {
        asking.password(&format!("nobody-{n}"), "a wrong password").await;
    }
    assert_eq!(asking.get("/readyz").await.status, 200);

    // Now somebody reads, to the end.
    let mut stderr = child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        log
    });
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let log = reading.join().unwrap();
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "lines are whole");
    assert_eq!(log.matches("sign_in_refused").count(), REFUSED, "no audit line is lost");
    // Not always the last line: that some were dropped is told when the thread that writes gets to it.
    assert!(log.lines().any(|line| line.contains(r#""message":"stopped""#)), "nor is the end");
    let kept = log.matches("/healthz").count();
    let told: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains("log lines were dropped"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let dropped: u64 = told.iter().map(|line| line["log.dropped_lines"].as_u64().unwrap()).sum();
    assert!(told.iter().all(|line| line["log.dropped_audit_lines"] == 0), "{told:?}");
    let others = REFUSED + 1 - log.matches(r#""http.route":"/oauth2/token""#).count() - log.matches("/readyz").count();
    assert_eq!(usize::try_from(dropped).unwrap(), 8000 - kept + others, "and what is missing is counted");
    assert!(dropped > 0, "there was more than there is room for");
    println!(
        "counted: 8041 requests answered while nobody read the log, {REFUSED} audit lines kept, {dropped} others told as dropped"
    );
}

#[test]
fn a_log_that_nobody_ever_reads_does_not_keep_the_process_from_ending() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut command = gatemint();
    command.env("GATEMINT_LOG", "trace");
    let (mut child, address) = unread(command, &data);
    let mut peer = Peer::at(address.parse().unwrap());
    for _ in 0..2000 {
        assert_eq!(peer.ask("/healthz").hear().unwrap().0, 200);
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let asked = Stopwatch::start();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    // Its pipe stayed open until here.
    drop(child.stderr.take());
    println!("counted: 2000 requests logged to nobody");
}

/// How many sockets a process listens on.
pub(super) fn listening(id: u32) -> usize {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{id}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let listens = |table: &str| {
        let table =
            fs::read_to_string(Path::new("/proc").join(id.to_string()).join("net").join(table)).unwrap_or_default();
        let rows: Vec<Vec<String>> =
            table.lines().skip(1).map(|row| row.split_whitespace().map(str::to_owned).collect()).collect();
        rows.into_iter().filter(|row| row[3] == "0A" && sockets.contains(&row[9])).count()
    };
    listens("tcp") + listens("tcp6")
}
