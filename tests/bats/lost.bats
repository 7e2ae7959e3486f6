#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A VM that dies, hangs or does not listen, and commands that are killed: with fake-vmm, which misbehaves as
# the container's id says. Whatever happens, nothing is left.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	jq -n --arg vmm "$SM_BUILD_DIR/fake-vmm" '{vmm: $vmm, kernel: "/etc/passwd",
		initrd: "/etc/passwd", vcpus: 1, memory: 128}' > "$BATS_FILE_TMPDIR/config.json"
	export SUPERMACHINE_CONFIG=$BATS_FILE_TMPDIR/config.json
}

ends_with() {
	local code=0
	wait "$2" || code=$?
	[ "$code" -eq "$1" ]
}

nothing_left() { [ -z "$(leftovers)" ] && ! pgrep -f -- "--id $ID" > /dev/null; }

@test "sm-vmm dies before it answers: its exit status and its last words are in the error" {
	runsm create -b "$BUNDLE" "$ID-die-early"
	[ "$status" -eq 1 ]
	[[ $output == *'sm-vmm exited with status 7; its log: fake: giving up'* ]]
	nothing_left
}

@test "create, interrupted while the guest boots, takes everything back" {
	for signal in TERM INT HUP QUIT; do
		"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" create -b "$BUNDLE" "$ID-never" \
			< /dev/null 2> "$BATS_TEST_TMPDIR/err" 3>&- &
		creator=$!
		eventually grep -qs '"pid": [1-9]' "$ROOT/$ID-never/state.json"
		eventually session_is_up "$creator"
		[ "$(status_of "$ID-never")" = creating ]
		env kill -s "$signal" "$creator"
		ends_with 1 "$creator"
		grep -q 'interrupted by signal' "$BATS_TEST_TMPDIR/err"
		nothing_left
	done
}

# Signals are blocked, to be looked after.
session_is_up() { ! grep -q '^SigBlk:.0*$' "/proc/$1/status"; }

@test "create, interrupted in a hook, ends the hook and takes everything back" {
	config '.hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c", $text]}]' \
		--arg text "echo \$\$ > $BATS_TEST_TMPDIR/pid; exec sleep 1000"
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" create -b "$BUNDLE" "$ID" \
		< /dev/null 2> "$BATS_TEST_TMPDIR/err" 3>&- &
	creator=$!
	eventually test -s "$BATS_TEST_TMPDIR/pid"
	kill -TERM "$creator"
	ends_with 1 "$creator"
	grep -q 'interrupted while hook /bin/sh ran' "$BATS_TEST_TMPDIR/err"
	[ ! -e "/proc/$(cat "$BATS_TEST_TMPDIR/pid")" ]
	nothing_left
}

@test "delete --force ends a create whose guest does not boot" {
	sm create -b "$BUNDLE" "$ID-never" < /dev/null 2> "$BATS_TEST_TMPDIR/err" 3>&- &
	creator=$!
	eventually grep -qs '"pid": [1-9]' "$ROOT/$ID-never/state.json"
	sm delete --force "$ID-never"
	ends_with 1 "$creator"
	grep -qE 'sm-vmm was killed by signal 9|start sm-vmm: it was killed' "$BATS_TEST_TMPDIR/err"
	nothing_left
}

@test "a VM that is lost while a hook runs ends the hook" {
	config '.hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c", "kill -KILL $(jq -r .pid); exec sleep 1000"]}]'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'the VM ended while hook /bin/sh ran'* ]]
	nothing_left
}

@test "SIGKILL ends a container whose VM does not answer, within 5 s; delete --force too" {
	args sleep 1000
	for how in 'kill ID KILL' 'delete --force ID'; do
		sm run -d -b "$BUNDLE" "$ID-deaf" < /dev/null
		start=$SECONDS
		# shellcheck disable=SC2086
		sm ${how/ID/$ID-deaf}
		[ $((SECONDS - start)) -le 8 ]
		sm delete --force "$ID-deaf"
		nothing_left
	done
	sm run -d -b "$BUNDLE" "$ID-deaf" < /dev/null
	runsm kill "$ID-deaf" TERM
	[ "$status" -eq 1 ]
	[[ $output == *'unable to signal init: '* ]]
	[ "$(status_of "$ID-deaf")" = running ]
	sm delete --force "$ID-deaf"
}

@test "state and list never wait for the VM" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID-deaf" < /dev/null
	kill -STOP "$(pid_of "$ID-deaf")"
	timeout 2 "$SM_BUILD_DIR/sm-runtime" --root "$ROOT" state "$ID-deaf"
	timeout 2 "$SM_BUILD_DIR/sm-runtime" --root "$ROOT" list
	start=$SECONDS
	sm delete --force "$ID-deaf"
	[ $((SECONDS - start)) -le 12 ]
}

# killed_at COMMAND…: runs it and kills it after $delay seconds.
killed_at() {
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" "$@" < /dev/null > /dev/null 2>&1 3>&- &
	local pid=$!
	sleep "$delay"
	{ kill -KILL "$pid" && wait "$pid"; } 2> /dev/null || true
}

@test "create killed at any of 60 moments: delete --force leaves nothing" {
	args sleep 1000
	mkdir -p "$ROOT"
	for i in {0..59}; do
		delay=$(awk -v i="$i" 'BEGIN { print i * 0.0005 }')
		killed_at create -b "$BUNDLE" "$ID"
		sm list > /dev/null
		sm delete --force "$ID"
		eventually nothing_left || { echo "after $delay s"; leftovers; return 1; }
	done
}

@test "start and delete killed at any of 20 moments: delete --force leaves nothing" {
	args sleep 1000
	mkdir -p "$ROOT"
	for i in {0..19}; do
		delay=$(awk -v i="$i" 'BEGIN { print i * 0.0005 }')
		sm create -b "$BUNDLE" "$ID" < /dev/null
		killed_at start "$ID"
		sm list > /dev/null
		killed_at delete --force "$ID"
		sm list > /dev/null
		sm delete --force "$ID"
		eventually nothing_left || { echo "after $delay s"; leftovers; return 1; }
	done
}

@test "create and delete of one id against each other: no crash, no leftovers" {
	args sleep 1000
	mkdir -p "$ROOT"
	for _ in {1..20}; do
		sm create -b "$BUNDLE" "$ID" < /dev/null > /dev/null 2>&1 3>&- &
		sm delete --force "$ID" &
		sm list > /dev/null
		wait
		sm delete --force "$ID"
		eventually nothing_left
	done
}

@test "50 execs at a time, no process of them stays" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	pids=()
	for i in {1..50}; do
		sm exec "$ID" sh -c "exit $((i % 7))" < /dev/null 3>&- &
		pids+=($!)
	done
	for i in {1..50}; do
		code=0
		wait "${pids[i - 1]}" || code=$?
		[ "$code" -eq $((i % 7)) ]
	done
	sm delete --force "$ID"
	nothing_left
}
