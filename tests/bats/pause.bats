#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# pause and resume, and what every other command makes of a paused container.

load helpers

# The counter in the container's file stands still, as far as a second can tell.
still() {
	local was
	was=$(cat "$BUNDLE/rootfs/count")
	for _ in {1..20}; do
		[ "$(cat "$BUNDLE/rootfs/count")" = "$was" ] || return 1
		sleep 0.05
	done
}

counts_on() { [ "$(cat "$BUNDLE/rootfs/count")" != "$1" ]; }

# A container that counts.
background() {
	echo 0 > "$BUNDLE/rootfs/count"
	args sh -c 'i=0; while :; do i=$((i + 1)); echo $i > /count; sleep 0.05; done'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/log" 2>&1
	eventually counts_on 0
}

fails() { # CODE TEXT ARG…
	local code=$1 text=$2
	shift 2
	runsm "$@"
	echo "$output"
	[ "$status" -eq "$code" ]
	[[ $output == *"$text"* ]]
}

@test "pause stops the container, resume lets it go on, both without a word" {
	background
	runsm pause "$ID"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	[ "$(status_of "$ID")" = paused ]
	[ "$(pid_of "$ID")" -gt 0 ]
	[ "$(sm list -f json | jq -r '.[0].status')" = paused ]
	still
	runsm resume "$ID"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	[ "$(status_of "$ID")" = running ]
	eventually counts_on "$(cat "$BUNDLE/rootfs/count")"
}

@test "what is refused, in runc's words" {
	fails 1 'container does not exist' pause "$ID"
	fails 1 'container does not exist' resume "$ID"
	background
	fails 1 'container not paused' resume "$ID"
	sm pause "$ID"
	fails 1 'container not running' pause "$ID"
	fails 1 'cannot start a container in the paused state' start "$ID"
	fails 255 'cannot exec in a paused container (use --ignore-paused to override)' exec "$ID" true
	fails 1 "cannot delete container $ID that is not stopped: paused" delete "$ID"
	sm kill "$ID" KILL
	wait_gone "$ID"
	fails 1 'container not running' pause "$ID"
	fails 1 'container not paused' resume "$ID"
}

@test "a created container is paused and is created again" {
	args true
	sm create -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/log" 2>&1
	sm pause "$ID"
	[ "$(status_of "$ID")" = paused ]
	fails 1 'cannot start a container in the paused state' start "$ID"
	sm resume "$ID"
	[ "$(status_of "$ID")" = created ]
	sm start "$ID"
	wait_gone "$ID"
}

@test "kill: SIGKILL ends a paused container, another signal waits for the resume" {
	args sh -c 'trap "exit 7" USR1; echo ready; while :; do sleep 0.05; done'
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run --keep -b "$BUNDLE" "$ID" < /dev/null \
		> "$BATS_TEST_TMPDIR/out" 3>&- &
	runner=$!
	eventually grep -q ready "$BATS_TEST_TMPDIR/out"
	sm pause "$ID"
	sm kill "$ID" USR1
	kill -WINCH "$runner"
	[ "$(status_of "$ID")" = paused ]
	sm resume "$ID"
	wait_status "$runner"
	[ "$status" -eq 7 ]
	sm delete "$ID"

	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/log" 2>&1
	sm pause "$ID"
	sm kill "$ID" KILL
	wait_gone "$ID"
	sm delete "$ID"
}

@test "delete --force of a paused container" {
	background
	sm pause "$ID"
	sm delete --force "$ID"
	fails 1 'does not exist' state "$ID"
}

@test "a foreground run and an exec live through a pause; exec --ignore-paused waits for its end" {
	args sh -c 'echo ready; read -r x; echo "got $x"; exit 4'
	mkfifo "$BATS_TEST_TMPDIR/in"
	sm run -b "$BUNDLE" "$ID" < "$BATS_TEST_TMPDIR/in" > "$BATS_TEST_TMPDIR/out" 3>&- &
	runner=$!
	exec 8> "$BATS_TEST_TMPDIR/in"
	eventually grep -q ready "$BATS_TEST_TMPDIR/out"
	sm exec "$ID" sh -c 'echo one; read -r x; echo two; exit 5' < /dev/null > "$BATS_TEST_TMPDIR/exec" 3>&- 8>&- &
	first=$!
	wait_status "$first"
	[ "$status" -eq 5 ]
	sm pause "$ID"
	sm exec --ignore-paused "$ID" sh -c 'echo late; exit 6' < /dev/null > "$BATS_TEST_TMPDIR/late" 3>&- 8>&- &
	second=$!
	echo word >&8
	exec 8>&-
	sleep 1
	kill -0 "$second"
	[ ! -s "$BATS_TEST_TMPDIR/late" ]
	[ "$(cat "$BATS_TEST_TMPDIR/out")" = ready ]
	sm resume "$ID"
	wait_status "$runner"
	[ "$status" -eq 4 ]
	[ "$(cat "$BATS_TEST_TMPDIR/out")" = $'ready\ngot word' ]
	wait_status "$second"
	# the container may have ended first
	[ "$status" -eq 6 ] || [ "$status" -eq 137 ] || [ "$status" -eq 255 ]
}

@test "SIGKILL of sm-vmm: the container has stopped, not paused" {
	background
	sm pause "$ID"
	kill -KILL "$(pid_of "$ID")"
	wait_gone "$ID"
	sm delete "$ID"
}

@test "the clock is right after a pause, and the guest has no complaint" {
	background
	sm pause "$ID"
	sleep 3
	sm resume "$ID"
	before=$(date +%s)
	there=$(sm exec "$ID" date +%s < /dev/null)
	after=$(date +%s)
	((there >= before - 1 && there <= after + 1))
	run grep -E 'soft lockup|rcu.*stall|hung' "$ROOT/$ID/console.log"
	[ "$status" -eq 1 ]
}
