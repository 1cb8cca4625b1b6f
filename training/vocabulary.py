"""The ids that a model knows: those of the corpus's tokenizer, and the separator of training.

Shards hold ordinary text ids only. The separator, which ends one document and begins the next, is
a control token of tokenizer.json when it has one for that (a loaded tokenizer usually does), else
a new id after all that the tokenizer uses.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer

from storage import objects
from storage.errors import ConfigError
from storage.manifest import CorpusManifest, TokenizerEntry, encoding_hash
from storage.objects import ObjectNotFound

SEPARATORS = (
    "<|endoftext|>",
    "<|eos|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "[EOS]",
    "[SEP]",
)
"""Names by which tokenizers know the end of a document, the first present one is taken."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a checkpoint keeps of the tokenizer, beside tokenizer.json itself."""

    separator: str
    separator_id: int
    num_ids: int
    """One more than the largest id, the separator's included; the model pads this number."""
    encoding_hash: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def choose_vocabulary(tokenizer: TokenizerEntry) -> Vocabulary:
    """The vocabulary of training for the tokenizer of a corpus."""
    known = tokenizer.special_tokens
    name = next((one for one in SEPARATORS if one in known), SEPARATORS[0])
    separator_id = known.get(name, tokenizer.num_ids)
    num_ids = max(tokenizer.num_ids, separator_id + 1)
    return Vocabulary(name, separator_id, num_ids, tokenizer.encoding_hash)


def read_tokenizer(corpus: CorpusManifest) -> bytes:
    """tokenizer.json of a corpus, checked to be the one that its shards were encoded with."""
    path = corpus.location(corpus.tokenizer.path)
    try:
        data = objects.read(path)
        found = encoding_hash(json.loads(data))
    except ObjectNotFound as error:
        raise ConfigError(f"the corpus has lost its tokenizer: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no tokenizer.json: {error!r}") from error
    if found != corpus.tokenizer.encoding_hash:
        raise ConfigError(
            f"{path} encodes otherwise than the shards were encoded (encoding_hash {found}, the "
            f"manifest says {corpus.tokenizer.encoding_hash}): restore it, or pack again"
        )
    return data


def check_same_encoding(vocabulary: Vocabulary, corpus: CorpusManifest, folder: str) -> None:
    """Raises ConfigError when a checkpoint was trained on ids of another tokenizer."""
    if vocabulary.encoding_hash != corpus.tokenizer.encoding_hash:
        raise ConfigError(
            f"the checkpoint {folder} and the corpus at {corpus.root} have different tokenizers "
            f"(encoding_hash {vocabulary.encoding_hash} and {corpus.tokenizer.encoding_hash}): "
            "use the corpus it was trained on, or another output folder for a new run"
        )


def tokenizer_with_separator(data: bytes, vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer with the separator as a control token at the id that training used."""
    tokenizer = Tokenizer.from_str(data.decode("utf-8"))
    tokenizer.add_special_tokens([AddedToken(vocabulary.separator, special=True, normalized=False)])
    found = tokenizer.token_to_id(vocabulary.separator)
    if found != vocabulary.separator_id:
        raise ConfigError(
            f"the tokenizer gives {vocabulary.separator!r} the id {found}, the model was trained "
            f"with {vocabulary.separator_id}: tokenizer.json is not the one of this checkpoint"
        )
    return tokenizer
