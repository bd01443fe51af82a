"""Work that a service does beside its requests: a queue of small jobs and the thread that empties it.

A nightly import floods it for a moment; customers do not notice.
"""

import queue
import threading
import time
from typing import Protocol

from demo.servicelog import LogFile

JOBS_PER_SECOND = 60
PAUSE_SECONDS = 3.0


class Gauge(Protocol):
    """What shows how many jobs wait."""

    def set(self, value: float) -> None:
        """Show ``value``."""


class Housekeeping:
    """The queue of one service."""

    def __init__(self, depth: Gauge, log: LogFile) -> None:
        self._depth = depth
        self._log = log
        self._jobs: queue.Queue[int] = queue.Queue()

    def flood(self, jobs: int, times: int) -> None:
        """Let ``times`` batches of ``jobs`` come in, each when the one before is done."""
        threading.Thread(target=self._import, args=(jobs, times), daemon=True).start()

    def run(self) -> None:
        """Do one job after another."""
        while True:
            self._jobs.get()
            self._depth.set(self._jobs.qsize())
            self._jobs.task_done()
            time.sleep(1 / JOBS_PER_SECOND)

    def _import(self, jobs: int, times: int) -> None:
        for batch in range(1, times + 1):
            for number in range(jobs):
                self._jobs.put(number)
            self._depth.set(self._jobs.qsize())
            self._log.write("info", "import: batch queued", batch=batch, jobs=jobs)
            self._jobs.join()
            self._depth.set(0)
            self._log.write("info", "import: batch done", batch=batch, jobs=jobs)
            time.sleep(PAUSE_SECONDS)
