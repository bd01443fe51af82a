"""``python -m agents replay``: one recorded incident investigated through a gate, and what came of it as one JSON object.

The same steps, rules and claims as ``worker.py`` with a live incident; only that every candidate of the first tier is put
to the gate's judge, so that each has a confidence that code computed, and that no remedy is asked for.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from wicketgate import Claimed, Gate, GateError, TokenSource

from agents.asking import Asking, Budget
from agents.case import Case, detail_of, offers
from agents.investigate import Investigation, Result
from agents.model import Model
from agents.rules import Finding, investigate

Json = Any

JUDGED_MAX = 3
"""Candidates beyond the leader that the gate is asked to judge."""
HOLD_SECONDS = 120
TRIES = 600
TRY_SECONDS = 0.1
_VERDICTS = {"diagnosed": "diagnosed", "noise": "healthy"}
_SHOWN = ("verdict", "reason", "role", "selector", "op", "value", "actual", "source", "signal", "observation", "text")


class NothingDue(Exception):
    """The incident did not come up for work."""


@dataclass(frozen=True, slots=True)
class Replay:
    """One incident on one gate; ``model`` is empty where the rules work alone."""

    gate: Gate
    url: str
    token: TokenSource
    incident: str
    model: str = ""
    budget: Budget = field(default_factory=Budget)

    async def run(self) -> dict[str, Json]:
        """Investigate to the end; raises ``GateError``, ``NothingDue``, ``StepOver``."""
        triaging = await self._case()
        await triaging.finish("investigating", {"reason": "a recorded case"})
        case = await self._case()
        result = await self._investigated(case)
        # The view answers the same queries again from what it has: the rules' finding costs no second read.
        finding = await investigate(case)
        judged = await self._judged(case, result, finding)
        await case.finish(result.to, result.body)
        return {
            "verdict": _VERDICTS.get(result.to, "inconclusive"),
            "ranked": judged,
            "observations_read": _recorded(case),
            "model_calls": case.model_calls,
            "why": str(result.body.get("why") or finding.why),
            "checked": list(finding.checked),
            "ruled_out": [{"component": r.component, "fault": r.fault, "why": r.why} for r in finding.ruled_out],
        }

    async def _case(self) -> Case:
        """The incident's next step."""
        claimed = await self._claimed()
        detail = await detail_of(self.gate, claimed.subject, claimed.session)
        offered = offers(await self.gate.actions.catalog())
        return Case(self.gate, claimed, detail, offered, asyncio.sleep, lambda *_, **__: None)

    async def _claimed(self) -> Claimed:
        for _ in range(TRIES):
            claimed = await self.gate.work.claim(["incident"], hold_seconds=HOLD_SECONDS)
            if claimed is not None and claimed.subject == self.incident:
                return claimed
            if claimed is None:
                await asyncio.sleep(TRY_SECONDS)
            else:
                # An earlier case on the same gate, with a cause and no one to remedy it.
                await self.gate.work.finish(
                    claimed, "escalated", {"reason": "a recorded case: nothing is done about it"}
                )
        raise NothingDue(self.incident)

    async def _investigated(self, case: Case) -> Result:
        async with AsyncExitStack() as stack:
            asking = None
            if self.model:
                model = Model(self.url, token=self.token, session=case.session, name=self.model, retries=0)
                asking = Asking(await stack.enter_async_context(model), case.key, self.budget, asyncio.sleep)
            return await Investigation(case, asking).run()

    async def _judged(self, case: Case, result: Result, finding: Finding) -> list[dict[str, Json]]:
        """Every judged cause, the leader first, then as the rules rank them, then by confidence."""
        found = {_cause(one): one for one in (await case.again()).diagnoses}
        for place in range(min(len(finding.ranked), 1 + JUDGED_MAX)):
            body = finding.diagnosis(place)
            if (body["cause"]["component"], body["cause"]["fault"]) not in found:
                await _judge(case, body)
        found = {_cause(one): one for one in (await case.again()).diagnoses}
        named = result.body.get("cause") or {}
        leader = (str(named.get("component", "")), str(named.get("fault", "")))
        order = [leader, *((one.component, one.fault) for one in finding.ranked)]
        order += sorted(found, key=lambda key: (-int(found[key].get("confidence_milli", 0)), key))
        return [_shown(found[key]) for key in dict.fromkeys(order) if key in found]


async def _judge(case: Case, body: Mapping[str, Json]) -> None:
    """Have one candidate judged; one that the gate will not even read stays out."""
    try:
        await case.diagnose(body)
    except GateError as error:
        if error.status not in {400, 422}:
            raise


def _cause(diagnosis: Mapping[str, Json]) -> tuple[str, str]:
    cause = diagnosis.get("cause") or diagnosis
    return str(cause.get("component", "")), str(cause.get("fault", ""))


def _shown(diagnosis: Mapping[str, Json]) -> dict[str, Json]:
    component, fault = _cause(diagnosis)
    claims: Sequence[Mapping[str, Json]] = diagnosis.get("claims") or ()
    milli = int(diagnosis.get("confidence_milli", 0))
    return {
        "component": component,
        "fault": fault,
        "confidence": milli / 1000,
        "claims": [{name: one[name] for name in _SHOWN if name in one} for one in claims],
        "accepted": diagnosis.get("verdict") == "diagnosed",
        "missing": [
            one.get("code", one) if isinstance(one, Mapping) else one for one in diagnosis.get("missing") or ()
        ],
        "summary": str((diagnosis.get("cause") or {}).get("summary", "")),
    }


def _recorded(case: Case) -> int:
    """Recorded answers that were read; what the case itself holds is not counted."""
    own = sum(1 for name in case.actions if name.startswith("replay."))
    return max(0, case.queries - own)
