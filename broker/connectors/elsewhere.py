"""Actions that the asker does itself, once they are permitted: a coding agent's own tools, say.

There is no system to reach: what the gate gives is the decision, with its limits, approvals and records. The record says
that it was permitted; what then happened, nobody told the gate.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from pydantic import with_config

from broker.catalog import Action
from broker.connectors.base import STRICT, EffectStatus
from broker.model import ActionRequest, Grant, Plan, Result, ResultStatus


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ElsewhereSettings:
    """Where whoever asks does it: a name of a region, as residency reads it."""

    name: str
    region: str = "local"


class ElsewhereConnector:
    """Permits."""

    def __init__(self, settings: ElsewhereSettings) -> None:
        """Nothing is opened."""
        self.name = settings.name
        self._region = settings.region

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:  # noqa: ARG002 - the contract's
        """With the asker."""
        return {"region": self._region, "provider": self.name}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """What was asked for, and no state beside it: the target is out of sight."""
        asked = [action.name, request.resource.id, dict(request.arguments)]
        digest = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return Plan(f"{action.title}, by whoever asks", digest, after=dict(request.arguments))

    async def execute(self, grant: Grant, action: Action) -> Result:  # noqa: ARG002 - the contract's
        """Say yes."""
        return Result(ResultStatus.OK, {"permitted": True})

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:  # noqa: ARG002 - the contract's
        """Nobody can be asked."""
        return EffectStatus("unknown", "whoever asked for it knows")

    async def aclose(self) -> None:
        """Nothing is held."""
