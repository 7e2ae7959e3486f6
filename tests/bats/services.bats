#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Ways between programs of the host and the guest: the socket vsock.sock, vsock-ports, the environment.

load helpers


# One client of the container's socket: sends standard input, prints the answer.
client() {
	python3 -c '
import os, socket, sys
os.chdir(sys.argv[1])
s = socket.socket(socket.AF_UNIX)
s.connect("vsock.sock")
s.settimeout(120)
s.sendall(sys.stdin.buffer.read())
if sys.argv[2] == "half":
    s.shutdown(socket.SHUT_WR)
while d := s.recv(65536):
    sys.stdout.buffer.write(d)
' "$ROOT/$ID" "${1:-}"
}

@test "CONNECT gets to a listener of the guest" {
	cp "$SM_BUILD_DIR/vsock-guest" "$BUNDLE/rootfs/bin/vsock"
	args sh -c 'vsock listen 5000 > /tmp/got 2> /tmp/err'
	sm run -d --keep -b "$BUNDLE" "$ID" < /dev/null > /dev/null
	[ "$(stat -c %a "$ROOT/$ID/vsock.sock")" = 600 ]
	eventually grep -q ready "$BUNDLE/rootfs/tmp/err"
	head -c 300000 /dev/urandom > "$BATS_TEST_TMPDIR/data"
	answer=$({ echo "CONNECT 5000" && cat "$BATS_TEST_TMPDIR/data"; } | client half)
	[[ $answer =~ ^OK\ [0-9]+ ]]
	[ "${answer#*$'\n'}" = 'got 300000' ]
	wait_gone "$ID"
	cmp "$BATS_TEST_TMPDIR/data" "$BUNDLE/rootfs/tmp/got"
}

@test "CONNECT to a port without a listener, and lines that are none" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null
	[ -z "$(echo "CONNECT 5000" | client)" ]
	[ "$(echo "HELLO" | client)" = "ERROR must be CONNECT or ACCEPT" ]
	[ "$(echo "ACCEPT 80" | client)" = "ERROR no descriptor came along" ]
	sm kill "$ID" KILL
	wait_gone "$ID"
}

@test "vsock-ports: the guest's connect is one to a socket of the host" {
	cp "$SM_BUILD_DIR/vsock-guest" "$BUNDLE/rootfs/bin/vsock"
	# shellcheck disable=SC2016
	args sh -c 'echo hello | vsock connect 9000; vsock connect 9001 2>&1 < /dev/null; echo "status $?"'
	config '.annotations["supermachine.io/vsock-ports"] = $path' --arg path "9000=$BATS_TEST_TMPDIR/server"
	python3 -c '
import socket, sys
l = socket.socket(socket.AF_UNIX)
l.bind(sys.argv[1])
l.listen()
print("ready", flush=True)
s, _ = l.accept()
data = s.makefile("rb").read()
s.sendall(b"the host got " + data)
' "$BATS_TEST_TMPDIR/server" > "$BATS_TEST_TMPDIR/ready" 3>&- &
	server=$!
	eventually grep -q ready "$BATS_TEST_TMPDIR/ready"
	sm run -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/out"
	wait_status "$server"
	[ "$(cat "$BATS_TEST_TMPDIR/out")" = $'the host got hello\nconnect: Connection reset by peer\nstatus 1' ]
}

@test "the environment and the secrets, once" {
	cp "$SM_BUILD_DIR/vsock-guest" "$BUNDLE/rootfs/bin/vsock"
	args sh -c 'vsock connect 1026 < /dev/null; echo; vsock connect 1026 2>&1 < /dev/null; echo end'
	echo '{"TOKEN": "s3cr3t \u00e9"}' > "$BATS_TEST_TMPDIR/secrets"
	chmod 600 "$BATS_TEST_TMPDIR/secrets"
	config '.annotations["supermachine.io/environment"] = "{\"A\": \"b\"}" |
		.annotations["supermachine.io/secrets-file"] = $path' --arg path "$BATS_TEST_TMPDIR/secrets"
	sm run --keep -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/out"
	[ "$(head -n 1 "$BATS_TEST_TMPDIR/out")" = '{"env":{"A":"b"},"secrets":{"TOKEN":"s3cr3t é"}}' ]
	[ "$(tail -n 2 "$BATS_TEST_TMPDIR/out")" = $'connect: Connection reset by peer\nend' ]
	count=$(grep -rc s3cr3t "$ROOT" | grep -vc ':0$') || true
	[ "$count" -eq 0 ]
}

@test "annotations that make no sense" {
	refused() { # the end of the message
		runsm create -b "$BUNDLE" "$ID"
		[ "$status" -eq 1 ]
		[[ $output == *"$1"\" ]] || { echo "$output" && false; }
	}
	key=supermachine.io/vsock-ports
	while read -r value message; do
		config '.annotations = {($key): $value}' --arg key "$key" --arg value "$value"
		refused "$message"
	done <<- 'EOF'
		x=/a must be PORT=SOCKET
		1 must be PORT=SOCKET
		0=/a the port must be 1 to 1048575
		1048576=/a the port must be 1 to 1048575
		1026=/a 620, 1025 and 1026 are taken
		5=a the path of the socket must be absolute
		5=/nowhere /nowhere: no such file or directory
		5=/dev/null /dev/null: is not a socket
	EOF
	key=supermachine.io/secrets-file
	echo 'root:x:0:0' > "$BATS_TEST_TMPDIR/secrets"
	config '.annotations = {($key): $value}' --arg key "$key" --arg value "$BATS_TEST_TMPDIR/secrets"
	chmod 644 "$BATS_TEST_TMPDIR/secrets"
	refused 'must belong to who runs this, and be closed to all others (chmod 600)'
	chmod 600 "$BATS_TEST_TMPDIR/secrets"
	refused "annotation $key: $BATS_TEST_TMPDIR/secrets: must be a JSON object of strings"
	key=supermachine.io/environment
	config '.annotations = {($key): "{\"A\": 1}"}' --arg key "$key"
	refused "annotation $key: A: must be a string, not a number"
}

@test "ports of a container that listens nowhere" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null
	[ "$(sm ports -f json "$ID")" = '[]' ]
	[ "$(sm ports "$ID")" = 'PROTOCOL  ADDRESS  PORT   HOST PORT  BACKLOG  ACCEPTED' ]
	runsm ports -f yaml "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'invalid format option'* ]]
	sm kill "$ID" KILL
	wait_gone "$ID"
	[ "$(sm ports -f json "$ID")" = '[]' ]
}

# A container with a web server at port 80.
start_web() {
	mkdir "$BUNDLE/rootfs/www"
	head -c 3000000 /dev/urandom > "$BUNDLE/rootfs/www/data"
	args sh -c 'httpd -f -v -p 80 -h /www 2> /tmp/log & sleep 1000'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null
	listens() { [ "$(sm ports -f json "$ID" | jq -r '.[].port')" = 80 ]; }
	eventually listens
}

stop_web() {
	sm kill "$ID" KILL
	wait_gone "$ID"
}

@test "ports; ACCEPT hands a connection, and what was read from it, to the guest's listener" {
	start_web
	[ "$(sm ports -f json "$ID" | jq -c '.[] | [.protocol, .hostPort, .accepted]')" = '["tcp",80,0]' ]
	run python3 - "$ROOT/$ID" <<- 'EOF'
		import os, socket, sys
		os.chdir(sys.argv[1])
		for port in (b"80", b"*"):
		    listener = socket.create_server(("127.0.0.1", 0))
		    client = socket.create_connection(listener.getsockname())
		    conn, peer = listener.accept()
		    client.sendall(b"GET /data HT")
		    first = conn.recv(10)
		    vsock = socket.socket(socket.AF_UNIX)
		    vsock.connect("vsock.sock")
		    line = b"ACCEPT %s %d 192.0.2.7:4711\n" % (port, len(first))
		    socket.send_fds(vsock, [line + first], [conn.fileno()])
		    assert vsock.recv(100) == b"OK\n"
		    conn.close()
		    client.sendall(b"TP/1.0\r\n\r\n")
		    data = b""
		    while more := client.recv(65536):
		        data += more
		    assert data.split(b"\r\n\r\n", 1)[1] == open(sys.argv[1] + "/../../bundle/rootfs/www/data", "rb").read()
		    vsock.close()
	EOF
	[ "$status" -eq 0 ] || { echo "$output" && false; }
	[ "$(sm ports -f json "$ID" | jq '.[].accepted')" = 2 ]
	grep -q '192.0.2.7\]:4711: response:200' "$BUNDLE/rootfs/tmp/log"
	echo "ACCEPT 81" | client > "$BATS_TEST_TMPDIR/out"
	[ "$(cat "$BATS_TEST_TMPDIR/out")" = 'ERROR no descriptor came along' ]
	stop_web
}

@test "sm-tls in front of a container" {
	start_web
	cd "$BATS_TEST_TMPDIR"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
		-addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem 2> /dev/null
	chmod 600 key.pem
	"$SM_BUILD_DIR/sm-tls" -l 127.0.0.1:0 -c cert.pem -k key.pem -s "$ROOT/$ID/vsock.sock" -p 80 2> log 3>&- &
	front=$!
	eventually grep -q 'listening at' log
	port=$(sed -n 's/.* port \([0-9]*\).*/\1/p' log)
	for _ in 1 2 3; do
		python3 -c 'import ssl, sys, urllib.request as u
context = ssl.create_default_context(cafile="cert.pem")
sys.stdout.buffer.write(u.urlopen(sys.argv[1], context=context, timeout=300).read())' \
			"https://localhost:$port/data" > data
		cmp data "$BUNDLE/rootfs/www/data"
	done
	kill "$front"
	stop_web
}
