"""Say what a call of Snakemake would run, why, and what it will cost in time, disk and memory. Runs nothing of it."""

import argparse
import os
import sys

from blackholes.config.files import results_folder
from blackholes.errors import UserError
from blackholes.plan.run import run


def main() -> int:
    arguments = sys.argv[1:]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m blackholes.plan",
        usage="%(prog)s [--cores N] [-- targets and arguments of snakemake, such as --configfile config/quick.yaml]",
        description=__doc__,
    )
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="of the call (all of these)")
    cores = parser.parse_args(arguments[:at]).cores
    if cores < 1:
        parser.error(f"--cores: {cores} is not allowed; expected 1 or more")
    try:
        theirs = arguments[at + 1 :]
        run(results_folder(theirs), ["--cores", str(cores), *theirs], cores, print)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
