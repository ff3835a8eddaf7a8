"""Which path is answered with what."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from ..client import SampanError
from . import metrics, page
from .cluster import Cluster
from .health import LIVEZ, READYZ, Check, Verdict, checked, health
from .live import Live
from .picture import picture
from .process import taken_by
from .traces import Traces

_ALLOWED = ("GET", "HEAD")
_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"


class Pages:
    """The pages of one node."""

    def __init__(
        self,
        cluster: Cluster,
        versions: str,
        pids: Callable[[], Iterable[int]],
        lab: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        """`versions` is the JSON of `/version`; `pids` are those of the node's processes that its
        actors do not tell of; `lab` tells what is wrong by order."""
        self._client = cluster.own
        self._cluster = cluster
        self._versions = versions
        self._pids = pids
        self.traces = Traces()
        self.live = Live(cluster, self.traces, lab or dict)
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
            return Verdict(200, _JSON, self._versions)
        if path in ("/trace", "/picture"):
            return await self._trace(path, asked.get("revision", ["0"])[0])
        if path == "/":
            return Verdict(200, "text/html; charset=utf-8", page.text())
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
        actors = {each["load"]["process"][0] for each in measured["actors"].values()}
        text = metrics.exposition(measured, taken_by(actors.union(self._pids())))
        return Verdict(200, metrics.CONTENT_TYPE, text.decode())

    async def _trace(self, path: str, revision: str) -> Verdict:
        if not revision.isdecimal() or len(revision) > 19:
            return Verdict(400, _JSON, json.dumps({"error": "a revision is a number"}))
        try:
            kept = self.traces.find(int(revision))
            trace = kept or await self._cluster.trace(int(revision))
        except SampanError as error:
            return Verdict(404, _JSON, json.dumps({"error": error.text}))
        if path == "/picture":
            names = {member: place.name for member, place in self._cluster.places.items()}
            return Verdict(200, "image/svg+xml", picture(trace, names))
        steps = [step._asdict() for step in trace.steps]
        told = trace._asdict() | {"steps": steps, "parts": trace.parts()}
        return Verdict(200, _JSON, json.dumps(told))
