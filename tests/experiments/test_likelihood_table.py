"""The table of likelihoods without training: what it plans, and what it says of what is missing."""

import csv
import json

import pytest

from experiments import likelihood, tables


@pytest.fixture
def table(monkeypatch, tmp_path):
    """Runs the script on folders of its own, where only Fashion-MNIST is there."""
    monkeypatch.setattr(tables, "is_prepared", lambda dataset, _: dataset == "fashion_mnist")

    def run(*typed):
        likelihood.FLAGS.unparse_flags()
        folders = [f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
        return likelihood.main(["likelihood.py", *folders, *typed])

    yield run
    likelihood.FLAGS.unparse_flags()
    for name in ("rows", "seeds", "draws", "dry_run", "runs", "results"):
        likelihood.FLAGS[name].unparse()
    likelihood.FLAGS.mark_as_parsed()


def scored(folder, model, prior, seed, nats, draws=5000):
    """A run folder with a bound, as `evaluate` writes it."""
    row = {
        "metric": "iw_bound",
        "value": -nats,
        "checkpoint": "best",
        "split": "test",
        "seed": 0,
        "step": 5000,
        "settings": f"{draws} draws",
        "config_hash": f"{seed}abcdefgh",
    }
    workdir = folder / "runs" / f"fashion_mnist-{model}-{prior}-{seed}"
    workdir.mkdir(parents=True)
    (workdir / "evals.jsonl").write_text(json.dumps(row) + "\n")


def test_rows_that_can_not_run_say_what_they_need(table, tmp_path, monkeypatch):
    for seed, nats in enumerate((228.7, 228.8, 229.2)):
        scored(tmp_path, "vae", "standard_normal", seed, nats)
    rows = "--rows=fashion_mnist/vae/standard_normal,mnist,omniglot"
    monkeypatch.setattr(likelihood.Run, "train", lambda run: pytest.fail(f"{run} is trained"))
    assert table(rows) == 0
    lines = (tmp_path / "results" / "likelihood.md").read_text().splitlines()
    (ours,) = [line for line in lines if "Fashion-MNIST | VAE, Gaussian" in line]
    # The mean of 228.7, 228.8 and 229.2 is 228.9; 0.2 nats are 1.33 deviations of 0.15.
    assert "| 228.70 ± 0.15 | 228.90 ± 0.26 | 3 | +0.20 | +1.33 |" in ours
    assert "`fashion_mnist-vae-standard_normal-0` 0abcdefg" in ours
    assert sum("needs mnist of TensorFlow Datasets" in line for line in lines) == 4
    assert sum("needs the 28 x 28 Omniglot" in line for line in lines) == 4
    with (tmp_path / "results" / "likelihood.csv").open() as file:
        records = list(csv.DictReader(file))
    assert [record["dataset"] for record in records] == ["fashion_mnist"] + ["mnist"] * 4 + [
        "omniglot"
    ] * 4
    assert records[0]["best_steps"] == "5000 5000 5000"


def test_what_is_missing_is_trained_and_scored_seed_by_seed(table, tmp_path, monkeypatch):
    done, text = [], lambda: (tmp_path / "results" / "likelihood.md").read_text()
    monkeypatch.setattr(likelihood.Run, "train", lambda run: done.append(run.workdir.name))

    def evaluate(run, *flags):
        assert {"--checkpoint=best", "--importance_samples=7"} <= set(flags)
        if len(done) == 2:  # the table of what is there until now
            assert "HVAE, two levels, VampPrior | 226.72 ± 0.08 | 227.00 | 1 |" in text()
            assert "VAE, VampPrior | 227.35 ± 0.05 | not run yet | 0 |" in text()
        _, model, prior, seed = run.workdir.name.split("-")
        scored(tmp_path, model, prior, seed, 227.0, 7)

    monkeypatch.setattr(likelihood.Run, "evaluate", evaluate)
    rows = "--rows=fashion_mnist/hvae/vamp,fashion_mnist/vae/vamp"
    assert table(rows, "--seeds=2", "--draws=7") == 0
    assert done == [f"fashion_mnist-{m}-vamp-{seed}" for seed in (0, 1) for m in ("hvae", "vae")]
    assert text().count("| 227.00 ± 0.00 | 2 |") == 2
    done.clear()
    assert table(rows, "--seeds=2", "--draws=7") == 0
    assert not done


def test_a_row_that_is_mistyped_is_named(table, capsys):
    assert table("--rows=fashion_mnist/vea") == 2
    assert "--rows: no such choice 'fashion_mnist/vea'" in capsys.readouterr().err
