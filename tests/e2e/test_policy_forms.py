"""The facts that the lint and the probes rest on, asked of the real OPA and the real regorus."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import regorus

from broker.policy import battery
from tests.parts import require
from tests.unit.policy import forms

UNDEFINED = object()


def on_opa(folder: Path, modules: dict[str, str], data: Any, question: Any) -> Any:
    """All documents under ``data.broker`` (or the battery's), as OPA computes them."""
    command = [require("opa"), "eval", "--format", "json", "--stdin-input"]
    for name, text in modules.items():
        (folder / name).write_text(text)
        command += ["--data", str(folder / name)]
    (folder / "data.json").write_text(json.dumps(data))
    query = battery.ENTRYPOINT if battery.MODULE in modules.values() else "data.broker"
    command += ["--data", str(folder / "data.json"), query]
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    done = subprocess.run(command, input=body, capture_output=True, check=False)
    answer = json.loads(done.stdout)
    assert "errors" not in answer, answer["errors"][0]["message"]
    return answer["result"][0]["expressions"][0]["value"]


def on_regorus(module: str, rule: str) -> Any:
    engine = regorus.Engine()
    engine.add_policy("m.rego", module)
    engine.add_data_json(json.dumps(forms.DATA))
    engine.set_input_json(json.dumps(forms.INPUT))
    value = json.loads(engine.eval_rule_as_json(rule))
    return UNDEFINED if value == "<undefined>" else value


def both(folder: Path, bodies: list[str]) -> list[tuple[str, Any, Any]]:
    modules = {f"f{number}.rego": forms.module(body, f"broker.f{number}") for number, body in enumerate(bodies)}
    opa = on_opa(folder, modules, forms.DATA, forms.INPUT)
    return [
        (body, opa[f"f{number}"].get("asked", UNDEFINED), on_regorus(modules[f"f{number}.rego"], f"data.broker.f{number}.asked"))
        for number, body in enumerate(bodies)
    ]  # fmt: skip


def test_the_refused_forms_really_differ_silently_between_the_engines(tmp_path: Path) -> None:
    alike = [body for body, opa, ours in both(tmp_path, forms.NEGATED_UNDEFINED) if opa is ours]
    assert alike == []


def test_the_forms_that_pass_are_answered_alike(tmp_path: Path) -> None:
    differ = [(body, opa, ours) for body, opa, ours in both(tmp_path, forms.AGREED) if opa != ours]
    assert differ == []


@pytest.mark.parametrize("body", forms.UNSAFE)
def test_opa_does_not_compile_variables_that_nothing_binds(tmp_path: Path, body: str) -> None:
    with pytest.raises(AssertionError, match="unsafe"):
        on_opa(tmp_path, {"f.rego": forms.module(body)}, forms.DATA, forms.INPUT)


def test_the_probes_expect_what_opa_answers(tmp_path: Path) -> None:
    answer = on_opa(tmp_path, {"battery.rego": battery.MODULE}, battery.DATA, battery.INPUT)
    assert answer["probes"] == battery.EXPECTED
    assert answer["input"] == json.loads(battery.INPUT)
