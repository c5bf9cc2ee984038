"""template.yaml in an emulator of AWS, unchanged, with IAM in force, as its users and operators see it."""

import base64
import contextlib
import functools
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from support import BIN, ENVIRONMENT, ROOT, Answer, check, equal

sys.path.insert(0, str(ROOT / "tests" / "emulator"))

from deploy import Emulator  # noqa: E402

BOOTSTRAP = Path(BIN).with_name("gatemint-lambda")
# Roles, and the functions that have them: the template's names.
FUNCTIONS = {"Token": "token", "Discovery": "discovery", "Gate": "gate", "Admin": "admin", "Authorizer": "authorizer", "RotateKeys": "rotate-keys", "RefreshSecrets": "refresh-secrets"}


# What the stack beside is to permissions, the namespace of the tests' own gate tokens, and the cookie of links.
GUARDED = "flow://default/guarded"
GATE_TOKENS = "/apis/kubegateway.kubevirt.io/v1beta1/namespaces/vms/gatetokens"
COOKIE = "kg-jwt-session-code"
# Where permissions and service accounts are.
ACCOUNTS, USERS = "/api/v1/service_accounts", "/api/v1/users"
TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


class Deployed:
    """A stack of template.yaml."""

    def __init__(self, emulator: Emulator, name="gatemint", parameters=None):
        self.emulator = emulator
        self.outputs = emulator.deploy(name, ROOT / "template.yaml", BOOTSTRAP, parameters)
        self.names = emulator.resources(name)
        self.url = emulator.url(self.outputs["ApiId"])
        # As an operator pastes it, with the rights that he has.
        shown = dict(setting.split("=", 1) for setting in self.outputs["Settings"].removeprefix("export ").split())
        self.operator = {**ENVIRONMENT, **emulator.owner, **shown, "PATH": f"{Path(BIN).parent}{os.pathsep}{os.environ['PATH']}"}
        self.memory = 1024
        self.secrets, self.functions, self.iam = (emulator.client(service) for service in ("secretsmanager", "lambda", "iam"))

    def beside(self):
        """Another stack, `guarded`, with one route that the authorizer of this one guards."""
        guarded = self.emulator.deploy("guarded", ROOT / "tests" / "emulator" / "guarded.yaml", parameters={"Gatemint": "gatemint"})
        self.guarded_url = f"{self.emulator.url(guarded['ApiId'])}/guarded"
        # As the authorizer is told it: `requestContext.domainName`, and over TLS, always.
        self.guarded_host = urlsplit(self.guarded_url).hostname
        self.guarded_target = f"https://{self.guarded_host}/guarded"

    # ---- An operator ----

    def command(self, *arguments, stdin=""):
        """The command line, on table and secrets themselves."""
        done = subprocess.run(
            [BIN, *arguments], input=stdin, env=self.operator, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        check(done.returncode == 0, f"gatemint {' '.join(arguments)} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def pasted(self, *commands):
        """Lines in one shell, as the outputs of the stack have them, but for the place where the API answers here."""
        script = "\n".join(commands).replace(self.outputs["Url"], self.url)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], env=self.operator, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60
        )
        check(done.returncode == 0, f"{script}\nended with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def guest(self, name):
        """Makes a user who may read what the stack beside is, and returns the password."""
        password = self.user(name)
        self.command("acl", "grant", GUARDED, name, "read")
        return password

    def user(self, name):
        """Makes a user and returns the password."""
        return json.loads(self.command("user", "create", name, "--generate", "--json"))["password"]

    # ---- A caller ----

    def curl(self, path, *arguments):
        """What curl gets from the API, or from a whole URL."""
        return curl(path if path.startswith("http") else self.url + path, *arguments)

    def form(self, path, **fields):
        fields = {"client_id": "gatemint", **fields}
        return self.curl(path, *(part for name, value in fields.items() for part in ("--data-urlencode", f"{name}={value}")))

    def json(self, path, token, body=None, method=None):
        """A request to our own resources, as whoever has the token."""
        method = method or ("POST" if body is not None else "GET")
        content = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body is not None else []
        return self.curl(path, "-X", method, "-H", f"Authorization: Bearer {token}", *content)

    def password_grant(self, username, password, **more):
        return self.form("/oauth2/token", grant_type="password", username=username, password=password, **more)

    def refresh(self, token):
        return self.form("/oauth2/token", grant_type="refresh_token", refresh_token=token)

    @functools.cached_property
    def judge(self):
        """A client that may introspect all tokens: its credentials."""
        made = json.loads(self.command("client", "create", "judge", "--introspect", "--json"))
        return {"client_id": "judge", "client_secret": made["secret"]}

    @functools.cached_property
    def admin(self):
        """An admin's access token."""
        password = json.loads(self.command("user", "create", "keeper", "--role", "admin", "--generate", "--json"))["password"]
        return answered(self.password_grant("keeper", password), 200, "a password grant").json()["access_token"]

    def gate_token(self, name, **spec):
        """Makes a GateToken over the API, as an admin."""
        body = {"metadata": {"name": name}, "spec": {"secret-name": "gatemint-jwt-secret", **spec}}
        return self.json(GATE_TOKENS, self.admin, body)

    def exchange(self, token, *urls):
        """Exchanges an access token for a gate token."""
        fields = {
            "client_id": "gatemint",
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "requested_token_type": "urn:gatemint:params:oauth:token-type:gate",
        }
        return self.curl("/oauth2/token", "-d", urlencode([*fields.items(), *(("resource", url) for url in urls)]))

    def service_account(self, access, owner, name):
        """Makes a service account over the API, in its owner's namespace, and returns its token."""
        new = {"name": name, "default_cluster": "default", "default_project": owner}
        return token_in(answered(self.json(ACCOUNTS, access, new), 201, "a service account"))

    def permissions(self, principal, *uris, method="POST"):
        """Grants `read` on resources over the API, as an admin, or revokes it."""
        path = f"{USERS}/{principal.replace('/', ':')}/permissions"
        if method == "DELETE":
            return self.json(f"{path}?{urlencode([('uri', uri) for uri in uris])}", self.admin, method=method)
        return self.json(path, self.admin, [{"uri": uri, "action": "read"} for uri in uris], method)

    def verify(self, token, url, method="GET", cookie=COOKIE, audience=None):
        """What a proxy hears that asks about a request with a token, with the answer's headers."""
        asked = {"X-Original-Method": method, "X-Original-URL": url, "Cookie": f"{cookie}={token}"}
        path = f"/auth/verify?{urlencode({'audience': audience})}" if audience else "/auth/verify"
        return self.curl(path, "-i", *(part for name, value in asked.items() for part in ("-H", f"{name}: {value}")))

    def introspection(self, token):
        return self.form("/oauth2/introspect", token=token, **self.judge)

    def introspect(self, token):
        """Whether the service says that a token stands."""
        return answered(self.introspection(token), 200, "an introspection").json()["active"]

    def guarded(self, token=None):
        """What the other stack's route answers."""
        return self.curl(self.guarded_url, *(["-H", f"Authorization: Bearer {token}"] if token else []))

    def guarded_by_cookie(self, token):
        """The same, with a token where a link puts it."""
        return self.curl(self.guarded_url, "-H", f"Cookie: theme=dark; {COOKIE}={token}")

    def at_once(self, forms, path="/oauth2/token"):
        """Sends forms from as many connections at the same moment. Returns status and body of each."""
        start = threading.Barrier(len(forms))
        host = self.url.removeprefix("http://")

        def send(form):
            connection = http.client.HTTPConnection("127.0.0.1", self.emulator.port, timeout=60)
            with contextlib.closing(connection):
                connection.connect()
                start.wait(30)
                connection.request("POST", path, form, {"Host": host, "Content-Type": "application/x-www-form-urlencoded"})
                answer = connection.getresponse()
                return answer.status, answer.read().decode()

        with ThreadPoolExecutor(len(forms)) as pool:
            return list(pool.map(send, forms))

    # ---- Behind the scenes ----

    def mirrored_id(self, namespace):
        """What the secret with a namespace's token is called."""
        return f"{self.operator['GATEMINT_VAULT'].removeprefix('secretsmanager:')}/fresh/{namespace}"

    def mirrored(self, namespace):
        """The token in it, or none."""
        try:
            found = self.secrets.get_secret_value(SecretId=self.mirrored_id(namespace))
        except self.secrets.exceptions.ResourceNotFoundException:
            return None
        return json.loads(found["SecretString"])["AUTH_TOKEN"]

    def mirror_token(self, name, wanted=True):
        """An admin's wish that a user's token is mirrored, or is not any more."""
        return self.json(f"/v1/users/{name}", self.admin, {"mirror_token": wanted}, "PATCH")

    def asked_to_refresh(self):
        """What a run came to that a schedule asks for, or how it failed; and whether it did."""
        event = {"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
        answer = self.functions.invoke(FunctionName=self.names["RefreshSecrets"], Payload=json.dumps(event))
        return json.loads(answer["Payload"].read()), "FunctionError" in answer

    def processes(self, logical):
        """The processes that are a function of this stack now."""
        wanted = {f"AWS_LAMBDA_FUNCTION_NAME={self.names[logical]}".encode(), f"AWS_ENDPOINT_URL={self.emulator.endpoint}".encode()}
        found = set()
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if process.name.isdigit() and wanted <= set((process / "environ").read_bytes().split(b"\0")):
                    found.add(int(process.name))
        return found

    def worked(self, logical):
        """How long each process of a function has had a processor so far, in nanoseconds; one that waits has none."""
        found = {}
        for process in self.processes(logical):
            with contextlib.suppress(OSError):
                found[process] = sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{process}/task").iterdir())
        return found

    def metrics(self, logical):
        """What CloudWatch makes of a function's log lines: the names of metrics, each with its dimensions."""
        logs, group = self.emulator.client("logs"), self.names[f"{logical}Log"]
        for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=group):
            for stream in page["logStreams"]:
                for event in logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], limit=10_000)["events"]:
                    line = json.loads(event["message"]) if event["message"].startswith('{"_aws"') else {"_aws": {"CloudWatchMetrics": []}}
                    for directive in line["_aws"]["CloudWatchMetrics"]:
                        for names in directive["Dimensions"]:
                            dimensions = {name: line[name] for name in names}
                            yield from ((metric["Name"], dimensions) for metric in directive["Metrics"])

    def start_afresh(self, logical):
        """Ends a function's processes, and what they remember with them, as a new version of it would."""
        self.memory += 1  # nothing in it is measured, and only a change has this effect
        self.functions.update_function_configuration(FunctionName=self.names[logical], MemorySize=self.memory)
        deadline = time.monotonic() + 20
        while self.processes(logical):
            check(time.monotonic() < deadline, f"{logical} has processes that do not end")
            time.sleep(0.02)

    def policy(self, logical):
        return self.iam.get_role_policy(RoleName=self.names[f"{logical}Role"], PolicyName="gatemint")["PolicyDocument"]

    def set_policy(self, logical, document):
        self.iam.put_role_policy(RoleName=self.names[f"{logical}Role"], PolicyName="gatemint", PolicyDocument=json.dumps(document))

    def current_version(self):
        """The id and the value of the signing secret's current version."""
        found = self.secrets.get_secret_value(SecretId=self.names["SigningSecret"])
        return found["VersionId"], found["SecretString"]

    def rotations(self):
        """Every rotation that has ended so far: its token, and how, as the emulator says it."""
        return re.findall(r"^rotation (\S+) (came to its end|failed at .*)$", self.emulator.printed(), re.MULTILINE)

    def rotate(self, seconds=60):
        """Asks Secrets Manager for a rotation, and waits for its end. Returns its token, and how it ended."""
        before = len(self.rotations())
        with contextlib.suppress(self.secrets.exceptions.InvalidRequestException):  # the one before is tried again
            self.secrets.rotate_secret(SecretId=self.names["SigningSecret"])
        return self.rotation_after(before, seconds)

    def rotation_after(self, before, seconds=60):
        deadline = time.monotonic() + seconds
        while len(ended := self.rotations()) <= before:
            check(time.monotonic() < deadline, f"no rotation ended within {seconds} s")
            time.sleep(0.05)
        return ended[before]


def curl(url, *arguments):
    command = ["curl", "-sS", "--max-time", "40", "--path-as-is", "-w", "\n%{http_code}", *arguments, url]
    done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    check(done.returncode == 0, f"curl {url} ended with {done.returncode}: {done.stderr}")
    body, _, status = done.stdout.rpartition("\n")
    return Answer(int(status), None, body)


def token_in(answer):
    """The token in the full token that a service account is shown with, once."""
    return json.loads(base64.b64decode(answer.json()["token"]))["token"]


def answered(answer, status, what):
    equal(answer.status, status, f"the status of {what} ({answer.body!r})")
    return answer
