#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""notify_host.py ADDRESS: as a service manager listens for sd_notify(3); @NAME is an abstract socket.
Prints "listening", then a line for each datagram, its line ends as /. With a word after ADDRESS, one that lets
senders of BARRIER=1 wait until a line comes on standard input."""
import os
import socket
import sys

s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind("\0" + name[1:] if name[0] == "@" else name)
print("listening", flush=True)
while True:
    data, fds, _, _ = socket.recv_fds(s, 4096, 4)
    print(data.decode().replace("\n", "/"), flush=True)
    if fds and len(sys.argv) > 2:
        sys.stdin.readline()
    for fd in fds:
        os.close(fd)
