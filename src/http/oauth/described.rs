//! What is said of this dialect's routes.

use serde_json::{Value, json};
use utoipa::openapi::{
    Array, ArrayBuilder, KnownFormat, Object, ObjectBuilder, OneOfBuilder, RefOr, Schema, SchemaFormat, Type,
};

use super::{dress, token::TokenReply};
use crate::{
    domain::client::GrantType,
    http::described::{Described, FORM, inline, schema, text},
};

const TOKENS: &str = "Tokens";
const KEYCLOAK: &str = "Keycloak's paths";
pub(super) const METADATA: &str = "Keys and metadata";
const HEALTH: &str = "Health and documentation";

/// What a form of this dialect is made of: the fields that it must have, and those that it may.
struct Form(ObjectBuilder);

impl Form {
    fn new() -> Self {
        Self(ObjectBuilder::new().schema_type(Type::Object))
    }

    fn with(self, name: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        Self(self.0.property(name, schema))
    }

    fn needs(self, name: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        Self(self.0.property(name, schema).required(name))
    }

    /// The fields by which a client shows who it is.
    fn by_a_client(self) -> Object {
        let form = self
            .with(
                "client_id",
                text("The client, unless Basic names it. Without either, the built-in public client `gatemint`."),
            )
            .with("client_secret", secret("A confidential client's secret, unless it came by Basic."));
        form.0.build()
    }
}

/// A text that is nobody else's business: the page reads it from a file.
fn secret(description: &str) -> Object {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Password))).build()
}

/// A secret that must be there.
fn needed_secret(description: &str) -> Object {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Password))).min_length(Some(1)).build()
}

fn seconds(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).description(Some(description))
}

fn texts() -> Array {
    ArrayBuilder::new().items(Object::with_type(Type::String)).build()
}

/// An error of RFC 6749 §5.2 as an example.
fn error(code: &str, description: &str) -> Value {
    json!({ "error": code, "error_description": description })
}

/// A refusal of this dialect; each of them is `Pragma: no-cache` too.
fn refused(described: Described, status: u16, when: &str, example: Value, headers: &[&str]) -> Described {
    let headers: Vec<&str> = headers.iter().copied().chain(["Pragma"]).collect();
    described.answers_as::<dress::Body<'_>>(status, when, "application/json", example, &headers)
}

/// The refusals of every endpoint that takes a form from a client.
fn refusals(described: Described, bad_request: &str, example: Value) -> Described {
    let described = refused(described, 400, bad_request, example, &[]);
    let described = refused(
        described,
        401,
        "`invalid_client`: the client is not known, is disabled, or its secret is wrong. With `WWW-Authenticate` if the \
         request had an `Authorization` header.",
        error("invalid_client", "Invalid client or Invalid client credentials"),
        &[],
    );
    let described = refused(
        described,
        413,
        "The body is larger than 65536 bytes.",
        error("invalid_request", "The body is larger than 65536 bytes"),
        &[],
    );
    unavailable(described).shared(401, "InvalidClient").shared(413, "FormTooLarge")
}

fn unavailable(described: Described) -> Described {
    refused(
        described,
        503,
        "`temporarily_unavailable`: store or keys are away.",
        error("temporarily_unavailable", "The service cannot reach its state just now; try again"),
        &["Retry-After"],
    )
    .shared(503, "TemporarilyUnavailable")
}

fn throttled(described: Described) -> Described {
    refused(
        described,
        429,
        "`temporarily_unavailable`: too many wrong passwords for this name, whether or not it exists, or from this address.",
        error("temporarily_unavailable", "Too many attempts; try again later"),
        &["Retry-After"],
    )
}

/// `POST /oauth2/token`
pub(super) fn token() -> Described {
    let grants = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(GrantType::ALL.map(|(_, name)| name)))
        .description(Some("What is given for the tokens."));
    let form = Form::new()
        .needs("grant_type", grants)
        .with("username", text("For `password`: whose."))
        .with("password", secret("For `password`."))
        .with("refresh_token", secret("For `refresh_token`: the last one that you were given."))
        .with(
            "scope",
            text(
                "What the access token is to be good for, separated by spaces: `profile`, `email`, `roles`, \
                 `offline_access`, and what the client lists. None: `profile email roles`. In a refresh it narrows this \
                 one access token.",
            ),
        )
        .with(
            "resource",
            text(
                "An audience that the client lists, for the access token (RFC 8707). Of a token exchange: an absolute URL \
                 that the gate token is to open. May be repeated.",
            ),
        )
        .with("subject_token", secret("Of a token exchange (RFC 8693): your own access token."))
        .with("subject_token_type", text("Of a token exchange: `urn:ietf:params:oauth:token-type:access_token`."))
        .with("requested_token_type", text("Of a token exchange: `urn:gatemint:params:oauth:token-type:gate`."))
        .with("actor_token", text("Of a token exchange: not taken."))
        .with("audience", text("Of a token exchange: not taken; say `resource`."))
        .by_a_client();
    let described = Described::new(
        "token",
        TOKENS,
        "Get tokens",
        "A password, a refresh token, or a client's own credentials become an access token (RFC 6749 §3.2), and an access token \
         becomes a gate token for sites that its account may open (RFC 8693). Parameters that \
         are not known are ignored; one that is repeated is refused, `resource` excepted.\n\nA refresh token is used up by \
         a refresh: keep the new one before you use the access token. The same refresh token within 30 seconds gets the \
         same successor, so a lost reply can be asked for again; later it counts as stolen, and the session ends.",
    )
    .secured(&["", "basic"])
    .takes(
        FORM,
        form,
        &[
            (
                "password",
                "A name and a password",
                json!({ "grant_type": "password", "username": "ada", "password": "correct horse battery staple" }),
            ),
            (
                "refresh_token",
                "The refresh token of the last reply",
                json!({ "grant_type": "refresh_token", "refresh_token": "gmr_of-the-last-reply" }),
            ),
            (
                "client_credentials",
                "A confidential client for itself",
                json!({ "grant_type": "client_credentials", "client_id": "ci", "client_secret": "gmc_of-the-client" }),
            ),
            (
                "token_exchange",
                "Your own access token, for a gate token that opens a site",
                json!({
                    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                    "subject_token": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.…",
                    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
                    "requested_token_type": "urn:gatemint:params:oauth:token-type:gate",
                    "resource": "https://train--ada.jobs.default.example.org/*"
                }),
            ),
        ],
    )
    .answers_as::<TokenReply<'_>>(
        200,
        "The tokens.",
        "application/json",
        json!({
            "access_token": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.…",
            "token_type": "Bearer",
            "expires_in": 900,
            "refresh_token": "gmr_…",
            "refresh_expires_in": 604_800,
            "scope": "profile email roles",
            "session_state": "yN5UwCvRHzUNhLMdcJqFWA"
        }),
        &["Pragma"],
    );
    let described = refusals(
        described,
        "The request is not a form, or lacks or repeats a parameter (`invalid_request`); the credentials are wrong, or the \
         refresh token is used up or its session over (`invalid_grant`); the client may not use this grant \
         (`unauthorized_client`) or resource (`invalid_target`); the grant (`unsupported_grant_type`) or the scope \
         (`invalid_scope`) is not known.",
        error("invalid_grant", "Invalid user credentials"),
    );
    throttled(described)
}

/// `GET /refresh-token-download`
pub(super) fn refresh_token_download() -> Described {
    let described = Described::new(
        "refresh_token_download",
        TOKENS,
        "Download a refresh token",
        "A user's name and password, by Basic, become a file `refresh-token.txt`: the refresh token of a session with the scope \
         `offline_access`, which ends when it is not used for 30 days. It belongs to the client `gatemint`, and is all that \
         the file has. To ask for it is to sign in, so a wrong password counts as one at `POST /oauth2/token`; `HEAD` opens no \
         session, and is answered as if nobody had asked. What a browser says of the page that asks (`Sec-Fetch-Site`, \
         `Sec-Purpose`) is heard: other sites' pages may lead here and may not load it.",
    )
    .secured(&["password"])
    .answers_as::<RefreshTokenFile>(
        200,
        "The file.",
        "text/plain",
        json!("gmr_…"),
        &["Content-Disposition", "Pragma"],
    );
    let described = refused(
        described,
        400,
        "`invalid_request`: more than one `Authorization` header.",
        error("invalid_request", "Repeated header: Authorization"),
        &[],
    );
    let described = refused(
        described,
        401,
        "`invalid_grant`: no user's name and password, wrong ones, or the account is disabled.",
        error("invalid_grant", "Invalid user credentials"),
        &["WWW-Authenticate"],
    );
    let described = refused(
        described,
        403,
        "`invalid_request`: another site's page would load it, or a browser would ahead. `invalid_client` or \
         `unauthorized_client`: the operator has disabled the client `gatemint`, or taken the password grant from it.",
        error("invalid_client", "Invalid client or Invalid client credentials"),
        &[],
    );
    throttled(unavailable(described))
}

/// `POST /oauth2/revoke`
pub(super) fn revoke() -> Described {
    let form = Form::new()
        .needs("token", needed_secret("A refresh token or an access token."))
        .with("token_type_hint", text("Is ignored: the token says what it is."))
        .by_a_client();
    let described = Described::new(
        "revoke",
        TOKENS,
        "End a session",
        "Ends the session of a token, and with it every token of the session (RFC 7009). A token of another client, or none \
         of ours: nothing happens, and the answer is the same.",
    )
    .secured(&["", "basic"])
    .takes(FORM, form, &[("token", "Any token of the session", json!({ "token": "gmr_of-the-last-reply" }))])
    .answers_nothing(200, "The token is good for nothing now.", &["Pragma"]);
    refusals(
        described,
        "`invalid_request`; or `unsupported_token_type` for a client's own access token, which ends with the client's secret.",
        error("invalid_request", "Missing parameter: token"),
    )
}

/// `POST …/logout`
pub(super) fn logout() -> Described {
    let form = Form::new().needs("refresh_token", needed_secret("Of the session that ends.")).by_a_client();
    let described =
        Described::new("keycloak_logout", KEYCLOAK, "End a session", "Ends the session of a refresh token.")
            .secured(&["", "basic"])
            .takes(
                FORM,
                form,
                &[(
                    "refresh_token",
                    "The session's refresh token",
                    json!({ "refresh_token": "gmr_of-the-last-reply" }),
                )],
            )
            .answers_nothing(204, "The session is over.", &["Pragma"]);
    realm(refusals(
        described,
        "`invalid_request`; or `unsupported_token_type` for a client's own access token, which ends with the client's secret.",
        error("invalid_request", "Missing parameter: refresh_token"),
    ))
}

/// `POST /oauth2/introspect`
pub(super) fn introspect() -> Described {
    let form = Form::new()
        .needs("token", needed_secret("The token to judge."))
        .with("token_type_hint", text("Is ignored: the token says what it is."))
        .by_a_client();
    let described = Described::new(
        "introspect",
        TOKENS,
        "Judge a token",
        "Whether a token is good now, by its record and not by its signature alone (RFC 7662). A confidential client sees \
         the tokens that it obtained or that name it in `aud`, or all if it is flagged `introspect`; an admin sees all, by \
         her access token as Bearer; everybody else hears `{\"active\": false}`. Public clients are refused.",
    )
    .secured(&["basic", "bearer", ""])
    .takes(
        FORM,
        form,
        &[
            (
                "client_secret_post",
                "By a confidential client",
                json!({ "token": "eyJ_an-access-token", "client_id": "ci", "client_secret": "gmc_of-the-client" }),
            ),
            ("other", "Of a token that is none", json!({ "token": "x", "client_id": "ci", "client_secret": "gmc_of-the-client" })),
        ],
    )
    .answers_as::<Introspection>(
        200,
        "What the token is; an account's `email` and `roles` as they are now.",
        "application/json",
        json!({
            "active": true, "token_type": "Bearer", "iss": "https://auth.example.org", "sub": "tSJ2zUVyZIcMV4rVH7BkFg",
            "aud": "https://auth.example.org", "client_id": "gatemint", "username": "ada", "preferred_username": "ada",
            "identity": "ada", "namespace": "ada", "email": "ada@example.org", "roles": ["analysts"],
            "scope": "profile email roles", "sid": "yN5UwCvRHzUNhLMdcJqFWA", "jti": "O3rWkwvDyD2WREZV8q1YGA",
            "iat": 1_795_338_735, "nbf": 1_795_338_735, "exp": 1_795_339_635, "auth_time": 1_795_338_735
        }),
        &["Pragma"],
    );
    refusals(described, "`invalid_request`.", error("invalid_request", "Missing parameter: token"))
}

/// The same at Keycloak's path.
pub(super) fn at_keycloak(described: Described, id: &str, summary: &str) -> Described {
    realm(described.also(id, KEYCLOAK, summary))
}

fn realm(described: Described) -> Described {
    described.path("realm", "Any name; it has no meaning.", text("A name."), "gatemint")
}

/// `GET /.well-known/jwks.json`
pub(super) fn jwks() -> Described {
    unavailable(
        Described::new(
            "jwks",
            METADATA,
            "The keys that tokens are verified with",
            "A JSON Web Key Set (RFC 7517 §5): every key that judges tokens now or will. A key is here a day before it signs, \
             so a verifier that keeps the set for an hour never misses one. `ES256` unless the operator chose otherwise.",
        )
        .answers::<KeySet>(
            200,
            "The keys; `Cache-Control: public, max-age=300`.",
            json!({ "keys": [{
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "mX8hYhK0oZ0",
                "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
            }] }),
        ),
    )
}

fn metadata_example() -> Value {
    json!({
        "issuer": "https://auth.example.org",
        "token_endpoint": "https://auth.example.org/oauth2/token",
        "jwks_uri": "https://auth.example.org/.well-known/jwks.json"
    })
}

/// `GET /.well-known/oauth-authorization-server`
pub(super) fn authorization_server() -> Described {
    Described::new(
        "authorization_server_metadata",
        METADATA,
        "Authorization server metadata",
        "RFC 8414 §3, without what this service does not have. No I/O.",
    )
    .answers::<Metadata>(200, "The metadata; `Cache-Control: public, max-age=300`.", metadata_example())
}

/// `GET /.well-known/openid-configuration`
pub(super) fn openid_configuration() -> Described {
    Described::new(
        "openid_configuration",
        METADATA,
        "The same for OpenID Connect clients",
        "The same document where OpenID Connect Discovery §4 has it, for clients that look only there. There is no ID token \
         and no authorization endpoint.",
    )
    .answers::<Metadata>(200, "The metadata; `Cache-Control: public, max-age=300`.", metadata_example())
}

/// `GET /healthz`
pub(super) fn health() -> Described {
    Described::new("health", HEALTH, "Whether the process answers", "No I/O: a process that runs says so.")
        .answers::<Health>(200, "It does.", json!({ "status": "ok" }))
}

/// `GET /readyz`
pub(super) fn readiness() -> Described {
    Described::new("readiness", HEALTH, "Whether it can serve", "Reads the store and the keys.")
        .answers::<Health>(200, "Both can be read.", json!({ "status": "ready" }))
        .answers_as::<Health>(
            503,
            "One of them cannot.",
            "application/json",
            json!({ "status": "not ready", "detail": "the service cannot reach its state just now; try again" }),
            &["Retry-After"],
        )
}

schema! {
    /// What is downloaded.
    RefreshTokenFile = text("The refresh token, without a line end.").pattern(Some("^gmr_[A-Za-z0-9_-]+$"))
}

schema! {
    /// A reply of RFC 7662 §2.2.
    Introspection = {
        let integer = || seconds("Unix seconds (RFC 7519 §2).");
        let audience = OneOfBuilder::new().item(Object::with_type(Type::String)).item(texts()).description(Some("Whom it is for."));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("What a token is; of one that is not good, or not for the asker to know, `active` alone."))
            .property("active", ObjectBuilder::new().schema_type(Type::Boolean).description(Some("Whether it is good now.")))
            .required("active")
            .property("token_type", text("`Bearer`: an access token.").enum_values(Some(["Bearer", "refresh_token"])))
            .property("iss", text("Who issued it."))
            .property("sub", text("The account's id, or of a client's own token the `client_id`."))
            .property("aud", audience)
            .property("client_id", text("The client that obtained it."))
            .property("username", text("The account's name."))
            .property("preferred_username", text("The same; `client:` and the id for a client's own token."))
            .property("identity", text("The same."))
            .property("namespace", text("The account's namespace."))
            .property("email", text("The account's e-mail address, or empty."))
            .property("roles", texts())
            .property("scope", text("What it is good for, separated by spaces."))
            .property("sid", text("The session."))
            .property("jti", text("The token's own id."))
            .property("iat", integer())
            .property("nbf", integer())
            .property("exp", integer())
            .property("auth_time", integer())
    }
}

schema! {
    /// RFC 7517 §5.
    KeySet = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("keys", ArrayBuilder::new().items(inline::<Key>()).min_items(Some(1)))
        .required("keys")
}

schema! {
    /// RFC 7517 §4, RFC 7518 §6, RFC 8037 §2.
    Key = {
        let key = |kty: &str, alg: &str, numbers: &[(&str, &str)]| {
            let one = |value: &str| ObjectBuilder::new().schema_type(Type::String).enum_values(Some([value]));
            let mut key = ObjectBuilder::new()
                .schema_type(Type::Object)
                .property("kty", one(kty)).required("kty")
                .property("alg", one(alg)).required("alg")
                .property("use", one("sig")).required("use")
                .property("kid", text("Names the key in a token's header.").min_length(Some(1))).required("kid");
            for (name, description) in numbers {
                let number = text(description).pattern(Some("^[A-Za-z0-9_-]+$"));
                let number = if *name == "crv" { text(description) } else { number };
                key = key.property(*name, number).required(*name);
            }
            key.build()
        };
        OneOfBuilder::new()
            .description(Some("A public key."))
            .item(key("EC", "ES256", &[("crv", "`P-256`"), ("x", "base64url"), ("y", "base64url")]))
            .item(key("RSA", "RS256", &[("n", "base64url"), ("e", "base64url")]))
            .item(key("OKP", "EdDSA", &[("crv", "`Ed25519`"), ("x", "base64url")]))
    }
}

schema! {
    /// RFC 8414 §2.
    Metadata = {
        let uri = |description: &str| text(description).format(Some(SchemaFormat::Custom("uri".into())));
        let mut metadata = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("RFC 8414 §2; further fields are OpenID Connect Discovery's."))
            .property("issuer", uri("`iss` of every token.")).required("issuer")
            .property("token_endpoint", uri("Where tokens are given.")).required("token_endpoint")
            .property("revocation_endpoint", uri("Where sessions end.")).required("revocation_endpoint")
            .property("introspection_endpoint", uri("Where tokens are judged.")).required("introspection_endpoint")
            .property("jwks_uri", uri("Where the keys are.")).required("jwks_uri");
        for list in [
            "grant_types_supported",
            "response_types_supported",
            "scopes_supported",
            "token_endpoint_auth_methods_supported",
            "revocation_endpoint_auth_methods_supported",
            "introspection_endpoint_auth_methods_supported",
        ] {
            metadata = metadata.property(list, texts()).required(list);
        }
        for list in ["subject_types_supported", "id_token_signing_alg_values_supported", "claims_supported"] {
            metadata = metadata.property(list, texts());
        }
        metadata
    }
}

schema! {
    /// Whether it goes on.
    Health = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("status", text("In a word or two.").enum_values(Some(["ok", "ready", "not ready"])))
        .required("status")
        .property("detail", text("Why not."))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::oauth::form::KNOWN;

    #[test]
    fn every_parameter_that_is_read_is_described_and_the_reverse() {
        let mut described = BTreeSet::new();
        for endpoint in [token(), revoke(), logout(), introspect()] {
            let operation = serde_json::to_value(endpoint.build().operation).unwrap();
            let form = &operation["requestBody"]["content"][FORM];
            let properties: BTreeSet<String> =
                form["schema"]["properties"].as_object().unwrap().keys().cloned().collect();
            for example in form["examples"].as_object().unwrap().values() {
                assert!(
                    example["value"].as_object().unwrap().keys().all(|name| properties.contains(name)),
                    "{example}"
                );
            }
            described.extend(properties);
        }
        assert_eq!(described, KNOWN.map(str::to_owned).into());
    }
}
