"""Lines, metrics and spans: nothing but codes, ids and numbers leaves, and no label grows without end."""

import json
import re
import time
from pathlib import Path

import pytest

from broker.telemetry import METRICS, Telemetry
from broker.telemetry.metrics import OTHER, VALUES_MAX, Metrics
from broker.telemetry.scrub import WITHHELD, scrubbed
from tests.parts import ROOT, corpus

PLANTED = (
    "alice.miller@example.org",
    "Alice Miller",
    "+44 20 7946 0958",
    "4111 1111 1111 1111",
    "4111111111111111",
    "DE89370400440532013000",
    "10.20.30.40",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "postgres://user:hunter2@db/x",
    "line one\nline two",
    "\u202ebidi",
)
WORDS = ("Alice", "john.smith", "hunter2")
FINE = (
    "policy.not_loaded",
    "ClientConnectorDNSError",
    "web/guard.py:117 < web/app.py:223",
    "regorus 0.13.0",
    "background.publish",
    "opa 1.20.2",
    "uvicorn.error",
    "",
)


def test_what_a_line_may_say_is_said_and_nothing_else() -> None:
    assert [scrubbed("code", one) for one in FINE] == list(FINE)
    assert {scrubbed("code", one) for one in PLANTED} == {WITHHELD}
    assert [scrubbed("code", one) for one in WORDS] == list(WORDS), "by its form; whose word it is nobody sees"
    assert scrubbed("action", "act_" + "0" * 26) == "act_" + "0" * 26
    assert scrubbed("action", "alice") == WITHHELD
    assert [scrubbed("port", one) for one in (8480, 0.25, True, 4111111111111111)] == [8480, 0.25, True, WITHHELD]


def test_no_secret_of_the_corpus_gets_into_a_line_or_a_span_by_any_field(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry = Telemetry(time.monotonic)
    known = json.loads((corpus("noseyparker") / "examples.json").read_text())
    naughty = json.loads((corpus("blns") / "blns.json").read_text())
    planted = [text for one in known for text in one["examples"]] + naughty + list(PLANTED)
    for text in planted:
        telemetry.warning("something.happened", code=text, error=text, action=text, at=text, place=text, status=text)
    written = capsys.readouterr().err
    told = [json.loads(line) for line in written.splitlines()]
    assert len(told) == len(planted)
    # What is left is words, as any code is one: nothing of more than a few digits, no address, no sentence.
    left = {str(value) for line in told for name, value in line.items() if name not in {"timestamp", "level", "event"}}
    assert not [one for one in left if re.search(r"\d{6}|@|[^\d\s]\s[^\d<]|[0-9a-fA-F]{33}", one)]
    kept = [text for text in (example for one in known for example in one["examples"]) if text in left]
    place = re.compile(r"(https?://)?[a-z0-9-]+(\.[a-z0-9-]+)+(/[a-z_-]+)*")
    assert [text for text in kept if not place.fullmatch(text)] == [], "names of public places are words; no key is"


def test_a_line_carries_the_ids_of_what_is_under_way_and_nobody_elses(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry = Telemetry(time.monotonic)
    telemetry.begin()
    telemetry.event("a.happened")
    telemetry.event("b.happened")
    telemetry.begin()
    telemetry.event("c.happened")
    first, second, third = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert re.fullmatch(r"req_[0-9a-f]{26}", first["request"])
    assert first["request"] == second["request"] != third["request"]


def test_a_label_takes_so_many_values_and_then_counts_the_others_together() -> None:
    metrics = Metrics()
    for number in range(10 * VALUES_MAX):
        metrics.inc("refusals_total", f"code.n{number}")
    shown = metrics.exposition().decode()
    assert shown.count("wicketgate_refusals_total{") == VALUES_MAX + 1
    assert f'wicketgate_refusals_total{{code="{OTHER}"}} {9.0 * VALUES_MAX}' in shown


def test_a_gauge_that_is_set_as_a_whole_forgets_what_is_gone() -> None:
    metrics = Metrics()
    metrics.only("incidents", {("triaging",): 2, ("escalated",): 1})
    metrics.only("incidents", {("escalated",): 3})
    shown = metrics.exposition().decode()
    assert [line for line in shown.splitlines() if line.startswith("wicketgate_incidents")] == [
        'wicketgate_incidents{state="escalated"} 3.0'
    ]


def test_names_follow_the_conventions_and_alert_rules_ask_only_for_what_there_is() -> None:
    for one in METRICS:
        assert one.name.endswith("_total") == (one.kind == "counter"), one.name
        assert re.fullmatch(r"[a-z][a-z_]*", one.name), one.name
    known = {f"wicketgate_{one.name}" for one in METRICS}
    ends = re.compile(r"_(bucket|sum|count)$")
    for path in (*ROOT.glob("deploy/**/*.y*ml"), *ROOT.glob("deploy/**/*.json"), ROOT / "docs/operations.md"):
        for name in re.findall(r"\bwicketgate_[a-z_]+", path.read_text()):
            assert name in known or ends.sub("", name) in known, (str(Path(path).relative_to(ROOT)), name)
