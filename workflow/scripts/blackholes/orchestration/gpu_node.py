"""One machine with several GPUs: with `--resources gpu=N`, as in profiles/gpu-node, a job has a GPU of its own."""

import os
import sys
from typing import Any

from snakemake.exceptions import WorkflowError

from blackholes.artifacts import gpu_leases


def start(workflow: Any) -> None:
    """Let jobs lease GPUs, and no more jobs than GPUs run at a time, where they run here and GPUs are limited.

    Raises:
        WorkflowError: there is no GPU here.
    """
    limit = workflow.global_resources.get("gpu")
    if limit is None or not limit.value or not workflow.local_exec or sys.platform != "linux":
        return
    gpus = gpu_leases.visible()
    if not gpus:
        told = os.environ.get(gpu_leases.VISIBLE)
        why = "no /dev/nvidia0" if told is None else f"{gpu_leases.VISIBLE} is {told!r}"
        raise WorkflowError(f"resources: gpu={limit.value}: no GPU is visible on this machine ({why})")
    jobs = min(limit.value, len(gpus))
    workflow.register_resource("gpu", jobs)
    gpu_leases.offer(gpus)
    print(f"GPUs {', '.join(gpus)}: one for a job, at most {jobs} such jobs at a time", file=sys.stderr)
