"""``docs/attacks.md``, made of the tables."""

from tests.attacks.doors import DOORS
from tests.attacks.faults import ELSEWHERE, KINDS, RUN, STEPS, Cell, Held, Kind, Never, Run
from tests.attacks.reaching import WAYS
from tests.attacks.spellings import CLASSES

HEAD = """# Faults and attacks

Made of the tables in `tests/attacks` by `make docs`.

"""


def attacks_page() -> str:
    """The page."""
    return HEAD + "\n".join([*_faults(), "", *_reaching()]) + "\n"


def _faults() -> list[str]:
    """Kinds of fault, each with its cells."""
    cells = sum(len(cell.steps) for kind in KINDS for cell in kind.cells if isinstance(cell, Run))
    lines = [
        "## Faults",
        "",
        f"{len(KINDS)} kinds of fault x the {len(STEPS)} steps of an action's life. The table injects {len(RUN)} kinds itself, in {cells}",
        "cells, each with a real fault from the beginning of the step until the caller has its answer:",
        "`python -m tests.drill --campaign faults`; the cells nearest to a change of the answer run in the test suite. The action is",
        "an automatic write of an agent. *Refused*: nothing is done, and the refusal is on record under this code.",
        "",
        "Steps: " + ", ".join(f"{number} {step}" for number, step in enumerate(STEPS, 1)) + ".",
        "",
        "| fault | what breaks | from step | what the gate does |",
        "| --- | --- | --- | --- |",
    ]
    lines += [line for kind in RUN for line in _rows(kind)]
    lines += [
        "",
        "Injected by other tests:",
        "",
        "| fault | what breaks | from step | what the gate does |",
        "| --- | --- | --- | --- |",
    ]
    return lines + [line for kind in ELSEWHERE for line in _rows(kind)]


def _reaching() -> list[str]:
    """Spellings, ways and doors."""
    urls = sum(len(of.urls) for of in CLASSES)
    return [
        "## Addresses that the gate may not reach",
        "",
        f"{len(CLASSES)} classes of spelling ({urls} addresses) x {len(WAYS)} ways: {', '.join(WAYS)}. Listening sockets and a tap on every",
        "`connect` of the process notice: there is no connection off the list (`tests/attacks/test_reach.py`).",
        "",
        "| class | for example |",
        "| --- | --- |",
        *(f"| {of.name} | {_example(of.urls)} |" for of in CLASSES),
        "",
        f"Doors that are driven the same way, each by its own code: {', '.join(DOORS)}. No other part of the gate takes a client.",
    ]


def _example(urls: tuple[str, ...]) -> str:
    """The first that a page can show."""
    shown = next((url for url in urls if url.strip() and url.isprintable() and "|" not in url), "")
    return f"`{shown.replace('{p}', '8080')}`"


def _rows(kind: Kind) -> list[str]:
    """One row a cell; the kind stands in the first."""
    rows = []
    for number, cell in enumerate(kind.cells):
        name, what = (kind.name, kind.what) if number == 0 else ("", "")
        span = f"{cell.steps[0]}-{cell.steps[-1]}" if len(cell.steps) > 1 else str(cell.steps[0])
        rows.append(f"| {name} | {what} | {span} | {_said(cell)} |")
    return rows


def _said(cell: Cell) -> str:
    match cell:
        case Never():
            return f"cannot matter: {cell.why}"
        case Held():
            return f"{cell.says}: " + " ".join(f"`{test}`" for test in cell.tests)
    why = f"; {cell.why}" if cell.why else ""
    if cell.answer == "200 done":
        return f"done once, on record{why}"
    if cell.records and cell.records[0].startswith("refusal"):
        return f"refused: `{cell.answer}`{why}"
    if not cell.records:
        return f"`{cell.answer}`, nothing done, no record{why}"
    happened = "it happened" if cell.effects else "it did not happen"
    return f"`{cell.answer}`, {happened}; on record: {', '.join(cell.records)}{why}"
