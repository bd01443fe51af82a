"""An upstream under the httpx API, for connectors and client libraries that speak httpx.

The transport is httpx-aiohttp over the upstream's own session, so the pinned addresses, the pool and the send-once rule
are the same. Around it stand the same origin, header, slot and size rules as in ``Upstream.stream``; ``UpstreamFailed``
with ``sent`` replaces httpx's errors, which cannot say whether a request left (httpx-aiohttp maps a connection that
broke after sending to ``ConnectTimeout``).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
from httpx_aiohttp import AiohttpTransport
from yarl import URL

from broker.egress.addresses import forbidden
from broker.egress.client import OWN_HEADERS, Upstream, check_headers, mapped, tls, too_large


def httpx_client(upstream: Upstream) -> httpx.AsyncClient:
    """Return a client for ``upstream``; make one and keep it. No cookies, no redirects, no environment."""
    return httpx.AsyncClient(
        transport=_Transport(upstream),
        base_url=upstream.origin + upstream.base_path,
        headers={"accept-encoding": "identity", "user-agent": "wicketgate"},
        timeout=upstream.settings.timeout_seconds,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )


class _Transport(AiohttpTransport):
    """The upstream's rules around httpx-aiohttp."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(verify=tls(upstream.settings.ca_file), trust_env=False, client=upstream.session)
        self._upstream = upstream

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises ``UpstreamFailed``, ``Denied`` and ``BadRequest`` as ``Upstream.request`` does.

        The deadline of the settings bounds the time to the headers and, once more, the time to the end of the body.
        """
        name = self._upstream.settings.name
        target = request.url.raw_path.decode("ascii")
        self._upstream.bind(_origin(request.url) + target)
        if URL(str(request.url)).raw_path_qs != target:
            raise forbidden(name)  # the two libraries read this path differently
        for header in OWN_HEADERS & set(request.headers):
            del request.headers[header]
        check_headers(request.headers)
        request.headers.update(self._upstream.marks())
        async with AsyncExitStack() as stack:
            stack.enter_context(self._upstream.slot())
            with mapped(name):
                async with asyncio.timeout(self._upstream.settings.timeout_seconds):
                    answer = await _unmapped(super().handle_async_request(request))
            inner = answer.stream
            assert isinstance(inner, httpx.AsyncByteStream)
            stack.push_async_callback(inner.aclose)
            self._upstream.check_answer(answer.status_code, answer.headers, self._upstream.settings.answer_bytes_max)
            answer.stream = _Bounded(self._upstream, inner, stack.pop_all())
        return answer

    async def aclose(self) -> None:
        """The session belongs to the upstream, which closes it."""


class _Bounded(httpx.AsyncByteStream):
    """The body, counted and timed; closing it gives the connection and the slot back."""

    def __init__(self, upstream: Upstream, inner: httpx.AsyncByteStream, held: AsyncExitStack) -> None:
        self._settings, self._inner, self._held = upstream.settings, inner, held

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        with mapped(self._settings.name):
            async with asyncio.timeout(self._settings.timeout_seconds):
                async for chunk in _chunks(self._inner):
                    seen += len(chunk)
                    if seen > self._settings.answer_bytes_max:
                        raise too_large(self._settings.name, self._settings.answer_bytes_max)
                    yield chunk

    async def aclose(self) -> None:
        await self._held.aclose()


async def _chunks(stream: httpx.AsyncByteStream) -> AsyncIterator[bytes]:
    """The chunks, with aiohttp's own errors: httpx-aiohttp's lose what was sent."""
    try:
        async for chunk in stream:
            yield chunk
    except httpx.HTTPError as error:
        raise error.__cause__ or error from None


async def _unmapped(sending: Awaitable[httpx.Response]) -> httpx.Response:
    """The answer, or aiohttp's own error."""
    try:
        return await sending
    except httpx.HTTPError as error:
        raise error.__cause__ or error from None


def _origin(url: httpx.URL) -> str:
    """``scheme://host:port`` of an httpx URL as ``Upstream.origin`` writes it; userinfo makes it match nothing."""
    host = url.raw_host.decode("ascii")
    port = url.port or (443 if url.scheme == "https" else 80)
    user = url.userinfo.decode("ascii") + "@" if url.userinfo else ""
    return f"{url.scheme}://{user}{f'[{host}]' if ':' in host else host}:{port}"
