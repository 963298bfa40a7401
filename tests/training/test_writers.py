import io
import json
import math

import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event, SessionLog

from genjax.training.writers import MetricsWriter, Progress


def rows_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def events_of(workdir):
    """Reads TensorBoard's framing: length (8 bytes), its CRC (4), the event, its CRC (4)."""
    events = []
    for path in sorted(workdir.glob("events.*")):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return events


def write_steps(workdir, resume_step, steps):
    with MetricsWriter(workdir, resume_step) as writer:
        for step in steps:
            writer.write(step, {"train/loss": 1 / step, "train/kl_per_dimension": [0.5, step]})


def test_a_row_is_one_json_object_a_line(tmp_path):
    with MetricsWriter(tmp_path / "new", 0) as writer:
        writer.write(100, {"train/loss": np.float32(1.5), "kl_per_dimension": np.array([0.5, 2])})
        assert rows_of(tmp_path / "new") == [
            {"step": 100, "train/loss": 1.5, "kl_per_dimension": [0.5, 2.0]}
        ]


def test_what_is_not_finite_stays_valid_json_and_reads_back(tmp_path):
    with MetricsWriter(tmp_path, 0) as writer:
        writer.write(1, {"a": math.nan, "b": -math.inf, "c": [1.0, math.inf], "d": [math.nan]})
    line = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert row == {"step": 1, "a": "nan", "b": "-inf", "c": [1.0, "inf"], "d": ["nan"]}
    assert math.isnan(float(row["a"]))
    assert float(row["b"]) == -math.inf


def test_a_resumed_run_leaves_the_file_of_an_unbroken_one(tmp_path):
    write_steps(tmp_path / "unbroken", 0, range(1, 7))
    write_steps(tmp_path / "broken", 0, range(1, 6))
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "train/lo')
    write_steps(tmp_path / "broken", 3, range(4, 7))
    broken, unbroken = (tmp_path / name / "metrics.jsonl" for name in ("broken", "unbroken"))
    assert broken.read_bytes() == unbroken.read_bytes()
    assert [path.name for path in (tmp_path / "broken").iterdir() if path.suffix == ".tmp"] == []


def test_a_torn_line_before_the_resumed_step_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a": 2.0}\n{"step": 2, "a"')
    write_steps(tmp_path, 5, [])
    assert rows_of(tmp_path) == [{"step": 1, "a": 2.0}]


def test_scores_of_steps_that_are_trained_anew_are_dropped(tmp_path):
    rows = ['{"step": 2, "metric": "elbo"}\n', '{"step": 4, "metric": "elbo"}\n']
    (tmp_path / "evals.jsonl").write_text("".join(rows))
    write_steps(tmp_path, 2, [3])
    assert (tmp_path / "evals.jsonl").read_text() == rows[0]


def test_where_nothing_is_dropped_the_file_stays(tmp_path):
    """What another process appends to it meanwhile would be lost."""
    path = tmp_path / "evals.jsonl"
    path.write_text('{"step": 2, "metric": "elbo"}\n')
    with path.open("a") as file:
        write_steps(tmp_path, 2, [3])
        file.write('{"step": 2, "metric": "kl"}\n')
    assert [row["metric"] for row in map(json.loads, path.read_text().splitlines())] == [
        "elbo",
        "kl",
    ]


def test_tensorboard_gets_scalars_histograms_pictures_and_the_purge(tmp_path):
    with MetricsWriter(tmp_path, 3) as writer:
        writer.write(4, {"train/loss": 1.5, "kl_per_dimension": [0.5, 2.0, math.nan]})
        writer.images(4, "samples", np.zeros((5, 7, 1), np.uint8))
        writer.images(4, "others", np.zeros((5, 7, 3), np.float32))
        writer.flush()
    events = events_of(tmp_path)
    starts = [event.step for event in events if event.session_log.status == SessionLog.START]
    assert starts == [4]
    values = {value.tag: value for event in events for value in event.summary.value}
    assert values["train/loss"].simple_value == 1.5
    assert values["kl_per_dimension"].histo.num == 2
    assert values["samples"].image.height == values["others"].image.height == 5
    assert values["samples"].image.width == 7


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def run_progress(terminal, steps, seconds, total=1000):
    output, clock = io.StringIO(), Clock()
    console = Console(file=output, force_terminal=terminal, width=80, color_system=None)
    lines = []
    with Progress(total, console=console, clock=clock) as progress:
        for step in steps:
            clock.now += seconds
            progress.update(
                step, {"train/loss": 101.26, "train/kl": 23.4, "v": [1.0]}, images_per_second=12345
            )
            lines.append(progress._line().plain)
    return output.getvalue(), lines


def test_without_a_terminal_plain_lines_come_at_most_every_thirty_seconds():
    output, _ = run_progress(False, range(100, 1001, 100), seconds=10)
    lines = output.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [f"{k}/1000" for k in (100, 400, 700, 1000)]
    assert lines[0] == "step 100/1000  loss 101.3  kl 23.40  12.3k img/s"
    assert lines[1].endswith("  1:00 left")  # 600 steps to go, 10 seconds a hundred
    assert lines[-1] == "done at step 1000/1000 after 1:40  loss 101.3  kl 23.40  12.3k img/s"
    assert "\x1b" not in output


def test_a_run_that_stops_early_says_so():
    output, _ = run_progress(False, [100, 200], seconds=1)
    assert output.splitlines()[-1].startswith("stopped at step 200/1000 after 0:02")


def test_the_live_line_fits_the_terminal_and_a_summary_stays():
    output, lines = run_progress(True, [100, 200], seconds=60)
    assert lines[1].split("  ") == [
        " 200/1000",
        "━" * 10,
        "loss 101.3",
        "kl 23.40",
        "12.3k img/s",
        "8:00 left",
    ]
    assert max(map(len, lines)) <= 80
    assert output.splitlines()[-1].strip().split("after")[0].endswith("at step 200/1000 ")


def test_metrics_that_do_not_fit_are_left_out():
    console = Console(file=io.StringIO(), force_terminal=True, width=60)
    progress = Progress(10, console=console)
    progress.update(1, {"a_name_as_long_as_half_a_terminal": 1.0, "kl": 2.0}, 10)
    assert len(progress._line().plain) <= 60
    assert "kl 2.000" in progress._line().plain
    assert "terminal" not in progress._line().plain
