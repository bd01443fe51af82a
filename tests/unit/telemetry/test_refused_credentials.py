"""A credential that does not hold, and a request in a form to get by, is a line for the operator; a flood of them is none."""

import json

import pytest

from broker.clock import SeededClock
from broker.telemetry import LINE_SECONDS, Telemetry


def test_a_line_a_code_and_a_while_says_how_many_there_were(
    clock: SeededClock, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry = Telemetry(clock.monotonic)

    def lines() -> list[tuple[str, str, int]]:
        read = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        return [(one["event"], one["code"], one["more"]) for one in read]

    for _ in range(50):
        for code in (
            "identity.certificate",
            "identity.bad_signature",
            "identity.missing",
            "identity.expired",
            "policy.denied",
        ):
            telemetry.refused(code)
    assert lines() == [
        ("identity.refused", "identity.certificate", 0),
        ("identity.refused", "identity.bad_signature", 0),
    ]
    clock.advance(LINE_SECONDS)
    telemetry.refused("identity.certificate")
    assert lines() == [("identity.refused", "identity.certificate", 49)]


def test_what_could_be_an_attempt_to_get_by_is_a_line_and_what_is_nobodys_fault_is_none(
    clock: SeededClock, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry = Telemetry(clock.monotonic)
    told = {
        "json.duplicate_key": "request.refused",
        "http.duplicate_header": "request.refused",
        "console.csrf": "request.refused",
        "login.mismatch": "identity.refused",
        "identity.bad_signature": "identity.refused",
    }
    for code in (*told, "login.unknown", "login.idle", "identity.missing", "identity.expired", "store.unavailable"):
        telemetry.refused(code)
    read = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {one["code"]: one["event"] for one in read} == told
    assert {(one["level"], one["timestamp"][-1]) for one in read} == {("warning", "Z")}, "times are in UTC"
