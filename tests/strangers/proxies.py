"""One set of requests through real proxies that ask gatemint, in front of a service that says what reached it.

The configurations are the files of `proxies/`, which README.md shows word for word: only addresses and places of logs are
others here. Arguments name the proxies.
"""

import contextlib
import http.client
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from support import BIN, ENVIRONMENT, HERE, ROOT, Serve, _open, check, counted, decoded, equal, free_port, get, password_grant, temporary_directory

PASSWORD = "correct horse battery staple"
HERS = "vms.example.org"
JOB = "train--ada.jobs.example.org"
# Says who asked in a query string; no log may have it.
MARK = "q7Zk2-marked"
TOLD = ("x-auth-request-user", "x-auth-request-preferred-username", "x-auth-request-email", "x-auth-request-groups", "kubeflow-userid")
FAMILIES = ("x-original-method", "x-original-url", "x-original-uri", "x-forwarded-method", "x-forwarded-uri")
# More than one reading, or none. The token covers every path, so nothing but the path is at fault.
TRICKS = (
    "/a/../b", "/../b", "/a/..", "/a/%2e%2e/b", "/a/.%2E/b", "/a/./b", "/a/%2e/b", "/a%2fb", "/a%2F..%2Fb", "/a/%252e%252e/b", "/a%25b",
    "//b", "/a//b", "//evil.example.org/b", "/a;x=y", "/a;x=y/b", "/a/..;/b", "/a%3bx=y", "/a%5c..%5cb", "/a\\..\\b", "/a%00b", "/a%0d%0aX:y", "/a%7f",
    "/a%3fb", "/a%23b", "/%c0%af", "/%ff", "/%2", "/%zz", "/%u002e",
)  # fmt: skip


class Echo(http.server.BaseHTTPRequestHandler):
    """The guarded service: answers with what it got."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        got = {"method": self.command, "target": self.path, "headers": self.headers.items(), "body": self.rfile.read(length).decode()}
        self.server.got.append(got)
        body = b"" if self.command == "HEAD" else json.dumps(got).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)


class Service(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A proxy may drop a connection that it does not need any more."""


@contextlib.contextmanager
def echoing():
    with Service(("127.0.0.1", 0), Echo) as server:
        server.got = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


def ask(port, method, target, headers=(), host=HERS, body=None):
    """Sends a request as it is written: nothing is tidied up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in (("Host", host), *headers):
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


def snippet(name, changes):
    """A file of `proxies/` with other addresses; each of them must be there."""
    text = (HERE / "proxies" / name).read_text()
    for old, new in changes.items():
        check(old in text, f"{name} has no {old!r} any more")
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy in front of the echo, ready inside the `with` block."""

    def __init__(self, name, place, gatemint, echo):
        self.name, self.place, self.port = name, place, free_port()
        self.place.mkdir()
        self.log = self.place / "output"
        self.command, self.logs = getattr(self, name)(f"127.0.0.1:{gatemint}", f"127.0.0.1:{echo}")
        self.logs.append(self.log)

    def nginx(self, gatemint, echo):
        logs = [self.place / "access.log", self.place / "error.log"]
        changes = {
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port};", "127.0.0.1:9000": gatemint, "127.0.0.1:8080": echo,
            "/var/log/nginx/gate.log": str(logs[0]), "/var/log/nginx/gate-error.log": str(logs[1]),
        }  # fmt: skip
        places = "".join(f"{kind}_temp_path {self.place}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = self.place / "nginx.conf"
        # Debian's build is one process here, as whoever runs the tests.
        config.write_text(
            f"daemon off; master_process off; pid {self.place}/pid; error_log {logs[1]} crit;\nevents {{}}\nhttp {{\n{places}"
            f"access_log off;\n{snippet('nginx.conf', changes)}\n}}\n"
        )
        return ["nginx", "-c", str(config), "-p", str(self.place), "-e", str(logs[1])], logs

    def caddy(self, gatemint, echo):
        here = f"http://vms.example.org:{self.port}, http://*.jobs.example.org:{self.port} {{\n\tbind 127.0.0.1"
        changes = {"vms.example.org, *.jobs.example.org {": here, "{\n\tlog default": "{\n\tadmin off\n\tlog default", "127.0.0.1:9000": gatemint, "127.0.0.1:8080": echo}
        config = self.place / "Caddyfile"
        config.write_text(snippet("Caddyfile", changes))
        return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"], []

    def haproxy(self, gatemint, echo):
        changes = {"bind :443 ssl crt /etc/haproxy/gate.pem": f"bind 127.0.0.1:{self.port}", "127.0.0.1:9000": gatemint, "127.0.0.1:8080": echo}
        (self.place / "gate.lua").write_text(snippet("gate.lua", {"127.0.0.1:9000": gatemint}))
        config = self.place / "haproxy.cfg"
        config.write_text(snippet("haproxy.cfg", changes))
        return ["haproxy", "-db", "-f", str(config)], []

    def __enter__(self):
        environment = {**ENVIRONMENT, "HOME": str(self.place), "XDG_CONFIG_HOME": str(self.place), "XDG_DATA_HOME": str(self.place)}
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(self.command, cwd=self.place, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            self.wait_until_ready()
        except BaseException:
            self.end()
            raise
        return self

    def wait_until_ready(self, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.printed()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.name} was not ready after {seconds} s: {self.printed()}")

    def printed(self):
        return "".join(log.read_text(errors="replace") for log in self.logs if log.exists())

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __exit__(self, kind, *_):
        self.end()
        if kind is not None:
            print(f"--- what {self.name} printed\n{self.printed()}---", file=sys.stderr)


def operator(serve, *arguments, stdin=""):
    done = subprocess.run(
        [BIN, *arguments, "--data", str(serve.data)], input=stdin, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    equal(done.returncode, 0, f"the exit code of gatemint {' '.join(arguments)} ({done.stderr})")


def gate_tokens(serve, access, name="", method="POST", spec=None):
    """Makes or ends a gate token in the namespace vms, and returns the answer."""
    url = f"{serve.url}/apis/kubegateway.kubevirt.io/v1beta1/namespaces/vms/gatetokens{'' if method == 'POST' else f'/{name}'}"
    body = {"apiVersion": "kubegateway.kubevirt.io/v1beta1", "kind": "GateToken", "metadata": {"name": name, "namespace": "vms"}, "spec": {"secret-name": "gatemint-jwt-secret", **(spec or {})}}
    data = json.dumps(body).encode() if method == "POST" else None
    headers = {"Authorization": f"Bearer {access}", "Content-Type": "application/json"}
    return _open(urllib.request.Request(url, data=data, headers=headers, method=method))


class World:
    """Users, a site, and tokens of every kind."""

    def __init__(self, serve):
        self.serve = serve
        for name in ("ada", "bob", "eve"):
            operator(serve, "user", "create", name, "--email", f"{name}@example.org", "--role", "analysts", "--password-stdin", stdin=PASSWORD)
        operator(serve, "site", "create", "jobs", "--host", "{name}--{owner}.jobs.example.org", "--resource", "job://{cluster}/{owner}/{name}")
        operator(serve, "acl", "grant", "job://default/ada/train", "bob", "read")
        operator(serve, "acl", "grant", "gatetoken:vms", "ada", "write")
        self.ada, self.bob, self.eve = (password_grant(serve.url, name, PASSWORD)["access_token"] for name in ("ada", "bob", "eve"))
        self.open = self.mint("open", ["/ok/*", "/exact"])
        self.write = self.mint("write", ["/ok/*"], verbs=["get", "post"])
        self.all = self.mint("all", ["/*"], verbs=["get", "post", "delete"])
        self.absolute = self.mint("absolute", [f"http://{HERS}/abs/*", f"http://{JOB}/abs/*"])
        self.later = self.mint("later", ["/*"], **{"from": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))})
        self.revoked = self.mint("revoked", ["/*"])
        equal(gate_tokens(serve, self.ada, "revoked", "DELETE").status, 200, "the status of a revocation")
        self.once = self.mint("once", ["/ok/*"], **{"one-time": True})
        self.expired = self.mint("expired", ["/*"], duration="1s")
        deadline = time.monotonic() + 30
        while (answer := self.judged(self.expired)) != 401:
            check(answer == 200 and time.monotonic() < deadline, f"a token of a second: {answer}")
            time.sleep(0.1)

    def judged(self, token):
        """What gatemint itself says of a token."""
        if self.serve.settings.get("GATEMINT_FORWARD_HEADERS") == "forwarded":
            asked = {"X-Forwarded-Method": "GET", "X-Forwarded-Proto": "http", "X-Forwarded-Host": HERS, "X-Forwarded-Uri": "/x"}
        else:
            asked = {"X-Original-Method": "GET", "X-Original-URL": f"http://{HERS}/x"}
        return get(f"{self.serve.url}/auth/verify", {"Authorization": f"Bearer {token}", **asked}).status

    def mint(self, name, urls, **spec):
        answer = gate_tokens(self.serve, self.ada, name, spec={"urls": urls, **spec})
        equal(answer.status, 201, f"the status of a new gate token ({answer.body!r})")
        token = answer.json()["status"]["token"]
        equal(decoded(token)["sub"], f"gatetoken:vms/{name}", "whom a gate token is about")
        return token


def bearer(token):
    return ("Authorization", f"Bearer {token}")


def cookie(*pairs):
    return ("Cookie", "; ".join(f"{name}={value}" for name, value in pairs))


LINK, DAT = "kg-jwt-session-code", "dat"


def requests(w):
    """What is asked: a name, the status, whose identity reaches the service, and the request."""
    gate = (decoded(w.open)["sub"], "")
    for name, status, who, method, target, headers, host in (
        ("allowed", 200, gate, "GET", "/ok/a", [bearer(w.open)], HERS),
        ("allowed, escaped", 200, gate, "GET", "/%6fk/%61%20b", [bearer(w.open)], HERS),
        ("allowed, exact", 200, gate, "GET", "/exact", [bearer(w.open)], HERS),
        ("allowed, HEAD", 200, gate, "HEAD", "/ok/a", [bearer(w.open)], HERS),
        ("allowed, POST", 200, (decoded(w.write)["sub"], ""), "POST", "/ok/a", [bearer(w.write)], HERS),
        ("allowed, query", 200, gate, "GET", f"/ok/a?mark={MARK}&list=1,2&then=/../x", [bearer(w.open)], HERS),
        ("allowed, a question of the proxy's own", 200, gate, "GET", "/ok/a?strip=/ok&audience=x", [bearer(w.open)], HERS),
        ("allowed, host in capitals", 200, gate, "GET", "/ok/a", [bearer(w.open)], HERS.upper()),
        ("allowed, absolute URL", 200, (decoded(w.absolute)["sub"], ""), "GET", "/abs/a", [bearer(w.absolute)], HERS),
        ("allowed, absolute URL on a site", 200, (decoded(w.absolute)["sub"], ""), "GET", "/abs/a", [bearer(w.absolute)], JOB),
        ("cookie", 200, gate, "GET", "/ok/a", [cookie((LINK, w.open))], HERS),
        ("cookies", 200, gate, "GET", "/ok/a", [cookie((DAT, "x"), (LINK, "a.b.c"), ("other", "x"), (LINK, w.open))], HERS),
        ("two Cookie headers", 200, gate, "GET", "/ok/a", [cookie((LINK, w.expired)), cookie((LINK, w.open))], HERS),
        ("owner", 200, ("ada", "ada@example.org"), "POST", "/any?x=1", [bearer(w.ada)], JOB),
        ("reader", 200, ("bob", "bob@example.org"), "GET", "/any", [bearer(w.bob)], JOB),
        ("reader's cookie", 200, ("bob", "bob@example.org"), "GET", "/any", [cookie((LINK, w.open), (DAT, w.bob))], JOB),
        ("wrong path", 403, None, "GET", "/no", [bearer(w.open)], HERS),
        ("beside the pattern", 403, None, "GET", "/ok", [bearer(w.open)], HERS),
        ("beyond the exact one", 403, None, "GET", "/exact/more", [bearer(w.open)], HERS),
        ("other letters", 403, None, "GET", "/OK/a", [bearer(w.open)], HERS),
        ("wrong verb", 403, None, "POST", "/ok/a", [bearer(w.open)], HERS),
        ("another verb", 403, None, "DELETE", "/ok/a", [bearer(w.write)], HERS),
        ("verb by a header", 403, None, "POST", "/ok/a", [bearer(w.open), ("X-HTTP-Method-Override", "GET")], HERS),
        ("wrong host of an absolute URL", 403, None, "GET", "/abs/a", [bearer(w.absolute)], "other.jobs.example.org"),
        ("a path alone on a site", 403, None, "GET", "/ok/a", [bearer(w.all)], JOB),
        ("a stranger", 403, None, "GET", "/any", [bearer(w.eve)], JOB),
        ("a reader writes", 403, None, "POST", "/any", [bearer(w.bob)], JOB),
        ("an account where no site is", 403, None, "GET", "/ok/a", [bearer(w.ada)], HERS),
        ("expired", 401, None, "GET", "/ok/a", [bearer(w.expired)], HERS),
        ("not yet", 401, None, "GET", "/ok/a", [bearer(w.later)], HERS),
        ("revoked", 401, None, "GET", "/ok/a", [bearer(w.revoked)], HERS),
        ("revoked, as a cookie", 401, None, "GET", "/ok/a", [cookie((LINK, w.revoked))], HERS),
        ("a one-time link is no token", 401, None, "GET", "/ok/a", [bearer(w.once)], HERS),
        ("nothing", 401, None, "GET", "/ok/a", [], HERS),
        ("another scheme", 401, None, "GET", "/ok/a", [("Authorization", "Basic YWRhOng=")], HERS),
        ("junk", 401, None, "GET", "/ok/a", [bearer("a.b.c")], HERS),
        ("cut off", 401, None, "GET", "/ok/a", [bearer(w.open[:-1])], HERS),
        ("Bearer decides alone", 401, None, "GET", "/ok/a", [bearer("a.b.c"), cookie((LINK, w.open))], HERS),
        ("nine cookies", 403, None, "GET", "/ok/a", [cookie(*[(LINK, w.open)] * 9)], HERS),
    ):
        yield name, status, who, dict(method=method, target=target, headers=headers, host=host, body=b"hello" if method == "POST" else None)


FORGED = [
    ("X-Auth-Request-User", "root"), ("X-Auth-Request-Preferred-Username", "root"), ("X-Auth-Request-Email", "root@example.org"), ("X-Auth-Request-Groups", "admin"),
    ("kubeflow-userid", "root"), ("KUBEFLOW-USERID", "root"), ("X_Auth_Request_User", "root"), ("kubeflow_userid", "root"), ("x-auth_request-groups", "admin"),
]  # fmt: skip


def forged(w):
    """Headers that only a proxy may say, from a client."""
    original = [("X-Original-Method", "GET"), ("X-Original-URL", f"http://{HERS}/ok/a"), ("X-Original-URI", "/ok/a")]
    forwarded = [("X-Forwarded-Method", "GET"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", HERS), ("X-Forwarded-Uri", "/ok/a"), ("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Prefix", "/ok")]
    gate = (decoded(w.open)["sub"], "")
    for name, more in (("answers", FORGED), ("nginx's", original), ("Traefik's", forwarded), ("all", [*FORGED, *original, *forwarded])):
        yield f"forged {name}, allowed", 200, gate, dict(method="GET", target="/ok/a", headers=[bearer(w.open), *more])
        yield f"forged {name}, wrong path", 403, None, dict(method="GET", target="/no", headers=[bearer(w.open), *more])
        yield f"forged {name}, wrong verb", 403, None, dict(method="DELETE", target="/ok/a", headers=[bearer(w.open), *more])
        yield f"forged {name}, no token", 401, None, dict(method="GET", target="/ok/a", headers=more)
        yield f"forged {name}, another's site", 403, None, dict(method="GET", target="/ok/a", headers=[bearer(w.open), *more], host=JOB)
    for names in ("X-Auth-Request-User, kubeflow-userid, x-auth-request-groups, X-Auth-Request-Email, X-Auth-Request-Preferred-Username", "close, X-Forwarded-Uri, X-Forwarded-Method, X-Original-URL, X-Original-Method"):
        # RFC 9110 section 7.6.1: what Connection names is for the next hop alone.
        yield "a proxy's headers are nobody's to drop", 200, ("ada", "ada@example.org"), dict(method="GET", target="/ok/a", headers=[bearer(w.ada), ("Connection", names), *FORGED], host=JOB)
        yield "a proxy's question is nobody's to shorten", 403, None, dict(method="GET", target="/no", headers=[bearer(w.open), ("Connection", names), *FORGED])


def unclear(w):
    """Requests that have no single reading."""
    for path in TRICKS:
        yield path, dict(method="GET", target=path, headers=[bearer(w.all)])
        yield f"{path} as a cookie", dict(method="GET", target=f"{path}?x=/ok/a", headers=[cookie((LINK, w.all))])
    # A request line that names another host than Host does: what is judged must be what is served.
    yield "a site's URL behind another Host", dict(method="GET", target=f"http://{JOB}/ok/a", headers=[bearer(w.all)])
    yield "two hosts", dict(method="GET", target="/ok/a", headers=[bearer(w.all), ("Host", JOB)])
    yield "no host", dict(method="GET", target="/ok/a", headers=[bearer(w.all)], host="")
    yield "a host with a path", dict(method="GET", target="/ok/a", headers=[bearer(w.all)], host=f"{HERS}/ok")
    yield "two tokens", dict(method="GET", target="/no", headers=[bearer(w.open), bearer(w.all)])


def one(headers, name):
    values = [value for other, value in headers if other.lower() == name]
    check(len(values) <= 1, f"{name} reached the service {len(values)} times")
    return values[0] if values else ""


def reached(got, who, request):
    """What the service was told, and that nobody but gatemint and the proxy has told it."""
    headers, (user, email) = got["headers"], who
    expected = dict(zip(TOLD, (user, user, email, "analysts" if email else "", user)))
    equal({name: one(headers, name) for name in TOLD}, expected, "what the service is told")
    names = [name.lower() for name, _ in headers]
    check(not any("_" in name for name in names), f"an underscore is as good as a hyphen to many: {names}")
    check("authorization" not in names, "a visitor's token reached the service")
    check(not set(names) & set(FAMILIES), f"a proxy's question reached the service: {names}")
    check("root" not in json.dumps(headers), f"a client's own word reached the service: {headers}")
    equal(got["method"], request["method"], "the method")
    asked, given = (urllib.parse.urlsplit(target) for target in (request["target"], got["target"]))
    equal((urllib.parse.unquote(given.path), given.query), (urllib.parse.unquote(asked.path), asked.query), "path and query")
    equal(one(headers, "host").lower().split(":")[0], (request.get("host") or HERS).lower(), "the host")
    equal(got["body"].encode(), request.get("body") or b"", "the body")


def through(proxy, echo, world):
    """Every request through one proxy. Returns how many there were, and how many reached the service."""
    asked = arrived = 0
    for name, status, who, request in (*requests(world), *forged(world)):
        echo.got.clear()
        answer = ask(proxy.port, **request)
        what = f"{proxy.name}: {name}"
        equal(answer.status, status, f"the status of {what} ({answer.body!r})")
        equal(len(echo.got), 1 if who else 0, f"how often {what} reached the service")
        if who:
            try:
                reached(echo.got[0], who, request)
            except AssertionError as why:
                raise AssertionError(f"{what}: {why}") from why
        if status == 401:
            check(answer.headers["WWW-Authenticate"].startswith("Bearer"), f"the challenge of {what}: {answer.headers.items()}")
        asked, arrived = asked + 1, arrived + len(echo.got)
    echo.got.clear()
    for name, request in unclear(world):
        answer = ask(proxy.port, **request)
        # Where no site of Caddy's is, it answers 200 and nothing.
        check(answer.status in (400, 401, 403, 404) or (answer.status, answer.body) == (200, b""), f"the status of {proxy.name}: {name}: {answer.status} ({answer.body!r})")
        equal(echo.got, [], f"what {proxy.name} let through of {name}")
        asked += 1
    return asked, arrived


def a_link(proxy, echo, world):
    """A link that is opened through the proxy sets a cookie that opens what the token names."""
    query = urllib.parse.urlencode({"token": world.open, "then": "/ok/a"})
    answer = ask(proxy.port, "GET", f"/auth/jwt/set?{query}")
    equal((answer.status, answer.headers["Location"]), (302, "/ok/a"), f"a link through {proxy.name} ({answer.body!r})")
    pair = answer.headers["Set-Cookie"].split(";")[0]
    for target, status in (("/ok/a", 200), ("/no", 403)):
        equal(ask(proxy.port, "GET", target, [("Cookie", pair)]).status, status, f"{target} with a link's cookie through {proxy.name}")
    refused = ask(proxy.port, "GET", f"/auth/jwt/set?token={world.revoked}")
    equal((refused.status, refused.headers["Set-Cookie"]), (403, None), "a revoked link")
    return 4


def written(proxy, world):
    """No log has a query or a token."""
    text = proxy.printed()
    check("/ok/a" in text, f"{proxy.name} wrote no log: {text!r}")
    secrets = {value for value in vars(world).values() if isinstance(value, str)}
    for secret in (MARK, "token=", *(part for token in secrets for part in token.split(".")[1:])):
        check(secret not in text, f"{secret} is in the log of {proxy.name}")
    return len(text.splitlines())


def shown_in_readme():
    """README.md shows these files as they are."""
    readme = (ROOT / "README.md").read_text()
    files = [file for file in sorted((HERE / "proxies").iterdir()) if file.name not in ("haproxy.cfg", "gate.lua")]
    for file in files:
        check(f"\n{file.read_text()}```\n" in readme, f"README.md does not show {file.name} as it is")
    return len(files)


def main(names):
    families = {"nginx": "nginx", "caddy": "forwarded", "haproxy": "nginx"}
    counted(f"{shown_in_readme()} configurations that README.md shows as they are here")
    with temporary_directory() as place, echoing() as echo:
        for name in names:
            # Told which headers count, and left to see.
            for settings in ({"GATEMINT_FORWARD_HEADERS": families[name]}, {}):
                run = place / f"{name}-{len(settings)}"
                run.mkdir()
                with contextlib.ExitStack() as stack:
                    serve = Serve(run / "data", {"GATEMINT_TRUSTED_PROXIES": "1", **settings})
                    stack.enter_context(serve)
                    world = World(serve)
                    proxy = stack.enter_context(Proxy(name, run / "proxy", serve.port, echo.server_port))
                    asked, arrived = through(proxy, echo, world)
                    links = a_link(proxy, echo, world)
                    # Without gatemint nothing is open, and what the proxy writes about that has no secret either.
                    serve.end()
                    echo.got.clear()
                    query = f"/ok/a?mark={MARK}&token={world.open}"
                    check(ask(proxy.port, "GET", query, [bearer(world.open)]).status >= 500, "without gatemint")
                    check(ask(proxy.port, "GET", f"/auth/jwt/set?token={world.open}").status >= 500, "a link without gatemint")
                    equal(echo.got, [], "what reached the service without gatemint")
                    lines = written(proxy, world)
                how = f"told to read {families[name]} headers" if settings else "told nothing"
                counted(f"{asked + links + 2} requests through {name}, gatemint {how}: {arrived} reached the service; {lines} lines of log without a secret")


if __name__ == "__main__":
    main(sys.argv[1:] or ["nginx", "caddy"])
