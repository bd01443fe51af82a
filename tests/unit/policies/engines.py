"""The policy folder as the gate reads it, and the two engines that decide on it, as plain functions."""

import contextlib
import functools
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import regorus
import yaml

from broker.policy.content import Content, parse, read_folder
from broker.policy.golden import BASES, Golden, read_goldens
from tests.parts import ROOT, require

POLICIES = ROOT / "policies"
ENTRYPOINT = "data.broker.main.decision"
EACH = f"[decision | some each in input.inputs; decision := {ENTRYPOINT} with input as each]"
EACH_OPTED = (
    "[decision | config := input.config; some each in input.inputs; "
    f"decision := {ENTRYPOINT} with input as each with data.config as config]"
)

Decide = Callable[[Mapping[str, Any]], Any]


@functools.cache
def content() -> Content:
    """The folder's content, as a bundle would carry it."""
    return parse(read_folder(POLICIES, "1"))


@functools.cache
def goldens() -> Sequence[Golden]:
    return read_goldens(content().goldens)


@functools.cache
def opted() -> Sequence[tuple[Mapping[str, Any], Sequence[Golden]]]:
    """Configurations that are not shipped, each with the goldens that hold under it."""
    bases = {BASES: content().goldens[BASES]}
    made = []
    for number, each in enumerate(yaml.safe_load((Path(__file__).parent / "opted.yaml").read_text())):
        area = each["area"]
        changed = {
            name: {**value, **each["config"].get(name, {})}
            if isinstance(value, dict)
            else each["config"].get(name, value)
            for name, value in content().config[area].items()
        }
        goldens = read_goldens(bases | {f"golden/opted/{number}": {"cases": each["cases"]}})
        made.append(({**content().config, area: changed}, goldens))
    return made


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
    """Decide on ``engine``, each time on a fresh clone of it, so that no input outlives its question.

    It is asked once before, as the gate's worker does: clones of an engine that has compiled need not compile.
    """
    engine.set_input_json("{}")
    with contextlib.suppress(RuntimeError):
        engine.eval_rule_as_json(ENTRYPOINT)

    def decide(value: Mapping[str, Any]) -> Any:
        one = engine.clone()
        one.set_input_json(json.dumps(value))
        return json.loads(one.eval_rule_as_json(ENTRYPOINT))

    return decide


def on_opa(inputs: Sequence[Mapping[str, Any]], config: Mapping[str, Any] | None = None) -> list[Any]:
    """All decisions of one real OPA process; an undefined one would be missing, so the count is checked.

    ``config`` replaces the whole configuration.
    """
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
            EACH if config is None else EACH_OPTED,
        ],
        input=json.dumps({"inputs": inputs, "config": config}),
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
