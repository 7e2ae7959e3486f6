#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Containers under a kernel of libkrunfw, on kvm: another vsock driver, and sockets that speak the base dialect of TSI.
# By itself: SM_KRUNFW=$(tests/make-krunfw) && export SM_KRUNFW && tests/kvm/run -a "$SM_KRUNFW" tests/kvm/krunfw.bats

load ../bats/helpers

setup_file() {
	[ -n "${SM_KRUNFW-}" ] || skip "no libkrunfw here: ${SM_KRUNFW_WHY:-SM_KRUNFW names none (tests/make-krunfw)}"
	export NS=smk$$ DEVEL SUPERMACHINE_CONFIG=$BATS_FILE_TMPDIR/config.json
	DEVEL=$("$SM_TOP/tests/make-rootfs" devel)
	jq -n --arg kernel "$SM_KRUNFW" '{hypervisor: "kvm", vcpus: 1, $kernel}' > "$SUPERMACHINE_CONFIG"
	ip netns add "$NS"
	ip -n "$NS" link set lo up
	ip -n "$NS" addr add 192.0.2.1/24 dev lo
	ip -n "$NS" addr add 2001:db8::1/64 dev lo nodad
	ip netns exec "$NS" python3 "$BATS_TEST_DIRNAME/krunfw.py" peer > "$BATS_FILE_TMPDIR/peer" 2>&1 < /dev/null 3>&- &
	echo $! > "$BATS_FILE_TMPDIR/peer.pid"
	eventually grep -q ready "$BATS_FILE_TMPDIR/peer"
}

teardown_file() {
	[ -s "$BATS_FILE_TMPDIR/peer.pid" ] || return 0
	kill "$(cat "$BATS_FILE_TMPDIR/peer.pid")"
	ip netns del "$NS"
}

# A container in the namespace that waits for exec.
start() {
	args sleep 10000
	config '(.linux.namespaces[] | select(.type == "network")).path = $ns | .root = {path: $root, readonly: true} |
		.mounts += [{destination: "/t", type: "bind", source: $t, options: ["rbind", "ro"]},
			{destination: "/w", type: "bind", source: $w, options: ["rbind"]}] |
		.annotations = {"supermachine.io/ports": "8080:80/tcp", "supermachine.io/network-policy": "deny 192.0.2.1:7999 tcp"}' \
		--arg ns "/run/netns/$NS" --arg root "$DEVEL" --arg t "$BATS_TEST_DIRNAME" --arg w "$BATS_TEST_TMPDIR"
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/out" 2>&1
}

in_guest() { sm exec "$ID" "$@" < /dev/null; }
guest() { in_guest python3 /t/krunfw.py "$@"; }
native() { ip netns exec "$NS" python3 "$BATS_TEST_DIRNAME/krunfw.py" "$@"; }
not() { ! "$@"; }

# Runs a server in the container, with what it says in $BATS_TEST_TMPDIR/$1.
serve() {
	guest serve "$2" > "$BATS_TEST_TMPDIR/$1" 2>&1 3>&- &
	eventually grep -q ready "$BATS_TEST_TMPDIR/$1"
}

@test "libkrunfw: the agent: exec, standard input, files, signals" {
	start
	[[ $(in_guest uname -r) == 6.12.* ]]
	[ "$(seq 100000 | sm exec "$ID" sh -c 'tee /w/numbers | sha256sum')" = "$(seq 100000 | sha256sum)" ]
	[ "$(sha256sum < "$BATS_TEST_TMPDIR/numbers")" = "$(seq 100000 | sha256sum)" ]
	run in_guest sh -c 'ln -s x /w/link && mkdir /w/dir && mv /w/numbers /w/dir && exit 7'
	[ "$status" -eq 7 ]
	[ "$(readlink "$BATS_TEST_TMPDIR/link")" = x ]
	sm kill "$ID" KILL
	wait_gone "$ID"
}

@test "libkrunfw: TCP and UDP to the network: names, errors, half close, bulk both ways, many at once" {
	start
	guest out > "$BATS_TEST_TMPDIR/got"
	# Where the data is empty libkrunfw leaves an address of vsock in the place of the name.
	diff - "$BATS_TEST_TMPDIR/got" <<-'END'
		connected 192.0.2.1 ('192.0.2.1', 7000)
		refused Connection refused
		to True
		from True
		connected 2001:db8::1 ('2001:db8::1', 7000)
		refused Connection refused
		to True
		from True
		no route Network is unreachable
		denied Permission denied
		again Connection refused None ('192.0.2.1', 7000)
		empty Resource temporarily unavailable
		at once 20
		sendto 3 True ('192.0.2.1', 7001)
		sendto 0 True 
		sendto 3000 True ('192.0.2.1', 7001)
		sendto 60000 60000 from 192.0.2.1 ('192.0.2.1', 7001)
		connected b'one' b'two' ('192.0.2.1', 7001)
		sendto 3 True ('2001:db8::1', 7001)
		sendto 0 True 
		sendto 3000 True ('2001:db8::1', 7001)
		sendto 60000 60000 from 2001:db8::1 ('2001:db8::1', 7001)
		connected b'one' b'two' ('2001:db8::1', 7001)
	END
}

# Gives the container a connection that was accepted here.
hand_over() {
	python3 - "$ROOT/$ID" <<-'END'
		import os, socket, sys
		os.chdir(sys.argv[1])
		l = socket.create_server(("127.0.0.1", 0))
		c = socket.create_connection(l.getsockname())
		conn, _ = l.accept()
		v = socket.socket(socket.AF_UNIX)
		v.connect("vsock.sock")
		first = b"name\n"
		socket.send_fds(v, [b"ACCEPT 80 %d\n" % len(first) + first], [conn.fileno()])
		print(v.recv(100).decode().strip(), c.recv(100).decode().split()[0])
	END
}

sockets() { find "/proc/$(pid_of "$ID")/fd" -lname 'socket:*' | wc -l; }
in_netns() { ip netns exec "$NS" "$@"; }

@test "libkrunfw: TCP from the network: the port map, both families, names, bulk, a server that is started again" {
	start
	before=$(sockets)
	serve first 80
	for host in 192.0.2.1 2001:db8::1 127.0.0.1; do
		[[ $(native ask "$host" 8080 name) == "$host "* ]]
	done
	[ "$(native check 192.0.2.1 8080 1500000)" = $'to True\nfrom True' ]
	[ "$(native many 192.0.2.1 8080 20)" = 'at once 20' ]
	[ "$(hand_over)" = 'OK 127.0.0.1' ]
	# The guest closes first: TIME_WAIT is the namespace's.
	[ "$(native ask 192.0.2.1 8080 first)" = bye ]
	[ "$(grep -c 'accepted True 192.0.2.1' "$BATS_TEST_TMPDIR/first")" -eq 24 ]
	[ "$(grep -c 'accepted True 2001:db8::1' "$BATS_TEST_TMPDIR/first")" -eq 1 ]
	in_guest pkill -f 'krunfw.py serve'
	left() { [ "$(sockets)" -gt "$before" ]; }
	eventually not left
	[ -n "$(in_netns ss -Htan state time-wait '( sport = :8080 )')" ]
	serve second 80
	[ "$(native ask 192.0.2.1 8080 first)" = bye ]
	# From the container itself, at its own port.
	[ "$(guest ask 127.0.0.1 80 first)" = bye ]
}
