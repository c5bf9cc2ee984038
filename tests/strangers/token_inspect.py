"""`gatemint token inspect` on tokens and keys that others have made: each is valid, and each is not when it was tampered with."""

import base64
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from support import BIN, ENVIRONMENT, check, counted, decoded, equal, node, temporary_directory

CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1, "ES256K": ec.SECP256K1}
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


def encoded(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def inspected(token, *arguments):
    """The exit code, and what `--json` shows."""
    command = [BIN, "token", "inspect", "--json", *arguments]
    done = subprocess.run(command, input=token, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    check(done.stdout, f"{token} {arguments}: {done.stderr}")
    found = json.loads(done.stdout)
    equal(done.returncode == 0, found["valid"], f"the exit code for {found}")
    return found


def signer(key, alg, claims):
    return lambda kid, **more: jwt.encode({**claims, **more}, key, algorithm=alg, headers={"kid": kid} if kid else None)


def by_pyjwt():
    """A key and a token of every algorithm that PyJWT knows, with key kinds of cryptography."""
    made = []
    for alg in (*RSA, *CURVES, "EdDSA"):
        if alg in RSA:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048 if alg.endswith("256") else 3072)
        elif alg in CURVES:
            key = ec.generate_private_key(CURVES[alg]())
        else:
            key = ed25519.Ed25519PrivateKey.generate()
        kid, now = f"pyjwt-{alg}", int(time.time())
        jwk = jwt.get_algorithm_by_name(alg).to_jwk(key.public_key(), as_dict=True)
        jwk.pop("key_ops", None)
        claims = {"iss": "https://pyjwt.example.org", "sub": "ada", "iat": now, "nbf": now, "exp": now + 900}
        sign = signer(key, alg, claims)
        made.append({"alg": alg, "token": sign(kid), "jwk": {**jwk, "kid": kid, "alg": alg, "use": "sig"}, "sign": sign})
    return made


class Keys(BaseHTTPRequestHandler):
    """Serves the key set, as an issuer does."""

    body, asked = b"", 0

    def do_GET(self):
        type(self).asked += 1
        self.send_response(200)
        self.send_header("Content-Type", "application/jwk-set+json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


def tampered(one, all_of_them):
    """The token, changed in every way that has broken a library before."""
    header, payload, signature = one["token"].split(".")
    size = len(raw(signature))
    flipped = bytearray(raw(signature))
    flipped[size // 2] ^= 1
    yield f"{header}.{payload}.{encoded(bytes(flipped))}", "signature_mismatch"
    yield f"{header}.{payload}.{encoded(bytes(size))}", "signature_mismatch"
    yield f"{header}.{payload}.", "signature_mismatch"
    yield f"{header}.{payload}.{encoded(raw(signature) + b'0')}", "signature_mismatch"
    yield f"{header}.{encoded({**decoded(one['token']), 'sub': 'admin'})}.{signature}", "signature_mismatch"
    old = decoded(one["token"], 0)
    yield f"{encoded({**old, 'alg': 'none'})}.{payload}.", "algorithm_none"
    yield f"{encoded({**old, 'alg': 'HS256'})}.{payload}.{signature}", "algorithm_symmetric"
    yield f"{encoded({**old, 'kid': 'nobody'})}.{payload}.{signature}", "no_such_key"
    yield f"{encoded({**old, 'crit': ['kid']})}.{payload}.{signature}", "critical_header"
    for other in all_of_them:
        if other["jwk"]["kid"] != one["jwk"]["kid"]:
            # The signature of one under the name of another: with its kid, and with its alg.
            same = (other["alg"], one["alg"]) in (("EdDSA", "Ed25519"), ("Ed25519", "EdDSA")) or other["alg"] == one["alg"]
            wanted = {"signature_mismatch"} if same else {"key_does_not_fit", "signature_mismatch"}
            yield f"{encoded({**old, 'kid': other['jwk']['kid']})}.{payload}.{signature}", wanted
            yield f"{encoded({**old, 'alg': other['alg']})}.{payload}.{signature}", wanted


def judged(makers, places):
    """Every token by the keys in every place; returns how many were good and how many not."""
    good = bad = 0
    for maker, made in makers.items():
        for one in made:
            for place in places:
                found = inspected(one["token"], "--jwks", place)
                check(found["valid"], f"{maker}'s {one['alg']} by {place}: {found['reasons']}")
                equal(found["key"], one["jwk"]["kid"], "the key that matched")
                equal((found["header"], found["claims"]), (decoded(one["token"], 0), decoded(one["token"])), "what is shown")
                good += 1
            for forged, reasons in tampered(one, made):
                found = inspected(forged, "--jwks", places[0])
                codes = {reason["code"] for reason in found["reasons"]}
                wanted = {reasons} if isinstance(reasons, str) else reasons
                check(not found["valid"] and len(codes) == 1 and codes <= wanted, f"{maker}'s {one['alg']}, {forged}: {found['reasons']}")
                bad += 1
    return good, bad


def by_time(made, place):
    """What PyJWT says of a token's time, gatemint says."""
    now, agreed = int(time.time()), 0
    for one in made:
        key = jwt.PyJWK(one["jwk"])
        for more, reason, refusal in (
            ({"exp": now - 60}, "expired", jwt.ExpiredSignatureError),
            ({"nbf": now + 60}, "not_yet_valid", jwt.ImmatureSignatureError),
            ({"iat": now + 60}, "issued_in_the_future", jwt.ImmatureSignatureError),
        ):
            token = one["sign"](one["jwk"]["kid"], **more)
            found = inspected(token, "--jwks", place)
            equal([each["code"] for each in found["reasons"]], [reason], f"the reasons against {more}")
            equal(found["signature"], "valid", "the signature of a token out of time")
            try:
                jwt.decode(token, key, algorithms=[one["alg"]])
                raise AssertionError(f"PyJWT accepts {more}: this test proves nothing")
            except refusal:
                agreed += 1
    return agreed


def bare(made, place):
    """Keys without kid, alg and use, and tokens with and without kid: those that fit are tried."""
    keys = [{name: value for name, value in one["jwk"].items() if name not in ("kid", "alg", "use")} for one in made]
    place.write_text(json.dumps({"keys": keys}))
    tokens = [token for one in made for token in (one["token"], one["sign"](None))]
    for token in tokens:
        check(inspected(token, "--jwks", str(place))["valid"], f"{decoded(token, 0)} by keys without names")
    equal(sum("kid" not in decoded(token, 0) for token in tokens), len(made), "tokens without kid")
    return len(tokens)


def main():
    makers = {"PyJWT": by_pyjwt(), "jose": node("token_inspect.mjs")}
    keys = {"keys": [one["jwk"] for made in makers.values() for one in made]}
    check(all("d" not in key for key in keys["keys"]), "only public halves are served")
    with temporary_directory() as home:
        file = home / "jwks.json"
        file.write_text(json.dumps(keys))
        Keys.body = file.read_bytes()
        with ThreadingHTTPServer(("127.0.0.1", 0), Keys) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                good, bad = judged(makers, [str(file), f"http://127.0.0.1:{server.server_address[1]}/jwks"])
            finally:
                server.shutdown()
        equal(Keys.asked * 2, good, "requests for the keys")
        agreed = by_time(makers["PyJWT"], str(file))
        nameless = bare(makers["PyJWT"], home / "bare.json")
    for maker, made in makers.items():
        counted(f"{len(made)} algorithms of {maker}: {' '.join(one['alg'] for one in made)}")
    counted(f"{good} verdicts valid, half of them by keys over HTTP")
    counted(f"{bad} tampered tokens told not valid")
    counted(f"{agreed} tokens out of time, by PyJWT's judgement too")
    counted(f"{nameless} tokens judged by keys without kid, alg and use")


main()
