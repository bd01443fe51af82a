"""A REST tool server that is registered by a manifest alone."""

import asyncio
import base64
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clock import SeededClock
from broker.connectors.http import HttpConnector, HttpSettings
from broker.connectors.http_template import compile_transport, path
from broker.egress import Egress
from broker.errors import BadRequest, UpstreamFailed
from broker.model import Resource, ResultStatus
from tests.sim.upstream import Seen, UpstreamSim, whole

Run = Callable[[Coroutine[Any, Any, Any]], Any]
SECRET = "s3cr3t-value-of-the-server"
SERVER = Resource(type="deployment", id="checkout", env="prod", region="eu-west-1")

MANIFEST = """
connector: tickets
actions:
  tickets.ticket.get:
    title: Read one ticket
    effect: read
    reversibility: reversible
    idempotent: true
    arguments: {id: {type: string, required: true}, fields: {type: array, items: {type: string}}, full: {type: boolean}, page: {type: integer}}
    transport:
      method: GET
      path: "/v1/{resource.id}/tickets/{id}"
      query: {fields: "{fields}", full: "{full}", page: "{page}", fixed: "a b"}
      empty: [404]
  tickets.ticket.list:
    title: List
    effect: read
    reversibility: reversible
    idempotent: true
    transport: {path: /v1/tickets, result: {rows: items}}
  tickets.scale.set:
    title: Set
    effect: write
    reversibility: reversible
    idempotent: true
    arguments: {replicas: {type: integer, required: true}, note: {type: string}}
    rollback: {action: tickets.scale.set, arguments: {replicas: "{before.spec.replicas}"}}
    transport:
      method: PUT
      path: "/v1/scale/{resource.id}"
      headers: {x-api: "2"}
      idempotency_header: idempotency-key
      state: "/v1/scale/{resource.id}"
      body: {spec: {replicas: "{replicas}", note: "{note}", by: "gate for {resource.env}"}, list: ["{replicas}", "{note}"]}
      status_of: {path: "/v1/actions/{action_id}", field: state.phase, done: [finished], not_done: [refused, 404]}
  tickets.raw.post:
    title: Whole
    effect: write
    reversibility: irreversible
    idempotent: false
    arguments: {a: {type: string}}
    transport: {method: POST, path: /raw, body: "*"}
"""


def connector(sim: UpstreamSim, tmp_path: Path, kind: Any = "bearer", **more: Any) -> HttpConnector:
    (tmp_path / "secret").write_text(SECRET + "\n")
    settings = HttpSettings(
        name="tickets",
        base_url=sim.url + "/api",
        credential=kind,
        credential_file=str(tmp_path / "secret"),
        allow_networks=("127.0.0.1/32",),
        **more,
    )
    return HttpConnector(settings, Egress(), SeededClock())


async def act(adapter: HttpConnector, asked: Any, action: str, **arguments: Any) -> Any:
    try:
        return await adapter.execute(*asked(MANIFEST).grant(action, SERVER, arguments))
    finally:
        await adapter.aclose()


def test_arguments_stand_each_in_their_place_and_the_credential_is_sent(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {"id": 7})) as sim:
            result = await act(
                connector(sim, tmp_path), asked, "tickets.ticket.get", id="a/../b?c=d#é", fields=["x&y", "z"], full=True
            )
            assert (result.status, result.value, result.units) == (ResultStatus.OK, {"id": 7}, {"bytes": 8})
            assert (
                sim.seen[0].target
                == "/api/v1/checkout/tickets/a%2F..%2Fb%3Fc%3Dd%23%C3%A9?fields=x%26y&fields=z&full=true&fixed=a%20b"
            )
            assert sim.seen[0].headers["authorization"] == f"Bearer {SECRET}"

    run(main())


@given(value=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_no_text_leaves_its_place_in_the_path(value: str) -> None:
    try:
        filled = path("/a/{x}/b", {"x": value})
    except BadRequest:
        assert value in {".", ".."}
        return
    segments = filled.split("/")
    assert (segments[:2], segments[3:]) == (["", "a"], ["b"])
    assert unquote(segments[2]) == value
    assert filled.isascii()
    assert not {"?", "#", "\\"} & set(filled)


@pytest.mark.parametrize("kind", ["bearer", "basic", "header"])
def test_each_kind_of_credential_is_sent_in_its_own_way(run: Run, asked: Any, tmp_path: Path, kind: str) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {})) as sim:
            await act(connector(sim, tmp_path, kind, credential_header="X-Key"), asked, "tickets.ticket.get", id="1")
            basic = "Basic " + base64.b64encode(SECRET.encode()).decode()
            expected = {
                "bearer": ("authorization", f"Bearer {SECRET}"),
                "basic": ("authorization", basic),
                "header": ("x-key", SECRET),
            }
            name, value = expected[kind]
            assert sim.seen[0].headers[name] == value

    run(main())


@pytest.mark.parametrize("value", [".", "..", ""])
def test_an_argument_cannot_become_a_path_of_its_own(run: Run, asked: Any, tmp_path: Path, value: str) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {})) as sim:
            with pytest.raises(BadRequest):
                await act(connector(sim, tmp_path), asked, "tickets.ticket.get", id=value)
            assert sim.seen == []

    run(main())


def test_a_write_shows_its_exact_request_its_state_before_and_its_rollback_without_the_credential(
    run: Run, asked: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {"spec": {"replicas": 3}})) as sim:
            adapter = connector(sim, tmp_path)
            world = asked(MANIFEST)
            request = world.request("tickets.scale.set", SERVER, {"replicas": 5})
            plan = await adapter.plan(request, world.catalog.action("tickets.scale.set"))
            assert plan.after == {
                "method": "PUT",
                "target": "/v1/scale/checkout",
                "body": {"spec": {"replicas": 5, "by": "gate for prod"}, "list": [5]},
            }
            assert plan.before == {"spec": {"replicas": 3}}
            assert plan.rollback == {
                "action": "tickets.scale.set",
                "resource": {"type": "deployment", "id": "checkout", "env": "prod"},
                "arguments": {"replicas": 3},
            }
            assert SECRET not in repr(plan)
            assert [seen.method for seen in sim.seen] == ["GET"]

            again = await adapter.plan(
                world.request("tickets.scale.set", SERVER, {"replicas": 5}, "act_2"),
                world.catalog.action("tickets.scale.set"),
            )
            assert again.fingerprint == plan.fingerprint

            await adapter.execute(*world.grant("tickets.scale.set", SERVER, {"replicas": 5}, "act_9"))
            sent = sim.seen[-1]
            assert (sent.method, sent.target, sent.json) == ("PUT", "/api/v1/scale/checkout", plan.after["body"])
            assert (sent.headers["idempotency-key"], sent.headers["x-api"]) == ("act_9", "2")
            await adapter.aclose()

    run(main())


def test_a_changed_state_changes_the_fingerprint(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        replicas = 1

        async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(200, {"spec": {"replicas": replicas}}))

        async with UpstreamSim(answer) as sim:
            adapter, world, prints = connector(sim, tmp_path), asked(MANIFEST), set()
            for replicas in (1, 2, 2):  # noqa: B007 - read by the server
                plan = await adapter.plan(
                    world.request("tickets.scale.set", SERVER, {"replicas": 5}),
                    world.catalog.action("tickets.scale.set"),
                )
                prints.add(plan.fingerprint)
            assert len(prints) == 2
            await adapter.aclose()

    run(main())


@pytest.mark.parametrize(("raw", "status", "value"), [
    (whole(200, {"items": [1, 2]}), "ok", {"items": [1, 2]}),
    (whole(200, {"items": []}), "empty", {"items": []}),
    (whole(200, {"items": list(range(9))}), "truncated", {"items": [0, 1, 2, 3, 4]}),
    (whole(500, {"secret": "stack trace"}), "error", {"status": 500}),
    (whole(404, {"secret": "stack trace"}), "error", {"status": 404}),
])  # fmt: skip
def test_empty_truncated_and_error_are_told_apart(
    run: Run, asked: Any, tmp_path: Path, *, raw: bytes, status: str, value: Any
) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(raw) as sim:
            result = await act(connector(sim, tmp_path, rows_max=5), asked, "tickets.ticket.list")
            assert (result.status.value, result.value) == (status, value)
            assert "stack trace" not in repr(result)

    run(main())


def test_a_lookup_that_finds_nothing_is_empty_where_the_manifest_says_so(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(404, {})) as sim:
            assert (
                await act(connector(sim, tmp_path), asked, "tickets.ticket.get", id="1")
            ).status is ResultStatus.EMPTY

    run(main())


@pytest.mark.parametrize(("raw", "code"), [
    (whole(200, b"{not json " + SECRET.encode()), "upstream.garbage"),
    (whole(200, {"other": 1}), "upstream.contract"),
    (whole(302, b"", location="http://169.254.169.254/"), "upstream.redirect"),
    (whole(200, b"x" * 2_000_000), "upstream.too_large"),
])  # fmt: skip
def test_an_answer_outside_the_contract_fails_without_its_body(
    run: Run, asked: Any, tmp_path: Path, raw: bytes, code: str
) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(raw) as sim:
            with pytest.raises(UpstreamFailed) as caught:
                await act(connector(sim, tmp_path), asked, "tickets.ticket.list")
            assert caught.value.error_code == code
            assert SECRET not in f"{caught.value.detail}{caught.value.error_remedy}{caught.value.__cause__!r}"

    run(main())


@pytest.mark.parametrize(("raw", "status"), [
    (whole(200, {"state": {"phase": "finished"}}), "done"),
    (whole(200, {"state": {"phase": "refused"}}), "not_done"),
    (whole(404, {}), "not_done"),
    (whole(200, {"state": {"phase": "what"}}), "unknown"),
    (whole(200, {}), "unknown"),
    (whole(500, {}), "unknown"),
    (b"garbage\r\n\r\n", "unknown"),
])  # fmt: skip
def test_the_status_of_an_action_is_asked_and_never_guessed(
    run: Run, asked: Any, tmp_path: Path, raw: bytes, status: str
) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(raw) as sim:
            adapter = connector(sim, tmp_path)
            action = asked(MANIFEST).catalog.action("tickets.scale.set")
            assert (await adapter.status_of("act_7", action)).status == status
            assert sim.seen[0].target == "/api/v1/actions/act_7"
            assert (await adapter.status_of("act_7")).status == "unknown"
            await adapter.aclose()

    run(main())


def test_a_whole_body_is_the_arguments_and_nothing_else(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(204)) as sim:
            result = await act(connector(sim, tmp_path), asked, "tickets.raw.post", a='","admin":true,"')
            assert sim.seen[0].json == {"a": '","admin":true,"'}
            assert (result.status, result.value) == (ResultStatus.OK, None)

    run(main())


@pytest.mark.parametrize(("transport", "key"), [
    ("{path: /x, surprise: 1}", "surprise"),
    ("{path: '/x/{nobody}'}", "path"),
    ("{path: '/a/../b'}", "path"),
    ("{path: 'http://evil/'}", "path"),
    ("{path: '//evil/x'}", "path"),
    ("{path: '/x?y=1'}", "path"),
    ("{path: /x, method: TRACE}", "method"),
    ("{path: /x, query: {q: '{nobody}'}}", "query"),
    ("{path: /x, body: {q: ['{nobody}']}}", "body"),
    ("{path: /x, status_of: {path: /y}}", "status_of"),
    ("{method: GET}", "path"),
])  # fmt: skip
def test_a_transport_that_is_wrong_is_refused_by_key(asked: Any, transport: str, key: str) -> None:
    manifest = f"connector: t\nactions:\n  t.a.b: {{title: T, effect: read, reversibility: reversible, idempotent: true, transport: {transport}}}\n"
    with pytest.raises(BadRequest, match=f"`{key}`"):
        compile_transport(asked(manifest).catalog.action("t.a.b"))


def test_a_read_cannot_be_sent_with_a_method_that_writes(run: Run, asked: Any, tmp_path: Path) -> None:
    manifest = "connector: tickets\nactions:\n  tickets.a.b: {title: T, effect: read, reversibility: reversible, idempotent: true, transport: {path: /x, method: DELETE}}\n"

    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {})) as sim:
            with pytest.raises(BadRequest, match="is a read"):
                await connector(sim, tmp_path).execute(*asked(manifest).grant("tickets.a.b", SERVER, {}))
            assert sim.seen == []

    run(main())


@pytest.mark.parametrize("content", ["", "   \n", "a\nb", "é", None])
def test_a_credential_that_cannot_be_used_stops_the_start_without_being_shown(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "s").write_text(content)
    settings = HttpSettings(
        name="t", base_url="https://a.example", credential="bearer", credential_file=str(tmp_path / "s")
    )
    with pytest.raises(BadRequest, match="credential"):
        HttpConnector(settings, Egress(), SeededClock())
