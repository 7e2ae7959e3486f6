#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ps: the guest's processes as a table, the host's as JSON.

bats_require_minimum_version 1.5.0
load helpers

background() {
	args sh -c 'sleep 1001 & sleep 1002 & wait'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/log" 2>&1
	eventually sees ' sleep 1002$'
	eventually sees ' sleep 1001$'
}

sees() { sm ps "$ID" | grep -q "$1"; }
proxies() { [ "$(sm ps -f json "$ID" | jq length)" -eq "$1" ]; }

@test "the table: ps -ef of the container, with the pids that it sees" {
	background
	run --separate-stderr sm ps "$ID"
	[ "$status" -eq 0 ]
	[ "$stderr" = '' ]
	[[ ${lines[0]} =~ ^UID\ +PID\ +PPID\ +C\ STIME\ +TTY\ +TIME\ CMD$ ]]
	[[ ${lines[1]} =~ ^0\ +1\ +0\ +[0-9]+\ [0-9:]{5}\ \?\ +00:00:0[0-9]\ sh\ -c\ sleep ]]
	[[ ${lines[2]} =~ ^0\ +[0-9]+\ +1\ .*\ sleep\ 1001$ ]]
	[[ ${lines[3]} =~ ^0\ +[0-9]+\ +1\ .*\ sleep\ 1002$ ]]
	[ "${#lines[@]}" -eq 4 ]
	# what ps in the container calls them
	[ "$(sm ps "$ID" -o pid= | sort -n | tr -d ' ')" = "$(sm exec "$ID" sh -c '
		for d in /proc/[0-9]*; do p=${d##*/}; [ $p = $$ ] || echo $p; done' < /dev/null | sort -n | head -n 3)" ]
}

@test "the columns that are asked for, and what is refused" {
	background
	runsm ps "$ID" aux
	[ "$status" -eq 0 ]
	[[ ${lines[0]} =~ ^USER\ +PID\ +%CPU\ +%MEM\ +VSZ\ +RSS\ +TTY\ +STAT\ +START\ +TIME\ +COMMAND$ ]]
	runsm ps "$ID" -o pid,comm=NAME
	[ "${lines[0]}" = 'PID NAME' ]
	[ "${lines[1]}" = '  1 sh' ]
	runsm ps "$ID" -eo comm --no-headers
	[ "$output" = $'sh\nsleep\nsleep' ]
	runsm ps "$ID" -o wchan
	[ "$status" -eq 1 ]
	[[ $output == *'ps: no column \"wchan\" here; there are pid, ppid,'* ]]
	runsm ps "$ID" -C sh
	[ "$status" -eq 1 ]
	[[ $output == *'ps: option -C is not supported here'* ]]
	runsm ps -f xml "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'invalid format option'* ]]
}

@test "what a process calls itself does not reach the terminal as it is" {
	args sh -c $'sleep 1002\n: \e[31mz'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/log" 2>&1
	runsm ps "$ID"
	[ "$status" -eq 0 ]
	[[ $output == *'sh -c sleep 1002?: ?[31mz'* ]]
	[[ $output != *$'\e'* ]]
}

@test "json: sm-vmm and a proxy for each detached exec, QEMU not; paused too" {
	background
	pid=$(pid_of "$ID")
	[ "$(sm ps --format json "$ID")" = "[$pid]" ]
	sm exec -d --pid-file "$BATS_TEST_TMPDIR/pid" "$ID" sleep 1003 < /dev/null > "$BATS_TEST_TMPDIR/exec" 2>&1
	[ "$(sm ps --format json "$ID")" = "[$pid,$(cat "$BATS_TEST_TMPDIR/pid")]" ]
	sm pause "$ID"
	[ "$(sm ps --format json "$ID" | jq length)" -eq 2 ]
	runsm ps "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'cannot list the processes of a paused container'* ]]
	sm resume "$ID"
	kill -TERM "$(cat "$BATS_TEST_TMPDIR/pid")"
	eventually proxies 1
	sm kill "$ID" KILL
	wait_gone "$ID"
	[ "$(sm ps --format json "$ID")" = null ]
	[ "$(sm ps "$ID" | wc -l)" -eq 1 ]
	runsm ps nosuch
	[ "$status" -eq 1 ]
	[[ $output == *'container does not exist'* ]]
}

@test "many processes: all are shown, soon" {
	config '.linux.resources.pids.limit = 2000 | .process.args = ["sh", "-c", $text]' --arg text \
		'i=0; while [ $i -lt 300 ]; do sleep 1001 & i=$((i + 1)); done; echo ready > /ready; wait'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/log" 2>&1
	eventually [ -e "$BUNDLE/rootfs/ready" ]
	[ "$(sm ps "$ID" --no-headers -e | wc -l)" -eq 301 ]
}
