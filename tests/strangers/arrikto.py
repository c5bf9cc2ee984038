"""Arrikto's guide for clients outside of the cluster: an identity made at a terminal, a client that calls through a gateway
with short-lived tokens, and the same by hand with kubectl.

Pictures of the terminal are kept beside the built program, in pictures/.
"""

import base64
import contextlib
import html
import json
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import jwt
from arrikto_client import AUDIENCE, Client
from cli import PASSWORD, Home, Terminal
from kube_gateway_browser import Browser
from kubectls import Kubectl, client_version
from proxies import Proxy, echoing
from support import BIN, ROOT, Serve, check, counted, equal, gatemint, temporary_directory
from tls import Tls, certificate

README = (ROOT / "README.md").read_text()
PICTURES = Path(BIN).parent.parent / "pictures"
HOST = "pipelines.jobs.example.org"
FINISHED = "Successfully created ServiceAccount `ada/serving' and retrieved its token!"
FULL_BAR = r"^\[#{24}\] 100% \(4/4\)$"
SAID = """Kubernetes ServiceAccount Creator

Creating ServiceAccount...
Created ServiceAccount!
Authorizing ServiceAccount to create tokens for itself...
Authorized ServiceAccount!
Getting a long-lived token for the ServiceAccount...
Retrieved token!
Storing token in file...
"""


# --- a terminal


class Holding:
    """Hands connections on to a service, and holds a request for a path back until it is told to let it go."""

    def __init__(self, target, path):
        self.target, self.path = target, path
        self.held, self.release = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.hand_on, args=(self.listener.accept()[0],), daemon=True).start()

    def hand_on(self, client):
        with client, socket.create_connection(("127.0.0.1", self.target)) as service, contextlib.suppress(OSError):
            threading.Thread(target=self.back, args=(service, client), daemon=True).start()
            while piece := client.recv(65536):
                if self.path in piece and not self.release.is_set():
                    self.held.set()
                    self.release.wait(60)
                service.sendall(piece)

    @staticmethod
    def back(service, client):
        with contextlib.suppress(OSError):
            while piece := service.recv(65536):
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)


class Screen(Terminal):
    """A terminal whose pictures are taken."""

    def __init__(self, home, browser):
        super().__init__(home)
        self.tab, self.pictures, self.commands = browser.tab(), 0, 0
        self.tab.show_as((920, 740))

    def picture(self, name):
        """The pane as it is on the screen, drawn."""
        text = html.escape(self.screen())
        style = "body{margin:0;background:#101418;color:#d8dee4}pre{font:15px/18px 'DejaVu Sans Mono',monospace;margin:12px}"
        file = self.home.place / "screen.html"
        file.write_text(f"<!DOCTYPE html><meta charset='utf-8'><title>{name}</title><style>{style}</style><pre>{text}</pre>")
        self.tab.open(file.as_uri())
        self.tab.picture(PICTURES / f"arrikto-{name}.png")
        self.pictures += 1

    def key(self, key):
        self.tmux("send-keys", key)

    def run(self, command):
        """Types a command. Its end is numbered: that of the one before may still be on the screen."""
        self.commands += 1
        self.type(f"clear; {command}; echo ended {self.commands} with $?")

    def ended(self, status):
        """The screen, once the command has ended with that status."""
        return self.until(rf"ended {self.commands} with {status}")


def said_in_order(screen):
    """The pane has every line of the guide, in its order."""
    at = 0
    for line in filter(None, SAID.splitlines()):
        at = screen.find(line, at)
        check(at >= 0, f"{line!r} is not where it should be:\n{screen}")
        at += len(line)
    check(re.search(FULL_BAR, screen, re.MULTILINE), f"no full bar:\n{screen}")
    check(screen.index("100%") < screen.index(FINISHED) and "eyJ" not in screen, screen)


def at_a_terminal(serve, home, browser):
    """`identity create` asks, shows how far it is, and is run again. Returns how often it was run."""
    holding = Holding(serve.port, b"GET /api/v1/namespaces/ada/secrets/")
    home.login(holding.url, "ada", PASSWORD)
    token, runs = home.place / "ada-serving.token", 0
    with Screen(home, browser) as terminal:
        # No answer, and none that could be a name.
        terminal.run("gatemint identity create")
        terminal.until(r"^What is the name of the ServiceAccount\?$")
        terminal.key("C-d")
        check("no answer was given; nothing was done" in terminal.ended(2), "told what was done")
        equal([path.name for path in home.place.iterdir() if "oken" in path.name or path.suffix == ".log"], [], "what was begun")

        terminal.run("gatemint identity create")
        terminal.until(r"^What is the name of the ServiceAccount\?$")
        terminal.type("Serving!")
        terminal.until(r"(?s)A name must be.*^What is the name of the ServiceAccount\?$")
        terminal.type("serving")
        terminal.until(r"^What is the namespace of the ServiceAccount\? \[ada\]$")
        terminal.picture("asked")
        terminal.type("")
        # Half way through, because the service takes its time.
        check(holding.held.wait(30), "the token is asked for")
        half = terminal.until(r"^\[#{12}\.{12}\]  50% \(2/4\)$")
        check("Getting a long-lived token" in half and "Retrieved" not in half, half)
        terminal.picture("half-way")
        holding.release.set()
        screen = terminal.ended(0)
        said_in_order(screen)
        check("service_account_creator.log" in screen and "ada-serving.token" in screen, screen)
        terminal.picture("first-run")
        runs += 1
        kept = token.read_text()
        check(re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", kept), f"a token and nothing else: {len(kept)} characters")
        equal(stat.S_IMODE(token.stat().st_mode), 0o600, "the mode of the token's file")

        # Again: everything is there, and stays.
        for name, columns in (("second-run", 100), ("narrow", 40)):
            terminal.tmux("resize-window", "-x", str(columns))
            terminal.run("gatemint identity create --service-account-name serving --service-account-namespace ada")
            screen = terminal.ended(0)
            if columns == 100:
                said_in_order(screen)
            else:
                equal(len(re.findall(r"\[[#.]{24}\]", screen)), 1, f"the bars on a narrow terminal:\n{screen}")
            terminal.picture(name)
            equal(token.read_text(), kept, "the token after another run")
            runs += 1
        terminal.tmux("resize-window", "-x", "100")

        # An error finds its line free, and says what to do.
        terminal.run("gatemint identity create --service-account-name x --service-account-namespace eve")
        screen = terminal.ended(1)
        check("safe to run this again" in screen and not re.search(r"\[[#.]{24}\]", screen), screen)
        terminal.picture("refused")
        # Where nobody is asked it says which answer is missing.
        for command in ("gatemint identity create --no-input", "true | gatemint identity create"):
            terminal.run(command)
            screen = terminal.ended(2)
            check("--service-account-name" in screen, screen)
        log = (home.place / "service_account_creator.log").read_text()
        check("already exists" in log and " ERROR " in log and "eyJ" not in log, log)
        holding.listener.close()
        return runs, terminal.pictures


# --- a client


class Gateway(Proxy):
    """nginx as README.md shows it, for one audience, with the one path of Kubernetes that the guide opens to the world."""

    def nginx(self, gatemint, echo):
        command, logs = super().nginx(gatemint, echo)
        config = self.place / "nginx.conf"
        text = config.read_text()
        token_request = f"location /kubernetes/ {{ proxy_pass http://{gatemint}; }}\n    location = /_gate {{"
        for old, new in (("/auth/verify?;", f"/auth/verify?audience={AUDIENCE};"), ("location = /_gate {", token_request)):
            check(old in text, f"the configuration has no {old!r} any more")
            text = text.replace(old, new)
        config.write_text(text)
        return command, logs

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


class Later(Serve):
    """The same service, some seconds later: the library that `faketime` preloads moves its clock."""

    def __init__(self, serve, seconds):
        library = subprocess.run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True).stdout.strip()
        super().__init__(serve.data, {"LD_PRELOAD": library, "FAKETIME": f"+{seconds}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
        self.port, self.url = serve.port, serve.url


def readmes_loop(serve, home, gateway):
    """The loop as README.md has it, but for its places, until it has called once."""
    program = re.search(r"^```python\n(import time\n.*?)^```$", README, re.MULTILINE | re.DOTALL)[1]
    for old, new in (
        ("http://127.0.0.1:9000", serve.url),
        ("https://pipelines.jobs.example.org/apis", f"{gateway.url}/apis"),
        ("admin-serving.token", "ada-serving.token"),
        ('f"Bearer {token}"}', f'f"Bearer {{token}}", "Host": "{HOST}"}}'),
    ):
        equal(program.count(old), 1, f"how often README.md's loop has {old}")
        program = program.replace(old, new)
    process = subprocess.Popen([sys.executable, "-c", program], cwd=home.place, stdout=subprocess.PIPE, text=True)
    try:
        return process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)


def calls(serve, home, gateway, echo):
    """A client that loops: it is let in as the service account, and renews its token before that ends."""
    done, token = 0, home.place / "ada-serving.token"
    client = Client(token, gateway.url)
    equal(client.whoami(), ("ada", "serving"), "what the long-lived token says")

    def called(expected, **more):
        nonlocal done
        done += 1
        answer = client.call(f"{gateway.url}/pipeline/apis", HOST, **more)
        equal(answer.status_code, expected, f"a call ({answer.text})")
        return answer

    # It may request tokens, and nothing else until it is authorized for the namespace.
    called(403)
    home.run("identity", "authorize", "--service-account-name", "serving")
    called(200)
    got = echo.got[-1]
    headers = {}
    for name, value in got["headers"]:
        headers.setdefault(name.lower(), []).append(value)
    equal(headers["kubeflow-userid"], ["system:serviceaccount:ada:serving"], "who the upstream is told it is")
    check("authorization" not in headers, "the upstream gets no token")
    called(200, **{"kubeflow-userid": "system:serviceaccount:ada:admin"})
    forged = [value for name, value in echo.got[-1]["headers"] if name.lower() == "kubeflow-userid"]
    equal(forged, ["system:serviceaccount:ada:serving"], "who the upstream is told it is, whatever the client says")
    says = jwt.decode(client.token, options={"verify_signature": False})
    equal((says["aud"], says["exp"] - says["iat"], says["sub"]), ([AUDIENCE], 600, "system:serviceaccount:ada:serving"), "what was asked for")
    equal(client.requests, 1, "one token for all these calls")
    equal(readmes_loop(serve, home, gateway), "200", "what README.md's loop prints")

    # The long-lived token is for the TokenRequest API alone, and a token for somebody else is none for this gateway.
    called(403, token=token.read_text())
    called(403, token=client.request(audience="somebody.else").json()["status"]["token"])
    for seconds, status in ((599, 422), (600, 201), (0, 422), (-1, 422), (2**32 + 1, 422)):
        answer = client.request(seconds=seconds)
        equal(answer.status_code, status, f"a token for {seconds} s ({answer.text})")
        done += 1
    long = client.request(seconds=7 * 86400)
    check("Warning" in long.headers, f"more than a day is cut, and that is said: {long.headers}")

    # Ten minutes go by.
    first, before = client.token, client.requests
    serve.end()
    for passed, is_renewed, of_the_first in ((500, False, 200), (560, True, 200), (620, True, 401), (1180, True, 401)):
        with Later(serve, passed):
            client.now = lambda passed=passed: time.time() + passed
            used = client.token
            called(200)
            equal(client.token != first, is_renewed, f"whether the token is another one after {passed} s")
            called(of_the_first, token=first)
            if client.token != used:
                check(client.ends - client.now() > 500, "the new one is good for its ten minutes")
    equal(client.requests - before, 2, "tokens for the twenty minutes")
    return done, client.requests


# --- by hand

MANIFESTS = """
apiVersion: v1
kind: ServiceAccount
metadata:
  name: manual
  namespace: ada
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: manual-create-token
  namespace: ada
rules:
- apiGroups:
  - ""
  resources:
  - serviceaccounts/token
  resourceNames:
  - manual
  verbs:
  - create
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: manual-create-token
  namespace: ada
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: manual-create-token
subjects:
- kind: ServiceAccount
  name: manual
  namespace: ada
"""
PLUGIN = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": BIN, "args": ["credential", "kubectl"]}


def by_hand(serve, home, gateway, place):
    """ServiceAccount, Role and RoleBinding from files; the Secret's token into a file; the same client with that."""
    check(f"```yaml\n{MANIFESTS.strip()}\n```" in README, "README.md has the same manifests")
    cert, key = certificate(place)
    tls = Tls(cert, key)
    tls.target = serve.port
    plugin = {**PLUGIN, "env": [{"name": "HOME", "value": str(home.place)}]}
    program = shutil.which("kubectl")
    kubectl = Kubectl(program, place / "kubectl", f"https://127.0.0.1:{tls.port}", cert, {"exec": plugin}, "ada")
    for number, manifest in enumerate(MANIFESTS.split("---")):
        file = kubectl.place / f"{number}.yaml"
        file.write_text(manifest)
        made = kubectl("apply", "--validate=false", "-f", str(file))
        check(re.search(r"manual(-create-token)? created", made), f"what was made: {made}")
    kubectl("apply", "--validate=false", "-f", str(kubectl.place / "0.yaml"))

    secret = kubectl("get", "sa", "-n", "ada", "manual", "-o", "jsonpath={.secrets[0].name}")
    encoded = kubectl("get", "secret", "-n", "ada", secret, "-o", "jsonpath={.data.token}")
    token = place / "ada-manual.token"
    token.touch(0o600)
    # By hand there is a line end: `echo` has made it.
    token.write_text(base64.b64decode(encoded).decode() + "\n")
    described = json.loads(kubectl("get", "secret", "-n", "ada", secret, "-o", "json"))
    equal(described["type"], "kubernetes.io/service-account-token", "the Secret's type")

    printed = home.run("credential", "service-account", "--token-file", str(token), "--audience", AUDIENCE, "--duration", "10m").stdout
    token.write_text(token.read_text().strip())
    client = Client(token, gateway.url)
    equal(client.whoami(), ("ada", "manual"), "what the long-lived token says")
    home.run("acl", "grant", "flow:pipelines", "ada/service-accounts/manual", "read")
    for used in (printed.strip(), None):
        equal(client.call(f"{gateway.url}/", HOST, token=used).status_code, 200, "a call with a token that was made by hand")
    # Without its RoleBinding it gets no more tokens; without its account those that it has are worth nothing.
    kubectl("delete", "rolebinding", "manual-create-token")
    equal(client.request().status_code, 403, "a request without a RoleBinding")
    equal(client.call(f"{gateway.url}/", HOST).status_code, 200, "a token from before")
    kubectl("delete", "sa", "manual")
    equal(client.call(f"{gateway.url}/", HOST).status_code, 401, "a token whose account is gone")
    equal(client.request().status_code, 401, "a request whose account is gone")
    tls.listener.close()
    return kubectl.commands, client_version(program)


def main():
    with temporary_directory() as place, echoing() as echo:
        with Serve(place / "data") as serve, Browser(place) as browser:
            data = ("--data", str(serve.data))
            gatemint("user", "create", "ada", "--password-stdin", *data, stdin=PASSWORD)
            gatemint("user", "create", "eve", "--password-stdin", *data, stdin=PASSWORD)
            gatemint("site", "create", "jobs", "--host", "{name}.jobs.example.org", "--resource", "flow://{cluster}/ada/{name}", *data)
            home = Home(place / "ada")
            runs, pictures = at_a_terminal(serve, home, browser)
            counted(f"{runs} runs of identity create at a terminal, {pictures} pictures of it in {PICTURES}")
            home.login(serve.url, "ada", PASSWORD)
            with Gateway("nginx", place / "gateway", serve.port, echo.server_address[1]) as gateway:
                commands, version = by_hand(serve, home, gateway, place)
                counted(f"{commands} commands of kubectl {version}, which signs in with `gatemint credential kubectl`")
                done, requests = calls(serve, home, gateway, echo)
                counted(f"{done} calls and requests of a client in twenty minutes, {requests} short-lived tokens")


main()
