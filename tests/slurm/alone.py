"""Run a command in namespaces of its own: python tests/slurm/alone.py COMMAND…

In them it sees no other process, an empty /run, only its own files in /etc/slurm, and a loopback that no other program
uses. However it ends, even by SIGKILL, the kernel ends all that it started, and its files there are gone.
Where a container forbids namespaces, the command runs without them.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys

INSIDE = "ALONE_IN_NAMESPACES"  # this variable is set in them
UNSHARE = ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--mount", "--net", "--ipc"]
EMPTY = ("/run", "/etc/slurm")


def possible() -> bool:
    """Whether this process may make namespaces."""
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def command(*arguments: str) -> list[str]:
    """The command that runs a Python with `arguments` in namespaces."""
    return [*UNSHARE, sys.executable, __file__, sys.executable, *arguments]


def main(arguments: list[str]) -> int:
    """As the first process of the namespaces: prepare them, run the command, and wait for all that is orphaned here."""
    os.environ[INSIDE] = "1"
    for folder in EMPTY:
        os.makedirs(folder, exist_ok=True)
        _mount_empty(folder)
    _loopback_up()
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches the command, which ends by itself
    started = subprocess.Popen(arguments).pid
    while True:
        process, status = os.wait()
        if process == started:
            return os.waitstatus_to_exitcode(status)


def _mount_empty(folder: str) -> None:
    if ctypes.CDLL(None, use_errno=True).mount(b"none", folder.encode(), b"tmpfs", 0, b"mode=755"):
        raise OSError(ctypes.get_errno(), f"mounting an empty {folder}")


def _loopback_up() -> None:
    """Loopback, with a second address: names, even 127.0.0.1, are not looked up where no other is (AI_ADDRCONFIG)."""
    second = struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton("192.0.2.1"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS: IFF_UP
        fcntl.ioctl(one, 0x8916, struct.pack("16s16s", b"lo:1", second))  # SIOCSIFADDR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
