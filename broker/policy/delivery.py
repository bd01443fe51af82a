"""How OPA gets its bundle: ``GET /bundles/broker.tar.gz`` from the gate beside it, with ETag and long polling.

The web layer calls ``answer`` with the two request headers and sends what comes back. OPA asks with
``Prefer: modes=snapshot,delta;wait=N`` and holds on only when the answer has the bundle media type, so every answer
has it. Only whole, signed bundles are ever sent: a delta cannot be signed.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.policy.bundle import Bundle

MEDIA_TYPE = "application/vnd.openpolicyagent.bundles"
WAIT_SECONDS_MAX = 60
_WAIT = re.compile(r"(?:^|[;,\s])wait=([0-9]{1,5})(?:$|[;,\s])")


@dataclass(frozen=True, slots=True)
class BundleResponse:
    """Status (200, 304 or 404), headers and body of one answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


class BundleShelf:
    """The one bundle that OPA may fetch now."""

    def __init__(self) -> None:
        self._bundle: Bundle | None = None
        self._changed = asyncio.Event()
        self._leaving = False

    def let_go(self) -> None:
        """The process ends: answer whoever waits, and let nobody wait any more."""
        self._leaving = True
        self._changed.set()

    def publish(self, bundle: Bundle | None) -> None:
        """Put ``bundle`` in place of the one before, and wake everybody who waits."""
        self._bundle = bundle
        self._changed.set()
        self._changed = asyncio.Event()

    async def answer(self, if_none_match: str = "", prefer: str = "") -> BundleResponse:
        """Answer one request; waits as ``prefer`` asks while the caller already has what is here."""
        wanted = _WAIT.search(prefer)
        if wanted and not self._leaving and self._etag() in {"", if_none_match}:
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), min(int(wanted.group(1)), WAIT_SECONDS_MAX))
        etag, headers = self._etag(), {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-cache"}
        if self._bundle is None:
            return BundleResponse(404, headers)
        headers["ETag"] = etag
        if if_none_match == etag:
            return BundleResponse(304, headers)
        return BundleResponse(200, headers, self._bundle.archive)

    def _etag(self) -> str:
        return f'"{self._bundle.digest}"' if self._bundle else ""
