"""The command against a gate that it started itself, on real sockets and with a real process to restart."""

import base64
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.connectors.replay_case import read_case
from tests.sim.running_gate import CODE, RunningGate, running_gate, supervised
from tests.sim.supervisor import Supervisor

TARGET = ("--id", "checkout", "--env", "prod", "--reason", "customers get errors")


def logs_of(folder: Path) -> str:
    """The log of checkout, and one of the ledger that is not there."""
    now = time.time()
    lines = [json.dumps({"ts": now - 60 + at, "level": "error", "msg": f"pool exhausted {at}"}) for at in range(9)]
    (folder / "checkout.log").write_text("".join(f"{line}\n" for line in lines))
    files = ", ".join(f"{name} = [{json.dumps(str(folder / f'{name}.log'))}]" for name in ("checkout", "ledger"))
    tables = f'[[connectors]]\nname = "logs"\nadapter = "logs"\n[connectors.settings]\nfiles = {{{files}}}\n'
    item = '[[inventory]]\ntype = "logs"\nid = "{}"\nenv = "prod"\nregion = "eu-west-1"\n'
    return tables + item.format("checkout") + item.format("ledger")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGate, Supervisor]]:
    folder = tmp_path_factory.mktemp("gate")
    with supervised("checkout") as (supervisor, toml), running_gate(folder, toml + logs_of(folder)) as gate:
        yield gate, supervisor


@pytest.fixture
def gate(world: tuple[RunningGate, Supervisor]) -> RunningGate:
    return world[0]


def test_an_agent_acts_on_a_process_and_gets_a_receipt(gate: RunningGate) -> None:
    done = gate.command("act", "local.process.status", *TARGET, "--as", "agent", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "done"
    assert answer["result"]["value"]["state"] == "running"
    assert answer["receipt"]["leaf"]


def test_a_restart_waits_is_approved_by_another_person_and_happens_once(world: tuple[RunningGate, Supervisor]) -> None:
    gate, supervisor = world
    before = supervisor.children["checkout"].restarts
    asked = gate.command("act", "local.process.restart", *TARGET, "--as", "agent", "--json", "--idempotency-key", "r1")
    assert asked.returncode == 6, (asked.stdout, asked.stderr)
    approval = json.loads(asked.stdout)["approval"]["id"]
    listed = gate.command("approvals", "list", "--as", "security", "--json")
    assert approval in [json.loads(line)["id"] for line in listed.stdout.splitlines()]
    shown = gate.command("approvals", "show", approval, "--as", "security")
    assert "local.process.restart" in shown.stdout
    assert "customers get errors" in shown.stdout
    agents_own = gate.command("approvals", "approve", approval, "--as", "agent")
    assert agents_own.returncode == 5, agents_own.stderr
    approved = gate.command("approvals", "approve", approval, "--as", "security", "--json")
    assert approved.returncode == 0, approved.stderr
    done = gate.command(
        "act", "local.process.restart", *TARGET, "--as", "agent", "--json", "--idempotency-key", "r1", "--wait"
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert supervisor.children["checkout"].restarts == before + 1


def test_the_sender_of_alerts_is_a_workload_that_may_touch_no_target(gate: RunningGate) -> None:
    token = gate.command("token", "--as", "alerts", "--data", str(gate.data)).stdout.strip()
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert (claims["client_id"], claims["groups"]) == ("alerts-1", ["alerts"])
    refused = gate.command("act", "local.process.status", *TARGET, "--as", "alerts", "--json")
    assert refused.returncode == 5, (refused.stdout, refused.stderr)


def test_a_denial_ends_with_five_and_names_code_and_remedy(gate: RunningGate) -> None:
    done = gate.command("act", "local.process.nonsense", *TARGET, "--as", "agent", "--json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["code"] == "action.unknown"
    assert done.stderr.startswith("error: action.unknown: ")
    assert "\nremedy: " in done.stderr


def test_the_kill_switch_stops_an_agent_until_a_person_resumes_it(gate: RunningGate) -> None:
    killed = gate.command("agents", "kill", "dev:agent-1", "--reason", "test", "--as", "oncall")
    assert killed.returncode == 0, killed.stderr
    assert "dev:agent-1" in gate.command("agents", "list", "--as", "oncall").stdout
    assert gate.command("act", "local.process.status", *TARGET, "--as", "agent").returncode == 5
    assert gate.command("agents", "resume", "dev:agent-1", "--reason", "ok", "--as", "security").returncode == 0
    assert gate.command("act", "local.process.status", *TARGET, "--as", "agent").returncode == 0


def test_what_was_asked_in_an_incident_becomes_a_case_that_keeps_what_was_empty_cut_off_or_an_error(
    gate: RunningGate, tmp_path: Path
) -> None:
    now = int(time.time())
    window = {"since_s": now - 600, "until_s": now}
    searches = [
        ("checkout", {"pattern": "pool", **window}, "ok"),
        ("checkout", {"pattern": "pool", **window, "lines_max": 2}, "truncated"),
        ("checkout", {"pattern": "flux", **window}, "empty"),
        ("ledger", {"pattern": "pool", **window}, "error"),
    ]
    with gate.client("oncall") as http:

        def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
            answer: dict[str, Any] = http.post(path, json=body, headers={"Idempotency-Key": uuid.uuid4().hex}).json()
            return answer

        incident = post("/v1/incidents", {"title": "slow", "service": "checkout", "env": "prod"})["incident"]
        intent = [{"kind": "task", "text": "look", "source": "me"}]
        session = post("/v1/sessions", {"intent": intent, "incident": incident})["session"]
        for target, arguments, _ in searches:
            resource = {"type": "logs", "id": target, "env": "prod"}
            asked = {"session": session, "action": "logs.lines.search", "resource": resource, "reason": "looking"}
            post("/v1/actions", {**asked, "arguments": {"mode": "substring", **arguments}})
    done = gate.command("incidents", "record", incident, str(tmp_path / "case"), "--as", "oncall", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["observations"] == len(searches)
    case = read_case(tmp_path / "case")
    assert "ledger" not in case.nodes, "a log that nothing is tied to is no component"
    kept = {(str(one.args["target"]), one.status): one for one in case.entries}
    assert set(kept) == {(name, word) for name, _, word in searches}
    assert {(one.action, one.signal, one.source) for one in case.entries} == {
        ("logs.lines.search", "log", "logs:logs:checkout"),
        ("logs.lines.search", "log", "logs:logs:ledger"),
    }
    assert [len(kept["checkout", word].output["lines"]) for word in ("ok", "truncated", "empty")] == [9, 2, 0]
    with gate.client("oncall") as http:  # the next report of this service is not one of this incident
        for kind in ("take_over", "close"):
            told = post(f"/v1/incidents/{incident}/events", {"kind": kind, "text": "only looked"})
            assert "status" not in told, told


def test_a_token_is_printed_and_nothing_else(gate: RunningGate) -> None:
    done = gate.command("token", "--as", "agent", "--data", str(gate.data))
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.count(".") == 2
    assert done.stdout.count("\n") == 1


def test_a_human_persona_needs_the_code(gate: RunningGate) -> None:
    without = gate.command("token", "--as", "security", environment={"WICKETGATE_DEV_CODE": ""})
    wrong = gate.command("token", "--as", "security", environment={"WICKETGATE_DEV_CODE": "WRONGCODE1"})
    assert (without.returncode, wrong.returncode) == (3, 3)
    assert without.stdout == wrong.stdout == ""


def test_a_given_code_is_not_printed_and_an_own_one_is(gate: RunningGate, tmp_path: Path) -> None:
    assert CODE not in gate.said
    with running_gate(tmp_path, environment={"WICKETGATE_DEV_CODE": ""}) as other:
        code = next(line.split()[1] for line in other.said.splitlines() if line.startswith("code:"))
        done = other.command("token", "--as", "oncall", environment={"WICKETGATE_DEV_CODE": code})
        assert done.returncode == 0, done.stderr
        assert other.stop() == 0


def test_a_login_is_kept_for_the_owner_only_and_used_by_later_commands(gate: RunningGate) -> None:
    unknown = gate.command("agents", "list")
    assert unknown.returncode == 3
    done = gate.command("login", "--as", "oncall", "--json")
    assert done.returncode == 0, done.stderr
    kept = Path(json.loads(done.stdout)["file"])
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert gate.command("agents", "list").returncode == 0
    kept.unlink()


def test_a_second_gate_on_the_same_data_or_port_is_refused_with_a_remedy(gate: RunningGate, tmp_path: Path) -> None:
    same_data = gate.command("serve", "--dev", "--data", str(gate.data), "--port", "0")
    assert same_data.returncode == 1
    assert "another gate uses this data folder" in same_data.stderr
    assert "Traceback" not in same_data.stderr
    same_port = gate.command("serve", "--dev", "--data", str(tmp_path / "d"), "--port", str(gate.port))
    assert same_port.returncode == 1
    assert "remedy: " in same_port.stderr


def test_a_gate_that_is_not_there_ends_with_four(gate: RunningGate) -> None:
    from demo.wire import free_port

    nowhere = f"http://localhost:{free_port()}"
    done = gate.command("agents", "list", "--url", nowhere, environment={"WICKETGATE_TOKEN": "t", "WICKETGATE_URL": ""})
    assert done.returncode == 4, done.stderr
    assert gate.command("agents", "list", "--as", "agent", "--url", nowhere).returncode == 3


def test_an_incident_is_shown_and_written_as_a_case_that_can_be_replayed(gate: RunningGate, tmp_path: Path) -> None:
    def client(who: str) -> httpx.Client:
        token = gate.command("token", "--as", who).stdout.strip()
        return httpx.Client(base_url=gate.url, headers={"Authorization": f"Bearer {token}"}, timeout=90)

    def post(who: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = who.post(path, json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
        assert answer.status_code in {200, 201}, answer.text
        return dict(answer.json())

    with client("oncall") as oncall, client("agent") as agent:
        report = {"title": "checkout fails", "service": "checkout", "env": "prod", "severity": "high"}
        incident = post(oncall, "/v1/incidents", report)["incident"]
        held = post(agent, "/v1/work/claim", {"kinds": ["incident"], "hold_seconds": 60})
        asked = {
            "session": held["session"],
            "action": "local.process.status",
            "resource": {"type": "process", "id": "checkout", "env": "prod"},
            "arguments": {},
            "reason": "is it there",
            "work": {"id": held["work"], "fence": held["fence"]},
        }
        post(agent, "/v1/actions", asked)
    shown = gate.command("incidents", "show", incident, "--as", "oncall")
    assert "checkout fails" in shown.stdout, shown.stderr
    told = gate.command("incidents", "show", incident, "--part", "timeline", "--as", "oncall")
    assert "local.process.status" in told.stdout.replace("\\", ""), told.stderr
    folder = tmp_path / "case"
    done = gate.command("incidents", "record", incident, str(folder), "--as", "oncall", "--json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["observations"] == 1
    assert json.loads((folder / "case.json").read_text())["alert"]["service"] == "checkout"
    [line] = (folder / "observations.jsonl").read_text().splitlines()
    assert (json.loads(line)["action"], json.loads(line)["args"]) == ("local.process.status", {"target": "checkout"})
