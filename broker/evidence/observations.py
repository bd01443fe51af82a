"""Observations as evidence sees them: one past result of this gate, or the reason why it cannot be cited."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from broker.errors import BadRequest
from broker.model import Json, ResultStatus

BYTES_MAX = 33_554_432
"""Of the results that one submission cites, as JSON."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the log keeps of one action: who asked what of whom, and what came back. Times are unix seconds."""

    session: str
    action: str
    connector: str
    effect: str
    resource: Mapping[str, str]
    """``type``, ``id``, ``env``; of a resource that no inventory knows, only ``id``."""
    arguments: Mapping[str, Json]
    at: int
    status: ResultStatus | None
    """None where no result came to be kept: still running, or cut off by a crash."""
    value: Json
    erased: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """A result that a claim of this incident may cite."""

    id: str
    action: str
    connector: str
    signal: str
    resource: Mapping[str, str]
    arguments: Mapping[str, Json]
    at: int
    status: ResultStatus
    value: Json
    digest: str = ""
    well: Sequence[Mapping[str, Json]] = ()
    """What the action's manifest says of a result that is well: ``[{"selector", "op", "value"}]``."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Why an observation cannot be cited: a code of README.md."""

    code: str


class KeptResults(Protocol):
    """Where results are kept; the log, read through ``records``."""

    async def kept(self, tenant: str, observation: str) -> Kept | None:
        """What is kept of the observation; None where the tenant's log has no such action."""
        ...


SessionIncident = Callable[[str, str], Awaitable[str]]
"""(tenant, session) -> the incident that the session was opened for, empty for none."""
Signal = Callable[[str], str]
"""Action name -> its signal class, empty for none."""
Well = Callable[[str], Sequence[Mapping[str, Json]]]
"""Action name -> what its manifest says of a result that is well."""


@dataclass(slots=True)
class Shelf:
    """The observations of one submission, each loaded once."""

    tenant: str
    incident: str
    results: KeptResults
    incident_of: SessionIncident
    signal_of: Signal
    now: int
    kept_s: int
    well_of: Well = lambda _: ()
    loaded: dict[str, Observation | Absent] = field(default_factory=dict)
    bytes: int = 0
    """Of all that was loaded."""

    async def get(self, observation: str) -> Observation | Absent:
        """The observation, or why not; another tenant's and another incident's are alike ``observation.foreign``.

        Raises ``BadRequest`` (``evidence.too_large``) where all of a submission together would be more than can be judged.
        """
        if observation not in self.loaded:
            self.loaded[observation] = await self._load(observation)
        return self.loaded[observation]

    async def _load(self, observation: str) -> Observation | Absent:
        kept = await self.results.kept(self.tenant, observation)
        if kept is None:
            return Absent("observation.missing")
        if not self.incident or await self.incident_of(self.tenant, kept.session) != self.incident:
            return Absent("observation.foreign")
        if reason := self._unfit(kept):
            return Absent(reason)
        assert kept.status is not None
        packed = orjson.dumps(kept.value, option=orjson.OPT_SORT_KEYS)
        self.bytes += len(packed)
        if self.bytes > BYTES_MAX:
            raise BadRequest(
                f"the claims cite more than {BYTES_MAX} bytes of results together",
                code="evidence.too_large",
                remedy="cite fewer observations, or ask narrower queries and cite those",
            )
        return Observation(
            id=observation,
            action=kept.action,
            connector=kept.connector,
            signal=self.signal_of(kept.action),
            resource=kept.resource,
            arguments=kept.arguments,
            at=kept.at,
            status=kept.status,
            value=kept.value,
            digest=hashlib.sha256(packed).hexdigest(),
            well=self.well_of(kept.action),
        )

    def _unfit(self, kept: Kept) -> str:
        """The code of what keeps a result of this incident from being evidence; empty for nothing."""
        withheld = isinstance(kept.value, Mapping) and set(kept.value) == {"withheld"}
        flaws = (
            (kept.effect != "read", "observation.write"),
            (not self.signal_of(kept.action), "observation.no_signal"),
            (kept.erased, "observation.erased"),
            (kept.status is None, "observation.unfinished"),
            (self.now - kept.at >= self.kept_s, "observation.expired"),
            (withheld, "observation.withheld"),
            (kept.status is ResultStatus.ERROR, "observation.error"),
        )
        return next((code for flaw, code in flaws if flaw), "")
