"""docs/analysis.md adds an analysis that works: its blocks, put into a checkout, run and pass their own test."""

import csv
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import blackholes
from e2e.checkout import environment

PAGE = Path(__file__).resolve().parents[2] / "docs/analysis.md"
FOLDER = "results/qwen/run_001"


def test_the_worked_example(clone):
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    for name, block in blocks:
        assert not clone.path(name).exists()
        clone.path(name).write_text(block, encoding="utf-8")
    (included,) = re.findall(r"^include: .*$", text, re.MULTILINE)
    snakefile = clone.path("Snakefile")
    others = re.findall(r"^include: .*\n", snakefile.read_text(), re.MULTILINE)
    snakefile.write_text(snakefile.read_text().replace(others[-1], f"{others[-1]}{included}\n"))

    ran = clone.run(f"{FOLDER}/figures/equal_pairs.png")
    assert set(ran.jobs) == {"equal_pairs", "equal_pairs_figure"}  # nothing is trained again
    assert clone.path(f"{FOLDER}/figures/equal_pairs.svg").exists()

    with open(clone.path(f"{FOLDER}/equal_pairs.csv"), newline="") as file:
        rows = [[int(number) for number in row.values()] for row in csv.DictReader(file)]
    run = blackholes.open(clone.path("results"))["qwen"][1]
    dead = run.tokens["dead"].tolist()
    for step in (0, 3, len(run.history) - 1):
        vectors, expected = run.history[step].tolist(), [step, 0, 0, 0]
        for a, b in combinations(range(len(vectors)), 2):
            expected[3 - dead[a] - dead[b]] += vectors[a] == vectors[b]
        assert rows[step] == expected

    unit = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_equal_pairs.py"]
    tested = subprocess.run(unit, cwd=clone.folder, env=environment(), capture_output=True, text=True)
    assert "3 passed" in tested.stdout, tested.stdout
