# SPDX-License-Identifier: Apache-2.0
# Seccomp, namespaces, names.

def seccomp(default, *rules, extra=""):
    return (f'.linux.seccomp = {{defaultAction: "SCMP_ACT_{default}", architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"'
            f'] {extra}, syscalls: [' + ", ".join(rules) + "]}")

def rule(names, action, extra=""):
    names = ", ".join(f'"{n}"' for n in names.split())
    return f'{{names: [{names}], action: "SCMP_ACT_{action}" {extra}}}'

MKDIR = "mkdir /tmp/d; echo $?"
for what, config in {
        "allow all": seccomp("ALLOW"),
        "errno": seccomp("ALLOW", rule("mkdir mkdirat", "ERRNO")),
        "errno 38": seccomp("ALLOW", rule("mkdir mkdirat", "ERRNO", ", errnoRet: 38")),
        "errno 0": seccomp("ALLOW", rule("mkdir mkdirat", "ERRNO", ", errnoRet: 0")),
        "kill": seccomp("ALLOW", rule("mkdir mkdirat", "KILL")),
        "kill process": seccomp("ALLOW", rule("mkdir mkdirat", "KILL_PROCESS")),
        "kill thread": seccomp("ALLOW", rule("mkdir mkdirat", "KILL_THREAD")),
        "trap": seccomp("ALLOW", rule("mkdir mkdirat", "TRAP")),
        "log": seccomp("ALLOW", rule("mkdir mkdirat", "LOG")),
        "trace": seccomp("ALLOW", rule("mkdir mkdirat", "TRACE")),
        "unknown action": seccomp("ALLOW", rule("mkdir", "NOTHING")),
        "unknown call": seccomp("ALLOW", rule("nothing_at_all mkdir mkdirat", "ERRNO")),
        "unknown architecture": seccomp("ALLOW") + '| .linux.seccomp.architectures += ["SCMP_ARCH_NOTHING"]',
        "argument": seccomp("ALLOW", rule("mkdir", "ERRNO", ', args: [{index: 1, value: 511, op: "SCMP_CMP_EQ"}]')),
        "argument, not equal": seccomp("ALLOW", rule("mkdir", "ERRNO",
                                       ', args: [{index: 1, value: 511, op: "SCMP_CMP_NE"}]')),
        "masked argument": seccomp("ALLOW", rule("mkdir", "ERRNO", ', args: [{index: 1, value: 256, valueTwo: 256, '
                                   'op: "SCMP_CMP_MASKED_EQ"}]')),
        "two rules of one call": seccomp("ALLOW", rule("mkdir", "ERRNO", ', errnoRet: 5, args: [{index: 1, value: 1, op: '
                                         '"SCMP_CMP_LT"}]'), rule("mkdir", "ERRNO", ', errnoRet: 6, args: [{index: 1, '
                                         'value: 1, op: "SCMP_CMP_GE"}]')),
        "bad operator": seccomp("ALLOW", rule("mkdir", "ERRNO", ', args: [{index: 1, value: 1, op: "SCMP_CMP_X"}]')),
        "index 6": seccomp("ALLOW", rule("mkdir", "ERRNO", ', args: [{index: 6, value: 1, op: "SCMP_CMP_EQ"}]')),
        "flag log": seccomp("ALLOW", rule("mkdir mkdirat", "ERRNO"), extra=', flags: ["SECCOMP_FILTER_FLAG_LOG"]'),
        "unknown flag": seccomp("ALLOW", extra=', flags: ["SECCOMP_FILTER_FLAG_NOTHING"]'),
        "no architectures": seccomp("ALLOW", rule("mkdir mkdirat", "ERRNO")) + "| del(.linux.seccomp.architectures)",
        "empty": ".linux.seccomp = {}",
        "no new privileges": seccomp("ALLOW", rule("mkdir mkdirat", "ERRNO")) + "| .process.noNewPrivileges = true"}.items():
    case("seccomp: " + what, config=config, sh=MKDIR + "; grep '^Seccomp:' /proc/self/status", norm=["words"],
         differs={"flag log": "seccomp-log"}.get(what))
case("seccomp: of an exec", config=seccomp("ALLOW", rule("mkdir mkdirat", "ERRNO")), args=["sleep", "1000"], script="""
rt run -d -b b $C < /dev/null > /dev/null
t rt exec $C sh -c 'mkdir /tmp/d; grep ^Seccomp: /proc/self/status'
""")
case("seccomp: kills pid 1", config=seccomp("ALLOW", rule("sync", "KILL_PROCESS")), args=["sync"])
case("seccomp: default is to fail", config=seccomp("ERRNO", rule(
    "execve exit exit_group write read open openat close fstat newfstatat lseek mmap mprotect munmap brk rt_sigaction "
    "rt_sigprocmask rt_sigreturn getuid setuid setgid getgid geteuid getegid getpid getppid arch_prctl set_tid_address "
    "set_robust_list rseq prlimit64 getrandom readlink readlinkat fcntl dup2 fork vfork clone wait4 capset capget prctl "
    "setgroups getdents64 chdir futex fstatfs statfs access faccessat2 epoll_ctl epoll_pwait nanosleep tgkill gettid "
    "stat lstat ioctl uname getcwd", "ALLOW")), sh="mkdir /tmp/d; echo $?; sync; echo $?; echo yes")

NS = "cgroup ipc mnt net pid uts user time".split()
LINKS = "; ".join(f"[ $(readlink /proc/1/ns/{n}) = $(readlink /proc/self/ns/{n}) ] && echo {n} same || echo {n} other"
                  for n in NS)
case("namespaces: init and its child", sh=LINKS)
case("namespaces: init and exec", args=["sleep", "1000"], script=f"""
rt run -d -b b $C < /dev/null > /dev/null
t rt exec $C sh -c '{LINKS}'
t rt exec $C sh -c 'cat /proc/self/comm; ps -o comm | grep -c sleep; hostname'
""")
# Not "mount": runc would mount in this host's.
for n in "pid ipc uts network cgroup".split():
    case(f"namespaces: no {n}", config=f'.linux.namespaces |= map(select(.type != "{n}")) | del(.hostname)',
         sh="echo yes; [ $$ = 1 ] && echo first", norm=["words"])
for what, config in {
        "unknown": '.linux.namespaces += [{type: "nothing"}]',
        "twice": '.linux.namespaces += [{type: "pid"}]',
        "a path that is not there": '(.linux.namespaces[] | select(.type == "network")).path = "/nothing"',
        "a path of another kind": '(.linux.namespaces[] | select(.type == "network")).path = "/proc/1/ns/uts"',
        "a path that is none": '(.linux.namespaces[] | select(.type == "network")).path = "/etc/passwd"',
        "hostname without uts": '.linux.namespaces |= map(select(.type != "uts"))',
        "user without maps": '.linux.namespaces += [{type: "user"}]',
        "maps without user": ".linux.uidMappings = [{containerID: 0, hostID: 0, size: 1}]",
        "sysctl without net": '.linux.namespaces |= map(select(.type != "network")) | .linux.sysctl = '
                              '{"net.ipv4.ip_forward": "1"}'
        }.items():
    case("namespaces: " + what, config=config, sh="echo yes", norm=["nsexec", "words"],
         differs={"maps without user": "maps", "sysctl without net": "sysctl"}.get(what))
case("namespaces: cgroup", config='.linux.namespaces += [{type: "cgroup"}]', sh="cut -d: -f3 /proc/self/cgroup | sort -u")
case("namespaces: a network by path", config=".", sh="ls /sys/class/net; id -u", script="""
ip netns add $C; config --arg p /run/netns/$C '(.linux.namespaces[] | select(.type == "network")).path = $p'
t rt run -b b $C; ip netns del $C""")
box("names", {"hostname": "hostname; cat /proc/sys/kernel/hostname; uname -n", "domain": "cat /proc/sys/kernel/domainname",
              "net": "ls /sys/class/net; cat /sys/class/net/lo/operstate; ip addr show lo | grep -o 'inet.*scope host lo'",
              "ping": "nc -lp 7777 < /dev/null & sleep 0.1; nc 127.0.0.1 7777; echo $?"})
for h in ("a.b.c", "x" * 64, "x" * 65, "", "Upper_case", "with space"):
    case(f"names: hostname {h[:12]!r}, {len(h)}", config=f'.hostname = "{h}"', sh="hostname", norm=["words"])
case("names: domainname", config='.domainname = "example.org"', sh="cat /proc/sys/kernel/domainname",
     differs="domainname")
for p in ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable", "", "nothing"):
    case(f"rootfsPropagation: {p or 'empty'}", config=f'.linux.rootfsPropagation = "{p}"',
         sh="awk '$5 == \"/\" { print $7 == \"-\" ? \"none\" : $7 }' /proc/self/mountinfo",
         norm=["words", (r"(shared|master):\d+", r"\1:N")],
         differs="propagation" if p.endswith(("shared", "bindable")) else None)
