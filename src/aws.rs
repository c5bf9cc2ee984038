//! How this process speaks to AWS: whose credentials, which endpoints, and one HTTPS client for all services.
//!
//! Of the trust anchors only Amazon's four public roots are taken, because parsing a system's hundred and more is what
//! the start of a function would spend most of its time on; `GATEMINT_TLS_ROOTS=system` takes those.

use std::{future::Future, pin::Pin};

use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::config::{Credentials, ProvideCredentials as _, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

use crate::settings::TlsRoots;

/// Amazon Root CA 1 to 4, of the Amazon Trust Services repository.
const AMAZON_ROOTS: &str = include_str!("aws/amazon-roots.pem");

/// How long a connection may take to come about.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(1);

/// Why AWS cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// A variable that AWS Lambda sets is not there.
    #[error("{0} is not set; AWS Lambda sets it for every function")]
    NotInLambda(&'static str),
    /// What a variable holds cannot be used; its value is not told, since it may be a secret.
    #[error("{0} cannot be used: {1}")]
    Unusable(&'static str, &'static str),
    /// Nobody said who asks.
    #[error(
        "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or sign in with \
         `aws sso login` ({0})"
    )]
    NoCredentials(String),
    /// Nobody said where.
    #[error("no AWS region: set AWS_REGION, or one in the profile that AWS_PROFILE names")]
    NoRegion,
    /// The trust anchors cannot be used.
    #[error("the trust anchors cannot be used: {0}")]
    Roots(Box<dyn std::error::Error + Send + Sync>),
}

/// What the clients of all services have in common, on its way.
pub type Connecting = Pin<Box<dyn Future<Output = Result<SdkConfig, AwsError>> + Send>>;

/// How a process comes to it: [`of_function`] or [`of_operator`]. Handed in, and not chosen here, so that the functions'
/// binary does not hold the code of single sign-on and profiles.
pub type Connect = fn(TlsRoots) -> Connecting;

/// With the credentials that AWS Lambda puts into the environment, for as long as the process lives. Nothing else is
/// asked. `AWS_ENDPOINT_URL` is honoured.
///
/// # Errors
/// No region or no credentials in the environment.
pub fn of_function(roots: TlsRoots) -> Connecting {
    Box::pin(async move {
        check_variables()?;
        let needed = |name: &'static str| variable(name).ok_or(AwsError::NotInLambda(name));
        let credentials = Credentials::new(
            needed("AWS_ACCESS_KEY_ID")?,
            needed("AWS_SECRET_ACCESS_KEY")?,
            variable("AWS_SESSION_TOKEN"),
            None,
            "AWS Lambda",
        );
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.ok_or(AwsError::NotInLambda("AWS_REGION"))?))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http_client(roots)?)
            .timeout_config(timeouts());
        config.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
        Ok(config.build())
    })
}

/// With the credentials that any AWS tool would use: environment, profile, single sign-on, the container's or the
/// machine's role. `AWS_ENDPOINT_URL` is honoured.
///
/// # Errors
/// No region.
pub fn of_operator(roots: TlsRoots) -> Connecting {
    Box::pin(async move {
        check_variables()?;
        let loading = aws_config::defaults(BehaviorVersion::latest());
        let config = loading.http_client(http_client(roots)?).timeout_config(timeouts()).load().await;
        if config.region().is_none() {
            return Err(AwsError::NoRegion);
        }
        // Asked for here, where it may take its time, and where the answer can be told in words.
        if let Some(provider) = config.credentials_provider() {
            provider.provide_credentials().await.map_err(|error| AwsError::NoCredentials(error.to_string()))?;
        }
        Ok(config)
    })
}

/// Looks at the variables that the SDK trusts: it panics over some of what they may hold, and quotes requests in others'
/// errors.
fn check_variables() -> Result<(), AwsError> {
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_SECRETS_MANAGER"] {
        if std::env::var_os(name).is_some_and(|value| !value.to_str().is_some_and(is_endpoint)) {
            return Err(AwsError::Unusable(
                name,
                "it is no URL, e.g. https://dynamodb.us-east-1.amazonaws.com; unset it",
            ));
        }
    }
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"]
    {
        let may_be_empty = name == "AWS_SESSION_TOKEN";
        let is_word =
            |value: &str| value.bytes().all(|byte| byte.is_ascii_graphic()) && (may_be_empty || !value.is_empty());
        if std::env::var_os(name).is_some_and(|value| !value.to_str().is_some_and(is_word)) {
            return Err(AwsError::Unusable(
                name,
                "it is empty, or holds a space, a line end or something else that does not belong there",
            ));
        }
    }
    Ok(())
}

/// Whether the SDK can ask there.
fn is_endpoint(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic())
    })
}

/// Attempts and patience are each backend's own matter.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).build()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn http_client(roots: TlsRoots) -> Result<SharedHttpClient, AwsError> {
    let trusted = match roots {
        TlsRoots::Amazon => TrustStore::empty().with_pem_certificate(AMAZON_ROOTS.as_bytes()),
        TlsRoots::System => TrustStore::default(),
    };
    let context =
        TlsContext::builder().with_trust_store(trusted).build().map_err(|error| AwsError::Roots(error.into()))?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https())
}
