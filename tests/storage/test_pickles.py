"""Pickles of strangers: plain data comes back, nothing is run, and no file takes more than it holds."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from storage.pickles import MOST_STEPS, read_pickle
from utils.errors import UserError

ROOT = Path(__file__).parents[2]


class Command:
    """Unpickling it would run a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch owned",)


@pytest.mark.parametrize(
    "content",
    [["a", "b"], {"a": 1, "b": 2.5, 3: -(2**63)}, ("x", [1, {"y": None}], True, b"\xff", "é\n", 2**63 - 1, (), {"z"})],
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back(content: object, protocol: int) -> None:
    if isinstance(content, tuple) and protocol < 4:
        content = content[:3] + content[4:7]  # older protocols import the types of bytes and sets
    assert read_pickle(pickle.dumps(content, protocol), "file.pkl") == content


def test_texts_of_python_2_are_bytes() -> None:
    assert read_pickle(b"(dp0\nS'a\\xff\\n'\np1\nI3\ns.", "file.pkl") == {"a\xff\n": 3}


@pytest.mark.parametrize("content", [Command(), np.zeros(2), np.float64(1), {"a": [Path("x")]}, print])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_objects_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="file.pkl is not read: it holds Python objects"):
        read_pickle(pickle.dumps(content, protocol), "file.pkl")
    assert not Path("owned").exists()


def nested(depth: int, key: bool) -> bytes:
    """Tuples in tuples; as a key Python's reader hashes them until its stack ends."""
    return b"\x80\x04}" + b")" + b"\x85" * depth + (b"K\x01s." if key else b".")


SEVERAL = b"\x80\x04]\x94" + b"".join(
    b"](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"e\x94" for level in range(30)
)
HOSTILE = {
    "nothing": b"",
    "no pickle": b"no pickle",
    "cut": pickle.dumps(["word"] * 9)[:-4],
    "no end": b"N",
    "empty": b".",
    "bytes beyond the end": b"\x80\x04\x8e" + (1 << 32).to_bytes(8, "little"),
    "text beyond the end": b"\x80\x04\x8d" + (1 << 62).to_bytes(8, "little") + b"a.",
    "array beyond the end": b"\x80\x05\x96" + (1 << 32).to_bytes(8, "little") + b".",
    "number beyond the end": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    "number of many digits": b"L" + b"9" * 5000 + b"L\n.",
    "number beyond 64 bits": b"\x80\x02\x8a\x09" + b"\xff" * 8 + b"\x7f.",
    "deep": nested(100_000, key=False),
    "deep key": nested(1_000_000, key=True),
    "holds itself": b"\x80\x04]\x94h\x00a.",
    "the same again and again": SEVERAL + b".",
    "many steps": b"(" + b"N" * (MOST_STEPS + 2) + b"t.",
    "list as key": b"}]Ns.",
    "long key": b"\x80\x04}X" + (1 << 16).to_bytes(4, "little") + b"a" * (1 << 16) + b"Ns.",
    "marks that do not fit": b"\x80\x02(N\x87t.",
    "state of a list": b"\x80\x02]}b.",
    "call of a text": b"\x80\x02X\x01\x00\x00\x00a)R.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"\x80\x02K\x01Q.",
    "instance": b"(ios\nsystem\n.",
    "deep memo": b"\x80\x02Nr\xff\xff\xff\x0f0jr\xff\xff\x0f.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="^file.pkl is not read: ") as error:
        read_pickle(HOSTILE[name], "file.pkl")
    assert len(str(error.value)) < 250 and "\n" not in str(error.value)


def test_no_hostile_pickle_takes_more_than_it_holds() -> None:
    """In a process of little memory, where what Python's reader does with them would end it."""
    script = (
        "import tests.storage.test_pickles as t\nfrom utils.errors import UserError\n"
        "for content in t.HOSTILE.values():\n"
        "    try:\n        t.read_pickle(content, 'x')\n    except UserError:\n        pass\n"
    )
    limit = 400 << 20

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, preexec_fn=limited, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
