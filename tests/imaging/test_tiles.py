import itertools

import numpy as np
import pytest

from genjax.imaging.tiles import tiled

SIZE = 16
SHAPES = [
    (16, 16),
    (8, 8),
    (20, 20),
    (3, 7),
    (1, 1),
    (1, 40),
    (40, 1),
    (37, 61),
    (15, 90),
    (17, 16),
]


def random_pixels(height, width, channels, seed=0):
    return np.random.default_rng(seed).random((height, width, channels), np.float32)


class Recorder:
    """A model that keeps what it is given and does `function`."""

    def __init__(self, function=lambda tiles: tiles):
        self.function = function
        self.batches = []

    def __call__(self, tiles):
        self.batches.append(tiles)
        return self.function(tiles)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_a_model_that_changes_nothing_gives_the_picture_back(height, width, channels):
    pixels = random_pixels(height, width, channels)
    result = tiled(pixels, SIZE, channels, lambda tiles: tiles)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, pixels, rtol=0, atol=2e-7)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 8), (1, 1), (3, 16)])
def test_what_fits_is_one_tile_and_comes_back_bit_for_bit(height, width):
    pixels, model = random_pixels(height, width, 3), Recorder()
    np.testing.assert_array_equal(tiled(pixels, SIZE, 3, model), pixels)
    assert [batch.shape for batch in model.batches] == [(1, SIZE, SIZE, 3)]


@pytest.mark.parametrize("overlap", [0, 1, 4, 8])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_weights_sum_to_one_everywhere(height, width, overlap):
    # A model that gives ones shows the sum of the weights.
    result = tiled(np.zeros((height, width, 1), np.float32), SIZE, 1, np.ones_like, overlap)
    np.testing.assert_allclose(result, 1, rtol=0, atol=2e-7)


@pytest.mark.parametrize("length", [28, 29, 40, 41, 64, 100])
def test_one_tile_turns_into_the_next_gradually(length):
    overlap = 4
    count = itertools.count()
    numbered = lambda tiles: np.stack([np.full_like(tile, next(count)) for tile in tiles])
    result = tiled(np.zeros((16, length, 1), np.float32), SIZE, 1, numbered, overlap)
    assert (result == result[:1]).all()
    row = result[0, :, 0]
    # A hard seam is a step of 1; a ramp over 4 pixels has 5 steps of 1/5. Where the last tile,
    # flush with the border, also reaches the last but two, two ramps add up.
    steps = np.diff(row)
    assert steps.min() > -1e-6
    assert steps.max() < 2.5 / (overlap + 1)
    assert (row[0], row[-1]) == (0, -(-(length - overlap) // (SIZE - overlap)) - 1)


def test_weights_fall_linearly_across_an_overlap():
    # Tiles begin at 0 and 12 and share the pixels 12 to 15.
    first_is_one = lambda tiles: np.stack([tiles[0] + 1, tiles[1]])
    row = tiled(np.zeros((16, 28, 1), np.float32), SIZE, 1, first_is_one, 4)[0, :, 0]
    np.testing.assert_allclose(row[11:17], [1, 0.8, 0.6, 0.4, 0.2, 0], rtol=0, atol=1e-6)


def test_no_tile_reaches_beyond_the_picture_and_the_last_ends_with_it():
    pixels, model = random_pixels(16, 41, 1), Recorder()
    tiled(pixels, SIZE, 1, model, overlap=4)
    (tiles,) = model.batches
    for tile, start in zip(tiles, [0, 12, 24, 25], strict=True):
        np.testing.assert_array_equal(tile, pixels[:, start : start + SIZE])


def test_a_small_picture_is_mirrored_outwards_and_a_single_row_repeated():
    model = Recorder()
    tiled(np.arange(4, dtype=np.float32)[None, :, None], 8, 1, model)
    for row in model.batches[0][0, :, :, 0]:
        assert row.tolist() == [2, 1, 0, 1, 2, 3, 2, 1]


def test_few_batch_shapes_reach_the_model():
    model = Recorder()
    for height, width in itertools.product(range(1, 120, 7), repeat=2):
        tiled(np.zeros((height, width, 3), np.float32), SIZE, 3, model, batch_size=16)
    assert {batch.shape[0] for batch in model.batches} == {1, 2, 4, 8, 16}
    assert {batch.shape[1:] for batch in model.batches} == {(SIZE, SIZE, 3)}


def test_the_batch_size_is_never_exceeded():
    model = Recorder()
    pixels = random_pixels(40, 40, 1)
    # 3 x 3 tiles: two batches of 6, the second half full.
    np.testing.assert_allclose(tiled(pixels, SIZE, 1, model, batch_size=6), pixels, atol=2e-7)
    assert [len(batch) for batch in model.batches] == [6, 6]
    np.testing.assert_array_equal(model.batches[1][3:], model.batches[1][[2, 2, 2]])


def test_a_grey_model_sees_each_colour_by_itself():
    pixels = random_pixels(16, 40, 3)
    model = Recorder(lambda tiles: 1 - tiles)
    np.testing.assert_allclose(tiled(pixels, SIZE, 1, model), 1 - pixels, atol=2e-7)
    assert model.batches[0].shape[-1] == 1


def test_a_colour_model_sees_grey_three_times_and_its_answer_is_averaged():
    pixels = random_pixels(16, 40, 1)
    shifts = np.array([0.1, 0.2, 0.6], np.float32)
    model = Recorder(lambda tiles: tiles + shifts)
    result = tiled(pixels, SIZE, 3, model)
    np.testing.assert_allclose(result, pixels + 0.3, atol=5e-7)
    assert (np.ptp(model.batches[0], axis=-1) == 0).all()


@pytest.mark.parametrize(("colours", "channels", "channels_out"), [(1, 1, 3), (3, 3, 1), (1, 3, 1)])
def test_a_translation_gives_its_own_channels(colours, channels, channels_out):
    model = lambda tiles: np.repeat(tiles[..., :1], channels_out, axis=-1)
    pixels = random_pixels(20, 30, colours)
    result = tiled(pixels, SIZE, channels, model, channels_out=channels_out)
    np.testing.assert_allclose(
        result, np.repeat(pixels[..., :1], channels_out, axis=-1), rtol=0, atol=2e-7
    )


def test_a_model_from_grey_to_colour_sees_the_luma_of_colour():
    pixels = np.eye(3, dtype=np.float32)[None]  # a red, a green and a blue pixel
    model = lambda tiles: np.repeat(tiles, 3, axis=-1)
    result = tiled(pixels, SIZE, 1, model, channels_out=3)
    # ITU-R 601-2.
    expected = np.repeat([[[0.299], [0.587], [0.114]]], 3, axis=-1)
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "channels", "overlap", "batch_size"),
    [
        ((8, 8), 1, 4, 16),
        ((8, 8, 2), 1, 4, 16),
        ((0, 8, 1), 1, 4, 16),
        ((8, 8, 1), 2, 4, 16),
        ((8, 8, 1), 1, 9, 16),
        ((8, 8, 1), 1, -1, 16),
        ((8, 8, 1), 1, 4, 0),
    ],
)
def test_other_shapes_and_numbers_are_refused(shape, channels, overlap, batch_size):
    with pytest.raises(ValueError, match=r"expected|model of|overlap"):
        tiled(np.zeros(shape, np.float32), SIZE, channels, lambda tiles: tiles, overlap, batch_size)


def test_a_model_of_other_channels_than_promised_is_refused():
    with pytest.raises(ValueError, match=r"became \[1, 16, 16, 2\], not 1 channels"):
        tiled(np.zeros((8, 8, 1), np.float32), SIZE, 1, lambda tiles: tiles.repeat(2, axis=-1))
