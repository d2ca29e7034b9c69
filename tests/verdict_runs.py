"""Short runs of the engine for test_verdict_rates.py: published conditions, and three that differ in one setting.

    PYTHONPATH=workflow/scripts:tests python tests/verdict_runs.py results/corpus/gatsby/tokens.safetensors

writes tests/unit/verdict_runs.csv, a row a run, in three minutes: 100 steps, batch 16, a schedule of 10,000 steps.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import reference
import torch
from blackholes.training import engine, tokens

OUT = Path(__file__).parent / "unit/verdict_runs.csv"
STEPS, POINTS = 100, (10, 20, 50, 100)
BASE = {"target_offset": 2, "loss_divisor": "tokens", "steps": STEPS, "schedule_steps": 10_000}
UNIT = {"mode": "qwen", "unit_norm": True}
ARMS = {  # arm → its settings, the number of its runs; seeds count from 1
    "ours": ({"init": UNIT}, 40),
    "learning rate × 1.2": ({"init": UNIT, "learning_rate": 1.2e-3}, 20),
    "the other divisor": ({"init": UNIT, "loss_divisor": "targets"}, 20),
    "unit norm off": ({"init": {"mode": "qwen"}}, 20),
}


def row(losses, holes, population, centroid) -> dict[str, float]:
    """The numbers of one run that published quantities are made of; all series start at step 0."""
    sizes = np.where(holes > 0, population / np.maximum(holes, 1), 0.0)
    numbers = {"holes 1": holes[1], "tokens 1": population[1], "tokens a hole 1": sizes[1]}
    numbers |= {"holes 100": holes[100], "tokens 100": population[100], "mean tokens a hole": sizes[1:].mean()}
    numbers["increases"] = (np.diff(holes) > 0).sum()
    numbers |= {f"loss {step}": losses[step - 9 : step + 1].mean() for step in range(10, STEPS + 1, 10)}
    return numbers | {f"centroid {step}": centroid[step] for step in POINTS}


def one(ids: np.ndarray, seed: int, settings: dict) -> dict[str, float]:
    series = []
    for step in engine.train(ids, reference.settings(seed=seed, **BASE | settings)):
        embedding = step.embedding.float()
        sizes = torch.unique(embedding, dim=0, return_counts=True)[1]
        holes = sizes[sizes > 1]
        series.append((step.loss, len(holes), int(holes.sum()), embedding.mean(0).norm().item()))
    return row(*np.array(series).T)


if __name__ == "__main__":
    torch.set_num_threads(1)
    corpus = tokens.load(sys.argv[1]).token_ids.numpy()
    with open(OUT, "w", newline="", encoding="utf-8") as file:
        table = None
        for arm, (settings, runs) in ARMS.items():
            for seed in range(1, runs + 1):
                numbers = {name: f"{number:.6g}" for name, number in one(corpus, seed, settings).items()}
                if table is None:
                    table = csv.DictWriter(file, ["arm", "seed", *numbers], lineterminator="\n")
                    table.writeheader()
                table.writerow({"arm": arm, "seed": seed} | numbers)
