"""Every command that `sampanctl` has, and the flags of each."""

from collections.abc import Callable
from typing import NamedTuple

from . import (
    alarm,
    auth,
    check,
    commands,
    completion,
    elect,
    gofmt,
    lease,
    lock,
    member,
    mirror,
    snapshot,
    txn,
    watch,
)
from .commands import Run
from .flags import Flag, bool_flag, list_flag, string_flag


class Command(NamedTuple):
    """One command. Without `run` it only groups others, and shows its help."""

    path: tuple[str, ...]
    summary: str
    usage: str = ""
    flags: tuple[Flag, ...] = ()
    run: Callable[[Run], None] | None = None
    persistent_flags: tuple[Flag, ...] = ()
    """Flags of it and of the commands under it."""
    description: str = ""


GLOBAL_FLAGS = (
    string_flag("cacert", "not supported"),
    string_flag("cert", "not supported"),
    Flag("command-timeout", 5.0, "how long a command may take", gofmt.parse_duration),
    string_flag(
        "curve-keys", "file with the keys of this client and its nodes: `sampan keys client`"
    ),
    bool_flag("debug", "no effect"),
    Flag("dial-timeout", 2.0, "no effect: --command-timeout covers it", gofmt.parse_duration),
    string_flag("discovery-srv", "ask DNS for the nodes of this domain", shorthand="d"),
    string_flag("discovery-srv-name", "with --discovery-srv: of _sampan-client-NAME"),
    list_flag("endpoints", "nodes to talk to, with commas", ["127.0.0.1:2378"]),
    bool_flag("hex", "print keys and values as hexadecimal"),
    bool_flag("insecure-discovery", "no effect", default=True),
    bool_flag("insecure-skip-tls-verify", "no effect"),
    bool_flag("insecure-transport", "false is not supported", default=True),
    Flag("keepalive-time", 2.0, "no effect", gofmt.parse_duration),
    Flag("keepalive-timeout", 6.0, "no effect", gofmt.parse_duration),
    string_flag("key", "not supported"),
    string_flag("password", "the password of --user"),
    string_flag("user", "who asks, as name or name:password"),
    string_flag("write-out", "fields, json, protobuf, simple or table", "simple", "w"),
)

ROOT = Command((), "a shell client that takes etcdctl's commands", "[flags]")
COMMANDS = (
    Command(
        ("put",),
        "Set a key",
        "put <key> [value]",
        commands.PUT_FLAGS,
        commands.put,
        description="Without a value it is read from standard input. A value that begins with a\n"
        "dash goes after --: put key -- -value",
    ),
    Command(
        ("get",),
        "Read a key or a range of keys",
        "get <key> [range_end]",
        commands.GET_FLAGS,
        commands.get,
    ),
    Command(
        ("del",),
        "Delete a key or a range of keys",
        "del <key> [range_end]",
        commands.DEL_FLAGS,
        commands.delete,
    ),
    Command(
        ("endpoint",),
        "Ask endpoints",
        "endpoint <subcommand>",
        persistent_flags=(commands.CLUSTER_FLAG,),
    ),
    Command(
        ("endpoint", "health"),
        "Tell which endpoints answer a linearizable read",
        "endpoint health",
        run=commands.endpoint_health,
    ),
    Command(
        ("endpoint", "hashkv"),
        "Hash the whole state of each endpoint",
        "endpoint hashkv",
        commands.HASH_KV_FLAGS,
        commands.endpoint_hash_kv,
        description="Members that hold the same have the same hash at the same revision.",
    ),
    Command(
        ("endpoint", "status"),
        "Tell each endpoint's id, version, size, leader, term and indexes",
        "endpoint status",
        run=commands.endpoint_status,
    ),
    Command(
        ("defrag",),
        "Give the space of what is gone back to the disk",
        "defrag [flags]",
        commands.DEFRAG_FLAGS,
        commands.defrag,
        description="Members go on serving meanwhile. They do this by themselves, too.",
    ),
    Command(("auth",), "Ask users who they are, or nobody", "auth <subcommand>"),
    Command(("auth", "disable"), "Ask nobody any more", "auth disable", run=auth.disable),
    Command(
        ("auth", "enable"), "Ask users who they are from now on", "auth enable", run=auth.enable
    ),
    Command(("auth", "status"), "Tell whether users are asked", "auth status", run=auth.status),
    Command(("user",), "Users", "user <subcommand>"),
    Command(
        ("user", "add"),
        "Add a user",
        "user add <name or name:password> [options]",
        auth.USER_ADD_FLAGS,
        auth.user_add,
    ),
    Command(("user", "delete"), "Delete a user", "user delete <name>", run=auth.user_delete),
    Command(
        ("user", "get"),
        "Tell a user's roles",
        "user get <name> [options]",
        auth.USER_GET_FLAGS,
        auth.user_get,
    ),
    Command(("user", "list"), "List the users", "user list", run=auth.user_list),
    Command(
        ("user", "passwd"),
        "Change a user's password",
        "user passwd <name> [options]",
        (auth.INTERACTIVE,),
        auth.user_passwd,
    ),
    Command(
        ("user", "grant-role"),
        "Give a user a role",
        "user grant-role <user> <role>",
        run=auth.user_grant_role,
    ),
    Command(
        ("user", "revoke-role"),
        "Take a role from a user",
        "user revoke-role <user> <role>",
        run=auth.user_revoke_role,
    ),
    Command(("role",), "Roles, and what they allow", "role <subcommand>"),
    Command(("role", "add"), "Add a role", "role add <name>", run=auth.role_add),
    Command(("role", "delete"), "Delete a role", "role delete <name>", run=auth.role_delete),
    Command(("role", "get"), "Tell what a role allows", "role get <name>", run=auth.role_get),
    Command(("role", "list"), "List the roles", "role list", run=auth.role_list),
    Command(
        ("role", "grant-permission"),
        "Allow a role to read or write keys",
        "role grant-permission [options] <role> <read, write or readwrite> <key> [end]",
        auth.RANGE_FLAGS,
        auth.role_grant_permission,
    ),
    Command(
        ("role", "revoke-permission"),
        "Take a permission from a role",
        "role revoke-permission [options] <role> <key> [end]",
        auth.RANGE_FLAGS,
        auth.role_revoke_permission,
    ),
    Command(("alarm",), "Ask about alarms", "alarm <subcommand>"),
    Command(("alarm", "disarm"), "Disarm all alarms", "alarm disarm", run=alarm.disarm),
    Command(("alarm", "list"), "List the alarms", "alarm list", run=alarm.listed),
    Command(
        ("elect",),
        "Lead an election, or tell who leads",
        "elect <election-name> [proposal]",
        elect.FLAGS,
        elect.elect,
        description="With a proposal it waits until it leads, and leads until it is interrupted.",
    ),
    Command(("lease",), "Grant, renew and end leases", "lease <subcommand>"),
    Command(("lease", "grant"), "Grant a lease", "lease grant <ttl>", run=lease.grant),
    Command(
        ("lease", "keep-alive"),
        "Renew a lease until it is gone",
        "lease keep-alive [options] <lease id>",
        lease.KEEP_ALIVE_FLAGS,
        lease.keep_alive,
    ),
    Command(("lease", "list"), "List all leases", "lease list", run=lease.leases),
    Command(
        ("lease", "revoke"),
        "End a lease and delete its keys",
        "lease revoke <lease id>",
        run=lease.revoke,
    ),
    Command(
        ("lease", "timetolive"),
        "Tell how long a lease has left",
        "lease timetolive <lease id> [options]",
        lease.TIME_TO_LIVE_FLAGS,
        lease.time_to_live,
    ),
    Command(
        ("lock",),
        "Hold a lock",
        "lock <lockname> [exec-command arg1 arg2 ...]",
        lock.FLAGS,
        lock.lock,
        description="While the command runs, which finds ETCD_LOCK_KEY and ETCD_LOCK_REV (the\n"
        "fencing token) in its environment; without one until it is interrupted.\n"
        "Options of the command go after --: lock name -- command -option",
    ),
    Command(
        ("compaction",),
        "Forget what was replaced or deleted before a revision",
        "compaction <revision>",
        commands.COMPACTION_FLAGS,
        commands.compaction,
    ),
    Command(("check",), "Check what the cluster can do", "check <subcommand>"),
    Command(
        ("check", "perf"),
        "Check the speed of the cluster",
        "check perf [options]",
        check.PERF_FLAGS,
        check.perf,
        description="Puts for a minute: 150 (s), 1000 (m), 8000 (l) or 15000 (xl) a second.",
    ),
    Command(
        ("check", "datascale"),
        "Check how much memory a node takes for its data",
        "check datascale [options]",
        check.DATASCALE_FLAGS,
        check.datascale,
        description="Puts 10,000 (s), 100,000 (m), 1,000,000 (l) or 3,000,000 (xl) keys of 1 KiB,\n"
        "and compares the memory of the first endpoint before and after.",
    ),
    Command(
        ("make-mirror",),
        "Copy a prefix to another cluster, and go on with every change",
        "make-mirror [options] <destination>",
        mirror.FLAGS,
        mirror.run,
    ),
    Command(("member",), "Ask about members, and change them", "member <subcommand>"),
    Command(
        ("member", "add"),
        "Add a member, before it is started",
        "member add <memberName> [options]",
        member.ADD_FLAGS,
        member.add,
    ),
    Command(("member", "remove"), "Remove a member", "member remove <memberID>", run=member.remove),
    Command(
        ("member", "update"),
        "Tell the others where a member is reached",
        "member update <memberID> [options]",
        member.UPDATE_FLAGS,
        member.update,
    ),
    Command(
        ("member", "promote"), "Let a learner vote", "member promote <memberID>", run=member.promote
    ),
    Command(
        ("move-leader",),
        "Let another member lead",
        "move-leader <transferee-member-id>",
        run=member.move_leader,
    ),
    Command(("member", "list"), "List the members", "member list", run=commands.member_list),
    Command(("snapshot",), "Back up and restore", "snapshot <subcommand>"),
    Command(
        ("snapshot", "save"),
        "Save a member's whole state in a file",
        "snapshot save <filename>",
        run=snapshot.save,
    ),
    Command(
        ("snapshot", "status"),
        "Tell whether a backup is whole, and what is in it",
        "snapshot status <filename>",
        run=snapshot.status,
    ),
    Command(
        ("snapshot", "restore"),
        "Make a member of a new cluster of a backup",
        "snapshot restore <filename> --config FILE --name NAME",
        snapshot.RESTORE_FLAGS,
        snapshot.restore_member,
        description="Do it for every member of the file, on its machine, from the same backup,\n"
        "then start them. Give the cluster another name in the file: members of the\n"
        "lost one that come back are then refused.",
    ),
    Command(
        ("txn",),
        "Run one of two lists of requests, atomically, read from standard input",
        "txn",
        (bool_flag("interactive", "ask for each part", shorthand="i"),),
        txn.run,
        description="Three parts, each ended by an empty line: conditions, requests if all hold,\n"
        "requests if not:\n\n"
        '\tmod("key") > "0"\n\n\tput key "new"\n\tget other --prefix\n\n\tput key "first"\n\n'
        "Conditions look at value, version (ver), create (c), mod (m) or lease,\n"
        "and compare with =, !=, < or >.",
    ),
    Command(
        ("watch",),
        "Print what happens to a key or a range of keys",
        "watch [key] [range_end] [-- command [argument …]]",
        watch.FLAGS,
        watch.run,
        description="The command is run for each event, with ETCD_WATCH_REVISION,\n"
        "ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE in its environment.\n"
        "With -i lines of standard input are watch commands, or the word progress.",
    ),
    Command(
        ("completion",),
        "Print what a shell needs to complete commands",
        "completion bash|zsh|fish",
        run=completion.run,
        description="For this shell: source <(sampanctl completion bash)",
    ),
    Command(("version",), "Print the version", "version", run=commands.version),
)

OURS_ALONE = frozenset(("completion",))
"""Names that etcdctl does not have: what is short for one of its commands stays so."""

FOREIGN: dict[tuple[str, ...], frozenset[str]] = {(): frozenset(("help",))}
"""Names that etcdctl has beside ours: what may abbreviate one of them is not taken for ours."""
