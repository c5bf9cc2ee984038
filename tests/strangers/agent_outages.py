"""What `gatemint agent --from secret` does through outages, at real lifetimes: everything here runs under one `faketime`.

Each fault lasts until less than ten minutes are left, which is told; what was there stays, and afterwards there is a fresh
token. Prints what was done, as JSON.
"""

import json
import resource
import sys
from pathlib import Path

import agent as faults
from agent import Agent, Home, is_good, left_in, setpriv
from support import Serve, check, decoded, equal

# A second is an instant here.
faults.PATIENCE = 6000
FRESH, LOW = "a fresh token is in the file", "less than ten minutes left"


class Patient(Serve):
    def wait_until_ready(self, seconds=6000):
        super().wait_until_ready(seconds)

    def end(self):
        self.process.terminate()
        return self.process.wait(6000)


def main():
    place, done = Path(sys.argv[1]), []
    operator = Home(place / "ada")
    serve = Patient(place / "data")
    serve.port, serve.url = int(sys.argv[2]), f"http://127.0.0.1:{sys.argv[2]}"
    files = {user: place / f"kept-{user}" / "token" for user in ("ada", "eve", "joe")}
    for file in files.values():
        file.parent.mkdir()

    def agent(user, *arguments):
        by_file = ["--url", serve.url, "--token-file", str(place / f"{user}.token")]
        return Agent(Home(place / user), *(arguments or by_file), "--from", "secret", "--file", str(files[user]), prefix=setpriv())

    with serve, agent("ada") as full, agent("eve") as read_only, agent("joe", "--url", serve.url) as disabled:
        agents = {"ada": full, "eve": read_only, "joe": disabled}
        for one in agents.values():
            one.until(FRESH)
        before = {user: file.read_text() for user, file in files.items()}
        lives = [claims["exp"] - claims["iat"] for claims in map(decoded, before.values())]
        equal(lives, [1800] * 3, "lives, which are the real ones")
        full.limit(0)
        files["eve"].parent.chmod(0o555)
        operator.run("user", "disable", "joe", "--data", str(serve.data))
        full.until("the file cannot be written.*File too large")
        read_only.until("the file cannot be written.*Permission denied")
        disabled.until("no fresh token was got")
        ats = {user: one.until(LOW) for user, one in agents.items()}
        equal({user: file.read_text() for user, file in files.items()}, before, "what was there stays")
        full.limit(resource.RLIM_INFINITY)
        files["eve"].parent.chmod(0o755)
        operator.run("user", "enable", "joe", "--data", str(serve.data))
        Home(place / "joe").login(serve, "joe")
        for user, what in (("ada", "a full disk"), ("eve", "a read-only directory"), ("joe", "a disabled account")):
            agents[user].until(FRESH, ats[user])
            agents[user].until("every file has a fresh token again", ats[user])
            check(left_in(files[user]) > 600 and is_good(serve, files[user]), f"a good token after {what}")
            done.append(what)
        ats = {user: len(one.told) for user, one in agents.items()}
        before = {user: file.read_text() for user, file in files.items()}
        serve.end()
        ats = {user: one.until(LOW, ats[user]) for user, one in agents.items()}
        equal({user: file.read_text() for user, file in files.items()}, before, "what was there stays")
        serve.__enter__()
        for user, one in agents.items():
            one.until(FRESH, ats[user])
            check(left_in(files[user]) > 600 and is_good(serve, files[user]), f"a good token of {user} after the service was away")
        done.append("a service that is away, three times over")
    print(json.dumps(done))


main()
