# SPDX-License-Identifier: Apache-2.0
"""UDP: connected and not, sources, sizes, truncation, many at once, ancillary data, errors by ICMP."""

import ctypes
import os
import select
import socket
import struct
import time

from cases_connect import sockaddr
from lib import (ANY, NOROUTE, OWN, PROHIBITED, UNREACHABLE, case, fionread, in_child, libc, pattern, raw, tcp, timeval,
	udp)

SOL, IP, IP6 = socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_IPV6
DONTWAIT, PEEK, TRUNC = socket.MSG_DONTWAIT, socket.MSG_PEEK, socket.MSG_TRUNC
ERRQUEUE = 0x2000
UDP, UDP_CORK = 17, 1
IP_PKTINFO, IP_RECVERR, IPV6_RECVERR = 8, 11, 25
ENDS = case(pairs=('self', 'out'))


def readable(t, s):
	t.until(s, select.POLLIN)


@ENDS
def unconnected(t):
	a, b, name = t.udp_pair(connected=False)
	t.names('ours', a)
	t.call('send', a.sendto, b'ping', name)
	data, source = b.recvfrom(100)
	t.note('there', (data, t.addr(source)))
	b.sendto(b'pong', tuple(source))
	data, source = a.recvfrom(100)
	t.note('here', (data, t.addr(source)))
	t.names('after', a)


@ENDS
def server_first(t):
	"""A server that has sent nothing yet gets datagrams, with the true source of each."""
	server = udp(t.f)
	server.bind((t.host, 0))
	port = server.getsockname()[1]
	clients = []
	for i in range(4):
		c = t.peer.udp(t.f, t.host)[0] if t.kind == 'out' else udp(t.f)
		c.sendto(b'from %d' % i, (t.host, port))
		clients.append(c)
	for _ in clients:
		data, source = server.recvfrom(100)
		t.note('got', (data, t.addr(source)))
		server.sendto(b'to ' + data, source)
	t.note('answers', [c.recv(100) for c in clients])
	t.note('names', [t.addr((t.host, c.getsockname()[1])) for c in clients])


@ENDS
def server_on_any(t):
	server = udp(t.f)
	server.bind((ANY[t.f], 0))
	port = server.getsockname()[1]
	c = t.peer.udp(t.f, t.host)[0] if t.kind == 'out' else udp(t.f)
	for host in (t.host, OWN[t.f]) if t.kind == 'self' else (t.host,):
		c.sendto(b'x', (host, port))
		t.note(host, t.addr(server.recvfrom(10)[1]))
	t.names('server', server)


@ENDS
def connected(t):
	a, b, name = t.udp_pair()
	t.names('ours', a)
	t.call('send', a.send, b'ping')
	data, source = b.recvfrom(100)
	t.note('there', (data, t.addr(source)))
	b.sendto(b'pong', tuple(source))
	data, source = a.recvfrom(100)
	t.note('here', (data, t.addr(source)))
	t.call('sendto_same', a.sendto, b'again', name)
	t.call('there_again', b.recv, 100)


@ENDS
def connected_hears_one(t):
	"""A connected socket takes nothing from others."""
	a, b, name = t.udp_pair()
	other = udp(t.f)
	other.sendto(b'other', a.getsockname())
	b.sendto(b'peer', (t.host, a.getsockname()[1]))
	t.call('first', a.recv, 100)
	t.call('then', a.recv, 100, DONTWAIT)


@ENDS
def connected_sends_elsewhere(t):
	a, b, _ = t.udp_pair()
	other = udp(t.f)
	other.bind((t.host, 0))
	t.call('sendto', a.sendto, b'x', other.getsockname())
	data, source = other.recvfrom(10)
	t.note('there', (data, t.addr(source)))


@ENDS
def connect_twice(t):
	a, b, _ = t.udp_pair()
	other = udp(t.f)
	other.bind((t.host, 0))
	t.call('connect', a.connect, other.getsockname())
	t.names('after', a)
	a.send(b'second')
	t.call('there', other.recv, 10)


@ENDS
def unspec_disconnects(t):
	a, b, name = t.udp_pair()
	t.note('unspec', raw(libc.connect, a.fileno(), b'\0' * 16, 16))
	t.names('after', a)
	t.call('send', a.send, b'x')
	t.call('sendto', a.sendto, b'x', name)
	t.call('there', b.recv, 10)


@case()
def unspec_unbound(t):
	s, other = udp(t.f), udp(t.f)
	other.bind((t.host, 0))
	s.connect(other.getsockname())
	t.names('connected', s)
	t.note('unspec', raw(libc.connect, s.fileno(), b'\0' * 16, 16))
	t.names('after', s)


@case()
def before_bind(t):
	s = udp(t.f)
	t.names('names', s)
	t.call('send', s.send, b'x')
	t.call('recv', s.recv, 10, DONTWAIT)
	t.names('after', s)
	t.call('shutdown', s.shutdown, socket.SHUT_RD)
	t.call('listen', s.listen, 1)


@case()
def binds_by_sending(t):
	s, other = udp(t.f), udp(t.f)
	other.bind((t.host, 0))
	s.sendto(b'x', other.getsockname())
	t.names('after', s)
	t.call('bind', s.bind, (t.host, 0))
	_, source = other.recvfrom(10)
	t.note('source', t.addr(source))
	t.note('same', source[1] == s.getsockname()[1])


@case()
def bind_errors(t):
	one = udp(t.f)
	one.bind((t.host, 0))
	t.call('in_use', udp(t.f).bind, one.getsockname())
	t.call('twice', one.bind, (t.host, 0))
	t.call('foreign', udp(t.f).bind, (NOROUTE[t.f], 0))

	def unprivileged():
		os.setgroups([])
		os.setgid(1000)
		os.setuid(1000)
		udp(t.f).bind((t.host, 82))
	t.note('user', in_child(unprivileged))
	t.call('root', udp(t.f).bind, (t.host, 82))


@case()
def reuse(t):
	for label, option in (('address', socket.SO_REUSEADDR), ('port', socket.SO_REUSEPORT)):
		one, two = udp(t.f), udp(t.f)
		one.setsockopt(SOL, option, 1)
		one.bind((t.host, 0))
		t.call(f'{label}.without', two.bind, one.getsockname())
		two.setsockopt(SOL, option, 1)
		t.call(f'{label}.with', two.bind, one.getsockname())
		c = udp(t.f)
		c.sendto(b'x', one.getsockname())
		p = select.poll()
		for s in (one, two):
			p.register(s, select.POLLIN)
		t.note(f'{label}.one_gets_it', len(p.poll(60000)))


@ENDS
def empty_datagram(t):
	a, b, name = t.udp_pair()
	t.call('send', a.send, b'')
	data, source = b.recvfrom(10)
	t.note('there', (data, t.addr(source)))
	b.sendto(b'', (t.host, a.getsockname()[1]))
	readable(t, a)
	t.poll('events', a)
	t.note('fionread', fionread(a))
	t.call('recv', a.recv, 10)
	t.call('none', a.recv, 10, DONTWAIT)
	a.send(b'full')
	t.call('full', b.recv, 10)


@ENDS
def large_datagrams(t):
	a, b, name = t.udp_pair()
	for n in (1, 1472, 1473, 4096, 9000, 16384, 32768, 60000, 65507):
		data = pattern(n % 251, n)
		t.call(f'send{n}', a.send, data)
		t.note(f'there{n}', b.recv(70000) == data)
		b.sendto(data, (t.host, a.getsockname()[1]))
		t.note(f'here{n}', a.recv(70000) == data)


@ENDS
def too_large(t):
	a, b, name = t.udp_pair()
	for n in (65508, 65527, 65528, 65535, 65536, 100000):
		t.call(f'send{n}', a.send, b'x' * n)
	u = udp(t.f)
	t.call('unconnected', u.sendto, b'x' * 70000, name)
	t.call('alive', a.send, b'x')
	while b.recv(70000) != b'x':
		pass


@ENDS
def truncation(t):
	a, b, name = t.udp_pair()
	back = (t.host, a.getsockname()[1])
	for _ in range(4):
		b.sendto(b'0123456789', back)
	t.call('short', a.recv, 4)
	t.note('trunc', raw(libc.recv, a.fileno(), ctypes.create_string_buffer(4), 4, TRUNC))
	data, control, flags, _ = a.recvmsg(4)
	t.note('recvmsg', (data, flags == TRUNC))
	data, control, flags, _ = a.recvmsg(10)
	t.note('exact', (data, flags))
	t.call('none', a.recv, 4, DONTWAIT)


@ENDS
def peeking(t):
	a, b, name = t.udp_pair()
	back = (t.host, a.getsockname()[1])
	b.sendto(b'first', back)
	b.sendto(b'second one', back)
	readable(t, a)
	t.call('peek', a.recv, 3, PEEK)
	t.note('peek_trunc', raw(libc.recv, a.fileno(), ctypes.create_string_buffer(2), 2, PEEK | TRUNC))
	data, source = a.recvfrom(100, PEEK)
	t.note('peek_from', (data, t.addr(source)))
	t.note('fionread', fionread(a))
	t.call('recv', a.recv, 100)
	readable(t, a)
	t.note('fionread_second', fionread(a))
	t.call('waitall', a.recv, 100, socket.MSG_WAITALL)


@ENDS
def receive_of_zero_takes_one(t):
	a, b, name = t.udp_pair()
	back = (t.host, a.getsockname()[1])
	b.sendto(b'lost', back)
	b.sendto(b'kept', back)
	t.call('zero', a.recv, 0)
	t.call('next', a.recv, 10)


@ENDS
def timeouts_and_no_wait(t):
	a, b, name = t.udp_pair()
	t.call('dontwait', a.recv, 10, DONTWAIT)
	a.setsockopt(SOL, socket.SO_RCVTIMEO, timeval(0.2))
	begin = time.monotonic()
	t.call('timeout', a.recv, 10)
	t.note('waited', time.monotonic() - begin >= 0.15)
	a.setblocking(False)
	t.call('nonblock', a.recv, 10)
	t.call('send', a.send, b'x')
	t.poll('events', a)


@ENDS
def order_and_count(t):
	a, b, name = t.udp_pair()
	for i in range(50):
		a.send(b'%d' % i)
	t.note('there', [int(b.recv(10)) for _ in range(50)] == list(range(50)))
	back = (t.host, a.getsockname()[1])
	for i in range(50):
		b.sendto(b'%d' % i, back)
	t.note('here', [int(a.recv(10)) for _ in range(50)] == list(range(50)))


@ENDS
def vectors(t):
	a, b, name = t.udp_pair()
	t.call('sendmsg', a.sendmsg, [b'one', b'two', b'', b'three'])
	t.call('there', b.recv, 100)
	t.call('to', a.sendmsg, [b'x', b'y'], [], 0, name)
	t.call('there_too', b.recv, 100)
	b.sendto(b'0123456789', (t.host, a.getsockname()[1]))
	one, two = bytearray(3), bytearray(4)
	n, _, flags, source = a.recvmsg_into([one, two])
	t.note('recvmsg', (n, bytes(one), bytes(two), flags == TRUNC, t.addr(source)))


@ENDS
def more_flag(t):
	"""MSG_MORE joins what follows into one datagram."""
	a, b, name = t.udp_pair()
	t.call('more', a.send, b'one ', socket.MSG_MORE)
	t.call('rest', a.send, b'two')
	t.call('there', b.recv, 100)


@ENDS
def cork(t):
	"""With UDP_CORK all sends are one datagram until it is taken away."""
	a, b, name = t.udp_pair()
	a.setsockopt(UDP, UDP_CORK, 1)
	t.note('on', a.getsockopt(UDP, UDP_CORK))
	for part in (b'one ', b'two ', b'three'):
		t.call('send', a.send, part)
	if t.kind == 'self':
		t.quiet(b)
	a.setsockopt(UDP, UDP_CORK, 0)
	t.note('off', a.getsockopt(UDP, UDP_CORK))
	t.call('there', b.recv, 100)
	t.call('send', a.send, b'alone')
	t.call('there', b.recv, 100)


@case()
def more_unconnected(t):
	"""The first send says where to, whatever those after it say."""
	a, b, name = t.udp_pair(connected=False)
	c = udp(t.f)
	c.bind((t.host, 0))
	t.call('nowhere', a.send, b'x', socket.MSG_MORE)
	t.call('first', a.sendto, b'one ', socket.MSG_MORE, name)
	t.call('second', a.send, b'two ', socket.MSG_MORE)
	t.call('last', a.sendto, b'three', c.getsockname())
	t.call('there', b.recv, 100)
	t.quiet(c)


@case()
def more_empty(t):
	a, b, name = t.udp_pair()
	t.call('more', a.send, b'', socket.MSG_MORE)
	t.call('rest', a.send, b'')
	t.call('there', b.recv, 100)
	t.call('more', a.send, b'some', socket.MSG_MORE)
	t.call('rest', a.send, b'')
	t.call('there', b.recv, 100)


@case()
def more_too_much(t):
	"""What would be too long is gone, all of it."""
	a, b, name = t.udp_pair()
	t.call('more', a.send, b'x' * 40000, socket.MSG_MORE)
	t.call('rest', a.send, b'y' * 40000)
	t.call('then', a.send, b'z')
	t.call('there', b.recv, 100)


@case()
def more_and_close(t):
	a, b, name = t.udp_pair()
	t.call('more', a.send, b'x', socket.MSG_MORE)
	a.close()
	t.quiet(b)


@case()
def splice_is_one_datagram(t):
	a, b, name = t.udp_pair()
	r, w = os.pipe()
	os.write(w, b'one ' + b'.' * 4092)
	os.write(w, b'two')
	t.call('splice', os.splice, r, a.fileno(), 4099)
	t.note('there', len(b.recv(10000)))


@case()
def peek_offset(t):
	"""SO_PEEK_OFF: a peek begins where the last one ended."""
	a, b, name = t.udp_pair()
	b.setsockopt(socket.SOL_SOCKET, 42, 2)
	a.send(b'datagram')
	a.send(b'next')
	t.call('first', b.recv, 2, socket.MSG_PEEK)
	t.call('second', b.recv, 3, socket.MSG_PEEK)
	t.note('offset', b.getsockopt(socket.SOL_SOCKET, 42))
	t.call('read', b.recv, 100)
	t.note('offset', b.getsockopt(socket.SOL_SOCKET, 42))
	t.call('third', b.recv, 100, socket.MSG_PEEK)
	t.call('read', b.recv, 100)


class Iovec(ctypes.Structure):
	_fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
	_fields_ = [('name', ctypes.c_void_p), ('namelen', ctypes.c_uint), ('iov', ctypes.POINTER(Iovec)),
		('iovlen', ctypes.c_size_t), ('control', ctypes.c_void_p), ('controllen', ctypes.c_size_t),
		('flags', ctypes.c_int)]


class Mmsghdr(ctypes.Structure):
	_fields_ = [('hdr', Msghdr), ('len', ctypes.c_uint)]


def vector(buffers, names):
	"""A mmsghdr for each buffer; keep the result."""
	msgs = (Mmsghdr * len(buffers))()
	keep = []
	for m, buffer, name in zip(msgs, buffers, names):
		iov = Iovec(ctypes.addressof(buffer), len(buffer))
		keep.append(iov)
		m.hdr.iov = ctypes.pointer(iov)
		m.hdr.iovlen = 1
		if name is not None:
			m.hdr.name = ctypes.addressof(name)
			m.hdr.namelen = len(name)
	msgs.keep = (keep, buffers, names)
	return msgs


@ENDS
def sendmmsg(t):
	a, b, name = t.udp_pair()
	buffers = [ctypes.create_string_buffer(b'm%d' % i * (i + 1), 2 * (i + 1)) for i in range(8)]
	msgs = vector(buffers, [None] * 8)
	t.note('sent', raw(libc.sendmmsg, a.fileno(), msgs, 8, 0))
	t.note('lens', [m.len for m in msgs])
	t.note('there', [b.recv(100) for _ in range(8)])


@ENDS
def sendmmsg_addresses(t):
	a, b, name = t.udp_pair(connected=False)
	other = udp(t.f)
	other.bind((t.host, 0))
	names = [ctypes.create_string_buffer(sockaddr(t, t.host, p)) for p in (name[1], other.getsockname()[1])]
	buffers = [ctypes.create_string_buffer(x, 3) for x in (b'one', b'two')]
	msgs = vector(buffers, names)
	for m in msgs:
		m.hdr.namelen -= 1	# the string's NUL
	t.note('sent', raw(libc.sendmmsg, a.fileno(), msgs, 2, 0))
	t.call('there', b.recv, 10)
	t.call('other', other.recv, 10)


@ENDS
def sendmmsg_stops_at_error(t):
	a, b, name = t.udp_pair()
	buffers = [ctypes.create_string_buffer(b'a', 1), ctypes.create_string_buffer(70000), ctypes.create_string_buffer(b'c', 1)]
	msgs = vector(buffers, [None] * 3)
	t.note('sent', raw(libc.sendmmsg, a.fileno(), msgs, 3, 0))
	t.call('there', b.recv, 10)
	msgs = vector(buffers[1:], [None] * 2)
	t.note('first', raw(libc.sendmmsg, a.fileno(), msgs, 2, 0))


@ENDS
def recvmmsg(t):
	a, b, name = t.udp_pair()
	back = (t.host, a.getsockname()[1])
	for i in range(5):
		b.sendto(b'd%d' % i, back)
	time.sleep(1)	# nothing says how many datagrams wait
	buffers = [ctypes.create_string_buffer(10) for _ in range(8)]
	names = [ctypes.create_string_buffer(28) for _ in range(8)]
	msgs = vector(buffers, names)
	t.note('got', raw(libc.recvmmsg, a.fileno(), msgs, 8, DONTWAIT, None))
	t.note('data', [bytes(buf[:m.len]) for buf, m in zip(buffers, msgs)][:5])
	t.note('names', [m.hdr.namelen for m in msgs][:5])
	t.note('none', raw(libc.recvmmsg, a.fileno(), msgs, 8, DONTWAIT, None))
	for i in range(2):
		b.sendto(b'e%d' % i, back)
	t.note('for_one', raw(libc.recvmmsg, a.fileno(), msgs, 1, 0, None))
	timeout = ctypes.create_string_buffer(struct.pack('ll', 0, 200000000))
	t.note('timed', raw(libc.recvmmsg, a.fileno(), msgs, 1, 0x10000, timeout))




@ENDS
def bytes_waiting(t):
	a, b, name = t.udp_pair()
	t.note('none', fionread(a))
	back = (t.host, a.getsockname()[1])
	b.sendto(b'x' * 100, back)
	b.sendto(b'y' * 50, back)
	readable(t, a)
	t.note('first', fionread(a))


@ENDS
def refused(t):
	"""A port that nobody has: ICMP says so, and the connected socket hears of it."""
	a = udp(t.f)
	free = udp(t.f)
	free.bind((t.host, 0))
	name = free.getsockname()
	free.close()
	a.connect(name)
	t.call('send', a.send, b'x')
	t.until(a, select.POLLERR)
	t.poll('events', a)
	t.call('recv', a.recv, 10, DONTWAIT)
	t.call('then', a.recv, 10, DONTWAIT)
	a.send(b'x')
	t.until(a, select.POLLERR)
	t.sockerr('error', a)
	t.sockerr('again', a)
	a.send(b'x')
	t.until(a, select.POLLERR)
	t.call('send_tells', a.send, b'x')


@case()
def refused_wakes_reader(t):
	a = udp(t.f)
	free = udp(t.f)
	free.bind((t.host, 0))
	name = free.getsockname()
	free.close()
	a.connect(name)
	work = t.background(a.recv, 10)
	time.sleep(0.2)
	a.send(b'x')
	t.call('recv', work.end)


@case()
def refused_unconnected(t):
	"""An unconnected socket hears nothing."""
	a = udp(t.f)
	free = udp(t.f)
	free.bind((t.host, 0))
	name = free.getsockname()
	free.close()
	t.call('send', a.sendto, b'x', name)
	t.quiet(a)
	t.call('again', a.sendto, b'x', name)


@case()
def no_route(t):
	for label, host in (('none', NOROUTE), ('unreachable', UNREACHABLE), ('prohibited', PROHIBITED)):
		s = udp(t.f)
		t.call(f'{label}.sendto', s.sendto, b'x', (host[t.f], 9))
		t.call(f'{label}.connect', s.connect, (host[t.f], 9))
		t.names(label, s)


@case()
def port_zero(t):
	s = udp(t.f)
	t.call('sendto', s.sendto, b'x', (t.host, 0))
	t.call('connect', s.connect, (t.host, 0))
	t.call('send', s.send, b'x')


@case()
def wrong_family(t):
	s = udp(t.f)
	name = bytearray(sockaddr(t, t.host, 9))
	for family in (1, 10 if t.f == 4 else 2, 99):
		name[0:2] = struct.pack('=H', family)
		t.note(f'family{family}', raw(libc.sendto, s.fileno(), b'x', 1, 0, bytes(name) + b'\0' * 32, len(name)))
	t.note('short', raw(libc.sendto, s.fileno(), b'x', 1, 0, sockaddr(t, t.host, 9), 8))


@case(families=(4,))
def broadcast_permission(t):
	s = udp(4)
	for host in ('192.0.2.255', '255.255.255.255', '127.255.255.255'):
		t.call(f'{host}.denied', s.sendto, b'x', (host, 9))
		t.call(f'{host}.connect_denied', udp(4).connect, (host, 9))
	s.setsockopt(SOL, socket.SO_BROADCAST, 1)
	t.call('subnet', s.sendto, b'x', ('192.0.2.255', 9))


@case(families=(4,))
def broadcast_arrives(t):
	server = udp(4)
	server.bind(('0.0.0.0', 0))
	s = udp(4)
	s.setsockopt(SOL, socket.SO_BROADCAST, 1)
	t.call('send', s.sendto, b'all', ('127.255.255.255', server.getsockname()[1]))
	data, source = server.recvfrom(10)
	t.note('got', (data, t.addr(source)))


@case(families=(4,))
def multicast(t):
	server = udp(4)
	server.bind(('0.0.0.0', 0))
	group = socket.inet_aton('239.1.2.3') + socket.inet_aton('192.0.2.1')
	t.call('join', server.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, group)
	s = udp(4)
	t.call('interface', s.setsockopt, IP, socket.IP_MULTICAST_IF, socket.inet_aton('192.0.2.1'))
	t.call('send', s.sendto, b'group', ('239.1.2.3', server.getsockname()[1]))
	server.setsockopt(SOL, socket.SO_RCVTIMEO, timeval(20))
	t.call('recv', server.recv, 10)
	t.call('leave', server.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, group)
	t.call('leave_again', server.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, group)


def shown(t, control):
	"""Ancillary data as text; indices of interfaces as names that both namespaces have."""
	out = []
	for level, kind, data in control:
		if (level, kind) == (IP, IP_PKTINFO):
			index, local, destination = struct.unpack('=I4s4s', data)
			out.append(f'pktinfo:{index == 1},{socket.inet_ntoa(local)},{socket.inet_ntoa(destination)}')
		elif (level, kind) == (IP6, socket.IPV6_PKTINFO):
			destination, index = struct.unpack('=16sI', data)
			out.append(f'pktinfo:{index == 1},{socket.inet_ntop(socket.AF_INET6, destination)}')
		else:
			out.append(f'{level}.{kind}:{data.hex()}')
	return out


@ENDS
def packet_info(t):
	server = udp(t.f)
	server.bind((ANY[t.f], 0))
	server.setsockopt(*((IP, IP_PKTINFO) if t.f == 4 else (IP6, socket.IPV6_RECVPKTINFO)), 1)
	c = t.peer.udp(t.f, t.host)[0] if t.kind == 'out' else udp(t.f)
	c.sendto(b'x', (t.host, server.getsockname()[1]))
	data, control, flags, source = server.recvmsg(10, 256)
	t.note('got', (data, flags, shown(t, control)))


@case()
def packet_info_answers(t):
	"""A server on a wildcard answers from the address it was asked at."""
	server = udp(t.f)
	server.bind((ANY[t.f], 0))
	server.setsockopt(*((IP, IP_PKTINFO) if t.f == 4 else (IP6, socket.IPV6_RECVPKTINFO)), 1)
	c = udp(t.f)
	host = '127.0.0.5' if t.f == 4 else OWN[6]
	c.sendto(b'question', (host, server.getsockname()[1]))
	data, control, _, source = server.recvmsg(10, 256)
	t.note('asked', shown(t, control))
	if t.f == 4:
		info = struct.pack('=I4s4s', 0, socket.inet_aton(host), b'\0' * 4)
		t.call('answer', server.sendmsg, [b'answer'], [(IP, IP_PKTINFO, info)], 0, source)
	else:
		info = struct.pack('=16sI', socket.inet_pton(socket.AF_INET6, host), 0)
		t.call('answer', server.sendmsg, [b'answer'], [(IP6, socket.IPV6_PKTINFO, info)], 0, source)
	data, source = c.recvfrom(10)
	t.note('from', (data, t.addr(source)))


@case()
def packet_info_foreign(t):
	s, other = udp(t.f), udp(t.f)
	other.bind((t.host, 0))
	if t.f == 4:
		control = [(IP, IP_PKTINFO, struct.pack('=I4s4s', 0, socket.inet_aton('203.0.113.9'), b'\0' * 4))]
	else:
		control = [(IP6, socket.IPV6_PKTINFO, struct.pack('=16sI', socket.inet_pton(socket.AF_INET6, NOROUTE[6]), 0))]
	t.call('send', s.sendmsg, [b'x'], control, 0, other.getsockname())


@ENDS
def ttl_and_tos(t):
	server = udp(t.f)
	server.bind((t.host, 0))
	if t.f == 4:
		server.setsockopt(IP, 12, 1)
		server.setsockopt(IP, 13, 1)
	else:
		server.setsockopt(IP6, socket.IPV6_RECVHOPLIMIT, 1)
		server.setsockopt(IP6, socket.IPV6_RECVTCLASS, 1)
	c = t.peer.udp(t.f, t.host)[0] if t.kind == 'out' else udp(t.f)
	c.setsockopt(*((IP, socket.IP_TTL) if t.f == 4 else (IP6, socket.IPV6_UNICAST_HOPS)), 42)
	c.setsockopt(*((IP, socket.IP_TOS) if t.f == 4 else (IP6, socket.IPV6_TCLASS)), 0x20)
	c.sendto(b'x', (t.host, server.getsockname()[1]))
	data, control, flags, _ = server.recvmsg(10, 256)
	t.note('got', (data, flags, shown(t, control)))


@ENDS
def ttl_and_tos_by_message(t):
	"""Ancillary data of one datagram sets what it is sent with."""
	a, b, name = t.udp_pair(connected=False)
	control = ([(IP, socket.IP_TTL, struct.pack('i', 9)), (IP, socket.IP_TOS, struct.pack('i', 0x10))] if t.f == 4 else
		[(IP6, socket.IPV6_HOPLIMIT, struct.pack('i', 9)), (IP6, socket.IPV6_TCLASS, struct.pack('i', 0x10))])
	t.call('send', a.sendmsg, [b'x'], control, 0, name)
	t.call('there', b.recv, 10)


@case()
def control_short(t):
	"""Ancillary data that has no room is cut, and the flags say so."""
	server = udp(t.f)
	server.bind((t.host, 0))
	server.setsockopt(*((IP, IP_PKTINFO) if t.f == 4 else (IP6, socket.IPV6_RECVPKTINFO)), 1)
	udp(t.f).sendto(b'x', server.getsockname())
	data, control, flags, _ = server.recvmsg(10, 16)
	t.note('got', (data, flags == socket.MSG_CTRUNC))


@case()
def timestamps(t):
	server = udp(t.f)
	server.bind((t.host, 0))
	server.setsockopt(SOL, 29, 1)
	udp(t.f).sendto(b'x', server.getsockname())
	data, control, flags, _ = server.recvmsg(10, 256)
	t.note('kinds', [(level, kind, len(d)) for level, kind, d in control])
	seconds = struct.unpack('ll', control[0][2])[0] if control else 0
	t.note('now', abs(seconds - time.time()) < 100)


@case()
def error_queue(t):
	a = udp(t.f)
	a.setsockopt(*((IP, IP_RECVERR) if t.f == 4 else (IP6, IPV6_RECVERR)), 1)
	free = udp(t.f)
	free.bind((t.host, 0))
	name = free.getsockname()
	free.close()
	a.sendto(b'x', name)
	t.until(a, select.POLLERR)
	try:
		data, control, flags, source = a.recvmsg(100, 512, ERRQUEUE)
	except OSError as e:
		t.note('recvmsg', e.errno)
		return
	level, kind, ext = control[0]
	number, origin, icmp_type, code = struct.unpack('=IBBB', ext[:7])
	t.note('error', (data, flags == ERRQUEUE, level, kind, number, origin, icmp_type, code, t.addr(source)))


@case()
def error_queue_empty(t):
	a = udp(t.f)
	t.call('recvmsg', a.recvmsg, 10, 64, ERRQUEUE | DONTWAIT)


@ENDS
def shut_down(t):
	a, b, name = t.udp_pair()
	t.call('wr', a.shutdown, socket.SHUT_WR)
	t.call('send', a.send, b'x')
	t.poll('events_wr', a)
	t.call('rd', a.shutdown, socket.SHUT_RD)
	t.call('recv', a.recv, 10)
	t.poll('events', a)


@case()
def shutdown_wakes_reader(t):
	a, b, _ = t.udp_pair()
	work = t.background(a.recv, 10)
	time.sleep(0.2)
	a.shutdown(socket.SHUT_RDWR)
	t.call('recv', work.end)


@case()
def to_itself(t):
	s = udp(t.f)
	s.bind((t.host, 0))
	s.connect(s.getsockname())
	t.call('send', s.send, b'self')
	t.call('recv', s.recv, 10)


@case()
def port_free_after_close(t):
	s = udp(t.f)
	s.bind((t.host, 0))
	name = s.getsockname()
	for _ in range(5):
		s.close()
		s = udp(t.f)
		t.call('bind', s.bind, name)


@case(families=(None,), pairs=('self', 'out'))
def dual_stack(t):
	server = udp(6)
	server.bind(('::', 0))
	port = server.getsockname()[1]
	for family, host in ((4, '127.0.0.1'), (6, '::1')):
		c = t.peer.udp(family, host)[0] if t.kind == 'out' else udp(family)
		c.sendto(b'v%d' % family, (host, port))
		data, source = server.recvfrom(10)
		t.note(f'v{family}', (data, t.addr(source)))
		server.sendto(b'back', source)
		data, source = c.recvfrom(10)
		t.note(f'back{family}', (data, t.addr(source)))
	t.call('v4_bind', udp(4).bind, ('0.0.0.0', port))


@case(families=(None,))
def v6_only(t):
	server = udp(6)
	server.setsockopt(IP6, socket.IPV6_V6ONLY, 1)
	server.bind(('::', 0))
	v4 = udp(4)
	t.call('v4_bind', v4.bind, ('0.0.0.0', server.getsockname()[1]))
	t.call('mapped', server.sendto, b'x', ('::ffff:127.0.0.1', 9))


@case(families=(None,))
def mapped(t):
	s4, s6 = udp(4), udp(6)
	s4.bind(('127.0.0.1', 0))
	t.call('send', s6.sendto, b'x', ('::ffff:127.0.0.1', s4.getsockname()[1]))
	data, source = s4.recvfrom(10)
	t.note('source', t.addr(source))
	t.names('after', s6)
	t.call('connect', s6.connect, ('::ffff:127.0.0.1', s4.getsockname()[1]))
	t.names('connected', s6)
	t.call('v6', s6.connect, ('::1', 9))


@case(families=(None,))
def v4_socket_v6_address(t):
	t.note('sendto', raw(libc.sendto, udp(4).fileno(), b'x', 1, 0,
		struct.pack('=HHI16sI', socket.AF_INET6, socket.htons(9), 0, b'\0' * 15 + b'\1', 0), 28))
	t.note('v6_to_v4', raw(libc.sendto, udp(6).fileno(), b'x', 1, 0,
		struct.pack('=HH4s8x', socket.AF_INET, socket.htons(9), b'\x7f\0\0\1'), 16))


@ENDS
def edge_triggered(t):
	a, b, name = t.udp_pair()
	back = (t.host, a.getsockname()[1])
	e = select.epoll()
	e.register(a, select.EPOLLIN | select.EPOLLET)
	b.sendto(b'1', back)
	t.note('first', len(e.poll(60)))
	t.note('said', len(e.poll(0)))
	b.sendto(b'2', back)
	t.note('second', len(e.poll(60)))
	t.note('data', (a.recv(10), a.recv(10)))
	t.call('none', a.recv, 10, DONTWAIT)


@case()
def receiver_overrun(t):
	"""More than the receive buffer holds: some are lost, none is cut or comes twice, and the socket goes on."""
	server = udp(t.f)
	server.setsockopt(SOL, socket.SO_RCVBUF, 20000)
	server.bind((t.host, 0))
	c = udp(t.f)
	for i in range(500):
		c.sendto(struct.pack('I', i) + b'x' * 996, server.getsockname())
	got = []
	server.settimeout(1)
	try:
		while True:
			data = server.recv(2000)
			got.append((struct.unpack('I', data[:4])[0], len(data)))
	except TimeoutError:
		pass
	numbers = [n for n, _ in got]
	t.note('some', 0 < len(got) < 500)
	t.note('whole', all(n == 1000 for _, n in got))
	t.note('ordered', numbers == sorted(set(numbers)))
	server.settimeout(60)
	c.sendto(b'alive', server.getsockname())
	t.call('alive', server.recv, 100)


@case()
def close_wakes_nobody(t):
	s = udp(t.f)
	s.bind((t.host, 0))
	d = s.dup()
	s.close()
	udp(t.f).sendto(b'x', d.getsockname())
	t.call('recv', d.recv, 10)


@case()
def many_sockets(t):
	many = []
	for _ in range(100):
		s = udp(t.f)
		s.bind((t.host, 0))
		many.append(s)
	for i, s in enumerate(many):
		many[i - 1].sendto(b'%d' % i, s.getsockname())
	t.note('all', all(s.recvfrom(10) == (b'%d' % i, many[i - 1].getsockname()) for i, s in enumerate(many)))


@case()
def tcp_and_udp_same_port(t):
	s, port = t.listener()
	u = udp(t.f)
	t.call('bind', u.bind, (t.host, port))
	c = udp(t.f)
	c.sendto(b'udp', (t.host, port))
	t.call('recv', u.recv, 10)
	t.call('tcp', tcp(t.f).connect, (t.host, port))


@case()
def udplite_and_others(t):
	from lib import FAMILY
	for label, kind, protocol in (('udplite', socket.SOCK_DGRAM, 136), ('udp_stream', socket.SOCK_STREAM, 17), ('tcp_dgram', socket.SOCK_DGRAM, 6)):
		t.call(label, socket.socket, FAMILY[t.f], kind, protocol)
