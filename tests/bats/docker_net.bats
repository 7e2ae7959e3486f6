#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Docker's networks: bridge and published ports, names by the engine's DNS, a shared namespace, host and none.

bats_require_minimum_version 1.5.0
load helpers
load docker

setup_file() {
	docker_up
	image | docker import -c 'ENV PATH=/bin' -c 'CMD ["sh"]' - box > /dev/null
}

teardown_file() { docker_down; }

setup() { NAME=n$BATS_TEST_NUMBER; }

teardown() {
	local left network
	docker ps -aq | xargs -r "$DOCKER" rm -f > /dev/null
	for network in $(docker network ls -q --filter type=custom); do
		docker network rm "$network" > /dev/null
	done
	eventually no_leftovers || { left=$(docker_leftovers); echo "left behind: $left"; return 1; }
}

# A web server whose page is $3, in the foreground of container $1; the rest of the arguments are Docker's.
web() {
	local name=$1 page=$2
	shift 2
	docker run -d --name "$name" "$@" box sh -c "mkdir -p /www && echo '$page' > /www/index.html && exec httpd -f -p 80 -h /www"
}

fetch() { curl -sS --max-time 60 "$@"; }
gets() { [ "$(fetch "$1" 2> /dev/null)" = "$2" ]; }
# (wget -T crashes in Debian's static busybox.)
gets_from() { [ "$(docker exec "$1" wget -q -O - "$2" 2> /dev/null)" = "$3" ]; }
address() { inspect "$1" .NetworkSettings.IPAddress; }

@test "docker run -p: a published port, on the address that was asked for" {
	web "$NAME" page -p 127.0.0.1:8080:80
	eventually gets http://127.0.0.1:8080/ page
	eventually gets "http://$(address "$NAME")/" page
	[ "$(docker port "$NAME" 80)" = 127.0.0.1:8080 ]
	docker rm -f "$NAME"
	run fetch http://127.0.0.1:8080/
	[ "$status" -eq 7 ]
}

@test "docker run -p: a port of Docker's choice, two of them, restart" {
	web "$NAME" page -p 127.0.0.1::80
	port=$(docker port "$NAME" 80 | cut -d : -f 2)
	eventually gets "http://127.0.0.1:$port/" page
	docker restart -t 1 "$NAME"
	port=$(docker port "$NAME" 80 | cut -d : -f 2)
	eventually gets "http://127.0.0.1:$port/" page
}

@test "docker bridge: containers reach each other by address, and the host" {
	web "$NAME-a" from-a
	web "$NAME-b" from-b
	eventually gets_from "$NAME-b" "http://$(address "$NAME-a")/" from-a
	eventually gets_from "$NAME-a" "http://$(address "$NAME-b")/" from-b
	eventually gets_from "$NAME-a" http://127.0.0.1/ from-a
}

@test "docker network create: containers talk by name, by the engine's DNS" {
	docker network create "$NAME-net" > /dev/null
	web "$NAME-a" from-a --network "$NAME-net" --network-alias alias
	docker run -d --name "$NAME-b" --network "$NAME-net" box sleep 10000
	[ "$(docker exec "$NAME-b" sed -n 's/^nameserver //p' /etc/resolv.conf)" = 127.0.0.11 ]
	docker exec "$NAME-b" nslookup "$NAME-a" 127.0.0.11
	eventually gets_from "$NAME-b" "http://$NAME-a/" from-a
	eventually gets_from "$NAME-b" http://alias/ from-a
	run docker exec "$NAME-b" nslookup nosuch.invalid 127.0.0.11
	[ "$status" -ne 0 ]
	# A container of another network is not there, by name or by address.
	docker run -d --name "$NAME-c" box sleep 10000
	run docker exec "$NAME-c" wget -q -O - "http://$NAME-a/"
	[ "$status" -ne 0 ]
}

@test "docker run --network container: one namespace for two" {
	web "$NAME-a" from-a
	docker run -d --name "$NAME-b" --network "container:$NAME-a" box sleep 10000
	eventually gets_from "$NAME-b" http://127.0.0.1/ from-a
	docker exec -d "$NAME-b" sh -c 'mkdir /w && echo from-b > /w/index.html && httpd -p 81 -h /w'
	eventually gets_from "$NAME-a" http://127.0.0.1:81/ from-b
	eventually gets "http://$(address "$NAME-a"):81/" from-b
}

@test "docker run --network host and none" {
	docker run -d --name "$NAME-h" --network host box sh -c 'mkdir /w && echo host > /w/index.html && exec httpd -f -p 127.0.0.1:8099 -h /w'
	eventually gets http://127.0.0.1:8099/ host
	web "$NAME-n" none --network none
	eventually gets_from "$NAME-n" http://127.0.0.1/ none
	for url in http://127.0.0.1:8099/ http://10.200.0.1:8099/ http://192.0.2.1/; do
		run docker exec "$NAME-n" wget -q -O - "$url"
		[ "$status" -ne 0 ]
	done
}
