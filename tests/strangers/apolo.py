"""Apolo's guide to a job behind a sign-in, command by command, with gatemint's own command line as `apolo`."""

import base64
import json

from apolo_guide import CREATE, GRANT, OWNER, PASSWORD, REVOKE, ROLE, Guide, read_created, walk
from support import BIN, Serve, check, counted, decoded, equal, temporary_directory


def with_curl(guide, url):
    """The same over HTTP, as somebody would who has neither command line."""
    access = guide.shell("gatemint token").stdout.strip()
    ask = f"curl -H 'Authorization: Bearer {access}' -H 'Content-Type: application/json' {url}/api/v1"

    def answered(status, command):
        text, _, got = guide.shell(command).stdout.rpartition("\n")
        equal(int(got), status, f"the status of {command.split('/api/v1')[1]} ({text})")
        return json.loads(text) if text else None

    new = json.dumps({"name": "curl", "default_cluster": "default", "default_project": OWNER, "default_org": "default-org"})
    made = answered(201, f"{ask}/service_accounts -d '{new}'")
    fields = ["id", "name", "role", "owner", "default_cluster", "default_project", "default_org", "created_at", "role_deleted", "token", "expires_at"]
    equal(list(made), fields, "the fields of a new service account")
    full = base64.b64decode(made["token"]).decode()
    token = json.loads(full)["token"]
    passed = {"token": token, "cluster": "default", "url": f"{url}/api/v1", "project_name": OWNER, "org_name": "default-org"}
    equal(full, json.dumps(passed), "a full token, as Python writes it")
    equal(decoded(token)["identity"], f"{OWNER}/service-accounts/curl", "the identity in the token")
    check("exp" not in decoded(token), "it ends when it is ended")

    taken = answered(409, f"{ask}/service_accounts -d '{new}'")
    equal(taken, {"code": "unique", "description": "Service Account with such name exists"}, "a name that is taken")
    job = "job://default/default-org/janedoe/mytestjob"
    permissions = f"{ask}/users/{OWNER}:service-accounts:curl/permissions"
    asked = json.dumps([{"uri": job, "action": "read"}])
    equal(answered(403, f"{permissions}/check -d '{asked}'"), {"missing": json.loads(asked)}, "a check before the grant")
    guide.expect(403, token, "before the grant with curl")
    equal(answered(201, f"{permissions} -d '{asked}'"), json.loads(asked), "a grant with curl")
    equal(answered(200, f"{permissions}/check -d '{asked}'"), {"missing": []}, "a check after the grant")
    guide.expect(200, token, "after the grant with curl")
    shared = answered(200, f"{ask}/users/{OWNER}/permissions/shared")
    check({"user": f"{OWNER}/service-accounts/curl", "uri": job, "action": "read"} in shared, f"what is shared: {shared}")
    answered(204, f"{permissions}?uri={job} -X DELETE")
    guide.expect(403, token, "right after the revocation with curl")
    equal(answered(400, f"{permissions}?uri={job} -X DELETE"), {"error": "Operation has no effect"}, "a second revocation")
    # A token's own way: rotated, listed, ended.
    account = f"{ask}/service_accounts/{made['id']}"
    answered(200, f"{account}/rotate -d '{json.dumps({'overlap': 0})}'")
    guide.expect(401, token, "after a rotation without an overlap")
    equal([one["issued_by"] for one in answered(200, f"{account}/tokens")], ["rotation"], "the tokens after a rotation")
    answered(204, f"{account} -X DELETE")
    text, _, status = guide.shell(account).stdout.rpartition("\n")
    equal((int(status), text), (404, f"Service account {made['id']} not found"), "one that is gone")


def told(guide):
    """What the commands say when nothing comes of them, or nothing more than there was."""
    taken = guide.shell(CREATE, code=1)
    check("Service Account with such name exists" in taken.stderr, f"a name that is taken: {taken.stderr}")
    equal(guide.shell("apolo service-account create --name quiet -q").stdout.count("\n"), 1, "the lines of a quiet creation")
    ids = guide.shell("apolo service-account ls -q").stdout.split()
    check(len(ids) == 2 and ids == sorted(ids), f"quiet ids: {ids}")
    guide.shell("apolo service-account rm quiet")
    guide.shell(GRANT)
    higher = guide.shell(GRANT.replace(" read", " write"))
    check("higher" not in higher.stderr, higher.stderr)
    lower = guide.shell(GRANT)
    check("write" in lower.stderr + lower.stdout, f"a grant of less: {lower.stderr}{lower.stdout}")
    shared = guide.shell("apolo acl ls --shared").stdout
    check(ROLE in shared and "mytestjob" in shared, shared)
    guide.shell(REVOKE)
    nothing = guide.shell(REVOKE, code=1)
    check("no effect" in nothing.stderr, f"nothing to revoke: {nothing.stderr}")
    _, full, _ = read_created(guide.shell("apolo service-account rm test && " + CREATE).stdout.partition("\n")[2])
    guide.shell(GRANT)
    for name in ("GATEMINT_PASSED_CONFIG", "APOLO_PASSED_CONFIG", "NEURO_PASSED_CONFIG"):
        own = guide.shell("apolo acl ls", **{"HOME": str(guide.place / "nowhere"), name: full}).stdout
        check("mytestjob" in own and "read" in own, f"what the service account may do, by {name}: {own}")


def main():
    with temporary_directory() as place, Serve(place / "data", {"GATEMINT_TRUSTED_PROXIES": "1"}) as serve:
        guide = Guide(place, serve, BIN)
        guide.shell(f"gatemint login --url {serve.url} --username {OWNER} --password-stdin", stdin=f"{PASSWORD}\n")
        with guide.proxy:
            counted(f"{walk(guide)} commands of the guide, gatemint as `apolo`: 401, 403, 200 and 403 again")
            guide.commands = 0
            told(guide)
            counted(f"{guide.commands} commands that say what came of them")
            guide.commands = 0
            with guide.running():
                with_curl(guide, serve.url)
            counted(f"{guide.commands} commands of the same with curl")


main()
