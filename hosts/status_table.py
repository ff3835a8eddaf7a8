"""The table that `sampan up` shows: what each node says of itself, within any terminal."""

import os
import sys
import textwrap
from typing import Any, NamedTuple

from ..config import streams
from .statuses import Statuses, state
from .supervisor import NodeSupervisor

CLEAR_TO_END = "\x1b[J"
CLEAR_ALL = "\x1b[H\x1b[2J"
STATE_WIDTH_MIN = 14
"""What the last column keeps, so that it says more than that there is something to say."""
NAME_WIDTH_MAX = 12


class _Column(NamedTuple):
    title: str
    width: int
    rank: int
    """Of what does not fit, the highest goes first."""
    right: bool = True

    def cell(self, text: str) -> str:
        text = _cut(text, self.width)
        return f"{text:>{self.width}}" if self.right else f"{text:<{self.width}}"


_COLUMNS = {
    "role": _Column("role", 9, 0, right=False),
    "term": _Column("term", 5, 3),
    "commit": _Column("commit", 9, 4),
    "applied": _Column("applied", 9, 5),
    "leader": _Column("leader", 6, 1),
    "rate": _Column("requests/s", 10, 2),
}


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def _fitting(name_width: int, width: int) -> list[str]:
    """The columns that have room beside the names and the states, in their order."""
    left = width - name_width - STATE_WIDTH_MIN - 2
    chosen = set()
    for key, column in sorted(_COLUMNS.items(), key=lambda item: item[1].rank):
        left -= column.width + 2
        if left < 0:
            break
        chosen.add(key)
    return [key for key in _COLUMNS if key in chosen]


class StatusTable:
    """Shows the answers: redrawn in place on a terminal, a line a change elsewhere."""

    def __init__(self, statuses: Statuses, *, live: bool, log_path: str, log: Any) -> None:
        self._log = log
        self._statuses = statuses
        self._live = live
        self._log_path = log_path
        self._lines = 0
        self._size = (0, 0)
        self._said = ""
        self._mute = False

    def show(self) -> None:
        """Print what was answered last."""
        if self._mute:
            return
        try:
            if self._live:
                self._redraw()
            else:
                self._say_changes()
        except OSError as error:
            # A reader that has left and a full disk are no reason to stop the nodes.
            self._mute = True
            self._log.warning("cannot show the nodes' state any more", reason=error.strerror)
            streams.give_up(sys.stdout)

    # -- on a terminal

    def _redraw(self) -> None:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
        lines = self._text(max(columns - 1, 20))[: max(rows - 1, 1)]
        if self._size not in ((0, 0), (columns, rows)):
            before = CLEAR_ALL  # what is there may have been wrapped anew
        else:
            before = f"\x1b[{self._lines}F" if self._lines else ""
        print(before + CLEAR_TO_END + "\n".join(lines), flush=True)
        self._lines, self._size = len(lines), (columns, rows)

    def _text(self, width: int) -> list[str]:
        """The lines of the table and what stands below it, none wider than `width`."""
        nodes = self._statuses.nodes
        name_width = min(max(4, *(len(node.member.name) for node in nodes)), NAME_WIDTH_MAX)
        shown = _fitting(name_width, width)
        name = _Column("node", name_width, 0, right=False)
        titles = [name.cell("node"), *(_COLUMNS[key].cell(_COLUMNS[key].title) for key in shown)]
        lines = ["  ".join([*titles, "state"])]
        for node in nodes:
            cells = self._cells(node)
            parts = [_COLUMNS[key].cell(cells[key]) for key in shown]
            parts = [name.cell(node.member.name), *parts, state(node, self._statuses.of(node))]
            lines.append(_cut("  ".join(parts), width))
        lines.append("")
        for note in self._notes():
            lines += textwrap.wrap(note, width, subsequent_indent="  ", break_on_hyphens=False)
        return lines

    def _cells(self, node: NodeSupervisor) -> dict[str, str]:
        seen = self._statuses.of(node)
        if seen is None:
            return dict.fromkeys(_COLUMNS, "-")
        names = {other.member.id: other.member.name for other in self._statuses.nodes}
        leader = seen.status["leader"]
        numbers = {key: str(seen.status[key]) for key in ("role", "term", "commit", "applied")}
        return numbers | {"leader": names.get(leader, "-"), "rate": f"{seen.rate:,.0f}"}

    def _notes(self) -> list[str]:
        nodes = self._statuses.nodes
        notes = [f"{n.member.name} was given up: {n.failed}" for n in nodes if n.failed]
        notes.append(self._readiness())
        notes.append(f"clients: {', '.join(node.member.client for node in nodes)}")
        if etcds := [node.member.gateway for node in nodes if node.member.gateway]:
            notes.append(f"etcd's clients: {', '.join(etcds)}")
        if pages := [node.member.http for node in nodes if node.member.http]:
            shown = ", ".join(f"http://{page}/" for page in pages)
            notes.append(f"live page, metrics, health: {shown}")
        return [*notes, f"log: {self._log_path}", "Ctrl-C stops all nodes"]

    def _readiness(self) -> str:
        missing = self._statuses.missing()
        return f"waiting for {'; and for '.join(missing)}" if missing else "ready"

    # -- elsewhere

    def _say_changes(self) -> None:
        """Where there is no terminal: the roles and states, when they change."""
        facts = []
        for node in self._statuses.nodes:
            seen = self._statuses.of(node)
            role = seen.status["role"] if seen else "-"
            term = seen.status["term"] if seen else 0
            facts.append(f"{node.member.name} {role} term {term} {state(node, seen)}")
        line = "; ".join([*facts, self._readiness()])
        if line != self._said:
            self._said = line
            print(line, flush=True)
