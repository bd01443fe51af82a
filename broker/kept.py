"""Past results, as evidence reads them: an action's intent and outcome, from the log alone.

Payloads are checked against the commitments in their leaves when they are read; one that does not fit makes the log
unavailable, and nothing is judged on it.
"""

from collections.abc import Mapping
from typing import Any

from broker.answers import action_of_observation
from broker.evidence import Kept
from broker.model import Json, ResultStatus
from broker.records import Records


class KeptInLog:
    """``evidence.KeptResults`` over the audit log."""

    def __init__(self, records: Records) -> None:
        """Read through ``records``."""
        self._records = records

    async def kept(self, tenant: str, observation: str) -> Kept | None:
        """What the tenant's log keeps of the observation; raises ``AuditUnavailable`` where it cannot be read."""
        action_id = action_of_observation(observation)
        intent = await self._records.told(tenant, action_id)
        if intent is None or intent[0].kind != "intent":
            return None
        outcome = await self._records.told(tenant, f"{action_id}.outcome")
        if outcome is not None and outcome[0].kind == "recovery":
            outcome = await self._records.told(tenant, f"{action_id}.outcome.late")
        entry, asked = intent
        body: Mapping[str, Any] = entry.record["body"]  # type: ignore[assignment]
        kept = outcome[1] if outcome else None
        return Kept(
            session=str(body.get("session") or ""),
            action=str(body["action"]["name"]),
            connector=str(body["action"]["connector"]),
            effect=str(body["action"]["effect"]),
            resource=_resource(body, asked),
            arguments=_arguments(asked),
            at=(outcome[0] if outcome else entry).time_ns // 1_000_000_000,
            status=_status(kept),
            value=kept.get("result") if isinstance(kept, Mapping) else None,
            erased=asked is None or (outcome is not None and kept is None),
        )


def _resource(body: Mapping[str, Any], asked: Json) -> dict[str, str]:
    """The resource in the inventory's words, or the bare id that was asked for."""
    told = body.get("resource", {})
    known = {name: str(told[name]) for name in ("type", "id", "env") if name in told}
    return known or {"id": str(asked["resource"]) if asked else ""}


def _status(kept: Json) -> ResultStatus | None:
    """The result's own status; None where no result was kept."""
    if not isinstance(kept, Mapping) or "result" not in kept:
        return None
    answer = kept.get("answer") or {}
    word = answer.get("result", {}).get("status", "error") if isinstance(answer, Mapping) else "error"
    return ResultStatus(word) if word in set(ResultStatus) else ResultStatus.ERROR


def _arguments(asked: Json) -> dict[str, Json]:
    """The redacted arguments, where they are an object."""
    given = asked.get("arguments") if isinstance(asked, Mapping) else None
    return dict(given) if isinstance(given, Mapping) else {}
