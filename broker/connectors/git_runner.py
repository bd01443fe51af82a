"""Run git with nothing of the machine's in it: no hooks, no configuration of a person, no prompt, no agent, no pager.

Every command gets a deadline and a cap on what it may print; the whole process group dies with it. Transports are off
unless the caller names them. Standard error is not read: it may quote addresses and credentials.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import UpstreamFailed

_CLOSED: Final = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "core.quotePath=false", "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null", "credential.helper=", "commit.gpgSign=false", "gc.auto=0", "maintenance.auto=false",
    "log.showSignature=false", "diff.external=", "submodule.recurse=false", "fetch.recurseSubmodules=false",
    "protocol.allow=never", "advice.detachedHead=false",
)  # fmt: skip
_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended; ``cut`` where it printed more than it may (it was stopped then, ``code`` says nothing)."""

    code: int
    out: bytes
    cut: bool

    @property
    def text(self) -> str:
        """What was printed; bytes that are not UTF-8 become the replacement character."""
        return self.out.decode("utf-8", errors="replace")


class Git:
    """Git in one folder. ``config`` are further ``key=value``; ``secret`` ones travel by the environment."""

    def __init__(
        self,
        folder: Path,
        *,
        timeout_seconds: float,
        bytes_max: int,
        config: Sequence[str] = (),
        secret: Sequence[tuple[str, str]] = (),
    ) -> None:
        """``bytes_max`` bounds what one command may print; ``timeout_seconds`` how long it may take."""
        self.folder = folder
        self._timeout_seconds, self._bytes_max = timeout_seconds, bytes_max
        self._command: tuple[str, ...] = ("git", "--literal-pathspecs", "--no-pager", "--no-replace-objects")
        for pair in (*_CLOSED, f"safe.directory={folder}", *config):
            self._command += ("-c", pair)
        self._environment = _environment(secret)

    async def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        extra: Mapping[str, str] | None = None,
        folder: Path | None = None,
        bytes_max: int | None = None,
    ) -> Ran:
        """Run one command. Raises ``UpstreamFailed``: ``upstream.timeout``, or ``upstream.git`` where git is missing.

        Both say that nothing was sent: whoever runs the one command that has an effect knows better.
        """
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                "-C",
                str(folder or self.folder),
                *arguments,
                env={**self._environment, **(extra or {})},
                # No pipe where nothing is written: uvloop raises when git has closed its end before we write.
                stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise failed("git is not on this machine") from None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await _ended(child, stdin, self._bytes_max if bytes_max is None else bytes_max)
        except TimeoutError:
            raise UpstreamFailed(
                "git did not finish in time",
                sent=False,
                code="upstream.timeout",
                remedy="narrow the request, or try again",
            ) from None
        finally:
            if child.returncode is None:
                _kill(child.pid)
                await child.wait()

    async def text(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        extra: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> str:
        """Run a command that must succeed and print UTF-8 within its cap; raises ``UpstreamFailed`` (not sent)."""
        ran = await self.run(*arguments, stdin=stdin, extra=extra, folder=folder)
        if ran.cut:
            raise failed(f"git {arguments[0]} printed more than the {self._bytes_max} bytes that are read")
        if ran.code != 0:
            raise failed(f"git {arguments[0]} failed")
        try:
            return ran.out.decode()
        except UnicodeDecodeError:
            raise failed("the file is not UTF-8 text") from None


async def _ended(child: asyncio.subprocess.Process, stdin: bytes | None, bytes_max: int) -> Ran:
    """Feed, read up to the cap, and wait; one who prints too much is stopped."""
    if stdin is not None and child.stdin is not None:
        with suppress(BrokenPipeError, ConnectionResetError):
            child.stdin.write(stdin)
            await child.stdin.drain()
            child.stdin.close()
    out = bytearray()
    assert child.stdout is not None
    while chunk := await child.stdout.read(_CHUNK):
        out += chunk
        if len(out) > bytes_max:
            _kill(child.pid)
            await child.wait()
            return Ran(-1, bytes(out[:bytes_max]), cut=True)
    return Ran(await child.wait(), bytes(out), cut=False)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _environment(secret: Sequence[tuple[str, str]]) -> dict[str, str]:
    """All that git may know. Secrets stand here and not on the command line, which every user of the machine can read."""
    known = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LC_ALL": "C",
        "TZ": "UTC",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_AUTHOR_NAME": "wicketgate",
        "GIT_AUTHOR_EMAIL": "wicketgate@localhost",
        "GIT_COMMITTER_NAME": "wicketgate",
        "GIT_COMMITTER_EMAIL": "wicketgate@localhost",
        "GIT_CONFIG_COUNT": str(len(secret)),
    }
    for place, (key, value) in enumerate(secret):
        known[f"GIT_CONFIG_KEY_{place}"], known[f"GIT_CONFIG_VALUE_{place}"] = key, value
    return known


def failed(detail: str) -> UpstreamFailed:
    """A git command that did not do what it should, before any effect."""
    return UpstreamFailed(detail, sent=False, code="upstream.git", remedy="check the repository that the settings name")
