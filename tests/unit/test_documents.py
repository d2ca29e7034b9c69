"""What the documents say is so: commands, examples, messages, links, configurations."""

import ast
import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from blackholes.config import model as config
from snakemake.utils import update_config

ROOT = Path(__file__).parents[2]
# docs/config.md is config/README.md, which is generated
DOCS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md") if path.name != "config.md")
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md", "tests/mutants/README.md", *DOCS]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS = r"make|snakemake|python|pip|pre-commit|squeue|sudo|source|\.venv/bin/\S+|[A-Z_]+=\S+ \S+"


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def commands(page):
    """The commands of a page: lines of fenced and indented blocks, and what is quoted, without comments."""
    text = read(page)
    rest = FENCED.sub("", text)
    lines = [line for kind, block in FENCED.findall(text) if kind in ("", "sh") for line in joined(block).splitlines()]
    lines += re.findall(r"^# \w+\.yaml: (.*)$", text, re.MULTILINE)  # how to use an overlay
    lines += re.findall(r"^ {4,}(\S.*)$", joined(rest), re.MULTILINE)
    lines += [quoted for quoted in re.findall(r"`([^`]+)`", rest) if not quoted.endswith(":")]
    plain = (" ".join(re.sub(r"\s#.*$", "", line).split()) for line in lines)
    return {line for line in plain if re.match(rf"({PROGRAMS}) \S", line)}


def joined(text):
    """Lines that end with a backslash and the next one as one."""
    return re.sub(r" *\\\n *", " ", text)


def test_every_command_is_run_by_a_test_or_has_a_reason():
    table = tomllib.loads((ROOT / "tests/documented_commands.toml").read_text(encoding="utf-8"))
    known = {command for section in table.values() for command in section}
    starts = [command.removesuffix("…") for command in table["not tested"] if command.endswith("…")]
    found = defaultdict(list)
    for page in PAGES:
        for command in commands(page):
            found[next((f"{start}…" for start in starts if command.startswith(start)), command)].append(page)
    assert len(found) > 60
    assert {command: found[command] for command in set(found) - known} == {}, "in no section"
    assert known - set(found) == set(), "in no document"
    assert sum(map(len, table.values())) == len(known), "in two sections"
    for command, test in table["tested"].items():
        file, _, function = test.partition("::")
        assert re.search(rf"^def {function}\(", read(file), re.MULTILINE), f"{command}: {test}"
    for command, file in table["ci"].items():
        words = [word for word in command.split() if "=" not in word]
        assert re.search(r"\b" + re.escape(" ".join(words)), read(file)), f"{command}: {file}"
    assert all(len(reason.split()) > 1 for reason in table["not tested"].values())


def test_every_target_of_make_that_is_named_is_there():
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    named = {command.split()[1] for page in PAGES for command in commands(page) if command.startswith("make ")}
    assert named
    assert named - targets == set()


def over_defaults(overlay):
    """An overlay given with `--configfile`, as Snakemake merges it."""
    merged = yaml.safe_load(read("config/config.yaml"))
    update_config(merged, overlay)
    return merged


CONFIGURATIONS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in ("README.md", *DOCS)
    for number, (kind, block) in enumerate(FENCED.findall(read(page)))
    if kind == "yaml"
]


@pytest.mark.parametrize("block", CONFIGURATIONS)
def test_configurations_are_valid(block):
    overlay = yaml.safe_load(block)
    for section in (overlay, *overlay.get("experiments", {}).values()):  # of a file that a reader names
        if isinstance(section, dict) and isinstance(section.get("corpus"), dict):
            section["corpus"].pop("path", None) and section["corpus"].pop("source", None)
    config.load(over_defaults(overlay))


def messages():
    """Every text in the code with `…` in place of what is filled in."""
    found = []
    files = [*(ROOT / "workflow/scripts").rglob("*.py"), *(ROOT / "workflow/rules").glob("*.smk")]
    for path in files:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".smk":
            whole = re.sub(r'"\n\s*f?"', "", text)  # adjacent strings
            found += [re.sub(r"\{[^}]*\}", "…", line) for line in re.findall(r'"([^"\n]*)"', whole)]
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_messages_are_those_of_the_code():
    known = messages()
    rows = re.findall(r"^\| `([^`]*(?:``[^`]*)*)` \|", read("docs/troubleshooting.md"), re.MULTILINE)
    rows += re.findall(r"^\| `(… at [^|]*)` \|", read("docs/troubleshooting.md"), re.MULTILINE)
    assert len(rows) > 20
    for row in rows:
        parts = [re.escape(part) for part in row.split("…")]
        pattern = re.compile(".*".join(parts), re.DOTALL)
        assert any(pattern.search(text) for text in known), row


def test_links_lead_somewhere():
    """`make docs` checks those between the documents; here also those of the other pages, and their anchors."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", read(page))):
            if target.startswith(("http:", "https:")):
                continue
            file, _, anchor = target.partition("#")
            path = (ROOT / page).parent / file if file else ROOT / page
            assert path.exists(), f"{page}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert len(read("README.md").splitlines()) <= 150
