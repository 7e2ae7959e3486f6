#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The network of a container: load, namespaces, policy, programs of Debian. tests/net's cases are in cases.bats.

bats_require_minimum_version 1.5.0
load helpers
load net

setup_file() {
	export PREFIX ROOTFS	# each test is a process of its own
	ROOTFS=$("$SM_TOP/tests/make-rootfs" net)
	namespace native
	namespace guest
	ip netns exec "$PREFIX-guest" python3 "$NET/load.py" server 7100 > "$BATS_FILE_TMPDIR/load" 2>&1 < /dev/null 3>&- &
	echo $! > "$BATS_FILE_TMPDIR/load.pid"
	eventually grep -q ready "$BATS_FILE_TMPDIR/load"
}

teardown_file() {
	kill "$(cat "$BATS_FILE_TMPDIR/load.pid")"
	namespaces_gone
}

setup() {
	ROOT=$BATS_TEST_TMPDIR/state
	BUNDLE=$BATS_TEST_TMPDIR/bundle
	ID=t$$-$BATS_TEST_NUMBER
}

teardown() {
	local status=0
	no_complaints || status=1
	leave_nothing
	return "$status"
}

# Starts a container in the background: start NAME NS CMD…; what it writes is in $BATS_TEST_TMPDIR/NAME.out.
start() {
	local name=$1
	debian_bundle "$BATS_TEST_TMPDIR/$name" "${@:2}"
	sm run -d --bundle "$BATS_TEST_TMPDIR/$name" "$ID-$name" > "$BATS_TEST_TMPDIR/$name.out" 2>&1 < /dev/null
}

in_guest() { sm exec "$ID-$1" "${@:2}" < /dev/null; }
wrote() { grep -q "$2" "$BATS_TEST_TMPDIR/$1.out"; }
vmm_fds() { find "/proc/$(pid_of "$1")/fd" -mindepth 1 | wc -l; }
# KiB of anonymous memory, but for the guest's.
vmm_memory() {
	awk '/^Size:/ { small = $2 < 131072 } /^Anonymous:/ && small { sum += $2 } END { print sum }' "/proc/$(pid_of "$1")/smaps"
}

# ---- load; the sizes of the acceptance are 10000 streams, 100000 connections and 1024 MiB

STREAMS=${SM_NET_STREAMS:-1000}
SHORT=${SM_NET_SHORT:-1000}
BULK=$((${SM_NET_BULK_MIB:-32} << 20))

# A load of size $1, to have what grows once; then one of size $2, after which everything is as it was:
# load_and_back SIZE SIZE COMMAND…
load_and_back() {
	local first=$1 size=$2 sockets fds before after
	shift 2
	sockets=$(vmm_sockets "$ID-a")
	"$@" "$first"
	eventually sockets_are "$sockets"
	fds=$(vmm_fds "$ID-a") before=$(vmm_memory "$ID-a")
	"$@" "$size"
	eventually sockets_are "$sockets"
	eventually fds_are "$fds"
	after=$(vmm_memory "$ID-a")
	echo "descriptors $fds, sockets $sockets; anonymous memory $before KiB before, $after KiB after"
	((after <= before + 1024))
}

vmm_sockets() { find "/proc/$(pid_of "$1")/fd" -mindepth 1 -lname 'socket:*' 2> /dev/null | wc -l; }
fds_are() { [ "$(vmm_fds "$ID-a")" -le "$1" ]; }
sockets_are() { [ "$(vmm_sockets "$ID-a")" -le "$1" ]; }

# Opens many streams, which idle for a while, and closes them: a flow is one descriptor, and less than 1 KiB
# beyond $memory. idle_streams COMMAND…
idle_streams() {
	local line client fds used sockets
	sockets=$(vmm_sockets "$ID-a")
	coproc CLIENT { "$@" 3>&-; }
	client=$CLIENT_PID fds=("${CLIENT[@]}")
	read -r line <&"${fds[0]}"
	[ "$line" = "open=$STREAMS" ]
	used=$(($(vmm_memory "$ID-a") - memory)) sockets=$(($(vmm_sockets "$ID-a") - sockets))
	echo "$sockets sockets, $used KiB for $STREAMS streams: $((used * 1024 / STREAMS)) bytes each"
	((sockets <= STREAMS + 16))
	((used <= STREAMS + 200))	# KiB that grow once
	eval "exec ${fds[1]}>&-"
	wait_status "$client"
	[ "$status" -eq 0 ]
}

@test "load: many streams at once, out of the guest and into it" {
	start a guest python3 /net/load.py server 7200
	eventually wrote a ready
	memory=$(vmm_memory "$ID-a")
	load_and_back "$STREAMS" "$STREAMS" idle_streams sm exec "$ID-a" python3 /net/load.py streams 127.0.0.1 7100
	load_and_back "$STREAMS" "$STREAMS" idle_streams inside guest python3 "$NET/load.py" streams ::1 7200
}

@test "load: many short connections, out of the guest, into it, and within it" {
	start a guest python3 /net/load.py server 7200
	eventually wrote a ready
	load_and_back 100 "$SHORT" in_guest a python3 /net/load.py short ::1 7100
	load_and_back 100 "$SHORT" inside guest python3 "$NET/load.py" short 127.0.0.1 7200
	in_guest a python3 /net/load.py short 127.0.0.1 7200 "$((SHORT / 4))"
}

@test "load: much data there and back, with its SHA-256" {
	start a guest python3 /net/load.py server 7200
	eventually wrote a ready
	load_and_back 1000000 "$BULK" in_guest a python3 /net/load.py bulk 127.0.0.1 7100
	load_and_back 1000000 "$BULK" inside guest python3 "$NET/load.py" bulk ::1 7200
	in_guest a python3 /net/load.py bulk ::1 7200 "$((BULK / 4))"
}

@test "load: a listener that is flooded, connects that nobody answers" {
	start a guest python3 /net/load.py server 7200
	eventually wrote a ready
	load_and_back 50 300 inside guest python3 "$NET/load.py" flood 127.0.0.1 7200
	load_and_back "$STREAMS" "$STREAMS" in_guest a python3 /net/load.py half 192.0.2.9 80
}

# With a hard limit that sm-vmm cannot raise.
@test "load: more sockets than there are descriptors for: an errno, or waiting, and then it goes on" {
	debian_bundle "$BUNDLE" guest python3 /net/load.py server 7200
	setpriv --bounding-set=-sys_resource prlimit --nofile=1200 \
		"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run -d --bundle "$BUNDLE" "$ID-a" > "$BATS_TEST_TMPDIR/a.out" 2>&1 < /dev/null
	eventually wrote a ready
	load_and_back 7200 7200 in_guest a python3 /net/load.py most 127.0.0.1 7100 > "$BATS_TEST_TMPDIR/most"
	cat "$BATS_TEST_TMPDIR/most"
	[ "$(grep -c '^error=ENOBUFS datagrams=ENOBUFS early=False dialled=dialled again=True answers=True$' "$BATS_TEST_TMPDIR/most")" -eq 2 ]
	grep -q 'more are refused until some are closed' "$(find "$ROOT" -name vmm.log)"
}

@test "load: any calls at once on sockets that processes share" {
	local before seed=$RANDOM
	debian_bundle "$BATS_TEST_TMPDIR/a" guest sleep 10000
	edit_config "$BATS_TEST_TMPDIR/a/config.json" '.annotations["supermachine.io/vcpus"] = "2"'
	sm run -d --bundle "$BATS_TEST_TMPDIR/a" "$ID-a" > "$BATS_TEST_TMPDIR/a.out" 2>&1 < /dev/null
	in_guest a python3 /net/chaos.py 0 1 100
	before=$(vmm_fds "$ID-a")
	echo "seed $seed"
	in_guest a python3 /net/chaos.py "$seed" "${SM_NET_CHAOS:-20}" 200
	eventually fds_are "$before"
}

# ---- where a container stands

hello='
import socket, sys
s = socket.create_server((sys.argv[2], int(sys.argv[1])), family=socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET)
print("ready", flush=True)
while True:
	c, name = s.accept()
	c.sendall(("hello " + name[0] + "\n").encode())
	c.close()'
ask='
import socket, sys
try:
	s = socket.create_connection((sys.argv[2], int(sys.argv[1])), timeout=60)
	print(s.makefile().readline().strip())
except OSError as e:
	import errno
	print(errno.errorcode.get(e.errno, e))'

@test "two containers of one namespace reach each other, and the namespace reaches both" {
	start a guest python3 -c "$hello" 7301 127.0.0.1
	start b guest python3 -c "$hello" 7302 ::1
	eventually wrote a ready
	eventually wrote b ready
	[ "$(in_guest b python3 -c "$ask" 7301 127.0.0.1)" = 'hello 127.0.0.1' ]
	[ "$(in_guest a python3 -c "$ask" 7302 ::1)" = 'hello ::1' ]
	[ "$(in_guest a python3 -c "$ask" 7301 localhost)" = 'hello 127.0.0.1' ]
	[ "$(inside guest python3 -c "$ask" 7301 127.0.0.1)" = 'hello 127.0.0.1' ]
	[ "$(inside guest python3 -c "$ask" 7302 ::1)" = 'hello ::1' ]
	# A port that one has, the other cannot.
	run in_guest b python3 -c "$hello" 7301 127.0.0.1
	[ "$status" -ne 0 ]
	[[ $output == *'Address already in use'* ]]
	# Another namespace is another world.
	[ "$(inside native python3 -c "$ask" 7301 127.0.0.1)" = ECONNREFUSED ]
}

@test "a new namespace: its own loopback, and nothing else" {
	start a new python3 -c "$hello" 7301 127.0.0.1
	eventually wrote a ready
	[ "$(in_guest a python3 -c "$ask" 7301 127.0.0.1)" = 'hello 127.0.0.1' ]
	[ "$(in_guest a python3 -c "$ask" 7100 127.0.0.1)" = ECONNREFUSED ]
	[ "$(in_guest a python3 -c "$ask" 80 192.0.2.1)" = ENETUNREACH ]
	[ "$(in_guest a python3 -c "$ask" 80 2001:db8::1)" = ENETUNREACH ]
}

@test "the host's namespace, both ways" {
	local port=$((20000 + RANDOM % 10000))
	python3 -c "$hello" "$port" 127.0.0.1 > "$BATS_TEST_TMPDIR/server" 3>&- &
	server=$!
	start a host python3 -c "$hello" "$((port + 1))" 127.0.0.1
	eventually wrote a ready
	eventually grep -q ready "$BATS_TEST_TMPDIR/server"
	[ "$(in_guest a python3 -c "$ask" "$port" 127.0.0.1)" = 'hello 127.0.0.1' ]
	[ "$(python3 -c "$ask" "$((port + 1))" 127.0.0.1)" = 'hello 127.0.0.1' ]
	kill "$server"
}

@test "the ports of a container are free when it is deleted" {
	local i
	for i in 1 2; do
		start a guest python3 -c "$hello" 7301 127.0.0.1
		eventually wrote a ready
		[ "$(inside guest python3 -c "$ask" 7301 127.0.0.1)" = 'hello 127.0.0.1' ]
		sm delete --force "$ID-a"
		[ "$(inside guest python3 -c "$ask" 7301 127.0.0.1)" = ECONNREFUSED ]
	done
}

# ---- policy, ports, none

annotated() {
	local name=$1 filter=$2
	shift 2
	debian_bundle "$BATS_TEST_TMPDIR/$name" guest "$@"
	edit_config "$BATS_TEST_TMPDIR/$name/config.json" ".annotations += $filter"
	sm run -d --bundle "$BATS_TEST_TMPDIR/$name" "$ID-$name" > "$BATS_TEST_TMPDIR/$name.out" 2>&1 < /dev/null
}

@test "policy: what is denied gets EACCES, however it is spelled" {
	annotated a '{"supermachine.io/network-policy": "deny 127.0.0.0/8:7100, deny [::1]:7100 tcp, deny 192.0.2.0/24 udp"}' sleep 10000
	for host in 127.0.0.1 ::1 ::ffff:127.0.0.1 0.0.0.0 :: 127.9.9.9; do
		echo "$host"
		[ "$(in_guest a python3 -c "$ask" 7100 "$host")" = EACCES ]
	done
	# Not by another port, nor another protocol.
	[ "$(in_guest a python3 -c 'import socket
for name in ("127.0.0.1", 7001), ("192.0.2.1", 7100):
	socket.create_connection(name)
	print("made")')" = $'made\nmade' ]
	# Also of a connect that does not wait.
	[ "$(in_guest a python3 -c '
import socket
s = socket.socket()
s.setblocking(False)
print(s.connect_ex(("127.0.0.1", 7100)))')" = 13 ]
	run in_guest a python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9))'
	[[ $output == *'Permission denied'* ]]
}

@test "policy: a default of deny, with what is allowed" {
	annotated a '{"supermachine.io/network-policy": "allow 127.0.0.1:7100 tcp, default deny"}' sleep 10000
	in_guest a python3 /net/load.py short 127.0.0.1 7100 3
	for host in ::1 192.0.2.1; do
		[ "$(in_guest a python3 -c "$ask" 7100 "$host")" = EACCES ]
	done
	[ "$(in_guest a python3 -c "$ask" 7001 127.0.0.1)" = EACCES ]
	run in_guest a python3 -c 'import socket; socket.create_server(("", 7301))'
	[[ $output == *'Permission denied'* ]]
}

# Each way that a packet may leave by, to each of these addresses: what was not EACCES.
denied='
import errno, select, socket, struct, sys
ECHO = struct.pack("!BBHHH", 8, 0, 0xf7fe, 0, 1), struct.pack("!BBHHH", 128, 0, 0, 0, 1)

def ways(host, v6):
	family = socket.AF_INET6 if v6 else socket.AF_INET
	def name(port):
		return (host.partition("%")[0], port) + ((0, int(host.partition("%")[2] or 0)) if v6 else ())
	def tcp():
		socket.socket(family).connect(name(80))
	def waiting():
		s = socket.socket(family)
		s.setblocking(False)
		error = s.connect_ex(name(80))
		if error == errno.EINPROGRESS:
			select.select([], [s], [])
			error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
		raise OSError(error, "of connect")
	def again():
		s = socket.socket(family)
		try:
			s.connect(name(80))
		except OSError:
			pass
		s.connect(name(443))
	def bound():
		s = socket.socket(family)
		s.bind(("::" if v6 else "0.0.0.0", 0))
		s.connect(name(80))
	def udp_connect():
		socket.socket(family, socket.SOCK_DGRAM).connect(name(53))
	def udp_sendto():
		socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", name(53))
	def udp_sendmsg():
		socket.socket(family, socket.SOCK_DGRAM).sendmsg([b"x", b"y"], [], 0, name(53))
	def udp_elsewhere():
		s = socket.socket(family, socket.SOCK_DGRAM)
		s.connect(("::1" if v6 else "127.0.0.1", 7199))
		s.sendto(b"x", name(53))
	def icmp_connect():
		socket.socket(family, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP).connect(name(0))
	def icmp_sendto():
		socket.socket(family, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP).sendto(ECHO[v6], name(0))
	every = [tcp, waiting, again, bound, udp_connect, udp_sendto, udp_sendmsg, udp_elsewhere]
	return every if host.startswith("::ffff:") else every + [icmp_connect, icmp_sendto]

tried = 0
for host in sys.argv[1:]:
	v6 = ":" in host
	for way in ways(host, v6):
		tried += 1
		try:
			way()
			said = "went"
		except OSError as e:
			said = errno.errorcode.get(e.errno, str(e))
		if said != "EACCES":
			print(host, way.__name__, said)
print("tried", tried)'

@test "policy: link-local and metadata addresses, by TCP, UDP and ICMP, however they are spelled" {
	annotated a '{"supermachine.io/network-policy": "deny 169.254.0.0/16, deny [fe80::]/10"}' sleep 10000
	link=$(inside guest cat /sys/class/net/d0/ifindex)
	run in_guest a python3 -c "$denied" 169.254.169.254 169.254.0.1 ::ffff:169.254.169.254 ::ffff:a9fe:1 \
		fe80::1 "fe80::1%$link" fe80::a9fe:a9fe febf::1
	echo "$output"
	[ "$output" = 'tried 76' ]
	# What is next to them is another matter.
	run in_guest a python3 -c "$denied" 169.253.255.255 fec0::1
	[ "$(grep -c EACCES <<< "$output")" -eq 0 ]
	[ "$(grep -c . <<< "$output")" -ge 19 ]
}

@test "policy: loopback, by TCP, UDP and ICMP, however it is spelled" {
	annotated a '{"supermachine.io/network-policy": "deny 127.0.0.0/8:1-1023, deny 127.0.0.0/8 icmp, deny [::1]:1-1023, deny [::1] icmp"}' \
		sleep 10000
	run in_guest a python3 -c "$denied" 127.0.0.1 127.1.2.3 0.0.0.0 ::1 :: ::ffff:127.0.0.1 ::ffff:0.0.0.0 ::ffff:7f01:203
	echo "$output"
	[ "$output" = 'tried 74' ]
	in_guest a python3 /net/load.py short 127.0.0.1 7100 1
}

# What vmm.log has of denials.
denials() { grep -o 'network policy: .* denied' "$(find "$ROOT" -name vmm.log)"; }

@test "policy: a line for each denial, and a flood of them is not a flood of lines" {
	annotated a '{"supermachine.io/network-policy": "deny 169.254.0.0/16, deny [fe80::]/10, deny any:7100"}' sleep 10000
	in_guest a python3 -c "$denied" 169.254.169.254 > "$BATS_TEST_TMPDIR/first"
	denials
	[ "$(denials | head -n 10)" = "$(printf 'network policy: to 169.254.169.254:%s denied\n' '80 tcp' '80 tcp' '80 tcp' '443 tcp' '80 tcp' \
		'53 udp' '53 udp' '53 udp' '53 udp' '0 icmp')" ]
	begin=$SECONDS before=$(denials | wc -l)
	in_guest a python3 -c '
import socket
u, v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for _ in range(500):
	with socket.socket() as s:
		assert s.connect_ex(("127.0.0.1", 7100)) == 13
	for s, host in (u, "169.254.169.254"), (v, "fe80::1"):
		try:
			s.sendto(b"x", (host, 53))
		except PermissionError:
			pass'
	lines=$(($(denials | wc -l) - before))
	echo "$lines lines in $((SECONDS - begin)) s"
	((lines <= SECONDS - begin + 11))
	sm events --stats "$ID-a" | jq -e '.data.tsi | .policyDenials >= 1500 and .listeners == 0 and .drops == 0'
	# As time goes on there are lines again.
	told() {
		in_guest a python3 -c 'import socket; socket.socket().connect_ex(("127.0.0.1", 7100))'
		(($(denials | wc -l) > before + lines))
	}
	eventually told
}

@test "policy and ports that are no such thing are errors that say so" {
	debian_bundle "$BUNDLE" guest true
	edit_config "$BUNDLE/config.json" '.annotations += {"supermachine.io/network-policy": "forbid everything"}'
	runsm run --bundle "$BUNDLE" "$ID"
	[ "$status" -ne 0 ]
	echo "$output"
	[[ $output == *'forbid'* ]]
	edit_config "$BUNDLE/config.json" '.annotations |= (del(.["supermachine.io/network-policy"]) | . + {"supermachine.io/ports": "eighty:80"})'
	runsm run --bundle "$BUNDLE" "$ID"
	[ "$status" -ne 0 ]
	[[ $output == *'eighty'* ]]
}

@test "ports: what the guest binds is elsewhere in the namespace, and it does not notice" {
	annotated a '{"supermachine.io/ports": "7380:80"}' python3 -c "$hello" 80 127.0.0.1
	eventually wrote a ready
	[ "$(inside guest python3 -c "$ask" 7380 127.0.0.1)" = 'hello 127.0.0.1' ]
	[ "$(inside guest python3 -c "$ask" 80 127.0.0.1)" = ECONNREFUSED ]
	[ "$(in_guest a python3 -c 'import socket; s = socket.create_server(("127.0.0.2", 80)); print(s.getsockname()[1])')" = 80 ]
}

# A client of the guest and a listener of the guest, whose port is another one of the namespace: who is who, at both ends.
@test "ports: within the guest a mapped port is the guest's, for streams and datagrams" {
	annotated a '{"supermachine.io/ports": "7380:80, 7381:81"}' sleep 10000
	in_guest a python3 -c '
import socket
for family, host in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
	l = socket.create_server((host, 80), family=family)
	for source in None, (host, 81):
		c = socket.create_connection((host, 80), source_address=source)
		s, name = l.accept()
		assert l.getsockname()[:2] == c.getpeername()[:2] == s.getsockname()[:2] == (host, 80)
		assert name == c.getsockname() == s.getpeername()
		assert not source or name[:2] == source
		c.sendall(b"x")
		assert s.recv(1) == b"x"
	a, b = (socket.socket(family, socket.SOCK_DGRAM) for _ in "ab")
	a.bind((host, 80))
	b.bind((host, 81))
	a.sendto(b"x", b.getsockname())
	assert b.recvfrom(1)[1][:2] == (host, 80)
	b.connect((host, 80))
	b.send(b"y")
	assert a.recvfrom(1)[1][:2] == (host, 81)
	assert b.getpeername()[:2] == (host, 80)
print("good")' | grep -qx good
}

@test "network none: the guest's own loopback, and nothing of the namespace" {
	annotated a '{"supermachine.io/network": "none"}' python3 -c "$hello" 7301 127.0.0.1
	eventually wrote a ready
	[ "$(in_guest a python3 -c "$ask" 7301 127.0.0.1)" = 'hello 127.0.0.1' ]
	[ "$(in_guest a python3 -c "$ask" 7100 127.0.0.1)" = ECONNREFUSED ]
	[ "$(in_guest a python3 -c "$ask" 7100 192.0.2.1)" = ENETUNREACH ]
	[ "$(inside guest python3 -c "$ask" 7301 127.0.0.1)" = ECONNREFUSED ]
}

# ---- programs of Debian, as they are

# Is there a listener of TCP on port $2 of the namespace $1?
listens() { [ -n "$(inside "$1" ss -Hltn "sport = :$2")" ]; }

@test "nginx and curl: HTTP/1.1, HTTP/2 over TLS, a download with its SHA-256" {
	start web guest sh -c '
		openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout /tmp/key -out /tmp/cert 2> /dev/null
		mkdir /tmp/www && head -c 20000000 /dev/urandom > /tmp/www/big && echo "hello from nginx" > /tmp/www/index.html
		cat > /tmp/conf <<-END
			daemon off; error_log stderr; pid /tmp/pid; worker_processes 2;
			events { worker_connections 256; }
			http { access_log off; root /tmp/www;
			server { listen 7480; listen [::]:7480; }
			server { listen 7443 ssl http2; ssl_certificate /tmp/cert; ssl_certificate_key /tmp/key; } }
		END
		exec nginx -c /tmp/conf'
	eventually listens guest 7443
	sum=$(in_guest web sha256sum /tmp/www/big | cut -d ' ' -f 1)
	[ "$(inside guest curl -sS http://127.0.0.1:7480/)" = 'hello from nginx' ]
	[ "$(inside guest curl -sS 'http://[::1]:7480/')" = 'hello from nginx' ]
	[ "$(inside guest curl -sS http://127.0.0.1:7480/big | sha256sum | cut -d ' ' -f 1)" = "$sum" ]
	[ "$(inside guest curl -sSk --http2 -w '%{http_version}' https://127.0.0.1:7443/)" = $'hello from nginx\n2' ]
	[ "$(inside guest curl -sSk --http2 https://127.0.0.1:7443/big | sha256sum | cut -d ' ' -f 1)" = "$sum" ]
	[ "$(in_guest web curl -sS http://localhost:7480/)" = 'hello from nginx' ]
	start other guest sleep 10000
	[ "$(in_guest other curl -sSk --http2 -w '%{http_version}' https://127.0.0.1:7443/)" = $'hello from nginx\n2' ]
	[ "$(in_guest other sh -c 'curl -sS http://127.0.0.1:7480/big | sha256sum' | cut -d ' ' -f 1)" = "$sum" ]
	# Twenty at once, each whole.
	[ "$(inside guest curl -sSZ --parallel-max 20 'http://127.0.0.1:7480/index.html?[1-20]' | grep -c 'hello from nginx')" -eq 20 ]
}

@test "redis: redis-benchmark from the namespace and from another container" {
	start db guest redis-server --port 7479 --save '' --dir /tmp
	eventually listens guest 7479
	[ "$(in_guest db redis-cli -p 7479 set key value)" = OK ]
	printf 'GET key\r\n' | inside guest timeout 60 bash -c 'exec 3<> /dev/tcp/127.0.0.1/7479; cat >&3; head -n 2 <&3' | grep -q '^value'
	start other guest sleep 10000
	for where in db other; do
		in_guest "$where" redis-benchmark -p 7479 -n 2000 -c 20 -t set,get -q > "$BATS_TEST_TMPDIR/bench"
		cat "$BATS_TEST_TMPDIR/bench"
		[ "$(tr '\r' '\n' < "$BATS_TEST_TMPDIR/bench" | grep -c 'requests per second')" -eq 2 ]
	done
	# The same program of the root file system, natively.
	inside guest chroot "$ROOTFS" redis-benchmark -p 7479 -n 2000 -c 50 -P 4 -t set,get,lpush -q | tr '\r' '\n' |
		grep -c 'requests per second' | grep -qx 3
}

@test "postgresql: psql and pgbench over TCP" {
	start db guest sh -c '
		cd /usr/lib/postgresql/*/bin && mkdir -p /run/postgresql && chown postgres /run/postgresql
		as="setpriv --reuid postgres --regid postgres --clear-groups env HOME=/tmp"
		$as ./initdb -A trust --no-sync -D /tmp/data > /tmp/initdb && exec $as ./postgres -D /tmp/data -p 7432 -h "*" -c fsync=off'
	eventually listens guest 7432 || eventually listens guest 7432	# initdb takes its time
	start other guest sleep 10000
	for host in 127.0.0.1 ::1; do
		[ "$(in_guest other psql -U postgres -h "$host" -p 7432 -Atc 'select sum(x) from generate_series(1, 100000) x')" = 5000050000 ]
		[ "$(in_guest other psql -U postgres -h "$host" -p 7432 -Atc 'select inet_client_addr()')" = "$host" ]
	done
	in_guest other sh -c 'PATH=$PATH:$(echo /usr/lib/postgresql/*/bin); export PGHOST=127.0.0.1 PGPORT=7432 PGUSER=postgres
		pgbench -i -q -s 1 postgres && pgbench -c 4 -t 25 postgres' > "$BATS_TEST_TMPDIR/bench" 2>&1
	cat "$BATS_TEST_TMPDIR/bench"
	grep -q 'number of transactions actually processed: 100/100' "$BATS_TEST_TMPDIR/bench"
	inside guest chroot "$ROOTFS" psql -U postgres -h 127.0.0.1 -p 7432 -Atc 'select count(*) from pgbench_accounts' | grep -qx 100000
}

@test "python: http.server and urllib, inside and outside" {
	start web guest sh -c 'mkdir /tmp/www && cd /tmp/www && seq 100000 > numbers && exec python3 -m http.server -b :: 7580'
	eventually listens guest 7580
	get='import hashlib, sys, urllib.request; print(hashlib.sha256(urllib.request.urlopen(sys.argv[1]).read()).hexdigest())'
	sum=$(seq 100000 | sha256sum | cut -d ' ' -f 1)
	for url in http://127.0.0.1:7580/numbers http://localhost:7580/numbers 'http://[::1]:7580/numbers'; do
		[ "$(in_guest web python3 -c "$get" "$url")" = "$sum" ]
		[ "$(inside guest python3 -c "$get" "$url")" = "$sum" ]
	done
	mkdir "$BATS_TEST_TMPDIR/www"
	seq 100000 > "$BATS_TEST_TMPDIR/www/numbers"
	ip netns exec "$PREFIX-guest" python3 -m http.server -b 127.0.0.1 -d "$BATS_TEST_TMPDIR/www" 7581 > /dev/null 2>&1 < /dev/null 3>&- &
	server=$!
	eventually listens guest 7581
	[ "$(in_guest web python3 -c "$get" http://127.0.0.1:7581/numbers)" = "$sum" ]
	kill "$server"
}

@test "node: HTTP both ways, ends, datagrams, as natively" {
	start web guest node /net/web.js server :: 7611
	inside guest chroot "$ROOTFS" node - self < "$NET/web.js" > "$BATS_TEST_TMPDIR/native"
	grep -qx 'echoes 100' "$BATS_TEST_TMPDIR/native"
	in_guest web node /net/web.js self | diff "$BATS_TEST_TMPDIR/native" -
	eventually wrote web ready
	inside guest chroot "$ROOTFS" node - client 'http://[::1]:7611' < "$NET/web.js" | diff <(head -n 2 "$BATS_TEST_TMPDIR/native") -
}

@test "sshd and ssh: a command, a pipe, a forwarded port" {
	start server guest sh -c '
		mkdir -p /run/sshd /root/.ssh && chmod 700 /root /root/.ssh
		ssh-keygen -q -t ed25519 -N "" -f /tmp/host && ssh-keygen -q -t ed25519 -N "" -f /root/.ssh/id_ed25519
		cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
		exec /usr/sbin/sshd -D -e -p 7522 -h /tmp/host -o StrictModes=no -o UsePAM=no -o PidFile=none'
	eventually listens guest 7522
	in_guest server cat /root/.ssh/id_ed25519 > "$BATS_TEST_TMPDIR/key"
	chmod 600 "$BATS_TEST_TMPDIR/key"
	ssh_to() { inside guest ssh -i "$BATS_TEST_TMPDIR/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -p 7522 root@127.0.0.1 "$@"; }
	[ "$(ssh_to 'echo $SSH_CONNECTION' < /dev/null | cut -d ' ' -f 1,3,4)" = '127.0.0.1 127.0.0.1 7522' ]
	head -c 3000000 /dev/urandom > "$BATS_TEST_TMPDIR/data"
	ssh_to sha256sum < "$BATS_TEST_TMPDIR/data" | cut -d ' ' -f 1 |
		grep -qx "$(sha256sum < "$BATS_TEST_TMPDIR/data" | cut -d ' ' -f 1)"
	# From the guest to itself, and on through a port that ssh forwards.
	in_guest server sh -c 'ssh -f -N -o StrictHostKeyChecking=no -o LogLevel=ERROR -o ExitOnForwardFailure=yes \
		-L 127.0.0.1:7523:127.0.0.1:7100 -p 7522 root@localhost < /dev/null > /dev/null 2>&1 &&
		python3 /net/load.py short 127.0.0.1 7523 3' > "$BATS_TEST_TMPDIR/forwarded"
	grep -q 'answers=3' "$BATS_TEST_TMPDIR/forwarded"
}

@test "dnsmasq and dig: UDP and TCP, a large answer, from both sides" {
	start dns guest dnsmasq -k -p 7553 --no-resolv --no-hosts --user=root --pid-file= --address=/host.test/192.0.2.77 \
		--address=/host.test/2001:db8::77 --txt-record="long.test,$(printf '%0200d' 1),$(printf '%0200d' 2),$(printf '%0200d' 3)"
	eventually listens guest 7553
	start other guest sleep 10000
	for server in 127.0.0.1 ::1; do
		for flag in +notcp +tcp; do
			for where in dns other; do
				[ "$(in_guest "$where" dig +short +time=30 "$flag" -p 7553 "@$server" host.test A)" = 192.0.2.77 ]
			done
			[ "$(inside guest chroot "$ROOTFS" dig +short +time=30 "$flag" -p 7553 "@$server" host.test AAAA)" = 2001:db8::77 ]
		done
	done
	[ "$(in_guest other dig +short +time=30 -p 7553 @127.0.0.1 long.test TXT | wc -c)" -gt 600 ]
	# Truncated over UDP where the client takes little, and asked again over TCP.
	[ "$(in_guest other dig +short +time=30 +bufsize=512 -p 7553 @127.0.0.1 long.test TXT | wc -c)" -gt 600 ]
}

@test "iperf3: TCP and UDP, both ways" {
	start server guest iperf3 -s -p 7501
	eventually listens guest 7501
	start other guest sleep 10000
	for flags in '' '-R' '-P 4' '-u -b 20M -l 1400' '-u -b 20M -l 1400 -R'; do
		echo "iperf3 $flags"
		# shellcheck disable=SC2086
		in_guest other iperf3 -c 127.0.0.1 -p 7501 -t 2 -J $flags > "$BATS_TEST_TMPDIR/json"
		jq -e '.end.sum_received.bytes // .end.sum.bytes | . > 100000' "$BATS_TEST_TMPDIR/json"
	done
	inside guest chroot "$ROOTFS" iperf3 -c ::1 -p 7501 -t 2 -J > "$BATS_TEST_TMPDIR/json"
	jq -e '.end.sum_received.bytes > 1000000' "$BATS_TEST_TMPDIR/json"
}

@test "ping: loopback and an address of the namespace, IPv4 and IPv6, and nobody" {
	start a guest sleep 10000
	for host in 127.0.0.1 ::1 192.0.2.1 2001:db8::1; do
		in_guest a ping -c 2 -i 0.2 -W 30 "$host" > "$BATS_TEST_TMPDIR/ping"
		grep -q '2 packets transmitted, 2 received, 0% packet loss' "$BATS_TEST_TMPDIR/ping"
	done
	run in_guest a ping -c 1 -W 1 192.0.2.9
	[ "$status" -eq 1 ]
	[[ $output == *'100% packet loss'* ]]
	run in_guest a ping -c 1 -W 1 203.0.113.1
	[ "$status" -eq 2 ]
	[[ $output == *'Network is unreachable'* ]]
}

@test "socat: TCP, UDP and IPv6 echo, and a relay between families" {
	start a guest sh -c '
		socat -t 30 TCP-LISTEN:7601,fork,reuseaddr EXEC:cat & socat UDP-LISTEN:7602,fork EXEC:cat &
		socat -t 30 TCP6-LISTEN:7603,fork,reuseaddr TCP4:127.0.0.1:7601 & wait'
	eventually listens guest 7603
	eventually listens guest 7601
	in_guest a sh -c 'echo tcp | socat -t 30 - TCP:127.0.0.1:7601' | grep -qx tcp
	in_guest a sh -c 'echo udp | socat -t 3 - UDP:127.0.0.1:7602' | grep -qx udp
	in_guest a sh -c 'echo relay | socat -t 30 - TCP6:[::1]:7603' | grep -qx relay
	echo outside | inside guest chroot "$ROOTFS" socat -t 30 - 'TCP6:[::1]:7603' | grep -qx outside
	echo outside | inside guest chroot "$ROOTFS" socat -t 3 - UDP:127.0.0.1:7602 | grep -qx outside
}
