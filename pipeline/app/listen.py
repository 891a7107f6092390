"""What can go wrong before anything is loaded: Gradio is missing, the port is taken. Needs neither torch nor Gradio."""

from __future__ import annotations

import importlib.util
import socket

from utils.errors import UserError


def require_gradio() -> None:
    """Raises `UserError` where Gradio is not installed."""
    if importlib.util.find_spec("gradio") is None:
        raise UserError("app.py needs Gradio: pip install -r requirements-app.txt")


def open_listener(host: str, port: int) -> socket.socket:
    """A socket that listens on the address; port 0 takes a free one.

    Raises:
        UserError: the port is in use or reserved, or the host is not this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"--host {host} is not an address: use 127.0.0.1, or 0.0.0.0 for every network") from error
    listener = socket.socket(found[0], socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[4])
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"--port {port} on {host} cannot be used, {reason}: choose another, or 0 for a free one"
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a listener, as to type into a browser."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"
