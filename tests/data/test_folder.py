"""A folder of pictures: what is found, how it is split, and what is said when it is wrong."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from genjax.data.folder import folder, picture_files
from genjax.data.pairs import unpaired_halves
from genjax.errors import UserError

SPLITS = ("train", "validation", "test")


def grey(value, size=(6, 6)):
    return Image.new("L", size, value)


def fill(path, count, first=0):
    """Writes pictures `count` grey levels from `first` on: the level tells which one it is."""
    path.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        grey(number).save(path / f"picture{number:03}.png")


def levels(path, split, **fields):
    source = folder(split=split, path=str(path), image_size=6, channels=1, **fields)
    return [int(source[index]["image"][0, 0, 0]) for index in range(len(source))]


def test_all_formats_are_read_whatever_the_case(tmp_path):
    names = ["a.png", "b.jpg", "c.JPEG", "d.webp", "e.bmp", "f.PNG"]
    for number, name in enumerate(names):
        grey(40 * number, (8, 10)).convert("RGB").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._a.png").write_text("left by a file manager")
    (tmp_path / "folder.png").mkdir()
    seen = sorted(level for split in SPLITS for level in levels(tmp_path, split))
    # JPEG and WebP are exact to a level or two.
    np.testing.assert_allclose(seen, [0, 40, 80, 120, 160, 200], atol=2)


def test_sub_folders_are_classes_by_name(tmp_path):
    fill(tmp_path / "zebra", 20)
    fill(tmp_path / "ape" / "young", 20, first=100)
    for split in SPLITS:
        source = folder(split=split, path=str(tmp_path), image_size=6, channels=3)
        assert source.class_names == ("ape", "zebra")
        assert source.image_shape == (6, 6, 3)
        for index in range(len(source)):
            example = source[index]
            assert example["label"].dtype == np.int32
            assert example["label"] == (0 if example["image"][0, 0, 0] >= 100 else 1)


def test_halves_and_beginnings_of_a_split_hold_all_classes(tmp_path):
    """Of 200 of each of two classes, each half of the training pictures has about as many."""
    for name in ("a", "b"):
        fill(tmp_path / name, 200)
    source = folder(path=str(tmp_path), split="train", image_size=6, channels=1)
    pairs = unpaired_halves(source)
    for label in (0, 1):
        of_all = [example["label"] == label for example in map(source.__getitem__, range(80))]
        # Of 80 drawn as with a coin, 40 +- 4.5; four deviations.
        assert 22 <= sum(of_all) <= 58
        assert 60 <= sum(pairs[index]["label"] == label for index in range(160)) <= 100


def test_names_need_be_no_text(tmp_path):
    """On a disk a name is bytes: of old archives they are not UTF-8."""
    fill(tmp_path, 6)
    (tmp_path / "picture000.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    assert sorted(level for split in SPLITS for level in levels(tmp_path, split)) == list(range(6))
    classes = tmp_path / "classes"
    for place in (classes / "tea", pathlib.Path(os.fsdecode(os.fsencode(classes) + b"/caf\xe9"))):
        fill(place, 6)
    source = folder(split="train", path=str(classes), image_size=6, channels=1)
    assert source.class_names == (r"caf\xe9", "tea")
    assert {int(source[index]["label"]) for index in range(len(source))} == {0, 1}


def test_what_can_not_be_opened_is_not_passed_over(tmp_path):
    fill(tmp_path, 6)
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match=r"1 of 7 pictures in .* cannot be read: lost\.png"):
        levels(tmp_path, "train")
    assert len([*picture_files(tmp_path)]) == 7
    # A folder is asked for its pictures while it can not be read.
    with pytest.raises(OSError, match="No such file or directory"):
        next(picture_files(tmp_path / "gone"))


def test_values_without_a_range_can_not_be_read(tmp_path):
    fill(tmp_path, 6)
    Image.fromarray(np.full((6, 6), 0.5, np.float32)).save(tmp_path / "floats.tif")
    with pytest.raises(UserError, match=r"1 of 7 pictures in .* cannot be read: floats\.tif"):
        levels(tmp_path, "train")


def test_links_to_folders_are_folders_but_for_those_that_lead_back(tmp_path):
    fill(tmp_path / "elsewhere", 10)
    fill(tmp_path / "set" / "a", 10)
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "back").symlink_to(tmp_path / "set")
    (tmp_path / "set" / ".hidden").symlink_to(tmp_path / "elsewhere")
    source = folder(path=str(tmp_path / "set"), split="train", image_size=6, channels=1)
    assert source.class_names == ("a", "b")
    found = sorted(path.as_posix() for path in picture_files(tmp_path / "set"))
    assert {path.split("/")[0] for path in found} == {"a", "b"}
    assert len(found) == 20


def test_without_sub_folders_there_are_no_labels(tmp_path):
    fill(tmp_path, 5)
    source = folder(split="train", path=str(tmp_path), image_size=6, channels=1)
    assert source.class_names == ()
    assert source[0].keys() == {"image"}


def test_pictures_are_turned_upright(tmp_path):
    """Orientation 6: the stored picture is to be turned a quarter clockwise."""
    stored = np.zeros((16, 16), np.uint8)
    stored[:8] = 255  # the upper half, which clockwise becomes the right half
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(stored).save(tmp_path / name, exif=exif)
    image = folder(split="test", path=str(tmp_path), image_size=16, channels=1)[0]["image"]
    np.testing.assert_array_equal(image[..., 0], np.rot90(stored, -1))


@pytest.mark.parametrize("count", [3, 4, 10, 200])
def test_every_picture_is_in_one_split_and_none_is_empty(tmp_path, count):
    fill(tmp_path, count)
    parts = {split: levels(tmp_path, split) for split in SPLITS}
    assert sorted(level for part in parts.values() for level in part) == list(range(count))
    assert all(parts.values())


def test_the_fractions_are_kept(tmp_path):
    fill(tmp_path, 250)
    sizes = [
        len(levels(tmp_path, split, validation_fraction=0.2, test_fraction=0.3)) for split in SPLITS
    ]
    # 125, 50 and 75, give or take four standard deviations of the binomial.
    np.testing.assert_allclose(sizes, [125, 50, 75], atol=32)


def test_a_new_picture_moves_no_other(tmp_path):
    fill(tmp_path, 100)
    before = {level: split for split in SPLITS for level in levels(tmp_path, split)}
    fill(tmp_path, 100, first=100)
    after = {level: split for split in SPLITS for level in levels(tmp_path, split)}
    assert len(after) == 200
    assert {level: after[level] for level in before} == before


def break_file(path):
    """Cuts a picture in the middle of its pixels: its header is still fine."""
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:1000])


def test_broken_pictures_are_counted_and_named(tmp_path):
    fill(tmp_path, 10)
    break_file(tmp_path / "cut.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(UserError) as error:
        levels(tmp_path, "train", max_unreadable=1)
    message = str(error.value)
    assert "2 of 12 pictures" in message
    assert "cut.png, text.jpg" in message
    assert "--config.data.max_unreadable=2" in message
    assert "\n" not in message
    seen = [level for split in SPLITS for level in levels(tmp_path, split, max_unreadable=2)]
    assert sorted(seen) == list(range(10))


def test_a_mended_picture_is_seen(tmp_path):
    fill(tmp_path, 3)
    broken = tmp_path / "cut.png"
    break_file(broken)
    with pytest.raises(UserError, match=r"cut\.png"):
        levels(tmp_path, "train")
    grey(200).save(broken)
    assert 200 in [level for split in SPLITS for level in levels(tmp_path, split)]


def mixed(path):
    fill(path, 5)
    fill(path / "class", 5)


WRONG = {
    "missing": (lambda path: None, {"path": "nowhere"}, ["data.path", "nowhere"]),
    "empty": (lambda path: None, {}, ["data.path", "no pictures", ".jpg", ".webp"]),
    "two": (lambda path: fill(path, 2), {}, ["data.path", "2 readable pictures", "at least 3"]),
    "mixed": (mixed, {}, ["data.path", "picture000.png", "sub-folder"]),
    "fractions": (
        lambda path: fill(path, 5),
        {"validation_fraction": 0.5, "test_fraction": 0.5},
        ["data.validation_fraction", "data.test_fraction", "0.5"],
    ),
    "crop": (lambda path: fill(path, 5), {"crop": "middle"}, ["data.crop", "'middle'"]),
}


@pytest.mark.parametrize(("build", "fields", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path, build, fields, words):
    build(tmp_path)
    fields = {"path": str(tmp_path), "split": "train", "image_size": 6, "channels": 1, **fields}
    with pytest.raises(UserError) as error:
        folder(**fields)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
