"""GateTokens by those who speak Kubernetes: kubectl, Debian's and the one at hand, and Kubernetes' own Python client.

kubectl shows its token over TLS alone, so that a small TLS server stands before the service, as a load balancer would.
"""

import functools
import json
import os
import re

import kubernetes
from kubectls import Kubectl, kubectls
from kubernetes.client.exceptions import ApiException
from support import Serve, check, counted, equal, gatemint, get, password_grant, temporary_directory
from tls import Tls, certificate

GROUP, VERSION, PLURAL, NAMESPACE = "kubegateway.kubevirt.io", "v1beta1", "gatetokens", "vms"
FULL = f"gatetoken.{GROUP}"


def gate_token(name, labels=None, **spec):
    metadata = {"name": name, "namespace": NAMESPACE, **({"labels": labels} if labels else {})}
    spec = {"secret-name": "gatemint-jwt-secret", "urls": [f"/vms/{name}/*"], **spec}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "GateToken", "metadata": metadata, "spec": spec}


def opened(serve, token, name):
    """Whether a gate opens this machine's pages to the token."""
    headers = {
        "Authorization": f"Bearer {token}",
        "X-Original-Method": "GET",
        "X-Original-URL": f"https://any.example.org/vms/{name}/vnc",
    }
    return get(f"{serve.url}/auth/verify", headers).status == 200


def walk(kubectl, serve, host):
    """What somebody does with kubectl and GateTokens, from discovery to the last delete."""
    names = {line.split()[0] for line in kubectl("api-resources").splitlines()[1:]}
    known = {"gatetokens", "gateservers", "secrets", "serviceaccounts", "roles", "rolebindings", "tokenreviews"}
    equal(names, known, "the resources that kubectl finds")
    check("gatemint" in kubectl("version"), "kubectl version shows the service's")

    create = ("create", "--validate=false", "-f", "-")
    (kubectl.place / "vm-1.json").write_text(json.dumps(gate_token("vm-1", duration="30m")))
    made = kubectl("create", "--validate=false", "-f", str(kubectl.place / "vm-1.json"))
    equal(made, f"{FULL}/vm-1 created\n", "what kubectl create prints")
    shown = json.loads(kubectl("get", "gatetoken", "vm-1", "-o", "json"))
    equal(shown["status"]["phase"], "Ready", "the phase of what was made")
    token = kubectl("get", "gatetokens", "vm-1", "-o", "jsonpath={.status.token}")
    equal(len(token.split(".")), 3, "the parts of the token that jsonpath takes out")
    check(opened(serve, token, "vm-1") and not opened(serve, token, "vm-2"), "the token opens its own machine alone")

    yaml = f"""
apiVersion: {GROUP}/{VERSION}
kind: GateToken
metadata:
  generateName: vm-
  labels: {{made: up}}
spec:
  urls: ["/vms/any/*"]
  one-time: true
"""
    made_up = re.fullmatch(rf"{re.escape(FULL)}/(vm-[a-z0-9]{{5}}) created\n", kubectl(*create, stdin=yaml))
    check(made_up, "kubectl turns YAML into JSON, and a name is made up")
    for number in range(2, 6):
        kubectl(*create, stdin=json.dumps(gate_token(f"vm-{number}", {"number": str(number)})))
    kubectl("apply", "--validate=false", "-f", "-", stdin=json.dumps(gate_token("vm-6")))

    table = kubectl("get", "gatetokens").splitlines()
    equal(table[0].split(), ["NAME", "READY", "EXPIRES", "AGE"], "the heading of kubectl get")
    equal([line.split()[1] for line in table[1:]], ["True"] * 7, "the column READY")
    every = [f"{FULL}/vm-{number}" for number in range(1, 7)]
    chunked = kubectl("get", "gatetokens", "--chunk-size=2", "-o", "name").split()
    equal(sorted(chunked), sorted([*every, f"{FULL}/{made_up[1]}"]), "the names, two at a time")
    equal(kubectl("get", "gatetokens", "-l", "made=up", "-o", "name").split(), [f"{FULL}/{made_up[1]}"], "those with a label")
    sheet = kubectl("get", "gatetokens", "vm-1", "vm-2", "-o", "custom-columns=N:.metadata.name,V:.spec.verbs").splitlines()
    equal(len(sheet), 3, "the lines of custom columns")
    described = re.sub(r"\s+", " ", kubectl("describe", "gatetoken", "vm-1"))
    check("Phase: Ready" in described and "/vms/vm-1/*" in described, "kubectl describe shows the status")

    kubectl.refused("AlreadyExists", *create, stdin=json.dumps(gate_token("vm-1")))
    kubectl.refused("spec.duration", *create, stdin=json.dumps(gate_token("vm-9", duration="1x")))
    kubectl.refused("spec.urls", *create, stdin=json.dumps(gate_token("vm-9", urls=["*"])))
    # Of a service without an OpenAPI document of Kubernetes' kind an older one does not even ask for it.
    kubectl.refused("", "create", "--dry-run=server", "--validate=false", "-f", "-", stdin=json.dumps(gate_token("vm-9")))
    kubectl.refused("immutable", "replace", "--validate=false", "-f", "-", stdin=json.dumps(gate_token("vm-1", duration="1h")))
    kubectl.refused("immutable", "label", "gatetoken", "vm-1", "a=b")
    kubectl.refused("NotFound", "get", "gatetoken", "vm-9")
    kubectl.refused("Forbidden", "get", "gatetokens", "-n", "other", "--token", serve.stranger)
    kubectl.refused("must be logged in", "get", "gatetokens", "--token", "nobody's")

    equal(kubectl("get", "gateservers", "-o", "jsonpath={.items[0].spec.route}"), host, "the route of the one GateServer")
    secrets = kubectl("get", "secrets", "-o", "name").split()
    equal(secrets, ["secret/access-token", "secret/gatemint-jwt-secret"], "the names of secrets")
    equal(kubectl("get", "secret", "gatemint-jwt-secret", "-o", "jsonpath={.data}"), "", "a secret's data")

    deleted = kubectl("delete", "gatetoken", "vm-1")
    check(f'{FULL} "vm-1" deleted' in deleted, f"what kubectl delete prints: {deleted}")
    check(not opened(serve, token, "vm-1"), "what was deleted opens nothing")
    kubectl.refused("NotFound", "delete", "gatetoken", "vm-1")
    kubectl("delete", "gatetokens", "-l", "number=2")
    kubectl("delete", "-f", "-", stdin=json.dumps(gate_token("vm-3")))
    equal(len(kubectl("get", "gatetokens", "-o", "name").split()), 4, "how many are left")
    kubectl("delete", "gatetokens", "--all")
    equal(kubectl("get", "gatetokens", "-o", "name"), "", "what is left after --all")
    return 7


# --- Python


def python_client(url, cert, token, serve):
    settings = kubernetes.client.Configuration(host=url)
    settings.ssl_ca_cert = str(cert)
    settings.api_key, settings.api_key_prefix = {"authorization": token}, {"authorization": "Bearer"}
    where = (GROUP, VERSION, NAMESPACE, PLURAL)

    def refusal(code, reason, field, call, *arguments):
        try:
            call(*arguments)
        except ApiException as refused:
            status = json.loads(refused.body)
            found = (refused.status, status["kind"], status["reason"], status.get("details", {}).get("causes", [{}])[0].get("field"))
            equal(found, (code, "Status", reason, field), "a refusal")
        else:
            raise AssertionError(f"{arguments} was not refused")

    with kubernetes.client.ApiClient(settings) as client:
        objects = kubernetes.client.CustomObjectsApi(client)
        made = objects.create_namespaced_custom_object(*where, gate_token("py-0"))
        token = made["status"]["token"]
        check(opened(serve, token, "py-0"), "the token opens its machine")
        read = objects.get_namespaced_custom_object(*where, "py-0")
        equal((read["metadata"], read["spec"]), (made["metadata"], made["spec"]), "what is read")
        for number in range(1, 5):
            objects.create_namespaced_custom_object(*where, gate_token(f"py-{number}", {"number": str(number)}))
        equal(len(objects.list_namespaced_custom_object(*where)["items"]), 5, "the list")
        names, after = [], None
        while after != "":
            page = objects.list_namespaced_custom_object(*where, limit=2, **({"_continue": after} if after else {}))
            names += [item["metadata"]["name"] for item in page["items"]]
            after = page["metadata"].get("continue", "")
        equal(names, [f"py-{number}" for number in range(5)], "the list, two at a time")
        selected = objects.list_namespaced_custom_object(*where, label_selector="number=3")["items"]
        equal([item["metadata"]["name"] for item in selected], ["py-3"], "the list of a label")

        refusal(409, "AlreadyExists", "metadata.name", objects.create_namespaced_custom_object, *where, gate_token("py-0"))
        refusal(422, "Invalid", "spec.verbs", objects.create_namespaced_custom_object, *where, gate_token("py-9", verbs=["get it"]))
        refusal(405, "MethodNotAllowed", None, objects.patch_namespaced_custom_object, *where, "py-0", {"spec": {}})
        refusal(404, "NotFound", None, objects.get_namespaced_custom_object, *where, "py-9")
        deleted = objects.delete_namespaced_custom_object(*where, "py-0")
        equal((deleted["kind"], deleted["status"], deleted["details"]["uid"]), ("Status", "Success", made["metadata"]["uid"]), "a delete")
        check(not opened(serve, token, "py-0"), "what was deleted opens nothing")
        other = kubernetes.client.V1DeleteOptions(preconditions=kubernetes.client.V1Preconditions(uid=made["metadata"]["uid"]))
        meant_for_another = functools.partial(objects.delete_namespaced_custom_object, body=other)
        refusal(409, "Conflict", None, meant_for_another, *where, "py-1")
        for number in range(1, 5):
            objects.delete_namespaced_custom_object(*where, f"py-{number}")
        equal(objects.list_namespaced_custom_object(*where)["items"], [], "what is left")

        secrets = kubernetes.client.CoreV1Api(client).list_namespaced_secret(NAMESPACE).items
        equal([(s.metadata.name, s.data) for s in secrets], [("access-token", None), ("gatemint-jwt-secret", None)], "typed secrets")
        check("gatemint" in kubernetes.client.VersionApi(client).get_code().git_version, "the typed version")
    return 5


def main():
    with temporary_directory() as place:
        cert, key = certificate(place)
        tls = Tls(cert, key)
        url = f"https://127.0.0.1:{tls.port}"
        with Serve(place / "data", {"GATEMINT_ISSUER": url}) as serve:
            tls.target = serve.port
            admin = password_grant(serve.url, "admin", serve.admin_password())["access_token"]
            serve.stranger = stranger(serve)
            os.makedirs(place / "kubectl")
            for version, program in kubectls(place).items():
                kubectl = Kubectl(program, place / "kubectl" / version, url, cert, {"token": admin}, NAMESPACE)
                made = walk(kubectl, serve, f"127.0.0.1:{tls.port}")
                counted(f"{kubectl.commands} commands of kubectl {version}, {made} GateTokens made, listed and deleted")
            made = python_client(url, cert, admin, serve)
            counted(f"{made} GateTokens made, listed and deleted by the Python client {kubernetes.__version__}, 5 refusals understood")
        tls.listener.close()


def stranger(serve):
    """The token of somebody to whom nothing was granted."""
    password = "correct-horse-battery-staple"
    gatemint("user", "create", "eve", "--password-stdin", "--data", str(serve.data), stdin=password + "\n")
    return password_grant(serve.url, "eve", password)["access_token"]


main()
