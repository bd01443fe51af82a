"""Confidence in a cause, computed from what code found: never a number that a model gives.

A logistic model over counted features, its weights data beside this file (``confidence.json``; ``tests/eval`` holds the
script that fits them and the calibration report). Every weight has the sign that its feature must have, so that more
evidence never lowers the figure; the loader refuses others. Decimal arithmetic: the same on every machine.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cache
from pathlib import Path

from broker.evidence.diagnosis import DIAGNOSED, Weighed
from broker.evidence.verdicts import specificity

_ARITHMETIC = Context(prec=28)
_FOR = ("verified", "sources", "signals", "specificity", "rivals_out", "track")
_AGAINST = ("refuted", "unverifiable", "missing")
FEATURES = (*_FOR, *_AGAINST)


@dataclass(frozen=True, slots=True)
class Weights:
    """The model: ``by_feature`` and ``intercept`` in log-odds, ``caps`` bound the counts."""

    intercept: Decimal
    by_feature: Mapping[str, Decimal]
    caps: Mapping[str, Decimal]
    inconclusive_max_milli: int


@cache
def weights() -> Weights:
    """The weights that ship with the gate; raises ``ValueError`` for a sign that would punish evidence."""
    return read((Path(__file__).parent / "confidence.json").read_text(encoding="utf-8"))


def read(text: str) -> Weights:
    """Weights from their JSON."""
    found = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    by_feature = {name: Decimal(found["weights"][name]) for name in FEATURES}
    wrong = [name for name in FEATURES if (by_feature[name] < 0) == (name in _FOR) and by_feature[name] != 0]
    if wrong:
        raise ValueError(f"confidence weights of the wrong sign: {', '.join(wrong)}")
    return Weights(found["intercept"], by_feature, found["caps"], int(found["inconclusive_max_milli"]))


def features(weighed: Weighed, track_milli: int | None) -> dict[str, Decimal]:
    """What is counted. ``track_milli`` is the share of past diagnoses of this fault that held; None where there are none.

    ``track`` is centred: a fault that was always right counts 1, always wrong -1, and no record 0.
    """
    support = weighed.support
    sharp = sum(specificity(one.claim) for one in support)
    mean = _ARITHMETIC.divide(Decimal(sharp), Decimal(len(support))) if support else Decimal(0)
    track = Decimal(0) if track_milli is None else _ARITHMETIC.divide(Decimal(track_milli - 500), Decimal(500))
    return {
        "verified": Decimal(weighed.verified),
        "sources": Decimal(weighed.sources),
        "signals": Decimal(weighed.signals),
        "specificity": mean,
        "rivals_out": Decimal(weighed.rivals_out),
        "track": track,
        "refuted": Decimal(weighed.refuted),
        "unverifiable": Decimal(weighed.unverifiable),
        "missing": Decimal(len(weighed.missing)),
    }


def confidence_milli(weighed: Weighed, track_milli: int | None = None, model: Weights | None = None) -> int:
    """0 to 1000; nothing verified is 0, an inconclusive verdict stays under its bound."""
    if not weighed.verified:
        return 0
    chosen = model or weights()
    logit = chosen.intercept
    for name, count in features(weighed, track_milli).items():
        bounded = min(count, chosen.caps.get(name, count))
        logit = _ARITHMETIC.add(logit, _ARITHMETIC.multiply(bounded, chosen.by_feature[name]))
    odds = _ARITHMETIC.exp(_ARITHMETIC.minus(max(min(logit, Decimal(30)), Decimal(-30))))
    share = _ARITHMETIC.divide(Decimal(1000), _ARITHMETIC.add(Decimal(1), odds))
    milli = int(share.to_integral_value(context=_ARITHMETIC))
    return milli if weighed.verdict == DIAGNOSED else min(milli, chosen.inconclusive_max_milli)
