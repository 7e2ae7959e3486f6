# SPDX-License-Identifier: Apache-2.0
"""What socket(2) gives for odd families, types and protocols; other families stay the guest's own; ioctls."""

import ctypes
import fcntl
import os
import socket
import struct

from lib import FAMILY, both_ends, case, err, in_child, libc, raw, tcp, udp

STREAM, DGRAM, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW


def as_user(function):
	def user():
		os.setgroups([])
		os.setgid(1000)
		os.setuid(1000)
		return function()
	return in_child(user)


def opened(*args):
	try:
		socket.socket(*args).close()
		return 'ok'
	except OSError as e:
		return err(e.errno)


@case()
def protocols(t):
	f = FAMILY[t.f]
	for label, kind, protocol in (('stream', STREAM, 0), ('stream_tcp', STREAM, 6), ('dgram', DGRAM, 0), ('dgram_udp', DGRAM, 17),
			('stream_udp', STREAM, 17), ('dgram_tcp', DGRAM, 6), ('stream_999', STREAM, 999), ('stream_255', STREAM, 255),
			('stream_minus', STREAM, -1), ('dgram_99', DGRAM, 99), ('rdm', 4, 0), ('type_0', 0, 0), ('type_11', 11, 0), ('packet', 10, 0)):
		t.note(label, raw(libc.socket, f, kind, protocol) if protocol < 0 else opened(f, kind, protocol))


@case()
def seqpacket(t):
	t.note('socket', opened(FAMILY[t.f], socket.SOCK_SEQPACKET, 0))


@case()
def flags(t):
	s = socket.socket(FAMILY[t.f], STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
	t.note('nonblock', os.get_blocking(s.fileno()))
	t.note('cloexec', s.get_inheritable())
	t.note('bad', raw(libc.socket, FAMILY[t.f], STREAM | 0x10, 0))


@case()
def socketpair(t):
	t.note('pair', raw(libc.socketpair, FAMILY[t.f], STREAM, 0, (ctypes.c_int * 2)()))


@case()
def raw_unprivileged(t):
	t.note('icmp', as_user(lambda: opened(FAMILY[t.f], RAW, 1)))
	t.note('raw', as_user(lambda: opened(FAMILY[t.f], RAW, 255)))
	t.note('packet', as_user(lambda: opened(socket.AF_PACKET, RAW, 0)))


@case()
def raw_icmp(t):
	t.note('socket', opened(FAMILY[t.f], RAW, 1 if t.f == 4 else 58))


@case(families=(None,))
def packet(t):
	t.note('raw', opened(socket.AF_PACKET, RAW, 0))


@case(families=(None,))
def unknown_families(t):
	for family in (0, 45, 46, 63, 999, -1):
		t.note(family, raw(libc.socket, family, STREAM, 0))


@case(families=(None,))
def unix_stays(t):
	a, b = socket.socketpair(socket.AF_UNIX, STREAM)
	a.send(b'unix')
	t.call('recv', b.recv, 10)
	s = socket.socket(socket.AF_UNIX)
	s.bind('\0abstract of the test')
	s.listen(1)
	c = socket.socket(socket.AF_UNIX)
	t.call('connect', c.connect, '\0abstract of the test')
	t.call('nobody', socket.socket(socket.AF_UNIX).connect, '/nonexistent')


@case(families=(None,))
def netlink(t):
	"""RTM_GETLINK of lo."""
	s = socket.socket(socket.AF_NETLINK, RAW, 0)
	t.call('bind', s.bind, (0, 0))
	request = struct.pack('=IHHIIBxHiII', 32, 18, 1, 1, 0, 0, 0, 1, 0, 0)
	t.call('send', s.send, request)
	answer = s.recv(65536)
	t.note('type', struct.unpack('=IH', answer[:6])[1])


@both_ends
def stream_calls_that_do_not_fit(t):
	a, b = t.pair()
	t.call('listen', a.listen, 1)
	t.call('bind', a.bind, (t.host, 0))
	t.call('accept', a.accept)
	t.call('connect', a.connect, (t.host, 1))
	t.call('send', a.send, b'alive')
	t.call('there', b.recv, 10)


@case()
def ioctls(t):
	for label, s in (('tcp', tcp(t.f)), ('udp', udp(t.f))):
		for name, number in (('FIONREAD', 0x541b), ('SIOCOUTQ', 0x5411), ('SIOCATMARK', 0x8905), ('FIONBIO', 0x5421),
				('SIOCGSTAMP', 0x8906), ('unknown', 0x89ff), ('TCGETS', 0x5401)):
			try:
				value = struct.unpack('i', fcntl.ioctl(s, number, struct.pack('i', 1) + b'\0' * 60)[:4])[0]
			except OSError as e:
				value = err(e.errno)
			t.note(f'{label}.{name}', value)


@case()
def owner_and_signals(t):
	s = tcp(t.f)
	t.note('owner', fcntl.fcntl(s, fcntl.F_GETOWN))
	fcntl.fcntl(s, fcntl.F_SETOWN, os.getpid())
	t.note('set', fcntl.fcntl(s, fcntl.F_GETOWN) == os.getpid())


@case()
def stat(t):
	s = tcp(t.f)
	t.note('mode', oct(os.fstat(s.fileno()).st_mode))
	t.note('link', os.readlink(f'/proc/self/fd/{s.fileno()}').split(':')[0])


@case()
def domain(t):
	"""A socket says what it is."""
	for label, s in (('tcp', tcp(t.f)), ('udp', udp(t.f))):
		t.note(label, [s.getsockopt(socket.SOL_SOCKET, o) for o in (socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_PROTOCOL)])
	_, port = t.listener()
	c = tcp(t.f)
	c.connect((t.host, port))
	t.note('connected', socket.socket(fileno=os.dup(c.fileno())).family.name)


@case()
def name_lengths(t):
	s = tcp(t.f)
	s.bind((t.host, 4400))
	for n in (0, 1, 2, 4, 8, 16, 28, 128):
		name = ctypes.create_string_buffer(b'\xee' * 128, 128)
		size = ctypes.c_uint(n)
		result = raw(libc.getsockname, s.fileno(), name, ctypes.byref(size))
		t.note(n, (result, size.value, name.raw[:n].hex(), name.raw[n:n + 1] in (b'\xee', b'')))
	size = ctypes.c_int(-1)
	t.note('negative', raw(libc.getsockname, s.fileno(), ctypes.create_string_buffer(128), ctypes.byref(size)))
	size = ctypes.c_uint(16)
	t.note('fault', raw(libc.getsockname, s.fileno(), ctypes.c_void_p(8), ctypes.byref(size)))


@case(families=(None,))
def not_a_socket(t):
	r, w = os.pipe()
	t.note('pipe', raw(libc.listen, r, 1))
	t.note('closed', raw(libc.listen, 999, 1))
	t.note('path', raw(libc.connect, os.open('/dev/null', os.O_PATH), b'\0' * 16, 16))


@case(families=(None,))
def vsock_is_not_the_programs(t):
	"""The transport below TSI cannot be taken by a program for itself."""
	s = raw(libc.socket, 40, STREAM, 0)
	t.note('socket', 'fd' if isinstance(s, int) else s)
