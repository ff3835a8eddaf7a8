"""What the gateway answers over HTTP/1.1: the JSON gateway, /health and its kin, /version."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from urllib.parse import parse_qs

from .. import __version__
from ..client import errors
from ..client.alarm_calls import AlarmMember
from ..security.rules import HEALTH_KEY
from ..transport.requests import KIND_MAINTENANCE, KIND_READ, KIND_SERIALIZABLE
from .backend import Backend, Request
from .grpc import Method
from .http import HttpRequest, HttpResponse
from .json_calls import CORS, JSON, ROUTES, Headers, JsonGateway, dumps
from .services.maintenance import ETCD_VERSION, STORAGE_VERSION

TEXT: Headers = (
    *CORS, ("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")
)  # fmt: skip
HEALTH: Headers = (*CORS, ("Content-Type", "text/plain; charset=utf-8"))
VERSIONS = dumps(
    {
        "etcdserver": ETCD_VERSION,
        "etcdcluster": STORAGE_VERSION,
        "storage": STORAGE_VERSION,
        "sampan": __version__,
    }
)
API = ("/v3", "/v3beta")
_HEALTH = ("range", HEALTH_KEY)  # whatever is there

Asked = Callable[[HttpRequest], Coroutine[Any, Any, tuple[int, bytes]]]


class HttpApi:
    """Answers whole requests."""

    def __init__(self, backend: Backend, methods: Iterable[Method]) -> None:
        self._backend = backend
        self._json = JsonGateway(methods)
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: dict[str, Asked] = {
            "/health": self._health,
            "/livez": self._live,
            "/readyz": self._ready,
        }

    def serve(self, request: HttpRequest, response: HttpResponse) -> None:
        """Answer a request."""
        path = request.path
        root, _, route = path.lstrip("/").partition("/")
        if request.method == "OPTIONS":
            response.send(200, CORS, b"")
        elif path in self._asked or path == "/version":
            self._about_node(request, response)
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
        else:
            self._json.call(route, request, response)

    def _about_node(self, request: HttpRequest, response: HttpResponse) -> None:
        if request.method != "GET":
            response.send(405, (*TEXT, ("Allow", "GET")), b"Method Not Allowed\n")
        elif request.path == "/version":
            response.send(200, JSON, VERSIONS)
        else:
            task = self._backend.loop.create_task(self._tell(request, response))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

            def cancel() -> None:
                task.cancel()

            response.on_gone = cancel

    async def _tell(self, request: HttpRequest, response: HttpResponse) -> None:
        status, body = await self._asked[request.path](request)
        response.send(status, HEALTH, body)

    async def _health(self, request: HttpRequest) -> tuple[int, bytes]:
        reason = await self._trouble(request)
        told = {"health": "false" if reason else "true", "reason": reason}
        return 503 if reason else 200, dumps(told)

    async def _trouble(self, request: HttpRequest) -> str:
        """Why the node is not healthy, in etcd's words; empty when it is."""
        options = parse_qs(request.query)
        serializable = options.get("serializable") == ["true"]
        try:
            _, result = await self._future(KIND_MAINTENANCE, ("status",))
            status = dict(result[1])
            for alarm in status.get("alarms", ()):
                name = AlarmMember(*alarm).name
                if name not in options.get("exclude", ()):
                    return f"ALARM {name}"
            if not status.get("leader") and not serializable:
                return "RAFT NO LEADER"
            await self._read(linearizable=not serializable)
        except errors.SampanError as error:
            return f"RANGE ERROR:{error.text}"
        return ""

    def _future(self, kind: str, request: Request) -> "asyncio.Future[Any]":
        """Ask as the node itself: whoever looks after it needs no user."""
        return self._backend.future(kind, request, self._backend.own_token)

    async def _read(self, *, linearizable: bool) -> None:
        kind = KIND_READ if linearizable else KIND_SERIALIZABLE
        await self._future(kind, _HEALTH)

    async def _live(self, _request: HttpRequest) -> tuple[int, bytes]:
        return await self._probe("serializable_read", linearizable=False)

    async def _ready(self, _request: HttpRequest) -> tuple[int, bytes]:
        return await self._probe("linearizable_read", linearizable=True)

    async def _probe(self, name: str, *, linearizable: bool) -> tuple[int, bytes]:
        try:
            await self._read(linearizable=linearizable)
        except errors.SampanError as error:
            return 503, f"[-]{name} failed: {error.text}\n".encode()
        return 200, b"ok\n"
