# SPDX-License-Identifier: Apache-2.0
# How a program ends, or does not begin.

for code in (0, 1, 42, 126, 127, 255, 300):
    case(f"exit: {code}", sh=f"exit {code}")


# A process that is not pid 1 dies of each signal; what its parent and exec see.
case("exit: signals of an exec", args=["sleep", "1000"], script="""
rt run -d -b b $C < /dev/null > /dev/null
for s in HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM XCPU XFSZ SYS 40; do
	section $s
	t rt exec $C sh -c "kill -$s \\$\\$"
done
""")
case("exit: stopped and continued", sh="(kill -STOP $(exec sh -c 'echo $PPID'); exit 3) & "
     "sleep 0.1; kill -CONT $!; wait $!")

BAD = {
    "not found": (["nothing"], ""),
    "not found, absolute": (["/nothing"], ""),
    "not found, in a directory": (["/bin/nothing/at/all"], ""),
    "not executable": (["/etc/passwd"], ""),
    "a directory": (["/etc"], ""),
    "a directory in PATH": (["etc"], "config '.process.env=[\"PATH=/\"]'"),
    "relative with a slash": (["bin/busybox", "echo", "yes"], ""),
    "relative with a dot": (["./bin/busybox", "echo", "yes"], ""),
    "empty name": ([""], ""),
    "not executable in PATH": (["passwd"], "config '.process.env=[\"PATH=/etc\"]'"),
    "dangling link": (["/bin/dangling"], "ln -s /nowhere b/rootfs/bin/dangling"),
    "link loop": (["/bin/loop"], "ln -s loop b/rootfs/bin/loop"),
    "no interpreter": (["/bin/x"], "printf '#!/nothing\\n' > b/rootfs/bin/x; chmod 755 b/rootfs/bin/x"),
    "no shebang": (["/bin/x"], "echo echo yes > b/rootfs/bin/x; chmod 755 b/rootfs/bin/x"),
    "empty file": (["/bin/x"], "> b/rootfs/bin/x; chmod 755 b/rootfs/bin/x"),
    "bad ELF": (["/bin/x"], "printf '\\177ELF\\2\\1\\1junk' > b/rootfs/bin/x; chmod 755 b/rootfs/bin/x"),
    "script": (["/bin/x", "a b"], "printf '#!/bin/sh -u\\necho \"$0\" \"$1\"\\n' > b/rootfs/bin/x; "
               "chmod 755 b/rootfs/bin/x"),
    "not readable but executable": (["/bin/x"], "cp b/rootfs/bin/busybox b/rootfs/bin/x; "
                                    "chmod 711 b/rootfs/bin/x; config '.process.user.uid=1000'"),
    "no PATH": (["echo", "yes"], "config '.process.env=[]'"),
    "empty PATH": (["echo", "yes"], "config '.process.env=[\"PATH=\"]'"),
    "second in PATH": (["echo", "yes"], "config '.process.env=[\"PATH=/nothing:/etc:/bin\"]'"),
    "not executable first in PATH": (["cat", "/dev/null"], "touch b/rootfs/etc/cat; "
                                     "config '.process.env=[\"PATH=/etc:/bin\"]'"),
    "others may not execute": (["/bin/x"], "cp b/rootfs/bin/busybox b/rootfs/bin/x; chmod 700 b/rootfs/bin/x; "
                               "config '.process.user.uid=1000'"),
    "path too long": (["/" + "x" * 300], ""),
}
ROWS = {"a directory": "exec-words", "others may not execute": "exec-words"}
for what, (args, before) in BAD.items():
    case("begin: " + what, before + "\nt rt run -b b $C\nt rt list -q", args=args, differs=ROWS.get(what))

case("begin: exec's failures", args=["sleep", "1000"], script="""
printf '#!/nothing\\n' > b/rootfs/bin/bad; chmod 755 b/rootfs/bin/bad
printf '\\177ELFjunk' > b/rootfs/bin/elf; chmod 755 b/rootfs/bin/elf
rt run -d -b b $C < /dev/null > /dev/null
section nothing; t rt exec $C nothing
section /nothing; t rt exec $C /nothing
section not executable; t rt exec $C /etc/passwd
section directory; t rt exec $C /etc
section no interpreter; t rt exec $C /bin/bad
section bad ELF; t rt exec $C /bin/elf
section missing cwd; t rt exec --cwd /nothing $C true
section cwd is a file; t rt exec --cwd /etc/passwd $C true
section relative cwd; t rt exec --cwd tmp $C pwd
section codes; for i in 0 1 42 255 300; do t rt exec $C sh -c "exit $i"; done
section detached; t rt exec -d $C sh -c "exit 7"
section detached, not found; t rt exec -d $C nothing
""", differs={"directory": "exec-words"})

case("pid 1: signals it has no handler for", args=["sleep", "1000"], script="""
rt run -d -b b $C < /dev/null > /dev/null
for s in TERM INT HUP USR1; do t rt kill $C $s; done
t rt exec $C kill -9 1
t rt exec $C kill -TERM 1
t rt exec $C true
is $C running && echo still running
t rt kill $C KILL
stopped $C
""")
case("pid 1: signals it has a handler for", sh="""trap 'echo term; exit 9' TERM; trap 'echo usr1' USR1
echo ready; while :; do sleep 0.05; done""", script="""
rt run -d -b b $C < /dev/null > o
eventually grep -q ready o
t rt kill $C USR1
eventually grep -q usr1 o
t rt kill $C
stopped $C
cat o
""")
case("pid 1: its end ends all", sh="sleep 1000 & sleep 1000 & exit 4")
case("pid 1: zombies wait for it", sh="(sh -c 'exit 3' & exec sleep 0.3) & sleep 0.1; "
     "ps -o stat,comm | grep -c '^Z'; wait; ps -o stat,comm | grep '^Z'")
case("pid 1: orphans are its children", sh="""sh -c 'sleep 1000 &'
until grep -q sleep /proc/[0-9]*/comm; do :; done 2> /dev/null
for p in /proc/[0-9]*; do grep -q sleep $p/comm && cut -d' ' -f4 $p/stat; done""")
case("pid 1: facts", sh="echo $$; cut -d' ' -f1,4,5,6,7,8 /proc/1/stat; "
     "cat /proc/1/comm; tr '\\0' ' ' < /proc/1/cmdline; "
     "grep -E '^(Sig[^Q]|Shd)' /proc/1/status")
