"""A first start prints a command; pasted into a shell it gets a token, and strangers' libraries verify that token."""

import json
import re
import stat
import subprocess

import jwt
from support import ENVIRONMENT, Serve, check, counted, decoded, equal, get, node, password_grant, post, temporary_directory

REPLY = {
    "access_token": str,
    "token_type": str,
    "expires_in": int,
    "refresh_token": str,
    "refresh_expires_in": int,
    "scope": str,
    "session_state": str,
}
HEADER = {"alg": str, "kid": str, "typ": str}
CLAIMS = {
    "iss": str,
    "sub": str,
    "aud": (str, list),
    "client_id": str,
    "iat": int,
    "nbf": int,
    "exp": int,
    "jti": str,
    "scope": str,
    "auth_time": int,
    "sid": str,
    "preferred_username": str,
    "identity": str,
    "namespace": str,
    "email": str,
    "roles": list,
}


def printed_command(output):
    """The command as printed: from the line that begins with `curl` to the first that does not go on with a backslash."""
    found = re.search(r"^[ \t]*(curl\b(?:.*\\\n)*.*)$", output, re.MULTILINE)
    check(found, f"no curl command was printed:\n{output}")
    return found.group(1)


def pasted(serve):
    command = printed_command(serve.printed())
    check("--data-urlencode" in command and "password@" in command, f"the command names the password file: {command}")
    check(str(serve.data / "admin-password") in command.replace("\\ ", " "), f"the command names the whole path: {command}")
    done = subprocess.run(["bash", "-c", command], cwd="/", env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, timeout=30, check=False)
    equal(done.returncode, 0, f"the exit code of {command}")
    return json.loads(done.stdout)


def same_fields(value, fields, what):
    equal(sorted(value), sorted(fields), f"the names in {what}")
    for name, kind in fields.items():
        check(isinstance(value[name], kind) and not isinstance(value[name], bool), f"{what}: {name} is {value[name]!r}")
    return len(fields)


def documented(serve, reply):
    """The reply and the claims are the documented ones, no more and no fewer."""
    fields = same_fields(reply, REPLY, "the reply")
    for name, value in {"token_type": "Bearer", "expires_in": 900, "refresh_expires_in": 604800}.items():
        equal(reply[name], value, name)
    equal(set(reply["scope"].split()), {"profile", "email", "roles"}, "scope")
    check(reply["refresh_token"].startswith("gmr_"), "a refresh token begins with gmr_")

    header, claims = decoded(reply["access_token"], 0), decoded(reply["access_token"])
    fields += same_fields(header, HEADER, "the token's header") + same_fields(claims, CLAIMS, "the claims")
    equal((header["alg"], header["typ"]), ("ES256", "at+jwt"), "alg and typ")
    expected = {
        "iss": serve.url,
        "client_id": "gatemint",
        "exp": claims["iat"] + 900,
        "scope": reply["scope"],
        "sid": reply["session_state"],
        "preferred_username": "admin",
        "identity": "admin",
        "namespace": "admin",
        "email": "",
        "roles": ["admin"],
    }
    for name, value in expected.items():
        equal(claims[name], value, f"the claim {name}")
    check(claims["aud"] in (serve.url, [serve.url]), f"aud is the issuer: {claims['aud']!r}")
    check(claims["nbf"] <= claims["iat"] and claims["auth_time"] <= claims["iat"], "nbf and auth_time are not after iat")
    check(claims["sub"] not in ("", "admin"), "sub is the account's id and not its name")
    return fields


def verified(serve, token):
    """What PyJWT and jose make of the token, each with the keys that it fetched by itself."""
    keys = jwt.PyJWKClient(f"{serve.url}/.well-known/jwks.json")
    key = keys.get_signing_key_from_jwt(token)
    options = {"algorithms": ["ES256"], "audience": serve.url, "issuer": serve.url}
    whole = jwt.decode_complete(token, key, **options)
    equal(whole["header"]["typ"], "at+jwt", "typ, as PyJWT sees it")
    last = len(token) - 10
    forged = token[:last] + ("B" if token[last] == "A" else "A") + token[last + 1 :]
    try:
        jwt.decode(forged, key, **options)
        raise AssertionError("PyJWT accepts a forged token: this test proves nothing")
    except jwt.InvalidSignatureError:
        pass

    found = node("verify.mjs", serve.url, token)
    equal(found["payload"], whole["payload"], "the claims, as jose sees them")
    equal(found["refused"], 2, "forged tokens that jose refuses")


def main():
    fields = commands = 0
    with temporary_directory() as place:
        # A path with a space in it has to survive the shell as well.
        for data in (place / "data", place / "two words"):
            with Serve(data) as serve:
                reply = pasted(serve)
                commands += 1
                fields = documented(serve, reply)
                verified(serve, reply["access_token"])

                answer = post(
                    f"{serve.url}/oauth2/token",
                    {"grant_type": "password", "username": "admin", "password": serve.admin_password(), "client_id": "gatemint"},
                )
                equal(answer.status, 200, "the status of the same request")
                for name, value in {"Cache-Control": "no-store", "Pragma": "no-cache"}.items():
                    equal(answer.headers[name], value, name)
                check(answer.headers["Content-Type"].startswith("application/json"), "the reply says that it is JSON")
                equal(password_grant(serve.url, "admin", serve.admin_password())["token_type"], "Bearer", "a second sign-in")

                keys = get(f"{serve.url}/.well-known/jwks.json")
                check("max-age=300" in keys.headers["Cache-Control"], "the keys may be cached for five minutes")
                check(all("d" not in key for key in keys.json()["keys"]), "no private key is published")

                password = serve.admin_password()
                check(len(password) >= 15 and password.strip() == password, "the password file holds a password and no line end")
                equal(stat.S_IMODE(data.stat().st_mode), 0o700, "the data directory's mode")
                equal(stat.S_IMODE((data / "admin-password").stat().st_mode), 0o600, "the password file's mode")
                serve.end()
                check(password not in serve.printed(), "serve never prints the password")
    counted(f"{commands} printed commands pasted, {commands} got a token")
    counted(f"{fields} names in reply, header and claims as documented")
    counted(f"{2 * commands} verifications by PyJWT and jose")


main()
