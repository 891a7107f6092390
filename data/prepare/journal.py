"""What is done already: kept beside the dataset, so that an interrupted preparation goes on where it stopped."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.motions.settings import Axis
from data.prepare.clip import FOLDERS, Record
from data.specs import SPLITS
from utils.errors import UserError
from utils.files import read_json, writable_folder, write_json

FOLDER = ".preparation"
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
        settings = json.loads(json.dumps(settings))
        if not path.is_file():
            write_json(path, settings)
            return
        before = read_json(path)
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
        """The upward axes that are noted."""
        path = self.folder / "axes.json"
        return read_json(path) if path.is_file() else {}

    def read(self) -> None:
        """Reads what is done."""
        path = self.folder / "records.jsonl"
        if not path.is_file():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            # The last line may be cut off.
            with contextlib.suppress(json.JSONDecodeError, TypeError, KeyError):
                record = Record.from_json(json.loads(line))
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
        temporary = self.folder / "records.jsonl.new"
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        temporary.replace(self.folder / "records.jsonl")


@contextlib.contextmanager
def locked(path: Path, what: Path | str, shared: bool = False) -> Iterator[None]:
    """Holds a lock, which ends with the process however that ends.

    Raises:
        UserError: another process holds it.
    """
    with open(path, "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"another process is preparing {what}") from error
        yield


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
