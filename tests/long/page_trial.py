"""The page under hostile and parallel requests, with the shipped models: python -m tests.long.page_trial.

Serves it on the loopback, sends the requests, kills it, starts it again, and prints a table. Exit code 1 where an
answer was a server's error, a motion was not made, a request stayed open, or a file stayed behind.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.page_attacks import CLOSED, GOOD, JOIN, STREAM, bad_requests, get, leave, post, raw, send_all, slow_requests
from tests.test_app import Server, event_of, running

BUSY = 503  # the one 5xx that is an answer: too many at once


def visit(server: Server, event: int, number: int) -> int:
    """A visitor who asks for a motion and fetches its video; the last status, 429 where the line is full."""
    name = f"visitor{number}"
    body = {"data": [f"a person waves {number} times", *GOOD[1:]], "fn_index": event, "session_hash": name}
    status = server.ask("POST", JOIN, body)[0]
    if status != 200:
        return status
    status, _, stream = server.ask("GET", f"{STREAM}{name}")
    text = stream.decode()
    if "too many prompts at once" in text.lower():
        return 429
    found = re.search(r"results/([\w-]+)/", text)
    token = found[1] if found else "none"
    status, _, video = server.ask("GET", f"/results/{token}/motion.mp4")
    return status if status != 200 or b"ftyp" in video[:32] else 500


def idle(server: Server, seconds: float = 300.0) -> float:
    """Seconds until nobody is served and nobody waits."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        queue = json.loads(server.ask("GET", "/health")[2])["queue"]
        if not queue["running"] and not queue["waiting"]:
            break
        time.sleep(0.1)
    return time.monotonic() - started


def hold(server: Server, number: int) -> list[int]:
    """Connections that say nothing, all at once; the statuses of as many questions of others meanwhile."""
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        said = []
        for _ in range(20):
            said.append(raw(server.port, get("/health", server.port)))
            time.sleep(1.0)
    assert said[-1] == 200, "the page does not come back"
    return said


def trial(server: Server, options: argparse.Namespace) -> list[tuple[str, list[int], float]]:
    """(what was sent, the statuses, seconds) a row."""
    hostile, parallel, leavers, sessions = options.hostile, options.parallel, options.leavers, options.sessions
    event, rows = event_of(server), []

    def row(name: str, send: Callable[[], list[int]]) -> None:
        started = time.monotonic()
        said = send()
        rows.append((name, said, time.monotonic() - started))

    bad = {name: (data, b"") for name, data in bad_requests(server.port, event).items()}
    many = {f"{name} {number}": bad[name] for number in range(-(-hostile // len(bad))) for name in bad}
    row("malformed or forbidden", lambda: list(send_all(server.port, many, 50).values()))
    slow = {f"{name} {number}": each for number in range(20) for name, each in slow_requests(server.port).items()}
    row("slow or half-sent", lambda: list(send_all(server.port, slow, len(slow)).values()))
    row("silent connections", lambda: hold(server, 400))

    def flood(number: int) -> int:
        body = json.dumps({"data": GOOD, "fn_index": event, "session_hash": f"session{number}"}).encode()
        return raw(server.port, post(JOIN, body, server.port))

    def flooded() -> list[int]:
        with ThreadPoolExecutor(20) as pool:
            said = list(pool.map(flood, range(sessions)))
        idle(server)
        return said

    row("sessions that never listen", flooded)

    def left() -> list[int]:
        for number in range(leavers):
            leave(server.port, event, f"leaver{number}")
        idle(server)
        return [CLOSED] * leavers

    row("visitors who leave", left)
    with ThreadPoolExecutor(parallel) as pool:
        row("visitors at once", lambda: list(pool.map(lambda number: visit(server, event, number), range(parallel))))
    row("a visitor after all that", lambda: [visit(server, event, parallel)])
    return rows


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hostile", type=int, default=1000, help="malformed and forbidden requests")
    parser.add_argument("--parallel", type=int, default=50, help="visitors at once")
    parser.add_argument("--leavers", type=int, default=6, help="visitors who leave")
    parser.add_argument("--sessions", type=int, default=1000, help="sessions that ask and never listen")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder)
        with running(temporary) as server:
            rows = trial(server, options)
            tracebacks = sum("Traceback" in line for line in server.lines)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
        killed = len(list(temporary.glob("remomask_app_*")))
        with running(temporary):
            after = len(list(temporary.glob("remomask_app_*")))
        left = [str(path.relative_to(temporary)) for path in temporary.rglob("*")]

    errors = 0
    print(f"{'sent':<28}{'requests':>10}{'refused':>10}{'busy':>8}{'served':>8}{'errors':>8}{'seconds':>9}")
    for name, said, seconds in rows:
        served, busy = said.count(200), said.count(BUSY) + said.count(429)
        wrong = sum(status >= 500 and status != BUSY for status in said)
        errors += wrong
        refused = len(said) - served - busy - wrong
        print(f"{name:<28}{len(said):>10}{refused:>10}{busy:>8}{served:>8}{wrong:>8}{seconds:>9.1f}")
    print(f"tracebacks in the log: {tracebacks}")
    print(
        f"folders of results after a kill: {killed}, after the next start: {after}, at its end: {len(left)} {left[:5]}"
    )
    return int(errors > 0 or tracebacks > 0 or after > 1 or bool(left))


if __name__ == "__main__":
    sys.exit(main())
