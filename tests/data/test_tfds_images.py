"""Prepared sets of TFDS are read without TensorFlow, and every failure is one line."""

import io
import json
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

import launch
from genjax.data import tfds_images as module
from genjax.data.reading import read
from genjax.data.tfds_images import tfds_images
from genjax.errors import UserError

NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat")  # the first of Fashion-MNIST's


def record(level):
    """One example as TFDS stores it: an encoded picture filled with `level`, label `level % 10`."""
    png = io.BytesIO()
    Image.new("L", (28, 28), level).save(png, "png")
    image = tf_feature_pb2.BytesList(value=[png.getvalue()])
    label = tf_feature_pb2.Int64List(value=[level % 10])
    feature = {
        "image": tf_feature_pb2.Feature(bytes_list=image),
        "label": tf_feature_pb2.Feature(int64_list=label),
    }
    features = tf_feature_pb2.Features(feature=feature)
    return tf_example_pb2.Example(features=features).SerializeToString()


def prepare(data_dir, splits, name="fashion_mnist", file_format="array_record"):
    """Lays down files as TFDS prepares them; the examples of all splits are counted through."""
    folder = data_dir / name / "3.0.1"
    folder.mkdir(parents=True)
    level = 0
    infos = []
    for split, size in splits.items():
        path = folder / f"{name}-{split}.{file_format}-00000-of-00001"
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for _ in range(size):
            writer.write(record(level))
            level += 1
        writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        info = {"filepathTemplate": template, "name": split, "numBytes": "1"}
        infos.append({**info, "shardLengths": [str(size)]})
    info = {"fileFormat": file_format, "name": name, "splits": infos, "version": "3.0.1"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(28, 28, 1)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
    )
    features.save_config(folder)


def open_split(data_dir, split, **fields):
    fields = {"dataset": "fashion_mnist", "image_size": 28, "channels": 1, **fields}
    others = ("mnist_sample", "shapes", "folder", "folders", "omniglot_28")
    return tfds_images(split=split, data_dir=str(data_dir), other_sets=others, **fields)


def levels(source):
    return read(source, np.arange(len(source)))["image"][:, 0, 0, 0].tolist()


#: What a set has, and which of its examples are then train, validation and test.
SPLITS = {
    "train and test": ({"train": 60, "test": 12}, range(50), range(50, 60), range(60, 72)),
    "all three": (
        {"train": 60, "validation": 8, "test": 4},
        range(60),
        range(60, 68),
        range(68, 72),
    ),
    "train and validation": (
        {"train": 60, "validation": 8},
        range(50),
        range(50, 60),
        range(60, 68),
    ),
    "train only": ({"train": 60}, range(40), range(40, 50), range(50, 60)),
}


@pytest.mark.parametrize(("sizes", "train", "validation", "test"), SPLITS.values(), ids=SPLITS)
def test_the_splits_that_a_set_lacks_come_from_the_end_of_train(
    tmp_path, sizes, train, validation, test
):
    prepare(tmp_path, sizes)
    for split, expected in (("train", train), ("validation", validation), ("test", test)):
        assert levels(open_split(tmp_path, split, num_validation=10)) == list(expected)


def test_examples_are_decoded_and_fitted(tmp_path):
    prepare(tmp_path, {"train": 30, "test": 5})
    source = open_split(tmp_path, "test", image_size=12, channels=3)
    assert source.image_shape == (12, 12, 3)
    assert source.class_names[:5] == NAMES
    for index in range(5):
        example = source[index]
        np.testing.assert_array_equal(example["image"], np.full((12, 12, 3), 30 + index))
        assert example["label"] == index
        assert example["label"].dtype == np.int32


def test_a_set_of_ones_own_needs_no_code(tmp_path):
    prepare(tmp_path, {"train": 20, "test": 5}, name="my_pictures")
    assert levels(open_split(tmp_path, "test", dataset="my_pictures")) == [20, 21, 22, 23, 24]


def test_reading_leaves_tensorflow_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # an import would raise ImportError
    prepare(tmp_path, {"train": 20, "test": 5})
    assert len(levels(open_split(tmp_path, "train", num_validation=5))) == 15


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fashion_mnits", "did you mean 'fashion_mnist'?"),
        ("shape", "did you mean 'shapes'?"),
        ("qqqqzzzz", "choose from folder, folders, mnist_sample, omniglot_28, shapes"),
        ("emnist/balancd", "did you mean 'emnist/balanced'?"),
        ("mnist:9.9.9", "did you mean 'mnist'?"),
        ("huggingface:mnist", "choose from"),
        ("", "choose from"),
    ],
)
def test_an_unknown_name_gets_the_nearest(tmp_path, name, hint):
    with pytest.raises(UserError) as error:
        open_split(tmp_path, "train", dataset=name)
    assert str(error.value).startswith(f"data.dataset: no such choice {name!r}; {hint}")
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("split", "num_validation"), [("train", 60), ("validation", 0), ("train", -1)]
)
def test_a_split_without_examples_is_an_error(tmp_path, split, num_validation):
    prepare(tmp_path, {"train": 60, "test": 5})
    with pytest.raises(UserError, match=rf"data\.num_validation: {num_validation} .*for {split}"):
        open_split(tmp_path, split, num_validation=num_validation)


def test_all_of_train_may_be_trained_on(tmp_path):
    prepare(tmp_path, {"train": 60, "test": 5})
    assert len(open_split(tmp_path, "train", num_validation=0)) == 60


def test_a_set_without_pictures_says_what_it_has(tmp_path):
    with pytest.raises(UserError, match=r"'imdb_reviews' has no feature 'image'.*text, label"):
        open_split(tmp_path, "train", dataset="imdb_reviews")


def test_another_file_format_is_an_error(tmp_path):
    prepare(tmp_path, {"train": 20, "test": 5}, file_format="tfrecord")
    with pytest.raises(UserError, match=r"--config\.data\.data_dir=FOLDER"):
        open_split(tmp_path, "train", num_validation=5)


@pytest.mark.parametrize("content", [None, b"", bytes(80_000)])
def test_a_file_that_is_missing_or_damaged_is_an_error(tmp_path, content):
    """Also where it is noticed late: files are opened when they are read."""
    prepare(tmp_path, {"train": 30, "test": 5})
    folder = tmp_path / "fashion_mnist" / "3.0.1"
    file = folder / "fashion_mnist-test.array_record-00000-of-00001"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    source = open_split(tmp_path, "test")
    for look in (lambda: source[0], lambda: levels(source)):
        with pytest.raises(UserError, match=f"data.data_dir: {folder} is damaged; delete it"):
            look()


@pytest.mark.parametrize("content", [b'{"fileF', b"{}", b"", bytes(range(256))])
def test_a_description_that_is_damaged_is_an_error(tmp_path, content):
    prepare(tmp_path, {"train": 30, "test": 5})
    (tmp_path / "fashion_mnist" / "3.0.1" / "dataset_info.json").write_bytes(content)
    where = tmp_path / "fashion_mnist"
    with pytest.raises(UserError, match=f"data.data_dir: {where} is damaged; delete it"):
        open_split(tmp_path, "test", num_validation=10)


def test_preparing_needs_tensorflow_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HAS_TENSORFLOW", False)
    with pytest.raises(UserError, match=r"not prepared.*pip install -e '\.\[tfds\]'"):
        open_split(tmp_path, "train")


def test_a_missing_folder_of_archives_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.manual_dir: no such folder '/nowhere'"):
        open_split(tmp_path, "train", manual_dir="/nowhere")


def test_a_failed_download_says_which_archives_to_bring(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("line one\nline two")

    monkeypatch.setattr(module, "HAS_TENSORFLOW", True)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(UserError) as error:
        open_split(tmp_path, "train")
    message = str(error.value)
    assert "\n" not in message
    for words in ("train-images-idx3-ubyte.gz", "--config.data.manual_dir=FOLDER", "line two"):
        assert words in message


def test_archives_by_hand_are_checked(tmp_path):
    """Runs TFDS's own preparation as far as the checksum of the first archive."""
    pytest.importorskip("tensorflow")
    for info in tfds.builder_cls("fashion_mnist").url_infos.values():
        (tmp_path / info.filename).write_bytes(b"not the archive")
    with pytest.raises(UserError, match=r"could not prepare 'fashion_mnist'.*Checksum"):
        open_split(tmp_path / "sets", "train", manual_dir=str(tmp_path))


def test_a_finished_run_reads_its_images_where_they_were_moved(tmp_path, capsys):
    prepare(tmp_path / "old", {"train": 60, "test": 12})
    flags = [
        "--config=tests/small_config.py:vae,fashion_mnist",
        "--config.data.num_validation=10",
        "--config.training.duration=1 steps",
        "--config.training.batch_size=8",
        "--config.evaluation.num_samples=0",
        f"--workdir={tmp_path / 'run'}",
    ]
    train = lambda place: ["launch.py", "train", *flags, f"--config.data.data_dir={place}"]
    assert launch.main(train(tmp_path / "old")) == 0
    (tmp_path / "old").rename(tmp_path / "new")
    capsys.readouterr()
    assert launch.main(train(tmp_path / "new")) == 0
    assert "is trained and scored already" in capsys.readouterr().out
    pictures = ["--num=4", f"--out={tmp_path / 'grid.png'}"]
    assert launch.main(["launch.py", "reconstruct", *flags[-1:], *pictures]) == 0
