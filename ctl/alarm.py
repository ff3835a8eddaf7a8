"""`alarm list` and `alarm disarm`."""

from ..client.alarm_calls import AlarmResponse
from . import protobuf
from .commands import Run, bad_arguments
from .printers import (
    FieldsPrinter,
    JsonPrinter,
    Printer,
    ProtobufPrinter,
    SimplePrinter,
    _json_header,
    describe_alarm,
)


def listed(run: Run) -> None:
    """`alarm list`."""
    if run.args:
        bad_arguments("alarm list command accepts no arguments")
    printer = run.printer()
    with run.client() as client:
        response = client.alarm_list()
    _show(printer, response, with_header=True)


def disarm(run: Run) -> None:
    """`alarm disarm`."""
    if run.args:
        bad_arguments("alarm disarm command accepts no arguments")
    printer = run.printer()
    with run.client() as client:
        response = client.alarm_disarm()
    _show(printer, response, with_header=False)


def _show(printer: Printer, response: AlarmResponse, *, with_header: bool) -> None:
    """Print alarms. What etcd's client collects when it disarms has no header."""
    alarms = response.alarms
    if isinstance(printer, SimplePrinter):
        for alarm in alarms:
            printer.line(describe_alarm(alarm))
    elif isinstance(printer, FieldsPrinter):
        printer._header(response.header)
        for alarm in alarms:
            printer._field("MemberID", alarm.member_id)
            printer._field("AlarmType", alarm.name)
            printer.line("")
    elif isinstance(printer, JsonPrinter):
        header = {"header": _json_header(response.header)} if with_header else {}
        found = [{"memberID": alarm.member_id, "alarm": alarm.alarm} for alarm in alarms]
        printer._json(header | ({"alarms": found} if found else {}))
    elif isinstance(printer, ProtobufPrinter):
        printer.out.write(protobuf.alarm_response(response, with_header=with_header))
    else:
        printer._none()
