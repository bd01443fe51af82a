"""A view without a gate, for quick work on the rules: the connector's own answers, and the gate's own judge of claims.

The figures that count come through a gate (``python -m tests.eval``); this one runs in seconds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agents.rules import Facts, Query, Seen
from broker.connectors.replay import ReplayConnector, ReplaySettings
from broker.connectors.replay_case import Case, affected, read_case, targets
from broker.evidence.claims import read_claims
from broker.evidence.observations import Observation
from broker.evidence.verdicts import Finding, judge_claim
from broker.model import ResultStatus

NAME = "case"


class RecordedView:
    """Implements the rules' view on one case folder."""

    def __init__(self, folder: Path) -> None:
        self.case = read_case(folder)
        self.facts = facts(self.case)
        self.actions = frozenset(
            {"replay.observation.list", "replay.change.list", "replay.alert.read"}
            | {e.action for e in self.case.entries}
        )
        self.kept: dict[str, Observation] = {}
        self._connector = ReplayConnector(ReplaySettings(cases={NAME: str(folder)}))

    async def read(self, query: Query) -> Seen:
        """One answer, kept as an observation."""
        resource = {"type": query.type, "id": query.id, "env": query.env}
        grant: Any = SimpleNamespace(
            arguments=dict(query.arguments), request=SimpleNamespace(resource=SimpleNamespace(**resource))
        )
        result = await self._connector.execute(grant, SimpleNamespace(name=query.action))  # type: ignore[arg-type]
        key = f"obs_{len(self.kept):026d}"
        signal = query.signal or "state"
        status = ResultStatus(result.status)
        self.kept[key] = Observation(
            key, query.action, "replay", signal, resource, query.arguments, 0, status, result.value
        )
        return Seen(query, status.value, result.value, key)

    def judge(self, claims: Sequence[Mapping[str, Any]]) -> list[Finding]:
        """The gate's verdict on each claim."""
        return [judge_claim(one, self.kept[one.observation]) for one in read_claims(list(claims))]


def facts(case: Case) -> Facts:
    """The incident as a gate would tell it."""
    service = affected(case)
    parts = [one for one in targets(case) if one != service] if not case.described else []
    nodes = {**dict.fromkeys([service, *case.nodes], "component"), **dict.fromkeys(parts, "part")}
    return Facts(
        id="inc_case",
        title=" ".join(filter(None, [str(case.alert.get("title", "")), case.question])),
        service=service,
        env="prod",
        since=case.since,
        until=case.until,
        alert={"case": NAME, "annotations": {k: v for k, v in case.alert.items() if isinstance(v, str)}},
        nodes=nodes,
        edges=tuple(case.edges) or tuple((service, one) for one in parts),
        resolved=str(case.alert.get("status", "")).lower() in {"resolved", "normal", "ok"},
    )
