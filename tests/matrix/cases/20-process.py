# SPDX-License-Identifier: Apache-2.0
# The process object: streams, environment, directory, user, capabilities, limits.

case("streams: apart, and in order", sh="for i in 1 2 3; do echo o$i; echo e$i >&2; done; printf end; printf end >&2")
case("streams: 3 MB", sh="head -c 3000000 /dev/zero | tr '\\0' 'x'", script="rt run -b b $C | md5sum")
case("streams: binary", sh="printf '\\000\\001\\377\\r\\n'", script="rt run -b b $C | od -c")
case("streams: stdin is a file", sh="cat; echo end", script="printf 'a\\nb' > f; IN=f t rt run -b b $C")
case("streams: stdin is a pipe", sh="cat; echo end", script="printf 'a\\nb' | rt run -b b $C")
case("streams: 1 MB through", args=["cat"], script="head -c 1000000 /dev/zero | rt run -b b $C | md5sum")
case("streams: stdin is /dev/null", sh="cat; echo end")
case("streams: stdin is not read", sh="exit 5", script="yes | rt run -b b $C; echo ${PIPESTATUS[@]}")
case("streams: stdin closed", sh="cat; echo $?; echo end", script="rt run -b b $C <&- ; echo $?")
case("streams: stdout closed", sh="echo out; echo $? >&2", script="rt run -b b $C >&- ; echo $?",
     differs="closed-streams")
case("streams: stderr closed", sh="echo err >&2; echo $?", script="rt run -b b $C 2>&- ; echo $?",
     differs="closed-streams")
case("streams: stdout /dev/full", sh="echo out; echo $? >&2", script="rt run -b b $C > /dev/full; echo $?")
case("streams: nobody reads stdout", sh="trap '' PIPE; while echo x; do :; done 2> /dev/null; echo over >&2",
     script="rt run -b b $C | head -n 1; echo ${PIPESTATUS[1]}")
case("streams: both to one file", sh="echo o; echo e >&2; echo o", script="rt run -b b $C > f 2>&1; sort f")
case("streams: stdout appends", sh="echo two", script="echo one > f; rt run -b b $C >> f; cat f")
case("streams: detached, to files", sh="echo out; echo err >&2; cat; exit 3", script="""
d rt run -d -b b $C
stopped $C
later
t rt delete $C
""")
case("streams: an exec's", args=["sleep", "1000"], script="""
rt run -d -b b $C < /dev/null > /dev/null
section apart; t rt exec $C sh -c 'echo o; echo e >&2; exit 6'
section pipe; printf 'a\\nb' | t rt exec $C cat; printf 'a\\nb' | rt exec $C cat
section file; printf 'a\\nb' > f; IN=f t rt exec $C cat
section closed; rt exec $C sh -c 'cat; echo $?' <&-; echo $?
section full; rt exec $C sh -c 'echo x' > /dev/full; echo $?
section detached; d rt exec -d --pid-file p $C sh -c 'echo err >&2; echo later'
eventually grep -q later out.d; later
grep -c '^[1-9][0-9]*$' p; tail -c 1 p | grep -c '^[0-9]$'
""")

ENV = '.process.env = ["PATH=/bin", "A=1", "B=", "A=2", "C=x=y z", "D=\\u00e9"]'
box("env", {
    "all": "tr '\\0' '\\n' < /proc/1/environ | grep -v '^%%'",
    "duplicate": "tr '\\0' '\\n' < /proc/1/environ | grep -c ^A=",
    "in the shell": "echo $A,$B,$C,$D",
    "HOME": "echo $HOME"}, ENV, differs={"all": "env-order"})
for what, config in {
        "HOME empty": '.process.env += ["HOME="]',
        "HOME given": '.process.env += ["HOME=/x"]',
        "HOME of uid 1000": ".process.user.uid = 1000",
        "HOME of a uid without entry": ".process.user.uid = 4242",
        "missing": "del(.process.env)",
        "null": ".process.env = null",
        "no equals sign": '.process.env += ["ODD"]',
        "empty string": '.process.env += [""]',
        "empty name": '.process.env += ["=x"]'}.items():
    case("env: " + what, config=config, args=["/bin/env"], norm=["words"])
case("env: no passwd", "rm b/rootfs/etc/passwd\nt rt run -b b $C", sh="echo $HOME")
case("env: odd passwd", "printf 'junk\\nroot:x:0:0::/other:/bin/sh\\n' > b/rootfs/etc/passwd\nt rt run -b b $C",
     sh="echo $HOME", differs="passwd-junk")
case("args: odd ones", args=["printf", "<%s>", "", " ", "a b", "$HOME", "\n", "\u00e9", "-x", "--"])

for what, (cwd, before) in {
        "tmp": ("/tmp", ""),
        "missing": ("/new/dir", ""),
        "missing, not root": ("/new/dir", "config '.process.user.uid=1000'"),
        "symlink": ("/link", "ln -s /tmp b/rootfs/link"),
        "symlink out": ("/link/x", "ln -s ../../../etc b/rootfs/link"),
        "dangling symlink": ("/link", "ln -s /later b/rootfs/link"),
        "a file": ("/etc/passwd", ""),
        "below a file": ("/etc/passwd/x", ""),
        "relative": ("tmp", ""),
        "empty": ("", ""),
        "dots": ("/tmp/../etc/.", ""),
        "double dots above": ("/../../tmp", ""),
        "not for this user": ("/closed", "mkdir -m 700 b/rootfs/closed; config '.process.user.uid=1000'"),
        "in /proc": ("/proc/self/fd", ""),
        "/proc/self/fd/7": ("/proc/self/fd/7", "")}.items():
    case("cwd: " + what, before + "\nt rt run -b b $C\nls -ld b/rootfs/new b/rootfs/new/dir b/rootfs/later 2> /dev/null"
         " | cut -d' ' -f1-4", config=f".process.cwd = {__import__('json').dumps(cwd)}", sh="pwd; ls -d . ; /bin/pwd",
         norm=["words"] if what in ("a file", "below a file", "dangling symlink", "/proc/self/fd/7") else [],
         keeps={"relative": "Cwd must be an absolute path", "empty": "Cwd property must not be empty"}.get(what),
         differs={"dangling symlink": "cwd-dangling"}.get(what))

USER = "grep -E '^(Uid|Gid|Groups|Umask)' /proc/1/status; id"
for what, config in {
        "root": ".",
        "1000:1000": ".process.user = {uid: 1000, gid: 1000}",
        "no such entry": ".process.user = {uid: 4242, gid: 4343}",
        "additional groups": ".process.user = {uid: 1000, gid: 1000, additionalGids: [2000, 5, 77]}",
        "additional groups twice": ".process.user = {uid: 0, gid: 0, additionalGids: [7, 7, 0]}",
        "gid alone": ".process.user = {uid: 0, gid: 5}",
        "username": '.process.user = {uid: 0, gid: 0, username: "user"}',
        "umask 077": ".process.user.umask = 63",
        "umask 0": ".process.user.umask = 0",
        "large uid": ".process.user = {uid: 4294967294, gid: 4294967294}"}.items():
    case("user: " + what, config=config, sh=USER + "; touch /tmp/f; ls -ln /tmp/f | cut -d' ' -f1-9; "
         "ls -ln /proc/1/fd > /dev/null; echo $?", norm=[(r"  +", " ")],
         differs={"large uid": "large-ids"}.get(what))

CAP = "grep ^Cap /proc/1/status; grep NoNewPrivs /proc/1/status"
for what, config in {
        "none": ".process.capabilities = {}",
        "missing": "del(.process.capabilities)",
        "bounding": '.process.capabilities = {bounding: ["CAP_KILL", "CAP_CHOWN"]}',
        "effective without permitted": '.process.capabilities = {bounding: ["CAP_KILL"], effective: ["CAP_KILL"]}',
        "permitted": '.process.capabilities = {bounding: ["CAP_KILL"], permitted: ["CAP_KILL"]}',
        "inheritable": '.process.capabilities |= (.inheritable = ["CAP_KILL"] | .ambient = [])',
        "ambient": '.process.capabilities |= (.inheritable = .bounding | .ambient = .bounding)',
        "ambient, uid 1000": '.process.user.uid = 1000 | .process.capabilities |= (.inheritable = .bounding '
                             '| .ambient = .bounding)',
        "ambient without inheritable": '.process.capabilities |= (.inheritable = [] | .ambient = ["CAP_KILL"])',
        "uid 1000": ".process.user.uid = 1000",
        "unknown": '.process.capabilities.bounding += ["CAP_NOTHING"]',
        "lower case": '.process.capabilities.bounding += ["cap_chown"]',
        "without CAP_": '.process.capabilities.bounding += ["CHOWN"]',
        "the last ones": '.process.capabilities |= map_values(["CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"])',
        "no new privileges": ".process.noNewPrivileges = true",
        "new privileges": ".process.noNewPrivileges = false"}.items():
    case("caps: " + what, config=config, sh=CAP,
         differs={"unknown": "warnings", "lower case": "warnings", "without CAP_": "warnings"}.get(what))
case("caps: set-uid, with and without new privileges", sh="id -u", config=".process.user = {uid: 1000, gid: 1000} "
     '| .process.args[0] = "/bin/su2"', script="""cp b/rootfs/bin/busybox b/rootfs/bin/sh2; chmod 4755 b/rootfs/bin/sh2
for p in true false; do config ".process.noNewPrivileges = $p | .process.args = [\\"/bin/sh2\\", \\"id\\"]"
t rt run -b b $C; done""")

# None above what the caller may have: on this host runc cannot raise its own.
LIMITS = "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
box("rlimits", {n: f"sed -n {i + 2}p /proc/1/limits" for i, n in enumerate(LIMITS)},
    ".process.rlimits = [" + ",".join(
        f'{{type: "RLIMIT_{n}", soft: {v}, hard: {v + 1 if v else 0}}}' for n, v in zip(LIMITS, (
            1000, 10**9, 10**10, 10**6 * 8, 0, 10**6, 500, 500, 65536, 10**11, 100, 99, 4096, 0, 0, 10**6))) + "]")
for what, config in {
        "unknown type": '[{type: "RLIMIT_TEST", soft: 1, hard: 1}]',
        "lower case": '[{type: "rlimit_nofile", soft: 1, hard: 1}]',
        "twice": '[{type: "RLIMIT_NOFILE", soft: 5, hard: 7}, {type: "RLIMIT_NOFILE", soft: 6, hard: 6}]',
        "soft above hard": '[{type: "RLIMIT_NOFILE", soft: 9, hard: 7}]',
        "infinite": '[{type: "RLIMIT_CORE", soft: 0, hard: 18446744073709551615}, '
                    '{type: "RLIMIT_NOFILE", soft: 9, hard: 99}]'}.items():
    case("rlimits: " + what, config=".process.rlimits = " + config, norm=["words"],
         sh="grep -E '^Max (core|open files)' /proc/1/limits")
# Below 0 needs CAP_SYS_RESOURCE of runc's caller.
for v in (0, 500, 1000, 1001):
    case(f"oomScoreAdj: {v}", config=f".process.oomScoreAdj = {v}", sh="cat /proc/1/oom_score_adj",
         norm=["nsexec", "words"] if v == 1001 else [])
case("oomScoreAdj: missing", config="del(.process.oomScoreAdj)", sh="cat /proc/1/oom_score_adj")
for d in ("LINUX", "LINUX32", "LINUX64", ""):
    case(f"personality: {d or 'empty'}", config=f'.linux.personality = {{domain: "{d}"}}',
         sh="uname -m; cat /proc/1/personality", norm=["words"],
         differs=None if d == "LINUX" else "personality")

TTY = """.process.terminal = true | .process.consoleSize = {height: 33, width: 99}"""
box_script = """until stty size 2> /dev/null | grep -q 33; do :; done; stty -a; ls -l /dev/console | cut -c1; tty; ls -ln $(tty) | cut -c1-40
cut -d' ' -f5-8 /proc/self/stat; test -t 0 && test -t 1 && test -t 2 && echo all; stat -c %t:%T /dev/console"""
# Nothing is typed, and the terminal has a size: what it has at first, both pass on at a time of their own.
TYPED = "mkfifo keys; exec 9<> keys; export IN=keys; size='stty rows 33 columns 99'\n" \
    "SIZED='until stty size 2> /dev/null | grep -q 33; do :; done'\n"
case("tty: facts", TYPED + 't script -qefc "$size; $RT --root $PWD/state run -b b $C" log', TTY, sh=box_script,
     norm=["stty"], differs="onlcr")
case("tty: exit code, signal", TYPED + 't script -qefc "$size; $RT --root $PWD/state run -b b $C" log', TTY,
     sh="echo x; kill -9 $$; exit 12")
case("tty: none there", config=TTY, sh="tty", script="setsid -w bash -c '. $MATRIX/prelude.bash; t rt run -b b $C'")
case("tty: run -d without a socket", config=TTY, script="t rt run -d -b b $C\nt rt create -b b $C\nls state 2> /dev/null")
case("tty: a socket without a tty", script="t rt run -d --console-socket s -b b $C\n"
     "t rt create --console-socket s -b b $C\nt rt run --console-socket s -b b $C\nls state 2> /dev/null")
case("tty: a socket that is not there", config=TTY, script="t rt run -d --console-socket s -b b $C\nls state 2> /dev/null",
     keeps="connect: no such file or directory")
case("tty: an exec's", TYPED + """
rt run -d -b b $C < /dev/null > /dev/null
t script -qefc "$size; $RT --root $PWD/state exec -t $C sh -c '$SIZED; tty; stty -a; ls -l /dev/console | cut -c1; exit 5'" log
t script -qefc "$size; $RT --root $PWD/state exec $C sh -c 'tty; test -t 1 || echo no; exit 5'" log
IN=/dev/null t rt exec -t -d $C tty
""", args=["sleep", "1000"], norm=["stty"], differs="onlcr")
