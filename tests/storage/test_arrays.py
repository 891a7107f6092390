"""NumPy's files from anywhere: numbers and words are read as NumPy reads them, everything else is refused unread."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from storage.arrays import read_array, read_arrays
from tests.fuzz.mutations import np_file
from utils.errors import UserError


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.int16).reshape(3, 4)),
        np.arange(6, dtype=">f4").reshape(1, 2, 3),
        np.array(2.5),
        np.zeros((0, 22, 3), np.float16),
        np.array("male"),
        np.array([b"a", b"bc"]),
        np.array([True, False]),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_arrays_as_numpy_reads_them(array: np.ndarray, version: tuple[int, int], tmp_path: Path) -> None:
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "b.npz", one=array, two=array)
        found = [read_array(tmp_path / "a.npy"), *read_arrays(tmp_path / "b.npz").values()]
        for each in found:
            np.testing.assert_array_equal(each, np.load(tmp_path / "a.npy"))
            assert each.dtype == array.dtype.newbyteorder("=") and each.flags.writeable
    assert list(read_arrays(tmp_path / "b.npz", ("two", "three"))) == ["two"]


def zipped(members: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return result.getvalue()


def saved(array: np.ndarray) -> bytes:
    result = io.BytesIO()
    np.save(result, array)
    return result.getvalue()


NUMBERS = saved(np.arange(50.0))
REFUSED = {
    "objects": saved(np.array([{}, 1], dtype=object)),
    "structured": saved(np.zeros(3, [("a", "f4"), ("b", "i2")])),
    "complex": saved(np.zeros(3, complex)),
    "times": saved(np.zeros(3, "M8[s]")),
    "truncated": NUMBERS[:-1],
    "promises": np_file("<f8", "(1000000000, 1000)", b"12345678"),
    "overflows": np_file("<f8", "(4611686018427387904, 4)", b"12345678"),
    "negative": np_file("<f8", "(-1, 3)", b"12345678"),
    "wide words": np_file("<U1000000000", "(1,)", b"12345678"),
    "no words": np_file("<U1", "(1,)", b"\xff\xff\xff\x7f"),
    "empty but enormous": np_file("<f8", "(0, 1000000000000)", b""),
    "no size": np_file("|S0", "(1000000000000,)", b""),
    "dimensions": np_file("<f8", f"({'1, ' * 60})", b"12345678"),
    "code": np_file("<f8", "__import__('os').getpid()", b"12345678"),
    "nested": np_file("<f8", "(" * 3000, b"12345678"),
    "pickle": b"\x80\x04]\x94.",
    "text": b"1 2 3\n",
    "nothing": b"",
    "member cut": zipped({"a.npy": NUMBERS[:-9]}),
    "member of text": zipped({"a.npy": NUMBERS, "b.txt": b"hello"}),
    "no member": zipped({}),
    "packed otherwise": zipped({"a.npy": NUMBERS}, zipfile.ZIP_LZMA),
    "many": zipped({f"{number}.npy": NUMBERS for number in range(1001)}),
    "bomb": zipped({"a.npy": np_file("<f8", "(20000000,)", bytes(160_000_000))}),
    "two bombs": zipped({name: np_file("<f8", "(5000000,)", bytes(40_000_000)) for name in ("a.npy", "b.npy")}),
    "changed": (content := bytearray(zipped({"a.npy": NUMBERS}, zipfile.ZIP_STORED)))[:60]
    + bytes([content[60] ^ 1])
    + content[61:],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_everything_else_is_refused_before_memory_is_taken(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(REFUSED[kind])
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="a.npy is not a readable .npy file"):
            read_array(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_an_archive_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(zipped({"joints.npy": NUMBERS, "fps.npy": saved(np.array(20))}))
    with pytest.raises(UserError, match="it is an archive of joints, fps"):
        read_array(path)
    assert set(read_arrays(path)) == {"joints", "fps"}


def test_arrays_that_pack_well_are_read(tmp_path: Path) -> None:
    """Hands that never move, in an hour of motion."""
    np.savez_compressed(tmp_path / "a.npz", poses=np.zeros((72_000, 90), np.float32))
    assert (tmp_path / "a.npz").stat().st_size < 100_000 and read_arrays(tmp_path / "a.npz")["poses"].shape == (
        72_000,
        90,
    )
