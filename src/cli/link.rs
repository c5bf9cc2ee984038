//! `gatemint link`: a gate token as a link, for a browser.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{
    CliError, Global,
    door::Door,
    gate_tokens::{Spec, create},
    login, output,
};
use crate::{
    client::WebUrl,
    domain::{
        gate::{Path as GatePath, Pattern},
        ids::Name,
    },
    settings::Settings,
};

#[derive(Args)]
#[command(after_help = "\
Whoever has the link has what it opens: send it as you would send a password.

Examples:
  gatemint link --allow '/reports/*' --then /reports/q3
  gatemint link --one-time --duration 10m --allow '/reports/*' --then /reports/q3 --open
  gatemint link --name vm1 --namespace demo        a virtual machine's console

With --open the link is not printed, and is no argument of the browser, which every user of the machine could read: it is
written into a file of your own, and the browser opens that. BROWSER names another one than the usual.")]
pub(super) struct Link {
    #[command(flatten)]
    spec: Spec,
    /// The namespace of the gate token [default: one's own]
    #[arg(short = 'n', long = "token-namespace", value_name = "NS")]
    token_namespace: Option<String>,
    /// Where the link leads, a path that the token opens [default: its first one without a `*`]
    #[arg(long, value_name = "PATH", conflicts_with = "vm")]
    then: Option<String>,
    /// A virtual machine whose console the link leads to; without --allow it opens that alone
    #[arg(long = "name", value_name = "VM", requires = "vm_namespace")]
    vm: Option<String>,
    /// The virtual machine's namespace
    #[arg(long = "namespace", value_name = "NS", requires = "vm")]
    vm_namespace: Option<String>,
    /// Open it in a browser
    #[arg(long)]
    open: bool,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
}

/// Refuses a link that would be refused when it is opened. URLs that are none are left to the service to name.
fn leads_somewhere(then: &str, urls: &[String]) -> Result<(), CliError> {
    let Ok(patterns) = urls.iter().map(|url| Pattern::parse(url)).collect::<Result<Vec<_>, _>>() else { return Ok(()) };
    let is_plain = then.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let path = then.split('?').next().filter(|_| is_plain);
    let path = path.and_then(|path| GatePath::of_encoded(path).ok());
    if path.is_some_and(|path| patterns.iter().any(|pattern| pattern.covers_path(&path))) {
        return Ok(());
    }
    Err(CliError::Usage(
        "--then must be a path, as it stands in URLs, that an --allow opens: the link would lead nowhere".into(),
    ))
}

/// Where a token says that it is from.
fn issuer_of(token: &str) -> Option<WebUrl> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    WebUrl::parse(&claims.iss).ok()
}

impl Link {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let door = Door::open(settings, global).await?;
        let mut spec = self.spec;
        if let (true, Some(name), Some(namespace)) = (spec.urls.is_empty(), &self.vm, &self.vm_namespace) {
            spec.urls = vec![format!(
                "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}/vnc"
            )];
        }
        for (flag, value) in [("--name", &self.vm), ("--namespace", &self.vm_namespace)] {
            if value.as_deref().is_some_and(|value| Name::parse(value, "name").is_err()) {
                return Err(CliError::Usage(format!(
                    "{flag} must be a name of a-z, 0-9, '-' and '.', up to 63: the link would lead nowhere"
                )));
            }
        }
        let leads = self.then.is_some() || self.vm.is_some();
        if leads && !spec.verbs.is_empty() && !spec.verbs.iter().any(|verb| verb.eq_ignore_ascii_case("get")) {
            return Err(CliError::Usage(
                "a browser follows a link with GET: leave --verb out, or add --verb get".into(),
            ));
        }
        if let Some(then) = &self.then {
            leads_somewhere(then, &spec.urls)?;
        }
        let made = create(&door, spec, self.token_namespace).await?;
        let token = made.token()?;
        let issuer = issuer_of(token.expose())
            .ok_or_else(|| CliError::Failed("the token does not say where the service is".into()))?;
        let mut query = vec![("token", token.expose().as_str())];
        for (name, value) in [("name", &self.vm), ("namespace", &self.vm_namespace), ("then", &self.then)] {
            query.extend(value.as_deref().map(|value| (name, value)));
        }
        let link = issuer.below(&["auth", "jwt", "set"]).with_query(&query).to_string();
        output::aside(&made.view.told());
        if global.json {
            output::json(&json!({ "link": link, "gatetoken": made.object }))?;
        } else if !self.open {
            output::line(&link);
        }
        if self.open {
            let page = page()?;
            write(&page, &link).map_err(|error| CliError::Failed(format!("{}: {error}", page.display())))?;
            open(&page)?;
            output::aside(&format!(
                "Opened by way of {}, which holds the link until the next one replaces it.",
                page.display()
            ));
        }
        Ok(())
    }
}

/// Beside the login, in a directory that others cannot change.
fn page() -> Result<PathBuf, CliError> {
    Ok(login::file()?.path().with_file_name("link.html"))
}

/// A page that leads to the link at once, for its owner's eyes alone.
fn write(page: &Path, link: &str) -> io::Result<()> {
    let link = link.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    match fs::remove_file(page) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Made anew: one that was left behind may be anything.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(page)?;
    write!(
        file,
        "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta http-equiv=\"refresh\" content=\"0; url={link}\">\n<title>A link</title>\n<a href=\"{link}\">Open the link</a>\n"
    )
}

fn open(page: &Path) -> Result<(), CliError> {
    let named = std::env::var("BROWSER").ok().filter(|browser| !browser.trim().is_empty());
    let usual = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let browser = named.as_deref().unwrap_or(usual);
    let mut words = browser.split_whitespace();
    let failed = |why: String| {
        CliError::Failed(format!(
            "{browser}: {why}. The link is in {}: open that file, or name a browser in BROWSER",
            page.display()
        ))
    };
    let mut command = Command::new(words.next().unwrap_or(usual));
    // What it prints is not the answer of this command.
    let status = command.args(words).arg(page).stdout(Stdio::null()).status().map_err(|why| failed(why.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(format!("it ended with {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_would_lead_nowhere_is_not_made() {
        let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        for (then, allowed) in [("/ok/a", &["/ok/*"][..]), ("/ok/%20?x=/no", &["/no", "/ok/*"]), ("/x", &["not a url"])]
        {
            assert!(leads_somewhere(then, &urls(allowed)).is_ok(), "{then}");
        }
        for then in
            ["/no", "/ok", "/ok/../no", "//evil", "https://evil.example.org/ok/", "/ok/a b", "/ok/a#", "", "/ok/\n"]
        {
            assert!(leads_somewhere(then, &urls(&["/ok/*"])).is_err(), "{then:?}");
        }
        assert!(leads_somewhere("/ok", &[]).is_err());
    }

    #[test]
    fn the_issuer_is_read_from_the_token() {
        let token = |claims: &str| format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
        let issuer = issuer_of(&token(r#"{"iss":"https://auth.example.org/base"}"#)).unwrap();
        assert_eq!(issuer.below(&["auth", "jwt", "set"]).to_string(), "https://auth.example.org/base/auth/jwt/set");
        for wrong in ["{}", r#"{"iss":"javascript:x"}"#, r#"{"iss":1}"#, "", "[]"] {
            assert!(issuer_of(&token(wrong)).is_none(), "{wrong}");
        }
        assert!(issuer_of("x").is_none());
    }
}
