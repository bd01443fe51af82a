"""Waiting for a program that a test started: until it is ready, or its end is known."""

import ssl
import subprocess
from collections.abc import Callable
from contextlib import suppress

import httpx

START_SECONDS = 240.0
_PAUSE_SECONDS = 0.05


def until(
    ready: Callable[[], bool],
    process: "subprocess.Popen[bytes]",
    said: Callable[[], str] = str,
    *,
    seconds: float = START_SECONDS,
) -> None:
    """Look until ``ready``; between two looks it waits for the program's end, so that an end is seen at once.

    Raises ``AssertionError`` with what the program ``said`` where it ends first, or is not ready after ``seconds``.
    A look that fails with ``OSError`` or ``httpx.HTTPError`` is one that found nobody.
    """
    for _ in range(round(seconds / _PAUSE_SECONDS)):
        with suppress(OSError, httpx.HTTPError):
            if ready():
                return
        with suppress(subprocess.TimeoutExpired):
            ended = process.wait(_PAUSE_SECONDS)
            raise AssertionError(f"the program ended with {ended}: {said()}")
    raise AssertionError(f"the program was not ready within {seconds:g} s: {said()}")


def answers(url: str, verify: ssl.SSLContext | bool = True) -> bool:
    """Whether ``url`` is answered with success."""
    return httpx.get(url, trust_env=False, timeout=90, verify=verify).is_success
