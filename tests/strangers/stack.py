"""The whole stack in an emulator: template.yaml deployed as it is, IAM in force, and used through its API Gateway with curl.

The emulator is ministack with the mends of tests/emulator/stand_in.py, which says what is otherwise on AWS.
"""

import base64
import json
import re
import threading
import time
from urllib.parse import urlencode

from deployed import ACCOUNTS, COOKIE, GATE_TOKENS, GUARDED, TOKEN_REVIEWS, Deployed, Emulator, answered, curl
from plain_routes import plain_routes
from stack_rights import every_right_is_needed, without_action
from support import ROOT, check, counted, decoded, equal, gatemint, temporary_directory

CALLERS = 64
BUSY = 500_000  # nanoseconds of a processor, which an answer takes and waiting does not
OTHER = "https://other.example.org"


def main():
    with Emulator() as emulator:
        stack = Deployed(emulator, parameters={"MirrorTokens": "on"})
        stack.beside()
        counted(f"{len(stack.names)} resources of template.yaml deployed, {len(emulator.resources('guarded'))} of a stack beside it")
        first_keys(stack)
        first_admin(stack)
        a_site_beside(stack)
        a_mirror_begins(stack)
        every_route_is_served(stack)
        a_sessions_life(stack)
        parallel_refreshes(stack)
        the_authorizer(stack)
        a_link(stack)
        a_one_time_link(stack)
        an_exchange(stack)
        a_service_accounts_life(stack)
        finish_rotation = every_right_is_needed(stack, before={"RefreshSecrets": lambda: a_mirrored_secret(stack)})
        what_alarms_are_about_is_written(stack)
        a_rotation_under_load(stack, finish_rotation)
        a_stack_with_parameters(emulator, stack)
        check("panicked" not in emulator.printed(), "a function panicked")


PARAMETERS = {
    "Issuer": "https://auth.example.org",
    "SigningAlgorithm": "EdDSA",
    "CorsOrigins": "https://app.example.org",
    "Cluster": "west",
    "Org": "acme",
    "GateMaxLife": "2h",
    "LinkTarget": "/console.html?vm={namespace}/{name}",
    "ForwardHeaders": "forwarded",
    "TokenMemory": "512",
    "TokenReservedConcurrency": "40",
    "TableDeletionProtection": "true",
    "MirrorTokens": "on",
    "Alarms": "on",
    "AlarmTopic": "arn:aws:sns:us-east-1:000000000000:operators",
}


def a_stack_with_parameters(emulator, stack):
    """A second stack, with what can be chosen: made, updated, deleted; its state outlives it, and no update touches it."""
    rotations = len(stack.rotations())
    other = Deployed(emulator, "other", PARAMETERS)
    url, names = other.url, other.names
    equal(other.outputs["Issuer"], PARAMETERS["Issuer"], "the issuer that was chosen")
    equal(other.rotation_after(rotations)[1], "came to its end", "the first rotation of a second stack")
    keys = answered(other.curl("/.well-known/jwks.json"), 200, "its keys")
    equal([key["alg"] for key in keys.json()["keys"]], ["EdDSA"], "the algorithm that was chosen")
    equal(curl(f"{url}/.well-known/openid-configuration").json()["issuer"], PARAMETERS["Issuer"], "the issuer, as discovery says it")
    preflight = ["-i", "-X", "OPTIONS", "-H", "Origin: https://app.example.org", "-H", "Access-Control-Request-Method: GET"]
    allowed = curl(f"{url}/v1/me", *preflight).body.lower()
    check("access-control-allow-origin: https://app.example.org" in allowed, f"a page of the chosen origin may ask: {allowed}")
    alarms = emulator.client("cloudwatch").describe_alarms()["MetricAlarms"]
    equal([alarm["AlarmActions"] for alarm in alarms], [[PARAMETERS["AlarmTopic"]]] * 9, "whom the alarms tell")
    alarmed = {one["Value"] for alarm in alarms for one in alarm["Dimensions"] if one["Name"] in ("function", "FunctionName")}
    equal(alarmed, {names[logical] for logical in ("Token", "Authorizer", "RotateKeys", "RefreshSecrets")}, "the functions that alarms are about, by their own names")
    told = answered(other.json("/api/v1/config", other.admin), 200, "what Apolo's clients are told").json()
    equal((told["orgs"][0]["name"], told["clusters"][0]["name"]), ("acme", "west"), "the organisation that was chosen, and the cluster")
    what_was_chosen_for_gate_tokens(other)
    a_rotation_held_up(other)

    secrets = emulator.client("secretsmanager")
    versions = lambda: [secrets.get_secret_value(SecretId=names[name])["VersionId"] for name in ("SigningSecret", "RefreshSecret")]  # noqa: E731
    before = versions()
    there = lambda: {name for name in emulator.resources("other") if name.startswith("RefreshSecrets")}  # noqa: E731
    equal(len(there()), 6, f"what there is for mirrored tokens: {there()}")
    emulator.update("other", ROOT / "template.yaml", {**PARAMETERS, "RequestsPerSecond": "7", "TokenMemory": "2048", "Alarms": "off", "MirrorTokens": "off"})
    equal(there(), set(), "what there is for mirrored tokens when nobody mirrors")
    functions = {one["FunctionName"] for one in emulator.client("lambda").list_functions()["Functions"]}
    rules = {one["Name"] for one in emulator.client("events").list_rules()["Rules"]}
    check({names["RefreshSecrets"], names["RefreshSecretsSchedule"]}.isdisjoint(functions | rules), "the function and its schedule are gone")
    equal(versions(), before, "the versions of the secrets after an update")
    equal(emulator.client("cloudwatch").describe_alarms()["MetricAlarms"], [], "the alarms, switched off")
    emulator.client("cloudformation").delete_stack(StackName="other")
    deadline = time.monotonic() + 60
    while any(one["FunctionName"].startswith("other-") for one in emulator.client("lambda").list_functions()["Functions"]):
        check(time.monotonic() < deadline, "the second stack is not deleted")
        time.sleep(0.1)
    equal(versions(), before, "the secrets after the stack was deleted")
    check(names["Table"] in emulator.client("dynamodb").list_tables()["TableNames"], "the table outlives the stack")
    groups = {one["logGroupName"] for one in emulator.client("logs").describe_log_groups()["logGroups"]}
    audited = {names[log] for log in ("TokenLog", "GateLog", "AdminLog", "RotateKeysLog")}
    equal(audited & groups, audited, "the logs of who did what outlive the stack")
    check(names["DiscoveryLog"] not in groups, "the other logs do not")
    counted(f"{len(PARAMETERS)} parameters of a second stack, which was made, updated and deleted; table, 2 secrets and {len(audited)} logs are left")


def what_was_chosen_for_gate_tokens(stack):
    """Cluster, longest life, where links lead, and whose headers proxies send."""
    site = {"id": "jobs", "host": "{name}.jobs.example.org", "resource": "job://{cluster}/jobs/{name}"}
    made = answered(stack.json("/v1/sites", stack.admin, site), 201, "a site of the second stack").json()
    equal(made["resource"], "job://west/jobs/{name}", "the cluster that was chosen")
    stack.user("yael")
    stack.command("acl", "grant", "gatetoken:vms", "yael", "write")
    check("gatetoken://west/vms" in stack.command("acl", "ls", "-u", "yael"), "an operator's shell has the cluster from the outputs")
    wrong = answered(stack.gate_token("long", urls=["/x"], duration="2h1s"), 422, "a gate token for too long")
    check("spec.duration" in wrong.body, f"which field is wrong: {wrong.body}")
    token = answered(stack.gate_token("vm", urls=["/x"], duration="2h"), 201, "a gate token").json()["status"]["token"]
    opened = answered(stack.curl(f"/auth/jwt/set?token={token}&name=vm-7&namespace=vms", "-i"), 302, "a link with a machine")
    equal(headers(opened)["location"], "/console.html?vm=vms/vm-7", "where it leads")
    asked = {"X-Forwarded-Method": "GET", "X-Forwarded-Host": "www.example.org", "X-Forwarded-Uri": "/x", "Cookie": f"{COOKIE}={token}"}
    answered(stack.curl("/auth/verify", *(part for pair in asked.items() for part in ("-H", ": ".join(pair)))), 200, "a question in the other headers")
    answered(stack.verify(token, "https://www.example.org/x"), 403, "a question in headers that do not count")
    counted("4 parameters about gate tokens, each seen in what it does")


def a_rotation_held_up(stack):
    """A rotation that failed is gone on with under its own token; one by hand meanwhile takes its place."""
    whole = stack.policy("RotateKeys")
    current = lambda: stack.current_version()[0]  # noqa: E731
    keys = lambda: len(json.loads(stack.current_version()[1])["keys"])  # noqa: E731

    def held_up():
        before = current()
        stack.set_policy("RotateKeys", without_action(whole, "PutItem"))
        token, ended = stack.rotate()
        stack.set_policy("RotateKeys", whole)
        check(ended.startswith("failed at setSecret"), f"a rotation that may not list its key {ended}")
        equal(current(), before, "the current version while a rotation is held up")
        return token

    token = held_up()
    equal(stack.rotate(), (token, "came to its end"), "the same rotation, tried again when it has the right")
    equal((current(), keys()), (token, 2), "the current version, and how many keys it holds")

    # By hand the keys are replaced at once, and a next one is announced while a rotation is pending.
    stack.command("key", "rotate", "--now")
    given_up = held_up()
    stack.command("key", "rotate")
    by_hand = current()
    check(by_hand not in (token, given_up), "a rotation by hand has a version of its own")
    waiting, ended = stack.rotate()
    check(waiting != given_up, "Secrets Manager begins another: what was pending has been given up")
    check(ended.startswith("failed at createSecret") and "published already" in ended, f"while a key is announced the next rotation {ended}")
    equal((current(), keys()), (by_hand, 2), "the current version is that of the rotation by hand")

    # And one that is pending without a value stands in nobody's way.
    stack.command("key", "rotate", "--now")
    equal(keys(), 1, "how many keys there are after an emergency")
    last, ended = stack.rotate()
    equal((ended, current(), keys()), ("came to its end", last, 2), "the rotation after an emergency, the current version and its keys")
    counted("2 rotations held up by a missing right: 1 tried again under its token, 1 given up for one by hand; then 2 by Secrets Manager, 1 refused while a key was announced")


def first_keys(stack):
    """A new stack's first rotation makes the first key set."""
    equal(stack.rotation_after(0)[1], "came to its end", "the rotation that came with the stack")
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


def a_site_beside(stack):
    """The host of the stack beside becomes a resource, over the API."""
    site = {"id": "guarded", "host": stack.guarded_host, "resource": "flow://{cluster}/guarded"}
    made = answered(stack.json("/v1/sites", stack.admin, site), 201, "a site").json()
    equal(made["resource"], GUARDED, "its resource")


def a_mirror_begins(stack):
    """Somebody's token is to be mirrored from now on; the rule of the stack is what will see to it."""
    answered(stack.password_grant("mira", stack.guest("mira")), 200, "a password grant")
    equal(answered(stack.mirror_token("mira"), 200, "a wish").json()["mirror_token"], True, "what the account says of it")


def a_mirrored_secret(stack):
    """The rule has had a run written; then runs by hand: a token that passes, goes on with its account, and ends with it."""
    deadline = time.monotonic() + 150
    while not (token := stack.mirrored("mira")):
        check(time.monotonic() < deadline, "no run by schedule in more than two minutes")
        time.sleep(0.5)
    emulator = stack.emulator
    emulator.client("events").disable_rule(Name=stack.names["RefreshSecretsSchedule"])

    done = {"asked": 1, "runs": 0, "written": 0, "removed": 0}

    def passes(token, status, what):
        done["asked"] += 2
        answered(stack.guarded(token), status, f"the guarded route with {what}")
        return answered(stack.verify(token, stack.guarded_target), status, f"a proxy's question about {what}")

    equal(headers(passes(token, 200, "a token that a run by schedule has written"))["kubeflow-userid"], "mira", "whom the proxy is told")
    claims = decoded(token)
    equal((claims["preferred_username"], claims["namespace"]), ("mira", "mira"), "whose token it is")
    check(claims["exp"] - time.time() >= 600, "what is left of it is ten minutes or more")
    check(stack.introspect(token), "it stands")

    def ran():
        told, failed = stack.asked_to_refresh()
        # A run by schedule may still have been under way.
        while not failed and told["outcome"] == "busy" and time.monotonic() < deadline + 150:
            time.sleep(0.5)
            told, failed = stack.asked_to_refresh()
        check(not failed, f"a run failed: {told}")
        return told

    def run(**expected):
        told = ran()
        has = {name: told[name] for name in ("outcome", "written", "removed", "failed", "left")}
        equal(has, {"outcome": "done", "written": 0, "removed": 0, "failed": 0, "left": 0, **expected}, "what a run has done")
        done.update(runs=done["runs"] + 1, **{name: done[name] + told[name] for name in ("written", "removed")})
        return told

    # Of what was done before, something may be due.
    ran()
    # Nothing is due; a doubled event does no harm.
    for _ in range(2):
        left = run()["least_left_s"]
        check(600 <= left <= 1800, f"the shortest life of a mirrored token: {left} s")
    equal(stack.mirrored("mira"), token, "the token, which was not written again")
    metrics = dict(stack.metrics("RefreshSecrets"))
    wanted = {"gatemint_mirror_written_total", "gatemint_mirror_least_left_seconds"}
    check(wanted <= set(metrics), f"what a run has done is measured: {metrics}")
    equal([metrics[name] for name in sorted(wanted)], [{"function": stack.names["RefreshSecrets"]}] * 2, "under which dimensions")

    password = stack.guest("milo")
    answered(stack.password_grant("milo", password), 200, "a password grant")
    answered(stack.mirror_token("milo"), 200, "a wish")
    run(written=1)
    passes(stack.mirrored("milo"), 200, "a mirrored token")
    # Off: the secret goes, and the account stays. On again: it is back.
    answered(stack.mirror_token("milo", False), 200, "another wish")
    run(removed=1)
    equal(stack.mirrored("milo"), None, "the secret of a token that is mirrored no more")
    answered(stack.mirror_token("milo"), 200, "a third wish")
    run(written=1)
    token = stack.mirrored("milo")
    answered(stack.json("/v1/users/milo", stack.admin, {"enabled": False}, "PATCH"), 200, "an account that is disabled")
    passes(token, 401, "the token of a disabled account")
    run(removed=1)
    equal(stack.mirrored("milo"), None, "the secret of a disabled account")
    answered(stack.json("/v1/users/milo", stack.admin, {"enabled": True}, "PATCH"), 200, "an account that is enabled")
    answered(stack.password_grant("milo", password), 200, "a password grant")
    run(written=1)
    token = stack.mirrored("milo")
    passes(token, 200, "a mirrored token after another sign-in")
    answered(stack.json("/v1/users/milo", stack.admin, method="DELETE"), 204, "the end of the account")
    passes(token, 401, "the token of an account that is no more")
    run(removed=1)
    equal(stack.mirrored("milo"), None, "the secret of an account that is no more")
    check(stack.mirrored("mira"), "nobody else's secret went with it")
    asked = f"tokens in secrets asked about {done['asked']} times"
    counted(f"1 token mirrored by the rule's own run; {done['runs']} runs by hand: {done['written']} tokens written, {done['removed']} secrets removed; {asked}")


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
    for path in plain_routes():
        concrete = re.sub(r"\{[^}]+\}", "x", path)
        for method in ("GET", "POST", "DELETE", "PUT", "OPTIONS"):
            answer = stack.curl(concrete, "-X", method)
            check(answer.status in (200, 400, 401, 403, 405, 415), f"{method} {concrete} without a credential: {answer.status} {answer.body}")
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


def refreshed_at_once(stack, first):
    """Refreshes with one token from as many callers. Each gets a token, the same one; returns how many had to ask twice."""
    form = urlencode({"grant_type": "refresh_token", "client_id": "gatemint", "refresh_token": first})
    answers = stack.at_once([form] * CALLERS)
    refused = sum(status == 503 for status, _ in answers)
    if refused:
        time.sleep(1)  # as Retry-After asks
        answers = [answer for answer in answers if answer[0] != 503] + stack.at_once([form] * refused)
    others = sorted({f"{status} {body}" for status, body in answers if status != 200})
    check(not others and len(answers) == CALLERS, f"answers to parallel refreshes: {others}")
    successors = {json.loads(body)["refresh_token"] for _, body in answers}
    equal(len(successors), 1, "how many successors a token has")
    (successor,) = successors
    equal(generation(successor), generation(first) + 1, "the generation after many refreshes at once")
    # The session stands where the winner left it: the successor is good for exactly one more generation.
    following = answered(stack.refresh(successor), 200, "a refresh with the successor").json()["refresh_token"]
    equal(generation(following), generation(first) + 2, "the generation after one more refresh")
    return refused


def parallel_refreshes(stack):
    """Many at once with one token, over as many processes, which start in that moment or are there: one rotates, and all get
    the same token."""
    password = stack.user("grace")
    sign_in = lambda: answered(stack.password_grant("grace", password), 200, "a password grant").json()["refresh_token"]  # noqa: E731
    harmless = [urlencode({"token": "x", **stack.judge})] * CALLERS
    first = sign_in()
    stack.start_afresh("Token")
    refused = refreshed_at_once(stack, first)
    started = len(stack.processes("Token"))
    check(started > CALLERS // 2, f"{started} processes started for {CALLERS} callers, which shows little")
    counted(f"{CALLERS} parallel refreshes over {started} processes that started with them: 1 rotated, {CALLERS} with the same successor, {refused} after a retry")
    most = rounds = refused = 0
    while most < CALLERS:
        rounds += 1
        check(rounds <= 10, f"in no round every one of {CALLERS} callers had a process; in the best {most} had")
        while len(stack.processes("Token")) < CALLERS:
            stack.at_once(harmless, "/oauth2/introspect")
        first = sign_in()
        before = stack.worked("Token")
        refused += refreshed_at_once(stack, first)
        most = max(most, sum(spent - before.get(process, 0) > BUSY for process, spent in stack.worked("Token").items()))
    done = f"{rounds * CALLERS} parallel refreshes over {most} processes that were there: {rounds} rotated"
    counted(f"{done}, {rounds * CALLERS} with the same successor, {refused} after a retry")


def headers(answer):
    """The headers of an answer that curl has shown with -i, by their names in lower case."""
    lines = answer.body.replace("\r\n", "\n").partition("\n\n")[0].split("\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def cookie(answer):
    """The gate token that an answer puts into a browser; whether its attributes are those of the original's, and more."""
    pair, *attributes = headers(answer)["set-cookie"].split("; ")
    equal(pair.split("=")[0], COOKIE, "the cookie's name")
    life = next(int(one.removeprefix("Max-Age=")) for one in attributes if one.startswith("Max-Age="))
    check(0 < life <= 600, f"a cookie lives as long as its token: {life}")
    equal(set(attributes) - {f"Max-Age={life}"}, {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"}, "the cookie's attributes")
    return pair.split("=", 1)[1]


def a_link(stack):
    """A link opened through the API; its cookie passes the other stack's route until the GateToken is deleted."""
    spec = {"urls": ["/docs", stack.guarded_target], "duration": "10m"}
    made = answered(stack.gate_token("link", **spec), 201, "a gate token").json()
    equal(made["status"]["phase"], "Ready", "the phase of a new gate token")
    link = f"/auth/jwt/set?token={made['status']['token']}"
    equal(headers(answered(stack.curl(link, "-I"), 302, "a look at the link")).get("set-cookie"), None, "what HEAD sets")
    opened = answered(stack.curl(link, "-i"), 302, "the link, opened")
    equal(headers(opened)["location"], "/docs", "where it leads")
    token = cookie(opened)
    said = answered(stack.guarded_by_cookie(token), 200, "the guarded route with the link's cookie").json()
    equal(said["X-Auth-Request-User"], "gatetoken:vms/link", "whom the route is told")
    told = answered(stack.verify(token, stack.guarded_target), 200, "a proxy's question about it")
    equal(headers(told)["kubeflow-userid"], "gatetoken:vms/link", "whom the proxy is told")
    refused = {
        "for another path": stack.verify(token, f"https://{stack.guarded_host}/other"),
        "for another method": stack.verify(token, stack.guarded_target, "POST"),
        "over http": stack.verify(token, stack.guarded_target.replace("https:", "http:")),
        # What is open at the API's own host is not at a host that a site maps.
        "for a path without a host": stack.verify(token, f"https://{stack.guarded_host}/docs"),
    }
    for what, answer in refused.items():
        answered(answer, 403, f"a proxy's question {what}")
    answered(stack.json(f"{GATE_TOKENS}/link", stack.admin, method="DELETE"), 200, "deleting it")
    answered(stack.guarded_by_cookie(token), 401, "the guarded route after that")
    answered(stack.verify(token, stack.guarded_target), 401, "a proxy's question after that")
    answered(stack.curl(link), 403, "the link after that")
    counted(f"1 link opened through the API, its cookie passed a route of another stack; {len(refused) + 3} requests refused, 3 of them after DELETE")


def a_one_time_link(stack):
    made = answered(stack.gate_token("once", urls=["/docs", stack.guarded_target], duration="10m", **{"one-time": True}), 201, "a one-time link")
    link = made.json()["status"]["token"]
    shown = answered(stack.curl(f"/auth/jwt/set?token={link}", "-i", "-H", "Accept: text/html"), 200, "a look at it")
    check("<button" in shown.body and "set-cookie" not in headers(shown), f"a look shows a button and gives nothing: {shown.body}")
    answered(stack.guarded_by_cookie(link), 401, "the guarded route with the link itself")
    press = lambda: answered(stack.curl("/auth/jwt/set", "-i", "--data-urlencode", f"token={link}"), 303, "its button")  # noqa: E731
    token, again = (cookie(press()) for _ in range(2))
    # Signed anew, with another signature, it is the same: `jti` and times are those of the one use.
    equal(decoded(again), decoded(token), "what the cookie says when the button is pressed again")
    answered(stack.guarded_by_cookie(token), 200, "the guarded route with its cookie")
    used = answered(stack.curl(f"/auth/jwt/set?token={link}"), 403, "a look at it after its use")
    check("used" in used.body, f"why it opens nothing: {used.body}")
    answered(stack.json(f"{GATE_TOKENS}/once", stack.admin, method="DELETE"), 200, "deleting it")
    answered(stack.guarded_by_cookie(token), 401, "the guarded route after that")
    counted("1 one-time link: looked at, used, its reply repeated, closed with its GateToken")


def an_exchange(stack):
    """One's own access token becomes a gate token for the other stack, which ends with the permission and with the session."""
    reply = answered(stack.password_grant("ines", stack.guest("ines")), 200, "a password grant").json()
    whole_host = f"https://{stack.guarded_host}/*"
    token = answered(stack.exchange(reply["access_token"], whole_host), 200, "an exchange").json()["access_token"]
    said = answered(stack.guarded_by_cookie(token), 200, "the guarded route with what came of it").json()
    check(said["kubeflow-userid"].startswith("gatetoken:ines/exchange-"), f"whom the route is told: {said}")
    answered(stack.exchange(reply["access_token"], "https://www.example.org/*"), 400, "an exchange for a host of nobody's")
    stack.command("acl", "revoke", GUARDED, "ines")
    answered(stack.guarded_by_cookie(token), 403, "the guarded route without the permission")
    answered(stack.exchange(reply["access_token"], whole_host), 400, "an exchange without the permission")
    stack.command("acl", "grant", GUARDED, "ines", "read")
    answered(stack.guarded_by_cookie(token), 200, "the guarded route with the permission again")
    answered(stack.form("/oauth2/revoke", token=reply["refresh_token"]), 200, "a revocation")
    answered(stack.guarded_by_cookie(token), 401, "the guarded route after the session")
    counted("1 access token exchanged; 5 requests with what came of it, refused without permission and session")


def a_service_accounts_life(stack):
    """Made, granted, let in, asked about, revoked and ended, through three functions."""
    access = answered(stack.password_grant("nina", stack.user("nina")), 200, "a password grant").json()["access_token"]
    token = stack.service_account(access, "nina", "bot")
    principal, user = "nina/service-accounts/bot", "system:serviceaccount:nina:bot"
    # As Apolo's clients write it: between cluster and namespace is the organisation.
    uri = GUARDED.replace("default/", "default/default-org/")
    asked = 0

    def at_both_doors(status, of=token):
        """A proxy's question, and the authorizer's."""
        nonlocal asked
        asked += 2
        answered(stack.guarded(of), status, "the guarded route with a service account's token")
        return answered(stack.verify(of, stack.guarded_target, cookie="dat"), status, "a proxy's question about it")

    at_both_doors(403)
    granted = answered(stack.permissions(principal, uri), 201, "a grant").json()
    equal(granted, [{"uri": uri, "action": "read"}], "what was granted")
    told = headers(at_both_doors(200))
    equal(told["kubeflow-userid"], user, "whom the proxy is told")
    check("system:serviceaccounts:nina" in told["x-auth-request-groups"], f"its groups: {told}")
    (used,) = answered(stack.json(f"{ACCOUNTS}/bot/tokens", access), 200, "its tokens").json()
    check(used["last_used_at"], f"when it was last used: {used}")

    # It may request tokens for itself once it is bound, as in Arrikto's guide; its owner may at once.
    request = "/kubernetes/api/v1/namespaces/nina/serviceaccounts/bot/token"
    spec = {"spec": {"audiences": ["pipelines.example.org"], "expirationSeconds": 600}}
    answered(stack.json(request, token, spec), 403, "a TokenRequest of its own")
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/nina"
    named, group = {"name": "bot-create-token", "namespace": "nina"}, "rbac.authorization.k8s.io"
    rule = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["bot"], "verbs": ["create"]}
    bound = {"roleRef": {"apiGroup": group, "kind": "Role", "name": named["name"]}, "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": "nina"}]}
    answered(stack.json(f"{roles}/roles", access, {"metadata": named, "rules": [rule]}), 201, "a Role")
    answered(stack.json(f"{roles}/rolebindings", access, {"metadata": named, **bound}), 201, "a RoleBinding")
    short = answered(stack.json(request, token, spec), 201, "a TokenRequest of its own, bound").json()["status"]["token"]
    asked_about = lambda **more: stack.verify(short, stack.guarded_target, cookie="dat", **more)  # noqa: E731
    answered(asked_about(), 403, "a proxy's question about it, for nobody")
    told = answered(asked_about(audience="pipelines.example.org"), 200, "a proxy's question about it, for its audience")
    equal(headers(told)["kubeflow-userid"], user, "whom the proxy is told of a short-lived token")

    def reviewed():
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": short, "audiences": ["pipelines.example.org"]}}
        return answered(stack.json(TOKEN_REVIEWS, stack.admin, review), 201, "a TokenReview").json()["status"]

    equal((reviewed()["authenticated"], reviewed()["user"]["username"]), (True, user), "what a TokenReview says")
    keys = [answered(stack.curl(path), 200, "the keys").json() for path in ("/.well-known/jwks.json", "/openid/v1/jwks")]
    equal(*keys, "the keys at Kubernetes' path")

    answered(stack.permissions(principal, uri, method="DELETE"), 204, "a revocation")
    at_both_doors(403)
    answered(stack.permissions(principal, uri), 201, "a grant")
    at_both_doors(200)
    answered(stack.json(f"{ACCOUNTS}/bot", access, method="DELETE"), 204, "its end")
    at_both_doors(401)
    answered(asked_about(audience="pipelines.example.org"), 401, "a proxy's question about its short-lived token")
    equal(reviewed()["authenticated"], False, "what a TokenReview says of it")
    again = stack.service_account(access, "nina", "bot")
    at_both_doors(401)
    at_both_doors(403, again)
    counted(f"1 service account made, granted, bound, revoked, deleted and made again; {asked} questions about its tokens, 5 about a short-lived one")


def the_authorizer(stack):
    """200, 401 and 403 at a route of another stack."""
    password = stack.user("lin")
    reply = answered(stack.password_grant("lin", password), 200, "a password grant").json()
    answered(stack.guarded(reply["access_token"]), 403, "a guarded route with a live token, and nothing granted")
    stack.command("acl", "grant", GUARDED, "lin", "read")
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
    counted(f"{4 + len(unknown)} requests to a route of another stack: 1 answered 200, {1 + len(unknown)} 401, 2 403")


def what_alarms_are_about_is_written(stack):
    """The functions' log lines hold the metrics that alarms are about, with the dimensions that the alarms name."""
    password = stack.user("mary")
    replaced = answered(stack.password_grant("mary", password), 200, "a password grant").json()["refresh_token"]
    token = replaced
    for _ in range(2):
        token = answered(stack.refresh(token), 200, "a refresh").json()["refresh_token"]
    answered(stack.refresh(replaced), 400, "a replay")
    wanted = [
        ("Token", "gatemint_replays_total", {"function": stack.names["Token"]}),
        # Of when the authorizer's rights were taken away.
        ("Authorizer", "gatemint_authorizations_total", {"function": stack.names["Authorizer"], "outcome": "unavailable"}),
    ]
    for logical, metric, dimensions in wanted:
        written = [found for name, found in stack.metrics(logical) if name == metric]
        check(dimensions in written, f"{metric} is not written with {dimensions}, but with {written[:3]}")
    counted(f"{len(wanted)} metrics in the functions' logs, with the dimensions of the alarms about them")


class Load:
    """Verifiers and callers that go on asking while something happens."""

    def __init__(self, stack, jwks, place):
        self.stack, self.place = stack, place
        (place / "jwks.json").write_text(jwks)
        password = stack.guest("noor")
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
    gate_token = answered(stack.gate_token("before", urls=[stack.guarded_target]), 201, "a gate token").json()["status"]["token"]
    with temporary_directory() as place, Load(stack, jwks, place) as load:
        load.wait_for(3)
        finish_rotation()
        load.wait_for(3)
        # Processes that start now meet both keys; those that go on have the old one in memory.
        before = len(stack.processes("Token"))
        verdicts = stack.at_once([urlencode({"token": load.old, **stack.judge})] * 32, "/oauth2/introspect")
        check(all(status == 200 and json.loads(body)["active"] for status, body in verdicts), f"an old token stands everywhere: {verdicts}")
        started = len(stack.processes("Token")) - before
        check(started > 0, "no process started while the load went on")
        load.wait_for(3)
    check(not load.failures, f"verifications failed during a rotation: {load.failures[:3]}")
    for function in ("Token", "Discovery", "Gate", "Authorizer"):
        stack.start_afresh(function)
    answered(stack.guarded_by_cookie(gate_token), 200, "the guarded route with a gate token of before the rotation")
    check(stack.introspect(load.old), "the old token stands, after the rotation")
    answered(stack.guarded(load.old), 200, "the guarded route with the old token, after the rotation")
    check(stack.current_version()[0] != version, "the rotation promoted a new version")
    keys = stack.curl("/.well-known/jwks.json").json()["keys"]
    equal(len(keys), 2, "how many keys there are after the second rotation")
    counted(f"{sum(load.verdicts) + 35} verdicts before, during and after a rotation, none wrong; {started} processes started meanwhile; {len(keys)} keys")


main()
