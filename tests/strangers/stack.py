"""The whole stack in an emulator: template.yaml deployed as it is, IAM in force, and used through its API Gateway with curl.

The emulator is ministack with the mends of tests/emulator/stand_in.py, which says what is otherwise on AWS.
"""

import base64
import json
import re
import threading
import time
from urllib.parse import urlencode

from deployed import BOOTSTRAP, Deployed, Emulator, answered, curl
from stack_rights import every_right_is_needed
from support import ROOT, check, counted, decoded, equal, gatemint, temporary_directory

CALLERS = 64
BUSY = 500_000  # nanoseconds of a processor, which an answer takes and waiting does not
OTHER = "https://other.example.org"


def main():
    with Emulator() as emulator:
        stack = Deployed(emulator)
        counted(f"{len(stack.names)} resources of template.yaml deployed, {len(emulator.resources('guarded'))} of a stack beside it")
        first_keys(stack)
        first_admin(stack)
        every_route_is_served(stack)
        a_sessions_life(stack)
        parallel_refreshes(stack)
        the_authorizer(stack)
        finish_rotation = every_right_is_needed(stack)
        a_rotation_under_load(stack, finish_rotation)
        a_stack_with_parameters(emulator)
        check("panicked" not in emulator.printed(), "a function panicked")


PARAMETERS = {
    "Issuer": "https://auth.example.org",
    "SigningAlgorithm": "EdDSA",
    "CorsOrigins": "https://app.example.org",
    "TokenMemory": "512",
    "TokenReservedConcurrency": "40",
    "TableDeletionProtection": "true",
    "Alarms": "on",
    "AlarmTopic": "arn:aws:sns:us-east-1:000000000000:operators",
}


def a_stack_with_parameters(emulator):
    """A second stack, with what can be chosen: made, updated, deleted; its state outlives it, and no update touches it."""
    outputs = emulator.deploy("other", ROOT / "template.yaml", BOOTSTRAP, PARAMETERS)
    url, names = emulator.url(outputs["ApiId"]), emulator.resources("other")
    equal(outputs["Issuer"], PARAMETERS["Issuer"], "the issuer that was chosen")
    deadline = time.monotonic() + 60
    while (keys := curl(f"{url}/.well-known/jwks.json")).status != 200:
        check(time.monotonic() < deadline, f"the first rotation of a second stack: {keys.body}")
        time.sleep(0.2)
    equal([key["alg"] for key in keys.json()["keys"]], ["EdDSA"], "the algorithm that was chosen")
    equal(curl(f"{url}/.well-known/openid-configuration").json()["issuer"], PARAMETERS["Issuer"], "the issuer, as discovery says it")
    preflight = ["-i", "-X", "OPTIONS", "-H", "Origin: https://app.example.org", "-H", "Access-Control-Request-Method: GET"]
    allowed = curl(f"{url}/v1/me", *preflight).body.lower()
    check("access-control-allow-origin: https://app.example.org" in allowed, f"a page of the chosen origin may ask: {allowed}")
    alarms = emulator.client("cloudwatch").describe_alarms()["MetricAlarms"]
    equal([alarm["AlarmActions"] for alarm in alarms], [[PARAMETERS["AlarmTopic"]]] * 5, "whom the alarms tell")

    secrets = emulator.client("secretsmanager")
    versions = lambda: [secrets.get_secret_value(SecretId=names[name])["VersionId"] for name in ("SigningSecret", "RefreshSecret")]  # noqa: E731
    before = versions()
    emulator.update("other", ROOT / "template.yaml", {**PARAMETERS, "RequestsPerSecond": "7", "TokenMemory": "2048", "Alarms": "off"})
    equal(versions(), before, "the versions of the secrets after an update")
    equal(emulator.client("cloudwatch").describe_alarms()["MetricAlarms"], [], "the alarms, switched off")
    emulator.client("cloudformation").delete_stack(StackName="other")
    deadline = time.monotonic() + 60
    while any(one["FunctionName"].startswith("other-") for one in emulator.client("lambda").list_functions()["Functions"]):
        check(time.monotonic() < deadline, "the second stack is not deleted")
        time.sleep(0.1)
    equal(versions(), before, "the secrets after the stack was deleted")
    check(names["Table"] in emulator.client("dynamodb").list_tables()["TableNames"], "the table outlives the stack")
    counted(f"{len(PARAMETERS)} parameters of a second stack, which was made, updated and deleted; table and 2 secrets are left")


def first_keys(stack):
    """A new stack's first rotation makes the first key set."""
    equal(stack.rotation_after(0), "came to its end", "the rotation that came with the stack")
    check('"gatemint":"empty"' not in stack.current_version()[1], "the signing secret is filled")
    keys = answered(stack.curl("/.well-known/jwks.json"), 200, "the keys").json()["keys"]
    equal(len(keys), 1, "how many keys there are")
    check(not {"d", "p", "q"} & set(keys[0]), "only the public part is published")
    counted(f"{len(keys)} key, made by the rotation that came with the stack")


def first_admin(stack):
    """The first commands, as the stack's outputs have them."""
    reply = json.loads(stack.pasted(*(stack.outputs[name] for name in ("Settings", "FirstAdmin", "FirstToken"))))
    check("access_token" in reply, f"what the last of the first commands gets: {reply}")
    claims = decoded(reply["access_token"])
    equal((claims["iss"], claims["roles"]), (stack.outputs["Issuer"], ["admin"]), "issuer and roles of the first admin's token")
    made = answered(stack.curl("/v1/users/admin", "-H", f"Authorization: Bearer {reply['access_token']}"), 200, "the admin's own account")
    equal(made.json()["name"], "admin", "whose account that is")
    counted("3 commands of the stack's outputs pasted: an admin and a token")


def every_route_is_served(stack):
    """Every route of the OpenAPI document reaches a function that knows it, with every method, and so does OPTIONS."""
    asked = 0
    paths = json.loads((ROOT / "tests" / "openapi.json").read_text())["paths"]
    for path, methods in paths.items():
        concrete = re.sub(r"\{[^}]+\}", "x", path)
        for method in map(str.upper, methods):
            answer = stack.curl(concrete, "-X", method)
            check(answer.status in (200, 400, 401, 415), f"{method} {concrete} without a credential: {answer.status} {answer.body}")
            asked += 1
        for method in ("PUT", "OPTIONS"):
            answer = stack.curl(concrete, "-X", method)
            check(answer.status in (200, 204, 405), f"{method} {concrete}: {answer.status} {answer.body}")
            asked += 1
    nowhere = answered(stack.curl("/nowhere", "-i"), 404, "a path that nobody serves")
    check("application/problem+json" in nowhere.body, f"a 404 of ours: {nowhere.body}")
    counted(f"{asked + 1} requests, each answered by the function that serves the path")


def a_sessions_life(stack):
    password = stack.user("ada")
    reply = answered(stack.password_grant("ada", password), 200, "a password grant").json()
    check(stack.introspect(reply["access_token"]), "an access token stands")
    wrong = answered(stack.password_grant("ada", password + "x"), 400, "a wrong password").json()
    equal(wrong["error"], "invalid_grant", "what a wrong password is")
    fresh = answered(stack.refresh(reply["refresh_token"]), 200, "a refresh").json()
    check(fresh["refresh_token"] != reply["refresh_token"], "a refresh token is used once")
    answered(stack.form("/oauth2/revoke", token=fresh["refresh_token"]), 200, "a revocation")
    for token in (reply["access_token"], fresh["access_token"], fresh["refresh_token"]):
        check(not stack.introspect(token), "nothing of a revoked session stands")
    answered(stack.refresh(fresh["refresh_token"]), 400, "a refresh after the revocation")
    metadata = answered(stack.curl("/.well-known/openid-configuration"), 200, "discovery").json()
    equal(metadata["issuer"], stack.outputs["Issuer"], "the issuer")
    counted("8 requests of a session's life with curl: password, refresh, introspect, revoke")


def generation(token):
    """The generation that a refresh token names: how often its session was refreshed."""
    raw = base64.urlsafe_b64decode(token.removeprefix("gmr_") + "==")
    return int.from_bytes(raw[34:38], "big")


def parallel_refreshes(stack):
    """Many at once with one token, over as many processes: one rotates, and all that get a token get the same."""
    password = stack.user("grace")
    harmless = [urlencode({"token": "x", **stack.judge})] * CALLERS
    most = rounds = same = refused = 0
    while most < CALLERS:
        rounds += 1
        check(rounds <= 10, f"in no round every one of {CALLERS} callers had a process; in the best {most} had")
        while len(stack.processes("token")) < CALLERS:
            stack.at_once(harmless, "/oauth2/introspect")
        first = answered(stack.password_grant("grace", password), 200, "a password grant").json()["refresh_token"]
        form = urlencode({"grant_type": "refresh_token", "client_id": "gatemint", "refresh_token": first})
        before = stack.worked("token")
        answers = stack.at_once([form] * CALLERS)
        most = max(most, sum(spent - before.get(process, 0) > BUSY for process, spent in stack.worked("token").items()))
        others = sorted({f"{status} {body}" for status, body in answers if status not in (200, 503)})
        check(not others, f"answers to parallel refreshes: {others}")
        won = sum(status == 200 for status, _ in answers)
        check(won > 1, f"{won} of {len(answers)} were answered at all, which shows nothing")
        successors = {json.loads(body)["refresh_token"] for status, body in answers if status == 200}
        equal(len(successors), 1, "how many successors a token has")
        (successor,) = successors
        equal(generation(successor), generation(first) + 1, "the generation after many refreshes at once")
        same, refused = same + won, refused + len(answers) - won
        # The session stands where the winner left it: the successor is good for exactly one more generation.
        following = answered(stack.refresh(successor), 200, "a refresh with the successor").json()["refresh_token"]
        equal(generation(following), generation(first) + 2, "the generation after one more refresh")
    done = f"{rounds * CALLERS} parallel refreshes over {most} processes: {rounds} rotated"
    counted(f"{done}, {same} answers with the same successor, {refused} refused with 503")


def the_authorizer(stack):
    """200, 401 and 403 at a route of another stack."""
    password = stack.user("lin")
    reply = answered(stack.password_grant("lin", password), 200, "a password grant").json()
    said = answered(stack.guarded(reply["access_token"]), 200, "a guarded route with a live token").json()
    check("lin" in said.values(), f"the route learns who asks: {said}")
    answered(stack.guarded(), 401, "a guarded route without a token")

    stack.command("client", "create", "elsewhere", "--public", "--grant", "password", "--audience", OTHER)
    other = answered(stack.password_grant("lin", password, client_id="elsewhere"), 200, "a token for another audience").json()
    equal(decoded(other["access_token"])["aud"], OTHER, "its audience")
    answered(stack.form("/oauth2/revoke", token=reply["refresh_token"]), 200, "a revocation")
    head, body, signature = reply["access_token"].split(".")
    forged = ".".join([head, body, signature[:-10] + ("B" if signature[-10] == "A" else "A") + signature[-9:]])
    unknown = {"a revoked one": reply["access_token"], "a forged one": forged, "none at all": "x"}
    for what, token in unknown.items():
        answered(stack.guarded(token), 401, f"a guarded route with {what}")
    answered(stack.guarded(other["access_token"]), 403, "a guarded route with a token for another audience")
    counted(f"{3 + len(unknown)} requests to a route of another stack: 1 answered 200, {1 + len(unknown)} 401, 1 403")


class Load:
    """Verifiers and callers that go on asking while something happens."""

    def __init__(self, stack, jwks, place):
        self.stack, self.place = stack, place
        (place / "jwks.json").write_text(jwks)
        password = stack.user("noor")
        self.sign_in = lambda: answered(stack.password_grant("noor", password), 200, "a password grant").json()["access_token"]
        self.old = self.sign_in()
        self.verdicts, self.failures, self.stop = [0, 0, 0, 0], [], threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(index, how)) for index, how in enumerate((self.introspected, self.passed, self.new, self.inspected))]

    def introspected(self):
        check(self.stack.introspect(self.old), "the old token stands")

    def passed(self):
        answered(self.stack.guarded(self.old), 200, "the guarded route with the old token")

    def new(self):
        token = self.sign_in()
        answered(self.stack.guarded(token), 200, "the guarded route with a new token")
        check(self.stack.introspect(token), "a new token stands")

    def inspected(self):
        """A verifier that read the keys before, and keeps them."""
        file = self.place / "token"
        for token in (self.old, self.sign_in()):
            file.write_text(token)
            check("not valid" not in gatemint("token", "inspect", "--jwks", str(self.place / "jwks.json"), str(file)), "a token is valid by the old keys")

    def ask(self, index, how):
        while not self.stop.is_set():
            try:
                how()
                self.verdicts[index] += 1
            except Exception as failure:  # told where the load ends
                self.failures.append(repr(failure))

    def wait_for(self, more):
        """Until each kind of verdict was given so many times more."""
        wanted = [verdicts + more for verdicts in self.verdicts]
        while not self.failures and any(has < want for has, want in zip(self.verdicts, wanted)):
            self.stop.wait(0.05)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def a_rotation_under_load(stack, finish_rotation):
    """The second rotation, while verifiers and callers go on: none of them notices."""
    version = stack.current_version()[0]
    jwks = stack.curl("/.well-known/jwks.json").body
    with temporary_directory() as place, Load(stack, jwks, place) as load:
        load.wait_for(3)
        finish_rotation()
        load.wait_for(3)
        # Processes that start now meet both keys; those that go on have the old one in memory.
        before = len(stack.processes("token"))
        verdicts = stack.at_once([urlencode({"token": load.old, **stack.judge})] * 32, "/oauth2/introspect")
        check(all(status == 200 and json.loads(body)["active"] for status, body in verdicts), f"an old token stands everywhere: {verdicts}")
        started = len(stack.processes("token")) - before
        check(started > 0, "no process started while the load went on")
        load.wait_for(3)
    check(not load.failures, f"verifications failed during a rotation: {load.failures[:3]}")
    for function in ("Token", "Discovery", "Authorizer"):
        stack.start_afresh(function)
    check(stack.introspect(load.old), "the old token stands, after the rotation")
    answered(stack.guarded(load.old), 200, "the guarded route with the old token, after the rotation")
    check(stack.current_version()[0] != version, "the rotation promoted a new version")
    keys = stack.curl("/.well-known/jwks.json").json()["keys"]
    equal(len(keys), 2, "how many keys there are after the second rotation")
    counted(f"{sum(load.verdicts) + 34} verdicts before, during and after a rotation, none wrong; {started} processes started meanwhile; {len(keys)} keys")


main()
