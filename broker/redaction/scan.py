"""One scan over everything: which anchors occur, and where they end.

Backends behind one protocol: vectorscan (the ``hyperscan`` wheel), RE2 (``google-re2``) where that wheel does not
exist, and ``re`` as the reference in tests. Text is scanned as one byte a character (``encode("ascii", "replace")``),
so a byte offset is a character offset; anchors are ASCII, and the finders read the real text.
"""

import re
import threading
from collections.abc import Sequence
from typing import Any, Final, Protocol

from broker.redaction.rules import ALL, Anchor

TRIGGERS: Final = (
    Anchor(r"%[0-9A-Fa-f]{2}"),
    Anchor(r"\\[ux][0-9a-fA-F]{2}|\\[\"\\/bfnrt]|&(?:#[0-9xX]|amp|lt;|gt;|quot|apos|commat|period)"),
    Anchor(r"[A-Za-z0-9+/_\-]{16}[^A-Za-z0-9+/_\-]"),
    Anchor(r"[A-Z0-9]_[0-9A-HJKMNP-TV-Z]{2}|\[(?:SECRET|UNSCANNED):"),
)
"""Signs that a text needs another reading: percent escapes, other escapes, an encoded run, a token or mark."""
PERCENT, ESCAPE, RUN, TOKENS = range(4)

ANCHORS: Final[tuple[tuple[Anchor, int], ...]] = tuple(
    [(anchor, -1 - index) for index, anchor in enumerate(TRIGGERS)]
    + [(anchor, index) for index, rule in enumerate(ALL) for anchor in rule.anchors]
)
"""Every anchor with its owner: rule index, or ``-1 - trigger``."""


class ScanFailed(Exception):
    """The engine failed on this text: it is withheld."""


Hits = list[tuple[int, int]]
"""``(owner, end offset)`` of each anchor found."""


class Scanner(Protocol):
    """One thread's scanner."""

    def scan(self, text: str) -> Hits:
        """All hits of all anchors in ``text``; order is of no meaning."""


def to_bytes(text: str) -> bytes:
    """One byte a character, with a line end behind so that a run at the very end is seen to end."""
    return (text + "\n").encode("ascii", "replace")


class VectorScanner:
    """vectorscan in block mode; compiled once a process, loaded (0.03 ms) once a thread."""

    _serialised: bytes | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        """Load the database for this thread; ``ImportError`` where the wheel is missing."""
        import hyperscan

        with VectorScanner._lock:
            if VectorScanner._serialised is None:
                VectorScanner._serialised = hyperscan.dumpb(_compiled())
        database = hyperscan.loadb(VectorScanner._serialised, hyperscan.HS_MODE_BLOCK)
        database.scratch = hyperscan.Scratch(database)
        self._scan = database.scan
        self._error = hyperscan.error

    def scan(self, text: str) -> Hits:
        """All hits; ``ScanFailed`` when the engine fails."""
        hits: Hits = []
        add = hits.append
        owners = _OWNERS

        def seen(pattern: int, _start: int, end: int, _flags: int, _context: object) -> None:
            add((owners[pattern], end))

        try:
            self._scan(to_bytes(text), match_event_handler=seen)
        except self._error as error:
            raise ScanFailed(str(error)) from error
        return hits


def _compiled() -> Any:
    import hyperscan

    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    flags = [hyperscan.HS_FLAG_CASELESS if anchor.caseless else 0 for anchor, _ in ANCHORS]
    expressions = [anchor.expression.encode() for anchor, _ in ANCHORS]
    database.compile(expressions=expressions, ids=list(range(len(ANCHORS))), flags=flags)
    return database


_OWNERS: Final = [owner for _, owner in ANCHORS]


class Re2Scanner:
    """RE2: a Set tells which anchors occur, then each of those is located; linear time."""

    def __init__(self) -> None:
        """Compile the set; ``ImportError`` where the wheel is missing."""
        import re2

        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.never_capture = True
        self._set = re2.Set.SearchSet(options)
        self._each = []
        for anchor, _ in ANCHORS:
            expression = (f"(?i){anchor.expression}" if anchor.caseless else anchor.expression).encode()
            self._set.Add(expression)
            self._each.append(re2.compile(expression, options))
        self._set.Compile()

    def scan(self, text: str) -> Hits:
        """The hits of each anchor that occurs."""
        data = to_bytes(text)
        found = self._set.Match(data) or ()
        return [(_OWNERS[index], match.end()) for index in found for match in self._each[index].finditer(data)]


class ReferenceScanner:
    """``re``: slow, everywhere; the oracle of the other two in tests."""

    def __init__(self) -> None:
        """Compile each anchor."""
        self._each = [re.compile(anchor.expression, re.IGNORECASE if anchor.caseless else 0) for anchor, _ in ANCHORS]

    def scan(self, text: str) -> Hits:
        """The hits of each anchor, one after the other."""
        data = to_bytes(text).decode("ascii")
        return [
            (owner, match.end())
            for owner, pattern in zip(_OWNERS, self._each, strict=True)
            for match in pattern.finditer(data)
        ]


_BACKENDS: Final[Sequence[type[VectorScanner | Re2Scanner]]] = (VectorScanner, Re2Scanner)
_local = threading.local()


def scanner() -> Scanner:
    """This thread's scanner on the fastest backend that is installed."""
    found: Scanner | None = getattr(_local, "scanner", None)
    if found is None:
        found = _local.scanner = _best()
    return found


def _best() -> Scanner:
    for backend in _BACKENDS:
        try:
            return backend()
        except ImportError:
            continue
    return ReferenceScanner()
