"""LogStore's model: the same in memory, with the same errors, and nothing survives the process."""

from sampan.storage.log_store import _check_compact, _check_contiguous, _check_range


class MemoryLog:
    repaired = ""
    is_marked = True

    def __init__(self):
        self._entries = []
        self._hard_state = (0, 0, 0)
        self.start = (0, 0)
        self._peers = b""

    @property
    def first_index(self):
        return self.start[0] + 1

    @property
    def last_index(self):
        return self.start[0] + len(self._entries)

    def hard_state(self):
        return self._hard_state

    def peers(self):
        return self._peers

    def note_peers(self, known):
        self._peers = known

    def entries(self, lo, hi):
        _check_range(lo, hi, self.start[0], self.last_index)
        return iter(self._entries[lo - self.first_index : hi - self.first_index])

    def save(self, entries, hard_state):
        if entries:
            _check_contiguous(entries, self.start[0], self.last_index)
            del self._entries[entries[0][1] - self.first_index :]
            self._entries.extend(entries)
        if hard_state is not None:
            self._hard_state = hard_state

    def compact(self, index, term):
        if index > self.start[0]:
            _check_compact(index, self.last_index)
            del self._entries[: index - self.start[0]]
            self.start = (index, term)

    def reset(self, index, term):
        self._entries.clear()
        self.start = (index, term)

    def size_bytes(self):
        return sum(len(entry[3]) for entry in self._entries)

    def sync(self):
        pass

    def mark(self):
        pass

    def close(self):
        pass
