"""The main job, whole: the command `wicketgate demo` as a person runs it."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo import tally

WICKETGATE = Path(sys.executable).parent / "wicketgate"
FLAGS = ["--yes", "--no-browser", "--json"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [WICKETGATE, "demo", *FLAGS, *arguments], capture_output=True, text=True, check=False, timeout=280
    )


@dataclass(frozen=True)
class Kept:
    """One run with its folder."""

    folder: Path
    figures: dict[str, Any]
    story: str

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "demo" / name).read_text().splitlines()]


def kept_run(folder: Path, *arguments: str) -> Kept:
    done = run("--keep", str(folder), *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return Kept(folder, json.loads(done.stdout), done.stderr)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A bad change of the configuration, with a model."""
    return kept_run(tmp_path_factory.mktemp("demo") / "data", "--seed", "7")


def test_the_final_object_says_what_the_main_job_promises(kept: Kept) -> None:
    figures = kept.figures
    assert set(figures) == {
        "allowed", "refused", "approved", "executed", "redactions", "model_calls", "records", "verified", "tamper_detected",
        "incident", "diagnosis", "action", "recovered", "escalated",
    }  # fmt: skip
    assert len({one["code"] for one in figures["refused"]}) >= 4
    assert (figures["approved"], figures["executed"]) == (1, 1)
    assert (figures["verified"], figures["tamper_detected"]) == (True, True)
    assert (figures["recovered"], figures["escalated"], figures["incident"]["state"]) == (True, False, "closed")
    assert (figures["action"]["name"], figures["action"]["tier"]) == ("git.change.revert", 2)
    assert figures["redactions"] > 50


def test_the_model_made_a_false_claim_and_the_gate_refuted_it_before_the_viewer_s_eyes(kept: Kept) -> None:
    diagnosis = kept.figures["diagnosis"]
    assert diagnosis["verdict"] == "diagnosed"
    verdicts = [claim["verdict"] for claim in diagnosis["claims"]]
    assert verdicts.count("refuted") == 1
    assert verdicts.count("verified") >= 2
    assert "refuted, really" in kept.story
    assert kept.figures["model_calls"] >= 4


def test_what_the_object_says_agrees_with_log_process_table_and_service_levels(kept: Kept) -> None:
    folder, figures = kept.folder, kept.figures
    records = list(tally.records(folder / "log"))
    states = [
        one["body"]["event"]["to"] for one in records if one["kind"] == "incident" and "to" in one["body"]["event"]
    ]
    assert states[-1] == figures["incident"]["state"]
    writes = [
        one["body"]["action"]["name"]
        for one in records
        if one["kind"] == "intent"
        and one["body"]["action"]["effect"] == "write"
        and one["body"]["action"]["connector"] != "gate"
    ]
    assert writes == [figures["action"]["name"]]
    deployed = [one for one in kept.lines("processes.jsonl") if one["event"] == "deployed"]
    assert len(deployed) == 2
    assert {one["service"] for one in deployed} == {figures["diagnosis"]["cause"]["component"]}
    customers = [one for one in kept.lines("sli.jsonl") if one["service"] == "storefront" and one["requests"]]
    assert any(one["errors"] for one in customers)
    assert not any(one["errors"] for one in customers[-3:])
    assert set(customers[0]) == {"at", "service", "requests", "errors", "p99_ms"}


def test_no_planted_value_stands_in_the_model_s_requests_the_log_or_the_databases(kept: Kept) -> None:
    folder = kept.folder
    planted = [
        value.encode()
        for values in json.loads((folder / "demo" / "planted.json").read_text()).values()
        for value in values
    ]
    assert len(planted) > 90
    shop_logs = b"".join(path.read_bytes() for path in (folder / "demo" / "logs").iterdir())
    assert sum(value in shop_logs for value in planted) > 90
    searched = [folder / "demo" / "model-requests.jsonl", *(folder / "demo" / "out").iterdir()]
    searched += [path for path in folder.rglob("*") if path.is_file() and folder / "demo" not in path.parents]
    assert {path.name for path in searched} >= {"gate.db", "checkpoint", "model-requests.jsonl"}
    assert [(path.name, value) for path in searched for value in planted if value in path.read_bytes()] == []


def test_the_model_saw_pseudonyms(kept: Kept) -> None:
    bodies = (kept.folder / "demo" / "model-requests.jsonl").read_text()
    assert re.search(r"EMAIL_[0-9A-Z]{12}", bodies)


def test_the_story_shows_each_step(kept: Kept) -> None:
    for word in (
        "Alert: customers of the shop get errors",
        "asked",
        "decided",
        "redacted",
        "recorded",
        "try to approve its own proposal",
        "approved by the security persona",
        "the gate verified git.change.revert: improved, so the incident is mitigated",
        "from the alert to the finding",
        "model tokens",
        "one byte of a copy is flipped",
    ):
        assert word in kept.story, word


def processes_of(text: str) -> list[str]:
    """Command lines on this machine that hold ``text``."""
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if text in line]


def test_nothing_runs_any_more_when_the_demo_has_ended(kept: Kept) -> None:
    assert processes_of(str(kept.folder)) == []


def test_the_same_again_is_recognised_and_costs_no_model(kept: Kept) -> None:
    again = kept_run(kept.folder, "--seed", "7")
    assert again.figures["model_calls"] == 0
    assert (again.figures["action"]["name"], again.figures["recovered"]) == ("git.change.revert", True)
    assert again.figures["incident"]["id"] != kept.figures["incident"]["id"]


IN_CI = ["crash-loop", "noisy-alert"]
WHOLE = ["dependency-down", "slow-query", "healthy", "pool-leak", "lock-hang", "bad-cache"]


@pytest.mark.parametrize("fault", IN_CI + (WHOLE if os.environ.get("WICKETGATE_DEMO") == "all" else []))
def test_each_fault_ends_as_it_has_to(fault: str) -> None:
    """The program itself judges the outcome against its table; exit code 0 is the promise."""
    done = run("--fault", fault, "--seed", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    assert figures["escalated"] is (fault in {"dependency-down", "slow-query"})
    assert (figures["action"] is None) is (fault in {"dependency-down", "slow-query", "noisy-alert", "healthy"})


def test_without_a_model_the_rules_find_a_bad_change() -> None:
    done = run("--no-model", "--seed", "4")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["model_calls"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_half_way_leaves_no_process_and_no_folder(number: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    demo = subprocess.Popen(
        [sys.executable, "-m", "demo", *FLAGS],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    with demo:
        assert demo.stderr is not None
        story = iter(demo.stderr)
        assert any("everything is up" in line for line in story)
        demo.send_signal(number)
        # The reaper holds the pipe's other end until it has ended everything.
        demo.stderr.read()
    assert demo.returncode == (130 if number is signal.SIGTERM else -signal.SIGKILL)
    assert processes_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
