#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The native peer of the differential network test: a process outside of the VM, in the same namespace.

It listens on 127.0.0.1:7001; who connects there (lib.py's Control) has sockets made here and calls their methods.
When that connection ends, its sockets are closed. Ends with its stdin.
"""

import json
import os
import socket
import sys
import threading

sys.dont_write_bytecode = True

import lib


def thaw(a):
	return a['bytes'].encode('latin-1') if isinstance(a, dict) and 'bytes' in a else tuple(a) if isinstance(a, list) else a


def freeze(v):
	if isinstance(v, (bytes, bytearray)):
		return {'bytes': bytes(v).decode('latin-1')}
	if isinstance(v, (tuple, list)):
		return [freeze(x) for x in v]
	return v


class Session:
	def __init__(self):
		self.sockets = {}

	def add(self, s):
		ident = len(self.sockets) + 1
		self.sockets[ident] = s
		return ident

	def tcp_listen(self, family, host, backlog):
		s = lib.tcp(family)
		s.bind((host, 0))
		s.listen(backlog)
		return [self.add(s), s.getsockname()[1]]

	def tcp_connect(self, family, host, port):
		s = lib.tcp(family)
		s.connect((host, port))
		return self.add(s)

	def udp(self, family, host):
		s = lib.udp(family)
		s.bind((host, 0))
		return [self.add(s), s.getsockname()[1]]

	def call(self, ident, method, args):
		if ident == 0:
			return getattr(self, method)(*args)
		s = self.sockets[ident]
		if method == 'accept':
			new, name = s.accept()
			return [self.add(lib.as_end(new)), name]
		return getattr(s, method)(*args)

	def serve(self, control):
		file = control.makefile('rw')
		for line in file:
			ident, method, args = json.loads(line)
			try:
				answer = {'value': freeze(self.call(ident, method, [thaw(a) for a in args]))}
			except OSError as e:
				answer = {'errno': e.errno or 110}
			except Exception as e:
				answer = {'died': repr(e)}
			file.write(json.dumps(answer) + '\n')
			file.flush()
		for s in self.sockets.values():
			s.close()


def session(control):
	try:
		with control:
			Session().serve(control)
	except OSError:
		pass	# the case was killed


def main():
	s = socket.socket()
	s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	s.bind(('127.0.0.1', lib.PEER_PORT))
	s.listen(64)
	print('ready', flush=True)
	threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
	while True:
		control, _ = s.accept()
		threading.Thread(target=session, args=(control,), daemon=True).start()


main()
