//! Speaks HTTP to a gatemint and to others' JWKS; used by `cli` alone.

mod http;
mod login;
mod remote;

pub use http::{Http, HttpError, WebUrl};
pub use login::{Login, LoginFile, LoginFileError, Room, Turn};
pub use remote::{ClientError, Credentials, Remote, Session};
