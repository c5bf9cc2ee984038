"""A running emulator, and a template in it: what `sam deploy` does to an account, without the SAM command line.

Run as a program, it starts the emulator, deploys template.yaml and waits, for somebody who wants to look around:
`python deploy.py BOOTSTRAP`, in the tool environment `emulator`.
"""

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import boto3
from botocore.config import Config

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REGION = "us-east-1"


class Emulator:
    """ministack on a free port, with every policy in force; ended, with the functions it runs, after the `with` block."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        # What a program needs to use it as the account's owner, whom no policy binds.
        self.owner = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }
        self.home = tempfile.TemporaryDirectory(prefix="gatemint-emulator-")
        self.log = Path(self.home.name) / "ministack.log"

    def __enter__(self):
        # Functions inherit the emulator's environment, so it gets nothing of the caller's.
        environment = {
            **self.owner,
            "PATH": os.environ["PATH"],
            "HOME": self.home.name,
            "TMPDIR": self.home.name,
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "localhost",
            "GATEWAY_PORT": str(self.port),
        }
        with open(self.log, "wb") as log:
            command = [sys.executable, "-B", str(HERE / "stand_in.py")]
            # A group of its own, to which its functions belong.
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.end()
            raise
        return self

    def wait_until_ready(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the emulator ended with {self.process.returncode}: {self.printed()}")
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5):
                    return
            time.sleep(0.05)
        raise AssertionError(f"the emulator was not ready after {seconds} s: {self.printed()}")

    def printed(self):
        return self.log.read_text(errors="replace")

    def client(self, service):
        # An endpoint that answers slowly is asked once: a second question would be a second deed.
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=60, max_pool_connections=80),
        )

    def end(self):
        for ask, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, ask)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                break

    def __exit__(self, kind, *_):
        self.end()
        if kind is not None:
            print(f"--- what the emulator printed last\n{self.printed()[-8000:]}---", file=sys.stderr)
        self.home.cleanup()

    def deploy(self, stack, template, bootstrap=None, parameters=None):
        """Makes a stack of a template file, unchanged but for the place of the code, and returns its outputs."""
        if bootstrap:
            s3 = self.client("s3")
            s3.create_bucket(Bucket="code")
            s3.put_object(Bucket="code", Key=f"{stack}.zip", Body=package(bootstrap))
        formation = self.client("cloudformation")
        formation.create_stack(**request(stack, template, bootstrap, parameters))
        found = self.settled(stack, "CREATE_COMPLETE")
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}

    def update(self, stack, template, parameters):
        """Deploys a stack of functions again, with other parameters."""
        self.client("cloudformation").update_stack(**request(stack, template, True, parameters))
        self.settled(stack, "UPDATE_COMPLETE")

    def settled(self, stack, wanted, seconds=120):
        """The stack, once nothing goes on in it; fails if it has not become what was wanted."""
        formation = self.client("cloudformation")
        deadline = time.monotonic() + seconds
        while "IN_PROGRESS" in (found := formation.describe_stacks(StackName=stack)["Stacks"][0])["StackStatus"]:
            assert time.monotonic() < deadline, f"{stack} is not {wanted} after {seconds} s"
            time.sleep(0.05)
        assert found["StackStatus"] == wanted, f"{stack}: {found['StackStatus']}: {found.get('StackStatusReason')}\n{self.printed()}"
        return found

    def resources(self, stack):
        """What a stack is made of: logical names to physical ones."""
        found = self.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
        return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in found}

    def url(self, api):
        """Where the emulator answers for an API: by its id as the host's name."""
        return f"http://{api}.execute-api.localhost:{self.port}"


def request(stack, template, has_code, parameters):
    """What CloudFormation is asked for."""
    text = Path(template).read_text()
    if has_code:
        # As `sam package` does, which puts an address in the place of a directory.
        text, places = re.subn(r"^( *CodeUri:) \S+$", rf"\1 s3://code/{stack}.zip", text, flags=re.MULTILINE)
        assert places == 1, f"{places} places of code in {template}"
    return {
        "StackName": stack,
        "TemplateBody": text,
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in (parameters or {}).items()],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    }


def package(bootstrap):
    """A deployment package: one executable file."""
    packed = io.BytesIO()
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o755 << 16
    with zipfile.ZipFile(packed, "w") as archive:
        # A debug build is large, and nobody carries it anywhere.
        archive.writestr(entry, Path(bootstrap).read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=1)
    return packed.getvalue()


def main():
    with Emulator() as emulator:
        outputs = emulator.deploy("gatemint", ROOT / "template.yaml", sys.argv[1])
        for name, value in {**outputs, "Here": emulator.url(outputs["ApiId"])}.items():
            print(f"{name}: {value}")
        print("\n".join(f"export {name}={value}" for name, value in emulator.owner.items()), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            emulator.process.wait()


if __name__ == "__main__":
    main()
