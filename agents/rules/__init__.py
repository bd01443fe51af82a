"""The deterministic first tier: ``investigate(view) -> Finding``. What it promises stands in README.md."""

from agents.rules.finding import Candidate, Finding, Ruled
from agents.rules.investigate import investigate
from agents.rules.view import PLACES, Facts, Query, Seen, View

__all__ = ["PLACES", "Candidate", "Facts", "Finding", "Query", "Ruled", "Seen", "View", "investigate"]
