"""Real files, rotated under the reader; lines in every spelling; what is cut is said."""

import asyncio
import gzip
import os
import random
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.connectors import log_files
from broker.connectors.log_lines import parsed_line
from broker.connectors.logs import LogPage, LogQuery, LogsConnector, LogsSettings
from broker.errors import BadRequest, NotFound, UpstreamFailed
from broker.model import Resource, Result, ResultStatus
from tests.parts import ROOT

MANIFEST = (ROOT / "policies/manifests/logs.yaml").read_text()
AT = 1_767_225_600
CHECKOUT = Resource(type="logs", id="checkout", env="prod", region="eu-west-1")
WINDOW = {"since_s": AT, "until_s": AT + 3600}


def stamped(at: float, text: str) -> str:
    return f"{datetime.fromtimestamp(at, UTC).isoformat()} {text}\n"


class World:
    """One connector over one file, ``checkout.log``."""

    def __init__(self, folder: Path, asked: Any, **more: Any) -> None:
        self.log, self.asked = folder / "checkout.log", asked(MANIFEST)
        self.log.touch()
        files = {"checkout": (str(self.log),)}
        self.adapter = LogsConnector(LogsSettings(**{"name": "logs", "files": files, **more}))

    def ask(self, action: str, resource: Resource = CHECKOUT, **arguments: Any) -> Result:
        grant, declared = self.asked.grant(f"logs.{action}", resource, {**WINDOW, **arguments})
        return asyncio.run(self.adapter.execute(grant, declared))

    def texts(self, **arguments: Any) -> list[str]:
        return [line["text"] for line in self.ask("lines.search", **arguments).value["lines"]]


# -- one line -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "at", "level", "message"), [
    ("2026-01-01T00:00:01Z ERROR pool is full", AT + 1, "error", "ERROR pool is full"),
    ("2026-01-01 00:00:01,500 WARN [main] slow", AT + 1.5, "warning", "WARN [main] slow"),
    ("[2026-01-01T01:00:01+01:00] [info] fine", AT + 1, "info", "[info] fine"),
    ("2026-01-01T00:00:01 no error here", AT + 1, "", "no error here"),
    ("2026-01-01T00:00:01 error: bad", AT + 1, "error", "error: bad"),
    ("[Thu Jan 01 00:00:01 2026] [error] child died", AT + 1, "error", "[error] child died"),
    ('10.0.0.1 - - [01/Jan/2026:00:00:01 +0000] "GET / HTTP/1.1" 200', AT + 1, "", '10.0.0.1 - - "GET / HTTP/1.1" 200'),
    ("1767225601.250 FATAL out", AT + 1.25, "critical", "FATAL out"),
    ("1767225601250 out", AT + 1.25, "", "out"),
    ('{"ts":1767225601,"level":"Warning","msg":"slow"}', AT + 1, "warning", "slow"),
    ('{"time":"2026-01-01T00:00:01Z","severity":"ERROR","message":"x"}', AT + 1, "error", "x"),
    ('{"@timestamp":"1767225601250","a":1}', AT + 1.25, "", '{"@timestamp":"1767225601250","a":1}'),
    ('ts=2026-01-01T00:00:01Z level=error msg="pool \\"a\\" full" n=5', AT + 1, "error", 'pool "a" full'),
    ("time=1767225601 lvl=dbg msg=hi", AT + 1, "", "hi"),
])  # fmt: skip
def test_a_line_gives_its_time_its_level_and_what_it_says(text: str, at: float, level: str, message: str) -> None:
    line = parsed_line(text)
    assert line is not None
    assert (line.at, line.level, line.message, line.text) == (at, level, message, text)


@pytest.mark.parametrize("text", [
    "", "   at com.example.Pool.get(Pool.java:10)", "{}", '{"ts":true}', '{"ts":"soon"}', "{broken", '{"ts":1e300}', "ts=soon msg=x", "a=b",
    "2026-13-01T00:00:01Z x", "[99/Jan/2026:00:00:01 +0000]", "12345 x", 'msg="2026-01-01T00:00:01Z', '{"ts":null,"at":[]}', "[]",
])  # fmt: skip
def test_a_line_without_a_time_of_its_own_has_none(text: str) -> None:
    assert parsed_line(text) is None


# -- searching --------------------------------------------------------------------------------------------------------------


def test_a_search_gives_time_level_and_the_line_as_it_stands(tmp_path: Path, asked: Any) -> None:
    here = World(tmp_path, asked)
    here.log.write_text(
        stamped(AT - 1, "before")
        + stamped(AT, "ERROR first")
        + stamped(AT + 3600, "last")
        + stamped(AT + 3601, "after")
    )
    result = here.ask("lines.search")
    assert result.status is ResultStatus.OK
    assert result.value == {
        "lines": [
            {"at": AT, "level": "error", "text": "2026-01-01T00:00:00+00:00 ERROR first"},
            {"at": AT + 3600, "level": "", "text": "2026-01-01T01:00:00+00:00 last"},
        ],
        "matched": 2,
        "scanned": 2,
    }
    assert here.ask("lines.search", pattern="ERROR .*t$", mode="re2").value["matched"] == 1
    assert here.ask("lines.search", pattern="error").status is ResultStatus.EMPTY
    assert here.ask("lines.search", pattern="error").value == {"lines": [], "matched": 0, "scanned": 2}


def test_what_is_cut_is_said_in_words(tmp_path: Path, asked: Any) -> None:
    here = World(tmp_path, asked, line_bytes_max=60, scan_bytes_max=200_000)
    here.log.write_text("".join(stamped(AT + n % 3600, f"line {n} {'x' * 60}") for n in range(5000)))
    result = here.ask("lines.search", lines_max=2)
    assert result.status is ResultStatus.TRUNCATED
    for words in ("newest 2 of", "longer than 60 bytes", "only the last"):
        assert words in result.detail
    assert len(result.value["lines"]) == 2


def test_a_line_that_continues_another_is_found_with_its_time(tmp_path: Path, asked: Any) -> None:
    here = World(tmp_path, asked)
    here.log.write_text("lost\n" + stamped(AT, "ERROR boom") + "  at Pool.get\n  at Pool.put\n" + stamped(AT + 1, "ok"))
    assert here.texts(pattern="Pool.put") == ["  at Pool.put"]
    assert here.ask("lines.search", pattern="lost").status is ResultStatus.EMPTY
    templates = here.ask("templates.count").value["templates"]
    assert sorted(one["template"] for one in templates) == ["ERROR boom", "ok"]


def test_rotated_parts_belong_to_the_file_oldest_first(tmp_path: Path, asked: Any) -> None:
    here = World(tmp_path, asked)
    here.log.write_text(stamped(AT + 300, "newest"))
    (tmp_path / "checkout.log.1").write_text(stamped(AT + 200, "one"))
    (tmp_path / "checkout.log.2.gz").write_bytes(gzip.compress(stamped(AT + 100, "two").encode()))
    (tmp_path / "checkout.log-20260101").write_text(stamped(AT + 50, "dated"))
    (tmp_path / "checkout.log.bak").write_text(stamped(AT + 50, "not a part"))
    (tmp_path / "checkout.logs").write_text(stamped(AT + 50, "not a part"))
    assert [text[26:] for text in here.texts()] == ["dated", "two", "one", "newest"]
    # A part that cannot be read is not passed over in silence.
    (tmp_path / "checkout.log.9").mkdir()
    assert "checkout.log.9" in here.ask("lines.search").detail
    # A hard link of a part is the same part.
    os.link(tmp_path / "checkout.log.1", tmp_path / "checkout.log.3")
    assert len(here.texts()) == 4


def test_a_part_that_cannot_be_unpacked_or_is_too_large_is_not_passed_over(tmp_path: Path, asked: Any) -> None:
    here = World(tmp_path, asked, scan_bytes_max=100_000)
    here.log.write_text(stamped(AT + 300, "newest"))
    (tmp_path / "checkout.log.1.gz").write_bytes(gzip.compress(stamped(AT, "bomb").encode() * 100_000))
    result = here.ask("lines.search")
    assert (result.status, result.value["matched"]) == (ResultStatus.TRUNCATED, 1)
    (tmp_path / "checkout.log.1.gz").write_bytes(b"not gzip")
    with pytest.raises(UpstreamFailed) as caught:
        here.ask("lines.search")
    assert caught.value.error_code == "upstream.log_file"


def test_no_line_is_lost_or_doubled_while_files_rotate(tmp_path: Path, asked: Any) -> None:
    """A writer appends and rotates in a thread; each search sees a run of numbers without gap or repetition."""
    here = World(tmp_path, asked, scan_bytes_max=50_000_000, lines_max=1000)
    done = threading.Event()

    def write() -> None:
        for n in range(3000):
            with here.log.open("a") as file:
                file.write(stamped(AT + n // 10, f"n={n}"))
            if n % 100 == 99:
                for number in range(40, 0, -1):
                    older = tmp_path / f"checkout.log.{number}"
                    if older.exists():
                        older.rename(tmp_path / f"checkout.log.{number + 1}")
                os.link(here.log, tmp_path / "checkout.log.1")
                (tmp_path / "fresh").touch()
                (tmp_path / "fresh").rename(here.log)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    searches = 0
    while not done.is_set() or searches == 0:
        numbers = [int(text.rpartition("=")[2]) for text in here.texts(lines_max=1000)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        searches += 1
    writer.join()
    assert [int(text.rpartition("=")[2]) for text in here.texts(lines_max=1000)] == list(range(2000, 3000))


def test_patterns_windows_and_targets_out_of_bounds_are_refused(tmp_path: Path, asked: Any) -> None:
    here = World(tmp_path, asked)
    for arguments in (
        {"pattern": "(?=a)", "mode": "re2"}, {"pattern": "(", "mode": "re2"}, {"since_s": AT + 1, "until_s": AT}, {"since_s": 0},
        {"lines_max": 1001}, {"mode": "perl"}, {"pattern": "x" * 257}, {"until_s": AT + 86_401},
    ):  # fmt: skip
        with pytest.raises(BadRequest):
            here.ask("lines.search", **arguments)
        grantable = set(arguments) & {"pattern", "since_s", "until_s"} and "lines_max" not in arguments
        if grantable and len(str(arguments.get("pattern", ""))) < 256:
            request = here.asked.request("logs.lines.search", CHECKOUT, {**WINDOW, **arguments})
            with pytest.raises(BadRequest):
                asyncio.run(here.adapter.plan(request, here.asked.catalog.action("logs.lines.search")))
    with pytest.raises(NotFound):
        here.ask("lines.search", Resource(type="logs", id="other", env="prod"))


def test_a_target_can_be_named_with_its_environment(tmp_path: Path, asked: Any) -> None:
    for env in ("prod", "staging"):
        (tmp_path / env).write_text(stamped(AT, env))
    here = World(tmp_path, asked, files={f"{env}/checkout": (str(tmp_path / env),) for env in ("prod", "staging")})
    for env in ("prod", "staging"):
        (line,) = here.ask("lines.search", Resource(type="logs", id="checkout", env=env)).value["lines"]
        assert line["text"].endswith(env)
    with pytest.raises(NotFound):
        here.ask("lines.search", Resource(type="logs", id="checkout", env="dev"))


def test_a_file_that_is_missing_or_no_file_fails_by_name(tmp_path: Path, asked: Any) -> None:
    here = World(tmp_path, asked)
    here.log.unlink()
    with pytest.raises(UpstreamFailed, match=r"checkout.log cannot be read"):
        here.ask("lines.search")
    os.mkfifo(here.log)
    with pytest.raises(UpstreamFailed, match="not a plain file"):
        here.ask("lines.search")
    with pytest.raises(BadRequest):
        LogsConnector(LogsSettings(name="logs", files={"a": ("relative.log",)}))


def test_a_read_that_takes_too_long_is_ended(tmp_path: Path, asked: Any) -> None:
    here = World(tmp_path, asked, timeout_seconds=0.0)
    here.log.write_text(stamped(AT, "x"))
    with pytest.raises(UpstreamFailed) as caught:
        here.ask("lines.search")
    assert (caught.value.error_code, caught.value.sent) == ("upstream.timeout", False)
    stop = threading.Event()
    stop.set()
    assert log_files.scan([here.log], since_s=0, until_s=2**40, bytes_max=1000, stop=stop).lines == []


def test_another_kind_of_source_is_bounded_by_the_connector(tmp_path: Path, asked: Any) -> None:
    """What a log store would be: it may give more than was asked for."""

    class Store:
        asked: list[LogQuery] = []  # noqa: RUF012

        async def lines(self, query: LogQuery) -> LogPage:
            self.asked.append(query)
            lines = [parsed_line(stamped(AT + n, f"n={n} keep={n % 2}").strip()) for n in range(3000)]
            return LogPage([line for line in lines if line], 12345, ["shard 2 did not answer"])

        async def aclose(self) -> None:
            pass

    here = World(tmp_path, asked)
    here.adapter = LogsConnector(LogsSettings(name="logs"), {"checkout": Store()})
    result = here.ask("lines.search", pattern="keep=1", lines_max=10)
    assert result.status is ResultStatus.TRUNCATED
    assert (result.value["matched"], len(result.value["lines"])) == (1500, 10)
    assert "shard 2" in result.detail
    assert (Store.asked[0].pattern, Store.asked[0].since_s) == ("keep=1", AT)


# -- templates --------------------------------------------------------------------------------------------------------------


def test_templates_are_counted_with_when_they_came_and_went(tmp_path: Path, asked: Any) -> None:
    here = World(tmp_path, asked)
    lines = [stamped(AT + n, f"INFO served request {n} in {n * 3} ms") for n in range(100)]
    lines += [stamped(AT + 100 + n, f"ERROR pool exhausted after {n} waiters") for n in range(5)]
    here.log.write_text("".join(lines))
    assert here.ask("templates.count").value == {
        "templates": [
            {"template": "INFO served request <*> in <*> ms", "count": 100, "first_s": AT, "last_s": AT + 99, "level": "info"},
            {"template": "ERROR pool exhausted after <*> waiters", "count": 5, "first_s": AT + 100, "last_s": AT + 104, "level": "error"},
        ]
    }  # fmt: skip
    some = here.ask("templates.count", templates_max=1)
    assert (some.status, len(some.value["templates"])) == (ResultStatus.TRUNCATED, 1)
    assert here.ask("templates.count", since_s=0, until_s=1).status is ResultStatus.EMPTY


def test_json_lines_are_mined_by_their_message(tmp_path: Path, asked: Any) -> None:
    here = World(tmp_path, asked)
    dice = random.Random(1)
    rows = [
        {"ts": AT + n, "level": "warn", "msg": f"slow query took {n} ms", "trace": str(dice.random())}
        for n in range(20)
    ]
    here.log.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    (only,) = here.ask("templates.count").value["templates"]
    assert (only["template"], only["count"], only["level"]) == ("slow query took <*> ms", 20, "warning")


def test_an_older_part_that_is_a_link_is_not_followed(tmp_path: Path, asked: Any) -> None:
    it = World(tmp_path, asked)
    (tmp_path / "elsewhere").write_text(stamped(AT + 1, "somebody else's secret"))
    (tmp_path / "checkout.log.1").symlink_to(tmp_path / "elsewhere")
    it.log.write_text(stamped(AT + 2, "its own line"))
    result = it.ask("lines.search")
    assert [line["text"].split(" ", 1)[1] for line in result.value["lines"]] == ["its own line"]
    assert result.status is ResultStatus.TRUNCATED, "what is left out is said"


def test_a_log_file_that_is_a_link_leads_nowhere_else(tmp_path: Path, asked: Any) -> None:
    it = World(tmp_path, asked)
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.write_text(stamped(AT + 1, "somebody else's secret"))
    it.log.unlink(missing_ok=True)
    it.log.symlink_to(elsewhere)
    with pytest.raises(UpstreamFailed, match="leads out of the folders"):
        it.ask("lines.search")
    it.log.unlink()
    (tmp_path / "today.log").write_text(stamped(AT + 2, "its own line"))
    it.log.symlink_to(tmp_path / "today.log")
    assert [line["text"].split(" ", 1)[1] for line in it.ask("lines.search").value["lines"]] == ["its own line"]


def test_a_link_may_lead_to_a_folder_that_the_settings_name(tmp_path: Path) -> None:
    log, other = tmp_path / "a" / "checkout.log", tmp_path / "b" / "real.log"
    for path in (log, other):
        path.parent.mkdir()
    other.write_text(stamped(AT, "elsewhere"))
    log.symlink_to(other)

    def read(*roots: Path) -> list[str]:
        found = log_files.scan(
            [log], since_s=AT - 9, until_s=AT + 9, bytes_max=4096, stop=threading.Event(), roots=roots
        )
        return [line.text for line in found.lines]

    with pytest.raises(UpstreamFailed):
        read()
    with pytest.raises(UpstreamFailed):
        read(tmp_path / "a")
    assert len(read(tmp_path / "b")) == 1
    # A folder that only begins like the root is another one.
    (tmp_path / "b").rename(tmp_path / "bb")
    log.unlink()
    log.symlink_to(tmp_path / "bb" / "real.log")
    with pytest.raises(UpstreamFailed):
        read(tmp_path / "b")
