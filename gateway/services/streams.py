"""What the streaming services share: requests are parsed, and a stream that is over takes none."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError

from ..backend import Backend, StatusError, status
from ..grpc import Call, Code


class Messages:
    """A stream whose requests `take` gets, parsed."""

    def __init__(self, call: Call, parse: Callable[[bytes], Any]) -> None:
        self.call = call
        self.gone = False
        """The client went away, or the call has ended."""
        self._parse = parse

    def take(self, request: Any) -> None:
        """One request."""
        raise NotImplementedError

    def message(self, data: bytes) -> None:
        """One request message."""
        try:
            request = self._parse(data)
        except DecodeError as error:
            self.finish(Code.INTERNAL, f"grpc: error unmarshalling request: {error}")
            return
        try:
            self.take(request)
        except StatusError as refused:
            self.finish(*refused.args)

    def finish(self, code: int = 0, text: str = "") -> None:
        """End the call."""
        if not self.gone:
            self.cancelled()
            self.call.finish(code, text)

    def end(self) -> None:
        """The client sends nothing more."""

    def cancelled(self) -> None:
        """The client went away."""
        self.gone = True

    def on_writable(self) -> None:
        """The client has read on."""


class Answering(Messages):
    """A stream whose one request is answered with any number of messages, as fast as the client
    reads them."""

    def __init__(
        self, backend: Backend, call: Call, parse: Callable[[bytes], Any], kind: str
    ) -> None:
        """`kind` is that of the requests that it takes."""
        super().__init__(call, parse)
        self._backend = backend
        self._kind = kind
        self._room = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    def answer(self, request: Any) -> AsyncIterator[bytes]:
        """The messages that answer a request."""
        raise NotImplementedError

    def take(self, request: Any) -> None:
        """Begin; what comes after the first request is ignored."""
        if self._sending is None:
            self._sending = self._backend.loop.create_task(self._send(request))

    def cancelled(self) -> None:
        """The client is gone."""
        super().cancelled()
        if self._sending is not None:
            self._sending.cancel()

    def on_writable(self) -> None:
        """The client has read what waited."""
        self._room.set()

    async def _send(self, request: Any) -> None:
        try:
            async for message in self.answer(request):
                while not self.call.writable:
                    self._room.clear()
                    await self._room.wait()
                self.call.send(message)
        except Exception as error:  # becomes the call's status
            self.finish(*status(error, self._kind))
        else:
            self.finish(0, "")
