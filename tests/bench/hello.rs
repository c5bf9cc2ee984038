//! The least that a Lambda function in Rust can be, as `cargo lambda new` makes one: what tests/bench/cold_start is
//! measured beside. It runs only as that one's child.

use lambda_http::{Body, Error, Request, Response, run, service_fn};

async fn hello(_: Request) -> Result<Response<Body>, Error> {
    Ok(Response::new("hello".into()))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "says why it does nothing")]
async fn main() -> Result<(), Error> {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        println!("hello: not part of `cargo bench`; run tests/bench/cold_start");
        return Ok(());
    }
    run(service_fn(hello)).await
}
