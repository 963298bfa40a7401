"""Trials that are trained together are the same as each alone."""

import functools
import itertools
import json
import pathlib
import re
from collections.abc import Callable

import jax
import numpy as np
import pytest
from test_commands import last_state, rows

from configs import common
from genjax import commands, factory
from genjax.errors import UserError
from genjax.run_folder import config_hash, read_config
from genjax.sweep import together
from genjax.sweep.results import last_scores, trial_folder
from genjax.sweep.space import parse
from genjax.training.parallel import Devices
from tests.small_config import get_config

SPACES = {
    "vae": {
        "model.kl_weight": common.grid(0.5, 2.0),
        "optimizer.learning_rate": common.grid(1e-3, 3e-3),
        "seed": common.seeds(2),
    },
    "gan": {
        "optimizer.generator.learning_rate": common.grid(1e-2, 1e-1),
        "optimizer.discriminator.b1": common.grid(0.5),
        "model.ema_decay": common.grid(0.9),
    },
}


def config_of(model: str) -> dict:
    config = get_config(model)
    config.evaluation.num_samples = 0
    if model == "gan":
        # A bias before batch norm has no gradient, and Adam makes steps of what rounding leaves.
        config.optimizer.generator.name = config.optimizer.discriminator.name = "sgd"
    config.checkpoint.best_metric = "elbo" if model == "vae" else ""
    return config.to_dict()


def trials_of(model: str, space: dict | None = None) -> list:
    config = config_of(model)
    return parse(common.sweep(space or SPACES[model], "elbo", "max"), config).trials(config)


def trained(group, workdir: pathlib.Path, asked=lambda: False) -> list:
    evaluators = group.experiment.evaluators("validation", [])
    folder = lambda trial: trial_folder(workdir, trial)
    outcomes = together.train(group, folder, evaluators, asked, lambda steps: None)
    return sorted(outcomes, key=lambda each: each.trial.name)


@pytest.fixture
def stacked(monkeypatch):
    """As on an accelerator: stacks of two trials, on two devices where there are more."""
    lanes = lambda num: (jax.local_devices()[: -(-num // 2)], 2)
    monkeypatch.setattr(together, "_lanes", lanes)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Callable[[dict], pathlib.Path]:
    """The run folder of a config, trained by the command on one device."""
    folder = tmp_path_factory.mktemp("alone")

    def train(config: dict) -> pathlib.Path:
        workdir = folder / config_hash(config)[:8]
        if not workdir.exists():
            with pytest.MonkeyPatch.context() as patch:
                one = functools.partial(Devices, devices=tuple(jax.local_devices()[:1]))
                patch.setattr(factory, "Devices", one)
                commands.train(json.loads(json.dumps(config)), workdir)
        return workdir

    return train


@pytest.mark.parametrize(("model", "how"), [("vae", "one by one"), ("gan", "stacked")])
def test_a_trial_is_what_it_is_alone(model, how, alone, tmp_path, request):
    if how == "stacked":
        request.getfixturevalue("stacked")
    (group,) = together.groups(trials_of(model), factory.build)
    assert set(group.inputs) == set(SPACES[model])
    outcomes = trained(group, tmp_path)
    assert [each.state for each in outcomes] == ["finished"] * len(group.trials)
    for trial in (group.trials[0], group.trials[-1]):
        here, there = trial_folder(tmp_path, trial), alone(trial.config)
        assert read_config(here) == read_config(there)
        ours, theirs = last_state(here), last_state(there)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
        jax.tree.map(close, ours, theirs)
        ours, theirs = (rows(each / "metrics.jsonl") for each in (here, there))
        assert [list(row) for row in ours] == [list(row) for row in theirs]
        for ours_, theirs_ in zip(ours, theirs, strict=True):
            for name, value in theirs_.items():
                close(ours_[name], value, err_msg=name)


def test_trials_are_grouped_by_what_no_step_can_take():
    space = {
        "model.latent_size": common.grid(2, 3),
        "model.kl_weight": common.grid(0.5, 1.0),
        "training.batch_size": common.grid(16),
    }
    groups = together.groups(trials_of("vae", space), factory.build)
    assert [group.inputs for group in groups] == [("model.kl_weight",)] * 2
    assert [[trial.name for trial in group.trials] for group in groups] == [
        ["0000", "0001"],
        ["0002", "0003"],
    ]
    assert [group.experiment.model.latent_size for group in groups] == [2, 3]


def test_trials_of_which_no_two_have_a_program_are_refused():
    space = {"model.kl_weight": common.grid(1.0), "encoder.widths": common.grid((8,), (16,))}
    with pytest.raises(UserError, match=r"space.encoder.widths: .* choose --engine=ray"):
        together.groups(trials_of("vae", space), factory.build)


def test_durations_divide_the_trials_however_they_are_written():
    space = {
        "optimizer.warmup": common.grid(0, 4),
        "optimizer.learning_rate": common.grid(1e-3, 2e-3),
    }
    groups = together.groups(trials_of("vae", space), factory.build)
    assert [len(group.trials) for group in groups] == [2, 2]
    assert {group.inputs for group in groups} == {("optimizer.learning_rate",)}


def test_what_a_field_refuses_when_it_is_unknown_is_no_input(monkeypatch):
    """Tests check types, which refuse a duration that is no number before the field does."""
    (group,) = together.groups(trials_of("vae"), factory.build)
    assert group.can_be_traced()

    def refuse(group, values):
        raise UserError("optimizer.warmup: is no duration")

    monkeypatch.setattr(together.Group, "init", refuse)
    assert not group.can_be_traced()


def test_an_error_of_one_trial_stops_the_others(tmp_path, monkeypatch):
    """They are saved, and are not trained to their end before it is told."""
    monkeypatch.setattr(together, "_lanes", lambda num: (2 * jax.local_devices()[:1], 1))
    space = {"optimizer.learning_rate": common.grid(*(1e-3 * n for n in range(1, 13)))}
    (group,) = together.groups(trials_of("vae", space), factory.build)

    def folder(trial):
        if trial is group.trials[0]:
            raise UserError("no such folder")
        return trial_folder(tmp_path, trial)

    with pytest.raises(UserError, match="no such folder"):
        list(together.train(group, folder, [], lambda: False, lambda steps: None))
    begun = [trial for trial in group.trials[1:] if trial_folder(tmp_path, trial).exists()]
    assert len(begun) < 11


def test_a_trial_that_fails_is_told_and_ends_no_other(tmp_path, stacked):
    space = {"optimizer.learning_rate": common.grid(1e-3, 1e30, 2e-3)}
    (group,) = together.groups(trials_of("vae", space), factory.build)
    good, bad, other = trained(group, tmp_path)
    assert (good.state, bad.state, other.state) == ("finished", "failed", "finished")
    assert re.fullmatch(r"step \d+: \w+ is (nan|-?inf)", bad.reason)
    assert last_scores(trial_folder(tmp_path, other.trial))[0] == 24


def test_a_sweep_that_is_stopped_goes_on_as_if_it_had_not_been(tmp_path, stacked):
    space = {"optimizer.learning_rate": common.grid(1e-3, 2e-3), "seed": common.seeds(2)}
    (group,) = together.groups(trials_of("vae", space), factory.build)
    trained(group, tmp_path / "unbroken")
    blocks = itertools.count()
    assert len(trained(group, tmp_path / "broken", lambda: next(blocks) > 14)) < 4
    trained(group, tmp_path / "broken")
    for trial in group.trials:
        broken, unbroken = (trial_folder(tmp_path / each, trial) for each in ("broken", "unbroken"))
        jax.tree.map(np.testing.assert_array_equal, last_state(broken), last_state(unbroken))
        assert rows(broken / "metrics.jsonl") == rows(unbroken / "metrics.jsonl")


def test_what_has_failed_sends_no_other_trial_back_to_the_start(tmp_path, stacked, monkeypatch):
    space = {"optimizer.learning_rate": common.grid(1e-3, 1e30)}
    (group,) = together.groups(trials_of("vae", space), factory.build)
    trained(group, tmp_path / "unbroken")
    blocks, forgotten = itertools.count(), []
    stopped = trained(group, tmp_path / "broken", lambda: next(blocks) > 4)
    assert [each.state for each in stopped] == ["failed"]
    forget = together.Checkpoints.forget_after
    monkeypatch.setattr(
        together.Checkpoints,
        "forget_after",
        lambda self, step: forgotten.append(step) or forget(self, step),
    )
    good, bad = trained(group, tmp_path / "broken")
    assert (good.state, bad.state) == ("finished", "failed")
    assert 0 not in forgotten
    broken, unbroken = (trial_folder(tmp_path / n, good.trial) for n in ("broken", "unbroken"))
    jax.tree.map(np.testing.assert_array_equal, last_state(broken), last_state(unbroken))
    assert rows(broken / "metrics.jsonl") == rows(unbroken / "metrics.jsonl")


def test_chunks_that_no_batch_can_be_cut_into_are_named():
    space = {"training.accumulate": common.grid(3), "seed": common.seeds(2)}
    with pytest.raises(UserError, match=r"^training.batch_size: 1 devices in 3 chunks each"):
        together.groups(trials_of("vae", space), factory.build)


def test_a_stack_that_does_not_fit_is_split(monkeypatch):
    (group,) = together.groups(trials_of("vae"), factory.build)
    device = jax.local_devices()[0]
    two = together.Program(group, 2, device).memory
    assert together.Program(group, 4, device).memory > two
    monkeypatch.setattr(together, "_free", lambda device: two)
    assert together._programs(group, 8, [device])[device].size == 2
