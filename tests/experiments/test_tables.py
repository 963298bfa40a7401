"""The files that set a table beside our runs: nothing is left out, nothing is made up."""

import csv

import pytest

from experiments import tables
from experiments.tables import LaunchError, Published
from genjax.training.stopping import Stopped


def test_values_are_means_and_the_deviations_of_a_sample():
    """Of 1, 2 and 6 the mean is 3, the squares sum up to 4 + 1 + 9 over two."""
    assert tables.mean_and_deviation([1.0, 2.0, 6.0]) == f"3.00 ± {7**0.5:.2f}"
    assert tables.mean_and_deviation([1.5]) == "1.50"
    assert tables.mean_and_deviation([]) == ""


def test_a_data_set_that_can_not_be_prepared_says_what_it_needs(tmp_path, capsys):
    tables.FLAGS(["x", f"--data_dir={tmp_path}", f"--manual_dir={tmp_path / 'none'}"])
    needs = "needs mnist in --data_dir, its archives in --manual_dir, or the Internet"
    for _ in range(2):
        assert tables.lacks_images("mnist") == needs
    # It is tried once.
    assert capsys.readouterr().err.count("data.manual_dir: no such folder") == 1
    assert tables.lacks_images("shapes") == ""


@pytest.mark.parametrize("end", ["sys.exit(75)", "os.kill(os.getpid(), 15)"])
def test_who_asks_launch_py_to_stop_has_asked_the_table(end, tmp_path, monkeypatch):
    (tmp_path / "launch.py").write_text(f"import os, sys\n{end}")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    with pytest.raises(Stopped):
        tables.launch("train")


def test_what_killed_launch_py_is_named(tmp_path, monkeypatch, capsys):
    """The code is that of a shell: 128 and the signal's number."""
    (tmp_path / "launch.py").write_text("import os\nos.kill(os.getpid(), 9)")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    with pytest.raises(LaunchError) as error:
        tables.launch("train")
    assert error.value.code == 137
    assert capsys.readouterr().err == "error: launch.py: SIGKILL ended it\n"


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


def test_a_figure_shows_what_is_published_where_there_is_nothing_of_ours(tmp_path):
    series = {"published": [Published(2.0, 0.1), Published(3.0)], "genjax": [Published(2.1), None]}
    tables.panels_figure(tmp_path / "figure", ["a", "b"], {"nats": series})
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figure.svg").is_file()
