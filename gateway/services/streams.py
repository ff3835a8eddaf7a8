"""What the streaming services share: requests are parsed, and a stream that is over takes none."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from ..backend import StatusError
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
