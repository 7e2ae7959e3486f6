#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What the host decides about a guest's sockets: where they are made, whom they may reach, at which
# ports.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	export SERVE=$BATS_FILE_TMPDIR/serve
	# A server at the address $1 and a free port, which $2 tells, in the namespace it is started in.
	cat > "$SERVE" <<-'END'
		import os, socket, sys
		s = socket.create_server((sys.argv[1], 0))
		with open(sys.argv[2] + ".new", "w") as f:
		    f.write(str(s.getsockname()[1]))
		os.rename(sys.argv[2] + ".new", sys.argv[2])
		while True:
		    c, peer = s.accept()
		    c.sendall(b"hello " + peer[0].encode() + b"\n")
		    c.close()
	END
}

teardown() {
	[ -z "${SERVER-}" ] || kill "$SERVER"
	leave_nothing
}

# ADDRESS COMMAND…: starts the server by the command; $PORT.
serve() {
	local address=$1 file=$BATS_TEST_TMPDIR/port
	shift
	"$@" python3 "$SERVE" "$address" "$file" 3>&- > /dev/null 2>&1 &
	SERVER=$!
	eventually test -s "$file"
	PORT=$(cat "$file")
}

stop_server() {
	kill "$SERVER"
	SERVER=
	rm "$BATS_TEST_TMPDIR/port"
}

in_netns() { nsenter -t "$(pid_of "$ID")" -n "$@"; }

run_sleeper() {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/out" 2>&1
}

# PORT [ADDRESS]: what the container gets from there.
get() { sm exec "$ID" sh -c 'nc "$0" "$1" < /dev/null' "${2-127.0.0.1}" "$1" 2>&1; }

host_netns() { config '.linux.namespaces |= map(select(.type != "network"))'; }

@test "a container reaches the network of its own namespace, and not the host's" {
	serve 127.0.0.1 env
	run_sleeper
	run get "$PORT"
	[[ $output == *'Connection refused'* ]]
	stop_server
	serve 127.0.0.1 in_netns
	[ "$(get "$PORT")" = 'hello 127.0.0.1' ]
}

@test "in the host's namespace it reaches the host's network" {
	host_netns
	serve 127.0.0.1 env
	run_sleeper
	[ "$(get "$PORT")" = 'hello 127.0.0.1' ]
	# for ports below 1024 alone
	[ "$(awk '/^CapEff/ { print $2 }' "/proc/$(pid_of "$ID")/status")" = 0000000000000400 ]
}

@test "without a network there is nothing but the guest's own loopback" {
	host_netns
	config '.annotations = {"supermachine.io/network": "none"}'
	serve 127.0.0.1 env
	run_sleeper
	run get "$PORT"
	[[ $output == *'Connection refused'* ]]
	run -0 sm exec "$ID" sh -c 'echo own | nc -l -p 80 &
		until nc 127.0.0.1 80 < /dev/null 2> /dev/null; do sleep 0.05; done'
	[ "$output" = own ]
}

@test "the policy: refused with EACCES, whatever the spelling, and told in the log" {
	host_netns
	serve 127.0.0.1 env
	config '.annotations = {"supermachine.io/network-policy": $rules}' --arg rules "deny 127.0.0.0/8:$PORT tcp"
	run_sleeper
	run get "$PORT"
	[[ $output == *'Permission denied'* ]]
	run get "$PORT" 0.0.0.0
	[[ $output == *'Permission denied'* ]]
	grep -F "network policy: to 127.0.0.1:$PORT tcp denied" "$ROOT/$ID/vmm.log"
}

@test "a policy that makes no sense fails the start with its text" {
	config '.annotations = {"supermachine.io/network-policy": "deny everybody"}'
	args true
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'network: rule '*'deny everybody'*': no address such as 10.0.0.0/8:80-90 or [fd00::]/8:80'* ]]
}

fetch() {
	in_netns python3 -c 'import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode(), end="")' "$1" 2> /dev/null
}

@test "the port map: the container listens at its port, the namespace at another" {
	config '.annotations = {"supermachine.io/ports": "8080:80/tcp"}'
	args sh -c 'echo mapped > /tmp/x; httpd -f -p 80 -h /tmp'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/out" 2>&1
	eventually fetch http://127.0.0.1:8080/x
	[ "$(fetch http://127.0.0.1:8080/x)" = mapped ]
	run ! fetch http://127.0.0.1:80/x
	[ "$(sm exec "$ID" wget -q -O - http://127.0.0.1:80/x)" = mapped ]
}
