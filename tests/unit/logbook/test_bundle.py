"""Tables that no spreadsheet executes, whatever stands in a field."""

import csv
import io
from dataclasses import fields
from typing import Any

import pytest

from broker.logbook import bundle
from broker.logbook.lines import Line
from tests.parts import corpus

FORMULAS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =cmd|' /C calc'!A0",
    "\u00a0=1",
    "\ufeff=1",
    "\uff1d1+1",
    "\uff20x",
    "|x",
    '=HYPERLINK("http://x")',
    "\n=1",
)


def line_of(text: str) -> Line:
    """A line with ``text`` in every text field."""
    texts: dict[str, Any] = {one.name: text for one in fields(Line) if one.type in ("str", str)}
    return Line(**{**texts, "seq": 7, "at": 1767225600, "codes": (text,), "roles": (text,)})


def cells(text: str) -> list[str]:
    encoded = bundle.csv_line(line_of(text), lambda _: text, text).decode()
    (row,) = list(csv.reader(io.StringIO(encoded, newline="")))
    return row


def naughty() -> list[str]:
    try:
        path = corpus("naughty-strings") / "blns.txt"
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, pytest.skip.Exception):
        lines = []
    return [*FORMULAS, *(one for one in lines if one and not one.startswith("#")), 'a"b', "a,b", "a\r\nb", "\x00=1"]


def test_no_cell_of_text_begins_like_a_formula_and_every_text_is_read_back() -> None:
    for text in naughty():
        row = cells(text)
        assert len(row) == len(bundle.COLUMNS)
        for cell in row[2:]:
            bare = cell.lstrip(" \u00a0\ufeff\u200b")
            assert not bare.startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")), text
        told = row[bundle.COLUMNS.index("action")]
        assert told in {text.replace("\x00", "\ufffd"), "'" + text.replace("\x00", "\ufffd")}


def test_numbers_and_times_stay_what_they_are() -> None:
    row = cells("x")
    assert row[:2] == ["7", "2026-01-01T00:00:00Z"]
