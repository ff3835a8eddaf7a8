"""A node's HTTP address: serves the pages of `web`, in a thread beside the supervisor's loop.

Here and not among the actors: whoever asks for metrics slows no request, and a node that is down or
starts again still has somebody who says so.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..client import AsyncClient
from ..client.trace import Trace
from ..config import addresses
from ..config.certificates import CertificateFiles
from ..config.model import ConfigError
from ..gateway.http import HttpRequest, HttpResponse
from ..gateway.http_api import VERSIONS
from ..gateway.wire.certificates import Certificates
from ..gateway.wire.server import Gateway
from ..web import page, sampling, spans
from ..web.cluster import Cluster
from ..web.pages import Pages
from ..web.play import Play
from .lab import Lab

if TYPE_CHECKING:
    from ..client.keys import ClientKeys

WAITING_MAX = 64
"""Requests that are being answered at a time: far more than probes and scrapers make. Others are
told to come again."""


class Settings(NamedTuple):
    """Which node's pages are served, and where."""

    name: str
    listen: str
    """HOST:PORT to bind."""
    node: str
    """HOST:PORT at which the node takes clients."""
    token: str
    """By which it knows its pages."""
    trace_sample: float = 0.0
    """Share of all writes to trace."""
    certificate: CertificateFiles | None = None
    """For TLS."""
    keys: "ClientKeys | None" = None
    """What the pages show where the nodes ask for keys."""


class WebServer:
    """Serves from `start` to `stop`."""

    def __init__(
        self,
        settings: Settings,
        pids: Callable[[], Iterable[int]],
        log: Any,
        lab: Lab | None = None,
    ) -> None:
        """`pids` are the node's processes; `lab` takes orders of the page.

        Raises:
            ConfigError: traces are to be exported, and cannot be.
        """
        self._settings = settings
        self._host, self._port = addresses.parse(settings.listen)
        self._pids = pids
        self._lab = lab
        self._play: Play | None = None
        self._export = spans.exporter(settings.name) if settings.trace_sample else None
        self._log = log
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._answers: set[asyncio.Task[None]] = set()
        self._pages: Pages
        self._bound = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Bind; raises ConfigError."""
        self._thread.start()
        self._bound.wait()
        if self._error is not None:
            self._thread.join()
            raise ConfigError(
                f"cannot bind {self._host}:{self._port} for HTTP: {self._error.strerror}"
            ) from self._error

    def stop(self) -> None:
        """Close all connections."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # it has just ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._error = error
        finally:
            self._loop.close()
            self._bound.set()

    async def _serve(self) -> None:
        settings = self._settings
        # The nodes of one supervisor know the same token; its keys all members know.
        identity: Any = {"token": settings.token, "keys": settings.keys}
        async with AsyncClient([settings.node], **identity) as client:
            cluster = Cluster(client, **identity)
            if self._lab is not None:
                self._play = Play(cluster, partial(_order, self._lab), self._lab.told)
            about_lab = self._play.told if self._play else None
            self._pages = Pages(cluster, VERSIONS.decode(), self._pids, about_lab)
            if settings.trace_sample:
                sampled = sampling.sample(
                    cluster, settings.trace_sample, self._pages.traces, self._export or _nowhere
                )
                self._answers.add(self._loop.create_task(sampled))
            server = Gateway((), self._take, self._log)
            files = settings.certificate
            certificates = Certificates(files, self._log) if files else None
            await server.listen(self._host, self._port, certificates)
            self._bound.set()
            try:
                await self._stopping.wait()
            finally:
                for task in self._answers:
                    task.cancel()
                await self._pages.live.aclose()
                if self._play is not None:
                    await self._play.aclose()
                await cluster.aclose()
                await server.aclose()

    def _take(self, request: HttpRequest, response: HttpResponse) -> None:
        if (request.method, request.path) == ("GET", "/live"):
            self._show(response)
            return
        if len(self._answers) >= WAITING_MAX:
            response.send(503, (), b"too many requests at a time\n")
            return
        task = self._loop.create_task(self._answer(request, response))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)
        response.on_gone = partial(_cancel, task)

    def _show(self, response: HttpResponse) -> None:
        """Tell the page what is going on, until it is closed. Who does not read misses tellings."""

        def send(telling: bytes) -> None:
            if response.writable:
                response.write(telling)

        if not self._pages.live.look(send):
            response.send(503, (), b"too many look already\n")
            return
        response.on_gone = partial(self._pages.live.leave, send)
        response.start(200, [("content-type", "text/event-stream"), ("cache-control", "no-store")])

    async def _answer(self, request: HttpRequest, response: HttpResponse) -> None:
        verdict = None
        if self._play is not None:
            about = (request.method, request.path, request.headers, request.body)
            verdict = await self._play.answer(*about)
        if verdict is None:
            verdict = await self._pages.answer(request.method, request.path, request.query)
        body = verdict.body.encode()
        headers = (
            ("content-type", verdict.content_type),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("content-security-policy", page.policy()),
        )
        response.send(verdict.status, headers, b"" if request.method == "HEAD" else body)


async def _order(lab: Lab, order: Mapping[str, Any]) -> None:
    await asyncio.wrap_future(lab.order(order))


def _nowhere(_trace: Trace) -> None:
    """Traces are kept, and not exported."""


def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
