"""Apolo's own command line, from PyPI and unmodified, against gatemint: signing in, service accounts, permissions, the guide."""

import os
import re
from pathlib import Path

from apolo_guide import CREATE, GRANT, OWNER, PASSWORD, REVOKE, ROLE, Guide, read_created, walk
from support import Serve, check, counted, equal, password_grant, temporary_directory

TOOL = Path(os.environ["TOOLS_APOLO"]) / "bin" / "apolo"
# It asks the package index for a newer one of itself, and tells its makers what was run. Neither is what is tried here.
OPTIONS = ("--disable-pypi-version-check", "--skip-stats", "--color=no")


def sign_in(guide, token, **variables):
    printed = guide.shell(f"apolo config login-with-token {token} {guide.serve.url}/api/v1", **variables).stdout
    return re.search(r"Logged into \S+ as (\S+), current cluster is default, org is default-org project is janedoe", printed)


def refused(guide, command, words, **variables):
    """A command that fails, and says why."""
    done = guide.shell(command, code=None, **variables)
    check(words in done.stderr, f"{words!r} of {command}: {done.stderr}{done.stdout}")


def service_accounts(guide):
    rows, full, token = read_created(guide.shell(CREATE).stdout)
    equal([rows[f"Default {what}"] for what in ("cluster", "org", "project")], ["default", "default-org", OWNER], "where it leads")
    refused(guide, CREATE, '{"code":"unique","description":"Service Account with such name exists"}')
    refused(guide, "apolo service-account create --name Bad_Name", "Invalid service account name")
    for name in ("test", rows["Id"]):
        shown = guide.shell(f"apolo service-account get {name}").stdout
        check(rows["Id"] in shown and ROLE in shown, f"get {name}: {shown}")
    check(rows["Id"] in guide.shell("apolo service-account ls").stdout, "ls")
    made_up = guide.shell("apolo -q service-account create").stdout.strip()
    check(re.fullmatch(r"[\w+/]+=*", made_up), f"a quiet creation prints the full token alone: {made_up}")
    ids = guide.shell("apolo -q service-account ls").stdout.split()
    check(len(ids) == 2 and rows["Id"] in ids, f"quiet ids: {ids}")
    ids.remove(rows["Id"])
    shown = guide.shell(f"apolo service-account get {ids[0]}").stdout
    check(re.search(r"Role +janedoe/service-accounts/[0-9a-f]{16}\s", shown), f"a name that is made up: {shown}")
    equal(guide.shell(f"apolo service-account rm {ids[0]}").stdout.strip(), f"Service account '{ids[0]}' was successfully removed.", "rm")
    for command in ("get nothing", f"rm {ids[0]}"):
        refused(guide, f"apolo service-account {command}", f"Service account {command.split()[1]} not found")
    return full, token


def permissions(guide):
    # What the owner has as an owner was granted by nobody.
    equal(guide.shell("apolo acl ls").stdout.strip(), "", "what the owner was granted")
    guide.shell(GRANT.replace(" read", " write"))
    check("already has higher permission" in guide.shell(GRANT).stderr, "a grant of less")
    guide.shell(f"apolo acl grant storage:data/x {ROLE} manage")
    shared = [line.split() for line in guide.shell("apolo acl ls --shared").stdout.splitlines()]
    equal(shared, [["job:mytestjob", "write", ROLE], ["storage:data/x", "manage", ROLE]], "what is shared")
    shared = guide.shell("apolo acl ls --shared --full-uri storage://").stdout.split()
    equal(shared, ["storage://default/default-org/janedoe/data/x", "manage", ROLE], "what is shared of a scheme")
    held = guide.shell(f"apolo acl ls job://default/default-org/janedoe -u {ROLE}").stdout.split()
    equal(held, ["job:mytestjob", "write"], "what the service account was granted on the owner's jobs")
    missing = '{"missing":[{"uri":"job://default/default-org/eve/x","action":"manage"}]}'
    refused(guide, f"apolo acl grant job:/eve/x {ROLE} read", missing)
    refused(guide, f"apolo acl grant job://default/other-org/janedoe/x {ROLE} read", "another organisation")
    refused(guide, f"apolo acl grant job://other/default-org/janedoe/x {ROLE} read", "another cluster")
    refused(guide, "apolo acl grant job:x nobody read", "there is no user of that name")
    guide.shell(f"apolo acl revoke storage:data/x {ROLE}")
    guide.shell(REVOKE)
    refused(guide, REVOKE, "Operation has no effect")
    equal(guide.shell("apolo acl ls --shared").stdout.strip(), "", "what is shared in the end")


def as_itself(guide, full, token):
    """The service account at the same command line, signed in in both ways."""
    guide.shell(GRANT)
    homes = [{"HOME": str(guide.place / name)} for name in ("passed", "signed-in")]
    passed = {**homes[0], "APOLO_PASSED_CONFIG": full}
    equal(sign_in(guide, token, **homes[1])[1], ROLE, "as whom a token signs in")
    for home in (passed, homes[1]):
        equal(guide.shell("apolo acl ls", **home).stdout.split(), ["job:mytestjob", "read"], "what it was granted")
        refused(guide, "apolo service-account ls", '{"missing":[{"uri":"serviceaccount://default/janedoe","action":"list"}]}', **home)
        refused(guide, GRANT, "Not enough permissions", **home)
    guide.shell("apolo service-account rm test")
    for home in (passed, homes[1]):
        refused(guide, "apolo acl ls", "no longer", **home)
    refused(guide, f"apolo config login-with-token {token} {guide.serve.url}/api/v1", "Cannot authorize user", HOME=str(guide.place / "late"))


def main():
    with temporary_directory() as place, Serve(place / "data", {"GATEMINT_TRUSTED_PROXIES": "1"}) as serve:
        guide = Guide(place, serve, TOOL, *OPTIONS)
        with guide.proxy:
            access = password_grant(serve.url, OWNER, PASSWORD)["access_token"]
            equal(sign_in(guide, access)[1], OWNER, "as whom a token signs in")
            walk(guide)
            counted(f"{guide.commands} commands of the guide by Apolo's own command line: 401, 403, 200 and 403 again")
            guide.commands = 0
            guide.shell("apolo service-account rm test")
            full, token = service_accounts(guide)
            permissions(guide)
            as_itself(guide, full, token)
            counted(f"{guide.commands} commands more: service accounts, permissions, a service account at the command line")


main()
