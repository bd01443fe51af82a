"""Traces as a collector reads them: the steps of an action, model calls, and nothing of what was said."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from broker.config import TelemetrySettings
from broker.model import ActionRequest, Effect, Resource, Result, ResultStatus
from broker.telemetry import Declared, Telemetry
from broker.wiring import watching
from tests.sim.collector import Collector, attributes
from tests.sim.served import until
from tests.sim.world import MODEL, World, world

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MARKED = "00-4111111111111111aaaaaaaaaaaaaaaa-4111111111111111-01"
"""Digits are bytes of a mark: anybody's card number is one."""
FAMILY = "claude-sonnet-"
PLANTED = ("AKIAIOSFODNN7EXAMPLE", "alice.miller@example.org", "4111111111111111", "do-not-tell-anybody", "<script>x")
STEPS = {"authenticate", "read", "decide", "discharge", "record_intent", "execute", "discharge_after", "record_outcome"}


def planted() -> tuple[str, ...]:
    """What must not be seen again: ours, and where it is there, the corpora's."""
    found = list(PLANTED)
    root = os.environ.get("CORPUS_DIR")
    if root:
        examples = json.loads((Path(root) / "noseyparker" / "examples.json").read_text())
        found += [one["examples"][0] for one in examples if len(one["examples"][0]) < 200][::4][:12]
        found += [text for text in json.loads((Path(root) / "blns" / "blns.json").read_text()) if 12 < len(text) < 200][
            :60
        ]
    return tuple(found)


async def everything(it: World, text: str) -> None:
    """``text`` in every field that a caller has."""
    agent = await it.agent()
    session = (
        (
            await it.client.post(
                "/v1/sessions",
                json={"intent": [{"kind": "task", "text": text, "source": text}], "labels": {"x": text}},
                headers={**agent, **it.key()},
            )
        )
        .json()
        .get("session", "")
    )
    target = {"type": "process", "id": "checkout", "env": "prod"}
    said = {"session": session, "action": "local.logs.search", "resource": target, "arguments": {"query": text}}
    for body in (
        {**said, "reason": text},
        {**said, "action": text},
        {**said, "resource": {"type": text, "id": text, "env": text}},
        {**said, "session": text},
        {**said, text: text},
    ):
        await it.client.post("/v1/actions", json=body, headers={**agent, **it.key()})
    await it.client.get("/v1/audit/entries", params={"action": text, text: text}, headers=agent)
    await it.client.get(f"/v1/actions/{session}", headers={**agent, "traceparent": MARKED, "x-request-id": session})
    asked = {"model": MODEL, "max_tokens": 10, "system": text, "messages": [{"role": "user", "content": text}]}
    # Policy allows families of models by how their names begin.
    for body in (asked, {**asked, "stream": True}, *({**asked, "model": f"{begins}{text}"} for begins in ("", FAMILY))):
        await it.client.post("/llm/anthropic/v1/messages", json=body, headers={**agent, "Wicketgate-Session": session})


def test_an_action_is_one_trace_of_its_steps_and_a_model_call_has_the_names_of_the_conventions(tmp_path: Path) -> None:
    async def main() -> None:
        async with Collector() as collector, world(tmp_path, extra=collector.toml) as it:
            agent = await it.agent()
            session = await it.session(agent)
            done = await it.act({**agent, "traceparent": CALLER}, "local.process.status", session)
            assert done.status_code == 200, done.text
            await until(lambda: any(span.name == "POST /v1/actions" for span in collector.spans))
            server = collector.named("POST /v1/actions")[0]
            mine = [span for span in collector.spans if span.trace_id == server.trace_id]
            assert {span.name for span in mine} == STEPS | {"POST /v1/actions", "action"}
            assert attributes(server) == {
                "http.request.method": "POST",
                "http.route": "/v1/actions",
                "http.response.status_code": 200,
            }
            # Anybody can write a mark.
            assert list(server.links) == []
            assert server.trace_id.hex() != CALLER.split("-")[1]
            action = next(span for span in mine if span.name == "action")
            assert action.parent_span_id == server.span_id
            assert attributes(action) == {"wicketgate.action.id": done.json()["action_id"]}
            assert all(
                span.parent_span_id == action.span_id for span in mine if span.name in STEPS - {"authenticate", "read"}
            )
            decided = attributes(next(span for span in mine if span.name == "decide"))
            assert decided["wicketgate.decision.id"] == done.json()["decision"]["id"]
            assert (decided["wicketgate.decision.effect"], decided["wicketgate.decision.tier"]) == ("permit", 0)
            await _model_calls(it, collector, agent, session)

    asyncio.run(main())


async def _model_calls(it: World, collector: Collector, agent: dict[str, str], session: str) -> None:
    """One whole, one streamed: the same names."""
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "well?"}]}
    for stream in (False, True):
        answer = await it.client.post(
            "/llm/anthropic/v1/messages",
            json={**asked, "stream": stream},
            headers={**agent, "Wicketgate-Session": session},
        )
        assert answer.status_code == 200, answer.text
    await until(lambda: len(collector.named(f"chat {MODEL}")) == 2)
    for span in collector.named(f"chat {MODEL}"):
        found = attributes(span)
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert (found["gen_ai.operation.name"], found["gen_ai.request.model"]) == ("chat", MODEL)
        assert found["gen_ai.provider.name"] == "anthropic"
        assert found["gen_ai.usage.input_tokens"] > 0
        assert found["gen_ai.usage.output_tokens"] > 0
        assert {name for name in found if name.startswith("gen_ai.")} == {
            "gen_ai.operation.name",
            "gen_ai.provider.name",
            "gen_ai.request.model",
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
        }


def test_nothing_that_a_caller_wrote_is_in_a_span_a_line_or_a_metric(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with Collector() as collector, world(tmp_path, extra=collector.toml) as it:
            for text in planted():
                await everything(it, text)
            metrics = it.gate.telemetry.exposition().decode()
            asked = sum(
                it.gate.telemetry.metrics.registry.get_sample_value(
                    "wicketgate_requests_total", {"route": "/v1/actions", "status": status}
                )
                or 0
                for status in ("200", "403", "422", "400")
            )
            assert asked > len(planted())
        seen = {
            "spans": b"".join(collector.bodies).decode("utf-8", "replace"),
            "metrics": metrics,
            "lines": capfd.readouterr().err,
        }
        assert seen["spans"]
        assert collector.named("GET /v1/actions/{id}")
        ids = {one.hex() for span in collector.spans for one in (span.trace_id, span.span_id, span.parent_span_id)}
        assert not [one for one in ids if "4111111111111111" in one]
        assert not [span for span in collector.spans if span.links]
        told = {(where, text) for where, found in seen.items() for text in planted() if text in found}
        assert told == set()

    asyncio.run(main())


def test_a_collector_that_is_away_costs_a_counter_and_holds_nothing_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with Collector() as collector:
            collector.status = 503
            extra = collector.toml + "spans_waiting_max = 20\n"
            async with world(tmp_path, extra=extra) as it:
                agent = await it.agent()
                session = await it.session(agent)
                for _ in range(5):
                    assert (await it.act(agent, "local.process.status", session)).status_code == 200
                value = it.gate.telemetry.metrics.registry.get_sample_value
                await until(lambda: (value("wicketgate_spans_total", {"end": "dropped"}) or 0) > 20)
                assert it.gate.telemetry.tracing is not None
                assert it.gate.telemetry.tracing.waiting <= 20
            assert collector.spans == []

    asyncio.run(main())


def test_the_mark_of_a_caller_is_linked_where_configured_and_not_believed(tmp_path: Path) -> None:
    async def main() -> None:
        async with Collector() as collector, world(tmp_path, extra=collector.toml + 'caller = "link"\n') as it:
            agent = await it.agent()
            await it.act({**agent, "traceparent": CALLER}, "local.process.status", await it.session(agent))
            await until(lambda: bool(collector.named("POST /v1/actions")))
            (server,) = collector.named("POST /v1/actions")
            assert [one.trace_id.hex() for one in server.links] == [CALLER.split("-")[1]]
            assert server.trace_id.hex() != CALLER.split("-")[1]

    asyncio.run(main())


def test_the_mark_is_handed_on_where_configured_and_believed_where_configured(tmp_path: Path) -> None:
    async def main() -> None:
        async with Collector() as collector:
            extra = collector.toml + 'caller = "parent"\nhand_on_to = ["local"]\n'
            async with world(tmp_path, extra=extra) as it:
                agent = await it.agent()
                session = await it.session(agent)
                before = len(it.supervisor.server.seen)
                await it.act({**agent, "traceparent": CALLER}, "local.process.status", session)
                marks = [seen.headers.get("traceparent", "") for seen in it.supervisor.server.seen[before:]]
                assert marks
                assert {mark.split("-")[1] for mark in marks} == {CALLER.split("-")[1]}
                calling = marks[-1].split("-")[2]
                await until(lambda: calling in {span.span_id.hex() for span in collector.named("execute")})

    asyncio.run(main())


def test_without_a_collector_nothing_is_traced_and_nothing_is_handed_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            await it.act({**agent, "traceparent": CALLER}, "local.process.status", await it.session(agent))
            assert it.gate.telemetry.tracing is None
            assert all("traceparent" not in seen.headers for seen in it.supervisor.server.seen)

    asyncio.run(main())


@dataclass(frozen=True)
class Calling:
    """A model call that some policy permitted."""

    resource: Resource
    name: str = "llm.messages.create"
    connector: str = "llm"
    effect: Effect = Effect.READ
    endpoint: Mapping[str, str] = field(default_factory=lambda: {"provider": "anthropic"})

    @property
    def action(self) -> Declared:
        return self

    @property
    def request(self) -> ActionRequest:
        return ActionRequest("act_1", "default", "ses_1", self.name, self.resource, {}, "", "")


def test_a_model_that_a_policy_permits_and_the_inventory_lacks_is_named_nowhere() -> None:
    async def main() -> None:
        telemetry, sent = Telemetry(time.monotonic), list[bytes]()
        tracing = telemetry.trace(
            now_ns=time.time_ns, version=watching.release(), ratio=1.0, waiting_max=64, inbound="ignore"
        )

        async def post(body: bytes) -> int:
            sent.append(body)
            return 200

        async def answered() -> Result:
            return Result(ResultStatus.OK, {}, units={"tokens_in": 1, "tokens_out": 2})

        for name, region in ((MODEL, "eu-west-1"), (f"{FAMILY}alice-miller", "")):
            running = Calling(Resource("model", name, "prod", region))
            telemetry.acted(running, "done", await telemetry.executing(running, answered()))
            telemetry.streaming(running).end({"tokens_in": 1}, "")
        await tracing.flush(post)
        told = b"".join(sent) + telemetry.exposition()
        assert told.count(f"chat {MODEL}".encode()) == told.count(b"chat other") == 2
        assert f'model="{MODEL}"'.encode() in told
        assert b"alice" not in told

    asyncio.run(main())


def test_a_failed_span_has_a_code_and_no_text() -> None:
    async def main() -> None:
        chosen, telemetry = TelemetrySettings(), Telemetry(time.monotonic)
        tracing = telemetry.trace(
            now_ns=time.time_ns,
            version=watching.release(),
            ratio=1.0,
            waiting_max=chosen.spans_waiting_max,
            inbound="link",
        )
        with pytest.raises(ValueError, match="alice"), tracing.span("thing"):
            raise ValueError("alice@example.org broke it")
        sent: list[bytes] = []

        async def post(body: bytes) -> int:
            sent.append(body)
            return 200

        await tracing.flush(post)
        assert b"ValueError" in sent[0]
        assert b"alice" not in sent[0]

    asyncio.run(main())
