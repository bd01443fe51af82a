"""The shipped front proxy, really running, in front of a served gate: deadlines, sizes, certificates, streams, framing."""

import asyncio
import base64
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509

from broker.clock import SeededClock, SystemClock
from tests.e2e.test_client_certificates import HOOK, body
from tests.parts import ROOT, require
from tests.sim.certificate import NAMES, Authority
from tests.sim.front_proxy import FrontProxy, front_proxy
from tests.sim.served import served
from tests.sim.world import World, world
from tests.vectors import http_framing

HOST = "localhost:8480"
RESULTS = ROOT / "tests" / "bench" / "results" / "http-framing.json"
SENTINEL = f"GET /livez?sentinel HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
"""Follows every probe on its connection: who answers it saw the probe's end before it."""
QUICK = {"timeout http-request 10s": "timeout http-request 1s"}


@dataclass
class Watch:
    """The gate's application, and what reached it: method, target, body and the gate's own answer."""

    app: Any
    seen: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        query = scope["query_string"].decode()
        row = {
            "method": scope["method"],
            "target": scope["path"] + (f"?{query}" if query else ""),
            "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
            "body": b"",
            "status": 0,
        }
        if row["target"] != "/readyz":  # the proxy's own look
            self.seen.append(row)

        async def taken() -> Any:
            message = await receive()
            row["body"] += message.get("body", b"")
            return message

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                row["status"] = message["status"]
            await send(message)

        await self.app(scope, taken, sent)

    def requests(self) -> list[tuple[str, str, bytes, int]]:
        """What came since ``seen`` was emptied."""
        return [(one["method"], one["target"], one["body"], one["status"]) for one in self.seen]


@dataclass
class Front:
    """A gate, what reached it, and the proxy before it."""

    it: World
    watch: Watch
    gate_port: int
    proxy: FrontProxy

    def client(self, certificate: Path | None = None) -> httpx.AsyncClient:
        trust = self.proxy.context()
        if certificate is not None:
            trust.load_cert_chain(certificate)
        wire = httpx.AsyncHTTPTransport(verify=trust, trust_env=False)
        return httpx.AsyncClient(
            transport=wire, base_url=f"https://localhost:{self.proxy.port}", headers={"Host": HOST}, timeout=90
        )


@asynccontextmanager
async def front(
    folder: Path,
    *,
    extra: str = "",
    gate: str = "",
    client_ca: Path | None = None,
    replaced: dict[str, str] | None = None,
) -> AsyncIterator[Front]:
    async with world(folder, extra=extra, gate=gate, clock=SeededClock(SystemClock().now_ns())) as it:
        watch = Watch(it.app)
        async with served(watch) as port:
            with front_proxy(folder / "proxy", port, host=HOST, client_ca=client_ca, replaced=replaced) as proxy:
                yield Front(it, watch, port, proxy)


async def ask(port: int, sent: bytes, tls: Any = None) -> list[int]:
    """Write ``sent`` and read until the server closes; the statuses of all answers."""
    named = {"ssl": tls, "server_hostname": "localhost"} if tls else {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **named)
    said = b""
    try:
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(90):
            while part := await reader.read(65_536):
                said += part
    except ConnectionError:
        pass  # cut off; what was said before counts
    finally:
        writer.close()
    return [int(one) for one in re.findall(rb"HTTP/1\.[01] (\d{3}) ", said)]


async def probed(at: Front, kind: str, name: str, sent: bytes) -> dict[str, Any]:
    """What the gate alone and the gate behind the proxy make of ``sent``."""
    row: dict[str, Any] = {"kind": kind, "probe": name}
    for place, port, tls in (("alone", at.gate_port, None), ("behind", at.proxy.port, at.proxy.context())):
        at.watch.seen.clear()
        statuses = await ask(port, sent + SENTINEL, tls)
        row[place] = {"answers": statuses, "gate": at.watch.requests()}
    return row


def test_gate_and_proxy_never_disagree_where_a_request_ends(tmp_path: Path) -> None:
    async def main() -> list[dict[str, Any]]:
        async with front(tmp_path, extra="[web]\nbody_seconds_max = 0.3\n", replaced=QUICK) as at:
            who = (await at.it.agent())["Authorization"]
            rows = []
            for kind, name, sent in http_framing.filled(HOST, f"Authorization: {who}"):
                for _ in range(4):
                    row = await probed(at, kind, name, sent)
                    if _fault(row) != LATE:
                        break
                rows.append(row)
            return rows

    rows = asyncio.run(main())
    assert len(rows) >= 80
    faults = {f"{row['kind']}: {row['probe']}": fault for row in rows if (fault := _fault(row))}
    assert faults == {}
    if os.environ.get("WICKETGATE_UPDATE"):
        _write(rows)


LATE = "one took it and the other did not"
"""So short a time for a body may pass while the machine does something else; what else is wrong is wrong at once."""


def _fault(row: dict[str, Any]) -> str:
    """What is wrong with one row; empty where nothing is."""
    alone, behind = row["alone"], row["behind"]
    acted = [one for one in behind["gate"] if one[1] == "/v1/actions" and one[3] == 200]
    refused = {
        name: not place["answers"] or place["answers"][0] >= 400
        for name, place in (("alone", alone), ("behind", behind))
    }
    rules = {
        "the hidden request was read": any("/v1/policies" in one[1] for one in (*alone["gate"], *behind["gate"])),
        "more was read than answered": any(len(one["gate"]) > len(one["answers"]) for one in (alone, behind)),
        "the gate acted on another body": len(acted) > 1 or any(one[2] != http_framing.BODY for one in acted),
        LATE: row["kind"] == "plain" and (alone != behind or 200 not in alone["answers"]),
        "the gate alone took it": row["kind"] in {"ambiguous", "normalised"} and not refused["alone"],
        "the proxy let it through": row["kind"] == "ambiguous" and not refused["behind"],
    }
    return "; ".join(text for text, broken in rules.items() if broken)


def _write(rows: list[dict[str, Any]]) -> None:
    """The table, for readers."""
    version = subprocess.run([require("haproxy"), "-v"], capture_output=True, text=True, check=True).stdout.split()[2]

    def told(place: dict[str, Any]) -> dict[str, Any]:
        gate = [f"{m} {t} {len(b)} B: {s}" for m, t, b, s in place["gate"] if "sentinel" not in t]
        return {"answers": place["answers"][:1], "read by the gate": gate}

    table = [{**row, "alone": told(row["alone"]), "behind": told(row["behind"])} for row in rows]
    RESULTS.write_text(json.dumps({"haproxy": version, "probes": len(table), "rows": table}, indent=1) + "\n")


def test_slow_headers_are_cut_off_before_the_gate_hears_of_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with front(tmp_path, replaced=QUICK) as at:
            half = f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ".encode()
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", at.proxy.port, ssl=at.proxy.context(), server_hostname="localhost"
            )
            writer.write(half)

            async def trickle() -> None:
                while True:
                    await asyncio.sleep(0.05)
                    writer.write(b"a")

            dripping = asyncio.create_task(trickle())
            async with asyncio.timeout(90):
                said = await reader.read()
            dripping.cancel()
            writer.close()
            assert said.startswith(b"HTTP/1.1 408 ")
            assert at.watch.seen == []

    asyncio.run(main())


def test_sizes_agree_and_what_is_larger_goes_no_further(tmp_path: Path) -> None:
    async def main() -> None:
        async with front(tmp_path) as at, at.client() as client:
            who = {**await at.it.agent(), "Content-Type": "application/json"}
            exact = http_framing.BODY + b" " * (1_048_576 - len(http_framing.BODY))
            assert (await client.post("/v1/actions", content=exact, headers=who)).status_code == 200
            at.watch.seen.clear()
            claimed = f"POST /v1/actions HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1048577\r\n\r\n".encode()
            assert await ask(at.proxy.port, claimed, at.proxy.context()) == [413]
            assert at.watch.seen == []

            async def chunks() -> AsyncIterator[bytes]:
                for start in range(0, len(exact) + 65_536, 65_536):
                    yield exact[start : start + 65_536] or b" " * 65_536

            streamed = await client.post("/v1/actions", content=chunks(), headers=who)
            assert (streamed.status_code, streamed.json()["code"]) == (413, "request.too_large")
            model = await client.post("/llm/anthropic/v1/messages", content=exact + b" ", headers=who)
            assert model.status_code == 400, "a model call may be larger, and is refused for what it says"
            many = await client.get("/livez", headers={f"X-{n}": "1" for n in range(66)})
            assert many.status_code in (400, 431)
            at.watch.seen.clear()
            huge = await client.get("/livez", headers={"X-Long": "a" * 30_000})
            assert (huge.status_code, at.watch.seen) == (400, [])

    asyncio.run(main())


def test_a_certificate_is_what_the_proxy_saw_and_never_what_a_client_says(tmp_path: Path) -> None:
    authority = Authority("ops")
    (tmp_path / "ca.pem").write_bytes(authority.own.pem)
    shown = authority.issue("am", names=(*NAMES, x509.DNSName("am.example")))
    said = f":{base64.b64encode(shown.der).decode()}:"
    gate = f'client_cert_proxies = ["127.0.0.1/32"]\nclient_ca_file = "{tmp_path / "ca.pem"}"\n'
    extra = '[[identity.certificates]]\nname = "alertmanager"\ntenant = "default"\nsan = "dns:am.example"\n'

    async def main() -> None:
        async with front(tmp_path, extra=extra, gate=gate, client_ca=tmp_path / "ca.pem") as at:
            async with at.client(shown.save(tmp_path / "am.pem")) as client:
                believed = await client.post(HOOK, json=body(), headers={"Client-Cert": ":AAAA:"})
                assert believed.status_code == 200, believed.text
                assert [v for n, v in at.watch.seen[-1]["headers"] if n == "client-cert"] == [said]
            async with at.client() as client:
                for name in ("Client-Cert", "client-cert", "Client-Cert-Chain"):
                    answer = await client.post(HOOK, json=body(), headers={name: said})
                    assert (answer.status_code, answer.json()["code"]) == (401, "identity.missing"), name
                    assert not [n for n, _ in at.watch.seen[-1]["headers"] if n.startswith("client-cert")]

    asyncio.run(main())


def test_an_event_goes_through_when_it_comes_and_the_gates_own_pages_stay_inside(tmp_path: Path) -> None:
    async def main() -> None:
        async with front(tmp_path, extra="[events]\npace_seconds = 0.02\n") as at, at.client() as client:
            oncall, agent = await at.it.person("oncall"), await at.it.agent()
            session = await at.it.session(agent)
            async with client.stream("GET", "/v1/events", headers=oncall) as stream:
                assert stream.status_code == 200
                lines = stream.aiter_lines()
                assert (await at.it.act(agent, "local.process.status", session)).status_code == 200
                async with asyncio.timeout(90):
                    async for line in lines:  # the stream is open without an end: only what is not held back comes
                        if line.startswith("data: ") and "local.process.status" in line:
                            break
            at.watch.seen.clear()
            for path in ("/metrics", "/readyz", "/%6detrics", "/bundles/broker.tar.gz", "/bundles%2Fbroker.tar.gz"):
                hidden = await client.get(path)
                assert (hidden.status_code, hidden.json()["code"]) == (404, "http.no_route"), path
            assert at.watch.seen == []
            assert (await client.get("/livez")).status_code == 200
            assert at.watch.seen[-1]["headers"][0] == ("host", HOST)

    asyncio.run(main())


def test_one_address_gets_no_more_connections_than_its_share(tmp_path: Path) -> None:
    async def main() -> None:
        async with front(tmp_path, replaced={"sc0_conn_cur gt 100": "sc0_conn_cur gt 8"}) as at:
            held = [await asyncio.open_connection("127.0.0.1", at.proxy.port) for _ in range(8)]
            for _ in range(5):
                assert await refused(at), "over the share"
            for _, writer in held:
                writer.close()
            async with asyncio.timeout(90):
                while await refused(at):
                    pass  # the proxy has to see the closings first
            assert at.watch.seen[-1]["target"] == "/livez?sentinel"

    async def refused(at: Front) -> bool:
        try:
            return await ask(at.proxy.port, SENTINEL, at.proxy.context()) != [200]
        except OSError:
            return True

    asyncio.run(main())
