import jax
import numpy as np
import pytest

from genjax import schedule
from genjax.errors import UserError


def steps(duration, **overrides):
    sizes = {"examples_per_step": 64, "num_examples": 5000, "total": 2000} | overrides
    return schedule.num_steps("train.duration", duration, **sizes)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (500, 500),
        ("500", 500),
        ("500 steps", 500),
        ("1 step", 1),
        ("0", 0),
        ("6400 examples", 100),
        ("6401 examples", 101),  # a part of a step is a step
        ("1e6 examples", 15625),
        ("20 epochs", 1563),  # 20 x 5000 / 64 = 1562.5
        ("1 epoch", 79),
        ("0.5 epochs", 40),
        ("10 percent", 200),
        ("2.5%", 50),
        (" 3 EPOCHS ", 235),
    ],
)
def test_durations_in_steps(duration, expected):
    assert steps(duration) == expected


def test_whole_numbers_of_steps_do_not_round_up():
    # 1 / 49 is no binary fraction: 49 x (1 / 49) is a little less than 1, 3 x (1 / 3) and so on.
    for examples_per_step in range(1, 200):
        assert steps("7 epochs", examples_per_step=examples_per_step, num_examples=960) == -(
            -7 * 960 // examples_per_step
        )


@pytest.mark.parametrize("duration", ["-1 steps", "many epochs", "", "3 steps 4", "1.5.2 epochs"])
def test_what_is_no_duration_is_refused_by_the_fields_name(duration):
    with pytest.raises(UserError, match=r"train\.duration"):
        steps(duration)


def test_an_unknown_unit_is_named_with_the_nearest_one():
    with pytest.raises(UserError, match=r"train\.duration.*'epoch(s?)z'.*epochs"):
        steps("20 epochz")


def test_round_up():
    assert [schedule.round_up(n, 4) for n in (0, 1, 4, 5)] == [0, 4, 4, 8]


@pytest.mark.parametrize(
    ("name", "half", "last"),
    [
        ("constant", 1.0, 1.0),
        ("linear", 0.5, 0.0),
        ("cosine", 0.5, 0.0),
        ("exponential", 0.1, 0.01),
        ("powers_of_three", 0.1, 0.1),
    ],
)
def test_schedules_start_at_their_value_and_end_where_they_say(name, half, last):
    value = schedule.SCHEDULES[name](3.0, 100)
    np.testing.assert_allclose(
        [value(0), value(50), value(100)], [3.0, 3.0 * half, 3.0 * last], rtol=1e-5, atol=1e-6
    )


def test_warmup_rises_from_zero_and_then_follows_the_schedule_from_its_start():
    decay = schedule.linear(3.0, 100)
    warm = schedule.with_warmup(decay, 10)
    np.testing.assert_allclose([warm(0), warm(5), warm(10)], [0.0, 1.5, 3.0], rtol=1e-6)
    np.testing.assert_allclose(warm(60), decay(50), rtol=1e-6)
    assert schedule.with_warmup(decay, 0) is decay


def test_stages_are_powers_of_three_of_a_rate_that_falls_by_a_tenth_in_all():
    """Burda et al. 2016: 3^i passes at 0.001 * 10^(-i/7), i = 0 ... 7; 3280 in all."""
    value = schedule.powers_of_three(1e-3, 3280)
    passes = [i for i in range(8) for _ in range(3**i)]
    assert len(passes) == 3280
    expected = [1e-3 * 10 ** (-i / 7) for i in passes]
    np.testing.assert_allclose(jax.vmap(value)(np.arange(3280)), expected, rtol=1e-5)
