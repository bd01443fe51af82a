"""Recorded tool outputs answered again: a case folder (``replay_case.py``) as an outside system.

A call meets the entry of the same action whose arguments all equal the call's; arguments that only say when, or how
much, are left out of the comparison, and where several entries fit, one that equals the call entirely comes first, else
the one recorded last. ``replay.observation.list`` gives every entry's action, arguments, source and signal as they can
be called. Anything else is EMPTY. A resource is ``{"type": "replay", "id": SOURCE}``, or ``CASE/SOURCE`` where several
cases are served; the case's own answers stand on ``CASE`` (``case`` where there is one alone), which stands for any source.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from pydantic import with_config

from broker.catalog import Action
from broker.connectors.base import STRICT, EffectStatus
from broker.connectors.replay_case import Case, Entry, read_case
from broker.errors import BadRequest
from broker.model import ActionRequest, Grant, Json, Plan, Result, ResultStatus

WHEN_AND_HOW_MUCH: Final = re.compile(
    r"(?:since|until|start|end|from|to|at|time|when|window|step|interval|limit|max|tail|lines|count|timeout|page|order)"
    r"|(?:since|until|start|end|from|to|at|window|step|max|min|tail|lines|series|rows|page)_\w+"
    r"|\w+_(?:s|ms|seconds|minutes|hours|time|datetime|max|limit|size)"
)
_MAYBE: Final = re.compile(r"(?:from|to|at)(?:_\w+)?")
"""Names of times that also name places: who calls whom."""
_INSTANT: Final = re.compile(r"now(?:[-+/]\w+)*|[-+]?\d+(?:\.\d+)?(?:ms|[smhdwy])?|\d{4}-\d\d-\d\d\S*(?: \S+)*")
_STATUS: Final[Mapping[str, ResultStatus]] = {
    "ok": ResultStatus.OK,
    "empty": ResultStatus.EMPTY,
    "truncated": ResultStatus.TRUNCATED,
    "error": ResultStatus.ERROR,
}


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """Folders of recorded cases by the name under which they are asked for."""

    name: str = "replay"
    cases: Mapping[str, str]
    region: str = "local"


class ReplayConnector:
    """Serves recorded cases; each is read once, at start."""

    def __init__(self, settings: ReplaySettings) -> None:
        """Raises ``BadRequest`` (``replay.case``) for a folder that is no case."""
        self.name = settings.name
        self._region = settings.region
        self._cases = {name: read_case(Path(folder)) for name, folder in settings.cases.items()}

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:  # noqa: ARG002 - everything is on this machine
        """Where the request's data goes."""
        return {"region": self._region, "provider": self.name}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """Nothing happens: only reads are recorded."""
        asked = [action.name, request.resource.id, dict(request.arguments)]
        digest = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return Plan(summary=f"{action.name} of a recorded case", fingerprint=digest, affected=(request.resource.id,))

    async def execute(self, grant: Grant, action: Action) -> Result:
        """The recorded answer, or EMPTY."""
        name, _, source = grant.request.resource.id.partition("/")
        case = self._cases.get(name)
        if case is None:
            raise BadRequest("field `resource.id` names no recorded case", code="request.resource")
        match action.name:
            case "replay.observation.list":
                return _rows("observations", [_listed(name, entry) for entry in case.entries])
            case "replay.change.list":
                return _rows("changes", [dict(change) for change in case.changes])
            case "replay.alert.read":
                return Result(ResultStatus.OK if case.alert else ResultStatus.EMPTY, dict(case.alert) or None)
            case _:
                return _answered(_best(case, action.name, source, grant.arguments))

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:  # noqa: ARG002
        """A read leaves no trace."""
        return EffectStatus("unknown", "a recorded answer has no effect to ask for")

    async def aclose(self) -> None:
        """Nothing is open."""


def _listed(case: str, entry: Entry) -> dict[str, Json]:
    """One entry as it can be called."""
    return {
        "action": entry.action,
        "recorded": entry.recorded,
        "resource": f"{case}/{entry.resource}",
        "args": dict(entry.args),
        "source": entry.source,
        "signal": entry.signal,
        "at": entry.at,
    }


def _rows(name: str, rows: Sequence[Json]) -> Result:
    return Result(ResultStatus.OK if rows else ResultStatus.EMPTY, {name: list(rows)}, "", {"rows": len(rows)})


def _best(case: Case, action: str, source: str, given: Mapping[str, Json]) -> Entry | None:
    """The entry that the call meets."""
    wanted = _which(given)
    fitting = [
        entry
        for entry in case.entries
        if entry.action == action and source in {entry.resource, ""} and _which(entry.args) == wanted
    ]
    exact = [entry for entry in fitting if dict(entry.args) == dict(given)]
    return max(exact or fitting, key=lambda entry: entry.at, default=None)


def _which(args: Mapping[str, Json]) -> dict[str, Json]:
    """What is asked for, without when and how much."""
    return {name: value for name, value in args.items() if not _says_when_or_how_much(name, value)}


def _says_when_or_how_much(name: str, value: Json) -> bool:
    if _MAYBE.fullmatch(name) and isinstance(value, str):
        return _INSTANT.fullmatch(value) is not None
    return WHEN_AND_HOW_MUCH.fullmatch(name) is not None


def _answered(entry: Entry | None) -> Result:
    if entry is None:
        return Result(ResultStatus.EMPTY, None, "nothing like this was recorded")
    return Result(_STATUS[entry.status], entry.output, "", {"bytes": len(orjson.dumps(entry.output))})
