"""`member add`, `remove`, `update` and `promote`, and `move-leader`."""

import re
from collections.abc import Callable
from typing import Any

from ..client import Client
from ..client.member_calls import MemberAddResponse, MemberChangeResponse
from ..client.types import Member, MemberListResponse, ResponseHeader
from . import gofmt, protobuf
from .commands import CommandError, Run, bad_arguments
from .flags import bool_flag, string_flag
from .printers import JsonPrinter, Printer, ProtobufPrinter, SimplePrinter, _json_header, _present

_PEER_URLS = "peer-urls"
ADD_FLAGS = (
    string_flag(_PEER_URLS, "comma separated peer URLs for the new member"),
    bool_flag("learner", "it does not vote until it is promoted"),
    bool_flag("auto-promote", "promote the learner when it is in sync"),
)
UPDATE_FLAGS = (string_flag(_PEER_URLS, "comma separated peer URLs for the updated member"),)


def member_id(text: str) -> int:
    """An id in hexadecimal; raises ValueError with Go's words."""
    if not re.fullmatch("[0-9a-fA-F]+", text):
        raise ValueError(f"strconv.ParseUint: parsing {gofmt.quote(text.encode())}: invalid syntax")
    if int(text, 16) >= 2**64:
        shown = gofmt.quote(text.encode())
        raise ValueError(f"strconv.ParseUint: parsing {shown}: value out of range")
    return int(text, 16)


def _only_id(run: Run) -> int:
    if len(run.args) != 1:
        bad_arguments("member ID is not provided")
    try:
        return member_id(run.args[0])
    except ValueError as error:
        bad_arguments(f"bad member ID arg ({error}), expecting ID in Hex")


def _peer_urls(run: Run) -> list[str]:
    if not run.flags[_PEER_URLS]:
        bad_arguments("member peer urls not provided")
    return str(run.flags[_PEER_URLS]).split(",")


def add(run: Run) -> None:
    """`member add`."""
    if not run.args:
        bad_arguments("member name not provided")
    if len(run.args) > 1:
        urls = [arg for arg in run.args if arg.lower().startswith("http")]
        meant = "".join(f", did you mean --peer-urls={url}" for url in urls)
        bad_arguments("too many arguments" + meant)
    peers = _peer_urls(run)
    printer = run.printer()
    learner = run.flags["learner"] or run.flags["auto-promote"]
    with run.client() as client:
        response = client.member_add(peers, learner=learner, auto_promote=run.flags["auto-promote"])
    _show_added(printer, response, run.args[0])


def _show_added(printer: Printer, response: MemberAddResponse, name: str) -> None:
    header, member, members = response
    if isinstance(printer, SimplePrinter):
        printer.line(f"Member {member.id:16x} added to cluster {header.cluster_id:16x}")
        printer.line("")
        printer.line("# Of the new member's cluster file, beside the tables of all other members:")
        printer.line("[[members]]")
        printer.line(f'name = "{name}"')
        printer.line('client = "HOST:PORT"')
        printer.line(f'peer = "{member.peer_urls[0]}"')
        printer.line("")
        printer.line("# Then, on its machine, with an empty data dir:")
        printer.line(f"# sampan node --config FILE --name {name} --initial-cluster-state existing")
    elif isinstance(printer, JsonPrinter):
        printer._json({
            "header": _json_header(header),
            "member": _json_member(member),
            "members": [_json_member(each) for each in members],
        })  # fmt: skip
    elif isinstance(printer, ProtobufPrinter):
        printer.out.write(protobuf.member_add_response(response))
    else:
        printer._none()


def _json_member(member: Member) -> dict[str, Any]:
    return _present(
        ID=member.id,
        name=member.name,
        peerURLs=member.peer_urls,
        clientURLs=member.client_urls,
        isLearner=member.is_learner,
    )


def remove(run: Run) -> None:
    """`member remove`."""
    target = _only_id(run)
    _change(run, target, "removed from", lambda client: client.member_remove(target))


def update(run: Run) -> None:
    """`member update`."""
    target = _only_id(run)
    peers = _peer_urls(run)
    _change(run, target, "updated in", lambda client: client.member_update(target, peers))


def promote(run: Run) -> None:
    """`member promote`."""
    target = _only_id(run)
    _change(run, target, "promoted in", lambda client: client.member_promote(target))


def _change(
    run: Run, target: int, what: str, call: Callable[[Client], MemberChangeResponse]
) -> None:
    printer = run.printer()
    with run.client() as client:
        response = call(client)
    if isinstance(printer, SimplePrinter):
        cluster = response.header.cluster_id
        printer.line(f"Member {target:16x} {what} cluster {cluster:16x}")
    elif isinstance(printer, JsonPrinter | ProtobufPrinter):
        printer.members(MemberListResponse(response.header, response.members))
    else:
        printer._none()


def move_leader(run: Run) -> None:
    """`move-leader`."""
    if len(run.args) != 1:
        bad_arguments("move-leader command needs 1 argument")
    try:
        target = member_id(run.args[0])
    except ValueError as error:
        bad_arguments(str(error))
    printer = run.printer()
    with run.client() as client:
        endpoint, leader = _leading(client, run.flags["endpoints"])
        header = client.move_leader(target, endpoint).header
    _show_moved(printer, header, f"Leadership transferred from {leader:x} to {target:x}")


def _leading(client: Client, endpoints: list[str]) -> tuple[str, int]:
    for endpoint in endpoints:
        status = client.status(endpoint)
        if status.fields.get("leader") == status.header.member_id:
            return endpoint, status.header.member_id
    raise CommandError(f"no leader endpoint given at [{' '.join(endpoints)}]", 128)


def _show_moved(printer: Printer, header: ResponseHeader, text: str) -> None:
    if isinstance(printer, SimplePrinter):
        printer.line(text)
    elif isinstance(printer, JsonPrinter):
        printer._json({})
    elif not isinstance(printer, ProtobufPrinter):  # whose response is empty
        printer._none()
