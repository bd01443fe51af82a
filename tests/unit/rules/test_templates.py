"""What a log begins to say and no longer says: seen, dated, claimed, and never a cause by itself."""

import asyncio
from typing import Any

import pytest

from agents.rules import Finding, Query, Seen, investigate
from agents.rules.templates import APPEARED, VANISHED, read
from tests.unit.rules.views import BEGIN, END, FAULT_AT, MemoryView, commit, errors, repeated, running, shop

Json = Any
ACTION = "logs.templates.count"


def template(text: str, first: int, last: int, *, count: int = 40, level: str = "info") -> dict[str, Json]:
    return {"template": text, "count": count, "first_s": first, "last_s": last, "level": level}


USUAL = template("order <*> received", BEGIN, END)


def seen(*rows: Json, status: str = "ok") -> Seen:
    return Seen(Query(ACTION, "logs", "checkout", "prod", {}, signal="log"), status, {"templates": list(rows)}, "obs_1")


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (template("cannot read stock", FAULT_AT, END, level="error"), APPEARED),
        (template("heartbeat", BEGIN, FAULT_AT), VANISHED),
        (template("cannot read stock", BEGIN + 60, END, level="error"), ""),
        (template("cannot read stock", FAULT_AT, END, count=2, level="error"), ""),
        (template("import queued", FAULT_AT, END), ""),
        (template("starting", BEGIN, BEGIN + 1, count=1), ""),
        (template("nightly report", BEGIN, FAULT_AT, count=5), ""),
    ],
    ids=["came", "went", "was there", "twice", "harmless", "once", "is not due yet"],
)
def test_what_came_and_what_went_is_told_from_what_is_usual(row: Json, kind: str) -> None:
    signs = read(seen(USUAL, row))
    assert [sign.kind for sign in signs] == [kind] * bool(kind)
    assert all(sign.fault == "" for sign in signs)
    for sign in signs:
        member, op = ("first_s", "ge") if kind == APPEARED else ("last_s", "le")
        assert (sign.claim["selector"], sign.claim["op"]) == (f"$.templates[1].{member}", op)
        held = row[member] >= int(sign.claim["value"]) if op == "ge" else row[member] <= int(sign.claim["value"])
        assert held, "the claim holds of the answer that it was made of"


@pytest.mark.parametrize(
    "answer",
    [
        seen(template("alone", FAULT_AT, END, level="error")),
        seen(template("a", END - 9, END), template("b", END - 3, END, level="error")),
        seen(USUAL, template("heartbeat", BEGIN, FAULT_AT), status="truncated"),
        seen(USUAL, {"template": "x", "count": "9"}, "text", None),
        seen(USUAL, template("x", FAULT_AT, END, count=0, level="error")),
    ],
    ids=["one template", "a young log", "cut off", "garbage", "none of it"],
)
def test_where_there_is_nothing_to_compare_with_nothing_is_told(answer: Seen) -> None:
    assert read(answer) == []


def found(answers: dict[tuple[str, str, str], Json], **facts: Any) -> Finding:
    return asyncio.run(investigate(MemoryView(shop(**facts), answers)))


CALM = {
    ("local.metrics.range", "storefront", "shop_errors_total"): errors("storefront"),
    ("local.process.status", "storefront", ""): running("storefront"),
}


def test_a_heartbeat_that_stopped_keeps_calm_numbers_from_being_called_healthy() -> None:
    gone = {"templates": [USUAL, template("heartbeat", BEGIN, FAULT_AT)]}
    assert found(CALM, resolved=True).verdict == "healthy"
    finding = found({**CALM, (ACTION, "storefront", ""): gone}, resolved=True)
    assert finding.verdict == "abstain"
    assert any("no longer says: heartbeat" in str(one["text"]) for one in finding.symptoms)


def test_what_came_into_a_log_dates_the_trouble_where_no_metric_does() -> None:
    """A change is a cause only of what began after it: here only the log says when."""
    came = {"templates": [USUAL, template("pool exhausted <*>", FAULT_AT, END, level="error")]}
    answers = {
        ("local.logs.search", "payments", ""): repeated("flux capacitor misaligned"),
        (ACTION, "payments", ""): came,
        ("git.history.list", "shop-config", ""): commit("smaller pool", ["payments.toml"]),
    }
    named = [(one.component, one.fault) for one in found(answers).ranked]
    assert ("payments", "bad-config") in named
    late = answers | {("git.history.list", "shop-config", ""): commit("x", ["payments.toml"], at=FAULT_AT + 300)}
    assert ("payments", "bad-config") not in [(one.component, one.fault) for one in found(late).ranked]


def test_a_template_is_no_second_signal_for_a_cause() -> None:
    came = {"templates": [USUAL, template("pool exhausted <*>", FAULT_AT, END, level="error")]}
    answers = {
        ("local.process.status", "payments", ""): running("payments", state="failed"),
        (ACTION, "payments", ""): came,
    }
    for candidate in found(answers).ranked:
        assert all("began to say" not in str(one["text"]) for one in candidate.claims)
