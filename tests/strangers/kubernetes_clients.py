"""Service accounts by those who speak Kubernetes: its own Python client, typed, and kubectl with our credential plugin.

What a person does with `gatemint login`, kubectl does by `gatemint credential kubectl`; what a program does outside a
cluster, the Python client does: a long-lived token from the Secret, short-lived ones requested with it, and a review of
each as a service behind a gateway asks for it.
"""

import base64
import collections
import contextlib
import datetime
import json
import os
import re
import subprocess
import urllib.request

import kubernetes
from kubectls import DEBIAN, Kubectl, kubectls
from kubernetes.client import (
    AuthenticationV1TokenRequest,
    RbacV1Subject,
    V1ObjectMeta,
    V1PolicyRule,
    V1Role,
    V1RoleBinding,
    V1RoleRef,
    V1ServiceAccount,
    V1TokenRequestSpec,
    V1TokenReview,
    V1TokenReviewSpec,
)
from kubernetes.client.exceptions import ApiException
from support import BIN, ENVIRONMENT, Serve, check, counted, decoded, equal, gatemint, get, password_grant, temporary_directory
from tls import Tls, certificate

AUDIENCE = "istio-ingressgateway.istio-system.svc.cluster.local"
PASSWORD = "correct-horse-battery-staple"
TOO_SHORT = (
    'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 60: '
    "may not specify a duration less than 10 minutes"
)
SHORTENED = "requested expiration of 172800 seconds shortened to 86400 seconds"


# What was done, for the counts.
DONE = collections.Counter()


# --- Python


class Client:
    """Kubernetes' Python client with a token."""

    def __init__(self, url, cert, token):
        settings = kubernetes.client.Configuration(host=url)
        settings.ssl_ca_cert = str(cert)
        settings.api_key, settings.api_key_prefix = {"authorization": token}, {"authorization": "Bearer"}
        self.api = kubernetes.client.ApiClient(settings)
        self.core = kubernetes.client.CoreV1Api(self.api)
        self.rbac = kubernetes.client.RbacAuthorizationV1Api(self.api)
        self.authentication = kubernetes.client.AuthenticationV1Api(self.api)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.api.close()

    def request(self, name, seconds, audiences=(AUDIENCE,), namespace="ada"):
        spec = V1TokenRequestSpec(audiences=list(audiences), expiration_seconds=seconds)
        body = AuthenticationV1TokenRequest(spec=spec)
        answer = self.core.create_namespaced_service_account_token_with_http_info(name, namespace, body)
        DONE["tokens"] += 1
        return answer

    def review(self, token, *audiences):
        spec = V1TokenReviewSpec(token=token, audiences=list(audiences))
        status = self.authentication.create_token_review(V1TokenReview(spec=spec)).status
        DONE["reviews"] += 1
        return status


def refusal(code, reason, call, *arguments, **named):
    """The message of the Status that a call is refused with."""
    try:
        call(*arguments, **named)
    except ApiException as refused:
        status = json.loads(refused.body)
        equal((refused.status, status["kind"], status["reason"]), (code, "Status", reason), f"a refusal ({status['message']})")
        DONE["refusals"] += 1
        return status["message"]
    raise AssertionError(f"{arguments} was not refused")


def role(name):
    rule = V1PolicyRule(api_groups=[""], resources=["serviceaccounts/token"], resource_names=[name], verbs=["create"])
    return V1Role(metadata=V1ObjectMeta(name=f"{name}-create-token"), rules=[rule])


def role_binding(name, namespace):
    return V1RoleBinding(
        metadata=V1ObjectMeta(name=f"{name}-create-token"),
        role_ref=V1RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name=f"{name}-create-token"),
        subjects=[RbacV1Subject(kind="ServiceAccount", name=name, namespace=namespace)],
    )


def python_accounts(ada):
    """Made, listed, read, ended."""
    labels = {"arrikto.com/service-account-creator": ""}
    for name in ("ci", "cd"):
        made = ada.core.create_namespaced_service_account("ada", V1ServiceAccount(metadata=V1ObjectMeta(name=name, labels=labels)))
        check(isinstance(made, V1ServiceAccount) and made.metadata.creation_timestamp.tzinfo, "what is made, typed")
        equal((made.metadata.labels, [s.name for s in made.secrets]), (labels, [f"{name}-token"]), "what is made")
    check("already exists" in refusal(409, "AlreadyExists", ada.core.create_namespaced_service_account, "ada", V1ServiceAccount(metadata=V1ObjectMeta(name="ci"))), "the second one")
    listed = ada.core.list_namespaced_service_account("ada", label_selector="arrikto.com/service-account-creator").items
    equal([one.metadata.name for one in listed], ["cd", "ci"], "the list")
    equal(ada.core.read_namespaced_service_account("ci", "ada").metadata.uid, listed[1].metadata.uid, "what is read")
    deleted = ada.core.delete_namespaced_service_account("cd", "ada")
    equal(deleted.metadata.name, "cd", "what was deleted")
    refusal(404, "NotFound", ada.core.read_namespaced_service_account, "cd", "ada")


def python_tokens(ada, admin):
    """Short-lived tokens, their limits, and reviews of them."""
    made, status, headers = ada.request("ci", 600)
    equal((status, headers.get("Warning"), made.spec.expiration_seconds), (201, None, 600), "a TokenRequest")
    claims = decoded(made.status.token)
    equal((claims["sub"], claims["aud"], claims["exp"] - claims["iat"]), ("system:serviceaccount:ada:ci", [AUDIENCE], 600), "claims")
    uid = ada.core.read_namespaced_service_account("ci", "ada").metadata.uid
    equal(claims["kubernetes.io"], {"namespace": "ada", "serviceaccount": {"name": "ci", "uid": uid}}, "the claim kubernetes.io")
    equal(int(made.status.expiration_timestamp.timestamp()), claims["exp"], "the end")
    equal(refusal(422, "Invalid", ada.request, "ci", 60), TOO_SHORT, "the text for a minute")
    cut, _, headers = ada.request("ci", 172_800)
    equal(headers["Warning"], f'299 - "{SHORTENED}"', "the warning over a day")
    equal(decoded(cut.status.token)["exp"], int(cut.status.expiration_timestamp.timestamp()), "the end that is told")

    good = admin.review(made.status.token, "other", AUDIENCE)
    equal((good.authenticated, good.audiences, good.error), (True, [AUDIENCE], None), "a review")
    groups = ["system:serviceaccounts", "system:serviceaccounts:ada", "system:authenticated"]
    equal((good.user.username, good.user.uid, good.user.groups), ("system:serviceaccount:ada:ci", uid, groups), "whose it is")
    equal(good.user.extra, {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]}, "which one it is")
    for token, audience in ((made.status.token, "other"), ("nobody's", AUDIENCE)):
        no = admin.review(token, audience)
        check(not no.authenticated and no.error and no.user.username is None, f"a review that says no: {no}")
    refusal(403, "Forbidden", ada.review, made.status.token, AUDIENCE)


def python_manual_way(ada, admin, url, cert, serve):
    """The guide's program: get or create each part, read the Secret, and request tokens with what was in it."""
    parts = (
        (ada.core.create_namespaced_service_account, V1ServiceAccount(metadata=V1ObjectMeta(name="outside"))),
        (ada.rbac.create_namespaced_role, role("outside")),
        (ada.rbac.create_namespaced_role_binding, role_binding("outside", "ada")),
    )
    for again in (False, True):  # it may be run twice
        for create, body in parts:
            if again:
                refusal(409, "AlreadyExists", create, "ada", body)
            else:
                create("ada", body)
    kept = ada.rbac.read_namespaced_role("outside-create-token", "ada")
    equal(kept.rules, role("outside").rules, "the rules of the Role")
    bound = ada.rbac.read_namespaced_role_binding("outside-create-token", "ada")
    equal((bound.subjects, bound.role_ref), (role_binding("outside", "ada").subjects, role_binding("outside", "ada").role_ref), "the RoleBinding")
    equal([one.metadata.name for one in ada.rbac.list_namespaced_role_binding("ada").items], ["outside-create-token"], "role bindings")
    wrong = role("outside")
    wrong.rules[0].verbs = ["*"]
    check('"verbs":["create"]' in refusal(422, "Invalid", ada.rbac.create_namespaced_role, "ada", wrong), "the known shape is named")

    secret_name = ada.core.read_namespaced_service_account("outside", "ada").secrets[0].name
    token = base64.b64decode(ada.core.read_namespaced_secret(secret_name, "ada").data["token"]).decode()
    claims = decoded(token)
    namespace = claims["kubernetes.io/serviceaccount/namespace"]
    name = claims["kubernetes.io/serviceaccount/service-account.name"]
    equal((namespace, name), ("ada", "outside"), "what the program reads of its long-lived token")
    with Client(f"{url}/kubernetes", cert, token) as outside:
        requested = [outside.request(name, 600, namespace=namespace)[0].status.token for _ in range(3)]
        equal(len(set(requested)), 3, "each token is one of its own")
        for one in requested:
            equal(admin.review(one, AUDIENCE).user.username, "system:serviceaccount:ada:outside", "whose each is")
        passed = get(f"{serve.url}/auth/verify?audience={AUDIENCE}", forwarded(requested[0]))
        # No site maps the host: the token is good, and opens nothing.
        equal(passed.status, 403, "what it opens")
        refusal(403, "Forbidden", outside.request, "ci", 600)
        refusal(404, "NotFound", outside.core.read_namespaced_secret, secret_name, "ada")
        equal(ada.rbac.delete_namespaced_role_binding("outside-create-token", "ada")["status"], "Success", "the end of the RoleBinding")
        refusal(403, "Forbidden", outside.request, name, 600)
        ada.core.delete_namespaced_service_account("outside", "ada")
        refusal(401, "Unauthorized", outside.request, name, 600)
    check(not any(admin.review(one, AUDIENCE).authenticated for one in requested), "nothing of it is good any more")


def forwarded(token):
    return {
        "Authorization": f"Bearer {token}",
        "X-Original-Method": "GET",
        "X-Original-URL": "https://app.example.org/",
    }


# --- What an API server's webhook sends


def webhook(serve, ada, admin_token):
    """As an API server's authenticator asks, in the version that it asks in by default; with a service account's token."""
    gatemint("acl", "grant", "tokenreview://default", "ada/service-accounts/ci", "read", "--data", str(serve.data))
    caller = base64.b64decode(ada.core.read_namespaced_secret("ci-token", "ada").data["token"]).decode()
    reviews = 0
    for version in ("v1beta1", "v1"):
        for token, audiences, good in (
            (ada.request("ci", 600)[0].status.token, [AUDIENCE], True),
            (ada.request("ci", 600)[0].status.token, ["other"], False),
            (admin_token, None, True),
            (caller, None, False),
        ):
            spec = {"token": token, **({"audiences": audiences} if audiences else {})}
            body = {
                "kind": "TokenReview",
                "apiVersion": f"authentication.k8s.io/{version}",
                "metadata": {"creationTimestamp": None},
                "spec": spec,
                "status": {"user": {}},
            }
            request = urllib.request.Request(
                f"{serve.url}/apis/authentication.k8s.io/v1/tokenreviews?timeout=30s",
                data=json.dumps(body).encode(),
                headers={"Content-Type": "application/json", "Accept": "application/json, */*", "Authorization": f"Bearer {caller}"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                review = json.load(answer)
                equal((answer.status, review["apiVersion"], review["kind"]), (201, body["apiVersion"], "TokenReview"), "an answer")
            equal(review["status"].get("authenticated", False), good, f"the verdict on {audiences}")
            reviews += 1
    return reviews


# --- kubectl


def sign_in(home, serve):
    """`gatemint login` in a home of its own."""
    home.mkdir()
    command = [BIN, "login", "--url", serve.url, "--username", "ada", "--password-stdin"]
    subprocess.run(command, input=PASSWORD + "\n", env={**ENVIRONMENT, **of(home)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, timeout=60, check=True)


def of(home):
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}


def plugin(home, version):
    """A user of kubectl's configuration who shows what `gatemint credential kubectl` prints."""
    older = version.startswith(DEBIAN)
    return {
        "exec": {
            "apiVersion": f"client.authentication.k8s.io/{'v1beta1' if older else 'v1'}",
            "command": BIN,
            "args": ["credential", "kubectl"],
            "env": [{"name": key, "value": value} for key, value in of(home).items()],
            **({} if older else {"interactiveMode": "Never"}),
        }
    }


def walk(kubectl, name, admin):
    """What somebody does with kubectl and service accounts."""
    resources = {line.split()[0]: line.split() for line in kubectl("api-resources").splitlines()[1:]}
    equal(resources["serviceaccounts"][1], "sa", "the short name")
    check({"roles", "rolebindings", "tokenreviews"} <= resources.keys(), f"the resources that kubectl finds: {resources}")

    equal(kubectl("create", "serviceaccount", name), f"serviceaccount/{name} created\n", "what kubectl create prints")
    kubectl.refused("already exists", "create", "sa", name)
    table = kubectl("get", "sa").splitlines()
    equal(table[0].split(), ["NAME", "SECRETS", "AGE"], "the heading of kubectl get")
    check(any(line.split()[:2] == [name, "1"] for line in table[1:]), f"the row: {table}")
    equal(kubectl("get", "sa", name, "-o", "jsonpath={.secrets[0].name}"), f"{name}-token", "its Secret")
    described = re.sub(r"\s+", " ", kubectl("describe", "sa", name))
    check(f"Name: {name}" in described and f"{name}-token" in described, f"kubectl describe: {described}")

    # The manual way, by kubectl's own generators.
    generated = (
        ("create", "role", f"{name}-create-token", "--verb=create", "--resource=serviceaccounts/token", f"--resource-name={name}"),
        ("create", "rolebinding", f"{name}-create-token", f"--role={name}-create-token", f"--serviceaccount=ada:{name}"),
    )
    for command in generated:
        check("created" in kubectl(*command), f"what {command[1]} prints")
    equal(kubectl("get", "rolebindings").splitlines()[0].split()[:2], ["NAME", "ROLE"], "the heading of role bindings")
    check(f"{name}-create-token" in kubectl("get", "roles"), "the Role is listed")
    for kind in ("rolebinding", "role"):
        check("deleted" in kubectl("delete", kind, f"{name}-create-token"), f"the end of the {kind}")
        kubectl.refused("NotFound", "get", kind, f"{name}-create-token")
    kubectl.refused("known here", *generated[0][:3], "--verb=get", *generated[0][4:])

    # The same by files, as the guide has it; and again, which changes nothing.
    manifests = kubectl.place / "manual.json"
    manifests.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": manual(name)}))
    for again in (False, True, True):
        done = kubectl("apply", "--validate=false", "-f", str(manifests)).splitlines()
        equal(len(done), 3, "what kubectl apply did")
        check(not again or not any("created" in line for line in done), f"applied again: {done}")
    before = {kind: kubectl("get", kind, f"{name}-create-token", "-o", "json") for kind in ("role", "rolebinding")}
    equal(json.loads(before["role"])["rules"], manual(name)[1]["rules"], "the rules of the Role")
    secret = f"{name}-token"
    check(secret in kubectl("get", "secrets"), "the Secret is listed")
    equal(kubectl("get", "secrets", "-o", "jsonpath={.items[*].data}"), "", "a list of secrets has no data")
    long_lived = base64.b64decode(kubectl("get", "secret", secret, "-o", "jsonpath={.data.token}")).decode()
    equal(decoded(long_lived)["sub"], f"system:serviceaccount:ada:{name}", "whose token the Secret has")

    # kubectl has the command since 1.24.
    knows = re.search(r"^ +token ", kubectl("create", "--help"), re.MULTILINE)
    requested = requests(kubectl, name, admin, long_lived) if knows else 0
    # With its account a Role is gone, and with that its binding.
    kubectl("delete", "--ignore-not-found", "-f", str(manifests))
    kubectl.refused("NotFound", "get", "sa", name)
    return requested


def requests(kubectl, name, admin, long_lived):
    """Tokens by `kubectl create token`, as the person who is signed in, and as the service account itself."""
    command = ("create", "token", name, "--audience", AUDIENCE, "--duration", "10m")
    for more in ((), ("--token", long_lived)):
        token = kubectl.run(*command, *more)
        equal((token.returncode, token.stderr), (0, ""), f"kubectl {command}")
        claims = decoded(token.stdout.strip())
        equal((claims["aud"], claims["exp"] - claims["iat"]), ([AUDIENCE], 600), "the claims of kubectl's token")
        equal(admin.review(token.stdout.strip(), AUDIENCE).user.username, f"system:serviceaccount:ada:{name}", "whose it is")
    whole = json.loads(kubectl(*command, "-o", "json"))
    end = datetime.datetime.fromisoformat(whole["status"]["expirationTimestamp"].replace("Z", "+00:00"))
    equal(int(end.timestamp()), decoded(whole["status"]["token"])["exp"], "the end that is told")
    long = kubectl.run("create", "token", name, "--duration", "48h")
    check(long.returncode == 0 and SHORTENED in long.stderr, f"the warning over a day: {long.stderr}")
    kubectl.refused("may not specify a duration less than 10 minutes", "create", "token", name, "--duration", "1m")
    kubectl.refused("not found", "create", "token", "not-there")
    kubectl.refused("boundObjectRef", "create", "token", name, "--bound-object-kind", "Secret", "--bound-object-name", "x")
    return 4


def manual(name):
    """The three manifests of the manual way."""
    rule = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [name], "verbs": ["create"]}
    group = "rbac.authorization.k8s.io"
    metadata = {"name": f"{name}-create-token", "namespace": "ada"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "ada"}},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": f"{name}-create-token"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "ada"}],
        },
    ]


def main():
    with temporary_directory() as place, contextlib.ExitStack() as open_things:
        cert, key = certificate(place)
        tls = Tls(cert, key)
        open_things.callback(tls.listener.close)
        url = f"https://127.0.0.1:{tls.port}"
        serve = open_things.enter_context(Serve(place / "data"))
        tls.target = serve.port
        gatemint("user", "create", "ada", "--password-stdin", "--data", str(serve.data), stdin=PASSWORD + "\n")
        admin_token = password_grant(serve.url, "admin", serve.admin_password())["access_token"]
        admin = open_things.enter_context(Client(url, cert, admin_token))
        ada = open_things.enter_context(Client(url, cert, password_grant(serve.url, "ada", PASSWORD)["access_token"]))
        python_accounts(ada)
        python_tokens(ada, admin)
        python_manual_way(ada, admin, url, cert, serve)
        counted(f"{DONE['tokens']} tokens of 3 service accounts requested by the Python client {kubernetes.__version__}")
        counted(f"{DONE['reviews']} reviews and {DONE['refusals']} refusals that it understood")
        counted(f"{webhook(serve, ada, admin_token)} tokens reviewed as an API server's webhook asks")

        home = place / "home"
        sign_in(home, serve)
        os.makedirs(place / "kubectl")
        for number, (version, program) in enumerate(kubectls(place).items()):
            kubectl = Kubectl(program, place / "kubectl" / version, url, cert, plugin(home, version), "ada")
            requested = walk(kubectl, f"k-{number}", admin)
            counted(f"{kubectl.commands} commands of kubectl {version} with the credential plugin, {requested} tokens requested")


main()
