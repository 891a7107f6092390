"""What belongs to one visitor: earlier results and own clips. Nobody else sees them, and they go with the visitor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from models.rag.embedded import Embedded
from models.vocabulary.known import Remark
from pipeline.app.requests import MotionRequest
from pipeline.app.results import ResultStore
from pipeline.app.visitors import Visitors
from utils.errors import UserError


@dataclass(frozen=True)
class Neighbour:
    """A motion of the library that is near a prompt or a clip.

    Attributes:
        motion_id, score: as in `Motion.retrieved`.
        captions: of the motion, the one that fits best first.
        used: whether the generator saw it.
        shown: whether the 3D view shows it; the library may be unable to.
    """

    motion_id: str
    captions: tuple[str, ...]
    score: float
    used: bool
    shown: bool


@dataclass(frozen=True)
class Result:
    """What a visitor was shown, and can be shown again while its files are there.

    Attributes:
        token: what `ResultStore.path` finds them by.
        name: a file name for downloads.
        title: the prompt, or what was uploaded.
        frames: of each motion.
        fps: frames a second.
        neighbours: motions of the library, best first.
        request: what was asked for; None: a clip was searched with.
        remarks: what the models do not know of the prompt, or what is odd about the clip.
    """

    token: str
    name: str
    title: str
    frames: tuple[int, ...]
    fps: float
    neighbours: tuple[Neighbour, ...]
    request: MotionRequest | None = None
    remarks: tuple[Remark | str, ...] = ()


@dataclass(frozen=True)
class OwnClip:
    """A clip that a visitor added to the library of the session.

    Attributes:
        name: of the file that was uploaded.
        caption: what the visitor says of it.
        seconds: how long it is.
        embedded: what the library holds of it, in one or several windows.
        remarks: what is odd about it.
    """

    name: str
    caption: str
    seconds: float
    embedded: Embedded
    remarks: tuple[str, ...] = ()


@dataclass
class Room:
    """A visitor's own, oldest first.

    Attributes:
        clips_made: how many clips were ever added; each has a number of its own.
        seen: when the visitor was there last.
    """

    results: list[Result] = field(default_factory=list)
    clips: list[OwnClip] = field(default_factory=list)
    clips_made: int = 0
    seen: float = 0.0


class Rooms:
    """The rooms by the name of the session, which a browser draws at random and tells nobody but this server.

    A room is there from the first result or clip until its visitor has been away for `linger` seconds.

    Args:
        store: holds the results' files, and may forget them earlier.
        visitors: knows who is there.
        linger: seconds.
        most_results: that one visitor keeps; the oldest go first.
    """

    def __init__(
        self,
        store: ResultStore,
        visitors: Visitors,
        linger: float,
        most_results: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store, self.visitors, self.linger, self.most_results = store, visitors, linger, most_results
        self._clock, self._rooms, self._lock = clock, dict[str, Room](), threading.Lock()

    def keep(self, name: str, result: Result) -> None:
        """Puts a result into a visitor's room."""
        with self._lock:
            room = self._room(name)
            room.results.append(result)
            gone, room.results = room.results[: -self.most_results], room.results[-self.most_results :]
        self.store.remove([each.token for each in gone])

    def results(self, name: str) -> list[Result]:
        """What a visitor can be shown again, newest first."""
        with self._lock:
            room = self._rooms.get(name, Room())
            room.results = [each for each in room.results if self.store.holds(each.token)]
            return room.results[::-1]

    def find(self, name: str, token: str) -> Result:
        """A result of this visitor.

        Raises:
            UserError: there is none of that token, or not any more.
        """
        found = [each for each in self.results(name) if each.token == token]
        if not found:
            raise UserError("this motion is gone: generate it again")
        return found[0]

    def touch(self, name: str, token: str) -> None:
        """Makes a result the newest, so that it stays as long as what was made of it."""
        with self._lock:
            self._room(name).results.sort(key=lambda each: each.token == token)

    def clips(self, name: str) -> list[OwnClip]:
        """A visitor's clips, oldest first."""
        with self._lock:
            return [*self._rooms.get(name, Room()).clips]

    def next_clip(self, name: str) -> int:
        """A number that no other clip of the visitor has had."""
        with self._lock:
            room = self._room(name)
            room.clips_made += 1
            return room.clips_made

    def add_clip(self, name: str, clip: OwnClip) -> None:
        """Puts a clip into a visitor's room."""
        with self._lock:
            self._room(name).clips.append(clip)

    def forget_clips(self, name: str) -> None:
        """Takes a visitor's clips out."""
        with self._lock:
            self._rooms.get(name, Room()).clips.clear()

    def sweep(self) -> None:
        """Clears the rooms of those who left, and what the store keeps no longer."""
        now, gone = self._clock(), list[str]()
        with self._lock:
            for name, room in list(self._rooms.items()):
                if self.visitors.is_here(name):
                    room.seen = now
                elif now > room.seen + self.linger:
                    gone += [each.token for each in self._rooms.pop(name).results]
        self.store.remove(gone)
        self.store.sweep()

    def _room(self, name: str) -> Room:
        room = self._rooms.setdefault(name, Room())
        room.seen = self._clock()
        return room
