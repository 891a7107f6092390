"""TensorBoard's files of a run: points are added, and those that a training takes anew are taken out before."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from storage.files import atomic_path

HEAD, TAIL = struct.Struct("<QI"), 4  # of a record: length and its checksum; behind the content another checksum
FOLDER = "events"


def event_files(run_dir: Path) -> list[Path]:
    """The files of a run, in the order in which they were written."""
    return sorted((run_dir / FOLDER).glob("events.*"))


class EventLog:
    """The points of a run, in its folder `events`. They are on the disk when a method returns: no state is ahead.

    Args:
        run_dir: the run's folder.

    Raises:
        OSError, UserError: as all methods, what the disk refuses.
    """

    def __init__(self, run_dir: Path) -> None:
        folder = run_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 1000}.{socket.gethostname()}.{os.getpid()}"
        self._file = RecordWriter(open(folder / name, "ab"))  # noqa: SIM115 - closed by `close`
        self._write(file_version="brain.Event:2")

    def add(self, points: Mapping[str, float], step: int) -> None:
        """Points of curves, by their tags."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in points.items()]
        self._write(step=step, summary=Summary(value=values))

    def _write(self, **content: object) -> None:
        self._file.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def keep_points(run_dir: Path, wanted: Callable[[str, int], bool]) -> None:
    """Takes out of a run's files what is not wanted, and a record at the end of one that a kill cut off.

    Args:
        run_dir: the run's folder.
        wanted: (tag, step) -> whether a point of a former process stays. What one had after the state that is gone on
            with comes again.
    """
    for path in event_files(run_dir):
        content = path.read_bytes()
        kept = b"".join(
            record
            for record, event in read_records(content)
            if all(wanted(value.tag, event.step) for value in event.summary.value)
        )
        if len(kept) < len(content):
            with atomic_path(path) as temporary:
                temporary.write_bytes(kept)


def read_points(path: Path) -> Iterator[tuple[str, int, float]]:
    """The points of an event file: tag, step, value."""
    for _, event in read_records(path.read_bytes()):
        for value in event.summary.value:
            yield value.tag, event.step, value.simple_value


def read_records(content: bytes) -> Iterator[tuple[bytes, Event]]:
    """The whole records of an event file, and what they say."""
    start = 0
    while start + HEAD.size <= len(content):
        length, _ = HEAD.unpack_from(content, start)
        first, end = start + HEAD.size, start + HEAD.size + length + TAIL
        if end > len(content):
            return
        try:
            yield content[start:end], Event.FromString(content[first : first + length])
        except DecodeError:
            return  # nothing behind it can be trusted, and TensorBoard would stop here too
        start = end
