"""schemathesis asks the real service whatever its OpenAPI document allows, and much that it forbids, and finds nothing.

Each operation must also have been answered with a 2xx: a service that refuses everything would conform to any document.
Nothing is drawn at random, but cases that build on earlier answers differ with them; tests/strangers/openapi_hooks.py makes the document's examples true.
"""

import collections
import copy
import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
from support import ENVIRONMENT, HERE, ROOT, Serve, check, counted, equal, gatemint, get, password_grant, temporary_directory

EXAMPLES = "80"  # generated cases of an operation in the fuzzing phase
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
    "allow_header_conformance",
    "missing_required_header",
]
# The issuer of the stored document: what a first start on the usual address records.
STORED_ISSUER = "http://127.0.0.1:9000"
PASSWORD = "correct horse battery staple"  # of the user of the examples
HELPER, HELPER_PASSWORD = "helper", "makes what the examples need"
CONFIGURATION = """
[auth.openapi.bearer]
bearer = "${OPENAPI_BEARER}"

[auth.openapi.password]
username = "ada"
password = "correct horse battery staple"
"""


def document_is_the_stored_one(serve):
    served = get(f"{serve.url}/openapi.json")
    equal(served.status, 200, "the status of /openapi.json")
    stored = (ROOT / "tests" / "openapi.json").read_text()
    # Not shown whole, as `equal` would: it has thousands of lines.
    check(served.body.decode() == stored.replace(STORED_ISSUER, serve.url), "the document is the stored one, but for its issuer")
    document = json.loads(served.body)
    operations = [f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item]
    counted(f"{len(operations)} operations, served as they are stored in tests/openapi.json")
    return document, operations


def page_can_be_pasted(place):
    """Every request of /docs through bash, as a reader pastes it, on a service of its own."""
    with Serve(place / "pasted") as serve:
        data = ("--data", str(serve.data))
        gatemint("user", "create", "ada", "--password-stdin", *data, stdin=PASSWORD + "\n")
        secret = json.loads(gatemint("client", "create", "ci", "--json", *data))["secret"]
        tokens = password_grant(serve.url, "ada", PASSWORD)
        admin = password_grant(serve.url, "admin", serve.admin_password())["access_token"]
        # The example of a token exchange names a host of hers, which is a site's.
        site = ("--host", "{name}--{owner}.jobs.default.example.org", "--resource", "job://{cluster}/{owner}/{name}")
        gatemint("site", "create", "of-the-example", *site, *data)
        shown = password_grant(serve.url, "ada", PASSWORD)["access_token"]
        files = {"password": PASSWORD, "subject_token": shown, "client_secret": secret, "refresh_token": tokens["refresh_token"], "token": tokens["access_token"]}
        folder = place / "reader"
        folder.mkdir()
        for name, text in {**files, "authorization": f"Authorization: Bearer {admin}"}.items():
            (folder / name).write_text(text)
        page = get(f"{serve.url}/docs").body.decode()
        responses = json.loads(get(f"{serve.url}/openapi.json").body)["paths"]
        documented = {o["operationId"]: set(o["responses"]) for item in responses.values() for o in item.values()}
        good, seen = 0, collections.Counter()
        for operation, article in re.findall(r'<article aria-labelledby="(\w+)">(.*?)</article>', page, re.DOTALL):
            for command in re.findall(r"<code>(curl .*?)</code></pre>", article, re.DOTALL):
                command = html.unescape(command).replace("curl -sS ", "curl -sS --max-time 30 -o answer -w '%{http_code}' ", 1)
                done = subprocess.run(["bash", "-c", command], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
                equal((done.returncode, done.stderr), (0, ""), f"what bash says to {command}")
                check(done.stdout in documented[operation], f"{operation} answered {done.stdout}, which is not documented: {command}")
                # What an example names may be there already, or gone by an earlier one; the request itself is never wrong.
                what = (folder / "answer").read_text()
                check(done.stdout not in ("413", "422", "429", "503"), f"{command}: {done.stdout} {what}")
                ended = "invalid_grant" in what or "subject_token is not valid, or no longer" in what
                check(done.stdout != "400" or ended, f"{command}: {done.stdout} {what}")
                good += done.stdout.startswith("2")
                seen[operation] += 1
        equal(set(seen), set(documented), "the operations that have a request on the page")
        check(good >= 0.7 * sum(seen.values()), f"only {good} of {sum(seen.values())} pasted requests got a 2xx")
        counted(f"{sum(seen.values())} requests of /docs pasted into bash, {good} answered with 2xx, the others as documented")


def keys_are_described(place, document):
    """The key set of every algorithm is as the document says; schemathesis itself meets one of them only."""
    schema = {"$ref": "#/components/schemas/KeySet", "components": document["components"]}
    is_key_set = jsonschema_rs.validator_for(schema)
    for algorithm in ("ES256", "RS256", "EdDSA"):
        with Serve(place / algorithm, {"GATEMINT_SIGNING_ALG": algorithm}) as serve:
            keys = get(f"{serve.url}/.well-known/jwks.json").json()
        equal([key["alg"] for key in keys["keys"]], [algorithm], "the algorithms of the key set")
        check(is_key_set.is_valid(keys), f"the key set of {algorithm} is as the document says")
        for name in keys["keys"][0]:
            damaged = {"keys": [{key: value for key, value in keys["keys"][0].items() if key != name}]}
            check(not is_key_set.is_valid(damaged), f"the document wants {name} in a key of {algorithm}")
    counted("3 key sets are as the document says")


def schemathesis(serve, place, document, environment, *options):
    """Runs schemathesis on a document that is kept as a file: the URL that serves it would not be asked otherwise."""
    (place / "document.json").write_text(json.dumps(document))
    command = [
        str(Path(sys.executable).with_name("st")),
        *("--config-file", str(place / "schemathesis.toml")),
        *("run", str(place / "document.json"), "--url", serve.url),
        *("--checks", ",".join(CHECKS), "--generation-deterministic"),
        *("--workers", "1", "--continue-on-failure", "--warnings", "off", "--no-color", *options),
    ]
    return subprocess.run(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=540, check=False
    )


def notices_what_is_wrong(serve, place, document, environment):
    """Documents that do not tell the truth must be found out, or finding nothing would mean nothing."""

    def without_a_status(damaged):
        del damaged["paths"]["/v1/users"]["post"]["responses"]["201"]

    def with_another_field(damaged):
        damaged["components"]["schemas"]["User"]["required"].append("nickname")

    def with_another_header(damaged):
        damaged["components"]["headers"]["Pragma"]["schema"]["enum"] = ["cache"]

    damages = (without_a_status, with_another_field, with_another_header)
    for number, damage in enumerate(damages):
        damaged = copy.deepcopy(document)
        damage(damaged)
        few = ("--phases", "examples", "--include-path", "/v1/users", "--include-path", "/oauth2/revoke")
        done = schemathesis(serve, place, damaged, {**environment, "OPENAPI_LOG": os.devnull, "OPENAPI_RUN": str(number)}, *few)
        check(done.returncode == 1 and "FAILURES" in done.stdout, f"schemathesis finds nothing in a document {damage.__name__}")
    counted(f"{len(damages)} untrue documents found out")


def ask_everything(serve, place, document):
    """Runs schemathesis. Returns every answer as [operation, mode, phase, status]."""
    log, configuration = place / "answers", place / "schemathesis.toml"
    log.touch()
    configuration.write_text(CONFIGURATION)
    bearer = password_grant(serve.url, "admin", serve.admin_password())["access_token"]
    helper = password_grant(serve.url, HELPER, HELPER_PASSWORD)["access_token"]
    environment = {
        **ENVIRONMENT,
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SCHEMATHESIS_HOOKS": "openapi_hooks",
        "OPENAPI_HOST": f"127.0.0.1:{serve.port}",
        "OPENAPI_ADMIN": "admin",
        "OPENAPI_ADMIN_PASSWORD": str(serve.data / "admin-password"),
        "OPENAPI_BEARER": bearer,
        "OPENAPI_HELPER": helper,
        "OPENAPI_LOG": str(log),
        "OPENAPI_RUN": "all",
    }
    notices_what_is_wrong(serve, place, document, environment)
    done = schemathesis(serve, place, document, environment, "--max-examples", EXAMPLES)
    print(done.stdout)
    check(done.returncode == 0, f"schemathesis ended with {done.returncode}: it found something, or could not run")
    me = get(f"{serve.url}/v1/me", {"Authorization": f"Bearer {bearer}"})
    equal(me.status, 200, "the admin's session is alive after the run, so that all of it was asked as admin")
    return [json.loads(line) for line in log.read_text().splitlines()]


def main():
    with temporary_directory() as place, Serve(place / "data", {"GATEMINT_ACCESS_LIFE": "24h"}) as serve:
        gatemint("user", "create", HELPER, "--role", "admin", "--password-stdin", "--data", str(serve.data), stdin=HELPER_PASSWORD + "\n")
        page_can_be_pasted(place)
        document, operations = document_is_the_stored_one(serve)
        keys_are_described(place, document)
        answers = ask_everything(serve, place, document)
        check("panicked" not in serve.printed(), "no handler panicked")
        successes = collections.Counter(label for label, _, _, status in answers if 200 <= status < 300)
        statuses = collections.Counter(status for _, _, _, status in answers)
        modes = collections.Counter(mode for _, mode, _, _ in answers)
        for operation in operations:
            print(f"{successes[operation]:6} answers with 2xx: {operation}")
        never = [operation for operation in operations if not successes[operation]]
        check(not never, f"never answered with a 2xx: {', '.join(never)}")
        for mode in ("positive", "negative"):
            check(modes[mode] > 100, f"{modes[mode]} {mode} cases are too few")
        check(statuses[405] > 0, "no other method was tried")
        counted(f"{len(answers)} requests of schemathesis, {modes['positive']} positive and {modes['negative']} negative, {len(CHECKS)} checks found nothing")
        counted(f"{sum(successes.values())} answers with 2xx, {len(operations)} of {len(operations)} operations had one, the rarest {min(successes[o] for o in operations)}")
        counted(f"{len(statuses)} different statuses: {', '.join(f'{status} {number} times' for status, number in sorted(statuses.items()))}")


main()
