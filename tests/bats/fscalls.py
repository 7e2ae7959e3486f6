# SPDX-License-Identifier: Apache-2.0
"""fscalls.py DIR: file system calls on DIR, each checked. Runs in the guest on virtio-fs."""
import ctypes, errno, fcntl, mmap, os, stat, sys, threading

top = sys.argv[1]
os.chdir(top)


def write(name, data):
    with open(name, "wb") as f:
        f.write(data)


def read(name):
    with open(name, "rb") as f:
        return f.read()


def fails(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except OSError as e:
        assert e.errno == code, (call, args, e)
    else:
        raise AssertionError((call, args))


# O_APPEND, O_EXCL, O_TRUNC, O_TMPFILE and a link of it
write("append", b"1")
for i in b"234":
    fd = os.open("append", os.O_WRONLY | os.O_APPEND)
    os.write(fd, bytes([i]))
    os.close(fd)
assert read("append") == b"1234"
fails(errno.EEXIST, os.open, "append", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
os.close(os.open("append", os.O_WRONLY | os.O_TRUNC))
assert os.stat("append").st_size == 0
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(fd, b"tmp")
libc = ctypes.CDLL(None, use_errno=True)
# os.link() would not follow the symlink
assert libc.linkat(-100, f"/proc/self/fd/{fd}".encode(), -100, b"linked", 0x400) == 0
os.close(fd)
assert read("linked") == b"tmp"

# holes, SEEK_DATA and SEEK_HOLE, fallocate and punching
fd = os.open("holes", os.O_CREAT | os.O_RDWR)
os.pwrite(fd, b"x" * 4096, 1 << 20)
assert os.lseek(fd, 0, os.SEEK_DATA) == 1 << 20
assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
os.posix_fallocate(fd, 0, 1 << 16)
assert os.stat("holes").st_size == (1 << 20) + 4096
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
assert libc.fallocate(fd, 3, 1 << 20, 4096) == 0, os.strerror(ctypes.get_errno())
assert os.pread(fd, 4096, 1 << 20) == bytes(4096)
os.close(fd)

# shared mappings are written back, private ones are not
write("map", bytes(8192))
fd = os.open("map", os.O_RDWR)
with mmap.mmap(fd, 8192) as m:
    m[5000:5005] = b"hello"
    m.flush()
assert os.pread(fd, 5, 5000) == b"hello"
with mmap.mmap(fd, 8192, access=mmap.ACCESS_COPY) as m:
    m[0:3] = b"xyz"
assert os.pread(fd, 3, 0) == bytes(3)
os.close(fd)

# locks, between processes of the guest
write("lock", b"")
a, b = os.open("lock", os.O_RDWR), os.open("lock", os.O_RDWR)
fcntl.flock(a, fcntl.LOCK_EX)
fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.flock(a, fcntl.LOCK_UN)
fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.lockf(a, fcntl.LOCK_EX, 10, 0)
if os.fork() == 0:
    try:
        fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
        os._exit(1)
    except OSError as e:
        os._exit(0 if e.errno in (errno.EAGAIN, errno.EACCES) else 2)
assert os.wait()[1] == 0
os.close(a)
os.close(b)

# extended attributes
write("xattr", b"")
os.setxattr("xattr", "user.name", b"value")
os.setxattr("xattr", "user.t", b"\0\1")
assert os.getxattr("xattr", "user.name") == b"value"
assert set(os.listxattr("xattr")) >= {"user.name", "user.t"}
fails(errno.EEXIST, os.setxattr, "xattr", "user.name", b"", os.XATTR_CREATE)
os.removexattr("xattr", "user.t")
fails(errno.ENODATA, os.getxattr, "xattr", "user.t")
# the host's kernel wants CAP_SYS_ADMIN for these, which nobody in the jail has
fails(errno.EPERM, os.setxattr, "xattr", "trusted.t", b"\0\1")
fails(errno.ENODATA, os.getxattr, "xattr", "trusted.t")

# an access control list decides (user 1000 may read, the mode alone would not let it)
write("acl", b"secret")
os.chmod("acl", 0o600)
acl = bytes.fromhex("02000000"
                    "0100060" "0ffffffff"      # owner rw
                    "02000400e8030000"         # user 1000 r
                    "0400000" "0ffffffff"      # group none
                    "1000040" "0ffffffff"      # mask r
                    "2000000" "0ffffffff")     # others none
os.setxattr("acl", "system.posix_acl_access", acl)
assert stat.S_IMODE(os.stat("acl").st_mode) == 0o640
for uid, may in ((1000, True), (1001, False)):
    if os.fork() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        os._exit(0 if os.access("acl", os.R_OK) == may else 1)
    assert os.wait()[1] == 0, uid

# renames: over, exchange, no replace, a directory over an empty one, into itself
write("a", b"a")
write("b", b"b")
libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
assert libc.renameat2(-100, b"a", -100, b"b", 2) == 0
assert (read("a"), read("b")) == (b"b", b"a")
assert libc.renameat2(-100, b"a", -100, b"b", 1) == -1 and ctypes.get_errno() == errno.EEXIST
os.mkdir("d1")
os.mkdir("d2")
write("d2/f", b"")
fails(errno.ENOTEMPTY, os.rename, "d1", "d2")
os.rename("d2", "d1")
fails(errno.EINVAL, os.rename, "d1", "d1/x")
fails(errno.ENOTEMPTY, os.rmdir, "d1")

# an open file that was removed stays
fd = os.open("gone", os.O_CREAT | os.O_RDWR)
os.write(fd, b"still")
os.unlink("gone")
assert os.pread(fd, 5, 0) == b"still" and os.fstat(fd).st_nlink == 0
os.ftruncate(fd, 2)
os.fchmod(fd, 0o600)
os.close(fd)

# setgid directories hand on their group; a write takes setuid away from others' files
os.mkdir("sg")
os.chown("sg", 0, 4321)
os.chmod("sg", 0o2775)
os.mkdir("sg/sub")
write("sg/f", b"")
assert os.stat("sg/sub").st_gid == 4321 and os.stat("sg/sub").st_mode & stat.S_ISGID
assert os.stat("sg/f").st_gid == 4321
write("suid", b"x")
os.chown("suid", 1000, 1000)
os.chmod("suid", 0o6777)
if os.fork() == 0:
    os.setgroups([])
    os.setgid(1001)
    os.setuid(1001)
    fd = os.open("suid", os.O_WRONLY)
    os.write(fd, b"y")
    os._exit(0)
assert os.wait()[1] == 0
assert stat.S_IMODE(os.stat("suid").st_mode) == 0o777

# permissions hold for users
os.mkdir("private", 0o700)
if os.fork() == 0:
    os.setgroups([])
    os.setgid(1000)
    os.setuid(1000)
    try:
        os.listdir("private")
        os._exit(1)
    except PermissionError:
        os._exit(0)
assert os.wait()[1] == 0

# times
os.utime("a", ns=(123456789012345678, 234567890123456789))
assert os.stat("a").st_mtime_ns == 234567890123456789
assert os.stat("a").st_atime_ns == 123456789012345678

# sockets and fifos work inside the guest
import socket
s = socket.socket(socket.AF_UNIX)
s.bind("sock")
s.listen(1)
c = socket.socket(socket.AF_UNIX)
c.connect("sock")
os.mkfifo("fifo")
t = threading.Thread(target=lambda: write("fifo", b"through"))
t.start()
assert read("fifo") == b"through"
t.join()

# copy_file_range, sendfile, O_DIRECT
write("big", os.urandom(3 << 20))
src, dst = os.open("big", os.O_RDONLY), os.open("copy", os.O_CREAT | os.O_WRONLY)
left = 3 << 20
while left:
    left -= os.copy_file_range(src, dst, left)
assert read("big") == read("copy")
os.close(src)
os.close(dst)
fails(errno.ENAMETOOLONG, os.open, "n" * 256, os.O_CREAT)
fails(errno.ENOENT, os.stat, "nothing")
fails(errno.ENOTDIR, os.stat, "a/b")
os.sync()
print("all calls behave")
