"""ministack, with what a token service from a template needs beyond it. Run it in place of the command `ministack`.

ministack 1.5.33 runs a template's functions as processes of this machine, puts an HTTP API in front of them, and, with
AUTH=true, judges every call by the caller's policies. Each patch below mends one thing that it does otherwise than AWS, says
which, and refuses to start where ministack has changed under it: the version is pinned, and a patch that no longer fits would
test nothing.

Settings are ministack's own, from the environment: GATEWAY_PORT, BIND_HOST, MINISTACK_HOST, AUTH, AWS_*.
"""

import contextlib
import http.server
import inspect
import json
import os
import subprocess
import threading
import time
import types
import uuid

import botocore.session
from ministack import app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.services import apigateway, secretsmanager
from ministack.services.cloudformation import provisioners

RESOURCES = provisioners._RESOURCE_HANDLERS


def main():
    for mend in (
        an_api_has_all_its_paths,
        options_reach_the_function,
        requests_have_the_headers_of_an_api,
        an_authorizer_may_have_no_identity_source,
        an_authorizer_may_say_unauthorized,
        leading_keys_are_judged,
        a_table_has_its_time_to_live,
        a_secret_is_referred_to_by_its_arn,
        a_rotation_calls_its_function,
        answers_come_at_once,
        functions_give_way,
    ):
        mend()
    app.main()


def in_background(service, what):
    """Does something with a client of this very emulator, as its owner, while the request that asked for it goes on."""
    endpoint = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
    client = botocore.session.get_session().create_client(service, region_name=os.environ["AWS_REGION"], endpoint_url=endpoint)
    threading.Thread(target=what, args=(client,), daemon=True).start()


def an_api_has_all_its_paths():
    """What is sent to an API's host is for that API; ministack takes /oauth2/token at every host for its Cognito's."""
    for name in ("_handle_cognito_get_request", "_handle_cognito_body_request"):
        cognito = getattr(app, name, None)
        expect(cognito and app._parse_execute_api_url, name)

        async def elsewhere(method, path, headers, *rest, cognito=cognito):
            if app._parse_execute_api_url(headers.get("host", ""), path) is not None:
                return None
            return await cognito(method, path, headers, *rest)

        setattr(app, name, elsewhere)


def options_reach_the_function():
    """An API without a CORS configuration hands OPTIONS on to the route; ministack answers every OPTIONS by itself."""
    source = inspect.getsource(apigateway._handle_execute_in_scope)
    mended = source.replace('if method == "OPTIONS":', 'if method == "OPTIONS" and cors_cfg:')
    expect(mended != source, "the place where OPTIONS is answered")
    exec(mended, apigateway.__dict__)


def requests_have_the_headers_of_an_api():
    """In payload format 2.0 cookies are a list of their own, and an API adds what it knows of the connection; ministack hands
    the caller's headers on as they are."""

    def event_headers(headers):
        cookies = [cookie.strip() for cookie in headers.get("cookie", "").split(";") if cookie.strip()]
        rest = {name: value for name, value in headers.items() if name != "cookie"}
        added = {"x-forwarded-for": "127.0.0.1", "x-forwarded-port": "443", "x-forwarded-proto": "https"}
        return {**({"cookies": cookies} if cookies else {}), "headers": {**rest, **added}}

    apigateway.event_headers = event_headers
    for name in ("_authorize_request_v2", "_invoke_lambda_proxy"):
        before, place, after = inspect.getsource(getattr(apigateway, name)).rpartition('"headers": dict(headers),')
        expect(place and '"version": "2.0"' in before, f"the headers in an event of {name}")
        exec(f"{before}**event_headers(headers),{after}", apigateway.__dict__)


def an_authorizer_may_have_no_identity_source():
    """A REQUEST authorizer that names no identity source is asked about every request; ministack makes up the header
    Authorization, and refuses a request without it unasked."""
    handlers = RESOURCES["AWS::ApiGatewayV2::Authorizer"]
    made = handlers["create"]

    def create(logical_id, properties, stack):
        if properties.get("AuthorizerType") == "REQUEST":
            properties = {"IdentitySource": [], **properties}
        return made(logical_id, properties, stack)

    handlers["create"] = create


class Unauthorized(Exception):
    """An authorizer has said so."""


def an_authorizer_may_say_unauthorized():
    """A Lambda authorizer that fails with the one word `Unauthorized` makes a 401; ministack makes a 500 of every error."""

    def refuse_if_unauthorized(result):
        body = (result or {}).get("body")
        with contextlib.suppress(TypeError, ValueError):
            body = json.loads(body)
        if isinstance(body, dict) and body.get("errorMessage") == "Unauthorized":
            raise Unauthorized

    source = inspect.getsource(apigateway._invoke_request_authorizer_lambda)
    place = 'if not result or result.get("error"):\n'
    expect(source.count(place) == 1, "the place where an authorizer has failed")
    apigateway.refuse_if_unauthorized = refuse_if_unauthorized
    exec(source.replace(place, f"{place}        refuse_if_unauthorized(result)\n"), apigateway.__dict__)
    ask = apigateway._authorize_request_v2

    async def authorize(*arguments):
        try:
            return await ask(*arguments)
        except Unauthorized:
            return (401, {"Content-Type": "application/json"}, b'{"message":"Unauthorized"}'), None

    apigateway._authorize_request_v2 = authorize


class ItemAction(str):
    """An action on one item of a transaction, with that item's partition key."""

    leading_keys: list


def leading_keys_are_judged():
    """`dynamodb:LeadingKeys` holds the partition keys that a request names; ministack leaves it out, and a ForAllValues
    condition is true of what is absent, unless a Null condition beside it asks that it is there. All keys of one request are
    judged together, those of a transaction item by item."""
    for owner, name in ((iam_actions, "dynamodb_service_context"), (iam_actions, "dynamodb_transaction_checks"), (iam_evaluator, "enforce")):
        expect(callable(getattr(owner, name, None)), name)
    # A request that names no key: `Null` is what refuses it.
    for present, allowed in ((None, False), (["keys#jwks"], True)):
        expect(iam_evaluator._evaluate_single_condition("Null", present, ["false"]) == allowed, "the condition Null")
    context_of, checks_of, enforce = iam_actions.dynamodb_service_context, iam_actions.dynamodb_transaction_checks, iam_evaluator.enforce

    def text(item):
        return next(iter(item["pk"].values()))

    def keys_of(request):
        """The partition keys of a request on items, whatever its action is."""
        if "Key" in request or "Item" in request:
            yield text(request.get("Key") or request["Item"])
        for table in (request.get("RequestItems") or {}).values():
            for key in table["Keys"] if isinstance(table, dict) else []:
                yield text(key)
        if "KeyConditionExpression" in request:
            # `name = :value`, the partition key first, as the service writes it.
            first = request["KeyConditionExpression"].split(" AND ")[0].strip(" ()").split("=")[1].strip()
            yield next(iter(request["ExpressionAttributeValues"][first].values()))

    def context(body):
        keys = list(keys_of(json.loads(body or b"{}")))
        return {**context_of(body), **({"dynamodb:LeadingKeys": keys} if keys else {})}

    def checks(iam_action, body, region, account_id):
        found = checks_of(iam_action, body, region, account_id)
        if not found:
            return found
        items = [detail for item in json.loads(body)["TransactItems"] for detail in item.values()]
        expect(len(items) == len(found), "one check for each item of a transaction")
        for (action, arn), detail in zip(list(found), items):
            found.append((judged := ItemAction(action), arn))
            judged.leading_keys = list(keys_of(detail))
        return found[len(items) :]

    def judge(access_key_id, iam_action, *arguments, **named):
        if isinstance(iam_action, ItemAction):
            named["service_context"] = {**(named.get("service_context") or {}), "dynamodb:LeadingKeys": iam_action.leading_keys}
        return enforce(access_key_id, iam_action, *arguments, **named)

    iam_actions.dynamodb_service_context = context
    iam_actions.dynamodb_transaction_checks = checks
    iam_evaluator.enforce = judge
    if hasattr(app, "enforce"):
        app.enforce = judge


def a_table_has_its_time_to_live():
    """A table's TimeToLiveSpecification is ignored by ministack's CloudFormation, though its DynamoDB knows it."""
    handlers = RESOURCES["AWS::DynamoDB::Table"]
    made = handlers["create"]

    def create(logical_id, properties, stack):
        name, *rest = made(logical_id, properties, stack)
        if wanted := properties.get("TimeToLiveSpecification"):
            in_background("dynamodb", lambda client: client.update_time_to_live(TableName=name, TimeToLiveSpecification=wanted))
        return name, *rest

    handlers["create"] = create


def a_secret_is_referred_to_by_its_arn():
    """Ref of a secret is its ARN; ministack's is its name, which no policy's Resource can be."""
    handlers = RESOURCES["AWS::SecretsManager::Secret"]
    made, changed, ended = handlers["create"], handlers["update"], handlers["delete"]

    def name_of(physical_id):
        return physical_id.split(":secret:")[1][: -len("-abcdef")] if ":secret:" in physical_id else physical_id

    def create(logical_id, properties, stack):
        _, attributes = made(logical_id, properties, stack)
        return attributes["Id"], attributes

    def update(physical_id, *arguments, **named):
        _, attributes, *rest = changed(name_of(physical_id), *arguments, **named)
        return attributes["Id"], attributes, *rest

    handlers["create"], handlers["update"] = create, update
    handlers["delete"] = lambda physical_id, *arguments, **named: ended(name_of(physical_id), *arguments, **named)


def a_rotation_calls_its_function():
    """RotateSecret makes a version without a value and calls the function four times about it; one that did not come to its
    end is tried again by the next call, which is refused; a RotationSchedule calls RotateSecret. ministack's RotateSecret
    copies the current value and calls nobody, and it has no RotationSchedule."""
    without_a_function, refusal = secretsmanager._rotate_secret, secretsmanager.error_response_json

    def rotate(request):
        _, secret = secretsmanager._resolve(request.get("SecretId"))
        function = request.get("RotationLambdaARN") or (secret or {}).get("RotationLambdaARN")
        if not secret or secret.get("DeletedDate") or not function:
            return without_a_function(request)
        rules = request.get("RotationRules") or secret.get("RotationRules")
        secret.update(RotationLambdaARN=function, RotationEnabled=True, RotationRules=rules)
        versions = secret["Versions"]
        begun = [one for one, version in versions.items() if "AWSPENDING" in version["Stages"] and "AWSCURRENT" not in version["Stages"]]
        token = begun[0] if begun else request.get("ClientRequestToken") or str(uuid.uuid4())
        if not begun:
            for version in versions.values():
                version["Stages"] = [stage for stage in version["Stages"] if stage != "AWSPENDING"]
            versions[token] = {"SecretString": None, "SecretBinary": None, "CreatedDate": int(time.time()), "Stages": ["AWSPENDING"]}

        def steps(client):
            for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
                event = {"Step": step, "SecretId": secret["ARN"], "ClientRequestToken": token}
                answer = client.invoke(FunctionName=function, Payload=json.dumps(event))
                if answer.get("FunctionError"):
                    print(f"rotation {token} failed at {step}: {answer['Payload'].read().decode()}", flush=True)
                    return
            print(f"rotation {token} came to its end", flush=True)

        if request.get("RotateImmediately", True):
            in_background("lambda", steps)
        if begun:
            return refusal("InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.", 400)
        return secretsmanager.json_response({"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token})

    def schedule(logical_id, properties, stack):
        request = {name: properties[name] for name in ("SecretId", "RotationLambdaARN", "RotationRules") if name in properties}
        answer = rotate({**request, "RotateImmediately": properties.get("RotateImmediatelyOnUpdate", True)})
        if answer[0] >= 400:
            raise ValueError(f"{logical_id}: {answer[2]!r}")
        arn = json.loads(answer[2])["ARN"]
        return arn, {"Id": arn}

    secretsmanager._rotate_secret = rotate
    RESOURCES["AWS::SecretsManager::RotationSchedule"] = {"create": schedule, "delete": lambda physical_id, properties: None}


def answers_come_at_once():
    """Nothing of AWS's: an answer of the Runtime API goes out in one piece, and no call waits 50 ms for a log line."""
    http.server.BaseHTTPRequestHandler.wbufsize = -1
    waits = lambda_runtime.Worker._drain_stderr_bounded
    expect(waits.__defaults__ == (0.050, 0.005, 0.250), "how long a call waits for log lines")
    waits.__defaults__ = (0.002, 0.001, 0.250)


def functions_give_way():
    """On AWS no service waits for a processor because functions start. Here they share this machine's, and of 64 that started
    at once on two processors the emulator's answers took up to 10 s, longer than a function waits for DynamoDB."""
    expect(lambda_runtime.subprocess.Popen, "how processes are started")

    def start(*arguments, **named):
        process = subprocess.Popen(*arguments, **named)
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, 19)
        return process

    lambda_runtime.subprocess = types.SimpleNamespace(**{**vars(subprocess), "Popen": start})


def expect(condition, what):
    if not condition:
        raise SystemExit(f"ministack has changed, this was not found: {what}")


if __name__ == "__main__":
    main()
