"""Pickles of strangers, read by a machine of our own that knows data and nothing else.

Python's reader takes memory and the stack as a file says (eight bytes ask for 4 GB, nested keys end the process), and
runs what a file names. Here lengths end with the file, keys are texts and numbers, and every name is asked for.
"""

from __future__ import annotations

import codecs
import io
import pickletools
from collections.abc import Callable, Iterator
from typing import Any

from utils.errors import UserError

MOST_BYTES = 1 << 30  # of a file of arrays
MOST_STEPS = 2_000_000
MOST_NAME = 1000  # characters of a key
MOST_DEPTH = 64  # containers in containers
INT64 = 1 << 63
REASON_LENGTH = 150

Find = Callable[[str, str], Any]
Persistent = Callable[[Any], Any]


class Built:
    """What a file may make besides plain data: it keeps the state that it is given under `state`."""

    state: Any = None


def no_objects(module: str, name: str) -> Any:
    """The `find` of plain data."""
    raise ValueError(f"it holds Python objects ({module}.{name}), which are not read")


def reason_of(error: Exception) -> str:
    """An exception in a few words of one line."""
    return " ".join(str(error)[: 4 * REASON_LENGTH].split())[:REASON_LENGTH] or type(error).__name__


def read_pickle(content: bytes, source: object, find: Find = no_objects, persistent: Persistent | None = None) -> Any:
    """What a pickle holds.

    Args:
        content: the whole of it.
        source: what error messages call it.
        find: (module, name) -> what stands for it: a callable, a class of `Built`, or a value; a `ValueError` refuses.
        persistent: what stands for a persistent id; None: there are none.

    Raises:
        UserError: damaged, beyond the limits, or it holds something that `find` refuses.
    """
    try:
        machine = _Machine(find, persistent)
        value = machine.run(content)
        _check(value, machine.steps)
    except Exception as error:  # damaged bytes raise whatever the reader stumbles over
        raise UserError(f"{source} is not read: {reason_of(error)}") from error
    return value


def _operations(content: bytes) -> Iterator[tuple[str, Any]]:
    """Name and argument of each step. Arguments are cut from memory: a length beyond the end takes none."""
    file = io.BytesIO(content)
    while code := file.read(1):
        operation = pickletools.code2op.get(code.decode("latin1"))
        if operation is None:
            raise ValueError(f"it is no pickle: there is no operation {code!r}")
        if operation.name == "STRING":  # of Python 2, whose bytes the library takes for ASCII
            yield "STRING", codecs.escape_decode(file.readline().strip()[1:-1])[0].decode("latin1")
        else:
            yield operation.name, operation.arg.reader(file) if operation.arg is not None else None
    raise ValueError("it is truncated")


class _Machine:
    """The stack of a pickle. `levels` are the stacks below the open marks."""

    def __init__(self, find: Find, persistent: Persistent | None) -> None:
        self.find, self.persistent = find, persistent
        self.stack: list[Any] = []
        self.levels: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def run(self, content: bytes) -> Any:
        """The value that is on top in the end."""
        for self.steps, (name, argument) in enumerate(_operations(content)):
            if self.steps > MOST_STEPS:
                raise ValueError(f"it takes more than {MOST_STEPS:,} steps")
            if name == "STOP":
                return self.stack.pop()
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _STEPS:
                _STEPS[name](self, argument)
            else:
                raise ValueError(f"it holds Python objects (by {name})")
        raise ValueError("it is truncated")

    def push(self, value: Any) -> None:
        """Puts a value on top."""
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        """The last `count` values."""
        taken = self.stack[-count:]
        if len(taken) < count:
            raise ValueError("its steps do not fit together")
        del self.stack[-count:]
        return taken

    def mark(self) -> None:
        """Opens a mark."""
        self.levels.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """The values since the last mark, which is closed."""
        taken, self.stack = self.stack, self.levels.pop()
        return taken

    def call(self) -> None:
        """A found callable with its arguments."""
        function, arguments = self.pop(2)
        if not callable(function) or not isinstance(arguments, tuple):
            raise ValueError("it calls what cannot be called")
        self.stack.append(function(*arguments))

    def build(self) -> None:
        """Gives its state to an object. A dictionary has none: the attributes of an ordered one are let go."""
        (state,) = self.pop(1)
        if isinstance(self.stack[-1], Built):
            self.stack[-1].state = state
        elif not isinstance(self.stack[-1], dict):
            raise ValueError("it sets the state of what has none")

    def extend(self, values: list[Any]) -> None:
        """Values for the list or set that is on top."""
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(map(_key, values))
        elif isinstance(target, list):
            target.extend(values)
        else:
            raise ValueError("it adds to what is no list")

    def fill(self, pairs: list[Any]) -> None:
        """Keys and values in turn for the dictionary that is on top."""
        if not isinstance(self.stack[-1], dict):
            raise ValueError("it adds to what is no dictionary")
        self.stack[-1].update(_dictionary(pairs))

    def resolve(self, identity: Any) -> None:
        """A persistent id."""
        if self.persistent is None:
            raise ValueError("it refers to what is not in it")
        self.stack.append(self.persistent(identity))


def _key(value: Any) -> Any:
    if type(value) not in (str, int) or (isinstance(value, str) and len(value) > MOST_NAME):
        raise ValueError("its keys must be short texts or whole numbers")
    return value


def _dictionary(pairs: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(_key, pairs[::2]), pairs[1::2], strict=True))


_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop(3))),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.pop(1),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "DICT": lambda machine, _: machine.push(_dictionary(machine.since_mark())),
    "APPEND": lambda machine, _: machine.extend(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.fill(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.fill(machine.since_mark()),
    **dict.fromkeys(
        ("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, place: machine.memo.update({place: machine.stack[-1]})
    ),
    "MEMOIZE": lambda machine, _: machine.memo.update({len(machine.memo): machine.stack[-1]}),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[place])),
    "GLOBAL": lambda machine, name: machine.push(machine.find(*name.split(" ", 1))),
    "STACK_GLOBAL": lambda machine, _: machine.push(machine.find(*map(_key, machine.pop(2)))),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda machine, _: machine.call()),
    "BUILD": lambda machine, _: machine.build(),
    "PERSID": lambda machine, identity: machine.resolve(identity),
    "BINPERSID": lambda machine, _: machine.resolve(*machine.pop(1)),
}


def _check(value: Any, steps: int) -> None:
    """Refuses what looks larger than it is: containers that hold themselves, or the same ones over and over."""
    left = 4 * steps + MOST_DEPTH

    def visit(value: Any, depth: int) -> None:
        nonlocal left
        left -= 1
        if depth > MOST_DEPTH or left < 0:
            raise ValueError("its containers hold each other too deeply or too often")
        if isinstance(value, int) and not -INT64 <= value < INT64:
            raise ValueError("it holds a whole number beyond 64 bits")
        if isinstance(value, Built):
            visit(value.state, depth + 1)
        elif isinstance(value, dict):
            for key, each in value.items():
                visit(key, depth + 1)
                visit(each, depth + 1)
        elif isinstance(value, (list, tuple, set)):
            for each in value:
                visit(each, depth + 1)

    visit(value, 0)
