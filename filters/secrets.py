"""Keys and tokens: what grants access to something, by the fixed forms that issuers give them.

A secret is one of
- a form that its issuer has published, such as AKIA... (AWS) or ghp_... (GitHub);
- a JSON Web Token (RFC 7519), three base64url parts of which the first two are JSON objects;
- a private key between its PEM lines (RFC 7468);
- a password within a URL (RFC 3986, 3.2.1);
- a random value that is assigned to a name such as `api_key`: at least 20 characters with letters
  and digits and an entropy of 3.3 bits a character (16 hexadecimal digits have at most 4 bits, a
  sentence in snake case about 3). Passwords that people make up are shorter and are not found.

Hashes, UUIDs and identifiers without such a name are none: hexadecimal text of 32, 40 or 64 digits
is a checksum or a commit far more often than a key.
"""

from __future__ import annotations

import math
import re
from collections import Counter

MAX_KEY_BYTES = 16 << 10
"""Of a private key: one of 8,192 bits has 6.5 kB."""
MIN_ENTROPY = 3.3

_B = rb"(?<![A-Za-z0-9])"
_E = rb"(?![A-Za-z0-9_-])"
_FORMS = re.compile(
    _B
    + rb"(?:"
    + rb"|".join(
        (
            rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # AWS access key id
            rb"gh[pousr]_[A-Za-z0-9]{36,251}",  # GitHub
            rb"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
            rb"glpat-[A-Za-z0-9_-]{20,50}",  # GitLab
            rb"AIza[A-Za-z0-9_-]{35}",  # Google
            rb"GOCSPX-[A-Za-z0-9_-]{28}",
            rb"ya29\.[A-Za-z0-9_-]{20,200}",
            rb"xox[abeoprs]-[A-Za-z0-9-]{20,200}",  # Slack
            rb"xapp-\d-[A-Za-z0-9-]{20,200}",
            rb"[sr]k_(?:live|test)_[A-Za-z0-9]{20,247}",  # Stripe
            rb"whsec_[A-Za-z0-9]{32,64}",
            rb"sk-ant-[A-Za-z0-9_-]{24,200}",  # Anthropic
            rb"sk-(?:proj-)?[A-Za-z0-9_-]{40,200}",  # OpenAI
            rb"hf_[A-Za-z0-9]{34,40}",  # Hugging Face
            rb"npm_[A-Za-z0-9]{36}",
            rb"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,250}",
            rb"dckr_pat_[A-Za-z0-9_-]{27}",  # Docker
            rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",  # SendGrid
            rb"key-[0-9a-f]{32}",  # Mailgun
            rb"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",  # Shopify
            rb"dop_v1_[0-9a-f]{64}",  # DigitalOcean
            rb"(?:EAAC|EAAG|EAAE)[A-Za-z0-9]{60,250}",  # Facebook
            rb"SK[0-9a-f]{32}",  # Twilio
            rb"hv[sb]\.[A-Za-z0-9_-]{24,200}",  # Vault
            rb"AGE-SECRET-KEY-1[0-9A-Z]{58}",
        )
    )
    + rb")"
    + _E
)
_JWT = re.compile(
    _B + rb"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{5,4000}\.[A-Za-z0-9_-]{10,2000}" + _E
)
_NAMED = re.compile(
    rb"(?i)(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|auth[_-]?key"
    rb"|private[_-]?key|signing[_-]?key|encryption[_-]?key|client[_-]?key|credentials?)"
    rb"[\w-]{0,20}[\"']?\s{0,3}(?:=>|:=|=|:)\s{0,3}[\"']?"
    rb"([A-Za-z0-9_\-./+=]{20,512})(?![A-Za-z0-9_\-./+])"
)
MAX_NAME_BYTES = 64
"""Before a token, where the name that it is assigned to may stand."""
_PASSWORD_IN_URL = re.compile(rb"[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,64}:([^\s/@]{3,64})@$")
_KEY_BEGINS = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS = re.compile(rb"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_IDENTIFIER = re.compile(rb"[a-z_.-]+\d{0,2}")
_LETTER, _DIGIT = re.compile(rb"[A-Za-z]"), re.compile(rb"\d")
_PLACEHOLDER = re.compile(rb"(?i)example|x{6}|your[_-]|placeholder|changeme|0{8}|12345678|abcdefgh")


def find(text: bytes, token_start: int) -> list[tuple[int, int]]:
    """Secrets in text[token_start:], sorted; what stands before is only looked at for a name."""
    found = [
        match.span()
        for form in (_FORMS, _JWT)
        for match in form.finditer(text, token_start)
        if b"EXAMPLE" not in match[0]
    ]
    for match in _NAMED.finditer(text):
        start, end = match.span(1)
        if start >= token_start and _is_random(match[1]):
            found.append((start, end))
    return sorted(found)


def password_span(text: bytes) -> tuple[int, int] | None:
    """The password in a text that ends with `scheme://user:password@`."""
    match = _PASSWORD_IN_URL.search(text)
    if match is None or match[1].startswith((b"<", b"{", b"$", b"[", b"%", b"*")):
        return None
    return match.span(1)


def private_keys(text: bytes) -> list[tuple[int, int]]:
    """PEM private keys. One without an end within MAX_KEY_BYTES ends at its first empty line."""
    found: list[tuple[int, int]] = []
    at = 0
    while (begin := _KEY_BEGINS.search(text, at)) is not None:
        limit = begin.end() + MAX_KEY_BYTES
        end = _KEY_ENDS.search(text, begin.end(), limit)
        if end is not None:
            at = end.end()
        else:
            blank = text.find(b"\n\n", begin.end(), limit)
            at = blank if blank > 0 else min(limit, len(text))
        found.append((begin.start(), at))
    return found


def _is_random(value: bytes) -> bool:
    if not (_LETTER.search(value) and _DIGIT.search(value)):
        return False
    if _PLACEHOLDER.search(value) or _IDENTIFIER.fullmatch(value):
        return False
    return _entropy(value) >= MIN_ENTROPY


def _entropy(value: bytes) -> float:
    """Bits per character of the characters' own frequencies (Shannon 1948)."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())
