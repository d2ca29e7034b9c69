"""docs/files.md names every file of a run, every key and every column, with its type, and none that no run has.

A section or a row with a sentence that begins with "Only" or "Not" may be absent: it says when it is there.
"""

import csv
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import pytest
from blackholes.artifacts.safetensors_header import read_header

PAGE = Path(__file__).resolve().parents[2] / "docs/files.md"
NAMES = {  # as the page calls them → as safetensors does
    **{f"{word}{bits}": f"{letter}{bits}" for word, letter in {"int": "I", "uint": "U", "float": "F"}.items()
       for bits in (8, 16, 32, 64)},
    "bfloat16": "BF16",
    "bool": "BOOL",
}  # fmt: skip
FIELDS = {  # type of a column → what its fields look like
    "int": r"-?\d+|",
    "float": r"-?(\d+(\.\d+)?(e[-+]?\d+)?|inf|nan)|",
    "0/1": r"[01]|",
    "ids": r"(\d+( \d+)*)?",
    "text": r"(?s).*",
}
GRAPHML = {"int": "int", "text": "string", "boolean": "boolean"}
WHEN = re.compile(r"(^|[.(] )(Only|Not) ")


@dataclass
class Row:
    """A row of a table of the page."""

    name: str
    type: str
    shape: str
    sometimes: bool

    def fits(self, key: str) -> bool:
        return re.fullmatch(pattern(self.name, "[^.]+"), key) is not None


@dataclass
class Section:
    """A heading of the page: one or more files, and what they have."""

    names: list[str]
    sometimes: bool = False
    rows: list[Row] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # of the run


def pattern(name: str, placeholder: str) -> str:
    """A name with <words> in it, as a regular expression."""
    parts = re.split(r"<(\w+)>", name)
    wild = {"NNN": r"\d+", "job": ".+", "file": ".+"}
    return "".join(wild.get(part, placeholder) if i % 2 else re.escape(part) for i, part in enumerate(parts))


def read_page(text: str) -> list[Section]:
    sections: list[Section] = []
    folder = ""
    for block in re.split(r"\n(?=#{2,3} )|\n\n", text):
        quoted = re.findall(r"`([^`]+)`", block.split("\n")[0])
        if block.startswith("### "):
            sections.append(Section([folder + name for name in quoted]))
        elif block.startswith("## "):
            folder = quoted[0] if len(quoted) == 1 else ""
        elif block.startswith("| ") and sections:
            head, _, *lines = ([cell.strip() for cell in line.strip("|").split(" |")] for line in block.splitlines())
            for cells in lines:
                assert len(cells) == len(head), f"{sections[-1].names[0]}: {cells}"
                of = dict(zip(head, cells, strict=True))
                for name in re.findall(r"`([^`]+)`", cells[0]):
                    sections[-1].rows.append(Row(name, of["type"], of.get("shape", ""), bool(WHEN.search(of["what"]))))
        elif sections and not sections[-1].rows and block.strip():
            sections[-1].sometimes |= bool(WHEN.search(block))
    return sections


def compare(sections: list[Section], top: Path, files: list[str]) -> list[str]:
    """Every difference between the page and the files below `top`, as a line."""
    wrong = []
    for file in files:
        found = [
            (len(re.sub(r"<\w+>", "", name)), section)
            for section in sections
            for name in section.names
            if re.fullmatch(pattern(name, "[^/]+"), file)
        ]
        if found:
            section = max(found, key=lambda item: item[0])[1]
            section.files.append(file)
            wrong += differences(section, top / file, file)
        else:
            wrong.append(f"{file}: not on the page")
    for section in sections:
        for name in section.names:
            if not section.sometimes and not any(re.fullmatch(pattern(name, "[^/]+"), file) for file in section.files):
                wrong.append(f"{name}: on the page, but no run has it")
    return wrong


def differences(section: Section, path: Path, name: str) -> list[str]:
    kind = path.suffix
    if name.endswith(("tokenizer.json", "model/config.json", "model/model.safetensors")):
        return []  # as the libraries write them
    if kind == ".safetensors":
        real = {key: tensor(entry) for key, entry in read_header(path).tensors.items()}
    elif kind in (".csv", ".tsv"):
        with open(path, newline="", encoding="utf-8") as text:
            head, *lines = csv.reader(text, delimiter="\t" if kind == ".tsv" else ",")
        real = {column: [line[index] for line in lines] for index, column in enumerate(head)}
    elif kind == ".json":
        real = dict.fromkeys(json.loads(path.read_text(encoding="utf-8")))
    elif kind == ".graphml":
        keys = ElementTree.parse(path).getroot().findall("{*}key")
        real = {key.attrib["attr.name"]: key.attrib["attr.type"] for key in keys}
    else:
        return []
    wrong = []
    for key, found in real.items():
        row = next((row for row in section.rows if row.fits(key)), None)
        if row is None:
            wrong.append(f"{name}: {key}: not on the page")
        elif not agrees(row, found, kind):
            shown = found[:3] if isinstance(found, list) else found
            wrong.append(f"{name}: {key}: {shown}, on the page {row.type} {row.shape}")
    absent = [row.name for row in section.rows if not row.sometimes and not any(row.fits(key) for key in real)]
    return wrong + [f"{name}: {key}: on the page, not in the file" for key in absent]


def tensor(entry: dict) -> tuple[str, int]:
    return entry["dtype"], len(entry["shape"])


def agrees(row: Row, found, kind: str) -> bool:
    if kind == ".safetensors":
        types = [NAMES[name] for name in row.type.split(", ")] if row.type != "as in the checkpoint" else [found[0]]
        return found[0] in types and found[1] == len(re.findall(r"[^,() ][^,)]*", row.shape))
    if kind in (".csv", ".tsv"):
        fields = FIELDS[row.type] + ("|-|NA" if kind == ".tsv" else "")  # what Snakemake could not measure
        return all(re.fullmatch(fields, text) for text in found)
    return kind != ".graphml" or found == GRAPHML[row.type]


def test_the_page_and_a_run_have_the_same_files_keys_and_columns(finished):
    sections = read_page(PAGE.read_text(encoding="utf-8"))
    assert compare(sections, finished.path("results"), finished.results()) == []
    assert sum(bool(section.files) for section in sections) > 40


TEXT = """
## A run: `<experiment>/run_<NNN>/`

### `a.safetensors`

| key | type | shape | unit | what |
|---|---|---|---|---|
| `x` | float32 | (S, V) | | |
| `<adjacency>.n` | int32, int64 | (S,) | | |
| `full` | float32 | (S,) | | every number. Only with `record: full` |

### `t.csv`

Only with `record`.

| column | type | unit | what |
|---|---|---|---|
| `step`, `hole` | int | | |
| `share` | float | | |
"""


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("", ""), []),
        (("`x`", "`y`"), ["a.safetensors: x: not on the page", "a.safetensors: y: on the page, not in the file"]),
        (("float32 | (S, V)", "bfloat16 | (S, V)"), ["a.safetensors: x: ('F32', 2), on the page bfloat16 (S, V)"]),
        (("(S, V)", "(S,)"), ["a.safetensors: x: ('F32', 2), on the page float32 (S,)"]),
        (("number. Only", "number, only"), ["a.safetensors: full: on the page, not in the file"]),
        (("### `t.csv`", "### `u.csv`"), ["t.csv: not on the page"]),
        (("`step`, `hole`", "`step`"), ["t.csv: hole: not on the page"]),
        (("`share` | float", "`share` | int"), ["t.csv: share: ['0.5'], on the page int "]),
        (("Only with `record`.", "### `v.csv`"), ["v.csv: on the page, but no run has it"]),
    ],
)
def test_what_differs_is_found(tmp_path, edit, said):
    import torch
    from blackholes.artifacts.tensors import write_tensors

    run = tmp_path / "qwen/run_001"
    run.mkdir(parents=True)
    tensors = {"x": torch.zeros(2, 3), "cells.n": torch.zeros(2, dtype=torch.int64)}
    write_tensors(run / "a.safetensors", tensors)
    (run / "t.csv").write_text("step,hole,share\n1,,0.5\n")
    text = TEXT.replace(*edit) if edit[0] else TEXT
    found = compare(read_page(text), tmp_path, ["qwen/run_001/a.safetensors", "qwen/run_001/t.csv"])
    names = [line.replace("qwen/run_001/", "").replace("<experiment>/run_<NNN>/", "") for line in found]
    assert set(said) <= set(names), names
    assert bool(names) == bool(said)
