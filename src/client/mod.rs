//! Speaks HTTP to a gatemint and to others' JWKS; used by `cli` alone.

mod http;

pub use http::{Http, HttpError, WebUrl};
