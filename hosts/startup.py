"""What a node is at its start, decided from its disk, as in etcd.

- there is an identity: it goes on as that member; what the file says of others is of no account;
- there is none, and the cluster is new: it is one of the members in the file;
- there is none, and the cluster is there already: its members say which of them it is (joining.py).
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.ids import with_id
from ..config.model import ClusterConfig, Member
from ..storage import data_dir
from ..storage.data_dir import DataDir
from .joining import Asker, join

if TYPE_CHECKING:
    from .keys import MemberKeys


def begin(
    config: ClusterConfig, member: Member, log: Any, keys: "MemberKeys | None" = None
) -> tuple[ClusterConfig, Member, DataDir]:
    """The configuration and the member with their ids, and its open data dir; `keys` are for other
    members. Raises ConfigError and DataDirError."""
    path = Path(config.data_dir) / member.name
    kept = data_dir.identity(path)
    joined, cluster_id = None, config.cluster_id
    if kept is not None:
        cluster_id = cluster_id or kept[0]
        mine = replace(member, id=member.id or kept[1])
    elif config.initial_cluster_state == "existing":
        asker = Asker(
            config.cluster_id, member.name, member.peer, config.listen(member)[1], member.id
        )
        log.info("asking the members", peers=[m.peer for m in config.members])
        peers = {m.peer: m.name for m in config.members}
        found = join(asker, peers, log, keys)
        mine, joined = replace(member, id=found.member_id), found.peers
        cluster_id = found.cluster_id
    else:
        mine = with_id(member, cluster_id)
    config = replace(config, cluster_id=cluster_id)
    members = tuple(mine if m.name == mine.name else with_id(m, cluster_id) for m in config.members)
    opened = DataDir.open(path, config.cluster_id, mine.id, joined)
    return replace(config, members=members), mine, opened
