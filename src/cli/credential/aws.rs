//! `gatemint credential aws`: an access token as the credentials of an S3 service that judges tokens.
//!
//! Such a service takes the token as the access key id and looks at nothing else. What is printed is what AWS's SDKs and
//! its command line read from a `credential_process` (AWS SDKs and Tools Reference, "Process credential provider"); they
//! ask again before `Expiration`.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::{
    CliError, Global,
    door::Access,
    login, output,
    plain_file::{self, Links},
};
use crate::{
    client::{MAX_ACCESS_TOKEN, claims_of, is_piece_of_one},
    clock::{Clock, SystemClock, Timestamp},
    domain::Secret,
};

#[derive(Args)]
pub(in crate::cli) struct Aws {
    /// A file that is kept fresh, as `gatemint agent` and pods have it: the token is taken from it, not from the login
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Aws {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        login::over_http(global, "credential aws")?;
        let now = SystemClock.now();
        let (token, ends) = match &self.file {
            Some(file) => from_file(file, now)?,
            None => of_login(global, now).await?,
        };
        output::json(&json!({
            "Version": 1,
            "AccessKeyId": token.expose(),
            // These two have no meaning there; the first may not be empty, and the second would be sent.
            "SecretAccessKey": "s3",
            "SessionToken": "",
            "Expiration": ends.rfc3339(),
        }))
    }
}

async fn of_login(global: &Global, now: Timestamp) -> Result<(Secret<String>, Timestamp), CliError> {
    if let Some(passed) = login::passed_in_place_of_a_login()? {
        return Err(CliError::Usage(format!(
            "{} holds a long-lived token, which is no access token: `gatemint agent` keeps a file with one, and --file takes it",
            passed.variable
        )));
    }
    let token = Access::of_login(global).await?.token;
    match end_of(token.expose()) {
        Some(ends) if ends > now => Ok((token, ends)),
        Some(_) => Err(CliError::Failed("the new token is over already: this machine's clock is wrong".into())),
        None => Err(CliError::Failed("the service's answer holds no token".into())),
    }
}

fn from_file(file: &Path, now: Timestamp) -> Result<(Secret<String>, Timestamp), CliError> {
    let failed = |why: &str| CliError::Failed(format!("{}: {why}", file.display()));
    let io = |error: io::Error| failed(&format!("{error}\nTo keep it fresh: gatemint agent --file FILE"));
    // In pods it is a link.
    let opened = plain_file::open(file, OpenOptions::new().read(true), Links::Followed).map_err(io)?;
    let (opened, _) = opened.ok_or_else(|| io(ErrorKind::NotFound.into()))?;
    // Room for all of it: a buffer that grows leaves copies behind that nobody wipes.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_ACCESS_TOKEN + 2));
    opened.take(MAX_ACCESS_TOKEN as u64 + 1).read_to_end(&mut text).map_err(io)?;
    let token = std::str::from_utf8(&text).ok().filter(|text| text.len() <= MAX_ACCESS_TOKEN).map(str::trim);
    let (token, ends) =
        token.and_then(|token| Some((token, end_of(token)?))).ok_or_else(|| failed("it holds no access token"))?;
    if ends <= now {
        let ends = ends.rfc3339();
        return Err(failed(&format!("its token ended at {ends}: nobody keeps it fresh (gatemint agent does)")));
    }
    Ok((Secret::new(token.to_owned()), ends))
}

/// When a JWT says that it ends; none if it is no JWT, is a piece of one, or says no time that has a date. It is not
/// verified: it is one's own.
fn end_of(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let ends = claims_of::<Claims>(token).map(|claims| Timestamp(claims.exp))?;
    (ends.has_date() && !is_piece_of_one(token)).then_some(ends)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn kept(text: &[u8]) -> Result<(Secret<String>, Timestamp), CliError> {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join(".auth_token");
        std::fs::write(&file, text).unwrap();
        from_file(&file, NOW)
    }

    #[test]
    fn a_kept_token_is_told_with_its_end() {
        let good = token(r#"{"exp":1800000600}"#);
        for text in [good.clone(), format!("{good}\n"), format!(" {good}\r\n")] {
            let (token, ends) = kept(text.as_bytes()).unwrap();
            assert_eq!((token.expose(), ends), (&good, Timestamp(1_800_000_600)));
        }
    }

    #[test]
    fn what_is_no_token_or_is_over_is_refused_and_nothing_of_it_is_shown() {
        let over = token(r#"{"exp":1800000000}"#);
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"at+jwt"}"#);
        let torn = token(r#"{"exp":1800000600}"#).replacen("e30", &header, 1);
        for text in [
            over.as_bytes(),
            b"",
            b"secret",
            b"a.b.c",
            b"\xff\xfe",
            token("{}").as_bytes(),
            token(r#"{"exp":"soon"}"#).as_bytes(),
            token(r#"{"exp":18446744073709551615}"#).as_bytes(),
            token(r#"{"exp":1000000000000}"#).as_bytes(),
            torn.as_bytes(),
            format!("{over}.x").as_bytes(),
            format!("{over} {over}").as_bytes(),
            "x".repeat(MAX_ACCESS_TOKEN + 1).as_bytes(),
        ] {
            let told = kept(text).unwrap_err().to_string();
            assert!(told.contains(".auth_token: it"), "{told}");
            assert!(!told.contains("secret") && !told.contains("e30"), "{told}");
        }
        assert!(kept(over.as_bytes()).unwrap_err().to_string().contains("ended at 2027-01-15T08:00:00Z"));
        let place = tempfile::tempdir().unwrap();
        let told = from_file(place.path(), NOW).unwrap_err().to_string();
        assert!(told.contains("it is a directory"), "{told}");
        let pipe = place.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for pipe in [&pipe, &link] {
            let told = from_file(pipe, NOW).unwrap_err().to_string();
            assert!(told.contains("it is not a file"), "{told}");
        }
        std::fs::write(place.path().join("data"), token(r#"{"exp":1800000600}"#)).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("data", &link).unwrap();
        assert!(from_file(&link, NOW).is_ok(), "as pods have it");
        let told = from_file(&place.path().join("nowhere"), NOW).unwrap_err().to_string();
        assert!(told.contains("gatemint agent"), "{told}");
    }
}
