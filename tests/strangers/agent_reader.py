"""Reads a file a thousand times a second, as a program does that re-reads its token, until its stdin is closed.

Arguments: the file, the service's JWKS, how much faster than usual the clock runs. Prints what it has seen as JSON: how
often it looked, how many tokens, the least life in seconds (as it was, and with the seconds that the machine stood still
while that token was there), and everything that no reader may ever see.
"""

import contextlib
import json
import os
import select
import sys
import time
import urllib.request

import jwt
from standstill import Standstill

PER_SECOND = 1000


class Reader:
    def __init__(self, file, jwks, speed):
        self.file, self.jwks = file, jwks
        self.keys, self.last, self.ends = {}, None, None
        self.machine, self.stood_before = Standstill(speed), 0
        self.seen = {"checks": 0, "tokens": 0, "least_left": None, "least_but_for_standstill": None, "wrong": []}

    def key_of(self, token):
        kid = jwt.get_unverified_header(token)["kid"]
        if kid not in self.keys:
            # Until the service is there: a token can be read while it is away.
            for _ in range(600):
                with contextlib.suppress(OSError), urllib.request.urlopen(self.jwks, timeout=10) as answer:
                    self.keys |= {key.key_id: key for key in jwt.PyJWKSet.from_dict(json.load(answer)).keys}
                    break
                select.select([], [], [], 0.1)
        return self.keys[kid]

    def least(self, name, left):
        if self.seen[name] is None or left < self.seen[name]:
            self.seen[name] = left

    def wrong(self, what):
        if len(self.seen["wrong"]) < 20:
            self.seen["wrong"].append(what)

    def read(self):
        handle = os.open(self.file, os.O_RDONLY)
        try:
            return os.read(handle, 65536)
        finally:
            os.close(handle)

    def look(self):
        self.seen["checks"] += 1
        try:
            text = self.read()
        except FileNotFoundError:
            # Before the first one there is none.
            if self.last is not None:
                self.wrong("there is no file any more")
            return
        if text != self.last:
            self.last, self.ends, self.stood_before = text, None, self.machine.seconds()
            try:
                token = text.decode()
                claims = jwt.decode(
                    token, self.key_of(token), algorithms=["ES256"], options={"verify_exp": False, "verify_aud": False, "verify_nbf": False, "verify_iat": False}
                )
                self.ends = claims["exp"]
                self.seen["tokens"] += 1
            except Exception as why:  # whatever it is, no reader may see it
                self.wrong(f"{len(text)} bytes that are no token of the service: {why!r}")
        if self.ends is not None:
            left = self.ends - time.time()
            self.least("least_left", left)
            self.least("least_but_for_standstill", left + self.machine.seconds() - self.stood_before)


def main():
    file, jwks, speed = sys.argv[1], sys.argv[2], float(sys.argv[3])
    reader, period = Reader(file, jwks, speed), speed / PER_SECOND
    begun = time.monotonic()
    looks = 0
    while True:
        reader.look()
        looks += 1
        # What was late is caught up with.
        wait = begun + looks * period - time.monotonic()
        if (wait > 0 or looks % 100 == 0) and select.select([sys.stdin], [], [], max(wait, 0))[0]:
            break
    reader.seen |= {"seconds": time.monotonic() - begun, "stood_still": reader.machine.seconds()}
    print(json.dumps(reader.seen))


main()
