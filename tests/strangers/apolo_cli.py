"""Apolo's own command line, from PyPI and unmodified, against gatemint: service accounts, permissions, the guide."""

import os
import re
from pathlib import Path

from apolo_guide import CREATE, GRANT, OWNER, PASSWORD, REVOKE, ROLE, Guide, read_created, walk
from support import Serve, check, counted, equal, password_grant, temporary_directory

TOOL = Path(os.environ["TOOLS_APOLO"]) / "bin" / "apolo"
# It asks the package index for a newer one of itself, and tells its makers what was run. Neither is what is tried here.
QUIET = "--disable-pypi-version-check --skip-stats --color=no"


def account(guide):
    """`service-account`, as far as the guide does not go."""
    rows, _, _ = read_created(guide.shell(CREATE).stdout)
    equal(
        [rows["Default cluster"], rows["Default org"], rows["Default project"]], ["default", "default-org", OWNER], "where its token leads"
    )
    taken = guide.shell(CREATE, code=OS_ERROR)
    check("Service Account with such name exists" in taken.stdout + taken.stderr, f"a name that is taken: {taken.stdout}{taken.stderr}")
    for name in ("test", rows["Id"]):
        shown = guide.shell(f"apolo service-account get {name}").stdout
        check(rows["Id"] in shown and ROLE in shown, f"get {name}: {shown}")
    listed = guide.shell("apolo service-account ls").stdout
    check(rows["Id"] in listed and "Default cluster" in listed, f"ls: {listed}")
    equal(guide.shell("apolo -q service-account ls").stdout.split(), [rows["Id"]], "quiet ids")
    missing = guide.shell("apolo service-account get nothing", code=NO_INPUT)
    check("Service account nothing not found" in missing.stdout + missing.stderr, f"nobody: {missing.stdout}{missing.stderr}")
    bad = guide.shell("apolo service-account create --name Bad_Name", code=OS_ERROR)
    check("Invalid service account name" in bad.stdout + bad.stderr, f"a bad name: {bad.stdout}{bad.stderr}")
    return rows
