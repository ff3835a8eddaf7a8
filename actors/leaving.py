"""Large answers that are on their way to clients: how many bytes, of each client and of all.

Memory is bounded by what has not left, so what counts is what the port tells, not what clients say.
"""

from ..config import limits


class Leaving:
    """What is on its way.

    Attributes:
        bytes: of all large answers that have not left.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._answers: dict[int, tuple[bytes, int]] = {}  # read id -> its client and size
        self._of_client: dict[bytes, int] = {}

    def has_room(self, client: bytes) -> bool:
        """Whether the client has taken enough of its large answers to be made another."""
        return self._of_client.get(client, 0) <= limits.CLIENT_LARGE_ANSWERS_BYTES

    def begin(self, read_id: int, client: bytes, size: int) -> None:
        """An answer was made."""
        if size > limits.LARGE_ANSWER_BYTES:
            self._answers[read_id] = (client, size)
            self.bytes += size
            self._of_client[client] = self._of_client.get(client, 0) + size

    def end(self, read_id: int) -> bytes:
        """It has left; whose it was (nobody's, when it was no read's)."""
        client, size = self._answers.pop(read_id, (b"", 0))
        if size:
            self.bytes -= size
            self._of_client[client] -= size
            if not self._of_client[client]:
                del self._of_client[client]
        return client
