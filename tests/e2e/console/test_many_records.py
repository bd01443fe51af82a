"""However long the log, a page asks the same of the database, and by index; what a million cost, `make bench-console` says."""

import asyncio
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.bench.console import pages
from tests.bench.filled import Each, acts, beside, put
from tests.sim.statements import Asked, Watch, plan, watched
from tests.sim.visitor import SAME_ORIGIN, signed_in
from tests.sim.world import World, world

FEW, MANY = 1_500, 4_500
EACH = Each(approval=20, incident=10, session=10, export=20)
STATEMENTS_MAX = 55
"""Of the page that asks the most; an act of a person is about twenty, whatever it reads."""
SMALL = re.compile(
    r"authenticator|kill_switch|breakglass|login|party|log_party|log_tail|policy_\w+|alembic_version|audit_log|audit_probe"
)
"""As large as there are people (those who came in the last days, too), agents and bundles, not as the log is long."""
OPEN = {"incident_event_unrecorded", "audit_open"}
"""Index, or table, of what still waits for the gate itself."""
MADE = re.compile(r"json_each|anon_\d+|named|records|streams|keys|\(subquery-\d+\)|CONSTANT")
"""What a statement made itself, out of steps of its own."""
STEP = re.compile(r"(SCAN|SEARCH) (\S+)(?:.* USING (?:COVERING )?INDEX (\S+))?(?:.* \((.*)\))?")


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, tuple[Asked, Asked]]]]:
    """What each list page asked of a gate with few records, and of the same with more."""
    folder = tmp_path_factory.mktemp("many")

    async def main(watch: Watch) -> dict[str, tuple[Asked, Asked]]:
        async with world(folder) as it:
            await it.gate.background.aclose()  # so that nobody asks but the pages
            made = acts(MANY)
            await put(it, islice(made, FEW // 2))
            await beside(it, range(FEW), EACH)
            few = await _looked(it, watch)
            await put(it, made)
            await beside(it, range(FEW, MANY), EACH)
            many = await _looked(it, watch)
            return {name: (few[name], many[name]) for name in few}

    with watched() as watch:
        yield folder / "data", asyncio.run(main(watch))


async def _looked(it: World, watch: Watch) -> dict[str, Asked]:
    found = {}
    person = await signed_in(it, "security")
    for name, (path, query) in pages().items():
        for _ in range(2):  # the second time everything is made that is made once
            with watch.listening() as asked:
                answer = await person.client.get(path, params=query, headers=SAME_ORIGIN)
            assert answer.status_code == 200, (name, answer.text)
            it.clock.advance(5)
        found[name] = asked
    await person.client.aclose()
    it.clock.advance(120)
    return found


def test_a_page_asks_no_more_of_a_longer_log(looked_at: tuple[Path, dict[str, tuple[Asked, Asked]]]) -> None:
    for name, (few, many) in looked_at[1].items():
        assert len(many.statements) <= STATEMENTS_MAX, (name, len(many.statements))
        # A page of a search looks at 4,000 records at most, which is more than there were at first.
        more = 3 if name.startswith("audit: ") else 1.3
        assert many.steps <= few.steps * more + 2_000, (name, few.steps, many.steps)


def test_a_page_reads_what_grows_with_the_log_by_index(looked_at: tuple[Path, dict[str, tuple[Asked, Asked]]]) -> None:
    data, looks = looked_at
    asked = {one: name for name, (_, many) in looks.items() for one in many.statements}
    used = set()
    for (path, statement), name in asked.items():
        lines = plan(path, statement, attached=[data / "gate-counters.db"] if path.name == "gate.db" else [])
        in_order = "LIMIT" in statement and not any("B-TREE FOR ORDER BY" in line for line in lines)
        for how, what, index, terms in (step.groups() for line in lines if (step := STEP.match(line))):
            used.add(index)
            if MADE.fullmatch(what) or SMALL.fullmatch(what) or {what, index} & OPEN:
                continue
            some = terms not in {None, "tenant=?", "log=?"} or in_order
            assert how == "SEARCH", f"{name} reads all of {what}:\n{statement}"
            assert some, f"{name} reads all of {what} that is a tenant's:\n{statement}"
    assert {"log_line_acts", "log_line_who", "incident_newest", "proposal_page", "audit_entry_seq"} <= used
