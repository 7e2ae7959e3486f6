# SPDX-License-Identifier: Apache-2.0
"""What the cases of the differential network test share.

A case is a function with the decorator @case; it gets a Case, makes its calls, and notes what it saw.
One line is printed for each: its name and the observations. The same file run natively and in a guest must
print the same lines, so what differs from run to run is normalised: a port that the kernel chose is P1, P2, … in
order of its appearance in the case.

Two-ended cases take their ends from Case.pair(). Which ends these are is a dimension of the case:
	self	both are this process's own sockets
	out	this process connected to the native peer (peer.py)
	in	the native peer connected to this process
"""

import ctypes
import errno
import fnmatch
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

PEER_PORT = 7001
WAIT = float(os.environ.get('SM_NET_WAIT', '60'))	# for what must happen; the end of waiting for a bug
QUIET = float(os.environ.get('SM_NET_QUIET', '0.3'))	# for what must not happen
LOOPBACK = {4: '127.0.0.1', 6: '::1'}
OWN = {4: '192.0.2.1', 6: '2001:db8::1'}		# an address of the namespace that is no loopback
SILENT = {4: '192.0.2.9', 6: '2001:db8::9'}		# on the link, and nobody answers
NOROUTE = {4: '203.0.113.1', 6: '2001:db8:9::1'}
UNREACHABLE = {4: '198.51.100.1', 6: '2001:db8:1::1'}	# a route of type unreachable
PROHIBITED = {4: '198.51.100.129', 6: '2001:db8:2::1'}	# … of type prohibit
ANY = {4: '0.0.0.0', 6: '::'}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
NO_LINGER = struct.pack('ii', 1, 0)

libc = ctypes.CDLL(None, use_errno=True)
cases = []


def case(families=(4, 6), pairs=(None,)):
	"""Registers a case for each family and each kind of pair."""
	def register(function):
		topic = function.__module__.removeprefix('cases_')
		base = f'{topic}.{function.__name__}'
		for pair in pairs:
			for family in families or (None,):
				tags = [x for x in (family and f'v{family}', pair) if x]
				name = base + (f'[{",".join(tags)}]' if tags else '')
				cases.append((name, function, family, pair))
		return function
	return register


both_ends = case(pairs=('self', 'out', 'in'))


def err(e):
	return errno.errorcode.get(e, str(e))


POLL_NAMES = (('IN', select.POLLIN), ('PRI', select.POLLPRI), ('OUT', select.POLLOUT), ('ERR', select.POLLERR),
	('HUP', select.POLLHUP), ('NVAL', select.POLLNVAL), ('RDHUP', select.POLLRDHUP))


def events(mask):
	return '|'.join(name for name, bit in POLL_NAMES if mask & bit) or '0'


class Remote:
	"""A socket of the native peer; its methods are run there."""

	def __init__(self, control, ident):
		self.control = control
		self.ident = ident

	def __getattr__(self, method):
		return lambda *args: self.control.call(self.ident, method, *args)

	def accept(self):
		ident, name = self.control.call(self.ident, 'accept')
		return Remote(self.control, ident), tuple(name)


class Control:
	"""The connection to the native peer: a line of JSON each way for a call."""

	def __init__(self):
		self.lock = threading.Lock()
		self.sock = socket.create_connection(('127.0.0.1', PEER_PORT))
		self.file = self.sock.makefile('rw')

	def call(self, ident, method, *args):
		args = [{'bytes': a.decode('latin-1')} if isinstance(a, bytes) else a for a in args]
		with self.lock:
			self.file.write(json.dumps([ident, method, args]) + '\n')
			self.file.flush()
			answer = json.loads(self.file.readline())
		if 'errno' in answer:
			raise OSError(answer['errno'], 'at the peer')
		if 'died' in answer:
			raise RuntimeError(answer['died'])
		return thaw(answer['value'])

	def listen(self, family, host, backlog=16):
		ident, port = self.call(0, 'tcp_listen', family, host, backlog)
		return Remote(self, ident), port

	def connect(self, family, host, port):
		return Remote(self, self.call(0, 'tcp_connect', family, host, port))

	def udp(self, family, host):
		ident, port = self.call(0, 'udp', family, host)
		return Remote(self, ident), port


def thaw(value):
	if isinstance(value, dict) and 'bytes' in value:
		return value['bytes'].encode('latin-1')
	if isinstance(value, list):
		return [thaw(v) for v in value]
	return value


class End(socket.socket):
	"""A socket of this process with the verbs that the peer has too."""

	def rst(self):
		self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
		self.close()

	def fill(self, n, chunk=65536):
		"""Sends n bytes of a pattern."""
		done = 0
		while done < n:
			done += self.send(pattern(done, min(chunk, n - done)))
		return done

	def drain(self, n, chunk=65536):
		"""Reads up to n bytes or the end; how many came, and whether they were the pattern's."""
		done, good = 0, True
		while done < n:
			data = self.recv(min(chunk, n - done))
			if not data:
				break
			good = good and data == pattern(done, len(data))
			done += len(data)
		return [done, good]


PERIOD = bytes(range(251))
PATTERN = PERIOD * 600


def pattern(offset, n):
	"""n bytes of what stands at offset: it repeats at a prime, so that no buffer's size hides a shift."""
	start = offset % 251
	long = PATTERN if start + n <= len(PATTERN) else PERIOD * (n // 251 + 2)
	return long[start:start + n]


def tcp(family):
	return End(FAMILY[family], socket.SOCK_STREAM)


def udp(family):
	return End(FAMILY[family], socket.SOCK_DGRAM)


class Case:
	def __init__(self, family, kind, out):
		self.f = family
		self.kind = kind
		self.out = out
		self.ports = {}
		self.keep = []
		self._control = None

	# observations

	def note(self, label, value):
		self.out(f' {label}={value}'.encode())	# at once: a case that hangs has said how far it came

	def call(self, label, function, *args):
		"""Notes what the call returned, or its errno; returns the value or None."""
		try:
			value = function(*args)
		except OSError as e:
			self.note(label, err(e.errno) if e.errno else type(e).__name__)
			return None
		if isinstance(value, (bytes, bytearray)):
			self.note(label, f'{len(value)}:{bytes(value[:16]).decode("latin-1")!r}')
		else:
			self.note(label, value)
		return value

	def addr(self, name):
		"""An address with its port normalised; ports below 10000 are the case's own choice."""
		if not isinstance(name, (tuple, list)) or len(name) < 2:
			return repr(name)
		host, port = name[0], name[1]
		if port >= 10000:
			port = self.ports.setdefault(port, f'P{len(self.ports) + 1}')
		return f'{host}:{port}'

	def name(self, label, function, *args):
		"""The same for what gives an address."""
		try:
			self.note(label, self.addr(function(*args)))
		except OSError as e:
			self.note(label, err(e.errno))

	def names(self, label, sock):
		self.name(f'{label}.local', sock.getsockname)
		self.name(f'{label}.peer', sock.getpeername)

	def poll(self, label, sock, wanted=select.POLLIN | select.POLLOUT | select.POLLRDHUP | select.POLLPRI, timeout=0.0):
		p = select.poll()
		p.register(sock, wanted)
		got = p.poll(timeout * 1000)
		self.note(label, events(got[0][1]) if got else '0')

	def sockerr(self, label, sock):
		self.note(label, err(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))

	# waiting

	def until(self, sock, wanted):
		"""Waits until poll says one of wanted, or ERR or HUP."""
		p = select.poll()
		p.register(sock, wanted)
		return p.poll(WAIT * 1000)[0][1]

	def until_all(self, sock, wanted):
		"""Waits until poll says all of wanted at once."""
		p = select.poll()
		p.register(sock, wanted)
		end = time.monotonic() + WAIT
		while time.monotonic() < end:
			got = p.poll(1000)
			if got and got[0][1] & wanted == wanted:
				return
			time.sleep(0.01)
		raise TimeoutError(f'no {events(wanted)}')

	def until_true(self, what, function):
		end = time.monotonic() + WAIT
		while not function():
			if time.monotonic() >= end:
				raise TimeoutError(what)
			time.sleep(0.01)

	def until_bytes(self, sock, n):
		"""Waits until n bytes can be read."""
		self.until_true(f'{n} bytes to read', lambda: fionread(sock) >= n)

	def quiet(self, sock, wanted=select.POLLIN):
		"""Notes events that come where none must."""
		p = select.poll()
		p.register(sock, wanted)
		got = p.poll(QUIET * 1000)
		self.note('quiet', events(got[0][1]) if got else 'yes')

	def background(self, function, *args):
		"""Runs the call beside; the result of .end() is its value."""
		return Background(function, args)

	# ends

	@property
	def host(self):
		return LOOPBACK[self.f]

	@property
	def peer(self):
		if not self._control:
			self._control = Control()
		return self._control

	def listener(self, family=None, host=None, backlog=16):
		family = family or self.f
		s = tcp(family)
		s.bind((host if host is not None else LOOPBACK[family], 0))
		s.listen(backlog)
		self.keep.append(s)
		return s, s.getsockname()[1]

	def pair(self, prepare=None):
		"""(ours, theirs): a connection. prepare(socket) is called on ours, or its listener, before."""
		if self.kind == 'out':
			remote, port = self.peer.listen(self.f, self.host)
			ours = tcp(self.f)
			if prepare:
				prepare(ours)
			ours.connect((self.host, port))
			theirs, _ = remote.accept()
			return ours, theirs
		s = tcp(self.f)
		if prepare and self.kind == 'in':
			prepare(s)
		s.bind((self.host, 0))
		s.listen(16)
		port = s.getsockname()[1]
		if self.kind == 'in':
			theirs = self.peer.connect(self.f, self.host, port)
			return own(s), theirs
		ours = tcp(self.f)
		if prepare:
			prepare(ours)
		ours.connect((self.host, port))
		return ours, own(s)

	def udp_pair(self, connected=True):
		"""(ours, theirs, name of theirs); theirs is the peer's where the kind is out."""
		ours = udp(self.f)
		ours.bind((self.host, 0))
		if self.kind == 'out':
			theirs, port = self.peer.udp(self.f, self.host)
		else:
			theirs = udp(self.f)
			theirs.bind((self.host, 0))
			port = theirs.getsockname()[1]
		if connected:
			ours.connect((self.host, port))
		return ours, theirs, (self.host, port)


def own(listener):
	"""accept() of a listener, as an End; the listener is closed."""
	s, _ = listener.accept()
	e = End(s.family, s.type, s.proto, fileno=s.detach())
	listener.close()
	return e


def as_end(s):
	return End(s.family, s.type, s.proto, fileno=s.detach())


def fionread(sock):
	import fcntl
	import termios
	return struct.unpack('i', fcntl.ioctl(sock, termios.FIONREAD, b'\0' * 4))[0]


def outq(sock):
	import fcntl
	return struct.unpack('i', fcntl.ioctl(sock, 0x5411, b'\0' * 4))[0]


class Background(threading.Thread):
	def __init__(self, function, args):
		super().__init__(daemon=True)
		self.work = (function, args)
		self.value = None
		self.error = None
		self.start()

	def run(self):
		try:
			self.value = self.work[0](*self.work[1])
		except OSError as e:
			self.error = e

	def end(self):
		self.join(WAIT)
		if self.is_alive():
			raise TimeoutError('a call in the background does not return')
		if self.error:
			raise self.error
		return self.value


def timeval(seconds):
	return struct.pack('ll', int(seconds), int(seconds % 1 * 1000000))


def raw(function, *args):
	"""A call of libc's: its value, or the name of its errno."""
	ctypes.set_errno(0)
	value = function(*args)
	return value if value >= 0 else err(ctypes.get_errno())


def in_child(function):
	"""Runs the function in a child process; what it returns (JSON) or the name of its errno."""
	r, w = os.pipe()
	pid = os.fork()
	if pid == 0:
		try:
			os.close(r)
			try:
				value = function()
			except OSError as e:
				value = err(e.errno)
			os.write(w, json.dumps(value).encode())
		finally:
			os._exit(0)
	os.close(w)
	with os.fdopen(r, 'rb') as f:
		text = f.read()
	os.waitpid(pid, 0)
	return json.loads(text) if text else 'died'


def run_case(function, family, kind, out):
	"""Runs one case in this process; out(bytes) gets its observations."""
	c = Case(family, kind, out)
	try:
		function(c)
	except OSError as e:
		c.note('FAILED', f'{err(e.errno) if e.errno else e!r} at line {place(e)}')
	except Exception as e:	# the line says it, and the others go on
		c.note('FAILED', f'{e!r} at line {place(e)}')


def place(e):
	import traceback
	frames = [f for f in traceback.extract_tb(e.__traceback__) if os.path.basename(f.filename).startswith('cases_')]
	return frames[-1].lineno if frames else '?'


def run_forked(function, family, kind, limit):
	"""The same in a process of its own, so that a call that hangs is one line and not the end."""
	r, w = os.pipe()
	pid = os.fork()
	if pid == 0:
		os.close(r)
		os.setpgid(0, 0)
		try:
			run_case(function, family, kind, lambda text: os.write(w, text))
		finally:
			os._exit(0)
	os.close(w)
	text = b''
	end = time.monotonic() + limit
	while True:
		ready, _, _ = select.select([r], [], [], max(0, end - time.monotonic()))
		if not ready:
			os.kill(pid, signal.SIGKILL)
			text += b' HUNG'
			break
		piece = os.read(r, 65536)
		if not piece:
			break
		text += piece
	os.close(r)
	_, status = os.waitpid(pid, 0)
	if os.WIFSIGNALED(status) and b'HUNG' not in text:
		text += b' DIED by signal %d' % os.WTERMSIG(status)
	return text.decode().strip()


def choose(patterns):
	"""Variants of a case stand side by side, so that every 17th, say, takes now this one and now that."""
	chosen = [c for c in cases if not patterns or any(fnmatch.fnmatchcase(c[0], p) for p in patterns)]
	return chosen[::int(os.environ.get('SM_NET_EVERY', '1'))]


def main(patterns):
	signal.signal(signal.SIGPIPE, signal.SIG_IGN)
	for name, function, family, kind in choose(patterns):
		begin = time.monotonic()
		text = run_forked(function, family, kind, 2 * WAIT)
		print(f'{name}: {text}', flush=True)
		if os.environ.get('SM_NET_TIMES'):
			print(f'{time.monotonic() - begin:.2f} {name}', file=sys.stderr, flush=True)
