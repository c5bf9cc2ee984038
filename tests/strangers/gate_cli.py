"""Gate tokens and links as a user makes them at a shell: `gatemint gate-token` and `gatemint link`, over HTTP and on the state."""

import html
import http.client
import json
import re
import shlex
import stat
import subprocess
import urllib.parse
from pathlib import Path

from cli import PASSWORD, Home
from support import BIN, ENVIRONMENT, Serve, check, counted, decoded, equal, get, temporary_directory

TOKEN = r"[\w-]+\.[\w-]+\.[\w-]+\n"


def operator(serve, *arguments, stdin="", code=0):
    command = [BIN, *arguments, "--data", str(serve.data)]
    done = subprocess.run(command, input=stdin, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    equal(done.returncode, code, f"the exit code of gatemint {' '.join(arguments)} ({done.stderr})")
    return done


def judged(serve, token, path="/ok/a", method="GET", host="vms.example.org"):
    asked = {"X-Original-Method": method, "X-Original-URL": f"http://{host}{path}", "Authorization": f"Bearer {token.strip()}"}
    return get(f"{serve.url}/auth/verify", asked).status


def visited(link, method="GET", body=None):
    """A link as it is opened, without following where it leads: status, place, cookie, page."""
    url = urllib.parse.urlsplit(link.strip())
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    headers = {"Accept": "text/html"} | ({"Content-Type": "application/x-www-form-urlencoded"} if body else {})
    connection.request(method, f"{url.path}?{url.query}" if not body else url.path, body, headers)
    answer = connection.getresponse()
    page = answer.read().decode()
    connection.close()
    cookie = re.match("kg-jwt-session-code=([^;]+)", answer.headers["Set-Cookie"] or "")
    return answer.status, answer.headers["Location"], cookie and cookie[1], page


def next_steps(serve, home):
    """What is refused says what an operator has to run; that, run as it stands, is enough."""
    steps = 0
    for arguments in (
        ("create", "--allow", "/ok/*"),
        ("create", "--allow", "/ok/*", "-n", "vms"),
        ("create", "--allow", "http://train--bob.jobs.example.org/*", "-n", "vms"),
        ("get", "nothing", "-n", "others"),
    ):
        told = home.run("gate-token", *arguments, code=1).stderr
        step = re.search(r"An operator can grant it: gatemint (acl grant .+) --data DIR$", told, re.MULTILINE)
        check(step, f"no next step: {told}")
        operator(serve, *shlex.split(step[1]))
        after = home.run("gate-token", *arguments, code=1 if arguments[0] == "get" else 0)
        check("An operator can" not in after.stderr, after.stderr)
        steps += 1
    for arguments, says, code in (
        (("create",), "--allow", 2),
        (("create", "--allow", ""), "spec.urls", 1),
        (("create", "--allow", "/a*b"), "spec.urls", 1),
        (("create", "--allow", "/ok", "--verb", "steal"), "spec.verbs", 1),
        (("create", "--allow", "/ok", "--duration", "0"), "spec.duration", 1),
        (("create", "--allow", "/ok", "--duration", "9999999h"), "spec.duration", 1),
        (("create", "--allow", "/ok", "--from", "tomorrow"), "spec.from", 1),
        (("create", "No!", "--allow", "/ok"), "metadata.name", 1),
        (("create", "--allow", "/ok", "-n", ".."), "nothing of that name", 1),
        (("get", "nothing"), "not found", 1),
        (("revoke", "nothing"), "not found", 1),
        (("revoke", ".."), "nothing of that name", 1),
    ):
        done = home.run("gate-token", *arguments, code=code)
        check(says in done.stderr and not done.stdout, f"{says!r} of {arguments}: {done.stderr}{done.stdout}")
        steps += 1
    stranger = Home(home.place.parent / "stranger")
    check("gatemint login" in stranger.run("gate-token", "list", code=1).stderr, "nobody is signed in")
    return steps + 1


def tokens(serve, home):
    """Made in a shell's substitution, shown, listed, read again, ended."""
    printed = subprocess.run(
        ["bash", "-c", "set -eu; TOKEN=$(gatemint gate-token create --allow '/ok/*' 2>told); printf %s \"$TOKEN\""],
        cwd=home.place, env=home.environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    check(re.fullmatch(TOKEN, f"{printed}\n"), f"a token and nothing else: {printed!r}")
    equal((judged(serve, printed), judged(serve, printed, "/no"), judged(serve, printed, method="POST")), (200, 403, 403), "what it opens")
    name = decoded(printed)["sub"].split("/")[1]
    told = (home.place / "told").read_text()
    check(f"gatemint gate-token revoke {name} -n ada" in told and printed not in told, told)

    made = home.run("gate-token", "create", "ci", "--allow", "/ok/*", "--allow", "/hooks", "--verb", "post", "--verb", "GET", "--duration", "90m", "-n", "vms", "--json")
    made = json.loads(made.stdout)
    equal((made["spec"]["urls"], made["spec"]["verbs"], made["metadata"]["namespace"]), (["/ok/*", "/hooks"], ["post", "get"], "vms"), "what was asked for")
    equal(made["status"]["data"]["exp"] - made["status"]["data"]["nbf"], 90 * 60, "its life")
    equal(judged(serve, made["status"]["token"], "/hooks", "POST"), 200, "its methods")
    check("already exists" in home.run("gate-token", "create", "ci", "--allow", "/ok", "-n", "vms", code=1).stderr, "a name that is there")

    check(re.search(r"(?m)^ci +token +ready +\S+ +/ok/\* and 1 more$", home.run("gate-token", "list", "-n", "vms").stdout), "the list")
    equal([item["metadata"]["name"] for item in json.loads(home.run("gate-token", "list", "--json").stdout)], [name], "one's own namespace")
    sheet = home.run("gate-token", "get", "ci", "-n", "vms").stdout
    check(re.search(r"(?m)^Opens +/ok/\* /hooks$", sheet) and made["status"]["token"] not in sheet, sheet)
    again = home.run("gate-token", "get", "ci", "--token", "-n", "vms").stdout
    check(re.fullmatch(TOKEN, again), f"a token and nothing else: {again!r}")
    equal(decoded(again)["jti"], decoded(made["status"]["token"])["jti"], "signed anew, the same token")
    home.run("gate-token", "revoke", "ci", "-n", "vms")
    equal((judged(serve, again), judged(serve, made["status"]["token"])), (401, 401), "what was revoked")

    # On the state itself an operator sees and ends what others made, and makes none.
    listed = operator(serve, "gate-token", "list", "-n", "ada")
    check(re.search(rf"(?m)^{name} +token +ready", listed.stdout), listed.stdout)
    check("token" not in json.loads(operator(serve, "gate-token", "get", name, "-n", "ada", "--json").stdout)["status"], "an operator's look")
    check("-n NS" in operator(serve, "gate-token", "list", code=2).stderr, "which namespace")
    told = operator(serve, "gate-token", "create", "--allow", "/ok", code=2).stderr
    check("gatemint login" in told, told)
    check("there is no gate token" in operator(serve, "gate-token", "revoke", "nothing", "-n", "ada", code=1).stderr, "nothing of that name")
    operator(serve, "gate-token", "revoke", name, "-n", "ada")
    equal(judged(serve, printed), 401, "what an operator ended")
    return 14


def links(serve, home):
    """Printed, opened, pressed once; and given to a browser without anybody else seeing it."""
    link = home.run("link", "--allow", "/ok/*", "--then", "/ok/a%20b?x=1").stdout
    check(link.startswith(f"{serve.url}/auth/jwt/set?token="), link)
    status, place, cookie, page = visited(link)
    equal((status, place), (302, "/ok/a%20b?x=1"), f"a link ({page})")
    equal(judged(serve, cookie), 200, "a link's cookie")
    status, place, _, _ = visited(home.run("link", "reports", "--allow", "/ok/x").stdout)
    equal((status, place), (302, "/ok/x"), "a link to a token's own path")
    console = "/apis/subresources.kubevirt.io/v1/namespaces/demo/virtualmachineinstances/vm1/vnc"
    status, place, cookie, _ = visited(home.run("link", "--name", "vm1", "--namespace", "demo").stdout)
    check(status == 302 and place.endswith(console), f"a console: {status} {place}")
    equal((judged(serve, cookie, console), judged(serve, cookie, console.replace("vm1", "vm2"))), (200, 403), "what a console's link opens")

    made = json.loads(home.run("link", "--one-time", "--duration", "10m", "--allow", "/ok/*", "--then", "/ok/a", "--json").stdout)
    status, _, cookie, page = visited(made["link"])
    check((status, cookie) == (200, None) and "<button" in page, f"a one-time link, looked at: {status}")
    form = {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page)}
    pressed = f"{serve.url}/auth/jwt/set"
    status, place, cookie, _ = visited(pressed, "POST", urllib.parse.urlencode(form))
    equal((status, place, judged(serve, cookie)), (303, "/ok/a", 200), "the button")
    home.run("gate-token", "revoke", made["gatetoken"]["metadata"]["name"])
    equal(judged(serve, cookie), 401, "a link that was ended")

    browser = home.place / "browser"
    browser.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$HOME/arguments"\ncp -p "${2#file://}" "$HOME/shown"\nid -u > "$HOME/who"\n')
    browser.chmod(0o755)
    home.environment["BROWSER"] = f"{browser} --new-window"
    done = home.run("link", "--one-time", "--allow", "/ok/*", "--then", "/ok/a", "--open")
    arguments, shown = (home.place / "arguments").read_text(), (home.place / "shown")
    equal((done.stdout, arguments), ("", f"--new-window\n{home.config / 'link.html'}\n"), "what others can see")
    equal(stat.S_IMODE((home.config / "link.html").stat().st_mode), 0o600, "the mode of the page")
    target = html.unescape(re.search(r'<a href="([^"]+)"', shown.read_text())[1])
    check("eyJ" not in done.stderr and visited(target)[0] == 200, f"what the browser is led to: {done.stderr}")
    home.environment["BROWSER"] = "/no/such/browser"
    done = home.run("link", "--allow", "/ok/*", "--open", code=1)
    check("link.html" in done.stderr and "eyJ" not in done.stderr, f"a browser that is not there: {done.stderr}")
    for arguments, says in (
        (("--allow", "/ok/*", "--then", "/x", "--name", "a", "--namespace", "b"), "cannot be used with"),
        (("--name", "a"), "--namespace"),
        (("--namespace", "a"), "--name"),
        (("--allow", "/ok/*", "--then", "/no"), "lead nowhere"),
        (("--allow", "/ok/*", "--then", "//evil.example.org"), "lead nowhere"),
        ((), "--allow"),
    ):
        check(says in home.run("link", *arguments, code=2).stderr, f"{says!r} of {arguments}")
    return 12


def main():
    with temporary_directory() as place, Serve(place / "data") as serve:
        for name in ("ada", "bob"):
            operator(serve, "user", "create", name, "--password-stdin", stdin=PASSWORD)
        operator(serve, "site", "create", "jobs", "--host", "{name}--{owner}.jobs.example.org", "--resource", "job://{cluster}/{owner}/{name}")
        home = Home(Path(place) / "ada")
        home.login(serve.url, "ada", PASSWORD)
        counted(f"{next_steps(serve, home)} refusals, each with a next step")
        for namespace in ("ada", "vms"):
            for item in json.loads(home.run("gate-token", "list", "-n", namespace, "--json").stdout):
                home.run("gate-token", "revoke", item["metadata"]["name"], "-n", namespace)
        counted(f"{tokens(serve, home)} things done with gate tokens")
        counted(f"{links(serve, home)} links")


main()
