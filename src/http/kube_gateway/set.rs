//! `/auth/jwt/set`: a signed link puts its token into the browser that opens it.
//!
//! Nothing is set before everything is judged: the link's parameters, signature, kind, time and record of its token, and where
//! it leads. Looking at a link (HEAD, a browser that fetches ahead, the page of a one-time link) changes nothing.

use std::net::IpAddr;

use axum::{
    extract::{Extension, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    dress, page, place,
    place::BadPlace,
    said::{BadLink, Said},
};
use crate::{
    domain::{
        Refusal, RefusalKind,
        gate::{
            Closed,
            link::{self, Opened},
        },
    },
    http::{App, refusal, source_address::SourceAddress},
};

/// The original's cookie.
const COOKIE: &str = "kg-jwt-session-code";

/// `GET` and `POST /auth/jwt/set`
pub(super) async fn open(
    State(app): State<App>,
    Extension(SourceAddress(address)): Extension<SourceAddress>,
    request: Request,
) -> Response {
    let for_people = wants_a_page(request.headers());
    answer(&app, address, request).await.unwrap_or_else(|no| no.render(for_people))
}

async fn answer(app: &App, address: IpAddr, request: Request) -> Result<Response, No> {
    let service = &app.service;
    let method = request.method().clone();
    if method != Method::POST && is_fetched_ahead(request.headers()) {
        return Err(No::Ahead);
    }
    let mut said = Said::read(request).await?;
    let now = service.now();
    // The token is of use to the page of a one-time link, which needs it again.
    let link = link::look(service, now, said.token.clone()).await??;
    let place = place::of(&said, link.record(), &service.policy)?;
    if link.is_one_time() && method != Method::POST {
        if link.is_used() {
            return Err(Closed::Used.into());
        }
        said.then = said.then.filter(|_| said.machine.is_none());
        return Ok(page::button(&said, link.record(), place.as_deref()));
    }
    let mut response = match &place {
        Some(place) => redirect(place, &method)?,
        None => page::opened(link.record()),
    };
    if method != Method::HEAD {
        let opened = link.press(service, now, address).await??;
        response.headers_mut().insert(header::SET_COOKIE, cookie(&opened, &service.policy.issuer)?);
    }
    Ok(response)
}

fn redirect(place: &str, method: &Method) -> Result<Response, No> {
    // After a POST the browser is to GET what comes next.
    let status = if method == Method::POST { StatusCode::SEE_OTHER } else { StatusCode::FOUND };
    let location = HeaderValue::from_str(place).map_err(|_| No::Place(BadPlace::NotAPath))?;
    Ok((status, [(header::LOCATION, location)]).into_response())
}

fn cookie(opened: &Opened, issuer: &str) -> Result<HeaderValue, No> {
    let secure = if issuer.starts_with("https://") { "; Secure" } else { "" };
    let life = opened.life.as_secs();
    let text = format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={life}{secure}", opened.cookie.expose());
    let mut value = HeaderValue::from_str(&text).map_err(|_| No::Closed(Closed::Invalid))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a browser asks: programs take anything, or JSON.
fn wants_a_page(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().is_some_and(|range| range.trim().eq_ignore_ascii_case("text/html")))
}

/// Whether a browser fetches this before anybody has clicked it, as `Sec-Purpose` (Fetch §2.2.8) and its forerunners say.
fn is_fetched_ahead(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"]
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .any(|value| ["prefetch", "prerender", "preview"].iter().any(|word| has_word(value, word)))
}

fn has_word(value: &HeaderValue, word: &str) -> bool {
    let text = value.as_bytes().to_ascii_lowercase();
    text.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Why a link opens nothing.
enum No {
    /// Its token is not good, or no longer.
    Closed(Closed),
    /// It was not made as links are made.
    Link(String),
    /// It leads where it may not.
    Place(BadPlace),
    /// Nobody has clicked it yet.
    Ahead,
    /// It could not be judged, or the request not be read.
    Refused(Refusal),
}

impl From<Closed> for No {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

impl From<BadPlace> for No {
    fn from(why: BadPlace) -> Self {
        Self::Place(why)
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BadLink> for No {
    fn from(why: BadLink) -> Self {
        match why {
            BadLink::Incomplete(text) => Self::Link(text),
            BadLink::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

/// What a refusal says, to people and to programs.
struct Words<'a> {
    title: &'a str,
    paragraphs: Vec<&'a str>,
    message: &'a str,
}

const ASK: &str = "Ask whoever gave it to you for a new one.";
const ELSE_ASK: &str = "If that does not help, ask whoever gave it to you for a new one.";

impl No {
    fn render(&self, for_people: bool) -> Response {
        let status = match self {
            Self::Refused(refusal) => dress::status_of(refusal.kind),
            Self::Closed(_) | Self::Link(_) | Self::Place(_) | Self::Ahead => StatusCode::FORBIDDEN,
        };
        let place = if let Self::Place(why) = self { why.to_string() } else { String::new() };
        let words = self.words(&place);
        tracing::info!(reason = words.message, "a link was not opened");
        let mut response = if for_people {
            page::refused(status, words.title, &words.paragraphs)
        } else {
            dress::refused(status, words.message)
        };
        if let Self::Refused(refusal) = self {
            refusal::log(refusal);
            refusal::add_headers(&mut response, refusal);
        }
        response
    }

    fn words<'a>(&'a self, place: &'a str) -> Words<'a> {
        let words = |title, first, message| Words { title, paragraphs: vec![first, ASK], message };
        match self {
            Self::Closed(Closed::Expired) => {
                words("This link has expired", "It was made for a limited time, which is over.", "the link has expired")
            }
            Self::Closed(Closed::Revoked) => words(
                "This link was revoked",
                "It was good once, and was ended before its time was over.",
                "the link was revoked",
            ),
            Self::Closed(Closed::Used) => Words {
                title: "This link was used already",
                paragraphs: vec![
                    "It works once, and somebody has pressed its button before.",
                    "If that was you, in this browser, go on in the window that opened then; if you closed it, ask for a new link.",
                    "If it was not you, tell whoever gave you the link: somebody else has had it.",
                ],
                message: "the link was used already",
            },
            Self::Closed(Closed::NotYet) => Words {
                title: "This link is not valid yet",
                paragraphs: vec![
                    "It was made for a time that has not begun.",
                    "Keep it, and open it again later. Whoever gave it to you knows when.",
                ],
                message: "the link is not valid yet",
            },
            Self::Closed(Closed::Invalid) => Words {
                title: "This link is not valid",
                paragraphs: vec![
                    "It may have been cut off or changed on its way: a link in a message sometimes breaks at the end of a \
                     line. Copy it whole, and try again.",
                    ELSE_ASK,
                ],
                message: "the link is not valid",
            },
            Self::Link(text) => Words {
                title: "This link is not complete",
                paragraphs: vec![
                    "Something is missing in it, or stands in the wrong place. Copy it whole, and try again.",
                    ELSE_ASK,
                ],
                message: text,
            },
            Self::Place(_) => words(
                "This link leads to the wrong place",
                "It names a page that it does not open, so it was not followed, and nothing was opened.",
                place,
            ),
            Self::Ahead => Words {
                title: "This link was not opened",
                paragraphs: vec!["Your browser asked for it before you did. Open it again."],
                message: "a link is not opened ahead of time",
            },
            Self::Refused(refusal) if refusal.kind == RefusalKind::Unavailable => Words {
                title: "This link cannot be opened just now",
                paragraphs: vec!["The service is not at its best. Nothing is lost: try again in a moment."],
                message: &refusal.text,
            },
            Self::Refused(refusal) => words(
                "This link cannot be read",
                "What arrived is not what a link's page sends. Open the link again.",
                &refusal.text,
            ),
        }
    }
}
