"""The model's part of an investigation: hypotheses, queries that would refute them, claims that the gate judges.

A submission is judged by the gate at once, and its verdicts go back to the model: a false claim is seen, and may be mended
a bounded number of times. What comes out is no diagnosis yet: the skeptic has not spoken.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wicketgate import Diagnosis, GateError

from agents import hypotheses
from agents.asking import Asking
from agents.case import Case
from agents.hypotheses import Hypothesis
from agents.loop import Ended, Heard, InputUnfit, Loop, LoopTool
from agents.prompts import text
from agents.prose import figureless
from agents.rules import Finding
from agents.tools import CLAIMS_SCHEMA, Reads, claims_of

Json = Any

SUBMISSIONS_MAX = 3
NONE = "none"
SUBMIT_SCHEMA: Mapping[str, Json] = {
    "type": "object",
    "properties": {
        "leader": {"type": "string", "pattern": "^(h[1-6]|none)$"},
        "summary": {"type": "string", "maxLength": 600},
        "claims": CLAIMS_SCHEMA,
        "ruled_out": {
            "type": "array",
            "maxItems": 6,
            "items": {
                "type": "object",
                "properties": {
                    "hypothesis": {"type": "string", "pattern": "^h[1-6]$"},
                    "claims": {
                        "type": "array",
                        "items": {"type": "integer", "minimum": 0, "maximum": 19},
                        "maxItems": 16,
                    },
                    "why": {"type": "string", "maxLength": 400},
                },
                "required": ["hypothesis", "claims", "why"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["leader", "claims"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Argued:
    """Where the model came out: a leader with its claims as the gate judged them, or none."""

    hypotheses: Sequence[Hypothesis] = ()
    body: Mapping[str, Json] = field(default_factory=dict)
    """``{"cause", "claims", "ruled_out"}`` of the last submission; empty where no leader was named."""
    judged: Diagnosis | None = None

    @property
    def stands(self) -> bool:
        """True where the gate found the leader's claims enough."""
        return self.judged is not None and self.judged.verdict == "diagnosed"

    @property
    def cause(self) -> tuple[str, str]:
        """(component, fault) of the leader; empty where there is none."""
        cause = self.body.get("cause", {})
        return str(cause.get("component", "")), str(cause.get("fault", ""))


class Inquiry:
    """One conversation with the model about one incident."""

    def __init__(self, case: Case, asking: Asking, heard: Heard, finding: Finding, said: Sequence[Json]) -> None:
        """``finding`` is the first tier's; ``said`` what people did in the incident."""
        self._case = case
        self._finding = finding
        self._said = said
        self._reads = Reads(case)
        self._hypotheses: list[Hypothesis] = []
        self._submissions = 0
        facts = case.facts
        # The affected service can be at fault whatever its type, as for the gate's judge.
        self._components = {**facts.components, facts.service: facts.nodes.get(facts.service, "service")}
        propose = LoopTool(
            "propose",
            "State your hypotheses; the query that would refute each is run at once.",
            hypotheses.schema(list(self._components), self._reads.names),
            self._propose,
        )
        submit = LoopTool("submit", "Submit the leader and its claims to the gate.", SUBMIT_SCHEMA, self._submit)
        self.loop = Loop(asking, text("investigate"), [propose, *self._reads.tools(), submit], heard)

    async def run(self) -> Argued:
        """Raises ``ModelFailed``, ``StepOver``, ``GateError``."""
        argued: Argued = await self.loop.run(json.dumps(self._opening(), ensure_ascii=False, sort_keys=True))
        return argued

    def _opening(self) -> dict[str, Json]:
        """What the model is told of the incident: nothing that changes while the step runs."""
        facts, finding = self._case.facts, self._finding
        leader = finding.ranked[0] if finding.ranked else None
        return {
            "incident": {"service": facts.service, "env": facts.env, "severity": facts.severity},
            "alert_untrusted": _short(facts.alert),
            "window": {"since": facts.since, "until": facts.until},
            "components": self._components,
            "depends_on": [list(edge) for edge in facts.edges],
            "people_said_untrusted": list(self._said),
            "first_tier": {
                "verdict": finding.verdict,
                "why": finding.why,
                "checked": list(finding.checked)[:20],
                "leader": leader
                and {"component": leader.component, "fault": leader.fault, "claims": list(leader.claims)},
            },
        }

    async def _propose(self, given: Mapping[str, Json]) -> Json:
        self._hypotheses = hypotheses.read(given)
        self._case.tell("hypotheses", hypotheses=[one.as_json() for one in self._hypotheses])
        answers = {}
        for one in self._hypotheses:
            try:
                answers[one.id] = await self._reads.ask(one.tool, one.given)
            except InputUnfit as unfit:
                answers[one.id] = {"status": "error", "code": "tool.input", "detail": str(unfit)}
        return {"answers": {name: _within(answer, 1500) for name, answer in answers.items()}}

    async def _submit(self, given: Mapping[str, Json]) -> Json | Ended:
        if not self._hypotheses:
            raise InputUnfit("nothing is proposed yet; use `propose` first")
        if given["leader"] == NONE:
            return Ended(Argued(self._hypotheses))
        by_id = {one.id: one for one in self._hypotheses}
        leader = by_id.get(given["leader"])
        if leader is None:
            raise InputUnfit("field `leader` names no hypothesis of yours")
        if leader.kind == "no_fault":
            return Ended(Argued(self._hypotheses))
        claims = claims_of(given["claims"], self._case.observed)
        ruled = []
        for one in given.get("ruled_out", ()):
            rival = by_id.get(one["hypothesis"])
            if rival is None or any(number >= len(claims) for number in one["claims"]):
                raise InputUnfit("field `ruled_out` names a hypothesis or a claim that is not there")
            why = figureless(one["why"])
            ruled.append({"component": rival.component, "fault": rival.fault, "claims": one["claims"], "why": why})
        summary = figureless(given.get("summary") or leader.statement)
        cause = {"component": leader.component, "fault": leader.fault, "summary": summary}
        return await self._judged({"cause": cause, "claims": claims, "ruled_out": ruled})

    async def _judged(self, body: Mapping[str, Json]) -> Json | Ended:
        """Have the gate judge it: the end, or its verdicts for the model."""
        self._submissions += 1
        try:
            judged = await self._case.diagnose(body)
        except GateError as error:
            if error.status not in {400, 403, 422}:
                raise
            raise InputUnfit(f"the gate refused the submission: {error.code}: {error.detail}") from error
        argued = Argued(self._hypotheses, body, judged)
        if argued.stands or self._submissions >= SUBMISSIONS_MAX:
            return Ended(argued)
        names = ("verdict", "reason", "actual", "about", "idle")
        verdicts = [{name: _within(one.get(name), 200) for name in names} for one in judged.claims]
        return {"verdict": judged.verdict, "claims": verdicts, "missing": list(judged.missing)}


def _short(alert: Mapping[str, Json]) -> dict[str, Json]:
    return {str(name): _within(value, 800) for name, value in alert.items()}


def _within(value: Json, characters: int) -> Json:
    """``value``, or the beginning of its JSON where that is longer."""
    written = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return value if len(written) <= characters else written[:characters] + "…"
