"""Where a bearer token comes from. The client asks before each request, and again, once, after a 401.

Getting a token may need signing (``private_key_jwt``), which this package leaves to the tool of your identity
provider: give the client a callable, or one of these.
"""

import asyncio
import base64
import binascii
import json
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from wicketgate.answers import Problem
from wicketgate.errors import NotAuthenticated

TokenSource = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A token, or a callable (sync or async) that gives the current one."""

Now = Callable[[], float]
"""Seconds since the Unix epoch."""


async def token_of(source: TokenSource) -> str:
    """The current token; raises ``NotAuthenticated`` for an empty one."""
    token = source if isinstance(source, str) else source()
    text = (token if isinstance(token, str) else await token).strip()
    if not text:
        raise _no_token("the token source gave an empty token")
    return text


def token_file(path: str | Path) -> Callable[[], str]:
    """Read the token from a file at each request, as projected service-account tokens need it."""

    def read() -> str:
        try:
            return Path(path).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise _no_token(f"the token file cannot be read ({type(error).__name__})") from None

    return read


def token_command(*command: str, seconds_max: float = 30, now: Now = time.time) -> Callable[[], Awaitable[str]]:
    """Run ``command`` (no shell); its standard output is the token. Kept until 30 s before the token's ``exp``.

    ``now`` (seconds since the epoch) is for tests. A token without a readable ``exp`` is fetched for each request.
    """
    kept: tuple[str, float] = ("", 0.0)
    turn = asyncio.Lock()

    async def current() -> str:
        nonlocal kept
        async with turn:
            if now() >= kept[1] - 30:
                token = await asyncio.to_thread(_run, command, seconds_max)
                kept = (token, _expiry(token))
            return kept[0]

    def forget() -> None:
        nonlocal kept
        kept = ("", 0.0)

    current.forget = forget  # type: ignore[attr-defined] # asked for by the client after a 401
    return current


def _run(command: tuple[str, ...], seconds_max: float) -> str:
    """Standard output of the command; its standard error goes where ours goes, for the person to read."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds_max, check=False)  # noqa: S603 - the caller's own command, no shell
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_token(f"the token command `{command[0]}` did not run ({type(error).__name__})") from None
    if done.returncode != 0:
        raise _no_token(f"the token command `{command[0]}` ended with {done.returncode}")
    return done.stdout.decode("ascii", "replace").strip()


def _expiry(token: str) -> float:
    """``exp`` of a JWT, unverified: only for deciding when to ask again. 0 where there is none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return 0.0


def _no_token(detail: str) -> NotAuthenticated:
    """The same error as a 401, made before anything was sent."""
    remedy = "sign in (wicketgate login), or mend the token source"
    return NotAuthenticated(Problem(status=0, code="identity.no_token", detail=detail, remedy=remedy))
