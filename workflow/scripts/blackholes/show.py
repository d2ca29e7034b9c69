"""A short summary of the results: `python -m blackholes.show results/quick`. Reads tables only, imports no torch."""

import argparse
import os
from collections.abc import Container, Iterable
from pathlib import Path

import pandas as pd

from blackholes.artifacts.tables import read_tokens
from blackholes.checkpoints import answer
from blackholes.config import compare, files
from blackholes.config.model import Config
from blackholes.errors import UserError
from blackholes.training import learnt

COLUMNS = {
    "counts": "holes",
    "populations": "population",
    "largest_bh_size": "largest",
    "n_unique": "vectors",
    "touching.n_components": "clusters",
    "loss": "loss",
}

LATER = "BLACKHOLES_SHOWS_LATER"  # in the environment of a Snakemake
PAGES = {"page": "index.html", "report": "report.html"}


def table(results: Path, config: Config | None = None) -> str:
    """The summary: for each experiment means over its runs at some steps, then a line per corpus, checkpoint, …

    Args:
        config: what is of another configuration is left out, and named at the end; None: all is shown.
    """
    lines, others = [], compare.other_runs(config, results) if config else {}
    left_out = {name.partition("/")[0] for name in others if _is_counted(config, name)}
    current = _names(config, others) if config else {}
    for summary in sorted(results.glob("*/summary.csv")):
        if summary.parent.name in left_out:
            continue
        series = pd.read_csv(summary)
        means = series.pivot(index="step", columns="series", values="mean").reindex(columns=list(COLUMNS))
        steps = [step for step in (0, 1, 10, 100, 1000, 10000) if step in means.index]
        rows = means.loc[sorted({*steps, means.index[-1]})].rename(columns=COLUMNS)
        rows.columns.name = None
        increases = len(pd.read_csv(summary.with_name("increases.csv")))
        lines += [f"{summary.parent.name}: means over {series['runs'].iloc[0]} runs; "
                  f"{increases} steps on which the number of holes increased, over all runs",
                  rows.to_string(float_format=lambda value: f"{value:.2f}", na_rep="-"),
                  *_at_chance(summary.parent), ""]  # fmt: skip
    for tokens in _of(results.glob("corpus/*/tokens.csv"), current.get("corpus")):
        status = read_tokens(tokens)["status"]
        dead = status == "dead"
        lines.append(f"corpus {tokens.parent.name}: {dead.sum()} of {len(dead)} tokens ({dead.mean():.1%}) are dead")
    for path in _of(results.glob("checkpoints/*/census.json"), current.get("checkpoints")):
        lines.append(f"checkpoint {path.parent.name}: {answer.answer(path)}")
    for path in _of(results.glob("snowballs/*/z_scores.csv"), current.get("snowballs")):
        scores = pd.read_csv(path).query("statistic == 'n_unique'").dropna(subset="sigma").sort_values("sigma")
        means = [f"{row.mean:,.1f} vectors at σ = {row.sigma:.3g}" for row in scores.iloc[[0, -1]].itertuples()]
        own = "".join(f"; the checkpoint has {own:,.0f}" for own in scores["checkpoint"].dropna().unique())
        lines.append(f"snowballs {path.parent.name}: {', '.join(dict.fromkeys(means))}{own}{_test(path)}")
    for path in _of(results.glob("lattice/*/lifecycle_medians.csv"), current.get("lattice")):
        late = pd.read_csv(path).query("coordinates == 'all'").set_index("tokens")["late"].dropna()
        groups = [f"{tokens} tokens after step {step:,.0f}" for tokens, step in late.items()]
        lines.append(f"lattice {path.parent.name}: the median token freezes: {', '.join(groups) or 'no tokens'}")
    lines += [f"of another configuration: {name}: {'; '.join(why)}" for name, why in compare.together(others).items()]
    return "\n".join(lines)


def _at_chance(experiment: Path) -> list[str]:
    """A line about the runs of an experiment that learnt nothing, if there are any."""
    runs = sorted(experiment.glob("run_*"))
    found = [learnt.warning(run / "training_log.csv", run / "model/config.json") for run in runs]
    lines = list(filter(None, found))
    return [f"{len(lines)} of {len(runs)} runs: {lines[0]}"] if lines else []


def _is_counted(config: Config | None, name: str) -> bool:
    """Whether tables of an experiment are made from this run; a run too many, of earlier settings, is in none."""
    experiment, _, run = name.partition("/")
    return config is None or experiment not in config.experiments or run in config.experiments[experiment].run_names()


def _names(config: Config, others: Container[str]) -> dict[str, Container[str]]:
    """Kind of results → the names that the configuration has, but for what was made from runs of another."""
    checkpoints = {name for name, entry in config.checkpoints.items() if entry.run not in others}
    without = [name for name in config.checkpoints if name not in checkpoints]
    return {
        "corpus": config.corpora(),
        "checkpoints": checkpoints,
        "snowballs": {name for name, entry in config.snowballs.items() if entry.centroid not in without},
        "lattice": {name for name, entry in config.lattice.items() if entry.run not in others},
    }


def _of(paths: Iterable[Path], names: Container[str] | None) -> list[Path]:
    """The files in folders of these names; of all where the configuration is not known."""
    return sorted(path for path in paths if names is None or path.parent.name in names)


def _test(scores: Path) -> str:
    """What the permutations of a checkpoint's tokens say, from the table beside z_scores.csv."""
    table = scores.with_name("permutation_test.csv")
    facts = dict(pd.read_csv(table, dtype=str).itertuples(index=False)) if table.exists() else {}
    if "joint_p" in facts:
        return f"; permutations: joint p {float(facts['joint_p']):.3g}"
    return f"; not tested: {facts['not_tested']}" if "tokens" in facts else ""


def ending(results: Path) -> str:
    """Where the page and the report are, and what to try next."""
    pages = {name: results / file for name, file in PAGES.items()}
    lines = [f"The {name}: {page.resolve().as_uri()}" for name, page in pages.items() if page.exists()]
    next_steps = ["a text of yours: make text FILE=my_text.txt", "a model: make checkpoint MODEL=folder or owner/name"]
    next_steps += [f'from Python: blackholes.open("{results}")', "more: docs/tutorial.md"]
    return "\n".join([*lines, "Next:", *(f"  {step}" for step in next_steps)])


def at_the_end(config: Config) -> None:
    """Print what `main` does, at the end of a call of Snakemake, which no fault of a table makes a failure.

    Not where `LATER` of the environment says that whoever called Snakemake prints it.
    """
    if os.environ.get(LATER):
        return
    results = Path(config.results)
    try:
        said = table(results, config)
    except (OSError, ValueError, LookupError) as error:  # UserError is a ValueError
        said = f"no table of the results: {error}"
    print(f"\n{said}\n\n{ending(results)}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m blackholes.show", description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", help="folder of the results (that of the configuration)")
    parser.add_argument("--configfile", nargs="+", default=[], help="as of the call of Snakemake that made them")
    options = parser.parse_args()
    arguments = ["--configfile", *options.configfile]
    try:
        results = options.results or files.results_folder(arguments)
        config = files.load(arguments) if options.configfile else None
    except UserError as error:
        parser.error(str(error))
    if not list(results.glob("*/summary.csv")) + list(results.glob("checkpoints/*/census.json")):
        others = sorted({str(path.parents[1]) for path in results.glob("*/*/summary.csv")})
        hint = f"there are results in {', '.join(others)}" if others else "run the workflow first"
        parser.error(f"{results}: no summary.csv of any experiment in this folder; {hint}")
    print(table(results, config))
    print(f"\n{ending(results)}")


if __name__ == "__main__":
    main()
