"""A GPU for one job at a time, on a machine that has several and no scheduler.

Where GPUs are offered, a job that asks for one takes a lease of it and sees no other: CUDA_VISIBLE_DEVICES. A lease is
a name in Linux's abstract namespace of sockets. At most one process of a machine has it, and the kernel frees it when
that process ends, however it ends. Imports no torch.
"""

import errno
import os
import socket
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

from blackholes.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
OFFERED = "BLACKHOLES_GPUS"  # the GPUs that jobs share, as in CUDA_VISIBLE_DEVICES; unset where nobody takes leases
_held: list[socket.socket] = []


def visible() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; without it, one for each device file."""
    named = os.environ.get(VISIBLE)
    if named is None:
        return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    names = (name.strip() for name in named.split(","))
    return list(takewhile(lambda name: name and not name.startswith("-"), names))  # CUDA stops at the first bad name


def offer(gpus: list[str]) -> None:
    """Let the jobs that this process starts from now on take leases of these GPUs."""
    os.environ[OFFERED] = ",".join(gpus)


def take(number: int, log: Callable[[str], None]) -> list[str]:
    """Lease `number` GPUs until this process ends, and let it see these only; wait while there are too few.

    To be called before CUDA starts, which reads CUDA_VISIBLE_DEVICES once. Where GPUs are not offered, nothing happens;
    where they are, a job that asks for none sees none.

    Raises:
        UserError: fewer are offered.
    """
    offered = os.environ.get(OFFERED)
    if offered is None:
        return []
    gpus = offered.split(",")
    if number > len(gpus):
        raise UserError(f"resources: gpu={number} is not available on this machine; expected at most {len(gpus)}")
    waits = False
    while True:
        leases = _lease(gpus, number)
        if len(leases) == number:
            break
        if not waits:
            log(f"waits for a GPU: others use {offered}")
        waits = True
        time.sleep(0.2)
    _held.extend(leases.values())
    os.environ[VISIBLE] = ",".join(leases)
    return list(leases)


def _lease(gpus: list[str], number: int) -> dict[str, socket.socket]:
    """GPU → what holds it, for `number` of these GPUs; for none where fewer are free, so that no two jobs starve."""
    leases: dict[str, socket.socket] = {}
    for gpu in gpus:
        if len(leases) == number:
            return leases
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0token-black-holes/gpu/{gpu}")
            leases[gpu] = lock
        except OSError as error:
            lock.close()
            if error.errno != errno.EADDRINUSE:
                raise
    if len(leases) < number:
        for lock in leases.values():
            lock.close()
        return {}
    return leases
