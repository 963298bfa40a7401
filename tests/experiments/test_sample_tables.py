"""Tables of samples: published above ours, best beside last, nothing twice, nothing made up."""

import csv

import pytest
import run_folders

from experiments import sample_tables, tables
from experiments.sample_tables import Column, Row, Table
from experiments.tables import Published
from genjax.training.stopping import Stopped

ROWS = (
    Row("fashion_mnist/a", "A", "cgan", {}, {"FID": Published(26.5, 1.6)}),
    Row("fashion_mnist/b", "B", "gan", {}, labelled=False),
    Row("cifar10/c", "C", "sngan", {}, {"FID": Published(21.7)}, is_large=True),
)
COLUMNS = (
    Column("FID", "frechet_distance", "inception"),
    Column("distance", "frechet_distance"),
    Column("CAS, %", "cas", "none", 100, None, ("best",), of_labels=True),
)


@pytest.fixture
def table(monkeypatch, tmp_path):
    """Makes the table in folders of its own, where only Fashion-MNIST is there."""
    needs = {"fashion_mnist": "", "mnist_sample": ""}
    lacks = lambda dataset, prepare: needs.get(dataset, f"needs {dataset} in --data_dir")
    monkeypatch.setattr(tables, "lacks_images", lacks)

    def run(*typed):
        tables.FLAGS.unparse_flags()
        folders = [f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
        return Table("samples", "What it is.", ROWS, COLUMNS).main(["s.py", *folders, *typed], "")

    return run


def scored(run, metric, value, checkpoint, **fields):
    """Adds a value to those of a run."""
    row = {
        "metric": metric,
        "value": value,
        "checkpoint": checkpoint,
        "split": "test",
        "seed": 0,
        "extractor": "classifier",
        "n_fake": sample_tables.NUM_SAMPLES,
        **fields,
    }
    run_folders.scored(run, row)


def named(row):
    """The runs that were asked for, as a table names them."""
    return ", ".join(f"`{run.workdir.name}` {run.config_hash[:8]}" for run in row.runs())


@pytest.fixture
def done(monkeypatch):
    """What was trained and evaluated, by stand-ins: distances of 10, 12, ... and 20, 22, ..."""
    calls = []

    def train(run):
        calls.append(("train", run.workdir.name))
        for checkpoint, distance in (("best", 10), ("last", 20)):
            value = distance + 2 * run.fields["seed"]
            scored(run, "frechet_distance", value, checkpoint)
            # Of fewer samples; not what the table is of.
            scored(run, "frechet_distance", 99, checkpoint, n_fake=500)

    def evaluate(run, *flags):
        calls.append((run.workdir.name, *flags))
        if any("cas" in flag for flag in flags):
            scored(run, "cas", 0.8125, "best", extractor="none", n_fake=50_000)
        else:
            for checkpoint in ("best", "last"):
                seen = {"extractor": "inception", "resize": "tf1_bilinear"}
                scored(run, "frechet_distance", 7, checkpoint, **seen)
                # By clean-fid's rule; not what the table is of.
                scored(run, "frechet_distance", 8, checkpoint, **seen | {"resize": "antialiased"})

    monkeypatch.setattr(tables.Run, "train", train)
    monkeypatch.setattr(tables.Run, "evaluate", evaluate)
    return calls


def test_published_stands_above_best_and_last(table, done, tmp_path):
    assert table("--seeds=2") == 0
    text = (tmp_path / "results" / "samples.md").read_text()
    no_weights = "needs the Inception weights"
    no_gpu = "needs cifar10, a GPU and the Inception weights"
    first, second = map(named, ROWS[:2])
    assert first.startswith("`fashion_mnist-a-0` ")
    # Of 10 and 12 the mean is 11, and the deviation the root of 2.
    assert text.splitlines()[4:] == [
        "| A | published | 26.5 ± 1.6 |  |  |  |  |",
        f"| A | best | {no_weights} | 11.00 ± 1.41 | 81.25 | 2 | {first} |",
        f"| A | last | {no_weights} | 21.00 ± 1.41 |  | 2 |  |",
        f"| B | best | {no_weights} | 11.00 ± 1.41 |  | 2 | {second} |",
        f"| B | last | {no_weights} | 21.00 ± 1.41 |  | 2 |  |",
        "| C | published | 21.7 |  |  |  |  |",
        f"| C | genjax | {no_gpu} |  |  | 0 | `--rows=cifar10/c` |",
    ]
    with (tmp_path / "results" / "samples.csv").open() as file:
        records = list(csv.DictReader(file))
    assert len(records) == 7 * len(COLUMNS)
    assert {record["missing"] for record in records if record["row"] == "cifar10/c"} == {"", no_gpu}
    assert (tmp_path / "results" / "samples.png").is_file()


def test_what_is_done_is_not_done_again(table, done):
    table("--seeds=1")
    cas = ("--checkpoint=best", "--metrics=cas")
    assert done == [
        ("train", "fashion_mnist-a-0"),
        ("fashion_mnist-a-0", *cas),
        ("train", "fashion_mnist-b-0"),
    ]
    table("--seeds=1")
    assert len(done) == 3


def test_weights_that_come_later_add_what_was_missing(table, done, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_tables, "load_torch_weights", lambda *_: None)
    table("--seeds=1", "--rows=fashion_mnist/b")
    weights = tmp_path / "weights.pth"
    weights.touch()
    done.clear()
    assert table("--seeds=1", "--rows=fashion_mnist/b", f"--inception={weights}") == 0
    assert done[-1][:2] == ("fashion_mnist-b-0", "--checkpoint=best,last")
    assert done[-1][2:] == ("--metrics=frechet_distance", f"--inception={weights}")
    text = lambda: (tmp_path / "results" / "samples.md").read_text()
    assert "| B | best | 7.000 | 10.00 |" in text()
    # Without them a second run has no FID, which stays that of one.
    assert table("--seeds=2", "--rows=fashion_mnist/b") == 0
    assert "| B | best | 7.000 (1 of 2) | 11.00 ± 1.41 |" in text()


def test_what_is_measured_is_in_the_table_before_the_rest_is_trained(
    table, done, tmp_path, monkeypatch
):
    """A later row that is done, and one that is not or lacks the accuracy."""
    table("--seeds=1", "--rows=fashion_mnist/b")
    train = tables.Run.train

    def stop(run, *flags):
        raise Stopped

    monkeypatch.setattr(tables.Run, "train", stop)
    monkeypatch.setattr(tables.Run, "evaluate", stop)
    needs = "needs the Inception weights"

    def rows():
        assert table("--seeds=1", "--rows=fashion_mnist") == 75
        lines = (tmp_path / "results" / "samples.md").read_text().splitlines()
        assert f"| B | best | {needs} | 10.00 |  | 1 | {named(ROWS[1])} |" in lines
        return lines[5]  # below what is published of A

    assert rows() == "| A | genjax | not run yet |  |  | 0 | `--rows=fashion_mnist/a` |"
    train(ROWS[0].runs()[0])
    assert rows() == f"| A | best | {needs} | 10.00 |  | 1 | {named(ROWS[0])} |"


@pytest.mark.parametrize("typed", [("--dry_run",), ()])
def test_weights_that_are_not_there_or_others_are_named_at_once(
    table, done, tmp_path, typed, capsys
):
    assert table("--inception=nowhere.pth", *typed) == 2
    said = "error: --inception: cannot read nowhere.pth: No such file or directory\n"
    assert capsys.readouterr().err == said
    file = tmp_path / "weights.pth"
    file.write_text("no weights")
    assert table(f"--inception={file}", *typed) == 2
    assert f"error: --inception: {file} has SHA-256" in capsys.readouterr().err
    assert not done


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_value_that_is_not_finite_is_told_as_it_is(table, done, tmp_path, value):
    tables.FLAGS["runs"].value = str(tmp_path / "runs")
    scored(ROWS[1].runs()[0], "frechet_distance", value, "last")
    scored(ROWS[1].runs()[0], "frechet_distance", 0.0, "best")
    assert table("--seeds=1", "--rows=fashion_mnist/b") == 0
    text = (tmp_path / "results" / "samples.md").read_text()
    assert f"| B | last | needs the Inception weights | {value} |" in text
    assert "| B | best | needs the Inception weights | 0.000 |" in text


def test_a_classifier_that_comes_with_a_new_run_is_noticed(table, monkeypatch, tmp_path, capsys):
    """Scores of another machine are there; the run that is trained here has its own judge."""
    tables.FLAGS["runs"].value = str(tmp_path / "runs")
    fields = {"metric": "frechet_distance", "value": 9}
    score = lambda run, judge: [
        scored(run, **fields, checkpoint=each, extractor_sha256=judge * 64)
        for each in ("best", "last")
    ]
    score(ROWS[1].runs()[0], "a")
    monkeypatch.setattr(tables.Run, "train", lambda run: score(run, "b"))
    monkeypatch.setattr(tables.Run, "evaluate", lambda run, *flags: None)
    assert table("--seeds=2", "--rows=fashion_mnist/b") == 2
    assert "b-0 is scored by the classifier aaaaaaaa, fashion_mnist-b-1 by bbb" in (
        capsys.readouterr().err
    )
    # What was written before the training is of one classifier.
    assert "| B | last | needs the Inception weights | 9.000 | " in (
        (tmp_path / "results" / "samples.md").read_text()
    )


@pytest.mark.parametrize("typed", [("--dry_run",), ()])
def test_runs_that_two_classifiers_have_seen_are_not_averaged(table, done, tmp_path, typed, capsys):
    tables.FLAGS["runs"].value = str(tmp_path / "runs")
    first, second = ROWS[1].runs()[0], ROWS[0].runs()[1]
    for run, judge in ((first, "a" * 64), (second, "b" * 64)):
        scored(run, "frechet_distance", 9, "best", extractor_sha256=judge)
        scored(run, "frechet_distance", 9, "best", extractor="inception", extractor_sha256="c" * 64)
    assert table(*typed) == 2
    said = "--runs: fashion_mnist-a-1 is scored by the classifier bbbbbbbb, fashion_mnist-b-0 by aa"
    assert said in capsys.readouterr().err
    assert not done
    assert not (tmp_path / "results").exists()
    # Scored once more, beside the other's; what was scored last counts.
    scored(second, "frechet_distance", 9, "best", extractor_sha256="a" * 64)
    assert table() == 0
