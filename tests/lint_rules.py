"""`snakemake --lint`, less one of its opinions: `make lint`.

Input functions stand in the file of the rules that use them.
"""

import re
import subprocess
import sys

ACCEPTED = ("Mixed rules and functions in same snakefile",)

run = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], capture_output=True, text=True)
said = run.stdout + run.stderr
lints = re.findall(r"^    \* (.*)$", said, re.MULTILINE)
if run.returncode and (not lints or not all(lint.startswith(ACCEPTED) for lint in lints)):
    sys.exit(said)
