#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# sm-tls, with a program in the place of the container.

bats_require_minimum_version 1.5.0
load helpers

certificate() { # name of the files, name in it
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$2" \
		-addext "subjectAltName=DNS:$2" -keyout "$T/$1.key" -out "$T/$1.pem" 2> /dev/null
	chmod 600 "$T/$1.key"
}

setup() {
	T=$BATS_TEST_TMPDIR
	guest='' front=''
	certificate one localhost
}

teardown() {
	[ -z "$front" ] || kill "$front"
	[ -z "$guest" ] || kill "$guest"
}

start_guest() {
	python3 "$BATS_TEST_DIRNAME/tls_peers.py" guest "$T/vsock.sock" > "$T/guest" 3>&- &
	guest=$!
	eventually grep -q ready "$T/guest"
}

start_front() {
	: > "$T/log"
	"$SM_BUILD_DIR/sm-tls" --listen 127.0.0.1:0 --certificate "$T/one.pem" --key "$T/one.key" \
		--socket "$T/vsock.sock" "$@" 2>> "$T/log" 3>&- &
	front=$!
	eventually grep -q 'listening at' "$T/log"
	port=$(sed -n 's/.*listening at 127.0.0.1 port \([0-9]*\).*/\1/p' "$T/log")
}

client() { python3 "$BATS_TEST_DIRNAME/tls_peers.py" "$1" "$port" "${2:-$T/one.pem}"; }

# Clock ticks that sm-tls has used.
ticks() { awk '{print $14 + $15}' "/proc/$front/stat"; }
rests() { # what it has still to do for a client that has come may fall into the first seconds
	local before
	before=$(ticks)
	sleep 2
	[ $(($(ticks) - before)) -le 5 ]
}
fds() { find "/proc/$front/fd" -mindepth 1 | wc -l; }

@test "bytes both ways, ends, versions, protocols; nothing is left open" {
	start_guest
	start_front --port 80
	client peer
	before=$(fds)
	client versions
	client bulk
	client half
	client leave
	is_back() { [ "$(fds)" -le "$before" ]; }
	eventually is_back
}

@test "the certificate for the name" {
	certificate two other.example
	certificate three '*.wild.example'
	cat "$T"/*.pem > "$T/all"
	start_guest
	start_front -c "$T/two.pem" -k "$T/two.key" -c "$T/three.pem" -k "$T/three.key"
	client sni "$T/all"
}

@test "SIGHUP reads the certificates again, and keeps the old ones if they are none" {
	start_guest
	start_front
	python3 "$BATS_TEST_DIRNAME/tls_peers.py" across "$port" "$T/one.pem" "$front" "$T/log"
	: > "$T/log"
	[ "$(client serial)" = "$(cat "$T/one.pem")" ]
	cp "$T/one.pem" "$T/old"
	certificate one localhost
	[ "$(client serial)" = "$(cat "$T/old")" ]
	kill -HUP "$front"
	eventually grep -q 'certificates reloaded' "$T/log"
	[ "$(client serial)" = "$(cat "$T/one.pem")" ]
	cp "$T/one.pem" "$T/old"
	echo nonsense > "$T/one.pem"
	kill -HUP "$front"
	eventually grep -q 'going on with the old certificates' "$T/log"
	[ "$(client serial "$T/old")" = "$(cat "$T/old")" ]
}

@test "a container that does not listen, and none at all" {
	start_guest
	start_front --port 81
	client refused
	grep -q 'port 81: ERROR the guest does not listen there' "$T/log"
	kill "$guest"
	wait "$guest" || true
	guest=''
	rm "$T/vsock.sock"
	client refused
}

@test "time limits: handshakes, a container that does not answer, idle clients; limits: clients" {
	start_guest
	start_front --handshake-timeout 300ms
	client silent
	kill "$front"
	start_front --idle-timeout 300ms
	client idle
	kill "$front"
	start_front --port 82 --handshake-timeout 300ms
	client refused
	kill "$front"
	start_front --connections 2
	client many
}

@test "who waits does not use the CPU" {
	start_guest
	start_front --handshake-timeout 60s
	python3 "$BATS_TEST_DIRNAME/tls_peers.py" idle "$port" "$T/one.pem" 3>&- & # stalls on both sides
	waiting=$!
	exec 7<> "/dev/tcp/127.0.0.1/$port"
	printf 'G' >&7
	eventually grep -q stalled "$T/guest"
	eventually rests
	exec 7>&-
	kill "$waiting"
}

@test "privileges are gone; what makes no sense is refused" {
	start_guest
	start_front
	[ "$(grep -E '^Cap(Eff|Prm)' "/proc/$front/status" | sort -u | awk '{print $2}' | sort -u)" = 0000000000000000 ]
	grep -q '^NoNewPrivs:.1' "/proc/$front/status"
	grep -q '^Seccomp:.2' "/proc/$front/status"
	calls=$("$SM_BUILD_DIR/sm-tls" --print-seccomp)
	[ "$(LC_ALL=C sort -u <<< "$calls")" = "$calls" ]
	[ "$(wc -l <<< "$calls")" -le 32 ]
	run ! grep -E 'exec|clone|fork|bind|listen|unlink|ptrace' <<< "$calls"
	refused() {
		run "$SM_BUILD_DIR/sm-tls" --listen 127.0.0.1:0 --socket "$T/vsock.sock" "${@:2}"
		[ "$status" -eq 1 ]
		[[ $output == *"$1"\" ]] || { echo "$output" && false; }
	}
	refused '--listen, --certificate, --key and --socket must be given (see --help)'
	refused 'there must be a --key for each --certificate' -c "$T/one.pem"
	refused '--port 0: must be 1 to 65535, or *' -c "$T/one.pem" -k "$T/one.key" -p 0
	refused "$T/none: no such file or directory" -c "$T/none" -k "$T/one.key"
	refused '--listen here: must be ADDRESS:PORT, such as 192.0.2.1:443, [::]:443 or :443' \
		-c "$T/one.pem" -k "$T/one.key" -l here
	certificate two localhost
	refused "$T/two.key: key values mismatch" -c "$T/one.pem" -k "$T/two.key"
	openssl ec -in "$T/two.key" -aes128 -passout pass:x -out "$T/locked.key" 2> /dev/null
	run "$SM_BUILD_DIR/sm-tls" -l 127.0.0.1:0 -s "$T/s" -c "$T/two.pem" -k "$T/locked.key"
	[ "$status" -eq 1 ]
}
