"""The page: its sentences, tables, captions, and that it is one file which needs no other."""

import base64
import csv
import gzip
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from blackholes.errors import UserError
from blackholes.page import build, captions, first_screen, grids, packing, pictures, sentences, trust
from blackholes.page.facts import Facts, Tokens
from blackholes.page.results import Results
from page_results import REPORTS, TITLES, config, labels_of, settings, write_picture, write_results

NEVER = "the 2 characters that the text never contains"
VOID = {"meta", "link", "img", "input", "br", "hr"}


class Parsed(HTMLParser):
    """Elements of a page in order, as (tag, attributes), and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words, self.content = [], [], [], {}
        self.feed(text)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script":
            self.content[attributes.get("id", "")] = text
        elif tag != "style":
            self.words.append(text)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def unpacked(text):
    return json.loads(gzip.decompress(base64.b64decode(text)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The page of the small results: (its folder, its text, parsed)."""
    root = tmp_path_factory.mktemp("results")
    said = build.write(str(root / "index.html"), write_results(root), TITLES, str(REPORTS), config())
    text = (root / "index.html").read_text(encoding="utf-8")
    assert said.startswith("4 figures, 4 tables, ")
    return root, text, Parsed(text)


# --- sentences


def facts(*runs, dead=(0, 5), word="character", **others):
    """Of runs given by strings of their steps."""
    labels = [labels_of(*steps) for steps in runs]
    V = labels[0].shape[1]
    mask = np.isin(np.arange(V), dead)
    sizes = np.array([[np.bincount(row, minlength=V) for row in run] for run in labels])
    series = {"counts": (sizes > 1).sum(2), "populations": np.where(sizes > 1, sizes, 0).sum(2)}
    tokens = Tokens([f"t{i}" for i in range(V)], np.where(mask, 0, 3), mask, word)
    names = [f"run_{i + 1:03d}" for i in range(len(runs))]
    at_end = np.stack([run[-1] for run in labels])
    return Facts("one", tokens, names, series, at_end, np.ones(len(runs)), settings(len(runs)), **others)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([["aaaaaa", "abcdea"]] * 4, "In 4 of 4 runs one hole is left; it holds NEVER, and nothing else."),
        ([["aaaaaa", "abcdea"]], "In the only run one hole is left; it holds NEVER, and nothing else."),
        (
            [["aaaaaa", "abcdea"], ["aaaaaa", "aacdea"]],
            "In 1 of 2 runs one hole is left; it holds NEVER, and 1 that it does contain.",
        ),
        (
            [["aaaaaa", "aabcda"], ["aaaaaa", "aaacda"]],
            "In 2 of 2 runs one hole is left; it holds NEVER, and 1 to 2 that it does contain.",
        ),
        ([["aaaaaa", "abbcde"]], "In the only run one hole is left; it holds 0 of NEVER, and 2 that it does contain."),
        (
            [["aaaaaa", "abbcda"], ["aaaaaa", "aabbcc"]],
            "In 2 of 2 runs 2 to 3 holes are left; together they hold 4 to 6 characters, 2 of NEVER.",
        ),
        ([["aaaaaa", "aabcde", "abcdef"]], "In the only run no hole is left; the last one ends at step 2."),
        ([["abcdef", "abcdef"]] * 3, "In 3 of 3 runs no two characters share a vector at any step."),
    ],
)
def test_what_is_left(runs, said):
    assert said.replace("NEVER", NEVER) in sentences.of_experiment(facts(*runs))


def test_experiments_with_holes_come_first(tmp_path, monkeypatch):
    """An overlay's experiments stand before those of the base configuration, which answer the page's question."""
    monkeypatch.setattr(build.facts, "read_tokens", lambda *_: None)
    monkeypatch.setattr(build.facts, "read", lambda _, name, *__: SimpleNamespace(name=name, has_holes="o" in name))
    names = ["large", "one", "draws", "point"]
    found = build.read_experiments(None, {"experiments": {name: {"corpus": {"name": "c"}} for name in names}})
    assert [it.name for it in found] == ["one", "point", "large", "draws"]


def test_one_hole_of_a_part_of_the_dead():
    said = sentences.of_experiment(facts(["aaaaaa", "abcdaa"], dead=(0, 3, 4, 5), word="token"))
    assert said[0].endswith(
        "one hole is left; it holds 3 of the 4 tokens that the text never contains, and nothing else."
    )


def test_escapes_and_starts():
    rows = [
        {"run": f"run_00{i}", "last_escape": step, "last_texts": text}
        for i, step, text in [(1, "60", "Q"), (2, "1278", "J"), (3, "", ""), (4, "79", "J x")]
    ]
    said = sentences.of_experiment(facts(*[["aaaaaa", "aabbcc", "abcdea"]] * 4, lineages=rows))
    assert said[1:] == [
        "In 3 of 4 runs, the last character of the text to leave the others goes at step 60 to 1,278 of 2; "
        "in 2 of 4 runs it is J.",
        "All 6 characters start as one vector, and there are at most 3 holes at once (run 1, step 1).",
    ]
    said = sentences.of_experiment(facts(["abcdef", "aacdef"]))
    assert said[-1] == "All 6 characters start apart, and there is at most 1 hole at once (run 1, step 1)."


# --- tables


def test_numbers_text_and_empty_fields(tmp_path):
    (tmp_path / "a.csv").write_text('step,mean,name,note\n1,0.1,NA,\n2,,null,"x, ""y"""\n3,1e-7,3,\n')
    table = grids.grid(Results(tmp_path, [tmp_path / "a.csv"]), "a.csv", "g", "t")
    assert unpacked(table.data) == [[1, 2, 3], [0.1, None, 1e-7], ["NA", "null", "3"], [None, 'x, "y"', None]]
    assert [column.number for column in table.columns] == [True, True, False, False]
    assert (table.rows, table.all_rows) == (3, 3)


def test_a_column_with_infinity_is_text(tmp_path):
    """JSON has no infinity."""
    (tmp_path / "a.csv").write_text("z\ninf\n1\n")
    table = grids.grid(Results(tmp_path, [tmp_path / "a.csv"]), "a.csv", "g", "t")
    assert unpacked(table.data) == [["inf", "1"]]


def test_a_large_table_is_cut_off_and_says_so(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 50)
    table = grids.grid(Results(tmp_path, [tmp_path / "a.csv"]), "a.csv", "g", "t", most=21)
    assert (table.rows, table.all_rows, [len(of) for of in unpacked(table.data)]) == (10, 50, [10, 10])


@pytest.mark.parametrize(
    ("text", "wrong"), [("a,b\n1\n", "row 1 has 1 fields; expected 2"), ("a\n\xff\n", "cannot be read")]
)
def test_a_bad_table_is_refused(tmp_path, text, wrong):
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=wrong):
        Results(tmp_path, [tmp_path / "a.csv"]).table("a.csv")


def test_a_file_that_the_page_was_not_given_is_refused(tmp_path):
    """Though it lies in the folder: it may be of another configuration."""
    (tmp_path / "a.csv").write_text("a\n")
    with pytest.raises(UserError, match="was not given it"):
        Results(tmp_path, []).table("a.csv")


def test_columns_are_explained_once():
    with open(grids.COLUMNS, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["table"], row["column"]) for row in rows}) == len(rows)
    assert all(row["meaning"] for row in rows)
    assert grids.meaning("lineage.csv", "born") == ("step", "first step with the hole")
    assert grids.meaning("lineage.csv", "run") == grids.meaning("*", "run") != ("", "")
    assert grids.meaning("lineage.csv", "no such column") == ("", "")


def test_packed_arrays_are_read_back():
    for values in (
        np.arange(6, dtype=np.uint16).reshape(2, 3) + 300,
        np.array([-1.5], np.float32),
        np.array([[7]], np.uint8),
    ):
        packed = packing.array(values)
        kind = {"Uint16Array": "<u2", "Float32Array": "<f4", "Uint8Array": "<u1"}[packed["type"]]
        back = np.frombuffer(base64.b64decode(packed["bytes"]), kind).reshape(packed["shape"])
        assert np.array_equal(back, values)


# --- captions


def test_every_caption_can_be_shown():
    wildcards = dict.fromkeys(("experiment", "run", "checkpoint", "snowball", "lattice"), "one")
    files = sorted(REPORTS.glob("*.rst"))
    assert len(files) > 40
    for file in files:
        shown = captions.to_html(file, wildcards, config())
        assert shown.startswith("<p>"), file
        assert "{{" not in shown
        assert 10 < len(captions.first_sentence(shown)) < 600, file


def test_a_bad_caption_is_refused(tmp_path):
    for text in ("{{ snakemake.wildcards.sun }}", "*never closed\n\n.. nothing::\n"):
        (tmp_path / "a.rst").write_text(text)
        with pytest.raises(UserError, match="cannot be read as a caption"):
            captions.to_html(tmp_path / "a.rst", {}, {})


def test_first_sentence():
    assert captions.first_sentence("<p>One <em>hole</em> &amp; more. Two.</p>") == "One hole & more."
    assert captions.first_sentence("<p>No end</p>") == "No end"


# --- the page


def test_the_first_screen_says_what_happened(made):
    _, _, page = made
    assert (
        "In 2 of 2 runs one hole is left; it holds the 2 characters that the text never contains, and nothing else."
        in page.text
    )
    assert "In the only run no two characters share a vector at any step." in page.text
    assert "each token starts at its own point; weight decay 0" in page.text


def test_the_letter_grid_has_every_token(made):
    _, _, page = made
    cells = [cell for cell in page.all("span") if "cell" in cell.get("class", "").split()]
    titles = [cell["title"] for cell in cells]
    assert titles[0] == "NUL (token 0): in a hole of 2; never in the text"
    assert titles[4] == '" (token 4): alone; 14 times in the text'
    assert [{"held", "dead"} <= set(cell["class"].split()) for cell in cells] == [True, *[False] * 4, True]
    (shown,) = [of for of in page.all("div") if of.get("class") == "grid"]
    assert shown["aria-label"] == "All 6 characters of one, run 1, at step 3: 1 hole, with 2 characters; 2 are dead."


def test_nothing_is_asked_of_a_network(made):
    _, text, page = made
    addresses = [of[key] for _, of in page.elements for key in ("href", "src", "srcset", "action", "data") if key in of]
    assert all(re.match(r"#|data:|report\.html$", address) for address in addresses)
    (policy,) = [of["content"] for of in page.all("meta") if of.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data: blob:;")
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\s*\(", text)


def test_links_lead_somewhere_and_ids_are_unique(made):
    _, _, page = made
    ids = [of["id"] for _, of in page.elements if "id" in of]
    assert len(set(ids)) == len(ids)
    assert {of["href"][1:] for of in page.all("a") if of["href"].startswith("#")} <= set(ids)
    assert {of["data-svg"] for of in page.all("button") if "data-svg" in of} <= set(ids)
    assert {of["aria-labelledby"] for of in page.all("section")} <= set(ids)


def test_figures_have_captions_alternatives_and_downloads(made):
    root, _, page = made
    images = page.all("img")
    assert [image["alt"].split(":")[0] for image in images] == [
        "loss curves",
        "black hole counts",
        "lineage, run 1",
        "loss curves",
    ]
    assert all((image["width"], image["height"]) == ("40", "20") for image in images)
    stored = base64.b64decode(images[0]["src"].partition(",")[2])
    assert stored == (root / "one/figures/loss_curves.png").read_bytes()
    svg = gzip.decompress(base64.b64decode(page.content["figure-one-figures-loss_curves-svg"])).decode()
    assert svg == (root / "one/figures/loss_curves.svg").read_text()
    assert "Number of black holes (groups of two or more tokens with equal vectors)" in page.text


def test_an_experiment_without_holes_has_a_sentence_in_place_of_figures_of_holes(made):
    _, _, page = made
    assert "so there are no figures of black holes here" in page.text
    assert [image["alt"][:4] for image in page.all("img")].count("line") == 1, "only that of the experiment with holes"


def test_tables_hold_what_the_files_hold(made):
    _, _, page = made
    chosen = {of["id"]: of for of in page.all("script") if "data-file" in of}
    assert list(chosen) == [
        "table-corpus-text-tokens",
        "table-one-lineages",
        "table-one-summary",
        "table-apart-summary",
    ]
    one = chosen["table-one-summary"]
    assert json.loads(one["data-columns"]) == ["step", "series", "mean", "std", "min", "max", "runs"]
    assert unpacked(page.content["table-one-summary"])[:4] == [[0, 3], ["counts", "counts"], [1.5, 1], [None, 0.25]]
    assert {of["value"] for of in page.all("option")} == set(chosen)


def test_where_it_comes_from(made):
    _, _, page = made
    assert "have not been checked as a whole" in page.text
    assert "43 to 44" in page.text
    assert "report_command" not in page.text
    assert "weight_decay: 0.01" in page.text


def test_no_experiment_at_all(tmp_path):
    """A checkpoint's owner trains nothing."""
    values = config({"x": settings()}) | {"experiments": {}, "checkpoints": {"mine": {}}}
    (tmp_path / "checkpoints/mine").mkdir(parents=True)
    census = {"tokens": 30522, "holes": 0, "populations": [], "n_unique": 30522}
    (tmp_path / "checkpoints/mine/census.json").write_text(json.dumps(census))
    ranks = "token_id,text,category,rank\n0,[unused0],unreachable,1\n1,a,ordinary,3\n2,[unused1],unreachable,2\n"
    (tmp_path / "checkpoints/mine/tokens.csv").write_text(ranks)
    paths = [tmp_path / "checkpoints/mine" / name for name in ("census.json", "tokens.csv")]
    build.write(str(tmp_path / "index.html"), paths, TITLES, str(REPORTS), values)
    page = Parsed((tmp_path / "index.html").read_text(encoding="utf-8"))
    said = "Checkpoint mine No two of the 30,522 tokens have equal vectors."
    ranked = "By how unused their vectors look, 2 unused tokens rank first."
    assert "Small language models are trained" not in page.text
    assert f"{said} {ranked}" in page.text
    assert "The experiments" not in page.text


def test_many_pictures_have_fewer_colours(tmp_path, monkeypatch):
    paths = [write_picture(tmp_path / "figures", "experiments")]
    results = Results(tmp_path, paths)
    (shown,) = pictures.of_folder(
        results, "figures", {"experiments": "side by side"}, REPORTS, config(), {}, few_colours=True
    )
    assert base64.b64decode(shown.png.partition(",")[2])[25] == 3, "the type of a PNG with a palette"
    monkeypatch.setattr(pictures, "LARGEST", pictures.size(results) - 1)
    assert pictures.size(results) == paths[0].stat().st_size


def test_films_are_in_the_page_while_there_is_room(tmp_path, monkeypatch):
    paths = []
    for name in ("a", "b", "c"):
        paths.append(tmp_path / f"{name}/escape_film.gif")
        paths[-1].parent.mkdir()
        paths[-1].write_bytes(b"GIF" + name.encode() * 7)
    monkeypatch.setattr(pictures, "FILMS", 25)
    results = Results(tmp_path, paths)
    assert base64.b64decode(pictures.film(results, "a").partition(",")[2]) == b"GIFaaaaaaa"
    assert [bool(pictures.film(results, name)) for name in ("a", "b", "c", "d")] == [True, True, False, False]


def test_agreement_counts_what_was_judged(tmp_path):
    lines = ["experiment,quantity,verdict", "a,x,agrees", "a,y,agrees", "a,z,by construction", "a,w,undecided"]
    lines += ["a,all judged rows,undecided", "b,x,not run"]
    (tmp_path / "reproduction.csv").write_text("\n".join(lines) + "\n")
    results = Results(tmp_path, [tmp_path / "reproduction.csv"])
    assert first_screen.agreement(results) == [("a", "undecided: 2 agrees, 1 undecided")]


def test_questions_with_an_answer_come_first(tmp_path):
    head = "question,answer,effect,unit,low,high,n,counted,measure,rule,method,detail,figure"
    lines = [head, "a?,needs: more runs,,share,,,0,runs,m,r,h,,", "b?,yes,0.51234,share,0.4,0.6,3,runs,m,r,h,d,f/c.png"]
    (tmp_path / "questions.csv").write_text("\n".join(lines) + "\n")
    results = Results(tmp_path, [tmp_path / "questions.csv", write_picture(tmp_path / "f", "c")])
    first, second = first_screen.questions(results)
    assert (first.question, first.open, second.open, second.effect) == ("b?", False, True, "")
    assert first.effect == "0.512 (share), 95\u00a0% interval 0.4 to 0.6; of 3 runs"
    assert (first.figure, second.figure) == (pictures.identity("f", "c"), "")


def test_what_stages_took(tmp_path):
    for name, line in {
        "train/a_001": "60.5\t0:01:00\t300\t50",
        "train/a_002": "39.5\t0:00:40\t400\t30",
        "page": "-\t0:00:00\t-\t0",
    }.items():
        path = tmp_path / f"benchmarks/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\tcpu_time\n{line}\n")
    assert trust.stages(tmp_path) == [
        trust.Stage("train", 2, 100.0, 80.0, 400.0),
        trust.Stage("page", 1, 0.0, 0.0, 0.0),
    ]


def test_the_check_of_all_files_is_told(tmp_path):
    (tmp_path / "verify.csv").write_text("file,state,job,why\na,ok,,\nb,stale,,\nc,ok,,\n")
    assert re.search(r"found on \d\d \w+ \d{4}, \d\d:\d\d UTC: 2 ok, 1 stale\.$", trust.verified(tmp_path))


@pytest.mark.parametrize(("seconds", "said"), [(12.34, "12.3 s"), (61, "1:01 min"), (3723, "1:02:03")])
def test_clock(seconds, said):
    assert build.clock(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"), [(999, "999 bytes"), (1e3, "1.0 kB"), (1.94e9, "1.9 GB"), (5e12, "5.0 TB")]
)
def test_size(number, said):
    assert build.size(number) == said
