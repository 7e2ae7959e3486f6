# SPDX-License-Identifier: Apache-2.0
# The root, mounts, devices, masked paths, sysctls.

MI = r"awk '$5 ~ /^\/m/ { print $4, $5, $6, $7 != \"-\" ? $7 : \"\" }' /proc/self/mountinfo"

def options(at, kind=True):
    """Fields of a mount that do not depend on the kernel: point, flags, type; with kind the data as well."""
    return (f"awk '$5 == \"{at}\" {{ for (i = 7; $i != \"-\"; i++); print $5, $6, $7, $(i+1)"
            + (", $(i+3)" if kind else "") + "}' /proc/self/mountinfo")

def mount(at, kind, source, *words):
    return f'{{destination: "{at}", type: "{kind}", source: "{source}", options: {list(words)}}}'.replace("'", '"')

def mounts(*all):
    return ".mounts += [" + ", ".join(all) + "]"

# The default set, as spec makes it.
DEFAULTS = "/proc /dev /dev/pts /dev/shm /dev/mqueue /sys".split()
box("mounts: default", {**{m: options(m, m not in ("/proc", "/sys")) for m in DEFAULTS},
    "order": r"awk '$5 !~ /\/sys\/fs|acpi|sysrq|kcore/ { print $5 }' /proc/self/mountinfo",
    "directories": "stat -c '%a %u %g %n' / /proc /dev /dev/pts /dev/shm /dev/mqueue /sys",
    "root is writable": "echo x > /f && cat /f",
    "root propagation": "awk '$5 == \"/\" { print $7 }' /proc/self/mountinfo",
    "filesystems usable": "touch /dev/shm/x /dev/x && ls /dev/shm /dev/mqueue /proc/sys > /dev/null",
    "sys is read-only": "echo x > /sys/kernel/profiling",
    "may not mount": "mount -t tmpfs none /mnt"})
box("mounts: read-only root", {
    "write": "echo x > /f", "flags": "awk '$5 == \"/\" { print $6 }' /proc/self/mountinfo | cut -d, -f1",
    "tmp": "echo x > /tmp/f", "dev": "echo x > /dev/f && cat /dev/f", "remount": "mount -o remount,rw /"},
    ".root.readonly = true")

WORDS = {
    "ro": ["ro"], "rw": ["rw"], "nosuid": ["nosuid"], "nodev": ["nodev"], "noexec": ["noexec"],
    "noatime": ["noatime"], "nodiratime": ["nodiratime"], "relatime": ["relatime"], "strictatime": ["strictatime"],
    "norelatime": ["norelatime"], "atime after noatime": ["noatime", "atime"], "ro then rw": ["ro", "rw"],
    "rw then ro": ["rw", "ro"], "suid after nosuid": ["nosuid", "suid"], "exec after noexec": ["noexec", "exec"],
    "dev after nodev": ["nodev", "dev"], "sync": ["sync"], "dirsync": ["dirsync"], "mand": ["mand"],
    "all": ["nosuid", "nodev", "noexec", "ro", "noatime"],
    "size": ["size=64k"], "size in percent": ["size=40%"], "size in bytes": ["size=65536"], "mode": ["mode=1750"],
    "mode, uid, gid": ["mode=711", "uid=5", "gid=7"], "nr_inodes": ["nr_inodes=77"],
    "size and flags": ["nosuid", "size=1m", "noexec", "mode=700"],
    "private": ["private"], "shared": ["shared"], "slave": ["slave"], "unbindable": ["unbindable"],
    "rshared": ["rshared"], "rslave": ["rslave"], "rprivate": ["rprivate"]}
NAMES = {w: "/mnt/" + "".join(c for c in w if c.isalnum()) for w in WORDS}
box("mounts: tmpfs", {w: options(at) + (f"; stat -c '%a %u %g' {at}") for w, at in NAMES.items()},
    mounts(*(mount(NAMES[w], "tmpfs", "t", *words) for w, words in WORDS.items())),
    norm=[(r"(shared|master):\d+", r"\1:N"), (r"size=\d{6,}k", "size=SHARE")])
box("mounts: tmpfs behave", {
    "ro": "echo x > /mnt/a/f", "noexec": "cp /bin/busybox /mnt/b/true && /mnt/b/true",
    "size": "head -c 200000 /dev/zero > /mnt/c/f; stat -c %s /mnt/c/f", "nodev": "cat /mnt/d/null"},
    mounts(mount("/mnt/a", "tmpfs", "t", "ro"), mount("/mnt/b", "tmpfs", "t", "noexec"),
           mount("/mnt/c", "tmpfs", "t", "size=64k"), mount("/mnt/d", "tmpfs", "t", "nodev")))
for what, m in {
        "the word defaults": mount("/m", "tmpfs", "t", "defaults"),
        "unknown tmpfs word": mount("/m", "tmpfs", "t", "nothing=1"),
        "bad tmpfs value": mount("/m", "tmpfs", "t", "size=x"),
        "unknown type": mount("/m", "nothing", "t"),
        "missing bind source": mount("/m", "bind", "/nothing", "bind"),
        "unknown bind word": mount("/m", "bind", "/etc/opt", "bind", "nothing"),
        "destination is a file": mount("/etc/passwd", "tmpfs", "t"),
        "destination below a file": mount("/etc/passwd/x", "tmpfs", "t"),
        "no destination": '{type: "tmpfs", source: "t"}',
        "onto the root": mount("/", "tmpfs", "t"),
        "over /proc": mount("/proc", "tmpfs", "t"),
        "in /proc": mount("/proc/x", "tmpfs", "t")}.items():
    case("mounts: " + what, config=mounts(m), sh="ls /m", norm=["words"], differs={
        "the word defaults": "defaults-word", "unknown bind word": "bind-words", "no destination": "warnings",
        "onto the root": "proc-checks", "over /proc": "proc-checks"}.get(what))

SOURCES = """mkdir -p src/sub b/rel; echo one > src/f; echo two > src/sub/g; echo rel > b/rel/f; chmod 711 src
ln -s f src/link; mkfifo src/fifo; echo file > single; chmod 640 single; chown 5:7 single
config --arg d "$PWD" '(.mounts[] | select(.source | startswith("@"))).source |= $d + "/" + .[1:]'
"""
B = lambda at, source, *words: mount(at, "bind", source, *words)
box("mounts: bind", {
    "dir": "ls -l /mnt/dir | sed 's/ .* / /'; cat /mnt/dir/f /mnt/dir/sub/g /mnt/dir/link; stat -c '%a' /mnt/dir",
    "dir is shared": "echo new > /mnt/dir/new; cat /mnt/ro/new",
    "ro": "echo x > /mnt/ro/f", "ro: flags": options("/mnt/ro", False) + " | cut -d' ' -f1,2 | cut -d, -f1",
    "file": "cat /mnt/file; stat -c '%a %u %g %F' /mnt/file; echo more >> /mnt/file; cat /mnt/file",
    "file, ro": "cat /mnt/filero; echo x > /mnt/filero",
    "file over a file": "cat /etc/group",
    "relative source": "cat /mnt/rel/f",
    "noexec": "cp /bin/busybox /mnt/noexec/true; /mnt/noexec/true; " + options("/mnt/noexec", False)
              + " | grep -o noexec",
    "without type": "cat /mnt/notype/f", "type none": "cat /mnt/none/f",
    "a fifo's type": "stat -c %F /mnt/dir/fifo",
    "created points": "stat -c '%a %u %g %F' /mnt /mnt/deep /mnt/deep/er /mnt/deep/er/f",
    "through a symlink": "cat /mnt/real/f; ls -ld /mnt/alias | sed 's/.* -> //'",
    "through a symlink that leaves": "ls / | grep -c escaped; cat /escaped/f",
    "dots": "cat /mnt/dots/f"},
    mounts(B("/mnt/dir", "@src", "bind"), B("/mnt/ro", "@src", "bind", "ro"), B("/mnt/file", "@single", "bind"),
           B("/mnt/filero", "@single", "rbind", "ro"), B("/etc/group", "@single", "bind"), B("/mnt/rel", "rel", "bind"),
           B("/mnt/noexec", "@src", "bind", "noexec"), mount("/mnt/none", "none", "@src", "bind"),
           '{destination: "/mnt/notype", source: "@src", options: ["rbind"]}',
           B("/mnt/deep/er/f", "@single", "bind"), B("/mnt/alias", "@src", "bind"), B("/mnt/out", "@src", "bind"),
           B("/mnt/../mnt/./dots//", "@src", "bind")),
    before="mkdir b/rootfs/mnt/real; ln -s real b/rootfs/mnt/alias; ln -s ../../../../escaped b/rootfs/mnt/out\n"
           + SOURCES)
case("mounts: points that stay on the host", SOURCES + "t rt run -b b $C\n(cd b/rootfs; find mnt new etc/made -printf "
     "'%p %y %m %U %G %s\\n')", mounts(B("/new/d", "@src", "bind"), B("/new/f", "@single", "bind"),
     mount("/mnt/t", "tmpfs", "t"), B("/etc/made", "@single", "bind", "ro")), norm=[(r"( d .*) \d+", r"\1")])
case("mounts: bind propagation", SOURCES + "t rt run -b b $C", mounts(
     *(B(f"/mnt/{w}", "@src", "rbind", w) for w in ("private", "rprivate", "slave", "rslave", "unbindable"))),
     sh="awk '$5 ~ /^\\/mnt\\// { print $5, $7 }' /proc/self/mountinfo", norm=[(r"(shared|master):\d+", r"\1:N")])
case("mounts: bind and rbind of a tree", SOURCES + """mount -t tmpfs t src/sub; echo inner > src/sub/h
t rt run -b b $C; umount src/sub""", mounts(B("/mnt/one", "@src", "bind"), B("/mnt/all", "@src", "rbind"),
     B("/mnt/allro", "@src", "rbind", "ro")), sh="cd /mnt; cat */sub/*; echo x > allro/f; echo y > allro/sub/z; echo $?",
     differs="bind-tree")
box("mounts: one over another", {
    "inner": "cat /mnt/a/b/f /mnt/a/c/f", "hidden": "ls /mnt/x", "order": "awk '$5 ~ /^\\/mnt/ { print $5 }' "
    "/proc/self/mountinfo", "a bind of what was mounted": "ls /mnt/x/y"},
    mounts(mount("/mnt/a", "tmpfs", "t"), B("/mnt/a/b", "@src", "bind"), B("/mnt/a/c", "@src", "bind", "ro"),
           B("/mnt/x/y", "@src", "bind"), mount("/mnt/x", "tmpfs", "t")), before=SOURCES)
case("mounts: relative destination", SOURCES + "t rt run -b b $C", mounts(mount("mnt/r", "tmpfs", "t")),
     sh="awk '$5 ~ /mnt/ { print $5 }' /proc/self/mountinfo", differs="warnings")
case("mounts: none at all", config=".mounts = [] | .linux.maskedPaths = [] | .linux.readonlyPaths = []",
     sh="ls /proc /sys /dev | head -n 3", differs="no-proc")
case("mounts: /dev is not a mount", config='.mounts |= map(select(.destination | startswith("/dev") | not))',
     sh="ls -l /dev | sed 's/ .* / /'")
box("mounts: of other types", {
    "mqueue": options("/mnt/mq"), "sysfs": options("/mnt/sys", False), "devpts": options("/mnt/pts"),
    "proc": options("/mnt/proc", False), "copied up": "ls -l /etc | sed 's/ .* / /'; " + options("/etc", False)},
    mounts(mount("/mnt/mq", "mqueue", "q", "nosuid", "noexec"), mount("/mnt/sys", "sysfs", "s", "ro"),
           mount("/mnt/pts", "devpts", "d", "newinstance", "ptmxmode=0600", "mode=600", "gid=7"),
           mount("/mnt/proc", "proc", "p", "nosuid"), mount("/etc", "tmpfs", "t", "tmpcopyup")))
box("shm", {"size": "df -k /dev/shm | awk 'END { print $2 }'", "flags": options("/dev/shm")},
    '(.mounts[] | select(.destination == "/dev/shm")).options |= map(if startswith("size") then "size=3m" else . end)')

box("hidden: paths", {
    "masked dir": "ls -a /mnt/d; echo x > /mnt/d/x", "masked file": "cat /mnt/f; stat -c %F /mnt/f",
    "masked, missing": "ls /mnt/nothing", "masked link": "cat /mnt/link; stat -c %F /mnt/link",
    "read-only dir": "cat /mnt/r/f; echo x > /mnt/r/f", "read-only file": "cat /mnt/rf; echo x > /mnt/rf",
    "below read-only": "echo x > /mnt/r/sub/x", "masked in proc": "cat /proc/keys; wc -c < /proc/timer_list",
    "read-only in proc": "echo 1 > /proc/sys/kernel/hostname", "mountinfo of masked": options("/mnt/d", False)
    + " | cut -d' ' -f1,2"},
    '.linux.maskedPaths += ["/mnt/d", "/mnt/f", "/mnt/nothing", "/mnt/link"] | '
    '.linux.readonlyPaths += ["/mnt/r", "/mnt/rf", "/mnt/none"]',
    "cd b/rootfs/mnt; mkdir -p d r/sub; touch d/in f rf r/f; echo a | tee f rf r/f > target; ln -s target link; cd ../../..")
case("hidden: relative path", config='.linux.maskedPaths += ["tmp"]', sh="ls -la /tmp | wc -l", norm=["words"])
case("hidden: a path in a file", config='.linux.maskedPaths += ["/etc/passwd/x"]', sh="echo yes", norm=["words"],
     differs="masked-below-file")

NODES = "null zero full random urandom tty".split()
box("devices: default", {**{n: f"stat -c '%n %a %u %g %t:%T %F' /dev/{n}" for n in NODES},
    "links": "ls -l /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/ptmx | sed 's/.* \\///'",
    "all": "ls /dev", "pts": "ls /dev/pts; stat -c '%a' /dev/pts/ptmx",
    "null": "echo x > /dev/null; cat /dev/null", "zero": "head -c 3 /dev/zero | od -c | head -n 1",
    "full": "echo x > /dev/full", "random": "head -c 8 /dev/random | wc -c", "urandom": "head -c 8 /dev/urandom | wc -c",
    "tty": "echo x > /dev/tty", "fd": "echo yes > /dev/fd/1", "stderr": "echo e > /dev/stderr"})
box("devices: own", {
    "modes": "for d in /dev/mynull /dev/sub/zero /dev/pipe /dev/fuse; do stat -c '%n %a %u %g %t:%T %F' $d; done",
    "use": "echo x > /dev/mynull && head -c 2 /dev/sub/zero | wc -c",
    "an overridden default": "stat -c '%a %u %g' /dev/full",
    "mknod": "mknod /tmp/n c 1 3 && cat /tmp/n"},
    '.linux.devices = [{path: "/dev/mynull", type: "c", major: 1, minor: 3, fileMode: 416, uid: 5, gid: 7},'
    ' {path: "/dev/sub/zero", type: "c", major: 1, minor: 5}, {path: "/dev/pipe", type: "p", fileMode: 384},'
    ' {path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 438, uid: 0, gid: 0},'
    ' {path: "/dev/full", type: "c", major: 1, minor: 7, fileMode: 256, uid: 1, gid: 2}]'
    ' | .process.capabilities |= map_values(. + ["CAP_MKNOD"])')
for what, d in {"unknown type": '{path: "/dev/x", type: "z", major: 1, minor: 3}',
                "no path": '{type: "c", major: 1, minor: 3}',
                "type u": '{path: "/dev/x", type: "u", major: 1, minor: 3, fileMode: 438}'}.items():
    case("devices: " + what, config=f".linux.devices = [{d}]", sh="stat -c '%t:%T %F' /dev/x", norm=["words"],
         differs={"no path": "device-path"}.get(what))
box("devices: rules", {"kmsg": "stat /dev/kmsg", "mem": "mknod /tmp/m c 1 1 && head -c 1 /tmp/m",
    "zero": "mknod /tmp/z c 1 5 && head -c 1 /tmp/z | wc -c", "block": "mknod /tmp/b b 8 0; cat /tmp/b"},
    ".process.capabilities |= map_values(. + [\"CAP_MKNOD\"])")

box("sysctl", {"net": "cat /proc/sys/net/ipv4/ip_forward", "ipc": "cat /proc/sys/kernel/shmmax",
    "msg": "cat /proc/sys/kernel/msgmax", "mqueue": "cat /proc/sys/fs/mqueue/msg_max",
    "domain": "cat /proc/sys/kernel/domainname"},
    '.linux.sysctl = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "123456", "kernel.msgmax": "4321", '
    '"fs.mqueue.msg_max": "17", "kernel.domainname": "example.org"}')
for what, (key, value) in {"slashes": ("net/ipv4/ip_forward", "1"), "unknown": ("net.ipv4.nothing", "1"),
        "bad value": ("net.ipv4.ip_forward", "x"), "hostname": ("kernel.hostname", "x"),
        "not a namespace's": ("vm.swappiness", "10"), "outside": ("../../etc/passwd", "x"),
        "empty": ("", "1")}.items():
    case("sysctl: " + what, config=f'.linux.sysctl = {{"{key}": "{value}"}}', norm=["words"],
         sh="cat /proc/sys/net/ipv4/ip_forward",
         differs={"hostname": "sysctl", "not a namespace's": "sysctl"}.get(what))
