"""Log templates: which statement of the program wrote a line, found without knowing the program.

Drain (He, Zhu, Zheng, Lyu: "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017): lines of equal
length whose first words agree meet in a leaf; there a line joins the template that it resembles most, if enough words are
equal, and what differs becomes ``<*>``. Before that, numbers, addresses and identifiers are masked, so that most templates
are the same whichever lines were seen. Pure and deterministic in the order of the lines.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

ANY: Final = "<*>"
WORK_MAX: Final = 10_000_000
"""Words that one miner compares: lines that were written to be unlike each other must not hold a processor for minutes."""
_WORDS_MAX: Final = 100
_WORD_CHARACTERS_MAX: Final = 200
_HEX: Final = re.compile(r"\b(?=[0-9a-fA-F]*[0-9])(?:0[xX][0-9a-fA-F]+|[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,}){0,4})\b")
_ADDRESS: Final = re.compile(r"/?\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b")
_NUMBER: Final = re.compile(r"(?<![A-Za-z0-9_.])[-+]?\d+(?:[.,:]\d+)*|\d+")
_REPEATED: Final = re.compile(r"<\*>(?:[-+_.:,/]?<\*>)+")


@dataclass(slots=True)
class Template:
    """One statement as far as the lines tell: its words, how often, and when first and last (seconds)."""

    words: list[str]
    count: int = 0
    first_s: int = 0
    last_s: int = 0
    levels: dict[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The words, with ``<*>`` for what varies."""
        return " ".join(self.words)

    @property
    def level(self) -> str:
        """The level of most of its lines."""
        return max(sorted(self.levels), key=self.levels.__getitem__, default="")


class Miner:
    """Finds the templates of one stream of lines."""

    def __init__(
        self, *, similarity: float = 0.5, prefix_words: int = 2, branches_max: int = 200, templates_max: int = 2000
    ) -> None:
        """``similarity`` is the share of equal words that joins a line to a template; the rest bounds the tree."""
        self._similarity, self._prefix_words = similarity, prefix_words
        self._branches_max, self._templates_max = branches_max, templates_max
        self._leaves: dict[tuple[int, tuple[str, ...]], list[Template]] = {}
        self._branches: dict[tuple[int, tuple[str, ...]], set[str]] = {}
        self.templates: list[Template] = []
        self.left_out = 0
        """Lines of no known template after ``templates_max`` were found, or after the work was spent."""
        self._work_left = WORK_MAX

    def add(self, message: str, at_s: int, level: str) -> Template | None:
        """Count one line; its template, or None where no room for a new one was left."""
        words = masked_words(message)
        leaf = self._leaves.setdefault(self._path(words), [])
        self._work_left -= len(leaf) * len(words)
        if self._work_left < 0:
            self.left_out += 1
            return None
        template = self._closest(leaf, words)
        if template is None:
            if len(self.templates) >= self._templates_max:
                self.left_out += 1
                return None
            template = Template(words, first_s=at_s, last_s=at_s)
            leaf.append(template)
            self.templates.append(template)
        else:
            template.words = [_merged(mine, other) for mine, other in zip(template.words, words, strict=True)]
        template.count += 1
        template.first_s, template.last_s = min(template.first_s, at_s), max(template.last_s, at_s)
        template.levels[level] = template.levels.get(level, 0) + 1
        return template

    def _path(self, words: Sequence[str]) -> tuple[int, tuple[str, ...]]:
        """Length and first words; a word that varies, or one branch too many, is ``<*>``."""
        taken: tuple[str, ...] = ()
        for word in words[: self._prefix_words]:
            branches = self._branches.setdefault((len(words), taken), set())
            step = ANY if ANY in word else word.partition("=")[0]
            if step != ANY and step not in branches and len(branches) >= self._branches_max:
                step = ANY
            branches.add(step)
            taken = (*taken, step)
        return len(words), taken

    def _closest(self, leaf: Sequence[Template], words: Sequence[str]) -> Template | None:
        """The most similar template that is similar enough; of equals the one found first."""
        best, most = None, self._similarity
        for template in leaf:
            share = _alike(template.words, words)
            if share > most or (share == most and best is None):
                best, most = template, share
        return best


def masked_words(message: str) -> list[str]:
    """The words of a line with all that looks like a value masked; at most 100 words of 200 characters."""
    text = _NUMBER.sub(ANY, _HEX.sub(ANY, _ADDRESS.sub(ANY, message[: _WORDS_MAX * _WORD_CHARACTERS_MAX])))
    words = _listed_once(_REPEATED.sub(ANY, text.replace("_-<*>", "_<*>")).split())
    if len(words) > _WORDS_MAX:
        words = [*words[: _WORDS_MAX - 1], ANY]
    return [word if len(word) <= _WORD_CHARACTERS_MAX else ANY for word in words]


def _listed_once(words: list[str]) -> list[str]:
    """Three or more equal masked words in a row are a list of values: one of them says it, however long the list is."""
    kept: list[str] = []
    for word, run in groupby(words):
        length = len(list(run))
        kept += [word] if ANY in word and length > 2 else [word] * length
    return kept


def _alike(mine: Sequence[str], other: Sequence[str]) -> float:
    """Share of the words that are equal; ``key=…`` counts when the key is."""
    if not mine:
        return 1.0
    equal = sum(1 for a, b in zip(mine, other, strict=True) if a == b or _same_key(a, b))
    return equal / len(mine)


def _same_key(mine: str, other: str) -> bool:
    key, sign, _ = mine.partition("=")
    return bool(sign) and other.startswith(f"{key}=")


def _merged(mine: str, other: str) -> str:
    if mine == other:
        return mine
    return f"{mine.partition('=')[0]}={ANY}" if _same_key(mine, other) else ANY
