"""AWS's own tools over template.yaml: sam and cfn-lint find nothing, `sam build` and `cargo lambda build` make what is deployed.

Built is for the architecture of this machine, which needs no other Rust target; the artefact's size is printed.
"""

import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TEMPLATE = ROOT / "template.yaml"
GUARDED = ROOT / "tests" / "emulator" / "guarded.yaml"
SAM, CARGO_LAMBDA = (Path(os.environ[name]) / "bin" for name in ("TOOLS_SAM", "TOOLS_CARGO_LAMBDA"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute()
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
# Bytes of a deployment package: what is aimed at, and what would be a mistake (debug symbols, a second SDK).
AIM, MOST = 5_000_000, 8_000_000
BUILD_LIMIT = 25 * 60  # seconds


def counted(text):
    print(f"counted: {text}", flush=True)


def run(*command, limit=120, place=ROOT):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GATEMINT_", "AWS_"))}
    # Nothing is said to AWS, and the artefacts are kept with all others.
    environment.update(SAM_CLI_TELEMETRY="0", AWS_DEFAULT_REGION="us-east-1", CARGO_TARGET_DIR=str(TARGET))
    environment["PATH"] = os.pathsep.join([str(CARGO_LAMBDA), str(SAM), os.environ["PATH"]])
    done = subprocess.run(
        list(map(str, command)), cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit, check=False
    )
    print(done.stdout, flush=True)
    return done.returncode


def lint(path):
    return run("cfn-lint", "--non-zero-exit-code", "informational", "--", path)


def validate(path):
    return run("sam", "validate", "--lint", "--region", "us-east-1", "--template-file", path)


def linted():
    resources = 0
    for path, judges in ((TEMPLATE, (lint, validate)), (GUARDED, (lint,))):
        text = path.read_text()
        resources += len(re.findall(r"^    Type: *AWS::\S+", text, re.MULTILINE))
        damaged, damages = re.subn(r"^(    Type: *AWS::\w+::\w+)", r"\1x", text, count=1, flags=re.MULTILINE)
        with tempfile.TemporaryDirectory(prefix="gatemint-") as place:
            copy = Path(place) / "template.yaml"
            copy.write_text(damaged)
            for judge in judges:
                if judge(path) != 0:
                    sys.exit(f"{judge.__name__} finds something in {path.name}")
                if damages != 1 or judge(copy) == 0:
                    sys.exit(f"{judge.__name__} accepts a resource of a type that does not exist: this test proves nothing")
    counted(f"{resources} resources, nothing found by cfn-lint and sam validate; 3 damaged copies refused")


def zipped(bootstrap):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.write(bootstrap, "bootstrap")
    return len(packed.getvalue())


def small_enough(size, what):
    if not 0 < size <= MOST:
        sys.exit(f"{what} is {size} bytes, and more than {MOST} is a mistake")


def built_by_sam():
    place = TARGET / "sam"
    shutil.rmtree(place / "build", ignore_errors=True)
    command = ["sam", "build", "--template-file", TEMPLATE, "--build-dir", place / "build", "--base-dir", ROOT]
    # The source is left as it was, but for what cargo puts into its target directory.
    if run(*command, "--parameter-overrides", f"Architecture={ARCHITECTURE}", limit=BUILD_LIMIT, place=ROOT) != 0:
        sys.exit("sam build failed")
    # Functions with the same code and the same build are built once, and each gets a copy.
    built = sorted((place / "build").glob("*/bootstrap"))
    functions = TEMPLATE.read_text().count("Type: AWS::Serverless::Function")
    if len(built) != functions or len({file.read_bytes() for file in built}) != 1:
        sys.exit(f"sam built {built}, and there are {functions} functions")
    size = zipped(built[0])
    small_enough(size, "what sam built")
    counted(f"{size:,} bytes is what `sam build` made for each of {functions} functions on {ARCHITECTURE}, zipped; {AIM:,} are aimed at")


def built_by_cargo_lambda():
    command = ["cargo", "lambda", "build", "--release", "--locked", "--bin", "gatemint-lambda", "--output-format", "zip"]
    if run(*command, *(["--arm64"] if ARCHITECTURE == "arm64" else []), limit=BUILD_LIMIT) != 0:
        sys.exit("cargo lambda build failed")
    package = TARGET / "lambda" / "gatemint-lambda" / "bootstrap.zip"
    with zipfile.ZipFile(package) as archive:
        if archive.namelist() != ["bootstrap"]:
            sys.exit(f"the package holds {json.dumps(archive.namelist())}")
    small_enough(package.stat().st_size, "what cargo-lambda packed")
    counted(f"{package.stat().st_size:,} bytes is the zip of `cargo lambda build --release` for {ARCHITECTURE}")


linted()
built_by_sam()
built_by_cargo_lambda()
