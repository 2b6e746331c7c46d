"""Files of weights that others wrote: read right whoever wrote them, refused by name, in little memory."""

import concurrent.futures
import io
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch
from helpers import published
from helpers.runs import forkserver, peak, start_of_peak
from safetensors.torch import save_file

from contextual_attention.models.network.convert import convert
from contextual_attention.models.network.weight_files import (
    WeightsError,
    as_tensor,
    fitted,
    read_saved,
    read_weights,
)

NAME = "coarse_generator.conv3.conv.bias"
FIRST = "coarse_generator.conv1.conv.weight"


def weights(kind="daa233", **changed):
    return published.checkpoint(kind) | changed


def same(one, other):
    ours, theirs = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def rewritten(path, change):
    """A zip archive with other contents: ``change`` maps name and bytes to bytes."""
    with zipfile.ZipFile(path) as archive:
        entries = [(each.filename, archive.read(each)) for each in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries:
            archive.writestr(name, change(name, data))


# ------------------------------------------------------------------------------------------------------------
# Read right


@pytest.fixture
def plain(tmp_path):
    """The converted network that every other way of writing it must give, too."""
    torch.save(weights(), tmp_path / "plain.pt")
    return convert(tmp_path / "plain.pt")


@pytest.mark.parametrize("ending", ["", ".pt", ".npz", ".jpg"])
def test_the_content_counts_and_not_the_name(plain, tmp_path, ending):
    path = tmp_path / f"file{ending}"
    for write in (
        lambda: torch.save(weights(), path),
        lambda: torch.save({"state_dict": weights()}, path, _use_new_zipfile_serialization=False),
        lambda: save_file(weights(), path),
        lambda: np.savez(path.open("wb"), **{name: x.numpy() for name, x in weights().items()}),
        lambda: np.savez_compressed(path.open("wb"), **{name: x.numpy() for name, x in weights().items()}),
    ):
        write()
        assert same(convert(path), plain)


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f8", "longdouble"])
def test_arrays_of_any_order_of_bytes(plain, tmp_path, dtype):
    np.savez(tmp_path / "m.npz", **{name: x.numpy().astype(dtype) for name, x in weights().items()})
    assert same(convert(tmp_path / "m.npz"), plain)


def test_a_file_of_a_machine_of_the_other_order(plain, tmp_path):
    torch.save(weights(), tmp_path / "m.pt")
    other = {"little": b"big", "big": b"little"}[sys.byteorder]

    def swap(name, data):
        if name.endswith("/byteorder"):
            return other
        return np.frombuffer(data, "<u4").byteswap().tobytes() if "/data/" in name else data

    rewritten(tmp_path / "m.pt", swap)
    assert same(convert(tmp_path / "m.pt"), plain)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions(tmp_path, dtype):
    torch.save({name: x.to(dtype) for name, x in weights().items()}, tmp_path / "m.pt")
    bias = convert(tmp_path / "m.pt").network.coarse[2].bias
    assert bias.dtype == torch.float32
    assert torch.equal(bias, weights()[NAME].to(dtype).float())


def test_a_saved_state_outlives_its_file(tmp_path):
    state = {"weight": torch.arange(100_000.0), "shared": [1, "two"]}
    torch.save(state, tmp_path / "state")
    read = read_saved(tmp_path / "state")
    (tmp_path / "state").write_bytes(b"")  # a mapped one would be gone now
    assert torch.equal(read["weight"], state["weight"])
    assert read["shared"] == [1, "two"]


# ------------------------------------------------------------------------------------------------------------
# Refused


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "expected a tensor of floating-point numbers, got NoneType"),
        ("text", "expected a tensor of floating-point numbers, got str"),
        (torch.zeros(8, dtype=torch.int64), "floating-point numbers, got torch.int64"),
        (torch.zeros(8, dtype=torch.complex64), "floating-point numbers, got torch.complex64"),
        (torch.zeros(8).to_sparse(), "expected a dense tensor, got torch.sparse_coo on cpu"),
        (torch.zeros(8, device="meta"), "expected a dense tensor, got torch.strided on meta"),
        (torch.zeros(1).expand(8), r"there are no numbers for its shape \(8,\)"),
        (torch.zeros(0), r"there are no numbers for its shape \(0,\)"),
        (torch.zeros(2, 4), r"expected shape \(8,\), got \(2, 4\)"),
        (torch.tensor([0.0] * 7 + [float("nan")]), "has elements that are NaN or infinite"),
        (torch.full((8,), 1e300, dtype=torch.float64), "has elements that are NaN or infinite"),
    ],
    ids=str,
)
def test_a_weight_that_is_none_is_named(tmp_path, value, says):
    torch.save(weights(**{NAME: value}), tmp_path / "m.pt")
    with pytest.raises(WeightsError, match=rf"m\.pt: {NAME}: .*{says}"):
        convert(tmp_path / "m.pt")


def test_a_single_number_for_the_first_layer(tmp_path):
    torch.save(weights(**{FIRST: torch.tensor(1.0)}), tmp_path / "m.pt")
    with pytest.raises(WeightsError, match=r"m\.pt: no network of this package: cnum: .* got 0"):
        convert(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array(["text"] * 8), "numbers, got <U4"),
        (np.zeros(8, bool), "numbers, got bool"),
        (np.full(8, 1e300), "has elements that are NaN or infinite"),
    ],
    ids=["text", "bool", "too large for float32"],
)
def test_an_array_that_is_none_is_named(tmp_path, array, says):
    np.savez(tmp_path / "m.npz", **({name: x.numpy() for name, x in weights().items()} | {NAME: array}))
    with pytest.raises(WeightsError, match=rf"m\.npz: {NAME}: .*{says}"):
        convert(tmp_path / "m.npz")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("num_batches_tracked", torch.tensor(7.0), "expected a tensor of int64, got torch.float32"),
        ("num_batches_tracked", torch.tensor([7]), r"expected shape \(\), got \(1,\)"),
        ("running_mean", torch.zeros(6, dtype=torch.int64), "of floating-point numbers, got torch.int64"),
        ("running_var", torch.tensor([1, 1, 1, -0.5, 1, 1]), "has variances below 0"),
    ],
)
def test_the_statistics_of_a_norm(name, value, says):
    norm = torch.nn.BatchNorm2d(6)
    weights = norm.state_dict() | {"num_batches_tracked": torch.tensor(7)}
    assert fitted(norm, weights, "file", strict=True)["num_batches_tracked"] == 7
    with pytest.raises(WeightsError, match=f"file: {name}: .*{says}|file: {name}: {says}"):
        fitted(norm, weights | {name: value}, "file", strict=True)


def npy(shape, dtype="<f4"):
    """A .npy that declares a shape, and has no numbers."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def archive(path, **entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries.items():
            file.writestr(name.replace("__", "."), data)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def without_end(path):
    torch.save(weights(), path)
    path.write_bytes(path.read_bytes()[:-100])


def one_bit(path):
    torch.save(weights(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def more_than_it_holds(path):
    """A storage of 8 numbers that a pickle calls 800: beyond its end are other bytes, or none."""
    torch.save({NAME: torch.zeros(8)}, path)
    rewritten(path, lambda name, data: data.replace(b"K\x08", b"M\x20\x03"))


def array(path, **arrays):
    np.savez(path.open("wb"), **arrays)


def script(path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path)


FILES = {
    "object array": (lambda path: array(path, a=np.array([None])), "a cannot be read .Object arrays"),
    "npy": (lambda path: np.save(path.open("wb"), np.zeros(3)), r"a single array \(\.npy\)"),
    "huge shape": (lambda path: archive(path, a__npy=npy((2**40,))), "a cannot be read"),
    "large shape": (lambda path: archive(path, a__npy=npy((2**31,))), "a cannot be read"),
    "zeros": (lambda path: archive(path, a__npy=npy((2**24,)) + bytes(2**26)), "it would grow from"),
    "compressed": (lambda path: archive(path, **{"m/data__pkl": bytes(10**6)}), "compressed, which torch"),
    "TorchScript": (script, "a TorchScript archive, which is code"),
    "cut": (without_end, "a zip archive that is cut short"),
    "one bit": (one_bit, "its entry .*/data/.* is damaged"),
    "more than it holds": (more_than_it_holds, "file of named tensors"),
    "code": (lambda path: torch.save({"a": Evil()}, path), r"it holds \S*print, which is code; if you trust"),
    "old pickle": (lambda path: path.write_bytes(pickle.dumps({"a": Evil()})), "file of named tensors"),
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "list": (lambda path: torch.save([torch.zeros(1)], path), "it holds a list"),
    "folder": (lambda path: path.mkdir(), "not a regular file"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_none_is_named(tmp_path, capsys, kind):
    write, says = FILES[kind]
    write(tmp_path / "file")
    with pytest.raises(WeightsError, match=says) as caught:
        read_weights(tmp_path / "file")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'file'}: ")
    assert "\n" not in message
    assert capsys.readouterr() == ("", "")


def memory_for(folder):
    """Bytes that each file takes when it is converted."""
    used = {}
    for number, (kind, (write, _)) in enumerate(FILES.items()):
        path = folder / f"{number}"
        write(path)
        before = start_of_peak()
        with pytest.raises(WeightsError):
            convert(path)
        used[kind] = peak() - before
    return used


def test_they_take_little_memory(tmp_path):
    """Whatever they declare: files of at most 200 kB, of which the largest would be 4 TB."""
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=forkserver()) as pool:
        used = pool.submit(memory_for, tmp_path).result()
    assert {kind: size for kind, size in used.items() if size > 16 * 2**20} == {}


def test_a_legacy_file_that_declares_more_than_it_has(tmp_path):
    file = io.BytesIO()
    torch.save({NAME: torch.zeros(8)}, file, _use_new_zipfile_serialization=False)
    (tmp_path / "m.pth").write_bytes(file.getvalue().replace(b"K\x08", b"J\x00\x00\x00\x10"))
    with pytest.raises(WeightsError, match=r"m\.pth: .*its tensors have more bytes than its"):
        read_weights(tmp_path / "m.pth")


def test_as_tensor_takes_no_more_than_there_is():
    """A view of one number in the shape of many is refused before anything copies it."""
    with pytest.raises(WeightsError, match="there are no numbers for its shape"):
        as_tensor(torch.zeros(1).expand(2**20, 2**20), "weight", "file")
