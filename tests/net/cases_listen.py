# SPDX-License-Identifier: Apache-2.0
"""bind, listen, accept: errors, names, flags, backlog, port sharing, both families on one socket."""

import ctypes
import os
import select
import socket
import struct
import time

from cases_connect import refused_port, sockaddr
from lib import ANY, LOOPBACK, NOROUTE, OWN, as_end, case, in_child, libc, own, raw, tcp, timeval, udp

SOCK_CLOEXEC = socket.SOCK_CLOEXEC
SOCK_NONBLOCK = socket.SOCK_NONBLOCK
CLIENTS = case(pairs=('self', 'in'))


def client(t, port, family=None, host=None):
	family = family or t.f
	host = host or LOOPBACK[family]
	if t.kind == 'in':
		return t.peer.connect(family, host, port)
	c = tcp(family)
	c.connect((host, port))
	return c


@case()
def bind_names(t):
	for label, host in (('any', ANY[t.f]), ('loopback', t.host), ('own', OWN[t.f])):
		s = tcp(t.f)
		t.call(f'{label}.bind', s.bind, (host, 0))
		t.names(label, s)
		t.note(f'{label}.chosen', s.getsockname()[1] >= 1024)


@case()
def bind_fixed_port(t):
	s = tcp(t.f)
	t.call('bind', s.bind, (t.host, 4321))
	t.names('names', s)
	other = tcp(t.f)
	t.call('again', other.bind, (t.host, 4321))
	t.call('any', other.bind, (ANY[t.f], 4321))
	t.call('own', other.bind, (OWN[t.f], 4321))
	t.call('udp', udp(t.f).bind, (t.host, 4321))


@case()
def bind_twice(t):
	s = tcp(t.f)
	t.call('bind', s.bind, (t.host, 0))
	t.call('again', s.bind, (t.host, 0))
	t.call('other', s.bind, (ANY[t.f], 4322))
	t.names('names', s)


@case()
def bind_foreign_address(t):
	t.call('bind', tcp(t.f).bind, (NOROUTE[t.f], 0))
	t.call('multicast', tcp(t.f).bind, ('224.0.0.1' if t.f == 4 else 'ff02::1', 0))
	t.call('broadcast', tcp(t.f).bind, ('192.0.2.255' if t.f == 4 else 'fe80::42', 0))


@case()
def bind_short_address(t):
	name = sockaddr(t, t.host, 4323)
	s = tcp(t.f)
	for n in (0, 2, 8, 15):
		t.note(f'len{n}', raw(libc.bind, s.fileno(), name, n))
	t.note('huge', raw(libc.bind, s.fileno(), name, 4096))
	t.note('fault', raw(libc.bind, s.fileno(), ctypes.c_void_p(8), len(name)))


@case()
def bind_wrong_family(t):
	s = tcp(t.f)
	name = bytearray(sockaddr(t, t.host, 4324))
	for family in (0, 1, 10 if t.f == 4 else 2, 99):
		name[0:2] = struct.pack('=H', family)
		t.note(f'family{family}', raw(libc.bind, s.fileno(), bytes(name) + b'\0' * 32, len(name)))


@case(families=(4,))
def bind_unspec_any(t):
	"""AF_UNSPEC with INADDR_ANY is AF_INET, of old."""
	t.note('bind', raw(libc.bind, tcp(4).fileno(), b'\0' * 16, 16))


@case()
def bind_privileged_port(t):
	def unprivileged():
		os.setgroups([])
		os.setgid(1000)
		os.setuid(1000)
		tcp(t.f).bind((t.host, 81))
	t.note('user', in_child(unprivileged))
	t.call('root', tcp(t.f).bind, (t.host, 81))


@case()
def bind_after_connect(t):
	_, port = t.listener()
	c = tcp(t.f)
	c.connect((t.host, port))
	t.call('bind', c.bind, (t.host, 0))


@case()
def listen_without_bind(t):
	s = tcp(t.f)
	t.call('listen', s.listen, 5)
	t.name('local', s.getsockname)
	c = tcp(t.f)
	t.call('connect', c.connect, (t.host, s.getsockname()[1]))
	t.names('client', c)
	t.names('accepted', own(s))


@case()
def listen_twice(t):
	s, port = t.listener(backlog=1)
	t.call('again', s.listen, 10)
	t.name('local', s.getsockname)
	client(t, port)
	t.call('accept', lambda: s.accept() and None)


@case()
def listen_on_connected(t):
	_, port = t.listener()
	c = tcp(t.f)
	c.connect((t.host, port))
	t.call('listen', c.listen, 5)


@case()
def listen_backlogs(t):
	for backlog in (-1, 0, 1, 1000000):
		s = tcp(t.f)
		s.bind((t.host, 0))
		t.note(f'listen{backlog}', raw(libc.listen, s.fileno(), backlog))
		c = tcp(t.f)
		t.call(f'connect{backlog}', c.connect, s.getsockname())


@case()
def backlog_holds(t):
	"""The connections that the backlog promises are made before any accept; a flood is not."""
	s, port = t.listener(backlog=4)
	many = []
	for _ in range(40):
		c = tcp(t.f)
		c.setblocking(False)
		try:
			c.connect((t.host, port))
		except BlockingIOError:
			pass
		many.append(c)
	for c in many[:5]:
		t.until(c, select.POLLOUT)
	t.note('promised', [c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for c in many[:5]])
	time.sleep(0.3)
	p = select.poll()
	for c in many:
		p.register(c, select.POLLOUT)
	made = sum(1 for _, e in p.poll(0) if e == select.POLLOUT)
	t.note('bounded', made < 40)
	t.note('first', s.accept()[1][1] == many[0].getsockname()[1])


@case()
def accept_errors(t):
	s = tcp(t.f)
	t.call('new', s.accept)
	s.bind((t.host, 0))
	t.call('bound', s.accept)
	t.call('udp', udp(t.f).accept)
	listener, port = t.listener()
	c = tcp(t.f)
	c.connect((t.host, port))
	t.call('connected', c.accept)
	t.call('listening_recv', listener.recv, 1)
	t.call('listening_send', listener.send, b'x')


@case()
def accept_non_blocking(t):
	s, port = t.listener()
	s.setblocking(False)
	t.call('none', s.accept)
	c = tcp(t.f)
	c.connect((t.host, port))
	t.until(s, select.POLLIN)
	t.call('one', lambda: s.accept() and None)
	t.call('none_again', s.accept)


@case()
def accept_timeout(t):
	s, port = t.listener()
	s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(0.2))
	begin = time.monotonic()
	t.call('accept', s.accept)
	t.note('waited', time.monotonic() - begin >= 0.15)


def own_of(listener):
	"""accept() of a listener that stays."""
	return as_end(listener.accept()[0])


@CLIENTS
def accept4_flags(t):
	import fcntl
	s, port = t.listener()
	for label, flags in (('none', 0), ('cloexec', SOCK_CLOEXEC), ('nonblock', SOCK_NONBLOCK), ('both', SOCK_CLOEXEC | SOCK_NONBLOCK)):
		client(t, port)
		name = ctypes.create_string_buffer(128)
		size = ctypes.c_uint(128)
		fd = raw(libc.accept4, s.fileno(), name, ctypes.byref(size), flags)
		if isinstance(fd, str):
			t.note(label, fd)
			continue
		t.note(label, (bool(fcntl.fcntl(fd, fcntl.F_GETFD) & 1), bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK), size.value))
	t.note('bad', raw(libc.accept4, s.fileno(), None, None, 4))
	client(t, port)
	size = ctypes.c_uint(4)
	name = ctypes.create_string_buffer(b'\xff' * 128, 128)
	t.note('short', raw(libc.accept4, s.fileno(), name, ctypes.byref(size), 0) in range(1000))
	t.note('size', size.value)
	t.note('untouched', name.raw[4:8] == b'\xff' * 4)


@CLIENTS
def accepted_names(t):
	s, port = t.listener(host=ANY[t.f])
	for host in (t.host, OWN[t.f]):
		c = client(t, port, host=host)
		a, name = s.accept()
		t.note('accept', t.addr(name))
		t.names('accepted', a)
		t.names('client', c)


@CLIENTS
def accept_order(t):
	s, port = t.listener(backlog=10)
	many = [client(t, port) for _ in range(5)]
	names = [c.getsockname()[1] for c in many]
	t.note('order', [names.index(s.accept()[1][1]) for _ in many])


@CLIENTS
def accept_in_thread(t):
	s, port = t.listener()
	work = t.background(s.accept)
	c = client(t, port)
	t.note('peer', work.end()[1][1] == c.getsockname()[1])


@CLIENTS
def accepted_inherits(t):
	s = tcp(t.f)
	for level, option, value in INHERITED:
		s.setsockopt(level, option, value)
	s.bind((t.host, 0))
	s.listen(5)
	c = client(t, s.getsockname()[1])
	a, _ = s.accept()
	for level, option, _ in INHERITED:
		t.note(f'{level}.{option}', a.getsockopt(level, option))
	t.note('linger', a.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8).hex())


INHERITED = ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
	(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 12345),
	(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1))


@CLIENTS
def listener_closed_with_waiting(t):
	"""Connections that nobody accepted are reset when the listener is closed."""
	s, port = t.listener()
	c = client(t, port)
	t.until(s, select.POLLIN)
	s.close()
	t.call('recv', c.recv, 1)


@CLIENTS
def listener_closed_accepted_lives(t):
	s, port = t.listener()
	c = client(t, port)
	a = own(s)
	t.call('send', a.send, b'still')
	t.call('recv', c.recv, 5)
	t.call('connect', client, t, port)


@CLIENTS
def listener_shut_down(t):
	s, port = t.listener()
	t.call('rd', s.shutdown, socket.SHUT_RD)
	t.poll('events', s)
	t.call('accept', s.accept)
	t.call('connect', client, t, port)
	t.call('listen', s.listen, 4)
	t.name('local', s.getsockname)	# the port was the kernel's choice: it is another now
	t.call('again', lambda: client(t, s.getsockname()[1]) and None)
	t.call('accept_again', lambda: s.accept() and None)


@case()
def listener_shut_down_with_connections(t):
	"""The address that was bound is had again although there are connections from it, and no other."""
	port = refused_port(t)
	s = tcp(t.f)
	s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	if t.f == 6:
		s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
	s.bind((ANY[t.f], port))
	s.listen(4)
	c = client(t, port)
	t.keep.append(s.accept()[0])
	t.call('rd', s.shutdown, socket.SHUT_RD)
	t.call('listen', s.listen, 4)
	t.names('again', s)
	t.call('client', lambda: client(t, port) and None)
	t.call('accept', lambda: s.accept() and None)
	if t.f == 6:
		t.call('v4', tcp(4).connect, ('127.0.0.1', port))


@case()
def listener_shut_down_write(t):
	s, port = t.listener()
	t.call('wr', s.shutdown, socket.SHUT_WR)
	c = tcp(t.f)
	t.call('connect', c.connect, (t.host, port))
	t.call('accept', lambda: s.accept() and None)


@case()
def shutdown_wakes_accept(t):
	s, port = t.listener()
	work = t.background(s.accept)
	time.sleep(0.3)
	t.call('shutdown', s.shutdown, socket.SHUT_RDWR)
	t.call('accept', work.end)


@CLIENTS
def port_free_after_close(t):
	s, port = t.listener()
	s.close()
	s = tcp(t.f)
	t.call('bind', s.bind, (t.host, port))
	t.call('listen', s.listen, 4)
	client(t, port)
	t.call('accept', lambda: s.accept() and None)


@CLIENTS
def port_in_use_by_accepted(t):
	s, port = t.listener()
	c = client(t, port)
	a = own(s)
	again = tcp(t.f)
	t.call('bind', again.bind, (t.host, port))
	again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	t.call('reuse_one_side', again.bind, (t.host, port))
	a.close()


@CLIENTS
def restart_with_reuse(t):
	s = tcp(t.f)
	s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	s.bind((t.host, 0))
	s.listen(4)
	port = s.getsockname()[1]
	c = client(t, port)
	a = own(s)
	again = tcp(t.f)
	again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	t.call('bind', again.bind, (t.host, port))
	t.call('listen', again.listen, 4)
	a.sendall(b'old')
	t.call('old', c.recv, 3)
	client(t, port)
	t.call('accept', lambda: again.accept() and None)


@case()
def reuse_address_two_listeners(t):
	first, second = tcp(t.f), tcp(t.f)
	for s in (first, second):
		s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	t.call('bind', first.bind, (t.host, 0))
	name = first.getsockname()
	t.call('bind_second', second.bind, name)
	t.call('listen', first.listen, 4)
	t.call('listen_second', second.listen, 4)
	third = tcp(t.f)
	third.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	t.call('bind_third', third.bind, name)


@case()
def reuse_port(t):
	one, two, without = tcp(t.f), tcp(t.f), tcp(t.f)
	for s in (one, two):
		s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
	t.call('one', one.bind, (t.host, 0))
	name = one.getsockname()
	t.call('two', two.bind, name)
	t.call('without', without.bind, name)
	one.listen(64)
	two.listen(64)
	for s in (one, two):
		s.setblocking(False)
	clients = []
	for _ in range(40):
		c = tcp(t.f)
		c.connect(name)
		clients.append(c)
	got = [0, 0]

	def all_taken():
		for i, s in enumerate((one, two)):
			try:
				s.accept()
				got[i] += 1
			except BlockingIOError:
				pass
		return sum(got) == 40
	t.until_true('40 accepted', all_taken)
	t.note('both', min(got) > 0)


@case()
def any_and_specific(t):
	a, port = t.listener(host=ANY[t.f])
	t.call('specific', tcp(t.f).bind, (t.host, port))
	r = tcp(t.f)
	r.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	t.call('reuse', r.bind, (t.host, port))


@case(families=(None,), pairs=('self', 'in'))
def dual_stack(t):
	s = tcp(6)
	s.bind(('::', 0))
	s.listen(4)
	port = s.getsockname()[1]
	t.note('v6only', s.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
	for family in (4, 6):
		c = client(t, port, family)
		a, name = s.accept()
		t.note(f'accept{family}', t.addr(name))
		t.names(f'accepted{family}', a)
		t.names(f'client{family}', c)
	t.call('v4_bind', tcp(4).bind, ('0.0.0.0', port))
	t.call('v4_loopback', tcp(4).bind, ('127.0.0.1', port))


@case(families=(None,), pairs=('self', 'in'))
def v6_only(t):
	s = tcp(6)
	s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
	s.bind(('::', 0))
	s.listen(4)
	port = s.getsockname()[1]
	t.call('set_late', s.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
	t.call('v4', client, t, port, 4)
	t.call('v6', lambda: client(t, port, 6) and None)
	v4 = tcp(4)
	t.call('v4_bind', v4.bind, ('0.0.0.0', port))
	t.call('v4_listen', v4.listen, 4)
	t.call('v4_again', lambda: client(t, port, 4) and None)
	t.note('v4_name', t.addr(v4.accept()[1]))
	t.note('v6_name', t.addr(s.accept()[1]))


@case(families=(None,))
def v4_then_v6_any(t):
	a = tcp(4)
	a.bind(('0.0.0.0', 0))
	a.listen(4)
	t.call('v6', tcp(6).bind, ('::', a.getsockname()[1]))
	only = tcp(6)
	only.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
	t.call('v6only', only.bind, ('::', a.getsockname()[1]))


@case(families=(None,))
def bind_mapped(t):
	s = tcp(6)
	t.call('bind', s.bind, ('::ffff:127.0.0.1', 0))
	t.name('local', s.getsockname)
	s.listen(4)
	port = s.getsockname()[1]
	c = tcp(4)
	t.call('v4', c.connect, ('127.0.0.1', port))
	t.call('v6', tcp(6).connect, ('::1', port))
	t.names('accepted', own(s))
	only = tcp(6)
	only.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
	t.call('v6only', only.bind, ('::ffff:127.0.0.1', 0))


@CLIENTS
def data_before_accept(t):
	s, port = t.listener()
	c = client(t, port)
	c.sendall(b'early')
	a = own(s)
	t.until_bytes(a, 5)
	t.call('recv', a.recv, 10)


@CLIENTS
def half_closed_before_accept(t):
	s, port = t.listener()
	c = client(t, port)
	c.sendall(b'question')
	c.shutdown(socket.SHUT_WR)
	a = own(s)
	t.call('recv', a.recv, 100)
	t.call('end', a.recv, 100)
	t.call('send', a.send, b'answer')
	t.call('client', c.recv, 100)


def until_reset(t, s):
	t.until_all(s, select.POLLHUP)


@CLIENTS
def reset_before_accept(t):
	s, port = t.listener()
	c = client(t, port)
	other = client(t, port)
	c.rst()
	a = own_of(s)
	t.until(a, select.POLLIN)
	t.poll('events', a)
	t.call('recv', a.recv, 1)
	t.call('then', a.recv, 1)
	t.call('send', a.send, b'x')
	b = own_of(s)
	b.sendall(b'next')
	t.call('next', other.recv, 10)


@CLIENTS
def reset_before_accept_with_data(t):
	s, port = t.listener()
	c = client(t, port)
	c.sendall(b'early')
	t.until(s, select.POLLIN)
	c.rst()
	a = own_of(s)
	until_reset(t, a)
	t.call('recv', a.recv, 10)
	t.call('then', a.recv, 10)


@CLIENTS
def reset_before_accept_half_closed(t):
	s, port = t.listener()
	c = client(t, port)
	c.shutdown(socket.SHUT_WR)
	t.until(s, select.POLLIN)
	c.rst()
	a = own_of(s)
	until_reset(t, a)
	t.call('send', a.send, b'x')
	t.call('recv', a.recv, 10)


@CLIENTS
def closed_before_accept(t):
	"""Both ways ended, nothing was said: accept(2) gives a connection at its end."""
	s, port = t.listener()
	c = client(t, port)
	t.until(s, select.POLLIN)
	c.close()
	a = own_of(s)
	t.call('end', a.recv, 1)
	t.call('send', a.send, b'x')


@CLIENTS
def many_reset_before_accept(t):
	"""More of them than the backlog has places, and then one that stays."""
	s, port = t.listener(backlog=2)
	for _ in range(12):
		c = client(t, port)
		c.rst()
		a = own_of(s)
		t.until(a, select.POLLIN)
		t.call('recv', a.recv, 1)
	c = client(t, port)
	a = own_of(s)
	a.sendall(b'alive')
	t.call('alive', c.recv, 10)


@case()
def defer_accept(t):
	s = tcp(t.f)
	s.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
	s.bind((t.host, 0))
	s.listen(4)
	c = tcp(t.f)
	c.connect(s.getsockname())
	t.poll('before', s, select.POLLIN, 0.3)
	c.sendall(b'now')
	t.until(s, select.POLLIN)
	t.call('recv', own(s).recv, 10)


@case()
def many_listeners(t):
	many = [t.listener() for _ in range(100)]
	t.note('ports', len({port for _, port in many}))
	for s, port in many[::10]:
		tcp(t.f).connect((t.host, port))
		s.accept()
