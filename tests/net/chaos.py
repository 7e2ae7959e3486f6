#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""chaos.py SEED ROUNDS CALLS: processes that share sockets make any calls on them, at once.

What a call returns is of no interest, nor that calls of two processes make no sense together: nothing may crash, hang or be left.
In a round of CALLS calls each there are PROCESSES processes; it prints how many calls went well.
"""

import ctypes
import fcntl
import os
import random
import select
import signal
import socket
import struct
import sys
import termios

PROCESSES = 4
SLOTS = 12
TIMEOUT = struct.pack('ll', 0, 20000)
SIOCOUTQ = 0x5411
UDP, UDP_CORK = 17, 1
OPTIONS = (
	(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.SOL_SOCKET, socket.SO_RCVBUF, 5000),
	(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 100), (socket.SOL_SOCKET, socket.SO_ERROR, 0),
	(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.IPPROTO_TCP, socket.TCP_CORK, 1),
	(socket.IPPROTO_TCP, socket.TCP_INFO, 0), (socket.IPPROTO_IP, 14, 0), (UDP, UDP_CORK, 1), (UDP, UDP_CORK, 0))
libc = ctypes.CDLL(None)


def make(i):
	family = socket.AF_INET6 if i % 2 else socket.AF_INET
	s = socket.socket(family, socket.SOCK_DGRAM if i % 3 == 2 else socket.SOCK_STREAM)
	s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEOUT)
	s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, TIMEOUT)
	if i % 3 < 2:	# the others are to be found, too
		s.bind(('::1' if i % 2 else '127.0.0.1', 0))
	if i % 3 == 0:
		s.listen(3)
	return s


def linger(s, rnd):
	s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', rnd.randrange(2), 0))


def poll(s, rnd):
	p = select.poll()
	p.register(s, rnd.randrange(64))
	p.poll(rnd.randrange(5))


def splice(s, rnd):
	r, w = os.pipe()
	try:
		os.write(w, b'x' * rnd.randrange(1, 5000))
		os.splice(r, s.fileno(), 5000)
	finally:
		os.close(r)
		os.close(w)


def option(s, rnd):
	level, name, value = rnd.choice(OPTIONS)
	if rnd.randrange(2):
		s.getsockopt(level, name, 4)
	else:
		s.setsockopt(level, name, value)


def name_of_one(s, rnd, others):
	return rnd.choice([o for o in others if o.family == s.family]).getsockname()


CALLS = (
	lambda s, rnd, others: s.bind(('::1' if s.family == socket.AF_INET6 else '127.0.0.1', 0)),
	lambda s, rnd, others: s.listen(rnd.randrange(4)),
	lambda s, rnd, others: s.accept()[0].send(b'hello'),
	lambda s, rnd, others: s.connect(name_of_one(s, rnd, others)),
	lambda s, rnd, others: s.connect(name_of_one(s, rnd, others)),
	lambda s, rnd, others: libc.connect(s.fileno(), b'\0' * 16, 16),
	lambda s, rnd, others: s.send(b'x' * rnd.choice((0, 1, 1000, 70000)), rnd.choice((0, socket.MSG_MORE))),
	lambda s, rnd, others: s.sendto(b'datagram', rnd.choice((0, socket.MSG_MORE)), name_of_one(s, rnd, others)),
	lambda s, rnd, others: s.recv(rnd.choice((1, 1000, 100000)), rnd.choice((0, 0, socket.MSG_PEEK, socket.MSG_WAITALL))),
	lambda s, rnd, others: s.shutdown(rnd.randrange(3)),
	lambda s, rnd, others: s.getsockname(),
	lambda s, rnd, others: s.getpeername(),
	lambda s, rnd, others: fcntl.ioctl(s, rnd.choice((termios.FIONREAD, SIOCOUTQ)), b'\0' * 4),
	lambda s, rnd, others: s.setblocking(bool(rnd.randrange(2))),
	lambda s, rnd, others: linger(s, rnd),
	lambda s, rnd, others: poll(s, rnd),
	lambda s, rnd, others: splice(s, rnd),
	lambda s, rnd, others: option(s, rnd),
	lambda s, rnd, others: s.close() if rnd.randrange(30) == 0 else None,
)


def child(rnd, slots, calls):
	good = 0
	for _ in range(calls):
		s = rnd.choice(slots)
		try:
			rnd.choice(CALLS)(s, rnd, slots)
			good += 1
		except (OSError, ValueError):	# ValueError: closed here already
			pass
	return good


def one_round(seed, calls):
	slots = [make(i) for i in range(SLOTS)]
	r, w = os.pipe()
	children = []
	for i in range(PROCESSES):
		pid = os.fork()
		if pid == 0:
			os.close(r)
			os.write(w, struct.pack('i', child(random.Random(f'{seed} {i}'), slots, calls)))
			os._exit(0)
		children.append(pid)
	os.close(w)
	for s in slots:
		s.close()
	for pid in children:
		if os.waitpid(pid, 0)[1]:
			sys.exit('a process died')
	good = sum(struct.unpack(f'{PROCESSES}i', os.read(r, 4 * PROCESSES)))
	os.close(r)
	return good


def main(seed, rounds, calls):
	signal.signal(signal.SIGPIPE, signal.SIG_IGN)
	good = sum(one_round(f'{seed} {i}', calls) for i in range(rounds))
	print(f'rounds={rounds} good={good}')


main(*map(int, sys.argv[1:]))
