#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cli_cpu.py N OURS PEER [OURS_AFTER PEER_AFTER]

Runs the command lines OURS and PEER in turns, N times each, each followed by its AFTER, which is not
measured. Prints four medians, user + system time in milliseconds: of OURS itself and of PEER itself, then
of each with the children that it waited for.

A process's own time is read from its CPU clock when it has ended and has not been waited for yet, to the
nanosecond; the other two come from wait4().
"""
import os
import shlex
import statistics
import sys
import time

NULL = "/dev/null"
STDIO = [(os.POSIX_SPAWN_OPEN, 0, NULL, os.O_RDONLY, 0),
         (os.POSIX_SPAWN_OPEN, 1, NULL, os.O_WRONLY, 0)]


def cpu_clock(pid):
    """clock_getcpuclockid(3)"""
    return (~pid << 3) | 2


def measure(argv):
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=STDIO)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    own = time.clock_gettime(cpu_clock(pid))
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{shlex.join(argv)}: status {status:#x}")
    return own * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3


def main():
    count = int(sys.argv[1])
    commands = [shlex.split(text) for text in sys.argv[2:4]]
    afters = [shlex.split(text) for text in sys.argv[4:6]]
    samples = [[], []]
    for _ in range(count):
        for i, argv in enumerate(commands):
            samples[i].append(measure(argv))
            if afters:
                measure(afters[i])
    print(*(f"{statistics.median(s[k] for s in samples[i]):.3f}"
            for k in (0, 1) for i in (0, 1)))


main()
