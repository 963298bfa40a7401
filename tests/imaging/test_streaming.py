import threading
import weakref

import numpy as np
import pytest

from genjax.errors import UserError
from genjax.imaging import streaming
from genjax.imaging.pictures import Picture, read_picture, write_picture
from genjax.imaging.streaming import Outcome, each_picture


def picture(level):
    return Picture(np.full((2, 3, 1), level / 255, np.float32))


def level_of(path):
    return round(float(read_picture(path).pixels[0, 0, 0]) * 255)


def fill(folder, names):
    """Writes pictures of levels 0, 1, 2, ..."""
    for level, name in enumerate(names):
        write_picture(folder / name, picture(level))


def inverted(name, given):
    return {"": given.with_pixels(1 - given.pixels)}


def files_of(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_each_picture_goes_to_its_own_name(tmp_path):
    names = ["a.png", "b/c.bmp", "b/d/e.png"]
    fill(tmp_path / "in", names)
    outcome = each_picture(tmp_path / "in", tmp_path / "out", inverted)
    assert outcome == Outcome(done=3, skipped=0, failed=[])
    assert files_of(tmp_path / "out") == names
    assert [level_of(tmp_path / "out" / name) for name in names] == [255, 254, 253]


def test_the_function_is_told_the_name_within_the_folder(tmp_path):
    fill(tmp_path / "in", ["b/c.png", "a.png"])
    told = {}

    def function(name, given):
        told[name.as_posix()] = round(float(given.pixels[0, 0, 0]) * 255)
        return {"": given}

    each_picture(tmp_path / "in", tmp_path / "out", function)
    assert list(told.items()) == [("a.png", 1), ("b/c.png", 0)]


def test_extras_lie_beside_as_png_and_the_picture_itself_comes_last(tmp_path, monkeypatch):
    fill(tmp_path / "in", ["a/b.jpg"])
    written = []

    def spy(path, given):
        written.append(path.relative_to(tmp_path / "out").as_posix())
        write_picture(path, given)

    monkeypatch.setattr(streaming, "write_picture", spy)
    function = lambda name, given: {"": given, "_panel": given, "_mask": given}
    each_picture(tmp_path / "in", tmp_path / "out", function, extras=["_panel", "_mask"])
    assert written == ["a/b_panel.png", "a/b_mask.png", "a/b.jpg"]


def test_one_picture_goes_into_a_folder(tmp_path):
    fill(tmp_path, ["a.png", "b.png"])
    assert each_picture(tmp_path / "b.png", tmp_path / "out", inverted).done == 1
    assert files_of(tmp_path / "out") == ["b.png"]


def test_what_is_there_is_skipped(tmp_path):
    fill(tmp_path / "in", ["a.png", "b.png", "c.png"])
    write_picture(tmp_path / "out" / "b.png", picture(77))
    assert each_picture(tmp_path / "in", tmp_path / "out", inverted) == Outcome(2, 1, [])
    assert level_of(tmp_path / "out" / "b.png") == 77

    def never(name, given):
        raise AssertionError(name)

    assert each_picture(tmp_path / "in", tmp_path / "out", never) == Outcome(0, 3, [])


def test_a_thousand_pictures_are_never_held_at_once(tmp_path, monkeypatch):
    fill(tmp_path / "in", [f"{k % 10}/{k}.bmp" for k in range(1000)])
    alive, most, lock = weakref.WeakSet(), 0, threading.Lock()

    def counted(given):
        nonlocal most
        with lock:
            alive.add(given)
            most = max(most, len(alive))
        return given

    monkeypatch.setattr(streaming, "read_picture", lambda path: counted(read_picture(path)))

    def function(name, given):
        return {"": counted(picture(1)), "_panel": counted(picture(2))}

    outcome = each_picture(tmp_path / "in", tmp_path / "out", function, extras=["_panel"])
    assert outcome == Outcome(1000, 0, [])
    # The present one and the next, and the two made of it.
    assert 2 <= most <= 4
    assert not alive
    assert each_picture(tmp_path / "in", tmp_path / "out", function, extras=["_panel"]) == Outcome(
        0, 1000, []
    )


def test_the_next_picture_is_read_while_one_is_worked_on(tmp_path, monkeypatch):
    fill(tmp_path / "in", ["a.png", "b.png"])
    next_is_read = threading.Event()

    def reading(path):
        if path.name == "b.png":
            next_is_read.set()
        return read_picture(path)

    monkeypatch.setattr(streaming, "read_picture", reading)

    def function(name, given):
        assert next_is_read.wait(timeout=30)
        return {"": given}

    assert each_picture(tmp_path / "in", tmp_path / "out", function).done == 2


def test_a_broken_picture_stops_nothing_and_is_reported(tmp_path):
    fill(tmp_path / "in", [f"{k}.png" for k in range(9)])
    (tmp_path / "in" / "4.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = each_picture(tmp_path / "in", tmp_path / "out", inverted)
    broken = f"{tmp_path}/in/4.png: is no picture that can be read"
    assert outcome == Outcome(8, 0, [broken])
    assert len(files_of(tmp_path / "out")) == 8
    # It is no output; the next run tries again.
    assert each_picture(tmp_path / "in", tmp_path / "out", inverted) == Outcome(0, 8, [broken])


def test_a_name_may_be_as_long_as_names_can_be(tmp_path):
    """Of the extra, whose name would be longer, its picture is named; the others are written."""
    longest = 251 * "x" + ".png"
    fill(tmp_path / "in", [longest, "z.png"])
    assert each_picture(tmp_path / "in", tmp_path / "out", inverted).done == 2
    assert files_of(tmp_path / "out") == [longest, "z.png"]
    both = lambda name, given: {"": given, "_panel": given}
    outcome = each_picture(tmp_path / "in", tmp_path / "two", both, extras=["_panel"])
    assert outcome.failed == [f"{tmp_path / 'in' / longest}: File name too long"]
    assert files_of(tmp_path / "two") == ["z.png", "z_panel.png"]


def test_what_the_function_refuses_is_reported_with_the_file(tmp_path):
    fill(tmp_path / "in", ["a.png", "b.png"])

    def picky(name, given):
        if name.name == "a.png":
            raise UserError("is too small")
        return {"": given}

    outcome = each_picture(tmp_path / "in", tmp_path / "out", picky)
    assert outcome == Outcome(1, 0, [f"{tmp_path}/in/a.png: is too small"])


def test_a_fault_of_the_function_is_not_hidden(tmp_path):
    fill(tmp_path / "in", ["a.png"])
    with pytest.raises(ZeroDivisionError):
        each_picture(tmp_path / "in", tmp_path / "out", lambda name, given: 1 / 0)


def test_other_results_than_announced_are_a_fault(tmp_path):
    fill(tmp_path / "in", ["a.png"])
    with pytest.raises(ValueError, match="_panel"):
        each_picture(tmp_path / "in", tmp_path / "out", inverted, extras=["_panel"])
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_it_and_the_next_run_goes_on(tmp_path, monkeypatch):
    fill(tmp_path / "in", ["a.png", "b.png", "c.png"])

    def full(path, given):
        if path.name == "b.png":
            raise OSError(28, "No space left on device")
        write_picture(path, given)

    with monkeypatch.context() as patched:
        patched.setattr(streaming, "write_picture", full)
        with pytest.raises(UserError, match=r"^--to: can not write to .*: No space left on device"):
            each_picture(tmp_path / "in", tmp_path / "out", inverted, target_flag="--to")
    assert files_of(tmp_path / "out") == ["a.png"]
    assert each_picture(tmp_path / "in", tmp_path / "out", inverted) == Outcome(2, 1, [])


def test_the_input_folder_is_refused_as_the_target_by_any_name(tmp_path):
    fill(tmp_path / "in", ["a.png"])
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for target in (tmp_path / "in", tmp_path / "link", tmp_path / "in" / ".." / "in"):
        with pytest.raises(UserError, match=r"^--out: .* choose a folder outside it"):
            each_picture(tmp_path / "in", target, inverted)
        with pytest.raises(UserError, match=r"^--out: .* choose a folder outside it"):
            each_picture(tmp_path / "in" / "a.png", target, inverted)
    with pytest.raises(UserError, match="choose a folder outside it"):
        each_picture(tmp_path / "link", tmp_path / "in", inverted)
    assert level_of(tmp_path / "in" / "a.png") == 0


def test_a_folder_inside_the_input_is_refused(tmp_path):
    fill(tmp_path / "in", ["a.png", "b/c.png"])
    for target in ("in/out", "in/b", "in/.hidden/out"):
        with pytest.raises(UserError, match="choose a folder outside it"):
            each_picture(tmp_path / "in", tmp_path / target, inverted)
    # With one picture nothing in the folder is read again.
    assert each_picture(tmp_path / "in" / "a.png", tmp_path / "in" / "b", inverted).done == 1


def test_where_a_link_of_the_input_leads_is_refused(tmp_path):
    fill(tmp_path / "in", ["b.png"])
    for folder in ("album", "empty"):
        (tmp_path / folder).mkdir()
        (tmp_path / "in" / folder).symlink_to(tmp_path / folder)
    fill(tmp_path / "album", ["a.png"])
    for target in ("album", "empty", "album/new"):
        with pytest.raises(UserError, match="choose a folder outside it"):
            each_picture(tmp_path / "in", tmp_path / target, inverted)
    assert files_of(tmp_path / "album") == ["a.png"]
    assert each_picture(tmp_path / "in", tmp_path / "out", inverted).done == 2


def test_a_folder_around_the_input_is_fine_unless_an_output_falls_back_into_it(tmp_path):
    fill(tmp_path / "all" / "in", ["a.png"])
    assert each_picture(tmp_path / "all" / "in", tmp_path / "all", inverted).done == 1
    assert files_of(tmp_path / "all") == ["a.png", "in/a.png"]
    fill(tmp_path / "all" / "in" / "in", ["b.png"])  # would become all/in/b.png
    with pytest.raises(UserError, match="choose a folder outside it"):
        each_picture(tmp_path / "all" / "in", tmp_path / "all", inverted)


def test_a_file_is_refused_as_the_target(tmp_path):
    fill(tmp_path, ["a.png", "b.png"])
    with pytest.raises(UserError, match=r"^--out: .*b\.png is a file; name a folder, as .*b$"):
        each_picture(tmp_path / "a.png", tmp_path / "b.png", inverted)


@pytest.mark.parametrize("names", [("a.jpg", "a.png"), ("a.png", "a_panel.png")])
def test_two_inputs_of_one_output_are_refused(tmp_path, names):
    fill(tmp_path / "in", names)
    with pytest.raises(UserError, match=r"^--input: a\..* and a.* both write a_panel\.png"):
        each_picture(tmp_path / "in", tmp_path / "out", inverted, extras=["_panel"])
    assert not (tmp_path / "out").exists()
    # Without panels they are different files.
    assert each_picture(tmp_path / "in", tmp_path / "out", inverted).done == 2


def test_no_pictures_are_an_error_with_the_flag(tmp_path):
    with pytest.raises(UserError, match=r"^--from: no pictures"):
        each_picture(tmp_path, tmp_path / "out", inverted, source_flag="--from")


def test_progress_is_shown_on_a_terminal_only(tmp_path, monkeypatch, capfd):
    fill(tmp_path / "in", ["a.png", "b.png", "c.png"])
    each_picture(tmp_path / "in", tmp_path / "out", inverted)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    each_picture(tmp_path / "in", tmp_path / "again", inverted)
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "/s" in err
