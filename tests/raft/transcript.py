"""Transcripts: commands to a group of nodes, each with the output it must give.

The format is that of cockroachdb/datadriven and the commands are those of etcd-io/raft's
interaction, confchange and quorum tests, plus `read-index`, `report-snapshot` and the options
`max-size-per-msg`, `max-uncommitted-size`, `max-inflight-bytes`, `disable-proposal-forwarding`.

A directive is `command key key=value key=(a,b)`, lines of input, `----`, and the output up to a
blank line (or between doubled `----` lines, if it contains blank lines).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sampan.raft import (
    LOCAL_APPEND_THREAD,
    LOCAL_APPLY_THREAD,
    NO_LIMIT,
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    Config,
    Entry,
    EntryType,
    HardState,
    MemoryStorage,
    Message,
    MessageType,
    RaftError,
    RawNode,
    ReadOnlyOption,
    Snapshot,
    SnapshotMetadata,
    SnapshotStatus,
    StorageError,
    describe_entries,
    describe_message,
    describe_ready,
    is_empty_hard_state,
    is_empty_snap,
)
from sampan.raft.confchange import Changer, ConfChangeError
from sampan.raft.quorum import JointConfig, MajorityConfig
from sampan.raft.tracker import ProgressTracker

LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE")
STORAGE_THREADS = (LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD)
_ARGUMENT = re.compile(r"(?P<key>[^\s=]+)(?:=(?:\((?P<many>[^)]*)\)|(?P<one>\S*)))?")


class BadDirectiveError(Exception):
    """A directive that makes no sense; its text is the output."""


@dataclass
class Directive:
    """One command of a file, with the lines it came from."""

    command: str
    args: list[tuple[str, list[str]]]
    input: str
    expected: str
    lines: list[str]

    def get(self, key: str, default: str = "") -> str:
        return next((values[0] for name, values in self.args if name == key), default)

    def ids(self) -> list[int]:
        return [int(name) for name, values in self.args if not values]

    def words(self) -> list[str]:
        return [name for name, _ in self.args]


def _arguments(text: str) -> list[tuple[str, list[str]]]:
    args = []
    for match in _ARGUMENT.finditer(text):
        many, one = match["many"], match["one"]
        values = [one] if one is not None else []
        if many is not None:
            values = [value.strip() for value in many.split(",")]
        args.append((match["key"], values))
    return args


def parse(path: Path) -> Iterator[str | Directive]:
    """Comments and blank lines as they are, and directives."""
    lines = path.read_text(encoding="utf8").splitlines()
    at = 0
    while at < len(lines):
        start = at
        head = lines[at].strip()
        at += 1
        if not head or head.startswith("#"):
            yield lines[start]
            continue
        while head.endswith("\\"):
            head = head[:-1] + " " + lines[at].strip()
            at += 1
        separator = lines.index("----", at)
        text = "\n".join(lines[at:separator]).strip()
        at = separator + 1
        doubled = at < len(lines) and lines[at] == "----"
        end = at
        if doubled:
            at += 1
            end = next(i for i in range(at, len(lines)) if lines[i : i + 2] == ["----"] * 2)
        else:
            while end < len(lines) and lines[end].strip():
                end += 1
        expected = "".join(line + "\n" for line in lines[at:end])
        command, _, rest = head.partition(" ")
        yield Directive(command, _arguments(rest), text, expected, lines[start : separator + 1])
        at = end + 2 if doubled else end + 1


def conf_changes(text: str) -> list[ConfChangeSingle]:
    kinds = {
        "v": ConfChangeType.ConfChangeAddNode,
        "l": ConfChangeType.ConfChangeAddLearnerNode,
        "r": ConfChangeType.ConfChangeRemoveNode,
        "u": ConfChangeType.ConfChangeUpdateNode,
    }
    steps = []
    for token in text.split():
        if len(token) < 2:
            raise BadDirectiveError(f"unknown token {token}")
        if token[0] not in kinds:
            raise BadDirectiveError(f"unknown input: {token}")
        steps.append(ConfChangeSingle(kinds[token[0]], int(token[1:])))
    return steps


class HistoryStorage(MemoryStorage):
    """Gives the newest snapshot of the applied history, whatever was saved."""

    def __init__(self, history: list[Snapshot]) -> None:
        super().__init__()
        self.history = history

    def snapshot(self) -> Snapshot:
        return self.history[-1]


@dataclass
class Member:
    """A node with its storage, its applied history and the work of its storage threads."""

    config: Config
    raw: RawNode
    storage: HistoryStorage
    appends: list[Message] = field(default_factory=list)
    applies: list[Message] = field(default_factory=list)

    def append(self, hard_state: HardState | None, entries, snapshot: Snapshot | None) -> None:
        if hard_state is not None and not is_empty_hard_state(hard_state):
            self.storage.set_hard_state(hard_state)
        if snapshot is not None and not is_empty_snap(snapshot):
            self.storage.apply_snapshot(snapshot)
        self.storage.append(entries)

    def apply(self, entries: list[Entry]) -> None:
        for entry in entries:
            last = self.storage.history[-1]
            data, conf_state = entry.data, last.metadata.conf_state
            if entry.type != EntryType.EntryNormal:
                v1 = entry.type == EntryType.EntryConfChange
                change = (ConfChange if v1 else ConfChangeV2).unmarshal(entry.data)
                data, conf_state = change.context, self.raw.apply_conf_change(change)
            meta = SnapshotMetadata(conf_state, entry.index, entry.term)
            self.storage.history.append(Snapshot(last.data + data, meta))


OPTIONS: dict[str, tuple[str, Callable[[str], object]]] = {
    "inflight": ("max_inflight_msgs", int),
    "async-storage-writes": ("async_storage_writes", "true".__eq__),
    "prevote": ("pre_vote", "true".__eq__),
    "checkquorum": ("check_quorum", "true".__eq__),
    "max-committed-size-per-ready": ("max_committed_size_per_ready", int),
    "max-size-per-msg": ("max_size_per_msg", int),
    "max-uncommitted-size": ("max_uncommitted_entries_size", int),
    "max-inflight-bytes": ("max_inflight_bytes", int),
    "disable-proposal-forwarding": ("disable_proposal_forwarding", "true".__eq__),
    "disable-conf-change-validation": ("disable_conf_change_validation", "true".__eq__),
    "step-down-on-removal": ("step_down_on_removal", "true".__eq__),
    "read-only": (
        "read_only_option",
        {
            "safe": ReadOnlyOption.ReadOnlySafe,
            "lease-based": ReadOnlyOption.ReadOnlyLeaseBased,
        }.__getitem__,
    ),
}


class Interaction:
    """A group of nodes under a transcript's command; also their logger."""

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.messages: list[Message] = []
        self.level = 0
        self.out: list[str] = []

    def handle(self, d: Directive) -> str:
        self.out = []
        try:
            getattr(self, "do_" + d.command.replace("-", "_"))(d)
        except (RaftError, StorageError, BadDirectiveError) as error:
            if self.level == LEVELS.index("NONE"):
                return str(error)
            self.write(str(error))
        return "".join(self.out) or "ok"

    def write(self, text: str) -> None:
        if self.level != LEVELS.index("NONE"):
            self.out.append(text)

    def _log(self, level: int, fmt: str, args: tuple[object, ...]) -> None:
        if self.level <= level:
            self.write(f"{LEVELS[level]} {fmt % args if args else fmt}\n")

    def debug(self, fmt: str, *args: object) -> None:
        self._log(0, fmt, args)

    def info(self, fmt: str, *args: object) -> None:
        self._log(1, fmt, args)

    def warning(self, fmt: str, *args: object) -> None:
        self._log(2, fmt, args)

    def error(self, fmt: str, *args: object) -> None:
        self._log(3, fmt, args)

    def indented(self, action: Callable[..., object], *args: object) -> None:
        outer, self.out = self.out, []
        try:
            action(*args)
        finally:
            inner, self.out = "".join(self.out), outer
        self.out += [f"  {line}\n" for line in inner.splitlines()]

    def first(self, d: Directive) -> Member:
        return self.members[int(d.words()[0])]

    # --- setting up

    def do_log_level(self, d: Directive) -> None:
        name = d.words()[0].upper()
        if name not in LEVELS:
            raise BadDirectiveError(f"log levels must be either of [{' '.join(LEVELS)}]")
        self.level = LEVELS.index(name)

    def do_add_nodes(self, d: Directive) -> None:
        snapshot, options = Snapshot(), {}
        meta = snapshot.metadata
        for key, values in d.args[1:]:
            if key == "voters":
                meta.conf_state.voters = [int(v) for v in values]
            elif key == "learners":
                meta.conf_state.learners = [int(v) for v in values]
            elif key == "index":
                meta.index = int(values[0])
            elif key == "content":
                snapshot.data = values[0].encode()
            else:
                name, convert = OPTIONS[key]
                options[name] = convert(values[0])
        for _ in range(int(d.words()[0])):
            self._add_node(snapshot, options)

    def _add_node(self, snapshot: Snapshot, options: dict[str, object]) -> None:
        storage = HistoryStorage([snapshot])
        if snapshot != Snapshot():
            if snapshot.metadata.index <= 1:
                raise BadDirectiveError("index must be specified as > 1 due to bootstrap")
            snapshot.metadata.term = 1
            storage.apply_snapshot(snapshot)
        peer = len(self.members) + 1
        defaults = {"max_size_per_msg": NO_LIMIT, "max_inflight_msgs": 2**31 - 1}
        config = Config(
            id=peer, election_tick=3, heartbeat_tick=1, storage=storage, logger=self,
            applied=snapshot.metadata.index, **{**defaults, **options},
        )  # fmt: skip
        self.members[peer] = Member(config, RawNode(config), storage)

    # --- single actions

    def do_campaign(self, d: Directive) -> None:
        self.first(d).raw.campaign()

    def do_forget_leader(self, d: Directive) -> None:
        self.first(d).raw.forget_leader()

    def do_tick_election(self, d: Directive) -> None:
        self._tick(self.first(d), self.first(d).config.election_tick)

    def do_tick_heartbeat(self, d: Directive) -> None:
        self._tick(self.first(d), self.first(d).config.heartbeat_tick)

    def _tick(self, member: Member, count: int) -> None:
        for _ in range(count):
            member.raw.tick()

    def do_propose(self, d: Directive) -> None:
        self.first(d).raw.propose(d.words()[1].encode())

    def do_read_index(self, d: Directive) -> None:
        self.first(d).raw.read_index(d.words()[1].encode())

    def do_propose_conf_change(self, d: Directive) -> None:
        changes = conf_changes(d.input)
        kind = {
            "auto": ConfChangeTransition.ConfChangeTransitionAuto,
            "implicit": ConfChangeTransition.ConfChangeTransitionJointImplicit,
            "explicit": ConfChangeTransition.ConfChangeTransitionJointExplicit,
        }[d.get("transition", "auto")]
        change: ConfChange | ConfChangeV2 = ConfChangeV2(kind, changes)
        if d.get("v1") == "true":
            change = ConfChange(changes[0].type, changes[0].node_id)
        self.first(d).raw.propose_conf_change(change)

    def do_set_randomized_election_timeout(self, d: Directive) -> None:
        self.first(d).raw.set_randomized_election_timeout(int(d.get("timeout")))

    def do_transfer_leadership(self, d: Directive) -> None:
        self.members[int(d.get("from"))].raw.transfer_leadership(int(d.get("to")))

    def do_report_unreachable(self, d: Directive) -> None:
        at, peer = d.ids()
        self.members[at].raw.report_unreachable(peer)

    def do_report_snapshot(self, d: Directive) -> None:
        at, peer = d.ids()
        failed = d.get("status") == "failure"
        status = SnapshotStatus.SnapshotFailure if failed else SnapshotStatus.SnapshotFinish
        self.members[at].raw.report_snapshot(peer, status)

    def do_send_snapshot(self, d: Directive) -> None:
        at, peer = d.ids()
        member = self.members[at]
        term = member.raw.basic_status().hard_state.term
        message = Message(MessageType.MsgSnap, peer, at, term, snapshot=member.storage.history[-1])
        self.messages.append(message)
        self.write(describe_message(message))

    def do_compact(self, d: Directive) -> None:
        self.first(d).storage.compact(int(d.words()[1]))
        self.do_raft_log(d)

    # --- looking

    def do_raft_log(self, d: Directive) -> None:
        storage = self.first(d).storage
        first, last = storage.first_index(), storage.last_index()
        if last < first:
            self.write(f"log is empty: first index={first}, last index={last}")
        else:
            self.write(describe_entries(storage.entries(first, last + 1, NO_LIMIT)))

    def do_raft_state(self, d: Directive) -> None:
        for peer, member in self.members.items():
            s = member.raw.status()
            voter = "(Voter)" if peer in s.config.voters.ids() else "(Non-Voter)"
            self.write(
                f"{peer}: {s.soft_state.raft_state.name} {voter} Term:{s.hard_state.term} "
                f"Lead:{s.soft_state.lead}\n"
            )

    def do_status(self, d: Directive) -> None:
        for peer, pr in self.first(d).raw.status().progress.items():
            self.write(f"{peer}: {pr}\n")

    # --- the hosts' loop

    def _each(self, d: Directive, what: str, action: Callable[[int], object]) -> None:
        ids = d.ids()
        for peer in ids:
            if len(ids) == 1:
                action(peer)
            else:
                self.write(f"> {peer} {what}\n")
                self.indented(action, peer)

    def do_process_ready(self, d: Directive) -> None:
        self._each(d, "handling Ready", self.process_ready)

    def do_process_append_thread(self, d: Directive) -> None:
        self._each(d, "processing append thread", self.process_append)

    def do_process_apply_thread(self, d: Directive) -> None:
        self._each(d, "processing apply thread", self.process_apply)

    def process_ready(self, peer: int) -> None:
        member = self.members[peer]
        rd = member.raw.ready()
        self.write(describe_ready(rd))
        if not member.config.async_storage_writes:
            member.append(rd.hard_state, rd.entries, rd.snapshot)
            member.apply(rd.committed_entries)
        for message in rd.messages:
            queue = {LOCAL_APPEND_THREAD: member.appends, LOCAL_APPLY_THREAD: member.applies}
            queue.get(message.to, self.messages).append(message)
        if not member.config.async_storage_writes:
            member.raw.advance(rd)

    def process_append(self, peer: int) -> None:
        member = self.members[peer]
        if not member.appends:
            self.write("no append work to perform")
            return
        m = member.appends.pop(0)
        responses = self._announce(m)
        member.append(HardState(m.term, m.vote, m.commit), m.entries, m.snapshot)
        self._respond(responses)

    def process_apply(self, peer: int) -> None:
        member = self.members[peer]
        if not member.applies:
            self.write("no apply work to perform")
            return
        m = member.applies.pop(0)
        responses = self._announce(m)
        member.apply(m.entries)
        self._respond(responses)

    def _announce(self, m: Message) -> list[Message]:
        responses, m.responses = m.responses, []
        self.write(f"Processing:\n{describe_message(m)}\n")
        return responses

    def _respond(self, responses: list[Message]) -> None:
        self.write("Responses:\n" + "".join(describe_message(r) + "\n" for r in responses))
        self.messages += responses

    def _take(self, peer: int, kind: str = "", *, network_only: bool = False) -> list[Message]:
        def wanted(m: Message) -> bool:
            local = m.from_ == m.to or m.from_ in STORAGE_THREADS
            return m.to == peer and kind in ("", m.type.name) and not (network_only and local)

        taken = [m for m in self.messages if wanted(m)]
        self.messages = [m for m in self.messages if not wanted(m)]
        return taken

    def deliver(self, peer: int, kind: str = "", *, drop: bool = False) -> int:
        messages = self._take(peer, kind, network_only=drop)
        for m in messages:
            self.write(("dropped: " if drop else "") + describe_message(m) + "\n")
            if drop:
                continue
            try:
                self.members[peer].raw.step(m)
            except RaftError as error:
                self.write(f"{error}\n")
        return len(messages)

    def do_deliver_msgs(self, d: Directive) -> None:
        count = 0
        for key, values in d.args:
            if not values:
                count += self.deliver(int(key), d.get("type"))
            elif key == "drop":
                for value in values:
                    count += self.deliver(int(value), d.get("type"), drop=True)
        if not count:
            self.write("no messages\n")

    def do_stabilize(self, d: Directive) -> None:
        level = self.level
        if name := d.get("log-level"):
            self.level = LEVELS.index(name.upper())
        ids = d.ids() or list(self.members)
        while self._stabilize_once(ids):
            pass
        self.level = level

    def _stabilize_once(self, ids: list[int]) -> bool:
        busy = False
        for peer in ids:
            if self.members[peer].raw.has_ready():
                busy = True
                self.write(f"> {peer} handling Ready\n")
                self.indented(self.process_ready, peer)
        for peer in ids:
            if any(m.to == peer for m in self.messages):
                busy = True
                self.write(f"> {peer} receiving messages\n")
                self.indented(self.deliver, peer)
        for name, process in (("append", self.process_append), ("apply", self.process_apply)):
            for peer in ids:
                queue = getattr(self.members[peer], f"{name}s".replace("applys", "applies"))
                if queue:
                    busy = True
                    self.write(f"> {peer} processing {name} thread\n")
                while queue:
                    self.indented(process, peer)
        return busy


class ConfChangeCase:
    """Changes to one configuration; the last index grows with every directive."""

    def __init__(self) -> None:
        self.tracker = ProgressTracker(10)
        self.last_index = 0

    def handle(self, d: Directive) -> str:
        changer = Changer(self.tracker, self.last_index)
        self.last_index += 1
        changes = conf_changes(d.input)
        try:
            if d.command == "simple":
                result = changer.simple(*changes)
            elif d.command == "enter-joint":
                result = changer.enter_joint(d.get("autoleave") == "true", *changes)
            else:
                result = changer.leave_joint()
        except ConfChangeError as error:
            return f"{error}\n"
        self.tracker.config, self.tracker.progress = result
        lines = [f"{peer}: {pr}" for peer, pr in self.tracker.progress.items()]
        return "\n".join([str(self.tracker.config), *lines]) + "\n"


class QuorumCase:
    """Votes and acknowledgements of one configuration."""

    def handle(self, d: Directive) -> str:
        values = dict(d.args)
        halves = [[int(v) for v in values.get(key, []) if v != "zero"] for key in ("cfg", "cfgj")]
        voters = list(dict.fromkeys(halves[0] + halves[1]))
        config = JointConfig(*halves) if "cfgj" in values else MajorityConfig(halves[0])
        if d.command == "vote":
            cast = dict(zip(voters, values.get("votes", []), strict=True))
            result = config.vote_result({v: x == "y" for v, x in cast.items() if x != "_"})
            return f"{result.name}\n"
        known = dict(zip(voters, values.get("idx", []), strict=True))
        acked = {v: int(x) for v, x in known.items() if x != "_"}.get
        index = config.committed_index(acked)
        return f"{config.describe(acked)}{'∞' if index == NO_LIMIT else index}\n"


CASES = {"interaction": Interaction, "confchange": ConfChangeCase, "quorum": QuorumCase}


def run(path: Path, kind: str) -> tuple[str, list[tuple[Directive, str]]]:
    """The file as it would be with the present output, and each directive with its output."""
    case = CASES[kind]()
    text, results = [], []
    for part in parse(path):
        if isinstance(part, str):
            text.append(part + "\n")
            continue
        output = case.handle(part)
        output += "" if output.endswith("\n") else "\n"
        results.append((part, output))
        text += [line + "\n" for line in part.lines]
        blank = any(not line.strip() for line in output.splitlines())
        text.append(f"----\n{output}----\n----\n\n" if blank else f"{output}\n")
    return "".join(text).rstrip("\n") + "\n", results
