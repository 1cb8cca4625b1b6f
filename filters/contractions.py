"""English words that the general rules of segment.py would split wrong.

Contractions are two or three words ("don't" is do + n't, also typed as "dont"), abbreviations keep
their period. The inventory follows the tokens of spaCy's blank English pipeline (v3), which the
published thresholds of Gopher's and FineWeb's rules were applied to, so that counts agree with it.

A table entry is an exact string and a bit mask: bit k is set where a word ends after k characters.
Each apostrophe may also be U+2019.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from filters.bits import hash_of

MAX_BYTES = 20
"""No entry is longer; longer strings are never looked up."""
MAX_LETTERS = 10
"""No entry of ASCII letters alone is longer."""

_list = str.split

_PRONOUNS = ("i", "you", "he", "she", "it", "we", "they")
_QUESTIONS = ("who", "what", "when", "where", "why", "how", "there", "that", "this")
_PLURALS = ("these", "those")
_MODALS = ("could", "might", "must", "should", "would")
_NEGATED = ("ca", "could", "do", "does", "did", "had", "may", "might", "must", "need", "ought")
_NEGATED += ("sha", "should", "wo", "would")
_NEGATED_SHORT = ("ai", "are", "is", "was", "were", "have", "has", "dare")
_WORDS_OF_THEIR_OWN = frozenset(_list("ill its hell shell shed were well whore"))
_SPLITS = _list("y'|all y|all how|'d|'y not|'ve not|ve can|not gon|na got|ta let|'s c'm|on")
_KEPT_CASELESS = _list(
    "doin' goin' nothin' nuthin' ol' somethin' lovin' havin' ma'am o'clock co. e.g. i.e."
)
_KEPT = _list(
    "' '' '' 'em 'll 'nuff 's 'S \u2018s \u2018S 're 'd 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz "
    "'Cuz 'bout and/or w/o C++ E.G. I.E. a.m. p.m. Adm. Bros. Corp. D.C. Dr. Gen. Gov. Inc. Jr. "
    "Ltd. Md. Messrs. Mo. Mont. Mr. Mrs. Ms. Mt. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s. "
    "Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. Conn. Dec. Del. Feb. Fla. Ga. Ia. Id. Ill. Ind. "
    "Jan. Jul. Jun. Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D. N.H. N.J. N.M. N.Y. "
    "Neb. Nebr. Nev. Nov. Okla. Ore. Pa. S.C. Sep. Sept. Tenn. Va. Wash. Wis. Oct."
)
_EMOTICONS = _list(
    ":) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-) "
    "(; (-; :( :-( :(( :-(( :((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| ]= =[ "
    ":1 :P :-P :p :-p :O :-O :o :-o :0 :-0 :() >:o :* :-* :3 :-3 =3 :> :-> :X :-X :x :-x :D :-D ;D "
    ";-D =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< >.> <.< ._. ;_; -_- -__- v.v V.V v_v V_V o_o "
    "o_O O_o O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 <333 </3 (^_^) (-_-) (._.) "
    "(>_<) (*_*)"
)


class Contractions(NamedTuple):
    """Open addressing: slot `hash & (slots - 1)`, then the next one; key 0 is empty.

    keys uint64[slots]: hash_bytes of the entry; cuts uint32[slots]: its mask, with KEEP set.
    """

    keys: npt.NDArray[np.uint64]
    cuts: npt.NDArray[np.uint32]


KEEP = 1 << 31


def entries() -> dict[str, tuple[str, ...]]:
    """Each string with the words it consists of."""
    parts = itertools.chain(
        _with_pronouns(), _with_questions(), _negations(), _times(), _abbreviations()
    )
    found = {"".join(words): words for words in parts}
    found |= {_curly(text): tuple(map(_curly, words)) for text, words in found.items()}
    return {text: words for text, words in found.items() if text.lower() not in _WORDS_OF_THEIR_OWN}


def load() -> Contractions:
    """The entries as a hash table for kernels."""
    slots = 8192
    table = Contractions(np.zeros(slots, np.uint64), np.zeros(slots, np.uint32))
    for text, words in entries().items():
        data = text.encode()
        assert len(data) <= (MAX_LETTERS if data.isalpha() else MAX_BYTES), text
        key = hash_of(data)
        slot = key & (slots - 1)
        while table.keys[slot]:
            slot = (slot + 1) & (slots - 1)
        ends = itertools.accumulate(map(len, words[:-1]))
        table.keys[slot] = key
        table.cuts[slot] = KEEP | sum(1 << end for end in ends)
    return table


def _curly(text: str) -> str:
    return text.replace("'", "\u2019")


def _both_cases(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        yield word
        yield word.title()


def _suffixed(words: Iterable[str], *suffixes: str) -> Iterator[tuple[str, ...]]:
    """Word + suffix, with and without apostrophes; `'d've` is two suffixes."""
    for word, suffix in itertools.product(_both_cases(words), suffixes):
        pieces = tuple(f"'{piece}" for piece in suffix.split("'")[1:])
        yield word, *pieces
        yield word, *(piece.replace("'", "") for piece in pieces)


def _with_pronouns() -> Iterator[tuple[str, ...]]:
    yield from _suffixed(_PRONOUNS, "'ll", "'d")
    for word, suffix in itertools.product(_both_cases(_PRONOUNS), ("ll", "d")):
        yield word, f"'{suffix}", "'ve"
        yield word, suffix, "ve"
    yield from _suffixed(("i", "you", "we", "they"), "'ve")
    yield from _suffixed(("you", "we", "they"), "'re")
    yield from _suffixed(("he", "she", "it"), "'s")
    yield from _suffixed(("i",), "'m")
    for word in ("i", "I"):
        yield word, "'m", "a"
        yield word, "m", "a"


def _with_questions() -> Iterator[tuple[str, ...]]:
    yield from _suffixed((*_QUESTIONS, *_PLURALS), "'ll", "'d")
    for word, suffix in itertools.product(_both_cases((*_QUESTIONS, *_PLURALS)), ("ll", "d")):
        yield word, f"'{suffix}", "'ve"
        yield word, suffix, "ve"
    yield from _suffixed(_QUESTIONS, "'s")
    yield from _suffixed((*_QUESTIONS[:-2], *_PLURALS), "'re", "'ve")
    yield from _suffixed(_MODALS, "'ve")


def _negations() -> Iterator[tuple[str, ...]]:
    for word in _both_cases((*_NEGATED, *_NEGATED_SHORT)):
        yield word, "n't"
        yield word, "nt"
    for word in _both_cases(_NEGATED):
        yield word, "n't", "'ve"
        yield word, "nt", "ve"


def _times() -> Iterator[tuple[str, ...]]:
    for hour, half in itertools.product(range(1, 13), ("a.m.", "am", "p.m.", "pm")):
        yield str(hour), half


def _abbreviations() -> Iterator[tuple[str, ...]]:
    for words in _SPLITS:
        first, *rest = words.split("|")
        yield first, *rest
        yield first.capitalize(), *rest
    for kept in (*_KEPT, *_EMOTICONS, *_KEPT_CASELESS, *map(str.capitalize, _KEPT_CASELESS)):
        yield (kept,)
    for letter in "abcdefghijklmnopqrstuvwxyz\xe4\xf6\xfc":
        yield (letter + ".",)
    for unit in "cfkCFK":
        yield "\xb0", unit, "."
