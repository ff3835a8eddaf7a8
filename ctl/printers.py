"""Responses in etcdctl's output formats: simple, fields, json, table and protobuf."""

import os
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ..client.alarm_calls import AlarmMember
from ..client.types import (
    DeleteResponse,
    HashKvResponse,
    KeyValue,
    Member,
    MemberListResponse,
    PutResponse,
    RangeResponse,
    ResponseHeader,
    StatusResponse,
    TxnResponse,
)
from . import gofmt, protobuf

if TYPE_CHECKING:
    from ..client.watch import WatchEvent, WatchResponse


class Unsupported(Exception):
    """A format that a response does not have."""


class Health(NamedTuple):
    """What asking one endpoint for a linearizable read showed."""

    endpoint: str
    took_ns: int
    error: str

    @property
    def ok(self) -> bool:
        """Whether it answered."""
        return not self.error


EndpointStatus = tuple[str, StatusResponse]
EndpointHash = tuple[str, HashKvResponse]


class Printer:
    """One output format. A response that a format does not have raises `Unsupported`."""

    name = ""

    def __init__(self, out: BinaryIO, err: BinaryIO, hexadecimal: bool) -> None:
        self.out = out
        self.err = err
        self.hexadecimal = hexadecimal
        self.value_only = False

    def line(self, text: str | bytes) -> None:
        """One line on stdout."""
        self.out.write(text if isinstance(text, bytes) else text.encode())
        self.out.write(b"\n")

    def put(self, response: PutResponse) -> None:
        """Print a put's response."""
        self._none()

    def range(self, response: RangeResponse) -> None:
        """Print a get's response."""
        self._none()

    def delete(self, response: DeleteResponse) -> None:
        """Print a del's response."""
        self._none()

    def txn(self, response: TxnResponse) -> None:
        """Print a transaction's response."""
        self._none()

    def watch(self, response: "WatchResponse") -> None:
        """Print events of a watch, or its progress."""
        self._none()

    def watch_canceled(self, header: ResponseHeader, compact_revision: int) -> None:
        """Print that what a watch would have told next was compacted."""

    def operation(self, response: Any) -> None:
        """Print the response of one of a transaction's operations."""
        if isinstance(response, PutResponse):
            self.put(response)
        elif isinstance(response, RangeResponse):
            self.range(response)
        else:
            self.delete(response)

    def members(self, response: MemberListResponse) -> None:
        """Print the members."""
        self._none()

    def statuses(self, statuses: Sequence[EndpointStatus]) -> None:
        """Print what endpoints say of themselves."""
        self._none()

    def hashes(self, hashes: Sequence[EndpointHash]) -> None:
        """Print what endpoints' states hash to."""
        self._none()

    def health(self, healths: Sequence[Health]) -> None:
        """Print which endpoints answer."""
        self._none()

    def _none(self) -> None:
        raise Unsupported(f"{self.name} not supported as output format")


def _hex_bytes(data: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in data)


def _bool(value: bool) -> str:
    return "true" if value else "false"


def describe_alarm(alarm: AlarmMember) -> str:
    """An alarm as Go prints its message."""
    return f"memberID:{alarm.member_id} alarm:{alarm.name} "


def _status_errors(status: StatusResponse) -> list[str]:
    return [describe_alarm(AlarmMember(*each)) for each in status.fields.get("alarms", ())]


def _status_row(endpoint: str, status: StatusResponse) -> list[str]:
    fields, header = status.fields, status.header
    return [
        endpoint,
        f"{header.member_id:x}",
        str(fields.get("version", "")),
        gofmt.size(fields.get("db_size", 0)),
        _bool(fields.get("leader") == header.member_id),
        _bool(fields.get("is_learner", False)),
        str(header.raft_term),
        str(fields.get("commit", 0)),
        str(fields.get("applied", 0)),
        ", ".join(_status_errors(status)),
    ]


def _member_row(member: Member) -> list[str]:
    return [
        f"{member.id:x}",
        "started" if member.name else "unstarted",
        member.name,
        ",".join(member.peer_urls),
        ",".join(member.client_urls),
        _bool(member.is_learner),
    ]


def _inner(response: Any) -> Any:
    """An operation's response as etcd gives it: of its header only the revision is there."""
    return response._replace(header=ResponseHeader(0, 0, response.header.revision, 0))


class SimplePrinter(Printer):
    """Keys and values, a line each."""

    name = "simple"

    def _kv(self, kv: KeyValue) -> None:
        if not self.value_only:
            self.line(_hex_bytes(kv.key) if self.hexadecimal else kv.key)
        self.line(_hex_bytes(kv.value) if self.hexadecimal else kv.value)

    def put(self, response: PutResponse) -> None:
        self.line("OK")
        if response.prev_kv is not None:
            self._kv(response.prev_kv)

    def range(self, response: RangeResponse) -> None:
        for kv in response.kvs:
            self._kv(kv)

    def delete(self, response: DeleteResponse) -> None:
        self.line(str(response.deleted))
        for kv in response.prev_kvs:
            self._kv(kv)

    def txn(self, response: TxnResponse) -> None:
        self.line("SUCCESS" if response.succeeded else "FAILURE")
        for each in response.responses:
            self.line("")
            self.operation(each)

    def members(self, response: MemberListResponse) -> None:
        for member in response.members:
            self.line(", ".join(_member_row(member)))

    def statuses(self, statuses: Sequence[EndpointStatus]) -> None:
        for endpoint, status in statuses:
            self.line(", ".join(_status_row(endpoint, status)))

    def hashes(self, hashes: Sequence[EndpointHash]) -> None:
        for endpoint, response in hashes:
            self.line(f"{endpoint}, {response.hash}")

    def health(self, healths: Sequence[Health]) -> None:
        for health in healths:
            if health.ok:
                self.line(
                    f"{health.endpoint} is healthy: successfully committed proposal: "
                    f"took = {gofmt.duration(health.took_ns)}"
                )
            else:
                text = (
                    f"{health.endpoint} is unhealthy: failed to commit proposal: {health.error}\n"
                )
                self.err.write(os.fsencode(text))

    def watch(self, response: "WatchResponse") -> None:
        for event in response.events:
            self.line(event.type)
            if event.prev_kv is not None:
                self._kv(event.prev_kv)
            self._kv(event.kv)


class FieldsPrinter(Printer):
    """A line for each field: its name in quotes, a colon, its value."""

    name = "fields"

    def _field(self, name: str, value: object) -> None:
        self.line(f'"{name}" : {_bool(value) if isinstance(value, bool) else value}')

    def _header(self, header: ResponseHeader) -> None:
        self._field("ClusterID", header.cluster_id)
        self._field("MemberID", header.member_id)
        self._field("Revision", header.revision)
        self._field("RaftTerm", header.raft_term)

    def _kv(self, kv: KeyValue, prefix: str = "") -> None:
        self._field(f"{prefix}Key", gofmt.quote(kv.key))
        self._field(f"{prefix}CreateRevision", kv.create_revision)
        self._field(f"{prefix}ModRevision", kv.mod_revision)
        self._field(f"{prefix}Version", kv.version)
        self._field(f"{prefix}Value", gofmt.quote(kv.value))
        self._field(f"{prefix}Lease", f"{kv.lease:x}" if self.hexadecimal else kv.lease)

    def put(self, response: PutResponse) -> None:
        self._header(response.header)
        if response.prev_kv is not None:
            self._kv(response.prev_kv, "Prev")

    def range(self, response: RangeResponse) -> None:
        self._header(response.header)
        for kv in response.kvs:
            self._kv(kv)
        self._field("More", response.more)
        self._field("Count", response.count)

    def delete(self, response: DeleteResponse) -> None:
        self._header(response.header)
        self._field("Deleted", response.deleted)
        for kv in response.prev_kvs:
            self._kv(kv, "Prev")

    def txn(self, response: TxnResponse) -> None:
        self._header(response.header)
        self._field("Succeeded", response.succeeded)
        for each in response.responses:
            self.operation(_inner(each))

    def members(self, response: MemberListResponse) -> None:
        self._header(response.header)
        for member in response.members:
            self._field("ID", f"{member.id:x}" if self.hexadecimal else member.id)
            self._field("Name", gofmt.quote(member.name.encode()))
            for url in member.peer_urls:
                self._field("PeerURL", gofmt.quote(url.encode()))
            for url in member.client_urls:
                self._field("ClientURL", gofmt.quote(url.encode()))
            self._field("IsLearner", member.is_learner)
            self.line("")

    def statuses(self, statuses: Sequence[EndpointStatus]) -> None:
        for endpoint, status in statuses:
            fields = status.fields
            self._header(status.header)
            self._field("Version", gofmt.quote(str(fields.get("version", "")).encode()))
            self._field("DBSize", fields.get("db_size", 0))
            self._field("Leader", fields.get("leader", 0))
            self._field("IsLearner", fields.get("is_learner", False))
            self._field("RaftIndex", fields.get("commit", 0))
            self._field("RaftTerm", status.header.raft_term)
            self._field("RaftAppliedIndex", fields.get("applied", 0))
            self._field("Errors", f"[{' '.join(_status_errors(status))}]")
            self._field("Endpoint", gofmt.quote(endpoint.encode()))
            self.line("")

    def hashes(self, hashes: Sequence[EndpointHash]) -> None:
        for endpoint, response in hashes:
            self._header(response.header)
            self._field("Endpoint", gofmt.quote(endpoint.encode()))
            self._field("Hash", response.hash)
            self.line("")

    def health(self, healths: Sequence[Health]) -> None:
        for health in healths:
            self._field("Endpoint", gofmt.quote(health.endpoint.encode()))
            self._field("Health", health.ok)
            self._field("Took", gofmt.duration(health.took_ns))
            self._field("Error", health.error)
            self.line("")

    def watch(self, response: "WatchResponse") -> None:
        self._header(response.header)
        for event in response.events:
            self._field("Type", event.type)
            if event.prev_kv is not None:
                self._kv(event.prev_kv, "Prev")
            self._kv(event.kv)

    def watch_canceled(self, header: ResponseHeader, compact_revision: int) -> None:
        self._header(header._replace(revision=0))


def _present(**fields: Any) -> dict[str, Any]:
    """Go's `omitempty`: fields with an empty value are left out."""
    return {name: value for name, value in fields.items() if value}


def _json_header(header: ResponseHeader) -> dict[str, Any]:
    return _present(**header._asdict())


def _json_kv(kv: KeyValue) -> dict[str, Any]:
    return _present(
        key=b2a_base64(kv.key, newline=False).decode(),
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
        value=b2a_base64(kv.value, newline=False).decode(),
        lease=kv.lease,
    )


def _json_put(response: PutResponse) -> dict[str, Any]:
    prev_kv = response.prev_kv
    rest = {"prev_kv": _json_kv(prev_kv)} if prev_kv is not None else {}
    return {"header": _json_header(response.header), **rest}


def _json_range(response: RangeResponse) -> dict[str, Any]:
    kvs = [_json_kv(kv) for kv in response.kvs]
    rest = _present(kvs=kvs, more=bool(response.more), count=response.count)
    return {"header": _json_header(response.header), **rest}


def _json_delete(response: DeleteResponse) -> dict[str, Any]:
    prev_kvs = [_json_kv(kv) for kv in response.prev_kvs]
    rest = _present(deleted=response.deleted, prev_kvs=prev_kvs)
    return {"header": _json_header(response.header), **rest}


def _json_operation(response: Any) -> dict[str, Any]:
    if isinstance(response, PutResponse):
        return {"response_put": _json_put(response)}
    if isinstance(response, RangeResponse):
        return {"response_range": _json_range(response)}
    return {"response_delete_range": _json_delete(response)}


def _json_event(event: "WatchEvent") -> dict[str, Any]:
    rest = {"prev_kv": _json_kv(event.prev_kv)} if event.prev_kv is not None else {}
    return {**_present(type=int(event.type == "DELETE")), "kv": _json_kv(event.kv), **rest}


def _json_status(endpoint: str, status: StatusResponse) -> dict[str, Any]:
    fields = status.fields
    known = _present(
        version=fields.get("version"),
        dbSize=fields.get("db_size"),
        leader=fields.get("leader"),
        raftIndex=fields.get("commit"),
        raftTerm=status.header.raft_term,
        raftAppliedIndex=fields.get("applied"),
        errors=_status_errors(status),
        dbSizeInUse=fields.get("db_size"),
        isLearner=fields.get("is_learner"),
    )
    return {"Endpoint": endpoint, "Status": {"header": _json_header(status.header), **known}}


def _json_hash(endpoint: str, response: HashKvResponse) -> dict[str, Any]:
    compacted = response.compact_revision or -1  # etcd's for a store that never was
    rest = _present(hash=response.hash, compact_revision=compacted)
    return {"Endpoint": endpoint, "HashKV": {"header": _json_header(response.header), **rest}}


class JsonPrinter(Printer):
    """One JSON object, keys and values in base64, in the order of etcd's messages."""

    name = "json"

    def _json(self, value: object) -> None:
        import json  # the other formats start faster without it

        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        for char in "<>&\u2028\u2029":  # Go escapes what HTML and JavaScript would not take
            text = text.replace(char, f"\\u{ord(char):04x}")
        self.line(text)

    def put(self, response: PutResponse) -> None:
        self._json(_json_put(response))

    def range(self, response: RangeResponse) -> None:
        self._json(_json_range(response))

    def delete(self, response: DeleteResponse) -> None:
        self._json(_json_delete(response))

    def txn(self, response: TxnResponse) -> None:
        responses = [{"Response": _json_operation(_inner(each))} for each in response.responses]
        rest = _present(succeeded=bool(response.succeeded), responses=responses)
        self._json({"header": _json_header(response.header), **rest})

    def members(self, response: MemberListResponse) -> None:
        if self.hexadecimal:
            self._json(self._hexadecimal_members(response))
            return
        members = [
            _present(
                ID=member.id,
                name=member.name,
                peerURLs=member.peer_urls,
                clientURLs=member.client_urls,
                isLearner=member.is_learner,
            )
            for member in response.members
        ]
        self._json({"header": _json_header(response.header), **_present(members=members)})

    @staticmethod
    def _hexadecimal_members(response: MemberListResponse) -> dict[str, Any]:
        header = response.header
        return {
            "header": {
                "cluster_id": f"{header.cluster_id:x}",
                "member_id": f"{header.member_id:x}",
                "raft_term": header.raft_term,
            },
            "members": [
                {
                    "ID": f"{member.id:x}",
                    "name": member.name,
                    "peerURLs": member.peer_urls,
                    "clientURLS": member.client_urls,  # spelt so by etcdctl
                }
                for member in response.members
            ],
        }

    def statuses(self, statuses: Sequence[EndpointStatus]) -> None:
        self._json([_json_status(*each) for each in statuses])

    def hashes(self, hashes: Sequence[EndpointHash]) -> None:
        self._json([_json_hash(*each) for each in hashes])

    def health(self, healths: Sequence[Health]) -> None:
        self._json(
            [
                {
                    "endpoint": health.endpoint,
                    "health": health.ok,
                    "took": gofmt.duration(health.took_ns),
                    **_present(error=health.error),
                }
                for health in healths
            ]
        )

    def _watch(
        self, header: ResponseHeader, events: list[dict[str, Any]], compact_revision: int
    ) -> None:
        self._json(
            {
                "Header": _json_header(header),
                "Events": events,
                "CompactRevision": compact_revision,
                "Canceled": compact_revision > 0,
                "Created": False,
            }
        )

    def watch(self, response: "WatchResponse") -> None:
        self._watch(response.header, [_json_event(event) for event in response.events], 0)

    def watch_canceled(self, header: ResponseHeader, compact_revision: int) -> None:
        self._watch(header._replace(revision=0), [], compact_revision)


class TablePrinter(Printer):
    """A table, for what is one by nature."""

    name = "table"

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under titles, in a frame."""
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
        heads = []
        for title, width in zip(titles, widths, strict=True):
            left = (width - len(title)) // 2
            heads.append(" " * left + title + " " * (width - len(title) - left))
        self.line(rule)
        self.line("| " + " | ".join(heads) + " |")
        self.line(rule)
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            self.line("| " + " | ".join(cells) + " |")
        self.line(rule)

    def members(self, response: MemberListResponse) -> None:
        titles = ("ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER")
        self.table(titles, [_member_row(member) for member in response.members])

    def statuses(self, statuses: Sequence[EndpointStatus]) -> None:
        titles = ["ENDPOINT", "ID", "VERSION", "DB SIZE", "IS LEADER", "IS LEARNER", "RAFT TERM"]
        titles += ["RAFT INDEX", "RAFT APPLIED INDEX", "ERRORS"]
        self.table(titles, [_status_row(*each) for each in statuses])

    def hashes(self, hashes: Sequence[EndpointHash]) -> None:
        rows = [[endpoint, str(response.hash)] for endpoint, response in hashes]
        self.table(("ENDPOINT", "HASH"), rows)

    def health(self, healths: Sequence[Health]) -> None:
        self.table(
            ("ENDPOINT", "HEALTH", "TOOK", "ERROR"),
            [
                (each.endpoint, _bool(each.ok), gofmt.duration(each.took_ns), each.error)
                for each in healths
            ],
        )


class ProtobufPrinter(Printer):
    """etcd's messages as they travel in gRPC."""

    name = "protobuf"

    def put(self, response: PutResponse) -> None:
        self.out.write(protobuf.put_response(response))

    def range(self, response: RangeResponse) -> None:
        self.out.write(protobuf.range_response(response))

    def delete(self, response: DeleteResponse) -> None:
        self.out.write(protobuf.delete_response(response))

    def txn(self, response: TxnResponse) -> None:
        inner = [_inner(each) for each in response.responses]
        self.out.write(protobuf.txn_response(response._replace(responses=inner)))

    def members(self, response: MemberListResponse) -> None:
        self.out.write(protobuf.member_list_response(response))

    def watch(self, response: "WatchResponse") -> None:
        self.out.write(protobuf.watch_response(response))

    def watch_canceled(self, header: ResponseHeader, compact_revision: int) -> None:
        nothing = header._replace(revision=0)
        self.out.write(protobuf.watch_canceled(nothing, compact_revision))


PRINTERS: dict[str, Callable[[BinaryIO, BinaryIO, bool], Printer]] = {
    printer.name: printer
    for printer in (SimplePrinter, FieldsPrinter, JsonPrinter, TablePrinter, ProtobufPrinter)
}
