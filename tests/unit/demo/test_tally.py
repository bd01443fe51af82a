"""Counting from the log's public form and the files, and the flipped byte."""

import json
from pathlib import Path
from typing import Any

import pytest

from demo import tally, tamper


def publish(log: Path, records: list[dict[str, Any]]) -> None:
    """Write the entry bundles and an (unsigned) checkpoint as C2SP tlog-tiles lays them out."""
    encoded = [json.dumps(record).encode() for record in records]
    folder = log / "tile" / "entries"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(0, len(encoded), 256):
        bundle = encoded[number : number + 256]
        content = b"".join(len(entry).to_bytes(2, "big") + entry for entry in bundle)
        path = folder / f"{number // 256:03d}"
        if len(bundle) < 256:
            path = folder / f"{number // 256:03d}.p" / str(len(bundle))
            path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (log / "checkpoint").write_text(f"sim/log/default\n{len(encoded)}\nhash\n\n— sig\n")


def intent(name: str, action: str, effect: str, connector: str = "local", **counts: int) -> dict[str, Any]:
    body = {
        "action": {"id": action, "name": name, "effect": effect, "connector": connector},
        "redaction": {"counts": counts},
    }
    return {"kind": "intent", "body": body}


def outcome(action: str, status: str, **counts: int) -> dict[str, Any]:
    return {
        "kind": "outcome",
        "body": {"action": {"id": action}, "outcome": {"status": status}, "redaction": {"counts": counts}},
    }


def test_a_run_is_counted_from_the_log_and_the_files(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "demo"
    folder.mkdir()
    old = [intent("x.y.z", "act_0", "write"), outcome("act_0", "done")]
    publish(log, old)
    (folder / "model-requests.jsonl").write_text('{"path":"/v1/messages"}\n')
    (folder / tally.NOTICES).write_text('{"verified": true}\n')
    since = tally.mark(log, folder)
    with (folder / tally.NOTICES).open("a") as notices:
        notices.write('{"verified": true}\n{"verified": false}\n{"verified": tr')
    new = [
        intent("local.logs.search", "act_1", "read"),
        outcome("act_1", "done", EMAIL=3, SECRET=1),
        {"kind": "refusal", "body": {"action": {"name": "local.config.read"}, "error": "denylist.resource"}},
        {"kind": "proposal", "body": {}},
        intent("gate.review.create", "act_2", "write", "gate"),
        {"kind": "review", "body": {"approval": {"verdict": "approve"}}},
        outcome("act_2", "done"),
        intent("local.process.restart", "act_3", "write"),
        outcome("act_3", "done"),
        intent("local.process.restart", "act_4", "write", EMAIL=1),
        outcome("act_4", "unknown"),
        {"kind": "review", "body": {"approval": {"verdict": "deny"}}},
    ]
    publish(log, old + new)
    with (folder / "model-requests.jsonl").open("a") as out:
        out.write('{"path":"/v1/messages"}\n{"path":"/v1/messages/count_tokens"}\n')
    (folder / "processes.jsonl").write_text('{"event":"started"}\n{"event":"restarted"}\n')
    assert tally.count(log, folder, since) == {
        "allowed": 4,
        "refused": [{"action": "local.config.read", "code": "denylist.resource"}],
        "approved": 1,
        "executed": 1,
        "redactions": 5,
        "model_calls": 1,
        "notices": 1,
        "records": 12,
    }
    assert tally.restarts(folder, since) == 1


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600])
def test_bundles_whole_and_partial_give_every_record_in_order(size: int, tmp_path: Path) -> None:
    publish(tmp_path, [{"n": number} for number in range(size)])
    assert [record["n"] for record in tally.records(tmp_path)] == list(range(size))
    assert [record["n"] for record in tally.records(tmp_path, size - 1)] == [size - 1]
    assert list(tally.records(tmp_path, size)) == []


def test_a_bundle_cut_short_is_an_error_and_not_a_smaller_count(tmp_path: Path) -> None:
    publish(tmp_path, [{"n": 1}, {"n": 2}])
    bundle = tmp_path / "tile" / "entries" / "000.p" / "2"
    bundle.write_bytes(bundle.read_bytes()[:-1])
    with pytest.raises(ValueError, match="middle"):
        list(tally.records(tmp_path))


def test_a_planted_value_is_found_in_the_log_the_databases_and_the_model_s_requests(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    (folder / "logs").mkdir(parents=True)
    (folder / "planted.json").write_text('{"email": ["ada@mail.example.org"], "card": ["4111111111111111"]}')
    (folder / "logs" / "shop.log").write_text("ada@mail.example.org")
    (tmp_path / "gate.db").write_bytes(b"\0\1 nothing")
    assert tally.leaks(tmp_path, folder) == []
    (tmp_path / "gate.db-wal").write_bytes(b"\0\1ada@mail.example.org\2")
    (folder / "model-requests.jsonl").write_text('{"x":"4111111111111111"}')
    assert tally.leaks(tmp_path, folder) == ["card in demo/model-requests.jsonl", "email in gate.db-wal"]


def test_the_copy_differs_from_the_log_in_one_bit_and_the_log_not_at_all(tmp_path: Path) -> None:
    publish(tmp_path, [{"n": number} for number in range(300)])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with tamper.flipped_copy(tmp_path) as (copy, _):
        changed = [
            (ours ^ theirs).bit_count()
            for path, content in before.items()
            for ours, theirs in zip(content, (copy / path.relative_to(tmp_path)).read_bytes(), strict=True)
            if ours != theirs
        ]
    assert changed == [1]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not copy.exists()
