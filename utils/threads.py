"""Work on all cores where the pieces are many and small."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item, Result = TypeVar("Item"), TypeVar("Result")


def map_on_cores(function: Callable[[Item], Result], items: Sequence[Item], device: torch.device) -> Iterator[Result]:
    """`map` for work of PyTorch; on the CPU a core an item instead of all cores for each in turn.

    Within an item no core waits for another, which costs most where other programs want the cores too. Gradients are a
    matter of the thread: `function` turns them off itself.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(items) < 2 * threads:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:  # no more results are held than that
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Within the block PyTorch works with this thread alone: cores that share many short operations wait for each other
    after each, awake, and for milliseconds where another program has one of them.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
