"""One exchange with the gate: bearer token, idempotency key, bounded retries, problem+json to exceptions.

What is sent again, always with the same key: an answer 429 or 503 with ``Retry-After``, and a connection that broke.
All waits of one call together stay within ``patience`` seconds; what does not fit is raised instead.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from wicketgate.answers import Json, Problem
from wicketgate.errors import GateError, NotAuthenticated, Unreachable, from_problem
from wicketgate.tokens import TokenSource, token_of

Sleep = Callable[[float], Awaitable[None]]

FIRST_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Sending:
    """One request. Without an idempotency ``key`` only reads are sent again after a broken connection.

    ``hold`` is how many seconds the gate may keep the request open, beyond the client's own timeout.
    """

    method: str
    path: str
    body: Mapping[str, Json] | None = None
    query: Mapping[str, str] | None = None
    key: str = ""
    hold: float = 0.0


class Wire:
    """A pooled connection to one gate for one principal."""

    def __init__(
        self,
        url: str,
        token: TokenSource | None,
        *,
        client: httpx.AsyncClient,
        patience: float,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``patience``: seconds that one call may wait between its attempts; 0 means one attempt."""
        self.url = url.rstrip("/")
        self.client = client
        self._token = token
        self._patience = patience
        self.sleep = sleep

    async def send(self, sending: Sending, *, patience: float | None = None) -> tuple[int, Json]:
        """Status and JSON body of a 2xx answer; raises ``GateError``."""
        left = self._patience if patience is None else patience
        pause, fresh = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                return await self._once(sending)
            except NotAuthenticated as error:
                if fresh or error.status != httpx.codes.UNAUTHORIZED or not self.forget_token():
                    raise
                fresh = True
            except GateError as error:
                wait = _wait_before_again(error, sending, pause)
                if wait is None or wait > left:
                    raise
                left -= wait
                pause *= 2
                await self.sleep(wait)

    async def text(self, path: str) -> tuple[int, str]:
        """Status and text of a read that needs no credential; raises ``Unreachable``."""
        try:
            answer = await self.client.get(self.url + path)
        except httpx.HTTPError as error:
            raise _unreachable(self.url, error) from None
        return answer.status_code, answer.text

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], *, silence: float
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Lines of an answer that goes on; raises ``GateError`` for a refusal and ``Unreachable`` for a broken one.

        ``silence`` is how many seconds may pass without a byte.
        """
        bearer = {"authorization": f"Bearer {await token_of(self._token)}"} if self._token is not None else {}
        own = self.client.timeout
        timeout = httpx.Timeout(connect=own.connect, read=silence, write=own.write, pool=own.pool)
        try:
            async with self.client.stream(
                "GET", self.url + path, params=query, headers={**headers, **bearer}, timeout=timeout
            ) as answer:
                if not answer.is_success:
                    await answer.aread()
                    _read(answer)
                yield answer.aiter_lines()
        except httpx.HTTPError as error:
            raise _unreachable(self.url, error) from None

    async def _once(self, sending: Sending) -> tuple[int, Json]:
        headers = {"accept": "application/json"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {await token_of(self._token)}"
        if sending.key:
            headers["idempotency-key"] = sending.key
        own = self.client.timeout
        timeout = httpx.Timeout(
            connect=own.connect, read=(own.read or 0.0) + sending.hold, write=own.write, pool=own.pool
        )
        try:
            answer = await self.client.request(
                sending.method,
                self.url + sending.path,
                json=sending.body,
                params=sending.query,
                headers=headers,
                timeout=timeout,
            )
        except httpx.HTTPError as error:
            raise _unreachable(self.url, error) from None
        return _read(answer)

    def forget_token(self) -> bool:
        """Let a token source drop what it kept; False where asking again cannot give another token."""
        if self._token is None or isinstance(self._token, str):
            return False
        forget = getattr(self._token, "forget", None)
        if forget is not None:
            forget()
        return True


def _wait_before_again(error: GateError, sending: Sending, pause: float) -> float | None:
    """Seconds to wait before the same request again, or None where it must not be repeated."""
    if isinstance(error, Unreachable):
        return pause if sending.key or sending.method == "GET" else None
    if error.status in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}:
        return error.retry_after
    return None


def is_loopback(url: str) -> bool:
    """True where ``url`` names this machine; then no proxy of the environment may stand in between."""
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "127.0.0.1", "::1"}


def _read(answer: httpx.Response) -> tuple[int, Json]:
    """The body of a 2xx answer; raises the exception that the problem stands for."""
    try:
        body = json.loads(answer.content) if answer.content else None
    except ValueError:
        body = None
    if answer.is_success and (body is not None or not answer.content):
        return answer.status_code, body
    raise from_problem(answer.status_code, body, retry_after=_retry_after(answer.headers))


def _retry_after(headers: httpx.Headers) -> float | None:
    """``Retry-After`` in seconds; the gate never sends the form with a date."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _unreachable(url: str, error: httpx.HTTPError) -> Unreachable:
    problem = Problem(
        status=0,
        code="gate.unreachable",
        detail=f"no answer from {url} ({type(error).__name__})",
        remedy="check that the gate runs and that the address is right (wicketgate doctor)",
    )
    return Unreachable(problem)
