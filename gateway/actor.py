"""The sixth actor of a node: a process that serves etcd's clients, on an event loop.

It is a client of its own node and nothing else: no channel leads to it, and a node without one is
what it was. It shares the fate of the other five.
"""

import asyncio
import importlib
import importlib.util
import os
import signal
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ..client import AsyncClient, errors
from ..config import addresses
from ..config.certificates import CertificateFiles
from ..config.model import Door
from ..security.rules import HEALTH_KEY
from ..transport.requests import KIND_READ
from ..web.cluster import Cluster
from ..web.pages import Pages
from .backend import Audit, Backend
from .http_api import VERSIONS, HttpApi
from .services import methods
from .wire.certificates import Certificates
from .wire.server import Gateway

if TYPE_CHECKING:
    from ..client.keys import ClientKeys

PARENT_CHECK_S = 1.0
"""How often to see whether the supervisor is there, where the kernel does not tell."""
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Settings(NamedTuple):
    """What the gateway is told."""

    listen: tuple[Door, ...]
    """What to bind."""
    certificate: CertificateFiles | None
    """For those that take TLS."""
    names_users: bool
    """The common name of a client's certificate is the user who asks."""
    node: str
    """The endpoint at which its own node serves it."""
    node_address: str
    """HOST:PORT that its own node has bound for clients."""
    timeout_s: float
    """How long a node works on a request."""
    parent_pid: int
    own_token: str
    """By which the node knows its own processes, where users are asked who they are."""
    audit: Audit | None = None
    """What is to be told of who calls."""
    keys: "ClientKeys | None" = None
    """By which it does where keys are asked for."""


class OrphanedError(RuntimeError):
    """The supervisor is gone."""


def run(settings: Settings, log: Any) -> None:
    """Serve until SIGTERM.

    Raises:
        OrphanedError: the supervisor is gone.
        OSError: the address is not to be had.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to act on
    factory = None
    if importlib.util.find_spec("uvloop") is not None:  # takes a seventh off a call, where it is
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(settings, log))


async def _serve(settings: Settings, log: Any) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    host, port = addresses.parse(settings.node_address)
    host = ANY.get(host, host)
    node = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    backend = Backend(
        loop,
        settings.node,
        settings.timeout_s,
        settings.own_token,
        settings.keys,
        audit=settings.audit,
    )
    stopped, ready = (loop.create_task(each) for each in (stop.wait(), _catch_up(backend)))
    try:
        await _first_of(settings, stopped, ready)
        if stop.is_set():
            return
        served = methods(backend)
        own = AsyncClient([node], token=settings.own_token, keys=settings.keys)
        async with aclosing(own) as itself:
            cluster = Cluster(itself, keys=settings.keys)
            pages = Pages(cluster, VERSIONS.decode(), lambda: [os.getpid()])
            api = HttpApi(pages, served, backend.asks_who)
            gateway = Gateway(served, api.serve, log)
            await _listen(gateway, settings, log)
            await _first_of(settings, stopped)
            await gateway.aclose()
    finally:
        ready.cancel()
        stopped.cancel()
        backend.close()


async def _listen(gateway: Gateway, settings: Settings, log: Any) -> None:
    certificates = None
    if settings.certificate is not None:
        certificates = Certificates(settings.certificate, log)
    for door in settings.listen:
        await gateway.listen(
            *addresses.parse(door.address),
            certificates if door.tls else None,
            names_users=settings.names_users,
        )
    urls = [door.url for door in settings.listen]
    log.info("ready to serve client requests", addresses=urls)  # etcd's words


async def _catch_up(backend: Backend) -> None:
    """Wait until the node has heard of everything that was ever acknowledged: as at etcd, whoever
    can connect is served, and not from what stood before the last writes, or by users of before."""
    while True:
        with suppress(errors.SampanError):
            await backend.future(KIND_READ, ("range", HEALTH_KEY), backend.own_token)
            return


async def _first_of(settings: Settings, *tasks: asyncio.Task[Any]) -> None:
    done: set[asyncio.Task[Any]] = set()
    while not done:
        _check_parent(settings)
        done, _ = await asyncio.wait(
            tasks, timeout=PARENT_CHECK_S, return_when=asyncio.FIRST_COMPLETED
        )


def _check_parent(settings: Settings) -> None:
    if os.getppid() != settings.parent_pid:
        raise OrphanedError(f"the supervisor (pid {settings.parent_pid}) is gone")
