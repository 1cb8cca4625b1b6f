"""From bytes to valid UTF-8 text, and honest about what it had to repair.

Order for unknown bytes: byte order mark, UTF-8, the declared charset, detection (resiliparse's
uchardet), windows-1252. UTF-8 goes before the declaration because long valid UTF-8 is hardly ever
anything else, while wrong declarations are common. Whatever cannot be decoded becomes U+FFFD.
"""

from __future__ import annotations

import codecs

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

REPLACEMENT = "\ufffd"
# uchardet's guess changes little after this many bytes; text/plain has no declarations to find.
DETECT_BYTES = 256 << 10
# With fewer bytes above ASCII, detection of single-byte encodings is a guess (an accent in a name).
MIN_DETECT_BYTES = 16
_HIGH = bytes(range(0x80, 0x100))
_MULTI_BYTE = ("gb18030", "gbk", "big5", "euc_jp", "euc_kr", "shift_jis")
BINARY_PROBE_BYTES = 8_000
BINARY_CONTROL_FRACTION = 0.01
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n\v\f\r\x1b\x1a"})
# Multi-byte characters that must have decoded for each broken one, for text to count as UTF-8 with
# damage rather than as another encoding.
UTF8_MIN_GOOD_PER_BAD = 4
# Valid UTF-8 by accident: all their bytes are ASCII.
_SEVEN_BIT = ("iso2022_jp",)
# UTF-32 LE first: its mark begins with the UTF-16 LE one.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def repair(text: str) -> str:
    """Replace lone surrogates (`"\\ud800"` in JSON) by U+FFFD; surrogate pairs are joined."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def num_repaired(text: str, original: bytes) -> int:
    """How many U+FFFD of `text` were not in its UTF-8 `original` already."""
    return max(0, text.count(REPLACEMENT) - original.count(REPLACEMENT.encode()))


def decode_utf8(data: bytes) -> tuple[str, int]:
    """(text, number of replaced sequences) of bytes that should be UTF-8."""
    try:
        return data.decode(), 0
    except UnicodeDecodeError:
        text = data.decode(errors="replace")
        return text, num_repaired(text, data)


def decode(data: bytes, declared: str = "") -> tuple[str, str, int]:
    """(text, encoding, number of replaced sequences) of bytes in an unknown encoding.

    `declared` is a charset label as found in a header; unknown labels are ignored.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decode_as(data[len(mark) :], encoding)
    codec = python_codec(declared)
    if codec in _SEVEN_BIT and b"\x1b" in data:
        return _decode_as(data, codec)
    text, num_replaced = decode_utf8(data)
    if num_replaced * UTF8_MIN_GOOD_PER_BAD <= len(data) - len(text):
        return text, "utf-8", num_replaced
    return _decode_as(data, _legacy_codec(data, codec))


def _legacy_codec(data: bytes, declared: str) -> str:
    if declared not in ("", "utf-8"):
        return declared
    detected = python_codec(detect_encoding(data, DETECT_BYTES) or "")
    if detected in ("", "utf-8"):
        return "cp1252"
    num_high = len(data) - len(data.translate(None, _HIGH))
    is_guess = num_high < MIN_DETECT_BYTES and detected not in _MULTI_BYTE
    return "cp1252" if is_guess else detected


def python_codec(label: str) -> str:
    """The Python codec for a charset label, read as browsers do (latin-1 means cp1252)."""
    name = map_encoding_to_html5(label, False) if label else ""
    try:
        return codecs.lookup(name).name if name else ""
    except LookupError:
        return ""


def looks_binary(data: bytes) -> bool:
    """Whether more than 1 % of the first 8,000 bytes are control characters (no UTF-16 mark)."""
    head = data[:BINARY_PROBE_BYTES]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    num_controls = len(head) - len(head.translate(None, _CONTROLS))
    return num_controls > BINARY_CONTROL_FRACTION * len(head)


def _decode_as(data: bytes, encoding: str) -> tuple[str, str, int]:
    text = data.decode(encoding, "replace")
    return text, encoding, text.count(REPLACEMENT)
