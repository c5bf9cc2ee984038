//! Speaks HTTP to a gatemint and to others' JWKS; used by `cli` alone.

mod access_token;
mod http;
mod login;
mod passed_config;
mod remote;
mod service_account_token;

pub use access_token::{AccessToken, MAX_ACCESS_TOKEN, NoAccessToken, claims_of, is_piece_of_one};
pub use http::{Http, HttpError, WebUrl};
pub use login::{Login, LoginFile, LoginFileError, Room, Turn, session_of};
pub use passed_config::{BadPassedConfig, PassedConfig};
pub use remote::{ClientError, Credentials, Lacking, Remote, Session};
pub use service_account_token::{MAX_TOKEN, NoServiceAccountToken, ServiceAccountToken};
