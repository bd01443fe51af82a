"""Log lines of services: search them, and count them by template, over a bounded window.

A ``LogSource`` is where the lines of one service are: files of this machine today; a log store (Loki, OpenSearch) fits
the same protocol, and gets the pattern and the bounds to search with. The connector checks the bounds, matches, cuts and
counts; the source only fetches.
"""

import asyncio
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson
from pydantic import with_config

from broker.catalog import Action
from broker.connectors import log_files
from broker.connectors.base import STRICT, EffectStatus
from broker.connectors.local_logs import matcher
from broker.connectors.log_lines import LogLine
from broker.connectors.log_templates import Miner
from broker.errors import BadRequest, NotFound, UpstreamFailed
from broker.model import ActionRequest, Grant, Json, Plan, Resource, Result, ResultStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which lines are wanted: both ends included, in seconds. A source may search by the pattern itself, or give all."""

    since_s: int
    until_s: int
    pattern: str = ""
    mode: str = "substring"
    bytes_max: int


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines in order of time, those of the window at least; ``cut`` says in words what the source left out."""

    lines: list[LogLine]
    read_bytes: int
    cut: list[str]


class LogSource(Protocol):
    """Where the lines of one service are kept."""

    async def lines(self, query: LogQuery) -> LogPage:
        """Fetch once; raises ``UpstreamFailed`` (not sent) where the source cannot be read in time."""

    async def aclose(self) -> None:
        """Give back connections."""


@dataclass(frozen=True, slots=True)
class FileLogs:
    """Files of this machine, oldest name first, each with its rotated parts."""

    files: tuple[Path, ...]
    timeout_seconds: float
    roots: tuple[Path, ...] = ()
    """Folders out of which no file may lead, by a link or otherwise; none: its own."""

    async def lines(self, query: LogQuery) -> LogPage:
        """Read in a thread that ends soon after the deadline."""
        stop = threading.Event()
        work = asyncio.to_thread(
            log_files.scan,
            self.files,
            since_s=query.since_s,
            until_s=query.until_s,
            bytes_max=query.bytes_max,
            stop=stop,
            roots=self.roots,
        )
        try:
            async with asyncio.timeout(self.timeout_seconds):
                found = await work
        except TimeoutError:
            raise UpstreamFailed(
                "the log files could not be read in time",
                sent=False,
                code="upstream.timeout",
                remedy="ask for a narrower window",
            ) from None
        finally:
            stop.set()
        return LogPage(found.lines, found.read_bytes, found.cut)

    async def aclose(self) -> None:
        """Holds nothing."""


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class LogsSettings:
    """``files`` maps a resource id, or ``environment/id``, to its log files; ``roots`` are folders that they may lead to."""

    name: str
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    roots: tuple[str, ...] = ()
    region: str = ""
    timeout_seconds: float = 10.0
    concurrency: int = 2
    window_seconds_max: int = 86_400
    lines_max: int = 1000
    line_bytes_max: int = 4096
    scan_bytes_max: int = 8_388_608
    templates_max: int = 500


class LogsConnector:
    """The adapter; one instance for all services of one configuration."""

    def __init__(self, settings: LogsSettings, sources: Mapping[str, LogSource] | None = None) -> None:
        """``sources`` are those that are not files; raises ``BadRequest`` naming the field."""
        self.name = settings.name
        self._settings = settings
        for id_, files in settings.files.items():
            if not files or not all(name.startswith("/") for name in files):
                raise BadRequest(f"field `files.{id_}` must list absolute paths", code="config.path")
        if not all(name.startswith("/") for name in settings.roots):
            raise BadRequest("field `roots` must list absolute paths", code="config.path")
        self._sources: dict[str, LogSource] = {
            id_: FileLogs(tuple(map(Path, files)), settings.timeout_seconds, tuple(map(Path, settings.roots)))
            for id_, files in settings.files.items()
        }
        self._sources.update(sources or {})
        self._slots = asyncio.Semaphore(settings.concurrency)

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:
        """Where the request's data goes: the place of the logs."""
        return {"region": self._settings.region or request.resource.region, "provider": self.name}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """What would be read; raises ``BadRequest`` for what is out of bounds."""
        self._check(request.resource, request.arguments)
        asked = orjson.dumps([action.name, request.resource.id, dict(request.arguments)], option=orjson.OPT_SORT_KEYS)
        return Plan(
            summary=f"{action.name} of {request.resource.id}",
            fingerprint=hashlib.sha256(asked).hexdigest(),
            affected=(request.resource.id,),
        )

    async def execute(self, grant: Grant, action: Action) -> Result:
        """Read once, within the bounds."""
        arguments = grant.arguments
        source = self._check(grant.request.resource, arguments)
        match action.name.partition(".")[2]:
            case "lines.search":
                return await self._search(source, arguments)
            case "templates.count":
                return await self._count(source, arguments)
            case _:
                raise NotFound(
                    f"connector `{self.name}` has no action `{action.name}`", code="connector.unknown_action"
                )

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:  # noqa: ARG002
        """Reads leave no trace to ask for."""
        return EffectStatus("unknown", "this action leaves no trace to ask for")

    async def aclose(self) -> None:
        """Give back the sources' connections."""
        for source in self._sources.values():
            await source.aclose()

    def _check(self, resource: Resource, arguments: Mapping[str, Any]) -> LogSource:
        """The source of this target, for a window within bounds and a pattern that can be read."""
        source = self._sources.get(f"{resource.env}/{resource.id}") or self._sources.get(resource.id)
        if source is None:
            raise NotFound(
                "no logs are configured for this resource", remedy="list it in the settings of this connector"
            )
        width = arguments["until_s"] - arguments["since_s"]
        if not 0 <= width <= self._settings.window_seconds_max:
            raise BadRequest(
                f"the window from `since_s` to `until_s` must be 0 to {self._settings.window_seconds_max} s wide",
                code="request.arguments",
                remedy="ask for a narrower window",
            )
        matcher(arguments.get("pattern", ""), arguments.get("mode", "substring"))
        return source

    async def _page(self, source: LogSource, arguments: Mapping[str, Any]) -> LogPage:
        query = LogQuery(
            since_s=arguments["since_s"],
            until_s=arguments["until_s"],
            pattern=arguments.get("pattern", ""),
            mode=arguments.get("mode", "substring"),
            bytes_max=self._settings.scan_bytes_max,
        )
        async with self._slots:
            return await source.lines(query)

    async def _search(self, source: LogSource, arguments: Mapping[str, Any]) -> Result:
        page = await self._page(source, arguments)
        test = matcher(arguments.get("pattern", ""), arguments.get("mode", "substring"))
        matched = await asyncio.to_thread(lambda: [line for line in page.lines if test(line.text)])
        most = min(arguments.get("lines_max", self._settings.lines_max), self._settings.lines_max)
        cut = list(page.cut)
        if len(matched) > most:
            cut.append(f"the newest {most} of {len(matched)} matching lines")
        lines = [self._shown(line, cut) for line in matched[-most:]]
        value: dict[str, Json] = {"lines": lines, "matched": len(matched), "scanned": len(page.lines)}
        return _result(value, len(lines), page.read_bytes, cut)

    def _shown(self, line: LogLine, cut: list[str]) -> Json:
        raw = line.text.encode()
        text = line.text
        if len(raw) > self._settings.line_bytes_max:
            text = raw[: self._settings.line_bytes_max].decode(errors="ignore")
            reason = f"lines longer than {self._settings.line_bytes_max} bytes are cut"
            if reason not in cut:
                cut.append(reason)
        return {"at": int(line.at), "level": line.level, "text": text}

    async def _count(self, source: LogSource, arguments: Mapping[str, Any]) -> Result:
        """Templates of the window, most frequent first; lines that continue another one are part of it."""
        page = await self._page(source, arguments)
        miner = Miner()

        def mine() -> None:
            for line in page.lines:
                if line.message:
                    miner.add(line.message, int(line.at), line.level)

        await asyncio.to_thread(mine)
        most = min(arguments.get("templates_max", self._settings.templates_max), self._settings.templates_max)
        found = sorted(miner.templates, key=lambda one: (-one.count, one.first_s, one.text))
        cut = list(page.cut)
        if len(found) > most:
            cut.append(f"the {most} most frequent of {len(found)} templates")
        if miner.left_out:
            cut.append(f"{miner.left_out} lines fit no template that was kept")
        templates: list[Json] = [
            {
                "template": one.text[: self._settings.line_bytes_max],
                "count": one.count,
                "first_s": one.first_s,
                "last_s": one.last_s,
                "level": one.level,
            }
            for one in found[:most]
        ]
        return _result({"templates": templates}, len(templates), page.read_bytes, cut)


def _result(value: dict[str, Json], rows: int, read_bytes: int, cut: list[str]) -> Result:
    units = {"bytes": read_bytes, "rows": rows}
    if cut:
        return Result(ResultStatus.TRUNCATED, value, "; ".join(cut), units)
    return Result(ResultStatus.OK if rows else ResultStatus.EMPTY, value, "", units)
