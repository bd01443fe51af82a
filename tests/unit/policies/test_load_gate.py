"""The folder, built and signed, passes the gate's own load gate on its own engine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker.policy.bundle import build_bundle
from broker.policy.gate import check_content, check_goldens
from broker.policy.keys import dev_key
from broker.policy.regorus import RegorusHost
from broker.policy.schema import compile_schema
from tests.unit.policies.engines import POLICIES, goldens


def test_the_load_gate_accepts_the_built_bundle(run: Callable[..., Any], tmp_path: Path) -> None:
    bundle = build_bundle(POLICIES, dev_key(tmp_path / "keys", dev=True), "1")

    async def main() -> int:
        host = RegorusHost()
        try:
            await check_content(bundle.content)
            engine = await host.load(bundle)
            try:
                await check_goldens(bundle.content, compile_schema(bundle.content.schema("input.v1")), engine)
            finally:
                await engine.aclose()
        finally:
            await host.aclose()
        return len(bundle.content.goldens)

    assert run(main()) > 1
    assert len(goldens()) > 100


def test_the_bundle_carries_neither_tests_nor_tooling(tmp_path: Path) -> None:
    bundle = build_bundle(POLICIES, dev_key(tmp_path / "keys", dev=True), "1")
    assert not [path for path in bundle.content.modules if path.endswith("_test.rego")]
    assert set(bundle.content.config) == {path.parent.name for path in (POLICIES / "config").glob("*/data.yaml")}
    assert {manifest["connector"] for manifest in bundle.content.manifests} >= {"gate", "llm", "local", "tickets"}
