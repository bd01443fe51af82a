"""How the gate is: the act ``gate.health.read``, for people. It shows no secret and nothing of another tenant."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from broker.clock import Clock, seconds
from broker.config import Settings, hidden
from broker.errors import AuditUnavailable
from broker.identity import Verifier
from broker.model import Json, Principal
from broker.policy.activations import ActivationRows
from broker.policy.pdp import PolicyDecisionPoint
from broker.quarantine import Quarantine
from broker.records import Records
from broker.store import Store, queues


class Health:
    """What a person may know of the gate's own state."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        settings: Settings,
        policy: PolicyDecisionPoint,
        bundles: ActivationRows,
        identity: Verifier,
        records: Records,
        store: Store,
        clock: Clock,
        missing: Callable[[], Awaitable[dict[str, str]]],
        quarantine: Callable[[], Quarantine],
    ) -> None:
        """``missing()`` names what readiness lacks, by part. The quarantine is asked for late: it needs the connectors."""
        self._settings = settings
        self._policy = policy
        self._bundles = bundles
        self._identity = identity
        self._records = records
        self._store = store
        self._clock = clock
        self._missing = missing
        self._quarantine = quarantine
        self.acts: Mapping[str, Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]] = {
            "gate.health.read": self._read
        }

    async def _read(self, principal: Principal, _arguments: Mapping[str, Any]) -> Json:
        active, history = self._policy.active, await self._bundles.history()
        now, started = seconds(self._clock), self._clock.monotonic()
        waiting = await self._store.read(lambda c: queues.lengths(c, principal.tenant, now))
        took = self._clock.monotonic() - started
        operator = self._settings.gate.operator_tenant or self._settings.gate.default_tenant
        return {
            "missing": await self._missing(),
            "policy": {
                "revision": active.revision if active else "",
                "digest": active.digest if active else "",
                "since": history[-1].at_ns // 10**9 if active and history else 0,
                "engine": self._policy.engine_label,
            },
            "keys": self._identity.key_sets(),
            "log": await self._log(principal.tenant),
            "store": {"dialect": self._store.dialect, "ms": f"{took * 1000:.1f}"},
            "connectors": [one.name for one in self._settings.connectors],
            "quarantine": [asdict(one) for one in self._quarantine().found],
            "unreachable": self._quarantine().problems(),
            "queues": [asdict(one) for one in waiting],
            # How the gate is set up concerns every tenant.
            "settings": _sections(self._settings) if principal.tenant == operator else {},
        }

    async def _log(self, tenant: str) -> dict[str, Json]:
        """Size and head of the tenant's log, from the checkpoint of this moment (C2SP tlog-checkpoint)."""
        try:
            origin, size, head = (await self._records.checkpoint(tenant)).split("\n")[:3]
        except AuditUnavailable:
            return {"origin": "", "size": "?", "head": "?"}
        return {"origin": origin, "size": size, "head": head}


def _sections(settings: Settings) -> dict[str, Json]:
    """Settings by section, secrets hidden."""
    dumped: dict[str, Json] = hidden(settings.model_dump(mode="json"))
    return {name: value if isinstance(value, dict) else {name: value} for name, value in dumped.items()}
