"""What a user does at a terminal, in a home of her own: tmux types, and what is on the screen is what she sees.

The screens are kept as text, with their colours, beside the log: `cli-screens/` in the directory of logs.
"""

import concurrent.futures
import contextlib
import http.server
import json
import os
import re
import socket
import stat
import subprocess
import threading
import time
import urllib.parse
import uuid
from pathlib import Path

from support import BIN, ENVIRONMENT, Serve, check, counted, decoded, equal, get, node, post, temporary_directory  # noqa: F401

PASSWORD = "correct horse battery staple"
SCREENS = Path(BIN).parent.parent / "logs" / "cli-screens"


class Home:
    """A user's home, with nothing in it but what gatemint keeps there."""

    def __init__(self, place):
        self.place = Path(place)
        self.place.mkdir()
        self.config = self.place / ".config" / "gatemint"
        kept = {key: value for key, value in ENVIRONMENT.items() if not key.startswith("XDG_") and key.lower() != "no_proxy"}
        # A proxy that answers nobody: what is on this machine is asked without one.
        kept.update(http_proxy="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1", ALL_PROXY="http://127.0.0.1:1")
        self.environment = {**kept, "HOME": str(self.place), "PATH": f"{Path(BIN).parent}:{os.environ['PATH']}", "TERM": "xterm-256color"}

    def run(self, *arguments, stdin="", code=0):
        done = subprocess.run(
            [BIN, *arguments], input=stdin, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        equal(done.returncode, code, f"the exit code of gatemint {' '.join(arguments)} ({done.stderr}{done.stdout})")
        check("panicked" not in done.stderr, done.stderr)
        return done

    def login(self, url, username, password, *more):
        return self.run("login", "--url", url, "--username", username, "--password-stdin", *more, stdin=f"{password}\n")

    def modes(self):
        return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [self.config, *self.config.iterdir()]}


class Terminal:
    """A shell in tmux, 100 columns wide; ended with the `with` block."""

    def __init__(self, home):
        self.server = f"gatemint-{uuid.uuid4().hex[:12]}"
        self.home, self.screens = home, 0

    def tmux(self, *arguments, **options):
        done = subprocess.run(["tmux", "-L", self.server, "-f", "/dev/null", *arguments], env=self.home.environment, stdout=subprocess.PIPE, text=True, timeout=30, check=True, **options)
        return done.stdout

    def __enter__(self):
        self.tmux("new-session", "-d", "-x", "100", "-y", "40", "-c", str(self.home.place), "bash --norc --noprofile")
        try:
            self.type("PS1='$ '; clear")
            self.until(r"^\$$")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.tmux("kill-server")

    def type(self, text):
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def until(self, pattern, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            screen = self.screen().rstrip("\n")
            if re.search(pattern, screen, re.MULTILINE):
                return screen
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} on the screen:\n{self.screen()}")

    def picture(self, name):
        self.screens += 1
        SCREENS.mkdir(parents=True, exist_ok=True)
        (SCREENS / f"{name}.ansi").write_text(self.tmux("capture-pane", "-p", "-e"))


def at_a_terminal(serve, home):
    """login asks, hides the password, and everything after it says what it did."""
    with Terminal(home) as terminal:
        terminal.type(f"gatemint login --url {serve.url}")
        terminal.until(r"^User at http://\S+:$")
        terminal.type("ada")
        terminal.until(r"^Password of ada at \S+:$")
        terminal.type("wrong " + PASSWORD)
        screen = terminal.until(r"Invalid user credentials")
        terminal.type(f"clear; gatemint login --url {serve.url}")
        terminal.until(r"^User at http://\S+:$")
        terminal.type("ada")
        terminal.until(r"^Password of ada at \S+:$")
        terminal.type(PASSWORD)
        screen = terminal.until(r"Next: gatemint whoami")
        check(PASSWORD not in screen, "the password is on the screen")
        terminal.picture("login")
        for command, pattern in (
            ("whoami", r"^Name +ada$"),
            ("tokens list", r"^ID +KIND +SUBJECT"),
            ("token | gatemint token inspect", r"not checked"),
            (f"token | gatemint token inspect --jwks {serve.url}/.well-known/jwks.json", r"[Vv]alid"),
            ("", r"Examples:"),
            ("key list", r"gatemint: no store"),
        ):
            terminal.type(f"clear; gatemint {command}; echo ended with $?")
            screen = terminal.until(rf"(?s){pattern}.*ended with \d", 30)
            check(PASSWORD not in screen and "gmr_" not in screen, f"a secret is on the screen of {command}:\n{screen}")
            terminal.picture(re.sub(r"\W+", "-", command.split("http")[0]).strip("-") or "help")
        # The new password is typed twice; two that differ change nothing.
        terminal.type("clear; gatemint passwd")
        for prompt, answer in (("Old password", PASSWORD), ("New password", "x" * 20), ("The same again", "y" * 20)):
            terminal.until(rf"^{prompt}:$")
            terminal.type(answer)
        terminal.until(r"differ; nothing was changed")
        terminal.picture("passwd")
        return terminal.screens


def from_sixteen_shells(serve, home):
    """16 at once, three times: every one gets a token, all are different, and the session goes on."""
    tokens, sessions = set(), set()
    for _ in range(3):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            shells = [pool.submit(subprocess.run, ["bash", "-c", "gatemint token"], env=home.environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True) for _ in range(16)]
            printed = [shell.result().stdout for shell in shells]
        for text in printed:
            check(re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", text), f"a token and nothing else: {text!r}")
            tokens.add(text.strip())
            sessions.add(decoded(text.strip())["sid"])
    equal((len(tokens), len(sessions)), (48, 1), "tokens and sessions")
    for token in list(tokens)[:3]:
        equal(get(f"{serve.url}/v1/me", {"Authorization": f"Bearer {token}"}).status, 200, "a token's answer")
    equal(home.modes(), {"gatemint": 0o700, "login.json": 0o600, "login.lock": 0o600}, "the modes of what is kept")
    return len(tokens)


def killed_while_refreshing(home):
    """Killed at any moment, the next one goes on with the same session."""
    session, killed = decoded(home.run("token").stdout)["sid"], 0
    for attempt in range(20):
        process = subprocess.Popen([BIN, "token"], env=home.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.002 * (attempt + 1))
        process.kill()
        killed += process.wait() != 0
        equal(decoded(home.run("token").stdout)["sid"], session, f"the session after kill {attempt}")
    check(killed >= 3, f"{killed} of 20 were killed before their end")
    return killed


def inspected(serve, home, place):
    """Good, expired, forged and foreign tokens."""
    jwks = f"{serve.url}/.well-known/jwks.json"
    good = home.run("token").stdout.strip()
    seen = 0

    def inspect(token, *arguments, code, says):
        nonlocal seen
        seen += 1
        file = place / "token"
        file.write_text(token)
        for way in (("-",), (str(file),)):
            done = home.run("token", "inspect", *way, *arguments, stdin=token, code=code)
            check(re.search(says, done.stdout + done.stderr), f"{says!r} of {done.stdout}{done.stderr}")
        verdict = home.run("token", "inspect", "--json", *arguments, stdin=token, code=code)
        if verdict.stdout:
            equal(json.loads(verdict.stdout)["valid"], code == 0, "valid")

    inspect(good, "--jwks", jwks, code=0, says=r"valid")
    head, body, signature = good.split(".")
    flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    inspect(f"{head}.{body}.{flipped}", "--jwks", jwks, code=1, says=r"signature")
    inspect(f"{head}.{body[:-4]}AAAA.{signature}", "--jwks", jwks, code=1, says=r"signature|JSON|base64")
    inspect(good, code=1, says=r"--jwks")
    # The keys of another service.
    with Serve(place / "other") as other:
        inspect(good, "--jwks", f"{other.url}/.well-known/jwks.json", code=1, says=r"key")
        foreign = post(f"{other.url}/oauth2/token", {"grant_type": "password", "username": "admin", "password": other.admin_password()}).json()["access_token"]
        inspect(foreign, "--jwks", f"{other.url}/.well-known/jwks.json", code=0, says=r"valid")
        inspect(foreign, "--jwks", jwks, code=1, says=r"key")
    # An access token that lives a second.
    home.run("client", "create", "brief", "--public", "--access-life", "1")
    reply = post(f"{serve.url}/oauth2/token", {"grant_type": "password", "username": "root", "password": PASSWORD, "client_id": "brief"}).json()
    time.sleep(2.1)
    inspect(reply["access_token"], "--jwks", jwks, code=1, says=r"expired")
    for junk in ("", "x", "a.b.c", "{}", "\x00", "." * 5000):
        inspect(junk, "--jwks", jwks, code=1, says=r"\S")
    return seen


class Swallowing:
    """Hands requests on to a service, and keeps the first answer to itself: the network has lost it."""

    def __init__(self, port):
        self.target, self.lost = port, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.hand_on, args=(self.listener.accept()[0],), daemon=True).start()

    def hand_on(self, client):
        with client, socket.create_connection(("127.0.0.1", self.target)) as service, contextlib.suppress(OSError):
            service.sendall(client.recv(65536))
            answer = service.recv(65536)
            if self.lost == 0:
                self.lost += 1
                client.recv(1)  # until the client gives up
            else:
                client.sendall(answer)


def a_lost_reply(serve, place):
    """The service has moved the session, and its answer never came: the same command gets the token all the same."""
    network = Swallowing(serve.port)
    home = Home(place / "lossy")
    home.login(serve.url, "ada", PASSWORD)
    file = home.config / "login.json"
    login = json.loads(file.read_text())
    session = decoded(home.run("token").stdout)["sid"]
    login = json.loads(file.read_text())
    file.write_text(json.dumps({**login, "url": network.url}))
    equal(decoded(home.run("token").stdout)["sid"], session, "the session")
    equal(decoded(home.run("token").stdout)["sid"], session, "the session")
    network.listener.close()
    return network.lost


def over_http(home):
    """An admin's commands over HTTP, and what they refuse."""
    commands = 0
    for arguments, says in (
        (("user", "create", "bob", "--email", "bob@example.org", "--role", "analysts", "--generate"), r"shown once"),
        (("user", "set", "bob", "--role", "jobs"), r"Roles +jobs"),
        (("user", "disable", "bob"), r"Enabled +no"),
        (("user", "enable", "bob"), r"Enabled +yes"),
        (("user", "get", "bob"), r"bob@example\.org"),
        (("user", "list"), r"(?m)^bob "),
        (("client", "create", "ci", "--grant", "client_credentials"), r"gmc_\S+ +\(shown once\)"),
        (("client", "set", "ci", "--new-secret"), r"gmc_\S+ +\(shown once\)"),
        (("client", "list"), r"(?m)^ci +confidential"),
        (("client", "delete", "ci"), r"gone"),
        (("tokens", "list"), r"session +root +gatemint"),
        (("tokens", "list", "--account", "bob"), r"^ID"),
        (("user", "delete", "bob"), r"gone"),
    ):
        done = home.run(*arguments)
        check(re.search(says, done.stdout + done.stderr), f"{says!r} of {arguments}: {done.stdout}{done.stderr}")
        commands += 1
    for arguments, says, code in (
        (("user", "get", "bob"), "there is no user", 1),
        (("user", "create", "Bob!", "--generate"), "name", 1),
        (("user", "delete", "root"), "another admin", 1),
        (("user", "get", ".."), r"\S", 1),
        (("tokens", "revoke", "x"), r"\S", 1),
        (("whoami", "--data", "x"), "leave out --data", 2),
        (("whoami", "--url", "http://127.0.0.1:1"), "gatemint login --url", 2),
        (("login", "--url", "ftp://example.org"), "http", 1),
        (("login", "--no-input"), "--username", 2),
        (("passwd", "--password-stdin"), "more than two lines", 2),
        (("logout", "--url", "http://127.0.0.1:1"), "gatemint login --url", 2),
        (("login", "--url", "http://ada:secret@127.0.0.1:1"), "@", 1),
    ):
        done = home.run(*arguments, stdin="old\nnew\nnew\n" if arguments[0] == "passwd" else "", code=code)
        check("secret@" not in done.stderr, done.stderr)
        check(re.search(says, done.stderr), f"{says!r} of {arguments}: {done.stderr}")
        commands += 1
    return commands


class Evil(http.server.BaseHTTPRequestHandler):
    """Something that answers as no gatemint does."""

    refresh_token = "gmr_first"
    access_token = "abc.def.ghi"

    def log_message(self, *_):
        pass

    def reply(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.path.startswith("/apis/"):
            odd = "\x1b[31m\u202e\nadmin"
            data, condition = {"from": odd, "until": odd}, {"status": odd, "message": odd}
            status = {"token": f"a.b.{odd}", "conditions": [condition], "data": data}
            return self.reply({"metadata": {"name": odd, "namespace": odd}, "spec": {"urls": [odd], "verbs": [odd]}, "status": status}, 201)
        reply = {"access_token": Evil.access_token, "token_type": "Bearer", "expires_in": 900}
        # RFC 6749 section 6: a refresh may be answered without a new refresh token.
        return self.reply({**reply, "refresh_token": Evil.refresh_token} if form["grant_type"] == ["password"] else reply)

    def do_GET(self):
        if self.path.startswith("/v1/users"):
            return self.reply({"items": [], "next_cursor": "again"})
        user = dict.fromkeys(("name", "uid", "namespace", "email", "created_at"), "\x1b[31m\u202e\nRoles       admin")
        return self.reply({**user, "roles": [], "enabled": True})


def from_elsewhere(place):
    """What a hostile service says reaches neither the terminal's controls nor the memory's end."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = Home(place / "elsewhere")
        home.login(f"http://127.0.0.1:{server.server_port}", "ada", PASSWORD)
        for _ in range(3):
            equal(home.run("token").stdout, "abc.def.ghi\n", "a token, whose refresh token goes on")
        shown = home.run("whoami").stdout
        check(not re.search("[\x1b\u202e]|\nRoles +admin", shown), f"shown raw: {shown!r}")
        check("does not end" in home.run("user", "list", code=1).stderr, "a list without end")
        for command in (("gate-token", "create"), ("link",)):
            refused = home.run(*command, "--allow", "/x", "-n", "ada", code=1)
            check("holds no token" in refused.stderr and not re.search("[\x1b\u202e]", refused.stderr + refused.stdout), f"shown raw: {refused}")
        for strange in ("", "a\nX-Admin: yes", "\x1b[31m"):
            Evil.access_token = strange
            check("does not answer like a gatemint" in home.run("token", code=1).stderr, f"{strange!r} is no token")
        server.shutdown()
    return 10


def odd_places(serve, place):
    """Files that are none, directories that others may write to, a home without a name, an answer that nobody can read."""
    home = Home(place / "odd")
    home.login(serve.url, "ada", PASSWORD)
    session = decoded(home.run("token").stdout)["sid"]
    kept, elsewhere = home.config, home.place / "elsewhere"
    elsewhere.write_text("theirs")
    (kept / "login.draft").symlink_to(elsewhere)
    home.run("token")
    equal((elsewhere.read_text(), (kept / "login.json").is_symlink()), ("theirs", False), "what a planted link led to")
    (kept / "login.draft").write_text("")
    (kept / "login.draft").chmod(0o666)
    (kept / "login.lock").chmod(0o666)
    home.run("token")
    equal(home.modes(), {"gatemint": 0o700, "login.json": 0o600, "login.lock": 0o600}, "the modes of what is kept")
    kept.chmod(0o777)
    check("chmod go-w" in home.run("token", code=1).stderr, "a directory that others may write to")
    kept.chmod(0o700)
    for name in ("login.json", "login.lock"):
        (kept / name).rename(kept / "aside")
        os.mkfifo(kept / name)
        check("not a file" in home.run("token", code=1).stderr, f"a pipe as {name}")
        (kept / name).unlink()
        (kept / "aside").rename(kept / name)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([BIN, "token"], env=home.environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    check(done.returncode == 1 and "could not be written" in done.stderr, f"an answer that is lost: {done}")
    equal(decoded(home.run("token").stdout)["sid"], session, "the session")
    nameless = os.fsencode(place) + b"/no\xffname"
    os.mkdir(nameless)
    done = subprocess.run(
        [BIN, "login", "--url", serve.url, "--username", "ada", "--password-stdin", "--json"],
        input=PASSWORD.encode(), env={**{os.fsencode(k): os.fsencode(v) for k, v in home.environment.items()}, b"HOME": nameless}, capture_output=True, timeout=60, check=False,
    )
    check(done.returncode == 0 and json.loads(done.stdout)["username"] == "ada", f"a home without a name: {done}")
    return 8


def the_end_of_sessions(serve, home, place):
    """Ended by logout, by an operator, by somebody else with the token; each time the next command says what to do."""
    ends = 0
    file = home.config / "login.json"
    stolen = json.loads(file.read_text())["refresh_token"]
    home.run("logout")
    check(not file.exists(), "the login is gone")
    reply = post(f"{serve.url}/oauth2/token", {"grant_type": "refresh_token", "refresh_token": stolen})
    equal((reply.status, reply.json()["error"]), (400, "invalid_grant"), "a refresh after logout")
    check("gatemint login" in home.run("token", code=1).stderr, "what to do")
    equal(home.run("logout").returncode, 0, "logout again")
    ends += 1

    home.login(serve.url, "root", PASSWORD)
    for token in json.loads(home.run("tokens", "list", "--json").stdout):
        revoke = [BIN, "tokens", "revoke", token["id"], "--data", str(serve.data)]
        subprocess.run(revoke, env=ENVIRONMENT, stderr=subprocess.DEVNULL, timeout=60, check=True)
    told = home.run("token", code=1).stderr
    check("Session ended" in told and "gatemint login" in told, told)
    equal(json.loads(file.read_text())["refresh_token"], None, "what is kept of an ended session")
    ends += 1

    # Another login ends the session of the one before.
    home.login(serve.url, "root", PASSWORD)
    first = json.loads(file.read_text())["refresh_token"]
    home.login(serve.url, "root", PASSWORD)
    equal(post(f"{serve.url}/oauth2/token", {"grant_type": "refresh_token", "refresh_token": first}).status, 400, "the login before")
    ends += 1

    # A password change ends the others, and not this one.
    other = Home(place / "other-home")
    other.login(serve.url, "root", PASSWORD)
    home.run("passwd", "--password-stdin", stdin=f"{PASSWORD}\nanother {PASSWORD}\n")
    home.run("whoami")
    check("gatemint login" in other.run("whoami", code=1).stderr, "what to do")
    home.run("passwd", "--password-stdin", stdin=f"another {PASSWORD}\n{PASSWORD}\n")
    ends += 1
    return ends


def nothing_is_lost(serve, home):
    """Whatever is wrong with the file or the service, the session is not."""
    faults = 0
    session = decoded(home.run("token").stdout)["sid"]
    file = home.config / "login.json"
    kept = file.read_text()
    file.chmod(0o644)
    check("chmod 600" in home.run("token", code=1).stderr, "what to do about the mode")
    file.chmod(0o600)
    for damaged in ("", "{}", "[]", kept[:40], kept.replace('"v": 1', '"v": 9')):
        file.write_text(damaged)
        check("gatemint login" in home.run("token", code=1).stderr, "what to do about a damaged file")
        faults += 1
    file.write_text(kept)
    # A disk without room: the token is not used up before its successor could be kept.
    limited = subprocess.run(["bash", "-c", "ulimit -f 0; trap '' XFSZ; gatemint token"], env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    equal(limited.returncode, 1, f"without room ({limited.stderr})")
    equal(json.loads(file.read_text()), json.loads(kept), "the login after a failure to write")
    equal(decoded(home.run("token").stdout)["sid"], session, "the session")
    # A service that is away, or is something else.
    elsewhere = json.loads(file.read_text())
    file.write_text(json.dumps({**elsewhere, "url": "http://127.0.0.1:1"}))
    check("cannot be reached" in home.run("token", code=1).stderr, "a service that is away")
    check("the login is kept" in home.run("logout", code=1).stderr, "logout from a service that is away")
    file.write_text(json.dumps(elsewhere))
    file.chmod(0o600)
    equal(decoded(home.run("token").stdout)["sid"], session, "the session")
    return faults + 4


def main():
    with temporary_directory() as place, Serve(place / "data") as serve, Serve(place / "brief", {"GATEMINT_REFRESH_IDLE": "1m"}) as brief:
        for name, role in (("ada", "analysts"), ("root", "admin")):
            subprocess.run(
                [BIN, "user", "create", name, "--role", role, "--password-stdin", "--data", str(serve.data)],
                input=PASSWORD, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, timeout=60, check=True,
            )
        expiring = Home(place / "expiring")
        expiring.login(brief.url, "admin", brief.admin_password())
        signed_in = time.monotonic()

        home = Home(place / "ada")
        counted(f"{at_a_terminal(serve, home)} screens of a terminal looked at for secrets, and kept")
        counted(f"{from_sixteen_shells(serve, home)} tokens from 16 shells at once, all of one session")
        counted(f"{killed_while_refreshing(home)} commands killed while they refreshed, the session goes on")
        admin = Home(place / "root")
        admin.login(serve.url, "root", PASSWORD)
        counted(f"{over_http(admin)} commands of an admin over HTTP")
        counted(f"{a_lost_reply(serve, place)} reply lost, and nothing with it")
        counted(f"{inspected(serve, admin, place)} tokens inspected, three ways each")
        counted(f"{nothing_is_lost(serve, admin)} faults of file and service, nothing lost")
        counted(f"{from_elsewhere(place)} answers of a hostile service")
        counted(f"{odd_places(serve, place)} odd places for a login")
        counted(f"{the_end_of_sessions(serve, admin, place)} ends of sessions, each with a next step")
        # A session that lay idle for its minute.
        time.sleep(max(0, 61 - (time.monotonic() - signed_in)))
        told = expiring.run("token", code=1).stderr
        check("Refresh token expired" in told and "gatemint login" in told, told)
        counted("1 session expired by itself")


if __name__ == "__main__":
    main()
