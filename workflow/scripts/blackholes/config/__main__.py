"""`python -m blackholes.config` prints config/README.md, with `--schema` config/schema.json; or it checks overlays."""

import argparse
import sys

from blackholes.config import bounds, reference, schema
from blackholes.errors import UserError

parser = argparse.ArgumentParser(prog="python -m blackholes.config", description=__doc__)
parser.add_argument("--schema", action="store_true", help="print the JSON schema in place of the reference")
parser.add_argument(
    "--check",
    nargs="+",
    metavar="FILE",
    help="print nothing; refuse files for --configfile that would run code or take very much memory to read",
)
arguments = parser.parse_args()
try:
    for file in arguments.check or []:
        bounds.check_file(file)
except UserError as error:
    sys.exit(f"error: {error}")
if not arguments.check:
    print(schema.text() if arguments.schema else reference.markdown(), end="")
