"""A short table of what was found: `python -m blackholes.show results`. Reads tables only, imports no torch."""

import argparse
import json
from pathlib import Path

import pandas as pd

from blackholes.artifacts.tables import read_tokens

COLUMNS = {
    "counts": "holes",
    "populations": "population",
    "largest_bh_size": "largest",
    "n_unique": "vectors",
    "touching.n_components": "clusters",
    "loss": "loss",
}


def table(results: Path) -> str:
    """Means over the runs of every experiment at its first, some middle and its last step, as text."""
    lines = []
    for summary in sorted(results.glob("*/summary.csv")):
        series = pd.read_csv(summary)
        means = series.pivot(index="step", columns="series", values="mean").reindex(columns=list(COLUMNS))
        steps = [step for step in (0, 1, 10, 100, 1000, 10000) if step in means.index]
        shown = means.loc[sorted({*steps, means.index[-1]})].rename(columns=COLUMNS)
        shown.columns.name = None
        risen = len(pd.read_csv(summary.with_name("increases.csv")))
        lines += [f"{summary.parent.name}: means over {series['runs'].iloc[0]} runs; "
                  f"{risen} steps on which the number of holes increased, all runs together",
                  shown.to_string(float_format=lambda value: f"{value:.2f}", na_rep="-"), ""]  # fmt: skip
    for tokens in sorted(results.glob("corpus/*/tokens.csv")):
        status = read_tokens(tokens)["status"]
        lines.append(f"corpus {tokens.parent.name}: {(status == 'dead').sum()} of {len(status)} tokens are dead")
    for census in sorted(results.glob("checkpoints/*/census.json")):
        found = json.loads(census.read_text(encoding="utf-8"))
        sizes = ", ".join(f"{size:,}" for size in found["populations"][:5]) + ", …" * (found["holes"] > 5)
        holes = f"{found['holes']:,} hole{'s' * (found['holes'] > 1)} of {sizes} tokens" if sizes else "no hole"
        lines.append(f"checkpoint {census.parent.name}: {holes} among {found['tokens']:,}")
    for scores in sorted(results.glob("snowballs/*/z_scores.csv")):
        series = pd.read_csv(scores).query("statistic == 'n_unique'").sort_values("sigma")
        found = [f"{row.mean:,.1f} vectors at σ = {row.sigma:.3g}" for row in series.iloc[[0, -1]].itertuples()]
        own = "".join(f"; the checkpoint has {own:,.0f}" for own in series["checkpoint"].dropna().unique())
        lines.append(f"snowballs {scores.parent.name}: {', '.join(dict.fromkeys(found))}{own}")
    for medians in sorted(results.glob("lattice/*/lifecycle_medians.csv")):
        late = pd.read_csv(medians).set_index("tokens")["late"].dropna()
        found = [f"{tokens} tokens after step {step:,.0f}" for tokens, step in late.items()]
        lines.append(f"lattice {medians.parent.name}: the median token is frozen: {', '.join(found) or 'none is'}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m blackholes.show", description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help="folder of the results")
    results = parser.parse_args().results
    if not list(results.glob("*/summary.csv")):
        parser.error(f"{results}: no experiment's summary.csv in it; run the workflow first")
    print(table(results))
    report = results / "report.html"
    if report.exists():
        print(f"\nThe report: {report.resolve()}")


if __name__ == "__main__":
    main()
