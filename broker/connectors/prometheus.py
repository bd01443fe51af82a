"""A Prometheus server (HTTP API v1, Prometheus 2.42 and later): range and instant queries, alerts, series.

Each query is judged by ``promql`` before it leaves, and its rendering is sent. ``enforce`` pins labels in every selector,
so that one server may serve several environments and an investigation of one cannot read another's: a value is plain
text, or ``{resource.env}``, ``{resource.id}``, ``{resource.region}`` or ``{tenant}``. Values stay the exact decimal texts
of the server; times are seconds. Errors of the server keep their type and lose their text, which may quote label values.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from pydantic import with_config

from broker.catalog import Action
from broker.connectors.base import STRICT, EffectStatus
from broker.connectors.promql import QueryBounds, Window, bounded_matchers, bounded_query, check_window
from broker.connectors.server import ServerSettings
from broker.egress import Answer, Egress
from broker.errors import BadRequest, NotFound, UpstreamFailed
from broker.model import ActionRequest, Grant, Json, Plan, Resource, Result, ResultStatus

_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}", re.ASCII)
_VALUE: Final = re.compile(r"[A-Za-z0-9_.:/@-]{1,200}", re.ASCII)
_PLACEHOLDERS: Final = ("{resource.env}", "{resource.id}", "{resource.region}", "{tenant}")
_ERROR_TYPES: Final[Mapping[str, str]] = {
    "bad_data": "the server does not accept the query; it may be older than what the query uses",
    "execution": "the server could not run the query: too many samples, or series that do not match one to one",
    "timeout": "the query took longer than the server may spend; narrow it",
    "canceled": "the server gave the query up; narrow it or ask again",
    "unavailable": "the server is not ready yet",
    "internal": "the server failed inside",
    "not_found": "the server does not know this",
}
_ALERT_STATES: Final = ("firing", "pending", "inactive")


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings(ServerSettings):
    """One server. Seconds, bytes and counts as the names say; an empty ``region`` is that of the resource."""

    resources: tuple[str, ...] = ()
    """Ids of resources, or ``environment/id``, that this server answers for; empty: all of its type."""
    enforce: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Label name to the value that every selector must have."""
    query_seconds: int = 10
    """What the server is told to spend on one query at most."""
    concurrency: int = 4
    answer_bytes_max: int = 4_194_304
    series_max: int = 200
    window_seconds_max: int = 604_800
    points_max: int = 11_000
    step_seconds_min: int = 1
    lookback_seconds_max: int = 604_800
    evaluations_max: int = 110_000
    selectors_max: int = 16


class PrometheusConnector:
    """The adapter; one instance a server."""

    def __init__(self, settings: PrometheusSettings, egress: Egress) -> None:
        """Check the settings; raises ``BadRequest`` naming the field."""
        self.name = settings.name
        self._settings = settings
        for label, value in settings.enforce.items():
            if not _LABEL.fullmatch(label) or not (value in _PLACEHOLDERS or _VALUE.fullmatch(value)):
                raise BadRequest(
                    f"field `enforce` of connector `{settings.name}` holds `{label}`, which is no label with a plain value",
                    code="config.enforce",
                    remedy=f"write label = value, or one of {', '.join(_PLACEHOLDERS)}",
                )
        self._bounds = QueryBounds(
            window_seconds_max=settings.window_seconds_max,
            points_max=settings.points_max,
            step_seconds_min=settings.step_seconds_min,
            lookback_seconds_max=settings.lookback_seconds_max,
            evaluations_max=settings.evaluations_max,
            selectors_max=settings.selectors_max,
        )
        self._upstream = egress.upstream(settings.upstream)
        self._headers = {"accept": "application/json", **settings.credential_headers()}

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:
        """Where the request's data goes: the server's own place."""
        return {"region": self._settings.region or request.resource.region, "provider": self.name}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """What would be sent; raises ``BadRequest`` for what is out of bounds."""
        path, form = self._form(action, request.resource, request.tenant, request.arguments)
        digest = hashlib.sha256(orjson.dumps([path, form]))
        return Plan(
            summary=f"{action.name} on {request.resource.id}",
            fingerprint=digest.hexdigest(),
            after={"path": path, "form": [list(pair) for pair in form]},
            affected=(request.resource.id,),
        )

    async def execute(self, grant: Grant, action: Action) -> Result:
        """Ask the server once, within its bounds."""
        enforced = self._enforced(grant.request.resource, grant.request.tenant)
        path, form = self._form(action, grant.request.resource, grant.request.tenant, grant.arguments)
        if path == "/api/v1/alerts":
            answer = await self._upstream.request("GET", path, headers=self._headers)
        else:
            headers = {**self._headers, "content-type": "application/x-www-form-urlencoded"}
            answer = await self._upstream.request("POST", path, headers=headers, body=urlencode(form).encode())
        units = {"bytes": len(answer.body)}
        body = self._body(answer)
        if body.get("status") != "success":
            return _refused(answer.status, body, units)
        match path:
            case "/api/v1/alerts":
                return self._alerts(body, enforced, units)
            case "/api/v1/series":
                return self._listed(body, units)
            case _:
                return self._series(body, units)

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:  # noqa: ARG002
        """Reads leave no trace to ask for."""
        return EffectStatus("unknown", "this action leaves no trace to ask for")

    async def aclose(self) -> None:
        """Give back connections."""
        await self._upstream.aclose()

    # -- the way out --------------------------------------------------------------------------------------------------

    def _answers_for(self, resource: Resource) -> None:
        """Raise ``NotFound`` for a target whose server is another one."""
        names = self._settings.resources
        if names and not {resource.id, f"{resource.env}/{resource.id}"} & set(names):
            raise NotFound(
                "no server is configured for this resource", remedy="list it in `resources` of this connector"
            )

    def _form(
        self, action: Action, resource: Resource, tenant: str, arguments: Mapping[str, Any]
    ) -> tuple[str, list[tuple[str, str]]]:
        """Path and form fields of one request; everything is judged here."""
        settings = self._settings
        self._answers_for(resource)
        enforce = self._enforced(resource, tenant)
        allowance = [("timeout", f"{settings.query_seconds}s"), ("limit", str(settings.series_max + 1))]
        match action.name.partition(".")[2]:
            case "query.range":
                window = Window(arguments["start_s"], arguments["end_s"], arguments["step_s"])
                check_window(window, self._bounds)
                query = bounded_query(arguments["query"], window, enforce=enforce, bounds=self._bounds)
                times = [("start", str(window.start_s)), ("end", str(window.end_s)), ("step", str(window.step_s))]
                return "/api/v1/query_range", [("query", query), *times, *allowance]
            case "query.instant":
                at_s = arguments["at_s"]
                query = bounded_query(arguments["query"], Window(at_s, at_s), enforce=enforce, bounds=self._bounds)
                return "/api/v1/query", [("query", query), ("time", str(at_s)), *allowance]
            case "series.list":
                # No points are read: the window alone counts.
                window = Window(arguments["start_s"], arguments["end_s"], settings.window_seconds_max)
                check_window(window, self._bounds)
                chosen = [("match[]", bounded_matchers(one, enforce=enforce)) for one in arguments["matchers"]]
                times = [("start", str(window.start_s)), ("end", str(window.end_s))]
                return "/api/v1/series", [*chosen, *times, ("limit", str(settings.series_max + 1))]
            case "alerts.list":
                return "/api/v1/alerts", []
            case _:
                raise NotFound(
                    f"connector `{self.name}` has no action `{action.name}`", code="connector.unknown_action"
                )

    def _enforced(self, resource: Resource, tenant: str) -> dict[str, str]:
        """The pinned labels with their values for this target; a target without a plain value is refused."""
        known = dict(zip(_PLACEHOLDERS, (resource.env, resource.id, resource.region, tenant), strict=True))
        values = {label: known.get(value, value) for label, value in self._settings.enforce.items()}
        for label, value in values.items():
            if not _VALUE.fullmatch(value):
                raise BadRequest(
                    f"the target gives no plain value for the label `{label}`, which every query must carry",
                    code="request.label_enforced",
                    remedy="name the target's environment and region in the inventory",
                )
        return values

    # -- the answer -----------------------------------------------------------------------------------------------------

    def _body(self, answer: Answer) -> dict[str, Any]:
        try:
            value = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            value = None
        if isinstance(value, dict) and value.get("status") in {"success", "error"}:
            return value
        if answer.status != 200:
            return {"status": "error", "errorType": ""}  # a proxy's page, or the server's own plain text
        raise self._garbage()

    def _series(self, body: Mapping[str, Any], units: Mapping[str, int]) -> Result:
        """Vectors, matrices and scalars in one shape: ``{"series": [{"labels", "points": [[seconds, text], …]}]}``."""
        try:
            kind, found = body["data"]["resultType"], body["data"]["result"]
            rows: list[Any] = [{"metric": {}, "value": found}] if kind == "scalar" else found
            if kind not in {"vector", "matrix", "scalar"}:
                raise self._garbage()
            series = [_one_series(row) for row in rows[: self._settings.series_max]]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._garbage() from None
        odd = sum(1 for row in rows if row.keys().isdisjoint({"value", "values"}))
        cut = [f"{odd} series hold native histograms, which are left out"] if odd else []
        return self._bounded(
            {"series": [one for one in series if one["points"]]}, "series", len(rows), body, cut, units
        )

    def _listed(self, body: Mapping[str, Any], units: Mapping[str, int]) -> Result:
        try:
            rows = body["data"]
            series = [{"labels": _labels(row)} for row in rows[: self._settings.series_max]]
        except (KeyError, TypeError, ValueError):
            raise self._garbage() from None
        return self._bounded({"series": series}, "series", len(rows), body, [], units)

    def _alerts(self, body: Mapping[str, Any], enforced: Mapping[str, str], units: Mapping[str, int]) -> Result:
        """The server has no filter here: alerts without the pinned labels are dropped on this side."""
        try:
            rows = [one for one in body["data"]["alerts"] if enforced.items() <= one["labels"].items()]
            alerts = [_alert(one) for one in rows[: self._settings.series_max]]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._garbage() from None
        return self._bounded({"alerts": alerts}, "alerts", len(rows), body, [], units)

    def _bounded(  # noqa: PLR0913, PLR0917 - one argument a fact about the answer
        self,
        value: dict[str, Any],
        rows: str,
        found: int,
        body: Mapping[str, Any],
        cut: list[str],
        units: Mapping[str, int],
    ) -> Result:
        """OK, EMPTY or TRUNCATED, with what was cut in words. A warning of the server means: not the whole truth."""
        most = self._settings.series_max
        if found > most:
            cut.append(f"the first {most} of more {rows}")
        if body.get("warnings"):
            cut.append(f"the server warned {len(body['warnings'])} times that its answer may be partial")
        units = {**units, "rows": len(value[rows])}
        if cut:
            return Result(ResultStatus.TRUNCATED, value, "; ".join(cut), units)
        return Result(ResultStatus.OK if value[rows] else ResultStatus.EMPTY, value, "", units)

    def _garbage(self) -> UpstreamFailed:
        return UpstreamFailed(
            f"`{self.name}` answered with something else than the API of Prometheus", code="upstream.garbage"
        )


def _refused(status: int, body: Mapping[str, Any], units: Mapping[str, int]) -> Result:
    """The server's own refusal: its status and type, our sentence."""
    kind = str(body.get("errorType", ""))
    sentence = _ERROR_TYPES.get(kind, "the server refused")
    value = {"status": status, "error": kind if kind in _ERROR_TYPES else ""}
    return Result(ResultStatus.ERROR, value, f"{sentence} (status {status})", units)


def _one_series(row: Mapping[str, Any]) -> dict[str, Any]:
    points = row["values"] if "values" in row else [row["value"]] if "value" in row else []
    return {"labels": _labels(row["metric"]), "points": [_point(at, value) for at, value in points]}


def _point(at: Any, value: Any) -> list[Json]:
    """Whole seconds where they are whole; the value as the server wrote it."""
    if not isinstance(value, str) or isinstance(at, bool):
        raise TypeError
    return [int(at) if float(at).is_integer() else at, value]


def _labels(row: Mapping[str, Any]) -> dict[str, Json]:
    return {str(name): str(value) for name, value in row.items()}


def _alert(one: Mapping[str, Any]) -> dict[str, Json]:
    state = one["state"] if one["state"] in _ALERT_STATES else ""
    return {
        "state": state,
        "active_at": str(one.get("activeAt", "")),
        "value": str(one.get("value", "")),
        "labels": _labels(one["labels"]),
        "annotations": _labels(one.get("annotations", {})),
    }
