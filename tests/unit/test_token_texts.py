"""What tokens are, of tokenizers made by hand: every kind of vocabulary, every category, every round trip."""

import json
import os
import unicodedata

import numpy as np
import pytest
import tokenizers_by_hand as by_hand
from blackholes.checkpoints import characters, token_texts
from blackholes.errors import UserError


class Seen:
    """What `explain` says, by token id."""

    def __init__(self, path, V):
        self.all = token_texts.explain(path, V)
        self.V = V

    def __call__(self, id):
        return self.all.text[id], self.all.category[id], self.all.script[id]

    def trips(self, id):
        return self.all.round_trips[id].tolist()

    def ids(self, category):
        return [id for id in range(self.V) if self.all.category[id] == category]


# --- byte-level BPE


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    path, ids = by_hand.byte_level(tmp_path_factory.mktemp("bpe"))
    return Seen(path, max(ids.values()) + 4), ids


def test_byte_level(byte_level):
    seen, ids = byte_level
    assert seen(ids[b" the"]) == (" the", "ordinary", "Latin")
    assert seen(ids[b"\xc3\xa9"]) == ("é", "ordinary", "Latin")
    assert seen(ids[b"a"]) == ("a", "ordinary", "Latin")
    assert seen(ids[b"\n"]) == ("\\n", "ordinary", "Common")
    assert seen(ids[b"\x00"]) == ("\\u0000", "ordinary", "Common")
    assert seen(ids[b"\\"]) == ("\\\\", "ordinary", "Common")
    assert seen(ids["<|end|>"]) == ("<|end|>", "special", "")
    assert seen(ids["<|end|>"] + 1) == ("", "padding", "")


def test_bytes_and_partial_utf8(byte_level):
    seen, ids = byte_level
    assert seen.ids("byte") == list(range(0x80, 0x100))  # of ids 0 to 255, which are the bytes
    assert seen(ids[b"\xe0\xb8"]) == (r"\xE0\xB8", "partial_utf8", "Thai")
    assert seen(ids[b" \xe0\xb8"]) == (r" \xE0\xB8", "partial_utf8", "Thai")
    assert seen(ids[b"\xb8\x81"])[:2] == (r"\xB8\x81", "partial_utf8")
    never = [id for id in seen.ids("byte") if not any(seen.trips(id))]
    assert never == [0xC0, 0xC1, *range(0xF5, 0x100)]  # bytes that UTF-8 does not use
    assert not any(any(seen.trips(id)[:2]) for id in seen.ids("byte"))
    assert seen.trips(ids[b"\xe0\xb8"]) == seen.trips(ids[b" \xe0\xb8"]) == [False, False, True]
    assert seen.trips(ids[b"\xb8\x81"]) == [False, False, True]  # inside 丁, not inside ก, where \xE0\xB8 comes first


def test_unreachable_and_round_trips(byte_level):
    seen, ids = byte_level
    assert seen.ids("unreachable") == [ids[b"abc"], ids[b"12"]]
    assert seen.trips(ids[b"the"])[0]
    assert seen.trips(ids[b" the"]) == [False, True, True]
    assert seen.trips(ids[b" "])[1]
    assert seen.trips(ids[b"ab"])[0]


def test_merge_ranks(byte_level):
    seen, ids = byte_level
    ranks = [seen.all.merge_rank[ids[data]] for data in (b"bc", b"ab", b"abc", b"12")]
    assert ranks == [0, 1, 2, 10]
    assert seen.all.merge_rank[ids[b"a"]] is None
    assert seen.all.merge_rank[ids["<|end|>"]] is None


def test_a_token_that_two_merges_make_has_the_rank_of_the_first(tmp_path):
    path, ids = by_hand.merged_twice(tmp_path)
    ranks = token_texts.explain(path, len(ids)).merge_rank
    assert [ranks[ids[token]] for token in ("a", "ab", "abc", "bc")] == [None, 0, 1, 2]


# --- BPE as in Llama 2


def test_a_normalizer_that_replaces_spaces(tmp_path):
    path, ids = by_hand.llama(tmp_path)
    seen = Seen(path, len(ids))
    assert seen(ids["▁the"]) == (" the", "ordinary", "Latin")
    assert seen.trips(ids["▁the"]) == [True, True, True]  # ▁ is put before every text
    assert seen(ids["▁"])[:2] == (" ", "ordinary")
    assert seen(ids["the"]) == ("the", "ordinary", "Latin")
    assert seen.trips(ids["the"]) == [False, False, True]  # only after a letter
    assert seen(ids["<0x41>"])[:2] == (r"\x41", "byte")
    assert seen.trips(ids["<0x41>"])[0]
    assert {seen(id)[0] for id in seen.ids("special")} == {"<unk>", "<s>", "</s>"}


# --- contexts


@pytest.mark.parametrize(
    ("pattern", "trips"),
    [
        (r"(?<=[A-Z])qq(?=[A-Z])", [False, False, True]),
        (r"(?<=[A-Z])qq\z", [False, False, True]),
        (r"\Aqq(?=[A-Z])", [False, False, True]),
        (r"(?<=\.)qq(?=\.)", [False, False, True]),
        (r"(?<=\n)qq\z", [False, False, True]),
        (r"\Aqq(?=\n)", [False, False, True]),
        (r"\Aqq\z", [True, False, True]),
        (r"(?<=-)qq", [False, False, False]),  # in none of the contexts
    ],
)
def test_every_context_is_tried(tmp_path, pattern, trips):
    path, ids = by_hand.in_one_context(tmp_path, {"qq": pattern})
    seen = Seen(path, len(ids))
    assert seen.trips(ids["qq"]) == trips
    assert seen(ids["qq"])[1] == ("ordinary" if any(trips) else "unreachable")


# --- WordPiece


def test_word_piece(tmp_path):
    path, ids = by_hand.word_piece(tmp_path)
    seen = Seen(path, len(ids) + 1)
    assert seen(ids["##ing"]) == ("##ing", "ordinary", "Latin")
    assert seen.trips(ids["##ing"]) == [False, False, True]
    assert seen.trips(ids["play"]) == [True, True, True]
    assert seen.trips(ids["!"])[:2] == [True, True]
    assert seen(ids["漢"]) == ("漢", "ordinary", "Han")
    # never written so: lower-cased, stripped of its accent, or parted from the word before
    assert {seen(id)[0] for id in seen.ids("unreachable")} == {"[unused0]", "Play", "##!", "##漢", "é"}
    assert {seen(id)[0] for id in seen.ids("special")} == {"[PAD]", "[UNK]"}
    assert seen(len(ids))[1] == "padding"
    assert seen.all.merge_rank == [None] * (len(ids) + 1)


# --- Unigram with byte fallback


def test_unigram(tmp_path):
    path, ids = by_hand.unigram(tmp_path)
    seen = Seen(path, len(ids))
    assert seen(ids["▁the"]) == (" the", "ordinary", "Latin")
    assert seen(ids["the"]) == ("the", "ordinary", "Latin")
    assert seen.trips(ids["the"]) == [False, False, True]
    assert seen(ids["▁"])[:2] == (" ", "ordinary")
    assert seen(ids["กา"]) == ("กา", "ordinary", "Thai")
    assert seen(ids["<0x41>"])[:2] == (r"\x41", "byte")
    assert seen(ids["<0xE0>"])[:2] == (r"\xE0", "byte")
    assert len(seen.ids("byte")) == 256
    assert seen.trips(ids["<0x41>"])[0]  # A is no piece, so it falls back
    assert not any(seen.trips(ids["<0x65>"]))  # e is one
    assert seen.trips(ids["<0xE0>"]) == [False, False, True]
    assert seen.ids("unreachable") == [ids["ze"]]
    assert {seen(id)[0] for id in seen.ids("special")} == {"<unk>", "</s>"}
    ranks = {piece: seen.all.merge_rank[ids[piece]] for piece in ("▁the", "▁", "the", "ze")}
    assert ranks["▁the"] < ranks["▁"] < ranks["the"] < ranks["ze"]


# --- characters


def test_characters(tmp_path):
    seen = Seen(by_hand.characters(tmp_path), 130)
    assert seen.ids("ordinary") == list(range(128))
    assert seen.ids("padding") == [128, 129]
    assert seen.all.round_trips[:128].any(1).all()
    assert seen(ord("a")) == ("a", "ordinary", "Latin")
    assert seen(0) == ("\\u0000", "ordinary", "Common")
    assert seen(127) == ("\\u007F", "ordinary", "Common")


# --- files


def test_without_a_tokenizer():
    seen = Seen(None, 3)
    assert [seen(id) for id in range(3)] == [("", "unknown", "")] * 3
    assert not seen.all.round_trips.any()


def test_a_smaller_matrix_than_the_tokenizer(tmp_path):
    seen = Seen(by_hand.characters(tmp_path), 50)
    assert len(seen.all.text) == len(seen.all.round_trips) == 50


def test_tokens_that_only_the_configuration_names(tmp_path):
    path = by_hand.characters(tmp_path)
    by_hand.with_more_tokens(path, "<|a|>", "<|b|>", first=128)
    seen = Seen(path, 131)
    assert [seen(id)[:2] for id in (127, 128, 129, 130)] == [
        ("\\u007F", "ordinary"),
        ("<|a|>", "special"),
        ("<|b|>", "special"),
        ("", "padding"),
    ]
    assert seen.trips(129)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{}", "expected a tokenizer.json"), ("no json", "expected a tokenizer.json")],
)
def test_no_tokenizer_is_named(tmp_path, content, message):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        token_texts.explain(path, 3)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["[]", "{", '{"added_tokens_decoder": {"x": 1}}'])
def test_a_bad_configuration_is_named(tmp_path, content):
    path = by_hand.characters(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(UserError, match=r"tokenizer_config\.json"):
        token_texts.explain(path, 3)


def test_texts(tmp_path):
    path, ids = by_hand.byte_level(tmp_path)
    words = token_texts.texts(path, 300)
    assert words[ids[b" the"]] == " the"
    assert words[ids[b"\xe0\xb8"]] == r"\xE0\xB8"
    assert words[299] == ""


def test_added_tokens_of_the_file_are_special_even_when_they_are_words(tmp_path):
    path = by_hand.characters(tmp_path)
    saved = json.loads((tmp_path / "tokenizer.json").read_text())
    saved["added_tokens"] = [
        {
            "id": 128,
            "content": "<tool>",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": False,
        }
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    assert Seen(path, 129)(128)[:2] == ("<tool>", "special")


# --- Unicode


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "Latin"),
        (" Ｗｉｄｅ", "Latin"),
        ("привет!", "Cyrillic"),
        ("漢字", "Han"),
        ("々", "Han"),
        ("한글", "Hangul"),
        ("ひらがな", "Hiragana"),
        ("สวัสดี", "Thai"),
        ("हिन्दी", "Devanagari"),
        ("ελληνικά", "Greek"),
        ("漢a", "Mixed"),
        ("12 +-", "Common"),
        ("😀", "Common"),
        ("", "Common"),
        ("é", "Latin"),  # with a combining accent
        ("𐌰", "Gothic"),
        ("𐌀", "Old Italic"),
    ],
)
def test_scripts(text, script):
    assert characters.script(text) == script


def test_completions_hold_the_bytes():
    parts = [
        b"\xe0\xb8",
        b" \xe0\xb8",
        b"\xb8\x81",
        b"\x81",
        b"\xf0\x9f\x98",
        b"\x81a\xe4",
        b"\xff",
        b"\xe0\x41",
        b"\xf3",
    ]
    found = characters.Completions(parts)
    for part in parts:
        texts = found.texts(part, 64)
        assert len(texts) <= 65
        assert all(part in text.encode() for text in texts)
        assert bool(texts) == (part not in (b"\xff", b"\xe0\x41"))
    assert len(found.texts(b"\xe0\xb8", 4096)) == sum(
        unicodedata.category(chr(point)) != "Cn" for point in range(0xE00, 0xE40)
    )
    assert len(found.texts(b"\x81", 4)) == 4


def test_no_character_holds_the_bytes():
    part = b"\xbf\xbf\xbf"  # the end of U+3FFFF, U+7FFFF, …, which are no characters
    assert characters.Completions([part]).texts(part, 5) == []


def test_printable():
    assert token_texts.printable("a b\n\t\r\\\u200b\U000e0001é漢") == r"a b\n\t\r\\\u200B\U000E0001é漢"


def test_a_failing_text_fails_alone(tmp_path):
    vocabulary = token_texts.Vocabulary(by_hand.characters(tmp_path))
    held = vocabulary.holding([97, 98, 99, 98], ["a", "é", "xcx", "a"])
    assert np.array_equal(held, [True, False, True, False])


def test_the_letter_around_a_token_is_the_one_that_fewest_others_contain(tmp_path):
    vocabulary = token_texts.Vocabulary(by_hand.characters(tmp_path))
    assert vocabulary.neutral(["a", "b", "ax", "ay", "bx", "."]) == "b"


def test_tokenizer_files_are_regular_and_of_some_size(tmp_path):
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(UserError, match="is no regular file but a FIFO"):
        token_texts.Vocabulary(tmp_path / "tokenizer.json")
    with open(tmp_path / "large.json", "wb") as file:  # takes no room on the disk
        file.truncate(3 * 2**30)
    with pytest.raises(UserError, match="is 3,072 MiB; expected at most 256 MiB"):
        token_texts.Vocabulary(tmp_path / "large.json")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"added_tokens_decoder": {"' + "9" * 5000 + '": {}}}'])
def test_a_tokenizer_config_that_a_parser_stumbles_over(tmp_path, content):
    path, _ = by_hand.byte_level(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(UserError, match=r"tokenizer_config\.json: added_tokens_decoder cannot be read"):
        token_texts.Vocabulary(path)
