# SPDX-License-Identifier: Apache-2.0
"""
Both sides of sm-tls for tests.

    tls_peers.py guest SOCKET           a container's vsock.sock: serves ACCEPT as its listener would
    tls_peers.py CASE PORT CERTIFICATE  a client; CASE is a function below
"""
import os
import signal
import socket
import ssl
import sys
import threading
import time


# ---- the guest ----

def serve(conn):
    data, fds, _, _ = socket.recv_fds(conn, 4096, 4)
    verb, port, length, peer = data.decode().split()
    if port == '81':
        conn.sendall(b'ERROR the guest does not listen there\n')
        return
    if port == '82':
        time.sleep(1000)
    s = socket.socket(fileno=fds[0])
    s.setblocking(True)
    conn.sendall(b'OK\n')
    conn.close()
    first = s.recv(65536)
    if first.startswith(b'peer'):
        s.sendall(f'{verb} {port} {length} {peer}'.encode())
    elif first.startswith(b'stall'):
        print('stalled', flush=True)
        time.sleep(1000)
    elif first.startswith(b'leave'):
        s.sendall(b'x' * 300000)
    else:  # an echo until the client ends, then how much it was
        n = 0
        while first:
            n += len(first)
            s.sendall(first)
            first = s.recv(65536)
        s.sendall(f'\n{n}'.encode())
    s.close()


def serve_quietly(conn):
    try:
        serve(conn)
    except OSError:
        pass


def guest(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1024)
    print('ready', flush=True)
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=serve_quietly, args=(conn,), daemon=True).start()


# ---- clients ----

def context(certificate, alpn=None, version=None):
    ctx = ssl.create_default_context(cafile=certificate)
    if alpn:
        ctx.set_alpn_protocols(alpn)
    if version:
        ctx.minimum_version = ctx.maximum_version = version
    return ctx


def connect(port, certificate, name='localhost', **how):
    raw = socket.create_connection(('127.0.0.1', int(port)), timeout=120)
    return context(certificate, **how).wrap_socket(raw, server_hostname=name)


def everything(s):
    data = b''
    while True:
        try:
            more = s.recv(65536)
        except ssl.SSLEOFError:
            return data + b' (cut off)'
        if not more:
            return data
        data += more


def peer(port, certificate):
    s = connect(port, certificate)
    own = s.getsockname()
    s.sendall(b'peer')
    got = everything(s)
    assert got == f'ACCEPT 80 0 127.0.0.1:{own[1]}'.encode(), got


def versions(port, certificate):
    for version, name in ((ssl.TLSVersion.TLSv1_2, 'TLSv1.2'), (ssl.TLSVersion.TLSv1_3, 'TLSv1.3')):
        s = connect(port, certificate, version=version, alpn=['h2', 'http/1.1'])
        assert s.version() == name
        assert s.selected_alpn_protocol() == 'http/1.1'
    assert connect(port, certificate).selected_alpn_protocol() is None
    for how in ({'version': ssl.TLSVersion.TLSv1_1}, {'alpn': ['h2']}):
        try:
            connect(port, certificate, **how)
        except ssl.SSLError:
            continue
        raise AssertionError(how)


def bulk(port, certificate):
    """16 MiB both ways at once."""
    s = connect(port, certificate)
    block = os.urandom(1 << 20)
    got = bytearray()

    def read():
        while len(got) < 16 << 20:
            got.extend(s.recv(65536))
    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(16):
        s.sendall(block)
    reader.join()
    assert got == block * 16
    s.close()


def half(port, certificate):
    """The client's end is told to the guest, whose last words still arrive."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    raw = socket.create_connection(('127.0.0.1', int(port)), timeout=120)
    tls = context(certificate).wrap_bio(incoming, outgoing, server_hostname='localhost')

    def drive(call, *args):
        while True:
            try:
                r = call(*args)
                raw.sendall(outgoing.read())
                return r
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                data = raw.recv(65536)
                incoming.write(data) if data else incoming.write_eof()
    drive(tls.do_handshake)
    drive(tls.write, b'hello')
    assert drive(tls.read, 5) == b'hello'
    try:
        tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    raw.sendall(outgoing.read())
    # What comes now, Python cannot decrypt any more: a record with the count, and close_notify.
    data = b''
    while more := raw.recv(65536):
        data += more
    assert len(data) > 20, data


def leave(port, certificate):
    """A guest that says all and leaves, to a client that still sends and reads late."""
    s = connect(port, certificate)
    s.sendall(b'leave')
    time.sleep(0.2)
    try:
        s.sendall(b'y' * 100000)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert len(everything(s).replace(b' (cut off)', b'')) == 300000


def refused(port, certificate):
    s = connect(port, certificate)
    assert everything(s) == b''


def sni(port, certificate):
    """The name that the certificate is for, not the one that was asked for."""
    for name, want in (('localhost', 'localhost'), ('other.example', 'other.example'),
                       ('a.wild.example', '*.wild.example'), ('nobody.example', 'localhost')):
        ctx = ssl.create_default_context(cafile=certificate)
        ctx.check_hostname = False
        with ctx.wrap_socket(socket.create_connection(('127.0.0.1', int(port))),
                             server_hostname=name) as s:
            names = [v for k, v in s.getpeercert()['subjectAltName']]
            assert names == [want], (name, names)


def silent(port, certificate):
    """Clients that do not shake hands, or send nonsense, are dropped."""
    quiet = socket.create_connection(('127.0.0.1', int(port)), timeout=120)
    loud = socket.create_connection(('127.0.0.1', int(port)), timeout=120)
    loud.sendall(b'GET / HTTP/1.1\r\n\r\n')
    while loud.recv(4096):
        pass
    assert quiet.recv(1) == b''


def idle(port, certificate):
    s = connect(port, certificate)
    s.sendall(b'stall')
    everything(s)


def many(port, certificate):
    """More than two at a time: the third has to wait for one to leave."""
    a, b = connect(port, certificate), connect(port, certificate)
    c = socket.create_connection(('127.0.0.1', int(port)), timeout=1)
    c = context(certificate).wrap_socket(c, server_hostname='localhost', do_handshake_on_connect=False)
    try:
        c.do_handshake()
    except TimeoutError:
        pass
    else:
        raise AssertionError('a third client')
    a.close()
    c.settimeout(120)
    c.do_handshake()
    b.close()
    c.close()


def across(port, certificate, pid, log):
    """A handshake that began before a reload."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    raw = socket.create_connection(('127.0.0.1', int(port)), timeout=120)
    tls = context(certificate).wrap_bio(incoming, outgoing, server_hostname='localhost')
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()
    raw.sendall(hello[:20])
    connect(port, certificate).close()  # it has seen that
    os.kill(int(pid), signal.SIGHUP)
    while 'certificates reloaded' not in open(log).read():
        time.sleep(0.05)
    raw.sendall(hello[20:])
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            raw.sendall(outgoing.read())
            incoming.write(raw.recv(65536))
    raw.close()


def serial(port, certificate):
    ctx = ssl.create_default_context(cafile=certificate)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    with ctx.wrap_socket(socket.create_connection(('127.0.0.1', int(port))),
                         server_hostname='localhost') as s:
        print(ssl.DER_cert_to_PEM_cert(s.getpeercert(True)), end='')


if __name__ == '__main__':
    globals()[sys.argv[1]](*sys.argv[2:])
