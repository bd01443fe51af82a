"""From results to figures: what was named, where it abstained, what it got wrong; and the curve of risk over coverage."""

from collections.abc import Mapping, Sequence
from typing import Any

OUTCOMES = ("named", "abstained", "wrong", "missed", "healthy")
SHEET: Mapping[str, str] = {
    "holmesgpt, answers of models judged by a model (their table of 2025-10-12, 105 tests)": "Sonnet-4 86 %, GPT-5 79 %, "
    "DeepSeek-3.1 79 %, GPT-4.1 71 %, GPT-4o 56 %; 0.11 to 0.25 dollars a test",
    "a crude set of rules without abstention, known kinds of fault": "right cause first 0.78, among three 0.80",
    "the same rules on another application, mostly unseen kinds": "right cause first 0.06, wrong 0.45, abstained 0.50",
    "weak models on incidents without a cause (RootCauseBench)": "convict in 86 to 90 %",
    "opensre, claims of the given responses, by its own validator": "64 of 65 true accepted, 1 of 65 falsified refused",
    "opensre, the same claims, where the number occurs in the evidence": "47 of 65 true accepted, 53 of 65 falsified refused",
}
"""Published or measured by others; not the same cases or the same judge, so beside ours and not against them."""


def figures(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts by outcome, over all and by kind of case."""
    return {"all": _counts(results)} | {
        kind: _counts([one for one in results if one["kind"] == kind])
        for kind in ("cause", "healthy", "unknown")
        if any(one["kind"] == kind for one in results)
    }


def _counts(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts = {name: sum(1 for one in results if one["judged"] == name) for name in OUTCOMES}
    return {
        "cases": len(results),
        **counts,
        "wrong_convictions_percent": round(100 * counts["wrong"] / len(results), 1) if results else 0,
        "model_calls": sum(int(one["model_calls"]) for one in results),
        "observations_read": sum(int(one["observations_read"]) for one in results),
    }


def curve(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Convictions from the most confident down: the share of cases decided, and of those the share that is wrong."""
    decided = [one for one in results if one["judged"] in {"named", "wrong"}]
    decided.sort(key=lambda one: (-float(one["ranked"][0]["confidence"]), one["case"]))
    points, wrong = [], 0
    for place, one in enumerate(decided, 1):
        wrong += one["judged"] == "wrong"
        confidence = one["ranked"][0]["confidence"]
        if place < len(decided) and decided[place]["ranked"][0]["confidence"] == confidence:
            continue
        points.append(
            {
                "confidence_at_least": confidence,
                "coverage": round(place / len(results), 3),
                "risk": round(wrong / place, 3),
            }
        )
    return points


def text(known: Mapping[str, Any]) -> str:
    """The whole result for people: each corpus's cases, counts and curve, and what others published beside it."""
    lines = [line for corpus, one in known["corpora"].items() for line in table(corpus, one["cases"])]
    if claims := known.get("claims"):
        lines += ["## opensre: claims in the given responses, by the gate's judge", ""]
        lines.append(f"true: {claims['true_accepted']} of {claims['true']} accepted")
        lines += [f"falsified: {claims['refused']} of {claims['falsehoods']} refused", ""]
    lines.append("beside it, published or measured by others, not on the same cases or by the same judge:")
    return "\n".join([*lines, *(f"- {what}: {said}" for what, said in known["beside"].items())]) + "\n"


def table(corpus: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """One corpus."""
    lines = [f"## {corpus}", ""]
    for one in results:
        leader = one["ranked"][0] if one["ranked"] else None
        said = f"{leader['fault']} at {leader['component']} ({leader['confidence']:.3f})" if leader else ""
        lines.append(f"{one['case']:50.50} {one['kind']:8} {one['verdict']:13} {one['judged']:10} {said}")
    lines += ["", f"{'':10} {'cases':>6}" + "".join(f"{name:>11}" for name in OUTCOMES) + f"{'wrong %':>9}"]
    for kind, counts in figures(results).items():
        row = "".join(f"{counts[name]:>11}" for name in OUTCOMES)
        lines.append(f"{kind:10} {counts['cases']:>6}{row}{counts['wrong_convictions_percent']:>9}")
    lines += ["", "confidence >=   coverage   risk"]
    lines += [f"{p['confidence_at_least']:>13.3f} {p['coverage']:>10.3f} {p['risk']:>6.3f}" for p in curve(results)]
    return [*lines, ""]
