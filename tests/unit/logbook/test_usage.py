"""What the log adds up to: each record once, whatever the batches, and the same when it is made anew."""

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from broker.store import Store, logindex, logusage
from tests.stores import KINDS, fresh_tenant, open_store

WHO = ("per_a", "per_b")
MODELS = ("one", "two")


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(request.param, tmp_path_factory.mktemp("usage"))
    yield opened
    opened.close()


def lines_of(count: int, seed: int) -> list[dict[str, Any]]:
    """Lines of every sort, in an order of time that steps back now and then."""
    dice, at, made = random.Random(seed), 1_000_000, []
    for seq in range(count):
        at += dice.choice((0, 7, 400, -30))
        line: dict[str, Any] = dict.fromkeys(("behalf", "resource", "effect", "session", "incident", "issuer"), "")
        line |= {"seq": seq, "at": at, "event": f"e{seq}", "codes": [], "own": False, "tier": 0, "roles": ("agent",)}
        line |= {"who": dice.choice(WHO), "kind": dice.choice(("intent", "outcome", "refusal", "review"))}
        line["action"] = dice.choice(("local.logs.search", logusage.MODEL_CALL, "gate.audit.read"))
        line["access"] = dice.choice(("read", "write"))
        line["party"] = "agent" if line["kind"] in ("intent", "refusal") else ""
        if line["kind"] == "outcome" and line["action"] == logusage.MODEL_CALL:
            line |= {"model": dice.choice(MODELS), "tokens_in": dice.choice((-1, 0, 900)), "tokens_out": 41}
        made.append(line)
    return made


def recounted(lines: list[dict[str, Any]], size: int) -> dict[tuple[int, str, str], dict[str, int]]:
    """The same sums, counted one by one."""
    found: dict[tuple[int, str, str], dict[str, int]] = {}

    def add(line: dict[str, Any], model: str = "", **more: int) -> None:
        key = (line["at"] - line["at"] % size, line["who"], model)
        here = found.setdefault(key, dict.fromkeys(logusage.COUNTS, 0))
        for name, count in more.items():
            here[name] += count

    for line in lines:
        call = line["action"] == logusage.MODEL_CALL
        if line["kind"] == "refusal":
            add(line, refusals=1)
        elif line["kind"] == "intent" and not line["action"].startswith("gate."):
            add(line, actions=1, writes=int(line["access"] == "write"))
        elif line["kind"] == "outcome" and call:
            known = line["tokens_in"] >= 0
            add(
                line,
                line["model"],
                calls=1,
                uncounted=int(not known),
                tokens_in=max(0, line["tokens_in"]),
                tokens_out=41,
            )
    return found


def test_every_record_counts_once_in_each_size_whatever_the_batches(store: Store) -> None:
    lines = lines_of(400, seed=7)
    for seed in (1, 2):
        tenant, dice, at = fresh_tenant(), random.Random(seed), 0
        while at < len(lines):
            chunk = lines[at : at + dice.choice((1, 7, 60))]
            # What another replica took up already changes nothing.
            assert asyncio.run(store.write(partial(logindex.add, tenant=tenant, lines=chunk)))
            assert not asyncio.run(store.write(partial(logindex.add, tenant=tenant, lines=chunk)))
            at += len(chunk)
        for size in logusage.SIZES:
            rows = asyncio.run(store.read(partial(logusage.sums, tenant=tenant, size=size, since=0, until=2**53)))
            shown = {(one["at"], one["who"], one["model"]): {n: one[n] for n in logusage.COUNTS} for one in rows}
            assert shown == recounted(lines, size)
        met = asyncio.run(store.read(partial(logusage.page, tenant=tenant, kind="agent", before=-1, limit=9)))
        last = {who: max(one["seq"] for one in lines if one["who"] == who and one["party"]) for who in WHO}
        assert [one["last_seq"] for one in met] == sorted(last.values(), reverse=True)
        asyncio.run(store.write(partial(logindex.forget, tenant=tenant)))
        for query in (partial(logusage.sums, size=300, since=0, until=2**53), partial(logusage.names)):
            assert asyncio.run(store.read(partial(query, tenant=tenant))) == []


def test_a_window_ends_where_it_says(store: Store) -> None:
    tenant = fresh_tenant()
    lines = [one for one in lines_of(200, seed=3) if one["kind"] == "refusal"]
    lines = [one | {"seq": place} for place, one in enumerate(lines)]
    asyncio.run(store.write(partial(logindex.add, tenant=tenant, lines=lines)))
    starts = sorted({one["at"] // 300 * 300 for one in lines})
    since, until = starts[3], starts[-3]
    rows = asyncio.run(store.read(partial(logusage.sums, tenant=tenant, size=300, since=since, until=until)))
    assert sum(one["refusals"] for one in rows) == sum(since <= one["at"] < until for one in lines)
