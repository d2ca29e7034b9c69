"""Namespaces: what is started in them sees an empty /run and /etc/slurm, and does not outlive them."""

import fcntl
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from slurm import alone, cluster

# A daemon, which has left its session and its parent, and holds a lock.
DAEMON = """
import fcntl, json, os, sys, time
if os.fork() or os.setsid() and os.fork():
    os._exit(0)
os.chdir(sys.argv[1])
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
open("/run/mine", "w")
seen = {folder: os.listdir(folder) for folder in ("/run", "/etc/slurm")}
seen["first process"] = open("/proc/1/cmdline").read().split(chr(0))[1]
open("partial", "w").write(json.dumps(seen))
os.rename("partial", "seen")
time.sleep(1000)
"""


@pytest.mark.skipif(not alone.possible(), reason="namespaces are forbidden here")
def test_a_daemon_sees_nothing_else_and_ends_with_its_namespaces_even_if_they_are_killed(tmp_path):
    waits = "import os, sys, time; os.spawnl(os.P_WAIT, sys.executable, 'python', *sys.argv[1:]); time.sleep(1000)"
    started = subprocess.Popen(alone.command("-c", waits, "-c", DAEMON, str(tmp_path)))
    try:
        cluster.wait_until((tmp_path / "seen").exists, "the daemon", 120)
        seen = json.loads((tmp_path / "seen").read_text())
        assert seen == {"/run": ["mine"], "/etc/slurm": [], "first process": alone.__file__}
        assert not Path("/run/mine").exists()
        with open(tmp_path / "lock") as lock:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.kill(started.pid, signal.SIGKILL)
            cluster.wait_until(lambda: _free(lock), "the daemon to end", 60)
    finally:
        started.kill()
        started.wait()


def _free(lock) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
