"""How Go writes and reads what etcdctl prints and takes: quoting, durations, numbers, sizes."""

import math
import os
import re

I64_MIN, I64_MAX = -(2**63), 2**63 - 1

_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r"}
_ESCAPES |= {ord('"'): '\\"', ord("\\"): "\\\\"}
_UNESCAPES = {text[1]: bytes([code]) for code, text in _ESCAPES.items()}
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", re.DOTALL
)
_UNIT_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9}
_UNIT_NS |= {"m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"(\d*)\.?(\d*)([^\d.]*)")
SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
SPACES += "".join(map(chr, range(0x2000, 0x200B)))
"""unicode.IsSpace; Python's own idea of white space has more."""
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


class GoError(ValueError):
    """A value that Go would not parse, in Go's words."""


def quote(data: bytes) -> str:
    """`%q` of a string."""
    quoted = []
    for char in data.decode("utf-8", "surrogateescape"):
        code = ord(char)
        if code in _ESCAPES:
            quoted.append(_ESCAPES[code])
        elif 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
            quoted.append(f"\\x{code - 0xDC00:02x}")
        elif char.isprintable():
            quoted.append(char)
        elif code < 0x80:
            quoted.append(f"\\x{code:02x}")
        else:
            quoted.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f'"{"".join(quoted)}"'


def backquote(data: bytes) -> str:
    """`%#q` of a string."""
    quoted = quote(data)
    return f"`{quoted[1:-1]}`" if quoted[1:-1].encode() == data and b"`" not in data else quoted


def quote_byte(byte: int) -> str:
    """`%q` of a byte, which Go takes for a character."""
    quoted = quote(chr(byte).encode())[1:-1]
    return {"'": "'\\''", '\\"': "'\"'"}.get(quoted, f"'{quoted}'")


def unquote(text: str) -> bytes:
    """strconv.Unquote of a string in double quotes or backquotes."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in '"`':
        raise GoError("invalid syntax")
    body = text[1:-1]
    if text[0] == "`":
        return os.fsencode(body)
    unquoted, position = b"", 0
    for escape in _ESCAPE.finditer(body):
        unquoted += os.fsencode(body[position : escape.start()]) + _unescape(escape)
        position = escape.end()
    return unquoted + os.fsencode(body[position:])


def _unescape(escape: re.Match[str]) -> bytes:
    byte, octal, short, long, letter = escape.groups()
    if byte or octal:
        code = int(byte, 16) if byte else int(octal, 8)
        if code > 0xFF:
            raise GoError("invalid syntax")
        return bytes([code])
    if short or long:
        code = int(short or long, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise GoError("invalid syntax")
        return chr(code).encode()
    if letter not in _UNESCAPES:
        raise GoError("invalid syntax")
    return _UNESCAPES[letter]


def parse_bool(text: str) -> bool:
    """strconv.ParseBool."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise GoError(f"strconv.ParseBool: parsing {quote(os.fsencode(text))}: invalid syntax")


def parse_int(text: str, base: int = 0) -> int:
    """strconv.ParseInt to 64 bits; base 0 takes 0x, 0o, 0b and a plain 0 for octal."""
    failure = f"strconv.ParseInt: parsing {quote(os.fsencode(text))}: "
    digits = text[1:] if text[:1] in ("+", "-") else text
    octal = base == 0 and len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_"
    try:
        if not digits or digits[0] in "+-_ " or not digits.isascii() or digits != digits.strip():
            raise ValueError
        if base and (not digits.isalnum() or digits[1:2] in ("x", "X")):
            raise ValueError  # only base 0 takes prefixes and underscores
        value = int(digits, 8 if octal else base)
    except ValueError:
        raise GoError(failure + "invalid syntax") from None
    value = -value if text[0] == "-" else value
    if not I64_MIN <= value <= I64_MAX:
        raise GoError(failure + "value out of range")
    return value


def parse_duration(text: str) -> float:
    """time.ParseDuration, in seconds."""
    quoted = f'"{text}"'  # as it is, in Go 1.16
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    if not rest:
        raise GoError(f"time: invalid duration {quoted}")
    total = 0
    while rest:
        match = _DURATION.match(rest)
        if match is None or not match[1] + match[2]:
            raise GoError(f"time: invalid duration {quoted}")
        whole, part, unit = match.groups()
        if not unit:
            raise GoError(f"time: missing unit in duration {quoted}")
        if unit not in _UNIT_NS:
            raise GoError(f'time: unknown unit "{unit}" in duration {quoted}')
        total += int(whole + part) * _UNIT_NS[unit] // 10 ** len(part)
        rest = rest[match.end() :]
    if total > I64_MAX:
        raise GoError(f"time: invalid duration {quoted}")
    return (-total if text[0] == "-" else total) / 1e9


def duration(ns: int) -> str:
    """time.Duration's String: `1.5ms`, `1m30s`."""
    if ns == 0:
        return "0s"
    if ns < 10**9:
        unit, scale = next(
            (u, s) for u, s in (("ns", 1), ("µs", 10**3), ("ms", 10**6)) if ns < s * 1000
        )
        return _decimal(ns, scale) + unit
    minutes, rest = divmod(ns, _UNIT_NS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if hours or minutes else ""
    return text + _decimal(rest, 10**9) + "s"


def _decimal(value: int, scale: int) -> str:
    whole, part = divmod(value, scale)
    if not part:
        return str(whole)
    return f"{whole}." + str(part).rjust(len(str(scale)) - 1, "0").rstrip("0")


def size(count: int) -> str:
    """humanize.Bytes: `25 kB`."""
    if count < 10:
        return f"{count} B"
    power = min(int(math.log(count, 1000)), len(_SIZES) - 1)
    value = math.floor(count / 1000**power * 10 + 0.5) / 10
    return f"{value:.0f} {_SIZES[power]}" if value >= 10 else f"{value:.1f} {_SIZES[power]}"


def strings_quoted(texts: list[str]) -> str:
    """`%q` of a slice: `["a" "b"]`."""
    return "[" + " ".join(quote(os.fsencode(text)) for text in texts) + "]"
