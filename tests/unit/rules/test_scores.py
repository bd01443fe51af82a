"""The robust scorer: a sentinel against changes of its behaviour, on series of which the truth is known."""

import pytest

from agents.rules.scores import OFF, score
from tests.unit.rules.views import BEGIN, STEP, noise


@pytest.mark.parametrize("seed", range(40))
def test_noise_alone_has_no_onset(seed: int) -> None:
    how = score(noise(seed, level=100, spread=5))
    assert how is not None
    assert how.onset is None
    assert how.unsigned < OFF


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("factor", [2.0, 5.0, 0.2])
def test_a_step_is_found_where_it_is_with_its_sign(seed: int, factor: float) -> None:
    points = noise(seed, level=100, spread=5)
    points = [(at, value * factor if place >= 40 else value) for place, (at, value) in enumerate(points)]
    how = score(points)
    assert how is not None
    assert how.onset == BEGIN + 40 * STEP
    assert (how.signed > OFF) is (factor > 1)
    assert (how.signed < -OFF) is (factor < 1)


@pytest.mark.parametrize("seed", range(20))
def test_what_came_back_is_recovered_and_not_off_at_the_end(seed: int) -> None:
    points = noise(seed, level=100, spread=5)
    how = score([(at, value * 4 if 30 <= place < 40 else value) for place, (at, value) in enumerate(points)])
    assert how is not None
    assert how.onset is not None
    assert how.recovered


def test_one_wild_point_is_no_onset() -> None:
    points = noise(1, level=100, spread=5)
    points[45] = (points[45][0], 10_000.0)
    how = score(points)
    assert how is not None
    assert how.onset is None


def test_a_level_of_zero_that_stays_zero_scores_nothing() -> None:
    how = score([(BEGIN + place, 0.0) for place in range(30)])
    assert how is not None
    assert how.unsigned == 0


def test_few_points_have_no_score() -> None:
    assert score(noise(1, level=1, spread=0.1, points=5)) is None


def test_a_drop_elsewhere_does_not_outweigh_the_rise() -> None:
    up = score([(at, value * 3 if p >= 40 else value) for p, (at, value) in enumerate(noise(3, level=10, spread=1))])
    down = score([(at, 0.0 if p >= 40 else value) for p, (at, value) in enumerate(noise(4, level=10, spread=0.1))])
    assert up is not None
    assert down is not None
    assert up.signed > 0 > down.signed
