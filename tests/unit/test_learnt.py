"""A run that learnt nothing is named: in its log, and in the table in the terminal."""

import json
import math
import re
from pathlib import Path

import pytest
import yaml
from blackholes import show
from blackholes.config.model import Experiment
from blackholes.training import corpus, engine, learnt

V = 50
CHANCE = math.log(V)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([CHANCE] * 200, True),
        ([1.0] * 180 + [CHANCE] * 20, True),  # it is the end that counts
        ([CHANCE] * 180 + [0.98 * CHANCE] * 20, False),
        ([CHANCE] * 199 + [0.98 * CHANCE], True),  # the mean of the last tenth
        ([0.995 * CHANCE] * 100, True),
        ([0.985 * CHANCE] * 100, False),
        ([CHANCE] * 99, False),  # too few steps to tell
        ([], False),
    ],
)
def test_a_loss_at_chance(losses, expected):
    assert learnt.at_chance(losses, V) is expected


def write(run, losses):
    (run / "model").mkdir(parents=True)
    (run / "model/config.json").write_text(json.dumps({"vocab_size": V}))
    lines = "".join(f"{step},{loss}\n" for step, loss in enumerate(losses, 1))
    (run / "training_log.csv").write_text(f"step,loss\n{lines}")


def test_the_table_says_how_many_runs_learnt_nothing(tmp_path):
    for name, losses in {"run_001": [CHANCE] * 100, "run_002": [2.0] * 100, "run_003": [CHANCE] * 100}.items():
        write(tmp_path / "toy" / name, losses)
    (tmp_path / "toy/run_004").mkdir()  # which is not finished
    (tmp_path / "toy/summary.csv").write_text("step,series,runs,mean,std\n0,counts,3,1,0\n")
    (tmp_path / "toy/increases.csv").write_text("run,step\n")
    line = f"2 of 4 runs: {learnt.line(V)}"
    assert line.startswith("2 of 4 runs: warning: the loss stayed at 3.91, log V, that of guessing")
    assert line in show.table(tmp_path).splitlines()
    write(tmp_path / "fine/run_001", [2.0] * 100)
    for name in ("summary.csv", "increases.csv"):
        (tmp_path / "fine" / name).write_text((tmp_path / "toy" / name).read_text())
    assert show.table(tmp_path).count("warning") == 1


def test_the_example_of_sgd_in_the_documents_learns():
    """At the start of its schedule, in two hundred of its ten thousand steps; with AdamW's rate it does not."""
    text = (Path(__file__).parents[2] / "docs/using.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "sgd:" in block]
    example = yaml.safe_load(block)["experiments"]["sgd"]
    settings = corpus.read({"source": "builtin"})
    ids = corpus.encode(corpus.clean(settings.text[:200_000]).text)
    for rate, expected in ((example["learning_rate"], False), (0.001, True)):
        it = Experiment.model_validate({**example, "learning_rate": rate, "steps": 200, "schedule_steps": 10_000})
        losses = [step.loss for step in engine.train(ids, it.run_settings(1))][1:]
        assert learnt.at_chance(losses, 128) is expected
