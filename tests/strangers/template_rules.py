"""template.yaml, after the SAM transform, held to what was promised: who may do what, which route leads where, no cycle.

The rules are written out here a second time, on purpose. Copies with one thing damaged show that each rule can fail.
"""

import copy
import json
import logging
import os
import re
import sys

from plain_routes import plain_routes, source, with_a_slash
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse
from support import ROOT, check, counted

logging.disable(logging.WARNING)  # the transform counts what it does, and complains that nobody wants to know
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # the transform asks for one; nothing is called

# The table of functions and rights: kinds of rows (of partition keys: what stands before the `#`) and secrets. Kinds that no
# code has yet are in it too; a role gets those that exist. tests/strangers/stack_rights.py shows that each is needed.
TABLE = {
    "token": {
        "write": "account session throttle fresh",
        # What an exchange makes, it never reads.
        "only_write": "gate",
        "read": "client perm site names keys",
        "secrets": {"SigningSecret": "read", "RefreshSecret": "read"},
    },
    "discovery": {"write": "", "read": "keys", "secrets": {}},
    # When a service account's token was last used, it may write; never the token.
    "gate": {"write": "gate used", "read": "account session client sa perm site fresh names keys", "secrets": {"SigningSecret": "read"}},
    "admin": {"write": "account session client gate sa perm used site fresh names", "read": "keys", "secrets": {"SigningSecret": "read"}},
    "authorizer": {"write": "", "read": "account session client gate sa perm used site fresh names keys", "secrets": {}},
    "rotate-keys": {"write": "keys", "read": "", "secrets": {"SigningSecret": "write"}},
    "refresh-secrets": {"write": "fresh", "read": "account names keys", "secrets": {"SigningSecret": "read", "mirrored": "make"}},
}
READS = {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"}
WRITES = {"dynamodb:PutItem", "dynamodb:DeleteItem"}
# A transaction's item that stays as it is. Who grants asks that of an account; a sign-in of the token that is always fresh,
# where another one has begun it.
CHECKS = {"admin": {"dynamodb:ConditionCheckItem"}, "token": {"dynamodb:ConditionCheckItem"}}
READS_SECRET = {"secretsmanager:GetSecretValue"}
WRITES_SECRET = {"secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"}
# Mirrored tokens are written and deleted, and never read; to look for those that nobody knows takes the names of all secrets.
MAKES_SECRETS = {"secretsmanager:CreateSecret", "secretsmanager:PutSecretValue", "secretsmanager:DeleteSecret"}
LISTS_SECRETS = {"secretsmanager:ListSecrets"}
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
# How long each may take, in seconds: less than who asks it waits.
TIMEOUTS = {"token": 25, "discovery": 25, "gate": 25, "admin": 25, "authorizer": 10, "rotate-keys": 60, "refresh-secrets": 120}
# The logs that say who did what.
AUDITED = {"token", "gate", "admin", "rotate-keys"}
# Settings that every function of a kind is told alike, and those that one alone is told.
SETTINGS_OF = {
    "GATEMINT_CLUSTER": {"token", "discovery", "gate", "admin", "authorizer", "rotate-keys", "refresh-secrets"},
    # An exchange mints, too.
    "GATEMINT_GATE_MAX_LIFE": {"token", "gate"},
    "GATEMINT_LINK_TARGET": {"gate"},
    "GATEMINT_ORG": {"admin"},
    "GATEMINT_FORWARD_HEADERS": {"gate"},
    "GATEMINT_SIGNING_ALG": {"rotate-keys"},
}

# What there is only where tokens are mirrored. Where alarms are wanted besides, those about it.
MIRROR = {f"RefreshSecrets{part}" for part in ("", "Role", "Log", "Schedule", "Permission", "EventInvokeConfig")}
MIRROR_ALARMS = {"MirrorFailedAlarm", "MirrorMissedAlarm", "MirrorOldAlarm"}

# The dimensions of the metrics that alarms are about: they have to be the written ones exactly. `function` is the deployed
# function's name.
WRITTEN = [{"function": {"Ref": "Token"}}, {"function": {"Ref": "Authorizer"}, "outcome": "unavailable"}, {"function": {"Ref": "RefreshSecrets"}}]
# What Lambda counts by itself.
COUNTED = [("Throttles", "Token"), ("Throttles", "Authorizer"), ("Errors", "RotateKeys"), ("Errors", "RefreshSecrets"), ("Invocations", "RefreshSecrets")]

# Who may call a function, and about what: nobody else's API, and nobody else's secret.
OF_THE_API = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/"
PERMISSIONS = {
    **{name: {"Principal": "apigateway.amazonaws.com", "SourceArn": {"Fn::Sub": f"{OF_THE_API}*"}} for name in ("Token", "Discovery", "Gate", "Admin")},
    "Authorizer": {"Principal": "apigateway.amazonaws.com", "SourceArn": {"Fn::Sub": OF_THE_API + "authorizers/${ApiAuthorizer}"}},
    "RotateKeys": {
        "Principal": "secretsmanager.amazonaws.com",
        "SourceArn": {"Ref": "SigningSecret"},
        "SourceAccount": {"Ref": "AWS::AccountId"},
    },
    "RefreshSecrets": {"Principal": "events.amazonaws.com", "SourceArn": {"Fn::GetAtt": ["RefreshSecretsSchedule", "Arn"]}},
}

# The piece of the stack's id that names hold, and what a vault calls the two secrets.
BIRTH = {"Fn::Select": [0, {"Fn::Split": ["-", {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}]}]}
VAULT = "${AWS::StackName}-${Birth}"
MIRRORED = {"Fn::Sub": ["arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:" + f"{VAULT}/fresh/*", {"Birth": BIRTH}]}

# Which function serves a path, the first line that fits.
OWNERS = [
    (r"/oauth2/.*|/realms/[^/]+/protocol/openid-connect/(token|revoke|logout|token/introspect)|/v1/me/password|/refresh-token-download", "token"),
    (r"/\.well-known/.*|/realms/[^/]+/protocol/openid-connect/certs|/openid/v1/jwks|/healthz|/readyz|/openapi\.json|/docs", "discovery"),
    (r"/v1/.*|/webhooks/.*|/api/v1/(config|service_accounts(/.*)?|users/.*|namespaces/.*)|/kubernetes/.*", "admin"),
    (r"/apis/(rbac\.authorization\.k8s\.io/v1/namespaces/.*|authentication\.k8s\.io/v1/tokenreviews)", "admin"),
    (r"/auth/(jwt/(request|set)|verify(/.*)?)|/version/?|/api(/.*)?|/apis(/.*)?", "gate"),
]


# What the code knows: kinds of rows, settings, metrics, routes.
CODE = [file.read_text().split("#[cfg(test)]")[0] for file in ROOT.glob("src/domain/**/*.rs")]
KINDS = {kind for text in CODE for kind in re.findall(r'"([a-z]+)#', text)}
SETTINGS = set(re.findall(r'"(GATEMINT_[A-Z_]+)"', source("settings.rs")))
SIGNING, REFRESH = (re.search(r'const SECRET: .* = "(.+)";', source("domain", *place))[1] for place in (("key", "set.rs"), ("session", "peppers.rs")))
METRICS = set(re.findall(r'"(gatemint_[a-z_]+)"', source("metric.rs")))
FAMILIES = re.findall(r'Self::\w+ => "(\w+)"', source("http", "forward_auth", "families.rs"))
PLAIN = {*plain_routes(), *with_a_slash(), "/refresh-token-download", "/webhooks/add-auth-token"}
ROUTES = json.loads((ROOT / "tests" / "openapi.json").read_text())["paths"] | {path: dict.fromkeys(("get", "post", "delete")) for path in PLAIN}


class NoManagedPolicies:
    """The transform would ask AWS for the names of managed policies; the template uses none."""

    def load(self):
        return {}


def transformed(template):
    packaged = copy.deepcopy(template)
    packaged["Globals"]["Function"]["CodeUri"] = "s3://code/gatemint.zip"  # as `sam package` does
    return transform(packaged, {}, NoManagedPolicies())


def references(value):
    """The logical names that a value refers to: by Ref, GetAtt, Sub and DependsOn."""
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == "Ref":
                yield inner
            elif key == "Fn::GetAtt":
                yield inner.split(".")[0] if isinstance(inner, str) else inner[0]
            elif key == "Fn::Sub":
                text, names = (inner, {}) if isinstance(inner, str) else inner
                yield from (name.split(".")[0] for name in re.findall(r"\$\{([^!}]+)\}", text) if name not in names)
                yield from references(names)
            elif key == "DependsOn":
                yield from [inner] if isinstance(inner, str) else inner
            else:
                yield from references(inner)


def cycle(resources):
    """A cycle among the resources, as their names, or none."""
    edges = {name: [to for to in references(resource) if to in resources] for name, resource in resources.items()}
    done = set()

    def walk(name, path):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        found = next(filter(None, (walk(to, [*path, name]) for to in edges[name])), None)
        done.add(name)
        return found

    return next(filter(None, (walk(name, []) for name in edges)), None)


def problems(template):
    """What is wrong with a template, in sentences."""
    whole = transformed(template)
    resources = whole["Resources"]
    if found := cycle(resources):
        yield f"a cycle: {' -> '.join(found)}"
    of = lambda kind: {name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == kind}  # noqa: E731
    functions = of("AWS::Lambda::Function")
    names = {properties["Environment"]["Variables"]["GATEMINT_FUNCTION"]: name for name, properties in functions.items()}
    if sorted(names) != sorted(TABLE) or len(names) != len(functions):
        yield f"the functions are {sorted(names)} ({len(functions)})"
        return
    yield from rights(names, functions, of)
    yield from functions_as_promised(names, functions, resources)
    yield from state_as_promised(whole, of)
    yield from names_agree(template)
    yield from alarms_as_promised(whole, of)
    yield from api_as_promised(names, of)
    yield from nothing_said(whole, of)
    yield from mirror_as_promised(whole, of)


def rights(names, functions, of):
    """Every function has the rights of the table, and no others."""
    roles = of("AWS::IAM::Role")
    others = [name for kind in ("Policy", "ManagedPolicy", "RolePolicy") for name in of(f"AWS::IAM::{kind}")]
    if others or len(roles) != len(TABLE):
        yield f"roles and policies beside the functions' own: {sorted(roles)}, {others}"
    for function, logical in names.items():
        role = functions[logical]["Role"].get("Fn::GetAtt", [None])[0]
        if role != f"{logical}Role":
            yield f"{function}: its role is {role}"
            continue
        if set(roles[role]) != {"AssumeRolePolicyDocument", "Policies"}:
            yield f"{function}: its role has {sorted(roles[role])}"
        trusted = roles[role]["AssumeRolePolicyDocument"]["Statement"]
        if [(one["Principal"], one["Action"]) for one in trusted] != [({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")]:
            yield f"{function}: others may take its role"
        kinds = {"read": set(), "write": set()}
        secrets = {}
        for policy in roles[role]["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                yield from judged(function, logical, statement, kinds, secrets)
        row = TABLE[function]
        writes = set(row["write"].split()) & KINDS
        reads = (set(row["read"].split()) & KINDS) | writes
        writes |= set(row.get("only_write", "").split()) & KINDS
        if kinds != {"read": reads, "write": writes}:
            yield f"{function}: kinds of rows are {kinds}"
        promised = {name: {"make", "list"} if how == "make" else {"read", how} for name, how in row["secrets"].items()}
        if secrets != promised:
            yield f"{function}: secrets are {secrets}"


def judged(function, logical, statement, kinds, secrets):
    """One statement: what is wrong with it; what it gives is added to `kinds` and `secrets`."""
    sid = f"{function}, {statement.get('Sid')}"
    actions, resource = statement.get("Action"), statement.get("Resource")
    if not set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"} or statement["Effect"] != "Allow" or not isinstance(actions, list):
        yield f"{sid}: not a plain list of what is allowed"
        return
    actions = set(actions)
    writes = WRITES | CHECKS.get(function, set())
    if actions <= READS or actions <= writes:
        how = "read" if actions <= READS else "write"
        if resource != {"Fn::GetAtt": ["Table", "Arn"]}:
            yield f"{sid}: it is about {resource}"
        condition = statement.get("Condition") or {}
        keys = condition.get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", [])
        # ForAllValues alone is true of a request without keys.
        promised = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": keys}, "Null": {"dynamodb:LeadingKeys": "false"}}
        if condition != promised or not keys or not all(re.fullmatch(r"[a-z]+#\*", key) for key in keys):
            yield f"{sid}: its condition is {condition}"
        if kinds[how]:
            yield f"{sid}: a second statement that may {how}, though the keys of a request are judged together"
        kinds[how].update(key[:-2] for key in keys)
    elif actions <= READS_SECRET or actions <= WRITES_SECRET:
        for one in resource if isinstance(resource, list) else [resource]:
            if set(one) != {"Ref"}:
                yield f"{sid}: it is about {one}"
            else:
                secrets.setdefault(one["Ref"], set()).add("read" if actions <= READS_SECRET else "write")
    elif actions == MAKES_SECRETS:
        if resource != [MIRRORED]:
            yield f"{sid}: it is about {resource}"
        secrets.setdefault("mirrored", set()).add("make")
    elif actions == LISTS_SECRETS:
        secrets.setdefault("mirrored", set()).add("list")
    elif actions <= LOGS:
        if resource != {"Fn::GetAtt": [f"{logical}Log", "Arn"]}:
            yield f"{sid}: it is about {resource}"
    else:
        known = READS | WRITES | READS_SECRET | WRITES_SECRET | MAKES_SECRETS | LISTS_SECRETS | LOGS
        yield f"{sid}: actions that nobody needs, or in one statement that are two: {sorted(actions - known) or sorted(actions)}"


def functions_as_promised(names, functions, resources):
    for function, name in names.items():
        properties = functions[name]
        if (properties["Runtime"], properties["Handler"], properties["Timeout"]) != ("provided.al2023", "bootstrap", TIMEOUTS[function]):
            yield f"{name}: runtime, handler or timeout"
        if resources[name]["Metadata"] != {"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": "gatemint-lambda"}}:
            yield f"{name}: it is built otherwise than the others, so SAM builds twice"
        unknown = set(properties["Environment"]["Variables"]) - SETTINGS
        if unknown:
            yield f"{name}: settings that the code does not know: {unknown}"
        for setting, told in SETTINGS_OF.items():
            if (setting in properties["Environment"]["Variables"]) != (function in told):
                yield f"{name}: it is told {setting} and does not need it, or the reverse"
        log = f"{name}Log"
        if properties["LoggingConfig"] != {"LogGroup": {"Ref": log}} or "RetentionInDays" not in resources[log]["Properties"]:
            yield f"{name}: its log lines are kept for ever, or elsewhere"
        kept = ("RetainExceptOnCreate", "Retain") if function in AUDITED else ("Delete", "Delete")
        if (resources[log].get("DeletionPolicy"), resources[log].get("UpdateReplacePolicy")) != kept:
            yield f"{log}: what happens to it when the stack is deleted"


def state_as_promised(whole, of):
    resources = whole["Resources"]
    for name in ("Table", "SigningSecret", "RefreshSecret"):
        if (resources[name].get("DeletionPolicy"), resources[name].get("UpdateReplacePolicy")) != ("RetainExceptOnCreate", "Retain"):
            yield f"{name} does not outlive the stack"
    table = resources["Table"]["Properties"]
    promised = {
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        "SSESpecification": None,  # a key in KMS, of which each use is charged; without it DynamoDB encrypts with its own
    }
    for key, value in promised.items():
        if table.get(key) != value:
            yield f"the table's {key} is {table.get(key)}"
    if any("Index" in key for key in table):
        yield "the table has an index"
    signing, refresh = resources["SigningSecret"]["Properties"], resources["RefreshSecret"]["Properties"]
    generated = {"SecretStringTemplate": '{"v":1,"id":1}', "GenerateStringKey": "secret", "PasswordLength": 64, "ExcludePunctuation": True}
    if signing.get("SecretString") != '{"gatemint":"empty"}' or refresh.get("GenerateSecretString") != generated:
        yield "the secrets begin otherwise, or changed: CloudFormation would write that over living keys"
    rotations = [one for one in resources.values() if one["Type"] == "AWS::SecretsManager::RotationSchedule"]
    expected = {
        "Type": "AWS::SecretsManager::RotationSchedule",
        # It calls the function at once, which needs its rights, and Secrets Manager the right to call it.
        "DependsOn": ["RotateKeysPermission", "RotateKeysRole"],
        "Properties": {
            "SecretId": {"Ref": "SigningSecret"},
            "RotationLambdaARN": {"Fn::GetAtt": ["RotateKeys", "Arn"]},
            "RotationRules": {"AutomaticallyAfterDays": 30},
            "RotateImmediatelyOnUpdate": True,
        },
    }
    if rotations != [expected]:
        yield f"the rotations are {rotations}"
    # Unset, X-Forwarded-Proto, which API Gateway adds, would be of another family than every proxy's but one.
    families = whole["Parameters"]["ForwardHeaders"]
    if (families["Default"], families["AllowedValues"]) != ("nginx", FAMILIES):
        yield f"whose headers count at /auth/verify: {families}"
    if whole["Parameters"]["TokenReservedConcurrency"]["Default"] != "" or whole["Parameters"]["Architecture"]["Default"] != "arm64":
        yield "the defaults of reserved concurrency and architecture"
    yield from (f"the parameter {name} is not described" for name, one in whole["Parameters"].items() if len(one.get("Description", "")) < 20)


def mirror_as_promised(whole, of):
    """Where nobody mirrors tokens nothing of it is there; where somebody does, a run is asked for every two minutes, and once."""
    resources = whole["Resources"]
    conditions = {name: resource.get("Condition") for name, resource in resources.items()}
    found = {condition: {name for name, has in conditions.items() if has == condition} for condition in ("HasMirror", "HasMirrorAlarms")}
    if found != {"HasMirror": MIRROR, "HasMirrorAlarms": MIRROR_ALARMS}:
        yield f"what there is for mirrored tokens, and only for them: {found}"
    if whole["Parameters"]["MirrorTokens"]["Default"] != "off" or whole["Conditions"]["HasMirror"] != {"Fn::Equals": [{"Ref": "MirrorTokens"}, "on"]}:
        yield "tokens are mirrored unasked"
    if whole["Conditions"]["HasMirrorAlarms"] != {"Fn::And": [{"Condition": "HasMirror"}, {"Condition": "HasAlarms"}]}:
        yield "alarms about mirrored tokens: when there are any"
    once = {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}
    target = {"Id": "refresh-secrets", "Arn": {"Fn::GetAtt": ["RefreshSecrets", "Arn"]}, "RetryPolicy": once}
    rules = [{key: value for key, value in one.items() if key != "Description"} for one in of("AWS::Events::Rule").values()]
    if rules != [{"ScheduleExpression": "rate(2 minutes)", "State": "ENABLED", "Targets": [target]}]:
        yield f"the schedules are {rules}"
    invoked = [{key: one.get(key) for key in once} for one in of("AWS::Lambda::EventInvokeConfig").values()]
    if invoked != [once]:
        yield f"a run that failed is tried again by itself: {invoked}"


def births(value):
    """Every `Birth` that a Sub is given, wherever it is."""
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from births(inner)
    if isinstance(value, dict) and "Birth" in value:
        yield value["Birth"]


def names_agree(template):
    """The functions' vault, the secrets' names and the settings that operators paste are about the same two secrets."""
    if list(births(template)) != [BIRTH] * 5:
        yield f"the names hold different pieces of the stack's id: {list(births(template))}"
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    named = {
        "the functions' vault": (variables["GATEMINT_VAULT"], f"secretsmanager:{VAULT}"),
        "SigningSecret": (template["Resources"]["SigningSecret"]["Properties"].get("Name"), f"{VAULT}/{SIGNING}"),
        "RefreshSecret": (template["Resources"]["RefreshSecret"]["Properties"].get("Name"), f"{VAULT}/{REFRESH}"),
    }
    for what, (name, text) in named.items():
        if name != {"Fn::Sub": [text, {"Birth": BIRTH}]}:
            yield f"{what} has another name than where it is looked for: {name}"
    if f" GATEMINT_VAULT=secretsmanager:{VAULT} " not in template["Outputs"]["Settings"]["Value"]["Fn::Sub"][0]:
        yield "operators are told another name than where the secrets are"


def alarms_as_promised(whole, of):
    written, counted_ = [], []
    for name, alarm in of("AWS::CloudWatch::Alarm").items():
        if whole["Resources"][name].get("Condition") != ("HasMirrorAlarms" if name in MIRROR_ALARMS else "HasAlarms"):
            yield f"{name} costs money unasked"
        dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
        if alarm["Namespace"] == "gatemint":
            written.append(dimensions)
            if alarm["MetricName"] not in METRICS or dimensions not in WRITTEN:
                yield f"{name}: nobody writes that metric with {dimensions}"
        elif alarm["Namespace"] == "AWS/Lambda":
            counted_.append((alarm["MetricName"], dimensions.get("FunctionName", {}).get("Ref")))
    if sorted(counted_) != sorted(COUNTED) or len(written) != len(WRITTEN) or whole["Parameters"]["Alarms"]["Default"] != "off":
        yield f"the alarms are on by default, or others than promised: {counted_}, {written}"
    missed = of("AWS::CloudWatch::Alarm").get("MirrorMissedAlarm", {})
    if (missed.get("ComparisonOperator"), missed.get("TreatMissingData")) != ("LessThanThreshold", "breaching"):
        yield "a schedule that does nothing is no alarm"
    if "gatemint key rotate" not in of("AWS::CloudWatch::Alarm").get("RotationFailedAlarm", {}).get("AlarmDescription", ""):
        yield "the alarm about rotations does not say what to do"


def leads_to(routes, method, path):
    """The integration that a request's route has: a whole match before a greedy one, literal parts before variables. A greedy
    variable is content with a slash alone; a route that ends with a slash is refused."""
    found = []
    for key, target in routes.items():
        verb, _, pattern = key.partition(" ")
        if not pattern or verb not in ("ANY", method):
            continue
        parts = [re.escape(part) if "{" not in part else ".*" if part.endswith("+}") else "[^/]+" for part in pattern.split("/")]
        if re.fullmatch("/".join(parts), path):
            found.append(("+}" not in pattern, sum("{" not in part for part in pattern.split("/")), verb != "ANY", target))
    return max(found)[3] if found else routes.get("$default")


def api_as_promised(names, of):
    (api,), (stage,) = of("AWS::ApiGatewayV2::Api").values(), of("AWS::ApiGatewayV2::Stage").values()
    if {"Body", "BodyS3Location", "CorsConfiguration"} & set(api):
        yield "the API has a body, or answers OPTIONS by itself"
    settings = stage["DefaultRouteSettings"]
    if (stage["StageName"], stage["AutoDeploy"]) != ("$default", True) or not {"ThrottlingRateLimit", "ThrottlingBurstLimit"} <= set(settings):
        yield "the stage"
    text = stage["AccessLogSettings"]["Format"]
    said = set(re.findall(r"\$context\.([A-Za-z.]+)", text))
    if "\n" in text or not isinstance(json.loads(text), dict) or any(word in name.lower() for name in said for word in ("path", "query", "header")):
        yield f"the access log holds what callers write: {sorted(said)}"
    routes = {}
    for name, route in of("AWS::ApiGatewayV2::Route").items():
        integration = list(references(route["Target"]))
        if route["RouteKey"].endswith("/") or route.get("AuthorizationType", "NONE") != "NONE" or route["RouteKey"] in routes or len(integration) != 1:
            yield f"the route {name}"
        routes[route["RouteKey"]] = integration[0]
    to = {}
    permissions = of("AWS::Lambda::Permission").values()
    permitted = {list(references(one["FunctionName"]))[0]: one for one in permissions}
    for name, one in of("AWS::ApiGatewayV2::Integration").items():
        to[name] = list(references(one["IntegrationUri"]))[0]
        if one["PayloadFormatVersion"] != "2.0":
            yield f"the integration {name}: not payload 2.0"
    if sorted(permitted) != sorted(PERMISSIONS) or len(permissions) != len(PERMISSIONS):
        yield f"not permitted, or twice: {sorted(permitted)} ({len(permissions)})"
    for name, one in permitted.items():
        if one != {"Action": "lambda:InvokeFunction", "FunctionName": {"Ref": name}, **PERMISSIONS.get(name, {})}:
            yield f"{name}: others may call it, or who should may not: {one}"
    for path, methods in ROUTES.items():
        concrete = re.sub(r"\{[^}]+\}", "x", path)
        owner = next((function for pattern, function in OWNERS if re.fullmatch(pattern, concrete)), None)
        for method in [*map(str.upper, methods), "OPTIONS", "PUT"]:
            target = to.get(leads_to(routes, method, concrete))
            if owner is None or target != names[owner]:
                yield f"{method} {path} leads to {target}, and {owner} serves it"
    if to.get(leads_to(routes, "GET", "/nowhere")) != names["discovery"]:
        yield "an unknown path does not get its 404 from discovery"
    (authorizer,) = of("AWS::ApiGatewayV2::Authorizer").values()
    if authorizer.get("IdentitySource") or authorizer["AuthorizerResultTtlInSeconds"] != 0 or not authorizer["EnableSimpleResponses"]:
        yield "the authorizer's answers are kept, or it is not asked about every request"


def nothing_said(whole, of):
    """No secret leaves by an output or an environment variable."""
    text = json.dumps([whole.get("Outputs"), [one["Environment"] for one in of("AWS::Lambda::Function").values()]])
    if "resolve:" in text or {"SigningSecret", "RefreshSecret"} & set(references(json.loads(text))):
        yield "a secret is told"
    if not {"Url", "AuthorizerArn", "FirstAdmin", "FirstToken"} <= set(whole["Outputs"]):
        yield "outputs are missing"


def statement(template, function, sid):
    (policy,) = template["Resources"][f"{function}Role"]["Properties"]["Policies"]
    return next(one for one in policy["PolicyDocument"]["Statement"] if one["Sid"] == sid)


def properties(template, name):
    return template["Resources"][name]["Properties"]


# One thing each, and a word of the sentence that has to be found.
DAMAGES = [
    ("cycle", lambda t: properties(t, "Api").update(Description={"Fn::Sub": "${Token.Arn}"})),
    ("cycle", lambda t: t["Resources"]["Table"].update(DependsOn="TokenRole")),
    ("actions", lambda t: statement(t, "Token", "ReadRows")["Action"].append("dynamodb:*")),
    ("actions", lambda t: statement(t, "Admin", "ReadRows")["Action"].append("dynamodb:Scan")),
    ("actions", lambda t: statement(t, "Admin", "WriteRows")["Action"].append("dynamodb:UpdateItem")),
    ("actions", lambda t: statement(t, "Discovery", "ReadRows")["Action"].append("dynamodb:PutItem")),
    ("actions", lambda t: statement(t, "RefreshSecrets", "WriteMirroredSecrets")["Action"].append("secretsmanager:GetSecretValue")),
    ("actions", lambda t: statement(t, "RefreshSecrets", "ListSecrets")["Action"].append("secretsmanager:BatchGetSecretValue")),
    ("plain list", lambda t: statement(t, "Token", "ReadRows").update(Action="*")),
    ("plain list", lambda t: statement(t, "Token", "ReadRows").update(NotAction=["dynamodb:Scan"])),
    ("about", lambda t: statement(t, "Token", "ReadRows").update(Resource="*")),
    ("about", lambda t: statement(t, "Discovery", "WriteLog").update(Resource="*")),
    ("about", lambda t: statement(t, "RotateKeys", "WriteSigningSecret").update(Resource=[{"Fn::Sub": "arn:x:${AWS::StackName}*"}])),
    ("about", lambda t: statement(t, "RefreshSecrets", "WriteMirroredSecrets").update(Resource="*")),
    ("about", lambda t: statement(t, "RefreshSecrets", "WriteMirroredSecrets")["Resource"][0]["Fn::Sub"].__setitem__(0, "arn:x:${AWS::StackName}-${Birth}*")),
    ("condition", lambda t: statement(t, "Token", "WriteRows").pop("Condition")),
    ("condition", lambda t: statement(t, "Token", "ReadRows")["Condition"]["ForAllValues:StringLike"].update({"dynamodb:LeadingKeys": ["*"]})),
    ("condition", lambda t: statement(t, "Discovery", "ReadRows")["Condition"].pop("Null")),
    ("condition", lambda t: statement(t, "Admin", "WriteRows")["Condition"]["Null"].update({"dynamodb:LeadingKeys": "true"})),
    ("condition", lambda t: statement(t, "Token", "ReadRows")["Condition"].update({"Bool": {"aws:SecureTransport": "true"}})),
    ("kinds", lambda t: keys_of(t, "Token", "WriteRows").append("keys#*")),
    ("kinds", lambda t: keys_of(t, "Token", "WriteRows").remove("fresh#*")),
    ("kinds", lambda t: keys_of(t, "Gate", "WriteRows").append("fresh#*")),
    ("kinds", lambda t: keys_of(t, "Authorizer", "ReadRows").remove("fresh#*")),
    ("kinds", lambda t: keys_of(t, "RefreshSecrets", "ReadRows").append("session#*")),
    ("kinds", lambda t: keys_of(t, "RefreshSecrets", "WriteRows").append("account#*")),
    ("kinds", lambda t: keys_of(t, "Authorizer", "ReadRows").remove("session#*")),
    ("kinds", lambda t: keys_of(t, "Discovery", "ReadRows").append("account#*")),
    ("kinds", lambda t: keys_of(t, "Token", "ReadRows").append("gate#*")),
    ("kinds", lambda t: keys_of(t, "Token", "WriteRows").remove("gate#*")),
    ("kinds", lambda t: keys_of(t, "Gate", "WriteRows").append("session#*")),
    ("kinds", lambda t: keys_of(t, "Gate", "ReadRows").remove("perm#*")),
    ("kinds", lambda t: keys_of(t, "Gate", "ReadRows").append("throttle#*")),
    ("kinds", lambda t: keys_of(t, "Gate", "WriteRows").append("sa#*")),
    ("kinds", lambda t: keys_of(t, "Gate", "WriteRows").append("perm#*")),
    ("kinds", lambda t: keys_of(t, "Gate", "WriteRows").remove("used#*")),
    ("kinds", lambda t: keys_of(t, "Gate", "ReadRows").remove("names#*")),
    ("kinds", lambda t: keys_of(t, "Token", "ReadRows").append("sa#*")),
    ("kinds", lambda t: keys_of(t, "Admin", "WriteRows").remove("sa#*")),
    ("kinds", lambda t: keys_of(t, "Admin", "WriteRows").append("keys#*")),
    ("kinds", lambda t: keys_of(t, "Authorizer", "ReadRows").remove("sa#*")),
    ("kinds", lambda t: keys_of(t, "Authorizer", "ReadRows").remove("gate#*")),
    ("kinds", lambda t: policy_of(t, "Authorizer").append(statement(t, "Gate", "WriteRows"))),
    ("nobody needs", lambda t: statement(t, "Gate", "WriteRows")["Action"].append("dynamodb:ConditionCheckItem")),
    ("secrets", lambda t: statement(t, "Token", "ReadSecrets")["Resource"].pop()),
    ("secrets", lambda t: statement(t, "RotateKeys", "ReadSigningSecret")["Resource"].append({"Ref": "RefreshSecret"})),
    ("secrets", lambda t: policy_of(t, "Discovery").append(statement(t, "Token", "ReadSecrets"))),
    ("secrets", lambda t: statement(t, "Gate", "ReadSigningSecret")["Resource"].append({"Ref": "RefreshSecret"})),
    ("secrets", lambda t: policy_of(t, "Gate").remove(statement(t, "Gate", "ReadSigningSecret"))),
    ("secrets", lambda t: policy_of(t, "Gate").append(statement(t, "RotateKeys", "WriteSigningSecret"))),
    ("secrets", lambda t: policy_of(t, "Admin").remove(statement(t, "Admin", "ReadSigningSecret"))),
    ("secrets", lambda t: statement(t, "Admin", "ReadSigningSecret")["Resource"].append({"Ref": "RefreshSecret"})),
    ("secrets", lambda t: policy_of(t, "Authorizer").append(statement(t, "RotateKeys", "ReadSigningSecret"))),
    ("secrets", lambda t: policy_of(t, "Token").append(statement(t, "RotateKeys", "WriteSigningSecret"))),
    ("secrets", lambda t: policy_of(t, "Admin").append(statement(t, "RefreshSecrets", "WriteMirroredSecrets"))),
    ("secrets", lambda t: policy_of(t, "Gate").append(statement(t, "RefreshSecrets", "ListSecrets"))),
    ("secrets", lambda t: statement(t, "RefreshSecrets", "ReadSigningSecret")["Resource"].append({"Ref": "RefreshSecret"})),
    ("only for them", lambda t: t["Resources"]["RefreshSecrets"].pop("Condition")),
    ("only for them", lambda t: t["Resources"]["RefreshSecretsRole"].pop("Condition")),
    ("only for them", lambda t: t["Resources"]["Admin"].update(Condition="HasMirror")),
    ("unasked", lambda t: t["Parameters"]["MirrorTokens"].update(Default="on")),
    ("when there are any", lambda t: t["Conditions"].update(HasMirrorAlarms=t["Conditions"]["HasAlarms"])),
    ("schedules are", lambda t: properties(t, "RefreshSecretsSchedule").update(ScheduleExpression="rate(10 minutes)")),
    ("schedules are", lambda t: properties(t, "RefreshSecretsSchedule").update(State="DISABLED")),
    ("schedules are", lambda t: properties(t, "RefreshSecretsSchedule")["Targets"][0].pop("RetryPolicy")),
    ("by itself", lambda t: properties(t, "RefreshSecrets")["EventInvokeConfig"].pop("MaximumRetryAttempts")),
    ("does nothing", lambda t: properties(t, "MirrorMissedAlarm").update(TreatMissingData="notBreaching")),
    ("metric", lambda t: properties(t, "MirrorOldAlarm").update(MetricName="gatemint_mirror_least_seconds")),
    ("role", lambda t: properties(t, "Discovery").update(Role={"Fn::GetAtt": ["TokenRole", "Arn"]})),
    ("role", lambda t: properties(t, "TokenRole").update(ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"])),
    ("take its role", lambda t: properties(t, "TokenRole")["AssumeRolePolicyDocument"]["Statement"][0].update(Principal={"AWS": "*"})),
    ("roles and policies", lambda t: t["Resources"].update(More={"Type": "AWS::IAM::Policy", "Properties": {}})),
    ("timeout", lambda t: properties(t, "Token").update(Timeout=60)),
    ("timeout", lambda t: properties(t, "Authorizer").pop("Timeout")),
    ("timeout", lambda t: properties(t, "RotateKeys").update(Timeout=25)),
    ("timeout", lambda t: properties(t, "RefreshSecrets").pop("Timeout")),
    ("timeout", lambda t: t["Globals"]["Function"].update(Timeout=29)),
    ("settings", lambda t: properties(t, "Token")["Environment"]["Variables"].update(GATEMINT_STOER="x")),
    ("is told", lambda t: properties(t, "Gate")["Environment"]["Variables"].pop("GATEMINT_FORWARD_HEADERS")),
    ("is told", lambda t: properties(t, "Token")["Environment"]["Variables"].pop("GATEMINT_GATE_MAX_LIFE")),
    ("is told", lambda t: t["Globals"]["Function"]["Environment"]["Variables"].pop("GATEMINT_CLUSTER")),
    ("is told", lambda t: properties(t, "Admin")["Environment"]["Variables"].pop("GATEMINT_ORG")),
    ("whose headers", lambda t: t["Parameters"]["ForwardHeaders"].update(Default="forwarded")),
    ("log lines", lambda t: properties(t, "TokenLog").pop("RetentionInDays")),
    ("outlive", lambda t: t["Resources"]["Table"].pop("DeletionPolicy")),
    ("deleted", lambda t: t["Resources"]["TokenLog"].update(DeletionPolicy="Delete")),
    ("deleted", lambda t: t["Resources"]["AdminLog"].pop("DeletionPolicy")),
    ("deleted", lambda t: t["Resources"]["GateLog"].update(DeletionPolicy="Delete")),
    ("deleted", lambda t: t["Resources"]["RotateKeysLog"].update(UpdateReplacePolicy="Delete")),
    ("SSESpecification", lambda t: properties(t, "Table").update(SSESpecification={"SSEEnabled": True})),
    ("TimeToLive", lambda t: properties(t, "Table")["TimeToLiveSpecification"].update(AttributeName="ttl")),
    ("secrets begin", lambda t: properties(t, "SigningSecret").update(SecretString="{}")),
    ("rotations", lambda t: properties(t, "SigningRotation")["RotationRules"].update(AutomaticallyAfterDays=31)),
    ("rotations", lambda t: t["Resources"]["SigningRotation"].pop("DependsOn")),
    ("rotations", lambda t: t["Resources"]["SigningRotation"]["DependsOn"].remove("RotateKeysRole")),
    ("rotations", lambda t: t["Resources"]["SigningRotation"]["DependsOn"].remove("RotateKeysPermission")),
    ("different pieces", lambda t: birth_of(t["Globals"]["Function"]["Environment"]["Variables"]["GATEMINT_VAULT"], 1)),
    ("different pieces", lambda t: birth_of(properties(t, "SigningSecret")["Name"], 1)),
    ("different pieces", lambda t: birth_of(properties(t, "RefreshSecret")["Name"], 1)),
    ("different pieces", lambda t: birth_of(statement(t, "RefreshSecrets", "WriteMirroredSecrets")["Resource"][0], 1)),
    ("different pieces", lambda t: birth_of(t["Outputs"]["Settings"]["Value"], 1)),
    ("another name", lambda t: properties(t, "SigningSecret")["Name"]["Fn::Sub"].__setitem__(0, "${AWS::StackName}-${Birth}/keys/gatemint-secret")),
    ("another name", lambda t: properties(t, "RefreshSecret").update(Name="refresh")),
    ("another name", lambda t: t["Globals"]["Function"]["Environment"]["Variables"].update(GATEMINT_VAULT="secretsmanager:gatemint")),
    ("told another name", lambda t: t["Outputs"]["Settings"]["Value"]["Fn::Sub"].__setitem__(0, "export GATEMINT_VAULT=secretsmanager:${AWS::StackName} ")),
    ("unasked", lambda t: t["Resources"]["ReplayDetectedAlarm"].pop("Condition")),
    ("metric", lambda t: properties(t, "ReplayDetectedAlarm").update(MetricName="gatemint_replays")),
    ("metric", lambda t: properties(t, "ReplayDetectedAlarm")["Dimensions"][0].update(Value="token")),
    ("metric", lambda t: properties(t, "AuthorizerUnavailableAlarm")["Dimensions"][0].update(Value="authorizer")),
    ("than promised", lambda t: t["Resources"].pop("AuthorizerThrottledAlarm")),
    ("than promised", lambda t: properties(t, "RotationFailedAlarm")["Dimensions"][0].update(Value={"Ref": "Token"})),
    ("what to do", lambda t: properties(t, "RotationFailedAlarm").update(AlarmDescription="gatemint: a rotation failed")),
    ("body", lambda t: properties(t, "Api").update(CorsConfiguration={"AllowOrigins": ["*"]})),
    ("access log", lambda t: properties(t, "Stage")["AccessLogSettings"].update(Format='{"path":"$context.path"}')),
    ("leads to", lambda t: properties(t, "OwnPasswordRoute").update(RouteKey="POST /v1/me/password")),
    ("leads to", lambda t: t["Resources"].pop("CertsRoute")),
    ("the route", lambda t: properties(t, "KubernetesVersionRoute").update(RouteKey="ANY /version/")),
    ("leads to", lambda t: t["Resources"].pop("KubernetesCoreResourcesRoute")),
    ("leads to", lambda t: t["Resources"].pop("KubernetesNamespacesRoute")),
    ("leads to", lambda t: t["Resources"].pop("KubernetesRolesRoute")),
    ("leads to", lambda t: t["Resources"].pop("KubernetesTokenReviewsRoute")),
    ("leads to", lambda t: t["Resources"].pop("ApoloServiceAccountsRoute")),
    ("leads to", lambda t: properties(t, "ApoloUsersRoute").update(RouteKey="ANY /api/v1/users/{name}")),
    ("leads to", lambda t: properties(t, "LinksAndVerifyRoute").update(RouteKey="ANY /auth/verify")),
    ("leads to", lambda t: properties(t, "KubernetesGroupResourcesRoute").update(RouteKey="GET /apis/{proxy+}")),
    ("leads to", lambda t: t["Resources"].pop("RefreshTokenDownloadRoute")),
    ("leads to", lambda t: properties(t, "WebhooksRoute").update(Target={"Fn::Sub": "integrations/${GateIntegration}"})),
    ("404", lambda t: t["Resources"].pop("OtherRoute")),
    ("may call", lambda t: properties(t, "TokenPermission").pop("SourceArn")),
    ("may call", lambda t: properties(t, "DiscoveryPermission").update(Principal="*")),
    ("may call", lambda t: properties(t, "AdminPermission").update(SourceArn={"Fn::Sub": "arn:${AWS::Partition}:execute-api:*:*:*"})),
    ("may call", lambda t: properties(t, "AuthorizerPermission").update(SourceArn={"Fn::Sub": OF_THE_API + "*"})),
    ("may call", lambda t: properties(t, "RotateKeysPermission").pop("SourceAccount")),
    ("may call", lambda t: properties(t, "RotateKeysPermission").update(SourceArn={"Ref": "RefreshSecret"})),
    ("may call", lambda t: properties(t, "RotateKeysPermission").update(Principal="apigateway.amazonaws.com")),
    ("twice", lambda t: t["Resources"].update(More=copy.deepcopy(t["Resources"]["TokenPermission"]))),
    ("may call", lambda t: properties(t, "RefreshSecretsPermission").pop("SourceArn")),
    ("not permitted", lambda t: t["Resources"].pop("AdminPermission")),
    ("kept", lambda t: properties(t, "ApiAuthorizer").update(AuthorizerResultTtlInSeconds=300)),
    ("told", lambda t: t["Outputs"]["Url"].update(Value={"Fn::Sub": "{{resolve:secretsmanager:${SigningSecret}}}"})),
    ("told", lambda t: properties(t, "Token")["Environment"]["Variables"].update(GATEMINT_LOG={"Ref": "RefreshSecret"})),
    ("functions are", lambda t: [t["Resources"].pop(name) for name in ("Admin", "AdminIntegration", "AdminPermission", "ResourcesRoute")]),
]


def keys_of(template, function, sid):
    return statement(template, function, sid)["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]


def policy_of(template, function):
    return properties(template, f"{function}Role")["Policies"][0]["PolicyDocument"]["Statement"]


def birth_of(name, piece):
    """Has a name hold another piece of the stack's id."""
    name["Fn::Sub"][1]["Birth"] = {"Fn::Select": [piece, BIRTH["Fn::Select"][1]]}


def main():
    template = yaml_parse((ROOT / "template.yaml").read_text())
    found = list(problems(template))
    check(not found, "\n".join(["template.yaml:", *found]))
    check(KINDS == {"account", "session", "client", "throttle", "gate", "sa", "perm", "used", "site", "fresh", "names", "meta", "keys"}, f"the code has other kinds of rows: {KINDS}")
    statements = [one for function in ("Token", "Discovery", "Gate", "Admin", "Authorizer", "RotateKeys", "RefreshSecrets") for one in policy_of(template, function)]
    routes = sum(len(methods) for methods in ROUTES.values())
    edges = sum(len(list(references(one))) for one in transformed(template)["Resources"].values())
    counted(f"{len(statements)} statements of {len(TABLE)} functions as the table has them")
    counted(f"{routes} routes lead to who serves them; {edges} references without a cycle")
    for word, damage in DAMAGES:
        damaged = copy.deepcopy(template)
        damage(damaged)
        check(damaged != template, f"nothing was damaged: {word}")
        found = list(problems(damaged))
        check(any(word in sentence for sentence in found), f"damaged ({word}), and what is found is: {found}")
    counted(f"{len(DAMAGES)} damaged copies, {len(DAMAGES)} refused")


if __name__ == "__main__":
    sys.exit(main())
