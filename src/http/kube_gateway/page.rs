//! The pages of signed links: HTML without a script and without anything from elsewhere. Every text is escaped.

use std::{
    fmt::{Display, Write},
    sync::OnceLock,
};

use aws_lc_rs::digest;
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::said::Said;
use crate::{
    clock::Timestamp,
    domain::gate::{GateToken, Pattern},
    http::docs::escape,
};

const STYLE: &str = include_str!("page.css");

/// How many URLs a page lists before it says how many more there are.
const LISTED: usize = 12;

/// Nothing but the style that is in the page; a form goes to this host, and no other page may show this one.
fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
    })
}

/// What a page is about, to be seen at a glance.
#[derive(Clone, Copy)]
enum Mood {
    Question,
    Good,
    Bad,
}

fn render(status: StatusCode, mood: Mood, title: &str, body: &str) -> Response {
    let class = match mood {
        Mood::Question => "",
        Mood::Good => " class=\"good\"",
        Mood::Bad => " class=\"bad\"",
    };
    let title = escape(title);
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main{class}>\n<h1>{title}</h1>\n{body}</main>\n\
         </body>\n</html>\n"
    );
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy())];
    (status, headers, html).into_response()
}

/// Why a link opens nothing, and what to do about it.
pub(super) fn refused(status: StatusCode, title: &str, paragraphs: &[&str]) -> Response {
    let body = paragraphs.iter().fold(String::new(), |mut body, text| {
        let _ = writeln!(body, "<p>{}</p>", escape(text));
        body
    });
    render(status, Mood::Bad, title, &body)
}

/// The button of a one-time link. What the link said goes with it in the form: no URL has the token again.
pub(super) fn button(said: &Said, token: &GateToken, place: Option<&str>) -> Response {
    let mut body = String::from(
        "<p>It works once. When you press the button, it is used up, and this browser gets access.</p>\n<dl>\n",
    );
    match (&said.machine, place) {
        (Some((namespace, name)), _) => {
            term(&mut body, "Leads to", format_args!("<strong>{name}</strong> in {namespace}"));
        }
        (None, Some(place)) => term(&mut body, "Leads to", format_args!("<code>{}</code>", escape(place))),
        (None, None) => term(&mut body, "Opens", urls(token)),
    }
    term(&mut body, "Good until", moment(token.exp));
    body.push_str("</dl>\n<form method=\"post\" action=\"set\">\n");
    let machine = said.machine.as_ref();
    let hidden = [
        ("token", Some(said.token.expose().as_str())),
        ("name", machine.map(|(_, name)| name.as_str())),
        ("namespace", machine.map(|(namespace, _)| namespace.as_str())),
        ("then", said.then.as_deref()),
    ];
    for (name, value) in hidden {
        if let Some(value) = value {
            let _ = writeln!(body, "<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value));
        }
    }
    body.push_str(
        "<button type=\"submit\">Open</button>\n</form>\n\
         <p class=\"soft\">You did not expect this link? Close this page: nothing has happened yet.</p>\n",
    );
    render(StatusCode::OK, Mood::Question, "Open this link?", &body)
}

/// A link that was opened and leads nowhere.
pub(super) fn opened(token: &GateToken) -> Response {
    let mut body = String::from(
        "<p>This browser has access now. The link does not say which page to go to: open the one that you were told \
         about.</p>\n<dl>\n",
    );
    term(&mut body, "Good until", moment(token.exp));
    term(&mut body, "Opens", urls(token));
    body.push_str("</dl>\n");
    render(StatusCode::OK, Mood::Good, "The link is open", &body)
}

fn term(body: &mut String, term: &str, description: impl Display) {
    let _ = writeln!(body, "<dt>{term}</dt>\n<dd>{description}</dd>");
}

fn urls(token: &GateToken) -> String {
    let patterns = token.urls.as_slice();
    let mut list = String::from("<ul>");
    for pattern in patterns.iter().take(LISTED).map(Pattern::as_str) {
        let _ = write!(list, "\n<li><code>{}</code></li>", escape(pattern));
    }
    match patterns.len().saturating_sub(LISTED) {
        0 => {}
        more => {
            let _ = write!(list, "\n<li>and {more} more</li>");
        }
    }
    list.push_str("\n</ul>");
    list
}

fn moment(moment: Timestamp) -> String {
    let machine = moment.rfc3339();
    let text = i64::try_from(moment.0)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| machine.clone(), |moment| moment.strftime("%-d %B %Y, %H:%M UTC").to_string());
    format!("<time datetime=\"{machine}\">{text}</time>")
}
