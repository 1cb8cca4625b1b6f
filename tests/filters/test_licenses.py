"""What licence fields mean, and which documents a policy drops."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import licenses
from filters.licenses import LicensePolicy, family, make_policy, normalise, reason
from storage.tables import DOCUMENTS


@pytest.mark.parametrize(
    ("text", "expression", "kind"),
    [
        ("MIT", "MIT", "permissive"),
        ("apache-2.0", "Apache-2.0", "permissive"),
        ("Apache License 2.0", "Apache-2.0", "permissive"),
        ("CC BY-SA 4.0", "CC-BY-SA-4.0", "share-alike"),
        ("cc-by-sa", "CC-BY-SA-4.0", "share-alike"),
        ("https://creativecommons.org/licenses/by/3.0/us/", "CC-BY-3.0", "permissive"),
        ("http://creativecommons.org/licenses/by-nc-nd/2.5/", "CC-BY-NC-ND-2.5", "no-derivatives"),
        ("CC BY-NC 4.0 International", "CC-BY-NC-4.0", "non-commercial"),
        ("creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0", "public-domain"),
        ("Public Domain", "LicenseRef-Public-Domain", "public-domain"),
        ("GPLv3", "GPL-3.0-only", "share-alike"),
        ("GNU GPL v2 or later", "GPL-2.0-or-later", "share-alike"),
        ("LGPL-2.1+", "LGPL-2.1-or-later", "share-alike"),
        ("mit or gpl-3.0-only", "MIT OR GPL-3.0-only", "permissive"),
        ("MIT AND GPL-3.0-only", "MIT AND GPL-3.0-only", "share-alike"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", None, "share-alike"),
        ('["mit", "cc-by-sa-3.0"]', "(MIT) AND (CC-BY-SA-3.0)", "share-alike"),
        ('["mit", "who knows"]', "", "unknown"),
        ("LicenseRef-house-rules", "LicenseRef-house-rules", "other"),
        ("MIT OR LicenseRef-house-rules", None, "permissive"),
        ("all rights reserved", "", "unknown"),
        ("", "", "unknown"),
        ("(" * 500 + "MIT" + ")" * 500, "", "unknown"),
    ],
)
def test_fields_are_brought_to_spdx(text: str, expression: str | None, kind: str) -> None:
    assert normalise(text) == (text if expression is None else expression)
    assert family(text) == kind
    assert normalise(normalise(text)) == normalise(text)


def policy(allow: list[str], deny: list[str], **drop: bool) -> LicensePolicy:
    drop = {"drop_unknown": False, "drop_reserved": False} | drop
    return make_policy(allow, deny, **drop)


@pytest.mark.parametrize(
    ("text", "allow", "deny", "expected"),
    [
        ("CC-BY-4.0", ["permissive"], [], ""),
        ("CC-BY-SA-4.0", ["permissive"], [], "license_not_allowed"),
        ("CC-BY-SA-4.0", [], ["CC-BY-SA-*"], "license_denied"),
        ("GPL-3.0-only OR MIT", [], ["share-alike"], ""),
        ("GPL-3.0-only AND MIT", [], ["share-alike"], "license_denied"),
        ("MIT", ["mit"], ["permissive"], "license_denied"),
        ("GPLv3", ["GPL-3.0"], [], ""),
        ("who knows", ["MIT"], [], ""),
        ("who knows", ["MIT"], ["unknown"], "license_unknown"),
    ],
)
def test_deny_wins_and_an_or_may_choose(
    text: str, allow: list[str], deny: list[str], expected: str
) -> None:
    assert reason(text, policy(allow, deny)) == expected


def test_a_pattern_that_can_match_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="'CC-BY-SB-4.0' is no SPDX id and no family"):
        policy(["CC-BY-SB-4.0"], [])


def test_reservations_of_publishers() -> None:
    meta = [
        [],
        [("tdm-reservation", "1")],
        [("tdm-reservation", "0")],
        [("x-robots-tag", "noindex, NoAI")],
        [("x-robots-tag", "noindex")],
        [("robots", "googlebot: notrain")],
        [("x-robots-tag", "nonoai")],
    ]
    column = pa.array(meta, DOCUMENTS.field("meta").type)
    assert licenses.reserved(column).tolist() == [False, True, False, True, False, True, False]
    batch = pa.record_batch({"license": pa.array(["", "MIT"] * 3 + [""]), "meta": column})
    found = licenses.reasons(batch, policy([], ["MIT"], drop_reserved=True))
    denied, reserved = "license_denied", "rights_reserved"
    assert found == ["", denied, "", denied, "", denied, ""]
    found = licenses.reasons(batch, policy([], [], drop_reserved=True))
    assert found == ["", reserved, "", reserved, "", reserved, ""]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.text("()ANDORWITHmit -.1", max_size=60))
def test_any_text_is_a_licence_or_unknown(text: str) -> None:
    assert family(text) in licenses.FAMILIES
    assert (family(text) == "unknown") == (normalise(text) == "")
    assert reason(text, policy([], ["unknown"])) in ("", "license_unknown")
