"""Messages as JSON, the way etcd's JSON gateway writes and reads them.

Names are etcd's own in what is written; what is read may also have them in camel case. 64-bit
numbers are strings, bytes base64, fields that have their default are absent.
"""

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_BOOL = {True: True, False: False, "true": True, "false": False}


class JsonError(ValueError):
    """What was read is no JSON, or not that of the message."""


# -- writing


def to_json(message: Any) -> dict[str, Any]:
    """A message for `json.dumps`."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        write = _writer(field)
        found[field.name] = list(map(write, value)) if field.is_repeated else write(value)
    return found


def _writer(field: Any) -> Callable[[Any], Any]:
    if field.type == Field.TYPE_MESSAGE:
        return to_json
    if field.type == Field.TYPE_ENUM:
        names = field.enum_type.values_by_number
        return lambda value: names[value].name if value in names else value
    return _WRITERS.get(field.type, _same)


def _same(value: Any) -> Any:
    return value


_WRITERS: dict[int, Callable[[Any], Any]] = {
    Field.TYPE_BYTES: lambda value: b64encode(value).decode(),
    Field.TYPE_INT64: str,
    Field.TYPE_UINT64: str,
}


# -- reading


def read_all(body: bytes) -> Iterator[Any]:
    """The JSON values of a body, one after the other; an empty body is none.

    Raises:
        JsonError: something else is in it.
    """
    decoder = json.JSONDecoder()
    try:
        text = body.decode()
        at = _blanks(text, 0)
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            yield value
            at = _blanks(text, at)
    except (ValueError, RecursionError) as error:
        raise JsonError(f"invalid JSON: {error}") from error


def _blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def from_json(values: Any, message: Any) -> None:
    """Fill a message; names that it does not know are passed over.

    Raises:
        JsonError: a value that its field cannot have.
    """
    if not isinstance(values, dict):
        raise JsonError(f"json: cannot unmarshal {_kind(values)} into Go value of type object")
    fields = _fields(message.DESCRIPTOR)
    for name, value in values.items():
        field = fields.get(name)
        if field is None or value is None:
            continue
        if field.is_repeated:
            if not isinstance(value, list):
                raise JsonError(f"json: cannot unmarshal {_kind(value)} into Go value of type []")
            for each in value:
                _add(message, field, each)
        elif field.type == Field.TYPE_MESSAGE:
            inner = getattr(message, field.name)
            inner.SetInParent()
            from_json(value, inner)
        else:
            try:
                setattr(message, field.name, _scalar(field, value))
            except (ValueError, TypeError) as error:
                raise _refused(value, error) from error


@cache
def _fields(descriptor: Any) -> dict[str, Any]:
    camel = {field.json_name: field for field in descriptor.fields}
    return camel | {field.name: field for field in descriptor.fields}


def _add(message: Any, field: Any, value: Any) -> None:
    repeated = getattr(message, field.name)
    if field.type == Field.TYPE_MESSAGE:
        from_json(value, repeated.add())
        return
    try:
        repeated.append(_scalar(field, value))
    except (ValueError, TypeError) as error:
        raise _refused(value, error) from error


def _refused(value: Any, error: Exception) -> JsonError:
    if isinstance(error, JsonError):
        return error
    return JsonError(f"json: cannot unmarshal {_kind(value)}: {error}")


def _scalar(field: Any, value: Any) -> Any:
    kind = field.type
    if kind == Field.TYPE_BYTES:
        return _bytes(value)
    if kind == Field.TYPE_ENUM:
        named = field.enum_type.values_by_name.get(value) if isinstance(value, str) else None
        return int(value) if named is None else named.number
    if kind == Field.TYPE_BOOL:
        if not isinstance(value, bool | str) or value not in _BOOL:
            raise JsonError(f"json: cannot unmarshal {_kind(value)} into Go value of type bool")
        return _BOOL[value]
    if kind == Field.TYPE_STRING:
        return value
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise JsonError(f"json: cannot unmarshal {_kind(value)} into Go value of type int64")
    return int(value)


def _bytes(value: Any) -> bytes:
    """Of standard base64; the url-safe one is refused, as by Go."""
    if not isinstance(value, str):
        raise JsonError(f"json: cannot unmarshal {_kind(value)} into Go value of type []uint8")
    good = _BASE64.match(value)
    end = good.end() if good else 0
    try:
        if end == len(value):
            return b64decode(value, validate=True)
    except binascii.Error:
        pass  # its length is wrong: the end of it is where it is not base64
    raise JsonError(f"illegal base64 data at input byte {end}")


def _kind(value: Any) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")
