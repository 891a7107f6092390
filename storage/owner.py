"""Which process something unfinished belongs to, on disks that several machines and containers share. Torch-free."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from pathlib import Path


def _machine() -> str:
    """Names this machine; a container counts its processes by itself, so it is another one."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.blake2b(name.encode(), digest_size=4).hexdigest()


MACHINE = _machine()


def own_mark() -> str:
    """Names this process in file names, see `is_abandoned`."""
    return f"{os.getpid()}-{MACHINE}"


def birth(number: int) -> str | None:
    """When a process of this machine began, in the kernel's words; "" where it does not tell, None: there is none."""
    if os.name == "nt":  # where os.kill ends the process
        return _birth_on_windows(number)
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except OSError:
        pass  # another user's
    try:
        state, *values = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if state in "ZX" else values[18]


def _birth_on_windows(number: int) -> str | None:
    import psutil

    try:
        return str(psutil.Process(number).create_time())
    except psutil.AccessDenied:
        return ""
    except (psutil.NoSuchProcess, OverflowError):
        return None
