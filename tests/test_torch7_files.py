"""Files of Torch7: read as their format says, refused by name where they break it, in their own size."""

import concurrent.futures
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from helpers.runs import forkserver, peak, start_of_peak
from helpers.torch7 import CLASSES, Cuda, Module, Writer, t7

from contextual_attention.models.network.weight_files import WeightsError, as_tensor, read_weights

MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def read(tmp_path):
    """The named tensors of a value, or of bytes, written to a file."""

    def read(value):
        path = tmp_path / "net.t7"
        path.write_bytes(value if isinstance(value, bytes) else t7(value))
        return read_weights(path)

    return read


def lists(tensors):
    return {name: x.tolist() for name, x in tensors.items()}


# ------------------------------------------------------------------------------------------------------------
# Read right


def test_a_file_written_by_hand(read):
    """A table of one tensor, byte by byte as the format lists them, and not by the other tests' writer."""
    content = (
        b"\x03\0\0\0" b"\x01\0\0\0" b"\x01\0\0\0"  # a table, the first object, of one pair
        b"\x02\0\0\0" b"\x01\0\0\0w"  # the string "w"
        b"\x04\0\0\0" b"\x02\0\0\0" b"\x03\0\0\0V 1" b"\x12\0\0\0torch.DoubleTensor"
        b"\x01\0\0\0" b"\x02\0\0\0\0\0\0\0" b"\x01\0\0\0\0\0\0\0"  # of one dimension, 2 numbers, step 1,
        b"\x02\0\0\0\0\0\0\0"  # from the second
        b"\x04\0\0\0" b"\x03\0\0\0" b"\x03\0\0\0V 1" b"\x13\0\0\0torch.DoubleStorage"
        b"\x03\0\0\0\0\0\0\0"
        b"\0\0\0\0\0\0\xf0\x3f" b"\0\0\0\0\0\0\0\x40" b"\0\0\0\0\0\0\x08\x40"  # 1, 2, 3
    )  # fmt: skip
    assert lists(read(content)) == {"w": [2.0, 3.0]}
    assert t7({"w": np.array([1.0, 2.0, 3.0])[1:]}) == content


def test_names(read):
    inner = Module("nn.Sequential", {"modules": [Module("nn.X", {"weight": MATRIX[0]}), Module("nn.X", {})]})
    outer = Module("nn.Sequential", {"modules": [inner, Module("nn.Y", {"bias": MATRIX[1]})]})
    assert lists(read(outer)) == {"0.0.weight": [0, 1, 2, 3], "1.bias": [4, 5, 6, 7]}
    table = {
        "model": outer,
        "mean": MATRIX[2],
        "list": [MATRIX[2], 7],
        2.5: MATRIX,
        True: MATRIX,
        "text": "x",
    }
    assert read(table).keys() == {"model.0.0.weight", "model.1.bias", "mean", "list.0"}


def test_strides_and_offsets(read):
    views = {
        "all": MATRIX,
        "turned": MATRIX.T,
        "part": MATRIX[1:, ::2],
        "row": MATRIX[2],
        "same": MATRIX.T[1:],
    }
    found = read(views)
    assert lists(found) == {name: x.tolist() for name, x in views.items()}
    # Of one storage, as in the file: each number is there once.
    assert len({x.untyped_storage().data_ptr() for x in found.values()}) == 1


@pytest.mark.parametrize("dtype", CLASSES)
@pytest.mark.parametrize("wrap", [np.asarray, Cuda])
def test_every_kind_of_number(read, dtype, wrap):
    array = np.array([0, 1, 100], dtype)
    # Strings of every length before it: numbers at places that no instruction is made for.
    for padding in range(8):
        found = read({"x" * padding: wrap(array)})["x" * padding]
        assert found.numpy().dtype == array.dtype
        assert found.tolist() == [0, 1, 100]
        assert found.data_ptr() % array.itemsize == 0


def test_what_has_no_numbers(read):
    empty = np.empty(0, np.float32)
    writer = Writer()
    writer.value({"none": None, "a": 1.5, "b": False, "d": [], "e": {}})
    writer_with_tensors = t7({"empty": empty, "w": MATRIX[0]})
    assert read(bytes(writer.bytes)) == {}
    assert {name for name, x in read(writer_with_tensors).items() if x.numel()} == {"w"}


def test_a_class_without_a_version(read):
    assert lists(read(Module("nn.Linear", {"bias": MATRIX[0]}, version=None))) == {"bias": [0, 1, 2, 3]}


def test_what_is_there_twice(read):
    """Tensors have every name, tables and modules the first one; circles end."""
    shared = Module("nn.X", {"weight": MATRIX})
    table = {"a": [shared, MATRIX], "b": [shared, MATRIX]}
    shared.fields["self"] = shared
    table["again"] = table
    assert sorted(read(table)) == ["a.0.weight", "a.1", "b.1"]


def test_names_do_not_multiply(read):
    """Each table holds the next one twice: two to the power of fifty paths lead to the tensor."""
    table = {"w": MATRIX}
    for _ in range(50):
        table = {"l": table, "r": table}
    assert list(read(table)) == ["l." * 50 + "w"]


def test_long_names_take_no_memory(read):
    """Ten thousand tensors under a name of 100 kB would have names of a gigabyte."""
    content = t7({"n" * 100_000: {"l": [MATRIX[0]] * 10_000}, "w": MATRIX[0]})
    tracemalloc.start()
    assert list(read(content)) == ["w"]
    assert tracemalloc.get_traced_memory()[1] < 50 * len(content)
    tracemalloc.stop()


# ------------------------------------------------------------------------------------------------------------
# Refused

LONG = struct.Struct("<q")


def changed(value, old, new):
    """A file in which bytes that are there once are others."""
    content = t7(value)
    assert content.count(old) == 1
    return content.replace(old, new)


def longs(*numbers):
    return b"".join(LONG.pack(number) for number in numbers)


def ints(*numbers):
    return struct.pack(f"<{len(numbers)}i", *numbers)


# The sizes, strides and offset of MATRIX in a file, and its storage's number.
SHAPE = longs(3, 4, 4, 1, 1)
ONE = {"w": MATRIX}
TEXT = {"key": 1}
MOST = 2**31 - 1
FILES = {
    "more rows": (changed(ONE, SHAPE, longs(4, 4, 4, 1, 1)), "out of bounds"),
    "an offset beyond": (changed(ONE, SHAPE, longs(3, 4, 4, 1, 2)), "out of bounds"),
    "an offset before": (changed(ONE, SHAPE, longs(3, 4, 4, 1, 0)), "a tensor of sizes .* from 0"),
    "a negative size": (changed(ONE, SHAPE, longs(-3, 4, 4, 1, 1)), r"a tensor of sizes \[-3, 4\]"),
    "a negative stride": (changed(ONE, SHAPE, longs(3, 4, -4, 1, 9)), r"strides \[-4, 1\]"),
    "sizes that overflow": (changed(ONE, SHAPE, longs(2**62, 2**62, 2**62, 1, 1)), "not a file of named"),
    "dimensions": (changed(ONE, ints(2) + SHAPE, ints(2**30) + SHAPE), "a tensor of 1073741824 dimensions"),
    "dimensions below 0": (changed(ONE, ints(2) + SHAPE, ints(-2) + SHAPE), "a tensor of -2 dimensions"),
    "a storage of more": (changed(ONE, longs(12), longs(2**40)), "4,398,046,511,104 bytes are to follow"),
    "a storage of less than 0": (changed(ONE, longs(12), longs(-12)), "-48 bytes are to follow"),
    "a storage of another's": (changed(ONE, SHAPE + ints(4, 3), SHAPE + ints(4, 1)), "without a storage"),
    "a string of more": (changed(TEXT, ints(2, 3), ints(2, MOST)), "2,147,483,647 bytes are to follow"),
    "a string of less than 0": (changed(TEXT, ints(2, 3), ints(2, -3)), "-3 bytes are to follow"),
    "a table of more": (ints(3, 1, MOST), "4 bytes are to follow byte 12, and 0 do"),
    "a table of less than 0": (ints(3, 1, -1), "a table of -1 values"),
    "an unknown type": (ints(3, 1, 1, 9), "9 at byte 12 is no type of Torch7's"),
    "a class of its own": (t7(Module("tds.Hash", 7)), "an object of 'tds.Hash' is not a table of fields"),
    "tables in tables": (b"".join(ints(3, each, 1, 1) + bytes(8) for each in range(1, 10**5)), "100 deep"),
    "ascii": (b"4\n1\n3\nV 1\n13\nnn.Sequential\n", r'kind "ascii".*torch\.save\(FILE, OBJECT, "binary"\)'),
    "big-endian": (struct.pack(">ii", 4, 1) + b"\0\0\0\3V 1", "big-endian machine"),
    **{
        f"a function of type {kind}": (ints(3, 1, 1, 2, 1) + b"f" + ints(kind, 2, 4), "Lua function, .* code")
        for kind in (6, 7, 8)
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_none_is_named(read, tmp_path, kind):
    content, says = FILES[kind]
    with pytest.raises(WeightsError, match=says) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'net.t7'}: not a file of named tensors (")
    assert "\n" not in str(caught.value)


def test_a_shape_without_numbers_is_no_weight(read):
    """A stride of 0 is within the storage, and makes a giant of one number: refused where it is taken."""
    tensor = read(changed(ONE, SHAPE, longs(2**30, 2**30, 0, 0, 1)))["w"]
    assert tensor.numel() == 2**60
    with pytest.raises(WeightsError, match="there are no numbers for its shape"):
        as_tensor(tensor, "w", "file")


def test_a_tensor_that_holds_itself(read):
    """Its storage is itself, which is none yet."""
    assert read(changed(ONE, SHAPE + ints(4, 3), SHAPE + ints(4, 2))) == {}


def small():
    return t7(
        {"model": Module("nn.X", {"weight": MATRIX, "n": 1, "on": True}), "mean": np.arange(3.0), "t": "x"}
    )


def test_every_cut(read):
    content = small()
    for length in range(1, len(content)):
        with pytest.raises(WeightsError):
            read(content[:length])


def test_every_byte_damaged(read):
    """Whatever becomes of it: tensors within the file, or a WeightsError."""
    content = small()
    outcomes = set()
    for place in range(len(content)):
        for bits in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[place] ^= bits
            try:
                tensors = read(bytes(damaged))
            except WeightsError:
                outcomes.add("refused")
                continue
            outcomes.add("read")
            for tensor in tensors.values():
                assert tensor.untyped_storage().nbytes() <= len(content)
                if tensor.numel() <= len(content):
                    tensor.double().sum()  # every number is there to be read
    assert outcomes == {"refused", "read"}


def memory_for(folder):
    """Bytes that each file takes when it is read."""
    used = {}
    for number, (kind, (content, _)) in enumerate(FILES.items()):
        path = folder / f"{number}"
        path.write_bytes(content)
        before = start_of_peak()
        with pytest.raises(WeightsError):
            read_weights(path)
        used[kind] = peak() - before
    return used


def test_they_take_little_memory(tmp_path):
    """Whatever they declare: files of at most 2 MB, of which the largest would be 4 TB."""
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=forkserver()) as pool:
        used = pool.submit(memory_for, tmp_path).result()
    assert {kind: size for kind, size in used.items() if size > 16 * 2**20} == {}


def test_the_tensors_outlive_the_file(read, tmp_path):
    found = read({"w": MATRIX})
    (tmp_path / "net.t7").write_bytes(b"")
    assert torch.equal(found["w"], torch.from_numpy(MATRIX))
