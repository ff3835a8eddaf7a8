"""`sampan etcd`: one node, started as etcd is, by its flags, its variables or its file.

The node is what `sampan node` runs. Member and cluster ids are computed as etcd computes them
(etcd's membership/member.go and cluster.go). What would change nothing here is accepted and noted
in the log; what would be dangerous to ignore, and what etcd does not know, is refused.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .. import __version__
from ..config import addresses, discovery, limits, model
from ..config.model import ConfigError
from ..storage import data_dir as data_dirs
from ..storage.errors import DataDirError
from ..transport import tcp
from . import command

ETCD_VERSION = "3.6.6"
ETCD_PORT, OWN_PORT = 2379, 2378
"""By default for etcd's clients and for Sampan's."""
EXIT_USAGE = 2
"""Of flags that are not known, as Go's."""
PREFIX = "ETCD_"
_DEFAULTS = {
    "name": "default",
    "listen-client-urls": "http://localhost:2379",
    "listen-peer-urls": "http://localhost:2380",
    "initial-advertise-peer-urls": "http://localhost:2380",
    "initial-cluster-token": "etcd-cluster",
    "initial-cluster-state": "new",
}
_SCALARS = {
    "heartbeat-interval": ("heartbeat_ms", int),
    "election-timeout": ("election_ms", int),
    "quota-backend-bytes": ("quota_bytes", int),
    "auto-compaction-mode": ("auto_compaction_mode", str),
    "auto-compaction-retention": ("auto_compaction_retention", str),
    "bcrypt-cost": ("bcrypt_cost", int),
    "auth-token-ttl": ("auth_token_ttl_s", int),
    "auth-token": ("auth_token", str),
    "client-crl-file": ("client_crl_file", str),
    "tls-min-version": ("tls_min_version", str),
    "tls-max-version": ("tls_max_version", str),
    "cipher-suites": ("cipher_suites", str),
    "watch-progress-notify-interval": ("watch_progress_ms", float),
}
"""Flags that are keys of the configuration; float is a time, in milliseconds there."""
_UNITS_MS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_LEVELS = {"warn": "warning", "dpanic": "error", "panic": "error", "fatal": "error"}
_MEANT = {
    *_DEFAULTS, *_SCALARS, "data-dir", "advertise-client-urls", "initial-cluster", "snapshot-count",
    "log-level", "listen-metrics-urls", "config-file", "sampan-listen", "force-new-cluster",
    "cert-file", "key-file", "trusted-ca-file", "client-cert-auth", "auto-tls",
    "discovery-srv", "discovery-srv-name", "strict-reconfig-check",
}  # fmt: skip
_REFUSED = {
    "peer-cert-file", "peer-key-file", "peer-trusted-ca-file",
    "peer-client-cert-file", "peer-client-key-file", "peer-crl-file", "discovery",
    "discovery-token", "discovery-endpoints", "peer-cert-allowed-cn", "peer-cert-allowed-hostname",
    "client-cert-allowed-hostname",
}  # fmt: skip
"""Whoever gives these relies on what is not there."""
_REFUSED_WHEN_TRUE = {"peer-client-cert-auth", "peer-auto-tls"}
_SWITCHES = {
    *_REFUSED_WHEN_TRUE, "client-cert-auth", "auto-tls",
    "force-new-cluster", "enable-grpc-gateway", "enable-log-rotation",
    "memory-mlock", "pre-vote",
    "initial-election-tick-advance", "peer-skip-client-san-verification", "socket-reuse-address",
    "socket-reuse-port", "strict-reconfig-check", "unsafe-no-fsync", "enable-pprof", "enable-v2",
    "enable-distributed-tracing", "discovery-insecure-transport", "version", "debug",
    "discovery-insecure-skip-tls-verify",
}  # fmt: skip
"""Flags that take no word after them."""
_IGNORED = {
    "wal-dir", "max-snapshots", "max-wals", "max-txn-ops", "max-request-bytes", "log-outputs",
    "log-format", "logger", "log-rotation-config-json", "metrics", "host-whitelist", "cors",
    "listen-client-http-urls",
    "grpc-keepalive-interval", "grpc-keepalive-timeout", "grpc-keepalive-min-time",
    "backend-batch-limit", "backend-batch-interval", "backend-bbolt-freelist-type",
    "snapshot-catchup-entries", "compaction-batch-limit", "compaction-sleep-interval",
    "corrupt-check-time", "compact-hash-check-time", "warning-apply-duration", "max-learners",
    "warning-unary-request-duration", "downgrade-check-time",
    "bootstrap-defrag-threshold-megabytes", "max-concurrent-streams", "raft-read-timeout",
    "raft-write-timeout", "self-signed-cert-validity", "discovery-fallback", "discovery-proxy",
    "discovery-dial-timeout", "discovery-request-timeout",
    "discovery-keepalive-time", "discovery-keepalive-timeout", "proxy", "feature-gates",
    "distributed-tracing-address", "distributed-tracing-service-name", "v2-deprecation",
    "distributed-tracing-instance-id", "distributed-tracing-sampling-rate", "discovery-user",
    "discovery-password", "client-cert-file", "client-key-file", "client-transport-security",
    "peer-transport-security",
}  # fmt: skip
KNOWN = _MEANT | _REFUSED | _SWITCHES | _IGNORED
USAGE = """\
usage: sampan etcd [--name NAME] [--data-dir DIR] [--listen-client-urls URLS] …

Starts one node as etcd is started: etcd's flags, its ETCD_* variables, or its --config-file.
--sampan-listen HOST:PORT is where Sampan's own clients are served; without it port 2378 beside
etcd's own 2379, and beside any other a free one. docs/from-etcd.md tells more.
"""


class UsageError(Exception):
    """A flag that etcd does not know either, or without its value."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    if "--version" in argv or "-version" in argv:
        print(f"etcd Version: {ETCD_VERSION}\nSampan Version: {__version__}")
        return 0
    if {"-h", "-help", "--help"} & set(argv):
        print(USAGE, end="")
        return 0
    try:
        given, notes = read(argv, os.environ)
        values = translate(given, notes)
        config = model.build(values | model.from_environment(), "etcd's flags")
        return command.run("etcd's flags", config, "node", notes)
    except UsageError as error:
        print(f"{error}\n{USAGE}", end="", file=sys.stderr)
        return EXIT_USAGE
    except (ConfigError, DataDirError) as error:
        print(f"sampan: {error}", file=sys.stderr)
        return 1


# -- what is given


def read(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """(flags and their values, notes for the log). Flags win over variables; a file excludes both,
    as etcd's.

    Raises:
        UsageError, ConfigError: something in them cannot be.
    """
    flags = dict(_flags(argv))
    variables = {
        name.removeprefix(PREFIX).lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and value
    }
    notes = [
        f"unrecognized environment variable {PREFIX}{name.upper().replace('-', '_')}"
        for name in sorted(variables)
        if not _is_known(name)
    ]
    path = flags.get("config-file") or variables.get("config-file")
    given = _file(Path(path)) if path else variables | flags
    return {_today(name): value for name, value in given.items() if _is_known(name)}, notes


def _today(name: str) -> str:
    """How a flag is called that is no experiment any more."""
    later = name.removeprefix("experimental-")
    return later if later in _SCALARS else name


def _is_known(name: str) -> bool:
    return name in KNOWN or name.startswith("experimental-")


def _flags(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            raise UsageError(f"'{word}' is not a valid flag")
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if not _is_known(name):
            raise UsageError(f"flag provided but not defined: -{name}")
        if equals:
            yield name, value
        elif name in _SWITCHES:
            yield name, "true"
        else:
            try:
                yield name, next(words)
            except StopIteration:
                raise UsageError(f"flag needs an argument: -{name}") from None


def _file(path: Path) -> dict[str, str]:
    import yaml  # most starts do without

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected keys and values at the top")
    flat: dict[str, Any] = {}
    for key, value in found.items():
        security = key in ("client-transport-security", "peer-transport-security")
        if security and isinstance(value, dict):
            prefix = "peer-" if key.startswith("peer-") else ""
            flat |= {f"{prefix}{inner}": each for inner, each in value.items()}
        else:
            flat[str(key)] = value
    return {name: _text(value) for name, value in flat.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


# -- what it means


def translate(given: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    """The keys of the configuration; what has no meaning here is added to the notes.

    Raises:
        ConfigError: what cannot be, or cannot be here.
    """
    _refuse(given, notes)
    if "listen-client-urls" in given and "advertise-client-urls" not in given:
        raise ConfigError(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly"
        )
    told = _DEFAULTS | dict(given)
    told["advertise-client-urls"] = told.get("advertise-client-urls") or told["listen-client-urls"]
    certificate = _certificate(told, notes)
    name, doors = told["name"], _doors(told, "listen-client-urls", certificate, notes)
    listen = [door.partition("://")[2] for door in doors]
    advertise = [each.partition("://") for each in _urls(told, "advertise-client-urls")]
    peers = _endpoints(told, "listen-peer-urls")
    has_metrics = told.get("listen-metrics-urls")
    metrics = _doors(told, "listen-metrics-urls", certificate, notes) if has_metrics else []
    for flag, found in (
        ("advertise-client-urls", advertise),
        ("listen-peer-urls", peers),
        ("listen-metrics-urls", metrics),
    ):
        if len(found) > 1:
            notes.append(f"of --{flag} only the first is used")
    data_dir = told.get("data-dir") or f"{name}.etcd"
    has_begun = data_dirs.identity(Path(data_dir, name)) is not None
    members, cluster_id = _cluster(told | _discovered(told, has_begun=has_begun))
    cluster = told["initial-cluster-token"]
    own = next((each for each in members if each["name"] == name), None)
    if own is None:
        raise ConfigError(f"couldn't find local name {name!r} in the initial cluster configuration")
    client, client_listen = _own_addresses(told, listen, advertise[0][2], peers, notes)
    own |= {"client": client, "gateway": "".join(advertise[0])}
    own |= {"http": metrics[0]} if metrics else {}
    state = told["initial-cluster-state"]
    if state == "existing" or has_begun:
        # Ids are what the cluster says, or the disk, whatever the flags would make of them.
        state, cluster, cluster_id = "existing", "", 0
        own["id"] = 0
    return (
        _scalars(given, notes)
        | certificate
        | {
            "cluster": cluster,
            "cluster_id": cluster_id,
            "initial_cluster_state": state,
            "force_new_cluster": told.get("force-new-cluster") == "true",
            "strict_reconfig_check": told.get("strict-reconfig-check", "true") == "true",
            "members": members,
            "discovery_srv": told.get("discovery-srv", ""),
            "node": name,
            "data_dir": data_dir,
            "client_listen": client_listen,
            "peer_listen": peers[0],
            "gateway_listen": ",".join(doors),
            "placement": "fused",
            "allow_insecure": True,  # etcd binds what it is told to
        }
    )


def _refuse(given: Mapping[str, str], notes: list[str]) -> None:
    for name, value in given.items():
        if (name in _REFUSED and value) or (name in _REFUSED_WHEN_TRUE and value == "true"):
            raise ConfigError(f"--{name} is not there yet; leaving it out would not be safe")
    rest = sorted(set(given) - _MEANT - _REFUSED - _REFUSED_WHEN_TRUE)
    if rest:
        notes.append(f"accepted, and without a meaning here: --{', --'.join(rest)}")


def _scalars(given: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for flag, (key, kind) in _SCALARS.items():
        if flag in given:
            text = given[flag]
            if kind is int:
                values[key] = _number(flag, text)
            elif kind is float:
                values[key] = _milliseconds(flag, text)
            else:
                values[key] = text
    if "snapshot-count" in given:
        entries = _number("snapshot-count", given["snapshot-count"])
        if entries:
            values["log_entries_max"] = max(limits.LOG_ENTRIES_MIN, entries)
    if "log-level" in given:
        values["log_level"] = _LEVELS.get(given["log-level"], given["log-level"])
    _put_right(values, notes)
    return values


def _put_right(values: dict[str, Any], notes: list[str]) -> None:
    """Numbers that etcd does not take at their word: 0 where it says nothing, and what is out of
    bounds (v3rpc/watch.go, auth/store.go)."""
    for key in ("watch_progress_ms", "auth_token_ttl_s"):
        if values.get(key) == 0:
            del values[key]
    if values.get("watch_progress_ms", limits.WATCH_PROGRESS_MS_MIN) < limits.WATCH_PROGRESS_MS_MIN:
        values["watch_progress_ms"] = limits.WATCH_PROGRESS_MS_MIN
        notes.append(
            f"--watch-progress-notify-interval is at least {limits.WATCH_PROGRESS_MS_MIN}ms, "
            "which it is now"
        )
    least, most = limits.BCRYPT_COSTS
    if not least <= values.get("bcrypt_cost", least) <= most:
        del values["bcrypt_cost"]
        notes.append(f"--bcrypt-cost is {least} to {most}: the default is taken")


def _number(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f'invalid value "{text}" for flag -{flag}: not a number') from None


def _milliseconds(flag: str, text: str) -> int:
    """Of a time as Go writes it, 1m30s."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(f'invalid value "{text}" for flag -{flag}: not a time like 1m30s')
    return round(sum(float(number) * _UNITS_MS[unit] for number, unit in parts))


def _certificate(told: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    """What etcd's flags say of the certificate for clients."""
    values: dict[str, Any] = {
        "cert_file": told.get("cert-file", ""),
        "key_file": told.get("key-file", ""),
        "trusted_ca_file": told.get("trusted-ca-file", ""),
        "client_cert_auth": told.get("client-cert-auth") == "true",
        "auto_tls": told.get("auto-tls") == "true",
    }
    if values["auto_tls"] and values["cert_file"]:
        notes.append("--auto-tls is ignored: --cert-file is given")
        values["auto_tls"] = False
    urls = ",".join(told.get(f"listen-{each}-urls", "") for each in ("client", "metrics"))
    if values["auto_tls"] and "https://" not in urls:
        values["auto_tls"] = False  # nobody would see it
    return values


def _doors(
    told: Mapping[str, str], flag: str, certificate: Mapping[str, Any], notes: list[str]
) -> list[str]:
    """The URLs to serve etcd's clients at."""
    urls = _urls(told, flag)
    has_one = bool(certificate["cert_file"] or certificate["auto_tls"])
    for url in urls:
        if url.startswith("https://") and not has_one:
            raise ConfigError(
                f"TLS key/cert (--cert-file, --key-file) must be provided for client url {url} "
                "with HTTPS scheme"
            )
        if url.startswith("http://") and has_one:
            notes.append(f"--{flag}: {url} is served without TLS, whatever the certificate")
    return urls


def _urls(told: Mapping[str, str], flag: str) -> list[str]:
    """SCHEME://HOST:PORT of each URL."""
    return [_url(url.strip(), flag) for url in told[flag].split(",")]


def _url(url: str, flag: str) -> str:
    scheme, rest = addresses.without_scheme(url)
    if not scheme:
        raise ConfigError(f"--{flag}: URL scheme must be http or https: {url}")
    try:
        host, port = addresses.parse(rest)
    except addresses.EndpointError as error:
        raise ConfigError(f"--{flag}: {error}") from error
    return f"{scheme}://{_joined(host, port)}"


def _endpoints(told: Mapping[str, str], flag: str) -> list[str]:
    """HOST:PORT of each URL."""
    return [_endpoint(url.strip(), flag) for url in told[flag].split(",")]


def _endpoint(url: str, flag: str) -> str:
    """HOST:PORT of a URL of members, whose connections know no TLS."""
    if url.startswith("https://"):
        raise ConfigError(f"--{flag}: {url}: there are no certificates between members")
    return _url(url, flag).partition("://")[2]


def _own_addresses(
    told: Mapping[str, str],
    listen: list[str],
    advertise: str,
    peers: list[str],
    notes: list[str],
) -> tuple[str, str]:
    """Where Sampan's own clients find this node, and what it binds for them. The port below etcd's
    own is Sampan's; beside another one it may be what a neighbour on this machine is told."""
    bound = told.get("sampan-listen")
    host, port = addresses.parse(
        _endpoint(f"http://{bound}", "sampan-listen") if bound else listen[0]
    )
    if not bound:
        taken = {addresses.parse(each)[1] for each in (*listen, *peers)}
        port = _free_port(host, OWN_PORT if port == ETCD_PORT else 0, taken)
    reached, _ = addresses.parse(advertise)
    client = _joined(reached, port)
    if not bound and port != OWN_PORT:
        notes.append(f"Sampan's own clients are served at {client}: --sampan-listen names another")
    return client, _joined(host, port)


def _free_port(host: str, wanted: int, taken: set[int]) -> int:
    """A port that nobody listens on: the one that is wanted, or any."""
    for port in (wanted, 0, 0, 0):
        with ExitStack() as probes:
            try:
                bound = [probes.enter_context(each) for each in tcp.listen(_joined(host, port))]
            except tcp.BindError:
                continue
            found = int(bound[0].getsockname()[1])
            if found not in taken:
                return found
    raise ConfigError(f"no port for Sampan's own clients at {host}: give --sampan-listen")


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _discovered(told: Mapping[str, str], *, has_begun: bool) -> dict[str, str]:
    """What --initial-cluster would be, where DNS says it: others are called by numbers."""
    domain = told.get("discovery-srv")
    if not domain:
        return {}
    if told.get("initial-cluster"):
        raise ConfigError(
            "multiple discovery or bootstrap flags are set: --initial-cluster and --discovery-srv"
        )
    suffix = told.get("discovery-srv-name", "")
    service = f"etcd-server-{suffix}" if suffix else "etcd-server"
    own = _endpoints(told, "initial-advertise-peer-urls")
    try:
        found, this = discovery.members(service, domain, own)
    except discovery.DiscoveryError as error:
        if has_begun:
            return {}
        raise ConfigError(f"--discovery-srv: {error}") from error
    names = {each: told["name"] if each == this else str(n) for n, each in enumerate(found)}
    return {"initial-cluster": ",".join(f"{names[each]}=http://{each}" for each in found)}


def _cluster(told: Mapping[str, str]) -> tuple[list[dict[str, Any]], int]:
    """(members, the cluster's id)."""
    urls: dict[str, list[str]] = {}
    peers = told["initial-advertise-peer-urls"]
    default = ",".join(f"{told['name']}={url}" for url in peers.split(","))
    for part in (told.get("initial-cluster") or default).split(","):
        name, equals, url = part.strip().partition("=")
        if not equals:
            raise ConfigError(f"--initial-cluster: {part!r} is not NAME=URL")
        urls.setdefault(name, []).append(url)
    token = told["initial-cluster-token"]
    members = [
        {
            "id": member_id(each, token),
            "name": name,
            "client": "",
            "peer": _endpoint(each[0], "initial-cluster"),
        }
        for name, each in urls.items()
    ]
    return members, cluster_id([int(str(member["id"])) for member in members])


def member_id(peer_urls: Sequence[str], token: str) -> int:
    """etcd's computeMemberID: of the sorted URLs and the cluster's token."""
    digest = hashlib.sha1(("".join(sorted(peer_urls)) + token).encode(), usedforsecurity=False)
    return int.from_bytes(digest.digest()[:8], "big")


def cluster_id(member_ids: Sequence[int]) -> int:
    """etcd's RaftCluster.genID: of all members' ids."""
    ids = b"".join(each.to_bytes(8, "big") for each in sorted(member_ids))
    return int.from_bytes(hashlib.sha1(ids, usedforsecurity=False).digest()[:8], "big")
