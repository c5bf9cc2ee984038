"""What schemathesis calls around every request: the document's examples become true, and the run keeps its credentials.

The examples speak of a user `ada`, of clients `ci` and `desktop`, of sites `jobs` and `wiki`, and of secrets that nobody can write down beforehand.
Here they exist, are made again when a request has ended or changed them, and a secret of an example is replaced by one that
is good now. Requests that would end the run's own admin, session or client are sent at somebody else.
"""

import base64
import http.client
import json
import os
import sys
import threading
import urllib.parse
from pathlib import Path

import schemathesis

HOST, ADMIN, LOG, RUN = (os.environ[f"OPENAPI_{name}"] for name in ("HOST", "ADMIN", "LOG", "RUN"))
ADMIN_PASSWORD = Path(os.environ["OPENAPI_ADMIN_PASSWORD"]).read_text()
USER, PASSWORD, CLIENT, SITE = "ada", "correct horse battery staple", "ci", "jobs"
FIELDS = {"refresh_token": "gmr_of-the-last-reply", "client_secret": "gmc_of-the-client", "token": "eyJ_an-access-token"}
TOKEN_ID = "c1RfrFqWj3x8rPCvWkNjYQnI3lQrxEfM1Qzhh0kNyhYV"
CHANGE = "POST /v1/me/password"

lock = threading.Lock()
state = {"secret": None, "password": ADMIN_PASSWORD, "next": None, "made": 0}


def ask(method, path, body=None, form=None, bearer=None):
    """A request of our own, from another address than schemathesis's: wrong guesses over there slow nobody down here."""
    connection = http.client.HTTPConnection(HOST, timeout=30, source_address=("127.0.0.2", 0))
    headers, data = {}, None
    if form is not None:
        headers["Content-Type"], data = "application/x-www-form-urlencoded", urllib.parse.urlencode(form)
    if body is not None:
        headers["Content-Type"], data = "application/json", json.dumps(body)
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    connection.request(method, path, data, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text and b"json" in answer.headers.get("content-type", "").encode() else {}


def admin(method, path, body=None, expected=(200, 201, 204)):
    status, answer = ask(method, path, body, bearer=os.environ["OPENAPI_HELPER"])
    if status not in expected:
        raise AssertionError(f"{method} {path} for a fixture: {status} {answer}")
    return status, answer


def sign_in():
    """Tokens of the user of the examples."""
    status, answer = ask("POST", "/oauth2/token", form={"grant_type": "password", "username": USER, "password": PASSWORD})
    if status != 200:
        raise AssertionError(f"the user of the examples cannot sign in: {status} {answer}")
    return answer


def make_user():
    status, _ = admin("PATCH", f"/v1/users/{USER}", {"enabled": True, "password": PASSWORD}, (200, 404))
    if status == 404:
        admin("POST", "/v1/users", {"name": USER, "password": PASSWORD})


def make_client():
    admin("DELETE", f"/v1/clients/{CLIENT}", expected=(204, 404))
    state["secret"] = admin("POST", "/v1/clients", {"id": CLIENT})[1]["secret"]


def make_site():
    """The site of the examples, and no other: there is room for a hundred."""
    for one in admin("GET", "/v1/sites?limit=99")[1]["items"]:
        admin("DELETE", f"/v1/sites/{one['id']}", expected=(204, 404))
    admin("POST", "/v1/sites", {"id": SITE, "host": "{name}.jobs.example.org", "resource": "job://default/ada/{name}"})


def token_of(access):
    claims = access.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))


def live_token_id():
    """The id of a session of the user of the examples that can be ended."""
    sid = token_of(sign_in()["access_token"])["sid"]
    session = base64.urlsafe_b64decode(sid + "==")
    ids = [item["id"] for item in admin("GET", f"/v1/tokens?account={USER}&limit=99")[1]["items"]]
    return next(one for one in ids if base64.urlsafe_b64decode(one + "=" * (-len(one) % 4)).endswith(session))


def is_protected_token(identifier):
    try:
        session = base64.urlsafe_b64decode(identifier + "=" * (-len(identifier) % 4))[17:]
    except (ValueError, TypeError):
        return False
    own = (os.environ["OPENAPI_BEARER"], os.environ["OPENAPI_HELPER"])
    return session in [base64.urlsafe_b64decode(token_of(token)["sid"] + "==") for token in own]


def new_name(stem):
    state["made"] += 1
    return f"{stem}-{RUN}-{state['made']}"


with lock:
    make_user()
    make_client()
    make_site()


@schemathesis.hook
def before_call(context, case, kwargs):
    with lock:
        prepare(case)


def prepare(case):
    label = case.operation.label
    place, body = case.path_parameters or {}, case.body
    name = place.get("name") or place.get("id")
    if case.method in ("PATCH", "DELETE") and name in (ADMIN, "helper", "gatemint"):
        place["name" if "name" in place else "id"] = "nobody"
    if case.path == "/v1/tokens/{id}":
        if place.get("id") == TOKEN_ID:
            place["id"] = live_token_id()
        elif isinstance(place.get("id"), str) and is_protected_token(place["id"]):
            place["id"] = "nothing"
    if not isinstance(body, dict):
        return
    if case.path in ("/v1/users", "/v1/clients", "/v1/sites") and case.method == "POST":
        for field, value in (("name", USER), ("id", CLIENT), ("id", "desktop"), ("id", SITE), ("id", "wiki")):
            if body.get(field) == value:
                body[field] = new_name(value)
    if label == CHANGE and body.get("old") == PASSWORD:
        body["old"] = state["password"]
        state["next"] = body.get("new")
    for field, example in FIELDS.items():
        if body.get(field) != example and not (field == "token" and body.get(field) == FIELDS["refresh_token"]):
            continue
        if field == "client_secret":
            body[field] = state["secret"]
        elif field == "token" and body[field] == example:
            body[field] = sign_in()["access_token"]
        else:
            body[field] = sign_in()["refresh_token"]


@schemathesis.hook
def after_call(context, case, response):
    with lock:
        note(case, response)


def note(case, response):
    mode = case.meta.generation.mode.value if case.meta else "unknown"
    phase = case.meta.phase.name.value if case.meta else "unknown"
    # An unexpected method is a request beside the operation that it was derived from.
    label = case.operation.label if response.request.method == case.operation.method.upper() else "another method"
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(json.dumps([label, mode, phase, response.status_code]) + "\n")
    done = 200 <= response.status_code < 300
    place = case.path_parameters or {}
    if case.operation.label == CHANGE and response.status_code == 204 and state["next"]:
        state["password"] = state["next"]
    state["next"] = None
    if done and response.request.method in ("PATCH", "DELETE"):
        if place.get("name") == USER:
            make_user()
        if case.path == "/v1/clients/{id}" and place.get("id") == CLIENT:
            make_client()
        if case.path == "/v1/sites/{id}":
            make_site()


print("the document's examples are true now", file=sys.stderr)
