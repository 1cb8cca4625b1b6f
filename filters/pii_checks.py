"""Whether a candidate is personal data: the exact checks, on a few bytes of Python each.

email    RFC 5321 without quoting or other scripts than Latin, in a domain that somebody can
         have registered (so no icon@2x.png); not the reserved names of RFC 2606 (example.com),
         not the `git@` of repository addresses
ipv4     public addresses only; not a version number: a digit in each place is a numbered
         section or a public resolver far more often than somebody's address
ipv6     public addresses only (RFC 4291, IANA registries as Python's ipaddress has them)
iban     the length of its country (ISO 13616) and a remainder of 1 modulo 97
card     the prefix and length of an issuer (ISO/IEC 7812), Luhn's check digit, and the usual
         groups of four or none
phone    +country code with 8 to 15 digits (E.164); the forms of North America with brackets,
         hyphens or dots; numbers with a trunk 0 in the groups usual in Europe and Japan; any
         other 7 to 15 digits after a word such as `tel` or `call`
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import NamedTuple

from filters import secrets
from filters.pii_scan import EMAIL, IBAN, IPV4, IPV6, NUMBER, TOKEN
from filters.public_suffix import registered_domain

KINDS = ("email", "ipv4", "ipv6", "phone", "iban", "card", "secret")


class Span(NamedTuple):
    """Bytes start to end of a text."""

    start: int
    end: int
    kind: str


def check(text: memoryview, start: int, end: int, shape: int) -> list[Span]:
    """The personal data within a candidate, text[start:end]."""
    return _CHECKS[shape](text, start, end)


_EMAIL = re.compile(
    rb"[A-Za-z0-9_+][A-Za-z0-9._%+'-]{0,63}@"
    rb"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}"
    rb"(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,50})"
)
_RESERVED = frozenset(("example.com", "example.net", "example.org", "example.edu"))
_REPOSITORY_USERS = (b"git", b"hg", b"svn")
_MAX_PASSWORD_BYTES = 128


def _email(text: memoryview, start: int, end: int) -> list[Span]:
    window = bytes(text[start:end])
    at = window.index(b"@")
    base = max(0, start + at - _MAX_PASSWORD_BYTES)
    before = bytes(text[base : start + at + 1])
    password = secrets.password_span(before)
    if password is not None:
        return [Span(base + password[0], base + password[1], "secret")]
    quotes = len(window) - len(window.lstrip(b"'.-%"))
    match = _EMAIL.match(window, min(quotes, at))
    if match is None or before[: -at - 1].endswith(b"//"):
        return []
    name, _, domain = match[0].partition(b"@")
    registered = registered_domain(domain.decode("ascii").lower())
    if not registered or registered in _RESERVED or name in _REPOSITORY_USERS:
        return []
    return [Span(start + match.start(), start + match.end(), "email")]


def _ipv4(text: memoryview, start: int, end: int) -> list[Span]:
    value = bytes(text[start:end])
    parts = value.split(b".")
    if any(len(part) > 1 and part[:1] == b"0" for part in parts) or len(value) == 7:
        return []
    before = bytes(text[max(0, start - 12) : start]).lower()
    if re.search(
        rb"(?:version|release|build|ver\.?|v\.?|rev\.?|section|chapter|\xc2\xa7)\W{0,2}$", before
    ):
        return []
    return [Span(start, end, "ipv4")] if _is_public(value) else []


def _ipv6(text: memoryview, start: int, end: int) -> list[Span]:
    value = bytes(text[start:end]).rstrip(b".")
    if value.endswith(b":") and not value.endswith(b"::"):
        value = value[:-1]
    digits = sum(byte not in b":." for byte in value)
    if digits < 4 or not _is_public(value):
        return []
    return [Span(start, start + len(value), "ipv6")]


def _is_public(value: bytes) -> bool:
    try:
        address = ipaddress.ip_address(value.decode("ascii"))
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


# Lengths from the registry of ISO 13616, release 99.
_IBAN_BYTES = {
    country.encode(): size
    for size, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH CR HR LI LV",
        22: "BG BH DE GB GE IE ME RS",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ DJ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI FR GR IT MC SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}


def _iban(text: memoryview, start: int, end: int) -> list[Span]:
    size = _IBAN_BYTES.get(bytes(text[start : start + 2]))
    if size is None:
        return []
    digits = bytearray()
    at = start
    while at < end and len(digits) < size:
        if text[at] != 0x20:
            digits.append(text[at])
        elif (len(digits) % 4) or text[at - 1] == 0x20:
            return []
        at += 1
    following = bytes(text[at : at + 1])
    if len(digits) < size or following.isalnum():
        return []
    moved = digits[4:] + digits[:4]
    number = int("".join(str(int(chr(byte), 36)) for byte in moved))
    return [Span(start, at, "iban")] if number % 97 == 1 else []


def _token(text: memoryview, start: int, end: int) -> list[Span]:
    base = max(0, start - secrets.MAX_NAME_BYTES)
    found = secrets.find(bytes(text[base:end]), start - base)
    return [Span(base + first, base + last, "secret") for first, last in found]


_CARD = re.compile(
    rb"(?<![\d.])(?:\d{4}([ -]?)\d{4}\1\d{4}\1\d{1,4}(?:\1\d{3})?|\d{4}([ -]?)\d{6}\2\d{4,5})(?!\d)"
)
_ISSUERS = re.compile(
    rb"(?:4(?:\d{12}|\d{15}|\d{18})"  # Visa
    rb"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    rb"|3[47]\d{13}"  # American Express
    rb"|(?:6011|65\d\d|64[4-9]\d)\d{12}"  # Discover
    rb"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    rb"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    rb"|62\d{14}(?:\d{3})?)"  # UnionPay
)
_IN_A_WORD = re.compile(rb"[A-Za-z0-9_/=#&?%.\-]$")


def _number(text: memoryview, start: int, end: int) -> list[Span]:
    value = bytes(text[start:end])
    before = bytes(text[max(0, start - 40) : start])
    after = bytes(text[end : end + 2])
    if _IN_A_WORD.search(before) or _goes_on(after):
        return []
    if len(_DIGIT.findall(value)) >= 13:
        for match in _CARD.finditer(value):
            digits = match[0].replace(b" ", b"").replace(b"-", b"")
            if _ISSUERS.fullmatch(digits) and _luhn(digits):
                return [Span(start + match.start(), start + match.end(), "card")]
    return list(_phones(value, before, start))


def _goes_on(after: bytes) -> bool:
    """Whether a number is part of a word, a path or a decimal number."""
    first, second = after[:1], after[1:2]
    return first.isalpha() or first in (b"_", b"%", b"=") or (first in b"-.," and second.isdigit())


def _luhn(digits: bytes) -> bool:
    """Whether the check digit fits: every second digit from the right is doubled (Luhn 1960)."""
    values = [byte - 48 for byte in reversed(digits)]
    doubled = sum(_DOUBLED[value] for value in values[1::2])
    return (sum(values[0::2]) + doubled) % 10 == 0


_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


# Country codes of one and two digits; all others have three (ITU E.164, 2016).
_COUNTRY = re.compile(
    rb"(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    rb"|2[1-689]\d|3[578]\d|42\d|5[09]\d|6[789]\d|8[0578]\d|9[679]\d)\d"
)
_INTERNATIONAL = re.compile(rb"\(?\+\d{1,3}\)?(?:[ .()/-]{0,2}\d{1,11}){1,6}")
_LOCAL = re.compile(
    rb"(?<!\d)(?<!\d[.\-/])(?:"
    rb"(?:1[ .-])?(?:\([2-9]\d\d\)[ -]?|[2-9]\d\d-|[2-9]\d\d\.)[2-9]\d\d[.-]\d{4}"  # North America
    rb"|0[1-9](?:([ .-])\d\d)(?:\1\d\d){3}"  # France, Belgium
    rb"|\(0\d{1,5}\) ?\d{3,4}[ -]?\d{3,4}"  # Britain, Germany
    rb"|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,4}"
    rb"|0\d\d \d{3} \d\d \d\d"  # Switzerland
    rb"|07\d{3} ?\d{3} ?\d{3}"  # mobile in Britain
    rb"|0[1-9]-\d{4}-\d{4}"  # Japan, Korea
    rb")(?!\d|[ .\-/]\d)"
)
_PHONE_WORD = re.compile(
    rb"(?i)(?<![a-z])(?:telephone|telefon\w{0,2}|tel\xc3\xa9fono|t\xc3\xa9l(?:\xc3\xa9phone)?|tel|phones?|fax|mobile?|mob|cell|cellphone"
    rb"|hotline|call|dial|text|sms|whatsapp|handy|m\xc3\xb3vil|celular|portable"
    rb"|\xd1\x82\xd0\xb5\xd0\xbb(?:\xd0\xb5\xd1\x84\xd0\xbe\xd0\xbd)?"  # Russian
    rb"|\xe7\x94\xb5\xe8\xaf\x9d|\xe9\x9b\xbb\xe8\xa9\xb1|\xe6\x89\x8b\xe6\x9c\xba"  # Chinese
    rb"|\xd9\x87\xd8\xa7\xd8\xaa\xd9\x81"  # Arabic
    rb"|\xe2\x98\x8e|\xe2\x98\x8f|\xf0\x9f\x93\x9e)"
    rb"[\s.:#()\-/\xef\xbc\x9a]{0,4}"
    rb"(?:(?:no|num|number|us|me|her|him|at|on|is|now|toll|free|office|work|home)[\s.:)]{1,3}){0,3}$"
)
_NO_PHONE = re.compile(
    rb"(?i)(?:isbn|issn|doi|arxiv|pmid|patent|no\.|#|\xe2\x84\x96|[$\x80-\xff])[\s:\-]{0,3}$"
)
_PIECE = re.compile(rb"(?:(?!\. |  )[\d .()/+-])+")
"""Up to the end of a sentence or a column."""
_DIGIT = re.compile(rb"\d")
_DATE = re.compile(
    rb"(?:1\d|20)\d\d[-/.](?:[01]?\d[-/.][0-3]?\d|1\d\d\d|20\d\d)|[0-3]?\d[-/.][0-3]?\d[-/.](?:1\d|20)\d\d"
)


def _phones(value: bytes, before: bytes, start: int) -> Iterator[Span]:
    """Phone numbers in digits and separators, after the bytes `before`."""
    for piece in _PIECE.finditer(value):
        context = before + value[: piece.start()]
        yield from _phone(piece[0], context[-len(before) :], start + piece.start())


def _phone(value: bytes, before: bytes, start: int) -> Iterator[Span]:
    value = value.rstrip(b" .-()/")
    if value[:1] == b"(" and b")" not in value:
        value, start = value[1:], start + 1
    digits = b"".join(_DIGIT.findall(value))
    num_digits = len(digits)
    if len(set(digits)) < 2:
        return
    whole = Span(start, start + len(value), "phone")
    if b"+" in value[:2]:
        if 8 <= num_digits <= 15 and _COUNTRY.match(digits) and _INTERNATIONAL.fullmatch(value):
            yield whole
    elif 7 <= num_digits <= 15 and _PHONE_WORD.search(before) and not _DATE.match(value):
        yield whole
    elif num_digits >= 9 and not _NO_PHONE.search(before):
        for match in _LOCAL.finditer(value):
            yield Span(start + match.start(), start + match.end(), "phone")


_CHECKS = {
    EMAIL: _email,
    TOKEN: _token,
    IPV4: _ipv4,
    IPV6: _ipv6,
    NUMBER: _number,
    IBAN: _iban,
}
