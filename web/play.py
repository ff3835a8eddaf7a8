"""The lab's part of the pages: who may give orders, and the load that they can ask for.

A page elsewhere may make a browser send requests here, so orders need what only this page knows: a
token that stands in it. It is shown to nobody who asks by another name than this machine's own, or
a foreign name that leads here (DNS rebinding) could read it.
"""

import asyncio
import ipaddress
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from ..client import SampanError
from . import page
from .cluster import Cluster
from .health import Verdict

TOKEN_HEADER = "x-sampan-lab"
CLIENTS_MAX, VALUE_BYTES_MAX, BURST_MAX = 256, 256 << 10, 2_000
_JSON, _HTML = "application/json", "text/html; charset=utf-8"


class OrderError(ValueError):
    """An order that cannot be carried out; the text says why."""


class Play:
    """Takes orders of one node's page."""

    def __init__(
        self,
        cluster: Cluster,
        order: Callable[[Mapping[str, Any]], Awaitable[None]],
        told: Callable[[], dict[str, Any]],
    ) -> None:
        """`order` has the supervisor do what the clients here do not; `told` says what is wrong by
        order."""
        self._cluster = cluster
        self._order = order
        self._told = told
        self._token = secrets.token_urlsafe()
        self._load: list[asyncio.Task[None]] = []

    async def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Verdict | None:
        """The answer to a request, None for one that is answered as without a lab."""
        host = headers.get("host", "")
        if not _is_here(host):
            return _refused(421, "a lab is asked by the name of this machine alone: 127.0.0.1")
        if (method, path) == ("GET", "/"):
            return Verdict(200, _HTML, page.text(self._token))
        if (method, path) != ("POST", "/lab"):
            return None
        if headers.get("origin", f"http://{host}") not in (f"http://{host}", f"https://{host}"):
            return _refused(403, "orders come from the page itself")
        if not secrets.compare_digest(headers.get(TOKEN_HEADER, "").encode(), self._token.encode()):
            return _refused(403, "orders need the token that stands in the page: load it again")
        try:
            told = await self._take(_decoded(body))
        except OrderError as error:
            return _refused(400, str(error))
        except SampanError as error:
            return _refused(503, error.text)
        return Verdict(200, _JSON, json.dumps(told))

    def told(self) -> dict[str, Any]:
        """What is wrong by order, and how many clients put."""
        return self._told() | {"clients": len(self._load)}

    async def _take(self, order: Mapping[str, Any]) -> dict[str, int]:
        if order.get("do") == "put":
            return {"revision": await self._put(_number(order, "times", 1, BURST_MAX))}
        if order.get("do") == "load":
            clients = _number(order, "clients", 0, CLIENTS_MAX)
            await self._change_load(clients, _number(order, "bytes", 1, VALUE_BYTES_MAX))
        else:
            await self._order(order)
        return {}

    async def _put(self, times: int) -> int:
        """All at once; the last one's revision."""
        put = self._cluster.client.put
        done = await asyncio.gather(*(put(f"lab/{i}", "sampan") for i in range(times)))
        return max(each.header.revision for each in done)

    async def _change_load(self, clients: int, value_bytes: int) -> None:
        for task in self._load:
            task.cancel()
        await asyncio.gather(*self._load, return_exceptions=True)
        loop = asyncio.get_running_loop()
        self._load = [
            loop.create_task(self._put_on(f"lab/{i}", b"x" * value_bytes)) for i in range(clients)
        ]

    async def _put_on(self, key: str, value: bytes) -> None:
        """One put after the other, whatever becomes of them."""
        while True:
            try:
                await self._cluster.client.put(key, value)
            except SampanError:
                await asyncio.sleep(0.1)

    async def aclose(self) -> None:
        """End the load."""
        with suppress(asyncio.CancelledError):
            await self._change_load(0, 1)


def _is_here(host: str) -> bool:
    """Whether a Host header names this machine, for itself."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _refused(status: int, why: str) -> Verdict:
    return Verdict(status, _JSON, json.dumps({"error": why}))


def _decoded(body: bytes) -> Mapping[str, Any]:
    try:
        order = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise OrderError(f"an order is JSON: {error}") from error
    if not isinstance(order, dict):
        raise OrderError("an order is an object")
    return order


def _number(order: Mapping[str, Any], key: str, least: int, most: int) -> int:
    number = order.get(key)
    if type(number) is not int or not least <= number <= most:
        raise OrderError(f"`{key}` must be {least} to {most}")
    return number
