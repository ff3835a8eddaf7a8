"""The supervisor: starts the actors of one or more nodes, watches them, and ends them in order.

Actors of a node share their fate: when one dies its pipes have lost what was queued in them, so the
whole node starts again from its disk, with a growing pause if it keeps dying. The supervisor holds
the data dirs' locks; its children end by themselves when it is gone.
"""

import errno
import json
import multiprocessing
import os
import resource
import secrets
import select
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..actors import channels
from ..config import addresses, logging
from ..config.checks import check_insecure
from ..config.model import ClusterConfig, ConfigError, Member
from ..storage.snapshot_store import SnapshotStore
from ..transport import tcp
from . import certificates, lab, process, startup, tokens, web
from .lab_host import Orders
from .processors import Share, available, share
from .systemd import notify

if TYPE_CHECKING:
    from .keys import MemberKeys, OwnKeys, ServerKeys

RESTART_PAUSE_S = 0.1
RESTART_PAUSE_MAX_S = 5.0
HEALTHY_AFTER_S = 10.0
"""A node that lived this long starts again without a pause."""

STOP_ORDER = (
    process.GATEWAY,  # its clients' calls end before the node's do
    channels.NODE,  # stops taking requests and answers those under way
    channels.RAFT_CORE,
    channels.WAL_WRITER,
    channels.APPLIER,
    channels.TRANSPORT,
)
RUNTIME_PREFIX = "sampan-"
RUNTIME_NAME_LIKE = RUNTIME_PREFIX + "12345678"
"""As long as what mkdtemp makes of it."""
RUNTIME_NOTE, PIDS = "runtime", "pids.json"
"""Files in the data dir, for the next supervisor and for people."""

_BIND_OTHER = "client_listen, peer_listen, gateway_listen and http_listen can name another one"
_BIND_HINTS = {
    errno.EADDRINUSE: "is another node running here, or the address in the configuration twice?",
    errno.EADDRNOTAVAIL: f"this machine has no such address; {_BIND_OTHER}",
    errno.EACCES: "ports below 1024 need privileges; take a higher one",
}

STOP_S = 5.0
"""How long an actor may take to stop before it is killed."""

_spawn = multiprocessing.get_context("spawn")


class NodeSupervisor:
    """One node's processes."""

    def __init__(
        self,
        config: ClusterConfig,
        member: Member,
        processors: Share,
        log_path: str,
        log: Any,
        *,
        own_token: str = "",
        orders: Orders | None = None,
    ) -> None:
        """`orders`: for a node that is in a lab."""
        doors = _keys(config, member, log)
        self.keys = doors[1] if doors else None
        """By which the supervisor and its pages are known at the node's door for clients."""
        self._config, self.member, self._data = startup.begin(
            config, member, log, doors[0] if doors else None
        )
        try:
            certificates.make_if_needed(self._config, self.member, self._data.path, log)
        except ConfigError:
            self._data.close_unused()
            raise
        self.certificate = certificates.files(self._config, self._data.path)
        self._processors = processors
        self._log_path = log_path
        self._log = log
        self._runtime_dir = ""
        self._children: dict[str, Any] = {}
        self._pids: tuple[int, ...] = ()
        self._started_at = 0.0
        self._pause_s = 0.0
        self.restart_at: float | None = None
        self.failed = ""
        """Why this node was given up, empty while it was not."""
        self.restarts = 0
        self.own_token = own_token
        """By which its node knows the supervisor and its pages, whoever else is asked."""
        self._lab = orders is not None
        self.orders = orders or Orders()

    @property
    def own_keys(self) -> "OwnKeys | None":
        """As which this program comes to the node where that asks for keys."""
        return None if self.keys is None else self.keys.own()

    @property
    def members(self) -> int:
        """How many members the cluster is configured with."""
        return len(self._config.members)

    @property
    def client_here(self) -> str:
        """Where this machine reaches the node as a client."""
        host, port = addresses.parse(self._config.listen(self.member)[0])
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def web(self) -> web.Settings | None:
        """What its pages need to know; None when it has no HTTP address."""
        door = self._config.http_door(self.member)
        if door is None:
            return None
        name, sample = self.member.name, self._config.trace_sample
        certificate = self.certificate if door.tls else None
        return web.Settings(
            name, door.address, self.client_here, self.own_token, sample, certificate,
            self.own_keys,
        )  # fmt: skip

    def describe(self) -> dict[str, str]:
        """Where the node is, for people."""
        client, peer = self._config.listen(self.member)
        places = {"client": client, "peer": peer, "data_dir": str(self._data.path)}
        config, member = self._config, self.member
        gateway = ",".join(door.address for door in config.gateway_doors(member))
        http = config.http_door(member)
        doors = {"gateway": gateway, "http": http.address if http else ""}
        return places | {door: address for door, address in doors.items() if address}

    # -- start

    def check_addresses(self, probes: ExitStack) -> None:
        """Find out before anything starts whether the addresses are free, and take them until the
        probes are closed, so that two of them are not the same; raises ConfigError."""
        for address in self._config.bound(self.member):
            try:
                for probe in tcp.listen(address):
                    probes.enter_context(probe)
            except tcp.BindError as error:
                hint = _BIND_HINTS.get(error.number, _BIND_OTHER)
                raise ConfigError(f"{self.member.name}: {error}; {hint}") from error

    def start_first(self) -> None:
        """`start` where nobody is there yet who could wait for better times; raises ConfigError."""
        try:
            self.start()
        except OSError as error:
            raise ConfigError(
                f"{self.member.name}: cannot start in {self._data.path}: {error}; make room there "
                "and in the directory for temporary files, or move away what is in the way"
            ) from error

    def start(self) -> None:
        """Spawn the node's processes on fresh sockets. Raises OSError, and then there are none."""
        self.restart_at = None
        number = self._data.count_start()
        # Here, for its processes begin in any order: one would remove what another makes already.
        SnapshotStore(self._data.path / "snapshots").clean()
        try:
            self._make_runtime_dir()
            self._spawn_children(number)
        except OSError:
            self._kill()
            self._remove(self._data.path / RUNTIME_NOTE)
            raise
        self._started_at = time.monotonic()
        self._pids = tuple(child.pid for child in self._children.values())
        # Once is enough: later it would drop who was added since.
        self._config = replace(self._config, force_new_cluster=False)
        self._write_pids()

    def _spawn_children(self, number: int) -> None:
        fused = self._config.placement == "fused"
        groups: list[tuple[str, ...]] = [channels.ACTORS]
        if not fused:
            groups = [(name,) for name in channels.ACTORS]
        if self._config.gateway_doors(self.member):
            groups.append((process.GATEWAY,))
        if self._lab:
            hosts = [process.label(hosted) for hosted in groups if hosted != (process.GATEWAY,)]
            self.orders.open(self._runtime_dir, hosts)
        for hosted in groups:
            label = process.label(hosted)
            child = _spawn.Process(
                target=process.main,
                args=(
                    self._config.to_json(),
                    self.member.name,
                    hosted,
                    self._runtime_dir,
                    self._data.incarnation,
                    number,
                    os.getpid(),
                    self._log_path,
                    self._processors.of(label),
                    self.own_token,
                    self._lab,
                ),
                name=f"{self.member.name}:{label}",
                daemon=True,
            )
            with _interrupts_blocked():
                child.start()
            self._children[label] = child

    def _make_runtime_dir(self) -> None:
        """A directory for the sockets between actors: 0700, and short for ipc paths. It is noted in
        the data dir, so that the one of a supervisor that was killed goes with the next start."""
        note = self._data.path / RUNTIME_NOTE
        if note.exists():
            left = Path(os.fsdecode(note.read_bytes().replace(b"\0", b"")))
            if left.name.startswith(RUNTIME_PREFIX):
                shutil.rmtree(left, ignore_errors=True)
            else:
                # A power failure leaves it empty or full of zeros.
                self._log.warning("does not name a directory of local sockets", file=str(note))
        self._runtime_dir = tempfile.mkdtemp(prefix=RUNTIME_PREFIX)
        note.write_bytes(os.fsencode(self._runtime_dir))

    def _write_pids(self) -> None:
        """Tell tools and people which process is which. The node does without it when it must."""
        pids = {"supervisor": os.getpid()}
        pids |= {label: child.pid for label, child in self._children.items()}
        path = self._data.path / PIDS
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(pids), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            self._log.warning("cannot write", file=str(path), reason=error.strerror)
            self._remove(temporary)
            self._remove(path)  # it would name processes of others

    def _remove(self, path: Path) -> None:
        """Remove a file of the data dir, if it is there."""
        try:
            if path.is_file():
                path.unlink()
        except OSError as error:
            self._log.warning("cannot remove", file=str(path), reason=error.strerror)

    # -- watch

    @property
    def sentinels(self) -> list[int]:
        """What becomes readable when a process of this node ends."""
        return [child.sentinel for child in self._children.values()]

    def pids(self) -> tuple[int, ...]:
        """The node's processes. Any thread may ask."""
        return self._pids

    def check(self) -> None:
        """Act on what has happened: a dead actor, or the end of a pause."""
        if self.restart_at is not None and time.monotonic() >= self.restart_at:
            self._start_again()
        dead = {label: c.exitcode for label, c in self._children.items() if c.exitcode is not None}
        if not dead:
            return
        self._kill()
        if process.EXIT_FATAL in dead.values():
            self.failed = "it stopped for good; its log says why"
            self._log.error("node given up", node=self.member.name, reason=self.failed)
            return
        self._pause(time.monotonic() - self._started_at)
        self._log.warning(
            "actor died; the node starts again",
            node=self.member.name,
            exits=dead,
            pause_s=round(self._pause_s, 2),
        )

    def _start_again(self) -> None:
        """The disk may be full, or memory: that is this node's trouble only, and it may pass."""
        self.restarts += 1
        try:
            self.start()
        except OSError as error:
            self._pause(0.0)
            self._log.error(
                "cannot start; the node tries again",
                node=self.member.name,
                reason=str(error),
                pause_s=round(self._pause_s, 2),
            )

    def _pause(self, lived_s: float) -> None:
        grown = min(max(self._pause_s * 2, RESTART_PAUSE_S), RESTART_PAUSE_MAX_S)
        self._pause_s = 0.0 if lived_s > HEALTHY_AFTER_S else grown
        self.restart_at = time.monotonic() + self._pause_s

    # -- end

    def _kill(self) -> None:
        for child in self._children.values():
            child.kill()
        self._forget()

    def _forget(self) -> None:
        self._pids = ()
        for child in self._children.values():
            child.join()
            child.close()
        self._children.clear()
        self.orders.close()
        if self._runtime_dir:
            shutil.rmtree(self._runtime_dir, ignore_errors=True)
            self._runtime_dir = ""

    @property
    def labels(self) -> list[str]:
        """What the node's processes are called."""
        return list(self._children)

    def signal_all(self, number: int, label: str = "") -> None:
        """Send a signal to every process of the node that still runs, or to one alone."""
        for name, child in self._children.items():
            if label in ("", name) and child.exitcode is None:
                os.kill(child.pid, number)

    def ask_to_stop(self, label: str) -> None:
        """Ask one of the node's processes to end."""
        self.restart_at = None
        child = self._children.get(label)
        if child is not None and child.exitcode is None:
            os.kill(child.pid, signal.SIGTERM)

    def wait_for_stop(self, label: str) -> None:
        """Wait for what was asked, but not for ever."""
        child = self._children.get(label)
        if child is not None:
            child.join(STOP_S)

    def close(self) -> None:
        """Kill what is left of the node's processes and let go of the data dir."""
        self.restart_at = None
        self._kill()
        for name in (PIDS, RUNTIME_NOTE):
            self._remove(self._data.path / name)
        if self._started_at:
            self._data.close()
        else:
            self._data.close_unused()


def _keys(
    config: ClusterConfig, member: Member, log: Any
) -> "tuple[MemberKeys, ServerKeys] | None":
    """The keys of a node's doors for members and clients; raises ConfigError."""
    if not config.keys_dir:
        return None
    from . import keys  # with libsodium, where it is needed

    folder = Path(config.keys_dir)
    return keys.made(keys.MemberKeys, folder, member.name, log), keys.made(
        keys.ServerKeys, folder, log
    )


class Supervisor:
    """All nodes that this command runs."""

    def __init__(
        self,
        config: ClusterConfig,
        members: list[Member],
        log_path: str,
        log: Any,
        *,
        in_lab: bool = False,
    ) -> None:
        """`in_lab`: the nodes' pages may order that they misbehave; raises ConfigError."""
        self._log = log
        certificates.check(config)
        tokens.signer(config)  # or refuse to start
        if in_lab:
            lab.check(config)
        for member in members:
            check_insecure(config, member, config.cluster)
        self.nodes: list[NodeSupervisor] = []
        try:
            fused = config.placement == "fused"
            own_token = secrets.token_urlsafe()  # all of them are asked from each one's pages
            shares = share([] if fused else available(), len(members))
            for member, processors in zip(members, shares, strict=True):
                node = NodeSupervisor(
                    config,
                    member,
                    processors,
                    log_path,
                    log,
                    own_token=own_token,
                    orders=Orders() if in_lab else None,
                )
                self.nodes.append(node)
            if not fused or any(map(config.gateway_doors, members)):
                _check_socket_paths()
            with ExitStack() as probes:
                for node in self.nodes:
                    node.check_addresses(probes)
            self._lab = lab.Lab(self.nodes, self._wake) if in_lab else None
            self._web = [
                web.WebServer(node.web, node.pids, log, self._lab)
                for node in self.nodes
                if node.web
            ]
        except BaseException:
            self._close()
            raise
        self._signals_in, self._signals_out = socket.socketpair()
        self._signals_in.setblocking(False)
        self._signals_out.setblocking(False)
        self._stopping = self._hung_up = False

    def run(self, on_tick: Callable[[], None], tick_s: float) -> int:
        """Run until SIGTERM or Ctrl-C, or until every node was given up; returns the exit code."""
        signal.set_wakeup_fd(self._signals_out.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        _raise_open_files(self._log)
        try:
            for node in self.nodes:
                node.start_first()
            for server in self._web:
                server.start()
            next_tick = time.monotonic() + tick_s
            while not self._is_over():
                self._wait(next_tick)
                if self._is_over():
                    break  # whoever has died got the signal, too, as a process group does
                if self._hung_up:
                    self._reopen_logs()
                if self._lab is not None:
                    self._lab.work()
                for node in self.nodes:
                    node.check()
                if time.monotonic() >= next_tick:
                    next_tick = time.monotonic() + tick_s
                    on_tick()
        finally:
            signal.set_wakeup_fd(-1)
            notify("STOPPING=1")
            for server in self._web:
                server.stop()
            if self._lab is not None:
                self._lab.end()
            self._stop()
        return 0 if self._stopping else 1

    def _is_over(self) -> bool:
        return self._stopping or all(node.failed for node in self.nodes)

    def _stop(self) -> None:
        """All nodes side by side, each in order."""
        for label in (*STOP_ORDER, "fused"):
            for node in self.nodes:
                node.ask_to_stop(label)
            for node in self.nodes:
                node.wait_for_stop(label)
        self._close()

    def _close(self) -> None:
        for node in reversed(self.nodes):  # the first made the directory of them all
            node.close()

    def _on_signal(self, number: int, _frame: Any) -> None:
        self._stopping = True

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is full of wake-ups already
            self._signals_out.send(b"\0")

    def _on_hangup(self, number: int, _frame: Any) -> None:
        self._hung_up = True

    def _reopen_logs(self) -> None:
        """After SIGHUP, as logrotate sends it, and a terminal that goes: that ends nobody."""
        self._hung_up = False
        logging.reopen()
        for node in self.nodes:
            node.signal_all(signal.SIGHUP)
            if node.keys is not None:
                node.keys.stale = True
        self._log.info("got SIGHUP; log files are opened anew")

    def _wait(self, next_tick: float) -> None:
        pauses = [node.restart_at for node in self.nodes if node.restart_at is not None]
        timeout_s = max(0.0, min([next_tick, *pauses]) - time.monotonic())
        sentinels = [s for node in self.nodes for s in node.sentinels]
        wait([*sentinels, self._signals_in], timeout_s)
        if select.select([self._signals_in], [], [], 0)[0]:
            self._signals_in.recv(4096)


def _check_socket_paths() -> None:
    """Raises ConfigError where the temporary directory has too long a name for local sockets."""
    try:
        folder = Path(tempfile.gettempdir()) / RUNTIME_NAME_LIKE
        for actor in channels.ACTORS:
            addresses.ipc(folder, actor).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{str(folder.parent)!r} is not UTF-8; set TMPDIR to another") from error
    except (addresses.EndpointError, OSError) as error:
        raise ConfigError(f"no directory for local sockets: {error}") from error


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Whoever is started meanwhile never hears of Ctrl-C, which a terminal sends to all processes:
    it is the supervisor's to act on, afterwards. Nor of SIGHUP, until it has a log."""
    resource_tracker.ensure_running()  # multiprocessing's helper, whose start would end the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _raise_open_files(log: Any) -> None:
    """Let the nodes have as many files open as the system allows at most: a connection is one, and
    RocksDB, which fails without one, shares them with the clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("cannot raise the limit of open files", limit=soft, reason=str(error))
