"""A text or a checkpoint of your own: says first what it will take, runs Snakemake, and then says the answer.

python -m blackholes.own text my_text.txt [--steps 1000] [--encoding cp1252]     make text FILE=my_text.txt
python -m blackholes.own checkpoint folder, file or owner/name[@revision]        make checkpoint MODEL=…
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from blackholes import show
from blackholes.checkpoints import answer
from blackholes.config import files
from blackholes.config.corpus import Corpus
from blackholes.config.fields import problem_line
from blackholes.errors import UserError
from blackholes.orchestration import inputs
from blackholes.plan import run as plan

SNAKEFILE = files.BASE.parents[1] / "Snakefile"


def text(options: argparse.Namespace) -> None:
    """Train on a text, in results/text/<its name>.

    Raises:
        UserError: the text cannot be used.
    """
    given = {"source": "file", "path": options.file, "encoding": options.encoding}
    try:
        given["name"] = Corpus.model_validate(given).folder
    except ValidationError as error:
        raise UserError(*(problem_line(problem, Corpus) for problem in error.errors())) from None
    values: dict[str, Any] = {"corpus": given, "results": f"results/text/{given['name']}"}
    if options.steps:
        values["experiment_defaults"] = {"steps": options.steps}
    call = _call("my_text.yaml", values)
    folder = files.results_folder(call)
    _plan(folder, call, options.cores)
    _run(["all", *call], options.cores)
    print(f"{show.table(folder, files.load(call))}\n\n{show.ending(folder)}")


def checkpoint(options: argparse.Namespace) -> None:
    """Read and analyse a finished model, in results/checkpoint/<its name>; snowballs only where it has a hole.

    Raises:
        UserError: it is neither on the disk nor a name of the Hugging Face hub.
    """
    name, entry = _checkpoint(options.model)
    if options.tensor:
        entry["tensor"] = options.tensor
    values: dict[str, Any] = {"checkpoints": {name: entry}, "results": f"results/checkpoint/{name}"}
    call = _call("my_checkpoint.yaml", values)
    folder = files.results_folder(call)
    _plan(folder, call, options.cores)
    _run(["checkpoints", *call], options.cores)
    census = folder / "checkpoints" / name / "census.json"
    print(f"\n{name}: {answer.answer(census)}\n", flush=True)
    if answer.has_holes(census):
        print("== snowballs around its holes: could noise and rounding alone have made them?")
        call = _call("my_checkpoint.yaml", values | {"snowballs": {name: {"centroid": name}}})
    _run(["all", *call], options.cores)
    print(f"{show.table(folder, files.load(call))}\n\n{show.ending(folder)}")


def _checkpoint(model: str) -> tuple[str, dict[str, str]]:
    """The name of a checkpoint's folder, and its entry in the configuration."""
    path = Path(model).expanduser()
    if path.exists():
        place = path if path.is_dir() else path.with_suffix("")
        stem, entry = place.resolve().name, {"path": model}
    elif found := re.fullmatch(r"([A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?:@(\S+))?", model):
        stem, entry = found[1].partition("/")[2] or found[1], {"hub": found[1], "revision": found[2] or "main"}
    else:
        raise UserError(f"{model}: no such file or folder, and no name of a model on the hub; expected one of them")
    name = re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:80]
    return (name if re.match("[a-z]", name) else f"model-{name}".rstrip("-")), entry


def _call(overlay: str, values: dict[str, Any]) -> list[str]:
    """Arguments of Snakemake: an overlay of ours, and values that are merged over it."""
    pairs = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
    return ["--snakefile", str(SNAKEFILE), "--configfile", str(files.BASE.with_name(overlay)), "--config", *pairs]


def _plan(folder: Path, call: list[str], cores: int) -> None:
    """Say what a call will take: tokens, minutes, disk. Raises UserError for a text or checkpoint with a fault."""
    inputs.refuse(files.load(call))
    lines: list[str] = []
    plan.run(folder, ["all", "--cores", str(cores), *call], cores, lines.append)
    said = [line for line in lines if re.match(r"corpus |\d+ jobs: |judged by |nothing would run", line)]
    print("\n".join(said), flush=True)
    print(f"results in {folder}; {shutil.disk_usage(Path.cwd()).free / 1e9:,.0f} GB are free there", flush=True)


def _run(arguments: list[str], cores: int) -> None:
    """Run Snakemake; end with its exit status where that is not 0."""
    target, *rest = arguments
    print(f"== running snakemake {target} --cores {cores}", flush=True)
    command = [sys.executable, "-m", "snakemake", target, "--cores", str(cores), *rest]
    if status := subprocess.run(command, env=os.environ | {show.LATER: "yes"}).returncode:
        sys.exit(status)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m blackholes.own", description=(__doc__ or "").partition("\n")[0])
    kinds = parser.add_subparsers(required=True, metavar="text|checkpoint")
    of_text = kinds.add_parser("text", help="train on a text file")
    of_text.add_argument("file")
    of_text.add_argument("--steps", type=int, help="of every run (3000)")
    of_text.add_argument("--encoding", default="utf-8", help="of the file (utf-8)")
    of_text.set_defaults(do=text)
    of_checkpoint = kinds.add_parser("checkpoint", help="analyse a finished model")
    of_checkpoint.add_argument("model", help="a folder, a safetensors file, or owner/name[@revision] on the hub")
    of_checkpoint.add_argument("--tensor", help="name of the embedding, where it is not a usual one")
    of_checkpoint.set_defaults(do=checkpoint)
    for kind in (of_text, of_checkpoint):
        kind.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="to use (all)")
    options = parser.parse_args()
    try:
        options.do(options)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
