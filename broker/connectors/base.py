"""What every connector promises: the contract between the pipeline and one outside system.

A connector alone holds its system's credential. It never sees the caller's credential or the policy, and nothing but a
``Grant`` makes it act. Bounds (time window, points, rows, bytes, timeout, concurrency) are enforced here: an unbounded
query is refused before it leaves. ``execute`` must be called at most once for a grant; the caller guarantees it by the
intent's unique append. Results tell OK, EMPTY, TRUNCATED and ERROR apart.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from pydantic import ConfigDict

from broker.catalog import Action
from broker.model import ActionRequest, Grant, Plan, Result

STRICT: Final = ConfigDict(extra="forbid")
"""Settings of an adapter are frozen dataclasses; an unknown key in the configuration stops the start."""


@dataclass(frozen=True, slots=True)
class EffectStatus:
    """What the outside system knows of an action: ``done``, ``not_done`` or ``unknown``, with a sentence."""

    status: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """An action whose tool is not what the manifest pinned: it is in quarantine. Digests are hex; no tool, no ``found``."""

    connector: str
    action: str
    code: str
    pinned: str
    found: str


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

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:
        """Ask the outside system whether the effect of ``action_id`` happened; never guesses.

        ``action`` tells a manifest-driven connector where to ask; without it the answer may be ``unknown``. Raises
        nothing for a system that does not answer: that, too, is ``unknown``.
        """

    async def aclose(self) -> None:
        """Give back connections."""


@dataclass(frozen=True, slots=True)
class ModelReply:
    """An open reply of a model provider: status, headers to relay, and the raw chunks in order, once.

    Whoever holds it calls ``aclose``, read to the end or not; closing early cuts the upstream. ``chunks`` raises
    ``UpstreamFailed`` where the provider cut, stalled or sent too much: what came before stands.
    """

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    aclose: Callable[[], Awaitable[None]]


class ModelConnector(Connector, Protocol):
    """A connector whose answer can be a stream of the provider's own bytes."""

    async def open(self, grant: Grant, action: Action) -> ModelReply:
        """Send the request once; returns when the reply's headers are there. Raises as ``execute``."""


@runtime_checkable
class Drifting(Protocol):
    """A connector whose system can change what an action is: it is watched from the start on."""

    def start(self) -> None:
        """Begin to look; a system that is not there is tried again, and the gate starts all the same."""

    def drift(self, actions: Iterable[Action]) -> tuple[Drift, ...]:
        """Of ``actions``, those that are in quarantine now."""

    @property
    def problem(self) -> str:
        """Why the system cannot be reached, as a code; empty where it can."""
