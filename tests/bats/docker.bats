#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Docker drives sm-runtime: a dockerd of this file's own, whose default runtime it is, with Debian's client.
# What says how Docker behaves is Docker's documentation; runc is beside it as the runtime "runc".

bats_require_minimum_version 1.5.0
load helpers
load docker

setup_file() {
	docker_up
	image | docker import -c 'ENV PATH=/bin' -c 'CMD ["sh"]' - box > /dev/null
}

teardown_file() { docker_down; }

setup() { NAME=c$BATS_TEST_NUMBER; }

teardown() {
	local left
	docker ps -aq | xargs -r "$DOCKER" rm -f > /dev/null
	eventually no_leftovers || { left=$(docker_leftovers); echo "left behind: $left"; return 1; }
}

@test "docker run: output, exit codes, --rm, and no such program" {
	run docker run --rm box sh -c 'echo out; echo err >&2; exit 42'
	[ "$status" -eq 42 ]
	[ "$(docker run --rm box sh -c 'echo out; echo err >&2' 2> /dev/null)" = out ]
	[ "$(docker run --rm box sh -c 'echo out; echo err >&2' 2>&1 > /dev/null)" = err ]
	run -127 docker run --rm box nosuch
	[ "$status" -eq 127 ]
	[[ $output == *'exec: "nosuch": executable file not found in $PATH'* ]]
	run docker run --rm box /etc
	[ "$status" -eq 126 ]
	[ -z "$(docker ps -aq)" ]
}

@test "docker run -i: stdin to its end" {
	head -c 3000000 /dev/urandom > "$BATS_TEST_TMPDIR/data"
	docker run --rm -i box cat < "$BATS_TEST_TMPDIR/data" | cmp - "$BATS_TEST_TMPDIR/data"
	[ "$(docker run --rm -i box wc -c < /dev/null)" -eq 0 ]
}

@test "docker run -it and exec -it on a terminal" {
	python3 "$BATS_TEST_DIRNAME/terminal.py" words "$DOCKER" run --rm -it --name "$NAME" box sh
	docker run -d --name "$NAME" box sleep 1000
	python3 "$BATS_TEST_DIRNAME/terminal.py" words "$DOCKER" exec -it "$NAME" sh
}

@test "docker run: user, working directory, environment, names, hosts, labels, entry point" {
	printf 'FROM_FILE=1\n' > "$BATS_TEST_TMPDIR/env"
	run docker run --name "$NAME" --user 1000:100 --group-add 7 --workdir /mnt -e A=b \
		--env-file "$BATS_TEST_TMPDIR/env" --hostname guest --add-host other:192.0.2.7 --label l=v \
		--entrypoint sh box -c 'id; pwd; echo $A $FROM_FILE; hostname; grep other /etc/hosts; echo $0 $*' x y
	[ "${lines[0]}" = 'uid=1000(user) gid=100 groups=7' ] || [ "${lines[0]}" = 'uid=1000(user) gid=100 groups=7,100' ]
	[ "${lines[1]}" = /mnt ]
	[ "${lines[2]}" = 'b 1' ]
	[ "${lines[3]}" = guest ]
	[[ ${lines[4]} == 192.0.2.7*other ]]
	[ "${lines[5]}" = 'x y' ]
	[ "$(docker ps -aq --filter label=l=v | wc -l)" -eq 1 ]
}

@test "docker run: --read-only, --tmpfs, volumes of every kind" {
	mkdir "$BATS_TEST_TMPDIR/dir"
	echo one > "$BATS_TEST_TMPDIR/dir/file"
	echo two > "$BATS_TEST_TMPDIR/single"
	docker volume create "vol$NAME" > /dev/null
	run docker run --read-only --tmpfs /t:size=1m,mode=1777 -v "$BATS_TEST_TMPDIR/dir:/ro:ro" \
		-v "$BATS_TEST_TMPDIR/dir:/rw" -v "vol$NAME:/named" -v "$BATS_TEST_TMPDIR/single:/etc/single:ro" \
		--mount "type=bind,src=$BATS_TEST_TMPDIR/dir,dst=/m,readonly" --mount type=tmpfs,dst=/m2 box sh -c '
			touch /x 2>&1; touch /t/x && echo tmpfs; df -k /t | tail -n 1 | awk "{ print \$2 }"
			touch /ro/x 2>&1; cat /ro/file; touch /rw/made && ls /ro; echo kept > /named/k; cat /etc/single
			touch /m/x 2>&1; touch /m2/x && echo m2; (echo a > /etc/single) 2>&1; exit 0'
	echo "$output"
	[ "${lines[0]}" = 'touch: /x: Read-only file system' ]
	[ "${lines[1]}" = tmpfs ]
	[ "${lines[2]}" = 1024 ]
	[ "${lines[3]}" = 'touch: /ro/x: Read-only file system' ]
	[ "${lines[4]} ${lines[5]} ${lines[6]}" = 'one file made' ]
	[ "${lines[7]}" = two ]
	[ "${lines[8]}" = 'touch: /m/x: Read-only file system' ]
	[ "${lines[9]}" = m2 ]
	[[ ${lines[10]} == *'/etc/single: Read-only file system' ]]
	[ -e "$BATS_TEST_TMPDIR/dir/made" ]
	[ "$(docker run --rm -v "vol$NAME:/named" box cat /named/k)" = kept ]
	docker rm -f $(docker ps -aq) > /dev/null
	docker volume rm "vol$NAME"
}

# Bit N of a capability set as /proc shows it. has_cap HEX N
has_cap() { (((16#$1 >> $2) & 1)); }

@test "docker run: capabilities, --privileged, no-new-privileges, seccomp, ulimits" {
	set=$(docker run --rm --cap-drop CHOWN --cap-add NET_ADMIN box sed -n 's/^CapEff:\t//p' /proc/self/status)
	run has_cap "$set" 0
	[ "$status" -eq 1 ]
	has_cap "$set" 12
	set=$(docker run --rm --privileged box sed -n 's/^CapEff:\t//p' /proc/self/status)
	has_cap "$set" 21
	docker run --rm --privileged box sh -c 'mount -t tmpfs x /mnt && test -e /dev/kmsg && test ! -e /dev/vda'
	run docker run --rm box mount -t tmpfs x /mnt
	[ "$status" -ne 0 ]
	cat > "$BATS_TEST_TMPDIR/seccomp.json" <<-'END'
		{"defaultAction": "SCMP_ACT_ALLOW",
		 "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}
	END
	run docker run --rm --security-opt "seccomp=$BATS_TEST_TMPDIR/seccomp.json" \
		--security-opt no-new-privileges --ulimit nofile=77:88 --ulimit core=0 box sh -c '
			mkdir /d 2>&1; grep -E "^(NoNewPrivs|Seccomp):" /proc/self/status; ulimit -n; ulimit -Hn; ulimit -c'
	echo "$output"
	[[ ${lines[0]} == *'not supported'* ]]
	[ "${lines[1]}" = $'NoNewPrivs:\t1' ]
	[ "${lines[2]}" = $'Seccomp:\t2' ]
	[ "${lines[3]} ${lines[4]} ${lines[5]}" = '77 88 0' ]
}

@test "docker run: memory, CPUs, pids, /dev/shm, devices" {
	local cpus=1.5 seen=2	# rounded up
	[ "$(nproc)" -gt 1 ] || { cpus=0.5 seen=1; }	# Docker gives no more than the host has
	run docker run --rm --memory 128m --cpus "$cpus" --pids-limit 50 --shm-size 32m --device /dev/fuse box sh -c '
		nproc; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; df -k /dev/shm | awk "END { print \$2 }"
		ls -l /dev/fuse | cut -c1'
	echo "$output"
	[ "$output" = "$seen"$'\n134217728\n50\n32768\nc' ]
	# a block device of the host is refused by name, not dropped
	node=$(find /dev -type b | head -n 1)
	[ -n "$node" ]
	run docker run --rm --device "$node" box true
	[ "$status" -eq 125 ]
	[[ $output == *"is a device of the host and not in the VM"* ]]
}

@test "docker run --network none, host and bridge: the files that the engine writes" {
	[ "$(docker run --rm --network none box cat /etc/hostname | wc -c)" -eq 13 ]
	[ "$(docker run --rm --network host box hostname)" = "$(hostname)" ]
	run docker run --rm --dns 192.0.2.53 --hostname named box sh -c 'cat /etc/resolv.conf; grep named /etc/hosts; echo x >> /etc/hosts'
	[ "$status" -eq 0 ]
	[[ $output == *'nameserver 192.0.2.53'*named ]]
}

@test "docker run --init: the engine's init is pid 1, reaps, and passes signals on" {
	docker run -d --init --name "$NAME" box sh -c 'sh -c "sleep 0.1 & exec true"; trap "exit 7" TERM; echo up; while :; do sleep 0.1; done'
	eventually logged "$NAME" up
	[[ $(docker exec "$NAME" cat /proc/1/cmdline | tr '\0' ' ') == /sbin/docker-init* ]]
	eventually no_zombie "$NAME"
	docker stop -t 60 "$NAME"
	[ "$(inspect "$NAME" .State.ExitCode)" -eq 7 ]
}

no_zombie() { [ "$(docker exec "$1" sh -c 'cat /proc/[0-9]*/stat' | awk '$3 == "Z"' | wc -l)" -eq 0 ]; }

@test "docker run -d, inspect, logs, logs -f, wait, start again" {
	docker run -d --name "$NAME" box sh -c 'mkfifo /gate; echo one; echo two >&2; read x < /gate; echo three; exit 5'
	[ "$(inspect "$NAME" .State.Status)" = running ]
	pid=$(inspect "$NAME" .State.Pid)
	[ "$(cat "/proc/$pid/comm")" = sm-vmm ]
	eventually logged "$NAME" one
	docker logs -f "$NAME" > "$BATS_TEST_TMPDIR/log" 2>&1 &
	follower=$!
	docker wait "$NAME" > "$BATS_TEST_TMPDIR/code" &
	waiter=$!
	eventually grep -q one "$BATS_TEST_TMPDIR/log"
	docker exec -d "$NAME" sh -c 'echo > /gate'
	wait "$follower" "$waiter"
	[ "$(sort "$BATS_TEST_TMPDIR/log")" = $'one\nthree\ntwo' ]
	[ "$(cat "$BATS_TEST_TMPDIR/code")" -eq 5 ]
	[ "$(inspect "$NAME" .State.ExitCode) $(inspect "$NAME" .State.Pid) $(inspect "$NAME" .State.OOMKilled)" = '5 0 false' ]
	docker start "$NAME"
	eventually in_container "$NAME" test -p /gate	# what the first life wrote is there in the second
}

@test "docker attach and detach" {
	docker run -dit --name "$NAME" box sh
	python3 "$BATS_TEST_DIRNAME/terminal.py" detach "$DOCKER" attach "$NAME"
	[ "$(inspect "$NAME" .State.Status)" = running ]
	python3 "$BATS_TEST_DIRNAME/terminal.py" words "$DOCKER" attach "$NAME"
	eventually exited "$NAME"
	[ "$(inspect "$NAME" .State.ExitCode)" -eq 9 ]
}

@test "docker exec: user, directory, environment, detached, exit code, missing program" {
	docker run -d --name "$NAME" -e A=base box sleep 1000
	run docker exec -u 1000:100 -w /tmp -e B=more "$NAME" sh -c 'id -u; id -g; pwd; echo $A $B; exit 6'
	[ "$status" -eq 6 ]
	[ "$output" = $'1000\n100\n/tmp\nbase more' ]
	[ "$(echo text | docker exec -i "$NAME" cat)" = text ]
	docker exec -d "$NAME" sh -c 'echo done > /detached'
	eventually in_container "$NAME" test -s /detached
	run docker exec "$NAME" nosuch
	[ "$status" -eq 126 ]	# so says this Docker with runc too
	[[ $output == *'exec: "nosuch": executable file not found in $PATH'* ]]
	[ "$(docker exec --privileged "$NAME" sed -n 's/^CapEff:\t//p' /proc/self/status)" != \
		"$(docker exec "$NAME" sed -n 's/^CapEff:\t//p' /proc/self/status)" ]
}

@test "docker stop, its timeout, --stop-signal and kill -s" {
	docker run -d --name "$NAME-a" box sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'
	docker run -d --name "$NAME-b" box sleep 1000	# pid 1 without a handler: TERM is nothing to it
	docker run -d --name "$NAME-c" --stop-signal USR1 box sh -c 'trap "exit 4" USR1; echo up; while :; do sleep 0.1; done'
	eventually logged "$NAME-a" up
	eventually logged "$NAME-c" up
	docker stop -t 60 "$NAME-a" "$NAME-c"
	docker stop -t 1 "$NAME-b"
	[ "$(inspect "$NAME-a" .State.ExitCode)" -eq 3 ]
	[ "$(inspect "$NAME-b" .State.ExitCode)" -eq 137 ]
	[ "$(inspect "$NAME-c" .State.ExitCode)" -eq 4 ]
	docker start "$NAME-c"
	docker kill -s KILL "$NAME-c"
	eventually exited "$NAME-c"
	[ "$(inspect "$NAME-c" .State.ExitCode)" -eq 137 ]
}

@test "docker pause and unpause" {
	docker run -d --name "$NAME" box sh -c 'i=0; while :; do i=$((i + 1)); echo $i > /count; done'
	eventually in_container "$NAME" test -s /count
	docker pause "$NAME"
	[ "$(inspect "$NAME" .State.Status)" = paused ]
	docker unpause "$NAME"
	docker exec "$NAME" true
	docker pause "$NAME"
	docker rm -f "$NAME"
}

@test "docker top and stats" {
	docker run -d --name "$NAME" --memory 128m box sh -c 'sleep 1234 & exec sleep 4321'
	docker top "$NAME" > "$BATS_TEST_TMPDIR/top"
	cat "$BATS_TEST_TMPDIR/top"
	[ "$(wc -l < "$BATS_TEST_TMPDIR/top")" -ge 2 ]
	run docker stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}}' "$NAME"
	echo "$output"
	[[ $output == "$NAME "[1-9]*MiB* ]]
}

@test "docker cp both ways while it runs; diff, commit, export" {
	docker run -d --name "$NAME" box sh -c 'echo inside > /in; rm /etc/group; sleep 1000'
	eventually in_container "$NAME" test -s /in
	echo outside > "$BATS_TEST_TMPDIR/out"
	docker cp "$BATS_TEST_TMPDIR/out" "$NAME:/out"
	[ "$(docker exec "$NAME" cat /out)" = outside ]
	[ "$(docker cp "$NAME:/in" - | tar -xO)" = inside ]
	[ "$(docker diff "$NAME" | sort)" = $'A /in\nA /out\nC /etc\nD /etc/group' ]
	docker commit -c 'CMD ["cat", "/in"]' "$NAME" committed
	[ "$(docker run --rm committed)" = inside ]
	docker export "$NAME" | tar -t | grep -qx out
	docker rmi -f committed
}

@test "docker rename, update, restart" {
	docker run -d --name "$NAME" --memory 256m box sh -c 'echo up; trap "exit 0" TERM; while :; do sleep 0.1; done'
	docker rename "$NAME" "$NAME-new"
	docker update --memory 200m --memory-swap 300m --cpus 0.5 --pids-limit 33 "$NAME-new"
	run docker exec "$NAME-new" cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max
	echo "$status: $output"
	[ "$output" = $'209715200\n33' ]
	pid=$(inspect "$NAME-new" .State.Pid)
	docker restart -t 60 "$NAME-new"
	[ "$(inspect "$NAME-new" .State.Pid)" != "$pid" ]
	[ "$(docker exec "$NAME-new" cat /sys/fs/cgroup/memory.max)" = 209715200 ]
	[ "$(docker logs "$NAME-new" | grep -c up)" -eq 2 ]
}

@test "docker run --restart on-failure:3" {
	docker run -d --name "$NAME" --restart on-failure:3 box sh -c 'echo life; exit 9'
	eventually restarted "$NAME" 3
	eventually exited "$NAME"
	[ "$(docker logs "$NAME" | grep -c life)" -eq 4 ]
	[ "$(inspect "$NAME" .State.ExitCode)" -eq 9 ]
}

restarted() { [ "$(inspect "$1" .RestartCount)" -eq "$2" ]; }

@test "docker run --health-cmd" {
	docker run -d --name "$NAME" --health-cmd 'test -e /healthy' --health-interval 200ms --health-retries 2 \
		box sh -c 'sleep 1000'
	eventually health "$NAME" unhealthy
	docker exec "$NAME" touch /healthy
	eventually health "$NAME" healthy
}

health() { [ "$(inspect "$1" .State.Health.Status)" = "$2" ]; }

@test "out of memory in the guest: exit code 137, OOMKilled" {
	run docker run --name "$NAME" --memory 64m box tail /dev/zero
	[ "$status" -eq 137 ]
	[ "$(inspect "$NAME" .State.ExitCode) $(inspect "$NAME" .State.OOMKilled)" = '137 true' ]
}

@test "docker events and prune" {
	docker events --since 0 --filter "container=$NAME" --format '{{.Action}}' > "$BATS_TEST_TMPDIR/events" &
	events=$!
	docker run -d --name "$NAME" box true
	docker wait "$NAME"
	docker container prune -f
	eventually grep -q destroy "$BATS_TEST_TMPDIR/events"
	kill "$events"
	[ "$(grep -E '^(create|start|die|destroy)$' "$BATS_TEST_TMPDIR/events" | xargs)" = 'create start die destroy' ]
	[ -z "$(docker ps -aq)" ]
}

@test "docker build of six steps with this runtime as the default" {
	mkdir "$BATS_TEST_TMPDIR/context"
	echo copied > "$BATS_TEST_TMPDIR/context/file"
	cat > "$BATS_TEST_TMPDIR/context/Dockerfile" <<-'END'
		FROM box
		ENV A=b
		COPY file /file
		RUN mkdir /w && chown 1234:1234 /w && uname -r > /kernel
		WORKDIR /w
		USER 1234
		RUN cat /file > out && echo $A >> out && id -u >> out
		CMD ["cat", "/w/out", "/kernel"]
	END
	docker build -t built "$BATS_TEST_TMPDIR/context"
	run docker run --rm built
	[ "$output" = $'copied\nb\n1234\n'"$(docker run --rm box uname -r)" ]
	[[ ${lines[3]} == *supermachine ]]
	docker rmi -f built
}

@test "docker compose: two services, up, exec, logs, down" {
	cat > "$BATS_TEST_TMPDIR/docker-compose.yml" <<-'END'
		version: "3"
		services:
		  one: {image: box, command: ["sh", "-c", "echo first; exec sleep 1000"], network_mode: none}
		  two: {image: box, command: ["sh", "-c", "echo second; exec sleep 1000"], network_mode: none, depends_on: [one]}
	END
	cd "$BATS_TEST_TMPDIR"
	docker-compose -p "$NAME" up -d
	[ "$(docker-compose -p "$NAME" exec -T two sh -c 'cat /proc/1/cmdline' | tr '\0' ' ')" = 'sleep 1000 ' ]
	eventually compose_logged second
	docker-compose -p "$NAME" down -t 0
	[ -z "$(docker ps -aq)" ]
}

compose_logged() { docker-compose -p "$NAME" logs | grep -q "$1"; }

@test "the daemon restarts with live-restore: the container goes on" {
	docker run -d --name "$NAME" box sh -c 'mkfifo /gate; echo up; read x < /gate; echo after; exit 8'
	eventually logged "$NAME" up
	pid=$(inspect "$NAME" .State.Pid)
	docker_restart
	[ "$(inspect "$NAME" .State.Pid) $(inspect "$NAME" .State.Status)" = "$pid running" ]
	docker exec -d "$NAME" sh -c 'echo > /gate'
	eventually exited "$NAME"
	[ "$(inspect "$NAME" .State.ExitCode)" -eq 8 ]
	logged "$NAME" after
}

@test "cgroup namespaces, and a daemon without the userland proxy" {
	[[ $(docker run --rm --cgroupns host box cat /proc/self/cgroup) == 0::/*[0-9a-f] ]]
	[ "$(docker run --rm --cgroupns private box cat /proc/self/cgroup)" = 0::/ ]
	docker_down
	docker_up --userland-proxy=false
	[ "$(docker run --rm -p 127.0.0.1::80 box echo published)" = published ]
}
