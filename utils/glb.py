"""Binary glTF 2.0 (.glb, .vrm): a JSON document and one block of bytes, read, grown and written.

Only what animation needs is looked at; everything else in a file stays as it is.
"""

from __future__ import annotations

import copy
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from storage.files import parse_json, read_bytes
from storage.limits import LARGEST_GLB
from utils.errors import UserError

FLOAT, BYTE, SHORT = 5126, 5121, 5123  # glTF's component types
NUMBER_TYPES = {FLOAT: np.float32, BYTE: np.uint8, SHORT: np.uint16}
SHAPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
GROWN = ("accessors", "bufferViews", "buffers")  # what `Glb` keeps apart from the rest of the document


@dataclass
class Glb:
    """A file as it grows.

    Attributes:
        document: the JSON without accessors, views and buffers.
        accessors, views: of the document.
        data: the block of bytes.
    """

    document: dict[str, Any] = field(default_factory=dict)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)

    @property
    def bones(self) -> set[int]:
        """Numbers of the nodes that move a skin."""
        lists = (skin.get("joints") for skin in self.document.get("skins", []))
        return {node for nodes in lists if isinstance(nodes, list) for node in nodes if type(node) is int}

    def copy(self) -> Glb:
        """The same, to be changed."""
        return copy.deepcopy(self)

    def add(self, array: np.ndarray, component: int, target: int | None = None, bounds: bool = False) -> int:
        """Appends an array (count,) or (count, components) and returns the index of its accessor."""
        array = np.ascontiguousarray(array, dtype=NUMBER_TYPES[component])
        flat = array.reshape(len(array), -1)
        self.data.extend(b"\0" * (-len(self.data) % 4))
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        if target:
            view["target"] = target
        accessor = {
            "bufferView": len(self.views),
            "componentType": component,
            "count": len(flat),
            "type": SHAPES[flat.shape[1]],
        }
        if bounds:
            accessor |= {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
        self.views.append(view)
        self.accessors.append(accessor)
        self.data.extend(array.tobytes())
        return len(self.accessors) - 1

    def animate(self, name: str, fps: float, tracks: dict[tuple[int, str], np.ndarray]) -> None:
        """Makes tracks the file's one animation: values (T, 3) or (T, 4) by (node, "translation" or "rotation"),
        rotations with the real part first."""
        samplers, channels = [], []
        times = None
        for (node, path), values in tracks.items():
            if times is None:
                times = self.add(np.arange(len(values)) / float(fps), FLOAT, bounds=True)
            turned = values[:, [1, 2, 3, 0]] if path == "rotation" else values  # glTF writes the real part last
            channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
            samplers.append({"input": times, "interpolation": "LINEAR", "output": self.add(turned, FLOAT)})
        self.document["animations"] = [{"name": name, "samplers": samplers, "channels": channels}]

    def pack(self) -> bytes:
        """The two chunks of a .glb with their headers, each padded to four bytes."""
        binary = bytes(self.data) + b"\0" * (-len(self.data) % 4)
        grown = {"accessors": self.accessors, "bufferViews": self.views, "buffers": [{"byteLength": len(binary)}]}
        text = json.dumps({**self.document, **grown}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), JSON_CHUNK) + text
        chunks += struct.pack("<II", len(binary), BINARY_CHUNK) + binary
        return struct.pack("<III", MAGIC, 2, 12 + len(chunks)) + chunks


def read_glb(path: Path | str) -> Glb:
    """A .glb file.

    Raises:
        UserError: it is missing, cut off, no binary glTF 2.0, or keeps its bytes in other files; names it.
    """
    content = read_bytes(path, LARGEST_GLB)
    if len(content) < 20 or struct.unpack_from("<I", content)[0] != MAGIC:
        raise UserError(f"{path} is no .glb file: export the character as binary glTF 2.0")
    _, version, length = struct.unpack_from("<III", content)
    size, kind = struct.unpack_from("<II", content, 12)
    if version != 2 or kind != JSON_CHUNK or length > len(content) or 20 + size > length:
        raise UserError(f"{path} is no whole glTF 2.0 file: export it again")
    document = parse_json(content[20 : 20 + size].rstrip(b" \0"), path)
    binary, start = b"", 20 + size
    if start + 8 <= length:
        size, kind = struct.unpack_from("<II", content, start)
        if kind != BINARY_CHUNK or start + 8 + size > length:
            raise UserError(f"{path} is no whole glTF 2.0 file: export it again")
        binary = content[start + 8 : start + 8 + size]
    if not isinstance(document, dict) or any(
        not isinstance(document.get(key, []), list) or not all(isinstance(each, dict) for each in document.get(key, []))
        for key in (*GROWN, "nodes", "skins", "meshes", "scenes", "animations")
    ):
        raise UserError(f"{path} is no glTF document: export it again")
    accessors, views, buffers = (document.pop(key, []) for key in GROWN)
    if len(buffers) > 1 or any("uri" in buffer for buffer in buffers):
        raise UserError(f"{path} keeps its data in other files: export it as one .glb")
    return Glb(document, accessors, views, bytearray(binary))
