"""Whose a run folder is."""

import json
import os
import pathlib
import threading

import pytest

from genjax.data.base import Facts
from genjax.errors import UserError
from genjax.run_folder import (
    check_facts,
    claim,
    code_version,
    config_hash,
    describe,
    locked,
    read_config,
)


def test_a_second_training_in_a_folder_is_refused_until_the_first_ends(tmp_path):
    folder = tmp_path / "run"
    with (
        locked(folder, wait=False),
        pytest.raises(UserError, match=f"is training in .*: process {os.getpid()} on "),
        locked(folder, wait=False),
    ):
        pass
    with locked(folder, wait=False):
        pass
    assert not folder.exists()


def test_a_folder_is_locked_by_whatever_name(tmp_path, monkeypatch):
    """And its lock lies beside it, not in it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    with locked(folder, wait=False):
        for name in (".", tmp_path / "link", tmp_path / "run" / ".." / "run"):
            with (
                pytest.raises(UserError, match="is training in"),
                locked(pathlib.Path(name), wait=False),
            ):
                pass
    assert not list(folder.iterdir())


def test_a_link_into_a_folder_of_others_has_its_lock_beside_it(tmp_path, monkeypatch):
    (tmp_path / "theirs" / "run").mkdir(parents=True)
    (tmp_path / "ours").mkdir()
    link = tmp_path / "ours" / "link"
    link.symlink_to(tmp_path / "theirs" / "run")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "theirs")
    with locked(link, wait=False):
        assert (tmp_path / "ours" / ".link.lock").exists()
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["run"]


def test_images_of_other_classes_or_of_another_number_are_noticed(tmp_path):
    facts = Facts((8, 8, 1), ("ape", "bee"), 10)
    check_facts(tmp_path, facts, counted=True)  # a run of an earlier version knows none
    describe(tmp_path, {"name": "vae"}, facts)
    check_facts(tmp_path, facts, counted=True)
    more = facts._replace(num_examples=11)
    check_facts(tmp_path, more)  # enough to be scored
    with pytest.raises(UserError, match=r"^--workdir: .*: num_examples \(10 there, 11 here\)"):
        check_facts(tmp_path, more, counted=True)
    with pytest.raises(UserError, match=r"^--workdir: .*: class_names \(\('ape', 'bee'\) there"):
        check_facts(tmp_path, facts._replace(class_names=("ant", "bee")))


def test_a_folder_whose_checkpoints_can_not_be_written_is_refused(tmp_path):
    config = {"name": "vae", "data": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    claim(tmp_path, config)
    (tmp_path / "checkpoints").touch()
    with pytest.raises(UserError, match=rf"^--runs: can not write to {tmp_path}/checkpoints: "):
        claim(tmp_path, config, "--runs")


def test_who_waits_gets_the_folder_when_it_is_free(tmp_path):
    order, inside = [], threading.Event()

    def second():
        inside.wait()
        with locked(tmp_path / "run", wait=True):
            order.append("second")

    waiting = threading.Thread(target=second)
    with locked(tmp_path / "run", wait=False):
        waiting.start()
        inside.set()
        waiting.join(0.2)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_a_package_outside_of_its_checkout_claims_no_revision(monkeypatch, tmp_path):
    """Installed into a folder of somebody's repository, it must not report that one's revision."""
    monkeypatch.setattr("genjax.run_folder.__file__", str(tmp_path / "genjax" / "run_folder.py"))
    assert "+" not in code_version.__wrapped__()


OLD = {
    "data": {"name": "mnist_sample"},
    "model": {"name": "vae", "latent_size": 2},
    "training": {"duration": 1, "rollbacks": 0},
    "encoder": {"name": "mlp", "widths": [2]},
    "decoder": {"name": "dcgan"},
    "likelihood": {"name": "bernoulli"},
}


def test_a_run_keeps_its_hash_when_configs_get_new_fields(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(OLD))
    new = read_config(tmp_path)
    assert new["prior"]["name"] == "standard_normal"
    added = {"rollbacks": 0, "patience": "0 epochs", "accumulate": 1}
    assert new["training"] == {"duration": 1, **added}
    assert new["data"]["binarize"] is False
    assert new["encoder"] == {**OLD["encoder"], "kernel_init": "lecun_normal"}
    assert new["decoder"] == OLD["decoder"]
    assert config_hash(new) == config_hash(OLD)
    assert new["model"]["output_bias"] == "zeros"
    # A tuple is what JSON has as a list.
    new["model"]["log_var_range"] = ()
    assert config_hash(new) == config_hash(OLD)


@pytest.mark.parametrize("name", ["hvae", "chain_vae"])
def test_a_run_of_two_levels_keeps_its_hash_too(tmp_path, name):
    old = {**OLD, "model": {"name": name, "draws": 1}, "prior": {"name": "vamp"}}
    (tmp_path / "config.json").write_text(json.dumps(old))
    new = read_config(tmp_path)
    assert new["model"] == {**old["model"], "output_bias": "zeros"}
    assert config_hash(new) == config_hash(old)


def test_a_new_field_that_says_something_new_is_hashed(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(OLD))
    for section, field, value in (
        ("prior", "name", "vamp"), ("data", "binarize", True), ("model", "draws", 5),
        ("model", "output_bias", "mean"),
        ("encoder", "kernel_init", "he_normal"),
    ):  # fmt: skip
        new = read_config(tmp_path)
        new[section][field] = value
        assert config_hash(new) != config_hash(OLD)


def test_a_run_is_the_same_wherever_its_images_lie(tmp_path):
    """But not of whichever folder of pictures."""
    placed = lambda **fields: {**OLD, "data": {"name": "tfds", **fields}}
    here = placed(data_dir="", manual_dir="")
    there = placed(data_dir="/data/tfds", manual_dir="/data/archives")
    assert config_hash(here) == config_hash(there)
    assert there["data"]["data_dir"] == "/data/tfds"
    assert config_hash(placed(path="a")) != config_hash(placed(path="b"))
    (tmp_path / "config.json").write_text(json.dumps(there))
    asked = {**here["data"], "binarize": False}
    claim(tmp_path, {**read_config(tmp_path), "data": asked})
    with pytest.raises(UserError, match=r"differs in data\.name"):
        claim(tmp_path, {**read_config(tmp_path), "data": {**asked, "name": "folder"}})
