"""Rows: one measurement is written once, whatever is measured besides."""

import fcntl
import json
import resource
import threading

import pytest

from genjax.evaluation.rows import append_rows, identity, read_rows

ROW = {
    "metric": "kl",
    "value": 1.5,
    "split": "test",
    "checkpoint": "last",
    "step": 8,
    "seed": 0,
    "n_real": 10,
    "n_fake": 0,
    "extractor": "none",
    "extractor_sha256": "",
    "resize": "none",
    "settings": "",
    "config_hash": "c",
    "code_version": "1",
}


def test_rows_are_appended_and_the_folder_is_made(tmp_path):
    path = tmp_path / "new" / "evals.jsonl"
    append_rows(path, [ROW])
    append_rows(path, [{**ROW, "seed": 1}])
    assert read_rows(path) == [ROW, {**ROW, "seed": 1}]


def test_rows_that_do_not_all_fit_are_not_appended(tmp_path):
    """A file system writes what fits first; here a limit on the file's size stands for it."""
    path = tmp_path / "evals.jsonl"
    append_rows(path, [ROW])
    before, (_, most) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * len(before), most))
    try:
        with pytest.raises(OSError, match="too large"):
            append_rows(path, 9 * [ROW])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert path.read_bytes() == before


def test_a_process_waits_for_the_row_of_another(tmp_path):
    """Else what one takes back where the disk is full could be the other's."""
    path, rows = tmp_path / "evals.jsonl", [{**ROW, "seed": seed} for seed in range(3)]
    append_rows(path, rows[:1])
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        other = threading.Thread(target=append_rows, args=(path, rows[2:]))
        other.start()
        other.join(0.2)
        assert other.is_alive()
        file.write(json.dumps(rows[1]) + "\n")
    other.join()
    assert read_rows(path) == rows


def test_another_measurement_in_any_respect_is_another_row():
    # But for its value, and the same number under another of its checkpoint's names.
    others = [{**ROW, name: "other"} for name in ROW.keys() - {"value", "checkpoint"}]
    assert len({identity(row) for row in [ROW, *others]}) == 1 + len(others)
    assert identity({**ROW, "checkpoint": "best", "value": 2.0}) == identity(ROW)


def test_a_torn_last_line_is_no_row_and_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "evals.jsonl"
    append_rows(path, [ROW])
    with path.open("a") as file:
        file.write(json.dumps({**ROW, "step": 16})[:30])
    assert read_rows(path) == [ROW]
    append_rows(path, [{**ROW, "step": 16}])
    assert read_rows(path) == [ROW, {**ROW, "step": 16}]


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "evals.jsonl") == []


def test_a_value_that_is_not_finite_stays_valid_json(tmp_path):
    """`parse_constant` is called for bare NaN and Infinity, which JSON does not know."""
    path = tmp_path / "evals.jsonl"
    append_rows(path, [{**ROW, "value": float("inf")}])
    row = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert float(row["value"]) == float("inf")
