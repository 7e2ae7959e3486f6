# SPDX-License-Identifier: Apache-2.0
"""poll, select and epoll, level- and edge-triggered, in each state of a socket."""

import select
import socket
import time

from lib import SILENT, WAIT, both_ends, case, events, tcp, udp

IN, OUT, RDHUP, ET, ONESHOT = (select.EPOLLIN, select.EPOLLOUT, select.EPOLLRDHUP, select.EPOLLET, select.EPOLLONESHOT)


class Watch:
	"""An epoll of one socket that notes what it says."""

	def __init__(self, t, sock, mask):
		self.t = t
		self.epoll = select.epoll()
		self.epoll.register(sock, mask)

	def now(self, label):
		got = self.epoll.poll(0)
		self.t.note(label, events(got[0][1] & 0xffff) if got else '0')

	def wait(self, label, wanted):
		"""Collects until all of wanted have been said: an edge may come in more than one piece."""
		seen, end = 0, time.monotonic() + WAIT
		while seen & wanted != wanted and time.monotonic() < end:
			for _, mask in self.epoll.poll(0.5):
				seen |= mask
		self.t.note(label, events(seen & 0xffff))


@case()
def fresh(t):
	for label, s in (('tcp', tcp(t.f)), ('udp', udp(t.f))):
		t.poll(label, s)
		r, w, x = select.select([s], [s], [s], 0)
		t.note(f'{label}.select', (len(r), len(w), len(x)))
		Watch(t, s, IN | OUT | RDHUP).now(f'{label}.epoll')


@case()
def bound(t):
	for label, s in (('tcp', tcp(t.f)), ('udp', udp(t.f))):
		s.bind((t.host, 0))
		t.poll(label, s)


@case()
def listening(t):
	s, port = t.listener()
	t.poll('idle', s)
	c = tcp(t.f)
	c.connect((t.host, port))
	t.until(s, select.POLLIN)
	t.poll('waiting', s)
	s.accept()
	t.poll('taken', s)


@case()
def listening_edge(t):
	s, port = t.listener()
	w = Watch(t, s, IN | ET)
	w.now('idle')
	many = []
	for i in range(3):
		c = tcp(t.f)
		c.connect((t.host, port))
		many.append(c)
		w.wait(f'one{i}', IN)
	w.now('said')
	for _ in many:
		s.accept()
	w.now('taken')
	tcp(t.f).connect((t.host, port))
	w.wait('next', IN)


@case()
def connecting(t):
	s = tcp(t.f)
	s.setblocking(False)
	w = Watch(t, s, IN | OUT | RDHUP)
	w.now('fresh')
	t.call('connect', s.connect, (SILENT[t.f], 80))
	w.now('connecting')
	t.poll('poll', s)
	r, o, x = select.select([s], [s], [s], 0)
	t.note('select', (len(r), len(o), len(x)))


@case()
def connect_edge(t):
	_, port = t.listener()
	s = tcp(t.f)
	s.setblocking(False)
	try:
		s.connect((t.host, port))
	except BlockingIOError:
		pass
	w = Watch(t, s, IN | OUT | RDHUP | ET)
	w.wait('connected', OUT)
	w.now('said')


@case()
def refused_edge(t):
	free = tcp(t.f)
	free.bind((t.host, 0))
	port = free.getsockname()[1]
	free.close()
	s = tcp(t.f)
	s.setblocking(False)
	try:
		s.connect((t.host, port))
	except BlockingIOError:
		pass
	w = Watch(t, s, IN | OUT | RDHUP)
	w.wait('refused', select.EPOLLERR | select.EPOLLHUP)
	t.sockerr('error', s)
	w.now('after')


@both_ends
def level(t):
	a, b = t.pair()
	w = Watch(t, a, IN | OUT | RDHUP)
	w.now('idle')
	b.sendall(b'abc')
	t.until_bytes(a, 3)
	w.now('data')
	a.recv(1)
	w.now('rest')
	a.recv(10)
	w.now('read')
	b.shutdown(socket.SHUT_WR)
	t.until(a, select.POLLRDHUP)
	w.now('end')
	a.recv(1)
	w.now('still')


@both_ends
def edge(t):
	a, b = t.pair()
	a.setblocking(False)
	w = Watch(t, a, IN | RDHUP | ET)
	b.sendall(b'abc')
	w.wait('data', IN)
	t.until_bytes(a, 3)
	w.now('said')
	a.recv(1)
	w.now('not_again')
	b.sendall(b'def')
	w.wait('more', IN)
	t.until_bytes(a, 5)
	t.call('recv', a.recv, 100)
	t.call('empty', a.recv, 100)
	b.shutdown(socket.SHUT_WR)
	w.wait('end', IN | RDHUP)
	w.now('end_said')


@both_ends
def edge_out(t):
	"""Writable is said again after it was full and has been drained."""
	a, b = t.pair()
	a.setblocking(False)
	w = Watch(t, a, OUT | ET)
	w.wait('first', OUT)
	w.now('said')
	sent, quiet = 0, 0
	while quiet < 4:
		try:
			sent += a.send(b'x' * 65536)
			quiet = 0
		except BlockingIOError:
			quiet += 1
			time.sleep(0.1)
	w.epoll.poll(0)
	w.now('full')
	work = t.background(b.drain, sent)
	w.wait('drained', OUT)
	t.note('all', work.end()[0] == sent)


@both_ends
def edge_reset(t):
	a, b = t.pair()
	w = Watch(t, a, IN | OUT | RDHUP | ET)
	w.wait('idle', OUT)
	b.rst()
	w.wait('reset', IN | RDHUP | select.EPOLLERR | select.EPOLLHUP)
	w.now('said')
	t.sockerr('error', a)


@both_ends
def one_shot(t):
	a, b = t.pair()
	w = Watch(t, a, IN | ONESHOT)
	b.sendall(b'abc')
	w.wait('data', IN)
	w.now('spent')
	w.epoll.modify(a, IN | ONESHOT)
	w.now('armed')


@both_ends
def only_rdhup(t):
	a, b = t.pair()
	w = Watch(t, a, RDHUP)
	b.sendall(b'abc')
	t.until_bytes(a, 3)
	w.now('data')
	b.close()
	w.wait('closed', RDHUP)


@both_ends
def nothing_asked(t):
	"""ERR and HUP come unasked."""
	a, b = t.pair()
	w = Watch(t, a, 0)
	b.rst()
	w.wait('reset', select.EPOLLERR | select.EPOLLHUP)


@both_ends
def select_states(t):
	a, b = t.pair()

	def now(label):
		r, w, x = select.select([a], [a], [a], 0)
		t.note(label, (len(r), len(w), len(x)))
	now('idle')
	b.sendall(b'x')
	t.until_bytes(a, 1)
	now('data')
	a.recv(1)
	now('read')
	b.rst()
	t.until_all(a, select.POLLHUP)
	now('reset')


@both_ends
def own_shutdown(t):
	a, b = t.pair()
	for label, how in (('wr', socket.SHUT_WR), ('rd', socket.SHUT_RD)):
		a.shutdown(how)
		t.poll(label, a)


@both_ends
def closed_descriptor(t):
	a, b = t.pair()
	w = Watch(t, a, IN)
	p = select.poll()
	p.register(a, select.POLLIN)
	a.close()
	t.note('poll', events(p.poll(0)[0][1]))
	b.close()
	time.sleep(0.1)
	w.now('epoll')


@both_ends
def dup_keeps_epoll(t):
	"""An epoll entry is there as long as the socket is, whatever descriptor it was made with."""
	a, b = t.pair()
	d = a.dup()
	w = Watch(t, a, IN)
	a.close()
	b.sendall(b'x')
	w.wait('data', IN)
	t.note('read', d.recv(1))


@both_ends
def poll_wakes(t):
	a, b = t.pair()
	p = select.poll()
	p.register(a, select.POLLIN | select.POLLRDHUP)
	work = t.background(lambda: p.poll(WAIT * 1000))
	time.sleep(0.1)
	b.close()
	t.note('events', events(work.end()[0][1]))


@both_ends
def nested_epoll(t):
	a, b = t.pair()
	inner = select.epoll()
	inner.register(a, IN)
	w = Watch(t, inner, IN)
	w.now('idle')
	b.sendall(b'x')
	w.wait('data', IN)


@both_ends
def two_epolls(t):
	a, b = t.pair()
	one, two = Watch(t, a, IN | ET), Watch(t, a, IN)
	b.sendall(b'x')
	one.wait('one', IN)
	two.wait('two', IN)
	a.recv(1)
	one.now('one_after')
	two.now('two_after')


@case()
def many_in_one_epoll(t):
	s, port = t.listener(backlog=64)
	epoll = select.epoll()
	theirs, ours = [], {}
	for _ in range(40):
		c = tcp(t.f)
		c.connect((t.host, port))
		theirs.append(c)
		a, _ = s.accept()
		ours[a.fileno()] = a
		epoll.register(a, IN)
	for c in theirs:
		c.send(b'x')
	seen, end = set(), time.monotonic() + WAIT
	while len(seen) < 40 and time.monotonic() < end:
		for fd, _ in epoll.poll(1):
			ours[fd].recv(1)
			seen.add(fd)
	t.note('seen', len(seen))
	t.note('quiet', epoll.poll(0))
