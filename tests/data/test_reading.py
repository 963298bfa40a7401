"""Reading in threads; pictures decoded once and kept for the next start, unless they changed."""

import jax
import numpy as np
import pytest
from PIL import Image

from genjax.data.base import InMemory
from genjax.data.folder import folder
from genjax.data.pairs import Pairs
from genjax.data.reading import ROWS_PER_TASK, decoded_once, read


class Numbered:
    """Image `index` is filled with `index`, its label is `index % 7`."""

    image_shape = (2, 3, 1)

    def __init__(self, class_names):
        self.class_names = class_names

    def __len__(self):
        return 250

    def __getitem__(self, index):
        example = {"image": np.full(self.image_shape, index, np.uint8)}
        return {**example, "label": np.int32(index % 7)} if self.class_names else example


class Several(Numbered):
    def __getitem__(self, index):
        raise AssertionError("should be read several at once")

    def __getitems__(self, indices):
        return [super(Several, self).__getitem__(index) for index in indices]


@pytest.mark.parametrize("source", [Numbered(tuple("abcdefg")), Several(tuple("abcdefg"))])
def test_read_keeps_the_order_over_several_tasks(source):
    indices = np.random.default_rng(0).integers(0, 250, 3 * ROWS_PER_TASK + 5)
    batch = read(source, indices)
    assert (batch["image"].dtype, batch["label"].dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(batch["image"].shape, (len(indices), 2, 3, 1))
    np.testing.assert_array_equal(batch["image"][:, 1, 2, 0], indices)
    np.testing.assert_array_equal(batch["label"], indices % 7)


def test_without_classes_there_is_no_label():
    assert read(Numbered(()), np.arange(3)).keys() == {"image"}
    assert InMemory(np.zeros((5, 4, 4, 1), np.uint8))[2].keys() == {"image"}


@pytest.fixture
def cache(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "pictures"
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def pictures(tmp_path):
    """Opens a folder of two classes, pictures of grey 0 to 39."""
    for number in range(40):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(path)

    def open_folder(**fields):
        fields = {"image_size": 4, "channels": 1, **fields}
        return folder(split="train", path=str(tmp_path / "pictures"), **fields)

    return open_folder


def refuse(*_):
    raise AssertionError("should not be decoded again")


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_kept_source_is_the_source(cache, pictures, monkeypatch):
    source = pictures()
    order = np.random.default_rng(0).permutation(len(source))
    expected, one = read(source, order), source[3]
    assert same(read(decoded_once(source), order), expected)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(type(source), "__getitem__", refuse)
    again = decoded_once(pictures())
    assert same(read(again, order), expected)
    assert same(again[3], one)
    assert again[3]["label"].dtype == one["label"].dtype
    assert (again.image_shape, again.class_names) == (source.image_shape, source.class_names)
    assert len(again) == len(source)


def test_pairs_of_folders_are_kept_and_those_of_arrays_are_not(cache, pictures, monkeypatch):
    source = Pairs(pictures(), pictures(), length=20, offset=3)
    expected = read(source, np.arange(20))
    assert same(read(decoded_once(source), np.arange(20)), expected)
    monkeypatch.setattr(type(pictures()), "__getitem__", refuse)
    assert same(read(decoded_once(source), np.arange(20)), expected)
    arrays = InMemory(np.zeros((5, 4, 4, 1), np.uint8))
    for ours, theirs in ((arrays, pictures()), (pictures(), arrays)):
        mixed = Pairs(ours, theirs, length=5)
        assert decoded_once(mixed) is mixed


def test_what_changes_the_pictures_decodes_again(cache, pictures):
    source = pictures()
    everything = np.arange(len(source))
    read(decoded_once(source), everything)
    Image.new("L", (4, 4), 250).save(source.root / source.files[0])
    for fields in ({}, {"channels": 3}, {"image_size": 2}):
        changed = pictures(**fields)
        assert same(read(decoded_once(changed), everything), read(changed, everything))
    assert len(list(cache.iterdir())) == 4


def test_a_kept_file_cut_short_is_decoded_again(cache, pictures):
    source = pictures()
    expected = read(decoded_once(source), np.arange(10))
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    for damaged in (whole[:-100], b"", b"no archive"):
        kept.write_bytes(damaged)
        assert same(read(decoded_once(source), np.arange(10)), expected)
        assert [path.read_bytes() for path in cache.iterdir()] == [whole]


def test_a_cache_that_takes_nothing_is_no_error(cache, pictures):
    cache.parent.write_text("a file where the folder should be")
    source = pictures()
    assert same(read(decoded_once(source), np.arange(5)), read(source, np.arange(5)))


def test_a_source_that_does_not_decode_is_left_as_it_is():
    source = InMemory(np.zeros((5, 4, 4, 1), np.uint8))
    assert decoded_once(source) is source
