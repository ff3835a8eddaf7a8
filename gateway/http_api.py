"""What etcd's port answers over HTTP beside gRPC: the JSON gateway, and what there is to be told
about the node itself (`web/pages.py`), which needs no user."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from .. import __version__
from ..client import errors
from ..web.pages import Pages
from .grpc import Method
from .http import HttpRequest, HttpResponse
from .json_calls import CORS, ROUTES, Headers, JsonGateway, dumps
from .services.maintenance import ETCD_VERSION, STORAGE_VERSION

TEXT: Headers = (
    *CORS, ("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")
)  # fmt: skip
VERSIONS = dumps(
    {
        "etcdserver": ETCD_VERSION,
        "etcdcluster": STORAGE_VERSION,
        "storage": STORAGE_VERSION,
        "sampan": __version__,
    }
)
API = ("/v3", "/v3beta")
METRICS = "metrics"
ABOUT_NODE = (METRICS, "health", "livez", "readyz", "version")
"""What the paths begin with that are answered as by the node's own HTTP address."""
NAME_IGNORED = (
    b"CommonName of client sending a request against gateway will be ignored and not used as "
    b"expected\n"
)


class HttpApi:
    """Answers whole requests."""

    def __init__(
        self, pages: Pages, methods: Iterable[Method], asks_who: Callable[[], Awaitable[bool]]
    ) -> None:
        """`asks_who` tells whether users are asked who they are; may raise errors.SampanError."""
        self._pages = pages
        self._asks_who = asks_who
        self._json = JsonGateway(methods)
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, request: HttpRequest, response: HttpResponse) -> None:
        """Answer a request."""
        path = request.path
        root, _, route = path.lstrip("/").partition("/")
        if request.method == "OPTIONS":
            response.send(200, CORS, b"")
        elif root in ABOUT_NODE:
            self._about_node(root, request, response)
        elif path in API:
            moved = f'<a href="{path}/">Moved Permanently</a>.\n\n'.encode()
            html = ("Content-Type", "text/html; charset=utf-8")
            response.send(301, (*CORS, html, ("Location", f"{path}/")), moved)
        elif f"/{root}" not in API:
            response.send(404, TEXT, b"404 page not found\n")
        elif route not in ROUTES:
            response.send(404, TEXT, b"Not Found\n")
        elif request.method != "POST":
            response.send(405, TEXT, b"Method Not Allowed\n")
        elif request.user:
            self._start(response, self._call_if_nobody_is_asked(route, request, response))
        else:
            self._json.call(route, request, response)

    async def _call_if_nobody_is_asked(
        self, route: str, request: HttpRequest, response: HttpResponse
    ) -> None:
        """etcd's JSON gateway knows nobody by a certificate. Who shows one with a name where users
        are asked who they are means something else than what would happen."""
        try:
            asked = await self._asks_who()
        except errors.SampanError as error:
            response.send(503, TEXT, f"{error.text}\n".encode())
            return
        if asked:
            response.send(400, TEXT, NAME_IGNORED)
        else:
            self._json.call(route, request, response)

    def _start(self, response: HttpResponse, answer: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(answer)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def cancel() -> None:
            task.cancel()

        response.on_gone = cancel

    def _about_node(self, root: str, request: HttpRequest, response: HttpResponse) -> None:
        if request.method != "GET" and root != METRICS:  # which Go's handler gives to any method
            response.send(405, (*TEXT, ("Allow", "GET")), b"Method Not Allowed\n")
        else:
            self._start(response, self._tell(request, response))

    async def _tell(self, request: HttpRequest, response: HttpResponse) -> None:
        verdict = await self._pages.answer("GET", request.path, request.query)
        headers = (*CORS, ("Content-Type", verdict.content_type))
        response.send(verdict.status, headers, verdict.body.encode())
