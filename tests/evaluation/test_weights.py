"""PyTorch's files are read to the last bit, and nothing in them runs."""

import collections
import hashlib
import os
import pickle
import zipfile

import numpy as np
import pytest

from genjax.errors import UserError
from genjax.evaluation.weights import LEGACY, fetch, load_torch_weights

FLAG = "--inception"
FORMATS = ("zip", "legacy")
NUMBERS = np.arange(6, dtype="<f4")


def state_dict(form: str, offset: bytes = b"\x01") -> bytes:
    """A pickle, written by hand: {"w": a tensor of shape (2, 2) and strides (1, 2)}."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06"
    storage += b"tQ" if form == "zip" else b"NtQ"
    view = b"K" + offset + b"K\x02K\x02\x86K\x01K\x02\x86\x89}"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tR"
    return b"\x80\x02}X\x01\0\0\0w" + tensor + b"s."


def write(path, form: str, pickled: bytes) -> None:
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
            archive.writestr("archive/data/0", NUMBERS.tobytes())
        return
    dump = lambda value: pickle.dumps(value, 2)
    head = [*map(dump, LEGACY), dump({"little_endian": True})]
    size = len(NUMBERS).to_bytes(8, "little")
    path.write_bytes(b"".join([*head, pickled, dump(["0"]), size, NUMBERS.tobytes()]))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("form", FORMATS)
def test_views_are_read_from_their_storage(form, path):
    write(path, form, state_dict(form))
    weights = load_torch_weights(path, None, FLAG)
    # Place 1 + row + 2 * column of 0, 1, 2, ...
    np.testing.assert_array_equal(weights.arrays["w"], [[1, 3], [2, 4]])
    assert weights.arrays["w"].dtype == np.float32
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_torch_weights(path, weights.sha256, FLAG).sha256 == weights.sha256


@pytest.mark.parametrize("form", FORMATS)
def test_arrays_are_those_that_torch_saved(form, path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    kernel = torch.randn(4, 3, 2, 2)
    tensors = {
        "kernel": kernel,
        "channels_last": kernel.to(memory_format=torch.channels_last),
        "part": kernel[1:3, ::2],
        "double": torch.randn(3, dtype=torch.float64),
        "half": torch.randn(3).half(),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Linear(2, 2).state_dict()["weight"],
    }
    legacy = form == "legacy"
    torch.save(collections.OrderedDict(tensors), path, _use_new_zipfile_serialization=not legacy)
    arrays = load_torch_weights(path, None, FLAG).arrays
    assert list(arrays) == list(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(arrays[name], tensor.numpy(), strict=True)


class Malicious:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_in_the_file_runs(form, path, tmp_path):
    victim = tmp_path / "made by the file"
    pickled = pickle.dumps({"w": Malicious(victim)}, 2)
    pickle.loads(pickled)
    assert victim.exists()  # it would work
    victim.rmdir()
    write(path, form, pickled)
    with pytest.raises(UserError, match=r"--inception: .*mkdir") as error:
        load_torch_weights(path, None, FLAG)
    assert not victim.exists()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("pickled", [pickle.dumps({"w": 1}, 2), pickle.dumps([1], 2)])
def test_what_is_no_state_dict_is_refused(form, pickled, path):
    write(path, form, pickled)
    with pytest.raises(UserError, match=r"--inception: .* is no state dict"):
        load_torch_weights(path, None, FLAG)


@pytest.mark.parametrize("form", FORMATS)
def test_a_tensor_beyond_its_storage_is_refused(form, path):
    # From place 3 on, the last of the 2x2 numbers would be number 6 of 0 to 5.
    write(path, form, state_dict(form, offset=b"\x03"))
    with pytest.raises(UserError, match="out of bounds"):
        load_torch_weights(path, None, FLAG)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_cut_short_anywhere_is_refused(form, path):
    write(path, form, state_dict(form))
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="is no state dict"):
            load_torch_weights(path, None, FLAG)


def test_another_digest_and_a_missing_file_are_refused(path):
    with pytest.raises(UserError, match=r"--inception: cannot read .*weights.pth: No such file"):
        load_torch_weights(path, None, FLAG)
    write(path, "zip", state_dict("zip"))
    with pytest.raises(UserError, match=r"--inception: .* has SHA-256 .*, not 123"):
        load_torch_weights(path, "123", FLAG)


def test_a_download_is_kept_only_if_it_is_the_right_file(tmp_path):
    source, folder = tmp_path / "source.pth", tmp_path / "cache" / "weights"
    source.write_bytes(b"content")
    right = hashlib.sha256(b"content").hexdigest()
    with pytest.raises(UserError, match=f"--inception: .* gave SHA-256 {right}, not 123"):
        fetch(source.as_uri(), "123", folder, FLAG)
    assert not list(folder.iterdir())
    kept = fetch(source.as_uri(), right, folder, FLAG)
    assert kept.read_bytes() == b"content"
    assert list(folder.iterdir()) == [kept]
    source.unlink()
    assert fetch(source.as_uri(), right, folder, FLAG) == kept
    with pytest.raises(UserError, match=r"--inception: cannot download .* give a file's path"):
        fetch(source.as_uri(), right, tmp_path / "other", FLAG)
