//! What is said of this dialect's routes, and the kinds of values that its wire types are made of.

use serde_json::{Value, json};
use utoipa::{
    ToSchema,
    openapi::{KnownFormat, ObjectBuilder, SchemaFormat, Type},
};

use super::{
    clients::{self, ClientView},
    dress::Problem,
    me,
    page::{self, Page},
    sites::{self, SiteView},
    tokens::TokenView,
    users::{self, UserView},
};
use crate::{
    domain::client::GrantType,
    http::described::{Described, inline, schema, text},
};

const ONESELF: &str = "Oneself";
const USERS: &str = "Users";
const CLIENTS: &str = "Clients";
const SITES: &str = "Sites";

schema! {
    /// A name: of a user, a namespace, a client.
    Name = text("Lower-case letters, digits, `-` and `.`; each dot-separated part begins and ends with a letter or digit.")
        .min_length(Some(1))
        .max_length(Some(63))
        .pattern(Some(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"))
}

schema! {
    /// A role.
    Role = text("1 to 16 names joined by `/`.")
        .min_length(Some(1))
        .max_length(Some(253))
        .pattern(Some(r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/[a-z0-9]([-.a-z0-9]*[a-z0-9])?){0,15}$"))
}

schema! {
    /// An e-mail address.
    Email = text("Empty, or printable ASCII without space and comma, with one `@` inside.")
        .max_length(Some(254))
        .pattern(Some(r"^([!-+\--?A-~]+@[!-+\--?A-~]+)?$"))
}

schema! {
    /// A password to be.
    NewPassword = text("At least 15 bytes unless the operator chose otherwise (never fewer than 8), at most 1024, without control characters.")
        .min_length(Some(2))
        .max_length(Some(1024))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
}

schema! {
    /// An audience of access tokens.
    Audience = text("Printable ASCII without space, not ending in `/gate`, `/link`, `/service-account` or `/kubernetes`.")
        .min_length(Some(1))
        .max_length(Some(253))
        .pattern(Some("^[!-~]+$"))
}

schema! {
    /// A scope of a client's own.
    Scope = text("A scope token (RFC 6749 §3.3).").min_length(Some(1)).max_length(Some(253)).pattern(Some(r"^[!#-\[\]-~]+$"))
}

schema! {
    /// A site's hosts.
    SiteHost = text("A DNS name in lower case without a port. In it placeholders, `{word}`, stand in place of a part of a label: \
                     for 1 to 63 of `a-z`, `0-9` and `-`, never for a dot. Each is there once, and something is between two of \
                     them. `{cluster}` is resolved at once.")
        .min_length(Some(1))
        .max_length(Some(253))
        .pattern(Some(r"^[a-z0-9{]([-.a-z0-9_{}]*[a-z0-9}])?$"))
}

schema! {
    /// What each of a site's hosts is.
    SiteResource = text("`scheme://cluster/namespace[/segment…]`, in this service's cluster, at most 512 bytes, with the same \
                         placeholders as the host, after the cluster. `{cluster}` is resolved at once.")
        .min_length(Some(1))
        .max_length(Some(512))
        .pattern(Some(r"^[a-z][-a-z0-9]*://[^/?#%]+(/[^/?#%]+)+$"))
}

schema! {
    /// A grant that a client may use.
    Grant = text("A value of `grant_type`.").enum_values(Some(GrantType::ALL.map(|(_, name)| name)))
}

/// A refusal of this dialect.
fn refused(described: Described, status: u16, when: &str, detail: &str, field: Option<&str>) -> Described {
    let title = axum::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut example: Value = json!({ "type": "about:blank", "title": title, "status": status, "detail": detail });
    if let Some(field) = field {
        example["field"] = field.into();
    }
    let headers: &[&str] = match status {
        401 => &["WWW-Authenticate"],
        429 | 503 => &["Retry-After"],
        _ => &[],
    };
    described.answers_as::<Problem<'_>>(status, when, "application/problem+json", example, headers)
}

/// What every request hears that shows no good access token.
fn by_bearer(described: Described, bad_request: &str) -> Described {
    let described = described.secured(&["bearer"]);
    let detail = "more than one Authorization header";
    let described = refused(described, 400, bad_request, detail, None);
    let detail = "the access token is not valid here, or no longer";
    let described = refused(described, 401, "There is no access token, or none that is good here.", detail, None);
    let detail = "a client's own token has no account";
    let described = refused(described, 403, "The access token's holder may not do this.", detail, None);
    let detail = "the service cannot reach its state just now; try again";
    refused(described, 503, "Store or keys are away.", detail, None)
        .shared(401, "NoGoodToken")
        .shared(403, "NotAllowed")
        .shared(503, "Away")
}

const REPEATED: &str = "There is more than one `Authorization` header.";
const NOT_THE_OBJECT: &str =
    "The body is not JSON, not an object, lacks a field, has one that is not known, or a value of another type.";

/// As [`by_bearer`], with what is wrong with a JSON body.
fn by_bearer_with_json(described: Described) -> Described {
    let described = by_bearer(described, NOT_THE_OBJECT);
    let detail = "the body is larger than 65536 bytes";
    let described = refused(described, 413, "The body is larger than 65536 bytes.", detail, None);
    let detail = "must be 15 to 1024 bytes long; length is what protects it";
    refused(described, 422, "A field's value is not allowed; `field` names it.", detail, Some("password"))
        .shared(400, "NotTheObject")
        .shared(413, "BodyTooLarge")
        .shared(422, "ValueNotAllowed")
}

fn absent(described: Described, what: &str) -> Described {
    refused(described, 404, &format!("There is no such {what}."), &format!("there is no {what} of that name"), None)
}

/// A list's `limit` and `cursor`, and what comes of bad ones.
fn paged<T: ToSchema>(described: Described, description: &str, item: &Value) -> Described
where
    Page<T>: ToSchema,
{
    let limit = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(page::MOST))
        .default(Some(page::USUAL.into()));
    let cursor = text("In base64url.").pattern(Some("^[A-Za-z0-9_-]*$"));
    let described = described
        .query("limit", "How many at most.", limit, 10)
        .query("cursor", "The `next_cursor` of the page before.", cursor, "YWRh")
        .answers_page::<T, Page<T>>(description, json!({ "items": [item], "next_cursor": "YWRh" }));
    by_bearer(described, "`limit` or `cursor` is not what it must be, or a parameter is repeated.")
}

/// The segment of a path that is a name. A text that is no name names nothing.
fn named(described: Described, segment: &str, example: &str) -> Described {
    described.path(segment, "Its name.", inline::<Name>(), example)
}

fn user() -> Value {
    json!({
        "name": "ada", "uid": "tSJ2zUVyZIcMV4rVH7BkFg", "namespace": "ada", "email": "ada@example.org",
        "roles": ["analysts"], "enabled": true, "created_at": "2026-11-22T09:12:15Z"
    })
}

fn client() -> Value {
    json!({
        "id": "ci", "public": false, "enabled": true, "grants": ["client_credentials"],
        "audiences": ["https://api.example.org"], "scopes": ["jobs:run"], "introspect": false, "access_life": null,
        "created_at": "2026-11-22T09:12:15Z"
    })
}

fn client_with_secret() -> Value {
    let mut client = client();
    client["secret"] = "gmc_…".into();
    client
}

/// `GET /v1/me`
pub(super) fn me() -> Described {
    let described = Described::new("me", ONESELF, "Who one is", "The account whose access token this is.")
        .answers::<UserView>(200, "The account.", user());
    by_bearer(described, REPEATED)
}

/// `POST /v1/me/password`
pub(super) fn change_password() -> Described {
    let described = Described::new(
        "change_password",
        ONESELF,
        "Change one's password",
        "Ends all other sessions; this one goes on. Guessing the old password is slowed down as a sign-in is.",
    )
    .takes_json::<me::ChangePassword>(&[(
        "change",
        "A new password",
        json!({ "old": "correct horse battery staple", "new": "horse staple correct battery" }),
    )])
    .answers_nothing(204, "It is changed.", &[]);
    let described = by_bearer_with_json(described);
    let detail = "the account or this session changed at the same moment; try again";
    let described = refused(described, 409, "The account changed at the same moment.", detail, None);
    refused(described, 429, "Too many wrong passwords.", "too many attempts; try again later", None)
}

/// `GET /v1/tokens`
pub(super) fn list_tokens() -> Described {
    let described = Described::new(
        "list_tokens",
        ONESELF,
        "Live tokens",
        "The live sessions of an account, then the gate tokens of its namespace: one's own; for admins anyone's.",
    )
    .query("account", "Whose, for admins.", text("A user's name."), "ada");
    let example = json!({
        "id": "c1RfrFqWj3x8rPCvWkNjYQnI3lQrxEfM1Qzhh0kNyhYV", "kind": "session", "subject": "ada", "client_id": "gatemint",
        "scope": "profile email roles", "issued_at": "2026-11-22T09:12:15Z", "expires_at": "2026-11-29T09:12:15Z",
        "last_used_at": "2026-11-22T09:12:15Z"
    });
    absent(paged::<TokenView>(described, "A page of them.", &example), "user")
}

/// `DELETE /v1/tokens/{id}`
pub(super) fn end_token() -> Described {
    let described = Described::new(
        "end_token",
        ONESELF,
        "End one token",
        "Ends a session, or a gate token of one's namespace, by its id: one's own; for admins anyone's. What is somebody else's does not exist for the others.",
    )
    .path("id", "The token's `id`; no credential.", text("In base64url."), "c1RfrFqWj3x8rPCvWkNjYQnI3lQrxEfM1Qzhh0kNyhYV")
    .answers_nothing(204, "It is over.", &[]);
    refused(by_bearer(described, REPEATED), 404, "There is no such token.", "there is no token of that id", None)
}

/// `GET /v1/users`
pub(super) fn list_users() -> Described {
    let described = Described::new("list_users", USERS, "List users", "By name.");
    paged::<UserView>(described, "A page of them.", &user())
}

/// `POST /v1/users`
pub(super) fn create_user() -> Described {
    let described = Described::new(
        "create_user",
        USERS,
        "Make a user",
        "Its name is for ever. `namespace` is the name unless said; it is nobody else's.",
    )
    .takes_json::<users::Create>(&[(
        "user",
        "A user with a role",
        json!({ "name": "ada", "password": "correct horse battery staple", "email": "ada@example.org", "roles": ["analysts"] }),
    )])
    .answers::<UserView>(201, "It is made.", user());
    let described = by_bearer_with_json(described);
    let detail = "there is a user of that name";
    let described = refused(described, 409, "The name or the namespace is taken.", detail, Some("name"));
    busy(described)
}

/// A password is hashed, and there are only so many places where that is done.
fn busy(described: Described) -> Described {
    let detail = "too many sign-ins at this moment; try again";
    refused(described, 429, "Too many passwords are being hashed at this moment.", detail, None).shared(429, "Busy")
}

/// `GET /v1/users/{name}`
pub(super) fn get_user() -> Described {
    let described = Described::new("get_user", USERS, "Read a user", "Nothing of the password is shown.");
    let described = named(described, "name", "ada").answers::<UserView>(200, "The user.", user());
    absent(by_bearer(described, REPEATED), "user")
}

/// `PATCH /v1/users/{name}`
pub(super) fn update_user() -> Described {
    let described = Described::new(
        "update_user",
        USERS,
        "Change a user",
        "What is left out or null stays as it is. A new password, or `\"enabled\": false`, ends all sessions of the user.",
    );
    let described = named(described, "name", "ada")
        .takes_json::<users::Patch>(&[
            ("roles", "Other roles", json!({ "roles": ["analysts", "jobs"] })),
            ("disable", "No more signing in", json!({ "enabled": false })),
        ])
        .answers::<UserView>(200, "As it is now.", user());
    oneself(busy(absent(by_bearer_with_json(described), "user")))
}

fn oneself(described: Described) -> Described {
    let detail = "admins cannot disable, delete or demote themselves; another admin can";
    refused(described, 409, "One would take away one's own rights.", detail, None)
}

/// `DELETE /v1/users/{name}`
pub(super) fn delete_user() -> Described {
    let described = Described::new(
        "delete_user",
        USERS,
        "End a user",
        "Ends all sessions and frees the namespace. A user that is made again under the name inherits nothing.",
    );
    let described = named(described, "name", "ada").answers_nothing(204, "It is gone.", &[]);
    oneself(absent(by_bearer(described, REPEATED), "user"))
}

/// `GET /v1/clients`
pub(super) fn list_clients() -> Described {
    let described = Described::new(
        "list_clients",
        CLIENTS,
        "List clients",
        "By id; the first page holds the built-in one besides.",
    );
    paged::<ClientView>(described, "A page of them.", &client())
}

/// `POST /v1/clients`
pub(super) fn create_client() -> Described {
    let described = Described::new(
        "create_client",
        CLIENTS,
        "Make a client",
        "The secret of a confidential client is in this answer and never shown again. Without `grants` it may use `password`, \
         `refresh_token` and token exchange, and `client_credentials` unless it is public.",
    )
    .takes_json::<clients::Create>(&[
        (
            "confidential",
            "A program with a secret",
            json!({ "id": "ci", "grants": ["client_credentials"], "audiences": ["https://api.example.org"], "scopes": ["jobs:run"] }),
        ),
        ("public", "A program that can keep none", json!({ "id": "desktop", "public": true })),
    ])
    .answers::<ClientView>(201, "It is made; here is its secret.", client_with_secret());
    let detail = "there is a client of that id";
    refused(by_bearer_with_json(described), 409, "The id is taken.", detail, None)
}

/// `GET /v1/clients/{id}`
pub(super) fn get_client() -> Described {
    let described = Described::new("get_client", CLIENTS, "Read a client", "Its secret is not shown.");
    let described = named(described, "id", "ci").answers::<ClientView>(200, "The client.", client());
    absent(by_bearer(described, REPEATED), "client")
}

/// `PATCH /v1/clients/{id}`
pub(super) fn update_client() -> Described {
    let described = Described::new(
        "update_client",
        CLIENTS,
        "Change a client",
        "What is left out or null stays as it is, `access_life` excepted: null is as usual. `\"new_secret\": true` draws a \
         new secret, which is in this answer and never shown again; that, and `\"enabled\": false`, end everything that was \
         obtained through the client.",
    );
    let described = named(described, "id", "ci")
        .takes_json::<clients::Patch>(&[
            ("audiences", "Other audiences", json!({ "audiences": ["https://reports.example.org"] })),
            ("secret", "A new secret", json!({ "new_secret": true })),
        ])
        .answers::<ClientView>(200, "As it is now.", client());
    absent(by_bearer_with_json(described), "client")
}

/// `DELETE /v1/clients/{id}`
pub(super) fn delete_client() -> Described {
    let described = Described::new(
        "delete_client",
        CLIENTS,
        "End a client",
        "Ends everything that was obtained through it. The built-in one can be disabled, not deleted.",
    );
    let described = named(described, "id", "ci").answers_nothing(204, "It is gone.", &[]);
    let described = absent(by_bearer(described, REPEATED), "client");
    refused(described, 409, "It is the built-in one.", "the client gatemint is built in; disable it instead", None)
}

fn site() -> Value {
    json!({
        "id": "jobs", "host": "{name}--{owner}.jobs.default.example.org", "resource": "job://default/{owner}/{name}",
        "created_at": "2026-11-22T09:12:15Z"
    })
}

/// `GET /v1/sites`
pub(super) fn list_sites() -> Described {
    let described = Described::new("list_sites", SITES, "List sites", "By id; there are 100 at most.");
    paged::<SiteView>(described, "A page of them.", &site())
}

/// `POST /v1/sites`
pub(super) fn create_site() -> Described {
    let described = Described::new(
        "create_site",
        SITES,
        "Make a site",
        "Every host of that shape is the resource that the template makes of it. A host that can be read in two ways, or that \
         two sites read differently, is opened by nothing. There can be 100 sites.",
    )
    .takes_json::<sites::Create>(&[
        (
            "jobs",
            "Everybody's jobs",
            json!({
                "id": "jobs", "host": "{name}--{owner}.jobs.{cluster}.example.org", "resource": "job://{cluster}/{owner}/{name}"
            }),
        ),
        (
            "one",
            "A single host",
            json!({ "id": "wiki", "host": "wiki.example.org", "resource": "flow://{cluster}/ada/wiki" }),
        ),
    ])
    .answers::<SiteView>(201, "It is made.", site());
    let detail = "there is a site of that id";
    refused(by_bearer_with_json(described), 409, "The id is taken.", detail, None)
}

/// `GET /v1/sites/{id}`
pub(super) fn get_site() -> Described {
    let described = Described::new("get_site", SITES, "Read a site", "Its templates, with the cluster in them.");
    let described = named(described, "id", "jobs").answers::<SiteView>(200, "The site.", site());
    absent(by_bearer(described, REPEATED), "site")
}

/// `PATCH /v1/sites/{id}`
pub(super) fn update_site() -> Described {
    let described = Described::new(
        "update_site",
        SITES,
        "Change a site",
        "What is left out or null stays as it is. It counts from the next request on, for tokens that are out there, too.",
    );
    let described = named(described, "id", "jobs")
        .takes_json::<sites::Patch>(&[(
            "host",
            "Other hosts",
            json!({ "host": "{name}--{owner}.jobs.{cluster}.example.net" }),
        )])
        .answers::<SiteView>(200, "As it is now.", site());
    absent(by_bearer_with_json(described), "site")
}

/// `DELETE /v1/sites/{id}`
pub(super) fn delete_site() -> Described {
    let described = Described::new(
        "delete_site",
        SITES,
        "End a site",
        "Its hosts are no site's any more: accounts' tokens no longer open them, and no permission is asked for.",
    );
    let described = named(described, "id", "jobs").answers_nothing(204, "It is gone.", &[]);
    absent(by_bearer(described, REPEATED), "site")
}
