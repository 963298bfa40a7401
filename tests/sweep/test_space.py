"""A sweep file becomes trials: which ones can be counted by hand, and errors say where they are."""

import numpy as np
import pytest

from configs import article_vae, common
from genjax.errors import UserError
from genjax.sweep.space import parse

CONFIG = article_vae.get_config().to_dict()


def sweep_of(space: dict, **overrides):
    return parse({**common.sweep(space, "elbo", "max"), **overrides}, CONFIG)


def parameters(space: dict, **overrides) -> list[dict]:
    return [trial.parameters for trial in sweep_of(space, **overrides).trials(CONFIG)]


def test_grid_and_seeds_are_crossed_with_the_last_field_fastest():
    space = {"model.kl_weight": common.grid(1, 2.0), "seed": common.seeds(3)}
    assert [tuple(each.values()) for each in parameters(space)] == [
        (1.0, 0),
        (1.0, 1),
        (1.0, 2),
        (2.0, 0),
        (2.0, 1),
        (2.0, 2),
    ]


def test_each_draw_is_tried_with_all_that_is_crossed():
    space = {"optimizer.learning_rate": common.log_uniform(1e-4, 1e-2), "seed": common.seeds(2)}
    found = parameters(space, num_samples=3)
    rates = [each["optimizer.learning_rate"] for each in found]
    assert len(found) == 6
    assert rates[0::2] == rates[1::2]
    assert len(set(rates)) == 3
    assert parameters(space, num_samples=5)[:6] == found  # a larger budget changes no trial


def test_a_larger_budget_renames_no_trial():
    space = {"optimizer.learning_rate": common.log_uniform(1e-4, 1e-2)}
    few, many = (sweep_of(space, num_samples=num).trials(CONFIG) for num in (9_999, 10_001))
    assert [trial.name for trial in many[:9_999]] == [trial.name for trial in few]
    assert many[-1].name == "10000"


def test_what_is_drawn_twice_is_tried_once():
    space = {"training.batch_size": common.choice(32, 64), "seed": common.seeds(2)}
    drawn = parameters(space, num_samples=50)
    assert len(drawn) == 4
    assert parameters(space, num_samples=90) == drawn


def test_draws_have_their_distributions():
    space = {
        "optimizer.learning_rate": common.log_uniform(1e-4, 1e-2),
        "optimizer.b1": common.uniform(0, 0.5),
        "training.batch_size": common.uniform(1, 4),
        "optimizer.name": common.choice("adam", "sgd"),
        "model.latent_size": common.log_uniform(1, 7),
    }
    drawn = parameters(space, num_samples=4000)
    assert len(drawn) == 4000
    column = lambda name: np.array([each[name] for each in drawn])
    # The standard error of a mean of 4,000 draws from U[0, 1) is 0.0046.
    assert np.log10(column("optimizer.learning_rate")).mean() == pytest.approx(-3, abs=4 * 0.0092)
    assert column("optimizer.b1").mean() == pytest.approx(0.25, abs=4 * 0.0023)
    assert np.bincount(column("training.batch_size"))[1:] == pytest.approx(1000, abs=4 * 27.4)
    assert (column("optimizer.name") == "adam").mean() == pytest.approx(0.5, abs=4 * 0.0079)
    # Of 1 to 7, log-uniform on [1, 8): as many below 2, from 2 to below 4, and from 4 on.
    sizes = column("model.latent_size")
    assert set(sizes) == set(range(1, 8))
    assert np.histogram(sizes, [1, 2, 4, 8])[0] == pytest.approx(4000 / 3, abs=4 * 29.8)
    correlation = np.corrcoef(column("optimizer.b1"), np.log(column("optimizer.learning_rate")))
    assert abs(correlation[0, 1]) < 4 / np.sqrt(4000)


def test_a_trial_is_the_config_with_its_values():
    (trial,) = sweep_of({"encoder.widths": common.grid((32, 16))}).trials(CONFIG)
    assert trial.config["encoder"] == {**CONFIG["encoder"], "widths": (32, 16)}
    assert {**trial.config, "encoder": CONFIG["encoder"]} == CONFIG


@pytest.mark.parametrize(
    ("space", "overrides", "says"),
    [
        ({}, {}, "space: is empty"),
        ({"model.kl_wieght": common.grid(1)}, {}, "did you mean 'kl_weight'"),
        ({"model": common.grid(1)}, {}, "space.model: is a section"),
        ({"model.kl_weight": common.grid()}, {}, "grid of no values"),
        ({"model.kl_weight": {"gird": (1,)}}, {}, "did you mean 'grid'"),
        ({"model.kl_weight": 2.0}, {}, "does not say how"),
        ({"model.kl_weight": common.grid("one")}, {}, "'one' is no value for a field that is 1.0"),
        ({"model.kl_weight": common.grid(-1)}, {}, "model.kl_weight: -1.0 is not"),
        ({"model.kl_weight": common.uniform(2, 1)}, {}, "the least and the greatest"),
        ({"model.kl_weight": common.log_uniform(0, 1)}, {}, "above 0"),
        ({"model.kl_weight": common.seeds(2)}, {}, "seeds are of the field 'seed'"),
        ({"seed": common.seeds(0)}, {}, "space.seed: 0 is not"),
        ({"seed": common.seeds(2)}, {"num_samples": 3}, "choose 1"),
        ({"seed": common.seeds(2)}, {"mode": "maximum"}, "mode: no such choice"),
        ({"seed": common.seeds(2)}, {"search": "optuna"}, "space.seed is not drawn"),
        ({"seed": common.seeds(2)}, {"resources": {"cpus": 1}}, "did you mean 'cpu'"),
        ({"seed": common.seeds(2)}, {"budget": 1}, "budget: no such field"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(space, overrides, says):
    with pytest.raises(UserError, match=says):
        sweep_of(space, **overrides).trials(CONFIG)
