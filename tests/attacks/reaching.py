"""Five ways to make the gate connect to an address that it may not reach, each with sockets that notice and a wire tap.

The egress is whole; only the resolver, which is its argument, is ours. The upstream that may be reached is a server on
127.0.0.1; on the same port of every other loopback address, and on a port of its own, something listens that nobody may connect
to. Beside that every ``connect`` of the process is seen as it happens (an audit hook of the interpreter): also one to an
address that no machine of a test has.
"""

import contextlib
import ipaddress
import itertools
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from broker.egress import Egress, Upstream, UpstreamSettings, httpx_client
from broker.errors import BrokerError
from tests.attacks.doors import Door
from tests.attacks.spellings import CLASSES, Class
from tests.sim.upstream import Seen, UpstreamSim, traps, whole

HERE = "127.0.0.1"
NAMED = ("127.0.0.1/32",)
ELSEWHERE = ("203.0.113.0/24",)
"""A network without any machine: plain http may be configured, and nothing can be reached."""
REFUSED = frozenset({"config.base_url", "egress.forbidden"})
PROXIES = (
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "ftp_proxy",
    "socks_proxy",
)
REDIRECTS = (301, 302, 303, 307, 308)
APIS = ("aiohttp", "httpx")
NO_URL = "no URL"
"""httpx reads no address in it, and asks nobody."""

_tapped: list[tuple[str, int]] | None = None
_thread = 0


def _tap(event: str, arguments: tuple[Any, ...]) -> None:
    if _tapped is None or event != "socket.connect" or threading.get_ident() != _thread:
        return
    if isinstance(arguments[1], tuple):
        _tapped.append((str(arguments[1][0]), int(arguments[1][1])))


sys.addaudithook(_tap)  # for good: a hook cannot be taken back; without a list it does nothing


@contextmanager
def tapped() -> Iterator[list[tuple[str, int]]]:
    """Every address that this thread connects to by TCP meanwhile."""
    global _tapped, _thread  # noqa: PLW0603 - a hook of the interpreter has no other place
    seen: list[tuple[str, int]] = []
    _tapped, _thread = seen, threading.get_ident()
    try:
        yield seen
    finally:
        _tapped = None


@dataclass
class Ground:
    """An upstream that may be reached, and what must stay untouched."""

    sim: UpstreamSim
    port: int
    """Where something listens on every loopback address, this machine's first one included."""
    answer: bytes = b""
    cases: int = 0
    problems: list[str] = field(default_factory=list)

    def settings(self, **more: Any) -> UpstreamSettings:
        """Those of the upstream, changed."""
        return UpstreamSettings(**{"name": "sim", "base_url": self.sim.url, "allow_networks": NAMED, **more})

    def check(self, of: Class, what: str, got: str, meant: Iterable[str]) -> None:
        """Note what did not end as it should."""
        self.cases += 1
        if got not in set(meant):
            self.problems.append(f"{of.name}: {what!r} ended with {got}")


@asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    """Listen, and judge at the end: nobody came where nobody may."""
    made: Ground

    async def answer(_: Seen, writer: Any) -> None:
        writer.write(made.answer or whole(200, {}, connection="close"))
        writer.close()

    async with traps() as trap:
        sim, beside = await _beside(answer)
        async with contextlib.AsyncExitStack() as held:
            held.push_async_exit(sim)
            made = Ground(sim, trap.port)
            with tapped() as connects:
                yield made
            caught = trap.caught() + sum(_waiting(one) for one in beside)
            for one in beside:
                one.close()
    assert caught == 0, f"{caught} connections off the list"
    assert set(connects) <= {(HERE, sim.port)}, sorted(set(connects) - {(HERE, sim.port)})


async def _beside(answer: Callable[[Seen, Any], Any]) -> tuple[UpstreamSim, list[socket.socket]]:
    """The upstream on a port that is free on the other loopback addresses, and listeners there."""
    while True:
        sim = await UpstreamSim(answer).__aenter__()
        beside: list[socket.socket] = []
        try:
            beside.append(_listener(socket.AF_INET, "127.0.0.2", sim.port))
            if socket.has_ipv6:
                with contextlib.suppress(PermissionError, socket.gaierror):
                    beside.append(_listener(socket.AF_INET6, "::1", sim.port))
        except OSError as error:
            if error.errno in {97, 99}:  # this machine has no such address: nobody can be there
                return sim, beside
            for one in beside:
                one.close()
            await sim.__aexit__(None, None, None)
            continue
        return sim, beside


def _listener(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family)
    try:
        made.bind((host, port))
        made.listen(16)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _waiting(listener: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


async def _ask(client: Upstream, target: str, api: str) -> str:
    """One request; what it was refused with, or the status."""
    try:
        if api == "httpx":
            return str((await httpx_client(client).get(target)).status_code)
        return str((await client.request("GET", target)).status)
    except BrokerError as error:
        return error.error_code
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        return NO_URL
    finally:
        await client.aclose()


async def _asked(egress: Egress, settings: UpstreamSettings, target: str, api: str = "aiohttp") -> str:
    """The same of settings that may be refused themselves."""
    try:
        return await _ask(egress.upstream(settings), target, api)
    except BrokerError as error:
        return error.error_code


def names(*answers: Sequence[str]) -> Callable[[str, int], Any]:
    """A resolver that gives these answers in turn, the last one for ever."""
    supply = itertools.chain(answers[:-1], itertools.repeat(answers[-1]))

    async def resolve(host: str, port: int) -> Sequence[str]:
        return next(supply)

    return resolve


def _base(url: str) -> str:
    """The part of ``url`` before its path, as a setting would hold it."""
    scheme, found, rest = url.partition("://")
    return url if not found else f"{scheme}://{rest.partition('/')[0]}"


async def direct(of: Class, at: Ground) -> None:
    """It stands in a setting, or an action's target is that address."""
    for template, answer, api in itertools.product(of.urls, of.answers, APIS):
        url = template.format(p=at.port)
        egress = Egress(resolve=names([answer]))
        base = await _asked(egress, at.settings(base_url=_base(url), allow_networks=ELSEWHERE), "/", api)
        at.check(of, url, base, REFUSED)
        # Under its own origin an upstream may be asked for any path, and httpx makes one of what it cannot read.
        path = {"200", NO_URL} if api == "httpx" or url.startswith("/") else set()
        at.check(of, url, await _asked(Egress(), at.settings(), url, api), REFUSED | path)


async def redirected(of: Class, at: Ground) -> None:
    """An upstream that may be reached sends the gate there."""
    for template, status in itertools.product(of.urls, REDIRECTS):
        url = template.format(p=at.port)
        if not url.isprintable():
            continue  # such a header is no header: the client refuses the answer before it looks
        at.answer = whole(status, b"", location=url.encode().decode("latin-1"), connection="close")
        for api in APIS:
            got = await _asked(Egress(), at.settings(), "/", api)
            at.check(of, url, got, {"upstream.redirect"})


async def rebound(of: Class, at: Ground) -> None:
    """A name is the allowed address when it is first looked up, and this afterwards; or both at once."""
    for answer, api in itertools.product(of.answers, APIS):
        for later in ([answer], [HERE, answer], [answer, HERE]):
            base = f"http://rebind.test:{at.sim.port}"
            client = Egress(resolve=names([HERE], later)).upstream(at.settings(base_url=base))
            first = (await client.request("GET", "/")).status
            client.session().connector.clear_dns_cache()  # type: ignore[attr-defined, union-attr]
            at.check(of, answer, str(first), {"200"})
            at.check(of, answer, await _ask(client, "/", api), {"egress.forbidden"})
    for template in of.urls:
        url = template.format(p=at.port)
        client = Egress(resolve=names([HERE], ["127.0.0.2"])).upstream(
            at.settings(base_url=f"http://rebind.test:{at.sim.port}")
        )
        at.check(of, url, await _ask(client, url, "aiohttp"), REFUSED | {"200"} if url.startswith("/") else REFUSED)


async def mapped(of: Class, at: Ground) -> None:
    """The IPv4 address stands inside an IPv6 address: in a setting, in a target, in a resolver's answer."""
    inner = [found for answer in of.answers if (found := _v4(answer)) is not None] or [
        ipaddress.IPv4Address("127.0.0.2")
    ]
    for address in inner:
        high, low = int(address) >> 16, int(address) & 0xFFFF
        forms = (
            f"::ffff:{address}",
            f"::ffff:{high:x}:{low:x}",
            f"::{address}",
            f"64:ff9b::{high:x}:{low:x}",
            f"64:ff9b:1::{high:x}:{low:x}",
            f"2002:{high:x}:{low:x}::",
            f"2001:0:{high:x}:{low:x}::",
        )
        for form, api in itertools.product(forms, APIS):
            setting = at.settings(base_url=f"http://[{form}]:{at.port}", allow_networks=ELSEWHERE)
            at.check(of, form, await _asked(Egress(), setting, "/", api), REFUSED)
            named = at.settings(base_url=f"http://mapped.test:{at.sim.port}")
            at.check(of, form, await _asked(Egress(resolve=names([form])), named, "/", api), REFUSED)
    for template in of.urls:
        tricked = (
            template.format(p=at.port).replace(HERE, "[::ffff:127.0.0.2]").replace("localhost", "[::ffff:127.0.0.2]")
        )
        got = await _asked(Egress(), at.settings(), tricked)
        at.check(of, tricked, got, REFUSED | {"200"} if tricked.startswith("/") else REFUSED)


async def through_proxies(of: Class, at: Ground) -> None:
    """The environment of the process names it as everybody's proxy."""
    for template, api in itertools.product(of.urls, APIS):
        url = template.format(p=at.port)
        if "\x00" in url:
            continue  # no environment can hold it
        environment: Mapping[str, str] = {**dict.fromkeys(PROXIES, url), "no_proxy": "", "NO_PROXY": ""}
        with mock.patch.dict(os.environ, environment):
            got = await _asked(Egress(), at.settings(), "/", api)
        at.check(of, url, got, {"200"})


def _v4(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


OFF = Class("a door", ())


async def through_door(door: Door, at: Ground, folder: Path, *, few: bool, moved: str = "upstream.redirect") -> None:
    """The same of one door: names that lead off its list, redirects (``moved`` is what it says), proxies of the environment."""
    answers = sorted({answer for of in CLASSES for answer in of.answers})
    for place, answer in enumerate(answers[::12] if few else answers):
        said = [answer] if place % 2 else ["203.0.113.7", answer]
        origin = f"http://inside.example:{at.port}"
        got = await _knocked(door, Egress(resolve=names(said)), origin, ELSEWHERE, folder)
        at.check(OFF, answer, got, {"egress.forbidden"})
    for status in REDIRECTS:
        at.answer = whole(status, b"", location=f"http://127.0.0.2:{at.port}/", connection="close")
        at.check(OFF, f"redirect {status}", await _knocked(door, Egress(), at.sim.url, NAMED, folder), {moved})
    at.answer, before = b"", len(at.sim.seen)
    proxy = f"http://127.0.0.2:{at.port}"
    with mock.patch.dict(os.environ, {**dict.fromkeys(PROXIES, proxy), "no_proxy": "", "NO_PROXY": ""}):
        await _knocked(door, Egress(), at.sim.url, NAMED, folder)
    at.check(OFF, "proxies", str(len(at.sim.seen) > before), {"True"})


async def _knocked(door: Door, egress: Egress, origin: str, networks: tuple[str, ...], folder: Path) -> str:
    """What ``door`` was refused with; empty where it was answered."""
    try:
        await door(egress, origin, networks, folder)
    except BrokerError as error:
        return error.error_code
    except OSError as error:
        return type(error).__name__
    finally:
        await egress.aclose()
    return ""


WAYS = {
    "direct": direct,
    "redirect": redirected,
    "rebinding": rebound,
    "IPv6-mapped": mapped,
    "proxy environment": through_proxies,
}
