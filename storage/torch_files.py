"""What `torch.save` writes, read without torch's own reader: that one trusts shapes and strides, and checks no sums."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from storage.pickles import no_objects, read_pickle

# Modules and names as they stand in the files.
KINDS = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
FORMER_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the number that former files begin with
MOST_RECORDS = 200_000
MOST_STRUCTURE = 1 << 26  # bytes of the part that is no tensor
MOST_DIMENSIONS, MOST_LENGTH = 8, 1 << 40
MOST_SHARED = 4  # times that the bytes of a file may be used by several tensors
BLOCK = 1 << 20


class _Records:
    """The parts of the archive by their names within its folder. Every one is compared with its checksum.

    Args:
        values: False leaves the numbers of tensors unread: their tensors are on the device "meta".

    Raises:
        ValueError, zipfile.BadZipFile: it is none of torch, packed, damaged, or beyond the limits.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int, values: bool) -> None:
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("it is packed: torch.save packs nothing")
        if len(infos) > MOST_RECORDS or sum(info.file_size for info in infos) > size:
            raise ValueError("its parts are more or larger than the file")
        self.structure, self.sizes = b"", {}
        self._contents: dict[str, Tensor] = {}
        self._made: dict[tuple[str, torch.dtype], Tensor] = {}
        self.bytes_left = MOST_SHARED * size
        for info in infos:
            name = info.filename.partition("/")[2]
            if name == "data.pkl" and info.file_size <= MOST_STRUCTURE:
                self.structure = archive.read(info)
            elif name == "byteorder" and archive.read(info) != b"little":
                raise ValueError("its numbers are in another order of bytes")
            elif values or not name.startswith("data/"):
                self._contents[name] = _content(archive, info)
            self.sizes[name] = info.file_size
        if not self.structure:
            raise ValueError("it is no archive of torch.save")

    def storage(self, identity: Any) -> Tensor:
        """What stands for a persistent id: the numbers of a part, (n,)."""
        kind, dtype, key, _, count = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(count) is not int:
            raise ValueError("it refers to something else than numbers")
        name = f"data/{key}"
        if self.sizes.get(name) != count * dtype.itemsize:
            raise ValueError(f"its part {name[:60]} is missing or of another size")
        if name not in self._contents:
            return torch.empty(count, dtype=dtype, device="meta")
        if (name, dtype) not in self._made:
            if dtype == torch.bool and count and int(self._contents[name].max()) > 1:
                raise ValueError("its truth values are neither true nor false")
            self._made[name, dtype] = self._contents[name].view(dtype)
        return self._made[name, dtype]

    def tensor(self, storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
        """A view of a storage in which every number stands once."""
        numbers = [offset, *size, *stride]
        if not isinstance(storage, Tensor) or any(type(each) is not int or each < 0 for each in numbers):
            raise ValueError("it holds a tensor of an impossible shape")
        if len(size) != len(stride) or len(size) > MOST_DIMENSIONS or max(size, default=0) > MOST_LENGTH:
            raise ValueError("it holds a tensor that is larger than its numbers")
        reach = 1
        for step, length in sorted(zip(stride, size, strict=True)) if math.prod(size) else ():
            if length > 1 and step < reach:
                raise ValueError("it holds a tensor that repeats its numbers")
            reach += (length - 1) * step
        if math.prod(size) and offset + reach > len(storage):
            raise ValueError("it holds a tensor that is larger than its numbers")
        self.bytes_left -= math.prod(size) * storage.itemsize
        if self.bytes_left < 0:
            raise ValueError("its tensors share their numbers too often")
        return storage.as_strided(size, stride, offset)

    def find(self, module: str, name: str) -> Any:
        """What a name in the structure stands for."""
        if module == "torch" and name in KINDS:
            return KINDS[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self.tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("collections", "OrderedDict"):
            return lambda: {}
        return no_objects(module, name)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Tensor:
    """The bytes of a part. Read to its end, `zipfile` compares them with their checksum."""
    content = torch.empty(info.file_size, dtype=torch.uint8)
    place, start = memoryview(content.numpy()), 0
    with archive.open(info) as file:
        while block := file.read(BLOCK):
            place[start : start + len(block)] = block
            start += len(block)
    if start != info.file_size:
        raise ValueError("it is truncated")
    return content


def read_torch(path: Path | str, values: bool = True) -> Any:
    """What `torch.save` wrote, on the CPU: plain data and dense tensors.

    Args:
        values: False reads shapes alone: the tensors are on the device "meta".

    Raises:
        ValueError, OSError, zipfile.BadZipFile: damaged, of another kind, or beyond the limits.
        UserError: it holds something else than plain data and tensors.
    """
    with open(path, "rb") as file:
        if file.read(len(FORMER_START)) == FORMER_START:
            raise ValueError("torch before 1.6 wrote it: load it with weights_only=True and save it again")
        with zipfile.ZipFile(file) as archive:
            records = _Records(archive, Path(path).stat().st_size, values)
    return read_pickle(records.structure, path, records.find, records.storage)
