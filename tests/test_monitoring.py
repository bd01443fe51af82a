"""Alert rules and dashboard: promtool takes and tests them, and every name in them is one that the gate has."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from broker.telemetry.metrics import METRICS, Metrics
from tests.parts import ROOT, require

WATCH = ROOT / "deploy" / "monitoring"
RULES: list[dict[str, Any]] = yaml.safe_load((WATCH / "alerts.yaml").read_text())["groups"][0]["rules"]
TESTS: list[dict[str, Any]] = yaml.safe_load((WATCH / "alerts_test.yaml").read_text())["tests"]
DASHBOARD: dict[str, Any] = json.loads((WATCH / "dashboard.json").read_text())
TARGET = {"job", "instance"}
"""Labels that Prometheus adds."""


def promtool(*arguments: str, folder: Path = WATCH) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require("promtool"), *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def test_prometheus_takes_the_rules_and_each_fires_for_its_own_reason_alone() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml")
    assert checked.returncode == 0, checked.stderr
    tested = promtool("test", "rules", "alerts_test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_rule_that_never_fires_or_always_fires_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "alerts_test.yaml").write_text((WATCH / "alerts_test.yaml").read_text())
    for other in ("vector(1) > 2", "vector(1) > 0"):
        text = (WATCH / "alerts.yaml").read_text().replace("expr: wicketgate_log_halted > 0", f"expr: {other}")
        (tmp_path / "alerts.yaml").write_text(text)
        assert promtool("test", "rules", "alerts_test.yaml", folder=tmp_path).returncode != 0


def test_every_rule_has_its_test_its_weight_and_what_to_do() -> None:
    quiet, *firing = TESTS
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    assert {one["alertname"] for one in quiet["alert_rule_test"]} == set(names)
    assert {one["alertname"] for test in firing for one in test["alert_rule_test"] if one["exp_alerts"]} == set(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket", "info"}
        assert set(rule["annotations"]) == {"summary", "do"}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def exposed() -> dict[str, set[str]]:
    """Every series that a gate shows, with its labels."""
    found: dict[str, set[str]] = {"up": TARGET}
    for one in METRICS:
        name, labels = f"wicketgate_{one.name}", set(one.labels) | TARGET
        if one.kind == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    for family in Metrics().registry.collect():
        for sample in family.samples:
            assert sample.name in found or sample.name.startswith("process_"), sample.name
            found.setdefault(sample.name, set(sample.labels) | TARGET)
    return found


SELECTOR = re.compile(r"\b((?:wicketgate|process)_\w+|up)\b(?:\{([^}]*)\})?")


@pytest.mark.parametrize(("title", "text"), list(expressions()), ids=lambda value: value[:40])
def test_every_expression_parses_and_asks_for_what_the_gate_shows(title: str, text: str) -> None:
    promql_parser.parse(text)
    known = exposed()
    asked = SELECTOR.findall(text)
    assert asked, title
    for name, matchers in asked:
        assert name in known, f"{title}: {name}"
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= known[name], f"{title}: {name}"
    grouped = {label for group in re.findall(r"\bby \(([^)]*)\)", text) for label in group.split(", ")}
    assert grouped <= set().union(*(known[name] for name, _ in asked)), title


def test_every_refusal_that_a_rule_waits_for_is_a_code_of_the_gate() -> None:
    codes = set(re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))
    waited = [one for rule in RULES for one in re.findall(r'code=~"([^"]+)"', rule["expr"])]
    assert waited
    for pattern in waited:
        common, _, choices = pattern.partition("(")  # `family[.](one|two)`, or whole codes beside each other
        ends = choices.removesuffix(")").split("|") if pattern.endswith(")") else [pattern]
        for end in ends:
            whole = common + end if pattern.endswith(")") else end
            assert any(re.fullmatch(whole, code) for code in codes), whole


def test_the_dashboard_shows_each_thing_once_and_in_place() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(titles)) == len(titles)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${source}"}
