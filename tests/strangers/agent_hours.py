"""Hours of two agents on one file, in minutes: everything here runs under one `faketime`, whose clocks run faster.

They are killed, one at a time, and begin again. Whenever the token is due, and now and then, the service answers nobody for
up to a minute, or is started again. Prints what the reader has seen, and what was done, as JSON.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import agent as faults
from agent import Home
from standstill import Standstill
from support import BIN, ENVIRONMENT, Serve, check, decoded, equal

READER = [str(Path(os.environ["TOOLS_CLIENTS"]) / "bin" / "python"), "-B", str(Path(__file__).resolve().parent / "agent_reader.py")]
# A second is an instant here, also for a program that starts.
faults.PATIENCE = 6000
SETTINGS = {"GATEMINT_REUSE_WINDOW": "60s"}


class Patient(Serve):
    """The service, waited for as long as it takes: a second is an instant here."""

    def wait_until_ready(self, seconds=6000):
        super().wait_until_ready(seconds)

    def end(self):
        self.process.terminate()
        return self.process.wait(6000)


class Hours:
    """Two agents, each with a home and a login of its own, and what happens to them. Seconds are those of the faster clock."""

    def __init__(self, place, serve, speed):
        self.place, self.serve, self.speed = place, serve, speed
        self.file = place / "token"
        self.random = random.Random(7)
        self.did = {"due": 0, "kills": 0, "stops": 0, "restarts": 0, "logins": 0}
        self.agents, self.begun_at, self.stood_before = {}, {}, {}
        self.machine = Standstill(speed)

    def begin(self, source):
        home = {**ENVIRONMENT, "HOME": str(self.place / source)}
        with open(self.place / f"{source}.log", "ab") as log:
            command = [BIN, "agent", "--file", str(self.file), "--from", source]
            self.agents[source] = subprocess.Popen(command, env=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.begun_at[source] = time.monotonic()

    def rest_of_the_beginning(self):
        """How long one that refreshes still needs to get the answer again that the one before it may have been killed for."""
        return max(0, self.begun_at["refresh-token"] + 75 - time.monotonic())

    def sleep(self, seconds):
        select.select([], [], [], seconds)

    def kill(self):
        source = self.random.choice([source for source in self.agents if source == "secret" or not self.rest_of_the_beginning()])
        self.stood_before[source] = self.machine.seconds()
        self.agents[source].kill()
        self.agents[source].wait()
        self.begin(source)
        self.did["kills"] += 1

    def must_be_at_work(self, source):
        if self.agents[source].poll() is None:
            return
        # Killed in mid-refresh it needs the answer again within a minute, which may be over where the machine stood still.
        told = (self.place / f"{source}.log").read_text()[-3000:]
        stood_still = self.machine.seconds() - self.stood_before.get(source, 0)
        check(source == "refresh-token" and stood_still > 0, f"the agent of {source} has ended: {told}")
        Home(self.place / source).login(self.serve)
        self.begin(source)
        self.did["logins"] += 1

    def stop(self):
        """The service takes every connection, and answers none, for up to a minute."""
        os.kill(self.serve.process.pid, signal.SIGSTOP)
        try:
            self.sleep(self.random.uniform(20, 60))
        finally:
            os.kill(self.serve.process.pid, signal.SIGCONT)
        self.did["stops"] += 1

    def restart(self):
        """The service is away for up to a minute."""
        self.serve.end()
        self.sleep(self.random.uniform(1, 40))
        self.serve.__enter__()
        self.did["restarts"] += 1

    def go_on(self, hours):
        ends = time.monotonic() + hours * 3600
        while time.monotonic() < ends:
            self.sleep(2)
            for source in self.agents:
                self.must_be_at_work(source)
            if decoded(self.file.read_text())["exp"] - time.time() < 725:
                self.random.choice([self.stop, self.restart])()
                self.did["due"] += 1
                self.sleep(60)
                # Now there is a new one, or it is about to come.
                for _ in range(3):
                    self.kill()
                    self.sleep(self.random.uniform(1, 15))
                # Its answers are given again for a minute; nobody can make good what is lost then.
                self.sleep(self.rest_of_the_beginning())
                self.random.choice([self.stop, self.restart])()

    def end(self):
        for agent in self.agents.values():
            agent.terminate()
        return [agent.wait() for agent in self.agents.values()]


def main():
    place, port, speed, hours, sources = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), sys.argv[5:]
    serve = Patient(place / "data", SETTINGS)
    serve.port, serve.url = port, f"http://127.0.0.1:{port}"
    with serve:
        work = Hours(place, serve, speed)
        for source in sources:
            work.begin(source)
        command = [*READER, str(work.file), f"{serve.url}/.well-known/jwks.json", str(speed)]
        reader = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            while not work.file.exists():
                work.sleep(1)
            work.go_on(hours)
            seen = json.loads(reader.communicate("", timeout=6000)[0])
        finally:
            reader.kill()
            reader.wait()
            codes = work.end()
        equal(codes, [0] * len(codes), "how the agents ended")
        print(json.dumps({**seen, **work.did}))


main()
