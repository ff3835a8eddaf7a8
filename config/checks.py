"""What a configuration must be for a node to start with it; each breach is a ConfigError."""

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from . import addresses, limits
from .errors import ConfigError, shorten
from .keys import SERVER

if TYPE_CHECKING:
    from .model import ClusterConfig, Member

Label = Callable[[str], str]
"""Of a key: where it comes from, for an error's text."""


def check_snapshots(config: "ClusterConfig", label: Label) -> None:
    """How fast snapshots go."""
    least = limits.SNAPSHOT_BYTES_PER_S_MIN
    if config.snapshot_bytes_per_s and config.snapshot_bytes_per_s < least:
        where = label("snapshot_bytes_per_s")
        raise ConfigError(f"{where} must be at least {least}, or 0 for no bound")


def check_archive(config: "ClusterConfig", label: Label) -> None:
    """Where the log is archived."""
    where = label("archive_command")
    if config.archive_command and config.archive_dir:
        raise ConfigError(f"{where} and archive_dir are both there: the archive is one of them")
    if config.archive_command and "%p" not in config.archive_command:
        raise ConfigError(f"{where} must have %p in it, where the path of the file is put")


def check_certificates(config: "ClusterConfig", refuse: Callable[[str, str], None]) -> None:
    """Which keys of certificates go together."""
    if bool(config.cert_file) != bool(config.key_file):
        refuse("cert_file", "and key_file are needed both, or neither")
    if config.auto_tls and config.cert_file:
        refuse("auto_tls", "makes a certificate of its own: leave out cert_file")
    if config.trusted_ca_file and not config.has_certificate:
        refuse("trusted_ca_file", "needs a certificate of the node: set cert_file and key_file")
    for key in ("client_cert_auth", "client_crl_file"):
        if getattr(config, key) and not config.trusted_ca_file:
            refuse(key, "needs trusted_ca_file: whose certificates are believed")
    try:
        config.tls_rules.check()
    except ValueError as error:
        refuse(*str(error).split(" ", 1))


_SIGNS_IN_NAMES = str.maketrans("", "", "-_.")


def check_members(config: "ClusterConfig", where: str) -> None:
    """Their names and ids."""
    for number, member in enumerate(config.members, 1):
        label = f"{where}: member {number}"
        if member.name.startswith(".") or not member.name.translate(_SIGNS_IN_NAMES).isalnum():
            raise ConfigError(
                f"{label}: name must be letters, digits, -, _ and dots within: it names a folder"
            )
    if config.keys_dir and any(member.name == SERVER for member in config.members):
        raise ConfigError(f"{where}: no member can be named {SERVER}: so is the key for clients")
    for key in ("id", "name"):
        seen = [value for member in config.members if (value := getattr(member, key))]
        if len(set(seen)) != len(seen):
            raise ConfigError(f"{where}: two members have the same {key}")


def check_addresses(config: "ClusterConfig", where: str, label: Label) -> None:
    """Each is one, and no two are the same."""
    taken = set()
    for number, member in enumerate(config.members, 1):
        for key in ("client", "peer", "gateway", "http"):
            address = getattr(member, key)
            # Where others take clients is theirs to tell: `sampan etcd` does not know it.
            optional = key in ("gateway", "http") or (key == "client" and config.node)
            if not address and optional and (key != "client" or member.name != config.node):
                continue
            if key in ("gateway", "http"):
                address = _bare(address, config, f"{where}: member {number}: {key}")
            parsed = _parsed(address, f"{where}: member {number}: {key}")
            if parsed in taken:
                raise ConfigError(
                    f"{where}: member {number}: {key} {address} is taken: each member needs one "
                    "address for clients and another one for peers, and one for each other door"
                )
            taken.add(parsed)
    for key in ("client_listen", "peer_listen", "gateway_listen", "http_listen"):
        for address in filter(None, getattr(config, key).split(",")):
            has_door = key in ("gateway_listen", "http_listen")
            _parsed(_bare(address, config, label(key)) if has_door else address, label(key))
    for member in config.members:
        bound = [_parsed(address, where) for address in config.bound(member)]
        if len(set(bound)) < len(bound):
            raise ConfigError(
                f"{label('client_listen')}, peer_listen, gateway_listen or http_listen "
                "is an address twice"
            )


def _bare(address: str, config: "ClusterConfig", label: str) -> str:
    """HOST:PORT of an address for HTTP; raises ConfigError."""
    scheme, rest = addresses.without_scheme(address)
    if scheme == "https" and not config.has_certificate:
        raise ConfigError(
            f"{label}: {address} needs a certificate: set cert_file and key_file, or auto_tls"
        )
    return rest


def _parsed(address: str, label: str) -> tuple[str, int]:
    """(host, port), numeric hosts in one spelling; raises ConfigError."""
    # A user, a query or a fragment would be ignored, and blanks left out.
    if not address.isprintable() or any(sign in address for sign in "@?# "):
        raise ConfigError(f"{label}: {shorten.repr(address)} is not HOST:PORT")
    try:
        host, port = addresses.parse(address)
    except (addresses.EndpointError, UnicodeError) as error:
        raise ConfigError(f"{label}: {error}") from error
    if port == 0:
        raise ConfigError(f"{label}: {address} must name a port: others could not know what 0 is")
    with suppress(ValueError):  # a name
        host = str(ipaddress.ip_address(host))
    return host, port


def _without_keys(config: "ClusterConfig", what: str) -> str:
    names = " ".join(member.name for member in config.members)
    return (
        f"{what} can be reached from other machines and has no keys: make them with `sampan keys "
        f"new keys {names}` and start with `--keys-dir keys`, bind a loopback address, or set "
        "allow_insecure = true on a network you trust"
    )


def check_insecure(config: "ClusterConfig", member: "Member", where: str) -> None:
    """Refuse to bind what other machines reach, unless told so; raises ConfigError."""
    secured = {door.address for door in config.http_doors(member) if door.tls}
    secured |= set(config.listen(member) if config.keys_dir else ())
    for address in config.bound(member):
        try:
            loopback = addresses.is_loopback(address)
        except (addresses.EndpointError, UnicodeError) as error:
            raise ConfigError(f"{where}: {address} cannot be resolved: {error}") from error
        if not (loopback or address in secured or config.allow_insecure):
            if address in {door.address for door in config.http_doors(member)}:
                raise ConfigError(
                    f"{where}: {address} can be reached from other machines and has no "
                    "certificate: set cert_file and key_file (or auto_tls), bind a loopback "
                    "address, or set allow_insecure = true on a network you trust"
                )
            raise ConfigError(_without_keys(config, f"{where}: {address}"))
