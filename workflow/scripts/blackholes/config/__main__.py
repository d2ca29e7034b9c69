"""`python -m blackholes.config` prints config/README.md, with `--schema` config/schema.json."""

import argparse

from blackholes.config import reference, schema

parser = argparse.ArgumentParser(prog="python -m blackholes.config", description=__doc__)
parser.add_argument("--schema", action="store_true", help="print the JSON schema in place of the reference")
print(schema.text() if parser.parse_args().schema else reference.markdown(), end="")
