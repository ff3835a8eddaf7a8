"""Membership changes: from one configuration to the next, one voter at a time or joint.

Source: etcd-io/raft, confchange/; raft thesis, chapter 4.
"""

from .quorum import MajorityConfig
from .tracker import Progress, ProgressTracker, TrackerConfig
from .types import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    EntryType,
)

_Change = tuple[TrackerConfig, dict[int, Progress]]


class ConfChangeError(Exception):
    """The change does not fit the configuration; str is etcd's text."""


def decode(kind: int, data: bytes) -> ConfChange | ConfChangeV2:
    """The change in an entry of that type; raises InvalidMessage."""
    if kind == EntryType.EntryConfChange:
        return ConfChange.unmarshal(data)
    return ConfChangeV2.unmarshal(data)


class Changer:
    """Works out the configuration and progress that follow from a change.

    Neither the tracker nor its parts are changed; install the result yourself. A new member's
    progress starts at `last_index`.
    """

    __slots__ = ("_last_index", "_tracker")

    def __init__(self, tracker: ProgressTracker, last_index: int) -> None:
        self._tracker = tracker
        self._last_index = last_index

    def enter_joint(self, auto_leave: bool, *ccs: ConfChangeSingle) -> _Change:
        """Make the voters the outgoing half and apply `ccs` to the incoming one."""
        config, progress = self._copy()
        if config.is_joint():
            raise ConfChangeError("config is already joint")
        if not config.voters[0]:
            # Adding nodes to an empty configuration is allowed (bootstrap), but not jointly.
            raise ConfChangeError("can't make a zero-voter config joint")
        config.voters[1] = MajorityConfig(config.voters[0])
        self._apply(config, progress, ccs)
        config.auto_leave = auto_leave
        return _checked(config, progress)

    def leave_joint(self) -> _Change:
        """Drop the outgoing half; staged learners become learners."""
        config, progress = self._copy()
        if not config.is_joint():
            raise ConfChangeError("can't leave a non-joint config")
        for id_ in config.learners_next:
            config.learners.add(id_)
            progress[id_].is_learner = True
        config.learners_next = set()
        for id_ in config.voters[1]:
            if id_ not in config.voters[0] and id_ not in config.learners:
                del progress[id_]
        config.voters[1] = MajorityConfig()
        config.auto_leave = False
        return _checked(config, progress)

    def simple(self, *ccs: ConfChangeSingle) -> _Change:
        """Apply changes of which at most one concerns a voter."""
        config, progress = self._copy()
        if config.is_joint():
            raise ConfChangeError("can't apply simple config change in joint config")
        self._apply(config, progress, ccs)
        if len(self._tracker.config.voters[0] ^ config.voters[0]) > 1:
            raise ConfChangeError("more than one voter changed without entering joint config")
        return _checked(config, progress)

    def _copy(self) -> _Change:
        # The window may be shared: only is_learner is changed here.
        progress = {}
        for id_, pr in self._tracker.progress.items():
            progress[id_] = copy = pr.copy(with_inflights=False)
            copy.inflights = pr.inflights
        return _checked(self._tracker.config.copy(), progress)

    def _apply(
        self,
        config: TrackerConfig,
        progress: dict[int, Progress],
        ccs: tuple[ConfChangeSingle, ...],
    ) -> None:
        for cc in ccs:
            if cc.node_id == 0:
                continue  # applications blank the id to turn a change into a no-op
            match cc.type:
                case ConfChangeType.ConfChangeAddNode:
                    self._make_voter(config, progress, cc.node_id)
                case ConfChangeType.ConfChangeAddLearnerNode:
                    self._make_learner(config, progress, cc.node_id)
                case ConfChangeType.ConfChangeRemoveNode:
                    _remove(config, progress, cc.node_id)
                # ConfChangeUpdateNode is for the application only.
        if not config.voters[0]:
            raise ConfChangeError("removed all voters")

    def _make_voter(self, config: TrackerConfig, progress: dict[int, Progress], id_: int) -> None:
        if id_ in progress:
            progress[id_].is_learner = False
        else:
            progress[id_] = self._new_progress(is_learner=False)
        config.learners.discard(id_)
        config.learners_next.discard(id_)
        config.voters[0].add(id_)

    def _make_learner(self, config: TrackerConfig, progress: dict[int, Progress], id_: int) -> None:
        pr = progress.get(id_)
        if pr is None:
            progress[id_] = self._new_progress(is_learner=True)
            config.learners.add(id_)
            return
        if pr.is_learner:
            return
        _remove(config, progress, id_)
        progress[id_] = pr
        if id_ in config.voters[1]:
            # Still a voter of the outgoing half: it becomes a learner when that is left.
            config.learners_next.add(id_)
        else:
            pr.is_learner = True
            config.learners.add(id_)

    def _new_progress(self, *, is_learner: bool) -> Progress:
        # Probing at the last index finds out cheaply whether the node has a log at all. It counts
        # as active, or the next CheckQuorum might depose the leader before it could answer.
        return Progress(
            next=max(self._last_index, 1),
            inflights=self._tracker.new_inflights(),
            is_learner=is_learner,
            recent_active=True,
        )


def _remove(config: TrackerConfig, progress: dict[int, Progress], id_: int) -> None:
    if id_ not in progress:
        return
    config.voters[0].discard(id_)
    config.learners.discard(id_)
    config.learners_next.discard(id_)
    if id_ not in config.voters[1]:
        del progress[id_]


def _checked(config: TrackerConfig, progress: dict[int, Progress]) -> _Change:
    """The pair, progress in ascending order; raises ConfChangeError if they do not fit."""
    for id_ in sorted(config.voters.ids() | config.learners | config.learners_next):
        if id_ not in progress:
            raise ConfChangeError(f"no progress for {id_}")
    for id_ in sorted(config.learners_next):
        if id_ not in config.voters[1]:
            raise ConfChangeError(f"{id_} is in LearnersNext, but not Voters[1]")
        if progress[id_].is_learner:
            raise ConfChangeError(f"{id_} is in LearnersNext, but is already marked as learner")
    for id_ in sorted(config.learners):
        if id_ in config.voters[1]:
            raise ConfChangeError(f"{id_} is in Learners and Voters[1]")
        if id_ in config.voters[0]:
            raise ConfChangeError(f"{id_} is in Learners and Voters[0]")
        if not progress[id_].is_learner:
            raise ConfChangeError(f"{id_} is in Learners, but is not marked as learner")
    if config.auto_leave and not config.is_joint():
        raise ConfChangeError("AutoLeave must be false when not joint")
    return config, dict(sorted(progress.items()))


def restore(chg: Changer, cs: ConfState) -> _Change:
    """Build the configuration that `cs` describes on a changer whose tracker is empty.

    Raises ConfChangeError if no sequence of changes leads to it.
    """
    add, learn = ConfChangeType.ConfChangeAddNode, ConfChangeType.ConfChangeAddLearnerNode
    incoming = [ConfChangeSingle(add, id_) for id_ in cs.voters]
    incoming += [ConfChangeSingle(learn, id_) for id_ in (*cs.learners, *cs.learners_next)]
    work = ProgressTracker(chg._tracker.max_inflight, chg._tracker.max_inflight_bytes)
    work.config, work.progress = chg._tracker.config, chg._tracker.progress
    changer = Changer(work, chg._last_index)
    if not cs.voters_outgoing:
        for cc in incoming:
            work.config, work.progress = changer.simple(cc)
        return work.config, work.progress
    # Joint: first build the outgoing half, then replace all of it.
    for id_ in cs.voters_outgoing:
        work.config, work.progress = changer.simple(ConfChangeSingle(add, id_))
    removals = [
        ConfChangeSingle(ConfChangeType.ConfChangeRemoveNode, id_) for id_ in cs.voters_outgoing
    ]
    return changer.enter_joint(cs.auto_leave, *removals, *incoming)
