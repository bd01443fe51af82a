"""The demo's child processes: each in a process group of its own, all of them gone at the end.

Three nets hold them: ``Children.close`` on every way out of the demo, its signal handlers turned into that way out, and
the reaper, which sees the demo's end of a pipe close when the demo is killed outright.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from demo.reaper import end_groups

POLL_SECONDS = 0.05


class ChildEnded(Exception):
    """A process that the demo needs ended by itself; the text names it and the file with its last words."""


class Children:
    """Starts and ends processes; ``folder`` gets one ``NAME.out`` a process."""

    def __init__(self, folder: Path, *, remove: Path | None) -> None:
        """``remove`` is a folder that goes when the demo goes, however it goes."""
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._may_end: set[str] = set()
        self._reaper = subprocess.Popen(
            [sys.executable, "-m", "demo.reaper"], stdin=subprocess.PIPE, start_new_session=True
        )
        if remove is not None:
            self._tell(f"rm {remove}")

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        first_line: str = "",
        reports: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start ``command`` with exactly ``environment``; ``first_line`` is what it reads on standard input.

        A process that ``reports`` may end by itself, and its standard output is the caller's to read; otherwise that
        goes to ``NAME.out``, as its standard error always does.
        """
        with (self.folder / f"{name}.out").open("ab") as out:
            child = subprocess.Popen(  # noqa: S603 - our own programs
                list(command),
                stdin=subprocess.PIPE if first_line else subprocess.DEVNULL,
                stdout=subprocess.PIPE if reports else out,
                stderr=out,
                env=dict(environment),
                start_new_session=True,
            )
        self._tell(f"+ {child.pid}")
        self._running[name] = child
        if reports:
            self._may_end.add(name)
        if first_line:
            _write(child.stdin, first_line + "\n")
        return child

    def check(self) -> None:
        """Raise ``ChildEnded`` where a process ended by itself."""
        for name, child in self._running.items():
            if name not in self._may_end and (code := child.poll()) is not None:
                raise ChildEnded(f"{name} ended with {code}; its last words: {self.last_words(name)}")

    def until(self, what: str, ready: Callable[[], bool], *, seconds: float) -> None:
        """Poll ``ready`` to a deadline; raises ``ChildEnded`` or ``TimeoutError`` that names ``what``."""
        limit = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > limit:
                raise TimeoutError(f"{what} did not happen within {seconds:.0f} seconds; see {self.folder}")
            time.sleep(POLL_SECONDS)

    def last_words(self, name: str) -> str:
        """The end of what a process wrote, one line."""
        with contextlib.suppress(OSError):
            lines = (self.folder / f"{name}.out").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return " | ".join(lines[-3:]) or "(nothing)"
        return "(nothing)"

    def end(self, *names: str) -> None:
        """End these processes, or all, and wait until they are gone."""
        chosen = [self._running.pop(name) for name in (names or tuple(self._running)) if name in self._running]
        for child in chosen:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
        for child in chosen:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5)
            end_groups({child.pid}, grace_seconds=0.5)
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
            self._tell(f"- {child.pid}")

    def close(self, *, keep: bool) -> None:
        """End everything; with ``keep`` the folder stays."""
        try:
            self.end()
        finally:
            if keep:
                self._tell("keep")
            with contextlib.suppress(OSError):
                assert self._reaper.stdin is not None
                self._reaper.stdin.close()
            self._reaper.wait()

    def _tell(self, line: str) -> None:
        _write(self._reaper.stdin, line + "\n")


def _write(to: IO[bytes] | None, text: str) -> None:
    """Write at once; a reader that is gone is seen elsewhere."""
    assert to is not None
    with contextlib.suppress(BrokenPipeError):
        to.write(text.encode())
        to.flush()
