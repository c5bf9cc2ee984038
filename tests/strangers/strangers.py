"""Client libraries that refresh by themselves, each in a loop that crosses the access token's expiry several times."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import LegacyApplicationClient
from requests_oauthlib import OAuth2Session as RequestsSession
from support import Serve, check, counted, equal, gatemint, node, temporary_directory

USER, PASSWORD = "ada", "correct-horse-battery-staple"
LIFE, REFRESHES = 2, 5  # seconds; refreshes that each library is to do
# With a hyphen, which openid-client spells %2D in Basic, as it may (RFC 6749 §2.3.1).
CLIENT, SECRET_NAMES = "stranger-clients", ("client_secret", "secret")


def loop(serve, name, session, stored):
    """Uses a session until it has refreshed often enough. `stored` is what its token callback was given so far."""
    keys = jwt.PyJWKClient(f"{serve.url}/.well-known/jwks.json")
    first, requests = dict(session.token), 0
    deadline = time.monotonic() + 20 * LIFE
    while len(stored) < REFRESHES:
        check(time.monotonic() < deadline, f"{name} refreshed {len(stored)} times only")
        equal(session.get(f"{serve.url}/healthz").status_code, 200, f"the status of a request by {name}")
        requests += 1
        # The token that was just used is right in PyJWT's eyes; it may have ended since, on a machine that is busy.
        token = session.token["access_token"]
        jwt.decode(token, keys.get_signing_key_from_jwt(token), algorithms=["ES256"], audience=serve.url, leeway=10)
        time.sleep(LIFE / 4)
    given = [first, *stored]
    for kind in ("refresh_token", "access_token"):
        equal(len({token[kind] for token in given}), len(given), f"different values of {kind} that {name} was given")
    check(requests > len(stored), f"{name} also used a token without refreshing it")
    return f"{len(stored)} refreshes by {name}, {len(given)} different refresh tokens"


def requests_oauthlib(serve, name, **how):
    """`how` is how the client names itself at sign-in: in the body, or, as the library does unless told, as Basic with no secret."""
    url, stored = f"{serve.url}/oauth2/token", []
    session = RequestsSession(
        client=LegacyApplicationClient(client_id="gatemint"),
        auto_refresh_url=url,
        auto_refresh_kwargs={"client_id": "gatemint"},
        token_updater=lambda token: stored.append(dict(token)),
    )
    session.fetch_token(url, username=USER, password=PASSWORD, **how)
    return loop(serve, name, session, stored)


def authlib(serve, name, **how):
    url, stored = f"{serve.url}/oauth2/token", []

    def store(token, **_):
        stored.append(dict(token))

    # Its leeway of a minute would refresh before every request.
    session = AuthlibSession(token_endpoint=url, update_token=store, leeway=0, **how)
    session.fetch_token(url, username=USER, password=PASSWORD)
    return loop(serve, name, session, stored)


def openid_client(serve, secret):
    found = node("openid_client.mjs", serve.url, CLIENT, secret, USER, PASSWORD)
    equal(set(found["found"].values()), {f"{serve.url}/oauth2/token"}, "the token endpoint, under both kinds of discovery")
    for kind in ("refresh", "access"):
        equal(len(set(found[kind])), 1 + REFRESHES, f"different {kind} tokens that openid-client was given")
    own = found["own"]
    check("refresh_token" not in own, "client_credentials gives no refresh token")
    keys = jwt.PyJWKClient(f"{serve.url}/.well-known/jwks.json")
    key = keys.get_signing_key_from_jwt(own["access_token"])
    claims = jwt.decode(own["access_token"], key, algorithms=["ES256"], audience=serve.url, issuer=serve.url, leeway=1)
    equal(claims["sub"], CLIENT, "the subject of a client's own token")
    equal([found["before"][name] for name in ("active", "username", "client_id")], [True, USER, CLIENT], "introspection before revocation")
    equal([found["refreshToken"][name] for name in ("active", "token_type")], [True, "refresh_token"], "introspection of the refresh token")
    equal(found["after"], {"active": False}, "introspection after revocation")
    equal(found["error"], "invalid_grant", "what a refresh hears after revocation")
    of_user, of_client = found["claims"]
    equal([of_user["preferred_username"], of_client["sub"]], [USER, CLIENT], "whose tokens oauth4webapi has judged")
    for claims in found["claims"]:
        required = {"iss", "aud", "client_id", "exp", "iat", "jti", "sub"}
        check(required <= claims.keys(), f"RFC 9068 §2.2 requires {required - claims.keys()}")
    equal(found["refused"], 3, "access tokens that oauth4webapi refuses: another audience, a changed signature, another token's claims")
    return (
        f"{REFRESHES} refreshes, 1 client_credentials, 3 introspections and 1 revocation by openid-client; "
        f"{len(found['claims'])} access tokens accepted and {found['refused']} refused by oauth4webapi"
    )


def main():
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # plain http, on loopback
    with temporary_directory() as place, Serve(place / "data", {"GATEMINT_ACCESS_LIFE": f"{LIFE}s"}) as serve:
        data = ("--data", str(serve.data))
        gatemint("user", "create", USER, "--password-stdin", *data, stdin=PASSWORD + "\n")
        created = json.loads(gatemint("client", "create", CLIENT, "--json", *data))
        secret = next(created[name] for name in SECRET_NAMES if name in created)
        with ThreadPoolExecutor() as together:
            runs = [
                together.submit(requests_oauthlib, serve, "requests-oauthlib", client_id="gatemint"),
                together.submit(requests_oauthlib, serve, "requests-oauthlib naming itself in the body", include_client_id=True),
                together.submit(authlib, serve, "Authlib", client_id="gatemint", token_endpoint_auth_method="none"),
                together.submit(authlib, serve, "Authlib with a secret", client_id=CLIENT, client_secret=secret),
                together.submit(openid_client, serve, secret),
            ]
            results = [run.result() for run in runs]
        for result in results:
            counted(result)


main()
