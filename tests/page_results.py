"""A small folder of results, written by hand, that a page can be made from."""

import io
from pathlib import Path

import numpy as np
from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import write_tensors
from PIL import Image

REPORTS = Path(__file__).parents[1] / "workflow/report"
TITLES = {"loss_curves": "loss curves", "black_hole_counts": "black hole counts", "lineage": "lineage, run {run}"}
CHARACTERS = ["NUL", "<", "a", "b", '"', "$"]  # of which NUL and $ are dead
DEAD = [0, 5]


def settings(runs=2, mode="qwen", **others):
    values = {"corpus": {"name": "text"}, "runs": runs, "steps": 3, "base_seed": 42, "init": {"mode": mode}}
    return {**values, "precision": "bf16", "learning_rate": 0.001, "weight_decay": 0.01, **others}


def config(experiments=None, **others):
    """As the workflow has it after it was checked, less what the page does not read."""
    experiments = experiments or {"one": settings(), "apart": settings(1, "normal", weight_decay=0)}
    values = {"experiments": experiments, "figures": {"run": 1}, "checkpoints": {}, "snowballs": {}, "lattice": {}}
    return {**values, "report_command": ["-m", "snakemake"], **others}


def labels_of(*steps):
    """(S, V): smallest token of each token's group, from strings in which equal letters are one group."""
    return np.array([[step.index(letter) for letter in step] for step in steps], np.int32)


def write_run(folder, labels):
    """The files of a run that the page reads, from its labels (S, V)."""
    S, V = labels.shape
    sizes = [np.bincount(row, minlength=V) for row in labels]
    series = {
        "counts": [(size > 1).sum() for size in sizes],
        "populations": [size[size > 1].sum() for size in sizes],
        "largest_bh_size": [size.max() if size.max() > 1 else 0 for size in sizes],
        "n_unique": [(size > 0).sum() for size in sizes],
        "n_singletons": [(size == 1).sum() for size in sizes],
    }
    tensors = {key: np.array(values, np.int32) for key, values in series.items()} | {"labels": labels}
    write_tensors(folder / "black_hole_counts.safetensors", tensors)
    columns = ["step", "loss", "grad_norm", "learning_rate"]
    write_table(folder / "training_log.csv", columns, ((step, 2.0 / step, 1.0, 0.1) for step in range(1, S)))
    return [folder / "black_hole_counts.safetensors", folder / "training_log.csv"]


def write_picture(folder, name):
    """A figure as PNG and SVG; the path of the first."""
    out = io.BytesIO()
    Image.new("RGB", (40, 20), "#336699").save(out, "PNG")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(out.getvalue())
    (folder / f"{name}.svg").write_text(f"<svg xmlns='http://www.w3.org/2000/svg'><!-- {name} --></svg>\n")
    return folder / f"{name}.png"


def write_results(root):
    """The paths of a folder of results with two experiments: `one`, with holes, of 2 runs, and `apart`, without."""
    root = Path(root)
    table = [
        [i, name, 0 if i in DEAD else 10 + i, "dead" if i in DEAD else "live"] for i, name in enumerate(CHARACTERS)
    ]
    write_table(root / "corpus/text/tokens.csv", ["token_id", "character", "count", "status"], table)
    paths = [root / "corpus/text/tokens.csv"]
    paths += write_run(root / "one/run_001", labels_of("aaaaaa", "aabbba", "abccda", "abcdea"))
    paths += write_run(root / "one/run_002", labels_of("aaaaaa", "aaaaba", "aabcda", "abcdea"))
    paths += write_run(root / "apart/run_001", labels_of(*["abcdef"] * 4))
    lineages = [["run_001", "2", "<"], ["run_002", "3", "<"]]
    write_table(root / "one/lineages.csv", ["run", "last_escape", "last_texts"], lineages)
    paths += [root / "one/lineages.csv"]
    for experiment in ("one", "apart"):
        summary = [[0, "counts", 1.5, "", 1, 2, 2], [3, "counts", 1, 0.25, 1, 1, 2]]
        write_table(root / experiment / "summary.csv", ["step", "series", "mean", "std", "min", "max", "runs"], summary)
        paths += [root / experiment / "summary.csv"]
        paths += [write_picture(root / experiment / "figures", name) for name in ("loss_curves", "black_hole_counts")]
        paths += [write_picture(root / experiment / "run_001/figures", "lineage")]
    return paths
