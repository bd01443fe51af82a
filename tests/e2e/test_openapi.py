"""The gate under a fuzzer that knows nothing of it but its OpenAPI document: schemathesis, with a seed.

Every answer must be one that the document names, in a form that it names; what the document forbids is refused; no answer
is a 5xx that the gate could have avoided, and no refusal repeats a secret. One check is left out: "what fits the schema is
accepted" is not what a gate promises (policy, limits, a used idempotency key).
"""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from broker.web.description import KEYED
from broker.web.routes import ROUTES
from tests.sim.running_gate import RunningGate, running_gate

ROOT = Path(__file__).parents[2]
MUCH = "[web]\nattempts_per_minute_max = 1000000\nattempts_burst_max = 1000000\n"
LEFT_OUT = "^/(console|mcp|v1/events|bundles)"
"""Pages are for people with a cookie; MCP has referees of its own; streams do not end; OPA's token is not ours."""
WHOLE = ("--phases", "coverage,fuzzing", "--max-examples", os.environ.get("WICKETGATE_EXAMPLES", ""))
EXTENT = WHOLE if WHOLE[-1] else ("--phases", "coverage", "--include-method", "POST", "--include-method", "DELETE")
"""A number in ``WICKETGATE_EXAMPLES`` asks for all routes and for so many random requests of each, too."""
SECRET = re.compile(r"eyJ[A-Za-z0-9_-]{10,}|TESTCODE42|Traceback|site.packages|sqlalchemy|sqlite3?\.")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    with running_gate(tmp_path_factory.mktemp("openapi"), MUCH) as running:
        yield running


@pytest.mark.timeout(900)
def test_no_request_from_the_document_gets_an_answer_that_is_not_in_it(gate: RunningGate, tmp_path: Path) -> None:
    log = tmp_path / "exchanges.ndjson"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{gate.url}/openapi.json"),
            *("--url", gate.url, "--header", f"Authorization: Bearer {gate.token('security')}", "--seed", "1"),
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance", *EXTENT),
            *("--exclude-path-regex", LEFT_OUT, "--no-color", "--warnings", "off"),
            *("--report", "ndjson", "--report-ndjson-path", str(log), "--output-sanitize", "false"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated, done.stdout[-2000:]
    assert int(generated[1]) > 500
    assert _told(log) == set()


def _told(log: Path) -> set[str]:
    """Secrets, and traces of the inside, in what was answered."""
    found: set[str] = set()
    answers = 0
    for line in log.read_text().splitlines():
        for body in _bodies(json.loads(line)):
            answers += 1
            found |= set(SECRET.findall(body))
    assert answers > 500, "the report holds the answers"
    return found


def _bodies(event: object) -> Iterator[str]:
    """The text of every answer in one event of the report."""
    if isinstance(event, dict):
        response = event.get("response")
        if isinstance(response, dict):
            content = response.get("content") or {}
            yield base64.b64decode(content.get("$base64", "")).decode(errors="replace")
            yield json.dumps(response.get("headers"))
        for value in event.values():
            yield from _bodies(value)
    elif isinstance(event, list):
        for value in event:
            yield from _bodies(value)


def test_words_that_do_not_fit_are_the_callers_fault_also_where_redaction_made_them_longer(gate: RunningGate) -> None:
    with gate.client("security") as client:
        digest, grows = "0" * 64, "a@b.example " * 300
        answer = client.post("/v1/policies/rollback", json={"digest": digest, "reason": grows})
        assert (answer.status_code, answer.json()["code"]) == (400, "request.bounds")
        assert "reason" in answer.json()["detail"]
        target = {"type": "gate", "id": "gate", "env": "prod"}
        for arguments in ({"a": "x" * 200_000}, {"a": ["x" * 1000] * 60}, {str(number): 1 for number in range(100)}):
            asked = {"action": "no.such.action", "resource": target, "arguments": arguments}
            answer = client.post("/v1/actions", json=asked, headers={"Idempotency-Key": "much"})
            assert answer.status_code in {400, 403}, answer.text


def test_the_document_says_which_routes_need_an_idempotency_key() -> None:
    manifest = yaml.safe_load((ROOT / "policies" / "manifests" / "gate.yaml").read_text())
    twice = {name for name, one in manifest["actions"].items() if one["effect"] == "write" and not one["idempotent"]}
    asking = {one.handler for one in ROUTES if one.action in twice and one.access == "pipeline"}
    assert asking == KEYED
