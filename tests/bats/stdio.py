# SPDX-License-Identifier: Apache-2.0
"""stdio.py RUNTIME ROOT ID: execs shells in a running container with every kind of file as their standard
input, output and error, and compares what comes out.
"""
import os, pty, socket, subprocess, sys, tempfile

runtime, root, ident = sys.argv[1:]
CLOSED = -1
null = os.open("/dev/null", os.O_RDWR)
failed = 0


def shell(script, fd0, fd1, fd2):
    def close():
        for i, fd in enumerate((fd0, fd1, fd2)):
            if fd == CLOSED:
                os.close(i)
    files = [None if fd == CLOSED else fd for fd in (fd0, fd1, fd2)]
    done = subprocess.run([runtime, "--root", root, "exec", ident, "sh", "-c", script],
                          stdin=files[0], stdout=files[1], stderr=files[2], preexec_fn=close, timeout=120)
    return done.returncode


def check(name, got, want):
    global failed
    if got != want:
        print(f"{name}: {got!r}, not {want!r}")
        failed = 1


def file(content=b""):
    f = tempfile.TemporaryFile()
    os.write(f.fileno(), content)
    os.lseek(f.fileno(), 0, os.SEEK_SET)
    return f


def content(f):
    return os.pread(f.fileno(), 1 << 20, 0)


def opened(path, flags):
    return os.open(path, flags)


ALL = "cat; echo out; echo err >&2"

# files: from their offset, at their offset, appended, one for all
f, out = file(b"0123"), file()
os.lseek(f.fileno(), 2, os.SEEK_SET)
check("file", shell(ALL, f, out, null), 0)
check("file", content(out), b"23out\n")
out = file(b"abcdefgh")
os.lseek(out.fileno(), 2, os.SEEK_SET)
shell("echo X", null, out, null)
check("offset", content(out), b"abX\nefgh")
with tempfile.NamedTemporaryFile() as named:
    named.write(b"old\n")
    named.flush()
    one, two = (opened(named.name, os.O_WRONLY | os.O_APPEND) for _ in range(2))
    shell("echo a; echo b >&2", null, one, two)
    check("append", sorted(content(named).split()), [b"a", b"b", b"old"])
f = file(b"in\n")
check("one file for all", shell("head -n 1 > /dev/null; echo out; echo err >&2", f, f, f), 0)
check("one file for all", sorted(content(f).split()), [b"err", b"in", b"out"])

# sockets
ours, theirs = socket.socketpair()
ours.sendall(b"sock")
ours.shutdown(socket.SHUT_WR)
shell(ALL, theirs, theirs, theirs)
theirs.close()
check("socket", sorted(ours.makefile("rb").read().replace(b"sock", b"").split()), [b"err", b"out"])
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
shell("echo datagram", null, theirs, null)
check("datagram socket", ours.recv(100), b"datagram\n")

# pipes and fifos
(r, w), (r2, w2) = os.pipe(), os.pipe()
os.write(w, b"pipe")
os.close(w)
shell(ALL, r, null, w2)
os.close(w2)
check("pipe", os.read(r2, 100), b"err\n")

# devices, directories, what cannot be read or written
out = file()
shell("head -c 5 | wc -c", opened("/dev/zero", os.O_RDONLY), out, null)
check("/dev/zero", content(out), b"5\n")
out = file()
shell("yes; echo $? >&2", null, opened("/dev/full", os.O_WRONLY), out)
check("/dev/full", content(out), b"141\n")
for name, fd in ("directory", opened("/", os.O_RDONLY)), ("write-only", opened("/dev/null", os.O_WRONLY)):
    out = file()
    shell("cat; echo $?", fd, out, null)
    check(name + " as stdin", content(out), b"0\n")
out = file()
shell("yes; echo $? >&2", null, opened("/etc/passwd", os.O_RDONLY), out)
check("read-only stdout", content(out), b"141\n")

# closed ones
for closed in range(3):
    out = file()
    files = [null, out, out]
    files[closed] = CLOSED
    check(f"closed {closed}", shell("cat; echo 1; echo 2 >&2; exit 3", *files), 3)
    check(f"closed {closed}", sorted(content(out).split()), [b"%d" % i for i in (1, 2) if i != closed])

# a tty on one of them: no terminal is made of it
for which in range(3):
    master, slave = pty.openpty()
    out = file()
    files = [null, out, out]
    files[which] = slave
    os.write(master, b"line\n\x04")
    script = "for i in 0 1 2; do test -t $i && exit 9; done; cat; echo out; echo err >&2"
    check(f"tty {which}", shell(script, *files), 0)
    want = [{b"line", b"out", b"err"}, {b"err"}, {b"out"}]
    check(f"tty {which}", set(content(out).split()), want[which])
    if which:
        check(f"tty {which}", set(os.read(master, 100).split()) - {b"line", b"^D"}, {[b"", b"out", b"err"][which]})

# what would block whoever reads it is refused, and the container lives on
if hasattr(os, "eventfd"):
    out = file()
    check("eventfd", shell("true", os.eventfd(0), null, out), 255)
    check("eventfd", b"connect standard input, output and error: Invalid argument" in content(out), True)
    check("after it", shell("exit 6", null, null, null), 6)
sys.exit(failed)
