#!/usr/bin/env python3
"""Runs a stand-in for AWS, `ministack` or `moto`, on a free loopback port for as long as its own stdin is open.

    run.py ministack|moto ENVIRONMENT

ENVIRONMENT is the Python environment that the emulator is installed in (see TOOLS in tests/run). The first line on
stdout is the endpoint, printed when the emulator is healthy. The end of stdin, a signal, and even a kill end the
emulator, so that a test process that keeps the other end of the pipe can never leave one behind.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PATIENCE = 60  # seconds until it is healthy


def main():
    kind, environment = sys.argv[1], Path(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as home:
        # Somebody else may get the free port first: then another one.
        for attempt in range(3):
            process, endpoint, log = start(kind, environment, Path(home) / str(attempt))
            try:
                if healthy(kind, process, endpoint):
                    print(endpoint, flush=True)
                    while sys.stdin.buffer.read1(4096):
                        pass
                    return 0
            finally:
                end(process)
        sys.stderr.write(log.read_text(errors="replace"))
        return 1


def start(kind, environment, home):
    home.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Nothing of the caller's: no credentials, no proxies, no settings.
    environ = {
        "PATH": f"{environment / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    endpoint = f"http://127.0.0.1:{port}"
    if kind == "ministack":
        # It binds every address unless it is told.
        environ |= {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "MINISTACK_HOST": "127.0.0.1",
            "LOG_LEVEL": "WARNING",
            "AWS_ENDPOINT_URL": endpoint,
        }
        command = [environment / "bin" / "ministack"]
    else:
        command = [environment / "bin" / "python", Path(__file__).with_name("moto_in_turn.py"), str(port)]
    log = home / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=home,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
    return process, endpoint, log


def die_with_parent():
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def healthy(kind, process, endpoint):
    """Waits until the emulator answers; false if it has ended, for want of its port for example."""
    path = "/_ministack/health" if kind == "ministack" else "/moto-api/data.json"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            direct.open(endpoint + path, timeout=5).close()
            return process.poll() is None
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
    return False


def end(process):
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
