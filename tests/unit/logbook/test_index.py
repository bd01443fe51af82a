"""The index finds what the log holds, in pages that fit together both ways, and never looks at more than it may."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broker.store import Store, logindex
from broker.store.logindex import Sought
from tests.stores import fresh_tenant

WORDS = {
    "who": ("per_a", "per_b", "per_c"),
    "behalf": ("", "", "per_a", "per_d"),
    "action": ("local.process.restart", "local.process.status", "gate.audit.read"),
    "resource": ("", "res_1", "res_2"),
    "effect": ("", "permit", "deny"),
    "kind": ("intent", "outcome", "refusal"),
    "session": ("", "ses_1", "ses_2"),
    "incident": ("", "", "inc_1"),
    "tier": (-1, 0, 2),
}
CODES = ((), ("limit.exceeded",), ("allowlist.action_not_granted", "risk.unknown"))


def lines_of(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Lines as the index is given them; the clock steps back now and then."""
    dice = random.Random(seed)
    at = 1000
    made = []
    for seq in range(count):
        at += dice.choice((0, 1, 1, 5, -3))
        line: dict[str, Any] = {name: dice.choice(values) for name, values in WORDS.items()}
        line |= {"seq": seq, "at": at, "event": f"e{seq}", "codes": list(dice.choice(CODES))}
        made.append(line | {"own": line["action"].startswith("gate.")})
    return made


def filled(store: Store, lines: list[dict[str, Any]]) -> str:
    tenant = fresh_tenant()

    async def fill() -> None:
        for first in range(0, len(lines), 100):
            chunk = lines[first : first + 100]
            assert await store.write(partial(logindex.add, tenant=tenant, lines=chunk))

    asyncio.run(fill())
    return tenant


def page(store: Store, tenant: str, sought: Sought, **cursor: int) -> logindex.FoundLines:
    return asyncio.run(store.read(lambda c: logindex.page(c, tenant, sought, limit=7, **cursor)))


def everything(store: Store, tenant: str, sought: Sought) -> list[int]:
    """Numbers of all pages, newest first."""
    found: list[int] = []
    cursor = -1
    for _ in range(1000):
        got = page(store, tenant, sought, before=cursor)
        found += [int(str(line["seq"])) for line in got.lines]
        if got.older < 0:
            return found
        cursor = got.older
    raise AssertionError("it does not end")


def expected(lines: list[dict[str, Any]], sought: Sought) -> list[int]:
    """The same by looking at every line."""
    placed = list(itertools.accumulate((line["at"] for line in lines), max))
    return [
        line["seq"]
        for line, at in zip(lines, placed, strict=True)
        if at >= sought.since
        and (not sought.until or at < sought.until)
        and (not sought.kinds or line["kind"] in sought.kinds)
        and sought.principal in ("", line["who"], line["behalf"])
        and (
            sought.action in ("", line["action"])
            or (sought.action[-1:] == "." and line["action"].startswith(sought.action))
        )
        and sought.resource in ("", line["resource"])
        and sought.effect in ("", line["effect"])
        and (not sought.code or sought.code in line["codes"])
        and sought.tier in (-1, line["tier"])
        and sought.session in ("", line["session"])
        and sought.incident in ("", line["incident"])
        and (sought.own or not line["own"])
    ][::-1]


def searches(seed: int, count: int) -> Iterator[Sought]:
    dice = random.Random(seed)
    for _ in range(count):
        values: dict[str, Any] = {}
        for name in ("resource", "effect", "session", "incident", "tier"):
            if dice.random() < 0.25:
                values[name] = dice.choice(WORDS[name])
        if dice.random() < 0.3:
            values["principal"] = dice.choice(("per_a", "per_d", "per_nobody"))
        if dice.random() < 0.3:
            values["action"] = dice.choice((*WORDS["action"], "local.", "local.process."))
        if dice.random() < 0.2:
            values["code"] = dice.choice(("limit.exceeded", "risk.unknown", "no.such"))
        if dice.random() < 0.3:
            values["kinds"] = tuple(dice.sample(WORDS["kind"], dice.randint(1, 2)))
        if dice.random() < 0.5:
            values["since"] = dice.randint(990, 1500)
        if dice.random() < 0.3:
            values["until"] = dice.randint(1000, 1600)
        yield Sought(**values, own=dice.random() < 0.7)


def test_every_search_finds_exactly_what_fits(store: Store) -> None:
    lines = lines_of(400)
    tenant = filled(store, lines)
    for sought in searches(7, 60):
        assert everything(store, tenant, sought) == expected(lines, sought), sought


def test_a_search_that_looks_at_too_much_goes_on_where_it_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logindex, "LOOKED_AT_FIRST", 9)
    monkeypatch.setattr(logindex, "LOOKED_AT_MAX", 20)
    lines = lines_of(300, seed=3)
    tenant = filled(store, lines)
    for sought in searches(9, 40):
        assert everything(store, tenant, sought) == expected(lines, sought), sought


def test_pages_lead_back_to_where_one_came_from(store: Store) -> None:
    tenant = filled(store, lines_of(100, seed=5))
    first = page(store, tenant, Sought())
    second = page(store, tenant, Sought(), before=first.older)
    third = page(store, tenant, Sought(), before=second.older)
    assert page(store, tenant, Sought(), after=third.newer).lines == second.lines
    assert page(store, tenant, Sought(), after=second.newer).lines == first.lines
    assert first.newer == -1


def test_another_tenant_finds_nothing(store: Store) -> None:
    filled(store, lines_of(20))
    assert page(store, fresh_tenant(), Sought()).lines == ()


def test_lines_that_do_not_follow_are_left_out(store: Store) -> None:
    """As from a replica that was slower, or one that has read ahead of a gap."""
    lines = lines_of(30)
    tenant = filled(store, lines[:20])
    for late in (lines[:20], lines[10:30], lines[21:]):
        assert not asyncio.run(store.write(partial(logindex.add, tenant=tenant, lines=late)))
    assert asyncio.run(store.write(lambda c: logindex.add(c, tenant, lines[20:])))
    assert everything(store, tenant, Sought()) == list(range(30))[::-1]


def test_an_index_that_was_forgotten_is_made_anew(store: Store, tmp_path: Path) -> None:
    lines = lines_of(30)
    tenant = filled(store, lines)
    asyncio.run(store.write(lambda c: logindex.forget(c, tenant)))
    assert everything(store, tenant, Sought()) == []
    assert asyncio.run(store.write(lambda c: logindex.add(c, tenant, lines)))
    assert everything(store, tenant, Sought()) == list(range(30))[::-1]
