"""The web server: the page, the files of results, /health, and a guard before all of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

# Before Gradio is imported: it would report home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr  # noqa: E402
import uvicorn  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from starlette.datastructures import Headers  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response  # noqa: E402
from starlette.types import ASGIApp, Message, Receive, Scope, Send  # noqa: E402
from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: E402

from pipeline.app.page import Page, make_theme  # noqa: E402
from pipeline.app.results import FILES  # noqa: E402
from pipeline.app.session import AppSession  # noqa: E402
from pipeline.app.visitors import PAGE, Visitors  # noqa: E402
from storage.files import parse_json  # noqa: E402
from utils.errors import UserError  # noqa: E402

MAX_BODY = 64 * 1024  # bytes of a request; the largest prompt is 2,000 characters
MAX_PAGES = 100  # open at once, by the stream that tells each that its session is alive
MAX_STREAMS = 4  # of one session that waits for an answer
MAX_CONNECTIONS = 300  # more are told so; a process may have a thousand files open
PATIENCE = 5.0  # seconds for all of a request's headers, and for all of its body
UPLOAD_PATIENCE, MAX_UPLOADS = 30.0, 4  # seconds for an uploaded clip, and how many may come at once
HEARTBEAT = 15  # seconds between the signs of life that keep a page's stream open
SWEEP_SECONDS = 5.0  # between looks for what nobody needs any more
CLIPS = "/clips"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# All that the page needs of Gradio. Uploads, the file and proxy routes and the rest of it do not exist here.
OPEN_PATHS = {
    "GET": re.compile(
        r"/|/health|/results/[\w-]+/[\w.]+|/config|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt"
        r"|/(assets|static|svelte)/[\w./@-]+"
        r"|/gradio_api/(info|app_id|theme\.css|startup-events|queue/data|heartbeat/\w+)/?"
    ),
    "POST": re.compile(rf"/gradio_api/(queue/join|reset|cancel)/?|{CLIPS}"),
}
STREAM = re.compile(r"/gradio_api/(queue/data|heartbeat/(\w+))/?")
NAME = re.compile(r"[\w-]{1,64}", re.ASCII)  # of a session or an event
# What a POST must hold; Gradio answers some others with a traceback. The number of an event is checked besides.
FIELDS: dict[str, dict[str, type]] = {
    "join": {"data": list, "fn_index": int, "session_hash": str},
    "reset": {"event_id": str},
    "cancel": {"session_hash": str, "fn_index": int, "event_id": str},
}
UNUSED = ("batched", "simple_format", "oauth_token")  # what the page never asks for
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; frame-ancestors 'self';"
    " object-src 'none'; form-action 'self'"
)
VIEWER_POLICY = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


class Guard:
    """Lets through only what the page needs, from the page itself, in small requests of plain values."""

    def __init__(
        self,
        app: ASGIApp,
        local_only: bool,
        visitors: Visitors,
        events: frozenset[int],
        is_waiting: Callable[[str], bool],
        largest_clip: int,
    ) -> None:
        """Args:
        local_only: refuses other names of this machine than the loopback's (against DNS rebinding).
        visitors: is told which sessions listen.
        events: the numbers of the page's events.
        is_waiting: whether a session has asked for something. Gradio's stream for others breaks off.
        largest_clip: bytes of an upload.
        """
        self.app, self.local_only, self.visitors = app, local_only, visitors
        self.events, self.is_waiting, self.largest_clip = events, is_waiting, largest_clip
        self.is_ending: Callable[[], bool] = lambda: False  # whether the server was told to stop
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError("only HTTP is spoken here")
        refusal = self._refusal(scope)
        if refusal is None and scope["method"] == "POST":
            refusal, receive = await self._whole(scope, receive)
        stream = STREAM.fullmatch(scope["path"]) if refusal is None else None
        waits = stream is not None and stream[1] == "queue/data"
        name = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0] if waits else PAGE
        if waits and not self.is_waiting(name):
            refusal = PlainTextResponse("this session waits for nothing", 404)
        elif stream and self.visitors.count(name) >= (MAX_STREAMS if waits else MAX_PAGES):
            refusal = PlainTextResponse("too many pages are open: try again later", 503)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if scope["path"] == "/":
            scope = {**scope, "query_string": b""}  # Gradio would load the state that a deep link names
        send = _with_headers(scope, send)
        if stream and not waits:
            with self.visitors.stream(PAGE, PAGE + stream[2]):
                await self._stay(receive, send)
            return
        with self.visitors.stream(name) if waits else contextlib.nullcontext():
            await self.app(scope, receive, send)

    async def _stay(self, receive: Receive, send: Send) -> None:
        """The stream that a page has open: ends with the page, or with the server, which Gradio's would hold up."""

        async def closed() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        leaving, beats = asyncio.ensure_future(closed()), 0
        try:
            while not leaving.done() and not self.is_ending():
                if beats % HEARTBEAT == 0:
                    await send({"type": "http.response.body", "body": b"data: ALIVE\n\n", "more_body": True})
                beats += 1
                await asyncio.wait([leaving], timeout=1.0)
            await send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()

    async def _whole(self, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
        """A refusal or None, and what gives the body that was read."""
        upload = scope["path"] == CLIPS
        if upload and self._uploads >= MAX_UPLOADS:
            return PlainTextResponse("too many files at once: try again in a minute", 503), receive
        self._uploads += upload
        most = self.largest_clip if upload else MAX_BODY
        try:
            body = await asyncio.wait_for(_read(receive, most), UPLOAD_PATIENCE if upload else PATIENCE)
        except (asyncio.TimeoutError, TimeoutError):  # two things before Python 3.11
            return PlainTextResponse("a request must come in one go", 408, {"connection": "close"}), receive
        finally:
            self._uploads -= upload
        if len(body) > most:
            return PlainTextResponse(f"a request may have {most} bytes", 413, {"connection": "close"}), receive
        return None if upload else self._bad_body(scope, body), _replay(body, receive)

    def _bad_body(self, scope: Scope, body: bytes) -> Response | None:
        content = _plain(body)
        if content is None:
            return PlainTextResponse("a request must be an object of plain values", 400)
        fields = FIELDS[scope["path"].rstrip("/").rpartition("/")[2]]
        fits = all(type(content.get(name)) is kind for name, kind in fields.items())
        names = [content[name] for name, kind in fields.items() if kind is str and fits]
        if not fits or not all(NAME.fullmatch(name) for name in names):
            return PlainTextResponse(f"a request needs {', '.join(fields)}, each of its kind", 400)
        if "fn_index" in fields and content["fn_index"] not in self.events:
            return PlainTextResponse("the page has no such event", 404)
        trigger = content.get("trigger_id")
        if any(content.get(name) for name in UNUSED) or not (trigger is None or type(trigger) is int):
            return PlainTextResponse("the page sends no such request", 400)
        return None

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if self.local_only and _host(f"//{headers.get('host', '')}") not in LOOPBACK:
            return PlainTextResponse("only this machine is served", 403)
        if method not in OPEN_PATHS:
            return PlainTextResponse("method not allowed", 405)
        # Longer ones are no file's: the system says so by an error of its own.
        if len(scope["path"]) > 250 or ".." in scope["path"] or not OPEN_PATHS[method].fullmatch(scope["path"]):
            return PlainTextResponse("not found", 404)
        origin, host = headers.get("origin"), headers.get("host")
        if method == "POST" and origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return PlainTextResponse("requests from other pages are refused", 403)
        return None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # a bad IPv6 address
        return None


async def _read(receive: Receive, most: int) -> bytes:
    """The body of a request, cut off when it is longer than `most` bytes."""
    body = bytearray()
    while len(body) <= most:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


def _plain(body: bytes) -> dict[str, Any] | None:
    """A body that is an object of numbers, words and lists of these.

    Gradio takes an object with a `path` in the place of any value for a file of that path, and copies it.
    """
    try:
        content = parse_json(body, "the request")
    except UserError:
        return None
    if not isinstance(content, dict):
        return None
    content = {name: value for name, value in content.items() if (name, value) != ("event_data", {})}  # as clicks send
    values = [each for value in content.values() for each in (value if isinstance(value, list) else [value])]
    return None if any(isinstance(each, (dict, list)) for each in values) else content


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


def build_server(session: AppSession, host: str) -> Guard:
    """Everything that is served, behind the guard."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, session.options.server.linger / 2))
            await asyncio.to_thread(session.sweep)

    @contextlib.asynccontextmanager
    async def sweeping(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(sweep())
        yield
        task.cancel()

    app = FastAPI(title="ReMoMask", docs_url=None, redoc_url=None, openapi_url=None, lifespan=sweeping)

    @app.get("/health")
    def health() -> JSONResponse:
        return JSONResponse(session.health(), headers={"cache-control": "no-store"})

    @app.get("/results/{token}/{name}")
    def result_file(token: str, name: str) -> Response:
        path = session.store.path(token, name)
        if path is None:
            return PlainTextResponse("this motion is gone: generate it again", 404)
        return FileResponse(path, media_type=FILES[name], headers={"cache-control": "private, no-cache"})

    @app.post(CLIPS)
    async def clip(request: Request) -> Response:
        try:
            token = session.uploads.hold(unquote(request.headers.get("x-name", "")), await request.body())
        except UserError as error:
            return PlainTextResponse(str(error), 422)
        return PlainTextResponse(token, headers={"cache-control": "no-store"})

    page = Page(session).build()
    events = frozenset(number for number, event in page.fns.items() if event.fn is not None)
    gr.mount_gradio_app(
        app,
        page,
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
    waiting = page._queue.pending_messages_per_session

    def is_waiting(name: str) -> bool:
        return waiting.get(name) is not None

    return Guard(app, host in LOOPBACK, session.visitors, events, is_waiting, session.uploads.largest)


class Connection(H11Protocol):
    """Ends itself when no complete request comes for `PATIENCE`: Uvicorn waits for the rest of headers without end."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch(object())

    def _watch(self, last: object) -> None:
        """`last`: the request that had been answered at the look before, if nothing was under way."""
        if self.transport.is_closing():
            return
        state = self.cycle if self.cycle is None or self.cycle.response_complete else object()
        if state is last:
            self.transport.close()
        else:
            self.loop.call_later(PATIENCE, self._watch, state)


def serve(session: AppSession, listener: socket.socket, host: str) -> None:
    """Serves on a listening socket until the process is told to stop (Ctrl-C, SIGTERM)."""
    # Uvicorn stops on SIGTERM and then raises it once more: the files of the results must go before the process does.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    guard = build_server(session, host)
    config = uvicorn.Config(
        guard,
        http=Connection,
        ws="none",
        log_level="warning",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    guard.is_ending = lambda: server.should_exit
    server.run(sockets=[listener])
