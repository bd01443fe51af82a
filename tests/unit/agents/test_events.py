"""What the agent tells about each kind of answer."""

import io
import json
from typing import Any

import pytest
from wicketgate import ApprovalPending, Done, GateError, Waiting, from_problem

from agents.__main__ import main
from agents.events import Teller
from tests.sim.gate import SimGate, simulated_gate

REQUEST = {"action": "a.b.c", "resource": {"type": "process", "id": "x", "env": "prod"}, "arguments": {"n": 1}}
RECEIPT = {"log": "l/default", "seq": 4, "leaf": "ab" * 32}


def told(*answers: Done | GateError | None) -> list[dict[str, Any]]:
    out = io.StringIO()
    teller = Teller(out)
    teller.step("s")
    for answer in answers:
        teller.told(REQUEST, answer)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_permitted_action_is_asked_decided_redacted_and_recorded() -> None:
    done = Done.model_validate(
        {
            "action_id": "act_1",
            "result": {"value": "EMAIL_7K3Q9M2XTB4C"},
            "decision": {"effect": "permit", "tier": 0},
            "receipt": RECEIPT,
        }
    )
    events = told(None, done)
    assert [event["event"] for event in events] == ["step", "asked", "decided", "redacted", "recorded"]
    assert events[1]["resource"] == "process:x@prod"
    assert events[3]["counts"] == {"EMAIL": 1}
    assert events[4]["seq"] == 4
    assert {event["step"] for event in events} == {1}


def test_a_result_without_marks_tells_of_no_redaction() -> None:
    assert [event["event"] for event in told(Done(action_id="act_1", result={"value": "plain"}))] == ["step", "decided"]


def test_a_refusal_tells_code_remedy_and_receipt() -> None:
    error = from_problem(403, {"code": "denylist.resource", "remedy": "leave it", "receipt": RECEIPT})
    events = told(error)
    assert events[1] == {
        "event": "decided",
        "step": 1,
        "verdict": "refuse",
        "tier": None,
        "code": "denylist.resource",
        "remedy": "leave it",
    }
    assert events[2]["event"] == "recorded"


def test_a_waiting_action_is_neither_permitted_nor_refused() -> None:
    waiting = Waiting.model_validate(
        {"action_id": "act_1", "decision": {"effect": "permit", "tier": 2}, "receipt": RECEIPT}
    )
    events = told(ApprovalPending(waiting))
    assert (events[1]["verdict"], events[1]["tier"]) == ("wait", 2)


@pytest.mark.parametrize("token", ["wrong", ""])
def test_without_a_good_token_the_program_ends_with_3_and_says_what_next(
    token: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "token"
    path.write_text(token)
    with simulated_gate() as gate:
        assert isinstance(gate, SimGate)
        code = main(["first", "--gate", gate.url, "--token-file", str(path), "--service", "checkout", "--alert", "x"])
    assert code == 3
    assert "next:" in capsys.readouterr().err
