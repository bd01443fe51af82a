"""Of the claims in given model responses the gate accepts the true ones, and refuses them once falsified."""

import pytest

from tests.eval.opensre.report import KINDS, Outcome, figures, measure
from tests.parts import corpus


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return measure(corpus("opensre-rds"))


def test_nearly_every_true_claim_is_accepted(outcome: Outcome) -> None:
    assert len(outcome.judged) == 79
    assert len(outcome.typed) >= 0.95 * len(outcome.judged)
    assert len(outcome.accepted(outcome.true)) >= 0.95 * len(outcome.true)


def test_claims_that_their_own_evidence_contradicts_are_refused(outcome: Outcome) -> None:
    assert outcome.false_as_given.keys() <= set(outcome.typed)
    assert outcome.accepted(list(outcome.false_as_given)) == []


@pytest.mark.parametrize("kind", [*KINDS, ""])
def test_claims_are_refused_once_a_number_a_time_a_name_or_a_sign_is_falsified(outcome: Outcome, kind: str) -> None:
    refused, total = outcome.refused(kind)
    assert total >= 30
    assert refused >= 0.99 * total


def test_a_figure_that_no_claim_binds_is_struck_from_the_prose(outcome: Outcome) -> None:
    blind = [one for one in outcome.falsified if not one.typed]
    assert blind
    assert [one.false.text for one in blind if one.shown] == []


def test_true_prose_keeps_the_figures_that_its_claims_back(outcome: Outcome) -> None:
    whole = [key for key in outcome.accepted(outcome.true) if not outcome.judged[key].reading.untyped()]
    kept = [key for key in whole if outcome.judged[key].shown == outcome.judged[key].reading.text]
    assert len(kept) >= len(whole) / 2


def test_the_results_name_no_folder(outcome: Outcome) -> None:
    assert "/" not in "".join(figures(outcome)["untyped"])
