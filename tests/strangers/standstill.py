"""How long this machine has stood still: a busy host takes away its processors, or its disk, for seconds at a time, and no
program on it can do anything meanwhile. What is judged by the clock makes allowance for it, and for nothing else."""

import os
import select
import tempfile
import threading
import time


class Standstill:
    """Tries all the time to do what takes no time. Its seconds are those of the clock that this process is shown."""

    def __init__(self, speed=1):
        # What is under way for longer than this counts.
        self.tick, self.slack = 0.05 * speed, 0.3 * speed
        # What has counted, and when it was tried last: always one pair.
        self.so_far = 0.0, time.monotonic()
        threading.Thread(target=self.measure, daemon=True).start()

    def measure(self):
        with tempfile.TemporaryFile() as file:
            while True:
                select.select([], [], [], self.tick)
                os.pwrite(file.fileno(), b"x", 0)
                os.fsync(file.fileno())
                self.so_far = self.seconds(), time.monotonic()

    def seconds(self):
        """So far, with what is under way."""
        counted, last = self.so_far
        under_way = time.monotonic() - last
        return counted + (under_way if under_way > self.slack else 0)
