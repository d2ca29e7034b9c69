"""A small history that moves, and what its motion writes: shared by the tests of the lattice."""

import csv

import pytest
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError
from blackholes.lattice import displacements
from helpers import names

FILES = {
    "displacements": "lattice_displacements.safetensors",
    "norms": "displacement_norms.safetensors",
    "raster": "raster.safetensors",
    "steps": "displacement_per_step.csv",
    "overall": "displacement_overall.csv",
    "validation": "validation.csv",
    "integers": "integer_types.csv",
    "samples": "odd_samples.csv",
    "lifecycle": "lifecycle.csv",
    "medians": "lifecycle_medians.csv",
}
S, V, D = 40, 11, 6
STEP = 2.0**-7  # the ULP from 1 to 2


def outputs(folder):
    return displacements.Outputs(**{kind: str(folder / name) for kind, name in FILES.items()})


def write(history, folder, **options):
    """The bytes of every file."""
    folder.mkdir(exist_ok=True)
    displacements.write(str(history), outputs(folder), metadata={"made": "here"}, **options)
    assert names(folder) == sorted(FILES.values())
    return {name: (folder / name).read_bytes() for name in FILES.values()}


def tensors(folder, kind="displacements"):
    with open_tensors(folder / FILES[kind]) as file:
        assert file.metadata["made"] == "here"
        return {key: file.rows(key) for key in file.keys()}  # noqa: SIM118 - a reader, not a dict


def table(folder, kind):
    with open(folder / FILES[kind], newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(name="history")
def moving_history():
    """Tokens that slow down until they stand still, the third ones (dead) sooner; some cross 0, one never moves.

    Token 4 rests from step 21 on but for a tiny coordinate.
    """
    random = torch.Generator().manual_seed(0)
    pace = torch.linspace(1, 0, S)[:, None, None] ** torch.where(torch.arange(V) % 3 == 0, 6, 2)[:, None]
    steps = 3e-3 * pace * torch.randn(S, V, D, generator=random)
    steps[20:, 4], steps[:, 5] = 0, 0
    steps[0] = 0.02 * torch.randn(V, D, generator=random)
    places = steps.cumsum(0)
    places[21:, 4, 0] = 2.0**-14 * (1 + torch.arange(21, S) % 2 / 2)
    return places.bfloat16()


@pytest.fixture(name="dead")
def dead_tokens(tmp_path):
    mask = torch.arange(V) % 3 == 0
    write_tensors(tmp_path / "tokens", {"dead_mask": mask})
    return str(tmp_path / "tokens"), mask


def walks(*cells):
    """One token of one dimension, at 1 first, that then moves by these numbers of cells of [1, 2)."""
    return (1 + STEP * torch.tensor([0, *cells], dtype=torch.float64).cumsum(0)).bfloat16()[:, None, None]


PLACE = ("step", "token", "dimension", "before", "after", "delta_ordinal", "delta_W_prime")


def ordinals(history):
    """Number of representable values from 0 to each value."""
    bits = history.view(torch.int16).long()
    return torch.where(bits < 0, -(bits & 0x7FFF), bits)


def refused(tmp_path, path, words, **options):
    with pytest.raises(UserError) as caught:
        displacements.write(str(path), outputs(tmp_path / "out"), **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path / "out") == []
