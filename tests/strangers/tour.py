"""README.md's tours, pasted into a shell in a new home each: every block shows what the README says below it.

`…` in the README stands for what differs from run to run; the address is replaced by a free one, everything else is as written.
"""

import os
import re
import subprocess
import uuid
from pathlib import Path

from support import BIN, ENVIRONMENT, ROOT, check, counted, free_port, temporary_directory


# The sections, each with what must have been done before.
READY = "curl -sS --retry 20 --retry-connrefused http://127.0.0.1:9000/readyz 2>/dev/null >ready"
SERVED = f"gatemint serve --listen 127.0.0.1:9000 > serve.log 2>&1 &\n{READY}"
TOURS = {
    "A tour of the commands": "",
    "Gate tokens and signed links": SERVED,
    "Service accounts": SERVED,
    "Identities for clients outside of a cluster": SERVED,
    "The token that is always fresh": SERVED,
}


def blocks(readme, section):
    """(commands, what they show) of a tour, in order."""
    tour = re.search(rf"^## {section}\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)
    check(tour, f"README.md has the section {section}")
    found = re.findall(r"^```sh\n(.*?)^```\n```text\n(.*?)^```$", tour.group(1), re.MULTILINE | re.DOTALL)
    check(len(found) >= 3 and len(found) == tour.group(1).count("```sh"), "every block of commands is followed by what it shows")
    return found


def shows(expected, actual):
    """Whether the text is what the README shows: `…` alone on a line stands for any lines, within a line for any text."""
    pattern = ""
    for line in expected.rstrip("\n").split("\n"):
        pattern += "(?:.*\n)*?" if line == "…" else re.escape(line.rstrip()).replace("…", ".+").replace(r"\ ", " ") + " *\n"
    return re.fullmatch(pattern, actual)


class Shell:
    """One bash in one directory, that is given a block at a time."""

    def __init__(self, place):
        home = place / "home"
        home.mkdir()
        kept = {key: value for key, value in ENVIRONMENT.items() if not key.startswith("XDG_")}
        path = f"{Path(BIN).parent}:{os.environ['PATH']}"
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], cwd=place, env={**kept, "HOME": str(home), "PATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def paste(self, commands):
        """What the commands print until they are done. (A job's end, and the audit events, are no part of it.)"""
        end = uuid.uuid4().hex
        self.process.stdin.write(f"{commands}\necho {end}\n")
        self.process.stdin.flush()
        printed = ""
        for line in self.process.stdout:
            if line.rstrip("\n") == end:
                return printed
            if '"target":"gatemint::audit"' not in line:
                printed += line
        raise AssertionError(f"the shell ended in {commands}: {printed}")

    def end(self):
        self.process.stdin.write("kill %1 2>/dev/null; wait %1 2>/dev/null; exit\n")
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait(30)


def walked(section, before):
    """Pastes a section; returns how many lines of it."""
    address = f"127.0.0.1:{free_port()}"
    lines = 0
    with temporary_directory() as place:
        shell = Shell(place)
        try:
            shell.paste(before.replace("127.0.0.1:9000", address))
            for commands, expected in blocks((ROOT / "README.md").read_text(), section):
                commands, expected = (text.replace("127.0.0.1:9000", address) for text in (commands, expected))
                printed = shell.paste(commands)
                check(shows(expected, printed), f"README.md shows\n{expected}\nand this was printed:\n{printed}\nby\n{commands}")
                lines += commands.count("\n")
        finally:
            shell.end()
    return lines


def main():
    for section, before in TOURS.items():
        counted(f"{walked(section, before)} lines of README.md pasted from «{section}», and what it shows was shown")


main()
