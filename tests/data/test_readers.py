"""Both readers bring the plan's examples, and evaluation sees every example once."""

import jax
import numpy as np
import pytest

from genjax.data.base import InMemory
from genjax.data.mnist_sample import mnist_sample
from genjax.data.plan import Plan
from genjax.data.readers import READERS, Resident, Stream, evaluation_batches, mean_image, prefetch
from genjax.data.shapes import shapes
from genjax.errors import UserError

SOURCES = {
    "mnist_sample": lambda: mnist_sample(split="validation"),
    "shapes": lambda: shapes(split="train", channels=3, num_examples=90),
    "unlabelled": lambda: InMemory(np.arange(5 * 16, dtype=np.uint8).reshape(5, 4, 4, 1)),
}


def batches(reader, start_step, num_blocks, steps_per_block):
    """The batches as the compiled step sees them."""
    fetch = jax.jit(reader.fetch)
    for block in reader.blocks(start_step, num_blocks, steps_per_block):
        for step in range(steps_per_block):
            yield jax.device_get(fetch(reader.store, {k: v[step] for k, v in block.items()}))


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("start_step", [0, 17])
def test_both_readers_bring_what_the_plan_says(name, start_step):
    source = SOURCES[name]()
    plan = Plan(seed=1, num_examples=len(source), rows_per_step=12)
    expected = plan.indices(start_step, 6)
    for make in READERS.values():
        reader = make(source, plan)
        seen = list(batches(reader, start_step, num_blocks=2, steps_per_block=3))
        assert len(seen) == 6
        for batch, indices in zip(seen, expected, strict=True):
            examples = [source[int(index)] for index in indices]
            assert batch.keys() == {"index", *examples[0]}
            np.testing.assert_array_equal(batch["index"], indices)
            for part, first in examples[0].items():
                assert batch[part].dtype == first.dtype
                np.testing.assert_array_equal(batch[part], [example[part] for example in examples])


def test_a_block_has_its_steps_in_front():
    source = mnist_sample(split="test")
    plan = Plan(0, len(source), 8)
    (block,) = Stream(source, plan).blocks(0, 1, 3)
    assert {name: values.shape for name, values in block.items()} == {
        "image": (3, 8, 28, 28, 1),
        "label": (3, 8),
        "index": (3, 8),
    }
    (block,) = Resident(source, plan).blocks(0, 1, 3)
    assert {name: values.shape for name, values in block.items()} == {"index": (3, 8)}


class Recording:
    """Remembers what it was asked for, and cannot read example `broken`."""

    image_shape = (2, 2, 1)
    class_names = ()

    def __init__(self, broken=None):
        self.asked, self.broken = set(), broken

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        self.asked.add(index)
        if index == self.broken:
            raise UserError(f"example {index} is broken")
        return {"image": np.full((2, 2, 1), index % 256, np.uint8)}


def test_a_stream_reads_nothing_before_its_first_step_and_nothing_after_its_last():
    source, plan = Recording(), Plan(0, 1000, 10)
    wanted = plan.indices(20, 6)
    list(Stream(source, plan).blocks(20, 3, 2))
    assert source.asked == set(wanted.ravel().tolist())


@pytest.mark.parametrize("make", READERS.values())
def test_a_process_reads_its_own_rows_of_each_step(make):
    source, plan = Recording(), Plan(0, 1000, 10)
    (block,) = make(source, plan, slice(2, 5)).blocks(20, 1, 3)
    wanted = plan.indices(20, 3)[:, 2:5]
    np.testing.assert_array_equal(block["index"], wanted)
    assert source.asked <= set(wanted.ravel().tolist())


def test_a_broken_example_stops_a_stream_with_its_own_error():
    with pytest.raises(UserError, match="example 13 is broken"):
        list(Stream(Recording(broken=13), Plan(0, 1000, 10)).blocks(0, 10, 10))


def test_prefetch_keeps_the_order_and_places_ahead_of_use():
    placed = []
    items = prefetch(iter(range(6)), lambda item: placed.append(item) or 10 * item, depth=2)
    seen = []
    for used, item in enumerate(items):
        seen.append(item)
        assert placed == list(range(min(used + 3, 6)))
    assert seen == [0, 10, 20, 30, 40, 50]
    assert list(prefetch([], lambda item: item)) == []


@pytest.mark.parametrize("batch_size", [64, 100, 500, 512])
def test_evaluation_sees_every_example_once_in_order(batch_size):
    source = mnist_sample(split="test")
    seen = list(evaluation_batches(source, batch_size))
    assert all(len(values) == batch_size for batch in seen for values in batch.values())
    joined = {name: np.concatenate([batch[name] for batch in seen]) for name in seen[0]}
    real = joined["mask"] == 1
    assert joined["mask"].dtype == np.float32
    assert real.sum() == 500
    np.testing.assert_array_equal(joined["index"][real], np.arange(500))
    np.testing.assert_array_equal(joined["image"][real], source.images)
    np.testing.assert_array_equal(joined["label"][real], source.labels)
    assert (joined["mask"][~real] == 0).all()
    assert (joined["index"][~real] >= 500).all()


@pytest.mark.parametrize("batch_size", [64, 250, 4096])  # 250 images: the last batch filled, or not
def test_the_mean_image_is_that_of_all_whatever_is_read_at_once(batch_size):
    numbers = np.arange(250, dtype=np.uint8)
    source = InMemory(np.broadcast_to(numbers[:, None, None, None], (250, 2, 3, 1)))
    mean = mean_image(source, batch_size)
    np.testing.assert_allclose(mean, np.full((2, 3, 1), 249 / 2 / 255), rtol=1e-12)
