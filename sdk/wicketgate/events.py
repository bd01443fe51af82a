"""Following the log live: server-sent events, resumed where they broke off, without loss or repeat."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx

from wicketgate.answers import Event, Json, Problem
from wicketgate.errors import GateError, LimitExceeded, NotAuthenticated, Unavailable, from_problem
from wicketgate.wire import FIRST_PAUSE_SECONDS, Wire

PAUSE_SECONDS_MAX = 30.0
SILENCE_SECONDS = 60.0
"""The gate speaks every few seconds; a connection that is silent for so long is dead."""


@dataclass(frozen=True, slots=True)
class Following:
    """What is wanted; ``after`` is the last number seen, None begins with what comes next."""

    query: Mapping[str, str]
    after: int | None = None


async def follow(wire: Wire, following: Following, *, patience: float) -> AsyncIterator[Event]:
    """Events from now on, or from ``after`` on; never ends by itself.

    A connection that breaks, a token that expires and a gate that stops are followed by another try, which resumes.
    Raises what else ends it: ``Denied``, ``GateError`` (``events.too_old``); and, where no try got through for
    ``patience`` seconds of waiting, what the last one met.
    """
    seen, waited, pause = following.after, 0.0, FIRST_PAUSE_SECONDS
    while True:
        ended: GateError = Unavailable(_silent())
        try:
            async for name, last, data in _messages(wire, following.query, seen):
                waited, pause = 0.0, FIRST_PAUSE_SECONDS
                seen = last if last is not None else seen
                if name == "record":
                    yield Event.model_validate(data)
                elif name == "end":
                    raise _ended(data)
        except NotAuthenticated as error:
            # Once another token is asked for; one that does not hold either is an answer.
            if waited or not wire.forget_token():
                raise
            ended = error
        except (Unavailable, LimitExceeded) as error:
            ended = error
        wait = max(pause, ended.retry_after or 0.0)
        if waited + wait > patience:
            raise ended
        await wire.sleep(wait)
        waited, pause = waited + wait, min(pause * 2, PAUSE_SECONDS_MAX)


async def _messages(
    wire: Wire, query: Mapping[str, str], seen: int | None
) -> AsyncIterator[tuple[str, int | None, Json]]:
    """Name, id and data of each message of one connection (WHATWG HTML §9.2); an id may come alone."""
    headers = {"accept": "text/event-stream"} | ({"last-event-id": str(seen)} if seen is not None else {})
    async with wire.stream("/v1/events", query, headers, silence=SILENCE_SECONDS) as lines:
        name, last, data = "message", None, list[str]()
        async for line in lines:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line:
                if field == "id" and value.removeprefix("-").isdigit():
                    last = int(value)
                elif field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
                continue
            if data or last is not None:
                yield name, last, json.loads("\n".join(data)) if data else None
            name, last, data = "message", None, []


def _ended(data: Json) -> GateError:
    """Why the gate ended the stream, as the refusal it would have been."""
    code = str(data.get("code", "")) if isinstance(data, dict) else ""
    status = httpx.codes.FORBIDDEN
    if code.startswith("identity."):
        status = httpx.codes.UNAUTHORIZED
    elif code in {"events.stopping", "events.too_slow"} or code.startswith(("store.", "audit.")):
        status = httpx.codes.SERVICE_UNAVAILABLE
    return from_problem(int(status), {**data, "status": int(status)} if isinstance(data, dict) else None)


def _silent() -> Problem:
    return Problem(
        status=0,
        code="gate.unreachable",
        detail="the stream of events ends again and again",
        remedy="check that the gate runs, and that no proxy before it cuts long answers",
    )
