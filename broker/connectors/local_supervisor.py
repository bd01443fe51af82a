"""The supervisor's control protocol, and the little that is believed of what it says.

HTTP/1.1 with JSON on a unix socket or a loopback port, behind a bearer token where one is configured::

    GET  /processes/{name}                       200 {"name","pid","state","started_at_ns","restarts","exits","exit_code",
                                                      "last_exit_s"} | 404
    GET  /processes/{name}/cache                 200 {"present","digest","bytes"} | 404
    GET  /processes/{name}/schema                200 {"indexes": [{"index","table","columns": […],"present"}…]} | 404
    POST /processes/{name}/metrics  {"metric","labels","since_s","until_s","step_s"}
                                                 200 {"series": [{"labels": {…}, "points": [[unix seconds, "decimal text"]…]}…]}
    POST /processes/{name}/restart        {"action_id","expected_pid"}
    POST /processes/{name}/start          {"action_id"}
    POST /processes/{name}/cache/clear    {"action_id","expected_digest"}
    POST /processes/{name}/cache/restore  {"action_id","digest"}
    POST /processes/{name}/index          {"action_id","index"}
                                                 200 {"action_id","state":"done","process":{…},…} | 409 it is another one:
                                                      nothing was done
    GET  /actions/{action_id}                    200 {"action_id","state":"running|done|failed"} | 404

``state`` of a process is ``running``, ``starting``, ``stopped``, ``failed`` or ``backoff`` (it died and is tried again later); ``pid`` is 0 where there is none; ``exits`` counts the times it died by itself since it was last well. The supervisor
remembers action ids: a second request with an id that it has seen does nothing again and answers what it did.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx
import orjson

from broker.connectors.base import EffectStatus
from broker.errors import Conflict, UpstreamFailed
from broker.model import Json

_PROCESS_KEYS: Final = ("name", "pid", "state", "started_at_ns", "restarts", "exits", "exit_code", "last_exit_s")
_CACHE_KEYS: Final = ("present", "digest", "bytes")


class SupervisorClient:
    """The control interface of one supervisor; ``names`` are the processes that it may be asked about."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """``client`` carries base address, bounds and bearer."""
        self._client = client

    async def process(self, name: str) -> dict[str, Json]:
        """The process as it is now. Raises ``UpstreamFailed`` (``sent=False``)."""
        return shown(await self._read(f"/processes/{name}"))

    async def cache(self, name: str) -> dict[str, Json]:
        """The process's cache on disk. Raises ``UpstreamFailed`` (``sent=False``)."""
        return _kept(await self._read(f"/processes/{name}/cache"), _CACHE_KEYS)

    async def schema(self, name: str) -> list[dict[str, Json]]:
        """The indexes that its database's schema names. Raises ``UpstreamFailed``, also for anything malformed."""
        indexes = (await self._read(f"/processes/{name}/schema")).get("indexes")
        if not isinstance(indexes, list):
            raise _garbage()
        try:
            return [_index(one) for one in indexes]
        except (KeyError, TypeError, AttributeError):
            raise _garbage() from None

    async def history(self, name: str, asked: Mapping[str, Json]) -> list[dict[str, Json]]:
        """Series of the kept past: ``[{"labels", "points"}]``. Raises ``UpstreamFailed``, also for anything malformed."""
        value = await self._read(f"/processes/{name}/metrics", asked)
        series = value.get("series")
        if not isinstance(series, list) or not all(isinstance(one, dict) for one in series):
            raise _garbage()
        try:
            return [_series(one) for one in series]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _garbage() from None

    async def do(self, name: str, verb: str, wish: Mapping[str, Json]) -> tuple[int, dict[str, Json]]:
        """Ask for one effect; (status, answer). Raises ``Conflict`` where the supervisor found another state."""
        answer = await self._client.post(f"/processes/{name}/{verb}", json=dict(wish))
        if answer.status_code == 409:
            raise Conflict("the process changed at the last moment; nothing was done", code="process.changed")
        return answer.status_code, _object(answer)

    async def status_of(self, action_id: str) -> EffectStatus:
        """What it knows of an action."""
        answer = await self._client.get(f"/actions/{action_id}")
        if answer.status_code == 404:
            return EffectStatus("not_done", "the supervisor has not seen this action")
        state = _object(answer).get("state") if answer.status_code == 200 else ""
        return EffectStatus("done" if state == "done" else "unknown", f"the supervisor says {state}")

    async def _read(self, path: str, asked: Mapping[str, Json] | None = None) -> dict[str, Json]:
        with nothing_sent():
            answer = await (self._client.get(path) if asked is None else self._client.post(path, json=dict(asked)))
        if answer.status_code != 200:
            raise UpstreamFailed(f"the supervisor answered {answer.status_code}", sent=False, code="upstream.status")
        return _object(answer)


@contextmanager
def nothing_sent() -> Iterator[None]:
    """Reads before an effect: their failure leaves nothing in doubt."""
    try:
        yield
    except UpstreamFailed as error:
        error.sent = False
        raise


def shown(process: Mapping[str, Json]) -> dict[str, Json]:
    """The protocol's own members and nothing else, so that a supervisor cannot slip text into a result."""
    return _kept(process, _PROCESS_KEYS)


def shown_cache(cache: Mapping[str, Json]) -> dict[str, Json]:
    """The same for a cache."""
    return _kept(cache, _CACHE_KEYS)


def _kept(value: Mapping[str, Json], keys: tuple[str, ...]) -> dict[str, Json]:
    return {key: value.get(key, 0) for key in keys}


def _series(one: Mapping[str, Any]) -> dict[str, Json]:
    labels = {str(key): str(value) for key, value in one["labels"].items()}
    return {"labels": labels, "points": [[int(at), str(value)] for at, value in one["points"]]}


def _index(one: Mapping[str, Any]) -> dict[str, Json]:
    columns = [str(column) for column in one["columns"]]
    return {
        "index": str(one["index"]),
        "table": str(one["table"]),
        "columns": columns,
        "present": one["present"] is True,
    }


def _object(answer: httpx.Response) -> dict[str, Json]:
    try:
        value = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise _garbage()
    return value


def _garbage() -> UpstreamFailed:
    return UpstreamFailed("the supervisor answered with something else than its protocol", code="upstream.garbage")
