"""A demo's folder: what lies in it whatever stopped the runs that made it, under which names, and its index.

`result.jsonl` is the journal: what a run reserves, and a line for every motion as soon as its files are there. It is
only ever appended to. `result.json`, the index of the whole folder, is made of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from storage.file_lock import hold
from storage.files import atomic_path, parse_json, remove_abandoned
from utils.errors import UserError
from utils.spelling import slugify

INDEX, JOURNAL = "result.json", "result.jsonl"
INDEX_SHARE = 0.01  # of a run's time may go into its index; the journal knows what the index does not know yet
NAME = re.compile(r"\d+_[a-z0-9_]+")  # of a motion's folder: no path leads out of the demo's
MALFORMED = (UserError, ValueError, TypeError, KeyError, AttributeError)  # what a line of something else raises


@dataclass(frozen=True)
class Made:
    """Files that were written together.

    Attributes:
        told: what the index says of them, as JSON, among it their names (`files`).
        sizes: of each file in bytes.
    """

    told: str
    sizes: tuple[int, ...]

    @property
    def content(self) -> dict[str, Any]:
        """What the index says."""
        return json.loads(self.told)  # ours


class DemoFolder:
    """The motions of a folder by key; a key tells everything that decides a motion.

    Several processes may write into one folder: each sees the others' lines when it writes its own.

    Args:
        folder: exists.

    Attributes:
        made: finished motions by key.
        comparisons: what shows motions side by side, by a key of these motions.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.made, self.comparisons = folder, dict[str, Made](), dict[str, Made]()
        self._names: dict[str, str] = {}
        self._comparison_names: dict[str, str] = {}
        self._common: dict[str, dict[str, Any]] = {}  # what is told of all motions of the run that reserved a key
        self._read_to = 0
        self._index_at, self._index_cost = time.monotonic(), 0.0
        remove_abandoned(folder)
        if (folder / JOURNAL).exists():
            with self._journal() as file:
                self._read(file)
            self.made = {key: made for key, made in self.made.items() if self.is_whole(made)}

    def is_whole(self, made: Made) -> bool:
        """Whether the files are there as they were written."""
        try:
            files = made.content["files"].values()
            return [os.path.getsize(self.folder / name) for name in files] == list(made.sizes)
        except (OSError, *MALFORMED):
            return False

    def reserve(self, texts: Mapping[str, str], common: Mapping[str, Any]) -> list[str]:
        """Folder names of motions, `NN_prompt` with the number in this run unless that name is another motion's.

        Args:
            texts: prompts by key.
            common: what the index has to tell of all of them.

        Raises:
            UserError: the journal cannot be written.
        """
        with self._journal() as file:
            self._read(file)
            taken, free, names = set(self._names.values()), len(self._names), {}
            for number, (key, text) in enumerate(texts.items()):
                if key in self._names:
                    continue
                slug = slugify(text, 40)
                name = f"{number:02d}_{slug}"
                while name in taken:
                    name, free = f"{free:02d}_{slug}", free + 1
                taken.add(name)
                names[key] = name
            if names:
                self._append(file, {"common": common, "names": names})
        return [self._names[key] for key in texts]

    def reserve_comparison(self, key: str) -> str:
        """Name of the files that show these motions side by side: no other run's."""
        with self._journal() as file:
            self._read(file)
            if key not in self._comparison_names:
                self._append(file, {"compared": key})
        return self._comparison_names[key]

    def add(self, key: str, told: Mapping[str, Any]) -> None:
        """Notes that the files of a motion are there.

        Raises:
            UserError: the journal cannot be written.
        """
        self._note({"key": key}, told)

    def add_comparison(self, key: str, told: Mapping[str, Any]) -> None:
        """Notes that these motions stand side by side; see `add`."""
        self._note({"comparison": key}, told)

    def write_index(self, head: Mapping[str, Any], common: Mapping[str, Any], now: bool = False) -> None:
        """Writes result.json: `head`, then every motion of the folder.

        Args:
            common: what `head` tells of all motions; motions of former runs tell what was different for them.
            now: even if it was written lately.

        Raises:
            UserError: it cannot be written.
        """
        started = time.monotonic()
        if not now and self._index_cost >= INDEX_SHARE * (started - self._index_at):
            return
        with atomic_path(self.folder / INDEX) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}") + ',\n  "samples": [')
            separator = "\n"
            for key in self._names:
                if key in self.made:
                    other = {name: value for name, value in self._common[key].items() if value != common.get(name)}
                    text = json.dumps(self.made[key].content | other, indent=2, ensure_ascii=False)
                    file.write(separator + "    " + text.replace("\n", "\n    "))
                    separator = ",\n"
            file.write("\n  ]\n}\n")
        self._index_at = time.monotonic()
        self._index_cost = self._index_at - started

    def _note(self, kind: dict[str, str], told: Mapping[str, Any]) -> None:
        sizes = [os.path.getsize(self.folder / name) for name in told["files"].values()]
        with self._journal() as file:
            self._append(file, kind | {"told": told, "bytes": sizes})

    @contextlib.contextmanager
    def _journal(self) -> Iterator[BinaryIO]:
        """The journal for this process alone, where the file system has locks."""
        path = self.folder / JOURNAL
        try:
            with open(path, "a+b") as file:
                with contextlib.suppress(OSError):
                    hold(file)
                yield file
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error

    def _append(self, file: BinaryIO, line: Mapping[str, Any]) -> None:
        torn = file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        file.write(b"\n" * bool(torn) + json.dumps(line, ensure_ascii=False).encode() + b"\n")
        file.flush()
        self._read(file)

    def _read(self, file: BinaryIO) -> None:
        """Takes up the lines that were written since the last time; a torn one counts as not written."""
        file.seek(self._read_to)
        for line in file:
            if not line.endswith(b"\n"):
                break
            self._read_to += len(line)
            with contextlib.suppress(*MALFORMED):
                self._take(parse_json(line, JOURNAL))

    def _take(self, line: dict[str, Any]) -> None:
        if "names" in line:
            names = {key: name for key, name in line["names"].items() if NAME.fullmatch(name)}
            self._names |= names
            self._common |= dict.fromkeys(names, dict(line["common"]))
            return
        if compared := line.get("compared") or line.get("comparison"):
            number = len(self._comparison_names) + 1
            self._comparison_names.setdefault(compared, f"comparison_{number}" if number > 1 else "comparison")
        if "compared" in line:
            return
        made = Made(json.dumps(dict(line["told"]), ensure_ascii=False), tuple(line["bytes"]))
        if "key" in line and line["key"] in self._names:
            self.made[line["key"]] = made
        elif "comparison" in line:
            self.comparisons[line["comparison"]] = made
