"""The policy folder as the gate reads it, and the two engines that decide on it, as plain functions."""

import functools
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import regorus

from broker.policy.content import Content, parse, read_folder
from broker.policy.golden import Golden, read_goldens
from tests.parts import ROOT, require

POLICIES = ROOT / "policies"
ENTRYPOINT = "data.broker.main.decision"
EACH = f"[decision | some each in input.inputs; decision := {ENTRYPOINT} with input as each]"

Decide = Callable[[Mapping[str, Any]], Any]


@functools.cache
def content() -> Content:
    """The folder's content, as a bundle would carry it."""
    return parse(read_folder(POLICIES, "1"))


@functools.cache
def goldens() -> Sequence[Golden]:
    return read_goldens(content().goldens)


def on_regorus(modules: Mapping[str, str], config: Mapping[str, Any]) -> Decide:
    """Decide with ``modules`` and ``data.config``; an answer that is no object is an undefined decision."""
    engine = loaded(modules)
    engine.add_data_json(json.dumps({"config": config}))
    return decider(engine)


def loaded(modules: Mapping[str, str]) -> Any:
    """A regorus engine that holds ``modules``."""
    engine = regorus.Engine()
    for path, text in modules.items():
        engine.add_policy(path, text)
    return engine


def decider(engine: Any) -> Decide:
    """Decide on ``engine``, each time on a fresh clone of it, so that no input outlives its question."""

    def decide(value: Mapping[str, Any]) -> Any:
        one = engine.clone()
        one.set_input_json(json.dumps(value))
        return json.loads(one.eval_rule_as_json(ENTRYPOINT))

    return decide


def on_opa(inputs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """All decisions of one real OPA process; an undefined one would be missing, so the count is checked."""
    done = subprocess.run(
        [
            require("opa"),
            "eval",
            "--bundle",
            str(POLICIES),
            "--strict-builtin-errors",
            "--stdin-input",
            "--format",
            "raw",
            EACH,
        ],
        input=json.dumps({"inputs": inputs}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    decisions: list[Any] = json.loads(done.stdout)
    assert len(decisions) == len(inputs)
    return decisions


def codes(decision: Mapping[str, Any]) -> set[str]:
    return {reason["code"] for reason in decision["reasons"]}
