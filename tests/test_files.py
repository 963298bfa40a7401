"""Files that are written whole, or not at all."""

import pytest

from genjax.files import replacing


def test_a_file_takes_the_place_of_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "new" / "table.md"
    for text in ("old", "new"):
        with replacing(path) as file:
            file.write_text(text)
            assert path.exists() == (text == "new")
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_is_there_and_no_other(tmp_path):
    path = tmp_path / "table.md"
    path.write_text("old")

    def fail():
        with replacing(path) as file:
            file.write_text("ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_itself(tmp_path):
    path = tmp_path / "table.md"
    with pytest.raises(OSError, match=rf"'{path}'$"), replacing(path) as file:
        file.open()  # it is not there
