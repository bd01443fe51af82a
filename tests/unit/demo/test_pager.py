"""The receiver of notices: what it takes is signed, fresh and kept once; what is not is refused and counted for nothing."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from broker.connectors.notify import signed
from demo.pager import Pager
from demo.wire import Asked

KEY = b"a key of thirty-two bytes, no less"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BODY = json.dumps(
    {
        "type": "incident.escalated",
        "data": {
            "incident": "inc_1",
            "kind": "escalated",
            "evidence": [{"verdict": "verified"}, {"verdict": "refuted"}, {"verdict": "verified"}],
            "ruled_out": [{}],
            "tried": [{"action": "local.index.create", "status": "refused", "code": "risk.manual_only", "at": 1}],
        },
    }
).encode()


def message(**changes: Any) -> Asked:
    now = int(time.time())
    headers = signed(KEY, "act_1", changes.pop("at", now), BODY) | changes.pop("headers", {})
    return Asked("POST", "/hook", headers, changes.pop("body", BODY))


@pytest.fixture
def notices(tmp_path: Path) -> Path:
    return tmp_path / "notices.jsonl"


def kept(notices: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in notices.read_text().splitlines()]


def test_what_the_gate_signs_is_taken_once_with_its_evidence(notices: Path) -> None:
    pager = Pager(SECRET, notices)
    assert [pager.route(message()).status for _ in range(2)] == [200, 200]
    [line] = kept(notices)
    assert (line["id"], line["verified"], line["incident"]) == ("act_1", True, "inc_1")
    assert (line["evidence"], line["ruled_out"]) == ({"refuted": 1, "verified": 2}, 1)
    assert line["tried"] == [{"action": "local.index.create", "status": "refused", "code": "risk.manual_only"}]


@pytest.mark.parametrize(
    "changes",
    [
        {"body": BODY + b" "},
        {"headers": {"webhook-id": "act_2"}},
        {"headers": {"webhook-id": ""}},
        {"headers": {"webhook-timestamp": "soon"}},
        {"headers": {"webhook-signature": "v1,AAAA"}},
        {"headers": {"webhook-signature": ""}},
        {"at": 1_000_000_000},
        {"at": 9_000_000_000},
    ],
    ids=["another body", "another id", "no id", "no time", "another signature", "none", "long ago", "far ahead"],
)
def test_what_is_not_signed_or_not_fresh_is_refused_and_says_nothing(changes: dict[str, Any], notices: Path) -> None:
    assert Pager(SECRET, notices).route(message(**changes)).status == 401
    [line] = kept(notices)
    assert set(line) == {"at", "id", "verified"}
    assert line["verified"] is False


def test_one_right_signature_among_several_is_enough_and_another_key_is_none(notices: Path) -> None:
    right = message().headers["webhook-signature"]
    pager = Pager(SECRET, notices)
    assert pager.route(message(headers={"webhook-signature": f"v1,AAAA {right}"})).status == 200
    other = Pager("whsec_" + base64.b64encode(b"another key of thirty-two bytes!").decode(), notices)
    assert other.route(message()).status == 401
    with pytest.raises(ValueError, match="whsec_"):
        Pager("a bare secret", notices)
