"""Runs commands where every look-up of a name and every attempt to leave the machine is seen.

As a script, in a network namespace of its own: JSON lists of commands that run side by side, one list after another; it
prints what was looked up and how many packets had nowhere to go. ::

    unshare --map-root-user --net --mount python isolation.py '[["metfa-stream", "--help"]]'
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x41  # SIOCSIFFLAGS; IFF_UP | IFF_RUNNING


def main() -> None:
    """Run the commands; end with the exit code of the first that fails."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14s", b"lo", _UP_AND_RUNNING, b""))
    names: list[str] = []
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.1", 53))
    threading.Thread(target=_refuse_all, args=(resolver, names), daemon=True).start()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings:
        settings.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        settings.flush()
        subprocess.run(["mount", "--bind", settings.name, "/etc/resolv.conf"], check=True)
        before = _unroutable()
        for together in map(json.loads, sys.argv[1:]):
            started = [subprocess.Popen(each, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for each in together]
            errors = [process.communicate()[1].decode() for process in started]
            for command, process, error in zip(together, started, errors, strict=True):
                if process.returncode:
                    sys.exit(f"{command} ended with {process.returncode}: {error}")
        subprocess.run(["umount", "/etc/resolv.conf"], check=True)
    print(json.dumps({"names": names, "unroutable": _unroutable() - before}))


def _refuse_all(resolver: socket.socket, names: list[str]) -> None:
    """Answer every query with "no such name", and remember it."""
    while True:
        query, sender = resolver.recvfrom(512)
        labels, rest = [], query[12:]
        while rest[0]:
            labels.append(rest[1 : rest[0] + 1].decode())
            rest = rest[rest[0] + 1 :]
        names.append(".".join(labels))
        resolver.sendto(query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12:], sender)


def _unroutable() -> int:
    """Return how many packets had no route, such as any that would leave this machine."""
    header, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")
    )
    return int(dict(zip(header, values, strict=True))["OutNoRoutes"])


if __name__ == "__main__":
    main()
