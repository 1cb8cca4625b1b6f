"""Host names within URLs, as lists of domains are compared with them."""

from __future__ import annotations

from urllib.parse import urlsplit


def host(url: str) -> str:
    """The host of a URL: lower case, Unicode in its ASCII form (RFC 5891), no final dot.

    "" where there is none. What no name server would know is returned as it stands.
    """
    try:
        name = urlsplit(url.strip()).hostname or ""
    except ValueError:
        return ""
    name = name.rstrip(".")
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return name


def domains_above(name: str, registered: str = "") -> list[str]:
    """A host and the domains above it, longest first, down to `registered`."""
    labels = name.split(".")
    last = max(1, registered.count(".") + 1)
    return [".".join(labels[k:]) for k in range(len(labels) - last + 1)]
