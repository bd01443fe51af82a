"""Selectors as text to their tree; the grammar stands in README.md.

Bounded by size, stages and depth; patterns are RE2 (linear time). Everything that is not a selector raises
``Unverifiable`` with ``selector.syntax`` or ``selector.size``; nothing else is raised.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import re2

from broker.evidence.quantities import Unverifiable, number_of

SELECTOR_MAX = 512
PATTERN_MAX = 256
STAGES_MAX = 8
DEPTH_MAX = 8
STEPS_MAX = 32

_TOKEN = re.compile(
    r"""\s*(?:(?P<pattern>/(?:[^/\\\n]|\\[^\n])*/)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?(?![A-Za-z_]))
    |(?P<name>[A-Za-z_\u00b5][A-Za-z0-9_-]*)
    |(?P<mark>==|!=|<=|>=|&&|\|\||[$.\[\]*?()|<>!~@,:%]))""",
    re.VERBOSE | re.ASCII,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t"}
COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")


@dataclass(frozen=True, slots=True)
class Name:
    """One member of objects."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """One element of arrays."""

    at: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Some elements of arrays."""

    start: int | None
    stop: int | None


@dataclass(frozen=True, slots=True)
class Each:
    """Every element."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled RE2 expression with at most one group."""

    text: str
    compiled: Any = field(compare=False)

    @property
    def groups(self) -> int:
        """0 or 1."""
        return int(self.compiled.groups)


@dataclass(frozen=True, slots=True)
class Condition:
    """``op`` is a comparison, or ``~`` with a pattern."""

    op: str
    operand: Any


@dataclass(frozen=True, slots=True)
class Test:
    """A relative path that exists, or whose node meets the condition."""

    __test__ = False
    path: tuple["Step", ...]
    condition: Condition | None


@dataclass(frozen=True, slots=True)
class Both:
    """All parts hold (``every``), or one does."""

    parts: tuple["Filter", ...]
    every: bool


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Filter"


Filter = Test | Both | Not


@dataclass(frozen=True, slots=True)
class Where:
    """The elements for which the filter holds."""

    filter: Filter


Step = Name | Index | Slice | Each | Where


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage with its arguments: patterns, conditions, paths, literals, unit names, in the order of the text."""

    name: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """``source`` is ``path``, ``text`` or ``lines``."""

    source: str
    path: tuple[Step, ...]
    pattern: Pattern | None
    stages: tuple[Stage, ...]


def pattern_of(text: str) -> Pattern:
    """Compile RE2 ``text``; ``selector.pattern`` for what RE2 refuses, ``selector.groups`` for more than one group."""
    if len(text) > PATTERN_MAX:
        raise Unverifiable("selector.size")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 4 << 20
    try:
        compiled = re2.compile(text, options)
    except (re2.error, UnicodeError):
        raise Unverifiable("selector.pattern") from None
    if compiled.groups > 1:
        raise Unverifiable("selector.groups")
    return Pattern(text, compiled)


@lru_cache(maxsize=512)
def parse(text: str) -> Selector:
    """The tree of ``text``; raises ``Unverifiable``."""
    if len(text) > SELECTOR_MAX:
        raise Unverifiable("selector.size")
    return _Reader(_tokens(text)).selector()


def _tokens(text: str) -> list[tuple[str, str]]:
    """Kind and text of each token."""
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise Unverifiable("selector.syntax")
        found.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    return found


def _unquoted(text: str) -> str:
    """The text between quotes, escapes resolved."""
    return _ESCAPED.sub(lambda m: _ESCAPES.get(m.group(1), m.group(1)), text[1:-1])


class _Reader:
    """A recursive descent over the tokens."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def selector(self) -> Selector:
        """The whole text."""
        path: tuple[Step, ...] = ()
        pattern = None
        if self._take("$"):
            source, path = "path", self._steps()
        elif self._word() == "text":
            source = "text"
            self._at += 1
        elif self._word() == "lines":
            source = "lines"
            self._at += 1
            self._need("(")
            pattern = self._pattern()
            self._need(")")
        else:
            raise Unverifiable("selector.syntax")
        stages: list[Stage] = []
        while self._take("|"):
            stages.append(self._stage())
        if self._at != len(self._tokens) or len(stages) > STAGES_MAX:
            raise Unverifiable("selector.syntax" if self._at != len(self._tokens) else "selector.size")
        return Selector(source, path, pattern, tuple(stages))

    # -- tokens -----------------------------------------------------------------------------------------------------

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, mark: str) -> bool:
        if self._peek() == ("mark", mark):
            self._at += 1
            return True
        return False

    def _need(self, mark: str) -> None:
        if not self._take(mark):
            raise Unverifiable("selector.syntax")

    def _word(self) -> str:
        kind, text = self._peek()
        return text if kind == "name" else ""

    def _next(self, kind: str) -> str:
        found, text = self._peek()
        if found != kind:
            raise Unverifiable("selector.syntax")
        self._at += 1
        return text

    def _pattern(self) -> Pattern:
        return pattern_of(self._next("pattern")[1:-1].replace("\\/", "/"))

    # -- paths ------------------------------------------------------------------------------------------------------

    def _steps(self) -> tuple[Step, ...]:
        """The steps after ``$``, ``@`` or a first name."""
        steps: list[Step] = []
        while True:
            if self._take("."):
                steps.append(Each() if self._take("*") else Name(self._next("name")))
            elif self._take("["):
                steps.append(self._bracket())
            else:
                return tuple(steps)
            if len(steps) > STEPS_MAX:
                raise Unverifiable("selector.size")

    def _bracket(self) -> Step:
        """What stands in brackets, after the opening one."""
        step: Step
        kind, text = self._peek()
        if self._take("*"):
            step = Each()
        elif self._take("?"):
            step = Where(self._either(0))
        elif kind == "text":
            self._at += 1
            step = Name(_unquoted(text))
        else:
            step = self._position()
        self._need("]")
        return step

    def _position(self) -> Index | Slice:
        """An index or a slice."""
        start = self._integer() if self._peek()[0] == "number" else None
        if self._take(":"):
            return Slice(start, self._integer() if self._peek()[0] == "number" else None)
        if start is None:
            raise Unverifiable("selector.syntax")
        return Index(start)

    def _integer(self) -> int:
        text = self._next("number")
        if "." in text or len(text) > 9:
            raise Unverifiable("selector.syntax")
        return int(text)

    def _relative(self) -> tuple[Step, ...]:
        """A path below an element: ``@…``, ``name…``, ``['name']…``, ``[0]…`` or ``.name…``."""
        if self._take("@"):
            return self._steps()
        if self._word():
            first: Step = Name(self._next("name"))
            return (first, *self._steps())
        if self._peek() in (("mark", "["), ("mark", ".")):
            return self._steps()
        raise Unverifiable("selector.syntax")

    # -- filters ----------------------------------------------------------------------------------------------------

    def _either(self, depth: int) -> Filter:
        parts = [self._all(depth)]
        while self._take("||"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts), every=False)

    def _all(self, depth: int) -> Filter:
        parts = [self._test(depth)]
        while self._take("&&"):
            parts.append(self._test(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts), every=True)

    def _test(self, depth: int) -> Filter:
        if depth >= DEPTH_MAX:
            raise Unverifiable("selector.size")
        if self._take("!"):
            return Not(self._test(depth + 1))
        if self._take("("):
            inside = self._either(depth + 1)
            self._need(")")
            return inside
        path = self._relative()
        if any(isinstance(step, Where) for step in path):
            raise Unverifiable("selector.syntax")
        return Test(path, self._condition())

    def _condition(self) -> Condition | None:
        """A comparison with a literal, a pattern, or nothing."""
        kind, text = self._peek()
        if kind == "mark" and text == "~":
            self._at += 1
            return Condition("~", self._pattern())
        if kind == "mark" and text in COMPARISONS:
            self._at += 1
            return Condition(text, self._literal())
        return None

    def _literal(self) -> Any:
        """A JSON scalar; numbers are decimals."""
        kind, text = self._peek()
        self._at += 1
        if kind == "text":
            return _unquoted(text)
        if kind == "number":
            number = number_of(text)
            if number is None:
                raise Unverifiable("number.range")
            return number
        words: dict[str, bool | None] = {"true": True, "false": False, "null": None}
        if kind == "name" and text in words:
            return words[text]
        raise Unverifiable("selector.syntax")

    # -- stages -----------------------------------------------------------------------------------------------------

    def _stage(self) -> Stage:
        """A named stage, or ``[…]``."""
        if self._take("["):
            position = self._position()
            self._need("]")
            return Stage("slice", (position,))
        name = self._next("name")
        shape = STAGES.get(name)
        if shape is None:
            raise Unverifiable("selector.stage")
        if not self._take("("):
            if () not in shape:
                raise Unverifiable("selector.arguments")
            return Stage(name)
        arguments: list[Any] = []
        kinds: list[str] = []
        while not self._take(")"):
            if arguments:
                self._need(",")
            wanted = {rest[len(kinds)] for rest in shape if len(rest) > len(kinds)}
            if len(wanted) != 1:
                raise Unverifiable("selector.arguments")
            kind = wanted.pop()
            arguments.append(self._argument(kind))
            kinds.append(kind)
        if tuple(kinds) not in shape:
            raise Unverifiable("selector.arguments")
        return Stage(name, tuple(arguments))

    def _argument(self, kind: str) -> Any:
        """One argument of a stage."""
        readers: dict[str, Callable[[], Any]] = {
            "pattern": self._pattern,
            "condition": self._demanded,
            "path": self._relative,
            "instant": self._literal,
            "number": self._literal,
            "unit": self._unit,
        }
        found = readers[kind]()
        if kind == "number" and not isinstance(found, Decimal):
            raise Unverifiable("selector.arguments")
        return found

    def _demanded(self) -> Condition:
        found = self._condition()
        if found is None:
            raise Unverifiable("selector.syntax")
        return found

    def _unit(self) -> str:
        return "%" if self._take("%") else self._next("name")


STAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "lines": (("pattern",),),
    "where": (("condition",),),
    "series": (("path", "path"),),
    "since": (("instant",),),
    "until": (("instant",),),
    "as": (("unit",), ("unit", "unit")),
    "time": ((), ("unit",)),
    "floor": (("number",),),
    "onset": ((), ("condition",)),
    "grew": (("number",),),
    "shrank": (("number",),),
    **dict.fromkeys(
        [
            "times",
            "values",
            "number",
            "lower",
            "length",
            "distinct",
            "count",
            "sum",
            "min",
            "max",
            "avg",
            "median",
            "p50",
            "p90",
            "p95",
            "p99",
            "first",
            "last",
            "delta",
            "ratio",
            "rate",
            "at_first",
            "at_last",
            "at_max",
            "at_min",
            "span",
            "rising",
            "falling",
        ],
        ((),),
    ),
}
"""Stage -> the argument lists that it takes."""
