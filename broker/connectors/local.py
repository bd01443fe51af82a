"""Real processes on this machine: their metrics, logs, configuration, and the supervisor that restarts them.

Actions (arguments in README.md) on resources of type ``process``: ``local.metrics.query``, ``local.metrics.range``,
``local.logs.search``, ``local.process.status``, ``local.process.restart``, ``local.process.start``, ``local.cache.clear``,
``local.cache.restore``, ``local.schema.compare``, ``local.index.create``; on ``config``: ``local.config.read`` and ``local.config.write``.

``local_supervisor.py`` is the protocol of the supervisor.
"""

import asyncio
import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import with_config

from broker.catalog import Action
from broker.clock import Clock, seconds
from broker.connectors import local_logs, local_metrics
from broker.connectors.base import STRICT, EffectStatus
from broker.connectors.local_git import ConfigFile, GitRepository
from broker.connectors.local_supervisor import SupervisorClient, nothing_sent, shown, shown_cache
from broker.connectors.seal import Seal
from broker.connectors.server import credential_headers
from broker.egress import Egress, UpstreamSettings, httpx_client
from broker.errors import BadRequest, BrokerError, Conflict, NotFound
from broker.model import ActionRequest, Grant, Json, Plan, Result, ResultStatus

_REPAIRS: Final = {
    "process.restart": "restart",
    "process.start": "start",
    "cache.clear": "cache/clear",
    "cache.restore": "cache/restore",
    "index.create": "index",
}
"""Verbs that the supervisor carries out -> the path of its protocol."""


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
    history_seconds_max: int = 3600
    points_max: int = 1000
    lines_max: int = 1000
    line_bytes_max: int = 4096
    scan_bytes_max: int = 16_777_216
    config_bytes_max: int = 262_144


class LocalConnector:
    """The adapter; one instance a machine."""

    def __init__(self, settings: LocalSettings, egress: Egress, clock: Clock, seal: Seal) -> None:
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
        control = httpx_client(egress.upstream(self._upstream(settings.supervisor_url, settings)))
        control.headers.update(credential_headers(settings.name, kind, settings.supervisor_token_file, ""))
        self._supervisor = SupervisorClient(control)
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
            seal,
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
            case verb if verb in _REPAIRS:
                return await self._plan_repair(verb, request)
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
        verb = _verb(action)
        if verb in _REPAIRS:
            return await self._repair(verb, grant)
        if verb == "config.write":
            return await self._write(grant)
        return await self._read(verb, grant.request.resource.id, grant.arguments)

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
            if verb in {"", *_REPAIRS}:
                asked.append(await self._supervisor.status_of(action_id))
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

    async def _read(self, verb: str, resource: str, arguments: Mapping[str, Any]) -> Result:
        match verb:
            case "metrics.query":
                return await self._query(resource, arguments)
            case "metrics.range":
                return await self._range(resource, arguments)
            case "logs.search":
                return await self._search(resource, arguments)
            case "config.read":
                return _config_result(await self._git.read(self._path(resource)))
            case "process.status":
                return Result(ResultStatus.OK, await self._process(resource))
            case "schema.compare":
                return await self._schema(resource)
            case _:
                raise NotFound(
                    f"connector `{self.name}` has no action `{self.name}.{verb}`", code="connector.unknown_action"
                )

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

    async def _range(self, resource: str, arguments: Mapping[str, Any]) -> Result:
        """The kept past of one metric; a window or a number of points beyond the bounds is refused before it leaves."""
        self._known(resource)
        since, until, step = arguments["since_s"], arguments["until_s"], arguments["step_s"]
        longest, most = self._settings.history_seconds_max, self._settings.points_max
        if not 0 < until - since <= longest:
            raise _bounds("since_s", f"1 to {longest} seconds before until_s")
        if step < 1 or (until - since) // step + 1 > most:
            raise _bounds("step_s", f"large enough for {most} points at most")
        asked = {"metric": arguments["metric"], "labels": dict(arguments.get("labels", {}))}
        found = await self._supervisor.history(resource, {**asked, "since_s": since, "until_s": until, "step_s": step})
        most = min(arguments.get("series_max", self._settings.series_max), self._settings.series_max)
        value = {"metric": arguments["metric"], "from": since, "to": until, "series": found[:most]}
        units = {"rows": sum(len(one["points"]) for one in found[:most])}
        if len(found) > most:
            return Result(ResultStatus.TRUNCATED, value, f"{most} of {len(found)} series", units)
        return Result(ResultStatus.OK if found else ResultStatus.EMPTY, value, "", units)

    async def _schema(self, resource: str) -> Result:
        self._known(resource)
        found = await self._supervisor.schema(resource)
        return Result(ResultStatus.OK if found else ResultStatus.EMPTY, {"indexes": found}, "", {"rows": len(found)})

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
            with nothing_sent():
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

    async def _plan_repair(self, verb: str, request: ActionRequest) -> Plan:
        """What the supervisor would do, on the process and, where it is about that, the cache that are there now."""
        name = request.resource.id
        process = await self._process(name)
        before: dict[str, Json] = {"process": process}
        after: dict[str, Json] = {"process": {"name": name, "state": "running", "pid": "new"}}
        rollback: dict[str, Json] | None = None
        summary = f"{verb.replace('.', ' ')}: {name} (pid {process['pid']}, {process['state']})"
        if verb.startswith("cache."):
            before["cache"] = cache = await self._supervisor.cache(name)
            after["cache"] = {"present": verb == "cache.restore"}
            if verb == "cache.clear" and cache["present"]:
                where = {"type": request.resource.type, "id": name, "env": request.resource.env}
                rollback = {
                    "action": f"{self.name}.cache.restore",
                    "resource": where,
                    "arguments": {"digest": cache["digest"]},
                }
        return Plan(
            summary=summary,
            fingerprint=await self._state_of(verb, process, before.get("cache")),
            before=before,
            after=after,
            affected=(name,),
            rollback=rollback,
        )

    async def _repair(self, verb: str, grant: Grant) -> Result:
        """Do it to exactly the process that is there now, and, where there was a plan, the one it was made on."""
        name, wish = grant.request.resource.id, {**grant.arguments, "action_id": grant.request.id}
        with nothing_sent():
            process = await self._process(name)
            cache = await self._supervisor.cache(name) if verb.startswith("cache.") else None
            if grant.plan_fingerprint:
                _same(grant, await self._state_of(verb, process, cache))
        if verb == "process.restart":
            wish["expected_pid"] = process["pid"]
        if verb == "cache.clear" and cache is not None:
            wish["expected_digest"] = cache["digest"]
        status, value = await self._supervisor.do(name, _REPAIRS[verb], wish)
        if status != 200 or value.get("state") != "done":
            return Result(ResultStatus.ERROR, {"status": status}, f"the supervisor could not do it: {verb}")
        done = {"before": process, "after": shown(value.get("process", {}))}
        if cache is not None:
            done["cache"] = {"before": cache, "after": shown_cache(value.get("cache", {}))}
        return Result(ResultStatus.OK, done)

    async def _state_of(self, verb: str, process: Mapping[str, Json], cache: Json) -> str:
        """Fingerprint of what the plan rests on: a process that crashes in a loop is no other one with every crash."""
        if verb.startswith("cache."):
            return _digest({"cache": cache})
        if verb == "process.restart":
            return await self._fingerprint(process)
        return _digest({"name": process["name"], "running": process["state"] == "running"})

    async def _process(self, name: str) -> dict[str, Json]:
        self._known(name)
        return await self._supervisor.process(name)

    def _known(self, name: str) -> None:
        if name not in self._processes:
            raise _unknown("supervised process")

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


def _bounds(name: str, allowed: str) -> BadRequest:
    return BadRequest(f"field `arguments.{name}` must be {allowed}", code="request.arguments")


def _unknown(what: str) -> NotFound:
    return NotFound(f"no {what} is configured for this resource", remedy="list it in the settings of this connector")
