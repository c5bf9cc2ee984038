"""The kubectls that there are: the one at hand, and Debian's."""

import json
import shutil
import subprocess

from support import ENVIRONMENT, check

DEBIAN = "v1.20."


def kubectls(place):
    """Name -> program: the one at hand, and Debian's, which is unpacked if the one at hand is another."""
    found = {}
    at_hand = shutil.which("kubectl")
    found[client_version(at_hand)] = at_hand
    if not any(version.startswith(DEBIAN) for version in found):
        command = ["apt-get", "download", "kubernetes-client"]
        download = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        packages = sorted(place.glob("kubernetes-client_*.deb"))
        check(packages, f"Debian's package kubernetes-client cannot be had: {download.stdout}")
        subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(place / "debian")], check=True)
        program = place / "debian" / "usr" / "bin" / "kubectl"
        found[client_version(program)] = program
    return found


def client_version(program):
    text = subprocess.run([str(program), "version", "--client", "-o", "json"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(text)["clientVersion"]["gitVersion"]


class Kubectl:
    """One kubectl with a home and a configuration of its own, in a namespace, as a user of kubectl's configuration."""

    def __init__(self, program, place, url, cert, user, namespace):
        self.program, self.place, self.commands = str(program), place, 0
        place.mkdir()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": str(cert)}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
            "current-context": "x",
        }
        (place / "config").write_text(json.dumps(config))
        (place / "config").chmod(0o600)
        self.environment = {**ENVIRONMENT, "HOME": str(place), "KUBECONFIG": str(place / "config")}

    def run(self, *arguments, stdin=None):
        self.commands += 1
        return subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            input=stdin if stdin is not None else "",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    def __call__(self, *arguments, stdin=None):
        done = self.run(*arguments, stdin=stdin)
        check(done.returncode == 0, f"kubectl {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def refused(self, words, *arguments, stdin=None):
        done = self.run(*arguments, stdin=stdin)
        check(done.returncode != 0, f"kubectl {' '.join(arguments)} was not refused: {done.stdout}")
        check(words in done.stderr, f"kubectl {' '.join(arguments)}: {words!r} is not in {done.stderr!r}")
