"""The host: moves what actors emit, and owns the sockets, the threads and the clock.

A node's five actors run either in five hosts, one process each, with ZeroMQ pipes between them, or
all in one host ("fused"), with queues in memory. An actor cannot tell which. Everything that is
there is taken before anything is acted on, and leaves in as few messages as possible: wake-ups are
dear, bytes are cheap.
"""

import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic, process_time
from typing import Any

import structlog

from ..actors.actor import Actor
from ..actors.channels import APPLIER, CHANNELS
from ..actors.measures import Histogram
from ..config import limits
from ..transport.polling import Poller
from ..transport.streams import READ
from ..web.process import resident_bytes
from . import slices
from .pipes import Inbox, Item, JobThread, Pipe
from .ports import ClientPort, PeerPort

STOP_S = 1.0
"""How long a stopping node may take to answer what it has already taken in."""


SYNC_INLINE_S_MAX = 0.005
"""An fsync that takes less is waited for in the loop: handing it to a thread and back costs two
wake-ups, as much as the fsync, and acknowledgements that then wait for the turn's other work (a
seventh of the CPU with 64 clients). When one took longer, the next goes to a thread, so that a slow
disk does not hold up heartbeats and reads. The WAL writer alone in its process waits anyway."""


JOB_BUCKETS = (0.001, 14)
"""Bounds of 1 ms to 8 s for what takes as long as the disk, as etcd's fsyncs are counted."""


class Fatal(RuntimeError):
    """The node must not be started again as it is; the text says why and what to do."""


class Orphaned(RuntimeError):
    """The supervisor is gone."""


class Host:
    """Runs actors until SIGTERM, until one of them fails, or until the supervisor is gone."""

    def __init__(
        self,
        actors: list[Actor],
        *,
        inbox: Inbox | None = None,
        pipes: dict[str, Pipe] | None = None,
        client_port: ClientPort | None = None,
        peer_port: PeerPort | None = None,
        parent_pid: int,
        log: Any = None,
    ) -> None:
        self._seats = [(actor, actor.handlers, deque[tuple[str, Any]]()) for actor in actors]
        self._queues = {actor.name: inbox for actor, _, inbox in self._seats}
        self._actors = actors
        for actor in actors:
            actor.flight.clock = monotonic
            actor.load.process = lambda: (os.getpid(), process_time(), resident_bytes())
        self._pipes = pipes or {}
        self._client_port = client_port
        self._peer_port = peer_port
        self._parent_pid = parent_pid
        self._log = log or structlog.get_logger()
        self._timers = {actor.name: 0.0 for actor in actors}
        self._next_due = 0.0  # the earliest timer or wake-up
        self._stop_by: float | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._threads = {
            (a.name, job): JobThread(self._wake)
            for a in actors
            if a.jobs
            for job in ("", *a.slow_jobs)  # most jobs of an actor share one
        }
        self._sync_s = 0.0  # how long the last fsync took
        self._routes = {name: self._route_of(name) for name in CHANNELS}
        self._local_routes = {name: self._local_route_of(name) for name in CHANNELS}
        self._inbox = inbox
        self._ports = [port for port in (client_port, peer_port) if port is not None]
        self._poller = Poller()
        self._poller.watch(self._wake_in.fileno(), READ, self._take_wakeups)
        if inbox is not None:
            self._poller.watch(inbox.socket.fileno(), READ, self._look_at_inbox)
        for port in self._ports:
            port.open(self._poller, self._hand_on)

    # -- wiring

    def _local_route_of(self, channel: str) -> list[Callable[[Item], object]]:
        """Where a channel's messages go in this process."""
        consumers = CHANNELS[channel].consumers
        routes: list[Callable[[Item], object]] = [
            self._queues[consumer].append for consumer in consumers if consumer in self._queues
        ]
        if channel == "softstatec":
            routes.append(self._on_soft_state)
        return routes

    def _route_of(self, channel: str) -> list[Callable[[Item], object]]:
        """Where a channel's messages go from here, as callables that take what was emitted."""
        routes = self._local_route_of(channel)
        for consumer in CHANNELS[channel].consumers:
            if consumer in self._pipes:
                routes.append(self._pipes[consumer].put)
            elif channel == "replyc" and self._client_port is not None:
                routes.append(self._client_port.replyc)
            elif channel == "largec" and self._client_port is not None:
                routes.append(self._client_port.largec)
            elif channel == "strangec" and self._client_port is not None:
                routes.append(self._client_port.strangec)
            elif channel == "linksc" and self._peer_port is not None:
                routes.append(self._peer_port.linksc)
            elif channel == "linkc" and self._peer_port is not None:
                routes.append(partial(self._link, self._peer_port))
        return routes

    def _route(self, channel: str, message: Any) -> None:
        for route in self._routes[channel]:
            route((channel, message))

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is full of wake-ups already
            self._wake_out.send(b"\0")

    # -- the loop

    def run(self) -> None:
        """Run to the end. Raises what ended it: nothing for SIGTERM, else Fatal, Orphaned, or the
        actor's own failure."""
        signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to act on
        try:
            self._begin()
            while self._stop_by is None or not self._stopped():
                self._turn()
        finally:
            self._close()

    def _on_sigterm(self, _signum: int, _frame: Any) -> None:
        if self._stop_by is None:
            self._stop_by = monotonic() + STOP_S

    def _begin(self) -> None:
        now = monotonic()
        for actor in self._actors:
            actor.now = now
            actor.start()
            self._dispatch(actor)
            self._timers[actor.name] = now + actor.timer_s
        self._settle()

    def _turn(self) -> None:
        timeout_s = self._next_due - monotonic()
        self._take_in(max(timeout_s, 0))
        now = monotonic()
        for actor in self._actors:
            actor.now = now
        if now >= self._next_due:
            self._run_timers(now)
        self._settle()

    def _take_in(self, timeout_s: float) -> None:
        """Take everything that has arrived from outside, or wait for something.

        Waits for descriptors: zmq.Poller makes three times as many system calls. But the inbox's
        tells of changes only, and some use of the inbox takes them in: then `look` is set.
        """
        inbox = self._inbox
        looked = inbox is not None and inbox.look and self._take_inbox(inbox)
        self._poller.wait(0 if looked else timeout_s)

    def _look_at_inbox(self, _events: int) -> None:
        assert self._inbox is not None
        self._take_inbox(self._inbox)

    def _take_inbox(self, inbox: Inbox) -> bool:
        """Whether there was something. Who sent it told the others itself."""
        if not inbox.has_message():
            return False
        for message in inbox.drain():
            self._deliver(message)
        return True

    def _take_wakeups(self, _events: int) -> None:
        with suppress(BlockingIOError):
            self._wake_in.recv(4096)
        for (name, _), thread in self._threads.items():
            self._queues[name].extend(("donec", done) for done in thread.take())

    def _deliver(self, message: Item) -> None:
        """What came from outside is for the actors here."""
        for route in self._local_routes[message[0]]:
            route(message)

    def _hand_on(self, item: Item) -> None:
        """What a port tells is for actors here or elsewhere."""
        self._route(*item)

    def _run_timers(self, now: float) -> None:
        self._next_due = now + 1.0
        for actor in self._actors:
            timed = self._timers[actor.name] <= now
            woken = actor.wake_at is not None and actor.wake_at <= now
            if timed:
                self._timers[actor.name] = now + actor.timer_s
                actor.on_timer()
            if woken:
                actor.wake_at = None
                actor.on_wake()
            if timed or woken:
                actor.flush()
            self._dispatch(actor)  # sees to `wake_at`, too
            self._next_due = min(self._next_due, self._timers[actor.name])
        for port in self._ports:
            port.tick()
        if os.getppid() != self._parent_pid:
            raise Orphaned(f"the supervisor (pid {self._parent_pid}) is gone")

    def _settle(self) -> None:
        """Let actors take turns until none has anything left, then send what leaves the process.

        Who comes first in the order goes first again, so that what a follower acknowledges leaves
        before its applier works.
        """
        seats, at = self._seats, 0
        while at < len(seats):
            actor, handlers, inbox = seats[at]
            at += 1
            if inbox:
                began = monotonic()
                messages, waiting = actor.load.messages, len(inbox)
                while inbox:
                    channel, message = inbox.popleft()
                    messages[channel] += 1
                    handlers[channel](message)
                actor.flush()
                self._dispatch(actor)
                self._note_turn(actor, monotonic() - began, waiting)
                at = 0
        for pipe in self._pipes.values():
            pipe.send()

    def _dispatch(self, actor: Actor) -> None:
        if actor.wake_at is not None:
            self._next_due = min(self._next_due, actor.wake_at)
        if not actor.out:
            return
        out, actor.out = actor.out, []
        for item in out:
            channel = item[0]
            if channel == "jobc":
                self._start_job(actor, item[1])
            elif channel == "fatalc":
                raise Fatal(item[1])
            else:
                for route in self._routes[channel]:
                    route(item)
        if self._client_port is not None:
            self._client_port.send()

    def _start_job(self, actor: Actor, name: str) -> None:
        if name == "sync" and (len(self._actors) == 1 or self._sync_s < SYNC_INLINE_S_MAX):
            for pipe in self._pipes.values():
                pipe.send()  # what has been emitted must not wait for the disk
            done = (name, self._timed(actor, name))
            self._queues[actor.name].append(("donec", done))
        elif name == "sync":
            self._threads[actor.name, ""].put(name, partial(self._timed, actor, name))
        else:
            thread = self._threads[actor.name, name if name in actor.slow_jobs else ""]
            thread.put(name, partial(self._timed, actor, name))

    def _timed(self, actor: Actor, name: str) -> Any:
        """Run a job, in whichever thread, and note how long it took."""
        began = monotonic()
        result = self._work(actor, name)
        took_s = monotonic() - began
        actor.histograms.setdefault(name, Histogram(*JOB_BUCKETS)).observe(took_s)
        if name == "sync":
            self._sync_s = took_s
            if took_s > limits.SLOW_FSYNC_S:
                self._log.warning("slow fsync", took_s=round(took_s, 3))
        return result

    def _work(self, actor: Actor, name: str) -> Any:
        return actor.jobs[name]()

    def _note_turn(self, actor: Actor, took_s: float, waiting: int) -> None:
        actor.load.note(took_s, waiting)
        if took_s > limits.SLOW_APPLY_S and actor.name == APPLIER:
            self._log.warning("slow apply", took_s=round(took_s, 3))

    def _on_soft_state(self, item: Item) -> None:
        """What a leader does all its clients wait for, and what moves messages everybody, so their
        turn comes soon."""
        _, (_, _, role) = item
        soon = role == "leader" or self._ports
        slices.ask(threading.get_native_id(), slices.SHORT_NS if soon else 0)

    def _link(self, peer_port: PeerPort, item: Item) -> None:
        if not peer_port.linkc(item):
            self._route("linkfullc", item[1][0])

    # -- the end

    def _stopped(self) -> bool:
        if self._stop_by is None:
            return False
        for actor in self._actors:
            actor.stop()
        return monotonic() >= self._stop_by or all(actor.idle for actor in self._actors)

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        for actor in self._actors:
            actor.cut_jobs_short()
        for thread in self._threads.values():
            thread.stop()
        for actor in self._actors:
            actor.close()
        for port in self._ports:
            port.close()
        if self._inbox is not None:
            self._inbox.close()
        for pipe in self._pipes.values():
            pipe.close()
        self._poller.close()
        self._wake_in.close()
        self._wake_out.close()
