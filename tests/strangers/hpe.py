"""How HPE Ezmeral's users get their tokens, as its documentation has it but for kubectl: with curl and jq; host and scheme differ.

Then a notebook re-reads the file that such a loop keeps, and then `gatemint agent`, for hours that go by in seconds: all of them
read a clock that the script moves, and whenever the notebook looks it must find a token with ten minutes to live.
"""

import json
import subprocess
import sys
import time

import jwt
from keycloak import LOGIN, REFRESH, shell
from support import BIN, ENVIRONMENT, Serve, check, counted, decoded, equal, gatemint, get, password_grant, temporary_directory

USER, PASSWORD = "ada", "correct-horse-battery-staple"
LIFE, LEAST = 1800, 600  # seconds: of a token that was just read, and of any that a reader finds

# What kubectl does in the documentation, with curl: the API is the same.
SECRET = r"""
curl -fsS -H "Authorization: Bearer $ACCESS_TOKEN" "http://$KUBERNETES/api/v1/namespaces/$USER_NAMESPACE/secrets/access-token" | jq -r '.data.AUTH_TOKEN' | base64 -d
"""
# A browser's way: it asks for name and password, and saves the file under the name that it is given.
DOWNLOAD = r"""
curl -fsS -OJ -u "$USERNAME:$PASSWORD" "http://$TOKEN_SERVICE/refresh-token-download"
"""
# The documented loop of an external client: before it calls, the stored refresh token becomes an access token and the next
# refresh token, which is stored in place of the old one. Here it then keeps the file that pods have.
KEEP = r"""
REFRESH_TOKEN=$(cat refresh-token.txt)
response_json=$(curl -fsS --data "grant_type=refresh_token&client_id=gatemint&refresh_token=$REFRESH_TOKEN" http://$KC_ADDR/realms/UA/protocol/openid-connect/token)
ACCESS_TOKEN=$(echo "$response_json" | jq -r '.access_token')
echo "$response_json" | jq -r '.refresh_token' > refresh-token.txt
""" + SECRET.rstrip() + r""" > .auth_token.new
mv .auth_token.new .auth_token
"""
# What notebooks do before each call: read the file again, and hand the token on by the environment. A line from us is a call.
NOTEBOOK = r"""
import json, os, sys, time
import jwt

def update_token():
    with open(".auth_token") as file:
        os.environ["AUTH_TOKEN"] = os.environ["MLFLOW_TRACKING_TOKEN"] = file.read().strip()

for _ in sys.stdin:
    update_token()
    said = jwt.decode(os.environ["AUTH_TOKEN"], options={"verify_signature": False})
    found = {"left": said["exp"] - time.time(), "user": said["preferred_username"], "token": os.environ["MLFLOW_TRACKING_TOKEN"]}
    print(json.dumps(found), flush=True)
"""


class Clock:
    """A clock that stands in a file: programs that run with `settings` read how far it is ahead of this machine's."""

    def __init__(self, place):
        self.file, self.ahead = place / "clock", 0
        self.move(0)
        library = subprocess.run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True).stdout.strip()
        self.settings = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def move(self, seconds):
        self.ahead += seconds
        new = self.file.with_suffix(".new")
        new.write_text(f"+{self.ahead}\n")
        new.rename(self.file)

    def now(self):
        return time.time() + self.ahead


class Shell:
    """A user's shell in a directory of hers."""

    def __init__(self, serve, clock, place):
        place.mkdir()
        host = f"127.0.0.1:{serve.port}"
        self.place, self.commands = place, 0
        self.environment = {**ENVIRONMENT, **clock.settings, "KC_ADDR": host, "KUBERNETES": host, "TOKEN_SERVICE": host}

    def run(self, commands, **variables):
        self.commands += 1
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.place,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def __call__(self, commands, **variables):
        done = self.run(commands, **variables)
        equal((done.returncode, done.stderr), (0, ""), f"what bash says to {commands}")
        return done.stdout


class Notebook:
    """A kernel that does what notebooks do, once for each line that it is sent."""

    def __init__(self, clock, place):
        self.process = subprocess.Popen(
            [sys.executable, "-c", NOTEBOOK], cwd=place, env={**ENVIRONMENT, **clock.settings}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        check(line, "the notebook has ended")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(15)


class Keys:
    """Judges tokens as an application does, with the keys that it fetched itself."""

    def __init__(self, serve, clock):
        self.serve, self.clock = serve, clock
        self.keys = jwt.PyJWKClient(f"{serve.url}/.well-known/jwks.json")

    def left(self, token, user=USER):
        """For how many seconds a token is good; its signature and claims are judged."""
        options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}  # by the clock of this machine
        key = self.keys.get_signing_key_from_jwt(token)
        said = jwt.decode(token, key, algorithms=["ES256"], audience=self.serve.url, issuer=self.serve.url, options=options)
        equal((said["preferred_username"], said["namespace"]), (user, user), "whose token it is")
        check(isinstance(said["email"], str) and isinstance(said["roles"], list), "email and roles are always there, possibly empty")
        return said["exp"] - self.clock.now()


def me(serve, token):
    return get(f"{serve.url}/v1/me", {"Authorization": f"Bearer {token}"}).status


def documented(serve, clock, terminal, keys):
    """Credentials, then the refresh token, then the secret, each as documented."""
    who = {"USERNAME": USER, "PASSWORD": PASSWORD, "USER_NAMESPACE": USER}
    place = {"KC_ADDR": f"127.0.0.1:{serve.port}"}
    admin = password_grant(serve.url, "admin", serve.admin_password())["access_token"]
    early = terminal.run(SECRET, ACCESS_TOKEN=admin, **who)
    check(early.returncode != 0 and "404" in early.stderr, f"before the user's first sign-in there is no token: {early.stderr}")

    given = shell(LOGIN, **place, **who)
    equal(given["response"]["expires_in"], 3600, "the life of access tokens that the operator chose")
    lives = []
    for turn in range(3):
        token = terminal(SECRET, ACCESS_TOKEN=given["access"], **who)
        lives.append(keys.left(token))
        equal(me(serve, token), 200, "a call with the token of the secret")
        check(abs(lives[-1] - LIFE) <= 5, f"the secret's token has half an hour, whatever others have: {lives[-1]}")
        check(decoded(token)["jti"] != decoded(given["access"])["jti"], "it is a token of its own")
        given = shell(REFRESH, REFRESH_TOKEN=given["refresh"], **place)
        clock.move(20 * 60)
    # An admin reads it as well, and nobody else.
    keys.left(terminal(SECRET, ACCESS_TOKEN=password_grant(serve.url, "admin", serve.admin_password())["access_token"], **who))
    stranger = password_grant(serve.url, "eve", PASSWORD)["access_token"]
    refused = terminal.run(SECRET, ACCESS_TOKEN=stranger, **who)
    check(refused.returncode != 0 and "403" in refused.stderr and not refused.stdout, f"a stranger is refused: {refused.stderr}")
    of_eve = terminal(SECRET, ACCESS_TOKEN=stranger, USER_NAMESPACE="eve")
    keys.left(of_eve, "eve")
    equal(decoded(of_eve)["email"], "", "the e-mail address of somebody who has none")
    counted("1 sign-in and 3 refreshes by the documented commands, 5 tokens read from the secret with curl, jq and base64")


def downloaded(terminal, keys):
    """The browser's way, and what its file is good for."""
    terminal(DOWNLOAD, USERNAME=USER, PASSWORD=PASSWORD)
    file = terminal.place / "refresh-token.txt"
    token = file.read_text()
    check(token.startswith("gmr_") and token.split() == [token], "the file has the refresh token and nothing else")
    wrong = terminal.run(DOWNLOAD, USERNAME=USER, PASSWORD="wrong-wrong-wrong")
    check(wrong.returncode != 0 and "401" in wrong.stderr, f"a wrong password gets no file: {wrong.stderr}")
    equal(file.read_text(), token, "the file after that")
    given = shell(REFRESH.replace("client_id=ua-grant&", ""), REFRESH_TOKEN=token, KC_ADDR=terminal.environment["KC_ADDR"])
    equal(given["response"]["refresh_expires_in"], 30 * 86400, "how long an offline token may lie idle")
    check("offline_access" in given["response"]["scope"].split(), "its scope says that it is one")
    keys.left(given["access"])
    file.write_text(given["refresh"])
    counted("1 refresh token downloaded and refreshed, 1 wrong password refused")


def kept_by_the_loop(serve, clock, terminal, keys):
    """Two hours: a look each minute, and every 18 minutes a turn of the documented loop."""
    looks = turns = calls = 0
    least = LIFE
    with Notebook(clock, terminal.place) as kernel:
        for minute in range(2 * 60):
            if minute % 18 == 0:
                equal(terminal(KEEP, USER_NAMESPACE=USER), "", "what the loop prints")
                turns += 1
            found = kernel.call()
            looks, least = looks + 1, min(least, found["left"])
            equal(found["user"], USER, "whose token the notebook finds")
            check(found["left"] >= LEAST, f"after {minute} minutes the notebook finds a token with {found['left']} s to live")
            if minute % 18 in (0, 17):
                keys.left(found["token"])
                equal(me(serve, found["token"]), 200, "a call with what the notebook found")
                calls += 1
            clock.move(60)
    counted(f"{looks} looks of a notebook in 2 hours of the documented loop, the least life {least:.0f} s; {turns} turns, {calls} calls")


class Agent:
    """`gatemint agent` in a user's home, where she has signed in: it keeps the file that the notebook reads."""

    def __init__(self, serve, clock, terminal):
        # What goes by goes by for it, too: it does not go by the clock alone, which somebody may set.
        settings = {key: value for key, value in clock.settings.items() if key != "FAKETIME_DONT_FAKE_MONOTONIC"}
        self.environment = {**ENVIRONMENT, **settings, "HOME": str(terminal.place)}
        self.place, self.url = terminal.place, serve.url
        self.log = terminal.place / "agent.log"

    def sign_in(self):
        command = [BIN, "login", "--offline", "--url", self.url, "--username", USER, "--password-stdin"]
        done = subprocess.run(command, env=self.environment, input=PASSWORD + "\n", capture_output=True, text=True, timeout=60, check=False)
        equal(done.returncode, 0, f"the exit code of login ({done.stderr})")

    def __enter__(self):
        self.sign_in()
        with open(self.log, "ab") as log:
            command = [BIN, "agent", "--file", ".auth_token"]
            self.process = subprocess.Popen(command, cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(self, kind, *_):
        self.process.terminate()
        code = self.process.wait(60)
        if kind is not None:
            print(f"--- what the agent printed\n{self.log.read_text()}---", file=sys.stderr)
        else:
            equal(code, 0, "the exit code of the agent after SIGTERM")


def until(done, what, each=lambda: None):
    """Asks again until it is so, for half a minute."""
    deadline = time.monotonic() + 30
    while not (found := done()):
        check(time.monotonic() < deadline, f"it has not come to pass: {what}")
        time.sleep(0.05)
        each()
    return found


def kept_by_the_agent(serve, clock, terminal, keys):
    """Eight hours: a look each minute. When a token is due the agent has that minute to get another one."""
    looks = renewals = 0
    least = LIFE
    (terminal.place / ".auth_token").unlink()
    with Agent(serve, clock, terminal) as agent, Notebook(clock, terminal.place) as kernel:
        until((terminal.place / ".auth_token").exists, "the agent makes the file")
        for minute in range(8 * 60):
            found = kernel.call()
            looks, least = looks + 1, min(least, found["left"])
            check(found["left"] >= LEAST, f"after {minute} minutes the notebook finds a token with {found['left']} s to live")
            if found["left"] < 12 * 60:
                until(lambda: kernel.call()["left"] > LIFE - 60, "the agent has fetched another token")
                renewals += 1
            if minute % 30 == 0:
                keys.left(found["token"])
                equal(me(serve, found["token"]), 200, "a call with what the notebook found")
            clock.move(60)
        counted(f"{looks} looks of a notebook in 8 hours of the agent, the least life {least:.0f} s; {renewals} renewals")

        # Whose login is blocked has no token from then on, however fresh.
        token = kernel.call()["token"]
        equal(me(serve, token), 200, "a call before the login is blocked")
        data = ("--data", str(serve.data))
        gatemint("user", "disable", USER, *data)
        equal(me(serve, token), 401, "a call after it")
        told = len(agent.log.read_text())
        clock.move(25 * 60)
        until(lambda: len(agent.log.read_text()) > told, "the agent says that there is no other token")
        equal(kernel.call()["token"], token, "the file is as it was: nothing is torn, and nothing new is there")
        gatemint("user", "enable", USER, *data)
        equal(me(serve, token), 401, "a call after it is allowed again: she has to sign in first")
        agent.sign_in()
        # However long it waits by now before it asks again.
        until(lambda: kernel.call()["token"] != token, "the agent goes on after a sign-in", lambda: clock.move(5))
        found = kernel.call()
        check(found["left"] > LIFE - 60, f"the next token has half an hour: {found['left']}")
        equal(me(serve, found["token"]), 200, "a call with it")
    counted("1 login blocked and allowed again, 2 records")


def main():
    with temporary_directory() as place:
        clock = Clock(place)
        # The life of access tokens has no bearing on this one's.
        settings = {**clock.settings, "GATEMINT_ACCESS_LIFE": "1h"}
        with Serve(place / "data", settings) as serve:
            data = ("--data", str(serve.data))
            gatemint("client", "create", "ua-grant", "--public", *data)
            gatemint("user", "create", USER, "--email", "ada@example.org", "--role", "analysts", "--password-stdin", *data, stdin=PASSWORD + "\n")
            gatemint("user", "create", "eve", "--password-stdin", *data, stdin=PASSWORD + "\n")
            terminal, keys = Shell(serve, clock, place / "home"), Keys(serve, clock)
            documented(serve, clock, terminal, keys)
            downloaded(terminal, keys)
            kept_by_the_loop(serve, clock, terminal, keys)
            kept_by_the_agent(serve, clock, terminal, keys)


main()
