"""The files that set a table beside our runs: nothing is left out, nothing is made up."""

import csv
import dataclasses
import errno
import math
import os
import pathlib

import pytest
import run_folders
from run_folders import described

from experiments import tables
from experiments.tables import FLAGS, LaunchError, Published, Row, Run
from genjax.errors import UserError


def test_values_are_means_and_the_deviations_of_a_sample():
    """Of 1, 2 and 6 the mean is 3, the squares sum up to 4 + 1 + 9 over two."""
    assert tables.mean_and_deviation([1.0, 2.0, 6.0]) == f"3.00 ± {7**0.5:.2f}"
    assert tables.mean_and_deviation([1.5]) == "1.50"
    assert tables.mean_and_deviation([]) == ""
    # What is not finite is told, and stops nothing.
    assert tables.mean_and_deviation([1.0, math.nan]) == "nan ± nan"
    assert tables.mean_and_deviation([1.0, math.inf]) == "inf ± nan"


def test_a_data_set_that_can_not_be_prepared_says_what_it_needs(tmp_path, capsys):
    tables.FLAGS(["x", f"--data_dir={tmp_path}", f"--manual_dir={tmp_path / 'none'}"])
    needs = "needs mnist in --data_dir, its archives in --manual_dir, or the Internet"
    assert tables.lacks_images("mnist", prepare=False) == needs
    assert capsys.readouterr().err == ""
    for _ in range(2):
        assert tables.lacks_images("mnist", prepare=True) == needs
    # It is tried once.
    assert capsys.readouterr().err.count("data.manual_dir: no such folder") == 1
    assert tables.lacks_images("shapes", prepare=True) == ""


def test_a_data_set_that_was_prepared_is_there_for_all_who_asked_before(monkeypatch):
    tables.FLAGS(["x"])
    prepared = []
    monkeypatch.setattr(tables, "is_prepared", lambda *_: bool(prepared))
    monkeypatch.setattr(tables, "tfds_images", lambda **_: prepared.append(True))
    tables.lacks_images.cache_clear()
    assert tables.lacks_images("kmnist", prepare=False).startswith("needs kmnist")
    assert tables.lacks_images("kmnist", prepare=True) == ""
    assert tables.lacks_images("kmnist", prepare=False) == ""


def test_a_difference_is_counted_in_published_deviations():
    found = tables.difference([229.0, 229.2], Published(228.70, 0.2))
    assert found == (pytest.approx(0.4), pytest.approx(2.0))
    assert tables.difference([229.0, 229.2], Published(228.70)) == (pytest.approx(0.4),)


LINES = [["model", "nats"], ["A_b & c", "1.00 ± 0.10"], ["d", "needs 5%"]]


def test_a_table_is_written_for_people_papers_and_programs(tmp_path):
    path = tmp_path / "new" / "table"
    tables.write(path, "What it is.", LINES, [{"model": "A", "nats": 1.0}, {"model": "d"}])
    assert path.with_suffix(".md").read_text() == (
        "What it is.\n\n| model | nats |\n| --- | --- |\n| A_b & c | 1.00 ± 0.10 |\n"
        "| d | needs 5% |\n"
    )
    tex = path.with_suffix(".tex").read_text()
    assert r"A\_b \& c & 1.00 $\pm$ 0.10 \\" in tex
    assert r"d & needs 5\% \\" in tex
    with path.with_suffix(".csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {"model": "A", "nats": "1.0"},
            {"model": "d", "nats": ""},
        ]


def test_a_table_that_can_not_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "table"
    tables.write(path, "Old.", LINES, [{"model": "A"}])
    old = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fill_the_disk(file, text, **_):
        file.write_bytes(text[:9].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_text", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        tables.write(path, "New.", LINES, [{"model": "B"}])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == old


def test_a_figure_shows_what_is_published_where_there_is_nothing_of_ours(tmp_path):
    series = {"published": [Published(2.0, 0.1), Published(3.0)], "genjax": [Published(2.1), None]}
    drawn = []
    for _ in range(2):
        tables.panels_figure(tmp_path / "figure", ["a", "b"], {"nats": series})
        drawn.append([(tmp_path / f"figure{suffix}").read_bytes() for suffix in (".png", ".svg")])
    assert drawn[0][0].startswith(b"\x89PNG")
    assert drawn[0] == drawn[1]


# --- runs ----------------------------------------------------------------------------------------

ROW = Row("mnist_sample/a", "A", "vae", {"model.latent_size": 7})


@pytest.fixture
def runs(tmp_path):
    """The folder of runs, which --runs names."""
    FLAGS(["x", f"--runs={tmp_path}"])
    return tmp_path


def scored(run, step):
    """A run folder with a bound."""
    row = {"metric": "elbo", "checkpoint": "last", "split": "test", "seed": 0, "step": step}
    run_folders.scored(run, row)


def test_runs_are_found_by_their_folders_whatever_was_asked_for(runs):
    for end in ("a-10", "a-2", "a-b-0", "b-0", "a-02"):  # the last one is somebody's copy
        (runs / f"mnist_sample-{end}").mkdir()
    assert [run.workdir.name for run in ROW.found()] == ["mnist_sample-a-2", "mnist_sample-a-10"]
    assert [run.fields["seed"] for run in ROW.found()] == [2, 10]
    assert [run.workdir.name[-1] for run in ROW.runs()] == ["0", "1", "2"]


def test_scores_of_another_config_are_no_scores_of_this_one(runs):
    run, other = ROW.runs()[:2]
    scored(run, 10)
    assert [row["step"] for row in run.rows("last")] == [10]
    # Somebody has copied the wrong file.
    (run.workdir / "evals.jsonl").unlink()
    run_folders.scored(run, {"checkpoint": "last", "split": "test", "seed": 0, "config_hash": "b"})
    assert run.rows("last") == []
    assert run.config_hash != other.config_hash


def test_a_damaged_data_set_is_said_to_be_what_a_row_needs(tmp_path):
    folder = tmp_path / "kmnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{")
    tables.FLAGS(["x", f"--data_dir={tmp_path}"])
    tables.lacks_images.cache_clear()
    assert f"{tmp_path / 'kmnist'} is damaged; delete it" in tables.lacks_images("kmnist", False)


def test_a_folder_of_another_config_is_refused_but_one_with_images_elsewhere_is_not(runs):
    row = Row("fashion_mnist/a", "A", "vae", {"model.latent_size": 7})
    described(row.runs()[1], data_dir="/elsewhere", manual_dir="/there")
    assert [run.fields["seed"] for run in row.found()] == [1]
    other = Row(row.name, "A", "vae", {"model.latent_size": 8})
    with pytest.raises(UserError, match=r"model.latent_size \(7 there, 8 here\)"):
        other.found()


@pytest.mark.parametrize("text", ["{}", '{"data": 3}'])
def test_a_config_that_is_none_is_refused(text, runs):
    run = ROW.runs()[0]
    run.workdir.mkdir()
    (run.workdir / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"--runs: .* belongs to another config"):
        ROW.found()


def test_scores_of_nobody_knows_what_are_refused(runs):
    run = ROW.runs()[0]
    scored(run, 40)
    assert ROW.found() == [run]
    (run.workdir / "config.json").unlink()
    with pytest.raises(UserError, match=r"--runs: .*-a-0 .* has no config.json; choose another"):
        ROW.found()


def test_a_plan_refuses_what_the_run_would(runs):
    """Also of a row that was not asked for: the table is of all."""
    other = Row("mnist_sample/b", "B", "vae", {})
    FLAGS["rows"].value = ["mnist_sample/b"]
    described(dataclasses.replace(ROW.runs()[0], fields={"model.latent_size": 8}))
    with pytest.raises(UserError, match=r"model.latent_size \(8 there, 7 here\)"):
        tables.print_plan([ROW, other], pytest.fail)


def test_scores_are_those_of_the_checkpoint_that_is_there(runs, monkeypatch):
    run = ROW.runs()[0]
    scored(run, 40)
    scored(run, 80)
    monkeypatch.setattr(Run, "_steps", {"last": 80})
    assert [row["step"] for row in run.rows("last", metric="elbo")] == [80]
    assert run.rows("best") == []
    # Checkpoints that were taken away leave scores behind.
    monkeypatch.setattr(Run, "_steps", {})
    assert [row["step"] for row in run.rows("last")] == [40, 80]
    assert not run.is_under_way


def test_a_run_that_was_stopped_and_scored_by_hand_is_not_done(runs, monkeypatch):
    """20 of 40 epochs of 4,000 images, 128 in a batch, are 625 steps."""
    done = []
    scored(ROW.runs()[0], 625)
    monkeypatch.setattr(Run, "_steps", {"last": 625})

    def score(row, run):
        monkeypatch.setattr(Run, "_steps", {"last": 1250})
        scored(run, 1250)
        done.append(run.fields["seed"])

    FLAGS["seeds"].value = 1
    is_scored = lambda row, run: bool(run.rows("last"))
    for _ in range(2):
        tables.fill([ROW], is_scored, score, lambda: None)
    assert done == [0]


def test_what_is_under_way_is_not_in_the_table(runs, monkeypatch):
    """However it was scored: the caption speaks of runs that ended."""
    run = ROW.runs()[0]
    scored(run, 625)
    monkeypatch.setattr(Run, "_steps", {"last": 625})
    assert ROW.found() == []
    assert tables.missing(ROW) == "not run yet"
    monkeypatch.setattr(Run, "_steps", {"last": 1250})
    assert [each.workdir for each in ROW.found()] == [run.workdir]
    assert tables.missing(ROW) == "not scored so yet"


def test_a_damaged_checkpoint_is_for_training_to_set_aside(runs, capsys):
    run = ROW.runs()[0]
    described(run)
    metrics = run.workdir / "checkpoints" / "360" / "metrics" / "metrics"
    metrics.parent.mkdir(parents=True)
    metrics.touch()
    assert [each.workdir for each in ROW.found()] == [run.workdir]
    assert not ROW.runs()[0].has_checkpoints
    assert tables.missing(ROW) == "not run yet"
    # One that is whole tells how far it is; 625 steps are half of them.
    (metrics.parents[2] / "625").mkdir()
    assert ROW.runs()[0].is_under_way
    assert ROW.found() == []
    (metrics.parents[2] / "625").rmdir()
    trained = []
    FLAGS["seeds"].value = 1

    def score(row, run):
        trained.append(run.workdir)
        scored(run, 9)

    is_scored = lambda row, run: bool(run.rows("last"))
    tables.fill([ROW], is_scored, score, lambda: None)
    assert trained == [run.workdir]
    # However many look.
    assert capsys.readouterr().err.count("360: is damaged") == 1


def test_of_a_run_with_its_images_elsewhere_there_is_a_table(runs, monkeypatch):
    """It can not be told whether it is under way, and no data set is prepared to tell it."""

    class Lacking(Row):
        def lacks(self, prepare=False):
            return "needs mnist"

    row = Lacking("mnist/a", "A", "vae", {})
    run = row.runs()[0]
    scored(run, 625)
    monkeypatch.setattr(Run, "_steps", {"last": 625})
    monkeypatch.setattr(Run, "experiment", property(pytest.fail))
    assert [each.workdir for each in row.found()] == [run.workdir]


def test_a_run_that_fails_keeps_no_other_from_being_run(runs, capsys):
    rows = [ROW, Row("shapes/b", "B", "beta_vae", {}), Row("shapes/c", "C", "beta_vae", {})]
    FLAGS["seeds"].value = 1
    tried, written = [], []

    def score(row, run):
        tried.append(row.name)
        if row is not rows[1]:
            raise LaunchError(2 if row is ROW else 137)
        scored(run, 9)

    is_scored = lambda row, run: bool(run.rows("last"))
    with pytest.raises(LaunchError) as error:
        tables.fill(rows, is_scored, score, lambda: written.append(1))
    assert error.value.code == 2
    assert tried == ["mnist_sample/a", "shapes/b", "shapes/c"]
    assert written == [1, 1]
    assert f"warning: {runs / 'shapes-c-0'} is left as it is" in capsys.readouterr().err
    # Where all fail there is no table, and the reason is theirs.
    (runs / "shapes-b-0" / "evals.jsonl").unlink()
    with pytest.raises(LaunchError):
        tables.fill([ROW], is_scored, score, lambda: written.append(1))
    assert written == [1, 1]


def test_what_was_not_asked_for_is_not_run_and_stays_in_the_table(runs):
    rows = [ROW, Row("shapes/b", "B", "beta_vae", {}), Row("shapes/c", "C", "beta_vae", {})]
    FLAGS["rows"].value = ["shapes/b"]
    FLAGS["seeds"].value = 2
    scored(ROW.runs()[1], 9)
    done, written = [], []
    is_scored = lambda row, run: bool(run.rows("last"))

    def score(row, run):
        done.append(run.workdir.name)
        scored(run, 9)

    def write():
        written.append([sum(is_scored(row, run) for run in row.found()) for row in rows])

    tables.fill(rows, is_scored, score, write)
    assert done == ["shapes-b-0", "shapes-b-1"]
    assert written == [[1, 0, 0], [1, 1, 0], [1, 2, 0]]
    assert tables.missing(rows[2]) == "not run yet"


def test_where_nothing_can_be_run_nothing_is_written(runs):
    class Lacking(Row):
        def lacks(self, prepare=False):
            return f"needs {self.dataset}"

    rows = [Lacking("mnist/a", "A", "vae", {}), Lacking("cifar10/b", "B", "vae", {})]
    with pytest.raises(UserError, match="--rows: nothing to be run here: needs mnist; needs cif"):
        tables.fill(rows, lambda *_: True, pytest.fail, pytest.fail)
    FLAGS["rows"].value = ["mnist"]
    scored(rows[1].runs()[2], 9)
    written = []
    tables.fill(rows, lambda *_: True, pytest.fail, lambda: written.append(1))
    assert written == [1]
    # Whether it was asked for or not.
    assert [tables.missing(row) for row in rows] == ["needs mnist", "needs cifar10"]


def test_a_home_is_the_same_for_the_table_and_for_launch_py(runs, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = []
    typed = ["x.py", "--runs=~/runs", "--results=~/results"]
    FLAGS.unparse_flags()
    assert tables.main(typed, "", pytest.fail, lambda: found.extend(ROW.runs())) == 0
    assert {run.workdir.parent for run in found} == {tmp_path / "runs"}
    assert pathlib.Path(os.path.expanduser("~/results")) == pathlib.Path(FLAGS.results)
