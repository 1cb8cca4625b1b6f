"""URLs as they are compared: two spellings of one address become one key.

Safe normalisations of RFC 3986 (6.2.2: case, percent-encoding, dot segments; 6.2.3: default port,
empty path), and those that archives of the web add (SURT, as in IIPC's url canonicalisers): the
scheme, `www.`, fragments, user names, session ids and tracking parameters do not count, and the
order of parameters does not.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

VERSION = 1
TRACKING = re.compile(
    r"utm_[a-z]+|fbclid|gclid|dclid|gbraid|wbraid|msclkid|yclid|mc_[ce]id|igshid|_ga|_gl|"
    r"jsessionid|phpsessid|sid|sessionid|aspsessionid[a-z]*",
    re.IGNORECASE,
)
_SESSION_PATH = re.compile(r";jsessionid=[^/?]*", re.IGNORECASE)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_WWW = re.compile(r"www\d{0,2}\.")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def normalise(url: str) -> str:
    """The key of a URL, as in `example.org/a?b=1`; text that is no URL is its own key, stripped."""
    text = url.strip()
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    if not parts.netloc:
        return text
    path = _without_dots(_escapes(_SESSION_PATH.sub("", parts.path)))
    query = "&".join(sorted(one for one in parts.query.split("&") if one and not _tracks(one)))
    return _host(parts) + (path or "/") + (f"?{_escapes(query)}" if query else "")


def url_hashes(urls: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """xxh3-128 of each key, uint64[urls, 2] as (high, low)."""
    digests = b"".join(
        xxhash.xxh3_128_digest(normalise(url or "").encode("utf-8", "surrogatepass"))
        for url in urls.to_pylist()
    )
    return np.frombuffer(digests, ">u8").reshape(-1, 2).astype(np.uint64)


def _host(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2].lower()
    host = host.removesuffix(_DEFAULT_PORTS.get(parts.scheme.lower(), "\n")).removesuffix(":")
    host = host.rstrip(".")
    shorter = _WWW.sub("", host, count=1) if _WWW.match(host) else host
    return shorter if "." in shorter else host


def _tracks(parameter: str) -> bool:
    return TRACKING.fullmatch(parameter.partition("=")[0]) is not None


def _escapes(text: str) -> str:
    """Escapes in upper case; those of characters that need none are undone."""

    def plain(match: re.Match[str]) -> str:
        byte = int(match[1], 16)
        return chr(byte) if byte in _UNRESERVED else f"%{match[1].upper()}"

    return _ESCAPE.sub(plain, text)


def _without_dots(path: str) -> str:
    """`/a/./b/../c` is `/a/c`."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)
