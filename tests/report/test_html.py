import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from genjax.errors import UserError
from genjax.report.curves import power_curves
from genjax.report.grids import grid, save_png
from genjax.report.html import write_report

CONFIG = {
    "name": "vae",
    "seed": 0,
    "data": {"name": "mnist_sample"},
    "model": {"name": "vae", "widths": [32, 64], "condition": None, "tag": "<script>alert(1)"},
}


def score(metric, value, **others):
    return {
        "metric": metric,
        "value": value,
        "unit": "nats",
        "split": "test",
        "checkpoint": "last",
        "step": 3000,
        "n_real": 500,
        "n_fake": 2000,
        "extractor": "",
        "extractor_sha256": "3f" * 32,
        "seed": 0,
        "config_hash": "9be1",
        "code_version": "4f2a",
    } | others


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def report(workdir):
    path = write_report(workdir)
    assert path == workdir / "report.html"
    return path.read_text()


class Outline(HTMLParser):
    """Collects each attribute, and checks that what is opened is closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, page):
        super().__init__()
        self.open, self.attributes = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def fill(workdir):
    (workdir / "environment.json").write_text(
        json.dumps({"jax": "0.10.1", "devices": ["cpu:0"], "git_revision": None, "command": "a<b"})
    )
    steps = range(100, 1001, 100)
    rows = [{"step": k, "train/loss": 540 / k, "train/kl_per_dimension": [2.0, 0.0]} for k in steps]
    rows += [{"step": k, "validation/loss": 541 / k} for k in steps]
    write_lines(workdir / "metrics.jsonl", [*rows, {"step": 1000, "train/d_loss": "nan"}])
    scores = [score("elbo", -103.218), score("ssim", 0.9123, checkpoint="best", step=2000)]
    write_lines(workdir / "evals.jsonl", [*scores, score("<b>psnr", 20.871, split="validation")])
    for step, level in ((100, 0.1), (1000, 0.9)):
        picture = grid(np.full((4, 8, 8, 1), level))
        save_png(picture, workdir / "samples" / f"samples_{step:08d}.png")
        save_png(picture, workdir / "samples" / f"reconstructions_{step:08d}.png")


def test_a_folder_without_a_config_is_named(tmp_path):
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}: not a run folder")):
        write_report(tmp_path)


def test_a_run_that_has_only_begun_has_a_report(workdir):
    page = report(workdir)
    Outline(page)
    assert "<h1>vae</h1>" in page
    assert "mnist_sample" in page
    for missing in ("Pictures", "Evaluation", "Training", "<svg", "<img"):
        assert missing not in page


def test_the_report_is_one_file_that_asks_for_nothing(workdir):
    fill(workdir)
    page = report(workdir)
    attributes = Outline(page).attributes
    assert "http" not in page
    assert "@import" not in page
    for name, value in attributes:
        if name in ("src", "href", "xlink:href", "data", "srcset"):
            assert value.startswith(("data:image/png;base64,", "#")), (name, value)
    assert [path.name for path in workdir.glob(".*")] == []


def test_it_holds_each_score_and_its_provenance(workdir):
    fill(workdir)
    page = report(workdir)
    for value in (
        "-103.218",
        "0.9123",
        "20.871",
        "-103.2<",
        "3f" * 32,
        "9be1",
        "4f2a",
        "500 / 2,000",
    ):
        assert value in page
    for heading in ("best · test", "last · test", "last · validation", "All 3 rows"):
        assert heading in page


def test_it_holds_curves_divergences_pictures_and_environment(workdir):
    fill(workdir)
    page = report(workdir)
    # One chart for the two losses, one for d_loss (all NaN), one for the two dimensions' KL.
    assert page.count("<svg") == 3
    assert "1 of 2 dimensions above 0.01" in page
    assert "1 not finite" in page
    assert page.count("<img") == 4
    assert "0.10.1" in page


def test_values_are_escaped(workdir):
    fill(workdir)
    page = report(workdir)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>psnr" not in page
    assert "a&lt;b" in page


def test_names_of_files_need_be_no_text(workdir):
    (workdir / "environment.json").write_text(json.dumps({"command": "--workdir=caf\udce9"}))
    assert r"--workdir=caf\udce9" in report(workdir)


def test_seeds_become_mean_and_deviation(workdir):
    # Mean 2; deviations -1, 0, 1; sqrt((1 + 0 + 1) / 2) = 1. The older sample size is not mixed in.
    rows = [score("fid", 99.0, n_fake=10)] + [score("fid", k, seed=k) for k in (1, 2, 3)]
    write_lines(workdir / "evals.jsonl", rows)
    page = report(workdir)
    assert "<b>2</b>" in page
    assert "± 1<" in page
    assert "3 seeds" in page


def test_scoring_again_replaces_the_value(workdir):
    write_lines(workdir / "evals.jsonl", [score("fid", 5.0), score("fid", 7.0)])
    assert "<b>7</b>" in report(workdir)


def test_torn_lines_and_values_that_are_not_finite_do_no_harm(workdir):
    rows = [{"step": k, "train/loss": "inf", "train/kl": 1.0, "x": ["nan", 1.0]} for k in range(3)]
    write_lines(workdir / "metrics.jsonl", rows)
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "train/')
    write_lines(workdir / "evals.jsonl", [score("fid", "nan"), score("fid", "inf", seed=1)])
    assert "3 not finite" in report(workdir)


def test_long_curves_are_thinned(workdir):
    write_lines(workdir / "metrics.jsonl", [{"step": k, "loss": k % 7 - 3} for k in range(20000)])
    page = report(workdir)
    assert len(page) < 100_000
    assert "mean of neighbouring steps" in page


def test_a_file_that_is_no_picture_is_named(workdir):
    (workdir / "samples").mkdir()
    (workdir / "samples" / "samples_00000001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="samples_00000001"):
        write_report(workdir)


def test_a_config_that_is_no_json_is_named(workdir):
    (workdir / "config.json").write_text('{"name": ')
    with pytest.raises(UserError, match=r"config\.json: not valid JSON"):
        write_report(workdir)


def test_classes_have_bars_of_their_own_and_no_line_in_the_table(workdir):
    rows = [score("label_accuracy", 0.75)]
    rows += [score(f"label_accuracy[{name}]", v) for name, v in {"Bag": 0.25, "<i>": 1.0}.items()]
    rows.append(score("label_accuracy[Bag]", 0.75, seed=1))  # the mean is 0.5
    write_lines(workdir / "evals.jsonl", rows)
    page = report(workdir)
    assert "Read as the class asked for" in page
    (chart,) = re.findall(r"<section.*?</section>", page, flags=re.DOTALL)
    assert all(text in chart for text in ("Bag", "0.500", "&lt;i&gt;", "1.000"))
    (table,) = re.findall(r'<table class="scores">.*?</table>', page, flags=re.DOTALL)
    assert "label accuracy" in table
    assert "Bag" not in table


def test_scores_of_several_checkpoints_are_a_curve_that_marks_best_and_last(workdir):
    write_lines(
        workdir / "evals.jsonl",
        [
            score("kid", 0.5, checkpoint="1000", step=1000),
            score("kid", 0.25, checkpoint="best", step=2000),
            score("kid", 0.75, checkpoint="last", step=3000),
            score("elbo", -100.0),  # of one checkpoint alone
        ],
    )
    (chart,) = re.findall(r"<section.*?</section>", report(workdir), flags=re.DOTALL)
    assert all(text in chart for text in ("kid", ">best<", ">last<", "0.75"))


def test_one_metric_by_two_extractors_or_settings_is_two_lines(workdir):
    ways = [{"extractor": "inception", "resize": "antialiased"}, {"extractor": "pixels"}]
    rows = [score("kid", 0.5, settings="100 subsets of 9", **way) for way in ways]
    write_lines(workdir / "evals.jsonl", rows)
    page = report(workdir)
    assert "features: inception, antialiased · 100 subsets of 9" in page
    assert "features: pixels · 100 subsets of 9" in page


def test_a_flat_spectrum_is_drawn_level_and_a_lower_one_below():
    picture = power_curves(np.full(15, 1.0), np.full(15, 0.01)).astype(int)
    assert picture.shape[2] == 3
    blue = picture[..., 2] - picture[..., 0] > 60
    orange = picture[..., 0] - picture[..., 2] > 60
    middle = slice(picture.shape[1] // 3, picture.shape[1] // 2)  # beside the legend
    rows = [np.flatnonzero(colour[:, middle].any(1)) for colour in (blue, orange)]
    assert np.ptp(rows[0]) < 8
    assert rows[0].max() < rows[1].min()


def test_what_ails_a_run_is_said(workdir):
    config = {"name": "gan", "model": {"name": "gan", "loss": "hinge"}}
    (workdir / "config.json").write_text(json.dumps(config))
    rows = [{"step": 10 * n, "train/d_loss": 0.01 if n > 3 else 1.0} for n in range(1, 20)]
    write_lines(workdir / "metrics.jsonl", rows)
    assert "Since step 40: the discriminator has won" in report(workdir)
    write_lines(workdir / "metrics.jsonl", rows[:5])
    assert "Since step" not in report(workdir)
