"""The table of likelihoods without training: what it plans, and what it says of what is missing."""

import csv

import pytest
import run_folders

from experiments import iwae, likelihood, likelihood_tables, tables
from experiments.tables import FLAGS, Run
from genjax.training.stopping import Stopped


@pytest.fixture
def table(monkeypatch, tmp_path):
    """Runs the script on folders of its own, where only Fashion-MNIST is there."""
    needs = {"fashion_mnist": "", "mnist_sample": ""}
    lacks = lambda dataset, prepare: needs.get(dataset, f"needs {dataset} in --data_dir")
    monkeypatch.setattr(tables, "lacks_images", lacks)

    def run(*typed, script=likelihood):
        FLAGS.unparse_flags()
        folders = [f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
        return script.TABLE.main([script.__name__, *folders, *typed], script.__doc__)

    return run


def scored(folder, name, seed, nats, draws=5000, checkpoint="best"):
    """A run folder with a bound."""
    FLAGS["runs"].value = str(folder / "runs")
    (run,) = (
        row.runs()[int(seed)]
        for row in (*likelihood.ROWS, *iwae.ROWS)
        if row.name.replace("/", "-") == name
    )
    bound = {
        "metric": "iw_bound",
        "value": -nats,
        "checkpoint": checkpoint,
        "split": "test",
        "seed": 0,
        "step": 5000,
        "settings": f"{draws} draws",
    }
    run_folders.scored(run, bound)


def test_rows_that_can_not_run_say_what_they_need(table, tmp_path, monkeypatch):
    for seed, nats in enumerate((228.7, 228.8, 229.2)):
        scored(tmp_path, "fashion_mnist-vae-standard_normal", seed, nats)
    rows = "--rows=fashion_mnist/vae/standard_normal,mnist,omniglot_28"
    monkeypatch.setattr(Run, "train", lambda run: pytest.fail(f"{run} is trained"))
    assert table(rows) == 0
    lines = (tmp_path / "results" / "likelihood.md").read_text().splitlines()
    (ours,) = [line for line in lines if "Fashion-MNIST | VAE, Gaussian" in line]
    # The mean of 228.7, 228.8 and 229.2 is 228.9; 0.2 nats are 1.33 deviations of 0.15.
    assert "| 228.70 ± 0.15 | 228.90 ± 0.26 | 3 | +0.20 | +1.33 |" in ours
    hashes = [row.runs()[0].config_hash for row in likelihood.ROWS[:2]]
    assert f"`fashion_mnist-vae-standard_normal-0` {hashes[0][:8]}" in ours
    assert hashes[0] != hashes[1]
    assert sum("needs mnist in --data_dir" in line for line in lines) == 4
    assert sum("needs the 28 x 28 Omniglot" in line for line in lines) == 4
    with (tmp_path / "results" / "likelihood.csv").open() as file:
        records = list(csv.DictReader(file))
    datasets = [record["row"].partition("/")[0] for record in records]
    assert datasets == ["fashion_mnist"] * 4 + ["mnist"] * 4 + ["omniglot_28"] * 4
    assert [record["missing"] for record in records[:4]] == ["", *["not run yet"] * 3]
    assert records[0]["steps"] == "5000 5000 5000"


def test_omniglot_is_read_where_its_file_is(table, tmp_path, monkeypatch):
    file, trained = tmp_path / "chardata.mat", []
    monkeypatch.setattr(likelihood_tables, "omniglot_28", lambda split, path: None)
    monkeypatch.setattr(Run, "train", lambda run: trained.append(run.fields["data.path"]))
    monkeypatch.setattr(
        Run,
        "evaluate",
        lambda run, *flags: scored(tmp_path, *run.workdir.name.rsplit("-", 1), 108.0),
    )
    assert table("--rows=omniglot_28/vae", "--seeds=1", f"--omniglot={file}") == 0
    assert trained == [str(file)] * 2
    text = (tmp_path / "results" / "likelihood.md").read_text()
    assert "| Omniglot | VAE, Gaussian prior | 108.34 ± 0.06 | 108.00 | 1 | -0.34 | -5.67 |" in text


@pytest.mark.parametrize("typed", [("--dry_run",), ()])
def test_an_omniglot_that_is_another_file_is_named_at_once(table, tmp_path, typed, capsys):
    """Beside rows that could be run for days before its turn comes."""
    file = tmp_path / "chardata.mat"
    assert table(f"--omniglot={file}", *typed) == 2
    assert "error: --omniglot: data.path: no such file" in capsys.readouterr().err
    file.write_text("no characters")
    assert table(f"--omniglot={file}", *typed) == 2
    assert "is not the 28 x 28 Omniglot of Burda et al. 2016" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_what_is_missing_is_trained_and_scored_seed_by_seed(table, tmp_path, monkeypatch):
    done, text = [], lambda: (tmp_path / "results" / "likelihood.md").read_text()
    monkeypatch.setattr(Run, "train", lambda run: done.append(run.workdir.name))

    def evaluate(run, *flags):
        assert {"--checkpoint=best", "--importance_samples=7"} <= set(flags)
        if len(done) == 2:  # the table of what is there until now
            assert "HVAE, two levels, VampPrior | 226.72 ± 0.08 | 227.00 | 1 |" in text()
            assert "VAE, VampPrior | 227.35 ± 0.05 | not run yet | 0 |" in text()
        scored(tmp_path, *run.workdir.name.rsplit("-", 1), 227.0, 7)

    monkeypatch.setattr(Run, "evaluate", evaluate)
    rows = "--rows=fashion_mnist/hvae/vamp,fashion_mnist/vae/vamp"
    assert table(rows, "--seeds=2", "--draws=7") == 0
    assert done == [f"fashion_mnist-{m}-vamp-{seed}" for seed in (0, 1) for m in ("hvae", "vae")]
    assert text().count("| 227.00 ± 0.00 | 2 |") == 2
    done.clear()
    assert table(rows, "--seeds=2", "--draws=7") == 0
    assert not done


def test_what_is_scored_is_in_the_table_before_the_rest_is_trained(table, tmp_path, monkeypatch):
    def stop(run):
        raise Stopped

    monkeypatch.setattr(Run, "train", stop)
    assert table("--rows=fashion_mnist/vae") == 75
    assert not (tmp_path / "results").exists()
    scored(tmp_path, "fashion_mnist-vae-vamp", 1, 227.4)
    assert table("--rows=fashion_mnist/vae") == 75
    text = (tmp_path / "results" / "likelihood.md").read_text()
    assert "VAE, Gaussian prior | 228.70 ± 0.15 | not run yet | 0 |" in text
    assert "VAE, VampPrior | 227.35 ± 0.05 | 227.40 | 1 | +0.05 | +1.00 |" in text


def test_a_row_that_is_mistyped_is_named(table, capsys):
    assert table("--rows=fashion_mnist/vea") == 2
    assert "--rows: no such choice 'fashion_mnist/vea'" in capsys.readouterr().err


def test_rows_without_a_published_number_are_counted_in_its_order(table, tmp_path, monkeypatch):
    """VAE: 86.76, 86.47 and, with 50 draws and with IWAE's 5, 86.35 and 85.54 in the paper."""
    monkeypatch.setattr(Run, "train", lambda run: pytest.fail(f"{run} is trained"))
    ours = {"elbo-1": 120.0, "elbo-5": 119.0, "elbo-50": 119.5, "iwae-5": 118.0}
    for run, nats in ours.items():
        scored(tmp_path, f"mnist_sample-1-{run}", 0, nats, checkpoint="last")
    rows = ",".join(f"mnist_sample/1/{run.replace('-', '/')}" for run in ours)
    assert table(f"--rows={rows},mnist/2/iwae/50", "--seeds=1", script=iwae) == 0
    text = (tmp_path / "results" / "iwae.md").read_text()
    # One of six pairs, 5 draws and 50 of the VAE, stands the other way round.
    assert "5,000 digits of MNIST: 5 of 6 pairs in published order." in text
    assert "| IWAE, k = 5, one stochastic layer |  | 118.00 | 1 |  |  | `mnist_sample-1" in text
    assert "k = 50, two stochastic layers | 82.90 | needs mnist in --data_dir" in text


def test_each_data_set_has_its_own_axis():
    """All models stand in the table's order beside those of the other set."""
    of = lambda nats: [likelihood_tables.Scored("run", nats, 5000, "hash")]
    found = {row.name: [] for row in iwae.ROWS}
    found |= {"mnist_sample/1/elbo/50": of(101.0), "mnist/1/elbo/5": of(86.5)}
    found |= {"mnist_sample/2/iwae/5": of(100.0)}
    titles, panels = iwae.TABLE._panels(found)
    assert titles == [
        "VAE, k = 5, one stochastic layer",
        "VAE, k = 50, one stochastic layer",
        "IWAE, k = 5, two stochastic layers",
    ]
    values = lambda points: [point and point.value for point in points]
    drawn = {
        title: {name: values(points) for name, points in series.items()}
        for title, series in panels.items()
    }
    assert drawn == {
        "-log p(x) in nats, dynamic MNIST": {
            "published": [86.47, None, None],
            "genjax": [86.5, None, None],
        },
        "-log p(x) in nats, 5,000 digits of MNIST": {
            "published": [None, None, None],
            "genjax": [None, 101.0, 100.0],
        },
    }


def test_objectives_and_layers_are_those_of_the_configs():
    by_name = {row.name: row for row in iwae.ROWS}
    FLAGS["seeds"].value = 1
    model = by_name["mnist_sample/2/iwae/5"].runs()[0].experiment.model
    assert (model.objective, model.draws, model.levels) == ("iwae", 5, 2)
    assert (model.latent_size, model.prior_size) == (150, 50)
    assert by_name["mnist_sample/1/elbo/50"].runs()[0].experiment.model.levels == 1
