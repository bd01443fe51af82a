"""The table of faults: complete, named tests exist, and the cells nearest to a change of the answer go as written.

Every cell: ``python -m tests.drill --campaign faults``.
"""

from pathlib import Path

import pytest

from tests.attacks.breaking import FAULTS
from tests.attacks.campaign import violations
from tests.attacks.faults import KINDS, RUN, STEPS, Held, Kind, Never, Run, edges
from tests.test_docs import exists

LOG_AND_STORE = RUN[:7]
GATE = RUN[7:19]
TARGET = RUN[19:]


def test_every_kind_of_fault_at_every_step_is_run_held_or_reasoned() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 25
    for kind in KINDS:
        for step in range(1, len(STEPS) + 1):
            cell = kind.cell(step)
            assert not isinstance(cell, Never) or cell.why, f"{kind.name}, step {step}"
            assert not isinstance(cell, Held) or cell.tests, f"{kind.name}, step {step}"


def test_the_table_injects_at_least_25_kinds_itself_and_knows_how() -> None:
    assert len(RUN) >= 25
    assert {kind.name for kind in RUN} == set(FAULTS)
    assert all(any(isinstance(cell, Run) for cell in kind.cells) for kind in RUN)


def test_every_test_that_the_table_of_faults_names_exists() -> None:
    named = {name for kind in KINDS for cell in kind.cells if isinstance(cell, Held) for name in cell.tests}
    assert sorted(name for name in named if not exists(name)) == []


@pytest.mark.parametrize("kinds", [LOG_AND_STORE, GATE, TARGET], ids=["log and store", "gate", "target"])
def test_a_fault_at_a_step_is_refused_with_its_code_and_its_record_or_leaves_what_the_table_says(
    tmp_path: Path, kinds: tuple[Kind, ...]
) -> None:
    wanted = [
        (kind.name, step, cell) for kind in kinds for step in edges(kind) if isinstance(cell := kind.cell(step), Run)
    ]
    assert len(wanted) >= len(kinds)
    assert violations(tmp_path, wanted) == []
