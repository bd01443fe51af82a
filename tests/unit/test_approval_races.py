"""Approvals under races: threads on two replicas, on both databases."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from broker.approvals import Approvals, Proposal
from broker.clock import SeededClock
from broker.errors import BrokerError, Conflict
from broker.model import Principal
from broker.store import Store
from tests.desks import Desk
from tests.stores import KINDS, PATIENT, fresh_tenant, fresh_url, human, request_of


@pytest.fixture
def tenant() -> str:
    return fresh_tenant()


def together(calls: list[Callable[[], object]]) -> list[object]:
    """What each call returned or raised, all begun at once, each on a thread of its own."""
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return call()
        except BrokerError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


@pytest.fixture(params=KINDS)
def replicas(request: pytest.FixtureRequest, tmp_path: Path, clock: SeededClock, tenant: str) -> Iterator[list[Desk]]:
    url = fresh_url(request.param, tmp_path)
    stores = [Store(url, timeouts=PATIENT) for _ in range(2)]
    stores[0].migrate()
    yield [Desk(Approvals(store, clock), clock, tenant) for store in stores]
    for store in stores:
        store.close()


def test_of_eight_threads_on_two_replicas_one_executes(replicas: list[Desk]) -> None:
    for _ in range(5):
        made = replicas[0].approved()
        answers = together([partial(replicas[number % 2].begin, made) for number in range(8)])
        assert answers.count(None) == 1
        assert {answer.error_code for answer in answers if isinstance(answer, BrokerError)} == {"approval.used"}


def press(desk: Desk, made: Proposal, person: Principal) -> None:
    """Approve, then try to execute at once, as a console does."""
    with contextlib.suppress(Conflict):  # the quorum was met already
        desk.review(made, person)
    desk.begin(made)


def test_racing_reviews_execute_once_however_they_interleave(replicas: list[Desk]) -> None:
    """Eight people approve, each then tries to execute at once: the way N consoles do."""
    for _ in range(5):
        made = replicas[0].propose(quorum=3)
        people = [human(f"p{number}", "oncall", tenant=replicas[0].tenant) for number in range(8)]

        answers = together([partial(press, replicas[number % 2], made, people[number]) for number in range(8)])
        assert answers.count(None) == 1
        assert replicas[1].state(made) == "executing"
        found = asyncio.run(replicas[0].approvals.get(made.tenant, made.id))
        # Whoever answered before the third answer was on record has answered, too.
        assert len({one.reviewer for one in found.reviews}) >= 3


def test_a_denial_and_an_execution_at_once_never_both_happen(replicas: list[Desk]) -> None:
    for _ in range(8):
        made = replicas[0].approved()
        deny, begin = together(
            [partial(replicas[0].review, made, replicas[0].bob, "deny"), partial(replicas[1].begin, made)]
        )
        assert isinstance(deny, Conflict) != isinstance(begin, Conflict)
        assert replicas[0].state(made) == ("executing" if begin is None else "denied")


def test_a_narrowing_and_an_approval_at_once_never_approve_the_wide_request_under_the_narrow_digest(
    replicas: list[Desk],
) -> None:
    for _ in range(8):
        made = replicas[0].propose(quorum=2)
        wide, narrow = together(
            [
                partial(replicas[0].review, made, replicas[0].ann),
                partial(replicas[1].review, made, replicas[1].bob, narrow={"amount": 1}),
            ]
        )
        assert isinstance(narrow, Proposal)
        found = asyncio.run(replicas[0].approvals.get(made.tenant, made.id))
        assert found.state == "waiting"
        assert {(one.reviewer, one.digest) for one in found.reviews} <= {
            ("dev:ann", made.digest),
            ("dev:bob", narrow.digest),
        }
        assert isinstance(wide, (Proposal, Conflict))


def test_an_action_proposed_on_two_replicas_at_once_waits_once(replicas: list[Desk]) -> None:
    for _ in range(5):
        request = request_of(replicas[0].tenant, amount=1)
        answers = together([partial(replicas[n % 2].propose, request=request) for n in range(6)])
        assert len({answer.id for answer in answers if isinstance(answer, Proposal)}) == 1
        assert all(isinstance(answer, Proposal) for answer in answers)
