"""Watches whether the tools of other systems are still what the manifests pinned.

A connector whose system can change what an action is (``connectors.base.Drifting``) compares before each call by itself.
Here it is found out without a call, for people: shown by ``gate.health.read`` and the metrics, told in telemetry, and put
on record: once until it is released, which is told in a later hour of the clock at the soonest. So a server that changes
its tools all the time fills neither our log nor our telemetry, and the last word on a tool in quarantine is that it is.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from broker.catalog import Action, Catalog
from broker.clock import Clock, seconds
from broker.connectors.base import Connector, Drift, Drifting
from broker.records import Records
from broker.telemetry import Telemetry

HOUR_SECONDS: Final = 3600
_Reason = tuple[str, str, str, str]
"""Connector, action, code, pinned digest: what is told of; whatever else the server says is not in it."""


class Quarantine:
    """What is in quarantine in this process, as the last look found it."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        connectors: Mapping[str, Connector],
        catalog: Callable[[], Catalog],
        revision: Callable[[], str],
        records: Records,
        telemetry: Telemetry,
        tenant: str,
        clock: Clock,
    ) -> None:
        """``tenant`` is the operator's: how the gate is set up stands in its log."""
        self._connectors, self._catalog, self._revision = connectors, catalog, revision
        self._records, self._telemetry, self._tenant = records, telemetry, tenant
        self._clock = clock
        self._told: dict[_Reason, int] = {}
        """What was told and is not told to be over, and in which hour it was."""
        self.found: tuple[Drift, ...] = ()

    async def look(self) -> None:
        """Compare all; what is new is put on record before it is told."""
        self.found = tuple(one for name, watched in self._watched() for one in watched.drift(self._actions(name)))
        now = {(one.connector, one.action, one.code, one.pinned): one for one in self.found}
        hour = seconds(self._clock) // HOUR_SECONDS
        for reason in [one for one, told in self._told.items() if one not in now and told != hour]:
            self._telemetry.event("tool.released", connector=reason[0], action=reason[1])
            del self._told[reason]
        for reason, drift in now.items():
            if reason in self._told:
                continue
            await self._record(drift, hour)
            self._telemetry.warning("tool.quarantined", connector=drift.connector, action=drift.action, code=drift.code)
            self._told[reason] = hour

    def start(self) -> None:
        """Have every watched connector look at its system."""
        for _, watched in self._watched():
            watched.start()

    def counts(self) -> dict[tuple[str], int]:
        """How many actions of each watched connector are in quarantine."""
        return {(name,): sum(one.connector == name for one in self.found) for name, _ in self._watched()}

    def problems(self) -> dict[str, str]:
        """Watched connectors that have no connection now, with the code of the reason."""
        return {name: watched.problem for name, watched in self._watched() if watched.problem}

    def _watched(self) -> Iterator[tuple[str, Drifting]]:
        return ((name, one) for name, one in self._connectors.items() if isinstance(one, Drifting))

    def _actions(self, connector: str) -> tuple[Action, ...]:
        return tuple(one for one in self._catalog().actions() if one.connector == connector)

    async def _record(self, drift: Drift, hour: int) -> None:
        """A record of kind ``policy``: what the policy pinned is not there. Replicas and restarts find it made already."""
        told = hashlib.sha256(f"{drift.connector}\n{drift.action}\n{drift.code}\n{drift.pinned}\n{hour}".encode())
        await self._records.policy(
            self._tenant,
            verb=f"quarantine.{drift.action}",
            digest=drift.found or drift.pinned,
            previous=drift.pinned,
            revision=self._revision(),
            event=f"tool.{told.hexdigest()[:32]}",
        )
