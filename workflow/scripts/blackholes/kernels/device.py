"""Which device to compute on, and what to call it."""

import torch

from blackholes.errors import UserError


def choose(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `mps` means on this machine; `auto` is a CUDA GPU if there is one.

    Raises:
        UserError: the device is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if there["cuda"] else "cpu"
    if not there[name]:
        raise UserError(f"device: {name} is not available on this machine; expected auto or cpu")
    return torch.device(name)


def describe(device: torch.device) -> str:
    """What provenance records: the kind of device, and a GPU's model."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type
