"""The usage page: its figures are the log's, money is known or called unknown, and looking takes nothing of a limit."""

import asyncio
import html
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.sim.model_server import Turn
from tests.sim.visitor import signed_in
from tests.sim.world import FAR_MODEL, MODEL, World, world

PRICES = f"""
[[usage.prices]]
model = "{MODEL}"
input_per_million = "3.00"
output_per_million = "15.5"
"""
TURNS = [
    Turn("one", tokens_in=1_000, tokens_out=70),
    Turn("two", tokens_in=23, tokens_out=9),
    Turn("no", status=529, error_type="overloaded_error"),
    Turn("four", tokens_in=7, tokens_out=1),
]
COUNTS = ("calls", "uncounted", "tokens_in", "tokens_out")


async def call(it: World, who: dict[str, str], session: str, *, stream: bool = False) -> int:
    body = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    head = {**who, "Wicketgate-Session": session}
    return (await it.client.post("/llm/anthropic/v1/messages", json=body, headers=head)).status_code


async def a_day(it: World) -> None:
    """Two agents call a model, one of them for a person; one asks for what it may not, and reads."""
    for name, calls in (("agent-1", 3), ("agent-2", 1)):
        agent = await it.agent(name)
        session = await it.session(agent)
        for place in range(calls):
            await call(it, agent, session, stream=place == 1)
        assert (await it.act(agent, "local.process.status", session)).status_code == 200
        assert (await it.act(agent, "local.process.restart", session, id_="nothing-like-it")).status_code == 403
    behalf = await it.on_behalf(await it.person("oncall"))
    assert (await it.act(behalf, "local.process.status", await it.session(behalf))).status_code == 200


async def usage(it: World, window: str = "day", person: str = "auditor") -> dict[str, Any]:
    answer = await it.client.get("/v1/usage", params={"window": window}, headers=await it.person(person))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def recounted(records: list[dict[str, Any]], since: int, until: int) -> tuple[Counter[Any], Counter[Any]]:
    """Calls by (who, model), and actions by who, straight from the records."""
    begun = {one["id"]: one["body"] for one in records if one["kind"] == "intent"}
    models: Counter[Any] = Counter()
    agents: Counter[Any] = Counter()
    for one in records:
        body, at = one["body"], int(one["time_ns"]) // 10**9
        if not since <= at < until:
            continue
        if one["kind"] == "refusal":
            agents[body["actor"]["ref"], "refusals"] += 1
        if one["kind"] == "intent" and not body["action"]["name"].startswith("gate."):
            agents[body["actor"]["ref"], "actions"] += 1
            agents[body["actor"]["ref"], "writes"] += body["action"]["effect"] == "write"
        if one["kind"] == "outcome" and begun[one["about"]]["action"]["name"] == "llm.messages.create":
            asked = begun[one["about"]]
            key = asked["actor"]["ref"], asked["llm"]["model"]
            models[*key, "calls"] += 1
            models[*key, "uncounted"] += "llm" not in body
            for name in ("tokens_in", "tokens_out"):
                models[*key, name] += body.get("llm", {}).get(name, 0)
    return models, agents


def test_every_figure_can_be_counted_again_from_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=TURNS) as it:
            await a_day(it)
            it.clock.advance(2 * 3_600)
            await a_day(it)
            for window, steps in (("hour", 12), ("day", 24), ("week", 7)):
                told = await usage(it, window)
                assert len(told["steps"]) == steps
                assert told["until"] - told["since"] == steps * told["step_s"]
                assert told["indexed"] >= told["records"] - 1
                models, agents = recounted(await it.records(), told["since"], told["until"])
                shown = {(one["who"], one["model"], name): one[name] for one in told["models"] for name in COUNTS}
                assert shown == dict(models)
                acted = {
                    (one["who"], name): one[name]
                    for one in told["agents"]
                    for name in ("actions", "writes", "refusals")
                    if one[name]
                }
                assert acted == {key: count for key, count in agents.items() if count}
                for name in COUNTS:
                    summed = sum(count for (_, _, which), count in models.items() if which == name)
                    assert sum(one[name] for one in told["steps"]) == summed
            names = {one["name"] for one in (await usage(it, "week"))["agents"]}
            assert {"dev:agent-1", "dev:agent-2"} <= names
            assert (await usage(it, "hour"))["models"] != (await usage(it, "week"))["models"]
            before = (await usage(it, "week"))["models"]
            await it.gate.log_index.rebuild("default")
            assert (await usage(it, "week"))["models"] == before, "made anew it says the same"

    asyncio.run(main())


def test_money_is_exact_where_a_price_is_configured_and_unknown_elsewhere(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=TURNS[:1], extra=PRICES) as it:
            await a_day(it)
            told = await usage(it)
            counted, _ = recounted(await it.records(), told["since"], told["until"])
            taken, given = (
                sum(count for (_, _, which), count in counted.items() if which == name)
                for name in ("tokens_in", "tokens_out")
            )
            exact = (Decimal("3.00") * taken + Decimal("15.5") * given) / 1_000_000
            assert exact
            assert Decimal(told["money"]["USD"]) == exact
            assert sum(Decimal(one["money"]["USD"]) for one in told["steps"] if one["money"]) == exact
            assert told["unpriced"] == []
            async with await signed_in(it, "auditor") as auditor:
                page = (await auditor.open("/console/usage")).text
                assert f"{exact:.6f}".rstrip("0") in page
                assert "unknown" not in page.partition("<main")[2].partition('id="limits"')[0]

    async def without() -> None:
        (tmp_path / "other").mkdir()
        async with world(tmp_path / "other", turns=TURNS[:1]) as it, await signed_in(it, "auditor") as auditor:
            await a_day(it)
            told = await usage(it)
            assert {one["money"] for one in told["models"]} == {None}
            assert (told["money"], told["unpriced"]) == ({}, [MODEL])
            page = (await auditor.open("/console/usage")).text
            assert "No prices are configured, so what was spent is unknown" in page
            assert "unknown</td>" in page

    asyncio.run(main())
    asyncio.run(without())


@pytest.mark.parametrize("wrong", ['"3,00"', "3.0", '"-1"', '"1e3"'])
def test_a_price_that_is_no_exact_decimal_stops_the_start(tmp_path: Path, wrong: str) -> None:
    from broker import config
    from broker.errors import BadRequest

    path = tmp_path / "gate.toml"
    path.write_text(PRICES.replace('"3.00"', wrong))
    with pytest.raises(BadRequest, match=r"usage\.prices\.0\.input_per_million"):
        config.load(path, environment={})


def test_looking_takes_nothing_of_a_limit_and_says_what_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            for _ in range(5):
                assert (await it.act(agent, "local.process.status", session)).status_code == 200

            async def left() -> dict[str, int]:
                told = await usage(it, person="security")
                return {one["limit"]: one["left"] for one in told["limits"] if one["name"] == "dev:agent-1"}

            first = await left()
            reads = next(one for one in (await usage(it))["limits"] if one["limit"] == "reads")
            assert (reads["burst"], reads["max"], reads["window_s"]) == (300, 1_200, 60)
            assert first["reads"] == 300 - 5
            assert first["writes-automatic"] == 10
            for _ in range(20):
                assert await left() == first
            assert (await it.act(agent, "local.process.status", session)).status_code == 200
            assert (await left())["reads"] == first["reads"] - 1
            it.clock.advance(60)
            assert (await left())["reads"] == 300

    asyncio.run(main())


def test_the_page_shows_each_chart_with_its_table_and_what_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=TURNS) as it, await signed_in(it, "oncall") as oncall:
            empty = html.unescape((await oncall.open("/console/usage?window=hour")).text)
            assert "No model was called in this window" in empty
            await a_day(it)
            told = await usage(it)
            page = html.unescape((await oncall.open("/console/usage")).text)
            for chart, table in (("Tokens over time", "tokens-table"), ("Actions over time", "steps-table")):
                assert re.search(rf'<svg class="chart"[^>]*role="img" aria-label="{chart}', page), chart
                assert f'<table id="{table}">' in page
            (step,) = [one for one in told["steps"] if one["calls"]]
            row = page.partition('<table id="tokens-table">')[2].partition("</table>")[0]
            cells = re.findall(r'<td class="number">([^<]*)</td>', row)
            assert [int(re.sub(r"\D", "", one)) for one in cells] == [
                step[n] for n in ("calls", "tokens_in", "tokens_out")
            ]
            assert "dev:agent-1" in page
            assert page.count('<rect class="bar"') >= 2
            assert "style=" not in page.partition("<main")[2]
            assert (await oncall.open("/console/usage?window=year")).status_code == 400

    asyncio.run(main())


def test_another_tenant_sees_its_own_figures_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=TURNS) as it, await signed_in(it, "stranger") as stranger:
            await a_day(it)
            assert (await usage(it))["models"]
            told = await usage(it, person="stranger")
            assert told["models"] == []
            assert {one["name"] for one in told["agents"]} <= {"dev:stranger"}
            # Its own looks, and nothing of the others' day.
            assert all(one["burst"] - one["left"] <= 2 for one in told["limits"] if one["scope"] == "tenant")
            page = (await stranger.open("/console/usage")).text
            assert "agent-1" not in page
            assert FAR_MODEL not in page
            assert MODEL not in page

    asyncio.run(main())
