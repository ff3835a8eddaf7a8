"""How much of its replies each client has taken: who does not read is not answered any more."""

from ..config import limits


class Windows(dict[bytes, list[int]]):
    """Client -> [bytes sent, bytes received], of those that were heard last."""

    def admits(self, client: bytes, received: int) -> bool:
        """Whether the client has taken enough of its replies; `received` counts from its first
        message here, since it may have been connected anew without its knowledge."""
        window = self.get(client)
        if window is None:
            if len(self) >= limits.CLIENTS_MAX:
                del self[next(iter(self))]
            self[client] = [received, received]
            return True
        window[1] = max(window[1], min(received, window[0]))
        return window[0] - window[1] < limits.REPLY_WINDOW_BYTES

    def overflows(self, client: bytes, body: bytes) -> bool:
        """Whether a client that has left replies unread would get more than its window. (It was
        open when the read came; what the reads before this one would bring was not known.)"""
        sent, received = self.get(client, (0, 0))
        return sent > received and sent - received + len(body) > limits.REPLY_WINDOW_BYTES

    def count(self, client: bytes, size: int) -> None:
        """A reply of so many bytes was sent."""
        window = self.get(client)
        if window is not None:
            window[0] += size
