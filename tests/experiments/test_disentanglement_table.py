"""The table against beta without training: what it does, and what it takes from finished runs."""

import csv

import jax
import numpy as np
import pytest
import run_folders

from experiments import disentanglement
from experiments.disentanglement import COLUMNS


@pytest.fixture
def table(monkeypatch, tmp_path):
    """Runs the script on folders of its own; pictures are not drawn."""
    blank = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(disentanglement, "traversals", lambda run: blank)

    def run(*typed):
        disentanglement.FLAGS.unparse_flags()
        folders = [f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
        return disentanglement.main(["disentanglement.py", *folders, *typed])

    return run


def scored(run, value):
    """A run folder with all metrics."""
    common = {"checkpoint": "last", "split": "test", "seed": 0, "step": 70}
    rows = [{"metric": name, "value": value, **common} for name in (*COLUMNS, "mig[hue]")]
    if value == 0.5:  # somebody asked for more than the table is of
        rows.append({"metric": "iw_bound", "value": value, **common})
    run_folders.scored(run, *rows)


def test_what_is_missing_is_trained_and_scored_and_the_rest_is_not(table, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(disentanglement.Run, "train", lambda run: done.append(run.workdir.name))
    monkeypatch.setattr(disentanglement.Run, "evaluate", lambda run, *flags: scored(run, 0.5))
    monkeypatch.setattr(disentanglement.Run, "has_checkpoints", True)
    monkeypatch.setattr(disentanglement.Run, "is_under_way", False)
    (tmp_path / "runs").mkdir()
    disentanglement.FLAGS(["x", f"--runs={tmp_path / 'runs'}"])
    scored(disentanglement.ROWS[2].runs()[0], 0.25)
    assert table("--rows=shapes/beta-1,shapes/beta-4", "--seeds=2") == 0
    assert done == ["shapes-beta-1-0", "shapes-beta-1-1", "shapes-beta-4-1"]
    results = tmp_path / "results"
    with (results / "disentanglement.csv").open() as file:
        records = list(csv.DictReader(file))
    assert [record["beta"] for record in records] == ["1", "2", "4", "8", "16"]
    assert [record["mig[hue]"] for record in records] == ["0.5 0.5", "", "0.25 0.5", "", ""]
    # Of 0.25 and 0.5 the mean is 0.375, the deviation 0.25 / sqrt 2.
    text = (results / "disentanglement.md").read_text()
    assert "| 4 | 0.375 ± 0.177 |" in text
    assert "| 8 | not run yet |" in text
    assert {path.name for path in results.glob("*.png")} == {
        "disentanglement.png",
        "disentanglement-1.png",
        "disentanglement-4.png",
    }


def test_of_runs_that_are_scores_alone_there_is_a_table(table, tmp_path, monkeypatch, capsys):
    """Trained somewhere else: config.json and evals.jsonl are enough, but for the pictures."""
    monkeypatch.setattr(disentanglement, "traversals", pytest.fail)
    disentanglement.FLAGS(["x", f"--runs={tmp_path / 'runs'}"])
    for row in disentanglement.ROWS:
        scored(row.runs()[0], 0.25)
    assert table("--seeds=1") == 0
    assert "| 16 | 0.250 |" in (tmp_path / "results" / "disentanglement.md").read_text()
    assert capsys.readouterr().out.count("has no checkpoint") == 5


def test_beta_is_the_weight_of_the_kl():
    disentanglement.FLAGS(["x"])
    model = disentanglement.ROWS[3].runs()[2].experiment.model
    assert float(model.kl_weight(jax.numpy.int32(100))) == 8


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--rows=shapes/beta-3", "did you mean"),
        ("--seeds=0", "seeds"),
    ],
)
def test_a_flag_that_is_mistyped_is_named(table, capsys, typed, said):
    assert table(typed) == 2
    assert said in capsys.readouterr().err
