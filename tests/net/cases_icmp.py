# SPDX-License-Identifier: Apache-2.0
"""ICMP echo by datagram sockets, as an unprivileged ping does it."""

import select
import socket
import struct
import time

from lib import FAMILY, NOROUTE, OWN, PROHIBITED, UNREACHABLE, case, in_child

REQUEST = {4: 8, 6: 128}
PROTOCOL = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}


def ping_socket(t):
	return socket.socket(FAMILY[t.f], socket.SOCK_DGRAM, PROTOCOL[t.f])


def echo(t, sequence, data=b'payload', kind=None):
	return struct.pack('!BBHHH', REQUEST[t.f] if kind is None else kind, 0, 0, 0x1234, sequence) + data


def shown(data):
	kind, code, _, _, sequence = struct.unpack('!BBHHH', data[:8])
	return kind, code, sequence, data[8:40]


@case()
def ping(t):
	s = ping_socket(t)
	t.names('fresh', s)
	t.call('send', s.sendto, echo(t, 1), (t.host, 0))
	data, source = s.recvfrom(1000)
	t.note('reply', (shown(data), source[0], source[1]))
	t.note('bound', s.getsockname()[1] != 0)


@case()
def identifier(t):
	"""The kernel sets the identifier to the socket's own, its port, and hands out only replies to it."""
	one, two = ping_socket(t), ping_socket(t)
	for i, s in enumerate((one, two)):
		s.sendto(echo(t, 10 + i), (t.host, 0))
	for s in (one, two):
		data, _ = s.recvfrom(1000)
		ident = struct.unpack('!H', data[4:6])[0]
		t.note('own', ident == s.getsockname()[1])
		t.note('sequence', shown(data)[2])


@case()
def connected(t):
	s = ping_socket(t)
	t.call('connect', s.connect, (t.host, 0))
	t.name('peer', s.getpeername)
	t.call('send', s.send, echo(t, 3))
	t.note('reply', shown(s.recv(1000)))


@case()
def several(t):
	s = ping_socket(t)
	for i in range(10):
		s.sendto(echo(t, i), (t.host, 0))
	t.note('sequences', sorted(shown(s.recv(1000))[2] for _ in range(10)))


@case()
def own_address(t):
	s = ping_socket(t)
	s.sendto(echo(t, 1), (OWN[t.f], 0))
	data, source = s.recvfrom(1000)
	t.note('source', source[0])


@case()
def large(t):
	s = ping_socket(t)
	for n in (0, 56, 1472, 8000, 60000):
		s.sendto(echo(t, 1, b'x' * n), (t.host, 0))
		t.note(n, len(s.recv(70000)))
	t.call('too_large', s.sendto, echo(t, 1, b'x' * 70000), (t.host, 0))


@case()
def malformed(t):
	s = ping_socket(t)
	t.call('short', s.sendto, b'\x08\0\0\0', (t.host, 0))
	t.call('empty', s.sendto, b'', (t.host, 0))
	t.call('reply', s.sendto, echo(t, 1, kind=0 if t.f == 4 else 129), (t.host, 0))
	t.call('other', s.sendto, echo(t, 1, kind=13), (t.host, 0))
	t.call('nowhere', s.send, echo(t, 1))


@case()
def unreachable(t):
	for label, host in (('none', NOROUTE), ('unreachable', UNREACHABLE), ('prohibited', PROHIBITED)):
		t.call(label, ping_socket(t).sendto, echo(t, 1), (host[t.f], 0))


@case()
def waiting(t):
	s = ping_socket(t)
	t.poll('fresh', s)
	s.setblocking(False)
	t.call('none', s.recv, 100)
	s.sendto(echo(t, 1), (t.host, 0))
	t.until(s, select.POLLIN)
	t.poll('reply', s)
	t.call('truncated', lambda: len(s.recv(10)))
	t.call('then', s.recv, 100)


@case()
def bind(t):
	s = ping_socket(t)
	t.call('bind', s.bind, (t.host, 4242))
	t.name('local', s.getsockname)
	s.sendto(echo(t, 5), (t.host, 0))
	data, _ = s.recvfrom(1000)
	t.note('identifier', struct.unpack('!H', data[4:6])[0])
	t.call('foreign', ping_socket(t).bind, (NOROUTE[t.f], 0))


@case()
def hop_limit(t):
	s = ping_socket(t)
	if t.f == 4:
		s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 9)
		s.setsockopt(socket.IPPROTO_IP, 12, 1)
	else:
		s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9)
		s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
	s.sendto(echo(t, 1), (t.host, 0))
	_, control, _, _ = s.recvmsg(100, 256)
	t.note('control', [(level, kind, len(data)) for level, kind, data in control])


@case()
def unprivileged(t):
	import os

	def user():
		os.setgroups([])
		os.setgid(1000)
		os.setuid(1000)
		s = ping_socket(t)
		s.sendto(echo(t, 7), (t.host, 0))
		return shown(s.recv(100))[2]
	t.note('sequence', in_child(user))


@case()
def reply_time(t):
	s = ping_socket(t)
	begin = time.monotonic()
	s.sendto(echo(t, 1), (t.host, 0))
	s.recv(100)
	t.note('quick', time.monotonic() - begin < 10)
