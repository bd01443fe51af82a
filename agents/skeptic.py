"""The skeptic: a context of its own that sees what is claimed and the handles, not the story, and tries to refute it.

It answers with predictions: claims that must hold if the finding is right, on observations that it queried itself. Whether
they hold is the gate's to say. A skeptic that cannot run raises ``ModelFailed``; then the model tier has no diagnosis.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agents.asking import Asking
from agents.case import Case
from agents.loop import Ended, Heard, InputUnfit, Loop, LoopTool
from agents.prompts import text
from agents.tools import CLAIM_SCHEMA, Reads, claims_of

Json = Any

PREDICTIONS_MAX = 6
SCHEMA: Mapping[str, Json] = {
    "type": "object",
    "properties": {
        "predictions": {"type": "array", "items": CLAIM_SCHEMA, "minItems": 1, "maxItems": PREDICTIONS_MAX},
    },
    "required": ["predictions"],
    "additionalProperties": False,
}


class Skeptic:
    """One challenge of one finding."""

    def __init__(self, case: Case, asking: Asking, heard: Heard) -> None:
        """Reads go through ``case``; ``asking`` shares the step's budget."""
        self._reads = Reads(case)
        self._case = case
        self._known = case.observed
        submit = LoopTool("submit", "Give what must hold if the finding is right.", SCHEMA, self._submit)
        self._loop = Loop(asking, text("skeptic"), [*self._reads.tools(), submit], heard)

    async def challenge(self, cause: Mapping[str, Json], claims: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
        """Predictions of ``cause`` as wire claims. Raises ``ModelFailed``, ``StepOver``, ``GateError``."""
        facts = self._case.facts
        finding = {
            "finding": {"component": cause["component"], "fault": cause["fault"]},
            "claims": [{name: value for name, value in one.items() if name != "text"} for one in claims],
            "symptom_at": facts.service,
            "window": {"since": facts.since, "until": facts.until},
            "depends_on": [list(edge) for edge in facts.edges],
        }
        found: list[dict[str, Json]] = await self._loop.run(json.dumps(finding, ensure_ascii=False, sort_keys=True))
        return found

    async def _submit(self, given: Mapping[str, Json]) -> Ended:
        fresh = set(self._reads.seen) - self._known
        if not fresh:
            raise InputUnfit("nothing new was queried yet; make a query of your own that could show the finding wrong")
        claims = claims_of(given["predictions"], self._reads.seen)
        if not any(one["observation"] in fresh for one in claims):
            raise InputUnfit("no prediction is about what was newly queried")
        return Ended([{**one, "role": "prediction"} for one in claims])
