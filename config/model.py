"""What a cluster and a node are told: files in TOML or JSON, then the environment, then flags.

One format serves both: a cluster file lists its members and common settings; a node takes the same
file, knows itself by name, and may bind other addresses than it advertises. Whatever is wrong is a
ConfigError that names the file, the key and the remedy.
"""

import hashlib
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from . import addresses, checks, jwt, limits
from .certificates import TlsRules
from .errors import ConfigError as ConfigError  # noqa: PLC0414 (all know it from here)
from .errors import shorten

PLACEMENTS = ("processes", "fused")
AUTO_COMPACTION_MODES = ("periodic", "revision")
CLUSTER_STATES = ("new", "existing")
AUDIT_LEVELS = ("off", "metadata", "request")
LOG_LEVELS = ("debug", "info", "warning", "error")
_WHOLE = re.compile(r"\d{1,19}", re.ASCII)
_PERIOD = re.compile(r"(?:(\d{1,19})h)?(?:(\d{1,19})m)?(?:(\d{1,19})s)?", re.ASCII)
ENV_PREFIX = "SAMPAN_"
DEV_CLUSTER = Path(__file__).with_name("dev-3-nodes.toml")


class Door(NamedTuple):
    """An address that a node binds for HTTP."""

    address: str
    """HOST:PORT."""
    tls: bool

    @property
    def url(self) -> str:
        """With the scheme."""
        return f"{'https' if self.tls else 'http'}://{self.address}"


@dataclass(frozen=True, slots=True)
class Member:
    """One member as the others and the clients see it."""

    name: str
    client: str
    """HOST:PORT at which clients reach it."""
    peer: str
    """HOST:PORT at which the other members reach it."""
    gateway: str = ""
    """HOST:PORT at which etcd's clients reach it; empty where they do not. Here and in `http`
    `http://` or `https://` before it says whether by TLS; else so where there is a certificate."""
    http: str = ""
    """HOST:PORT for `/metrics`, `/health`, `/livez`, `/readyz` and `/version`; empty for none."""
    id: int = 0
    """0: made of the peer address in a new cluster, and the cluster's to say in an existing one."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """A cluster, or one node of it when `node` names one."""

    cluster: str
    members: tuple[Member, ...]
    cluster_id: int = 0
    """What its members know it by; 0 makes 63 bits of the name's hash, or, without a name, is what
    the members of an existing cluster say."""
    data_dir: str = "sampan-data"
    """Each member keeps its data in data_dir/NAME."""
    placement: str = "processes"
    """"processes": one process an actor; "fused": one process a node."""
    heartbeat_ms: int = 100
    """Between a leader's heartbeats: about the round trip between members (etcd: 100)."""
    election_ms: int = 1000
    """Silence after which a follower campaigns: ten heartbeats (etcd: 1000)."""
    request_timeout_ms: int = 7000
    """How long a node works on a request: 5 s plus two elections, as etcd."""
    log_entries_max: int = limits.LOG_ENTRIES_MAX
    """Entries in the raft log after which it is compacted (etcd: --snapshot-count)."""
    log_bytes_max: int = limits.LOG_BYTES_MAX
    """Bytes in the raft log after which it is compacted. A member that is behind by more than the
    half of it gets a snapshot."""
    auto_compaction_mode: str = "periodic"
    """"periodic": keep the history of a time; "revision": keep a number of revisions."""
    auto_compaction_retention: str = "0"
    """What is kept: "30m", "1h30m" or hours without a unit; or a number of revisions. "0": all."""
    corrupt_check_ms: int = 10_000
    """Between two comparisons of the members' history hashes, when something has changed; 0: none.
    (etcd: --experimental-corrupt-check-time, off)"""
    quota_bytes: int = 0
    """What a member's database may take before its cluster refuses to grow: 0 for 2 GiB, below 0
    for no bound (etcd: --quota-backend-bytes)."""
    quota_auto_disarm: bool = True
    """Go on by itself when the database takes less than 90 % of the quota again."""
    client_requests_per_s: int = 0
    """Requests that a node takes of one connection, 0 for no bound; beyond, `too many requests`."""
    client_keys_per_s: int = 0
    """Likewise keys that it puts or deletes."""
    client_bytes_per_s: int = 0
    """Likewise bytes of its requests and of their answers."""
    client_leases_per_s: int = 0
    """Likewise leases that are granted to it."""
    client_watches_max: int = 0
    """Watches that one user may have open at a node, 0 for no bound."""
    watch_progress_ms: int = int(1000 * limits.WATCH_PROGRESS_S)
    """How often a quiet watch that asked for it is told how far it is."""
    snapshot_bytes_per_s: int = 0
    """What a node sends of snapshots to members that are behind, all together; 0: no bound."""
    archive_dir: str = ""
    """Archive each member's log in archive_dir/NAME, from which any revision or moment can be
    restored; empty for no archive."""
    archive_command: str = ""
    """Instead of archive_dir: what the shell runs for each file, with the file's path for %p and
    its name for %f; 0 says that the file is safe."""
    gateway: bool = True
    """Serve etcd's clients, at members that have an address for them."""
    bcrypt_cost: int = 10
    """What a password's hash costs, 2 to this power: 10 is 50 ms (etcd: --bcrypt-cost)."""
    auth_token_ttl_s: int = 300
    """How long a token is good that is not shown (etcd: --auth-token-ttl)."""
    trace_sample: float = 0.0
    """Share of writes whose way is traced as they happen, at members with an `http` address."""
    audit: str = "off"
    """What the audit log tells of clients' requests: "off", "metadata", "request"."""
    audit_file: str = ""
    """Where; empty for audit.log in the member's data dir."""
    auth_token: str = "simple"
    """What a login is answered with: "simple", or "jwt,priv-key=FILE,sign-method=RS256" and more
    (etcd: --auth-token)."""
    cert_file: str = ""
    """A certificate, with those between it and its authority, in PEM: TLS for etcd's clients."""
    key_file: str = ""
    """The certificate's key, in PEM and without a password."""
    trusted_ca_file: str = ""
    """Authorities in PEM: only clients with a certificate of one of them are let in."""
    client_crl_file: str = ""
    """Lists in PEM, signed by those authorities, of certificates that are revoked."""
    tls_min_version: str = "TLS1.2"
    """The oldest version of TLS that etcd's clients may speak: "TLS1.2" or "TLS1.3"."""
    tls_max_version: str = ""
    """The newest one, empty for the newest there is."""
    cipher_suites: str = ""
    """What TLS 1.2 may use, by the names that Go has for them, with commas; empty for what OpenSSL
    thinks well of."""
    client_cert_auth: bool = False
    """The common name of a client's certificate is the user that asks, where it shows no token."""
    auto_tls: bool = False
    """Make a certificate that nobody vouches for, kept in the data dir; for encryption alone."""
    keys_dir: str = ""
    """The folder with the keys of this node and those that it accepts, of members and ZeroMQ
    clients (config/keys.py); empty for none."""
    allow_insecure: bool = False
    """Bind addresses that other machines reach, with no keys: whoever reaches them is trusted."""
    initial_cluster_state: str = "new"
    """"new": the members here make a cluster; "existing": this node joins one, whose members these
    are. Of no account once there is a data dir."""
    discovery_srv: str = ""
    """A domain: besides this node the members are those that its `_sampan-server._tcp` SRV records
    list, for `sampan node`. Of no account once there is a data dir."""
    strict_reconfig_check: bool = True
    """Refuse changes of members that would lose the majority."""
    force_new_cluster: bool = False
    """Drop all other members at this start and go on alone: when the majority is lost for good."""
    log_level: str = "info"
    node: str = ""
    """The member this machine runs, for `sampan node`."""
    client_listen: str = ""
    """HOST:PORT to bind instead of the advertised client address, for `sampan node`."""
    peer_listen: str = ""
    """HOST:PORT to bind instead of the advertised peer address, for `sampan node`."""
    gateway_listen: str = ""
    """HOST:PORT, or several with commas, to bind instead of the advertised gateway address, for
    `sampan node`."""
    http_listen: str = ""
    """HOST:PORT to bind instead of the member's `http` address, for `sampan node`."""

    @property
    def log_limits(self) -> limits.LogLimits:
        """When the log is compacted."""
        return limits.LogLimits(self.log_entries_max, self.log_bytes_max)

    @property
    def auto_compaction_keep(self) -> int:
        """What automatic compaction keeps, in seconds or revisions; 0 for everything. Raises
        ConfigError."""
        text, periodic = self.auto_compaction_retention, self.auto_compaction_mode == "periodic"
        kept = -1
        if _WHOLE.fullmatch(text):
            kept = int(text) * (3600 if periodic else 1)
        elif periodic and text and (match := _PERIOD.fullmatch(text)):
            hours, minutes, seconds = (int(part or 0) for part in match.groups())
            kept = 3600 * hours + 60 * minutes + seconds
        if not 0 <= kept <= limits.INTEGER_MAX:
            raise ConfigError(
                'must be a whole number, or "1h30m10s" when periodic, '
                f"of at most 2^63 - 1 revisions or seconds; got {shorten.repr(text)}"
            )
        return kept

    @property
    def election_ticks(self) -> int:
        """Heartbeats in an election timeout."""
        return self.election_ms // self.heartbeat_ms

    @property
    def lease_ttl_min_s(self) -> int:
        """Leases are granted for one and a half election timeouts at least, as etcd's: so that
        they outlive an election."""
        return math.ceil(1.5 * self.election_ms / 1000)

    def member(self, name: str) -> Member:
        """The member of that name; raises ConfigError."""
        for member in self.members:
            if member.name == name:
                return member
        known = ", ".join(m.name for m in self.members)
        raise ConfigError(f"no member is named {name!r}; the configuration has {known}")

    def listen(self, member: Member) -> tuple[str, str]:
        """(client, peer) addresses that the member binds."""
        if member.name != self.node:
            return member.client, member.peer
        return self.client_listen or member.client, self.peer_listen or member.peer

    @property
    def has_certificate(self) -> bool:
        """Whether etcd's clients may come by TLS."""
        return bool(self.cert_file) or self.auto_tls

    @property
    def tls_rules(self) -> TlsRules:
        """What TLS may be."""
        return TlsRules(self.tls_min_version, self.tls_max_version, self.cipher_suites)

    def _door(self, address: str) -> Door:
        scheme, rest = addresses.without_scheme(address)
        return Door(rest, scheme == "https" or (not scheme and self.has_certificate))

    def gateway_doors(self, member: Member) -> tuple[Door, ...]:
        """What the member's gateway binds; none when there is no gateway."""
        if not self.gateway or not member.gateway:
            return ()
        listen = self.gateway_listen if member.name == self.node else ""
        return tuple(self._door(each) for each in (listen or member.gateway).split(","))

    def http_door(self, member: Member) -> Door | None:
        """The HTTP address that the member binds, if any."""
        address = (self.http_listen if member.name == self.node else "") or member.http
        return self._door(address) if address else None

    def gateway_url(self, member: Member) -> str:
        """What etcd's clients are told of a member that has a gateway."""
        return self._door(member.gateway).url

    def http_doors(self, member: Member) -> tuple[Door, ...]:
        """All that the member binds for HTTP."""
        http = self.http_door(member)
        return self.gateway_doors(member) + ((http,) if http else ())

    def bound(self, member: Member) -> tuple[str, ...]:
        """All addresses that the member binds."""
        doors = (door.address for door in self.http_doors(member))
        return tuple(filter(None, (*self.listen(member), *doors)))

    def to_json(self) -> str:
        """The whole configuration, for a child process."""
        return json.dumps(asdict(self))


# -- reading


def load(path: Path) -> dict[str, Any]:
    """The keys of a TOML or JSON file; raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, not JSON, not TOML
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigError(f"{path}: is not {kind}: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: lists or tables are nested too deeply") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values at the top")
    return values


def variable(key: str) -> str:
    """The environment's variable for a key."""
    return ENV_PREFIX + key.upper()


_VARIABLES = {variable(f.name): f for f in fields(ClusterConfig) if f.name != "members"}


def from_environment(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """SAMPAN_DATA_DIR and so on: every scalar key in capitals after SAMPAN_."""
    return {
        field.name: _from_text(environ[name], field.type, name)
        for name, field in _VARIABLES.items()
        if name in environ
    }


def unknown_in_environment(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Variables that look like keys and are none."""
    return sorted(n for n in environ if n.startswith(ENV_PREFIX) and n not in _VARIABLES)


def _from_text(text: str, kind: Any, key: str) -> Any:
    if kind is int:
        try:
            return int(text)
        except ValueError:
            shown = shorten.repr(text)
            raise ConfigError(f"{key}: expected a whole number, got {shown}") from None
    if kind is float:
        try:
            return float(text)
        except ValueError:
            raise ConfigError(f"{key}: expected a number, got {shorten.repr(text)}") from None
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise ConfigError(f"{key}: expected true or false, got {text!r}")
        return text.lower() in ("true", "1")
    return text


_Label = Callable[[str], str]
"""How errors call a key."""


def build(
    values: Mapping[str, Any], where: str, overridden: Mapping[str, str] | None = None
) -> ClusterConfig:
    """Check keys, types and relations. Errors name the source: `where`, but for the keys in
    `overridden` what stands there, a variable or a flag."""

    def label(key: str) -> str:
        return (overridden or {}).get(key) or f"{where}: {key}"

    known = {field.name: field for field in fields(ClusterConfig)}
    for key in values:
        if key not in known:
            shown = shorten.repr(key)
            raise ConfigError(f"{where}: unknown key {shown}; known are {', '.join(known)}")
    for key in ("cluster", "members"):
        if key not in values:
            raise ConfigError(f"{where}: {key} is missing")
    scalars = {key: value for key, value in values.items() if key != "members"}
    for key, value in scalars.items():
        _check_value(value, known[key].type, label(key))
    scalars["cluster_id"] = scalars.get("cluster_id") or _id_of(scalars["cluster"])
    config = ClusterConfig(members=_members(values["members"], where), **scalars)
    _check(config, label)
    checks.check_snapshots(config, label)
    checks.check_archive(config, label)
    checks.check_members(config, where)
    checks.check_addresses(config, where, label)
    return config


def _id_of(cluster: str) -> int:
    digest = hashlib.sha256(cluster.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1 | 1 if cluster else 0


def _check_value(value: Any, wanted: Any, label: str) -> None:
    """What holds for every key, named by the label."""
    if type(value) is not wanted and not (wanted is float and type(value) is int):
        raise ConfigError(f"{label} must be {wanted.__name__}, got {shorten.repr(value)}")
    if type(value) is int and label.endswith("id"):
        if not 0 <= value <= limits.ID_MAX:
            raise ConfigError(f"{label} must be a number from 0 to 2^64 - 1")
        return
    if type(value) is int and abs(value) > limits.INTEGER_MAX:
        raise ConfigError(f"{label} must be a number within 2^63 - 1 on either side of 0")
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"{label} must be UTF-8, got {shorten.repr(value)}") from error
        if "\0" in value:
            raise ConfigError(f"{label} must have no NUL in it, got {shorten.repr(value)}")


def _members(raw: Any, where: str) -> tuple[Member, ...]:
    if not isinstance(raw, (list, tuple)) or not raw:
        raise ConfigError(f"{where}: members must be a list with at least one member")
    members = []
    for number, item in enumerate(raw, 1):
        wanted = {field.name: field.type for field in fields(Member)}
        needed = {field.name: None for field in fields(Member) if field.default is MISSING}
        if not isinstance(item, Mapping) or not set(needed) <= set(item) <= set(wanted):
            also = ", ".join(key for key in wanted if key not in needed)
            raise ConfigError(
                f"{where}: member {number} must have {', '.join(needed)}, may have {also}, "
                "and nothing else"
            )
        for key, value in item.items():
            _check_value(value, wanted[key], f"{where}: member {number}: {key}")
        members.append(Member(**item))
    return tuple(members)


_LEAST = {
    "heartbeat_ms": 10,
    "log_entries_max": limits.LOG_ENTRIES_MIN,
    "log_bytes_max": limits.LOG_BYTES_MIN,
    "auth_token_ttl_s": 1,
    "watch_progress_ms": limits.WATCH_PROGRESS_MS_MIN,
}


def _check(config: ClusterConfig, label: _Label) -> None:
    def refuse(key: str, why: str) -> None:
        raise ConfigError(f"{label(key)} {why}")

    if not config.cluster and config.initial_cluster_state != "existing":
        refuse("cluster", "must not be empty, but for a member of an existing cluster")
    if config.placement not in PLACEMENTS:
        refuse("placement", f"must be one of {', '.join(PLACEMENTS)}, got {config.placement!r}")
    if config.log_level not in LOG_LEVELS:
        refuse("log_level", f"must be one of {', '.join(LOG_LEVELS)}, got {config.log_level!r}")
    if config.audit not in AUDIT_LEVELS:
        refuse("audit", f"must be one of {', '.join(AUDIT_LEVELS)}, got {config.audit!r}")
    if config.initial_cluster_state not in CLUSTER_STATES:
        refuse("initial_cluster_state", f"must be one of {', '.join(CLUSTER_STATES)}")
    if config.auto_compaction_mode not in AUTO_COMPACTION_MODES:
        known = ", ".join(AUTO_COMPACTION_MODES)
        refuse("auto_compaction_mode", f"must be one of {known}")
    try:
        config.auto_compaction_keep  # noqa: B018 (parses)
    except ConfigError as error:
        refuse("auto_compaction_retention", str(error))
    if config.corrupt_check_ms < 0:
        refuse("corrupt_check_ms", "must be 0 or more")
    for key, least in _LEAST.items():
        if getattr(config, key) < least:
            refuse(key, f"must be at least {least}")
    _check_times(config, refuse)
    try:
        jwt.parse(config.auth_token)
    except ValueError as error:
        refuse("auth_token", str(error))
    checks.check_certificates(config, refuse)
    if config.trace_sample and not 1e-9 <= config.trace_sample <= 1:
        refuse("trace_sample", "must be a share of all writes, from 1e-9 to 1, or 0 for none")
    least, most = limits.BCRYPT_COSTS
    if not least <= config.bcrypt_cost <= most:
        refuse("bcrypt_cost", f"must be {least} to {most}")
    for key in ("client_requests_per_s", "client_keys_per_s", "client_bytes_per_s",
                "client_leases_per_s", "client_watches_max"):  # fmt: skip
        if getattr(config, key) < 0:
            refuse(key, "must not be negative; 0 is no bound")


def _check_times(config: ClusterConfig, refuse: Callable[[str, str], None]) -> None:
    if config.election_ms < limits.ELECTION_TICKS_MIN_RATIO * config.heartbeat_ms:
        refuse("election_ms", f"must be at least {limits.ELECTION_TICKS_MIN_RATIO} heartbeats")
    if config.election_ms > limits.ELECTION_MS_MAX:
        refuse("election_ms", f"must be at most {limits.ELECTION_MS_MAX}")
    if config.request_timeout_ms < config.election_ms:
        refuse("request_timeout_ms", "must be at least election_ms")


def from_json(text: str) -> ClusterConfig:
    """The inverse of `ClusterConfig.to_json`."""
    return build(json.loads(text), "the supervisor's configuration")
