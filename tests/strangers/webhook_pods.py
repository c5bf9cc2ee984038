"""Pods as API servers send them to an admission webhook: the documented one, and those that real clusters have besides.

Each comes with the containers that must have the token afterwards. What a pod is (its defaults, the service account's volume,
who made it) is what an API server of 1.32 has filled in when it asks.
"""

import copy
import uuid

ANNOTATION = "hpe-ezua/add-auth-token"
SERVICE_ACCOUNT = {"name": "kube-api-access-x7v2k", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
PROJECTED = {
    "name": "kube-api-access-x7v2k",
    "projected": {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ],
        "defaultMode": 420,
    },
}
TOKEN = {"secretName": "access-token", "items": [{"key": "AUTH_TOKEN", "path": ".auth_token"}], "defaultMode": 420}
CONTROLLER = {
    "username": "system:serviceaccount:kube-system:replicaset-controller",
    "uid": "cf3d1e45-13c1-4b1c-9a3f-6b1a8b2b6d5e",
    "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
}
PERSON = {"username": "ada", "groups": ["system:authenticated"], "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=1b2c"]}}


def container(name, *mounts, **more):
    filled = {
        "name": name,
        "image": f"registry.example.org/{name}:1",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
    return {**filled, **({"volumeMounts": list(mounts)} if mounts else {}), **more}


def mount(name, path, **more):
    return {"name": name, "mountPath": path, **more}


def pod(containers, annotations=None, volumes=(PROJECTED,), metadata=None, **spec):
    filled = {
        "containers": containers,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }
    if volumes:
        filled["volumes"] = list(volumes)
    whole = {"name": "notebook", "namespace": "ada", "creationTimestamp": None, **(metadata or {})}
    if annotations is not None:
        whole["annotations"] = annotations
    return copy.deepcopy({"kind": "Pod", "apiVersion": "v1", "metadata": whole, "spec": {**filled, **spec}, "status": {}})


def review(pod, user=PERSON, **more):
    """What is sent about the creation of a pod."""
    kind, resource = {"group": "", "version": "v1", "kind": "Pod"}, {"group": "", "version": "v1", "resource": "pods"}
    name = {"name": pod["metadata"]["name"]} if "name" in pod["metadata"] else {}
    request = {
        "uid": str(uuid.uuid4()),
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        **name,
        "namespace": "ada",
        "operation": "CREATE",
        "userInfo": user,
        "object": pod,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl-client-side-apply", "fieldValidation": "Strict"},
    }
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {**request, **more}}


YES = {ANNOTATION: "true"}
MADE_BY_REPLICA_SET = {
    "name": None,
    "generateName": "web-6d4b75cb6d-",
    "labels": {"app": "web", "pod-template-hash": "6d4b75cb6d"},
    "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4b75cb6d", "uid": "8a5c7c0e-6c0e-4c5a-8b59-5a0f5f5b4a11", "controller": True, "blockOwnerDeletion": True}
    ],
    "managedFields": [
        {
            "manager": "kube-controller-manager",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-11-22T10:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, f"f:{ANNOTATION}": {}}}, "f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}}}}},
        }
    ],
}
ISTIO = [
    {"name": "istio-envoy", "emptyDir": {"medium": "Memory"}},
    {"name": "istio-data", "emptyDir": {}},
    {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": {"audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token"}}], "defaultMode": 420}},
]
NOTEBOOK = container(
    "notebook",
    mount("workspace-ada", "/home/jovyan"),
    mount("dshm", "/dev/shm"),
    SERVICE_ACCOUNT,
    command=["start.sh", "jupyter", "lab"],
    workingDir="/home/jovyan",
    env=[{"name": "NB_PREFIX", "value": "/notebook/ada/notebook"}, {"name": "A~B", "value": '"/~0"'}, {"name": "POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
    envFrom=[{"secretRef": {"name": "s3", "optional": True}}],
    ports=[{"name": "notebook-port", "containerPort": 8888, "protocol": "TCP"}],
    resources={"limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}, "requests": {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"}},
    readinessProbe={"httpGet": {"path": "/api", "port": 8888, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
    lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "sync"]}}},
    securityContext={"runAsUser": 1000, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
)

# Name -> the pod, whose creation is asked about; the containers that have the token afterwards; how many warnings there are.
PODS = {
    "documented": (pod([container("app", SERVICE_ACCOUNT)], YES), ["app"], 0),
    "without any volume": (pod([container("app")], YES, volumes=(), automountServiceAccountToken=False), ["app"], 0),
    "a Deployment's": (pod([container("web", SERVICE_ACCOUNT)], YES, metadata=MADE_BY_REPLICA_SET), ["web"], 0),
    "with init containers and a sidecar": (
        pod([container("app", SERVICE_ACCOUNT), container("log")], YES, initContainers=[container("prepare"), container("proxy", SERVICE_ACCOUNT, restartPolicy="Always")]),
        ["app", "log", "prepare", "proxy"],
        0,
    ),
    "with Istio in it": (
        pod(
            [container("app", SERVICE_ACCOUNT), container("istio-proxy", mount("istio-envoy", "/etc/istio/proxy"), mount("istio-token", "/var/run/secrets/tokens"))],
            {**YES, "sidecar.istio.io/status": '{"initContainers":["istio-init"]}', "prometheus.io/path": "/stats/prometheus"},
            volumes=[*ISTIO, PROJECTED],
            initContainers=[container("istio-init", securityContext={"capabilities": {"add": ["NET_ADMIN"]}})],
        ),
        ["app", "istio-proxy", "istio-init"],
        0,
    ),
    "a notebook": (
        pod(
            [NOTEBOOK],
            YES,
            volumes=[{"name": "workspace-ada", "persistentVolumeClaim": {"claimName": "workspace-ada"}}, {"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}, PROJECTED],
            securityContext={"fsGroup": 100, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]}}},
            imagePullSecrets=[{"name": "registry"}],
        ),
        ["notebook"],
        0,
    ),
    "a Job's": (
        pod([container("work")], YES, metadata={"name": None, "generateName": "work-28-", "labels": {"batch.kubernetes.io/job-name": "work-28"}, "finalizers": ["batch.kubernetes.io/job-tracking"]}, restartPolicy="Never", activeDeadlineSeconds=600),
        ["work"],
        0,
    ),
    "on Windows": (pod([container("app", mount("data", "C:\\data"))], YES, volumes=[{"name": "data", "emptyDir": {}}], os={"name": "windows"}, nodeSelector={"kubernetes.io/os": "windows"}), ["app"], 0),
    "with keys that have to be escaped": (
        pod([container("app")], {"a/b~c": "d", "x~1y/z": "~0", **YES}, metadata={"labels": {"a.b/c": "d"}}),
        ["app"],
        0,
    ),
    "whose volume has our volume's name": (
        pod([container("app", mount("ezua-auth-token", "/cache"))], YES, volumes=[{"name": "ezua-auth-token", "emptyDir": {}}, {"name": "ezua-auth-token-2", "emptyDir": {}}]),
        ["app"],
        0,
    ),
    "that has the token by hand": (
        pod([container("app", mount("mine", "/etc/secrets/ezua", readOnly=True))], YES, volumes=[{"name": "mine", "secret": TOKEN}]),
        ["app"],
        0,
    ),
    "that has the volume and not every mount": (
        pod([container("app", mount("mine", "/etc/secrets/ezua", readOnly=True)), container("more")], YES, volumes=[{"name": "mine", "secret": TOKEN}]),
        ["app", "more"],
        0,
    ),
    "with another volume in the place": (
        pod([container("app", mount("own", "/etc/secrets/ezua")), container("more")], YES, volumes=[{"name": "own", "emptyDir": {}}]),
        ["more"],
        1,
    ),
    "with another volume above": (pod([container("app", mount("own", "/etc/secrets", readOnly=True))], YES, volumes=[{"name": "own", "configMap": {"name": "own", "defaultMode": 420}}]), [], 1),
    "with a file of another volume below": (
        pod([container("app", mount("own", "/etc/secrets/ezua/.auth_token", subPath="token"))], YES, volumes=[{"name": "own", "emptyDir": {}}]),
        [],
        1,
    ),
    "with a device in the place": (
        pod([container("app", volumeDevices=[{"name": "disk", "devicePath": "/etc/secrets/ezua"}])], YES, volumes=[{"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}]),
        [],
        1,
    ),
    "that says false": (pod([container("app")], {ANNOTATION: "false"}), [], 0),
    "that says True": (pod([container("app")], {ANNOTATION: "True"}), [], 1),
    "that says true as a label": (pod([container("app")], {}, metadata={"labels": {ANNOTATION: "true"}}), [], 1),
    "that says nothing": (pod([container("app", SERVICE_ACCOUNT)]), [], 0),
    "static": (pod([container("kube-proxy")], {**YES, "kubernetes.io/config.mirror": "5f2d", "kubernetes.io/config.source": "file"}, volumes=()), [], 1),
}
for given, _, _ in PODS.values():
    given["metadata"] = {key: value for key, value in given["metadata"].items() if value is not None or key == "creationTimestamp"}
