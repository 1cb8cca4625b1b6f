"""Language identification."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from filters import language
from filters.language import LanguageParams

SENTENCES = {
    "en": "The committee will publish its report on the future of the railway next spring.",
    "fr": "Le comite publiera son rapport sur l'avenir du chemin de fer au printemps prochain.",
    "de": "Der Ausschuss wird seinen Bericht ueber die Zukunft der Eisenbahn vorlegen.",
    "es": "El comite publicara su informe sobre el futuro del ferrocarril la proxima primavera.",
    "ru": (
        "\u041a\u043e\u043c\u0438\u0442\u0435\u0442 "
        "\u043e\u043f\u0443\u0431\u043b\u0438\u043a\u0443\u0435\u0442 "
        "\u0434\u043e\u043a\u043b\u0430\u0434 \u043e "
        "\u0431\u0443\u0434\u0443\u0449\u0435\u043c "
        "\u0436\u0435\u043b\u0435\u0437\u043d\u043e\u0439 "
        "\u0434\u043e\u0440\u043e\u0433\u0438."
    ),
    "zh": (
        "\u59d4\u5458\u4f1a\u5c06\u4e8e\u660e\u5e74\u6625\u5929\u53d1"
        "\u8868\u5173\u4e8e\u94c1\u8def\u672a\u6765\u7684\u62a5\u544a\u3002"
    ),
}


def predict(texts: list[str], **settings) -> tuple[list[str], list[float]]:
    languages, scores = language.predict(pa.array(texts, pa.large_string()), **settings)
    return languages.to_pylist(), scores.to_pylist()


def test_sentences_in_six_languages() -> None:
    languages, scores = predict(list(SENTENCES.values()))
    assert languages == list(SENTENCES)
    assert all(0.5 < score <= 1.0 for score in scores)


def test_scores_are_rounded() -> None:
    _, scores = predict(list(SENTENCES.values()))
    assert all(score == pytest.approx(round(score, 4), abs=1e-7) for score in scores)


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n", "\0\0", "\u3000\u00a0", "</s>"])
def test_blank_text_is_undetermined(text: str) -> None:
    assert predict([SENTENCES["en"], text, SENTENCES["fr"]])[0] == ["en", "und", "fr"]
    assert predict([text]) == (["und"], [0.0])


def test_line_ends_and_markup_do_not_hide_text() -> None:
    """fastText alone would judge only what stands before the first line end or `</s>`."""
    words = SENTENCES["fr"].split()
    plain = predict([" ".join(words)])
    for separator in ("\n", " \n", " </s> "):
        assert predict([separator.join(words)])[0] == plain[0]
    assert predict(["\n" + SENTENCES["de"]])[0] == ["de"]


def test_only_the_beginning_counts_and_characters_are_not_cut() -> None:
    for name in ("en", "ru", "zh"):
        start = SENTENCES[name]
        longer = start + SENTENCES["es"] * 50
        assert predict([longer], max_chars=len(start)) == predict([start])


def test_slices_and_order_do_not_change_a_prediction() -> None:
    batch = pa.record_batch({"text": pa.array(list(SENTENCES.values()), pa.large_string())})
    whole = language.compute(batch)
    assert whole.schema == language.SCHEMA
    assert language.compute(batch.slice(2, 3)).equals(whole.slice(2, 3))
    assert language.compute(batch.slice(0, 0)).num_rows == 0


def test_another_model_by_path(tmp_path: Path) -> None:
    """A model that differs in one label: entries of its dictionary end with NUL."""
    model = language.DEFAULT_MODEL.read_bytes()
    assert model.count(b"__label__fr\0") == 1
    path = tmp_path / "own.ftz"
    path.write_bytes(model.replace(b"__label__fr\0", b"__label__zz\0"))
    texts = [SENTENCES["fr"], SENTENCES["de"]]
    assert predict(texts, model_path=str(path))[0] == ["zz", "de"]
    assert predict(texts)[0] == ["fr", "de"]


def test_unreadable_models_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.bin")
    with pytest.raises(ValueError, match=r"language model .*missing\.bin"):
        predict(["a"], model_path=missing)
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match=r"language model .*damaged\.bin"):
        language.compute(
            pa.record_batch({"text": pa.array(["a"], pa.large_string())}),
            LanguageParams(model_path=str(damaged)),
        )


def test_max_chars_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_chars is 0"):
        predict(["a"], max_chars=0)


def test_accuracy_on_sentences_of_well_covered_languages(shared_data: Path) -> None:
    folder = shared_data / "multilingual" / "lingua_sentences"
    for name in ("en", "de", "fr", "es", "ru", "zh", "ja", "ar", "hi", "th"):
        with gzip.open(folder / f"{name}.txt.gz", "rt", encoding="utf-8") as lines:
            sentences = [line.rstrip("\n") for line in lines][:200]
        found, _ = predict(sentences)
        assert found.count(name) >= 0.9 * len(sentences), name
