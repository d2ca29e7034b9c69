"""What a training job says before its first step, against the corpus, the model's file and the history it writes."""

import re

import numpy as np
import pytest
import reference
from blackholes.artifacts.histories import KEY
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.training import engine
from blackholes.training.settings import Model

V, D, T = 20, 16, 12


@pytest.mark.parametrize("init", ["qwen", "normal"])
def test_facts(tmp_path, init):
    model = Model(vocabulary_size=V, context=T, width=D, layers=1, heads=2)
    settings = reference.settings(init=init, steps=2, batch_size=3, model=model)
    ids = np.random.default_rng(0).integers(0, V, 50).astype(np.uint8)
    write_tensors(
        tmp_path / "tokens",
        {"token_ids": ids, "token_counts": np.bincount(ids, minlength=V), "dead_mask": np.zeros(V, bool)},
    )
    files = engine.RunFiles(*(tmp_path / name for name in ("history", "log.csv", "config.json", "model")))
    said = []
    engine.write_runs(str(tmp_path / "tokens"), [files], [settings], log=said.append)
    with open_tensors(files.model) as written:
        sizes = {key: written.rows(key).numel() for key in written.keys()}  # noqa: SIM118 - a reader, not a dict
    assert sizes["transformer.wte.weight"] == V * D
    examples = len([first for first in range(50) if first + T < 50])  # T tokens, and one more to predict
    assert said[0] == (
        f"{sum(sizes.values()):,} parameters, {V * D} of them of the embedding ({V} × {D}); "
        f"{examples} training examples of {T} tokens, 3 in a step"
    )
    with open_tensors(files.history) as history:
        first = history.rows(KEY, 0, 1)[0].double().numpy()
    mean = [sum(column) / V for column in first.T.tolist()]
    pattern = rf"seed {settings.seed} starts with .* norm ([\d.]+) and coordinates of mean (-?[\d.]+)"
    found = [float(number) for number in re.fullmatch(pattern, said[1]).groups()]
    assert found == pytest.approx([np.sqrt(sum(x * x for x in mean)), sum(mean) / D], abs=1e-6)
    assert (found[0] > 1) == (init == "qwen")
