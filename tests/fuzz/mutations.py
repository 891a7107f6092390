"""Other bytes from valid ones: flips, cuts and splices of any file, and edits that know JSON, NumPy and text."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fuzz.kinds import Mutator

NUMBERS = (
    "0", "-1", "-0.0", "1", "2", "7", "0.5", "1e-320", "1e9", "1000000000", "2147483648", "9223372036854775808",
    "-9e18", "1e308", "1e999", "-1e999", "nan", "NaN", "inf", "Infinity", "1_000", "0x10", "٣", "²", "1e", ".",
    "9" * 400, "9" * 5000,
)  # fmt: skip
WORDS = (
    "", " ", "\t", "#", "#" * 2000, "=", "#1#2#3", "/", "../../../etc/passwd", "/dev/zero", "..", "\0", "\x1b[31m",
    "\r", "a" * 5000, "x/Y " * 3000, "\ud800", "\udcff", "\ufeff", "\u202e", "\u2028", "{" * 500, "}", "nan", "null",
    "日本", "End Site",
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+\.?\d*(?:[eE][+-]?\d+)?")
_MARK = "@@number@@"  # stands for a number that json.dumps cannot write
_MAGIC = b"\x93NUMPY"


# Any bytes


def flip(rng: random.Random, content: bytes) -> bytes:
    """Turns some bits."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(rng: random.Random, content: bytes) -> bytes:
    """Cuts the end off, or the beginning."""
    place = rng.randrange(len(content) + 1)
    return content[:place] if rng.random() < 0.8 else content[place:]


def splice(rng: random.Random, content: bytes) -> bytes:
    """Moves, doubles or drops a piece, or puts noise in its place."""
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    place, piece = rng.randrange(len(content) + 1), content[first:last][: 1 << 16]
    new = rng.choice((b"", piece, piece * rng.choice((2, 50)), rng.randbytes(rng.randrange(40))))[: 1 << 20]
    return rng.choice((content[:place] + new + content[place:], content[:first] + new + content[last:]))


def extreme_bytes(rng: random.Random, content: bytes) -> bytes:
    """Overwrites a few bytes as if they were a length."""
    value = rng.choice((0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)) % 2**64
    packed = struct.pack("<Q", value)[: rng.choice((1, 2, 4, 8))]
    place = rng.randrange(min(len(content), rng.choice((16, 200, 1 << 30))) + 1)
    return content[:place] + packed + content[place + len(packed) :]


# Text


def extreme_number(rng: random.Random, content: bytes) -> bytes:
    """Puts a strange number in the place of one or of many."""
    found = list(_NUMBER.finditer(content))
    for match in sorted(rng.sample(found, min(len(found), rng.choice((1, 1, 1, 3)))), key=lambda each: -each.start()):
        content = content[: match.start()] + rng.choice(NUMBERS).encode() + content[match.end() :]
    return content


def strange_word(rng: random.Random, content: bytes) -> bytes:
    """Puts something in, or in the place of a word."""
    place = rng.randrange(len(content) + 1)
    end = place if rng.random() < 0.5 else min(len(content), place + rng.randrange(12))
    return content[:place] + rng.choice(WORDS).encode("utf-8", "surrogatepass") + content[end:]


def other_lines(rng: random.Random, content: bytes) -> bytes:
    """Drops, doubles, exchanges or joins lines."""
    lines = content.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(5)
    if what == 0:
        del lines[one]
    elif what == 1:
        lines[one:one] = [lines[one]] * rng.choice((1, 20, 3000))
    elif what == 2:
        lines[one], lines[other] = lines[other], lines[one]
    elif what == 3:
        lines[one] = lines[one] * rng.choice((2, 500))
    else:
        return rng.choice((b"\r\n", b"\r", b" ", b"\x00\n", b"\n\n")).join(lines)
    return b"\n".join(lines)[: 1 << 21]


# JSON


def other_json(rng: random.Random, content: bytes) -> bytes:
    """Replaces, drops, renames or exchanges a few values of the tree."""
    try:
        tree = [json.loads(content)]
    except (ValueError, RecursionError):
        return strange_word(rng, content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(tree))
        holder, key = rng.choice(places)
        what = rng.randrange(8)
        if what == 0 and isinstance(holder, dict):
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[rng.choice(("", "name", "fps", "é" * 300, "\ud800", "x" * 3000, key.upper()))] = holder.pop(key)
        elif what == 2:
            other, its_key = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[its_key]))
        elif what == 3:
            holder[key] = [holder[key]] * rng.choice((1, 2, 3, 300))
        elif what == 4:
            holder[key] = {"name": holder[key]}
        else:
            holder[key] = rng.choice(_strange_values())
    text = json.dumps(tree[0] if tree else None)
    while f'"{_MARK}"' in text:
        text = text.replace(f'"{_MARK}"', rng.choice(NUMBERS), 1)
    deep = rng.choice((10, 70, 900, 100_000))
    return text.replace('"@@deep@@"', "[" * deep + "]" * deep)[: 1 << 22].encode()


def _strange_values() -> tuple[Any, ...]:
    return (
        _MARK, _MARK, _MARK, "@@deep@@", None, True, False, 0, -1, 1, 10**9, 10**18, 0.5, -1e300, 1e308, "", [], {},
        [[]], [None], {"a": {}}, *WORDS,
    )  # fmt: skip


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value."""
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            yield holder, key
            if isinstance(value, (dict, list)):
                waiting.append(value)


# NumPy


def other_header(rng: random.Random, content: bytes) -> bytes:
    """Another type, order, shape or length in the header of a .npy file."""
    if not content.startswith(_MAGIC) or len(content) < 10:
        return flip(rng, content)
    end = 10 + struct.unpack_from("<H", content, 8)[0]
    header, data = content[10:end].decode("latin-1"), content[end:]
    what = rng.randrange(6)
    if what == 0:
        types = (
            "|O",
            "<c16",
            "<U7",
            "|S3",
            "|V8",
            "<M8[s]",
            "<f16",
            "<f2",
            "|b1",
            "<U0",
            "|S0",
            "<U1000000000",
            ">f4",
            "<i1",
            "x",
        )
        header = re.sub(r"'descr': '[^']*'", f"'descr': '{rng.choice(types)}'", header)
    elif what == 1:
        header = re.sub(r"'descr': '[^']*'", "'descr': [('a', '<f4'), ('b', '|O')]", header)
    elif what == 2:
        shapes = (
            "()", "(0,)", "(-1,)", "(-1, -1)", "(1000000000000,)", "(0, 1000000000000)", "(4611686018427387904, 4)",
            "(2, 2.5)", "(True, 3)", "(1,) * 99", "(" + "1, " * 70 + ")", "(9" + "9" * 400 + ",)", "3", "None",
            "(0, 22, 3)", "(1, 1, 1)",
        )  # fmt: skip
        header = re.sub(r"'shape': \([^)]*\)", lambda _: f"'shape': {rng.choice(shapes)}", header)
    elif what == 3:
        numbers = list(re.finditer(r"\d+", header))
        chosen = rng.choice(numbers)
        header = header[: chosen.start()] + rng.choice(("0", "1", "3", "21", "66", "1000000")) + header[chosen.end() :]
    elif what == 4:
        extra = ("'x': 1, ", "'shape': (1,), ", "(" * 300, "-" * 3000, "[" * 90, "{}{}", "'descr': '|O', ", "\0")
        header = header.replace("{", "{" + rng.choice(extra), 1)
    else:
        header = header.replace("False", rng.choice(("True", "1", "None", "__import__('os')")))
    packed = header.encode("latin-1")[:65000]
    return _MAGIC + bytes(content[6:8]) + struct.pack("<H", len(packed)) + packed + data


def members_of(content: bytes) -> dict[str, bytes] | None:
    """The members of an archive; None: an earlier mutation damaged it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # of any kind
        return None


def archive_of(members: Mapping[str, bytes], packing: int) -> bytes:
    """An archive of these members."""
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", packing) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return result.getvalue()


def other_member(rng: random.Random, content: bytes) -> bytes:
    """Another member of an archive: its header or its bytes, its name, its packing; or one more."""
    if (members := members_of(content)) is None:
        return flip(rng, content)
    if not members:
        return content
    name = rng.choice(list(members))
    what = rng.randrange(7)
    if what < 3:
        members[name] = rng.choice((other_header, flip, truncate, splice, extreme_bytes))(rng, members[name])
    elif what == 3:
        members[rng.choice((" ", "fps.npy", "joints", "../x.npy", "a" * 3000 + ".npy", "poses.npy"))] = members.pop(
            name
        )
    elif what == 4:
        zeros = np_file("<f8", f"({rng.choice((1000, 1_000_000, 8_000_000))}, 3)", b"")
        members[name] = zeros + bytes(rng.choice((0, 1 << 20, 24_000_000)))
    elif what == 5:
        members.pop(name)
    else:
        members |= {f"{name}{number}": members[name] for number in range(rng.choice((1, 30, 400)))}
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    return archive_of(members, packing)


def np_file(descr: str, shape: str, data: bytes) -> bytes:
    """A .npy file whose header says what it likes."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return _MAGIC + b"\x01\x00" + struct.pack("<H", len(header)) + header + data


BYTES: tuple[Mutator, ...] = (flip, truncate, splice, extreme_bytes)
TEXT: tuple[Mutator, ...] = (*BYTES, *(extreme_number, strange_word, other_lines) * 2)
JSON: tuple[Mutator, ...] = (*BYTES, extreme_number, strange_word, *(other_json,) * 8)
NPY: tuple[Mutator, ...] = (*BYTES, *(other_header,) * 4)
NPZ: tuple[Mutator, ...] = (*BYTES, *(other_member,) * 6)
