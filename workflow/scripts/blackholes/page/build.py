"""The page as a whole: what each section shows, in the order of the configuration, put into the templates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from blackholes.artifacts.files import write_text
from blackholes.page import colours, explorer, facts, first_screen, pictures, trust
from blackholes.page.grids import Grid, grid
from blackholes.page.pictures import Picture
from blackholes.page.results import Results
from blackholes.page.sources import SCRIPTS, TEMPLATES

OF_NAMES = (  # key of the configuration, a folder of the results → wildcard → title of a section
    ("checkpoints", "checkpoint", "Checkpoint"),
    ("snowballs", "snowball", "Snowballs"),
    ("lattice", "lattice", "Motion"),
)

NO_TABLES = ("training_log.csv", "lineage_events.csv")  # the figures and the explorer show them


@dataclass
class Section:
    """A part of the page with figures."""

    id: str
    title: str
    sentences: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def write(out: str, paths: Iterable[str], titles: Mapping[str, str], reports: str, config: Mapping[str, Any]) -> str:
    """Write index.html. Returns a one-line summary.

    Args:
        out: its path, in the folder of the results. paths: the files of the results that it is made from.
        titles: name of a figure → its title; figures are shown in this order.
        reports: the folder of the captions. config: the workflow's, checked.

    Raises:
        UserError: naming a file that cannot be read, or what is wrong with it.
    """
    results = Results(Path(out).parent, paths)
    experiments = read_experiments(results, config)
    sections = figure_sections(results, experiments, titles, Path(reports), config)
    tables = all_tables(results, config)
    text = render(
        screen=first_screen.build(results, experiments, config),
        explorer=explorer.build(results, experiments, config),
        sections=sections,
        tables=tables,
        trust={
            "stages": trust.stages(results.root),
            "files": trust.files(results),
            "versions": trust.versions(results.root),
            "machine": trust.machine(),
            "configuration": trust.configuration(config),
            "verified": trust.verified(results.root),
            "seeds": seeds(config),
        },
        made=f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC",
    )
    write_text(out, text)
    count = sum(len(section.pictures) for section in sections)
    return f"{count} figures, {len(tables)} tables, {len(text.encode()) / 1e6:,.1f} MB"


def render(**values: Any) -> str:
    """The templates with what they show."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": lambda number: f"{number:,}", "clock": clock, "bytes": size}
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    scripts = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return environment.get_template("index.html.j2").render(
        style=style, scripts=scripts, text_colours=colours.TEXT, palette=palette(), **values
    )


def palette() -> dict[str, Any]:
    """The colours that scripts draw with."""
    fills = [*colours.HOLES, colours.SMALL_HOLES]
    return {
        "holes": [[fill, colours.ink_on(fill)] for fill in fills],
        "lines": colours.LINES,
        "dashes": colours.DASHES,
        "ink": colours.INK,
    }


def clock(seconds: float) -> str:
    """`1:02:03`, or `12.3 s` of less than a minute."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02} min"


def size(number: float) -> str:
    """`1.9 GB`, of 10⁹ bytes"""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def read_experiments(results: Results, config: Mapping[str, Any]) -> list[facts.Facts]:
    """The experiments of the configuration, in its order, those that had a hole first."""
    corpora: dict[str, facts.Tokens] = {}
    found = []
    for name, settings in config["experiments"].items():
        corpus = settings["corpus"]["name"]
        if corpus not in corpora:
            corpora[corpus] = facts.read_tokens(results, corpus)
        found.append(facts.read(results, name, settings, corpora[corpus]))
    return sorted(found, key=lambda it: not it.has_holes)


def figure_sections(
    results: Results,
    experiments: list[facts.Facts],
    titles: Mapping[str, str],
    reports: Path,
    config: Mapping[str, Any],
) -> list[Section]:
    """A section for each experiment, one for all of them, and those of checkpoints, snowballs and lattice."""
    few = pictures.size(results) > pictures.LARGEST

    def of(folder: str, left_out: tuple[str, ...] = (), **wildcards: str) -> list[Picture]:
        return pictures.of_folder(results, folder, titles, reports, config, wildcards, few, left_out)

    sections = []
    for it in experiments:
        section = Section(f"experiment-{it.name}", it.name)
        left_out = () if it.has_holes else pictures.OF_HOLES
        if not it.has_holes:
            section.sentences.append(
                f"No two {it.tokens.words} ever share a vector, at any step of any run, so there are no figures of "
                "black holes here: not of their number, populations, members or lineage, nor of escapes from them."
            )
        section.pictures += of(f"{it.name}/figures", left_out, experiment=it.name)
        for run in it.runs:
            section.pictures += of(f"{it.name}/{run}/figures", left_out, experiment=it.name, run=run[4:])
        sections.append(section)
    sections.append(Section("comparison", "Experiments side by side", [], of("figures", experiment="all")))
    for kind, wildcard, title in OF_NAMES:
        for name in config[kind]:
            shown = of(f"{kind}/{name}/figures", **{wildcard: name})
            sections.append(Section(f"{kind}-{name}", f"{title}: {name}", [], shown))
    return [section for section in sections if section.pictures or section.sentences]


def all_tables(results: Results, config: Mapping[str, Any]) -> list[Grid]:
    """Every table that the page was given, by groups."""
    found = []
    for name in results.files:
        folder, _, file = name.rpartition("/")
        if not file.endswith(".csv") or file in NO_TABLES:
            continue
        group = {"": "All experiments"}.get(folder, folder.replace("/", ": "))
        found.append(grid(results, name, group, file.removesuffix(".csv").replace("_", " ")))
    order = ["", "corpus", *config["experiments"], "checkpoints", "snowballs", "lattice"]
    return sorted(found, key=lambda table: order.index(table.file.split("/")[0] if "/" in table.file else ""))


def seeds(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(experiment, the seeds of its runs)."""
    said = []
    for name, settings in config["experiments"].items():
        first, last = settings["base_seed"] + 1, settings["base_seed"] + settings["runs"]
        said.append((name, str(first) if first == last else f"{first} to {last}"))
    return said
