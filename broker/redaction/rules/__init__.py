"""All rules, in one tuple: their order never changes a result (``resolution.py`` is a total order)."""

from typing import Final

from broker.redaction.rules import assign, phone, pii, secrets
from broker.redaction.rules.base import Anchor, Finder, Rule

ALL: Final[tuple[Rule, ...]] = (*pii.RULES, *phone.RULES, *secrets.RULES, *assign.RULES)

__all__ = ["ALL", "Anchor", "Finder", "Rule"]
