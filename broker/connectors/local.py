"""Real processes on this machine: their metrics, logs, configuration, and the supervisor that restarts them.

Actions (arguments in README.md): ``local.metrics.query``, ``local.logs.search``, ``local.process.status``,
``local.process.restart`` on resources of type ``process``; ``local.config.read`` and ``local.config.write`` on ``config``.

The supervisor's control protocol, HTTP/1.1 with JSON on a unix socket or a loopback port::

    GET  /processes/{name}                                        200 {"name","pid","state","started_at_ns","restarts"} | 404
    POST /processes/{name}/restart  {"action_id","expected_pid"}  200 {"action_id","state":"done","process":{…as above}}
                                                                  409 the pid is another one: nothing was done
    GET  /actions/{action_id}                                     200 {"action_id","state":"running|done|failed"} | 404

``state`` of a process is ``running``, ``starting``, ``stopped`` or ``failed``; ``pid`` is 0 where there is none. The
supervisor remembers action ids: a restart with an id it has seen does nothing again and answers what it did. It may
ask for a bearer token (``supervisor_token_file``).
"""

import asyncio
import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from pydantic import with_config

from broker.catalog import Action
from broker.clock import Clock, seconds
from broker.connectors import local_logs, local_metrics
from broker.connectors.base import STRICT, EffectStatus
from broker.connectors.http import credential_headers
from broker.connectors.local_git import ConfigFile, GitRepository
from broker.egress import Egress, UpstreamSettings, httpx_client
from broker.errors import BadRequest, BrokerError, Conflict, NotFound, UpstreamFailed
from broker.model import ActionRequest, Grant, Json, Plan, Result, ResultStatus

_SUPERVISOR_KEYS: Final = ("name", "pid", "state", "started_at_ns", "restarts")


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class LocalProcess:
    """One supervised process: where its metrics are and which files it logs to (oldest first)."""

    id: str
    metrics_url: str = ""
    log_files: tuple[str, ...] = ()


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """The machine's processes. ``config_files`` maps a resource id to a path inside ``config_repository``."""

    name: str = "local"
    supervisor_url: str = "http://localhost"
    supervisor_socket: str = ""
    supervisor_token_file: str = ""
    allow_networks: tuple[str, ...] = ()
    processes: tuple[LocalProcess, ...] = ()
    config_repository: str = ""
    config_branch: str = "main"
    config_files: Mapping[str, str] = field(default_factory=dict, hash=False)
    timeout_seconds: float = 10.0
    restart_seconds: float = 60.0
    answer_bytes_max: int = 1_048_576
    series_max: int = 200
    window_seconds_max: int = 86_400
    lines_max: int = 1000
    line_bytes_max: int = 4096
    scan_bytes_max: int = 16_777_216
    config_bytes_max: int = 262_144


class LocalConnector:
    """The adapter; one instance a machine."""

    def __init__(self, settings: LocalSettings, egress: Egress, clock: Clock) -> None:
        """Check the settings; raises ``BadRequest`` naming the field."""
        self.name = settings.name
        self._settings, self._clock = settings, clock
        self._processes = {process.id: process for process in settings.processes}
        self._metrics = {
            process.id: httpx_client(egress.upstream(self._upstream(process.metrics_url)))
            for process in settings.processes
            if process.metrics_url
        }
        kind = "bearer" if settings.supervisor_token_file else "none"
        self._supervisor = httpx_client(egress.upstream(self._upstream(settings.supervisor_url, settings)))
        self._supervisor.headers.update(credential_headers(settings.name, kind, settings.supervisor_token_file, ""))
        for process in settings.processes:
            if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", process.id):
                raise BadRequest(
                    f"field `processes` holds the id `{process.id}`, which is no plain name", code="config.process"
                )
        for path in settings.config_files.values():
            if not path or path.startswith(("-", "/")) or {"", ".", "..", ".git"} & set(path.split("/")):
                raise BadRequest(
                    f"field `config_files` holds `{path}`, which is no plain relative path", code="config.path"
                )
        self._git = GitRepository(
            Path(settings.config_repository or "/nonexistent"),
            branch=settings.config_branch,
            timeout_seconds=settings.timeout_seconds,
            bytes_max=settings.config_bytes_max,
        )

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:
        """Where the request's data goes: the place of the process itself."""
        return {"region": request.resource.region, "provider": self.name}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """What would happen, on the state that is there now."""
        match _verb(action):
            case "config.write":
                return await self._plan_write(request)
            case "process.restart":
                process = await self._process(request.resource.id)
                return Plan(
                    summary=f"restart {request.resource.id} (pid {process['pid']}, {process['state']})",
                    fingerprint=await self._fingerprint(process),
                    before={"process": process},
                    after={"process": {"name": request.resource.id, "state": "running", "pid": "new"}},
                    affected=(request.resource.id,),
                )
            case verb:
                digest = hashlib.sha256(
                    orjson.dumps([verb, request.resource.id, dict(request.arguments)], option=_SORTED)
                )
                return Plan(
                    summary=f"{verb} of {request.resource.id}",
                    fingerprint=digest.hexdigest(),
                    affected=(request.resource.id,),
                )

    async def execute(self, grant: Grant, action: Action) -> Result:
        """Do it once; reads are bounded, writes compare the state that was planned on."""
        resource, arguments = grant.request.resource.id, grant.arguments
        match _verb(action):
            case "metrics.query":
                return await self._query(resource, arguments)
            case "logs.search":
                return await self._search(resource, arguments)
            case "config.read":
                return _config_result(await self._git.read(self._path(resource)))
            case "config.write":
                return await self._write(grant)
            case "process.status":
                return Result(ResultStatus.OK, await self._process(resource))
            case "process.restart":
                return await self._restart(grant)
            case _:
                raise NotFound(
                    f"connector `{self.name}` has no action `{action.name}`", code="connector.unknown_action"
                )

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:
        """Ask the repository for the commit, or the supervisor for the action; without ``action``, both."""
        verb = _verb(action) if action is not None else ""
        asked: list[EffectStatus] = []
        try:
            if self._settings.config_repository and verb in {"", "config.write"}:
                commit = await self._git.committed(action_id)
                asked.append(
                    EffectStatus("done", f"commit {commit}") if commit else EffectStatus("not_done", "no commit")
                )
            if verb in {"", "process.restart"}:
                asked.append(await self._supervisor_status(action_id))
        except BrokerError as error:
            asked.append(EffectStatus("unknown", f"asking failed: {error.error_code}"))
        for status in ("done", "unknown", "not_done"):
            for answer in asked:
                if answer.status == status:
                    return answer
        return EffectStatus("unknown", "this action leaves no trace to ask for")

    async def aclose(self) -> None:
        """The pools belong to the egress."""

    # -- reads ------------------------------------------------------------------------------------------------------

    async def _query(self, resource: str, arguments: Mapping[str, Any]) -> Result:
        client = self._metrics.get(resource)
        if client is None:
            raise _unknown("metrics")
        answer = await client.get(client.base_url.copy_with(raw_path=client.base_url.raw_path.rstrip(b"/")))
        if answer.status_code != 200:
            return Result(ResultStatus.ERROR, {"status": answer.status_code}, "the metrics endpoint refused")
        labels = arguments.get("labels", {})
        found = local_metrics.pick_series(resource, answer.text, arguments["metric"], labels)
        most = min(arguments.get("series_max", self._settings.series_max), self._settings.series_max)
        value = {"metric": arguments["metric"], "at": seconds(self._clock), "series": found[:most]}
        units = {"bytes": len(answer.content), "rows": min(len(found), most)}
        if len(found) > most:
            return Result(ResultStatus.TRUNCATED, value, f"{most} of {len(found)} series", units)
        return Result(ResultStatus.OK if found else ResultStatus.EMPTY, value, "", units)

    async def _search(self, resource: str, arguments: Mapping[str, Any]) -> Result:
        process = self._processes.get(resource)
        if process is None or not process.log_files:
            raise _unknown("log files")
        window = arguments["window_seconds"]
        if not 0 < window <= self._settings.window_seconds_max:
            raise BadRequest(
                f"field `arguments.window_seconds` must be 1 to {self._settings.window_seconds_max}",
                code="request.arguments",
            )
        to_s = arguments.get("end_s") or seconds(self._clock)
        bounds = local_logs.LogBounds(
            scan_bytes_max=self._settings.scan_bytes_max,
            lines_max=min(arguments.get("lines_max", self._settings.lines_max), self._settings.lines_max),
            line_bytes_max=self._settings.line_bytes_max,
        )
        test = local_logs.matcher(arguments.get("pattern", ""), arguments.get("mode", "substring"))
        files = [Path(name) for name in process.log_files]
        found = await asyncio.to_thread(local_logs.search, files, test, from_s=to_s - window, to_s=to_s, bounds=bounds)
        value = {"from": to_s - window, "to": to_s, "matched": found.matched, "lines": found.lines}
        units = {"bytes": found.scanned_bytes, "rows": len(found.lines)}
        if found.cut:
            return Result(ResultStatus.TRUNCATED, value, "; ".join(found.cut), units)
        return Result(ResultStatus.OK if found.lines else ResultStatus.EMPTY, value, "", units)

    # -- configuration ----------------------------------------------------------------------------------------------

    async def _plan_write(self, request: ActionRequest) -> Plan:
        """A diff, and the write that undoes it."""
        resource, content = request.resource, self._content(request.arguments)
        now = await self._git.read(self._path(resource.id))
        if now.blob != request.arguments["expected_blob"]:
            raise Conflict(
                "the configuration changed since it was read",
                code="config.changed",
                remedy="read it again with local.config.read and send the blob it names as expected_blob",
            )
        blob = await self._git.blob_of(content)
        lines = difflib.unified_diff(now.content.splitlines(), content.splitlines(), "before", "after", lineterm="")
        undo = {
            "action": request.action,
            "resource": {"type": resource.type, "id": resource.id, "env": resource.env},
            "arguments": {"content": now.content, "expected_blob": blob},
        }
        return Plan(
            summary=f"change {resource.id} in the configuration repository",
            fingerprint=_digest({"head": now.head, "blob": now.blob}),
            before={"head": now.head, "blob": now.blob},
            after={"blob": blob, "diff": "\n".join(lines)},
            affected=(resource.id,),
            rollback=undo if now.blob else None,
        )

    async def _write(self, grant: Grant) -> Result:
        path, content = self._path(grant.request.resource.id), self._content(grant.arguments)
        if grant.plan_fingerprint:
            with _nothing_sent():
                now = await self._git.read(path)
            _same(grant, _digest({"head": now.head, "blob": now.blob}))
        written = await self._git.write(
            path,
            content,
            expected_blob=grant.arguments["expected_blob"],
            action_id=grant.request.id,
            at_s=seconds(self._clock),
        )
        return Result(
            ResultStatus.OK, {"head": written.head, "blob": written.blob}, "", {"bytes": len(content.encode())}
        )

    def _content(self, arguments: Mapping[str, Any]) -> str:
        content: str = arguments["content"]
        if len(content.encode()) > self._settings.config_bytes_max:
            raise BadRequest(
                f"field `arguments.content` is larger than {self._settings.config_bytes_max} bytes",
                code="request.arguments",
            )
        return content

    def _path(self, resource: str) -> str:
        if resource not in self._settings.config_files or not self._settings.config_repository:
            raise _unknown("configuration file")
        return self._settings.config_files[resource]

    # -- processes --------------------------------------------------------------------------------------------------

    async def _restart(self, grant: Grant) -> Result:
        """Restart exactly the process that is there now, and, where there was a plan, the one it was made on."""
        name = grant.request.resource.id
        with _nothing_sent():
            process = await self._process(name)
            if grant.plan_fingerprint:
                _same(grant, await self._fingerprint(process))
        answer = await self._supervisor.post(
            f"/processes/{name}/restart",
            json={"action_id": grant.request.id, "expected_pid": process["pid"]},
        )
        if answer.status_code == 409:
            raise Conflict("the process changed at the last moment; nothing was done", code="process.changed")
        value = _object(answer)
        if answer.status_code != 200 or value.get("state") != "done":
            return Result(ResultStatus.ERROR, {"status": answer.status_code}, "the supervisor could not restart it")
        return Result(ResultStatus.OK, {"before": process, "after": _shown(value.get("process", {}))})

    async def _process(self, name: str) -> dict[str, Json]:
        if name not in self._processes:
            raise _unknown("supervised process")
        answer = await self._supervisor.get(f"/processes/{name}")
        if answer.status_code != 200:
            raise UpstreamFailed(f"the supervisor answered {answer.status_code}", sent=False, code="upstream.status")
        return _shown(_object(answer))

    async def _supervisor_status(self, action_id: str) -> EffectStatus:
        answer = await self._supervisor.get(f"/actions/{action_id}")
        if answer.status_code == 404:
            return EffectStatus("not_done", "the supervisor has not seen this action")
        state = _object(answer).get("state") if answer.status_code == 200 else ""
        status = {"done": "done", "failed": "unknown"}.get(str(state), "unknown")
        return EffectStatus(status, f"the supervisor says {state}")

    async def _fingerprint(self, process: Mapping[str, Json]) -> str:
        head = await self._git.head() if self._settings.config_repository else ""
        return _digest({"pid": process["pid"], "started_at_ns": process["started_at_ns"], "head": head})

    def _upstream(self, url: str, supervisor: LocalSettings | None = None) -> UpstreamSettings:
        settings = self._settings
        return UpstreamSettings(
            name=settings.name,
            base_url=url,
            allow_networks=tuple(settings.allow_networks),
            unix_socket=supervisor.supervisor_socket if supervisor else "",
            timeout_seconds=settings.restart_seconds if supervisor else settings.timeout_seconds,
            answer_bytes_max=settings.answer_bytes_max,
        )


_SORTED: Final = orjson.OPT_SORT_KEYS


@contextmanager
def _nothing_sent() -> Iterator[None]:
    """Reads before an effect: their failure leaves nothing in doubt."""
    try:
        yield
    except UpstreamFailed as error:
        error.sent = False
        raise


def _verb(action: Action) -> str:
    return action.name.partition(".")[2]


def _digest(state: Mapping[str, Json]) -> str:
    return hashlib.sha256(orjson.dumps(dict(state), option=_SORTED)).hexdigest()


def _same(grant: Grant, fingerprint: str) -> None:
    if grant.plan_fingerprint != fingerprint:
        raise Conflict(
            "the target changed after the plan was made; nothing was done",
            code="approval.plan_drifted",
            remedy="propose the action again and have the new plan approved",
        )


def _config_result(file: ConfigFile) -> Result:
    value = {"head": file.head, "blob": file.blob, "content": file.content}
    return Result(
        ResultStatus.OK if file.blob else ResultStatus.EMPTY, value, "", {"bytes": len(file.content.encode())}
    )


def _object(answer: httpx.Response) -> dict[str, Json]:
    try:
        value = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise UpstreamFailed("the supervisor answered with something else than its protocol", code="upstream.garbage")
    return value


def _shown(process: Mapping[str, Json]) -> dict[str, Json]:
    """The protocol's own members and nothing else, so that a supervisor cannot slip text into a result."""
    return {key: process.get(key, 0) for key in _SUPERVISOR_KEYS}


def _unknown(what: str) -> NotFound:
    return NotFound(f"no {what} is configured for this resource", remedy="list it in the settings of this connector")
