"""The load gate: what a verified bundle must still prove before it may decide."""

import asyncio
from collections.abc import Mapping

import orjson

from broker.errors import PolicyUnavailable
from broker.model import Json
from broker.policy.content import Content, refusal
from broker.policy.decision import Readings, read_decision
from broker.policy.engine import ENGINE_TIMEOUT, Answer, PolicyEngine
from broker.policy.golden import Golden, mismatch, read_goldens
from broker.policy.input import prepare
from broker.policy.lint import lint_content
from broker.policy.schema import Check, compile_schema

_CONFIG_SCHEMAS = "schemas/config/"
_SHOWN = 5
_AT_ONCE = 8
_TRIES = 3


async def check_content(content: Content) -> None:
    """Check config against its schemas and Rego against the portable subset; raises ``BadRequest`` with the findings."""
    findings = [*schema_findings(content), *(str(each) for each in await lint_content(content))]
    if findings:
        shown = "; ".join(findings[:_SHOWN])
        raise refusal(
            f"{len(findings)} findings: {shown}", "mend them; `wicketgate policy check` lists all", "policy.lint"
        )


def schema_findings(content: Content) -> list[str]:
    """Every ``data.config.<area>`` and manifest that breaks its schema, or has none: field and rule, one line each."""
    found: list[str] = []
    if content.manifests:
        check = compile_schema(content.schema("manifest.v1"))
        faults = ((manifest.get("connector"), check(manifest)) for manifest in content.manifests)
        found.extend(f"manifest of connector `{name}`{fault}" for name, fault in faults if fault)
    for area, value in content.config.items():
        schema = content.schemas.get(f"{_CONFIG_SCHEMAS}{area}.schema.json")
        if schema is None:
            found.append(f"config/{area}/data.json: no schema {_CONFIG_SCHEMAS}{area}.schema.json")
            continue
        fault = compile_schema(schema)(value)
        if fault:
            found.append(f"config/{area}/data.json{fault}")
    return found


async def check_goldens(content: Content, check: Check, engine: PolicyEngine) -> None:
    """Ask ``engine`` every golden decision; raises ``BadRequest`` (``policy.golden``) naming the first that differ."""
    goldens = read_goldens(content.goldens)
    if not goldens:
        raise refusal("it brings no golden decisions", "add cases under golden/", "policy.golden")
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(golden: Golden) -> str:
        async with places:
            return await golden_fault(golden, check, engine)

    faults = [fault for fault in await asyncio.gather(*(ask(each) for each in goldens)) if fault]
    if faults:
        shown = "; ".join(faults[:_SHOWN])
        raise refusal(
            f"{len(faults)} golden decisions differ: {shown}", "mend the policy or the golden", "policy.golden"
        )


async def golden_fault(golden: Golden, check: Check, engine: PolicyEngine) -> str:
    """What is wrong with one golden decision on this engine; empty when nothing is."""
    try:
        ready = prepare(golden.input, check)
        answer = await _patiently(engine, ready.json)
        read_decision(answer.value, readings=Readings({}), revision="", digest="", engine="", input_digest=ready.digest)
    except PolicyUnavailable as error:
        return f"{golden.where}: {error.error_code}: {error.detail}"
    raw: Mapping[str, Json] = orjson.loads(answer.value)
    fault = mismatch(golden, raw)
    return f"{golden.where}: {fault}" if fault else ""


async def _patiently(engine: PolicyEngine, input_json: bytes) -> Answer:
    """Ask again after a timeout: a busy host during an activation says nothing about the policy."""
    for _ in range(_TRIES - 1):
        try:
            return await engine.decide(input_json)
        except PolicyUnavailable as error:
            if error.error_code != ENGINE_TIMEOUT:
                raise
    return await engine.decide(input_json)
