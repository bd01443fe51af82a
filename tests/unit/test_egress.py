"""The way out: what may be connected to, what is sent, what is believed of the answer."""

import asyncio
import datetime as dt
import ipaddress
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.egress import AddressRule, Egress, Upstream, UpstreamSettings, httpx_client
from broker.errors import BadRequest, BrokerError, Denied, UpstreamFailed
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


# -- addresses -------------------------------------------------------------------------------------------------------

FORBIDDEN = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "100.64.0.1", "169.254.1.1", "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "fd12::1", "ff02::1", "2001:db8::1", "3fff::1",
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "::ffff:0:0", "::127.0.0.1", "::10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.1", "①②⑦.0.0.1", "localhost", "",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_address_that_is_not_public_is_refused_by_default(address: str) -> None:
    assert not AddressRule().permits(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_a_public_address_is_permitted(address: str) -> None:
    assert AddressRule().permits(address)


def test_a_named_network_is_permitted_and_no_other() -> None:
    rule = AddressRule(("127.0.0.0/8", "10.2.0.0/16", "::1/128"))
    assert [rule.permits(a) for a in ("127.0.0.1", "10.2.3.4", "::1", "::ffff:10.2.0.1", "10.3.0.1", "192.168.0.1")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "::ffff:169.254.169.254", "64:ff9b:1::a9fe:a9fe"]
)
def test_a_metadata_address_is_refused_inside_a_named_network_and_permitted_only_when_named_exactly(
    address: str,
) -> None:
    wide = AddressRule(("169.254.0.0/16", "fd00::/8", "168.63.0.0/16", "::ffff:0:0/96", "64:ff9b:1::/48"))
    assert not wide.permits(address)
    if ":" not in address:
        assert AddressRule((f"{address}/32",)).permits(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"])
def test_the_unspecified_address_and_multicast_are_refused_even_when_everything_is_named(address: str) -> None:
    assert not AddressRule(("0.0.0.0/0", "::/0")).permits(address)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "localhost", "10.0.0.0/33", "*"])
def test_a_network_that_is_not_one_is_refused_by_name_of_the_field(text: str) -> None:
    with pytest.raises(BadRequest, match="allow_networks"):
        AddressRule((text,))


# -- spelling of the base address ------------------------------------------------------------------------------------

SPELLINGS = [
    "http://127.1:{p}", "http://2130706433:{p}", "http://0x7f000001:{p}", "http://0177.0.0.1:{p}", "http://127.0.0.1.:{p}",
    "http://0x7f.1:{p}", "http://017700000001:{p}", "http://[::ffff:127.0.0.1]:{p}", "http://[0:0:0:0:0:0:0:1]:{p}",
    "http://[::1%25lo]:{p}", "http://user@127.0.0.1:{p}", "http://example.com@127.0.0.1:{p}", "http://127。0。0。1:{p}",
    "http://①②⑦.0.0.1:{p}", "http://127.0.0.1:{p}#@example.com", "http://127.0.0.1:{p}?x", "http://exa mple.com:{p}",
    "HTTP://127.0.0.1:{p}", "http:127.0.0.1:{p}", "http:\\\\127.0.0.1:{p}", "//127.0.0.1:{p}", "ftp://127.0.0.1:{p}",
    "http://LOCALHOST:{p}", "http://localhost.:{p}", "http://%6c%6f:{p}", "http://127.0.0.1:0{p}", "http://127.0.0.1:99999",
    "http://\uff4cocalhost:{p}", "http://127.0.0.1:{p}/../x", "http://a..b:{p}", "http://127.0.0.1\t:{p}", "",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_base_address_has_one_spelling(spelling: str) -> None:
    settings = UpstreamSettings(name="x", base_url=spelling.format(p=8080), allow_networks=("127.0.0.0/8", "::1/128"))
    with pytest.raises(BadRequest, match="base_url"):
        Egress().upstream(settings)


def test_plain_http_over_public_networks_is_refused() -> None:
    with pytest.raises(BadRequest, match="in clear"):
        Egress().upstream(UpstreamSettings(name="x", base_url="http://example.com"))


# -- one exchange ----------------------------------------------------------------------------------------------------


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


# -- the classes of server-side request forgery, on sockets that nothing may touch -----------------------------------


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
            with pytest.raises(BrokerError):
                await _exchange(settings, api)
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


# -- failures: what is said of the effect ----------------------------------------------------------------------------


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
            client = upstream(sim, timeout_seconds=0.2, answer_bytes_max=10_000)
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
            await asyncio.wait_for(sim.closed.wait(), 5)
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


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["aiohttp", "httpx"])
def test_a_server_is_believed_only_with_a_certificate_of_the_named_authority(
    run: Run, api: str, tmp_path: Path
) -> None:
    certificate = _self_signed(tmp_path)
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


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sim")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
