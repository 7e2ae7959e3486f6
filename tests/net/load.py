#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Load for the network of a container, from both ends.

	load.py server PORT			serves on every address until it is killed; says "ready"
	load.py streams HOST PORT N		N connections at once, each used; says "open"; used again after the end of stdin, closed
	load.py short HOST PORT N		N connections one after the other, a question and an answer on each
	load.py bulk HOST PORT BYTES		BYTES there and BYTES back, with their SHA-256
	load.py flood HOST PORT N		N connections to a listener that accepts one in a hundred milliseconds
	load.py most HOST PORT OWN		as many connections as there may be, and one from outside to port OWN here
	load.py half HOST PORT N		N connects at once to an address that does not answer, then given up

A client prints one line of what it did and exits with 1 if anything was lost. The server's first line on a connection says
what it is for: echo, sink N, source N, dial PORT. PORT + 1 is the slow listener.
"""

import errno
import hashlib
import resource
import select
import selectors
import socket
import sys
import threading
import time

BLOCK = bytes((i * i >> 3 ^ i * 13) & 255 for i in range(1 << 20))
PARALLEL = 200


def raise_limit():
	_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def family(host):
	return socket.AF_INET6 if ':' in host else socket.AF_INET


# ---- the server

def blocks(n):
	while n > 0:
		yield BLOCK[:n] if n < len(BLOCK) else BLOCK
		n -= len(BLOCK)


def receive(s, n, first=b''):
	"""The SHA-256 of n bytes, of which first have been read, and how many there were."""
	digest, got = hashlib.sha256(first), len(first)
	buffer = bytearray(1 << 18)
	while got < n:
		k = s.recv_into(buffer, min(len(buffer), n - got))
		if k == 0:
			break
		digest.update(memoryview(buffer)[:k])
		got += k
	return digest.hexdigest(), got


def send(s, n):
	digest = hashlib.sha256()
	for block in blocks(n):
		s.sendall(block)
		digest.update(block)
	return digest.hexdigest()


def serve_bulk(s, words, first):
	with s:
		s.setblocking(True)
		if words[0] == 'sink':
			digest, got = receive(s, int(words[1]), first)
			s.sendall(f'{digest} {got}\n'.encode())
		else:
			s.sendall((send(s, int(words[1])) + '\n').encode())


def serve_dial(s, words):
	with s, connect(s.getpeername()[0], int(words[1])) as other:
		s.setblocking(True)
		other.sendall(b'echo\n')
		s.sendall(b'dialled\n' if ask(other, b'hello') else b'lost\n')


def readable(selector, s, state):
	data = s.recv(4096)
	if not data:
		selector.unregister(s)
		s.close()
		return
	if state['mode'] is None:
		line, newline, rest = (state['line'] + data).partition(b'\n')
		if not newline:
			state['line'] = line
			return
		words = line.decode().split()
		if words[0] != 'echo':
			selector.unregister(s)
			work, args = (serve_dial, (s, words)) if words[0] == 'dial' else (serve_bulk, (s, words, rest))
			threading.Thread(target=work, args=args, daemon=True).start()
			return
		state['mode'] = 'echo'
		data = rest
	if data:
		s.setblocking(True)
		s.sendall(data)
		s.setblocking(False)


def listener(port, backlog):
	s = socket.socket(socket.AF_INET6)
	s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	s.bind(('::', port))
	s.listen(backlog)
	return s


def serve_slowly(s):
	while True:
		a, _ = s.accept()
		time.sleep(0.1)
		a.sendall(b'late\n')
		a.close()


def server(port):
	s, slow = listener(port, 1024), listener(port + 1, 4)
	threading.Thread(target=serve_slowly, args=(slow,), daemon=True).start()
	s.setblocking(False)
	selector = selectors.EpollSelector()
	selector.register(s, selectors.EVENT_READ, None)
	print('ready', flush=True)
	while True:
		for key, _ in selector.select():
			try:
				if key.data is not None:
					readable(selector, key.fileobj, key.data)
					continue
				a, _ = s.accept()
				a.setblocking(False)
				selector.register(a, selectors.EVENT_READ, {'mode': None, 'line': b''})
			except BlockingIOError:
				pass
			except OSError:
				if key.data is None:
					raise
				selector.unregister(key.fileobj)
				key.fileobj.close()


# ---- the clients

def connect(host, port):
	s = socket.socket(family(host))
	s.connect((host, port))
	return s


def ask(s, text):
	s.sendall(text)
	got = b''
	while len(got) < len(text):
		piece = s.recv(100)
		if not piece:
			break
		got += piece
	return got == text


def open_many(host, port, n):
	"""As many connections as come, up to n, and the error that ended it."""
	made, began = [], time.monotonic()
	for i in range(n):
		try:
			s = connect(host, port)
			s.sendall(b'echo\n')
			made.append(s)
		except OSError as e:
			return made, e
		if (i + 1) % 1000 == 0:
			print(f'{i + 1} open after {time.monotonic() - began:.1f} s', file=sys.stderr, flush=True)
	return made, None


def use(made):
	good = 0
	for start in range(0, len(made), PARALLEL):
		batch = made[start:start + PARALLEL]
		for i, s in enumerate(batch):
			s.sendall(b'%08d' % (start + i))
		for i, s in enumerate(batch):
			good += s.recv(8, socket.MSG_WAITALL) == b'%08d' % (start + i)
	return good


def close(made):
	for s in made:
		s.close()


def streams(host, port, n):
	made, error = open_many(host, port, n)
	good = use(made)
	print(f'open={len(made)}', flush=True)
	sys.stdin.read()
	good += use(made)
	close(made)
	return not error and good == 2 * n


def most(host, port, own):
	"""Past the end there is an errno, and who connects from outside waits until something is free."""
	control = connect(host, port)
	made, error = open_many(host, port, 1 << 20)
	good = use(made)
	udp = socket.socket(family(host), socket.SOCK_DGRAM)
	try:
		udp.connect((host, port))
		datagrams = 'made'
	except OSError as e:
		datagrams = errno.errorcode[e.errno]
	control.sendall(f'dial {own}\n'.encode())
	early = bool(select.select([control], [], [], 1)[0])
	close(made[:100])
	dialled = control.makefile().readline().strip()
	more, again = open_many(host, port, 50)
	good = good == len(made) and use(made[100:] + more) == len(made) - 50
	close(made[100:] + more)
	print(f'error={errno.errorcode[error.errno]} datagrams={datagrams} early={early} dialled={dialled} '
		f'again={not again} answers={good}')
	print(f'{len(made)} streams', file=sys.stderr)
	return True


def short(host, port, n):
	good = 0
	for i in range(n):
		with connect(host, port) as s:
			s.sendall(b'echo\n')
			good += ask(s, b'%08d' % i)
	print(f'connections={n} answers={good}')
	return good == n


def bulk(host, port, n):
	with connect(host, port) as s:
		s.sendall(f'sink {n}\n'.encode())
		begin = time.monotonic()
		ours = send(s, n)
		theirs = s.makefile().readline().split()
		up = time.monotonic() - begin
	with connect(host, port) as s:
		s.sendall(f'source {n}\n'.encode())
		begin = time.monotonic()
		back, got = receive(s, n)
		said = s.makefile().readline().strip()
		down = time.monotonic() - begin
	print(f'up={theirs == [ours, str(n)]} down={(back, got) == (said, n)}')
	print(f'{n / up / 1e6:.1f} MB/s up, {n / down / 1e6:.1f} MB/s down', file=sys.stderr)
	return theirs == [ours, str(n)] and (back, got) == (said, n)


def flood(host, port, n):
	many = []
	for _ in range(n):
		s = socket.socket(family(host))
		s.setblocking(False)
		try:
			s.connect((host, port + 1))
		except BlockingIOError:
			pass
		many.append(s)
	served, wanted = 0, min(n, 5)	# as many as the backlog holds for certain; the others may be lost on the way
	end = time.monotonic() + 120
	selector = selectors.EpollSelector()
	for s in many:
		selector.register(s, selectors.EVENT_READ)
	while served < wanted and time.monotonic() < end:
		for key, _ in selector.select(1):
			selector.unregister(key.fileobj)
			try:
				served += key.fileobj.recv(10) == b'late\n'
			except OSError:
				pass
	for s in many:
		s.close()
	s = connect(host, port)		# the listener beside it answers
	s.sendall(b'echo\n')
	alive = ask(s, b'alive')
	print(f'served={served >= wanted} alive={alive}')
	return served >= wanted and alive


def half(host, port, n):
	many, waiting = [], 0
	for _ in range(n):
		s = socket.socket(family(host))
		s.setblocking(False)
		waiting += s.connect_ex((host, port)) == errno.EINPROGRESS
		many.append(s)
	close(many)
	print(f'waiting={waiting}')
	return waiting == n


def main():
	raise_limit()
	mode = sys.argv[1]
	if mode == 'server':
		server(int(sys.argv[2]))
	good = {'streams': streams, 'short': short, 'bulk': bulk, 'flood': flood, 'most': most, 'half': half}[mode](
		sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
	sys.exit(0 if good else 1)


main()
