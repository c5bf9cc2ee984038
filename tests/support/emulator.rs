//! Stand-ins for AWS: one emulator of each kind per test process, shared by its tests and ended with it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::{
    Client,
    config::{Credentials, SharedCredentialsProvider},
    types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveSpecification,
    },
};

/// A running emulator.
pub(crate) struct Emulator {
    endpoint: String,
    /// Its stdin is open as long as this process lives, and its end is the emulator's (a static is never dropped).
    _process: Child,
}

impl Emulator {
    /// ministack: quick, and idempotent where AWS is.
    pub(crate) fn ministack() -> &'static Self {
        static SHARED: OnceLock<Emulator> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("ministack", "TOOLS_EMULATOR"))
    }

    /// moto: slow, and a second opinion.
    pub(crate) fn moto() -> &'static Self {
        static SHARED: OnceLock<Emulator> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("moto", "TOOLS_MOTO"))
    }

    fn start(kind: &str, variable: &str) -> Self {
        let environment = std::env::var_os(variable).unwrap_or_else(|| {
            panic!("{variable} does not name the Python environment of {kind}: run this set through tests/run")
        });
        let mut child = Command::new("python3")
            .args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/emulator/run.py"), kind])
            .arg(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut endpoint = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut endpoint).unwrap();
        assert!(endpoint.starts_with("http://127.0.0.1:"), "{kind} did not start: {endpoint}");
        Self { endpoint: endpoint.trim().to_owned(), _process: child }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What clients of this emulator are made from.
    pub(crate) fn config(&self) -> SdkConfig {
        config(&self.endpoint)
    }

    /// Makes an empty table like the one of template.yaml; its name, which no other table has.
    pub(crate) async fn table(&self) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let name = format!("gatemint-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        make_table(&Client::new(&self.config()), &name).await;
        name
    }
}

/// What clients of an endpoint are made from: of an emulator, or of a proxy in front of it.
pub(crate) fn config(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "tests");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

async fn make_table(client: &Client, name: &str) {
    let mut request = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    for (attribute, role) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let text = ScalarAttributeType::S;
        request = request
            .attribute_definitions(
                AttributeDefinition::builder().attribute_name(attribute).attribute_type(text).build().unwrap(),
            )
            .key_schema(KeySchemaElement::builder().attribute_name(attribute).key_type(role).build().unwrap());
    }
    request.send().await.unwrap();
    let purge = TimeToLiveSpecification::builder().attribute_name("expires_at").enabled(true).build().unwrap();
    client.update_time_to_live().table_name(name).time_to_live_specification(purge).send().await.unwrap();
}
