"""The loop that the users of a Keycloak run, with curl and jq as its documentation has it; only host and scheme differ."""

import json
import subprocess

import jwt
from support import ENVIRONMENT, Serve, check, counted, decoded, equal, gatemint, get, post, temporary_directory

USER, PASSWORD = "ada", "correct-horse-battery-staple"

# As documented: credentials once …
LOGIN = r"""
response_json=$(curl --data "username=$USERNAME&password=$PASSWORD&grant_type=password&client_id=ua-grant" "http://$KC_ADDR/realms/UA/protocol/openid-connect/token")
"""
LOGIN_OFFLINE = LOGIN.replace("client_id=ua-grant", "client_id=ua-grant&scope=offline_access")
# … then, before any use, the stored refresh token for an access token and the next refresh token.
REFRESH = r"""
response_json=$(curl --data "grant_type=refresh_token&client_id=ua-grant&refresh_token=$REFRESH_TOKEN" http://$KC_ADDR/realms/UA/protocol/openid-connect/token)
"""
TOKENS = r"""
ACCESS_TOKEN=$(echo "$response_json" | jq -r '.access_token')
REFRESH_TOKEN=$(echo "$response_json" | jq -r '.refresh_token')
"""
# Ours: hands the variables over, in one line of JSON.
HAND_OVER = r"""
jq -nc --arg access "$ACCESS_TOKEN" --arg refresh "$REFRESH_TOKEN" --argjson response "$response_json" '{$access, $refresh, $response}'
"""


def shell(step, **variables):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step + TOKENS + HAND_OVER],
        env={**ENVIRONMENT, **variables},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    equal(done.returncode, 0, "the exit code of the documented commands")
    given = json.loads(done.stdout)
    check(given["access"] != "null", f"no token was given: {given['response']}")
    equal((given["access"], given["refresh"]), (given["response"]["access_token"], given["response"]["refresh_token"]), "what jq took out")
    return given


def loop(serve, login, lifetime, roles):
    """One sign-in and three refreshes; before the second refresh the user gets another role."""
    realm = f"{serve.url}/realms/UA/protocol/openid-connect"
    keys = jwt.PyJWKClient(f"{realm}/certs")
    variables = {"KC_ADDR": f"127.0.0.1:{serve.port}", "USERNAME": USER, "PASSWORD": PASSWORD}
    given = shell(login, **variables)
    seen, session = [given["refresh"]], given["response"]["session_state"]
    for turn in range(4):
        claims = jwt.decode(
            given["access"], keys.get_signing_key_from_jwt(given["access"]), algorithms=["ES256"], audience=serve.url, issuer=serve.url
        )
        response = given["response"]
        equal(response["token_type"], "Bearer", "token_type")
        equal(response["expires_in"], 900, "expires_in")
        equal(response["refresh_expires_in"], lifetime, "refresh_expires_in")
        equal(response["session_state"], session, "the session, from refresh to refresh")
        equal(sorted(claims["roles"]), sorted(roles), f"the roles after {turn} refreshes")
        equal((claims["client_id"], claims["preferred_username"], claims["email"]), ("ua-grant", USER, "ada@example.org"), "the claims")
        if turn == 3:
            break
        if turn == 1:
            roles = [*roles, f"added-{len(roles)}"]
            gatemint("user", "set", USER, *(word for role in roles for word in ("--role", role)), "--data", str(serve.data))
        given = shell(REFRESH, REFRESH_TOKEN=given["refresh"], **variables)
        check(given["refresh"] not in seen, "every refresh gives another refresh token")
        seen.append(given["refresh"])
    return given, roles


def main():
    with temporary_directory() as place, Serve(place / "data") as serve:
        data = ("--data", str(serve.data))
        gatemint("client", "create", "ua-grant", "--public", *data)
        gatemint(
            *("user", "create", USER, "--email", "ada@example.org", "--role", "analysts", "--password-stdin", *data), stdin=PASSWORD + "\n"
        )
        week, roles = loop(serve, LOGIN, 604800, ["analysts"])
        offline, roles = loop(serve, LOGIN_OFFLINE, 2592000, roles)
        check("offline_access" in offline["response"]["scope"].split(), "an offline token says that it is one")
        counted("2 documented loops, 6 refreshes, 6 gave a new refresh token")

        realm = f"{serve.url}/realms/UA/protocol/openid-connect"
        certs = get(f"{realm}/certs")
        equal(certs.status, 200, "the status of certs")
        equal(certs.json(), get(f"{serve.url}/.well-known/jwks.json").json(), "the keys under both paths")
        check(decoded(week["access"], 0)["kid"] in [key["kid"] for key in certs.json()["keys"]], "certs lists the key in use")

        equal(post(f"{realm}/logout", {"client_id": "ua-grant", "refresh_token": week["refresh"]}).status, 204, "the status of logout")
        refresh = {"grant_type": "refresh_token", "client_id": "ua-grant"}
        ended = post(f"{realm}/token", {**refresh, "refresh_token": week["refresh"]})
        equal((ended.status, ended.json()["error"]), (400, "invalid_grant"), "a refresh after logout")
        other = post(f"{realm}/token", {**refresh, "refresh_token": offline["refresh"]})
        equal(other.status, 200, "the status of a refresh in the other session")
        equal(
            post(f"{realm}/revoke", {"client_id": "ua-grant", "token": other.json()["refresh_token"]}).status, 200, "the status of revoke"
        )
        revoked = post(f"{realm}/token", {**refresh, "refresh_token": other.json()["refresh_token"]})
        equal((revoked.status, revoked.json()["error"]), (400, "invalid_grant"), "a refresh after revocation")
        wrong = post(
            f"{realm}/token", {"grant_type": "password", "client_id": "ua-grant", "username": USER, "password": "wrong-wrong-wrong"}
        )
        equal((wrong.status, wrong.json()["error_description"]), (400, "Invalid user credentials"), "a wrong password")
        counted("2 sessions ended, by logout and by revocation, under the Keycloak paths")


if __name__ == "__main__":
    main()
