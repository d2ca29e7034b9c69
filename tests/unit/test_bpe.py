"""Byte-pair vocabularies: learnt from a text and a function of it alone, which tokens are dead, and what is refused."""

import csv
import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors
from blackholes.config import model as config
from blackholes.errors import UserError
from blackholes.training import bpe, corpus, tokens, vocabulary
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

WORDS = "the holes of the tokens, the tokens of holes; naïve — “quoted”\n\tand again\n"
TEXT = "".join(f"{WORDS}{k}th line {k * k}\n" for k in range(60))
SIZE = 300


def settings(**keys):
    keys = {"vocabulary": "bpe", "vocabulary_size": SIZE} | keys
    return config.load({"corpus": keys}).corpus.model_dump()


def from_file(path, text=TEXT, encoding="utf-8", **keys):
    path.write_bytes(text.encode(encoding))
    return settings(source="file", path=str(path), encoding=encoding, **keys)


@pytest.fixture
def outputs(tmp_path):
    return tuple(tmp_path / "out" / name for name in ("tokens.safetensors", "tokens.csv", "tokenizer.json"))


@pytest.fixture(scope="module")
def learnt():
    return bpe.learn(TEXT, SIZE, "the text")


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- the vocabulary


def merged(text, size):
    """Byte-pair encoding as it is defined: of the words of GPT-2's pattern, the most frequent pair, again and again."""
    split = Tokenizer.from_str(bpe.learn(text, 256, "")).pre_tokenizer.pre_tokenize_str(text)
    words = [list(word) for word, _ in split]
    found = sorted(ByteLevel.alphabet())
    while len(found) < size:
        pairs = {}
        for word in words:
            for pair in pairwise(word):
                pairs[pair] = pairs.get(pair, 0) + 1
        best = min(pairs, key=lambda pair: (-pairs[pair], found.index(pair[0]), found.index(pair[1])))
        found.append("".join(best))
        for word in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = ["".join(best)]
                i += 1
    return found, [found.index(token) for word in words for token in word]


def test_against_the_definition(learnt):
    found, ids = merged(TEXT, SIZE)
    ours = json.loads(learnt)["model"]["vocab"]
    assert sorted(ours, key=ours.get) == found
    assert bpe.encode(learnt, TEXT).tolist() == ids


def test_the_first_tokens_are_the_bytes(learnt):
    names = bpe.texts(learnt)
    assert len(names) == SIZE
    assert sorted(names[:256])[:3] == sorted([" ", "!", '"'])
    assert {"\\n", "\\t", "\\\\", "\\xE2", "a"} < set(names[:256])
    assert " the" in names[256:]


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_round_trips(learnt, text):
    ids = bpe.encode(learnt, text)
    assert ids.dtype == np.uint16
    assert Tokenizer.from_str(learnt).decode(ids.tolist(), skip_special_tokens=False) == text


def test_learning_is_repeatable_from_process_to_process(learnt):
    code = f"from blackholes.training import bpe; print(bpe.learn({TEXT!r}, {SIZE}, ''), end='')"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == learnt


def test_a_text_that_is_too_short(tmp_path, outputs):
    with pytest.raises(UserError, match=r"a\.txt: gives 26. tokens at most, expected corpus.vocabulary_size \(1,000\)"):
        corpus.write(from_file(tmp_path / "a.txt", "abcabcd efg", vocabulary_size=1000), *outputs)
    assert not outputs[0].parent.exists()


# --- the corpus


def test_written_files(tmp_path, outputs, learnt):
    said = corpus.write(from_file(tmp_path / "a.txt"), *outputs, {"a": "b"})
    assert "0 characters dropped" in said
    text = TEXT.strip()
    found, ids = tokens.load(outputs[0]), bpe.encode(outputs[2].read_text(), text)
    assert found.token_ids.dtype == torch.uint16
    assert found.token_ids.tolist() == ids.tolist()
    assert found.token_counts.tolist() == np.bincount(ids, minlength=SIZE).tolist()
    assert torch.equal(found.dead_mask, found.token_counts == 0)
    assert outputs[2].read_text() == bpe.learn(text, SIZE, "")
    table = rows(outputs[1])
    assert list(table[0]) == ["token_id", "text", "tokenizer_count", "count", "status"]
    assert [row["tokenizer_count"] for row in table] == [row["count"] for row in table]
    with open_tensors(outputs[0]) as file:
        assert file.metadata["a"] == "b"
        assert file.metadata["tokenizers_version"]


def test_a_limited_text_leaves_other_characters_dead(tmp_path, outputs):
    text = "some words come first. " * 20 + "others follow afterwards, elsewhere! " * 20
    said = corpus.write(from_file(tmp_path / "a.txt", text, vocabulary_size=297, training_part=0.38), *outputs)
    cut = round(0.38 * len(text.strip()))
    assert f"in {cut:,} of {len(text.strip()):,} characters" in said
    found = tokens.load(outputs[0])
    assert Tokenizer.from_file(str(outputs[2])).decode(found.token_ids.tolist()) == text[:cut]
    table = {row["text"]: row for row in rows(outputs[1])}
    others = table[" others"]
    assert (others["tokenizer_count"], others["count"], others["status"]) == ("20", "0", "dead")
    assert (table[" first"]["tokenizer_count"], table[" first"]["count"]) == ("20", "19")  # the last one is cut
    dead = [row["status"] == "dead" for row in rows(outputs[1])]
    assert found.dead_mask.tolist() == dead


def test_tokens_from_another_text(tmp_path, outputs):
    (tmp_path / "other.txt").write_text(TEXT, encoding="utf-8")
    keys = {"tokenizer_text": str(tmp_path / "other.txt")}
    corpus.write(from_file(tmp_path / "a.txt", "holes of tokens", **keys), *outputs)
    assert outputs[2].read_text() == bpe.learn(TEXT.strip(), SIZE, "")
    table = {row["text"]: row for row in rows(outputs[1])}
    assert (table[" of"]["tokenizer_count"], table[" of"]["count"]) == ("120", "1")
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file \(corpus.tokenizer_text, from"):
        corpus.write(from_file(tmp_path / "a.txt", tokenizer_text=str(tmp_path / "nowhere.txt")), *outputs)


def test_a_part_of_an_ascii_text(tmp_path, outputs):
    chosen = from_file(tmp_path / "a.txt", "abcdefgh", vocabulary="ascii", vocabulary_size=None, training_part=0.5)
    corpus.write(chosen, *outputs)
    assert bytes(tokens.load(outputs[0]).token_ids.tolist()) == b"abcd"


@pytest.mark.parametrize(
    ("size", "part", "least"), [(2000, 0.08, 9_000), (1200, 0.05, 5_000)], ids=["config.yaml", "tiny.yaml"]
)
def test_the_builtin_text_leaves_a_third_or_more_dead(outputs, size, part, least):
    corpus.write(settings(vocabulary_size=size, training_part=part), *outputs)
    found = tokens.load(outputs[0])
    assert 0.30 < found.dead_mask.double().mean() < 0.45
    assert len(found.token_ids) > least


# --- characters


@given(st.text(st.characters(max_codepoint=127), max_size=100))
def test_the_tokenizer_of_characters(text):
    tokenizer = Tokenizer.from_str(vocabulary.tokenizer(128))
    assert tokenizer.encode(text).ids == [ord(character) for character in text]
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    assert tokenizer.encode(text + "é").ids == tokenizer.encode(text).ids
