"""What is done already: kept beside the dataset, so that an interrupted preparation goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from data.motions.settings import Axis
from data.prepare.clip import FOLDERS, Record
from data.prepare.sources import clip_name
from data.specs import SPLITS
from storage.file_lock import hold
from storage.files import (
    atomic_path,
    parse_json,
    read_bytes,
    read_json,
    remove_abandoned,
    writable_folder,
    write_json,
)
from storage.limits import LARGEST_JSON
from utils.errors import UserError
from utils.schema import from_dict

FOLDER = ".preparation"
AGAIN = "give --restart to make all clips anew"
MADE = ("dataset.json", "Mean.npy", "Std.npy", "report.json", "report.md", "contact_sheet.png")


class Journal:
    """The settings of a preparation and its finished clips, in `OUT/.preparation`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / FOLDER
        self.title = str(out)
        self.records: dict[str, Record] = {}

    @contextlib.contextmanager
    def opened(self, settings: dict[str, Any], restart: bool) -> Iterator[Journal]:
        """Takes the folder for this process, and reads what is done.

        Args:
            settings: all that the clips depend on, as plain values.
            restart: forget what is done.

        Raises:
            UserError: the folder holds something else, was prepared with other settings, is in use by another process,
                or cannot be written.
        """
        self.check_place()
        writable_folder(self.folder)
        with locked(self.folder / "lock", self.title):
            if restart:
                self.forget()
            self.check(settings)
            self.read()
            for name in FOLDERS:
                writable_folder(self.out / name)
            for place in (self.folder, self.out, *map(self.out.joinpath, FOLDERS)):
                remove_abandoned(place)
            yield self

    def check_place(self) -> None:
        """Raises `UserError` if the folder holds something else."""
        made_here = (self.out / FOLDER).is_dir()
        if self.out.exists() and (not self.out.is_dir() or (any(self.out.iterdir()) and not made_here)):
            raise UserError(f"{self.out} exists and was not made by prepare_dataset.py: choose another --out")

    def forget(self) -> None:
        """Removes everything that preparations made here."""
        for name in FOLDERS:
            shutil.rmtree(self.out / name, ignore_errors=True)
        for name in (*MADE, *(f"{split}.txt" for split in SPLITS)):
            (self.out / name).unlink(missing_ok=True)
        for path in self.folder.glob("shard-*"):
            shutil.rmtree(path, ignore_errors=True)
        self.forget_records()

    def forget_records(self) -> None:
        """Removes the journal's own files."""
        self.records.clear()
        for name in ("settings.json", "axes.json", "records.jsonl"):
            (self.folder / name).unlink(missing_ok=True)

    def check(self, settings: dict[str, Any]) -> None:
        """Notes the settings; raises `UserError` if others are noted already."""
        path = self.folder / "settings.json"
        settings = parse_json(json.dumps(settings).encode(), path)  # as they come back
        if not path.is_file():
            write_json(path, settings)
            return
        before = _entries(path)
        for key in {**settings, **before}:
            if settings.get(key) != before.get(key):
                raise UserError(
                    f"{self.title} was prepared with --{key} {_shown(before.get(key))}, not "
                    f"{_shown(settings.get(key))}: give the same options, another --out, or --restart to make all "
                    "clips anew"
                )

    def remembered_axes(self, found: dict[str, Axis]) -> dict[str, Axis]:
        """The upward axes that this dataset was begun with, with those of new kinds of files added."""
        axes = {**found, **self.axes()}
        write_json(self.folder / "axes.json", axes)
        return axes

    def axes(self) -> dict[str, Axis]:
        """The upward axes that are noted.

        Raises:
            UserError: something else is noted.
        """
        path = self.folder / "axes.json"
        known = _entries(path) if path.is_file() else {}
        if not all(axis in get_args(Axis) for axis in known.values()):
            raise UserError(f"{path} holds something else than axes: {AGAIN}")
        return known

    def read(self) -> None:
        """Reads what is done."""
        path = self.folder / "records.jsonl"
        if not path.exists():
            return
        for line in read_bytes(path, LARGEST_JSON).splitlines():
            # The last line may be cut off; a clip of which nothing is known is made anew.
            with contextlib.suppress(UserError):
                record = from_dict(Record, parse_json(line, path))
                if all(clip_name(each) == each for each in record.ids):  # files of these names may be deleted
                    self.records[record.name] = record

    def add(self, record: Record) -> None:
        """Notes a finished clip."""
        self.records[record.name] = record
        with open(self.folder / "records.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")

    def is_done(self, name: str, fingerprint: str) -> bool:
        """Whether a clip need not be made again: same motion and captions, files there."""
        record = self.records.get(name)
        if record is None or record.fingerprint != fingerprint:
            return False
        return all(path.is_file() for clip_id in record.ids for path in self.files(clip_id))

    def files(self, clip_id: str) -> list[Path]:
        """The files of a clip."""
        return [self.out / folder / f"{clip_id}{suffix}" for folder, suffix in FOLDERS.items()]

    def remove(self, names: set[str]) -> None:
        """Forgets clips and deletes their files."""
        for name in names & set(self.records):
            for clip_id in self.records.pop(name).ids:
                for path in self.files(clip_id):
                    path.unlink(missing_ok=True)

    def compact(self) -> None:
        """Writes the journal anew, one line a clip."""
        lines = [json.dumps(asdict(self.records[name]), ensure_ascii=False) for name in sorted(self.records)]
        with atomic_path(self.folder / "records.jsonl") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _entries(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold an object, not {type(content).__name__}: {AGAIN}")
    return content


@contextlib.contextmanager
def locked(path: Path, what: Path | str, shared: bool = False) -> Iterator[None]:
    """Holds a lock, which ends with the process however that ends.

    Raises:
        UserError: another process holds it.
    """
    with open(path, "w", encoding="ascii") as lock:
        try:
            hold(lock, wait=False, shared=shared)
        except OSError as error:
            raise UserError(f"another process is preparing {what}") from error
        yield


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
