"""The cases of a corpus through temporary gates: one incident a case, and no case knows the names of another."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wicketgate import Gate

from agents.replay import Replay
from broker.cli import recorded
from broker.connectors.replay_case import read_case
from tests.eval import holmesgpt, rds
from tests.eval.expected import Expected, judged, of_category, of_sentences


@dataclass(frozen=True, slots=True)
class Fixture:
    """One case of a corpus, not converted yet."""

    name: str
    folder: Path
    convert: Callable[[Path, Path], None]
    expected: Expected


def fixtures(corpus: str, root: Path) -> list[Fixture]:
    """The cases of ``holmesgpt`` or ``opensre`` below ``root``, the folder of all corpora."""
    if corpus == "holmesgpt":
        found = holmesgpt.fixtures(root / "holmesgpt")
        return [Fixture(holmesgpt.name(f), f, holmesgpt.convert, of_sentences(holmesgpt.expected(f))) for f in found]
    found = rds.fixtures(root / "opensre-rds")
    return [Fixture(rds.name(f), f, rds.convert, of_category(rds.expected(f))) for f in found]


def investigated(chosen: Sequence[Fixture]) -> list[dict[str, Any]]:
    """Each case's result with how it is judged, in the order given."""
    with tempfile.TemporaryDirectory(prefix="wicketgate-eval-") as made:
        root = Path(made)
        folders = {one.name: root / one.name for one in chosen}
        for one in chosen:
            one.convert(one.folder, folders[one.name])
        found = {name: result for part in apart(folders) for name, result in through_a_gate(part)}
    return [
        {
            "case": one.name,
            "kind": one.expected.kind,
            "judged": judged(one.expected, found[one.name]),
            **found[one.name],
        }
        for one in chosen
    ]


def apart(folders: Mapping[str, Path]) -> list[dict[str, Path]]:
    """Parts in which no two cases name one component: a gate has one topology, and what one case says of it is not so in another."""
    parts: list[tuple[set[str], dict[str, Path]]] = []
    for name, folder in folders.items():
        own = set(recorded.components([read_case(folder)]))
        room = next((one for one in parts if not one[0] & own), None)
        if room is None:
            parts.append(room := (set(), {}))
        room[0].update(own)
        room[1][name] = folder
    return [part for _, part in parts]


def through_a_gate(folders: Mapping[str, Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Investigate recorded cases (name -> folder) through one temporary gate; each with its result."""
    with tempfile.TemporaryDirectory(prefix="wicketgate-gate-") as made:
        gate = Path(made)
        recorded.prepare(gate, folders)
        with recorded.TemporaryGate(gate) as running:
            for name, folder in folders.items():
                yield name, asyncio.run(_one(running.address, name, folder))


async def _one(address: recorded.Address, name: str, folder: Path) -> dict[str, Any]:
    """One case as an incident, to its end. Tokens are short-lived: each case takes fresh ones."""
    case = read_case(folder)
    async with Gate(address.url, address.reporter(), patience=120) as reporter:
        incident = await reporter.incidents.report(recorded.alert_of(name, case))
    token = address.agent()
    async with Gate(address.url, token, patience=120) as gate:
        return await Replay(gate, address.url, token, incident).run()
