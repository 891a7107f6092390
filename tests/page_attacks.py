"""What hostile and careless clients send to the page, by kind: used by tests/test_app.py and tests/long/page_trial.py.

Everything goes to a server on the loopback, in bounded numbers.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

JOIN, STREAM = "/gradio_api/queue/join", "/gradio_api/queue/data?session_hash="
GOOD = ["a person waves", True, 3, True, 0, 2, 2, 1]
CLIPS = "/clips"
CLOSED = 0  # in the place of a status: the server hung up without a word


def raw(port: int, data: bytes, seconds: float = 240.0, trickle: bytes = b"") -> int:
    """Sends bytes as they are, then `trickle` byte by byte, one a second; the status of the answer or `CLOSED`.

    Raises:
        TimeoutError: the server neither answers nor hangs up.
    """
    deadline = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
        answer, left = b"", list(trickle)
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        while time.monotonic() < deadline:
            try:
                piece = connection.recv(4096)
                answer += piece
                if b"\r\n" in answer or not piece:
                    return int(answer.split()[1]) if answer.startswith(b"HTTP/") else CLOSED
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    if left:
                        connection.sendall(bytes([left.pop(0)]))
            except ConnectionError:
                return CLOSED
    raise TimeoutError(f"{data[:80]!r} stays open")


def post(path: str, body: bytes, port: int, *headers: str, kind: str = "application/json") -> bytes:
    """A request as bytes."""
    about = [f"Host: 127.0.0.1:{port}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([f"POST {path} HTTP/1.1", *about, *headers, "", ""]).encode("latin-1") + body


def get(path: str, port: int, *headers: str) -> bytes:
    """A request as bytes."""
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers, "", ""]).encode("latin-1")


def bad_requests(port: int, event: int) -> dict[str, bytes]:
    """Requests that are to be refused with 4xx, or by hanging up."""
    good: dict[str, Any] = {"data": GOOD, "fn_index": event, "session_hash": "x", "trigger_id": None}
    wrong: dict[str, tuple[Any, ...]] = {
        "fn_index": (999, -1, 2**70, "0", True, None, 0.5, [0]),
        "session_hash": ("", 5, None, "a" * 999, "../x", "\ud800"),
        "data": ("x", None, 1, {}, [[{}]], [{"path": "/etc/passwd"}]),
        "trigger_id": ("\ud800", True, [1], 0.5),
        "event_data": ({"path": "/etc/passwd"}, [{}]),
        "batched": (True,),
        "simple_format": (True,),
        "oauth_token": ("x",),
    }
    changes = {f"{name} {value!r:.30}": {name: value} for name, values in wrong.items() for value in values}
    bodies = {name: json.dumps({**good, **change}).encode() for name, change in changes.items()}
    for name in ("data", "fn_index", "session_hash"):
        bodies[f"no {name}"] = json.dumps({key: value for key, value in good.items() if key != name}).encode()
    bodies |= {
        "nothing": b"",
        "no JSON": b"fn_index=0",
        "no text": b"\xff\xfe\x00",
        "a list": b"[]",
        "5,000 digits": b'{"data": [], "session_hash": "x", "fn_index": ' + b"9" * 5000 + b"}",
        "brackets": b"[" * 60_000,
        "too long": b'{"data": ["' + b"x" * 70_000 + b'"]}',
        "much too long": b"x" * 3_000_000,
    }
    whole = json.dumps(good).encode()
    requests = {name: post(JOIN, body, port) for name, body in bodies.items()}
    cancels = ({}, {**good, "event_id": "\ud800"})
    for path, tried in {"reset": ({}, {"event_id": 5}), "cancel": cancels}.items():
        for number, body in enumerate(tried):
            requests[f"{path} {number}"] = post(f"/gradio_api/{path}", json.dumps(body).encode(), port)
    for name, (body, *headers) in {
        "of another kind": (b"MZ", "X-Name: run.exe"),
        "without a name": (b"HIERARCHY",),
        "of no letters": (b"x", "X-Name: %00%ff%0d%0aSet-Cookie: x.bvh.exe"),
        "a path": (b"x", "X-Name: ../../../etc/passwd"),
        "nothing": (b"", "X-Name: a.bvh"),
        "too large": (b"x" * 9_000_000, "X-Name: a.bvh"),
        "of another page": (b"x", "X-Name: a.bvh", "Origin: http://evil.example"),
    }.items():
        requests[f"a clip {name}"] = post(CLIPS, body, port, *headers, kind="application/octet-stream")
    for origin in ("null", "http://evil.example", "file://", f"http://127.0.0.1:{port + 1}", "", f"//127.0.0.1:{port}"):
        requests[f"origin {origin}"] = post(JOIN, whole, port, f"Origin: {origin}")
    for kind in ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "image/png"):
        requests[f"content {kind}"] = post(JOIN, whole, port, kind=kind)
    for path in [
        "upload",
        "run/predict",
        "call/generate",
        "component_server",
        "stream/x",
        "vibe-edit",
        "../queue/join",
    ]:
        requests[f"POST {path}"] = post(f"/gradio_api/{path}", whole, port)
    paths = (
        "/file=/etc/passwd /gradio_api/file=/etc/passwd /results/..%2f..%2fetc/passwd /results/x/motion.mp4 /static/%00"
    )
    paths += f" /%ff //evil.example/ /.env /.git/config /svelte/%2e%2e/%2e%2e/routes.py /assets/{'a' * 9000}"
    paths += f" {CLIPS} {CLIPS}/x /results/x/picture.png"
    paths += f" /gradio_api/heartbeat/..%2f.. /gradio_api/queue/data {STREAM}nobody {STREAM} {STREAM}%ff"
    requests |= {f"GET {path:.40}": get(path, port) for path in paths.split()}
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT", "XYZZY"):
        requests[method] = get("/", port).replace(b"GET", method.encode(), 1)
    requests |= {
        "another host": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "no host": b"GET / HTTP/1.1\r\n\r\n",
        "two hosts": get("/", port, "Host: evil.example"),
        "a long header": get("/", port, "X: " + "a" * 200_000),
        "many headers": get("/", port, *(f"X{number}: {'a' * 20}" for number in range(9000))),
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n" * 4,
        "length below zero": post(JOIN, b"", port).replace(b"Length: 0", b"Length: -1"),
        "two lengths": post(JOIN, whole, port, "Content-Length: 5"),
        "length and chunks": post(JOIN, whole, port, "Transfer-Encoding: chunked"),
        "bad chunks": post(JOIN, b"", port).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"zz\r\n",
        "a web socket": get(JOIN, port, "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eA=="),
    }  # fmt: skip
    return requests


def slow_requests(port: int) -> dict[str, tuple[bytes, bytes]]:
    """(what is sent at once, what is sent one byte a second): to be ended by the server."""
    body = post(JOIN, b'{"data": [', port).replace(b"Length: 10", b"Length: 1000")
    return {
        "nothing": (b"", b""),
        "half of the headers": (b"GET / HTTP/1.1\r\nHost: 127.0", b""),
        "slow headers": (b"GET / HTTP/1.1\r\n", b"X: " + b"a" * 100),
        "half of a body": (body, b""),
        "a slow body": (body, b" " * 100),
        "half of a clip": (post(CLIPS, b"x", port, "X-Name: a.bvh").replace(b"Length: 1\r", b"Length: 1000\r"), b""),
        "slow chunks": (
            post(JOIN, b"", port).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"), b"1\r\n \r\n" * 20
        ),
    }  # fmt: skip


def send_all(port: int, requests: dict[str, tuple[bytes, bytes]], workers: int) -> dict[str, int]:
    """Sends them all, `workers` at a time; their statuses."""
    with ThreadPoolExecutor(workers) as pool:
        futures = {name: pool.submit(raw, port, data, trickle=slowly) for name, (data, slowly) in requests.items()}
        return {name: future.result() for name, future in futures.items()}


def leave(port: int, event: int, name: str) -> None:
    """Asks for a motion, listens, and goes away."""
    body = json.dumps({"data": GOOD, "fn_index": event, "session_hash": name}).encode()
    raw(port, post(JOIN, body, port))
    raw(port, get(f"{STREAM}{name}", port))
