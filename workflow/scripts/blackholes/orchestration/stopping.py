"""SIGTERM, which `kill` and a cluster send, ends a call once its running jobs have ended.

Snakemake's handler takes the lock of its scheduler. Python runs the handler in the main thread, in the middle of what
that thread does. While it records jobs that ended, which takes seconds where their files are large, it holds that lock
already, and would wait for itself for ever. The handler here takes no lock that the main thread can hold.
"""

import threading
from typing import Any


def install() -> None:
    """Make SIGTERM safe at any moment, in this process."""
    # here, since outside a Snakemake that runs its modules import each other in a circle
    from snakemake.scheduling.job_scheduler import JobScheduler

    JobScheduler.exit_gracefully = _exit_gracefully


def _exit_gracefully(scheduler: Any, *_: Any) -> None:
    scheduler._user_kill = "graceful"  # read before any other job is started
    # wakes the scheduler; in a thread of its own, since a semaphore has a lock too
    threading.Thread(target=scheduler._open_jobs.release, daemon=True).start()
