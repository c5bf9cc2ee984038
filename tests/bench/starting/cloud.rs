//! Just enough of DynamoDB and Secrets Manager for one function that is asked one thing at a time: it keeps what is
//! written, and takes every condition for fulfilled. What the two promise is tested elsewhere; here they are to be quick.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use gatemint::{
    clock::SystemClock,
    domain::{
        Policy, Secret, Service,
        account::manage::{self, NewAccount},
        birth,
        client::{Client, Presented},
        grant::{Grant, Request, exchange},
    },
    entropy::SystemEntropy,
    store::DynamoStore,
    vault::SecretsManagerVault,
};
use serde_json::{Value, json};

const ISSUER: &str = "https://auth.example.org";
const TABLE: &str = "gatemint";
const PREFIX: &str = "gatemint";
const PASSWORD: &str = "correct horse battery staple";

#[derive(Default)]
struct Kept {
    rows: Mutex<HashMap<String, Value>>,
    secrets: Mutex<HashMap<String, String>>,
    requests: AtomicUsize,
}

/// The stand-in.
pub(crate) struct Cloud {
    kept: Arc<Kept>,
    address: SocketAddr,
}

impl Cloud {
    /// Listens on a free port of the loopback address.
    pub(crate) async fn start() -> Self {
        let kept = Arc::new(Kept::default());
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&kept));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { kept, address }
    }

    /// What the function `token` is told by its environment.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("GATEMINT_FUNCTION", "token".to_owned()),
            ("GATEMINT_STORE", format!("dynamodb:{TABLE}")),
            ("GATEMINT_VAULT", format!("secretsmanager:{PREFIX}")),
            ("GATEMINT_ISSUER", ISSUER.to_owned()),
            ("LAMBDA_TASK_ROOT", "/var/task".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_SESSION_TOKEN", "test".to_owned()),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Makes keys and a user, and signs her in: her refresh token.
    pub(crate) async fn populate(&self) -> String {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(format!("http://{}", self.address))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "bench")))
            .build();
        let service = Service::new(
            Arc::new(DynamoStore::new(&config, TABLE)),
            Arc::new(SecretsManagerVault::new(&config, PREFIX)),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
            Policy::new(ISSUER),
            1,
        );
        birth::make_keys(&service).await.unwrap();
        let account = NewAccount {
            name: "ada".into(),
            namespace: None,
            email: "ada@example.org".into(),
            roles: vec!["analysts".into()],
            enabled: true,
            mirror_token: false,
            password: Secret::new(PASSWORD.as_bytes().to_vec()),
        };
        manage::create(&service, service.now(), account, "bench").await.unwrap();
        let request = Request {
            client_id: Client::BUILT_IN.to_owned(),
            presented: Presented::Public,
            grant: Grant::Password { username: "ada".to_owned(), password: Secret::new(PASSWORD.as_bytes().to_vec()) },
            scope: None,
            resource: Vec::new(),
            address: [198, 51, 100, 7].into(),
        };
        let tokens = exchange(&service, request).await.unwrap();
        tokens.access.unwrap().refresh.unwrap().0.expose().clone()
    }

    /// How many requests to DynamoDB were made so far.
    pub(crate) fn requests(&self) -> usize {
        self.kept.requests.load(Ordering::SeqCst)
    }
}

/// Where a row is kept, from its key or from itself.
fn place(row: &Value) -> String {
    format!("{} {}", row["pk"]["S"].as_str().unwrap(), row["sk"]["S"].as_str().unwrap())
}

async fn answer(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: String) -> Response {
    let target = headers["x-amz-target"].to_str().unwrap();
    let asked: Value = serde_json::from_str(&body).unwrap();
    let (status, said) = match target.split_once('.').unwrap() {
        ("secretsmanager", operation) => kept.secret(operation, &asked),
        (_, operation) => {
            kept.requests.fetch_add(1, Ordering::SeqCst);
            (StatusCode::OK, kept.row(operation, &asked))
        }
    };
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], said.to_string()).into_response()
}

impl Kept {
    fn row(&self, operation: &str, asked: &Value) -> Value {
        let mut rows = self.rows.lock().unwrap();
        let mut write = |write: &Value| {
            if write["Item"].is_object() {
                rows.insert(place(&write["Item"]), write["Item"].clone());
            }
        };
        match operation {
            "PutItem" => write(asked),
            "TransactWriteItems" => {
                for part in asked["TransactItems"].as_array().unwrap() {
                    part.as_object().unwrap().values().for_each(&mut write);
                }
            }
            "GetItem" => return rows.get(&place(&asked["Key"])).map_or(json!({}), |row| json!({ "Item": row })),
            "BatchGetItem" => {
                let keys = asked["RequestItems"][TABLE]["Keys"].as_array().unwrap();
                let found: Vec<&Value> = keys.iter().filter_map(|key| rows.get(&place(key))).collect();
                return json!({ "Responses": { TABLE: found }, "UnprocessedKeys": {} });
            }
            other => panic!("this stand-in does not know {other}"),
        }
        json!({})
    }

    fn secret(&self, operation: &str, asked: &Value) -> (StatusCode, Value) {
        let mut secrets = self.secrets.lock().unwrap();
        let version = "00000000-0000-4000-8000-000000000000";
        match operation {
            "GetSecretValue" => match secrets.get(asked["SecretId"].as_str().unwrap()) {
                Some(value) => {
                    let labels = ["AWSCURRENT"];
                    (StatusCode::OK, json!({ "SecretString": value, "VersionId": version, "VersionStages": labels }))
                }
                None => (StatusCode::BAD_REQUEST, json!({ "__type": "ResourceNotFoundException", "message": "none" })),
            },
            "CreateSecret" => {
                let text = |name: &str| asked[name].as_str().unwrap().to_owned();
                secrets.insert(text("Name"), text("SecretString"));
                (StatusCode::OK, json!({ "VersionId": version }))
            }
            other => panic!("this stand-in does not know {other}"),
        }
    }
}
