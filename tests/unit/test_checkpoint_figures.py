"""Figures of a checkpoint, from planted and degenerate ones: drawn, named, legible, and the same bytes twice.

What is drawn: test_plotted_data.py.
"""

import importlib
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tokenizers_by_hand as by_hand
import torch
from blackholes.errors import UserError
from blackholes.figures import fonts, style
from blackholes.figures.checkpoints import checkpoint_data, distance_distribution, overdensity_graph, token_ranking
from checkpoint_folder import make
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.text import Text
from planted import embedding

MODULES = ["sky_map", "distance_distribution", "overdensity_graph", "token_ranking"]
CLOUD = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
POLES = {"lat": [-90, 90], "lon": [170, -170], "r": [0, 100]}  # over 180°


def one_hole():
    W = CLOUD.clone()
    W[:40] = W[0]
    return W


CASES = {  # embedding, whether it has a tokenizer, other settings
    "planted": (embedding(V=4500)[0], True, {}),
    "one hole": (one_hole(), True, {}),
    "no hole": (CLOUD, True, {}),
    "no tokenizer, threshold 0": (one_hole(), False, {"threshold": 0.0}),
    "one vector": (torch.ones(30, 4).bfloat16(), True, {}),
    "one token in the box": (CLOUD, True, {"box": {"lat": None, "lon": None, "r": [4.41, 5]}}),
    "two tokens": (CLOUD[:2, :3], False, {}),
    "a zero vector": (torch.cat([CLOUD, torch.zeros(3, 6).bfloat16()]), True, {}),
    "float32 over 180 degrees": (1.001 * one_hole().float(), True, {"box": POLES, "threshold": 2.0}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    found = {}
    for case, (W, tokenizer, settings) in CASES.items():
        folder = tmp_path_factory.mktemp("made")
        file = by_hand.characters(folder / "tokenizer", max(len(W) - 2, 1)) if tokenizer else None
        found[case] = make(folder, W, file, **settings)
    return found


def draw(module, files):
    return importlib.import_module(f"blackholes.figures.checkpoints.{module}").from_files(files, {"checkpoint": "qwen"})


def words(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("module", MODULES)
def test_draws(module, case, made):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that the font lacks, a limit that is NaN, a logarithm of 0
        figure = draw(module, made[case])
        figure.draw_without_rendering()
    assert all(text.get_fontsize() >= 6 for text in figure.findobj(Text) if text.get_text())
    assert any("qwen" in text for text in words(figure))
    for axes in figure.axes:
        assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()


def test_labels(made):
    texts = words(draw("sky_map", made["planted"]))
    assert any(text.startswith("the box: ") for text in texts)
    assert "holes of 814, 704, 306 … (13 in all)" in texts
    assert "a hole of 40" in words(draw("sky_map", made["one hole"]))
    texts = words(draw("distance_distribution", made["one hole"]))
    assert "780 pairs at 0" in texts
    assert "40 tokens at 0" in texts
    texts = words(draw("overdensity_graph", made["one hole"]))
    assert any(text.startswith("40, 40 in holes; diameter 1") for text in texts)
    assert "the cluster: 1 vector" in texts
    assert "one vector: no dimension varies" in texts
    assert "no two tokens of the box are adjacent" in words(draw("overdensity_graph", made["no hole"]))
    assert any("a single token" in text for text in words(draw("distance_distribution", made["one token in the box"])))
    texts = words(draw("token_ranking", made["one hole"]))
    assert any(text.startswith(r"40: \u0000") for text in texts)
    assert any(
        text.startswith("40: token 0") for text in words(draw("token_ranking", made["no tokenizer, threshold 0"]))
    )


@pytest.mark.parametrize("module", MODULES)
def test_same_figure_same_bytes(module, made, tmp_path):
    style.save(draw(module, made["planted"]), tmp_path / "first.svg", tmp_path / "first.png", dpi=50)
    style.save(draw(module, made["planted"]), tmp_path / "second.svg", dpi=50)
    assert (tmp_path / "first.png").read_bytes().startswith(b"\x89PNG")
    first = (tmp_path / "first.svg").read_bytes()
    assert first == (tmp_path / "second.svg").read_bytes()
    assert len(first) < 1_000_000


def test_bins_are_evened_and_none_is_lost():
    edges = (np.arange(0x3C00, 0x3C00 + 3 * 128 + 1, dtype=np.uint32) << 16).view(np.float32)
    flat = np.diff(np.log(edges.astype(float))) * 1e6  # as many at every distance, on a logarithmic axis
    bars, borders = distance_distribution.evened(np.round(flat).astype(np.int64), edges)
    assert bars.sum() == np.round(flat).sum()
    assert bars.max() / bars.min() < 1.01
    assert np.allclose(np.diff(borders), borders[1] - borders[0])
    single = np.zeros(384, np.int64)
    single[200] = 1
    bars, borders = distance_distribution.evened(single, edges)
    assert bars.sum() == 1
    place = int(bars.argmax())
    assert borders[place] <= np.log10(edges[201])
    assert np.log10(edges[200]) <= borders[place + 1]


def test_layout_keeps_distances():
    random = np.random.default_rng(0)
    places = np.concatenate([random.normal(0, 0.05, (10, 5)), random.normal(3, 0.05, (10, 5))])
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    drawn = overdensity_graph.layout(distances)
    apart = np.linalg.norm(drawn[:, None] - drawn, axis=-1)
    assert apart[:10, :10].max() < apart[:10, 10:].min()
    assert np.array_equal(drawn, overdensity_graph.layout(distances))
    many = np.linalg.norm(random.normal(size=(300, 1, 2)) - random.normal(size=(1, 300, 2)), axis=-1)
    assert np.isfinite(overdensity_graph.layout(many + many.T)).all()
    assert overdensity_graph.layout(np.zeros((1, 1))).tolist() == [[0, 0]]


def test_a_hole_is_one_line():
    tokens = pd.DataFrame(
        {
            "token_id": range(5),
            "text": ["a", "b", "c", "", "e"],
            "hole": [1, 1, -1, -1, 1],
            "rank": [2, 1, 4, 3, 5],
            "category": ["ordinary"] * 3 + ["padding", "byte"],
            "centroid_distance": [0.0] * 5,
            "cosine_unused": [1.0] * 5,
        }
    )
    rows = list(token_ranking.folded(tokens, 10))
    assert [(row.rank, row.text) for row in rows] == [(1, "3: b  a  e"), (3, "row 3"), (4, "c")]
    assert rows[0].categories == ["ordinary", "ordinary", "byte"]
    assert len(list(token_ranking.folded(tokens, 2))) == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "␣the"),
        ("é$_", "é$_"),
        ("漢字", "‹U+6F22 U+5B57›"),
        ("a漢字漢字b", "a‹U+6F22 U+5B57 U+6F22 …›b"),
        ("", "token 7"),
    ],
)
def test_names_that_the_font_can_draw(text, shown):
    assert token_ranking.name(text, 7, "ordinary") == shown


def han_font(folder: Path) -> str:
    """A font with one character, 漢: made here, since a machine may have none."""
    pen = TTGlyphPen(None)
    for place in ((0, 0), (0, 700), (700, 700)):
        (pen.lineTo if place != (0, 0) else pen.moveTo)(place)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "han"])
    builder.setupCharacterMap({0x6F22: "han"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "han": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "han": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "One Han", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(folder / "NotoSansCJK-test.ttf")
    return str(folder / "NotoSansCJK-test.ttf")


def listed(text: str) -> list[str]:
    """All that the figure says of three tokens, of which one has this text."""
    table = {"token_id": range(3), "text": ["a", text, "c"], "hole": -1, "rank": range(1, 4), "category": "ordinary"}
    table |= {"centroid_distance": 0.5, "cosine_unused": 1.0, "in_cluster": 0, "in_box": 0}
    figure = token_ranking.draw(pd.DataFrame(table), {"not_judged": "no hole"}, "one")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a character that it cannot draw
        figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text)]


def test_a_font_of_the_machine_shows_what_our_own_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "installed", lambda: (han_font(tmp_path),))
    assert fonts.families(["a", "漢"]) == [fonts.OWN, "One Han"]
    assert fonts.families(["a", "字"]) == [fonts.OWN]
    said = listed("漢")
    assert "漢" in said
    assert not any("U+" in text for text in said)
    assert "漢‹U+5B57›" in listed("漢字")  # what no font has is still said


def test_without_such_a_font_a_character_is_named_by_its_number(monkeypatch):
    monkeypatch.setattr(fonts, "installed", tuple)
    said = listed("漢")
    assert "‹U+6F22›" in said
    assert any("no installed font" in text for text in said)
    assert not any("no installed font" in text for text in listed("b"))


def test_categories_are_those_of_the_table_and_have_colours_of_their_own():
    from blackholes.checkpoints.token_texts import CATEGORIES

    assert set(style.CATEGORIES) == set(CATEGORIES)
    assert len(set(style.CATEGORIES.values())) == len(CATEGORIES)


def test_texts_that_pandas_would_read_as_missing(tmp_path):
    texts = ["nan", "null", "NA", "None", '"', ",", " the", "\\n", ""]
    row = {name: [""] * len(texts) for name in ("script", "merge_rank")} | {"norm": [1.0] * len(texts)}
    table = pd.DataFrame({"token_id": range(len(texts)), "text": texts, "hole": ["", 4] + [""] * 7, **row})
    table.to_csv(tmp_path / "tokens.csv", index=False)
    found = checkpoint_data.read_tokens(tmp_path / "tokens.csv")
    assert found["text"].tolist() == texts
    assert found["hole"].tolist() == [-1, 4] + [-1] * 7


def test_bad_files_are_named(made, tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        checkpoint_data.read_tokens(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match=r"tokens\.csv.*expected a complete file"):
        checkpoint_data.tensors(made["planted"].tokens, "histogram")
