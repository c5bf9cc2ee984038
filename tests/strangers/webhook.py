"""Pods that get the token that is always fresh, as a cluster would have it, with all that README.md's section «Pods» shows.

The reviews go through nginx with TLS and HTTP/2, to the address and by the authority that README.md's manifest says. Each patch
is applied by jsonpatch and judged by the models of Kubernetes' Python client, which read no field that there is not. Then
README.md's commands make a service account, and the CronJob's own shell copies the token into a cluster's Secret, of which a
pod would read it as its volume says.
"""

import base64
import collections
import contextlib
import copy
import http.server
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

import celpy
import jsonpatch
import yaml
from kubernetes import client
from support import BIN, ENVIRONMENT, ROOT, Serve, check, counted, decoded, equal, free_port, gatemint, get, temporary_directory
from tls import certificate, issued
from webhook_pods import ANNOTATION, CONTROLLER, PODS, YES, container, pod, review

HOST = "auth.example.org"
PASSWORD = "correct-horse-battery-staple"
PLACE, FILE = "/etc/secrets/ezua", ".auth_token"
LARGEST = 3 * 1024 * 1024
MODELS = {
    "CronJob": client.V1CronJob,
    "MutatingWebhookConfiguration": client.V1MutatingWebhookConfiguration,
    "Pod": client.V1Pod,
    "Role": client.V1Role,
    "RoleBinding": client.V1RoleBinding,
    "Secret": client.V1Secret,
    "ServiceAccount": client.V1ServiceAccount,
}
NGINX = """
daemon off;
master_process off;
pid @PLACE@/nginx.pid;
error_log @PLACE@/error.log info;
events {}
http {
    access_log @PLACE@/access.log;
    client_body_temp_path @PLACE@/body;
    proxy_temp_path @PLACE@/proxy;
    fastcgi_temp_path @PLACE@/fastcgi;
    uwsgi_temp_path @PLACE@/uwsgi;
    scgi_temp_path @PLACE@/scgi;
    server {
        listen 127.0.0.1:@PORT@ ssl http2;
        ssl_certificate @PLACE@/issued.pem;
        ssl_certificate_key @PLACE@/issued.key;
        @LIMIT@;
        proxy_http_version 1.1;
        location / {
            proxy_pass http://127.0.0.1:@GATEMINT@;
            proxy_set_header Host $http_host;
        }
    }
}
"""

# What was done, for the counts.
DONE = collections.Counter()


@contextlib.contextmanager
def nginx(place, port, gatemint_port, limit):
    """TLS and HTTP/2 in front of gatemint, with the limit that README.md asks for."""
    config = place / "nginx.conf"
    text = NGINX.replace("@PLACE@", str(place)).replace("@PORT@", str(port)).replace("@GATEMINT@", str(gatemint_port)).replace("@LIMIT@", limit)
    config.write_text(text)
    errors = place / "error.log"
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(place), "-e", str(errors)], env=ENVIRONMENT, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            check(process.poll() is None and time.monotonic() < deadline, f"nginx is not ready: {errors.read_text() if errors.exists() else ''}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(15)


# --- README.md


class Pods:
    """README.md's section: its manifests by kind, and its blocks of commands."""

    def __init__(self):
        section = re.search(r"^## Pods\n(.*?)^## ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL).group(1)
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        self.texts, self.commands = ([text for named, text in blocks if named == name] for name in ("yaml", ""))
        self.limit = re.search(r"client_max_body_size \w+", section).group()
        manifests = [manifest for text in self.texts for manifest in yaml.safe_load_all(text)]
        self.manifests = {manifest["kind"]: manifest for manifest in manifests}
        equal(sorted(self.manifests), sorted(MODELS), "the kinds in README.md's section")
        equal(len(manifests), len(MODELS), "manifests, one of a kind")

    def text(self, kind):
        return next(text for text in self.texts if f"kind: {kind}\n" in text)

    def command(self, word):
        return next(command for command in self.commands if word in command)


# --- Kubernetes' models

API = client.ApiClient()


def plain(value):
    """Without what is null, which counts as absent, and with moments in one spelling."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return re.sub(r"^(\d{4}-\d\d-\d\dT[\d:.]+)Z$", r"\1+00:00", value) if isinstance(value, str) else value


def accepted(thing):
    """Whether Kubernetes' client reads it, all of it, and would send it as it is."""
    model = MODELS[thing["kind"]].from_dict(thing)
    equal(plain(API.sanitize_for_serialization(model)), plain(thing), f"a {thing['kind']} as Kubernetes' client reads it")
    DONE["objects accepted"] += 1
    return model


def is_consistent(thing):
    """What an API server judges beyond the fields themselves."""
    volumes = [volume["name"] for volume in thing["spec"].get("volumes", [])]
    equal(len(volumes), len(set(volumes)), f"the names of volumes {volumes}")
    for one in containers(thing):
        paths = [mount["mountPath"] for mount in one.get("volumeMounts", [])] + [device["devicePath"] for device in one.get("volumeDevices", [])]
        equal(len(paths), len(set(paths)), f"the paths in {one['name']} {paths}")
        check(all(mount["name"] in volumes for mount in one.get("volumeMounts", [])), f"a volume that {one['name']} mounts is missing")


def containers(thing):
    return [*thing["spec"]["containers"], *thing["spec"].get("initContainers", [])]


# --- The webhook


class Webhook:
    """What asks, as an API server does: the manifest's address, its authority, its patience."""

    def __init__(self, manifest, port, place):
        webhook = manifest["webhooks"][0]
        self.url = f"{webhook['clientConfig']['url'].replace(HOST, f'{HOST}:{port}')}?timeout={webhook['timeoutSeconds']}s"
        self.resolve, self.authority, self.seconds = f"{HOST}:{port}:127.0.0.1", place / "bundle.pem", webhook["timeoutSeconds"]
        self.authority.write_bytes(base64.b64decode(webhook["clientConfig"]["caBundle"], validate=True))

    def send(self, body, content_type="application/json"):
        """Status and answer."""
        command = ["curl", "-sS", "--http2", "--cacert", self.authority, "--resolve", self.resolve, "-m", str(self.seconds), "--data-binary", "@-"]
        headers = ["-H", f"Content-Type: {content_type}", "-H", "Accept: application/json, */*", "-A", "kube-apiserver-admission"]
        said = subprocess.run(
            [*command, *headers, "-w", "\n%{http_code} %{http_version}", self.url], input=body.encode(), env=ENVIRONMENT, stdout=subprocess.PIPE, check=True
        ).stdout.decode()
        answer, _, status = said.rpartition("\n")
        status, version = status.split()
        equal(version, "2", "the version of HTTP")
        DONE["asked"] += 1
        return int(status), json.loads(answer)

    def ask(self, asked):
        """The response to a review, once it is one."""
        status, answer = self.send(json.dumps(asked))
        equal((status, sorted(answer)), (200, ["apiVersion", "kind", "response"]), "an answer")
        equal((answer["apiVersion"], answer["kind"]), ("admission.k8s.io/v1", "AdmissionReview"), "what is answered")
        response = answer["response"]
        equal((response["uid"], response["allowed"]), (asked["request"]["uid"], True), "the verdict")
        check(set(response) <= {"uid", "allowed", "patch", "patchType", "warnings"}, f"the fields of a response: {response}")
        equal("patch" in response, response.get("patchType") == "JSONPatch", "the type of a patch")
        # An API server drops what cannot stand in a header, and cuts what is longer.
        warnings = response.get("warnings", [])
        check(all(text.isascii() and text.isprintable() and len(text) <= 256 for text in warnings), f"warnings {warnings}")
        return response


def patched(thing, response):
    """The pod as it is kept: patched by somebody else's library."""
    if "patch" not in response:
        return thing
    operations = json.loads(base64.b64decode(response["patch"], validate=True))
    check(operations, "a patch does something")
    DONE["operations"] += len(operations)
    return jsonpatch.JsonPatch(operations).apply(thing)


def token_mounts(thing, one):
    """What is mounted in the place, if the token is in it."""
    volumes = {volume["name"]: volume for volume in thing["spec"].get("volumes", [])}
    for mount in one.get("volumeMounts", []):
        secret = volumes[mount["name"]].get("secret", {})
        items = [(item["key"], item["path"]) for item in secret.get("items", [])]
        if mount["mountPath"] == PLACE and secret.get("secretName") == "access-token" and ("AUTH_TOKEN", FILE) in items:
            equal((mount.get("readOnly"), "subPath" in mount), (True, False), "how it is mounted")
            yield mount


def without(thing, before):
    """A patched pod without what was added to it."""
    bare = copy.deepcopy(thing)
    known = [volume["name"] for volume in before["spec"].get("volumes", [])]
    for new, old in zip(containers(bare), containers(before)):
        mounts = [mount for mount in new.get("volumeMounts", []) if mount in old.get("volumeMounts", [])]
        new.pop("volumeMounts", None)
        new.update({"volumeMounts": mounts} if mounts else {})
    volumes = [volume for volume in bare["spec"].pop("volumes", []) if volume["name"] in known]
    bare["spec"].update({"volumes": volumes} if volumes else {})
    return bare


def every_pod(webhook, condition):
    for name, (given, expected, warned) in PODS.items():
        given = copy.deepcopy(given)
        asked = review(given, CONTROLLER if "generateName" in given["metadata"] else review(given)["request"]["userInfo"])
        response = webhook.ask(asked)
        kept = patched(given, response)
        accepted(given)
        accepted(kept)
        is_consistent(kept)
        having = [one["name"] for one in containers(kept) if list(token_mounts(kept, one))]
        equal(having, expected, f"the containers with a token, of a pod {name}")
        equal(len(response.get("warnings", [])), warned, f"the warnings about a pod {name}: {response.get('warnings')}")
        equal(without(kept, given), given, f"what else became of a pod {name}")
        again = webhook.ask(review(kept))
        equal(("patch" in again, again.get("warnings")), (False, response.get("warnings")), f"the second time, for a pod {name}")
        tried = webhook.ask({**asked, "request": {**asked["request"], "dryRun": True}})
        equal(tried, response, "the same request, tried only")
        # What the cluster asks about at all.
        marked = any(ANNOTATION in given["metadata"].get(where, {}) for where in ("annotations", "labels"))
        equal(bool(condition.evaluate({"object": celpy.json_to_cel(given)})), marked, f"whether a pod {name} is asked about")
        DONE["pods"] += 1
        DONE["containers"] += len(expected)


def allowed_as_it_is(webhook):
    """What is asked about something else than a new pod, and a pod that no API server would send."""
    asking = pod([container("app")], YES)
    deployment = {"group": "apps", "version": "v1", "kind": "Deployment"}
    debugged = copy.deepcopy(asking)
    debugged["spec"]["ephemeralContainers"] = [container("debugger", targetContainerName="app")]
    unquoted = pod([container("app")], {ANNOTATION: True})
    for what, asked in (
        ("of another kind", review(asking, kind=deployment, resource={"group": "apps", "version": "v1", "resource": "deployments"})),
        ("a change", review(asking, operation="UPDATE", oldObject=asking)),
        ("an end", review(asking, operation="DELETE", object=None, oldObject=asking)),
        ("a debug container", review(debugged, operation="UPDATE", subResource="ephemeralcontainers", oldObject=asking)),
        ("true without quotes", review(unquoted)),
    ):
        response = webhook.ask(asked)
        equal(("patch" in response, len(response["warnings"])), (False, 1), f"the response to {what}")
        DONE["allowed as they are"] += 1


def refused(webhook):
    asked = json.dumps(review(pod([container("app")], YES)))
    filling = LARGEST - len(asked)
    for what, body, status in (
        ("3 MiB", asked.replace(f'"{ANNOTATION}"', f'"filling": "{"x" * (filling - 15)}", "{ANNOTATION}"'), 200),
        ("3 MiB and a byte", asked.replace(f'"{ANNOTATION}"', f'"filling": "{"x" * (filling - 14)}", "{ANNOTATION}"'), 413),
        ("v1beta1", asked.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1"), 400),
        ("another kind of review", asked.replace("AdmissionReview", "ConversionReview"), 400),
        ("no JSON", "apiVersion: admission.k8s.io/v1\nkind: AdmissionReview\n", 400),
        ("half of it", asked[: len(asked) // 2], 400),
        ("nothing", "", 400),
    ):
        lengths = {"3 MiB": LARGEST, "3 MiB and a byte": LARGEST + 1}
        equal(len(body), lengths.get(what, len(body)), f"the length of {what}")
        got, answer = webhook.send(body)
        equal(got, status, f"the status of {what} ({len(body)} bytes): {str(answer)[:300]}")
        if status != 200:
            equal((answer["kind"], answer["status"], answer["code"]), ("Status", "Failure", status), f"the refusal of {what}")
            DONE["refused"] += 1
    equal(webhook.send(asked, "text/plain")[0], 415, "the status of another media type")
    DONE["refused"] += 1


# --- The Secret


class Cluster:
    """As much of an API server as the CronJob needs: one Secret, which may be changed with the right token, over TLS."""

    def __init__(self, place):
        cert, key = certificate(place)
        self.token, self.data, self.patches, self.allows = "cluster-token", {}, 0, True
        cluster = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_PATCH(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                target = urllib.parse.urlsplit(self.path)
                query = urllib.parse.parse_qs(target.query)
                right = (
                    self.headers["Authorization"] == f"Bearer {cluster.token}"
                    and self.headers["Content-Type"] == "application/apply-patch+yaml"
                    and (target.path, query) == ("/api/v1/namespaces/ada/secrets/access-token", {"fieldManager": ["gatemint"], "force": ["true"]})
                    and cluster.allows
                )
                if right:
                    secret = yaml.safe_load(body)
                    accepted(secret)
                    equal(secret["metadata"], {"name": "access-token"}, "which Secret is applied")
                    cluster.data = secret["data"]
                    cluster.patches += 1
                self.send_response(200 if right else 403)
                self.end_headers()
                self.wfile.write(body if right else b"{}")

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url, self.authority = f"https://127.0.0.1:{self.server.server_port}", cert
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Job:
    """The CronJob's container, run here: its own command with its own script, at other places."""

    def __init__(self, manifest, place, gatemint_url, authority, cluster):
        spec = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        (one,) = spec["containers"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        (mounted,) = [mount for mount in one["volumeMounts"] if "secret" in volumes[mount["name"]]]
        equal(volumes[mounted["name"]]["secret"]["secretName"], "gatemint-token", "the Secret with the long-lived token")
        self.place, self.tmp = place, place / "tmp"
        (place / "serviceaccount").mkdir()
        self.tmp.mkdir()
        (place / "serviceaccount" / "token").write_text(cluster.token)
        (place / "serviceaccount" / "ca.crt").write_bytes(cluster.authority.read_bytes())
        # Which arguments curl is given is what `ps` would show.
        (place / "bin").mkdir()
        (place / "bin" / "curl").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> "$ARGUMENTS"\nexec "$CURL" "$@"\n')
        (place / "bin" / "curl").chmod(0o755)
        which = subprocess.run(["sh", "-c", "command -v curl"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        values = {"fieldPath: metadata.namespace": "ada", "GATEMINT": gatemint_url}
        self.environment = {
            **ENVIRONMENT,
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(self.tmp),
            "CURL": which,
            "CURL_CA_BUNDLE": str(authority),
            "ARGUMENTS": str(place / "arguments"),
        }
        for variable in one["env"]:
            reference = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            self.environment[variable["name"]] = values[f"fieldPath: {reference}"] if reference else values[variable["name"]]
        (script,) = one["args"]
        for path, here in ((mounted["mountPath"], place / "token-of-gatemint"), ("/var/run/secrets/kubernetes.io/serviceaccount", place / "serviceaccount"), ("https://kubernetes.default.svc", cluster.url)):
            check(path in script, f"the script speaks of {path}")
            script = script.replace(path, str(here))
        self.command = [*one["command"], script]

    def run(self, **environment):
        """The exit code; nothing secret may have been printed, or be an argument of anything."""
        done = subprocess.run(
            self.command, cwd=self.place, env={**self.environment, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
        )
        said = done.stdout + (self.place / "arguments").read_text()
        check("eyJ" not in said and "cluster-token" not in said, f"something secret was shown: {done.stdout}")
        if done.returncode == 0:
            equal(done.stdout, "", "what a run that went well prints")
        modes = {file.stat().st_mode & 0o777 for file in self.tmp.rglob("*") if file.is_file()}
        equal(modes, {0o600}, "who may read the job's files")
        DONE["runs"] += 1
        return done.returncode


class Shell:
    """README.md's commands, with gatemint as ada, and with a kubectl that keeps what it is given."""

    def __init__(self, place, serve):
        self.place = place
        (place / "bin").mkdir()
        (place / "bin" / "kubectl").write_text(f'#!/bin/sh\necho "$*" >> {place}/kubectl.log\ntest "$1" != apply || cat > {place}/applied\n')
        (place / "bin" / "kubectl").chmod(0o755)
        self.environment = {**ENVIRONMENT, "HOME": str(place), "PATH": f"{place / 'bin'}:{Path(BIN).parent}:{os.environ['PATH']}"}
        self.environment.pop("XDG_CONFIG_HOME", None)
        self.serve = serve

    def sign_in(self):
        self.paste(f"gatemint login --url {self.serve.url} --username ada --password-stdin", stdin=PASSWORD)

    def paste(self, commands, stdin=""):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], cwd=self.place, env=self.environment, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        check(done.returncode == 0, f"{commands} ended with {done.returncode}: {done.stderr}")
        return done.stdout


def in_the_pod(kept, one, secret):
    """A file's content as the kubelet would put it there, from a Secret's data."""
    (mount,) = token_mounts(kept, one)
    (volume,) = [volume["secret"] for volume in kept["spec"]["volumes"] if volume["name"] == mount["name"]]
    files = {f"{mount['mountPath']}/{item['path']}": base64.b64decode(secret[item["key"]]) for item in volume["items"]}
    return files[f"{PLACE}/{FILE}"].decode()


def copied(readme, webhook, serve, url, authority, place):
    """The Secret from its first run to ada's end."""
    shell = Shell(place / "shell", serve)
    shell.sign_in()
    shell.paste(readme.command("service-account create"))
    equal((shell.place / "kubectl.log").read_text(), "create secret generic gatemint-token --namespace ada --from-file=token\n", "what kubectl is told")
    cluster = Cluster(place / "cluster")
    job = Job(readme.manifests["CronJob"], place / "job", url, authority, cluster)
    (job.place / "token-of-gatemint").mkdir()
    kept_token = job.place / "token-of-gatemint" / "token"
    kept_token.write_text((shell.place / "token").read_text())

    documented = readme.manifests["Pod"]
    kept = patched(documented, webhook.ask(review({**documented, "metadata": {**documented["metadata"], "creationTimestamp": None}})))
    tokens = []
    for _ in range(3):
        equal(job.run(), 0, "the exit code of a run")
        token = in_the_pod(kept, kept["spec"]["containers"][0], cluster.data)
        left = decoded(token)["exp"] - time.time()
        check(1740 <= left <= 1801, f"a token that was just copied lives for {left:.0f} s")
        me = get(f"{serve.url}/v1/me", {"Authorization": f"Bearer {token}"})
        equal((me.status, me.json()["name"]), (200, "ada"), "whose token a pod reads")
        tokens.append(token)
    equal(cluster.patches, 3, "how often the Secret was written")

    # What goes wrong leaves the Secret as it was.
    def fails(why, **environment):
        before = (cluster.data, cluster.patches)
        check(job.run(**environment) != 0, f"a run that {why} says so")
        equal((cluster.data, cluster.patches), before, f"the Secret after a run that {why}")
        DONE["faults"] += 1

    cluster.allows = False
    fails("may not write the Secret")
    cluster.allows = True
    fails("finds no gatemint", GATEMINT=f"https://127.0.0.1:{free_port()}")
    fails("does not know gatemint's certificate", CURL_CA_BUNDLE=str(cluster.authority))
    fails("is in another namespace", NAMESPACE="admin")
    kept_token.write_text("eyJ.eyJ.eyJ")
    fails("has a token that is none")
    kept_token.write_text((shell.place / "token").read_text())
    operator = ["--data", str(serve.data)]
    gatemint("user", "disable", "ada", *operator)
    fails("asks for a user who is disabled")
    equal(get(f"{serve.url}/v1/me", {"Authorization": f"Bearer {tokens[-1]}"}).status, 401, "what her token is worth then")
    gatemint("user", "enable", "ada", *operator)
    fails("asks for a user who has not signed in since")
    shell.sign_in()
    equal(job.run(), 0, "the exit code after she has signed in again")
    shell.paste("gatemint service-account rotate pods --overlap 0s -q > /dev/null")
    fails("has a token that was rotated")


def main():
    readme = Pods()
    with temporary_directory() as place, contextlib.ExitStack() as stack:
        for name in ("nginx", "shell", "cluster", "job"):
            (place / name).mkdir()
        port = free_port()
        authority, _, _ = issued(place / "nginx", HOST)
        serve = stack.enter_context(Serve(place / "data", {"GATEMINT_ISSUER": f"https://{HOST}:{port}"}))
        gatemint("user", "create", "ada", "--password-stdin", "--data", str(serve.data), stdin=PASSWORD)
        stack.enter_context(nginx(place / "nginx", port, serve.port, readme.limit))

        # The manifest, as the command below it makes it.
        filled = Shell(stack.enter_context(temporary_directory()), serve)
        (filled.place / "ca.pem").write_bytes(authority.read_bytes())
        (filled.place / "webhook.yaml").write_text(readme.text("MutatingWebhookConfiguration"))
        filled.paste(readme.command("webhook.yaml"))
        manifest = yaml.safe_load((filled.place / "applied").read_text())
        for thing in [manifest, *(thing for kind, thing in readme.manifests.items() if kind != manifest["kind"])]:
            accepted(thing)
        (condition,) = manifest["webhooks"][0]["matchConditions"]
        environment = celpy.Environment()

        webhook = Webhook(manifest, port, place)
        every_pod(webhook, environment.program(environment.compile(condition["expression"])))
        allowed_as_it_is(webhook)
        refused(webhook)
        counted(f"{DONE['pods']} pods, of which {DONE['containers']} containers get the token by {DONE['operations']} operations of JSON patches")
        counted(f"{DONE['asked']} requests through TLS and HTTP/2; {DONE['allowed as they are']} reviews allowed as they are, {DONE['refused']} refused")
        copied(readme, webhook, serve, f"https://127.0.0.1:{port}", authority, place)
        counted(f"{DONE['runs']} runs of the CronJob's shell, {DONE['faults']} with a fault that left the Secret as it was")
        counted(f"{DONE['objects accepted']} objects that Kubernetes' client accepts as they are")


main()
