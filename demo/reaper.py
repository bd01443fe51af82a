"""Ends what the demo started when the demo itself dies: ``python -m demo.reaper``.

Reads lines on standard input: ``+ PGID`` (a process group to end), ``- PGID`` (it is gone), ``rm PATH`` (a folder to
remove), ``keep`` (forget the folders). When the input ends, because the demo finished or was killed, every group still
listed gets SIGTERM, after two seconds SIGKILL, and the folders go. The pipe needs no signal and no polling of parents,
so it holds for ``kill -9`` as well, on Linux and macOS.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

GRACE_SECONDS = 2.0


def end_groups(groups: set[int], grace_seconds: float = GRACE_SECONDS) -> None:
    """SIGTERM to all groups, then SIGKILL to those that still have a member after the grace time."""
    left = {group for group in groups if _signal(group, signal.SIGTERM)}
    until = time.monotonic() + grace_seconds
    while left and time.monotonic() < until:
        time.sleep(0.05)
        left = {group for group in left if _signal(group, 0)}
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """True where the group has a member that could be signalled."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Follow standard input to its end, then clean up."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    folders: set[str] = set()
    for line in sys.stdin:
        match line.rstrip("\n").split(" ", 1):
            case ["+", group]:
                groups.add(int(group))
            case ["-", group]:
                groups.discard(int(group))
            case ["rm", path]:
                folders.add(path)
            case ["keep"]:
                folders.clear()
            case unknown:
                sys.stderr.write(f"the reaper does not know {unknown}\n")
    end_groups(groups)
    for path in folders:
        with contextlib.suppress(OSError):
            shutil.rmtree(path)


if __name__ == "__main__":
    main()
