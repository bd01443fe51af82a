"""What a gated action may cost, as ratios of CPU within one run: noise of the machine meets both sides alike.

The bounds are about twice what is measured on a busy machine of two shared cores (README.md), so they catch what
doubles: a client per call, a sync that nobody asked for, a statement made anew each time. Figures are ``make bench``'s.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bench.meters import Variant, middle
from tests.bench.side_by_side import Bench

FLOORS = 600
WRITE_TO_READ = 2.0
ENGINE_TO_GATE = 1.5


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Variant]]:
    """The floor and both gated actions on the embedded engine, after a few short rounds."""
    folder: Path = tmp_path_factory.mktemp("bench")

    async def run(bench: Bench) -> None:
        await bench.prepare()
        await bench.rounds(4, alone=10, at_once=96)
        await bench.aclose()

    with ExitStack() as stack:
        bench = Bench(folder, stack, engines=("regorus",))
        asyncio.run(run(bench))
        yield {variant.name: variant for variant in bench.variants}


def cpu(variant: Variant) -> float:
    """Microseconds an action, sixteen at once: the middle round."""
    return middle(variant.crowded_cpu)


@pytest.mark.parametrize("action", ["read", "write"])
def test_a_gated_action_costs_at_most_so_many_floors(measured: dict[str, Variant], action: str) -> None:
    floor, gated = cpu(measured["raw httptools floor"]), cpu(measured[f"gated {action}, regorus"])
    assert gated <= FLOORS * floor, f"{gated:.0f} us of CPU, floor {floor:.1f} us"


def test_a_write_costs_little_more_than_a_read(measured: dict[str, Variant]) -> None:
    read, write = cpu(measured["gated read, regorus"]), cpu(measured["gated write, regorus"])
    assert write <= WRITE_TO_READ * read, f"write {write:.0f} us, read {read:.0f} us of CPU"


def test_the_engine_costs_less_than_the_rest_of_the_gate(measured: dict[str, Variant]) -> None:
    gated = measured["gated read, regorus"]
    assert middle(gated.crowded_engine) <= ENGINE_TO_GATE * cpu(gated)
