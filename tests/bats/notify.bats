#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# NOTIFY_SOCKET: what the container says on its own socket reaches the caller's, as with runc. The container's
# program is python3's on the host for the socket calls, so its root has the host's directories.

bats_require_minimum_version 1.5.0
load helpers

setup() {
	ROOT=$BATS_TEST_TMPDIR/state
	BUNDLE=$BATS_TEST_TMPDIR/bundle
	ID=n$$-$BATS_TEST_NUMBER
	T=$BATS_TEST_TMPDIR
	listener='' runner=''
	unset NOTIFY_SOCKET
	make_bundle "$BUNDLE" true
	for dir in usr lib lib64; do
		[ ! -d "/$dir" ] || config '.mounts += [{destination: $d, type: "bind", source: $d,
			options: ["rbind", "ro"]}]' --arg d "/$dir"
	done
	mkdir "$BUNDLE/shared"
	config '.mounts += [{destination: "/shared", type: "bind", source: "shared", options: ["bind"]}]'
}

teardown() {
	local left c
	[ -z "$listener" ] || kill "$listener"
	if [ -d "$ROOT" ]; then
		for c in $(sm list -q); do sm delete --force "$c"; done
	fi
	left=$(leftovers)
	[ -z "$left" ] || { echo "left behind: $left" && false; }
}

# listen ADDRESS [hold]: in $T/said what comes.
listen() {
	mkfifo "$T/go"
	exec 8<> "$T/go"
	python3 "$BATS_TEST_DIRNAME/notify_host.py" "$@" <&8 > "$T/said" 3>&- &
	listener=$!
	eventually grep -q listening "$T/said"
	export NOTIFY_SOCKET=$1
}

# The container's program: waits for each of the files /shared/1, 2 … and then sends the next datagram.
says() {
	args python3 -c '
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
for i, text in enumerate(sys.argv[1:], 1):
    while not os.path.exists(f"/shared/{i}"):
        time.sleep(0.02)
    s.send(text.replace("/", "\n").encode())
    open(f"/shared/{i}.sent", "w").close()
while not os.path.exists("/shared/end"):
    time.sleep(0.02)
' "$@"
}

step() { touch "$BUNDLE/shared/$1"; }
sent() { [ -e "$BUNDLE/shared/$1.sent" ]; }
said() { tail -n +2 "$T/said" | paste -sd' '; }
has_said() { [ "$(said)" = "$1" ]; }

@test "start waits for READY=1, and passes it on with the pid; nothing else" {
	listen "$T/host.sock"
	says STATUS=begin EXTEND_TIMEOUT_USEC=1 STATUS=now/READY=1/X=y READY=1
	sm create -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&-
	sm start "$ID" 3>&- &
	runner=$!
	step 1
	eventually sent 1
	step 2
	eventually sent 2
	[ "$(said)" = '' ]
	[ "$(sm state "$ID" | jq -r .status)" = running ]
	kill -0 "$runner"
	vmm=$(pid_of "$ID")
	step 3
	wait_status "$runner"
	[ "$status" -eq 0 ]
	[ "$(said)" = "READY=1/ MAINPID=$vmm/ BARRIER=1" ]
	step 4
	eventually sent 4
	[ "$(said)" = "READY=1/ MAINPID=$vmm/ BARRIER=1" ]
	sm delete --force "$ID"
}

@test "start returns when what it said was taken" {
	listen "$T/host.sock" hold
	says READY=1
	step 1
	sm create -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&-
	sm start "$ID" 3>&- &
	runner=$!
	eventually grep -q BARRIER "$T/said"
	kill -0 "$runner"
	echo >&8
	wait_status "$runner"
	[ "$status" -eq 0 ]
}

@test "run -d, to an abstract socket" {
	listen "@sm-$ID"
	says READY=1
	step 1
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&-
	[ "$(said)" = "READY=1/ MAINPID=$(pid_of "$ID")/ BARRIER=1" ]
}

# No signal is left that it has not taken; also when it is gone.
heard() { ! grep -q '^S[a-z]*Pnd:.*[1-9a-f]' "/proc/$runner/status" 2> /dev/null; }

@test "run -d: signals neither end the wait nor the container" {
	listen "$T/host.sock"
	says READY=1
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&- &
	runner=$!
	running() { [ "$(status_of "$ID")" = running ]; }
	eventually running
	for signal in TERM HUP USR1; do
		kill "-$signal" "$runner"
		eventually heard
	done
	[ "$(said)" = '' ]
	step 1
	wait_status "$runner"
	[ "$status" -eq 0 ]
	[ "$(said)" = "READY=1/ MAINPID=$(pid_of "$ID")/ BARRIER=1" ]
	[ "$(status_of "$ID")" = running ]
}

@test "run: the caller's process is sm-runtime" {
	listen "$T/host.sock"
	says READY=1
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&- &
	runner=$!
	step 1
	eventually has_said "READY=1/ MAINPID=$runner/"
	step end
	wait_status "$runner"
	[ "$status" -eq 0 ]
}

@test "a container that ends without it, is killed or deleted meanwhile: nothing is said" {
	listen "$T/host.sock"
	says STOPPING=1
	step 1
	step end
	sm create -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&-
	sm start "$ID"
	wait_gone "$ID"
	sm delete "$ID"
	rm "$BUNDLE"/shared/*
	for how in kill delete; do
		sm run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&- &
		runner=$!
		step 1
		eventually sent 1
		if [ "$how" = kill ]; then sm kill "$ID" KILL; else sm delete --force "$ID"; fi
		wait_status "$runner"
		[ "$status" -eq 0 ]
		sm delete --force "$ID"
		rm -f "$BUNDLE"/shared/*
	done
	[ "$(said)" = '' ]
}

@test "the socket in the container: where, what for, for whom" {
	listen "$T/host.sock"
	args sh -c 'echo $NOTIFY_SOCKET; awk "\$2 == \"/run/notify\" { print \$4 }" /proc/mounts |
		tr , "\n" | grep -xE "ro|nosuid|nodev|noexec" | wc -l; stat -c %a /run/notify /run/notify/*; touch /run/notify/x'
	config '.root.readonly = true | .process.env += ["NOTIFY_SOCKET=/none"]'
	runsm run -b "$BUNDLE" "$ID"
	[ "${lines[0]}" = /run/notify/notify.sock ]
	[ "${lines[1]}" = 4 ]
	[ "${lines[2]} ${lines[3]}" = '755 777' ]
	[[ ${lines[4]} == *'Read-only file system' ]]
	# another user than root
	says READY=1
	step 1
	config '.process.user = {uid: 1000, gid: 1000} | .root.readonly = false'
	chmod 777 "$BUNDLE/shared"
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&-
	[ "$(said)" = "READY=1/ MAINPID=$(pid_of "$ID")/ BARRIER=1" ]
}

@test "without NOTIFY_SOCKET there is none; one where nobody listens, or of another kind" {
	args sh -c 'echo "[$NOTIFY_SOCKET]"; test ! -e /run/notify'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 0 ]
	[ "$output" = '[]' ]
	says READY=1
	step 1
	export NOTIFY_SOCKET=$T/nobody
	sm create -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&-
	runsm start "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *"NOTIFY_SOCKET \\\"$T/nobody\\\": no such file or directory"* ]]
	[ "$(status_of "$ID")" = running ]
	sm delete --force "$ID"
	export NOTIFY_SOCKET=vsock:2:1
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null 2> "$T/err" 3>&-
	grep -q "$ID: is ready, but nobody could be told: NOTIFY_SOCKET .*vsock:2:1.*: address family not supported by protocol" "$T/err"
	sm delete --force "$ID"
	# start alone has one
	unset NOTIFY_SOCKET
	args sleep 1000
	sm create -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&-
	NOTIFY_SOCKET=$T/nobody sm start "$ID"
	[ "$(status_of "$ID")" = running ]
}
