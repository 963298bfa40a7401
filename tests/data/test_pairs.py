"""Images with conditions: who belongs to whom, in which split, through both readers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax import factory
from genjax.data.base import InMemory
from genjax.data.pairs import Pairs, folders, unpaired_halves
from genjax.data.plan import Plan
from genjax.data.readers import Resident, Stream, evaluation_batches
from genjax.data.transforms import on_images, to_float
from genjax.errors import UserError
from genjax.imaging.degradations import parse
from genjax.imaging.views import VIEWS, Pairing

SPLITS = ("train", "validation", "test")


def numbered(count, first=0, labels=False):
    """Images that are their own number throughout."""
    numbers = np.arange(first, first + count, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (count, 4, 4, 1)).copy()
    if not labels:
        return InMemory(images)
    return InMemory(images, (numbers % 2).astype(np.int32), ("a", "b"))


def write(path, levels):
    """A picture for each name, grey at its level."""
    for name, level in levels.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 6), level).save(path / name)


def two(tmp_path, split="train", paired=True, **fields):
    names = {"input_path": str(tmp_path / "in"), "target_path": str(tmp_path / "out")}
    return folders(split=split, paired=paired, image_size=6, channels=1, **names, **fields)


def levels(example):
    return tuple(int(np.ravel(example[name])[0]) for name in ("condition", "image"))


def everyone(source):
    return [levels(source[index]) for index in range(len(source))]


def test_an_example_is_an_image_with_a_condition_in_turn():
    """Six of 4 inputs and 5 targets, the latter from number 3 on."""
    source = Pairs(numbered(4), numbered(5, 100, labels=True), length=6, offset=3)
    expected = [(0, 103), (1, 104), (2, 100), (3, 101), (0, 102), (1, 103)]
    assert everyone(source) == expected
    assert (len(source), source.image_shape, source.class_names) == (6, (4, 4, 1), ("a", "b"))
    # 103 is odd, 104 is not: the labels are the targets'.
    assert [int(source[index]["label"]) for index in range(3)] == [1, 0, 0]


@pytest.mark.parametrize("count", [6, 7])
def test_no_image_is_on_both_sides_of_halves(count):
    halves = unpaired_halves(numbered(count))
    conditions, images = zip(*everyone(halves), strict=True)
    assert (conditions, images) == ((0, 1, 2), (3, 4, 5))


@pytest.mark.parametrize("start_step", [0, 5])
def test_both_readers_bring_equal_batches(start_step):
    source = Pairs(numbered(7), numbered(9, 100, labels=True), length=9)
    plan = Plan(seed=1, num_examples=len(source), rows_per_step=4)
    seen = []
    for reader in (Resident(source, plan), Stream(source, plan)):
        (block,) = reader.blocks(start_step, 1, 3)
        rows = [{name: values[step] for name, values in block.items()} for step in range(3)]
        seen.append([jax.device_get(reader.fetch(reader.store, row)) for row in rows])
    for resident, stream in zip(*seen, strict=True):
        assert resident.keys() == stream.keys() == {"image", "condition", "label", "index"}
        jax.tree.map(np.testing.assert_array_equal, resident, stream)
        np.testing.assert_array_equal(resident["condition"][:, 0, 0, 0], resident["index"] % 7)
        np.testing.assert_array_equal(resident["image"][:, 0, 0, 0], 100 + resident["index"])


def test_evaluation_sees_every_pair_once():
    source = Pairs(numbered(5), numbered(5, 100), length=5)
    batches = list(evaluation_batches(source, 4))
    seen = []
    for batch in batches:
        seen += [levels(jax.tree.map(lambda rows, r=row: rows[r], batch)) for row in range(4)]
    assert seen == [(index, 100 + index) for index in range(5)] + [(0, 0)] * 3


def test_pairs_go_by_name_whatever_the_suffix(tmp_path):
    write(tmp_path / "in", {f"p{number:02}.png": number for number in range(30)})
    write(tmp_path / "out", {f"p{number:02}.bmp": 100 + number for number in range(30)})
    seen = {split: everyone(two(tmp_path, split)) for split in SPLITS}
    # Together they are all pairs, each in one split.
    pairs = sorted(pair for split in SPLITS for pair in seen[split])
    assert pairs == [(number, 100 + number) for number in range(30)]
    assert all(seen.values())


def test_sub_folders_are_part_of_the_name_and_no_classes(tmp_path):
    names = [f"{folder}/{number}.x.png" for folder in "ab" for number in range(4)]
    write(tmp_path / "in", {name: 10 + place for place, name in enumerate(names)})
    write(tmp_path / "out", {name: 110 + place for place, name in enumerate(names)})
    for split in SPLITS:
        source = two(tmp_path, split)
        assert source.class_names == ()
        assert source[0].keys() == {"image", "condition"}
        assert all(image == 100 + condition for condition, image in everyone(source))


@pytest.mark.parametrize(
    ("lacking", "field", "where"), [("out", "target", "out"), ("in", "input", "in")]
)
def test_a_picture_without_partner_is_named_with_the_field_of_where_it_lacks(
    tmp_path, lacking, field, where
):
    for folder in ("in", "out"):
        gone = range(3, 10) if folder == lacking else ()
        names = {f"p{number}.png": number for number in range(20) if number not in gone}
        write(tmp_path / folder, names)
    with pytest.raises(UserError) as error:
        two(tmp_path)
    message = str(error.value)
    assert message.startswith(f"data.{field}_path: {tmp_path / where} has no partner for p3.png, ")
    assert "p7.png and 2 more;" in message
    assert "\n" not in message
    # Without pairs, nobody needs a partner.
    assert len(two(tmp_path, paired=False)) > 0


@pytest.mark.parametrize(("folder", "field"), [("in", "input"), ("out", "target")])
def test_a_folder_that_is_not_there_is_named_by_its_field(tmp_path, folder, field):
    (other,) = {"in", "out"} - {folder}
    write(tmp_path / other, {f"p{number}.png": number for number in range(5)})
    with pytest.raises(UserError, match=f"^data.{field}_path: no such folder") as error:
        two(tmp_path)
    assert "data.path" not in str(error.value)


@pytest.mark.parametrize("broken", ["in", "out"])
def test_a_broken_picture_that_may_be_left_out_takes_its_partner_along(tmp_path, broken):
    for folder, first in (("in", 0), ("out", 100)):
        write(tmp_path / folder, {f"p{n}.png": first + n for n in range(12)})
    (tmp_path / broken / "p5.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="1 of 12 pictures"):
        two(tmp_path)
    seen = [pair for split in SPLITS for pair in everyone(two(tmp_path, split, max_unreadable=1))]
    assert sorted(seen) == [(n, 100 + n) for n in range(12) if n != 5]


def test_pictures_may_lie_beside_sub_folders(tmp_path):
    """Which are no classes here."""
    names = [f"{number}.png" for number in range(5)] + ["sub/5.png"]
    for folder in ("in", "out"):
        write(tmp_path / folder, {name: level for level, name in enumerate(names)})
    found = sorted(pair for split in SPLITS for pair in everyone(two(tmp_path, split)))
    assert found == [(level, level) for level in range(6)]


def test_two_pictures_of_one_name_have_no_one_partner(tmp_path):
    names = {f"p{number}.png": number for number in range(5)}
    write(tmp_path / "in", names)
    write(tmp_path / "out", {**names, "p3.bmp": 50})
    with pytest.raises(UserError, match=r"^data.target_path: p3.bmp and p3.png .* one name"):
        two(tmp_path)


@pytest.mark.parametrize(("ours", "theirs"), [(10, 25), (25, 10)])
def test_unpaired_folders_of_other_lengths_are_both_seen_whole(tmp_path, ours, theirs):
    write(tmp_path / "in", {f"a{number}.png": number for number in range(ours)})
    write(tmp_path / "out", {f"b{number}.png": 100 + number for number in range(theirs)})
    conditions, images = set(), set()
    for split in SPLITS:
        source = two(tmp_path, split, paired=False)
        seen = [set(side) for side in zip(*everyone(source), strict=True)]
        assert len(source) == max(map(len, seen))
        # No picture is in two splits.
        assert not seen[0] & conditions
        assert not seen[1] & images
        conditions, images = conditions | seen[0], images | seen[1]
    assert conditions == set(range(ours))
    assert images == {100 + number for number in range(theirs)}


def test_both_images_become_floats_and_nothing_else_does():
    batch = {"image": np.full((2, 1, 1, 1), 51, np.uint8), "label": np.arange(2)}
    alone = to_float(batch)
    assert alone.keys() == batch.keys()
    both = to_float({**batch, "condition": np.full((2, 1, 1, 1), 102, np.uint8)})
    np.testing.assert_allclose(both["image"], 0.2, rtol=1e-6)
    np.testing.assert_allclose(both["condition"], 0.4, rtol=1e-6)
    assert both["label"] is batch["label"]
    assert on_images(batch, lambda images: images + 1).keys() == {"image"}


@pytest.mark.parametrize("name", ["flip", "shift"])
def test_a_condition_moves_as_its_image_does(name, monkeypatch):
    none = parse("pairs.input", "none", VIEWS)
    experiment = factory.Experiment({"data": {"augment": name, "binarize": False}})
    monkeypatch.setattr(factory.Experiment, "pairing", Pairing(none, none))
    images = np.asarray(jax.random.uniform(jax.random.key(0), (64, 6, 5, 1)))
    batch = {"image": images, "condition": 1 - images, "position": jnp.arange(64)}
    moved = jax.jit(experiment.augment)(batch, jax.random.key(1))
    assert not np.array_equal(moved["image"], images)
    np.testing.assert_allclose(moved["condition"], 1 - moved["image"], atol=1e-6)
