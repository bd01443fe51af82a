"""What every connector promises: the contract between the pipeline and one outside system.

A connector alone holds its system's credential. It never sees the caller's credential or the policy, and nothing but a
``Grant`` makes it act. Bounds (time window, points, rows, bytes, timeout, concurrency) are enforced here: an unbounded
query is refused before it leaves. ``execute`` must be called at most once for a grant; the caller guarantees it by the
intent's unique append. Results tell OK, EMPTY, TRUNCATED and ERROR apart.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from broker.catalog import Action
from broker.model import ActionRequest, Grant, Json, Plan, Result


@dataclass(frozen=True, slots=True)
class EffectStatus:
    """What the outside system knows of an action: ``done``, ``not_done`` or ``unknown``, with a sentence."""

    status: str
    detail: str = ""


class Connector(Protocol):
    """Adapter to one outside system."""

    name: str

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:
        """Where the request's data would go: ``region`` and ``provider`` of the routed endpoint, empty where unknown."""

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """Look, touch nothing: what would happen, on whom, and the state it was judged on.

        Raises ``BadRequest`` for a request that is out of bounds, ``UpstreamFailed`` when the system cannot be read.
        """

    async def execute(self, grant: Grant, action: Action) -> Result:
        """Do exactly what ``grant`` says, with ``grant.arguments``; raises ``UpstreamFailed``.

        An exception other than ``UpstreamFailed`` with ``sent=False`` leaves the effect in doubt.
        """

    async def status_of(self, action_id: str) -> EffectStatus:
        """Ask the outside system whether the effect of ``action_id`` happened; never guesses."""

    async def aclose(self) -> None:
        """Give back connections."""


@dataclass(frozen=True, slots=True)
class ModelReply:
    """An open reply of a model provider: status, headers to relay, and the raw chunks in order."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class ModelConnector(Connector, Protocol):
    """A connector whose answer can be a stream of the provider's own bytes."""

    async def open(self, grant: Grant, action: Action) -> ModelReply:
        """Send the request; the reply's chunks come as the provider sends them. Closing the iterator cuts upstream."""


class Egress(Protocol):
    """The only way out (``broker/egress.py``), as connectors use it."""

    async def request(  # noqa: PLR0913
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_seconds: float | None = None,
        answer_bytes_max: int = 4_194_304,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One exchange on the pooled client: (status, headers, body). Raises ``UpstreamFailed``, ``Denied`` (egress)."""

    def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        """The same, with the body as it comes; an async context in the implementation."""


JsonObject = Mapping[str, Json]
