"""How messages move between actors in different processes, and between an actor and its threads."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import zmq

from ..actors.actor import Impossible
from ..actors.channels import CHANNELS, Loss
from ..config import limits
from ..transport import sockets
from ..transport.codec import pack, unpack_local

Socket = zmq.Socket[bytes]
Item = tuple[str, Any]
"""(channel, message), as an actor emits it."""


class JobThread:
    """Runs blocking calls beside the actors' turns; results come back through `take`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: deque[tuple[str, Any, BaseException | None]] = deque()
        self._wake = wake
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def put(self, name: str, call: Callable[..., Any]) -> None:
        """Queue one call."""
        self._todo.put((name, call))

    def _run(self) -> None:
        while (job := self._todo.get()) is not None:
            name, call = job
            try:
                self._done.append((name, call(), None))
            except Exception as error:  # raised again by the host that takes it
                self._done.append((name, None, error))
            self._wake()

    def take(self) -> list[tuple[str, Any]]:
        """(job, result) of finished jobs; raises what a job raised."""
        finished = []
        while self._done:
            name, result, error = self._done.popleft()
            if error is not None:
                raise error
            finished.append((name, result))
        return finished

    def stop(self) -> None:
        """Finish what is queued and end."""
        self._todo.put(None)
        self._thread.join()


class Pipe:
    """One actor's channels to an actor in another process: sequence-numbered batches. A message
    that ends in more than LARGE_ANSWER_BYTES has them in a frame of their own: packing and
    unpacking would copy them four times."""

    def __init__(self, socket: Socket, me: str, to: str) -> None:
        self._socket = socket
        self._me = me
        self._to = to
        self._seq = 0
        self.queue: list[Item] = []
        # What messages end in, by their positions in the queue.
        self._apart: list[tuple[int, bytes | bytearray]] = []

    def put(self, item: Item) -> None:
        """Queue one (channel, message)."""
        channel, message = item
        last: Any = message[-1] if type(message) is tuple and message else None
        if isinstance(last, (bytes, bytearray)) and len(last) > limits.LARGE_ANSWER_BYTES:
            self._apart.append((len(self.queue), last))
            item = (channel, message[:-1])
        self.queue.append(item)

    def send(self) -> None:
        """Send what is queued as one message; never blocks."""
        if not self.queue:
            return
        batch, self.queue = self.queue, []
        apart, self._apart = self._apart, []
        head = pack((self._me, self._seq, batch, [position for position, _ in apart]))
        try:
            sockets.send(self._socket, (head, *(last for _, last in apart)))
        except zmq.Again:
            if any(CHANNELS[channel].loss is Loss.NEVER for channel, _ in batch):
                raise Impossible(
                    f"the pipe to {self._to} is full with {limits.LOCAL_QUEUE_MESSAGES} messages: "
                    "has that process stopped reading?"
                ) from None
            return
        self._seq += 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Inbox:
    """Where the channels from actors in other processes arrive, in order and without gaps.

    Its descriptor tells of changes only, and whatever uses the socket may take one in: then `look`
    says that the descriptor need not tell what has arrived.
    """

    def __init__(self, socket: Socket, me: str) -> None:
        self.socket = socket
        self.look = True
        self._me = me
        self._expected: dict[str, int] = {}

    def has_message(self) -> bool:
        """Whether `drain` would find something."""
        self.look = False
        return sockets.readable(self.socket)

    def drain(self) -> list[Item]:
        """What has arrived, or much of it, as (channel, message)."""
        found: list[Item] = []
        arrived, self.look = sockets.drain(self.socket)
        frames = iter(arrived)
        for head in frames:
            name, seq, batch, apart = unpack_local(head)
            if seq != self._expected.get(name, 0):
                raise Impossible(
                    f"{self._me} expected message {self._expected.get(name, 0)} of {name}, "
                    f"got {seq}: one of the two was replaced while the other ran"
                )
            self._expected[name] = seq + 1
            found += self._joined(batch, apart, frames) if apart else batch
        return found

    def _joined(
        self, batch: Sequence[Item], apart: Sequence[int], frames: Iterator[bytes]
    ) -> list[Item]:
        """The messages of a batch of which some end in frames of their own."""
        joined = list(batch)
        for position in apart:
            channel, first = joined[position]
            # All frames of a message arrive together, but those in hand may end between two.
            last = next(frames, b"") or sockets.receive(self.socket)
            joined[position] = (channel, (*first, last))
        return joined

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
