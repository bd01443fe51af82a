"""Recorded cases: read strictly, answered exactly, EMPTY for everything else."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.connectors.registry import read_settings
from broker.connectors.replay import ReplayConnector, ReplaySettings
from broker.connectors.replay_case import (
    CASE_BYTES_MAX,
    ENTRIES_MAX,
    OUTPUT_BYTES_MAX,
    affected,
    callable_args,
    callable_name,
    read_case,
)
from broker.errors import BadRequest
from broker.model import Result, ResultStatus
from tests.unit.connectors.cases import SINCE, UNTIL, case, entry, errors, write


def asked(folder: Path, action: str, source: str = "", **arguments: Any) -> Result:
    """The connector's answer."""
    connector = ReplayConnector(ReplaySettings(cases={"one": str(folder)}))
    resource = SimpleNamespace(type="replay", id=f"one/{source}" if source else "one", env="prod")
    grant: Any = SimpleNamespace(arguments=arguments, request=SimpleNamespace(resource=resource))
    return asyncio.run(connector.execute(grant, SimpleNamespace(name=action)))  # type: ignore[arg-type]


def refused(folder: Path) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        read_case(folder)
    assert raised.value.error_code == "replay.case"
    assert raised.value.error_remedy
    return raised.value


def test_a_call_meets_the_entry_whose_arguments_equal_its_own(tmp_path: Path) -> None:
    folder = write(tmp_path, case(), [entry(), entry(args={"service": "checkout"}, output="fine")])
    assert "exhausted" in asked(folder, "logs.lines.search", "loki", service="payments").value
    assert asked(folder, "logs.lines.search", "loki", service="checkout").value == "fine"
    assert asked(folder, "logs.lines.search", service="checkout").value == "fine", (
        "the case alone stands for any source"
    )


@pytest.mark.parametrize(
    ("action", "source", "arguments"),
    [
        ("logs.lines.search", "loki", {"service": "inventory"}),
        ("logs.lines.search", "loki", {"service": "payments", "pattern": "x"}),
        ("logs.lines.search", "loki", {}),
        ("logs.lines.search", "other", {"service": "payments"}),
        ("logs.templates.count", "loki", {"service": "payments"}),
    ],
)
def test_anything_else_is_empty(tmp_path: Path, action: str, source: str, arguments: dict[str, Any]) -> None:
    folder = write(tmp_path, case(), [entry()])
    assert asked(folder, action, source, **arguments).status is ResultStatus.EMPTY


def test_times_and_limits_are_left_out_of_the_comparison(tmp_path: Path) -> None:
    folder = write(tmp_path, case(), [errors()])
    query = 'error_ratio{service="payments"}'
    assert asked(folder, "prometheus.query.range", "prometheus", query=query, start_s=1, end_s=2, limit=3).value
    assert asked(folder, "prometheus.query.range", "prometheus", query=query).status is ResultStatus.OK


@pytest.mark.parametrize("when", [5, "2026-02-02T02:45:00Z", "2026-02-02 02:45:00", "now-1h", "1770000000", "-15m"])
def test_from_and_to_are_times_only_where_they_say_one(when: Any, tmp_path: Path) -> None:
    calls = [
        entry(args={"from": "checkout", "to": to, "to_service": to}, output=to) for to in ("payments", "inventory")
    ]
    timed = entry(args={"service": "ledger", "from": "now-6h", "to": "now"}, output="ledger")
    folder = write(tmp_path, case(), [*calls, timed])
    for to in ("payments", "inventory"):
        given = {"from": "checkout", "to": to, "to_service": to}
        assert asked(folder, "logs.lines.search", "loki", **given).value == to
    assert asked(folder, "logs.lines.search", "loki", service="ledger", **{"from": when}).value == "ledger"
    assert asked(folder, "logs.lines.search", "loki", **{"from": "checkout"}).status is ResultStatus.EMPTY


def test_of_entries_that_differ_in_times_alone_the_exact_one_comes_first_then_the_latest(tmp_path: Path) -> None:
    early = entry(args={"service": "payments", "since_s": 1}, output="early", at=SINCE)
    late = entry(args={"service": "payments", "since_s": 2}, output="late", at=UNTIL)
    folder = write(tmp_path, case(), [late, early])
    assert asked(folder, "logs.lines.search", "loki", service="payments", since_s=1).value == "early"
    assert asked(folder, "logs.lines.search", "loki", service="payments", since_s=9).value == "late"


def test_the_list_gives_each_entry_as_it_can_be_called(tmp_path: Path) -> None:
    strange = entry("kubectl describe", args={"Pod-Name": "a", "ratio": 0.5, "none": None}, source="k8s/core")
    folder = write(tmp_path, case(), [strange])
    listed = asked(folder, "replay.observation.list").value["observations"]
    assert listed == [
        {
            "action": "kubectl.describe.read",
            "recorded": "kubectl describe",
            "resource": "one/k8s-core",
            "args": {"pod_name": "a", "ratio": "0.5"},
            "source": "k8s/core",
            "signal": "log",
            "at": UNTIL,
        }
    ]
    assert asked(folder, listed[0]["action"], "k8s-core", **listed[0]["args"]).status is ResultStatus.OK


def test_one_action_with_answers_of_two_signal_classes_is_called_by_two_names(tmp_path: Path) -> None:
    folder = write(tmp_path, case(), [entry(), entry(args={"service": "checkout"}, signal="state")])
    names = [one["action"] for one in asked(folder, "replay.observation.list").value["observations"]]
    assert names == ["logs.lines.search", "logs.lines.search_state"]


@pytest.mark.parametrize(
    ("output", "status", "expected"),
    [
        ("text", None, ResultStatus.OK),
        ("", None, ResultStatus.EMPTY),
        (None, None, ResultStatus.EMPTY),
        ([], None, ResultStatus.EMPTY),
        ("error from server", "error", ResultStatus.ERROR),
        ("half", "truncated", ResultStatus.TRUNCATED),
    ],
)
def test_what_was_empty_truncated_or_an_error_stays_it(
    tmp_path: Path, output: Any, status: str | None, expected: ResultStatus
) -> None:
    change = {"output": output} | ({"status": status} if status else {})
    folder = write(tmp_path, case(), [entry(**change)])
    assert asked(folder, "logs.lines.search", "loki", service="payments").status is expected


def test_a_text_that_no_observation_can_hold_is_cut_at_a_line_and_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path, case(), [entry(output="a line\n" * (OUTPUT_BYTES_MAX // 6))])
    result = asked(folder, "logs.lines.search", "loki", service="payments")
    assert result.status is ResultStatus.TRUNCATED
    assert len(result.value) <= OUTPUT_BYTES_MAX
    assert result.value.endswith("a line\n")


def test_changes_and_alert_are_answers_of_the_case(tmp_path: Path) -> None:
    folder = write(tmp_path, case(changes=[{"at": SINCE, "text": "deployed"}]), [])
    assert asked(folder, "replay.change.list").value == {"changes": [{"at": SINCE, "text": "deployed"}]}
    assert asked(folder, "replay.alert.read").value["title"] == "HighErrorRate"
    quiet = write(tmp_path / "quiet", case(alert=None), [])
    assert asked(quiet, "replay.alert.read").status is ResultStatus.EMPTY


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"id": "../x"}, "id"),
        ({"id": None}, "id"),
        ({"window": {"since": 2, "until": 1}}, "window"),
        ({"window": {"since": "yesterday", "until": 1}}, "window.since"),
        ({"window": None}, "window"),
        ({"answer": "pool-leak"}, "answer"),
        ({"alert": 3}, "alert"),
        ({"changes": [1]}, "changes"),
        ({"topology": {"edges": [["a"]]}}, "topology.edges"),
        ({"topology": {"a": "b"}}, "topology"),
        ({"topology": 5}, "topology"),
    ],
)
def test_a_case_that_is_not_one_is_refused_by_the_name_of_the_field(
    tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    assert f"`{word}`" in refused(write(tmp_path, case(**change), [])).detail


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"signal": "rumour"}, "signal"),
        ({"action": ""}, "action"),
        ({"source": 1}, "source"),
        ({"args": []}, "args"),
        ({"at": "noon"}, "at"),
        ({"status": "fine"}, "status"),
        ({"truth": 1}, "truth"),
        ({"output": {"a": "x" * (OUTPUT_BYTES_MAX + 1)}}, "output"),
    ],
)
def test_an_observation_that_is_not_one_is_refused_by_line_and_field(
    tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    error = refused(write(tmp_path, case(), [entry(), entry(**change)]))
    assert "line 2" in error.detail
    assert f"`{word}`" in error.detail


def test_files_that_are_missing_links_too_large_or_no_json_are_refused(tmp_path: Path) -> None:
    assert "case.json" in refused(tmp_path / "nowhere").detail
    linked = write(tmp_path / "linked", case(), [])
    (linked / "case.json").rename(tmp_path / "elsewhere.json")
    (linked / "case.json").symlink_to(tmp_path / "elsewhere.json")
    assert "plain file" in refused(linked).detail
    large = write(tmp_path / "large", case(question="x" * CASE_BYTES_MAX), [])
    assert "bytes" in refused(large).detail
    broken = write(tmp_path / "broken", case(), [])
    (broken / "observations.jsonl").write_text("{\n", encoding="utf-8")
    assert "line 1" in refused(broken).detail


def test_more_lines_than_a_case_may_have_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, case(), [entry(output="")] * (ENTRIES_MAX + 1))
    assert f"at most {ENTRIES_MAX}" in refused(folder).detail


def test_a_circle_of_dependencies_is_broken_and_both_forms_of_topology_read(tmp_path: Path) -> None:
    circle = read_case(write(tmp_path / "a", case(topology={"edges": [["a", "b"], ["b", "c"], ["c", "a"]]}), []))
    assert circle.edges == [("a", "b"), ("b", "c")]
    listed = read_case(write(tmp_path / "b", case(topology={"a": ["b"], "b": []}), []))
    assert (listed.edges, list(listed.nodes)) == ([("a", "b")], ["a", "b"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "payments"),
        ({"alert": {"title": "x", "subject": {"name": "checkout"}}}, "checkout"),
        ({"alert": None, "question": "what is wrong with checkout?"}, "checkout"),
        ({"alert": None, "question": "what is wrong?", "topology": None}, "payments"),
    ],
)
def test_what_the_case_is_about_comes_from_alert_question_or_calls(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    assert affected(read_case(write(tmp_path, case(**change), [entry()]))) == expected


@pytest.mark.parametrize(
    ("recorded", "name"),
    [
        ("prometheus.query.range", "prometheus.query.range"),
        ("kubectl_describe", "recorded.kubectl_describe.read"),
        ("kubernetes/core.kubectl_describe", "kubernetes.core.kubectl_describe"),
        ("Get Pods!", "get.pods.read"),
        ("3scale.read", "n3scale.read.read"),
        ("", "recorded.tool.read"),
        ("replay.observation.list", "recorded.replay_observation_list.read"),
    ],
)
def test_every_recorded_name_has_one_in_the_catalogs_grammar(recorded: str, name: str) -> None:
    assert callable_name(recorded) == name


def test_arguments_hold_nothing_that_a_digest_cannot() -> None:
    given = {"a": 0.25, "b": [1.5], "c": {"x": 1}, "d": True, "e": 2**60, "f": None, "G h": "t"}
    assert callable_args(given) == {
        "a": "0.25",
        "b": "[1.5]",
        "c": '{"x":1}',
        "d": True,
        "e": str(2**60),
        "g_h": "t",
    }


def test_the_adapter_is_registered_and_reads_its_settings_strictly() -> None:
    assert read_settings("replay", "replay", {"cases": {"one": "/nowhere"}}) == ReplaySettings(
        cases={"one": "/nowhere"}
    )
    with pytest.raises(BadRequest):
        read_settings("replay", "replay", {"cases": {}, "password": "x"})


def test_a_resource_that_names_no_case_is_refused(tmp_path: Path) -> None:
    connector = ReplayConnector(ReplaySettings(cases={"one": str(write(tmp_path, case(), []))}))
    resource = SimpleNamespace(type="replay", id="../one", env="prod")
    grant: Any = SimpleNamespace(arguments={}, request=SimpleNamespace(resource=resource))
    with pytest.raises(BadRequest):
        asyncio.run(connector.execute(grant, SimpleNamespace(name="replay.observation.list")))  # type: ignore[arg-type]
