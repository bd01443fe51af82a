"""A credential that does not hold, a token's or a certificate's, is a line for the operator; a flood of them is none."""

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
