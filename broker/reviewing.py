"""What a reviewer is shown beside the proposal itself: where its values came from, why policy asks, what came before.

Everything is read afresh from the gate's own rows and log; nothing the requester says of itself counts as a fact here.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from broker.answers import decision_body
from broker.approvals import Proposal, stored_principal
from broker.approvals.checks import may_review
from broker.clock import Clock, seconds
from broker.connectors.base import Connector
from broker.errors import BrokerError, Denied
from broker.evidence import Evidence
from broker.model import Json, Principal
from broker.parties import Parties
from broker.policy.facts import build as build_input
from broker.policy.pdp import PolicyDecisionPoint
from broker.reading import Place, Reader
from broker.remedies import Situations

SIMILAR_MAX = 10
Search = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Reviewing:
    """Answers ``gate.approvals.read`` with ``detail``."""

    def __init__(  # noqa: PLR0913 - the composition names each part once
        self,
        *,
        reader: Reader,
        situations: Situations,
        parties: Parties,
        evidence: Evidence,
        policy: PolicyDecisionPoint,
        connectors: Callable[[], Mapping[str, Connector]],
        search: Search,
        clock: Clock,
    ) -> None:
        """``search(tenant, said)`` finds lines of the log, ``said`` as the arguments of ``gate.audit.search``."""
        self._reader = reader
        self._situations = situations
        self._parties = parties
        self._evidence = evidence
        self._policy = policy
        self._connectors = connectors
        self._search = search
        self._clock = clock

    async def beside(self, reviewer: Principal, found: Proposal) -> dict[str, Json]:
        """``{bounds, proposed, created_at, parties, diagnosis, session, provenance, why_not, trace, similar, ...}``."""
        place = await self._reader.proposal(await self._parties.bounded(stored_principal(found)), found)
        session = place.gathered.session
        trace = await self._trace(place, found)
        return {
            "bounds": {name: dict(rule) for name, rule in found.bounds.items()},
            "proposed": dict(found.request["arguments"]),
            "created_at": found.created_at,
            "signature": found.signature,
            "subject": found.subject,
            "actor": found.actor,
            "session": found.session,
            "incident": session.incident if session else "",
            "tainted": session.tainted if session else False,
            "intent": [
                {"kind": one.kind, "text": one.text, "author": one.author, "trusted": one.trusted}
                for one in session.intent
            ]
            if session
            else [],
            "provenance": {path: label.value for path, label in place.request.labels.items()},
            "diagnosis": await self._diagnosis(found, session.incident if session else ""),
            "why_not": self._why_not(reviewer, found),
            "dependents": trace.pop("dependents", []),
            "trace": trace,
            "similar": await self._similar(found),
        }

    async def _diagnosis(self, found: Proposal, incident: str) -> Json:
        """The diagnosis that the request cites, if it is one of its incident; else none."""
        cited = found.request["diagnosis"]
        if not cited or not incident:
            return None
        here = await self._evidence.of_incident(found.tenant, incident)
        return next((one.as_json() for one in here if one.id == cited), None)

    def _why_not(self, reviewer: Principal, found: Proposal) -> Json:
        """Why this reader may not review it, as the review itself would say; none where they may."""
        try:
            may_review(found, reviewer, seconds(self._clock))
        except BrokerError as error:
            return {"code": error.error_code, "detail": error.detail, "remedy": error.error_remedy}
        return None

    async def _trace(self, place: Place, found: Proposal) -> dict[str, Json]:
        """What policy says of the request before anybody answers: the decision, and each rule that held with its title.

        ``dependents`` is what policy saw to depend directly on the target, by the topology; in an incident only.
        """
        request, session = place.request, place.gathered.session
        declared = self._policy.catalog.find(request.action)
        connector = self._connectors().get(declared.connector) if declared else None
        try:
            situation = await self._situations.of(
                place.principal, session, request, declared, asking=place.asking, look=_unseen
            )
            sheet = build_input(
                principal=place.principal,
                session=session,
                request=request,
                action=declared,
                endpoint=connector.endpoint(request) if connector else {},
                killed=place.gathered.killed,
                usage=place.gathered.usage,
                approvals=[],
                now=seconds(self._clock),
                situation=situation,
            )
            simulation = await self._policy.simulate(sheet)
        except BrokerError as error:
            return {"problem": error.error_code, "decision": None, "rules": [], "changed": False}
        rules = [{"rule": one.rule, "title": one.title, "file": one.file, "line": one.line} for one in simulation.held]
        changed = simulation.decision.policy_digest != found.policy_digest
        told = {"problem": "", "decision": decision_body(simulation.decision), "rules": rules, "changed": changed}
        return told | {"dependents": list(situation.target["dependents"])}

    async def _similar(self, found: Proposal) -> list[Json]:
        """Ends of the same action on the same resource, newest first; empty where the log cannot be searched now."""
        said = {
            **dict.fromkeys(("principal", "effect", "code", "session", "incident"), ""),
            "since": 1,
            "until": 0,
            "kinds": ["outcome", "refusal", "recovery"],
            "action": found.action,
            "resource": found.resource["id"],
            "tier": -1,
            "own": True,
            "before": -1,
            "after": -1,
            "limit": SIMILAR_MAX,
        }
        try:
            told = await self._search(found.tenant, said)
        except BrokerError:
            return []
        return list(told["lines"])


async def _unseen(principal: Principal, **asked: Any) -> Mapping[str, Json]:  # noqa: ARG001 - as it is called
    """A page looks at nothing outside: conditions that only a look could prove count as unproven."""
    raise Denied("conditions are measured when the request is decided", code="remedy.not_measured")
