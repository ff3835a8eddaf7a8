"""Which path is answered with what."""

import json
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qs

from ..client import AsyncClient, SampanError
from . import metrics
from .health import LIVEZ, READYZ, Check, Verdict, checked, health
from .process import taken_by

ETCD_VERSION = "3.6.0"
"""Whose API this is: what etcd's clients look for."""

_ALLOWED = ("GET", "HEAD")
_INDEX = "/metrics\n/health\n/livez\n/readyz\n/version\n"
_TEXT = "text/plain; charset=utf-8"


class Pages:
    """The pages of one node."""

    def __init__(
        self, client: AsyncClient, version: str, pids: Callable[[], Iterable[int]]
    ) -> None:
        """`client` has the node as its only endpoint; `pids` are the node's processes."""
        self._client = client
        self._version = version
        self._pids = pids
        self._checks: Mapping[str, Mapping[str, Check]] = {"livez": LIVEZ, "readyz": READYZ}

    async def answer(self, method: str, path: str, query: str) -> Verdict:
        """The answer to a request. The body is left out by whoever sends it, for HEAD."""
        if method not in _ALLOWED:
            return Verdict(405, _TEXT, "Method Not Allowed\n")
        asked = parse_qs(query, keep_blank_values=True)
        if path == "/metrics":
            return await self._metrics()
        if path == "/health":
            return await health(self._client, asked)
        if path == "/version":
            return self._versions()
        if path == "/":
            return Verdict(200, _TEXT, _INDEX)
        kind, _, name = path.removeprefix("/").partition("/")
        checks = self._checks.get(kind, {})
        if name:
            checks = {name: checks[name]} if name in checks else {}
        if not checks:
            return Verdict(404, _TEXT, "404 page not found\n")
        return await checked(self._client, checks, asked)

    async def _metrics(self) -> Verdict:
        try:
            measured = (await self._client.metrics(timeout_s=5.0)).fields
        except SampanError as error:
            return Verdict(503, _TEXT, f"{error.text}\n")
        text = metrics.exposition(measured, taken_by(self._pids()))
        return Verdict(200, metrics.CONTENT_TYPE, text.decode())

    def _versions(self) -> Verdict:
        told = {
            "etcdserver": ETCD_VERSION, "etcdcluster": ETCD_VERSION, "storage": ETCD_VERSION,
            "sampan": self._version,
        }  # fmt: skip
        return Verdict(200, "application/json", json.dumps(told))
