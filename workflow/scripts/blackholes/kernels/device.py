"""Which device to compute on, and what to call it."""

import torch

from blackholes.errors import UserError


def choose(name: str) -> torch.device:
    """The device named `auto`, `cpu`, `cuda` or `mps`; `auto` is a CUDA GPU if there is one, else the CPU.

    Raises:
        UserError: this machine does not have the device.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if available["cuda"] else "cpu"
    if not available[name]:
        raise UserError(f"device: {name} is not available on this machine; expected auto or cpu")
    return torch.device(name)


def describe(device: torch.device) -> str:
    """The device for provenance: its kind, and a GPU's model."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type
