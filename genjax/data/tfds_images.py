"""Any image set of TensorFlow Datasets by name, read without TensorFlow."""

import contextlib
import dataclasses
import difflib
import importlib.util
import io
import logging
import os
import pathlib
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging
from google.protobuf import json_format
from PIL import Image
from tensorflow_datasets.core.download import downloader

from genjax.data.base import Example, check_fields, resize_and_crop
from genjax.errors import UserError, did_you_mean

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
INSTALL = "pip install -e '.[tfds]'"
#: A set, its configuration and its version; not the community's `namespace:set`.
NAME = re.compile(r"\w+(/[^:]+)?(:\d[\d.*]*)?")


@dataclasses.dataclass(frozen=True, eq=False)
class TfdsImages:
    """A split of a prepared set; `records` gives the features of an example, its image encoded.

    `origin` names the split and the files that it was read from, which are in `folder`.
    """

    records: Sequence[Mapping[str, Any]]
    folder: pathlib.Path
    origin: str
    image_size: int
    channels: int
    crop: str
    class_names: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def fingerprint(self) -> str:
        """All that the examples depend on."""
        return f"{self.origin} {self.image_size} {self.channels} {self.crop}"

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        try:
            return [self._example(record) for record in self.records.__getitems__(indices)]
        except (RuntimeError, OSError) as error:  # ArrayRecord's, and Pillow's
            raise UserError(_damaged(self.folder, error)) from error

    def _example(self, record: Mapping[str, Any]) -> Example:
        with Image.open(io.BytesIO(record["image"])) as image:
            pixels = resize_and_crop(image, self.image_size, self.channels, self.crop)
        return {"image": pixels, **self._label(record)}

    def _label(self, record: Mapping[str, Any]) -> Example:
        return {"label": np.int32(record["label"])} if self.class_names else {}


def tfds_images(
    *,
    split: str,
    dataset: str,
    image_size: int,
    channels: int,
    crop: str = "center",
    data_dir: str = "",
    manual_dir: str = "",
    num_validation: int = 10_000,
    other_sets: Sequence[str] = (),
) -> TfdsImages:
    """A split of the TFDS set `dataset`, downloaded and prepared at its first use.

    Reading needs no TensorFlow, preparing does. Where the set has no test split, its validation
    split is the test split; what is missing then is cut from the end of its train split, the test
    split last.

    Args:
      split: `train`, `validation` or `test`.
      dataset: TFDS's name, as `fashion_mnist` or `emnist/balanced`.
      image_size: height and width.
      channels: 1 or 3.
      crop: `center` or `none`; see `resize_and_crop`.
      data_dir: the folder of prepared sets; empty is TFDS's own, ~/tensorflow_datasets.
      manual_dir: a folder with archives that were downloaded by hand; empty is none.
      num_validation: how many train examples become validation where the set has no such split.
      other_sets: names of those that are not TFDS's; a mistyped name may mean one of them.

    Raises:
      UserError: an unknown name; a set without images or a train split; a set that cannot be
        prepared, or was prepared in a file format without random access, or whose description is
        damaged. To read an example raises one if a file is missing or damaged.
    """
    check_fields(split, image_size, channels, crop)
    with _quiet():
        builder = _builder(dataset, data_dir, other_sets)
        _check_features(dataset, builder.info.features)
        if not builder.is_prepared():
            _prepare(builder, dataset, manual_dir)
        sizes = {name: info.num_examples for name, info in builder.info.splits.items()}
        part = _part(dataset, sizes, split, num_validation)
        records = _records(builder, part)
        stats = {file.name: file.stat() for file in sorted(builder.data_path.iterdir())}
        files = [(name, stat.length, stat.mtime) for name, stat in stats.items()]
    label = dict(builder.info.features.items()).get("label")
    has_classes = isinstance(label, tfds.features.ClassLabel) and label.num_classes
    class_names = tuple(label.names) if has_classes else ()
    folder = pathlib.Path(builder.data_path)
    origin = f"{folder} {part} {files}"
    return TfdsImages(records, folder, origin, image_size, channels, crop, class_names)


def is_prepared(dataset: str, data_dir: str) -> bool:
    """Whether a set can be read as it lies; raises UserErrors as `tfds_images`."""
    with _quiet():
        return _builder(dataset, data_dir, ()).is_prepared()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back the chatter of TFDS and of what it uses; errors are raised all the same."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    logger = absl_logging.get_absl_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)


def _builder(dataset: str, data_dir: str, other_sets: Sequence[str]) -> tfds.core.DatasetBuilder:
    name = re.split("[/:]", dataset)[0]
    folder = os.path.expanduser(data_dir) or None
    choices, hint = other_sets, ""
    try:
        if NAME.fullmatch(dataset):
            return tfds.builder(dataset, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        known = [*other_sets, *tfds.list_builders(with_community_datasets=False)]
        choices = difflib.get_close_matches(name, known, cutoff=0.5) or other_sets
        hint = "" if HAS_TENSORFLOW else f" (TFDS knows some only with TensorFlow: {INSTALL})"
    except (json_format.ParseError, ValueError, AssertionError, RuntimeError) as error:
        configs = tfds.builder_cls(name).builder_configs
        choices = [f"{name}/{config}" for config in configs] or [name]
        if dataset in choices or isinstance(error, json_format.ParseError):
            where = pathlib.Path(folder or tfds.core.constants.DATA_DIR, name)
            raise UserError(_damaged(where, error)) from error
        # There is no such configuration, or version of it.
    raise UserError(
        f"data.dataset: no such choice {dataset!r}{did_you_mean(dataset, choices)}{hint}"
    )


def _damaged(where: pathlib.Path, error: Exception) -> str:
    """What is said of a prepared set that can not be read."""
    why = textwrap.shorten(str(error), 200, placeholder="...")
    return f"data.data_dir: {where} is damaged; delete it, to prepare it again ({why})"


def _check_features(dataset: str, features: tfds.features.FeatureConnector) -> None:
    named = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    image = named.get("image")
    if not isinstance(image, tfds.features.Image) or image.np_dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"data.dataset: {dataset!r} has no feature 'image' that holds pictures; "
            f"its features are {', '.join(named) or features}"
        )


def _prepare(builder: tfds.core.DatasetBuilder, dataset: str, manual_dir: str) -> None:
    if manual_dir and not os.path.isdir(os.path.expanduser(manual_dir)):
        raise UserError(f"data.manual_dir: no such folder {manual_dir!r}")
    if not HAS_TENSORFLOW:
        raise UserError(
            f"data.dataset: {dataset!r} is not prepared in {builder.data_dir}, and preparing needs "
            f"TensorFlow (reading does not): {INSTALL}"
        )
    # Of ten retries, as TFDS has it, the last comes after minutes.
    downloader.MAX_RETRIES = 3
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    folder = os.path.expanduser(manual_dir) or None
    try:
        config = tfds.download.DownloadConfig(manual_dir=folder)
        builder.download_and_prepare(download_config=config, file_format="array_record")
    except Exception as error:  # the code of any of a thousand sets has run here
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder="...")
        raise UserError(
            f"data.dataset: could not prepare {dataset!r} in {builder.data_dir}; offline, put "
            f"{_archives(builder)} into a folder and pass --config.data.manual_dir=FOLDER "
            f"({reason})"
        ) from error


def _archives(builder: tfds.core.DatasetBuilder) -> str:
    """The file names of what the set downloads, as far as TFDS knows them."""
    names = sorted({info.filename for info in (builder.url_infos or {}).values() if info.filename})
    if not names:
        return "its archives"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _part(dataset: str, sizes: Mapping[str, int], split: str, num_validation: int) -> str:
    """TFDS's expression for a split of a set that has splits of these sizes."""
    if "train" not in sizes:
        raise UserError(f"data.dataset: {dataset!r} has no train split; it has {', '.join(sizes)}")
    parts = {name: name for name in ("validation", "test") if name in sizes}
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    end = sizes["train"]
    for name in ("test", "validation"):
        if name not in parts:
            parts[name] = f"train[{end - num_validation}:{end}]" if num_validation > 0 else ""
            end -= num_validation
    parts["train"] = f"train[:{end}]" if end > 0 else ""
    if num_validation < 0 or not parts[split]:
        raise UserError(
            f"data.num_validation: {num_validation} of the {sizes['train']} train examples of "
            f"{dataset!r} leaves none for {split}"
        )
    return parts[split]


def _records(builder: tfds.core.DatasetBuilder, part: str) -> Sequence[Mapping[str, Any]]:
    # Pictures stay encoded: decoded by `_example`, they need not be of one size and type.
    pictures = [
        name
        for name, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    ]
    decoders = dict.fromkeys(pictures, tfds.decode.SkipDecoding())
    try:
        return builder.as_data_source(split=part, decoders=decoders)
    except NotImplementedError as error:
        raise UserError(
            f"data.data_dir: {pathlib.Path(builder.data_path)} was prepared in a file format "
            "without random access; pass another folder, as --config.data.data_dir=FOLDER"
        ) from error
