# SPDX-License-Identifier: Apache-2.0
"""setsockopt and getsockopt: what was set reads back, in each state of the socket, and errors are the kernel's."""

import ctypes
import os
import socket
import struct

from lib import both_ends, case, err, in_child, libc, own, raw, tcp, timeval, udp

SOL, TCP, UDP = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_UDP
IP, IP6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
SO_MAX_PACING_RATE, SO_BUSY_POLL, SO_COOKIE, SO_INCOMING_CPU, SO_TIMESTAMP, SO_RXQ_OVFL = 47, 46, 57, 49, 29, 40
SO_RCVBUFFORCE, SO_PASSCRED, SO_NOFCS, SO_LOCK_FILTER, SO_PEEK_OFF = 33, 16, 43, 44, 42
SO_PREFER_BUSY_POLL, SO_ZEROCOPY, SO_TXREHASH = 69, 60, 74
TCP_NOTSENT_LOWAT, TCP_THIN_LINEAR_TIMEOUTS, TCP_SAVE_SYN, TCP_FASTOPEN_CONNECT, TCP_INQ = 25, 16, 27, 30, 36

# name, level, option, values to set; families
INTEGERS = (
	('SO_KEEPALIVE', SOL, socket.SO_KEEPALIVE, (1, 0, 7), (4, 6)),
	('SO_REUSEADDR', SOL, socket.SO_REUSEADDR, (1, 0, 5), (4, 6)),
	('SO_REUSEPORT', SOL, socket.SO_REUSEPORT, (1, 0), (4, 6)),
	('SO_BROADCAST', SOL, socket.SO_BROADCAST, (1, 0), (4, 6)),
	('SO_OOBINLINE', SOL, socket.SO_OOBINLINE, (1, 0), (4,)),
	('SO_DONTROUTE', SOL, socket.SO_DONTROUTE, (1, 0), (4,)),
	('SO_RCVBUF', SOL, socket.SO_RCVBUF, (1, 10000, 100000, 10000000, -1), (4, 6)),
	('SO_SNDBUF', SOL, socket.SO_SNDBUF, (1, 10000, 100000, 10000000, -1), (4, 6)),
	('SO_RCVLOWAT', SOL, socket.SO_RCVLOWAT, (1, 100, 0, -1), (4, 6)),
	('SO_SNDLOWAT', SOL, socket.SO_SNDLOWAT, (1, 100), (4,)),
	('SO_PRIORITY', SOL, socket.SO_PRIORITY, (0, 6), (4, 6)),
	('SO_MAX_PACING_RATE', SOL, SO_MAX_PACING_RATE, (1000000,), (4,)),
	('SO_TIMESTAMP', SOL, SO_TIMESTAMP, (1, 0), (4,)),
	('SO_PEEK_OFF', SOL, SO_PEEK_OFF, (5, -1), (4,)),
	('SO_LOCK_FILTER', SOL, SO_LOCK_FILTER, (1,), (4,)),
	('SO_TYPE', SOL, socket.SO_TYPE, (1,), (4, 6)),
	('SO_DOMAIN', SOL, socket.SO_DOMAIN, (1,), (4, 6)),
	('SO_PROTOCOL', SOL, socket.SO_PROTOCOL, (1,), (4, 6)),
	('SO_ACCEPTCONN', SOL, socket.SO_ACCEPTCONN, (1,), (4, 6)),
	('SO_ERROR', SOL, socket.SO_ERROR, (1,), (4, 6)),
	('SOL_SOCKET.9999', SOL, 9999, (1,), (4, 6)),
	('TCP_NODELAY', TCP, socket.TCP_NODELAY, (1, 0, 3), (4, 6)),
	('TCP_MAXSEG', TCP, socket.TCP_MAXSEG, (1000, 10, 100000), (4, 6)),
	('TCP_CORK', TCP, socket.TCP_CORK, (1, 0), (4, 6)),
	('TCP_KEEPIDLE', TCP, socket.TCP_KEEPIDLE, (100, 0, 32768), (4, 6)),
	('TCP_KEEPINTVL', TCP, socket.TCP_KEEPINTVL, (10, 0, 32768), (4, 6)),
	('TCP_KEEPCNT', TCP, socket.TCP_KEEPCNT, (5, 0, 128), (4, 6)),
	('TCP_SYNCNT', TCP, socket.TCP_SYNCNT, (3, 0, 128), (4, 6)),
	('TCP_LINGER2', TCP, socket.TCP_LINGER2, (10, -1), (4, 6)),
	('TCP_DEFER_ACCEPT', TCP, socket.TCP_DEFER_ACCEPT, (0,), (4, 6)),
	('TCP_WINDOW_CLAMP', TCP, socket.TCP_WINDOW_CLAMP, (20000,), (4,)),
	('TCP_QUICKACK', TCP, socket.TCP_QUICKACK, (1,), (4,)),
	('TCP_USER_TIMEOUT', TCP, socket.TCP_USER_TIMEOUT, (5000, 0, -1), (4, 6)),
	('TCP_NOTSENT_LOWAT', TCP, TCP_NOTSENT_LOWAT, (16384,), (4, 6)),
	('TCP_THIN_LINEAR_TIMEOUTS', TCP, TCP_THIN_LINEAR_TIMEOUTS, (1,), (4,)),
	('TCP_FASTOPEN_CONNECT', TCP, TCP_FASTOPEN_CONNECT, (1,), (4,)),
	('TCP.9999', TCP, 9999, (1,), (4, 6)),
	('IP_TOS', IP, socket.IP_TOS, (0x10, 0xb8, 0), (4, 6)),
	('IP_TTL', IP, socket.IP_TTL, (33, 255, 0, 256, -1), (4, 6)),
	('IP_MTU_DISCOVER', IP, 10, (0, 1, 2, 3, 99), (4,)),
	('IP_RECVERR', IP, 11, (1, 0), (4,)),
	('IP_RECVTTL', IP, 12, (1, 0), (4,)),
	('IP_RECVTOS', IP, 13, (1, 0), (4,)),
	('IP_PKTINFO', IP, 8, (1, 0), (4,)),
	('IP_FREEBIND', IP, 15, (1, 0), (4,)),
	('IP_BIND_ADDRESS_NO_PORT', IP, 24, (1, 0), (4, 6)),
	('IP_MULTICAST_TTL', IP, socket.IP_MULTICAST_TTL, (5,), (4,)),
	('IP_MULTICAST_LOOP', IP, socket.IP_MULTICAST_LOOP, (0,), (4,)),
	('IP_MTU', IP, 14, (1000,), (4,)),
	('IP.9999', IP, 9999, (1,), (4,)),
	('IPV6_V6ONLY', IP6, socket.IPV6_V6ONLY, (1, 0), (6, 4)),
	('IPV6_UNICAST_HOPS', IP6, socket.IPV6_UNICAST_HOPS, (33, -1, 256), (6,)),
	('IPV6_MULTICAST_HOPS', IP6, socket.IPV6_MULTICAST_HOPS, (7,), (6,)),
	('IPV6_TCLASS', IP6, socket.IPV6_TCLASS, (0x20, -1), (6,)),
	('IPV6_RECVPKTINFO', IP6, socket.IPV6_RECVPKTINFO, (1, 0), (6,)),
	('IPV6_RECVHOPLIMIT', IP6, socket.IPV6_RECVHOPLIMIT, (1, 0), (6,)),
	('IPV6_RECVTCLASS', IP6, socket.IPV6_RECVTCLASS, (1, 0), (6,)),
	('IPV6_MTU_DISCOVER', IP6, 23, (0, 2), (6,)),
	('IPV6_DONTFRAG', IP6, socket.IPV6_DONTFRAG, (1, 0), (6,)),
	('IPV6.9999', IP6, 9999, (1,), (6,)),
	('UDP_CORK', UDP, 1, (1, 0), (4, 6)),
	('UDP.9999', UDP, 9999, (1,), (4, 6)),
)
STATES = ('fresh', 'listening', 'connected')


def in_state(t, state):
	s = tcp(t.f)
	if state == 'fresh':
		return s
	s.bind((t.host, 0))
	s.listen(4)
	if state == 'listening':
		return s
	c = tcp(t.f)
	c.connect(s.getsockname())
	t.keep.append(own(s))
	return c


def round_trip(t, s, level, option, values):
	results = []

	def get():
		try:
			return s.getsockopt(level, option)
		except OSError as e:
			return err(e.errno)
	results.append(get())
	for value in values:
		try:
			s.setsockopt(level, option, value)
			results.append(f'{value}:{get()}')
		except OSError as e:
			results.append(f'{value}:{err(e.errno)}:{get()}')
	return ','.join(map(str, results))


def add_integers():
	for name, level, option, values, families in INTEGERS:
		def tcp_option(t, level=level, option=option, values=values):
			for state in STATES:
				t.note(state, round_trip(t, in_state(t, state), level, option, values))

		def udp_option(t, level=level, option=option, values=values):
			t.note('fresh', round_trip(t, udp(t.f), level, option, values))
		tcp_option.__name__ = f'tcp.{name}'
		case(families=families)(tcp_option)
		if level != TCP:
			udp_option.__name__ = f'udp.{name}'
			case(families=families)(udp_option)


add_integers()


@case()
def linger(t):
	for state in STATES:
		s = in_state(t, state)
		t.note(f'{state}.start', s.getsockopt(SOL, socket.SO_LINGER, 8).hex())
		for value in ((1, 30), (1, 0), (0, 5)):
			s.setsockopt(SOL, socket.SO_LINGER, struct.pack('ii', *value))
			t.note(f'{state}.{value[0]},{value[1]}', struct.unpack('ii', s.getsockopt(SOL, socket.SO_LINGER, 8)))
		s.setsockopt(SOL, socket.SO_LINGER, struct.pack('ii', 0, 0))
		t.call(f'{state}.short', s.setsockopt, SOL, socket.SO_LINGER, b'\0' * 4)


@case()
def timeouts(t):
	for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
		s = tcp(t.f)
		for value in (0, 1.5, 100):
			s.setsockopt(SOL, option, timeval(value))
			t.note(f'{option}.{value}', struct.unpack('ll', s.getsockopt(SOL, option, 16)))
		t.call(f'{option}.bad', s.setsockopt, SOL, option, struct.pack('ll', 1, 1000000))
		t.call(f'{option}.short', s.setsockopt, SOL, option, b'\0' * 4)


@case()
def congestion(t):
	s = tcp(t.f)
	name = s.getsockopt(TCP, socket.TCP_CONGESTION, 16)
	t.note('some', len(name.rstrip(b'\0')) > 0)
	t.call('set', s.setsockopt, TCP, socket.TCP_CONGESTION, b'reno')
	t.note('get', s.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b'\0'))
	t.call('unknown', s.setsockopt, TCP, socket.TCP_CONGESTION, b'nosuch')


@both_ends
def info_state(t):
	a, b = t.pair()
	t.note('fresh', tcp(t.f).getsockopt(TCP, socket.TCP_INFO, 1).hex())
	t.note('listening', t.listener()[0].getsockopt(TCP, socket.TCP_INFO, 1).hex())
	t.note('connected', a.getsockopt(TCP, socket.TCP_INFO, 1).hex())
	a.shutdown(socket.SHUT_WR)
	t.call('end', b.recv, 1)
	t.until_true('FIN_WAIT2', lambda: a.getsockopt(TCP, socket.TCP_INFO, 1) == b'\x05')
	b.close()
	t.until_true('closed', lambda: a.getsockopt(TCP, socket.TCP_INFO, 1) in (b'\x07', b'\x06'))


@both_ends
def info_close_wait(t):
	a, b = t.pair()
	b.shutdown(socket.SHUT_WR)
	t.call('end', a.recv, 1)
	t.note('state', a.getsockopt(TCP, socket.TCP_INFO, 1).hex())
	t.note('long', len(a.getsockopt(TCP, socket.TCP_INFO, 104)))


@case()
def timestamping(t):
	"""OPT_ID needs a connection, in TCP."""
	flags = 0x10 | 0x80	# software, OPT_ID
	for state in STATES:
		t.note(state, round_trip(t, in_state(t, state), SOL, 37, (0x10, flags, 0, flags)))
	t.note('udp', round_trip(t, udp(t.f), SOL, 37, (0x10, flags, 0)))
	t.call('short', udp(t.f).setsockopt, SOL, 37, b'\0\0')


@case()
def sizes(t):
	"""Value and length arguments that do not fit."""
	s = tcp(t.f)
	t.call('short_set', s.setsockopt, SOL, socket.SO_KEEPALIVE, b'\1')
	t.call('short_tcp', s.setsockopt, TCP, socket.TCP_NODELAY, b'\1')
	t.call('long_set', s.setsockopt, SOL, socket.SO_KEEPALIVE, struct.pack('ii', 1, 1))
	t.call('short_get', s.getsockopt, SOL, socket.SO_KEEPALIVE, 2)
	t.call('zero_get', s.getsockopt, SOL, socket.SO_KEEPALIVE, 1)
	t.call('long_get', s.getsockopt, SOL, socket.SO_KEEPALIVE, 100)
	size = ctypes.c_int(-1)
	t.note('negative', raw(libc.getsockopt, s.fileno(), SOL, socket.SO_KEEPALIVE, ctypes.create_string_buffer(4), ctypes.byref(size)))
	size = ctypes.c_int(4)
	t.note('fault', raw(libc.getsockopt, s.fileno(), SOL, socket.SO_KEEPALIVE, ctypes.c_void_p(8), ctypes.byref(size)))
	t.note('fault_set', raw(libc.setsockopt, s.fileno(), TCP, socket.TCP_NODELAY, ctypes.c_void_p(8), 4))
	t.call('level', s.setsockopt, 4242, 1, 1)
	t.call('level_get', s.getsockopt, 4242, 1)


@case()
def original_destination(t):
	"""SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST: no answer, but an errno."""
	_, port = t.listener()
	s = tcp(t.f)
	s.connect((t.host, port))
	t.call('get', s.getsockopt, IP if t.f == 4 else IP6, 80, 28)


@case()
def bind_to_device(t):
	s = tcp(t.f)
	t.call('lo', s.setsockopt, SOL, socket.SO_BINDTODEVICE, b'lo\0')
	t.call('none', s.setsockopt, SOL, socket.SO_BINDTODEVICE, b'nosuch0\0')
	t.note('get', s.getsockopt(SOL, socket.SO_BINDTODEVICE, 16))


@case()
def mark_unprivileged(t):
	def unprivileged():
		os.setgroups([])
		os.setgid(1000)
		os.setuid(1000)
		s = tcp(t.f)
		results = []
		for option, value in ((socket.SO_MARK, 7), (socket.SO_PRIORITY, 7), (SO_RCVBUFFORCE, 10000), (socket.SO_PRIORITY, 5)):
			try:
				s.setsockopt(SOL, option, value)
				results.append('ok')
			except OSError as e:
				results.append(err(e.errno))
		return results
	t.note('user', in_child(unprivileged))


@case()
def cookie(t):
	one, two = tcp(t.f), tcp(t.f)
	a, b = (s.getsockopt(SOL, SO_COOKIE, 8) for s in (one, two))
	t.note('differ', a != b and a != b'\0' * 8)
	t.note('same', one.getsockopt(SOL, SO_COOKIE, 8) == a)


@case()
def buffers_limit_nothing(t):
	"""Small buffers on both ends, much data: slow, and whole."""
	s = tcp(t.f)
	s.setsockopt(SOL, socket.SO_RCVBUF, 4096)
	s.bind((t.host, 0))
	s.listen(1)
	c = tcp(t.f)
	c.setsockopt(SOL, socket.SO_SNDBUF, 4096)
	c.connect(s.getsockname())
	a = own(s)
	work = t.background(c.fill, 300000)
	t.note('there', a.drain(300000))
	t.note('sent', work.end())


@case(pairs=('out', 'in'))
def effect_at_the_peer(t):
	"""What the options do is seen by the native end."""
	a, b = t.pair()
	a.setsockopt(TCP, socket.TCP_NODELAY, 1)
	a.setsockopt(SOL, socket.SO_KEEPALIVE, 1)
	a.sendall(b'x')
	t.call('there', b.recv, 1)


@case(families=(6,))
def address_form(t):
	"""IPV6_ADDRFORM turns a mapped socket into an IPv4 one."""
	s, port = t.listener(family=4)
	c = tcp(6)
	c.connect(('::ffff:127.0.0.1', port))
	t.call('set', c.setsockopt, IP6, 1, socket.AF_INET)


@case()
def attach_filter(t):
	"""A classic BPF filter that takes all."""
	s = udp(t.f)
	program = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0xffffffff))
	fprog = struct.pack('HxxxxxxP', 1, ctypes.addressof(program))
	t.call('attach', s.setsockopt, SOL, 26, fprog)
	s.bind((t.host, 0))
	udp(t.f).sendto(b'passes', s.getsockname())
	t.call('recv', s.recv, 10)
	t.call('detach', s.setsockopt, SOL, 27, 0)
	t.call('detach_again', s.setsockopt, SOL, 27, 0)
