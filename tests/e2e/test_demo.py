"""The main job, whole: the command `wicketgate demo` as a person runs it."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo import tally

pytestmark = pytest.mark.timeout(1500)
WICKETGATE = Path(sys.executable).parent / "wicketgate"
FLAGS = ["--yes", "--no-browser", "--json"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [WICKETGATE, "demo", *FLAGS, *arguments], capture_output=True, text=True, check=False, timeout=1200
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
        "incident", "diagnosis", "action", "recovered", "escalated", "notices",
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


def of_kind(records: list[Any], kind: str) -> list[Any]:
    return [one["body"] for one in records if one["kind"] == kind]


def test_each_figure_of_the_object_is_what_the_log_says(kept: Kept) -> None:
    figures, records = kept.figures, list(tally.records(kept.folder / "log"))
    intents, outcomes = of_kind(records, "intent"), of_kind(records, "outcome")
    effects = {one["action"]["id"]: one["action"] for one in intents if one["action"]["effect"] == "write"}
    world = {id_: one for id_, one in effects.items() if one["connector"] not in {"gate", "llm", "notify"}}
    done = [one["action"]["id"] for one in outcomes if one["outcome"]["status"] == "done"]
    assert figures["records"] == len(records) == int((kept.folder / "log" / "checkpoint").read_text().split("\n")[1])
    assert figures["allowed"] == len(intents)
    assert figures["refused"] == [
        {"action": one["action"]["name"], "code": one["error"]} for one in of_kind(records, "refusal")
    ]
    assert figures["approved"] == [one["approval"]["verdict"] for one in of_kind(records, "review")].count("approve")
    assert figures["executed"] == len(set(done) & set(world)) == 1
    assert figures["redactions"] == sum(
        sum(one["body"].get("redaction", {}).get("counts", {}).values()) for one in records
    )
    [written] = [one for one in intents if one["action"]["id"] in world]
    assert figures["action"] == {
        "id": written["action"]["id"],
        "name": written["action"]["name"],
        "status": "done",
        "tier": written["decision"]["tier"],
    }
    told = [one for one in of_kind(records, "incident") if one["incident"] == figures["incident"]["id"]]
    states = [one["event"]["to"] for one in told if "to" in one["event"]]
    assert (states[-1], "escalated" in states) == (figures["incident"]["state"], figures["escalated"])
    assert {"investigating", "diagnosed", "awaiting_approval", "executing", "verifying", "mitigated"} <= set(states)
    asked = [line for line in kept.lines("model-requests.jsonl") if line["path"] == "/v1/messages"]
    answered = [one for one in intents if one["action"]["name"] == "llm.messages.create"]
    assert figures["model_calls"] == len(asked) == len(answered)


def test_the_verdicts_of_the_claims_are_those_that_the_gate_keeps(kept: Kept) -> None:
    def key(claim: Any) -> tuple[str, ...]:
        return (*(claim[name] for name in ("observation", "selector", "op", "verdict")), str(claim["value"]))

    with closing(sqlite3.connect(f"file:{kept.folder / 'gate.db'}?mode=ro", uri=True)) as gate:
        rows = gate.execute("SELECT claims FROM diagnosis").fetchall()
    known = {key(claim) for row in rows for claim in json.loads(row[0])}
    told = kept.figures["diagnosis"]["claims"]
    assert {key(claim) for claim in told} <= known
    proven = [claim for claim in told if claim["verdict"] == "verified"]
    assert len({claim["source"] for claim in proven}) >= 2
    assert len({claim["signal"] for claim in proven}) >= 2


def test_what_the_object_says_agrees_with_the_process_table_and_the_service_levels(kept: Kept) -> None:
    figures = kept.figures
    deployed = [one for one in kept.lines("processes.jsonl") if one["event"] == "deployed"]
    assert len(deployed) == 2
    assert {one["service"] for one in deployed} == {figures["diagnosis"]["cause"]["component"]}
    assert not [one for one in kept.lines("processes.jsonl") if one["event"] in {"restarted", "exited"}]
    customers = [one for one in kept.lines("sli.jsonl") if one["service"] == "storefront" and one["requests"]]
    bad = [one["at"] for one in customers if one["errors"]]
    assert bad
    assert not any(one["errors"] for one in customers[-3:])
    between = [at for at in bad if deployed[0]["at"] - 2 <= at <= deployed[1]["at"] + 2]
    assert 2 * len(between) > len(bad), "from the change to its revert; now and then a busy machine alone is too slow"
    assert set(customers[0]) == {"at", "service", "requests", "errors", "p99_ms"}
    assert (kept.lines("notices.jsonl"), figures["notices"]) == ([], 0), "nobody is called for what was mended"


def test_both_verdicts_on_the_log_are_those_of_the_verifier(kept: Kept, tmp_path: Path) -> None:
    def verified(log: Path) -> int:
        command = [WICKETGATE, "audit", "verify", log, "--vkey", kept.folder / "log.vkey"]
        return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode

    assert (verified(kept.folder / "log"), kept.figures["verified"]) == (0, True)
    copy = tmp_path / "log"
    shutil.copytree(kept.folder / "log", copy)
    bundle = min(path for path in (copy / "tile" / "entries").rglob("*") if path.is_file())
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    assert (verified(copy), kept.figures["tamper_detected"]) == (7, True)


def test_what_an_agent_is_refused_and_never_sees_stays_in_view(kept: Kept) -> None:
    """Refusals, limits, residency and redaction: each on record, and before the viewer's eyes with what to do next."""
    refused = {(one["action"], one["code"]) for one in kept.figures["refused"]}
    expected = {
        ("gate.review.create", "allowlist.action_not_granted"),
        ("local.config.read", "denylist.resource"),
        ("local.logs.search", "obligation.constrain"),
        ("local.logs.search", "residency.home_unknown"),
        ("llm.messages.create", "model.region_not_allowed"),
        ("local.logs.search", "limit.exceeded"),
    }
    assert expected <= refused
    for _, code in expected:
        assert re.search(rf"refused: {re.escape(code)} \w+", kept.story), code
    assert re.search(r"redacted  .*\d+ EMAIL", kept.story)


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
    assert re.search(r"\b(EMAIL|PHONE|CARD|IBAN)_[0-9A-Z]{12}", bodies), "of the service whose log it asked for"


def test_the_story_shows_each_step(kept: Kept) -> None:
    for word in (
        "Alert: customers of the shop get errors",
        "asked",
        "decided",
        "redacted",
        "recorded",
        "try to approve its own proposal",
        "watch it: http://localhost:",
        "sign in as `oncall`, or as `security` to approve; the code is ",
        "approve by dev:security; the agent is not among them",
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
    assert again.figures["diagnosis"]["cause"]["fault"] == "bad-config"
    assert "verified" in {claim["verdict"] for claim in again.figures["diagnosis"]["claims"]}, "and is checked again"


IN_CI = ["slow-query", "noisy-alert"]
WHOLE = ["crash-loop", "dependency-down", "healthy", "pool-leak", "lock-hang", "bad-cache"]


@pytest.mark.parametrize("fault", IN_CI + (WHOLE if os.environ.get("WICKETGATE_DEMO") == "all" else []))
def test_each_fault_ends_as_it_has_to(fault: str) -> None:
    """The program itself judges the outcome against its table; exit code 0 is the promise."""
    done = run("--fault", fault, "--seed", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    assert figures["escalated"] is (fault in {"dependency-down", "slow-query"})
    assert (figures["action"] is None) is (fault in {"dependency-down", "slow-query", "noisy-alert", "healthy"})
    assert figures["notices"] == int(figures["escalated"]), "who is called is told, signed, once"
    manual = {"action": "local.index.create", "code": "risk.manual_only"}
    assert (manual in figures["refused"]) is (fault == "slow-query")


@pytest.mark.parametrize(("fault", "tier"), [("bad-config", 2), ("crash-loop", 1)])
def test_without_a_model_the_rules_find_and_mend_it(fault: str, tier: int) -> None:
    done = run("--no-model", "--fault", fault, "--seed", "4")
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    assert (figures["model_calls"], figures["recovered"], figures["action"]["tier"]) == (0, True, tier)


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
