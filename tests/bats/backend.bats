#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# How the backend is chosen. What the host's KVM is like must not matter: tests that ask it assert what is
# right for either answer, the others ask fake-vmm, which says what FAKE_PROBE says.

bats_require_minimum_version 1.5.0
load helpers

SLOW='{"reason":"slow","mips":2,"text":"/dev/kvm runs guests at 2 million instructions a second, 50 are needed"}'

# settings FILTER [jq options…]: this test's settings, over those for a fake-vmm of its own, so that no
# answer of another test is kept for it.
settings() {
	local filter=$1
	shift
	cp --remove-destination "$SM_BUILD_DIR/fake-vmm" "$BATS_TEST_TMPDIR/vmm"
	jq -n --arg vmm "$BATS_TEST_TMPDIR/vmm" '{vmm: $vmm, kernel: "/etc/passwd", initrd: "/etc/passwd",
		qemu: "/bin/true", memory: 128}' | jq "$filter" "$@" > "$BATS_TEST_TMPDIR/settings.json"
	export SUPERMACHINE_CONFIG=$BATS_TEST_TMPDIR/settings.json
}

# refused TEXT VERB: the verb fails with the text and leaves nothing.
refused() {
	runsm --log-format json "$2" -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ] && [ "$(jq -r .msg <<< "$output")" = "sm-runtime $2 failed: $1" ] && [ -z "$(leftovers)" ] || {
		printf '%s\nnot: %s\n' "$output" "$1"
		return 1
	}
}

logged() { sm --debug --log "$BATS_TEST_TMPDIR/log" "$@" < /dev/null > /dev/null; }
vmm_args() { tr '\0' ' ' < "/proc/$(pid_of "$ID")/cmdline"; }

# in_dev SCRIPT: runs it where /dev holds null, a copy of sm-vmm and nothing else.
in_dev() {
	# shellcheck disable=SC2016
	unshare -m bash -ec 'cp "$0" "$1/sm-vmm"
		mount -t tmpfs -o mode=755 dev /dev
		mknod -m 666 /dev/null c 1 3
		cp "$1/sm-vmm" /dev
		eval "$2"' "$SM_BUILD_DIR/sm-vmm" "$BATS_TEST_TMPDIR" "$1"
}

# ---- the real host -------------------------------------------------------------------------------

@test "sm-vmm --probe: one JSON object, whose members fit each other" {
	"$SM_BUILD_DIR/sm-vmm" --probe | jq -se 'length == 1 and (.[0] | (.text | length > 0) and
		(.usable == (.reason == "works")) and ((.usable | not) or .mips >= 50) and
		(.reason != "slow" or .mips < 50) and (.present or .reason == "absent"))'
}

@test "kvm by name: runs where KVM works, else is refused with the reason and leaves nothing" {
	answer=$("$SM_BUILD_DIR/sm-vmm" --probe)
	echo '{"hypervisor": "kvm"}' > "$BATS_TEST_TMPDIR/settings.json"
	export SUPERMACHINE_CONFIG=$BATS_TEST_TMPDIR/settings.json
	args sleep 1000
	if jq -e .usable <<< "$answer"; then
		sm run -d -b "$BUNDLE" "$ID" < /dev/null
		[[ $(vmm_args) == *' --hypervisor kvm '* ]]
		return
	fi
	for verb in create run; do
		runsm --log-format json "$verb" -b "$BUNDLE" "$ID"
		[ "$status" -eq 1 ]
		[ -z "$(leftovers)" ]
		msg=$(jq -r .msg <<< "$output")
		[[ $msg == "sm-runtime $verb failed: hypervisor \"kvm\": /dev/kvm"*"; set \"hypervisor\" to \"auto\" or \"qemu\" in $SUPERMACHINE_CONFIG" ]]
	done
	runsm doctor
	[ "$status" -eq 1 ]
	[[ $output == *'FAIL  backend         none for hypervisor "kvm"'* ]]
	[[ $output != *'FAIL  qemu'* ]]
}

@test "auto: what the probe says" {
	answer=$("$SM_BUILD_DIR/sm-vmm" --probe)
	args sleep 1000
	logged run -d -b "$BUNDLE" "$ID"
	if jq -e .usable <<< "$answer"; then want=kvm; else want=qemu; fi
	grep -q "backend $want: /dev/kvm" "$BATS_TEST_TMPDIR/log"
	[[ $(vmm_args) == *" --hypervisor $want "* ]]
}

@test "--probe: no /dev/kvm, no driver behind it, no permission, not KVM at all" {
	probe=$(in_dev '/dev/sm-vmm --probe')
	jq -e '.reason == "absent" and (.present | not) and (.text | startswith("/dev/kvm: No such file"))' <<< "$probe"
	probe=$(in_dev 'mknod /dev/kvm c 10 254; /dev/sm-vmm --probe')
	jq -e '.reason == "absent" and (.present | not) and (.text | startswith("/dev/kvm: No such device"))' <<< "$probe"
	probe=$(in_dev 'mknod -m 600 /dev/kvm c 10 232; setpriv --reuid 65534 --regid 65534 --clear-groups /dev/sm-vmm --probe')
	jq -e '.reason == "denied" and .present and
		.text == "/dev/kvm: Permission denied for uid 65534 (owner 0, group 0, mode 0600)"' <<< "$probe"
	probe=$(in_dev 'mknod /dev/kvm c 1 3; /dev/sm-vmm --probe')
	jq -e '.reason == "broken" and .present and (.text | startswith("/dev/kvm: is not KVM: "))' <<< "$probe"
}

@test "--probe: an alarm that the caller blocks or ignores does not make it wait" {
	run timeout 20 env --block-signal=ALRM --ignore-signal=ALRM "$SM_BUILD_DIR/sm-vmm" --probe
	[ "$status" -eq 0 ]
	jq -e '.text | length > 0' <<< "$output"
}

# ---- the choice ----------------------------------------------------------------------------------

@test "auto: kvm with the CPUs at hand, qemu with one; the settings' number for both" {
	args sleep 1000
	settings .
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	[[ $(vmm_args) == *" --hypervisor kvm "*" --vcpus $(nproc) "* ]]
	sm delete --force "$ID"
	settings .
	FAKE_PROBE=$SLOW sm run -d -b "$BUNDLE" "$ID" < /dev/null
	[[ $(vmm_args) == *' --hypervisor qemu '*' --vcpus 1 '* ]]
	sm delete --force "$ID"
	settings '.vcpus = 3'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	[[ $(vmm_args) == *' --hypervisor kvm '*' --vcpus 3 '* ]]
}

@test "auto on a host with neither: both are named" {
	settings '.qemu = "/no/such/qemu"'
	text='hypervisor "auto": /dev/kvm runs guests at 2 million instructions a second, 50 are needed, and QEMU is not installed (/no/such/qemu): run "sm-runtime doctor" for help'
	FAKE_PROBE=$SLOW refused "$text" create
	FAKE_PROBE=$SLOW refused "$text" run
}

@test "qemu by name: no probe is made; refused where it is missing" {
	args sleep 1000
	settings '.hypervisor = "qemu"'
	logged run -d -b "$BUNDLE" "$ID"
	grep -q 'backend qemu: asked for by name' "$BATS_TEST_TMPDIR/log"
	sm delete --force "$ID"
	settings '.hypervisor = "qemu" | .qemu = "no-such-qemu"'
	refused 'hypervisor "qemu": QEMU is not installed (no-such-qemu): run "sm-runtime doctor" for help' create
}

@test "kvm by name where it does not work: each reason, word for word; doctor has a remedy for each" {
	while IFS='|' read -r reason text remedy; do
		export FAKE_PROBE="{\"reason\":\"$reason\",\"text\":\"$text\"}"
		settings '.hypervisor = "kvm"'
		refused "hypervisor \"kvm\": $text; set \"hypervisor\" to \"auto\" or \"qemu\" in $SUPERMACHINE_CONFIG" create
		runsm doctor
		[ "$status" -eq 1 ]
		[[ $output == *"warn  kvm             $text"$'\n'*" $remedy"* ]] || { echo "$output"; return 1; }
	done <<- 'END'
		absent|/dev/kvm: No such file or directory (the CPU offers no virtualization to this system)|load kvm_intel or kvm_amd
		denied|/dev/kvm: Permission denied for uid 1000 (owner 0, group 104, mode 0660)|run as root, or add the user to the group
		busy|/dev/kvm: cannot make a VM: Device or resource busy|end the other hypervisor
		api|/dev/kvm: API version 11, must be 12|run a kernel of Linux 5.10 or newer
		extension|/dev/kvm: this kernel lacks KVM_CAP_IRQFD|run a kernel of Linux 5.10 or newer
		broken|/dev/kvm: cannot make a CPU: Cannot allocate memory|see the kernel's log
		slow|/dev/kvm runs guests at 2 million instructions a second, 50 are needed|use a host whose KVM
	END
}

@test "sm-vmm that cannot be asked: kvm is refused, auto goes on with qemu" {
	settings '.hypervisor = "kvm"'
	FAKE_PROBE='segmentation fault' refused "hypervisor \"kvm\": KVM cannot be probed: $BATS_TEST_TMPDIR/vmm --probe: segmentation fault; set \"hypervisor\" to \"auto\" or \"qemu\" in $SUPERMACHINE_CONFIG" create
	args sleep 1000
	settings .
	FAKE_PROBE= sm run -d -b "$BUNDLE" "$ID" < /dev/null
	[[ $(vmm_args) == *' --hypervisor qemu '* ]]
}

@test "the annotation stands in the place of the setting" {
	args sleep 1000
	settings '.hypervisor = "kvm"'
	config '.annotations = {"supermachine.io/hypervisor": "qemu"}'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	[[ $(vmm_args) == *' --hypervisor qemu '* ]]
	sm delete --force "$ID"
	config '.annotations = {"supermachine.io/hypervisor": "kvm"}'
	settings '.hypervisor = "qemu"'
	FAKE_PROBE=$SLOW refused 'annotation supermachine.io/hypervisor "kvm": /dev/kvm runs guests at 2 million instructions a second, 50 are needed; set it to "auto" or "qemu", or see "sm-runtime doctor"' create
	config '.annotations = {"supermachine.io/hypervisor": "xen"}'
	refused 'config.json: annotations: supermachine.io/hypervisor: "xen" is none of auto, kvm and qemu' create
}

@test "hugepages, earlyConsole, coreDumps: handed to sm-vmm, the first two for kvm only" {
	args sleep 1000
	settings '. + {hugepages: true, earlyConsole: true, coreDumps: true}'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	[[ $(vmm_args) == *' --hugepages --serial --core-dumps'* ]]
	sm delete --force "$ID"
	settings '. + {hypervisor: "qemu", hugepages: true, earlyConsole: true, coreDumps: true}'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	[[ $(vmm_args) == *' --core-dumps'* && $(vmm_args) != *--hugepages* && $(vmm_args) != *--serial* ]]
	settings '. + {hugepages: "yes"}'
	runsm list
	runsm create -b "$BUNDLE" "$ID-2"
	[ "$status" -eq 1 ]
	[[ $output == *'hugepages: must be'* ]]
}

@test "kernel: the bare name of libkrunfw is handed through, to kvm only; a bzImage is told by doctor" {
	args sleep 1000
	settings '.kernel = "libkrunfw.so.5"'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	[[ $(vmm_args) == *' --kernel libkrunfw.so.5 '* ]]
	sm delete --force "$ID"
	runsm doctor
	[[ $output == *'ok    guest kernel    libkrunfw.so.5: libkrunfw, found by the dynamic linker'* ]]
	settings '.kernel = "libkrunfw.so.5" | .hypervisor = "qemu"'
	refused "guest kernel libkrunfw.so.5: only the kvm backend can boot a libkrunfw kernel, and this container's is qemu: name a vmlinux as \"kernel\" in $SUPERMACHINE_CONFIG" create
	runsm doctor
	[ "$status" -eq 1 ]
	[[ $output == *'FAIL  guest kernel    libkrunfw.so.5: only the kvm backend can boot a libkrunfw kernel'* ]]
	settings '.kernel = "libkrunfw.so.x"'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'guest kernel libkrunfw.so.x is missing'* ]]
	# the header of a bzImage: "HdrS" at 0x202, the version's place less 0x200 at 0x20e
	{
		head -c 514 /dev/zero
		printf 'HdrS\0\0\0\0\0\0\0\0\0\1'
		head -c 240 /dev/zero
		printf '6.1.192-test (builder@host) #1\0'
	} > "$BATS_TEST_TMPDIR/bzImage"
	settings '.kernel = $k' --arg k "$BATS_TEST_TMPDIR/bzImage"
	runsm doctor
	[[ $output == *'/bzImage (0.0 MiB): bzImage of Linux version 6.1.192-test'* ]]
}

@test "doctor: qemu is needed only by who runs on it" {
	settings '.qemu = "/no/such/qemu"'
	runsm doctor
	[ "$status" -eq 0 ]
	[[ $output == *'ok    backend         kvm (hypervisor "auto" in '* ]]
	[[ $output == *'ok    qemu            /no/such/qemu: cannot be run (the kvm backend does not need it)'* ]]
	FAKE_PROBE=$SLOW runsm doctor
	[ "$status" -eq 1 ]
	[[ $output == *'FAIL  backend         none for hypervisor "auto"'* && $output == *'FAIL  qemu '* ]]
}

# ---- what is kept --------------------------------------------------------------------------------

# Each probe leaves a line in probes. In a mount namespace of its own, so that nobody else's creates come
# in between.
@test "the answer is kept: probed once, again when it is damaged, foreign or of another sm-vmm" {
	args true
	settings .
	mv "$BATS_TEST_TMPDIR/vmm" "$BATS_TEST_TMPDIR/real-vmm"
	cat > "$BATS_TEST_TMPDIR/vmm" <<- END
		#!/bin/sh
		[ "\$1" != --probe ] || echo x >> "$BATS_TEST_TMPDIR/probes"
		exec "$BATS_TEST_TMPDIR/real-vmm" "\$@"
	END
	chmod +x "$BATS_TEST_TMPDIR/vmm"
	mkdir -p /run/supermachine
	export BUNDLE ID ROOT SM_BUILD_DIR BATS_TEST_TMPDIR
	run unshare -m bash -euo pipefail "$BATS_TEST_DIRNAME/kept.bash"
	echo "$output"
	[ "$status" -eq 0 ]
}
