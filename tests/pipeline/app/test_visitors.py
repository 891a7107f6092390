"""A request is given up when nobody listens for its answer, not before."""

from __future__ import annotations

import threading

import pytest

from pipeline.app.session import Line
from pipeline.app.visitors import VisitorLeft, Visitors


def test_a_visitor_is_gone_when_no_stream_was_open_for_the_grace() -> None:
    now = [0.0]
    visitors = Visitors(grace=5.0, clock=lambda: now[0])
    check = visitors.watch("a")
    now[0] = 4.0
    check()
    with visitors.stream("a"), visitors.stream("a"), visitors.stream("b"):
        now[0] = 100.0
        check()
        assert (visitors.count("a"), visitors.count("b")) == (2, 1)
    visitors.watch("a")()
    now[0] = 101.0
    check()
    now[0] = 101.1
    with pytest.raises(VisitorLeft):
        check()
    assert visitors.count("a") == 0
    with visitors.stream("b"), pytest.raises(VisitorLeft):
        check()
    check = visitors.watch("never")
    now[0] = 106.1
    check()
    now[0] = 106.2
    with pytest.raises(VisitorLeft):
        check()


def test_who_leaves_the_line_lets_the_next_one_forward() -> None:
    line, leaves, served, done = Line(2), threading.Event(), threading.Event(), threading.Event()

    def gone(before: int) -> None:
        if leaves.is_set():
            raise VisitorLeft

    def first() -> None:
        with pytest.raises(VisitorLeft), line.turn(gone):
            pytest.fail("the visitor was served")
        done.set()

    def second() -> None:
        with line.turn():
            served.set()

    with line.turn():
        threads = [threading.Thread(target=each) for each in (first, second)]
        for number, thread in enumerate(threads, 1):
            thread.start()
            while line.waiting < number:
                pass
        leaves.set()
        assert done.wait(20) and line.waiting == 1 and not served.is_set()
    assert served.wait(20)
    for thread in threads:
        thread.join(20)
    assert line.running == 0
