#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boot_peer.py COMMAND ARG…
boot_peer.py --sm-vmm SM_VMM KERNEL INITRAMFS

Milliseconds from the start of a monitor to its guest's agent, which connects to port 1025 of the host
by vsock: vhost-vsock, or sm-vmm's own, which is started as sm-runtime does it (pid and network
namespace, memory cgroup, control socket, state in /run), and whose first number is when its first
CPU ran. The monitor is killed then."""
import ctypes
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time

AGENT_PORT = 1025
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
CGROUPS = "/sys/fs/cgroup"


def start(command, **more):
    """The monitor, and when it was started."""
    begin = time.monotonic_ns()
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, **more), begin


def end(monitor):
    monitor.kill()
    monitor.wait()


def by_vhost(command):
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    listener.bind((socket.VMADDR_CID_ANY, AGENT_PORT))
    listener.listen(1)
    monitor, begin = start(command, stdout=subprocess.DEVNULL)
    # No limit: a clock that counts instructions leaps while a disk is waited for.
    over = os.pidfd_open(monitor.pid)
    try:
        ready, _, _ = select.select([listener, over], [], [])
        if listener not in ready:
            sys.exit(f"{command[0]} ended early")
        print(round((time.monotonic_ns() - begin) / 1e6, 1))
    finally:
        end(monitor)


def memory_cgroup():
    """A cgroup that we are in, for the monitor to be in too; None where there is no version 2."""
    path = f"{CGROUPS}/sm-boot-{os.getpid()}"
    try:
        with open(f"{CGROUPS}/cgroup.subtree_control", "w", encoding="ascii") as file:
            file.write("+memory")
        os.mkdir(path)
        with open(f"{path}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")
    except OSError:
        return None
    return path


def leave(cgroup):
    if cgroup:
        with open(f"{CGROUPS}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")
        os.rmdir(cgroup)


def by_sm_vmm(program, kernel, initrd):
    cgroup = memory_cgroup()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWPID | CLONE_NEWNET) < 0:
        sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory(dir="/run") as state, \
            socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as bridge:
        for server, name in ((listener, "vmm.sock"), (bridge, "vsock.sock")):
            server.bind(f"{state}/{name}")
            server.listen(8)
        fds = [theirs.fileno(), listener.fileno(), bridge.fileno()]
        command = [program, "--id", "boot", "--state-dir", state, "--control-fd", str(fds[0]),
                   "--listen-fd", str(fds[1]), "--hypervisor", "kvm", "--kernel", kernel,
                   "--initrd", initrd, "--vcpus", "1", "--memory", "512", "--network", "tsi",
                   "--bridge-fd", str(fds[2]), "--debug"]
        if cgroup:
            fds.append(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY))
            command += ["--memory-cgroup-fd", str(fds[3])]
        monitor, begin = start(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               pass_fds=fds)
        try:
            wait_for_agent(monitor, begin)
        finally:
            end(monitor)
    ours.close()
    leave(cgroup)


def wait_for_agent(monitor, begin):
    for line in monitor.stderr:
        match = re.search(rb"agent connected: ns from (\d+): machine (\d+) agent (\d+)", line)
        if match:
            main, machine, agent = map(int, match.groups())
            print(round((main + machine - begin) / 1e6, 1), round((main + agent - begin) / 1e6, 1))
            return
        print(line.decode(errors="replace"), end="", file=sys.stderr)
    sys.exit("sm-vmm ended early")


if sys.argv[1] == "--sm-vmm":
    by_sm_vmm(*sys.argv[2:])
else:
    by_vhost(sys.argv[1:])
