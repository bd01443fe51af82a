"""The main job, whole: the command `wicketgate demo` as a person runs it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WICKETGATE = Path(sys.executable).parent / "wicketgate"
FLAGS = ["--yes", "--no-browser", "--json"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [WICKETGATE, "demo", *FLAGS, *arguments], capture_output=True, text=True, check=False, timeout=110
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """One run with its folder: (folder, final object, story)."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    done = run("--seed", "7", "--keep", str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout), done.stderr


def test_the_final_object_says_what_the_main_job_promises(kept: tuple[Path, dict[str, Any], str]) -> None:
    _, figures, _ = kept
    assert set(figures) == {
        "allowed", "refused", "approved", "executed", "redactions", "model_calls", "records", "verified", "tamper_detected",
    }  # fmt: skip
    assert len({one["code"] for one in figures["refused"]}) >= 4
    assert (figures["approved"], figures["executed"]) == (1, 1)
    assert (figures["verified"], figures["tamper_detected"]) == (True, True)
    assert figures["model_calls"] >= 3
    assert figures["redactions"] > 50


def test_no_planted_value_stands_in_the_model_s_requests_the_log_or_the_databases(
    kept: tuple[Path, dict[str, Any], str],
) -> None:
    folder, _, _ = kept
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


def test_the_process_really_restarted_once_and_its_customers_noticed(kept: tuple[Path, dict[str, Any], str]) -> None:
    folder, _, _ = kept
    events = [json.loads(line) for line in (folder / "demo" / "processes.jsonl").read_text().splitlines()]
    (restart,) = [event for event in events if event["event"] == "restarted"]
    assert restart["service"] == "checkout"
    assert restart["pid"] not in {event["pid"] for event in events if event["event"] == "started"}
    levels = [json.loads(line) for line in (folder / "demo" / "sli.jsonl").read_text().splitlines()]
    struck = [line for line in levels if line["service"] == "checkout" and line["requests"]]
    assert any(line["errors"] for line in struck if line["at"] < restart["at"])
    assert not any(line["errors"] for line in struck[-2:])
    assert set(struck[0]) == {"at", "service", "requests", "errors", "p99_ms"}


def test_the_model_saw_pseudonyms_and_the_figures_it_decided_on(kept: tuple[Path, dict[str, Any], str]) -> None:
    folder, _, _ = kept
    bodies = (folder / "demo" / "model-requests.jsonl").read_text()
    assert "own_error_rate=" in bodies
    assert re.search(r"EMAIL_[0-9A-Z]{12}", bodies)


def test_the_story_shows_each_step(kept: tuple[Path, dict[str, Any], str]) -> None:
    _, _, story = kept
    for word in (
        "asked",
        "decided",
        "redacted",
        "recorded",
        "approved by the security persona",
        "one byte of a copy is flipped",
    ):
        assert word in story


def processes_of(text: str) -> list[str]:
    """Command lines on this machine that hold ``text``."""
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if text in line]


def test_nothing_runs_any_more_when_the_demo_has_ended(kept: tuple[Path, dict[str, Any], str]) -> None:
    folder, _, _ = kept
    assert processes_of(str(folder)) == []


@pytest.mark.parametrize("fault", ["lock-hang", "bad-cache"])
def test_the_other_faults_are_found_and_healed_too_without_a_model(fault: str) -> None:
    done = run("--fault", fault, "--no-model", "--seed", "3")
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
