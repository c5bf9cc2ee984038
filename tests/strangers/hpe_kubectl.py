"""The token that is always fresh by kubectl, Debian's and the one at hand, with the command of HPE Ezmeral's documentation.

And what else kubectl and Kubernetes' Python client show of its Secret: the token where data is asked for, and nowhere else.
"""

import base64
import json
import re
import subprocess
import time

import kubernetes
from kubectls import Kubectl, kubectls
from kubernetes.client.exceptions import ApiException
from support import Serve, check, counted, decoded, equal, gatemint, get, password_grant, temporary_directory
from tls import Tls, certificate

PASSWORD = "correct-horse-battery-staple"
# As documented, to the letter.
DOCUMENTED = "kubectl -n $USER_NAMESPACE get secret access-token -o jsonpath='{.data.AUTH_TOKEN}' | base64 -d"


def documented(kubectl, place, namespace):
    """Runs the command where `kubectl` is this one."""
    place.mkdir(exist_ok=True)
    link = place / "kubectl"
    if not link.exists():
        link.symlink_to(kubectl.program)
    kubectl.commands += 1
    environment = {**kubectl.environment, "PATH": f"{place}:{kubectl.environment['PATH']}", "USER_NAMESPACE": namespace}
    done = subprocess.run(["bash", "-c", DOCUMENTED], env=environment, capture_output=True, text=True, timeout=60, check=False)
    equal((done.returncode, done.stderr), (0, ""), f"what bash says to {DOCUMENTED}")
    return done.stdout


def good(serve, token, user):
    """The token is the user's, has half an hour, and is taken."""
    said = decoded(token)
    equal((said["preferred_username"], said["namespace"]), (user, user), "whose token it is")
    left = said["exp"] - time.time()
    check(1790 <= left <= 1801, f"it has half an hour to live: {left}")
    equal(get(f"{serve.url}/v1/me", {"Authorization": f"Bearer {token}"}).status, 200, "a call with it")
    return said["jti"]


def is_in(token, text):
    """Whether a text has a token, plain or in base64."""
    return "eyJ" in text or base64.b64encode(token.encode()).decode()[:20] in text


def walk(serve, kubectl, place, tokens):
    """What a user does, and what others cannot; returns how many tokens were read."""
    read = {good(serve, documented(kubectl, place, "ada"), "ada") for _ in range(3)}
    equal(len(read), 3, "each read has a token of its own")

    template = "go-template={{.data.AUTH_TOKEN | base64decode}}"
    read.add(good(serve, kubectl("get", "secret", "access-token", "-o", template), "ada"))
    shown = json.loads(kubectl("get", "secret", "access-token", "-o", "json"))
    equal((shown["kind"], shown["type"], sorted(shown["data"])), ("Secret", "Opaque", ["AUTH_TOKEN"]), "the object")
    equal((shown["metadata"]["name"], shown["metadata"]["namespace"]), ("access-token", "ada"), "its name")
    token = base64.b64decode(shown["data"]["AUTH_TOKEN"]).decode()
    read.add(good(serve, token, "ada"))
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(decoded(token)["exp"]))
    equal(shown["metadata"]["annotations"], {"gatemint/expires-at": ends}, "until when the token is good")
    yaml = kubectl("get", "secret", "access-token", "-o", "yaml")
    found = re.search(r"^  AUTH_TOKEN: (\S+)$", yaml, re.MULTILINE)
    read.add(good(serve, base64.b64decode(found[1]).decode(), "ada"))

    # What people look at has no token in it.
    sheet = kubectl("get", "secret", "access-token")
    equal([line.split() for line in sheet.splitlines()], [["NAME", "TYPE"], ["access-token", "Opaque"]], "kubectl get secret")
    sheets = [sheet, kubectl("get", "secrets"), kubectl("get", "secrets", "-o", "yaml"), kubectl("get", "secrets", "-o", "json")]
    check("access-token" in sheets[1].split(), "kubectl get secrets lists it")
    described = kubectl("describe", "secret", "access-token")
    size = re.search(r"^AUTH_TOKEN: +(\d+) bytes$", described, re.MULTILINE)
    check(size and abs(int(size[1]) - len(token)) < 10, f"kubectl describe tells how long it is: {described}")
    for text in (*sheets, described):
        check(not is_in(token, text), f"there is no token in {text}")

    # Nobody else reads it, and nobody changes it.
    kubectl.refused("Forbidden", "get", "secret", "access-token", "--token", tokens["eve"])
    kubectl.refused("Forbidden", "get", "secret", "access-token", "-o", "json", "--token", tokens["eve"])
    kubectl.refused("Forbidden", "get", "secret", "access-token", "--token", token)
    kubectl.refused("must be logged in", "get", "secret", "access-token", "--token", "nobody's")
    kubectl.refused("MethodNotAllowed", "delete", "secret", "access-token")
    kubectl.refused("MethodNotAllowed", "label", "secret", "access-token", "a=b")
    # Of somebody who has not signed in the admin is told so.
    done = kubectl.run("get", "secret", "access-token", "-n", "new", "--token", tokens["admin"])
    told = 'secrets "access-token" not found: '
    check(done.returncode != 0 and told in done.stderr and "signs in" in done.stderr, f"what is missing: {done.stderr}")
    return len(read)


def python_client(serve, url, cert, tokens):
    """The same, typed; by a program's own token as well."""
    read = 0

    def client(token):
        settings = kubernetes.client.Configuration(host=url)
        settings.ssl_ca_cert = str(cert)
        settings.api_key, settings.api_key_prefix = {"authorization": token}, {"authorization": "Bearer"}
        return kubernetes.client.ApiClient(settings)

    for who in ("ada", "admin", "feeder"):
        with client(tokens[who]) as api:
            core = kubernetes.client.CoreV1Api(api)
            secret = core.read_namespaced_secret("access-token", "ada")
            equal((secret.type, sorted(secret.data)), ("Opaque", ["AUTH_TOKEN"]), "the Secret, typed")
            check(secret.metadata.creation_timestamp.tzinfo and secret.metadata.uid, "its age and uid, typed")
            good(serve, base64.b64decode(secret.data["AUTH_TOKEN"]).decode(), "ada")
            listed = {one.metadata.name: one.data for one in core.list_namespaced_secret("ada").items}
            equal(listed["access-token"], None, "its data in a list")
            read += 1
    with client(tokens["eve"]) as api:
        try:
            kubernetes.client.CoreV1Api(api).read_namespaced_secret("access-token", "ada")
        except ApiException as refused:
            equal((refused.status, json.loads(refused.body)["reason"]), (403, "Forbidden"), "a stranger's read")
        else:
            raise AssertionError("a stranger read it")
    return read


def main():
    with temporary_directory() as place:
        cert, key = certificate(place)
        tls = Tls(cert, key)
        url = f"https://127.0.0.1:{tls.port}"
        with Serve(place / "data", {"GATEMINT_ISSUER": url}) as serve:
            tls.target = serve.port
            data = ("--data", str(serve.data))
            for user in ("ada", "eve", "new"):
                gatemint("user", "create", user, "--password-stdin", *data, stdin=PASSWORD + "\n")
            tokens = {user: password_grant(serve.url, user, PASSWORD)["access_token"] for user in ("ada", "eve")}
            tokens["admin"] = password_grant(serve.url, "admin", serve.admin_password())["access_token"]
            made = json.loads(gatemint("service-account", "create", "--namespace", "eve", "--name", "feeder", "--json", *data))
            tokens["feeder"] = json.loads(base64.b64decode(made["token"]))["token"]
            gatemint("acl", "grant", "secret://default/ada/access-token", "eve/service-accounts/feeder", "read", *data)
            (place / "kubectl").mkdir()
            for version, program in kubectls(place).items():
                home = place / "kubectl" / version
                user = Kubectl(program, home, url, cert, {"token": tokens["ada"]}, "ada")
                read = walk(serve, user, place / f"bin-{version}", tokens)
                admin = Kubectl(program, place / "kubectl" / f"{version}-admin", url, cert, {"token": tokens["admin"]}, "default")
                good(serve, documented(admin, place / f"bin-{version}", "ada"), "ada")
                counted(f"{user.commands + admin.commands} commands of kubectl {version}, {read + 1} tokens read, 4 by the documented command")
            read = python_client(serve, url, cert, tokens)
            counted(f"{read} tokens read by the Python client {kubernetes.__version__}, 1 read refused")
        tls.listener.close()


main()
