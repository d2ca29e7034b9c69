"""Which training runs share a job."""

import pytest
from blackholes.config.model import load
from blackholes.orchestration import packing

ALL = {f"train_{name}_001_{last}" for name, last in (("qwen", "016"), ("normal", "004"))}


def config(runs=16, **training):
    return load(
        {"experiments": {"qwen": {"runs": runs}, "normal": {"init": "normal", "runs": 4}}, "training": training}
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 16, 17])
@pytest.mark.parametrize("runs", [1, 2, 16])
def test_every_run_is_in_at_most_one_pack_of_that_size(runs, size):
    found = packing.packs(config(runs, runs_per_job=size))
    packed = [run for experiment, pack in found.values() if experiment == "qwen" for run in pack]
    numbers = [f"{run:03d}" for run in range(1, runs + 1)]
    alone = [run for run in numbers if run not in packed]
    assert packed + alone == numbers  # a last run may be left over
    assert len(alone) == (runs if size == 1 else int(runs % size == 1))
    assert all(2 <= len(pack) <= size for _, pack in found.values())
    assert all(name == f"train_{experiment}_{pack[0]}_{pack[-1]}" for name, (experiment, pack) in found.items())
    assert packing.together(config(runs, runs_per_job=size)) == (size > 1)


@pytest.mark.parametrize(
    ("device", "gpu", "rules", "together"),
    [
        ("cpu", True, set(), False),
        ("cuda", False, ALL, True),
        ("mps", False, ALL, True),
        ("auto", True, ALL, True),
        ("auto", False, ALL, False),
    ],
)
def test_auto_is_all_runs_on_a_gpu(monkeypatch, tmp_path, device, gpu, rules, together):
    file = tmp_path / "nvidiactl"
    if gpu:
        file.touch()
    monkeypatch.setattr(packing, "_GPU_FILES", (str(file),))
    for training in ({"device": device}, {"device": device, "runs_per_job": "auto"}):
        assert set(packing.packs(config(**training))) == rules
        assert packing.together(config(**training)) is together
