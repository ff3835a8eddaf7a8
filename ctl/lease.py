"""`lease grant`, `revoke`, `timetolive`, `list` and `keep-alive`."""

import time
from binascii import b2a_base64
from collections.abc import Sequence
from typing import Any

from ..client import errors
from ..client.lease import RENEWALS
from ..client.types import LeaseKeepAliveResponse, ResponseHeader
from . import gofmt, protobuf
from .commands import (
    EXIT_BAD_CONNECTION,
    EXIT_BAD_FEATURE,
    CommandError,
    Run,
    bad_arguments,
    describe,
)
from .flags import bool_flag
from .gofmt import GoError
from .printers import (
    FieldsPrinter,
    JsonPrinter,
    Printer,
    ProtobufPrinter,
    SimplePrinter,
    _json_header,
)

TIME_TO_LIVE_FLAGS = (bool_flag("keys", "tell the attached keys, too"),)
KEEP_ALIVE_FLAGS = (bool_flag("once", "renew it once and exit"),)
RETRY_S = 0.2


def _show(
    printer: Printer,
    header: ResponseHeader,
    simple: Sequence[str | bytes],
    fields: Sequence[tuple[str, object]],
    json: dict[str, Any],
) -> None:
    """Print a response in one of the formats. In json and protobuf etcdctl's own types for leases
    take the header's fields among theirs."""
    if isinstance(printer, SimplePrinter):
        for line in simple:
            printer.line(line)
    elif isinstance(printer, FieldsPrinter):
        printer._header(header)
        for name, value in fields:
            printer._field(name, value)
    elif isinstance(printer, JsonPrinter):
        printer._json(_json_header(header) | json)
    elif isinstance(printer, ProtobufPrinter):
        printer.out.write(protobuf.response_header(header))
    else:
        printer._none()


def _lease_id(text: str) -> int:
    try:
        return gofmt.parse_int(text, 16)
    except GoError as error:
        bad_arguments(f"bad lease ID arg ({error}), expecting ID in Hex")


def _failed(doing: str, error: errors.SampanError) -> CommandError:
    return CommandError(f"failed to {doing} lease ({describe(error)})")


def grant(run: Run) -> None:
    """`lease grant <ttl>`."""
    if len(run.args) != 1:
        bad_arguments("lease grant command needs TTL argument")
    try:
        ttl_s = gofmt.parse_int(run.args[0], 10)
    except GoError as error:
        bad_arguments(f"bad TTL ({error})")
    printer = run.printer()
    with run.client() as client:
        try:
            response = client.lease_grant(max(0, ttl_s))
        except errors.SampanError as error:
            raise _failed("grant", error) from error
    header, lease_id, ttl_s = response
    _show(
        printer,
        header,
        [f"lease {lease_id:016x} granted with TTL({ttl_s}s)"],
        [("ID", lease_id), ("TTL", ttl_s)],
        {"ID": lease_id, "TTL": ttl_s, "Error": ""},
    )


def revoke(run: Run) -> None:
    """`lease revoke <lease id>`."""
    if len(run.args) != 1:
        bad_arguments("lease revoke command needs 1 argument")
    lease_id = _lease_id(run.args[0])
    printer = run.printer()
    with run.client() as client:
        try:
            header = client.lease_revoke(_known(lease_id)).header
        except errors.SampanError as error:
            raise _failed("revoke", error) from error
    if isinstance(printer, JsonPrinter):
        printer._json({"header": _json_header(header)})
    elif isinstance(printer, ProtobufPrinter):
        told = " ".join(f"{name}:{value}" for name, value in header._asdict().items())
        text = f"marshal unsupported for type clientv3.LeaseRevokeResponse ({{{told}  {{}} [] 0}})"
        raise CommandError(text, EXIT_BAD_FEATURE)
    else:
        _show(printer, header, [f"lease {lease_id:016x} revoked"], [], {})


def _known(lease_id: int) -> int:
    """A lease that may exist: etcd's ids are signed, ours are not."""
    return max(0, lease_id)


def time_to_live(run: Run) -> None:
    """`lease timetolive <lease id>`."""
    if len(run.args) != 1:
        bad_arguments("lease timetolive command needs lease ID as argument")
    lease_id, with_keys = _lease_id(run.args[0]), run.flags["keys"]
    printer = run.printer()
    with run.client() as client:
        try:
            response = client.lease_time_to_live(_known(lease_id), keys=with_keys)
        except errors.SampanError as error:
            raise CommandError(describe(error), EXIT_BAD_CONNECTION) from error
    header, _, granted_s, left_s, keys = response
    line = f"lease {lease_id:016x} ".encode()
    if not granted_s and left_s < 0:
        line += b"already expired"
    else:
        line += f"granted with TTL({granted_s}s), remaining({left_s}s)".encode()
        if with_keys:
            line += b", attached keys([" + b" ".join(keys) + b"])"
    fields: list[tuple[str, object]] = [("ID", lease_id), ("TTL", left_s)]
    fields += [("GrantedTTL", granted_s), *(("Key", gofmt.quote(key)) for key in keys)]
    encoded = [b2a_base64(key, newline=False).decode() for key in keys] or None
    numbers = {"id": lease_id, "ttl": left_s, "granted-ttl": granted_s}
    _show(printer, header, [line], fields, numbers | {"keys": encoded})


def leases(run: Run) -> None:
    """`lease list`, whatever the arguments."""
    printer = run.printer()
    with run.client() as client:
        try:
            header, found = client.leases()
        except errors.SampanError as error:
            raise CommandError(describe(error), EXIT_BAD_CONNECTION) from error
    lines = [f"found {len(found)} leases", *(f"{lease_id:016x}" for lease_id in found)]
    fields = [("ID", lease_id) for lease_id in found]
    _show(printer, header, lines, fields, {"leases": [{"id": lease_id} for lease_id in found]})


def keep_alive(run: Run) -> None:
    """`lease keep-alive <lease id>`: until the lease is gone, unless only once."""
    if len(run.args) != 1:
        bad_arguments("lease keep-alive command needs lease ID as argument")
    lease_id = _lease_id(run.args[0])
    printer = run.printer()
    if run.flags["once"]:
        with run.client() as client:
            try:
                response = client.lease_keep_alive_once(_known(lease_id))
            except errors.SampanError as error:
                raise CommandError(describe(error), EXIT_BAD_CONNECTION) from error
        _show_renewal(printer, response)
    else:
        _keep_alive(run, lease_id, printer)
        if isinstance(printer, SimplePrinter):
            printer.line(f"lease {lease_id:016x} expired or revoked.")


def _keep_alive(run: Run, lease_id: int, printer: Printer) -> None:
    deadline = time.monotonic() + run.flags["command-timeout"]
    with run.client() as client:
        while (asked_at := time.monotonic()) < deadline:
            try:
                response = client.lease_keep_alive_once(
                    _known(lease_id), timeout_s=deadline - asked_at
                )
            except errors.LeaseNotFoundError:
                return
            except errors.SampanError:
                time.sleep(RETRY_S)
                continue
            _show_renewal(printer, response)
            run.stdout.flush()
            deadline = asked_at + response.ttl_s
            time.sleep(max(0.0, asked_at + response.ttl_s / RENEWALS - time.monotonic()))


def _show_renewal(printer: Printer, response: LeaseKeepAliveResponse) -> None:
    header, lease_id, ttl_s = response
    _show(
        printer,
        header,
        [f"lease {lease_id:016x} keepalived with TTL({ttl_s})"],
        [("ID", lease_id), ("TTL", ttl_s)],
        {"ID": lease_id, "TTL": ttl_s},
    )
