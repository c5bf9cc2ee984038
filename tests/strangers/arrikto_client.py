"""A client outside of the cluster, as Arrikto's guide has it written: it reads a long-lived token from a file, and makes of
it a short-lived one whenever the one before it is about to end."""

import time

import jwt
import requests

AUDIENCE = "istio-ingressgateway.istio-system.svc.cluster.local"
TEN_MINUTES = 600
# A token that ends sooner is not used for another call.
MARGIN = 60


class Client:
    """`file`: the long-lived token's. `host`: where the TokenRequest API is. `now`: its clock."""

    def __init__(self, file, host, now=time.time):
        self.file, self.host, self.now = file, host, now
        self.token, self.ends, self.requests = None, 0, 0

    def whoami(self):
        """Namespace and name, as the long-lived token says them."""
        claims = jwt.decode(self.file.read_text(), options={"verify_signature": False})
        return claims["kubernetes.io/serviceaccount/namespace"], claims["kubernetes.io/serviceaccount/service-account.name"]

    def request(self, audience=AUDIENCE, seconds=TEN_MINUTES):
        """The answer to a TokenRequest."""
        namespace, name = self.whoami()
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": seconds},
        }
        url = f"{self.host}/kubernetes/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        self.requests += 1
        return requests.post(url, json=body, headers={"Authorization": f"Bearer {self.file.read_text()}"}, timeout=30)

    def fresh(self):
        """A short-lived token that is good for a while."""
        if self.now() > self.ends - MARGIN:
            answer = self.request()
            answer.raise_for_status()
            self.token = answer.json()["status"]["token"]
            # The guide's clients read the end from the answer, because the service may have cut it.
            self.ends = jwt.decode(self.token, options={"verify_signature": False})["exp"]
        return self.token

    def call(self, url, host, token=None, **headers):
        """What a service behind the gateway answers."""
        headers |= {"Authorization": f"Bearer {token or self.fresh()}", "Host": host}
        return requests.get(url, headers=headers, timeout=30)
