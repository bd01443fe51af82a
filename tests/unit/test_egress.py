"""The way out: what may be connected to, what is sent, what is believed of the answer."""

import asyncio
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from broker.egress import Egress, Upstream, UpstreamSettings, httpx_client
from broker.errors import BadRequest, BrokerError, Denied, UpstreamFailed
from tests.sim.certificate import self_signed
from tests.sim.upstream import Seen, UpstreamSim, traps, whole

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]
LOOPBACK = ("127.0.0.1/32",)


def upstream(sim: UpstreamSim, **more: Any) -> Upstream:
    return Egress().upstream(
        UpstreamSettings(**{"name": "sim", "base_url": sim.url, "allow_networks": LOOPBACK, **more})
    )


async def closing(client: Upstream, work: Awaitable[T]) -> T:
    try:
        return await work
    finally:
        await client.aclose()


def test_a_request_reaches_the_named_loopback_server_byte_for_byte(run: Run) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {"ok": True}, x_one="1")) as sim:
            client = upstream(sim, base_url=sim.url + "/base")
            answer = await closing(
                client, client.request("POST", "/a%2Fb/.c?q=%20+x", headers={"x-a": "b"}, body=b"{}")
            )
            assert (answer.status, answer.body, answer.headers["X-One"]) == (200, b'{"ok":true}', "1")
            assert (sim.seen[0].method, sim.seen[0].target) == ("POST", "/base/a%2Fb/.c?q=%20+x")
            assert sim.seen[0].headers["host"] == f"127.0.0.1:{sim.port}"
            assert sim.seen[0].headers["accept-encoding"] == "identity"

    run(main())


def test_the_pool_keeps_its_connection_and_equal_settings_share_it(run: Run) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {})) as sim:
            egress = Egress()
            settings = UpstreamSettings(name="sim", base_url=sim.url, allow_networks=LOOPBACK)
            for _ in range(5):
                await egress.upstream(settings).request("GET", "/")
            assert (sim.connections, len(sim.seen)) == (1, 5)
            await egress.aclose()

    run(main())


@pytest.mark.parametrize("target", [
    "http://other.example/x", "https://127.0.0.1/x", "//other.example/x ", "/x y", "/x\r\nHost: evil", "/x#y", "x", "",
    "/\\evil",
    "/../admin",
    "/a/%2E%2e/admin",
    "/a/.%2e", "/é", "http://127.0.0.1:1/x", "@other.example/",
])  # fmt: skip
def test_a_target_outside_the_origin_is_refused_before_a_connection(run: Run, target: str) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {})) as sim:
            client = upstream(sim)
            with pytest.raises(Denied) as caught:
                await closing(client, client.request("GET", target))
            assert caught.value.error_code == "egress.forbidden"
            assert sim.connections == 0

    run(main())


@pytest.mark.parametrize(
    "headers",
    [
        {"x": "a\r\nb: c"},
        {"x\n": "a"},
        {"host": "evil"},
        {"Transfer-Encoding": "chunked"},
        {"cookie": "a=b"},
        {"x": "é"},
    ],
)
def test_a_header_that_could_split_or_steer_the_request_is_refused(run: Run, headers: dict[str, str]) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {})) as sim:
            client = upstream(sim)
            with pytest.raises(BadRequest):
                await closing(client, client.request("GET", "/", headers=headers))
            assert sim.connections == 0

    run(main())


def test_a_path_that_two_libraries_spell_differently_is_refused_under_the_httpx_api(run: Run) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {})) as sim:
            client = upstream(sim)
            await client.request("GET", "/%7Ex")
            with pytest.raises(Denied):
                await closing(client, httpx_client(client).get("/%7Ex"))
            assert [seen.target for seen in sim.seen] == ["/%7Ex"]

    run(main())


async def _exchange(settings: UpstreamSettings, api: str) -> None:
    client = Egress().upstream(settings)
    await closing(client, client.request("GET", "/") if api == "aiohttp" else httpx_client(client).get("/"))


HOSTS = ["127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "localhost"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("api", ["aiohttp", "httpx"])
def test_nothing_connects_to_loopback_that_is_not_named(run: Run, host: str, api: str) -> None:
    async def main() -> None:
        async with traps() as trap:
            settings = UpstreamSettings(name="x", base_url=f"http://{host}:{trap.port}", allow_networks=("10.0.0.0/8",))
            with pytest.raises(BrokerError) as caught:
                await _exchange(settings, api)
            assert caught.value.error_code in {"egress.forbidden", "config.base_url"}
            assert trap.caught() == 0

    run(main())


@pytest.mark.parametrize("answers", [
    [["10.9.9.9", "127.0.0.1"]],  # one good, one bad: all are judged
    [["127.0.0.1"]],
    [["::ffff:127.0.0.1"]],
    [["0.0.0.0"]],
    [["::1"]],
    [["169.254.169.254"]],
])  # fmt: skip
def test_a_name_that_resolves_to_a_forbidden_address_is_never_connected_to(run: Run, answers: list[list[str]]) -> None:
    async def main() -> None:
        async with traps() as trap:
            supply = itertools.cycle(answers)

            async def resolve(host: str, port: int) -> list[str]:
                return next(supply)

            settings = UpstreamSettings(
                name="x", base_url=f"http://api.internal:{trap.port}", allow_networks=("10.0.0.0/8",)
            )
            client = Egress(resolve=resolve).upstream(settings)
            with pytest.raises(Denied) as caught:
                await closing(client, client.request("GET", "/"))
            assert caught.value.error_code == "egress.forbidden"
            assert trap.caught() == 0

    run(main())


def test_a_name_that_rebinds_between_two_lookups_never_moves_a_connection(run: Run) -> None:
    """The first answer is good and is used; each later lookup says loopback trap and is refused."""

    async def main() -> None:
        async with traps() as trap, UpstreamSim.fixed(whole(200, {}, connection="close")) as sim:
            lookups = []

            async def resolve(host: str, port: int) -> list[str]:
                lookups.append(host)
                return ["127.0.0.1"] if len(lookups) == 1 else ["127.0.0.2"]

            settings = UpstreamSettings(name="x", base_url=f"http://rebind.test:{sim.port}", allow_networks=LOOPBACK)
            client = Egress(resolve=resolve).upstream(settings)
            assert (await client.request("GET", "/")).status == 200
            client.session().connector.clear_dns_cache()
            with pytest.raises(Denied):
                await closing(client, client.request("GET", "/"))
            assert (len(sim.seen), trap.caught(), len(lookups)) == (1, 0, 2)

    run(main())


def test_the_socket_itself_judges_again_when_a_resolver_lies(run: Run) -> None:
    async def main() -> None:
        async with traps() as trap:
            client = Egress().upstream(
                UpstreamSettings(name="x", base_url=f"http://a.test:{trap.port}", allow_networks=("10.0.0.0/8",))
            )

            async def lie(host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> Any:
                return [
                    {
                        "hostname": host,
                        "host": "127.0.0.1",
                        "port": port,
                        "family": socket.AF_INET,
                        "proto": 6,
                        "flags": 0,
                    }
                ]

            client.session().connector._resolver.resolve = lie
            with pytest.raises(UpstreamFailed) as caught:
                await closing(client, client.request("GET", "/"))
            assert not caught.value.sent
            assert trap.caught() == 0

    run(main())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("api", ["aiohttp", "httpx"])
def test_a_redirect_is_refused_and_not_followed(run: Run, status: int, api: str) -> None:
    async def main() -> None:
        async with (
            traps() as trap,
            UpstreamSim.fixed(whole(status, b"", location=f"http://127.0.0.2:{trap.port}/")) as sim,
        ):
            client = upstream(sim)
            with pytest.raises(UpstreamFailed) as caught:
                await closing(client, client.request("GET", "/") if api == "aiohttp" else httpx_client(client).get("/"))
            assert (caught.value.error_code, caught.value.sent) == ("upstream.redirect", True)
            assert (len(sim.seen), trap.caught()) == (1, 0)

    run(main())


@pytest.mark.parametrize("api", ["aiohttp", "httpx"])
def test_proxies_and_netrc_of_the_environment_are_not_read(
    run: Run, api: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def main() -> None:
        async with traps() as trap, UpstreamSim.fixed(whole(200, {})) as sim:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.2:{trap.port}")
            netrc = tmp_path / "netrc"
            netrc.write_text("machine 127.0.0.1 login a password b\n")
            monkeypatch.setenv("NETRC", str(netrc))
            client = upstream(sim)
            await closing(client, client.request("GET", "/") if api == "aiohttp" else httpx_client(client).get("/"))
            assert trap.caught() == 0
            assert "authorization" not in sim.seen[0].headers

    run(main())


def test_a_configured_proxy_is_used_and_its_own_address_is_judged(run: Run) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {"by": "proxy"})) as proxy:
            settings = UpstreamSettings(
                name="x",
                base_url="http://api.internal",
                allow_networks=LOOPBACK,
                proxy_url=f"http://127.0.0.1:{proxy.port}",
            )
            client = Egress().upstream(settings)
            answer = await closing(client, client.request("GET", "/v1"))
            assert answer.body == b'{"by":"proxy"}'
            assert proxy.seen[0].target == "http://api.internal/v1"
        async with traps() as trap:
            settings = UpstreamSettings(
                name="x",
                base_url="http://api.internal",
                allow_networks=("10.0.0.0/8",),
                proxy_url=f"http://127.0.0.1:{trap.port}",
            )
            client = Egress().upstream(settings)
            with pytest.raises(BrokerError):
                await closing(client, client.request("GET", "/v1"))
            assert trap.caught() == 0

    run(main())


@pytest.mark.parametrize("api", ["aiohttp", "httpx"])
def test_cookies_are_not_kept(run: Run, api: str) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {}, set_cookie="a=b; Path=/")) as sim:
            client = upstream(sim)
            api_client = httpx_client(client)
            for _ in range(2):
                await (client.request("GET", "/") if api == "aiohttp" else api_client.get("/"))
            await client.aclose()
            assert [("cookie" in seen.headers) for seen in sim.seen] == [False, False]

    run(main())


async def _cut(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _half(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    writer.close()


async def _hang(seen: Seen, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _garbage(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def _endless(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()


FAILURES = [
    (_cut, "upstream.cut"),
    (_half, "upstream.cut"),
    (_hang, "upstream.timeout"),
    (_garbage, "upstream.garbage"),
    (_endless, "upstream.too_large"),
]


@pytest.mark.parametrize(("answer", "code"), FAILURES, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("api", ["aiohttp", "httpx"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_failure_after_sending_leaves_the_effect_in_doubt_and_sends_once(
    run: Run, answer: Any, code: str, api: str, method: str
) -> None:
    async def main() -> None:
        async with UpstreamSim(answer) as sim:
            client = upstream(sim, timeout_seconds=0.2 if answer is _hang else 60, answer_bytes_max=10_000)
            with pytest.raises(UpstreamFailed) as caught:
                await closing(
                    client,
                    client.request(method, "/") if api == "aiohttp" else httpx_client(client).request(method, "/"),
                )
            assert (caught.value.error_code, caught.value.sent) == (code, True)
            assert len(sim.seen) == 1

    run(main())


def test_a_connection_that_breaks_while_idle_does_not_send_a_delete_twice(run: Run) -> None:
    async def main() -> None:
        async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
            if len(sim.seen) == 1:
                writer.write(whole(200, {}))
            else:
                writer.transport.abort()

        async with UpstreamSim(answer) as sim:
            client = upstream(sim)
            await client.request("GET", "/")
            with pytest.raises(UpstreamFailed) as caught:
                await closing(client, client.request("DELETE", "/thing"))
            assert caught.value.sent
            assert [seen.method for seen in sim.seen] == ["GET", "DELETE"]

    run(main())


@pytest.mark.parametrize("api", ["aiohttp", "httpx"])
def test_a_closed_port_means_that_nothing_was_sent(run: Run, api: str) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(b"") as sim:
            pass
        client = upstream(sim)
        with pytest.raises(UpstreamFailed) as caught:
            await closing(client, client.request("POST", "/") if api == "aiohttp" else httpx_client(client).post("/"))
        assert (caught.value.error_code, caught.value.sent) == ("upstream.unreachable", False)

    run(main())


def test_a_name_that_does_not_resolve_means_that_nothing_was_sent(run: Run) -> None:
    async def main() -> None:
        async def resolve(host: str, port: int) -> list[str]:
            raise socket.gaierror(socket.EAI_NONAME, "no")

        client = Egress(resolve=resolve).upstream(UpstreamSettings(name="x", base_url="https://nowhere.test"))
        with pytest.raises(UpstreamFailed) as caught:
            await closing(client, client.request("POST", "/"))
        assert (caught.value.error_code, caught.value.sent) == ("upstream.unreachable", False)

    run(main())


@pytest.mark.parametrize(("raw", "code"), [
    (whole(200, b"x" * 20_000), "upstream.too_large"),
    (whole(200, b"x", content_encoding="gzip"), "upstream.encoding"),
    (whole(200, b"x", **{f"h{n}": "v" * 1000 for n in range(30)}), "upstream.headers"),
    (whole(200, b"x", big="v" * 20_000), "upstream.garbage"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "upstream.garbage"),
])  # fmt: skip
@pytest.mark.parametrize("api", ["aiohttp", "httpx"])
def test_an_answer_outside_its_bounds_is_refused(run: Run, raw: bytes, code: str, api: str) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(raw) as sim:
            client = upstream(sim, answer_bytes_max=10_000)
            with pytest.raises(UpstreamFailed) as caught:
                await closing(client, client.request("GET", "/") if api == "aiohttp" else httpx_client(client).get("/"))
            assert caught.value.error_code == code

    run(main())


def test_a_full_queue_refuses_at_once_and_the_places_come_back(run: Run) -> None:
    async def main() -> None:
        go, both = asyncio.Event(), asyncio.Event()

        async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
            if len(sim.seen) == 2:
                both.set()
            await go.wait()
            writer.write(whole(200, {}))

        async with UpstreamSim(answer) as sim:
            client = upstream(sim, concurrency=2, waiting_max=1)
            waiting = [asyncio.create_task(client.request("GET", "/")) for _ in range(3)]
            await both.wait()
            with pytest.raises(UpstreamFailed) as caught:
                await client.request("GET", "/")
            assert (caught.value.error_code, caught.value.sent, caught.value.retry_after) == (
                "upstream.busy",
                False,
                1.0,
            )
            assert sim.connections == 2
            go.set()
            assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200, 200]
            assert (await closing(client, client.request("GET", "/"))).status == 200

    run(main())


def test_a_stream_left_early_closes_the_connection(run: Run) -> None:
    async def main() -> None:
        async with UpstreamSim(_endless) as sim:
            client = upstream(sim, answer_bytes_max=10**9)
            async with client.stream("GET", "/") as answer:
                async for chunk in answer.chunks():
                    assert chunk
                    break
            await asyncio.wait_for(sim.closed.wait(), 60)
            await client.aclose()

    run(main())


@pytest.mark.parametrize("api", ["aiohttp", "httpx"])
def test_a_unix_socket_is_reached_where_the_settings_name_it(run: Run, api: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {"via": "unix"}), unix=str(tmp_path / "s")):
            client = Egress().upstream(
                UpstreamSettings(name="x", base_url="http://localhost", unix_socket=str(tmp_path / "s"))
            )
            answer = await closing(
                client, client.request("GET", "/") if api == "aiohttp" else httpx_client(client).get("/")
            )
            assert b"unix" in (answer.body if api == "aiohttp" else answer.content)

    run(main())


@pytest.mark.parametrize("api", ["aiohttp", "httpx"])
def test_a_server_is_believed_only_with_a_certificate_of_the_named_authority(
    run: Run, api: str, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)

    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {"tls": True}), tls=tls) as sim:
            for ca_file, good in ((str(certificate), True), ("", False)):
                client = upstream(sim, ca_file=ca_file)
                work = client.request("GET", "/") if api == "aiohttp" else httpx_client(client).get("/")
                if good:
                    answer = await closing(client, work)
                    assert b"tls" in (answer.body if api == "aiohttp" else answer.content)
                    continue
                with pytest.raises(UpstreamFailed) as caught:
                    await closing(client, work)
                assert (caught.value.error_code, caught.value.sent) == ("upstream.tls", False)
            assert len(sim.seen) == 1

    run(main())
