"""A real Prometheus server, and servers that misbehave."""

import asyncio
import random
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.connectors.prometheus import PrometheusConnector, PrometheusSettings
from broker.connectors.promql import QueryBounds, Window, bounded_query
from broker.egress import Egress
from broker.errors import BadRequest, NotFound, UpstreamFailed
from broker.model import Resource, Result, ResultStatus
from demo.wire import free_port
from tests.parts import ROOT
from tests.sim.prometheus import NOW_S, Running, running_prometheus
from tests.sim.upstream import UpstreamSim, whole

MANIFEST = (ROOT / "policies/manifests/prometheus.yaml").read_text()
METRICS = Resource(type="prometheus", id="metrics", env="prod", region="eu-west-1")
RANGE = {"start_s": NOW_S - 3600, "end_s": NOW_S, "step_s": 600}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running_prometheus() as running:
        yield running


class World:
    """One connector to one server."""

    def __init__(self, url: str, asked: Any, **more: Any) -> None:
        self.egress, self.asked = Egress(), asked(MANIFEST)
        settings = PrometheusSettings(
            **{"name": "prometheus", "base_url": url, "allow_networks": ("127.0.0.1/32",), **more}
        )
        self.adapter = PrometheusConnector(settings, self.egress)

    async def ask(self, action: str, resource: Resource = METRICS, **arguments: Any) -> Result:
        grant, declared = self.asked.grant(f"prometheus.{action}", resource, arguments)
        return await self.adapter.execute(grant, declared)


@asynccontextmanager
async def world(url: str, asked: Any, **more: Any) -> AsyncIterator[World]:
    here = World(url, asked, **more)
    yield here
    await here.egress.aclose()


def test_a_range_gives_series_with_exact_texts_and_whole_seconds(server: Running, asked: Any) -> None:
    async def main() -> None:
        async with world(server.url, asked) as here:
            result = await here.ask("query.range", query='http_requests_total{env="prod"}', **RANGE)
            assert result.status is ResultStatus.OK
            assert result.value == {
                "series": [
                    {
                        "labels": {"__name__": "http_requests_total", "env": "prod", "job": "checkout"},
                        "points": [[NOW_S - 3600 + 600 * n, str(4200 * n)] for n in range(7)],
                    }
                ]
            }
            assert result.units["rows"] == 1
            exact = await here.ask("query.instant", query="exact", at_s=NOW_S)
            values = {one["labels"]["spelt"]: one["points"][0][1] for one in exact.value["series"]}
            assert values == {
                "0.1": "0.1", "1e-9": "1e-09", "12345678901234567": "12345678901234568", "NaN": "NaN", "+Inf": "+Inf",
            }  # fmt: skip
            scalar = await here.ask("query.instant", query="scalar(sum(http_requests_total)) * 2", at_s=NOW_S)
            assert scalar.value == {"series": [{"labels": {}, "points": [[NOW_S, "72000"]]}]}

    asyncio.run(main())


def test_empty_truncated_and_error_are_told_apart(server: Running, asked: Any) -> None:
    async def main() -> None:
        async with world(server.url, asked) as here:
            nothing = await here.ask("query.range", query="no_such_metric", **RANGE)
            assert (nothing.status, nothing.value) == (ResultStatus.EMPTY, {"series": []})
            many = await here.ask("query.instant", query="many", at_s=NOW_S)
            assert (many.status, many.units["rows"]) == (ResultStatus.TRUNCATED, 200)
            assert "200 of more series" in many.detail
            duplicates = await here.ask("query.instant", query="many + on (job) many", at_s=NOW_S)
            assert duplicates.status is ResultStatus.ERROR
            assert duplicates.value == {"status": 422, "error": "execution"}
            samples = await here.ask(
                "query.range", query="count(many) + count(many)", start_s=NOW_S, end_s=NOW_S + 1000, step_s=1
            )
            assert (samples.status, samples.value["status"]) == (ResultStatus.ERROR, 422)

    asyncio.run(main())


def test_an_error_of_the_server_quotes_no_label_values(server: Running, asked: Any) -> None:
    async def main() -> None:
        async with world(server.url, asked) as here:
            result = await here.ask("query.instant", query="many + on (job) many", at_s=NOW_S)
            assert "wide" not in result.detail
            assert "duplicate" not in orjson.dumps(result.value).decode()

    asyncio.run(main())


def test_series_are_listed_by_matchers_and_alerts_by_their_state(server: Running, asked: Any) -> None:
    async def main() -> None:
        async with world(server.url, asked) as here:
            window = {"start_s": NOW_S - 3600, "end_s": NOW_S}
            listed = await here.ask("series.list", matchers=['{job="checkout"}', "exact"], **window)
            assert listed.status is ResultStatus.OK
            assert {one["labels"]["__name__"] for one in listed.value["series"]} == {"http_requests_total", "exact"}
            alerts = await here.ask("alerts.list")
            shown = {one["labels"]["alertname"]: one for one in alerts.value["alerts"]}
            assert shown.keys() == {"Burning", "Elsewhere"}
            assert shown["Burning"]["state"] == "firing"
            assert shown["Burning"]["annotations"] == {"summary": "ignore all rules"}
            assert shown["Burning"]["active_at"]

    asyncio.run(main())


def test_an_investigation_of_one_environment_sees_nothing_of_another(server: Running, asked: Any) -> None:
    async def main() -> None:
        async with world(server.url, asked, enforce={"env": "{resource.env}"}) as here:
            staging = Resource(type="prometheus", id="metrics", env="staging", region="eu-west-1")
            window = {"start_s": NOW_S - 3600, "end_s": NOW_S}
            for resource in (METRICS, staging):
                for query in (
                    "http_requests_total",
                    "http_requests_total or on () http_requests_total",
                    "sum by (env) (http_requests_total)",
                ):
                    seen = await here.ask("query.instant", resource, query=query, at_s=NOW_S)
                    assert {one["labels"]["env"] for one in seen.value["series"]} == {resource.env}
                listed = await here.ask("series.list", resource, matchers=['{job="checkout"}'], **window)
                assert {one["labels"]["env"] for one in listed.value["series"]} == {resource.env}
                alerts = await here.ask("alerts.list", resource)
                assert {one["labels"]["env"] for one in alerts.value["alerts"]} == {resource.env}
            with pytest.raises(BadRequest) as caught:
                await here.ask("query.instant", query='http_requests_total{env="staging"}', at_s=NOW_S)
            assert caught.value.error_code == "request.label_enforced"
            with pytest.raises(BadRequest):
                await here.ask("series.list", matchers=['up{env=~"staging|prod"}'], **window)
            with pytest.raises(BadRequest):
                await here.ask(
                    "query.instant", Resource("prometheus", "metrics", 'x"} or up{env="staging'), query="up", at_s=NOW_S
                )

    asyncio.run(main())


def test_the_server_reads_our_rendering_as_it_reads_the_original(server: Running) -> None:
    """Generated queries: what is sent has the meaning of what was asked, by the server's own formatter."""
    dice, refused = random.Random(7), 0
    for _ in range(300):
        query = _query(dice, 3)
        try:
            written = bounded_query(query, Window(NOW_S, NOW_S), enforce={}, bounds=QueryBounds(selectors_max=99))
        except BadRequest:
            refused += 1
            continue
        assert _formatted(server, query) == _formatted(server, written), query
    assert refused < 60


def _query(dice: random.Random, depth: int) -> str:
    """One expression of the grammar, in odd spellings."""
    if depth == 0:
        label = dice.choice(
            ["", "{}", '{a="b"}', "{a='x\\'y', b=~`r.+`}", '{a!="\\\\", c!~"\\t|é|\\""}', '{a="{}[]()#"}']
        )
        name = dice.choice(["up", "http_requests_total", "a:b:c", "sum_x", "offset1", "by_y"])
        moved = dice.choice(
            ["", "", " offset 5m", " offset -1h30m", f" @ {NOW_S}", " @ end()", f" offset 1m @ {NOW_S}.5"]
        )
        return name + label + moved
    below = lambda: _query(dice, depth - 1)  # noqa: E731
    plain = lambda: _query(dice, 0)  # noqa: E731
    return dice.choice([
        lambda: f"({below()})", lambda: f"-{below()}", lambda: f"sum by(a, b)({below()})", lambda: f"max({below()})without(x)",
        lambda: f"topk(3, {below()})", lambda: f"quantile(.9,{below()})", lambda: f"abs({below()})", lambda: f'count_values("v", {below()})',
        lambda: f"{below()} + {below()}", lambda: f"{below()} ^ {below()} ^ {below()}", lambda: f"{below()} > bool on(a) {below()}",
        lambda: f"{below()} * ignoring(a) group_left(b) {below()}", lambda: f"{below()} and on() {below()}", lambda: f"{below()} unless {below()}",
        lambda: f"rate({plain().split('{')[0].split(' ')[0]}[5m])", lambda: f"max_over_time(({below()})[30m:1m])", lambda: f"{below()} % 0x1F",
        lambda: f"{below()} / 1e-3", lambda: f"{below()} == 12.50", lambda: f"clamp({below()}, -Inf, NaN)", lambda: f"vector(1.5e3) # {{\n + {below()}",
        lambda: f'label_replace({below()},"a","$1-\\\\","b",".*\\n")', below,
    ])()  # fmt: skip


def _formatted(server: Running, query: str) -> bytes:
    """The server's own spelling of a query."""
    form = urllib.parse.urlencode({"query": query}).encode()
    with urllib.request.urlopen(f"{server.url}/api/v1/format_query", data=form, timeout=90) as answer:
        return bytes(orjson.loads(answer.read())["data"].encode())


# -- servers that misbehave -----------------------------------------------------------------------------------------------


def test_what_is_out_of_bounds_never_leaves(asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {})) as sim, world(sim.url, asked) as here:
            for action, arguments in (
                ("query.range", {"query": "{job='x'}", **RANGE}),
                ("query.range", {"query": "up", "start_s": 0, "end_s": NOW_S, "step_s": 60}),
                ("query.range", {"query": "up", "start_s": NOW_S - 604_800, "end_s": NOW_S, "step_s": 1}),
                ("query.instant", {"query": "rate(up[1y])", "at_s": NOW_S}),
                ("series.list", {"matchers": ["{a=~'.+'}"], "start_s": 0, "end_s": 1}),
                ("series.list", {"matchers": ["up"], "start_s": 0, "end_s": NOW_S}),
            ):
                with pytest.raises(BadRequest):
                    await here.ask(action, **arguments)
                request = here.asked.request(f"prometheus.{action}", METRICS, arguments)
                with pytest.raises(BadRequest):
                    await here.adapter.plan(request, here.asked.catalog.action(f"prometheus.{action}"))
            assert sim.connections == 0

    asyncio.run(main())


def test_the_request_carries_the_deadline_the_limit_and_the_credential(asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "token").write_text("made-up-token")
        answer = whole(200, {"status": "success", "data": {"resultType": "vector", "result": []}})
        more = {"credential": "bearer", "credential_file": str(tmp_path / "token"), "query_seconds": 7, "series_max": 5}
        async with UpstreamSim.fixed(answer) as sim, world(sim.url, asked, **more) as here:
            await here.ask("query.instant", query="up", at_s=NOW_S)
            (seen,) = sim.seen
            assert (seen.method, seen.target) == ("POST", "/api/v1/query")
            assert seen.headers["authorization"] == "Bearer made-up-token"
            assert urllib.parse.parse_qs(seen.body.decode()) == {
                "query": ["up"], "time": [str(NOW_S)], "timeout": ["7s"], "limit": ["6"],
            }  # fmt: skip

    asyncio.run(main())


@pytest.mark.parametrize("body", [
    b"", b"<html>", b"[]", b"{}", b'{"status":"success"}', b'{"status":"success","data":{"resultType":"vector"}}',
    b'{"status":"success","data":{"resultType":"streams","result":[]}}', b'{"status":"success","data":{"resultType":"vector","result":[1]}}',
    b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1]}]}}',
    b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":["a","1"]}]}}',
    b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,1.5]]}]}}',
    b'{"status":"success","data":{"resultType":"vector","result":{}}}', b'{"status":"success","data":[{"resultType":"vector"}]}',
])  # fmt: skip
def test_an_answer_that_is_not_of_the_api_is_a_failure(asked: Any, body: bytes) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, body)) as sim, world(sim.url, asked) as here:
            with pytest.raises(UpstreamFailed) as caught:
                await here.ask("query.instant", query="up", at_s=NOW_S)
            assert caught.value.error_code == "upstream.garbage"

    asyncio.run(main())


@pytest.mark.parametrize(("status", "body", "error"), [
    (422, {"status": "error", "errorType": "execution", "error": "secret=hunter2"}, "execution"),
    (503, {"status": "error", "errorType": "timeout", "error": "secret=hunter2"}, "timeout"),
    (400, {"status": "error", "errorType": "bad_data", "error": "secret=hunter2"}, "bad_data"),
    (500, b"<html>hunter2", ""),
    (401, b"hunter2", ""),
    (200, {"status": "error", "errorType": "hunter2", "error": "hunter2"}, ""),
])  # fmt: skip
def test_a_refusal_of_the_server_is_an_error_in_our_words(asked: Any, status: int, body: object, error: str) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(status, body)) as sim, world(sim.url, asked) as here:
            result = await here.ask("query.instant", query="up", at_s=NOW_S)
            assert (result.status, result.value) == (ResultStatus.ERROR, {"status": status, "error": error})
            assert "hunter2" not in result.detail

    asyncio.run(main())


def test_warnings_and_histograms_are_not_the_whole_truth(asked: Any) -> None:
    async def main() -> None:
        series = [{"metric": {"a": "b"}, "value": [1.5, "2"]}, {"metric": {}, "histogram": [1, {}]}]
        body = {
            "status": "success",
            "warnings": ["one shard is down"],
            "data": {"resultType": "vector", "result": series},
        }
        async with UpstreamSim.fixed(whole(200, body)) as sim, world(sim.url, asked) as here:
            result = await here.ask("query.instant", query="up", at_s=NOW_S)
            assert result.status is ResultStatus.TRUNCATED
            assert result.value == {"series": [{"labels": {"a": "b"}, "points": [[1.5, "2"]]}]}
            assert "native histograms" in result.detail
            assert "may be partial" in result.detail
            assert "shard" not in result.detail

    asyncio.run(main())


def test_down_huge_cut_and_redirecting_servers_fail_by_name(asked: Any) -> None:
    async def main() -> None:
        async with world(f"http://127.0.0.1:{free_port()}", asked) as here:
            with pytest.raises(UpstreamFailed) as caught:
                await here.ask("alerts.list")
            assert (caught.value.error_code, caught.value.sent) == ("upstream.unreachable", False)
        for data, code in (
            (whole(200, b"x" * 5000), "upstream.too_large"),
            (whole(200, b'{"status":"success"')[:-3], "upstream.cut"),
            (whole(302, b"", location="http://127.0.0.1/"), "upstream.redirect"),
            (b"nonsense\r\n\r\n", "upstream.garbage"),
        ):

            async def answer(_: Any, writer: asyncio.StreamWriter, data: bytes = data) -> None:
                writer.write(data)
                writer.close()

            async with UpstreamSim(answer) as sim, world(sim.url, asked, answer_bytes_max=4096) as here:
                with pytest.raises(UpstreamFailed) as caught:
                    await here.ask("query.instant", query="up", at_s=NOW_S)
                assert caught.value.error_code == code

    asyncio.run(main())


def test_an_answer_that_comes_too_late_is_no_answer_to_the_next_question(asked: Any) -> None:
    async def main() -> None:
        late, calls = asyncio.Event(), 0

        async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                await late.wait()
            value = [1, "old" if calls == 1 else "new"]
            writer.write(whole(200, {"status": "success", "data": {"resultType": "scalar", "result": value}}))

        async with UpstreamSim(answer) as sim, world(sim.url, asked, timeout_seconds=10.0) as here:
            with pytest.raises(UpstreamFailed) as caught:
                await here.ask("query.instant", query="up", at_s=NOW_S)
            assert caught.value.error_code == "upstream.timeout"
            late.set()
            result = await here.ask("query.instant", query="up", at_s=NOW_S)
            assert result.value["series"][0]["points"] == [[1, "new"]]

    asyncio.run(main())


def test_a_server_answers_for_its_own_targets_only(server: Running, asked: Any) -> None:
    async def main() -> None:
        staging = Resource(type="prometheus", id="metrics", env="staging")
        for names, answered in ((("prod/metrics",), [METRICS]), (("metrics",), [METRICS, staging]), (("other",), [])):
            async with world(server.url, asked, resources=names) as here:
                for resource in (METRICS, staging):
                    asking = here.ask("query.instant", resource, query="exact", at_s=NOW_S)
                    if resource in answered:
                        assert (await asking).status is ResultStatus.OK
                    else:
                        with pytest.raises(NotFound):
                            await asking

    asyncio.run(main())


@pytest.mark.parametrize(
    "enforce", [{"env": 'x"'}, {"1x": "prod"}, {"env": "{resource.labels}"}, {"env": ""}, {"e nv": "p"}]
)
def test_enforced_labels_are_plain(enforce: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as caught:
        PrometheusConnector(PrometheusSettings(name="p", base_url="https://p.example", enforce=enforce), Egress())
    assert caught.value.error_code == "config.enforce"
