"""cfn-lint over the template that is deployed, and over a damaged copy, which it must refuse."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent.parent.parent / "template.yaml"


def lint(path):
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--non-zero-exit-code", "informational", "--", str(path)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)


def counted(text):
    print(f"counted: {text}", flush=True)


def main():
    found = lint(TEMPLATE)
    print(found.stdout)
    if found.returncode != 0:
        sys.exit(f"cfn-lint ended with {found.returncode}")
    text = TEMPLATE.read_text()
    resources = re.findall(r"^    Type: *['\"]?(AWS::\S+)", text, re.MULTILINE)
    damaged, damages = re.subn(r"^(    Type: *['\"]?AWS::\w+::\w+)", r"\1x", text, count=1, flags=re.MULTILINE)
    with tempfile.TemporaryDirectory(prefix="gatemint-") as place:
        copy = Path(place) / "template.yaml"
        copy.write_text(damaged)
        if damages != 1 or lint(copy).returncode == 0:
            sys.exit("cfn-lint accepts a resource of a type that does not exist: this test proves nothing")
    counted(f"{len(resources)} resources, nothing found; 1 damaged copy refused")


main()
