# SPDX-License-Identifier: Apache-2.0
"""terminal.py MODE RUNTIME ROOT BUNDLE ID: uses a shell on a container's terminal as a person would.
terminal.py MODE COMMAND…: the same by a client of an engine.

MODE init: foreground run on a pty; exec: exec -t on a pty; console: create with a console socket; words: COMMAND
on a pty; detach: COMMAND on a pty, left after a while by ^P^Q. Exits 0 when every step saw what it must; says what was on the terminal otherwise.
"""
import array, fcntl, os, pty, select, socket, struct, subprocess, sys, termios, time

mode = sys.argv[1]
if mode not in ("words", "detach"):
    runtime, root, bundle, ident = sys.argv[2:]
seen = b""


def size(fd, rows, cols):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def expect(fd, text, meanwhile=None, seconds=60):
    """Reads until `text` was seen; what stands before it is dropped. `meanwhile` is called each second without a word."""
    global seen
    end = time.monotonic() + seconds
    while text not in seen:
        left = max(0, end - time.monotonic())
        ready, _, _ = select.select([fd], [], [], min(1, left) if meanwhile else left)
        if not ready and meanwhile and left:
            meanwhile()
            continue
        if not ready:
            sys.exit(f"not on the terminal: {text!r}; there is {seen!r}")
        try:
            data = os.read(fd, 65536)
        except OSError:
            data = b""
        if not data:
            sys.exit(f"the terminal ended before {text!r}; there is {seen!r}")
        seen += data
    seen = seen[seen.index(text) + len(text):]


def say(fd, line):
    os.write(fd, line.encode() + b"\n")


def command(*words):
    return [runtime, "--root", root, *words]


def start():
    """The master of the terminal and the process to wait for."""
    if mode == "console":
        path = os.path.join("/tmp", f"sm-tty-{os.getpid()}.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        create = subprocess.Popen(command("create", "-b", bundle, "--console-socket", path, ident),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        connection, _ = listener.accept()
        os.unlink(path)
        name, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        master = array.array("i", ancillary[0][2])[0]
        assert name and create.wait() == 0
        subprocess.run(command("start", ident), check=True)
        return master, None
    pid, master = pty.fork()
    if pid == 0:
        if mode == "init":
            words = command("run", "-b", bundle, ident)
        elif mode == "exec":
            words = command("exec", "-t", ident, "sh")
        else:
            words = sys.argv[2:]
        os.execv(words[0], words)
    return master, pid


def ended(code):
    """The command on the pty ends, with this exit code."""
    while True:
        try:
            if not os.read(master, 65536):
                break
        except OSError:
            break
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != code:
        sys.exit(f"exit status {os.waitstatus_to_exitcode(status)}, not {code}")


def resize():
    size(master, 43, 110)
    size(master, 44, 111)


master, pid = start()
if mode != "console":
    size(master, 33, 99)
say(master, "tty; echo m''ark1")
expect(master, b"mark1")
resize()
# The shell learns of the new size by SIGWINCH, asynchronously: ask until it is there.
say(master, "until [ \"$(stty size)\" = '44 111' ]; do :; done; echo si''zed")
# A client of an engine listens for a new size only when the container, which may have said something by then, has
# started: what comes before is lost, with runc too.
expect(master, b"sized", resize if mode in ("words", "detach") else None)
say(master, "test -t 0 && test -t 1 && test -t 2 && echo is''tty")
expect(master, b"istty")
# By a shell of its own: that the interactive one has between its fork and its exec of `sleep` a handler, which
# would swallow the ^C, is not what is tested here.
say(master, "sh -c \"echo go''ing; exec sleep 1000\"")
expect(master, b"going")
os.write(master, b"\x03")
say(master, "echo aft''er")
expect(master, b"after")
say(master, "printf 'a\\nb\\n'; echo e''nd")
expect(master, b"a\r\nb\r\n")
expect(master, b"end")
if mode == "detach":
    os.write(master, b"\x10\x11")
    ended(1)  # Docker 20.10 calls its leaving "read escape sequence", with runc too
    sys.exit()
say(master, "exit 9")
if pid is not None:
    ended(9)
