#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What only the kvm backend has: a lane of its own, since it needs a host where KVM works.

load ../bats/helpers

# More settings in $1, as JSON
settings() {
	jq -n --argjson more "$1" '{hypervisor: "kvm", vcpus: 1} + $more' > "$BATS_TEST_TMPDIR/config.json"
	export SUPERMACHINE_CONFIG=$BATS_TEST_TMPDIR/config.json
}

resident() { awk '/^Rss:/ { print $2 }' "/proc/$1/smaps_rollup"; }

@test "a container runs on kvm, and no QEMU" {
	args sleep 1000
	sm --debug --log "$BATS_TEST_TMPDIR/log" run -d -b "$BUNDLE" "$ID" < /dev/null
	grep -q 'sm-vmm: kvm, ms since its start' "$BATS_TEST_TMPDIR/log"
	[ -z "$(pgrep -P "$(pid_of "$ID")" qemu)" ]
}

@test "memory that the guest frees goes back to the host" {
	args sleep 1000
	config '.mounts += [{destination: "/big", type: "tmpfs", source: "tmpfs", options: ["size=300m"]}]'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	vmm=$(pid_of "$ID")
	before=$(resident "$vmm")
	sm exec "$ID" sh -c 'dd if=/dev/zero of=/big/x bs=1M count=200 2> /dev/null' < /dev/null
	full=$(resident "$vmm")
	[ $((full - before)) -gt 180000 ]
	sm exec "$ID" rm /big/x < /dev/null
	smaller() { [ "$(resident "$vmm")" -lt $((full - 150000)) ]; }
	eventually smaller
}

@test "the kernel's first messages are on the console where earlyConsole asks for them" {
	settings '{"earlyConsole": true}'
	config '.annotations = {"supermachine.io/kernel_params": "loglevel=7"}'
	args true
	runsm run --keep -b "$BUNDLE" "$ID"
	[ "$status" -eq 0 ]
	grep -q 'Linux version' "$ROOT/$ID/console.log"
	sm delete --force "$ID"
}

@test "huge pages that the host has not are an error that names them" {
	settings '{"hugepages": true}'
	config '.annotations = {"supermachine.io/memory": "65536"}'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'guest memory: 65536 MiB of 2 MiB pages (see /proc/sys/vm/nr_hugepages): cannot allocate memory'* ]]
}

@test "a kernel that is none is an error of create that says so" {
	settings '{"kernel": "/etc/passwd"}'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'kernel /etc/passwd: neither an ELF vmlinux nor a bzImage'* ]]
}

@test "SIGKILL to sm-vmm in the midst of work: stopped, 137, and /dev/kvm serves the next" {
	args sh -c 'while :; do cat /bin/busybox > /tmp/x; done'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	kill -KILL "$(pid_of "$ID")"
	wait_gone "$ID"
	sm delete --force "$ID"
	args true
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 0 ]
}
