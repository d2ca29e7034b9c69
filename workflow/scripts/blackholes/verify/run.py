"""The check of some results, from asking Snakemake to the table and what is said."""

from collections.abc import Callable
from pathlib import Path

from blackholes.config import compare, files
from blackholes.errors import UserError
from blackholes.verify import check, plan


def run(results: Path, arguments: list[str] | None, log: Callable[[str], None]) -> list[check.Found]:
    """Check some results, write verify.csv and say what is wrong. Returns every file and its state.

    Args:
        arguments: of Snakemake, to compare with configuration and code; None: not.

    Raises:
        UserError: there are no such results, or Snakemake refuses the configuration.
    """
    if not results.is_dir():
        raise UserError(f"{results}: no such folder; expected results")
    asked = None if arguments is None else plan.ask(arguments, check.made(results), results)
    found = check.check(results, asked)
    others = {} if arguments is None else compare.other_runs(files.load(arguments), results)
    for one in found:
        if one.state in ("stale", "orphaned") and (why := others.get("/".join(Path(one.file).parts[:2]))):
            one.why = f"of another configuration: {'; '.join(why)}"
    for one in found:
        if one.state != "ok":
            log(f"{one.state}: {results / one.file}: {one.why}")
    table = check.write(results, found)
    counts = {state: sum(one.state == state for one in found) for state in ("ok", *check.WRONG, "orphaned")}
    log(f"{len(found):,} files: {', '.join(f'{count:,} {state}' for state, count in counts.items() if count)}; {table}")
    for name, why in compare.together(others).items():
        log(f"of another configuration: {results / name}: {'; '.join(why)}")
    if arguments is None:
        log("not compared with a configuration and the code: for that, put -- and Snakemake's arguments behind")
    return found
