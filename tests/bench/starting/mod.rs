//! The whole run: both programs in turns, and what is made of it.

mod child;
mod cloud;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::table::Row;
use child::{Child, Cost};
use cloud::Cloud;

/// What a start may cost up to the first answer, in milliseconds of processor time.
const START: f64 = 4.0;
/// The same for a refresh of a function that runs.
const REFRESH: f64 = 0.4;
/// The most resident memory, in millions of bytes.
const MEMORY: f64 = 20.0;
/// How many requests are made for the figures of a function that runs.
const WARM: usize = 200;

/// The median of a few figures, and the least and the largest of them.
struct Few {
    least: f64,
    median: f64,
    most: f64,
}

impl Few {
    fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        Self { least: figures[0], median: figures[figures.len() / 2], most: figures[figures.len() - 1] }
    }
}

impl fmt::Display for Few {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.least, self.most)
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What one program was seen to do in one start.
struct Life {
    /// From its start to its first answer.
    first: Cost,
    /// Of each of the requests after it, on average.
    warm: Option<Cost>,
    peak_memory: u64,
}

/// The programs' figures, a life each.
#[derive(Default)]
struct Lives {
    hello: Vec<Life>,
    /// The first request needs no state; the others are refreshes.
    plain: Vec<Life>,
    /// The first request is a refresh.
    refreshing: Vec<Life>,
}

/// Starts both programs so many times, in turns.
pub(crate) async fn measure(starts: usize) -> (Vec<Row>, Vec<String>) {
    let cloud = Cloud::start().await;
    let (ours, hello) = (PathBuf::from(env!("CARGO_BIN_EXE_gatemint-lambda")), hello());
    let mut refresh_token = cloud.populate().await;
    let mut lives = Lives::default();
    // Only so many lives are long: what a request costs is soon known.
    let is_long = |turn: usize| turn < 5;
    for turn in 0..starts {
        let mut child = Child::start(&hello, &[]).await;
        let first = child.first(&event("/", "")).await;
        let mut warm = None;
        if is_long(turn) {
            warm = Some(child.many(WARM, |_| event("/", "")).await);
        }
        lives.hello.push(Life { first, warm, peak_memory: child.peak_memory() });

        let mut child = Child::start(&ours, &cloud.settings()).await;
        let first = child.first(&event("/no/such/route", "")).await;
        assert_eq!(child.answer()["statusCode"], 404, "{}", child.answer());
        let mut warm = None;
        if is_long(turn) {
            let before = cloud.requests();
            let refresh = |answer: Option<&serde_json::Value>| {
                if let Some(answer) = answer {
                    refresh_token = refreshed(answer);
                }
                event("/oauth2/token", &format!("grant_type=refresh_token&refresh_token={refresh_token}"))
            };
            warm = Some(child.many(WARM, refresh).await);
            refresh_token = refreshed(child.answer());
            assert_eq!(cloud.requests() - before, 2 * WARM, "a refresh is one read and one write");
        }
        lives.plain.push(Life { first, warm, peak_memory: child.peak_memory() });

        let mut child = Child::start(&ours, &cloud.settings()).await;
        let refresh = event("/oauth2/token", &format!("grant_type=refresh_token&refresh_token={refresh_token}"));
        let first = child.first(&refresh).await;
        refresh_token = refreshed(child.answer());
        lives.refreshing.push(Life { first, warm: None, peak_memory: child.peak_memory() });
    }
    (lives.rows(), notes(starts, &ours, &hello))
}

/// The other program: of the same build, beside this one.
fn hello() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let beside = std::fs::read_dir(this.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let built = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("hello-") && !name.contains('.')
    };
    let newest = beside.filter(built).max_by_key(|path| path.metadata().and_then(|data| data.modified()).unwrap());
    newest.expect("the bench target hello was built: run tests/bench/cold_start")
}

/// The refresh token of an answer.
fn refreshed(answer: &serde_json::Value) -> String {
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let body: serde_json::Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    body["refresh_token"].as_str().unwrap().to_owned()
}

/// An event as an HTTP API makes it: a GET, or a form's POST.
fn event(path: &str, form: &str) -> String {
    let method = if form.is_empty() { "GET" } else { "POST" };
    serde_json::json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": {
            "accept": "*/*", "content-type": "application/x-www-form-urlencoded", "host": "auth.example.org",
            "user-agent": "curl/8.5.0", "x-forwarded-for": "198.51.100.7", "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "123456789012", "apiId": "a1b2c3d4e5", "domainName": "auth.example.org", "domainPrefix": "auth",
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "198.51.100.7",
                "userAgent": "curl/8.5.0",
            },
            "requestId": "JKJaX04PvHcESHA=", "routeKey": "$default", "stage": "$default",
            "time": "22/Nov/2026:09:12:04 +0000", "timeEpoch": 1_795_338_724_000_u64,
        },
        "body": form, "isBase64Encoded": false,
    })
    .to_string()
}

impl Lives {
    fn rows(&self) -> Vec<Row> {
        let cpu = |lives: &[Life]| Few::of(lives.iter().map(|life| milliseconds(life.first.cpu)));
        let wall = |lives: &[Life]| Few::of(lives.iter().map(|life| milliseconds(life.first.wall)));
        let warm = |lives: &[Life], of: fn(&Cost) -> Duration| {
            Few::of(lives.iter().filter_map(|life| life.warm.as_ref()).map(|cost| milliseconds(of(cost))))
        };
        #[expect(clippy::cast_precision_loss, reason = "a peak of memory is less than 2^53 bytes")]
        let memory = |lives: &[Life]| Few::of(lives.iter().map(|life| life.peak_memory as f64 / 1e6));
        let all =
            || [memory(&self.plain), memory(&self.refreshing)].into_iter().max_by(|a, b| a.most.total_cmp(&b.most));
        let row = |what: &str, floor: &Few, ours: &Few, unit: &str, target: Option<f64>| Row {
            what: what.to_owned(),
            floor: format!("{floor} {unit}"),
            ours: format!("{ours} {unit}"),
            against: format!("{:.2}", ours.median / floor.median),
            target: target.map(|target| format!("≤ {target} {unit}")).unwrap_or_default(),
            met: target.map(|target| ours.median <= target),
        };
        let answer = "start of `token`, both clients, keys read, to its first answer";
        let refresh = "the same, where the first request is a refresh";
        vec![
            row(&format!("{answer}: CPU"), &cpu(&self.hello), &cpu(&self.plain), "ms", Some(START)),
            row(&format!("{refresh}: CPU"), &cpu(&self.hello), &cpu(&self.refreshing), "ms", None),
            row(&format!("{answer}: time"), &wall(&self.hello), &wall(&self.plain), "ms", None),
            row(&format!("{refresh}: time"), &wall(&self.hello), &wall(&self.refreshing), "ms", None),
            row(
                "a refresh, ES256, of a function that runs: CPU",
                &warm(&self.hello, |cost| cost.cpu),
                &warm(&self.plain, |cost| cost.cpu),
                "ms",
                Some(REFRESH),
            ),
            row(
                "a refresh, ES256, of a function that runs: time",
                &warm(&self.hello, |cost| cost.wall),
                &warm(&self.plain, |cost| cost.wall),
                "ms",
                None,
            ),
            row("the most memory resident", &memory(&self.hello), &all().unwrap(), "MB", Some(MEMORY)),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "a program is smaller than 2^53 bytes")]
fn notes(starts: usize, ours: &Path, hello: &Path) -> Vec<String> {
    let size = |path: &Path| path.metadata().map_or(0.0, |file| file.len() as f64 / 1e6);
    vec![
        format!(
            "The floor is a bare lambda_http function that answers `hello`. {starts} starts of each in turns; medians, the \
             least and the most. CPU is all of the process's own, its threads' too, from the start to the moment when it \
             asks for the next event. The stand-in for DynamoDB and Secrets Manager speaks plain HTTP on the same machine: \
             add a TLS handshake for each on AWS, which happens during init."
        ),
        format!(
            "A refresh is two requests to DynamoDB, counted. The programs have {:.1} and {:.1} MB.",
            size(hello),
            size(ours)
        ),
    ]
}
