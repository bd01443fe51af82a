"""The production engine: an OPA server beside the gate, over a unix socket, through opa-python-client.

OPA fetches the verified bundle from the gate and verifies it again; the gate asks one path with provenance on and
takes an answer only from a revision that it expects. OPA stops evaluating when the client goes away, so the timeout
here bounds its work too. The OPA program itself is started by the operator (deploy/opa).
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from opa_client.opa_async import AsyncOpaClient

from broker.errors import PolicyUnavailable
from broker.policy.bundle import Bundle
from broker.policy.content import refusal
from broker.policy.delivery import BundleShelf
from broker.policy.engine import (
    ENGINE_DOWN,
    ENGINE_ERROR,
    ENGINE_TIMEOUT,
    NO_RESULT,
    WRONG_REVISION,
    Answer,
    EngineInfo,
    PolicyEngine,
    unavailable,
)
from broker.policy.gate import check_goldens
from broker.policy.regorus import RegorusHost
from broker.policy.schema import compile_schema

VERSION_MIN = (1, 20, 1)
"""1.20.0 panics on a comparison of floats."""
_SLICES = 10
HARD = 4
"""Times the timeout, by the clock."""
_PARAMETERS = {"provenance": "true", "strict-builtin-errors": "true"}


@dataclass(frozen=True, slots=True)
class OpaSettings:
    """Where OPA listens, how long a decision may take, and how long it may take to load a bundle."""

    socket: str
    timeout_seconds: float = 0.1
    load_seconds: float = 15.0
    poll_seconds: float = 0.02
    bundle_name: str = "broker"
    connections: int = 32


class _Answered(aiohttp.ClientResponse):
    """An answer read by orjson: the standard library's parser costs more than the rest of the exchange."""

    async def json(self, **options: Any) -> Any:
        """The body; raises ``ValueError``, or as the client library does where it does not call itself JSON."""
        if self.content_type != "application/json":
            return await super().json(**options)
        return orjson.loads(await self.read())


class _UnixOpaClient(AsyncOpaClient):  # type: ignore[misc]
    """The client with a session of our making: unix socket, no proxy, no cookies, and input that is already JSON."""

    def __init__(self, settings: OpaSettings) -> None:
        super().__init__(host="opa", port=80, retries=0, timeout=settings.timeout_seconds)
        self._settings = settings

    async def _init_session(self) -> None:
        self._connector = aiohttp.UnixConnector(
            path=self._settings.socket, limit=self._settings.connections, keepalive_timeout=60
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            trust_env=False,
            response_class=_Answered,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            # The bytes that were hashed are the bytes that go on the wire: no second serialisation.
            json_serialize=lambda body: f'{{"input":{body["input"]}}}',
            timeout=aiohttp.ClientTimeout(total=None),  # `ask` bounds the whole
        )

    async def ask(self, input_json: bytes) -> Any:
        """OPA's whole answer, parsed; once more when a pooled connection turns out to be closed (OPA restarted)."""
        async with asyncio.timeout(None) as bound:
            patience = _Patience(bound, self.timeout)
            try:
                return await self._query(input_json)
            except aiohttp.ServerDisconnectedError:
                return await self._query(input_json)
            finally:
                patience.end()

    async def _query(self, input_json: bytes) -> Any:
        return await self.query_rule(input_json.decode(), "broker.main", "decision", _PARAMETERS)


class _Patience:
    """Time in which OPA could be heard: when it is over, ``bound`` expires.

    A plain deadline also counts the time in which the gate's own event loop was busy with other requests, and then
    refuses an answer that lies in the socket already. So the time is cut into slices, and a slice counts once, however
    late the loop comes to it; between two slices the loop reads its sockets. ``HARD`` times the seconds by the clock are
    the end of it in any case: a gate so busy is one that cannot decide.
    """

    def __init__(self, bound: asyncio.Timeout, seconds: float) -> None:
        self._bound = bound
        self._slice = seconds / _SLICES
        self._left = _SLICES
        self._loop = asyncio.get_running_loop()
        self._hard = self._loop.time() + HARD * seconds
        self._timer = self._loop.call_later(self._slice, self._tick)

    def _tick(self) -> None:
        self._left -= 1
        if self._left and self._loop.time() < self._hard:
            self._timer = self._loop.call_later(self._slice, self._tick)
        else:
            self._bound.reschedule(self._loop.time())

    def end(self) -> None:
        """The answer is there, or nobody wants it any more."""
        self._timer.cancel()


class OpaEngine:
    """One verified bundle on the OPA server; it shares the host's connections."""

    def __init__(self, host: "OpaHost", info: EngineInfo) -> None:
        self.info = info
        self._host = host

    async def decide(self, input_json: bytes) -> Answer:
        """Evaluate; raises ``PolicyUnavailable`` with its own code for each way in which OPA can fail."""
        return await self._host.ask(input_json, self.info.revision)

    async def aclose(self) -> None:
        """Nothing of its own: the server swaps bundles itself."""


class OpaHost:
    """Brings each bundle to the OPA server, after it has passed its goldens on the embedded engine."""

    def __init__(self, settings: OpaSettings, shelf: BundleShelf, trial: RegorusHost) -> None:
        """``shelf`` is what the gate serves to OPA; ``trial`` tries a bundle before OPA may see it."""
        self._settings = settings
        self._shelf = shelf
        self._trial = trial
        self._client: _UnixOpaClient | None = None
        self._current: Bundle | None = None
        self._expected: frozenset[str] = frozenset()

    @property
    def workers_lost(self) -> int:
        """Of the trials."""
        return self._trial.workers_lost

    async def load(self, bundle: Bundle) -> PolicyEngine:
        """Try, publish, and wait until OPA answers with ``bundle``; raises ``BadRequest`` or ``PolicyUnavailable``."""
        await self._try(bundle)
        self._expected |= {bundle.revision}
        self._shelf.publish(bundle)
        try:
            version = await self._loaded(bundle)
        except BaseException:
            await self.withdraw(bundle)
            raise
        return OpaEngine(self, EngineInfo("opa", version, bundle.revision, bundle.digest))

    async def withdraw(self, bundle: Bundle) -> None:
        """Serve the last good bundle again and take no more answers from ``bundle``."""
        if self._current is None or self._current.digest != bundle.digest:
            self._expected = frozenset({self._current.revision}) if self._current else frozenset()
            self._shelf.publish(self._current)

    def settled(self, bundle: Bundle) -> None:
        """From now on only ``bundle`` may answer."""
        self._current = bundle
        self._expected = frozenset({bundle.revision})

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client:
            await self._client.close_connection()
        await self._trial.aclose()

    async def ask(self, input_json: bytes, begun_on: str) -> Answer:
        """One decision from an expected revision, or from ``begun_on``, the one that was active when it began."""
        answer = await self._answer(input_json)
        if "result" not in answer:
            raise unavailable(NO_RESULT, "OPA has no decision for this input")
        revision = self._revision(answer)
        if revision not in self._expected and revision != begun_on:
            raise unavailable(WRONG_REVISION, "OPA answered with a revision that is not active")
        return Answer(orjson.dumps(answer["result"]), revision)

    async def _answer(self, input_json: bytes) -> dict[str, Any]:
        """OPA's answer as an object; every failure of the client becomes a ``PolicyUnavailable``."""
        if self._client is None:
            self._client = _UnixOpaClient(self._settings)
            await self._client.__aenter__()
        try:
            answer = await self._client.ask(input_json)
        except TimeoutError:
            raise unavailable(ENGINE_TIMEOUT, "OPA took too long") from None
        except aiohttp.ClientResponseError as error:
            raise unavailable(ENGINE_ERROR, f"OPA answered with status {error.status}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise unavailable(ENGINE_DOWN, f"OPA cannot be reached ({type(error).__name__})") from None
        except ValueError:
            raise unavailable(ENGINE_ERROR, "OPA's answer is not JSON") from None
        if not isinstance(answer, dict):
            raise unavailable(ENGINE_ERROR, "OPA's answer is not an object")
        return answer

    def _revision(self, answer: dict[str, Any]) -> str:
        """The revision that answered, from the provenance; empty when it is not told."""
        try:
            return str(answer["provenance"]["bundles"][self._settings.bundle_name]["revision"])
        except (KeyError, TypeError):
            return ""

    async def _try(self, bundle: Bundle) -> None:
        """The engine's probes and all goldens on the embedded engine, so that OPA never serves what fails them."""
        engine = await self._trial.load(bundle)
        try:
            await check_goldens(bundle.content, compile_schema(bundle.content.schema("input.v1")), engine)
        finally:
            await engine.aclose()

    async def _loaded(self, bundle: Bundle) -> str:
        """Wait until OPA answers with ``bundle``; its version. An old OPA is refused."""
        problem = "it answers with another revision"
        tries = max(1, int(self._settings.load_seconds / self._settings.poll_seconds))
        for _ in range(tries):
            try:
                answer = await self._answer(b"{}")
            except PolicyUnavailable as error:
                problem = error.detail
            else:
                if self._revision(answer) == bundle.revision:
                    return _checked_version(answer["provenance"].get("version", ""))
                problem = "it answers with another revision"
            await asyncio.sleep(self._settings.poll_seconds)
        detail = f"OPA did not load revision `{bundle.revision}`: {problem}; see OPA's own messages"
        raise unavailable(WRONG_REVISION, detail)


def _checked_version(version: str) -> str:
    """The version, if it is new enough."""
    numbers = tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())
    if numbers < VERSION_MIN:
        wanted = ".".join(map(str, VERSION_MIN))
        raise refusal(f"OPA {version} is too old", f"run OPA {wanted} or newer", "policy.engine_unfit")
    return version
