# SPDX-License-Identifier: Apache-2.0
"""One socket in many hands: fork, dup, SCM_RIGHTS, exec, and closing in odd orders."""

import array
import os
import select
import signal
import socket
import subprocess
import time

from lib import as_end, both_ends, case, in_child, own, tcp, udp


@both_ends
def child_writes(t):
	a, b = t.pair()
	t.note('child', in_child(lambda: a.send(b'from the child')))
	t.call('there', b.recv, 100)
	a.send(b'and the parent')
	t.call('there_too', b.recv, 100)


@both_ends
def child_reads(t):
	a, b = t.pair()
	b.sendall(b'one')
	t.note('child', in_child(lambda: a.recv(100).decode()))
	b.sendall(b'two')
	t.call('parent', a.recv, 100)


@both_ends
def parent_closes_child_goes_on(t):
	"""The connection ends with its last holder."""
	a, b = t.pair()
	r, w = os.pipe()
	pid = os.fork()
	if pid == 0:
		os.close(w)
		os.read(r, 1)
		a.send(b'child')
		os._exit(0)
	os.close(r)
	a.close()
	os.write(w, b'x')
	t.call('there', b.recv, 100)
	os.waitpid(pid, 0)
	t.call('end', b.recv, 100)


@both_ends
def child_exits_parent_goes_on(t):
	a, b = t.pair()
	in_child(a.close)
	a.send(b'parent')
	t.call('there', b.recv, 100)


@both_ends
def child_killed(t):
	"""The peer sees an end, not a reset, when the only holder is killed."""
	a, b = t.pair()
	pid = os.fork()
	if pid == 0:
		a.send(b'last')
		signal.pause()
	a.close()
	t.call('there', b.recv, 100)
	os.kill(pid, signal.SIGKILL)
	os.waitpid(pid, 0)
	t.call('end', b.recv, 100)


@both_ends
def child_shuts_down(t):
	"""shutdown is the connection's, not the descriptor's."""
	a, b = t.pair()
	in_child(lambda: a.shutdown(socket.SHUT_WR))
	t.call('end', b.recv, 1)
	t.call('parent', a.send, b'x')


@both_ends
def dup(t):
	a, b = t.pair()
	d = as_end(a.dup())
	a.close()
	t.call('send', d.send, b'dup')
	t.call('there', b.recv, 10)
	d.close()
	t.call('end', b.recv, 10)


@both_ends
def non_blocking_is_shared(t):
	a, b = t.pair()
	d = a.dup()
	os.set_blocking(d.fileno(), False)
	t.note('flag', os.get_blocking(a.fileno()))


def send_descriptor(channel, fd):
	channel.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [fd]))])


def receive_descriptor(channel):
	_, control, _, _ = channel.recvmsg(10, 64)
	return array.array('i', control[0][2])[0]


@both_ends
def rights(t):
	a, b = t.pair()
	one, two = socket.socketpair()
	send_descriptor(one, a.fileno())
	a.close()	# in flight: held by the message alone
	b.sendall(b'waiting')
	s = socket.socket(fileno=receive_descriptor(two))
	t.note('family', (s.family == (socket.AF_INET if t.f == 4 else socket.AF_INET6), s.type == socket.SOCK_STREAM))
	t.call('recv', s.recv, 100)
	t.call('send', s.send, b'passed on')
	t.call('there', b.recv, 100)
	s.close()
	t.call('end', b.recv, 100)


@both_ends
def rights_never_taken(t):
	a, b = t.pair()
	one, two = socket.socketpair()
	send_descriptor(one, a.fileno())
	a.close()
	one.close()
	two.close()
	t.call('end', b.recv, 100)


@both_ends
def rights_to_a_process(t):
	a, b = t.pair()
	one, two = socket.socketpair()
	pid = os.fork()
	if pid == 0:
		a.close()
		s = socket.socket(fileno=receive_descriptor(two))
		s.send(b'by the other')
		os._exit(0)
	send_descriptor(one, a.fileno())
	a.close()
	t.call('there', b.recv, 100)
	os.waitpid(pid, 0)
	t.call('end', b.recv, 100)


@case(pairs=('self', 'in'))
def listener_in_child(t):
	"""A child accepts on the listener that it got; the parent has closed it."""
	s, port = t.listener()
	pid = os.fork()
	if pid == 0:
		a, _ = s.accept()
		a.sendall(b'child: ' + a.recv(100))
		os._exit(0)
	s.close()
	if t.kind == 'in':
		c = t.peer.connect(t.f, t.host, port)
	else:
		c = tcp(t.f)
		c.connect((t.host, port))
	c.sendall(b'hello')
	t.call('recv', c.recv, 100)
	os.waitpid(pid, 0)
	t.call('end', c.recv, 100)


@case()
def workers(t):
	"""Four processes accept on one listener; each connection is served once."""
	s, port = t.listener(backlog=64)
	pids = []
	for _ in range(4):
		pid = os.fork()
		if pid == 0:
			while True:
				a, _ = s.accept()
				data = a.recv(100)
				if data == b'stop':
					os._exit(0)
				a.sendall(data)
				a.close()
		pids.append(pid)
	answers = []
	for i in range(40):
		c = tcp(t.f)
		c.connect((t.host, port))
		c.sendall(b'%d' % i)
		answers.append(c.recv(100) == b'%d' % i and c.recv(1) == b'')
	t.note('answers', sum(answers))
	for _ in pids:
		c = tcp(t.f)
		c.connect((t.host, port))
		c.sendall(b'stop')
	t.note('ended', [os.waitpid(p, 0)[1] for p in pids])


@case()
def workers_with_epoll(t):
	"""The same without blocking, with EPOLLEXCLUSIVE."""
	s, port = t.listener(backlog=64)
	s.setblocking(False)
	pids = []
	for _ in range(3):
		pid = os.fork()
		if pid == 0:
			e = select.epoll()
			e.register(s, select.EPOLLIN | select.EPOLLEXCLUSIVE)
			while True:
				e.poll()
				try:
					a, _ = s.accept()
				except BlockingIOError:
					continue
				a.setblocking(True)
				data = a.recv(100)
				a.sendall(data)
				a.close()
		pids.append(pid)
	good = 0
	for i in range(30):
		c = tcp(t.f)
		c.connect((t.host, port))
		c.sendall(b'%d' % i)
		good += c.recv(100) == b'%d' % i
	t.note('good', good)
	for p in pids:
		os.kill(p, signal.SIGKILL)
		os.waitpid(p, 0)


@both_ends
def exec_with_socket_as_stdio(t):
	"""As inetd does it."""
	a, b = t.pair()
	child = subprocess.Popen(['cat'], stdin=a.fileno(), stdout=a.fileno())
	a.close()
	b.sendall(b'through cat')
	t.call('recv', b.recv, 100)
	b.shutdown(socket.SHUT_WR)
	t.call('end', b.recv, 100)
	t.note('status', child.wait())


@both_ends
def close_on_exec(t):
	a, b = t.pair()
	t.note('inheritable', a.get_inheritable())
	child = subprocess.Popen(['sleep', '30'], close_fds=False)
	a.close()
	t.call('end', b.recv, 100)
	child.kill()
	child.wait()


@both_ends
def close_orders(t):
	for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
		a, b = t.pair()
		three = [a, a.dup(), as_end(socket.socket(fileno=os.dup(a.fileno())))]
		for i in order[:2]:
			three[i].close()
		t.call('send', three[order[2]].send, b'last one')
		t.call('there', b.recv, 100)
		three[order[2]].close()
		t.call('end', b.recv, 100)


@case()
def listener_closed_before_accepted(t):
	s, port = t.listener()
	c = tcp(t.f)
	c.connect((t.host, port))
	a = own(s)
	c.close()
	t.call('end', a.recv, 1)
	a.close()
	again = tcp(t.f)
	again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	t.call('bind', again.bind, (t.host, port))


@both_ends
def closed_while_read(t):
	"""A reader keeps the socket while it reads: close by another thread does not end it."""
	a, b = t.pair()
	fd = os.dup(a.fileno())
	work = t.background(os.read, fd, 10)
	time.sleep(0.2)
	os.close(fd)
	b.sendall(b'late')
	t.note('read', work.end())


@case()
def udp_in_child(t):
	s = udp(t.f)
	s.bind((t.host, 0))
	c = udp(t.f)
	c.sendto(b'x', s.getsockname())
	t.note('child', in_child(lambda: s.recv(10).decode()))
	c.sendto(b'y', s.getsockname())
	t.call('parent', s.recv, 10)


@case()
def thousand_descriptors(t):
	"""As many sockets as the limit lets, all closed at once, and again."""
	import resource
	soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	resource.setrlimit(resource.RLIMIT_NOFILE, (min(600, hard), hard))
	for _ in range(2):
		many = []
		try:
			while True:
				many.append(tcp(t.f))
		except OSError as e:
			t.note('error', e.errno)
		t.note('many', len(many) > 400)
		for s in many:
			s.close()


@both_ends
def threads_on_one_connection(t):
	"""One writes while another reads."""
	a, b = t.pair()
	work = [t.background(a.fill, 500000), t.background(a.drain, 500000)]
	if t.kind == 'self':
		echo = t.background(b.drain, 500000)
		t.note('filled', b.fill(500000))
		t.note('there', echo.end())
	else:
		t.note('there', b.drain(500000))
		t.note('filled', b.fill(500000))
	t.note('ours', [w.end() for w in work])

