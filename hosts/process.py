"""The entry of every child process: builds the actors it hosts, turns their end into an exit code.

Children are spawned, never forked: a fork after RocksDB was opened would never flush again, and one
after a ZeroMQ context was made would share its threads. Only primitives are passed.
"""

import ctypes
import faulthandler
import gc
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import zmq

from .. import __version__
from ..actors import channels
from ..actors.actor import Actor, Impossible
from ..config import addresses, logging, model
from ..config.keys import KeyFileError
from ..storage.errors import CorruptionError, StorageError
from ..transport import sockets
from . import processors, slices
from .host import Fatal, Host, Orphaned
from .pipes import Inbox, Pipe
from .ports import ClientPort, PeerPort

if TYPE_CHECKING:
    from ..actors.archiver import Archiver
    from ..actors.audit import Auditor
    from .keys import DoorKeys, MemberKeys, ServerKeys

GATEWAY = "gateway"
"""The process that serves etcd's clients, beside the actors."""
EXIT_FAILED = 1
"""The actor failed; the node may be started again."""
GC_THRESHOLD = 50_000
"""Objects between two looks of the garbage collector at the young ones; Python's default is 700."""

EXIT_FATAL = 3
"""The node must not be started again as it is."""

MALLOC_KEPT_BYTES = 32 << 20
"""Freed memory that a process may keep."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


class Orders(NamedTuple):
    """What a child is told: primitives only."""

    config_json: str
    member_name: str
    hosted: tuple[str, ...]
    """The actors to run, all of a node or one; or the gateway."""
    runtime_dir: str
    incarnation: int
    start: int
    """The number of this start of the node."""
    parent_pid: int
    log_path: str
    processor: int | None
    """To run on; None for any."""
    own_token: str
    """By which the node knows the supervisor and its pages."""
    lab: bool = False
    """Take orders to misbehave."""


def main(*orders: Any) -> None:
    """Run the actors that the orders name to their end, then exit."""
    told = Orders(*orders)
    title = label(told.hosted)
    _tie_to_parent(f"{told.member_name}:{title}")
    _keep_freed_memory()
    faulthandler.enable()
    os.umask(0o077)  # sockets and files are this user's alone
    config = model.from_json(told.config_json)
    log = logging.setup(config.log_level, told.log_path, node=told.member_name, actor=title)
    signal.signal(signal.SIGHUP, lambda *_: logging.reopen())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # whoever started it blocked it
    if told.processor is not None and not processors.stay_on(told.processor):
        log.warning("not on the processor that was chosen", processor=told.processor)
    builder = Builder(config, told, log)
    signal.signal(signal.SIGHUP, lambda *_: builder.on_hangup())
    try:
        run = builder.gateway if told.hosted == (GATEWAY,) else builder.host().run
        # What exists now stays: the collector need not look at it again, and what actors pass on
        # is free of cycles, so it need not look often (3 % of a busy node's time).
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        run()
    except Fatal as error:
        log.error("node stopped for good", reason=str(error))
        sys.exit(EXIT_FATAL)
    except CorruptionError as error:
        log.error("node stopped for good", reason=builder.beyond_repair(error))
        sys.exit(EXIT_FATAL)
    except StorageError as error:
        log.error("disk failed", reason=str(error))  # it is full, perhaps: it may get better
        sys.exit(EXIT_FAILED)
    except KeyFileError as error:
        log.error("cannot start", reason=str(error))  # it was good a moment ago
        sys.exit(EXIT_FAILED)
    except Orphaned as error:
        log.warning("stopping", reason=str(error))
        sys.exit(EXIT_FAILED)
    except Exception:
        log.exception("actor failed")
        sys.exit(EXIT_FAILED)


def label(hosted: tuple[str, ...]) -> str:
    """What a process is called."""
    return hosted[0] if len(hosted) == 1 else "fused"


def _tie_to_parent(title: str) -> None:
    """Die with the supervisor, at once where the kernel can see to it; the host looks as well."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_NAME, title.encode()[:15])


def _keep_freed_memory() -> None:
    """Let glibc keep what was freed of large answers for the next one. By default each MiB goes
    back to the kernel, and comes again as 256 page faults: a third of the time of a range of
    10,000 keys in a virtual machine."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MALLOC_KEPT_BYTES // 2)
        mallopt(_M_TRIM_THRESHOLD, MALLOC_KEPT_BYTES)


class Builder:
    """Makes the actors of one node, their sockets and the host that runs them."""

    def __init__(self, config: model.ClusterConfig, told: Orders, log: Any) -> None:
        self._config = config
        self._told = told
        self._member = config.member(told.member_name)
        self._data_dir = Path(config.data_dir) / told.member_name
        self._log = log
        self._keys: list[DoorKeys] = []

    def host(self) -> Host:
        """A host of the ordered actors, wired to the processes of the others."""
        hosted, log = self._told.hosted, self._log
        client, peer = self._config.listen(self._member)
        actors = [getattr(self, "_" + name)() for name in hosted]
        inbox, pipes = self._corridors(hosted)
        client_port = peer_port = None
        if channels.NODE in hosted:
            beside = addresses.ipc_path(self._door()) if self._has_gateway else ""
            client_port = ClientPort(client, log, self._server_keys(), beside)
        if channels.TRANSPORT in hosted:
            peer_port = PeerPort(peer, log, self._member_keys())
        make: Callable[..., Host] = Host
        if self._told.lab:
            from .lab_host import LabHost, pipe_path

            make = partial(LabHost, orders=pipe_path(self._told.runtime_dir, label(hosted)))
        return make(
            actors,
            inbox=inbox,
            pipes=pipes,
            client_port=client_port,
            peer_port=peer_port,
            parent_pid=self._told.parent_pid,
            log=self._log,
        )

    def _member_keys(self) -> "MemberKeys | None":
        """What the door for members has, if the node has keys."""
        if not self._config.keys_dir:
            return None
        from .keys import MemberKeys  # with libsodium, where it is needed

        keys = MemberKeys(Path(self._config.keys_dir), self._member.name, self._log)
        self._keys.append(keys)
        return keys

    def _server_keys(self) -> "ServerKeys | None":
        """Likewise that for clients."""
        if not self._config.keys_dir:
            return None
        from .keys import ServerKeys

        keys = ServerKeys(Path(self._config.keys_dir), self._log)
        self._keys.append(keys)
        return keys

    def on_hangup(self) -> None:
        """SIGHUP: log files and keys may have changed. The keys are read when they are used next:
        anything may have been under way."""
        logging.reopen()
        for each in self._keys:
            each.stale = True

    def gateway(self) -> None:
        """Serve etcd's clients."""
        from ..gateway import actor, backend
        from . import certificates

        config, member = self._config, self._member
        told = None
        if config.audit != "off":
            told = backend.Audit(partial(self._audit_log().info, "etcd client"))
        settings = actor.Settings(
            listen=config.gateway_doors(member),
            certificate=certificates.files(config, self._data_dir),
            names_users=config.client_cert_auth,
            node=self._door(),
            node_address=config.listen(member)[0],
            timeout_s=config.request_timeout_ms / 1000,
            parent_pid=self._told.parent_pid,
            own_token=self._told.own_token,
            keys=door.own() if (door := self._server_keys()) else None,
            audit=told,
        )
        try:
            actor.run(settings, self._log)
        except actor.OrphanedError as error:
            raise Orphaned(str(error)) from error

    def beyond_repair(self, error: Exception) -> str:
        """What to tell of damage that is there again after every restart."""
        return (
            f"{error} (no restart mends {self._data_dir}: restore all of it as it was last, or "
            f"leave this member down; `sampan doctor {self._data_dir}` says more)"
        )

    @property
    def _has_gateway(self) -> bool:
        return bool(self._config.gateway_doors(self._member))

    def _door(self) -> str:
        """Where the node is a server for the gateway beside it."""
        return self._ipc("clients")

    def _ipc(self, actor: str) -> str:
        return addresses.ipc(Path(self._told.runtime_dir), actor)

    def _corridors(self, hosted: tuple[str, ...]) -> tuple[Inbox | None, dict[str, Pipe]]:
        """To and from the processes of other actors, where there are any."""
        if len(hosted) == len(channels.ACTORS):
            return None, {}
        ctx = sockets.context()
        # The first socket starts the threads that move messages. They have little to do, and
        # everything waits for them.
        with slices.short_in_new_threads():
            inbox = Inbox(sockets.inbox(ctx, self._ipc(hosted[0])), hosted[0])
            return inbox, self._pipes(ctx, hosted)

    def _pipes(self, ctx: zmq.Context[Any], hosted: tuple[str, ...]) -> dict[str, Pipe]:
        consumers = {
            consumer
            for channel in channels.CHANNELS.values()
            if set(channel.producers) & set(hosted)
            for consumer in channel.consumers
        }
        return {
            to: Pipe(sockets.outbox(ctx, self._ipc(to)), hosted[0], to)
            for to in sorted(consumers - set(hosted) - {channels.HOST})
        }

    # -- the actors; each imports only what it needs, so that its process starts fast

    def _advertised(self) -> tuple[str, ...]:
        """Where clients reach this member; etcd's, by the URL that they expect."""
        member = self._member
        if not self._has_gateway:
            return (member.client,)
        return (member.client, self._config.gateway_url(member))

    def _node(self) -> Actor:
        from ..actors.client_limits import Rates
        from ..actors.node import Node
        from ..actors.node_settings import NodeSettings
        from . import tokens

        config, member = self._config, self._member
        settings = NodeSettings(
            cluster_id=config.cluster_id,
            member_id=member.id,
            name=member.name,
            client_advertise=self._advertised(),
            incarnation=self._told.incarnation,
            request_timeout_s=config.request_timeout_ms / 1000,
            version=__version__,
            id_seed=secrets.randbits(31),
            lease_ttl_min_s=config.lease_ttl_min_s,
            rates=Rates(
                config.client_requests_per_s,
                config.client_keys_per_s,
                config.client_bytes_per_s,
                config.client_leases_per_s,
            ),
            client_watches_max=config.client_watches_max,
            watch_progress_s=config.watch_progress_ms / 1000,
            election_s=config.election_ms / 1000,
            bcrypt_cost=config.bcrypt_cost,
            auth_token_ttl_s=config.auth_token_ttl_s,
            strict_reconfig_check=config.strict_reconfig_check,
            own_token=self._told.own_token,
            jwt=tokens.signer(config),
        )
        return Node(settings, self._log, self._auditor())

    def _auditor(self) -> "Auditor | None":
        if self._config.audit == "off":
            return None
        from ..actors.audit import Auditor

        write = partial(self._audit_log().info, "request")
        return Auditor(self._config.audit, self._told.own_token, write)

    def _audit_log(self) -> Any:
        path = self._config.audit_file or str(self._data_dir / "audit.log")
        try:
            return logging.audit(path, node=self._member.name)
        except OSError as error:
            raise Fatal(f"the audit log {path} cannot be opened: {error.strerror}") from error

    def _raft_core(self) -> Actor:
        from ..actors.core_config import CoreSettings
        from ..actors.raft_core import RaftCore

        config = self._config
        settings = CoreSettings(
            member_id=self._member.id,
            heartbeat_s=config.heartbeat_ms / 1000,
            election_ticks=config.election_ticks,
            bootstrap=self._bootstrap(),
            force_new_cluster=config.force_new_cluster,
            log_limits=config.log_limits,
        )
        core = RaftCore(settings, secrets.randbelow, self._log)
        core.archiver = self._archiver()
        for channel in ("logc", "statec"):
            core.handlers[channel] = self._fatal_if_impossible(core.handlers[channel])
        return core

    def _archiver(self) -> "Archiver | None":
        from ..actors.archiver import Archiver
        from ..storage.archive import Archive

        config = self._config
        if not (config.archive_dir or config.archive_command):
            return None
        directory = Path(config.archive_dir) / self._member.name if config.archive_dir else None
        ids = (config.cluster_id, self._member.id)
        archive = Archive(self._data_dir, ids, directory, config.archive_command)
        if config.force_new_cluster:
            archive.begin_anew()  # what the lost members wrote after this one may be in it
        return Archiver(archive, lambda: time.time_ns() // 1_000_000, self._log)

    def _bootstrap(self) -> tuple[tuple[int, str, str], ...]:
        """The members of a new cluster; none for one that has joined a cluster."""
        from ..storage import data_dir

        config = self._config
        if data_dir.joined(self._data_dir) is not None:
            return ()
        found_nobody = config.discovery_srv and len(config.members) == 1
        if found_nobody and config.initial_cluster_state == "existing":
            return ()  # DNS does not tell: this is not all there is
        # The same on all of them, whatever the order in their files. Names that were found by DNS
        # are each node's own idea: the members will tell theirs.
        named = not config.discovery_srv
        members = [(m.id, m.name if named else "", m.peer) for m in config.members]
        return tuple(sorted(members))

    def _peers(self) -> tuple[tuple[int, str, str], ...]:
        """Whom to link to until the log tells."""
        from ..storage import data_dir

        others = [m for m in self._config.members if m is not self._member]
        names = {addresses.parse(m.peer): m.name for m in others}
        joined = data_dir.joined(self._data_dir) or [(m.id, m.peer) for m in others]
        return tuple((peer, at, names.get(addresses.parse(at), "")) for peer, at in joined)

    def _fatal_if_impossible(self, take: Callable[[Any], None]) -> Callable[[Any], None]:
        """The handler of what a database holds at the start: it holds the same at the next one."""
        from ..raft import RaftPanic

        def take_or_stop(message: Any) -> None:
            try:
                take(message)
            except (Impossible, RaftPanic) as error:
                raise Fatal(self.beyond_repair(error)) from error

        return take_or_stop

    def _folder(self, name: str) -> Path:
        """Where a database is or will be. A link to somewhere else is allowed, to nowhere not."""
        path = self._data_dir / name
        if os.path.lexists(path) and not path.is_dir():
            raise Fatal(f"{path} is not a directory and leads to none; move it away or mend it")
        return path

    def _wal_writer(self) -> Actor:
        from ..actors.wal_writer import WalWriter
        from ..storage.log_store import LogStore

        store = LogStore.open(self._folder("log"))
        if store.repaired:
            self._log.warning("log repaired after kill -9 or a power failure", what=store.repaired)
        return WalWriter(store)

    def _applier(self) -> Actor:
        from ..actors import compactor
        from ..actors.applier import Applier
        from ..actors.divergence import Divergence
        from ..actors.upkeep import Upkeep
        from ..storage.snapshot_store import SnapshotStore
        from ..storage.state_store import StateStore

        config = self._config
        state = self._folder("state")
        snapshots = SnapshotStore(self._data_dir / "snapshots")
        applier = Applier(
            self._member.id,
            lambda: StateStore.open(state),
            snapshots,
            config.log_limits,
            self._log,
            lease_grace_s=self._config.election_ms / 1000,
            quota_bytes=self._config.quota_bytes,
            quota_auto_disarm=self._config.quota_auto_disarm,
        )
        applier.upkeep = Upkeep(
            Divergence(self._member.id, self._told.incarnation, config.corrupt_check_ms / 1000),
            compactor.make(
                config.auto_compaction_mode, config.auto_compaction_keep, time.monotonic()
            ),
            self._log,
        )
        return applier

    def _transport(self) -> Actor:
        from ..actors.transport import Transport, TransportSettings
        from ..storage.snapshot_store import SnapshotStore

        settings = TransportSettings(
            cluster_id=self._config.cluster_id,
            member_id=self._member.id,
            incarnation=self._told.incarnation,
            start=self._told.start,
            epoch=secrets.randbits(63),
            peers=self._peers(),
            advertise=self._member.peer,
            snapshot_bytes_per_s=self._config.snapshot_bytes_per_s,
        )
        return Transport(settings, SnapshotStore(self._data_dir / "snapshots"), self._log)
