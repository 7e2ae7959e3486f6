#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What programs see under a kernel of libkrunfw, whose sockets speak the base dialect (docs/tsi.md).

krunfw.py peer		in the namespace: a TCP server at 192.0.2.1 and 2001:db8::1, port 7000, a UDP server there at 7001
krunfw.py out		in the container: speaks to them, prints what it saw
krunfw.py serve PORT	in the container: listens at 0.0.0.0 and [::]; prints what it saw of each connection
krunfw.py ask HOST PORT WHAT	anywhere: speaks to a server (7000's or serve's)
krunfw.py check HOST PORT N	… N bytes each way, and whether they arrived
krunfw.py many HOST PORT N	… N times at once

The first line that a client sends says what the server does: bulk N: sends N bytes of a pattern; sum: reads to the
end, says length and SHA-256; first: says bye and closes; reset: RST once the client has said so; name: says the client's address.
"""

import hashlib
import os
import socket
import struct
import sys
import threading

V4, V6 = '192.0.2.1', '2001:db8::1'
WAIT = 120		# the end of waiting for a bug
BLOCK = bytes(range(256)) * 257	# no multiple of it is a buffer's size


def pattern(n):
	while n > 0:
		yield BLOCK[:n]
		n -= len(BLOCK)


def read_all(s):
	h, n = hashlib.sha256(), 0
	while d := s.recv(65536):
		h.update(d)
		n += len(d)
	return f'{n} {h.hexdigest()[:16]}'


def expected(n):
	h = hashlib.sha256()
	for d in pattern(n):
		h.update(d)
	return f'{n} {h.hexdigest()[:16]}'


def answer(s, name):
	with s, s.makefile('rb', buffering=0) as f:
		word, _, arg = f.readline().decode().strip().partition(' ')
		if word == 'bulk':
			for d in pattern(int(arg)):
				s.sendall(d)
		elif word == 'sum':
			s.sendall(read_all(s).encode())
		elif word == 'first':
			s.sendall(b'bye')
		elif word == 'reset':
			s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
		elif word == 'name':
			s.sendall(f'{name[0]} {name[1]}'.encode())
			s.recv(1)


def listen(family, host, port):
	s = socket.socket(family)
	s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	if family == socket.AF_INET6:
		s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
	s.bind((host, port))
	s.listen(64)
	return s


def accept_all(s, tell):
	while True:
		c, name = s.accept()
		if tell:
			print('accepted', name == c.getpeername(), name[0], flush=True)
		threading.Thread(target=answer, args=(c, name), daemon=True).start()


def echo(family, host):
	s = socket.socket(family, socket.SOCK_DGRAM)
	s.bind((host, 7001))
	while True:
		d, name = s.recvfrom(70000)
		s.sendto(f'{len(d)} from {name[0]}'.encode() if len(d) > 3000 else d, name)


def peer():
	for family, host in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
		threading.Thread(target=accept_all, args=(listen(family, host, 7000), False)).start()
		threading.Thread(target=echo, args=(family, host)).start()
	print('ready', flush=True)


def serve(port):
	four = listen(socket.AF_INET, '0.0.0.0', int(port))
	six = listen(socket.AF_INET6, '::', int(port))
	print('ready', four.getsockname()[1], six.getsockname()[1], flush=True)
	threading.Thread(target=accept_all, args=(six, True)).start()
	accept_all(four, True)


def ask(host, port, what):
	with socket.create_connection((host, int(port)), WAIT) as s:
		s.sendall(what.encode() + b'\n')
		return read_all(s) if what.startswith('bulk') else s.recv(100).decode()


def summed(host, port, n):
	with socket.create_connection((host, int(port)), WAIT) as s:
		s.sendall(b'sum\n')
		for d in pattern(n):
			s.sendall(d)
		s.shutdown(socket.SHUT_WR)
		return b''.join(iter(lambda: s.recv(100), b'')).decode()


def failure(f, *args):
	try:
		return f(*args)
	except OSError as e:
		return os.strerror(e.errno) if e.errno else repr(e)


def check(host, port, size):
	size = int(size)
	print('to', summed(host, port, size) == expected(size))
	print('from', ask(host, port, f'bulk {size}') == expected(size))


def tcp():
	for host in V4, V6:
		with socket.create_connection((host, 7000), WAIT) as s:
			s.sendall(b'name\n')
			mine = s.recv(100).decode().split()
			print('connected', mine[0], s.getpeername()[:2])
		print('refused', failure(ask, host, 7009, 'name'))
		check(host, 7000, 1500000)
	print('no route', failure(ask, '203.0.113.1', 80, 'name'))
	print('denied', failure(ask, V4, 7999, 'name'))
	# One that was refused can try again.
	s = socket.socket()
	print('again', failure(s.connect, (V4, 7009)), failure(s.connect, (V4, 7000)), s.getpeername())
	s.setblocking(False)
	print('empty', failure(s.recv, 1))
	many(V4, 7000, 20)


def udp():
	for family, host in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
		s = socket.socket(family, socket.SOCK_DGRAM)
		s.settimeout(WAIT)
		for data in b'one', b'', b'x' * 3000, b'y' * 60000:
			s.sendto(data, (host, 7001))
			got, name = s.recvfrom(70000)
			print('sendto', len(data), got == data or got.decode(), name[:2] if data else '')
		s = socket.socket(family, socket.SOCK_DGRAM)
		s.settimeout(WAIT)
		s.connect((host, 7001))
		for data in b'one', b'two':
			s.send(data)
		print('connected', s.recv(100), s.recv(100), s.getpeername()[:2])


def many(host, port, n):
	good = []
	def one():
		if failure(summed, host, port, 5000) == expected(5000):
			good.append(1)
	threads = [threading.Thread(target=one) for _ in range(int(n))]
	for t in threads:
		t.start()
	for t in threads:
		t.join()
	print('at once', len(good))


def out():
	tcp()
	udp()


def print_ask(*args):
	print(ask(*args))


sys.stdout.reconfigure(line_buffering=True)
{'peer': peer, 'serve': serve, 'out': out, 'many': many, 'ask': print_ask, 'check': check}[sys.argv[1]](*sys.argv[2:])
