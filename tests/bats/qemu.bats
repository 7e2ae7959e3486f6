#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The QEMU of the backend of that name: its walls and its end. Not in the kvm lane, whose counterpart is tests/kvm/kvm.bats.

load helpers

# What the container runs, on QEMU.
runs() {
	args "$@"
	config '.annotations = {"supermachine.io/hypervisor": "qemu"}'
}

run_sleeper() {
	runs sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	VMM=$(pid_of "$ID")
	QEMU=$(pgrep -P "$VMM" qemu)
}

# The field NAME of process directory $1.
field() { awk -v name="$2:" '$1 == name { print $2 }' "$1/status"; }

@test "QEMU: an empty root, no network, no way to more privileges" {
	run_sleeper
	[ -z "$(ls -A "/proc/$QEMU/root/")" ]
	[ -z "$(ls -A "/proc/$QEMU/cwd/")" ]
	[ "$(field "/proc/$QEMU" NoNewPrivs)" = 1 ]
	[ "$(field "/proc/$QEMU" Seccomp)" = 2 ]
	# sys_chroot
	[ "$(field "/proc/$QEMU" CapPrm)" = 0000000000040000 ]
	[ "$(field "/proc/$QEMU" CapBnd)" = 0000000000040000 ]
	for ns in mnt ipc uts cgroup net; do
		[ "$(readlink "/proc/$QEMU/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ]
		[ "$(readlink "/proc/$QEMU/ns/$ns")" != "$(readlink "/proc/$VMM/ns/$ns")" ]
	done
	[ "$(readlink "/proc/$QEMU/ns/pid")" = "$(readlink "/proc/$VMM/ns/pid")" ]
	nsenter -t "$QEMU" -n ip -o link > "$BATS_TEST_TMPDIR/links"
	[ "$(grep -cv ' lo: ' "$BATS_TEST_TMPDIR/links")" -eq 0 ]
}

@test "SIGKILL to sm-vmm takes QEMU along" {
	run_sleeper
	kill -KILL "$VMM"
	wait_gone "$ID"
	[ ! -e "/proc/$QEMU" ]
}

@test "SIGKILL to QEMU: sm-vmm ends with it, and says so" {
	runs sh -c 'echo ready; exec sleep 1000'
	mkfifo "$BATS_TEST_TMPDIR/out"
	sm run --keep -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/out" 3>&- &
	runner=$!
	read -r line < "$BATS_TEST_TMPDIR/out"
	pkill -KILL -P "$(pid_of "$ID")"
	wait_status "$runner"
	[ "$status" -eq 255 ]
	grep -q 'QEMU was killed by signal 9' "$ROOT/$ID/vmm.log"
	[ "$(status_of "$ID")" = stopped ]
	sm delete --force "$ID"
}
