"""What texts will give as tokens, or what is wrong with them: `python -m blackholes.training.survey`.

A process of its own, asked while the configuration is read, which imports no torch. It reads a list of settings of
corpora as JSON, and prints as many answers.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from blackholes.errors import UserError
from blackholes.training import corpus, tokens


def survey(settings: Mapping) -> dict[str, Any]:
    """`tokens`, `size` (V) and `dead` of a corpus, prepared as its job will; or `error`, a line for the user."""
    with TemporaryDirectory() as folder:
        made, table, tokenizer = (str(Path(folder) / name) for name in ("tokens.safetensors", "tokens.csv", "t.json"))
        try:
            corpus.write(settings, made, table, tokenizer)
        except UserError as error:
            return {"error": str(error)}
        found = tokens.load(made)
        dead = int(found.dead_mask.sum())
        return {"tokens": len(found.token_ids), "size": len(found.dead_mask), "dead": dead}


if __name__ == "__main__":
    print(json.dumps([survey(settings) for settings in json.load(sys.stdin)]))
