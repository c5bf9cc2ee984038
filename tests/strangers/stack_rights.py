"""Every right that template.yaml gives is needed: taken away, one at a time, something that worked is refused.

Taken away are whole statements, single actions, single kinds of rows, and single secrets. Policies are changed where they are judged, in the
emulator's IAM, at each call; only a function's processes are started afresh, because they remember keys. What is not judged
there is the right to write log lines: tests/strangers/template_rules.py holds the template to it.
"""

import base64
import copy
from urllib.parse import urlencode

from deployed import ACCOUNTS, FUNCTIONS, GATE_TOKENS, GUARDED, USERS, answered, token_in
from support import check, counted, equal

UNJUDGED = {"WriteLog"}
KEYS = ("Condition", "ForAllValues:StringLike", "dynamodb:LeadingKeys")


class Refused(Exception):
    """The service says that it cannot: an answer of 5xx, or a rotation that failed; or what is done in passing was not done."""


def worked(answer, status, what):
    """As `answered`, but a 5xx is what a right that is missing looks like."""
    if answer.status >= 500:
        raise Refused(f"{what}: {answer.status} {answer.body}")
    return answered(answer, status, what)


class Uses:
    """What each function is there for, done once: it works, or it is `Refused`."""

    def __init__(self, stack):
        self.stack = stack
        self.passwords = {name: stack.user(name) for name in ("dana", "erin")}
        self.long_lived = answered(stack.password_grant("erin", self.passwords["erin"]), 200, "a password grant").json()["access_token"]
        for name in self.passwords:
            stack.command("acl", "grant", GUARDED, name, "read")
        self.admin = stack.admin
        made = answered(stack.gate_token("of-the-authorizer", urls=[stack.guarded_target]), 201, "a gate token")
        self.gate_token = made.json()["status"]["token"]
        stack.service_account(self.long_lived, "erin", "bot")
        stack.command("acl", "grant", GUARDED, "erin/service-accounts/bot", "read")
        self.bot = self.of_the_bot()
        # What erin's sign-in began: a token that is always fresh, and stays so for as long as this takes.
        self.fresh_secret = "/api/v1/namespaces/erin/secrets/access-token"
        secret = answered(stack.json(self.fresh_secret, self.long_lived), 200, "the token that is always fresh").json()
        self.fresh = base64.b64decode(secret["data"]["AUTH_TOKEN"]).decode()
        self.made = 0

    def of_the_bot(self):
        """A new token of a service account, which nobody has used."""
        return token_in(worked(self.stack.json(f"{ACCOUNTS}/bot/rotate", self.long_lived, {"overlap": 0}), 200, "a rotation"))

    def its_use_is_known(self):
        """Where a use cannot be written down, nobody is refused for it."""
        (token,) = worked(self.stack.json(f"{ACCOUNTS}/bot/tokens", self.long_lived), 200, "the tokens of a service account").json()
        if not token["last_used_at"]:
            raise Refused("a token that was used is shown as never used")

    def token(self):
        stack, old = self.stack, self.passwords["dana"]
        reply = worked(stack.password_grant("dana", old), 200, "a password grant").json()
        fresh = worked(stack.refresh(reply["refresh_token"]), 200, "a refresh").json()
        said = worked(stack.introspection(fresh["access_token"]), 200, "an introspection")
        check(said.json()["active"], f"an access token stands: {said.body}")
        worked(stack.exchange(fresh["access_token"], stack.guarded_target), 200, "an exchange")
        # As long as another, and never the same.
        self.made += 1
        new = f"{self.made:04}{old[4:]}"
        change = stack.json("/v1/me/password", fresh["access_token"], {"old": old, "new": new})
        worked(change, 204, "a change of the password")
        self.passwords["dana"] = new
        # The change has ended the account's fresh token; this begins another.
        worked(stack.password_grant("dana", new), 200, "a password grant after it")
        worked(stack.form("/oauth2/revoke", token=fresh["refresh_token"]), 200, "a revocation")
        worked(stack.introspection(self.fresh), 200, "an introspection of a fresh token")

    def first_sign_ins_at_once(self):
        """Of sign-ins at the same moment one begins the account's fresh token. The others leave it as it is, which takes a right
        of its own; whether there are others is a matter of chance, so it is tried some times."""
        for _ in range(8):
            self.made += 1
            name = f"at-once-{self.made}"
            form = urlencode({"grant_type": "password", "client_id": "gatemint", "username": name, "password": self.stack.user(name)})
            answers = self.stack.at_once([form] * 4)
            if any(status >= 500 for status, _ in answers):
                raise Refused(f"first sign-ins at once: {sorted(status for status, _ in answers)}")
            equal({status for status, _ in answers}, {200}, "the statuses of first sign-ins at once")

    def discovery(self):
        worked(self.stack.curl("/.well-known/jwks.json"), 200, "the keys")

    def gate(self):
        self.made += 1
        stack, name = self.stack, f"gate-{self.made}"
        made = worked(stack.gate_token(name, urls=["/docs", stack.guarded_target], **{"one-time": True}), 201, "making a gate token").json()
        one = f"{GATE_TOKENS}/{name}"
        worked(stack.json(f"{GATE_TOKENS}?limit=500", self.admin), 200, "listing gate tokens")
        worked(stack.json(one, self.admin), 200, "reading one")
        worked(stack.form("/auth/jwt/set", token=made["status"]["token"]), 303, "pressing a link's button")
        worked(stack.verify(self.gate_token, stack.guarded_target), 200, "a question about a gate token")
        worked(stack.verify(self.long_lived, stack.guarded_target), 200, "a question about an access token")
        worked(stack.verify(self.fresh, stack.guarded_target), 200, "a question about a fresh token")
        self.bot = self.of_the_bot()
        worked(stack.verify(self.bot, stack.guarded_target, cookie="dat"), 200, "a question about a service account's token")
        self.its_use_is_known()
        worked(stack.json(one, self.admin, method="DELETE"), 200, "deleting it")

    def admin_(self):
        self.made += 1
        session = answered(self.stack.password_grant("dana", self.passwords["dana"]), 200, "a session to be ended").json()
        answered(self.stack.exchange(session["access_token"], self.stack.guarded_target), 200, "a gate token to be ended")
        name = f"somebody-{self.made}"
        steps = [
            ("POST", "/v1/users", {"name": name, "password": "a long enough password"}, 201),
            ("GET", "/v1/users?limit=99", None, 200),
            ("GET", f"/v1/users/{name}", None, 200),
            ("DELETE", f"/v1/users/{name}", None, 204),
            ("POST", "/v1/clients", {"id": name, "public": True}, 201),
            ("DELETE", f"/v1/clients/{name}", None, 204),
            ("POST", "/v1/sites", {"id": name, "host": f"{name}.example.org", "resource": f"flow://default/{name}"}, 201),
            ("DELETE", f"/v1/sites/{name}", None, 204),
        ]
        permissions = f"{USERS}/erin:service-accounts:bot/permissions"
        uri = f"job://default/default-org/{name}"
        steps += [
            ("POST", permissions, [{"uri": uri, "action": "write"}], 201),
            ("DELETE", f"{permissions}?uri={uri}", None, 204),
            # No membership comes of it, and the account is asked to stay without.
            ("POST", f"{USERS}/dana/permissions", [{"uri": f"role://default/default-org/erin/{name}", "action": "list"}], 201),
            ("POST", "/api/v1/namespaces/erin/serviceaccounts", {"metadata": {"name": name}}, 201),
            ("POST", f"/api/v1/namespaces/erin/serviceaccounts/{name}/token", {"spec": {"audiences": ["x"]}}, 201),
            ("DELETE", f"/api/v1/namespaces/erin/serviceaccounts/{name}", None, 200),
            ("GET", self.fresh_secret, None, 200),
            ("POST", "/v1/users", {"name": f"{name}-too", "password": "a long enough password"}, 201),
            ("PATCH", f"/v1/users/{name}-too", {"mirror_token": True}, 200),
            ("DELETE", f"/v1/users/{name}-too", None, 204),
        ]
        for method, path, body, status in steps:
            worked(self.stack.json(path, self.admin, body, method), status, f"{method} {path}")
        live = worked(self.stack.json("/v1/tokens?account=dana&limit=99", self.admin), 200, "a list of tokens").json()["items"]
        for kind in ("gate", "session"):
            ended = next(token["id"] for token in live if token["kind"] == kind)
            worked(self.stack.json(f"/v1/tokens/{ended}", self.admin, method="DELETE"), 204, f"ending a token of the kind {kind}")
        self.bot = self.of_the_bot()
        worked(self.stack.json(f"{USERS}/erin:service-accounts:bot/permissions", self.bot), 200, "what it holds, read by a service account")
        self.its_use_is_known()

    def authorizer(self):
        worked(self.stack.guarded(self.long_lived), 200, "a guarded route")
        worked(self.stack.guarded_by_cookie(self.gate_token), 200, "a guarded route with a gate token")
        worked(self.stack.guarded(self.bot), 200, "a guarded route with a service account's token")
        worked(self.stack.guarded(self.fresh), 200, "a guarded route with a fresh token")

    def refresh_secrets(self):
        """A token is mirrored, written again, and taken away with its account; a secret that nobody knows is found."""
        self.made += 1
        stack, name, nobody = self.stack, f"mirrored-{self.made}", f"nobody-{self.made}"
        answered(stack.password_grant(name, stack.user(name)), 200, "a password grant")
        stack.secrets.create_secret(Name=stack.mirrored_id(nobody), SecretString='{"AUTH_TOKEN":""}')
        # The hour is over after which it looks for such.
        stack.emulator.client("dynamodb").delete_item(TableName=stack.names["Table"], Key={"pk": {"S": "fresh#swept"}, "sk": {"S": "at"}})
        for wishes in ((True,), (False, True)):
            for wanted in wishes:
                answered(stack.mirror_token(name, wanted), 200, "a wish")
            self.run()
            if not stack.mirrored(name):
                raise Refused("a token that is not mirrored")
        answered(stack.json(f"/v1/users/{name}", self.admin, method="DELETE"), 204, "the end of an account")
        self.run()
        if left := [secret for secret in (name, nobody) if stack.mirrored(secret) is not None]:
            raise Refused(f"secrets that are left: {left}")

    def run(self):
        told, failed = self.stack.asked_to_refresh()
        if failed or told["failed"]:
            raise Refused(f"a run: {told}")
        equal(told["outcome"], "done", f"how a run ended: {told}")

    def rotate_keys(self):
        _, ended = self.stack.rotate()
        if ended != "came to its end":
            raise Refused(f"a rotation {ended}")


def without_one(document):
    """Copies of a policy with one thing less, and what that is."""
    for at, statement in enumerate(document["Statement"]):
        sid = statement["Sid"]
        if sid in UNJUDGED:
            continue
        lists = {name: statement[name] for name in ("Action", "Resource") if isinstance(statement[name], list) and len(statement[name]) > 1}
        for name, values in lists.items():
            for value in values:
                less = copy.deepcopy(document)
                less["Statement"][at][name].remove(value)
                yield f"{sid} without {value.split(':secret:')[-1]}", less
        kinds = inner(statement, KEYS)
        for kind in kinds if len(kinds) > 1 else []:
            less = copy.deepcopy(document)
            inner(less["Statement"][at], KEYS).remove(kind)
            yield f"{sid} without {kind}", less
        less = copy.deepcopy(document)
        del less["Statement"][at]
        yield f"no {sid}", less


def inner(value, keys):
    """What is at the end of a path of keys, or nothing."""
    for key in keys:
        value = value.get(key, {})
    return value or []


def every_right_is_needed(stack, before):
    """Takes them away, one by one; `before` has what is to be done before a function's turn. Returns what finishes the rotation that was begun here again and again, each time without a right that it needs."""
    uses = Uses(stack)
    use = {"Token": uses.token, "Discovery": uses.discovery, "Gate": uses.gate, "Admin": uses.admin_, "Authorizer": uses.authorizer, "RefreshSecrets": uses.refresh_secrets, "RotateKeys": uses.rotate_keys}
    # What is missed in a race alone.
    seldom = {"WriteRows without dynamodb:ConditionCheckItem": {"Token": uses.first_sign_ins_at_once}}
    taken = 0
    for logical, works in use.items():
        before.get(logical, lambda: None)()
        whole = stack.policy(logical)
        if logical != "RotateKeys":  # which has worked when the stack was made
            works()
        else:
            # In the order in which a rotation comes to them: what was done before a refusal is not done again.
            order = ["GetSecretValue", "PutSecretValue", "GetItem", "PutItem", "UpdateSecretVersionStage"]
            actions = [action.split(":")[1] for one in whole["Statement"] if one["Sid"] not in UNJUDGED for action in one["Action"]]
            equal(sorted(actions), sorted(order), "what rotate-keys may do")
        copies = list(without_one(whole))
        if logical == "RotateKeys":
            copies = [(f"no {action}", without_action(whole, action)) for action in order]
        for what, less in copies:
            check(less != whole, f"nothing was taken away: {what}")
            stack.set_policy(logical, less)
            stack.start_afresh(logical)
            try:
                seldom.get(what, {}).get(logical, works)()
            except Refused as refusal:
                print(f"{FUNCTIONS[logical]}, {what}: {refusal}", flush=True)
                taken += 1
            else:
                raise AssertionError(f"{FUNCTIONS[logical]}, {what}: everything works as before, so nobody needs it")
        stack.set_policy(logical, whole)
        stack.start_afresh(logical)
        if logical != "RotateKeys":
            works()
    counted(f"{taken} times one right less in {len(use)} roles, {taken} times a use was refused")
    return uses.rotate_keys


def without_action(document, action):
    """A policy without an action, and without the statement if it had no other."""
    less = copy.deepcopy(document)
    for statement in less["Statement"]:
        statement["Action"] = [one for one in statement["Action"] if not one.endswith(f":{action}")]
    less["Statement"] = [statement for statement in less["Statement"] if statement["Action"]]
    return less
