"""A visitor's own: bounded, seen by nobody else, and gone with the visitor, files and all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.app.results import ResultStore
from pipeline.app.rooms import OwnClip, Result, Rooms
from pipeline.app.visitors import PAGE, Visitors
from tests.pipeline.app.conftest import Clock
from utils.errors import UserError

LINGER = 60.0


@pytest.fixture
def store() -> Iterator[ResultStore]:
    with ResultStore(3600, 20) as made:
        yield made


@pytest.fixture
def rooms(store: ResultStore, clock: Clock) -> Rooms:
    return Rooms(store, Visitors(clock=clock), LINGER, 3, clock)


def put(rooms: Rooms, name: str) -> str:
    """A result of a visitor; its token."""
    with rooms.store.new() as (token, folder):
        (folder / "motion.bvh").write_text(name)
    rooms.keep(name, Result(token, "x", "a person waves", (40,), 20.0, ()))
    return token


def test_a_visitor_sees_own_results_alone(rooms: Rooms) -> None:
    mine, other = put(rooms, "mine"), put(rooms, "other")
    assert [each.token for each in rooms.results("mine")] == [mine] and rooms.results("nobody") == []
    assert rooms.find("other", other).token == other
    for name, token in (("mine", other), ("other", mine), ("nobody", mine), ("mine", ""), ("mine", "../x")):
        with pytest.raises(UserError, match="gone"):
            rooms.find(name, token)


def test_the_oldest_results_of_a_visitor_go_with_their_files(rooms: Rooms) -> None:
    kept = put(rooms, "other")
    tokens = [put(rooms, "mine") for _ in range(5)]
    assert [each.token for each in rooms.results("mine")] == tokens[:1:-1]
    assert len(list(rooms.store.folder.iterdir())) == 4 and rooms.store.holds(kept), "another visitor's result went"
    rooms.store.remove([tokens[-1]])
    assert [each.token for each in rooms.results("mine")] == [tokens[3], tokens[2]], "a file that is gone is offered"


def test_a_room_is_cleared_when_its_visitor_has_left(rooms: Rooms, clock: Clock) -> None:
    put(rooms, "mine")
    rooms.add_clip("mine", OwnClip("a.bvh", "a person bows", 2.0, None))
    with rooms.visitors.stream(PAGE, PAGE + "mine"):
        clock.now = 1000.0
        rooms.sweep()
        assert rooms.results("mine") and rooms.clips("mine") and not rooms.clips("other")
    other = put(rooms, "other")
    clock.now += LINGER
    rooms.sweep()
    assert rooms.results("mine"), "the page may have been cut off for a moment"
    with rooms.visitors.stream("other"):
        clock.now += 0.1
        rooms.sweep()
    assert not rooms.results("mine") and not rooms.clips("mine")
    assert [path.name for path in rooms.store.folder.iterdir()] == [f"result_{other}"]


def test_clips_are_numbered_once(rooms: Rooms) -> None:
    assert [rooms.next_clip("mine"), rooms.next_clip("mine"), rooms.next_clip("other")] == [1, 2, 1]
    rooms.forget_clips("mine")
    rooms.forget_clips("nobody")
    assert rooms.next_clip("mine") == 3
