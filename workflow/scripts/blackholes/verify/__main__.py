"""Check every file of some results against what is recorded of it, and with `--` against configuration and code.

Exit status 0: nothing is missing, damaged, foreign or stale; 1: something is; 2: the check itself failed.
"""

import argparse
import sys
from pathlib import Path

from blackholes.config.files import results_folder
from blackholes.errors import UserError
from blackholes.verify.check import WRONG, set_aside
from blackholes.verify.run import run

EPILOG = """
ok: the file is what its job wrote, has what its kind has to have, and comes from the inputs that are there now
missing: it was written, or should be, and is not there
damaged: its bytes are others, or it cannot be loaded, or its record cannot
foreign: a complete file, but not the one that its job wrote
stale: an input, the configuration or the code is another now
orphaned: no job wrote it, or the configuration has nothing that makes it; it does no harm
"""


def main() -> int:
    ours, divider, theirs = _split(sys.argv[1:])
    parser = argparse.ArgumentParser(
        prog="python -m blackholes.verify",
        usage="%(prog)s [results] [--set-aside] [-- arguments of snakemake, such as --configfile config/quick.yaml]",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, nargs="?", help="folder of the results (that of the configuration)")
    parser.add_argument(
        "--set-aside",
        action="store_true",
        help="rename damaged and foreign files, so that the next call makes them anew",
    )
    options = parser.parse_args(ours)
    try:
        results = options.results or results_folder(theirs)
        found = run(results, theirs if divider else None, print)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name in set_aside(results, found) if options.set_aside else ():
        print(f"kept as {name}")
    return int(any(one.state in WRONG for one in found))


def _split(arguments: list[str]) -> tuple[list[str], bool, list[str]]:
    """What stands before the first --, whether there is one, and what stands behind."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], at < len(arguments), arguments[at + 1 :]


if __name__ == "__main__":
    sys.exit(main())
