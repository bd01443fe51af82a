"""Functions whose effect is the gate's to carry out."""

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError
from wicketgate import Arguments, Denied, Gate, Intent, governed

from tests.sim.gate import TOKEN, Refusal, SimGate, simulated_gate


@governed("local.process.restart", resource="process:{name}@{env}")
async def restart(name: str, grace_s: int = 5, env: str = "prod", *, reason: str) -> Arguments:
    """Restart a process."""


@governed("local.logs.search", resource="process:{name}@prod")
async def errors_of(name: str, minutes: int) -> Arguments:
    """Read the newest errors."""
    return {"level": "error", "window_s": minutes * 60}


def inside(gate: SimGate, call: Any) -> Any:
    async def main() -> Any:
        async with Gate(gate.url, TOKEN) as client, client.session([Intent(text="t", source="s")]):
            return await call()

    return asyncio.run(main())


def test_the_call_s_own_arguments_go_to_the_gate_without_resource_and_reason() -> None:
    with simulated_gate() as gate:
        inside(gate, lambda: restart("checkout", env="staging", reason="pool exhausted"))
        body = gate.bodies("/v1/actions")[0]
    assert body["resource"] == {"type": "process", "id": "checkout", "env": "staging"}
    assert body["arguments"] == {"grace_s": 5}
    assert body["reason"] == "pool exhausted"


def test_a_body_maps_the_call_to_other_arguments() -> None:
    with simulated_gate(local__logs__search={"lines": []}) as gate:
        done = inside(gate, lambda: errors_of("checkout", minutes=2))
        body = gate.bodies("/v1/actions")[0]
    assert body["arguments"] == {"level": "error", "window_s": 120}
    assert done.result["value"] == {"lines": []}


def test_a_refusal_comes_out_of_the_call() -> None:
    with simulated_gate(local__process__restart=Refusal(403, "policy.denied")) as gate, pytest.raises(Denied):
        inside(gate, lambda: restart("checkout", reason="x"))


def test_a_value_cannot_move_a_part_of_the_resource() -> None:
    with simulated_gate() as gate:
        inside(gate, lambda: restart("vault@staging:x", reason="x"))
        resource = gate.bodies("/v1/actions")[0]["resource"]
    assert resource == {"type": "process", "id": "vault@staging:x", "env": "prod"}


def test_a_value_cannot_reach_into_another() -> None:
    with simulated_gate() as gate:
        inside(gate, lambda: restart("{env.__class__}", reason="x"))
        assert gate.bodies("/v1/actions")[0]["resource"]["id"] == "{env.__class__}"


def test_outside_a_session_a_call_says_what_is_missing() -> None:
    with pytest.raises(LookupError, match="session"):
        asyncio.run(restart("checkout", reason="x"))


def test_the_tool_definition_comes_from_name_docstring_and_annotations() -> None:
    assert restart.tool["name"] == "restart"
    assert restart.tool["description"] == "Restart a process."
    schema = restart.tool["input_schema"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name", "reason"]
    assert schema["properties"]["grace_s"] == {"default": 5, "title": "Grace S", "type": "integer"}


def test_a_model_s_input_is_checked_before_anything_is_asked() -> None:
    with simulated_gate() as gate:
        inside(gate, lambda: restart.from_model({"name": "checkout", "reason": "r"}))
        with pytest.raises(ValidationError):
            inside(gate, lambda: restart.from_model({"name": "checkout", "reason": "r", "env_": "x"}))
        assert len(gate.keys()) == 1


@pytest.mark.parametrize("resource", ["process", "process:{nme}@prod", "process:{name}", "{name}"])
def test_a_resource_that_cannot_work_is_refused_at_declaration(resource: str) -> None:
    async def body(name: str) -> Arguments:
        """Nothing."""

    with pytest.raises(ValueError, match=r"resource of `a\.b\.c`"):
        governed("a.b.c", resource=resource)(body)
