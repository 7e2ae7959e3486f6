#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boot_insns.py KERNEL INITRAMFS: guest instructions from the kernel's entry to the agent's first
attempt to reach the host, counted by QEMU's TCG (-icount) on a machine like ours without devices but
the console."""
import json
import os
import socket
import subprocess
import sys

PARAMETERS = "console=hvc0 quiet noreplace-smp maxcpus=1 8250.nr_uarts=0 sm.debug tsc_early_khz=1000000"


def receive(lines):
    while True:
        answer = json.loads(lines.readline())
        if "return" in answer:
            return answer["return"]


def main():
    kernel, initrd = sys.argv[1:]
    ours, theirs = socket.socketpair()
    qmp_ours, qmp_theirs = socket.socketpair()
    command = [
        "qemu-system-x86_64", "-M", "microvm,acpi=off,isa-serial=off,pit=off,pic=off",
        "-accel", "tcg", "-icount", "shift=0,sleep=off,rr=record,rrfile=/dev/null",
        "-cpu", "max", "-smp", "1", "-m", "512M", "-nodefaults", "-no-user-config",
        "-display", "none", "-no-reboot", "-global", "virtio-mmio.force-legacy=false",
        "-device", "virtio-serial-device,max_ports=1",
        "-chardev", f"socket,id=console,fd={theirs.fileno()}", "-device", "virtconsole,chardev=console",
        "-chardev", f"socket,id=qmp,fd={qmp_theirs.fileno()}", "-mon", "chardev=qmp,mode=control",
        "-kernel", kernel, "-initrd", initrd, "-append", PARAMETERS,
    ]
    qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                            pass_fds=(theirs.fileno(), qmp_theirs.fileno()))
    theirs.close()
    qmp_theirs.close()
    try:
        lines = qmp_ours.makefile("rw")
        lines.readline()
        lines.write('{"execute": "qmp_capabilities"}\n')
        lines.flush()
        receive(lines)
        text = b""
        while b"cannot connect to the host" not in text:
            chunk = ours.recv(4096)
            if not chunk:
                sys.exit("the guest ended early: " + text.decode(errors="replace"))
            text += chunk
        lines.write('{"execute": "query-replay"}\n')
        lines.flush()
        print(receive(lines)["icount"])
    finally:
        qemu.kill()
        qemu.wait()


main()
