"""Any REST tool server, registered by a manifest: no code.

The manifest (signed with the bundle) says what goes where on the wire; the settings say where the server is and which
file holds its credential, or where it gets a token for each principal (``exchange.py``). The credential is read here, sent
from here, and stands in no plan, result or error.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from pydantic import with_config

from broker.catalog import Action
from broker.clock import Clock
from broker.connectors.base import STRICT, EffectStatus
from broker.connectors.exchange import Exchange, ExchangeSettings
from broker.connectors.http_template import Probe, Transport, Wire, compile_transport, path, pick, rollback_request
from broker.connectors.server import ServerSettings
from broker.egress import Answer, Egress
from broker.errors import BadRequest, BrokerError, UpstreamFailed
from broker.model import OWN_ISSUER, ActionRequest, Effect, Grant, Json, Plan, Principal, Result, ResultStatus

_SHOWN_STATUSES: Final = frozenset(range(400, 600))


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings(ServerSettings):
    """One REST tool server; residency is checked on ``region``."""

    exchange: ExchangeSettings | None = None
    """Instead of a credential: a token for whoever asks, from the server's authorization server (RFC 8693)."""
    concurrency: int = 16
    answer_bytes_max: int = 1_048_576
    rows_max: int = 1000


class HttpConnector:
    """The adapter; one instance a server."""

    def __init__(self, settings: HttpSettings, egress: Egress, clock: Clock) -> None:
        """Read the credential; raises ``BadRequest`` (``config.secret``) where it is not there, or where there are two."""
        if settings.exchange is not None and settings.credential != "none":
            raise BadRequest(
                f"connector `{settings.name}`: `credential` and `exchange` exclude each other",
                code="config.invalid",
                remedy="leave one of them out",
            )
        self.name = settings.name
        self._settings = settings
        self._upstream = egress.upstream(settings.upstream)
        self._credential = settings.credential_headers()
        self._exchange = Exchange(settings.name, settings.exchange, egress, clock) if settings.exchange else None
        self._transports: dict[str, tuple[Action, Transport]] = {}

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:  # noqa: ARG002 - one server, one place
        """Where the request's data goes."""
        return {"region": self._settings.region, "provider": self.name}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """Return the exact request line and body, and the state before where the manifest says how to read it."""
        transport = self._transport(action)
        wire = transport.render(request.arguments, request.resource, request.id)
        target = transport.state_target(request.arguments, request.resource)
        before, state = await self._state(target) if target else (None, b"")
        return Plan(
            summary=f"{wire.method} {wire.target} on {self.name}",
            fingerprint=hashlib.sha256(_unlabelled(transport, request) + b"\n" + state).hexdigest(),
            before=before,
            after={
                "method": wire.method,
                "target": wire.target,
                "body": None if wire.body is None else orjson.loads(wire.body),
            },
            affected=(request.resource.id,),
            rollback=rollback_request(action.rollback, request.arguments, request.resource, before),
        )

    async def execute(self, grant: Grant, action: Action) -> Result:
        """Send the request once and read the answer within its bounds."""
        transport = self._transport(action)
        wire = transport.render(grant.arguments, grant.request.resource, grant.request.id)
        return self._result(transport, await self._send(wire, grant.principal))

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:
        """Ask where the manifest's ``status_of`` says; without one the answer is ``unknown``."""
        probe = self._transport(action).status_of if action is not None else None
        if probe is None:
            return EffectStatus("unknown", "the manifest names no way to ask")
        try:
            answer = await self._send(Wire("GET", path(probe.path, {"action_id": action_id}), {}, None))
            return _judged(probe, answer)
        except BrokerError as error:
            return EffectStatus("unknown", f"asking failed: {error.error_code}")

    async def aclose(self) -> None:
        """Give back connections."""
        await self._upstream.aclose()
        if self._exchange is not None:
            await self._exchange.aclose()

    def _transport(self, action: Action) -> Transport:
        """Compile once an action; an action of a newer bundle is another object."""
        known = self._transports.get(action.name)
        if known is None or known[0] is not action:
            compiled = compile_transport(action)
            if action.effect is Effect.READ and compiled.method not in {"GET", "HEAD", "POST"}:
                raise BadRequest(
                    f"action `{action.name}` is a read but its method is {compiled.method}", code="manifest.transport"
                )
            known = self._transports[action.name] = (action, compiled)
        return known[1]

    async def _send(self, wire: Wire, principal: Principal | None = None) -> Answer:
        """One exchange, for ``principal`` where the server tells them apart; what the gate itself asks is for its client."""
        whose = None if principal is None or principal.issuer == OWN_ISSUER else principal
        own = self._credential if self._exchange is None else await self._exchange.headers(whose)
        headers = {**wire.headers, **own}
        answer = await self._upstream.request(wire.method, wire.target, headers=headers, body=wire.body)
        if answer.status == 401 and self._exchange is not None:
            self._exchange.forget(whose)
        return answer

    async def _state(self, target: str) -> tuple[Json, bytes]:
        """The state before a write: reading it must succeed, or there is no plan."""
        answer = await self._send(Wire("GET", target, {"accept": "application/json"}, None))
        if answer.status != 200:
            raise UpstreamFailed(
                f"`{self.name}` answered {answer.status} when asked for the state before",
                sent=False,
                code="upstream.status",
            )
        value = _json(self.name, answer)
        return value, orjson.dumps(value, option=orjson.OPT_SORT_KEYS)

    def _result(self, transport: Transport, answer: Answer) -> Result:
        """Tell OK, EMPTY, TRUNCATED and ERROR apart; an error's body stays here."""
        units = {"bytes": len(answer.body)}
        if answer.status in transport.empty:
            return Result(ResultStatus.EMPTY, None, f"the system answered {answer.status}", units)
        if answer.status not in transport.ok:
            return Result(ResultStatus.ERROR, {"status": answer.status}, f"the system answered {answer.status}", units)
        if not answer.body:
            return Result(ResultStatus.OK if transport.method != "GET" else ResultStatus.EMPTY, None, "", units)
        value = _json(self.name, answer) if _is_json(answer) else {"text": _text(answer)}
        if not transport.rows:
            return Result(ResultStatus.OK, value, "", units)
        return self._bounded_rows(transport.rows, value, units)

    def _bounded_rows(self, field: str, value: Json, units: Mapping[str, int]) -> Result:
        rows = pick(value, field)
        if not isinstance(rows, list):
            raise UpstreamFailed(
                f"`{self.name}` answered without the list that the manifest names", code="upstream.contract"
            )
        units = {**units, "rows": min(len(rows), self._settings.rows_max)}
        if not rows:
            return Result(ResultStatus.EMPTY, value, "", units)
        if len(rows) > self._settings.rows_max:
            detail = f"{self._settings.rows_max} of {len(rows)} rows"
            del rows[self._settings.rows_max :]
            return Result(ResultStatus.TRUNCATED, value, detail, units)
        return Result(ResultStatus.OK, value, "", units)


def _unlabelled(transport: Transport, request: ActionRequest) -> bytes:
    """What would be sent, without this request's own id: equal requests on equal state have equal fingerprints."""
    wire = transport.render(request.arguments, request.resource, "")
    return b"\n".join([wire.method.encode(), wire.target.encode(), wire.body or b""])


def _judged(probe: Probe, answer: Answer) -> EffectStatus:
    if answer.status == 404 and 404 in probe.not_done:
        return EffectStatus("not_done", "the system does not know this action")
    if answer.status != 200 or not _is_json(answer):
        return EffectStatus("unknown", f"the system answered {answer.status}")
    value = pick(_json("status_of", answer), probe.field)
    if value in probe.done:
        return EffectStatus("done", f"the system says {value}")
    if value in probe.not_done:
        return EffectStatus("not_done", f"the system says {value}")
    return EffectStatus("unknown", "the system's answer has no meaning in the manifest")


def _is_json(answer: Answer) -> bool:
    kind = answer.headers.get("Content-Type", "").split(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _json(name: str, answer: Answer) -> Json:
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        raise UpstreamFailed(f"`{name}` answered with something that is not JSON", code="upstream.garbage") from None


def _text(answer: Answer) -> str:
    return answer.body.decode("utf-8", errors="replace")
