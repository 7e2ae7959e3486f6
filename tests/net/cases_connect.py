# SPDX-License-Identifier: Apache-2.0
"""connect(2): blocking and not, errors, names, odd states."""

import ctypes
import select
import signal
import socket
import struct

from lib import ANY, NOROUTE, OWN, PROHIBITED, SILENT, UNREACHABLE, case, libc, own, raw, tcp, timeval

OUT = select.POLLOUT
TARGETS = case(pairs=('self', 'out'))


def refused_port(t):
	"""A port that nobody listens on."""
	s = tcp(t.f)
	s.bind((t.host, 0))
	port = s.getsockname()[1]
	s.close()
	return port


def target(t):
	"""(port, accept): a listener of ours or of the peer."""
	if t.kind == 'out':
		remote, port = t.peer.listen(t.f, t.host)
		return port, lambda: remote.accept()[0]
	s, port = t.listener()
	return port, lambda: s.accept()[0]


@TARGETS
def blocking(t):
	port, accept = target(t)
	s = tcp(t.f)
	t.names('before', s)
	t.call('connect', s.connect, (t.host, port))
	t.names('after', s)
	other = accept()
	t.names('other', other)
	t.poll('events', s)
	t.call('send', s.send, b'hello')
	t.call('recv', other.recv, 5)


@TARGETS
def non_blocking(t):
	port, accept = target(t)
	s = tcp(t.f)
	s.setblocking(False)
	t.call('connect', s.connect, (t.host, port))
	t.until(s, OUT)
	t.poll('events', s)
	t.sockerr('error', s)
	t.names('after', s)
	other = accept()
	t.call('send', s.send, b'x')
	t.call('recv', other.recv, 1)


@TARGETS
def non_blocking_again(t):
	port, _ = target(t)
	s = tcp(t.f)
	s.setblocking(False)
	t.call('first', s.connect, (t.host, port))
	t.until(s, OUT)
	t.call('second', s.connect, (t.host, port))
	t.call('third', s.connect, (t.host, port))


@case()
def refused(t):
	s = tcp(t.f)
	t.call('connect', s.connect, (t.host, refused_port(t)))
	t.sockerr('error', s)
	t.name('peer', s.getpeername)
	t.call('send', s.send, b'x')
	t.call('recv', s.recv, 1)


@case()
def refused_non_blocking(t):
	s = tcp(t.f)
	s.setblocking(False)
	t.call('connect', s.connect, (t.host, refused_port(t)))
	t.until(s, OUT)
	t.poll('events', s)
	t.sockerr('error', s)
	t.sockerr('again', s)
	t.poll('then', s)
	t.name('peer', s.getpeername)


@case()
def refused_recv_tells(t):
	s = tcp(t.f)
	s.setblocking(False)
	t.call('connect', s.connect, (t.host, refused_port(t)))
	t.until(s, OUT)
	t.call('recv', s.recv, 1)
	t.call('again', s.recv, 1)
	t.call('send', s.send, b'x')


@case()
def refused_connect_tells(t):
	s = tcp(t.f)
	s.setblocking(False)
	port = refused_port(t)
	t.call('connect', s.connect, (t.host, port))
	t.until(s, OUT)
	t.call('second', s.connect, (t.host, port))


@TARGETS
def refused_then_good(t):
	port, accept = target(t)
	s = tcp(t.f)
	t.call('bad', s.connect, (t.host, refused_port(t)))
	t.call('good', s.connect, (t.host, port))
	t.names('after', s)
	other = accept()
	t.call('send', s.send, b'abc')
	t.call('recv', other.recv, 3)


@case()
def no_way(t):
	for label, host in (('no_route', NOROUTE), ('unreachable', UNREACHABLE), ('prohibited', PROHIBITED)):
		s = tcp(t.f)
		t.call(label, s.connect, (host[t.f], 80))
		t.names(label, s)
		t.sockerr(f'{label}.error', s)
		t.poll(f'{label}.events', s)


def no_way_non_blocking(t, host):
	"""What is wrong with the address is said at once."""
	s = tcp(t.f)
	s.setblocking(False)
	t.call('connect', s.connect, (host[t.f], 80))
	t.sockerr('then', s)
	t.poll('events', s)
	t.names('after', s)


@case()
def no_route_non_blocking(t):
	no_way_non_blocking(t, NOROUTE)


@case()
def unreachable_non_blocking(t):
	no_way_non_blocking(t, UNREACHABLE)


@case()
def prohibited_non_blocking(t):
	no_way_non_blocking(t, PROHIBITED)


@case()
def silent_non_blocking(t):
	s = tcp(t.f)
	s.setblocking(False)
	t.call('connect', s.connect, (SILENT[t.f], 80))
	t.call('again', s.connect, (SILENT[t.f], 80))
	t.poll('events', s, timeout=0.2)
	t.sockerr('error', s)
	t.name('local', s.getsockname)
	t.name('peer', s.getpeername)
	t.call('send', s.send, b'x')
	t.call('recv', s.recv, 1)


@case()
def silent_send_timeout(t):
	s = tcp(t.f)
	s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval(0.2))
	t.call('connect', s.connect, (SILENT[t.f], 80))
	t.call('again', s.connect, (SILENT[t.f], 80))


@case()
def silent_times_out(t):
	s = tcp(t.f)
	s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
	t.call('connect', s.connect, (SILENT[t.f], 80))


@case()
def silent_close(t):
	s = tcp(t.f)
	s.setblocking(False)
	t.call('connect', s.connect, (SILENT[t.f], 80))
	t.call('close', s.close)


@case()
def silent_shutdown(t):
	s = tcp(t.f)
	s.setblocking(False)
	t.call('connect', s.connect, (SILENT[t.f], 80))
	t.call('shutdown', s.shutdown, socket.SHUT_RDWR)
	t.poll('events', s)
	t.call('recv', s.recv, 1)


def sockaddr(t, host, port):
	if t.f == 4:
		return struct.pack('=HH4s8x', socket.AF_INET, socket.htons(port), socket.inet_aton(host))
	return struct.pack('=HHI16sI', socket.AF_INET6, socket.htons(port), 0, socket.inet_pton(socket.AF_INET6, host), 0)


@case()
def interrupted(t):
	s = tcp(t.f)
	name = sockaddr(t, SILENT[t.f], 80)
	signal.signal(signal.SIGALRM, lambda *_: None)
	signal.siginterrupt(signal.SIGALRM, True)
	signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
	t.note('connect', raw(libc.connect, s.fileno(), name, len(name)))
	signal.setitimer(signal.ITIMER_REAL, 0)
	s.setblocking(False)
	t.note('again', raw(libc.connect, s.fileno(), name, len(name)))


@case()
def interrupted_by_restarting_signal(t):
	s = tcp(t.f)
	name = sockaddr(t, SILENT[t.f], 80)
	s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
	signal.signal(signal.SIGALRM, lambda *_: None)
	signal.siginterrupt(signal.SIGALRM, False)
	signal.setitimer(signal.ITIMER_REAL, 0.2)
	t.note('connect', raw(libc.connect, s.fileno(), name, len(name)))


@TARGETS
def connected_already(t):
	port, _ = target(t)
	s = tcp(t.f)
	s.connect((t.host, port))
	t.call('again', s.connect, (t.host, port))
	t.names('after', s)


@case()
def listening_socket(t):
	s, port = t.listener()
	t.call('connect', s.connect, (t.host, port))
	t.sockerr('error', s)


@TARGETS
def to_any_address(t):
	if t.kind == 'out':
		remote, port = t.peer.listen(t.f, ANY[t.f])
	else:
		_, port = t.listener(host=ANY[t.f])
	s = tcp(t.f)
	t.call('connect', s.connect, (ANY[t.f], port))
	t.names('after', s)


@TARGETS
def to_own_address(t):
	if t.kind == 'out':
		remote, port = t.peer.listen(t.f, OWN[t.f])
	else:
		_, port = t.listener(host=OWN[t.f])
	s = tcp(t.f)
	t.call('loopback', s.connect, (t.host, port))
	t.call('connect', s.connect, (OWN[t.f], port))
	t.names('after', s)


@case(families=(4,))
def to_other_loopback_address(t):
	listener, port = t.listener(host='0.0.0.0')
	s = tcp(4)
	t.call('connect', s.connect, ('127.8.9.10', port))
	t.names('after', s)
	t.names('other', own(listener))


@case()
def port_zero(t):
	s = tcp(t.f)
	t.call('connect', s.connect, (t.host, 0))


@case()
def short_address(t):
	s = tcp(t.f)
	name = sockaddr(t, t.host, 80)
	for n in (0, 1, 2, 8, len(name) - 1 - 4 * (t.f == 6) - 0):
		t.note(f'len{n}', raw(libc.connect, s.fileno(), name, n))
	t.note('huge', raw(libc.connect, s.fileno(), name, 4096))
	t.note('fault', raw(libc.connect, s.fileno(), ctypes.c_void_p(8), len(name)))


@case()
def wrong_family(t):
	s = tcp(t.f)
	name = bytearray(sockaddr(t, t.host, 80))
	for family in (1, 10 if t.f == 4 else 2, 16, 17, 99):
		name[0:2] = struct.pack('=H', family)
		t.note(f'family{family}', raw(libc.connect, s.fileno(), bytes(name) + b'\0' * 32, len(name)))


@TARGETS
def unspec_disconnects(t):
	port, accept = target(t)
	s = tcp(t.f)
	s.connect((t.host, port))
	other = accept()
	t.note('unspec', raw(libc.connect, s.fileno(), b'\0' * 16, 16))
	t.names('after', s)
	t.call('send', s.send, b'x')
	t.call('other', other.recv, 1)
	t.call('connect', s.connect, (t.host, port))
	again = accept()
	t.call('send_again', s.send, b'y')
	t.call('other_again', again.recv, 1)


@TARGETS
def unspec_keeps_bound_port(t):
	port, accept = target(t)
	own_port = refused_port(t)
	s = tcp(t.f)
	s.bind((t.host, own_port))
	s.connect((t.host, port))
	accept()
	t.note('unspec', raw(libc.connect, s.fileno(), b'\0' * 16, 16))
	t.sockerr('error', s)
	t.poll('events', s)
	t.names('after', s)
	t.call('listen', s.listen, 4)
	t.names('listening', s)
	t.call('client', tcp(t.f).connect, (t.host, own_port))
	t.call('accept', lambda: s.accept() and None)


@case()
def unspec_while_connecting(t):
	s = tcp(t.f)
	s.setblocking(False)
	t.call('connect', s.connect, (SILENT[t.f], 80))
	t.note('unspec', raw(libc.connect, s.fileno(), b'\0' * 16, 16))
	t.poll('events', s)
	t.sockerr('error', s)
	t.names('after', s)


@case()
def to_broadcast_and_multicast(t):
	for label, host in (('multicast', '224.0.0.251' if t.f == 4 else 'ff02::fb'),
			('broadcast', '255.255.255.255' if t.f == 4 else 'ff02::1')):
		s = tcp(t.f)
		t.call(label, s.connect, (host, 80))
	if t.f == 4:
		t.call('subnet', tcp(4).connect, ('192.0.2.255', 80))


@case()
def to_itself(t):
	s = tcp(t.f)
	s.bind((t.host, 0))
	name = s.getsockname()
	t.call('connect', s.connect, name)
	t.names('after', s)
	t.call('send', s.send, b'echo')
	t.call('recv', s.recv, 4)


@TARGETS
def bound_first(t):
	port, accept = target(t)
	s = tcp(t.f)
	s.bind((t.host, 0))
	t.names('bound', s)
	t.call('connect', s.connect, (t.host, port))
	t.names('after', s)
	t.names('other', accept())


@TARGETS
def bound_to_own_address_first(t):
	if t.kind == 'out':
		remote, port = t.peer.listen(t.f, ANY[t.f])
		accept = lambda: remote.accept()[0]
	else:
		listener, port = t.listener(host=ANY[t.f])
		accept = lambda: listener.accept()[0]
	s = tcp(t.f)
	s.bind((OWN[t.f], 0))
	t.names('bound', s)
	t.call('connect', s.connect, (OWN[t.f], port))
	t.names('after', s)
	t.names('other', accept())


@case()
def calls_before_connect(t):
	s = tcp(t.f)
	t.names('names', s)
	t.call('send', s.send, b'x')
	t.call('recv', s.recv, 1)
	t.call('peek', s.recv, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
	t.call('shut_wr', s.shutdown, socket.SHUT_WR)
	t.call('shut_rd', s.shutdown, socket.SHUT_RD)
	t.call('accept', s.accept)
	t.poll('events', s)


@TARGETS
def recv_waits_in_thread_before_data(t):
	port, accept = target(t)
	s = tcp(t.f)
	s.connect((t.host, port))
	other = accept()
	work = t.background(s.recv, 10)
	other.sendall(b'woken')
	t.note('recv', work.end())


@case()
def send_to_with_address(t):
	"""TCP takes no destination: the address of sendto counts for nothing where it is connected."""
	s, port = t.listener()
	c = tcp(t.f)
	t.call('unconnected', c.sendto, b'x', (t.host, port))
	c.connect((t.host, port))
	t.call('connected', c.sendto, b'x', (t.host, 9))
	other = own(s)
	t.call('recv', other.recv, 5)
	other.sendall(b'yz')
	data, name = c.recvfrom(5)
	t.note('recvfrom', (data, name))


@case(families=(6,))
def mapped_address(t):
	s, port = t.listener(family=4)
	c = tcp(6)
	t.call('connect', c.connect, ('::ffff:127.0.0.1', port))
	t.names('after', c)
	t.names('other', own(s))


@case(families=(6,))
def mapped_address_v6only(t):
	s, port = t.listener(family=4)
	c = tcp(6)
	c.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
	t.call('connect', c.connect, ('::ffff:127.0.0.1', port))


@case(families=(6,))
def mapped_refused(t):
	c = tcp(6)
	port = refused_port(t)
	t.call('connect', c.connect, ('::ffff:127.0.0.1', port))
	t.call('any', c.connect, ('::ffff:0.0.0.0', port))


@case(families=(6,))
def link_local_without_scope(t):
	t.call('connect', tcp(6).connect, ('fe80::1', 80))
	t.call('bad_scope', tcp(6).connect, ('fe80::1', 80, 0, 4242))


@case()
def parallel_non_blocking(t):
	s, port = t.listener(backlog=64)
	many = []
	for _ in range(32):
		c = tcp(t.f)
		c.setblocking(False)
		try:
			c.connect((t.host, port))
		except BlockingIOError:
			pass
		many.append(c)
	for c in many:
		t.until(c, OUT)
	t.note('errors', sorted({c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for c in many}))
	names = {s.accept()[1][1] for _ in many}
	t.note('same', names == {c.getsockname()[1] for c in many})


@case()
def close_before_accept(t):
	"""Sent, closed, and only then accepted: the data is there."""
	s, port = t.listener()
	c = tcp(t.f)
	c.connect((t.host, port))
	c.sendall(b'last words')
	c.close()
	other = own(s)
	t.call('recv', other.recv, 100)
	t.call('end', other.recv, 100)


@case()
def reset_before_accept(t):
	s, port = t.listener()
	c = tcp(t.f)
	c.connect((t.host, port))
	c.rst()
	t.until(s, select.POLLIN)
	other = own(s)
	t.call('recv', other.recv, 1)

