"""The step ``investigating``: from what the incident shows to a diagnosis that the gate accepts, or to what is missing.

First the rules (``rules/``), without a model. What they recognise from an earlier incident, and the gate verifies again, ends
here and costs no tokens. Anything else goes, where a model is configured, through the model: it must try to refute the
first tier's leader, and a skeptic in a context of its own must try to refute whatever leads then. Whether a claim or a
prediction holds is the gate's to say; no confidence of a model's own is read anywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wicketgate import Diagnosis, GateError

from agents.asking import Asking, ModelFailed
from agents.case import Case, known, people
from agents.inquiry import Argued, Inquiry
from agents.model import Reply
from agents.prose import shown
from agents.recall import held, recall
from agents.rules import Finding, investigate
from agents.skeptic import Skeptic

Json = Any

CLAIMS_MAX = 64
CHECKED_MAX = 40


@dataclass
class Result:
    """How an investigation ended; ``to`` is the state that is asked for."""

    to: str
    body: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Investigation:
    """One step. ``asking`` is None where no model is configured."""

    case: Case
    asking: Asking | None

    async def run(self) -> Result:
        """Raises ``StepOver`` and ``GateError``; never for what a model did."""
        said = people(known(self.case.detail))
        finding = directed(await investigate(self.case), said)
        found = {"checked": list(finding.checked)[:CHECKED_MAX], "rules": finding.verdict, "why": finding.why}
        self.case.tell("found", **found, leader=_named(finding))
        if finding.verdict == "healthy":
            return Result("noise", {"reason": "healthy", **found})
        result = await self._argued(finding, said)
        result.body = {**found, **result.body, **self._spent()}
        return result

    async def _argued(self, finding: Finding, said: Sequence[Json]) -> Result:
        if held(finding, self.case.facts.memory):
            known_before = await self._by_rules(finding, {"challenged": False, "recognised": True})
            if known_before.to == "diagnosed":
                return known_before
        elif finding.verdict == "abstain" and (remembered := await recall(self.case, said)) is not None:
            body, judged = remembered
            return concluded(body, judged, {"challenged": False, "recognised": True, "by": "memory"})
        if self.asking is None:
            return await self._by_rules(finding, {"challenged": False, "unchallenged": "model.not_configured"})
        try:
            return await self._by_model(self.asking, finding, said)
        except ModelFailed as failed:
            self.case.tell("model_failed", code=failed.code)
            # The model tier fails closed: what it alone would say is not said. Its failure takes nothing from the rules.
            return await self._by_rules(finding, {"challenged": False, "unchallenged": failed.code})

    async def _by_rules(self, finding: Finding, how: Mapping[str, Json]) -> Result:
        """A sure leader, judged by the gate; without one, what is missing."""
        if finding.verdict != "sure" or not finding.ranked:
            told = {**how, "reason": "abstained", "candidates": _candidates(finding)}
            return Result("inconclusive", {**told, **await self._unexplained(finding)})
        body = finding.diagnosis()
        return concluded(body, await self.case.diagnose(body), {**how, "by": "rules"})

    async def _by_model(self, asking: Asking, finding: Finding, said: Sequence[Json]) -> Result:
        """Raises ``ModelFailed`` where the model or the skeptic cannot run."""
        inquiry = Inquiry(self.case, asking, self._heard, finding, said)
        argued = await inquiry.run()
        how: dict[str, Json] = {"hypotheses": [one.as_json() for one in argued.hypotheses]}
        if inquiry.loop.not_offered:
            how["not_offered"] = inquiry.loop.not_offered[:8]
        body, by = leader_of(finding, argued)
        if body is None:
            seen = {} if argued.judged is not None else await self._unexplained(finding)
            return Result("inconclusive", {**how, **_missing(argued), **seen, "challenged": True})
        predictions = await Skeptic(self.case, asking, self._heard).challenge(body["cause"], body["claims"])
        challenged = {**body, "claims": [*body["claims"], *predictions][:CLAIMS_MAX]}
        judged = await self.case.diagnose(challenged)
        how |= {"by": by, "challenged": True, "predictions": len(predictions)}
        if by == "rules" and argued.stands and argued.cause != _cause(body):
            return Result("inconclusive", {**how, "reason": "two causes have support", "rival": list(argued.cause)})
        return concluded(challenged, judged, how)

    async def _unexplained(self, finding: Finding) -> dict[str, Json]:
        """What was seen, judged for the people who take over: it names no cause, and is no diagnosis."""
        body = finding.unexplained(self.case.facts.service)
        if not body:
            return {}
        try:
            judged = await self.case.diagnose(body)
        except GateError as error:
            if error.status not in {400, 403, 422}:
                raise
            return {}
        return {"diagnosis": judged.id, "missing": list(judged.missing)}

    def _heard(self, reply: Reply) -> None:
        self.case.model_calls += 1
        uses = [str(use["name"]) for use in reply.uses]
        self.case.tell("said", text=reply.text, uses=uses, tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)

    def _spent(self) -> dict[str, Json]:
        if self.asking is None:
            return {}
        budget = self.asking.budget
        spent: dict[str, Json] = {"tokens": budget.spent_tokens}
        return spent | ({"dollars": f"{budget.spent_dollars:.6f}"} if budget.price else {})


def directed(finding: Finding, said: Sequence[Mapping[str, Json]]) -> Finding:
    """``finding`` as people directed it: without what they ruled out, what they named first. The gate judges all the same."""
    out = {_place(one) for one in said if one["kind"] == "rule_out"}
    named = [_place(one) for one in said if one["kind"] == "correct"]
    kept = [one for one in finding.ranked if not _matches((one.component, one.fault), out)]
    first = [one for one in kept if named and _matches((one.component, one.fault), {named[-1]})]
    if first:
        rest = [one for one in kept if one is not first[0]]
        return replace(finding, verdict="sure", ranked=[first[0], *rest], why="a person named the cause")
    if finding.ranked and (not kept or kept[0] is not finding.ranked[0]):
        return replace(finding, verdict="abstain", ranked=kept, why="a person ruled the leader out")
    if named and finding.verdict == "sure":
        return replace(finding, verdict="abstain", why="a person named another cause, which nothing here shows")
    return finding


def leader_of(finding: Finding, argued: Argued) -> tuple[dict[str, Json] | None, str]:
    """What the skeptic has to refute, and whose it is: the rules' sure leader, else the model's that the gate accepted."""
    if finding.verdict != "sure" or not finding.ranked:
        return (dict(argued.body), "model") if argued.stands else (None, "")
    body = dict(finding.diagnosis())
    if argued.stands and argued.cause == _cause(body):
        have = {_same(one) for one in body["claims"]}
        body["claims"] = [*body["claims"], *(one for one in argued.body["claims"] if _same(one) not in have)]
    return body, "rules"


def concluded(body: Mapping[str, Json], judged: Diagnosis, how: Mapping[str, Json]) -> Result:
    """The end that the gate's verdict leads to."""
    claims = [dict(one) for one in judged.claims]
    summary = shown(str(body["cause"].get("summary", "")), claims)
    told = {**how, "diagnosis": judged.id, "cause": {**body["cause"], "summary": summary}}
    if judged.verdict == "diagnosed":
        return Result("diagnosed", told)
    return Result("inconclusive", {**told, "reason": "the evidence is not enough", "missing": list(judged.missing)})


def _missing(argued: Argued) -> dict[str, Json]:
    if argued.judged is None:
        return {"reason": "the model names no cause"}
    return {
        "reason": "the evidence is not enough",
        "diagnosis": argued.judged.id,
        "missing": list(argued.judged.missing),
    }


def _candidates(finding: Finding) -> list[Json]:
    return [{"component": one.component, "fault": one.fault} for one in finding.ranked[:5]]


def _named(finding: Finding) -> Json:
    return _candidates(finding)[0] if finding.ranked else None


def _cause(body: Mapping[str, Json]) -> tuple[str, str]:
    return str(body["cause"]["component"]), str(body["cause"]["fault"])


def _place(event: Mapping[str, Json]) -> tuple[str, str]:
    return str(event.get("component", "")), str(event.get("fault", ""))


def _matches(cause: tuple[str, str], places: set[tuple[str, str]]) -> bool:
    """A place without a fault means every fault of the component, and the other way round; an empty one means nothing."""
    return any(
        (component or fault) and component in {"", cause[0]} and fault in {"", cause[1]} for component, fault in places
    )


def _same(claim: Mapping[str, Json]) -> tuple[str, str, str, str]:
    return claim["observation"], claim["selector"], claim["op"], str(claim.get("value"))
