"""The way in: what is not one plain HTTP/1.1 request with one strict JSON object is refused before anybody believes it."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.parts import corpus
from tests.sim.served import exchange, request, served, status_of, until
from tests.sim.world import World, world

READ = {"action": "local.process.status", "resource": {"type": "process", "id": "checkout", "env": "prod"}}
JSON_TYPE = b"Content-Type: application/json"


async def post(it: World, who: Mapping[str, str], data: bytes, path: str = "/v1/actions") -> tuple[int, dict[str, Any]]:
    answer = await it.client.post(path, content=data, headers={**who, "Content-Type": "application/json"})
    assert answer.headers["content-type"] == "application/problem+json" or answer.status_code < 300, answer.text
    return answer.status_code, answer.json()


def test_no_json_of_the_corpus_gets_through_any_body_route(tmp_path: Path) -> None:
    texts = sorted((corpus("jsontestsuite") / "test_parsing").glob("*.json"))

    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            before = len(await it.records())
            answers = {path.name: await post(it, agent, path.read_bytes()) for path in texts}
            broken = {name: code for name, code in answers.items() if name.startswith("n_")}
            assert len(broken) == 188
            assert {(status, body["code"]) for status, body in broken.values()} == {(400, "json.malformed")}
            assert {status for status, _ in answers.values()} == {400}, "valid texts lack the fields of a request"
            for path in texts[::7]:
                for route in ("/v1/sessions", "/v1/approvals/apr_x/reviews", "/v1/kill", "/llm/anthropic/v1/messages"):
                    status, _ = await post_any(it, agent, path.read_bytes(), route)
                    assert 400 <= status < 500, (path.name, route, status)
            assert len(await it.records()) == before, "what cannot be read asks for nothing"

    asyncio.run(main())


def header(who: Mapping[str, str]) -> bytes:
    """The caller's token as a header line."""
    return f"Authorization: {who['Authorization']}".encode()


async def post_any(it: World, who: Mapping[str, str], data: bytes, path: str) -> tuple[int, bytes]:
    answer = await it.client.post(path, content=data, headers={**who, "Content-Type": "application/json"})
    return answer.status_code, answer.content


def test_every_valid_object_of_the_corpus_is_read_as_arguments(tmp_path: Path) -> None:
    texts = sorted((corpus("jsontestsuite") / "test_parsing").glob("y_*.json"))

    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            read = 0
            for path in texts:
                body = (
                    json.dumps({**READ, "arguments": {}}).encode().replace(b"{}", b'{"x":' + path.read_bytes() + b"}")
                )
                status, said = await post(it, agent, body)
                assert status == 400, path.name
                if not said["code"].startswith("json."):
                    # It was read, and its only fault is that the action has no such argument.
                    assert said["code"] == "request.arguments", (path.name, said)
                    read += 1
            assert read >= 70, read

    asyncio.run(main())


def test_the_size_and_the_form_of_a_body_are_bounded(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            over = b'{"a":"' + b"x" * 1_048_576 + b'"}'
            assert (await post(it, agent, over))[0] == 413

            async def chunks() -> Any:
                for start in range(0, len(over), 65_536):
                    yield over[start : start + 65_536]

            chunked = await it.client.post(
                "/v1/actions", content=chunks(), headers={**agent, "Content-Type": "application/json"}
            )
            assert (chunked.status_code, chunked.json()["code"]) == (413, "request.too_large")
            # A model call may be larger; it is refused for what it says, not for its size.
            model = await it.client.post(
                "/llm/anthropic/v1/messages", content=over, headers={**agent, "Content-Type": "application/json"}
            )
            assert model.status_code == 400
            exact = json.dumps({**READ, "reason": ""}).encode()
            padded = exact + b" " * (1_048_576 - len(exact))
            assert (await post(it, agent, padded))[0] == 200
            assert (await post(it, agent, padded + b" "))[0] == 413
            for media in (
                "text/plain",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
                "application/xml",
                "",
            ):
                answer = await it.client.post("/v1/actions", content=exact, headers={**agent, "Content-Type": media})
                assert (answer.status_code, answer.json()["code"]) == (415, "http.media_type"), media
            with_charset = await it.client.post(
                "/v1/actions", content=exact, headers={**agent, "Content-Type": "application/json; charset=utf-8"}
            )
            assert with_charset.status_code == 200
            for coding in ("gzip", "br", "identity"):
                answer = await it.client.post(
                    "/v1/actions",
                    content=exact,
                    headers={**agent, "Content-Type": "application/json", "Content-Encoding": coding},
                )
                assert (answer.status_code, answer.json()["code"]) == (415, "http.media_type")

    asyncio.run(main())


SMUGGLED = {
    "host missing": (request(b"GET", b"/livez", host=None), (400, 421)),
    "host of somebody else": (request(b"GET", b"/livez", host=b"evil.example"), (421,)),
    "host twice": (request(b"GET", b"/livez", b"Host: localhost:8480"), (400,)),
    "host with user": (request(b"GET", b"/livez", host=b"x@localhost:8480"), (421,)),
    "host with port of another": (request(b"GET", b"/livez", host=b"localhost:8481"), (421,)),
    "HTTP/1.0": (request(b"GET", b"/livez", version=b"1.0"), (505,)),
    "HTTP/0.9": (b"GET /livez\r\n\r\n", (400, 505, 0)),
    "authorization twice": (request(b"GET", b"/livez", b"Authorization: a", b"Authorization: b"), (400,)),
    "key twice": (request(b"GET", b"/livez", b"Idempotency-Key: a", b"Idempotency-Key: a"), (400,)),
    "content-type twice": (
        request(b"POST", b"/v1/actions", JSON_TYPE, JSON_TYPE, b"Content-Length: 2", body=b"{}"),
        (400,),
    ),
    "content-length twice": (
        request(b"POST", b"/v1/actions", JSON_TYPE, b"Content-Length: 2", b"Content-Length: 2", body=b"{}"),
        (400,),
    ),
    "content-length and chunked": (
        request(
            b"POST", b"/v1/actions", JSON_TYPE, b"Content-Length: 2", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
        ),
        (400,),
    ),
    "content-length of 5,000 digits": (
        request(b"POST", b"/v1/actions", JSON_TYPE, b"Content-Length: " + b"9" * 5000),
        (400, 413),
    ),
    "content-length with a sign": (
        request(b"POST", b"/v1/actions", JSON_TYPE, b"Content-Length: +2", body=b"{}"),
        (400,),
    ),
    "claimed larger than sent may be": (
        request(b"POST", b"/v1/actions", JSON_TYPE, b"Content-Length: 1048577"),
        (413,),
    ),
    "chunk size of nonsense": (
        request(b"POST", b"/v1/actions", JSON_TYPE, b"Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
        (400,),
    ),
    "a body on a GET": (request(b"GET", b"/v1/policies", b"Content-Length: 2", body=b"{}"), (415,)),
    "65 headers": (request(b"GET", b"/livez", *[b"X-%d: 1" % n for n in range(64)]), (431,)),
    "16 KiB of headers": (request(b"GET", b"/livez", b"X-Long: " + b"a" * 17_000), (431,)),
    "dot segments": (request(b"GET", b"/v1/../livez"), (400,)),
    "one dot": (request(b"GET", b"/./livez"), (400,)),
    "encoded dots": (request(b"GET", b"/v1/%2e%2e/livez"), (400,)),
    "encoded dots in capitals": (request(b"GET", b"/v1/%2E%2e/livez"), (400,)),
    "encoded slash": (request(b"GET", b"/v1%2flivez"), (400,)),
    "encoded backslash": (request(b"GET", b"/v1%5Clivez"), (400,)),
    "backslash": (request(b"GET", b"/v1\\livez"), (400,)),
    "doubled slash": (request(b"GET", b"//livez"), (400,)),
    "encoded NUL": (request(b"GET", b"/livez%00"), (400,)),
    "broken escape": (request(b"GET", b"/livez%zz"), (400,)),
    "raw bytes": (request(b"GET", b"/livez\xff"), (400,)),
    "another method": (request(b"PATCH", b"/v1/actions", JSON_TYPE, b"Content-Length: 2", body=b"{}"), (405,)),
    "TRACE": (request(b"TRACE", b"/livez", JSON_TYPE, b"Content-Length: 2", body=b"{}"), (400, 405)),
    "an upgrade": (
        request(
            b"GET",
            b"/livez",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Key: eA==",
            b"Sec-WebSocket-Version: 13",
        ),
        (200, 400, 426),
    ),
}


def test_requests_that_two_readers_could_read_differently_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, served(it.app) as port:
            assert status_of(await exchange(port, request(b"GET", b"/livez"))) == 200
            got = {name: status_of(await exchange(port, sent)) for name, (sent, _) in SMUGGLED.items()}
            assert {name: status for name, status in got.items() if status not in SMUGGLED[name][1]} == {}
            assert status_of(await exchange(port, request(b"GET", b"/livez"))) == 200

    asyncio.run(main())


def test_a_slow_body_ends_at_its_deadline_and_holds_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra="[web]\nbody_seconds_max = 0.1\n") as it, served(it.app) as port:
            who = header(await it.agent())
            before = len(await it.records())
            half = request(b"POST", b"/v1/actions", who, JSON_TYPE, b"Content-Length: 100", body=b'{"action":')
            answer = await exchange(port, half)
            assert (status_of(answer), b"http.body_timeout" in answer) == (408, True)
            cut = request(
                b"POST", b"/v1/actions", who, JSON_TYPE, b"Transfer-Encoding: chunked", body=b"5\r\n{}   \r\n"
            )
            assert status_of(await exchange(port, cut)) == 408
            assert len(await it.records()) == before

    asyncio.run(main())


def test_requests_over_the_bound_wait_outside_while_the_controls_still_answer(tmp_path: Path) -> None:
    async def main() -> None:
        extra = "[web]\nconcurrent_requests_max = 2\nbody_seconds_max = 30\n"
        async with world(tmp_path, extra=extra) as it, served(it.app) as port:
            who = header(await it.agent())
            half = request(b"POST", b"/v1/actions", who, JSON_TYPE, b"Content-Length: 100", body=b"{")
            held = [asyncio.create_task(exchange(port, half, wait=60)) for _ in range(2)]
            await until(lambda: it.app.busy == 2)
            refused = await exchange(port, request(b"GET", b"/v1/policies"))
            assert status_of(refused) == 503
            assert b"gate.overloaded" in refused
            assert b"retry-after" in refused.lower()
            assert status_of(await exchange(port, request(b"GET", b"/livez"))) == 200
            assert status_of(await exchange(port, request(b"GET", b"/v1/approvals"))) == 401
            for task in held:
                task.cancel()
            await asyncio.gather(*held, return_exceptions=True)
            await until(lambda: it.app.busy == 0)
            assert status_of(await exchange(port, request(b"GET", b"/v1/policies"))) == 401

    asyncio.run(main())


NASTY = [
    b'{"action":"local.process.status","resource":{"type":"process","id":"checkout","env":"prod"},"reason":"\\ud800"}',
    b'\xef\xbb\xbf{"action":"local.process.status"}',
    '{"action":"local.process.status"}'.encode("utf-16"),
    b'{"a":' * 40 + b"1" + b"}" * 40,
    b'{"action":"local.process.status","action":"local.process.restart"}',
    b'{"action":"local.process.status","resource":{"type":"process","id":"checkout","env":"prod"},"arguments":{"x":1e999}}',
    b'{"action":"local.process.status","resource":{"type":"process","id":"checkout","env":"prod"},"arguments":{"x":12345678901234567890}}',
]


@pytest.mark.parametrize("body", NASTY, ids=["surrogate", "bom", "utf-16", "depth", "duplicate", "infinity", "integer"])
def test_json_that_readers_disagree_on_is_400(tmp_path: Path, body: bytes) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            status, said = await post(it, await it.agent(), body)
            assert status == 400
            assert said["code"].startswith("json.")

    asyncio.run(main())


def test_naughty_strings_are_data_wherever_they_stand(tmp_path: Path) -> None:
    strings = json.loads((corpus("blns") / "blns.json").read_text())

    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            fives: list[tuple[str, int]] = []
            for number, naughty in enumerate(strings):
                body: dict[str, Any] = {**READ, "session": session, "reason": naughty}
                if number % 2:
                    body = {
                        **READ,
                        "action": "local.logs.search",
                        "session": session,
                        "arguments": {"window_seconds": 60, "pattern": naughty[:256]},
                    }
                answer = await it.client.post("/v1/actions", json=body, headers={**agent, **it.key()})
                if answer.status_code not in (200, 400, 403, 429):
                    fives.append((naughty, answer.status_code))
                # The names of things, too: who asks for them learns no more than that they are not there.
                odd = {
                    "action": naughty[:128] or "x",
                    "resource": {"type": naughty[:64], "id": naughty[:256], "env": naughty[:64]},
                    "session": naughty[:64],
                }
                answer = await it.client.post("/v1/actions", json=odd, headers={**agent, **it.key()})
                if answer.status_code not in (400, 403, 404, 429):
                    fives.append((naughty, answer.status_code))
                it.clock.advance(1)
            intents = [{"kind": "task", "text": text, "source": text[:256]} for text in strings[:16]]
            opened = await it.client.post("/v1/sessions", json={"intent": intents}, headers={**agent, **it.key()})
            assert opened.status_code == 201, opened.text
            assert fives == []
            found = [entry async for entry in entries(it)]
            assert len(found) > len(strings)
            for entry in found:
                assert b"\n" not in entry
                assert b"\r" not in entry
                assert entry.isascii()
                assert json.loads(entry)["log"]

    asyncio.run(main())


async def entries(it: World) -> Any:
    after = -1
    while page := await it.gate.log.read("default", after=after, limit=500):
        for one in page:
            yield one.encoded
        after = page[-1].seq
