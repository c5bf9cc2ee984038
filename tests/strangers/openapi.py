"""schemathesis asks the real service whatever its OpenAPI document allows, and much that it forbids, and finds nothing.

Each operation must also have been answered with a 2xx: a service that refuses everything would conform to any document.
The seed is fixed, so that a run can be repeated; tests/strangers/openapi_hooks.py makes the document's examples true.
"""

import collections
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from support import ENVIRONMENT, HERE, ROOT, Serve, check, counted, equal, gatemint, get, password_grant, temporary_directory

SEED = "20261122"
EXAMPLES = "40"  # generated cases of an operation in the fuzzing phase
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
HELPER, HELPER_PASSWORD = "helper", "makes what the examples need"
CONFIGURATION = """
[auth.openapi.bearer]
bearer = "${OPENAPI_BEARER}"
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
    return operations


def ask_everything(serve, place):
    """Runs schemathesis. Returns what it printed and every answer as [operation, mode, phase, status]."""
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
    }
    command = [
        str(Path(sys.executable).with_name("st")),
        *("--config-file", str(configuration)),
        *("run", f"{serve.url}/openapi.json"),
        *("--checks", ",".join(CHECKS)),
        *("--seed", SEED, "--generation-deterministic", "--generation-database", "none"),
        *("--max-examples", EXAMPLES, "--workers", "1", "--continue-on-failure", "--warnings", "off", "--no-color"),
    ]
    done = subprocess.run(command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=540, check=False)
    print(done.stdout)
    check(done.returncode == 0, f"schemathesis ended with {done.returncode}: it found something, or could not run")
    me = get(f"{serve.url}/v1/me", {"Authorization": f"Bearer {bearer}"})
    equal(me.status, 200, "the admin's session is alive after the run, so that all of it was asked as admin")
    return done.stdout, [json.loads(line) for line in log.read_text().splitlines()]


def main():
    with temporary_directory() as place, Serve(place / "data", {"GATEMINT_ACCESS_LIFE": "24h"}) as serve:
        gatemint("user", "create", HELPER, "--role", "admin", "--password-stdin", "--data", str(serve.data), stdin=HELPER_PASSWORD + "\n")
        operations = document_is_the_stored_one(serve)
        printed, answers = ask_everything(serve, place)
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
        tried = re.search(r"^Test cases:\s*\n\s*([\d,]+) generated", printed, re.MULTILINE)
        counted(f"{len(answers)} requests of schemathesis, {modes['positive']} positive and {modes['negative']} negative, {len(CHECKS)} checks found nothing")
        counted(f"{sum(successes.values())} answers with 2xx, {len(operations)} of {len(operations)} operations had one, the rarest {min(successes[o] for o in operations)}")
        counted(f"{len(statuses)} different statuses: {', '.join(f'{status} {number} times' for status, number in sorted(statuses.items()))}")
        if tried:
            counted(f"{tried[1]} test cases by its own count")


main()
