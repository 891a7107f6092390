"""The web server: the page, the files of results, /health, and a guard before all of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from importlib.resources import files
from urllib.parse import urlsplit

# Before Gradio is imported: it would report home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr  # noqa: E402
import uvicorn  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from starlette.datastructures import Headers  # noqa: E402
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response  # noqa: E402
from starlette.types import ASGIApp, Message, Receive, Scope, Send  # noqa: E402

from pipeline.app.page import build_page, make_theme  # noqa: E402
from pipeline.app.results import FILES  # noqa: E402
from pipeline.app.session import AppSession  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import parse_json  # noqa: E402

MAX_BODY = 64 * 1024  # bytes of a request; the largest prompt is 2,000 characters
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# All that the page needs of Gradio. Uploads, the file and proxy routes and the rest of it do not exist here.
OPEN_PATHS = {
    "GET": re.compile(
        r"/|/health|/results/[\w-]+/[\w.]+|/config|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt"
        r"|/(assets|static|svelte)/[\w./@-]+"
        r"|/gradio_api/(info|app_id|theme\.css|startup-events|queue/data|heartbeat/\w+)/?"
    ),
    "POST": re.compile(r"/gradio_api/(queue/join|reset|cancel)/?"),
}
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; frame-ancestors 'self';"
    " object-src 'none'; form-action 'self'"
)
VIEWER_POLICY = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


class Guard:
    """Lets through only what the page needs, from the page itself, in small requests of plain values."""

    def __init__(self, app: ASGIApp, local_only: bool) -> None:
        """`local_only`: refuses other names of this machine than the loopback's (against DNS rebinding)."""
        self.app, self.local_only = app, local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError("only HTTP is spoken here")
        refusal = self._refusal(scope)
        if refusal is None and scope["method"] == "POST":
            body = await _read(receive)
            if body is None:
                refusal = PlainTextResponse(f"a request may have {MAX_BODY} bytes", 413)
            elif not _is_plain(body):
                refusal = PlainTextResponse("a request must be an object of plain values", 400)
            else:
                receive = _replay(body, receive)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if scope["path"] == "/":
            scope = {**scope, "query_string": b""}  # Gradio would load the state that a deep link names
        await self.app(scope, receive, _with_headers(scope, send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if self.local_only and _host(f"//{headers.get('host', '')}") not in LOOPBACK:
            return PlainTextResponse("only this machine is served", 403)
        if method not in OPEN_PATHS:
            return PlainTextResponse("method not allowed", 405)
        if ".." in scope["path"] or not OPEN_PATHS[method].fullmatch(scope["path"]):
            return PlainTextResponse("not found", 404)
        if method == "POST" and headers.get("origin", "").partition("//")[2] not in ("", headers.get("host")):
            return PlainTextResponse("requests from other pages are refused", 403)
        return None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # a bad IPv6 address
        return None


async def _read(receive: Receive) -> bytes | None:
    """The body of a request, or None when it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _is_plain(body: bytes) -> bool:
    """Whether a body is an object of numbers, words and lists of these.

    Gradio takes an object with a `path` in the place of any value for a file of that path, and copies it.
    """
    try:
        content = parse_json(body, "the request")
    except UserError:
        return False
    if not isinstance(content, dict):
        return False
    values = [each for value in content.values() for each in (value if isinstance(value, list) else [value])]
    return not any(isinstance(each, (dict, list)) for each in values)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read already, then what comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _with_headers(scope: Scope, send: Send) -> Send:
    is_viewer = scope["path"].startswith("/results/") and scope["path"].endswith(".html")
    added = [
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"content-security-policy", (VIEWER_POLICY if is_viewer else PAGE_POLICY).encode()),
    ]

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return with_headers


def build_server(session: AppSession, host: str) -> ASGIApp:
    """Everything that is served, behind the guard."""
    app = FastAPI(title="ReMoMask", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> JSONResponse:
        return JSONResponse(session.health(), headers={"cache-control": "no-store"})

    @app.get("/results/{token}/{name}")
    def result_file(token: str, name: str) -> Response:
        path = session.store.path(token, name)
        if path is None:
            return PlainTextResponse("this motion is gone: generate it again", 404)
        return FileResponse(path, media_type=FILES[name], headers={"cache-control": "private, no-cache"})

    gr.mount_gradio_app(
        app,
        build_page(session),
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size=1,
        theme=make_theme(),
        css=files(__package__).joinpath("page.css").read_text(encoding="utf-8"),  # ours
    )
    return Guard(app, local_only=host in LOOPBACK)


def serve(session: AppSession, listener: socket.socket, host: str) -> None:
    """Serves on a listening socket until the process is told to stop (Ctrl-C, SIGTERM)."""
    # Uvicorn stops on SIGTERM and then raises it once more: the files of the results must go before the process does.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    config = uvicorn.Config(build_server(session, host), log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listener])
