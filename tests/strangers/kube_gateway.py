"""kube-gateway's users: the walk of their guide, and then a browser through a real nginx that asks gatemint at every request.

The guide (kube_gateway.sh) is run as it stands, with `oc` and `google-chrome` as programs of our own: the one asks with curl
what `oc get` would, the other hands the link over. Pictures of every page are kept beside the built program, in pictures/.
"""

import contextlib
import json
import os
import subprocess
import time
import urllib.parse
from pathlib import Path

from kube_gateway_browser import DESKTOP, PHONE, Browser
from kube_gateway_echo import Echo
from support import BIN, ENVIRONMENT, HERE, Serve, check, counted, decoded, equal, free_port, password_grant, temporary_directory

NAMESPACE, MACHINE = "gateway-example", "testvm"
GROUP = "apis/kubegateway.kubevirt.io/v1beta1"
PICTURES = Path(BIN).parent.parent / "pictures"


def screen(machine=MACHINE):
    return f"/apis/subresources.kubevirt.io/v1/namespaces/{NAMESPACE}/virtualmachineinstances/{machine}/vnc"


# What the guide's noVNC does first: the WebSocket that the query names.
CLIENT = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>connecting</title></head><body><h1>Screen</h1><script>
const path = new URLSearchParams(location.search).get('path');
const socket = new WebSocket(`wss://${location.host}/${path}`);
socket.onopen = () => socket.send('RFB 003.008');
socket.onmessage = message => { document.title = `echo: ${message.data}`; };
socket.onerror = () => { document.title = 'closed'; };
</script></body></html>
"""

OC = r"""#!/bin/bash
ask() { curl -sSk -H "Authorization: Bearer $GATE_ACCESS_TOKEN" "$GATE_SERVER/$1"; }
case "$*" in
  "get secrets -n "*" -o name") ask "api/v1/namespaces/$4/secrets" | jq -r '"secret/" + .items[].metadata.name' ;;
  "get gateserver -o json") ask "$GATE_GROUP/namespaces/$GATE_NAMESPACE/gateservers" ;;
  *) echo "oc: $*?" >&2; exit 1 ;;
esac
"""
CHROME = '#!/bin/bash\nprintf %s "$1" > "$GATE_LINK"\n'


class Nginx:
    """nginx on `port`, ready inside the `with` block."""

    def __init__(self, place, port, gatemint, guarded):
        self.place, self.port = place, port
        for file in ("key.pem", "certificate.pem"):
            (place / file).touch(0o600)
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
                *("-subj", "/CN=127.0.0.1", "-keyout", place / "key.pem", "-out", place / "certificate.pem"),
            ],
            check=True,
            capture_output=True,
        )
        (place / "web" / "noVNC").mkdir(parents=True)
        (place / "web" / "noVNC" / "vnc_lite.html").write_text(CLIENT)
        words = {"PLACE": place, "PORT": port, "GATEMINT": gatemint, "GUARDED": guarded}
        text = (HERE / "kube_gateway.nginx.conf").read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", str(value))
        (place / "nginx.conf").write_text(text)

    def __enter__(self):
        command = ["nginx", "-e", self.place / "error.log", "-p", self.place, "-c", self.place / "nginx.conf"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while curl(f"https://127.0.0.1:{self.port}/noVNC/vnc_lite.html").status != 200:
            check(self.process.poll() is None and time.monotonic() < deadline, f"nginx did not start: {self.log('error')}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(15)

    def log(self, name):
        return (self.place / f"{name}.log").read_text(errors="replace")


class Reply:
    def __init__(self, text):
        head, _, self.body = text.replace("\r\n", "\n").partition("\n\n")
        lines = head.split("\n")
        words = lines[0].split(" ")
        self.status = int(words[1]) if len(words) > 1 else 0
        self.headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:]}


def curl(url, *arguments):
    done = subprocess.run(["curl", "-ski", *arguments, url], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    return Reply(done.stdout)


class Gate:
    """gatemint behind nginx, an admin's access token, and what makes gate tokens with it."""

    def __init__(self, url, access):
        self.url, self.access, self.made = url, access, 0

    def api(self, method, path, body=None):
        with_body = ["-H", "Content-Type: application/json", "--data", json.dumps(body)] if body else []
        return curl(f"{self.url}/{GROUP}/namespaces/{NAMESPACE}/{path}", "-X", method, "-H", f"Authorization: Bearer {self.access}", *with_body)

    def token(self, urls=(screen(),), **spec):
        self.made += 1
        name = f"made-{self.made}"
        body = {"apiVersion": "kubegateway.kubevirt.io/v1beta1", "kind": "GateToken", "metadata": {"name": name, "namespace": NAMESPACE}}
        answer = self.api("POST", "gatetokens", {**body, "spec": {"secret-name": "gatemint-jwt-secret", "urls": list(urls), **spec}})
        equal(answer.status, 201, f"the status of a new GateToken ({answer.body})")
        made = json.loads(answer.body)
        equal(made["status"]["phase"], "Ready", "its phase")
        return name, made["status"]["token"]

    def delete(self, name):
        equal(self.api("DELETE", f"gatetokens/{name}").status, 200, "the status of a DELETE")

    def link(self, token, **parameters):
        return f"{self.url}/auth/jwt/set?{urllib.parse.urlencode({'token': token, **parameters})}"


def walk(place, gate):
    """The guide, as a user pastes it. Returns the link that it opens in a browser."""
    programs = place / "programs"
    programs.mkdir()
    for name, text in (("oc", OC), ("google-chrome", CHROME)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {
        **ENVIRONMENT,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "GATE_ACCESS_TOKEN": gate.access,
        "GATE_SERVER": gate.url,
        "GATE_GROUP": GROUP,
        "GATE_NAMESPACE": NAMESPACE,
        "GATE_LINK": str(place / "link"),
    }
    script = HERE / "kube_gateway.sh"
    done = subprocess.run(["bash", "-eu", "-o", "pipefail", script], cwd=programs, env=environment, capture_output=True, text=True, timeout=60, check=False)
    equal(done.returncode, 0, f"the exit code of the guide's commands ({done.stderr})")
    # What curl prints of the two resources, one after the other.
    decoder, shown, rest = json.JSONDecoder(), [], done.stdout.strip()
    while rest:
        resource, end = decoder.raw_decode(rest)
        shown.append(resource)
        rest = rest[end:].strip()
    equal(len(shown), 2, "the resources that the guide shows")
    for resource in shown:
        equal((resource["kind"], resource["status"]["phase"]), ("GateToken", "Ready"), "kind and phase")
        condition = resource["status"]["conditions"][0]
        equal((condition["type"], condition["status"], condition["reason"]), ("Ready", "True", "TokenCreated"), "the condition")
    equal(decoded(shown[1]["status"]["token"])["URLs"], [screen()], "what the token opens")
    link = (place / "link").read_text()
    check(f'token="{shown[1]["status"]["token"].split(".")[0]}.' in link, "the link has JSON's quotation marks, as the guide makes it")
    return link, shown[0]["metadata"]["name"]


def opens_the_screen(browser, gate, echo, link):
    """The link of the guide in a browser: cookie, redirect, WebSocket; and nothing else is open."""
    tab = browser.tab()
    tab.show_as(DESKTOP)
    equal(tab.open(link), 200, "the status of the page that the link leads to")
    place = f"{gate.url}/noVNC/vnc_lite.html?path=k8s{screen()}"
    equal(tab.evaluate("location.href"), place, "where the link leads")
    tab.until("document.title === 'echo: RFB 003.008'")
    equal(tab.evaluate("document.referrer"), "", "what the page learns of the link")
    (cookie,) = tab.cookies()
    equal(
        {key: cookie.get(key) for key in ("name", "path", "httpOnly", "secure", "sameSite")},
        {"name": "kg-jwt-session-code", "path": "/", "httpOnly": True, "secure": True, "sameSite": "Lax"},
        "the cookie",
    )
    check(cookie["value"].count(".") == 2 and '"' not in cookie["value"], "the cookie is the token, without quotation marks")
    check(3500 < cookie["expires"] - time.time() <= 3600, "the cookie ends with the token")
    path, headers = echo.seen[-1]
    equal(path, screen(), "what the guarded service is asked for")
    told = {name: headers.get(name) for name in ("x-auth-request-user", "kubeflow-userid", "x-auth-request-email", "cookie", "authorization")}
    user = told["x-auth-request-user"] or ""
    check(user.startswith(f"gatetoken:{NAMESPACE}/{MACHINE}-"), f"the guarded service is told whose token it is: {told}")
    equal((told["kubeflow-userid"], told["x-auth-request-email"], told["cookie"], told["authorization"]), (user, None, None, None), "what else it is told")

    asked = len(echo.seen)
    status = "fetch('{}', {}).then(answer => answer.status)"
    for url, options, expected, what in (
        (f"/k8s{screen('other')}", "{}", 403, "another VM's path"),
        (f"/k8s{screen()}/", "{}", 403, "a path below"),
        ("/k8s/api/v1/namespaces", "{}", 403, "the rest of the API"),
        (f"/k8s{screen()}", "{method: 'POST'}", 403, "another verb"),
        (f"/k8s{screen()}", "{headers: {'X-Forwarded-Uri': '/', 'X-Original-URL': 'https://evil.example/'}}", 200, "forged headers"),
        (f"/k8s{screen()}", "{headers: {'X-Auth-Request-User': 'root', 'kubeflow-userid': 'root'}}", 200, "forged answers"),
        (f"/k8s{screen()}", "{credentials: 'omit'}", 401, "no cookie"),
    ):
        equal(tab.evaluate(status.format(url, options)), expected, what)
    equal(len(echo.seen), asked + 2, "requests that came through")
    equal((echo.seen[-1][1]["x-auth-request-user"], echo.seen[-1][1]["kubeflow-userid"]), (user, user), "forged answers are overwritten")
    opened = "new Promise(done => {{ const s = new WebSocket('wss://' + location.host + '{}'); s.onopen = () => done(true); s.onerror = () => done(false); }})"
    equal(tab.evaluate(opened.format(f"/k8s{screen()}")), True, "a second WebSocket")
    equal(tab.evaluate(opened.format(f"/k8s{screen('other')}")), False, "a WebSocket to another VM")
    return tab


def is_readable(tab, title):
    """What whoever comes needs of a page: a language, a title, one heading, contrast, and room on a small screen."""
    facts = tab.evaluate(
        """(() => {
          const parts = text => (text.match(/[\\d.]+/g) || []).map(Number);
          const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
          const ground = element => { const c = parts(getComputedStyle(element).backgroundColor);
            return c.length === 4 && c[3] === 0 ? ground(element.parentElement) : c; };
          const texts = [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
          const contrast = texts.map(e => { const [a, b] = [light(parts(getComputedStyle(e).color)), light(ground(e))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); });
          return { lang: document.documentElement.lang, title: document.title, headings: document.querySelectorAll('h1').length,
            contrast: Math.min(...contrast), width: document.documentElement.scrollWidth, room: innerWidth,
            loaded: performance.getEntriesByType('resource').length };
        })()"""
    )
    equal((facts["lang"], facts["title"], facts["headings"], facts["loaded"]), ("en", title, 1, 0), "language, title, headings, resources")
    check(facts["contrast"] >= 4.5, f"{title}: contrast {facts['contrast']:.2f}")
    check(facts["width"] <= facts["room"], f"{title}: {facts['width']} px wide on a screen of {facts['room']}")


def take_pictures(tab, name, title):
    taken = 0
    for scheme in ("light", "dark"):
        for device, size in (("phone", PHONE), ("desktop", DESKTOP)):
            tab.show_as(size, scheme, scale=2 if size == PHONE else 1)
            is_readable(tab, title)
            tab.picture(PICTURES / f"{name}-{device}-{scheme}.png")
            taken += 1
    tab.show_as((320, 640))
    is_readable(tab, title)
    tab.show_as(DESKTOP)
    return taken


def one_time(browser, gate):
    """A one-time link: a page with a button, for whoever uses keys alone; and then nothing more."""
    name, token = gate.token(**{"one-time": True})
    link = gate.link(token, name=MACHINE, namespace=NAMESPACE)
    tab, later = browser.tab(), browser.tab()
    equal(tab.open(link), 200, "the status of the page")
    taken = take_pictures(tab, "one-time", "Open this link?")
    equal(later.open(link), 200, "the status of the page in another browser")
    equal(tab.cookies() + later.cookies(), [], "cookies before the button is pressed")
    tab.press("Tab", 9)
    focused = tab.evaluate("[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]")
    equal(focused, ["BUTTON", "solid"], "what has the focus, and how it looks")
    tab.picture(PICTURES / "one-time-desktop-focus.png")
    tab.press("Enter", 13)
    tab.until("document.title === 'echo: RFB 003.008'")
    equal(tab.evaluate("location.pathname"), "/noVNC/vnc_lite.html", "where the button leads")
    equal(tab.complaints(), [], "what the browser has against the page")
    (cookie,) = tab.cookies()
    check(cookie["value"] != token and decoded(cookie["value"], 0)["typ"] == "gate+jwt", "the cookie is a gate token, and not the link")
    equal(later.open(link), 403, "the status of a used link")
    taken += take_pictures(later, "used", "This link was used already")
    gate.delete(name)
    equal(tab.evaluate(f"fetch('/k8s{screen()}').then(answer => answer.status)"), 401, "the cookie, once the GateToken is deleted")
    return taken


def other_pages(browser, gate):
    """Every other page, looked at."""
    tab = browser.tab()
    _, soon_over = gate.token(duration="1s")
    revoked, of_revoked = gate.token()
    gate.delete(revoked)
    tomorrow = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
    _, early = gate.token(**{"from": tomorrow})
    _, below = gate.token(urls=["/k8s/apis/*", "/noVNC/*"])
    _, long = gate.token(urls=[f"/k8s/api/v1/namespaces/{NAMESPACE}/{'a-rather-long-name-' * 4}{number}/*" for number in range(15)])
    taken = pages = 0
    for name, link, status, title in (
        ("revoked", gate.link(of_revoked), 403, "This link was revoked"),
        ("not-yet", gate.link(early), 403, "This link is not valid yet"),
        ("invalid", gate.link("changed.on.its-way"), 403, "This link is not valid"),
        ("incomplete", f"{gate.url}/auth/jwt/set", 403, "This link is not complete"),
        ("wrong-place", gate.link(below, then="//evil.example"), 403, "This link leads to the wrong place"),
        ("no-target", gate.link(below), 200, "The link is open"),
        ("no-target-long", gate.link(long), 200, "The link is open"),
        ("expired", gate.link(soon_over), 403, "This link has expired"),
    ):
        for _ in range(100):
            answer = tab.open(link)
            if name != "expired" or answer == status:
                break
            time.sleep(0.1)  # its second is not over yet
        equal(answer, status, f"the status of the page {name}")
        taken += take_pictures(tab, name, title)
        pages += 1
    equal(tab.complaints(), [], "what the browser has against the pages")
    # A page that the token does open is followed.
    equal(tab.open(gate.link(below, then="/noVNC/vnc_lite.html?path=k8s/apis/x")), 200, "the status of a page that is followed")
    equal(tab.evaluate("location.pathname + location.search"), "/noVNC/vnc_lite.html?path=k8s/apis/x", "where it leads")
    return pages, taken


def by_request(gate):
    """The README of the original: `/auth/jwt/request` with curl, `jq .Token` without `-r`."""
    data = json.dumps({"URLs": ["/api/*", "/apis/*"], "duration": "30m"})
    script = f"""curl -sk -H 'Accept: application/json' -H "Authorization: Bearer ${{token}}" -H "Content-Type: application/json" --request POST --data "${{data}}" "${{proxyurl}}/auth/jwt/request" | jq .Token"""
    environment = {**ENVIRONMENT, "token": gate.access, "data": data, "proxyurl": gate.url}
    done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True)
    quoted = done.stdout.strip()
    check(quoted.startswith('"ey') and quoted.endswith('"'), f"a token in quotation marks: {done.stdout}")
    claims = decoded(quoted.strip('"'))
    equal((claims["URLs"], claims["exp"] - claims["nbf"]), (["/api/*", "/apis/*"], 1800), "what the token says")
    answer = curl(gate.link(quoted, name=MACHINE, namespace=NAMESPACE))
    equal((answer.status, answer.headers["location"]), (302, f"/noVNC/vnc_lite.html?path=k8s{screen()}"), "the link made of it")
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    for path, status in (("/k8s/api/v1/pods", 200), ("/k8s/version", 403)):
        equal(curl(f"{gate.url}{path}", "-H", f"Cookie: {cookie['Cookie']}").status, status, path)


def main():
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(temporary_directory())
        echo, port = stack.enter_context(Echo()), free_port()
        url = f"https://127.0.0.1:{port}"
        settings = {"GATEMINT_ISSUER": url, "GATEMINT_FORWARD_HEADERS": "nginx", "GATEMINT_TRUSTED_PROXIES": "1"}
        serve = stack.enter_context(Serve(place / "data", settings))
        nginx = stack.enter_context(Nginx(place, port, serve.port, echo.port))
        access = password_grant(serve.url, "admin", serve.admin_password())["access_token"]
        gate = Gate(url, access)

        link, name = walk(place, gate)
        created = f"POST /{GROUP}/namespaces/{NAMESPACE}/gatetokens 201"
        check(created in nginx.log("access"), f"{created} in {nginx.log('access')}")
        counted("1 walk of the guide: 201, Ready, a link with quotation marks")
        by_request(gate)
        counted("1 token by /auth/jwt/request, as the original's README asks for it")

        browser = stack.enter_context(Browser(place))
        tab = opens_the_screen(browser, gate, echo, link)
        counted(f"{len(echo.seen)} requests came through nginx to the guarded service, WebSockets among them; another VM's did not")
        taken = one_time(browser, gate)
        pages, more = other_pages(browser, gate)
        counted(f"{pages + 2} pages in {taken + more} pictures, each readable on a phone, a desktop and 320 px, light and dark")

        # To delete is to revoke: at once, and for the link as for the cookie.
        gate.delete(name)
        equal(tab.evaluate(f"fetch('/k8s{screen()}').then(answer => answer.status)"), 401, "the screen, once its GateToken is deleted")
        equal(browser.tab().open(link), 403, "the status of the link, once its GateToken is deleted")
        logs = nginx.log("access") + nginx.log("error") + serve.printed()
        check("token=" not in logs and access.split(".")[1] not in logs, "no log has a query string, nor a token")
        counted(f"{len(logs.splitlines())} log lines of nginx and gatemint, none with a token")


main()
