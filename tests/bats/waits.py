#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""waits.py SOCKET ID COUNT ROUNDS: a client of sm-vmm that asks COUNT times for the end of the container on one
connection, is answered something else there, and goes away; ROUNDS times. Exits with 0 if it was heard to the end."""
import socket
import struct
import sys


def field(number, data):
    n, length = len(data), b""
    while n > 127:
        length += bytes([n & 127 | 128])
        n >>= 7
    return bytes([number << 3 | 2]) + length + bytes([n]) + data


def request(stream, method, payload):
    body = field(1, b"supermachine.sandbox.v1.Sandbox") + field(2, method) + field(3, payload)
    return struct.pack(">IIBB", len(body), stream, 1, 0) + body


path, cid, count, rounds = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3]), int(sys.argv[4])
for _ in range(rounds):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        for i in range(count):
            s.sendall(request(2 * i + 1, b"Wait", field(1, cid)))
        s.sendall(request(2 * count + 1, b"Info", b""))
        head = s.recv(10, socket.MSG_WAITALL)
        if len(head) != 10 or struct.unpack(">IIBB", head)[1] != 2 * count + 1:
            sys.exit("sm-vmm hung up")
