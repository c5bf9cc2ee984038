//! The one place that builds an HTTP client: it waits so long and no longer, takes so much and no more, and follows no
//! redirect to another scheme.

use std::{fmt, net::IpAddr, time::Duration};

use reqwest::{Client, Method, RequestBuilder, StatusCode, header, redirect};

use crate::words;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request may take with its whole answer.
const WHOLE: Duration = Duration::from_secs(30);
/// How many redirects are followed.
const REDIRECTS: usize = 5;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not a URL that can be asked.
    #[error("that is not an http or https URL, such as https://auth.example.org")]
    NotAUrl,
    /// A URL with a user or a password in it, which would be seen in the process list and sent to whoever is there.
    #[error("a user or a password in a URL is not taken: leave out what stands before the @")]
    Credentials,
    /// There is no client at all.
    #[error("no HTTP client: {0}")]
    NoClient(String),
    /// No answer, or not a whole one.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// What was asked.
        url: WebUrl,
        /// What failed.
        why: String,
        /// Whether the request may have got there: what it asks for may have been done.
        sent: bool,
    },
    /// Another answer than 200.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked.
        url: WebUrl,
        /// The answer's status.
        status: StatusCode,
    },
    /// The answer has more bytes than were asked for.
    #[error("{url} answered more than {most} bytes")]
    TooLong {
        /// What was asked.
        url: WebUrl,
        /// How many would have been taken.
        most: usize,
    },
}

/// A URL of scheme http or https, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebUrl(reqwest::Url);

impl WebUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// `NotAUrl`, `Credentials`.
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        let url = reqwest::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or(HttpError::NotAUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HttpError::Credentials);
        }
        Ok(Self(url))
    }

    /// The place below this URL that these segments name, each escaped as needed.
    #[must_use]
    pub fn below(&self, segments: &[&str]) -> Self {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Self(url)
    }

    /// This URL with a query, unless there is nothing to ask.
    #[must_use]
    pub fn with_query(mut self, query: &[(&str, &str)]) -> Self {
        if !query.is_empty() {
            self.0.query_pairs_mut().extend_pairs(query);
        }
        self
    }

    /// Whether what comes from there can be read and changed on its way: plain http, and not from this machine.
    pub fn is_exposed(&self) -> bool {
        self.0.scheme() == "http" && !self.is_here()
    }

    /// Whether it is a place on this machine.
    fn is_here(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An HTTP client.
#[derive(Clone, Debug)]
pub struct Http(Client);

impl Http {
    /// A client for this URL. What is on this machine is asked without the proxy that the environment may name.
    ///
    /// # Errors
    /// `NoClient`: the machine's certificates cannot be used.
    pub fn new(url: &WebUrl) -> Result<Self, HttpError> {
        Self::following(
            url,
            redirect::Policy::custom(|attempt| {
                let asked = attempt.previous().first().map(reqwest::Url::scheme);
                if asked != Some(attempt.url().scheme()) {
                    attempt.error("it redirects to another scheme, which is not followed")
                } else if attempt.previous().len() > REDIRECTS {
                    attempt.error("it redirects too often")
                } else {
                    attempt.follow()
                }
            }),
        )
    }

    /// A client for secrets: it goes where it is told and nowhere else.
    ///
    /// # Errors
    /// `NoClient`.
    pub fn for_secrets(url: &WebUrl) -> Result<Self, HttpError> {
        Self::following(url, redirect::Policy::none())
    }

    fn following(url: &WebUrl, redirects: redirect::Policy) -> Result<Self, HttpError> {
        let builder = if url.is_here() { Client::builder().no_proxy() } else { Client::builder() };
        let client = builder
            .user_agent(concat!("gatemint/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .referer(false)
            .redirect(redirects)
            .build();
        client.map(Self).map_err(|error| HttpError::NoClient(words::of(&error)))
    }

    /// Gets a document of at most `most` bytes. Nothing is sent but the question.
    ///
    /// # Errors
    /// `Unreachable`, `Status` for anything but 200, `TooLong`.
    pub async fn get(&self, url: &WebUrl, most: usize) -> Result<Vec<u8>, HttpError> {
        let request = self.0.get(url.0.clone()).header(header::ACCEPT, "application/json, */*;q=0.5");
        let answer = Self::answer(request, url, most).await?;
        if answer.status != StatusCode::OK {
            return Err(HttpError::Status { url: url.clone(), status: answer.status });
        }
        Ok(answer.body)
    }

    /// A request to a place below a URL.
    pub(super) fn request(&self, method: Method, url: &WebUrl) -> RequestBuilder {
        self.0.request(method, url.0.clone()).header(header::ACCEPT, "application/json")
    }

    /// Sends a request, and takes the whole answer if it has at most `most` bytes.
    ///
    /// # Errors
    /// `Unreachable`, `TooLong`.
    pub(super) async fn answer(request: RequestBuilder, url: &WebUrl, most: usize) -> Result<Answer, HttpError> {
        let unreachable = |error: reqwest::Error| {
            let sent = !error.is_connect() && !error.is_builder();
            HttpError::Unreachable { url: url.clone(), why: words::of(&error.without_url()), sent }
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let retry_after =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(unreachable)? {
            if body.len() + piece.len() > most {
                return Err(HttpError::TooLong { url: url.clone(), most });
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status, retry_after, body })
    }
}

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// In seconds.
    pub(super) retry_after: Option<u64>,
    pub(super) body: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_web_is_asked_and_nobody_s_password_goes_there() {
        for wrong in ["", "jwks.json", "file:///etc/passwd", "ftp://example.org/x", "http://", "https:", "data:,x"] {
            assert!(matches!(WebUrl::parse(wrong), Err(HttpError::NotAUrl)), "{wrong}");
        }
        for secret in ["https://ada:pass@example.org/", "https://ada@example.org/", "https://:pass@example.org/"] {
            let error = WebUrl::parse(secret).unwrap_err();
            assert!(matches!(error, HttpError::Credentials) && !error.to_string().contains("pass@"), "{secret}");
        }
    }

    #[test]
    fn plain_http_from_elsewhere_is_exposed() {
        let exposed = |url: &str| WebUrl::parse(url).unwrap().is_exposed();
        for safe in ["https://example.org/", "http://127.0.0.1:9000/x", "http://[::1]/", "http://localhost:1/"] {
            assert!(!exposed(safe), "{safe}");
        }
        for open in ["http://example.org/", "http://192.0.2.1/", "http://localhost.example.org/"] {
            assert!(exposed(open), "{open}");
        }
    }
}
