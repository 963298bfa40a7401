"""Folders and files of images or features: what is read, and what is said when it can not be."""

import numpy as np
import pytest
from PIL import Image

from genjax.errors import UserError
from genjax.evaluation.image_sets import BATCH, check_pair, open_set


def pictures(folder, *images):
    for number, image in enumerate(images):
        path = folder / f"{number % 2}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return folder


def whole(path) -> np.ndarray:
    return np.concatenate(list(open_set(path).batches()))


def test_a_folder_its_array_and_its_archive_are_the_same_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (BATCH + 5, 4, 6, 3), np.uint8)
    order = np.concatenate([np.arange(0, len(images), 2), np.arange(1, len(images), 2)])
    folder = pictures(tmp_path / "folder", *map(Image.fromarray, images))
    np.testing.assert_array_equal(255 * whole(folder), images[order])
    np.save(tmp_path / "images.npy", images[order])
    np.savez(tmp_path / "images.npz", images=np.float64(images[order]) / 255)
    for name in ("images.npy", "images.npz"):
        np.testing.assert_allclose(whole(tmp_path / name), whole(folder), rtol=1e-6)
    opened = open_set(folder)
    assert (len(opened), opened.shape, opened.num_batches) == (BATCH + 5, (4, 6, 3), 2)


def test_a_grey_folder_stays_grey_and_others_become_colour(tmp_path):
    grey = Image.new("L", (4, 4), 7)
    assert open_set(pictures(tmp_path / "grey", grey, grey)).shape == (4, 4, 1)
    colour = pictures(tmp_path / "colour", Image.new("RGB", (4, 4), (7, 7, 7)), grey)
    np.testing.assert_allclose(255 * whole(colour), np.full((2, 4, 4, 3), 7), rtol=1e-6)


def test_features_are_given_as_they_are(tmp_path):
    features = np.random.default_rng(0).normal(size=(7, 3))
    np.save(tmp_path / "features.npy", features)
    opened = open_set(tmp_path / "features.npy")
    assert not opened.is_images
    np.testing.assert_allclose(whole(tmp_path / "features.npy"), features, rtol=1e-6)


def bad_sets(folder):
    """Name, what makes it, and the words of its error."""
    save = lambda name, array: np.save(folder / name, array)
    large, small = Image.new("L", (4, 4)), Image.new("L", (3, 4))
    pictures(folder / "sizes", large, large, small)
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "a.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no images")
    (folder / "text.npy").write_text("no array")
    save("objects.npy", np.array([{}], object))
    save("cube.npy", np.zeros((2, 3, 4)))
    save("channels.npy", np.zeros((2, 4, 4, 2)))
    save("signed.npy", np.full((2, 4, 4, 1), -1.0))
    save("hot.npy", np.array([[0.0, 1.0], [np.nan, 1.0]]))
    np.savez(folder / "two.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    return {
        "sizes": ["002.png", "4 x 3 x 1", "4 x 4 x 1"],
        "empty": ["holds no pictures", ".png"],
        "broken": ["a.png", "no picture that can be read"],
        "missing": ["no such file or folder"],
        "notes.txt": ["no folder, .npy or .npz"],
        "text.npy": ["can not be read"],
        "objects.npy": ["can not be read"],
        "cube.npy": ["[2, 3, 4]", "[N, H, W, 1 or 3]"],
        "channels.npy": ["[2, 4, 4, 2]"],
        "signed.npy": ["[0, 1]", "-1"],
        "hot.npy": ["row 1 is not finite"],
        "two.npz": ["2 arrays (a, b)"],
    }


def test_what_is_wrong_is_named(tmp_path):
    for name, words in bad_sets(tmp_path).items():
        with pytest.raises(UserError) as error:
            whole(tmp_path / name)
        assert all(word in str(error.value) for word in [name.split(".")[0], *words]), name


def test_two_sets_have_images_of_one_size(tmp_path):
    shapes = {"a": (2, 4, 4, 1), "b": (2, 5, 4, 1), "c": (2, 9), "d": (3, 4, 4, 1)}
    for name, shape in shapes.items():
        np.save(tmp_path / f"{name}.npy", np.zeros(shape))
    sets = {name: open_set(tmp_path / f"{name}.npy") for name in shapes}
    check_pair(sets["a"], sets["d"])
    for name, words in {"b": "images of 5 x 4 x 1", "c": "9 features"}.items():
        with pytest.raises(UserError, match=words):
            check_pair(sets["a"], sets[name])
