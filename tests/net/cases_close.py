# SPDX-License-Identifier: Apache-2.0
"""Ends of a TCP connection: shutdown in each way and order, half close, resets in each state, linger, unread data."""

import os
import select
import signal
import socket
import struct
import time

from lib import both_ends, case, in_child, libc, pattern, raw, timeval

RD, WR, RDWR = socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR
IN, OUT, RDHUP, HUP, ERR = select.POLLIN, select.POLLOUT, select.POLLRDHUP, select.POLLHUP, select.POLLERR
WAITALL = socket.MSG_WAITALL


def until_end(t, s):
	t.until(s, RDHUP)


def until_reset(t, s):
	t.until_all(s, HUP)


def until_either_reset(t, s):
	"""Of an end that may be the peer's. Ours has to have been told, for which it is not enough that TCP_INFO says it."""
	if isinstance(s, socket.socket):
		until_reset(t, s)
	else:
		t.until_true('the reset', lambda: s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b'\x07')	# TCP_CLOSE


@both_ends
def close_tells_peer(t):
	a, b = t.pair()
	a.sendall(b'bye')
	a.close()
	t.call('data', b.recv, 10)
	t.call('end', b.recv, 10)


@both_ends
def peer_closes(t):
	a, b = t.pair()
	b.sendall(b'bye')
	b.close()
	until_end(t, a)
	t.poll('events', a)
	t.call('data', a.recv, 10)
	t.call('end', a.recv, 10)
	t.call('end_again', a.recv, 10)
	t.sockerr('error', a)


@both_ends
def write_after_peer_closed(t):
	"""The first write goes out, is answered by a reset, and the next says EPIPE."""
	a, b = t.pair()
	b.close()
	until_end(t, a)
	t.call('first', a.send, b'x')
	until_reset(t, a)
	t.poll('events', a)
	t.call('second', a.send, b'x')
	t.call('recv', a.recv, 1)


@both_ends
def half_close(t):
	a, b = t.pair()
	a.sendall(b'request')
	t.call('shutdown', a.shutdown, WR)
	t.call('there', b.recv, 7, WAITALL)
	t.call('end', b.recv, 10)
	t.call('answer', b.send, b'answer')
	t.call('recv', a.recv, 6, WAITALL)
	t.call('send', a.send, b'x')
	t.poll('events', a)
	b.close()
	until_reset(t, a)
	t.poll('then', a)
	t.call('end_here', a.recv, 1)


@both_ends
def half_close_much_data(t):
	"""All that was written before the half close arrives, and all that comes after it."""
	a, b = t.pair()
	work = t.background(b.drain, 10 ** 9)
	a.fill(3000000)
	a.shutdown(WR)
	t.note('there', work.end())
	work = t.background(b.fill, 3000000)
	t.note('here', a.drain(3000000))
	work.end()
	b.close()
	t.call('end', a.recv, 1)


@both_ends
def peer_half_closes(t):
	a, b = t.pair()
	b.sendall(b'request')
	b.shutdown(WR)
	until_end(t, a)
	t.poll('events', a)
	t.call('data', a.recv, 10)
	t.call('end', a.recv, 10)
	t.call('answer', a.send, b'answer')
	t.call('there', b.recv, 6, WAITALL)
	t.call('more', a.send, b'more')
	t.call('there_too', b.recv, 4, WAITALL)
	a.close()
	t.call('end_there', b.recv, 10)


@both_ends
def both_half_close(t):
	a, b = t.pair()
	a.shutdown(WR)
	b.shutdown(WR)
	until_reset(t, a)
	t.poll('events', a)
	t.call('recv', a.recv, 1)
	t.call('there', b.recv, 1)
	t.call('send', a.send, b'x')
	t.names('names', a)


@both_ends
def shut_read(t):
	a, b = t.pair()
	t.call('shutdown', a.shutdown, RD)
	t.poll('events', a)
	t.call('recv', a.recv, 10)
	t.call('send', a.send, b'still')
	t.call('there', b.recv, 5, WAITALL)


@both_ends
def shut_read_then_data_comes(t):
	"""Linux takes data after SHUT_RD all the same."""
	a, b = t.pair()
	a.shutdown(RD)
	t.call('peer_sends', b.send, b'late')
	t.until_true('bytes', lambda: a.recv(1, socket.MSG_PEEK) != b'')
	t.call('recv', a.recv, 10)
	t.call('then', a.recv, 10)


@both_ends
def shut_both(t):
	a, b = t.pair()
	t.call('shutdown', a.shutdown, RDWR)
	t.call('send', a.send, b'x')
	t.call('recv', a.recv, 1)
	t.call('there', b.recv, 1)
	b.close()
	until_reset(t, a)
	t.poll('events', a)


@both_ends
def shut_orders(t):
	for label, hows in (('rd_wr', (RD, WR)), ('wr_rd', (WR, RD)), ('wr_wr', (WR, WR)), ('rd_rd', (RD, RD)), ('rdwr_rdwr', (RDWR, RDWR))):
		a, b = t.pair()
		for how in hows:
			t.call(label, a.shutdown, how)
		t.call(f'{label}.send', a.send, b'x')
		t.call(f'{label}.recv', a.recv, 1, socket.MSG_DONTWAIT)
		if 'wr' in label:
			t.call(f'{label}.there', b.recv, 1)


@both_ends
def shutdown_bad_how(t):
	a, b = t.pair()
	t.call('three', a.shutdown, 3)
	t.call('minus', a.shutdown, -1)
	t.call('alive', a.send, b'x')


@both_ends
def shutdown_after_end(t):
	"""After both ways have ended there is nothing left to shut down."""
	a, b = t.pair()
	a.shutdown(WR)
	b.close()
	until_reset(t, a)
	t.call('rd', a.shutdown, RD)
	t.call('wr', a.shutdown, WR)
	t.name('peer', a.getpeername)


@both_ends
def shutdown_wakes_reader(t):
	a, b = t.pair()
	work = t.background(a.recv, 1)
	time.sleep(0.2)
	a.shutdown(RD)
	t.note('recv', work.end())


@both_ends
def shutdown_wakes_writer(t):
	a, b = t.pair()
	work = t.background(a.fill, 1 << 30)
	time.sleep(0.5)
	a.shutdown(RDWR)
	t.call('send', work.end)


@both_ends
def peer_closes_wakes_reader(t):
	a, b = t.pair()
	work = t.background(a.recv, 1)
	time.sleep(0.2)
	b.close()
	t.note('recv', work.end())


@both_ends
def sigpipe(t):
	a, b = t.pair()
	a.shutdown(WR)
	t.call('nosignal', a.send, b'x', socket.MSG_NOSIGNAL)

	def killed():
		pid = os.fork()
		if pid == 0:
			signal.signal(signal.SIGPIPE, signal.SIG_DFL)
			a.send(b'x')
			os._exit(0)
		return os.waitpid(pid, 0)[1]
	t.note('signal', in_child(killed))


# resets

@both_ends
def reset_idle(t):
	a, b = t.pair()
	b.rst()
	until_reset(t, a)
	t.poll('events', a)
	t.call('recv', a.recv, 1)
	t.call('recv_again', a.recv, 1)
	t.call('send', a.send, b'x')
	t.name('peer', a.getpeername)
	t.sockerr('error', a)


@both_ends
def reset_send_first(t):
	a, b = t.pair()
	b.rst()
	until_reset(t, a)
	t.call('send', a.send, b'x')
	t.call('send_again', a.send, b'x')
	t.call('recv', a.recv, 1)


@both_ends
def reset_so_error(t):
	a, b = t.pair()
	b.rst()
	until_reset(t, a)
	t.sockerr('error', a)
	t.sockerr('again', a)
	t.poll('events', a)
	t.call('recv', a.recv, 1)
	t.call('send', a.send, b'x')


@both_ends
def reset_wakes_reader(t):
	a, b = t.pair()
	work = t.background(a.recv, 1)
	time.sleep(0.2)
	b.rst()
	t.call('recv', work.end)


@both_ends
def reset_wakes_writer(t):
	a, b = t.pair()
	work = t.background(a.fill, 1 << 30)
	time.sleep(0.5)
	b.rst()
	t.call('send', work.end)
	t.call('again', a.send, b'x')


@both_ends
def reset_after_data(t):
	"""What came before the reset and was not read yet."""
	a, b = t.pair()
	b.sendall(b'before')
	t.until_bytes(a, 6)
	b.rst()
	until_reset(t, a)
	t.poll('events', a)
	t.call('recv', a.recv, 10)
	t.call('then', a.recv, 10)


@both_ends
def reset_after_own_half_close(t):
	a, b = t.pair()
	a.shutdown(WR)
	b.recv(1)
	b.rst()
	until_reset(t, a)
	t.poll('events', a)
	t.call('recv', a.recv, 1)
	t.call('send', a.send, b'x')


@both_ends
def reset_after_peers_half_close(t):
	a, b = t.pair()
	b.shutdown(WR)
	until_end(t, a)
	b.rst()
	until_reset(t, a)
	t.poll('events', a)
	t.sockerr('error', a)
	t.call('recv', a.recv, 1)
	t.call('send', a.send, b'x')


@both_ends
def reset_after_both_half_closes(t):
	a, b = t.pair()
	a.shutdown(WR)
	b.recv(1)
	b.shutdown(WR)
	until_reset(t, a)
	b.rst()
	t.call('recv', a.recv, 1)
	t.sockerr('error', a)


@both_ends
def reset_both_write(t):
	"""In the middle of a transfer both ways."""
	a, b = t.pair()
	work = t.background(b.fill, 1 << 30)
	a.setblocking(False)
	sent = 0
	try:
		while sent < 64 << 20:
			sent += a.send(pattern(sent, 65536))
	except BlockingIOError:
		pass
	a.setblocking(True)
	t.note('came', a.drain(100000) == [100000, True])
	a.rst()
	t.call('there', work.end)
	t.call('then', b.send, b'x')


@both_ends
def reset_while_read(t):
	"""The peer resets while we are in the middle of what it wrote."""
	a, b = t.pair()
	b.setblocking(False)
	b.fill(65536)
	t.note('came', a.drain(1000) == [1000, True])
	b.rst()
	until_reset(t, a)
	try:
		t.note('rest', a.drain(65536)[1])
	except ConnectionResetError:
		t.note('rest', True)	# how much is lost is the buffers' affair
	t.call('send', a.send, b'x', socket.MSG_NOSIGNAL)


@both_ends
def we_reset_after_peers_half_close(t):
	a, b = t.pair()
	b.shutdown(WR)
	until_end(t, a)
	a.rst()
	until_either_reset(t, b)
	t.call('recv', b.recv, 1)
	t.call('then', b.recv, 1)


@both_ends
def we_reset(t):
	a, b = t.pair()
	a.rst()
	t.call('there', b.recv, 1)
	t.call('again', b.recv, 1)
	t.call('send', b.send, b'x')


@both_ends
def we_reset_with_data_sent(t):
	a, b = t.pair()
	b.setblocking(True)
	a.sendall(b'data')
	t.call('peek', b.recv, 4, WAITALL | socket.MSG_PEEK)
	a.rst()
	t.call('data', b.recv, 4)
	t.call('then', b.recv, 4)


@both_ends
def we_reset_after_half_close(t):
	a, b = t.pair()
	a.shutdown(WR)
	t.call('end', b.recv, 1)
	a.rst()
	until_either_reset(t, b)
	t.call('send', b.send, b'x')
	t.call('recv', b.recv, 1)


@both_ends
def close_with_unread_data(t):
	"""close(2) with data that was not read is a reset."""
	a, b = t.pair()
	b.sendall(b'unread')
	t.until_bytes(a, 6)
	a.close()
	t.call('recv', b.recv, 1)


@both_ends
def close_with_some_unread_data(t):
	a, b = t.pair()
	b.sendall(b'unread')
	t.until_bytes(a, 6)
	a.sendall(b'answer')
	t.call('peek', b.recv, 6, WAITALL | socket.MSG_PEEK)
	a.recv(2)
	a.close()
	t.call('answer', b.recv, 6)
	t.call('then', b.recv, 1)


@both_ends
def peer_closes_with_unread_data(t):
	a, b = t.pair()
	a.sendall(b'unread')
	t.call('peek', b.recv, 6, WAITALL | socket.MSG_PEEK)
	b.close()
	until_reset(t, a)
	t.poll('events', a)
	t.call('recv', a.recv, 1)
	t.call('then', a.recv, 1)


@both_ends
def data_after_close_resets(t):
	"""The peer writes to a socket that we have closed."""
	a, b = t.pair()
	a.close()
	t.call('end', b.recv, 1)
	t.call('first', b.send, b'x')
	until_either_reset(t, b)
	t.call('second', b.send, b'x')


@both_ends
def close_with_much_queued(t):
	"""close(2) does not lose what was written before."""
	a, b = t.pair()
	a.setblocking(False)
	sent = 0
	try:
		while sent < 64 << 20:
			sent += a.send(pattern(sent, 65536))
	except BlockingIOError:
		pass
	a.close()
	t.note('all', b.drain(sent + 1) == [sent, True])


@both_ends
def exit_with_much_queued(t):
	"""Neither does the end of the process."""
	a, b = t.pair()

	def child():
		a.setblocking(False)
		sent = 0
		try:
			while sent < 64 << 20:
				sent += a.send(pattern(sent, 65536))
		except BlockingIOError:
			return sent
	sent = in_child(child)
	a.close()
	t.note('all', b.drain(sent + 1) == [sent, True])


@both_ends
def linger_waits(t):
	a, b = t.pair()
	a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 30))
	a.sendall(b'x' * 100000)
	work = t.background(b.drain, 100001)
	t.call('close', a.close)
	t.note('there', work.end()[0])


def fill_up(s):
	"""Until nobody on the way takes any more."""
	s.setblocking(False)
	p = select.poll()
	p.register(s, select.POLLOUT)
	while p.poll(2000):
		try:
			s.send(b'x' * 65536)
		except BlockingIOError:
			pass
	s.setblocking(True)


@both_ends
def linger_times_out(t):
	"""The peer reads nothing: close(2) comes back after the linger time."""
	a, b = t.pair()
	a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 1))
	fill_up(a)
	begin = time.monotonic()
	t.call('close', a.close)
	t.note('waited', 0.5 <= time.monotonic() - begin < 20)


@both_ends
def linger_off_again(t):
	a, b = t.pair()
	a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
	a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 0, 0))
	a.close()
	t.call('there', b.recv, 1)


@both_ends
def linger_zero_with_dup(t):
	"""The reset comes with the last descriptor."""
	a, b = t.pair()
	a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
	d = a.dup()
	a.close()
	d.send(b'still')
	t.call('data', b.recv, 5, WAITALL)
	d.close()
	t.call('there', b.recv, 1)


@both_ends
def unspec_resets(t):
	"""connect(AF_UNSPEC) aborts a connection."""
	a, b = t.pair()
	t.note('connect', raw(libc.connect, a.fileno(), b'\0' * 16, 16))
	t.call('there', b.recv, 1)
	t.name('peer', a.getpeername)


@case(pairs=('self', 'out'))
def unspec_keeps_options(t):
	"""… and its socket is connected once more with the options that it had."""
	options = (('nodelay', socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), ('keepidle', socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
		('timeout', socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1234), ('keepalive', socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
		('tos', socket.IPPROTO_IP, socket.IP_TOS, 16))

	def prepare(s):
		for _, level, name, value in options:
			s.setsockopt(level, name, value)
	a, b = t.pair(prepare)
	a.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 78)
	raw(libc.connect, a.fileno(), b'\0' * 16, 16)
	for label, level, name, _ in options:
		t.call(label, a.getsockopt, level, name)
	if t.kind == 'out':
		_, port = t.peer.listen(t.f, t.host)
	else:
		_, port = t.listener()
	t.call('connect', a.connect, (t.host, port))
	for label, level, name, _ in options:
		t.call(f'again.{label}', a.getsockopt, level, name)


@both_ends
def timeouts_then_close(t):
	a, b = t.pair()
	a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(0.1))
	t.call('recv', a.recv, 1)
	b.close()
	until_end(t, a)
	t.call('end', a.recv, 1)


@both_ends
def close_twice_same_number(t):
	"""The number of a closed socket is free for the next."""
	a, b = t.pair()
	fd = a.fileno()
	a.close()
	t.call('end', b.recv, 1)
	t.call('closed', os.write, fd, b'x')


@case()
def many_open_and_close(t):
	"""A port is not held up by what was closed on it."""
	s, port = t.listener(backlog=64)
	from lib import tcp
	for i in range(200):
		c = tcp(t.f)
		c.connect((t.host, port))
		a, _ = s.accept()
		(c if i & 1 else a).close()
		(a if i & 1 else c).close()
	t.note('done', 200)
