"""What the raft core tells of itself: for clients, metrics and the live page."""

from typing import Any

from ..raft import RawNode
from ..raft.tracker import ProgressState
from .elections import Elections
from .log_tail import LogTail

STATES = {
    ProgressState.StateProbe: "probe",
    ProgressState.StateReplicate: "replicate",
    ProgressState.StateSnapshot: "snapshot",
}


def told(node: RawNode, tail: LogTail, elections: Elections, now: float) -> dict[str, Any]:
    """As it travels on statusrc."""
    status = node.status()
    return {
        "commit": status.hard_state.commit,
        "raft_index": tail.last_index(),
        "log_first": tail.first_index(),
        "log_entries": len(tail),
        "log_bytes": tail.bytes,
        # Of the leader, itself included; others follow nobody's progress.
        "progress": [
            (peer, p.match, p.next, STATES[p.state], p.recent_active)
            for peer, p in status.progress.items()
        ],
        "elections": elections.told(now),
    }
