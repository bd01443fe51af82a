"""The console says what happens where nobody answers, and takes an acknowledgement."""

from pathlib import Path
from typing import Any

import pytest

from broker.answers import box_body
from broker.cli.act import _ends
from broker.web.console.pages.timebox import BoxView, Ending
from tests.sim.boxed import BOX_S, Boxed, play
from tests.sim.visitor import signed_in

INBOX = "/console/inbox"


def test_inbox_and_page_say_whether_it_runs_by_itself_or_expires(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        ann = await signed_in(it.it, "oncall")
        path = f"{INBOX}/{it.body['approval']['id']}"
        page = (await ann.open(path)).text
        assert "only if somebody acknowledges that before: one of oncall" in page
        assert "Runs by itself" not in (await ann.open(INBOX)).text
        fields = {"digest": it.body["approval"]["digest"], "key": "ack"}
        done = await ann.send(f"{path}/acknowledgements", fields)
        assert (done.status_code, done.headers["location"]) == (303, path)
        page = (await ann.open(path)).text
        assert "Runs by itself" in page
        assert "it runs by itself unless somebody denies it before" in page
        assert "You have acknowledged it." in page
        assert "Runs by itself" in (await ann.open(INBOX)).text
        again = await ann.send(f"{path}/acknowledgements", {**fields, "key": "again"})
        assert again.status_code == 409
        assert "approval.reviewed" in again.text
        await it.later(BOX_S)
        assert await it.state() == "done"
        assert "approved by a rule, not by a person" in (await ann.open(path)).text
        await ann.client.aclose()

    play(tmp_path, scene)


def test_without_a_box_the_page_says_that_it_expires(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        ann = await signed_in(it.it, "oncall")
        page = (await ann.open(f"{INBOX}/{it.body['approval']['id']}")).text
        assert "It waits for a person until it expires." in page
        assert "Runs by itself" not in page
        await ann.client.aclose()

    play(tmp_path, scene, change=lambda said: said.update(enabled=False))


BOX = {
    "state": "open",
    "ends": "expires",
    "rule": "r",
    "seconds": 300,
    "roles": ["oncall"],
    "told_at": 0,
    "due": 0,
    "acknowledged_by": "",
    "acknowledged_at": 0,
    "code": "",
}


@pytest.mark.parametrize(
    ("state", "box", "says", "word"),
    [
        ("waiting", {}, "not everybody has been told", "Expires"),
        ("waiting", {"told_at": 1, "due": 301}, "only if somebody acknowledges", "Expires"),
        ("waiting", {"told_at": 1, "due": 301, "ends": "runs"}, "unless somebody denies it", "Runs by itself"),
        ("waiting", {"state": "void", "code": "timebox.hours"}, "timebox.hours", "Expires"),
        ("denied", {"told_at": 1, "due": 301}, "A person answered", "Expires"),
        ("done", {"state": "counted"}, "by a rule, not by a person", "Expires"),
    ],
)
def test_each_state_of_a_box_is_said_in_words(state: str, box: dict[str, Any], says: str, word: str) -> None:
    value = {"state": state, "expires_at": 900, "time_box": {**BOX, **box}}
    view = BoxView.of(value, "dev:ann")
    assert view is not None
    assert says in view.text
    assert Ending.of(value).word == word
    assert _ends(value["time_box"], 900).startswith("runs by itself" if word.startswith("Runs") else "expires at")  # type: ignore[arg-type]


def test_a_request_without_a_box_has_none_in_its_answer(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        found = await it.it.gate.approvals.get("default", it.body["approval"]["id"])
        assert box_body(found) is None
        listed = await it.it.client.get("/v1/approvals", headers=await it.it.person("oncall"))
        assert [one["time_box"] for one in listed.json()["approvals"]] == [None]

    play(tmp_path, scene, change=lambda said: said.update(enabled=False))
