#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boot_peer.py COMMAND ARG…: milliseconds from the start of a monitor to its guest's agent, which
connects to port 1025 of the host by vsock (vhost-vsock). The monitor is killed then."""
import socket
import subprocess
import sys
import time

AGENT_PORT = 1025
LIMIT_S = 120


def main():
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    listener.bind((socket.VMADDR_CID_ANY, AGENT_PORT))
    listener.listen(1)
    listener.settimeout(LIMIT_S)
    start = time.monotonic()
    monitor = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        listener.accept()
        print(round((time.monotonic() - start) * 1000))
    finally:
        monitor.kill()
        monitor.wait()


main()
