"""Pretrained weights from files that PyTorch has saved, read without PyTorch.

Such a file is a pickle, which may run anything. Here nothing from it runs: of all that it may name,
only what a state dict is made of is known, and stands for plain data.
"""

import collections
import dataclasses
import hashlib
import io
import os
import pathlib
import pickle
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from genjax.errors import UserError
from genjax.files import replacing

#: The Inception-v3 of FID, ported to PyTorch (pytorch-fid). The digest begins with the characters
#: in the file's name.
INCEPTION_URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth"
)
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

#: PyTorch's storages, by the type of their little-endian numbers; bfloat16 is none of NumPy's.
STORAGES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "BoolStorage": "?",
}
#: What the format before PyTorch 1.6 begins with, and its version.
LEGACY = (0x1950A86A20F9469CFC6C, 1001)


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a file holds.

    Attributes:
      arrays: by name.
      sha256: of the file, hexadecimal.
    """

    arrays: Mapping[str, np.ndarray]
    sha256: str


def load_inception_weights(file: str, folder: str | os.PathLike, flag: str) -> Weights:
    """The weights of FID's Inception from `file`, or if that is `download`, kept in `folder`.

    Raises:
      UserError: the file can not be had or is another one; `flag` is what the user named it by.
    """
    path = fetch(INCEPTION_URL, INCEPTION_SHA256, folder, flag) if file == "download" else file
    return load_torch_weights(path, INCEPTION_SHA256, flag)


def load_torch_weights(path: str | os.PathLike, sha256: str | None, flag: str) -> Weights:
    """The arrays of a state dict that `torch.save` wrote, in the format of any version of PyTorch.

    Args:
      path: the file.
      sha256: the hexadecimal digest that the file has to have; None takes any file.
      flag: what the user named the file by, for messages.

    Raises:
      UserError: there is no such file, its digest is another, or it holds no state dict.
    """
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{flag}: cannot read {path}: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if sha256 not in (None, digest):
        raise UserError(f"{flag}: {path} has SHA-256 {digest}, not {sha256}; is it complete?")
    read = _read_zip if content.startswith(b"PK") else _read_legacy
    try:
        arrays = read(io.BytesIO(content))
    except Exception as error:  # damaged pickles raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{flag}: {path} is no state dict saved by PyTorch ({reason}); "
            "give a file that torch.save(model.state_dict(), FILE) wrote"
        ) from error
    return Weights(arrays, digest)


def fetch(url: str, sha256: str, folder: str | os.PathLike, flag: str) -> pathlib.Path:
    """The file behind `url`, from `folder`, or downloaded into it the first time.

    A file is given its name when it is complete and its digest is right.

    Raises:
      UserError: the download fails or brings another file; `flag` is what asked for it.
    """
    path = pathlib.Path(folder) / url.rpartition("/")[2]
    if path.exists():
        return path
    try:
        with replacing(path) as part:
            with urllib.request.urlopen(url, timeout=60) as response, part.open("wb") as file:
                digest = _copy(response, file)
            if digest != sha256:
                raise UserError(f"{flag}: {url} gave SHA-256 {digest}, not {sha256}; try again")
    except OSError as error:
        raise UserError(
            f"{flag}: cannot download {url} to {folder} ({error}); give a file's path instead"
        ) from error
    return path


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := source.read(1 << 20):
        digest.update(block)
        target.write(block)
    return digest.hexdigest()


@dataclasses.dataclass
class _Storage:
    """Flat numbers, which may be read after what refers to them."""

    dtype: str
    num: int
    values: np.ndarray | None = None

    def fill(self, content: bytes) -> None:
        self.values = np.frombuffer(content, self.dtype, self.num)


@dataclasses.dataclass
class _Tensor:
    """A view of a storage; steps count numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        # By places and not as a strided view: a wrong file can not reach outside of its numbers.
        places = np.asarray(self.offset)
        for size, stride in zip(self.shape, self.strides, strict=True):
            places = places[..., None] + stride * np.arange(size)
        return np.asarray(self.storage.values[places])


def _tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stands for `torch._utils._rebuild_tensor_v2`; gradients and hooks are left out."""
    return _Tensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    """Knows the parts of a state dict and nothing else; `storage` gives what has a key."""

    def __init__(self, file: BinaryIO, storage: Callable[..., _Storage] | None = None):
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which weights do not need")

    def persistent_load(self, pid: tuple) -> _Storage:
        kind, dtype, key, _, num, *view = pid
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"it refers to {pid!r}")
        return self._storage(dtype, key, num)


#: What a state dict is made of besides plain data and storages.
KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
}


def _arrays(tensors: Any) -> dict[str, np.ndarray]:
    if not isinstance(tensors, dict) or not all(isinstance(t, _Tensor) for t in tensors.values()):
        raise ValueError("it is no flat dict of tensors")
    return {str(name): tensor.array() for name, tensor in tensors.items()}


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    """PyTorch 1.6 and later: a zip archive of the pickle and a file for each storage."""
    with zipfile.ZipFile(file) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = pickled.removesuffix("data.pkl")

        def storage(dtype: str, key: str, num: int) -> _Storage:
            found = _Storage(dtype, num)
            found.fill(archive.read(f"{folder}data/{key}"))
            return found

        return _arrays(_Unpickler(archive.open(pickled), storage).load())


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    """Before PyTorch 1.6: five pickles, then every storage's length and numbers."""
    storages = {}

    def storage(dtype: str, key: str, num: int) -> _Storage:
        return storages.setdefault(key, _Storage(dtype, num))

    if (_Unpickler(file).load(), _Unpickler(file).load()) != LEGACY:
        raise ValueError("its beginning is another")
    _Unpickler(file).load()  # the machine that wrote it
    tensors = _Unpickler(file, storage).load()
    for key in _Unpickler(file).load():
        num = int.from_bytes(file.read(8), "little")
        found = storages[key]
        if num != found.num:
            raise ValueError("a storage's length is another")
        found.fill(file.read(num * np.dtype(found.dtype).itemsize))
    return _arrays(tensors)
