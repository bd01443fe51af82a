"""What ``wicketgate policy check|test|build`` do with a policy folder; the commands only print it.

Where the ``opa`` program is at hand, OPA's own compiler and unit tests are asked too; the gate never needs it.
"""

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.errors import BadRequest
from broker.policy.bundle import Bundle, build_bundle
from broker.policy.content import failure_text, parse, read_folder
from broker.policy.gate import golden_fault, schema_findings
from broker.policy.golden import Golden, read_goldens
from broker.policy.keys import SigningKey
from broker.policy.lint import lint_content
from broker.policy.regorus import RegorusHost
from broker.policy.schema import compile_schema

_UNSIGNED_REVISION = "0-check"


@dataclass(frozen=True, slots=True)
class TestReport:
    """Goldens asked, what failed (goldens and ``opa test``), and whether ``opa test`` ran."""

    __test__ = False  # the name is the command's; pytest collects no class of the gate

    goldens: int
    failures: tuple[str, ...]
    opa_ran: bool


async def check(folder: Path, opa: str | None = None) -> list[str]:
    """All findings in ``folder``, one line each with file, fault and remedy; empty when it may be built.

    ``opa`` is the path of the program; with it ``opa check --strict`` runs too, tests included.
    """
    try:
        content = parse(read_folder(folder, _UNSIGNED_REVISION))
        compile_schema(content.schema("input.v1"))
        read_goldens(content.goldens)
    except BadRequest as error:
        return [failure_text(error)]
    findings = [*schema_findings(content), *(str(each) for each in await lint_content(content))]
    if opa:
        findings += await _opa(opa, "check", "--strict", "--bundle", str(folder))
    return findings


async def test(folder: Path, opa: str | None) -> TestReport:
    """Every golden on the embedded engine, and ``opa test`` where the program is at hand."""
    try:
        # A throw-away key: the tests of a folder need no signer.
        bundle = build_bundle(folder, SigningKey("check", Ed25519PrivateKey.generate()), _UNSIGNED_REVISION)
        goldens = read_goldens(bundle.content.goldens)
        faults = await _golden_faults(bundle, goldens)
    except BadRequest as error:
        return TestReport(0, (failure_text(error),), opa_ran=False)
    if opa:
        faults += await _opa(opa, "test", "--bundle", str(folder))
    return TestReport(len(goldens), tuple(faults), opa_ran=opa is not None)


def build(folder: Path, key: SigningKey, revision: str, out: Path) -> Bundle:
    """Sign ``folder`` into ``out`` and its detached signature into ``out`` + ``.sig``; raises ``BadRequest``."""
    bundle = build_bundle(folder, key, revision)
    out.write_bytes(bundle.archive)
    out.with_name(out.name + ".sig").write_text(bundle.signature + "\n")
    return bundle


async def _golden_faults(bundle: Bundle, goldens: Sequence[Golden]) -> list[str]:
    """What differs from the goldens on the embedded engine."""
    check_input = compile_schema(bundle.content.schema("input.v1"))
    engine = await RegorusHost().start(bundle)
    try:
        return [fault for each in goldens if (fault := await golden_fault(each, check_input, engine))]
    finally:
        await engine.aclose()


async def _opa(*command: str) -> list[str]:
    """Run OPA's program; its complaints, one a line, or nothing when it is content."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    output, _ = await process.communicate()
    return [line for line in output.decode(errors="replace").splitlines() if line.strip()] if process.returncode else []
