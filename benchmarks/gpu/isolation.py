"""A section of the check in a process of its own: it may crash, hang or fill the memory without harm to the others."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.gpu.report import Row, Section

# Whoever has asked for GPUs cannot fork processes that use them: sections are named, and imported in their process.
CONTEXT = multiprocessing.get_context("fork")
GRACE = 10.0  # seconds that a section's processes have to end before they are killed
ENDING = 1.0  # seconds at most that killed ones are waited for


def run_section(name: str, limit: float, log: Path, section: str, *arguments: Any) -> Section:
    """Runs a section and collects its rows as they come.

    Args:
        name: of the section.
        limit: seconds after which it is killed, with the processes that it started; its rows until then stay.
        log: file that what it prints is added to.
        section: `module:function`, which yields rows.
        arguments: of the function.
    """
    started = time.monotonic()
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run, args=(sender, log, section, arguments), name=name)
    process.start()
    sender.close()
    rows: list[Row] = []
    try:
        failure = _collect(receiver, rows, started + limit, limit)
        if failure is None:  # the pipe was closed without a last word
            process.join()
            failure = f"ended without a word, exit code {process.exitcode}"
    finally:
        _end(process.pid, signal.SIGTERM)  # which launchers hand on to processes outside of the group
        process.join(GRACE)
        _end(process.pid, signal.SIGKILL)
        process.kill()
        process.join()
        _await_end(process.pid)
    return Section(name, time.monotonic() - started, limit, tuple(rows), failure)


def _collect(receiver: Connection, rows: list[Row], deadline: float, limit: float) -> str | None:
    """Adds what comes to `rows`; returns why it ended: "" is a good end, None the loss of the process."""
    while receiver.poll(max(0.0, deadline - time.monotonic())):
        try:
            message = receiver.recv()
        except EOFError:
            return None
        if isinstance(message, str):
            return message
        rows.append(message)
    return f"took longer than {limit:.0f} s and was ended"


def _end(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone, or had no time to become a group
        os.killpg(group, number)


def _await_end(group: int) -> None:
    """Killed processes take a moment to end: whoever comes next is to find none of them at work."""
    deadline = time.monotonic() + ENDING
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)  # raises once nothing of the group is left
            time.sleep(0.01)


def _run(sender: Connection, log: Path, section: str, arguments: tuple[Any, ...]) -> None:
    os.setsid()
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    try:
        module, function = section.split(":")
        for row in getattr(importlib.import_module(module), function)(*arguments):
            sender.send(row)
        sender.send("")
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        sender.send(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    sys.stdout.flush()
    sys.stderr.flush()
    sender.close()
    os._exit(0)  # the interpreter's own end could wait for threads of loaders and profilers
