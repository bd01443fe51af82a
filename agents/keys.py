"""The idempotency key of everything that a step asks for, from what is asked.

A worker keeps nothing: killed anywhere, the same step runs again from its start and asks for the same, and the gate answers
what it answered before. So a key never depends on the worker, on its fence, on a clock or on chance.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

DIGITS = 24
"""Hexadecimal digits of the hash: 96 bits."""


def key_of(incident: str, step: int, request: Mapping[str, Any]) -> str:
    """``<incident>.<step>.<hash of the request's canonical JSON>``; at most 128 characters, as the gate takes them."""
    text = json.dumps(request, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{incident}.{step}.{hashlib.sha256(text.encode()).hexdigest()[:DIGITS]}"
