//! Two real processes on one state: of many who make a name one wins, what one ends the other refuses, and the log tells
//! nobody's token.

use std::sync::Arc;

use super::*;
use crate::support::{asking::Asking, process::Serve};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixty_four_who_make_a_name_one_wins_and_the_log_holds_no_token() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serves = [(); 2].map(|()| Serve::start_with(&data, &[("GATEMINT_LOG", "trace")]));
    let one = Asking::at(&serves[0].url);
    let other = one.elsewhere(&serves[1].url);
    let admin = Arc::new(one.admin(&data).await.access);
    let mut secrets = Vec::new();
    for round in 0..4 {
        let name = format!("vm-{round}");
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..64 {
            let process = if n % 2 == 0 { one.clone() } else { other.clone() };
            let (admin, object) = (admin.clone(), object(&name, json!({ "urls": [format!("/{n}")] })));
            tasks.spawn(async move { process.v1(Method::POST, PATH, &admin, Some(object)).await });
        }
        let answers = tasks.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == StatusCode::CREATED);
        assert_eq!(
            (won.len(), lost.len()),
            (1, 63),
            "{:?}",
            answers.iter().map(|answer| answer.status).collect::<Vec<_>>()
        );
        for answer in lost {
            assert_status(answer, 409, "AlreadyExists", Some("metadata.name"));
        }
        let read = other.v1(Method::GET, &at(&name), &admin, None).await;
        assert_eq!(read.json["spec"], won[0].json["spec"], "what is there is the winner's");
        assert_eq!(read.json["metadata"], won[0].json["metadata"]);
        secrets.extend([won[0], &read].map(|answer| answer.json["status"]["token"].as_str().unwrap().to_owned()));

        // Ended in one process, gone in the other; of many who end it, nobody fails otherwise than with "not found".
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..16 {
            let process = if n % 2 == 0 { one.clone() } else { other.clone() };
            let (admin, path) = (admin.clone(), at(&name));
            tasks.spawn(async move { process.v1(Method::DELETE, &path, &admin, None).await });
        }
        let answers = tasks.join_all().await;
        assert!(answers.iter().any(|answer| answer.status == StatusCode::OK));
        assert!(answers.iter().all(|answer| [200, 404].contains(&answer.status.as_u16())));
        assert_status(&one.v1(Method::GET, &at(&name), &admin, None).await, 404, "NotFound", None);
    }
    for serve in serves {
        assert!(serve.terminate().success());
    }
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(log.contains("gatetoken_created") && log.contains("gatetoken_deleted"), "the audit tells of both");
    secrets.push(admin.to_string());
    for secret in &secrets {
        for part in [secret.as_str(), secret.rsplit('.').next().unwrap(), secret.split('.').nth(1).unwrap()] {
            assert!(!log.contains(part), "a token, or a part of one, is in the log");
        }
    }
    println!(
        "counted: 4 races of 64 with 1 winner each; {} log lines without any of {} tokens",
        log.lines().count(),
        secrets.len()
    );
}
