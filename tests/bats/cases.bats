#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What programs see of their sockets: the cases of tests/net, natively and in a guest, a topic at a time. SM_NET_EVERY=N: every Nth.

load helpers
load net

setup_file() {
	export PREFIX ROOTFS	# each test is a process of its own
	ROOTFS=$("$SM_TOP/tests/make-rootfs" devel)	# it has python3
	namespace native
	namespace guest
}

teardown_file() { namespaces_gone; }

setup() {
	ROOT=$BATS_TEST_TMPDIR/state
	BUNDLE=$BATS_TEST_TMPDIR/bundle
	ID=t$$-$BATS_TEST_NUMBER
}

cases() {
	local native=$BATS_TEST_TMPDIR/native guest=$BATS_TEST_TMPDIR/guest job
	inside native python3 "$NET/run.py" "$1.*" > "$native" 3>&- &
	job=$!
	guest guest python3 /net/run.py "$1.*" > "$guest"
	wait_status "$job"
	[ "$status" -eq 0 ]
	[ "$(wc -l < "$native")" -eq "$(python3 "$NET/run.py" --list "$1.*" | wc -l)" ]
	python3 "$NET/compare.py" "$native" "$guest"
}

@test "cases: connect" { cases connect; }
@test "cases: listen" { cases listen; }
@test "cases: stream" { cases stream; }
@test "cases: close" { cases close; }
@test "cases: poll" { cases poll; }
@test "cases: options" { cases options; }
@test "cases: udp" { cases udp; }
@test "cases: icmp" { cases icmp; }
@test "cases: share" { cases share; }
@test "cases: errors" { cases errors; }
