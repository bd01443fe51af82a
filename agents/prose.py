"""What a model writes, as far as it may be shown: figures come through claims that the gate verified, never through prose."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

LENGTH_MAX = 600
_FIGURE = re.compile(r"(?<![\w{-])[+-]?\d[\d.,:/]*(?:\s?%|[^\W\d_]{1,4}\b)?")
_PLACE = re.compile(r"\{(\d{1,2})\}")


def figureless(text: str) -> str:
    """``text`` with every free-standing figure replaced by ``…``; places such as ``{2}`` and names with digits stay."""
    kept = " ".join(text.split())[:LENGTH_MAX]
    return _FIGURE.sub("…", kept)


def shown(text: str, claims: Sequence[Mapping[str, Any]]) -> str:
    """``text`` with ``{n}`` replaced by what the gate found for claim n; a claim that is not verified shows ``…``."""

    def found(place: re.Match[str]) -> str:
        number = int(place[1])
        judged = claims[number] if number < len(claims) else {}
        return str(judged.get("actual", "…"))[:80] if judged.get("verdict") == "verified" else "…"

    return _PLACE.sub(found, figureless(text))
