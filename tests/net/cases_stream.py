# SPDX-License-Identifier: Apache-2.0
"""Data on a TCP connection: flags, sizes, waiting, pressure in both directions."""

import os
import select
import signal
import socket
import tempfile
import time

from lib import both_ends, case, fionread, libc, outq, pattern, raw, tcp, timeval

DONTWAIT = socket.MSG_DONTWAIT
PEEK = socket.MSG_PEEK
WAITALL = socket.MSG_WAITALL
TRUNC = socket.MSG_TRUNC
MIB = 1 << 20


@both_ends
def both_ways(t):
	a, b = t.pair()
	t.names('ours', a)
	t.names('theirs', b)
	t.call('send', a.send, b'ping')
	t.call('there', b.recv, 10)
	t.call('back', b.send, b'pong')
	t.call('recv', a.recv, 10)


@both_ends
def nothing_to_read(t):
	a, b = t.pair()
	t.call('dontwait', a.recv, 10, DONTWAIT)
	a.setblocking(False)
	t.call('nonblock', a.recv, 10)
	t.call('peek', a.recv, 10, PEEK)
	t.call('zero', a.recv, 0)


@both_ends
def receive_timeout(t):
	a, b = t.pair()
	a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(0.2))
	begin = time.monotonic()
	t.call('recv', a.recv, 10)
	t.note('waited', time.monotonic() - begin >= 0.15)
	b.sendall(b'abc')
	t.call('data', a.recv, 10)
	b.sendall(b'abc')
	t.until_bytes(a, 3)
	t.call('waitall', a.recv, 10, WAITALL)


@both_ends
def send_timeout(t):
	a, b = t.pair()
	a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval(0.3))
	t.note('end', until_full(a))
	t.poll('events', a, select.POLLOUT)


def until_full(s, most=256 * MIB):
	sent = 0
	try:
		while sent < most:
			sent += s.send(b'x' * 65536)
	except BlockingIOError:
		return 'EAGAIN'
	return 'never full'


@both_ends
def non_blocking_until_full(t):
	"""Full, not writable; drained by the peer, writable again; every byte arrives in order."""
	a, b = t.pair()
	a.setblocking(False)
	sent, quiet = 0, 0
	while quiet < 5:	# full, and still full a moment later
		try:
			sent += a.send(pattern(sent, 65536))
			quiet = 0
		except BlockingIOError:
			quiet += 1
			time.sleep(0.1)
	t.note('much', sent > 100000)
	t.note('bounded', sent < 256 * MIB)
	t.poll('full', a, select.POLLOUT)
	work = t.background(b.drain, sent)
	t.until(a, select.POLLOUT)
	t.poll('drained', a, select.POLLOUT)
	t.note('all', work.end() == [sent, True])
	t.call('more', a.send, b'more')
	t.call('arrives', b.recv, 10)


@both_ends
def blocking_send_waits(t):
	a, b = t.pair()
	work = t.background(a.fill, 12 * MIB)
	time.sleep(0.5)
	t.note('waits', work.is_alive())
	t.note('drained', b.drain(12 * MIB))
	t.note('sent', work.end())


@both_ends
def large_both_ways(t):
	a, b = t.pair()
	if t.kind == 'self':
		work = [t.background(a.fill, 4 * MIB), t.background(b.drain, 4 * MIB),
			t.background(b.fill, 4 * MIB), t.background(a.drain, 4 * MIB)]
		t.note('results', [w.end() for w in work])
		return
	work = t.background(b.drain, 4 * MIB)
	t.note('sent', a.fill(4 * MIB))
	t.note('there', work.end())
	work = t.background(b.fill, 4 * MIB)
	t.note('here', a.drain(4 * MIB))
	t.note('filled', work.end())


@both_ends
def one_large_send(t):
	a, b = t.pair()
	data = pattern(0, 8 * MIB)
	work = t.background(b.drain, len(data))
	t.call('sendall', a.sendall, data)
	t.note('there', work.end()[0])


@both_ends
def small_pieces(t):
	a, b = t.pair()
	for i in range(300):
		a.send(bytes([i & 255]))
	got = b''
	while len(got) < 300:
		got += b.recv(1000)
	t.note('same', got == bytes(i & 255 for i in range(300)))


@both_ends
def odd_sizes(t):
	a, b = t.pair()
	sizes = [1, 2, 3, 43, 44, 45, 1023, 1460, 4095, 4096, 4097, 9000, 16383, 65535, 65536, 65537, 99999]
	work = t.background(b.drain, sum(sizes))
	done = 0
	for n in sizes:
		a.sendall(pattern(done, n))
		done += n
	t.note('there', work.end())


@both_ends
def slow_reader(t):
	"""A reader that takes little at a time loses nothing."""
	a, b = t.pair()
	work = t.background(a.fill, 600000)
	got, good = 0, True
	while got < 600000:
		n = min(30011, 600000 - got)
		data = b.recv(n)
		good = good and data == pattern(got, len(data))
		got += len(data)
		time.sleep(0.01)
	t.note('good', good)
	t.note('sent', work.end())


@both_ends
def slow_reader_here(t):
	a, b = t.pair()
	work = t.background(b.fill, 600000)
	got, good = 0, True
	while got < 600000:
		data = a.recv(min(30011, 600000 - got))
		good = good and data == pattern(got, len(data))
		got += len(data)
		time.sleep(0.01)
	t.note('good', good)
	t.note('sent', work.end())


@both_ends
def buffer_grows(t):
	"""SO_RCVBUF of a connection, after which its reader only reads."""
	a, b = t.pair()
	a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
	work = t.background(b.fill, 2 * MIB)
	t.note('here', a.drain(2 * MIB))
	work.end()


@both_ends
def buffer_grows_low_water(t):
	a, b = t.pair()
	a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
	a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 50000)
	work = t.background(b.fill, 2 * MIB)
	t.until(a, select.POLLIN)
	t.note('here', a.drain(2 * MIB))
	work.end()


@both_ends
def zero_length(t):
	a, b = t.pair()
	t.call('send', a.send, b'')
	t.call('write', os.write, a.fileno(), b'')
	t.call('sendmsg', a.sendmsg, [])
	t.quiet(a)
	t.call('real', a.send, b'x')
	t.call('there', b.recv, 10)


@both_ends
def peek(t):
	a, b = t.pair()
	b.sendall(b'0123456789')
	t.until_bytes(a, 10)
	t.call('peek4', a.recv, 4, PEEK)
	t.call('peek_all', a.recv, 100, PEEK)
	t.call('recv3', a.recv, 3)
	t.call('peek_rest', a.recv, 100, PEEK)
	t.note('fionread', fionread(a))
	t.call('recv', a.recv, 100)
	t.call('empty', a.recv, 100, PEEK | DONTWAIT)


@both_ends
def peek_waitall(t):
	a, b = t.pair()
	work = t.background(a.recv, 6, PEEK | WAITALL)
	b.sendall(b'abc')
	t.until_bytes(a, 3)
	b.sendall(b'def')
	t.note('peek', work.end())
	t.call('recv', a.recv, 100)


@both_ends
def waitall(t):
	a, b = t.pair()
	work = t.background(a.recv, 9, WAITALL)
	for piece in (b'one', b'two', b'six'):
		b.sendall(piece)
		time.sleep(0.05)
	t.note('recv', work.end())


@both_ends
def waitall_cut_by_end(t):
	a, b = t.pair()
	work = t.background(a.recv, 9, WAITALL)
	b.sendall(b'half')
	b.shutdown(socket.SHUT_WR)
	t.note('recv', work.end())
	t.call('then', a.recv, 9, WAITALL)


@both_ends
def waitall_dontwait(t):
	a, b = t.pair()
	b.sendall(b'half')
	t.until_bytes(a, 4)
	t.call('recv', a.recv, 9, WAITALL | DONTWAIT)


@both_ends
def trunc_discards(t):
	"""MSG_TRUNC on TCP: the bytes are taken and thrown away."""
	a, b = t.pair()
	b.sendall(b'0123456789')
	t.until_bytes(a, 10)
	t.note('trunc', raw(libc.recv, a.fileno(), None, 4, TRUNC))
	t.call('rest', a.recv, 100)


@both_ends
def vectors(t):
	a, b = t.pair()
	t.call('sendmsg', a.sendmsg, [b'one', b'', b'two', b'three'])
	t.call('there', b.recv, 11, WAITALL)
	t.note('writev', os.writev(a.fileno(), [b'x' * 10, b'y' * 20]))
	t.call('there_too', b.recv, 30, WAITALL)
	b.sendall(b'abcdefghij')
	t.until_bytes(a, 10)
	one, two = bytearray(3), bytearray(20)
	n, control, flags, name = a.recvmsg_into([one, two])
	t.note('recvmsg', (n, control, flags, name, bytes(one), bytes(two[:7])))
	b.sendall(b'abcdefghij')
	t.until_bytes(a, 10)
	one, two = bytearray(4), bytearray(20)
	t.note('readv', (os.readv(a.fileno(), [one, two]), bytes(one)))


@both_ends
def many_vectors(t):
	a, b = t.pair()
	work = t.background(b.drain, 1000 * 33)
	data = pattern(0, 33000)
	t.call('sendmsg', a.sendmsg, [data[i:i + 33] for i in range(0, 33000, 33)])
	t.note('there', work.end())


@both_ends
def bytes_waiting(t):
	a, b = t.pair()
	t.note('none', fionread(a))
	b.sendall(b'x' * 1000)
	t.until_bytes(a, 1000)
	t.note('some', fionread(a))
	a.recv(400)
	t.note('rest', fionread(a))
	b.shutdown(socket.SHUT_WR)
	t.until(a, select.POLLRDHUP)
	t.note('at_end', fionread(a))


@both_ends
def queue_empties(t):
	a, b = t.pair()
	a.sendall(b'x' * 5000)
	b.recv(5000, WAITALL)
	t.until_true('nothing queued', lambda: outq(a) == 0)
	t.note('outq', outq(a))


@both_ends
def more_and_cork(t):
	a, b = t.pair()
	a.send(b'first ', socket.MSG_MORE)
	a.send(b'second')
	t.call('more', b.recv, 12, WAITALL)
	a.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
	a.send(b'a')
	a.send(b'b')
	a.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
	t.call('cork', b.recv, 2, WAITALL)


@both_ends
def out_of_band(t):
	a, b = t.pair()
	t.call('send', b.send, b'ab!', socket.MSG_OOB)
	t.poll('urgent', a, select.POLLPRI, 5)
	t.poll('events', a)
	t.call('oob', a.recv, 1, socket.MSG_OOB)
	t.call('data', a.recv, 10, socket.MSG_DONTWAIT)  # where nothing could be sent, there is nothing to wait for


@both_ends
def oob_none(t):
	a, b = t.pair()
	t.call('oob', a.recv, 1, socket.MSG_OOB)


@both_ends
def sendfile(t):
	a, b = t.pair()
	with tempfile.TemporaryFile() as f:
		f.write(pattern(0, 200000))
		f.flush()
		work = t.background(b.drain, 150000)
		done = 0
		while done < 150000:
			done += os.sendfile(a.fileno(), f.fileno(), done, 150000 - done)
		t.note('sent', done)
		t.note('there', work.end())


@both_ends
def splice_in_and_out(t):
	a, b = t.pair()
	r, w = os.pipe()
	os.write(w, b'through a pipe')
	t.call('in', os.splice, r, a.fileno(), 14)
	t.call('there', b.recv, 14, WAITALL)
	b.sendall(b'and back')
	t.until_bytes(a, 8)
	t.call('out', os.splice, a.fileno(), w, 8)
	t.note('piped', os.read(r, 20))


@both_ends
def low_water(t):
	a, b = t.pair()
	a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 6)
	b.sendall(b'abc')
	t.quiet(a)
	b.sendall(b'def')
	t.until(a, select.POLLIN)
	t.call('recv', a.recv, 100)


@both_ends
def read_and_write_calls(t):
	a, b = t.pair()
	t.call('write', os.write, a.fileno(), b'written')
	t.call('there', b.recv, 7, WAITALL)
	b.sendall(b'read')
	t.until_bytes(a, 4)
	t.call('read', os.read, a.fileno(), 100)
	t.call('pread', os.pread, a.fileno(), 1, 0)
	t.call('seek', os.lseek, a.fileno(), 0, 0)


@both_ends
def bad_pointers(t):
	a, b = t.pair()
	t.note('send', raw(libc.send, a.fileno(), None, 10, DONTWAIT))
	b.sendall(b'kept')
	t.until_bytes(a, 4)
	t.note('recv', raw(libc.recv, a.fileno(), None, 10, DONTWAIT))
	t.call('still', a.recv, 10)


@both_ends
def interrupted(t):
	"""A signal ends a recv that has nothing; SA_RESTART takes it up again."""
	import ctypes
	a, b = t.pair()
	buffer = ctypes.create_string_buffer(10)
	signal.signal(signal.SIGALRM, lambda *_: None)
	signal.siginterrupt(signal.SIGALRM, True)
	signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
	t.note('recv', raw(libc.recv, a.fileno(), buffer, 10, 0))
	signal.siginterrupt(signal.SIGALRM, False)
	work = t.background(lambda: time.sleep(1) or b.sendall(b'x'))
	t.note('restarted', raw(libc.recv, a.fileno(), buffer, 10, 0))
	signal.setitimer(signal.ITIMER_REAL, 0)
	work.end()


@both_ends
def two_readers(t):
	"""Two threads read one socket: each byte goes to one of them."""
	a, b = t.pair()
	work = [t.background(a.recv, 1), t.background(a.recv, 1)]
	time.sleep(0.1)
	b.sendall(b'xy')
	t.note('got', sorted(w.end() for w in work))


@both_ends
def ancillary_none(t):
	a, b = t.pair()
	b.sendall(b'abc')
	t.until_bytes(a, 3)
	data, control, flags, name = a.recvmsg(10, 256)
	t.note('recvmsg', (data, control, flags, name))


@case()
def echo_many(t):
	"""A ring of many connections in one process, all in use at once."""
	s, port = t.listener(backlog=64)
	pairs = []
	for _ in range(50):
		c = tcp(t.f)
		c.connect((t.host, port))
		pairs.append((c, s.accept()[0]))
	for i, (c, _) in enumerate(pairs):
		c.sendall(b'%d' % i)
	t.note('there', all(a.recv(10) == b'%d' % i for i, (_, a) in enumerate(pairs)))
	for i, (_, a) in enumerate(pairs):
		a.sendall(b'back %d' % i)
	t.note('back', all(c.recv(10) == b'back %d' % i for i, (c, _) in enumerate(pairs)))
