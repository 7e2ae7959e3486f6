#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The life of a container: exit codes, signals, create/start/kill/delete, exec.

load helpers

@test "exit code 0" {
	args true
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "exit code 3, and 300 as 44" {
	args sh -c 'exit 3'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 3 ]
	args sh -c 'exit 300'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 44 ]
}

@test "a missing program is an error of create, 127's text" {
	args /no/such/program
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'exec: \"/no/such/program\": stat /no/such/program: no such file or directory'* ]]
	args nosuchprogram
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'exec: \"nosuchprogram\": executable file not found in $PATH'* ]]
}

@test "a program that may not be executed is an error of create, 126's text" {
	printf 'data' > "$BUNDLE/rootfs/plain"
	chmod 644 "$BUNDLE/rootfs/plain"
	args /plain
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'exec: \"/plain\": permission denied'* ]]
}

@test "killed by SIGKILL: 137; by SIGTERM: 143" {
	args sh -c 'echo ready; exec sleep 1000'
	start_foreground
	sm kill "$ID" KILL
	wait_status "$runner"
	[ "$status" -eq 137 ]
	config '.linux.namespaces |= map(select(.type != "pid"))'
	args sh -c 'kill -TERM $$; sleep 1000'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 143 ]
}

# Runs the bundle in the foreground of a background job ($runner) and waits for its first line.
start_foreground() {
	mkfifo "$BATS_TEST_TMPDIR/out"
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/out" 3>&- &
	runner=$!
	exec 8< "$BATS_TEST_TMPDIR/out"
	read -r line <&8
}

@test "a foreground run forwards SIGTERM to a handler" {
	args sh -c 'trap "exit 7" TERM; echo ready; while :; do sleep 0.1; done'
	start_foreground
	[ "$line" = ready ]
	kill -TERM "$runner"
	wait_status "$runner"
	[ "$status" -eq 7 ]
}

@test "create, state, start, kill, delete" {
	args sleep 1000
	sm create -b "$BUNDLE" --pid-file "$BATS_TEST_TMPDIR/pid" "$ID" < /dev/null
	[ "$(status_of "$ID")" = created ]
	[ "$(cat "$BATS_TEST_TMPDIR/pid")" = "$(pid_of "$ID")" ]
	sm start "$ID"
	[ "$(status_of "$ID")" = running ]
	runsm start "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'cannot start an already running container'* ]]
	runsm delete "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'that is not stopped'* ]]
	sm kill "$ID" KILL
	wait_gone "$ID"
	runsm kill "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'container not running'* ]]
	sm delete "$ID"
	runsm state "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'does not exist'* ]]
}

@test "PID 1 without a handler ignores SIGTERM, as on any Linux" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	sm kill "$ID" TERM
	runsm exec "$ID" true
	[ "$status" -eq 0 ]
	[ "$(status_of "$ID")" = running ]
}

@test "a created container can be killed and deleted" {
	args sleep 1000
	sm create -b "$BUNDLE" "$ID" < /dev/null
	sm kill "$ID" KILL
	wait_gone "$ID"
	sm delete "$ID"
	sm create -b "$BUNDLE" "$ID" < /dev/null
	sm delete "$ID"
	runsm state "$ID"
	[ "$status" -eq 1 ]
}

@test "the container runs its own kernel and is pid 1" {
	args sh -c 'uname -r; echo $$'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 0 ]
	[ "${lines[0]}" != "$(uname -r)" ]
	[ "${lines[1]}" = 1 ]
}

@test "exec: output, exit codes, errors" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	runsm exec "$ID" echo hello world
	[ "$status" -eq 0 ]
	[ "$output" = 'hello world' ]
	runsm exec "$ID" sh -c 'exit 5'
	[ "$status" -eq 5 ]
	runsm exec "$ID" sh -c 'kill -KILL $$'
	[ "$status" -eq 137 ]
	runsm exec "$ID" nosuchprogram
	[ "$status" -eq 255 ]
	[[ $output == *'executable file not found in $PATH'* ]]
	runsm exec --cwd /nosuchdir "$ID" true
	[ "$status" -eq 255 ]
	runsm exec --env A=b --cwd /tmp --user 1000:1000 "$ID" sh -c 'echo $A; pwd; id -u; id -g'
	[ "$output" = $'b\n/tmp\n1000\n1000' ]
	[ "$(echo in | sm exec "$ID" cat)" = in ]
}

@test "exec in a stopped or missing container fails with 255" {
	args true
	sm run --keep -b "$BUNDLE" "$ID" < /dev/null
	runsm exec "$ID" true
	[ "$status" -eq 255 ]
	[[ $output == *'cannot exec in a stopped container'* ]]
	runsm exec nosuch true
	[ "$status" -eq 255 ]
	[[ $output == *'does not exist'* ]]
}

@test "an exec ends with the container" {
	args sleep 999
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	sm exec "$ID" sleep 1000 < /dev/null 3>&- &
	pid=$!
	eventually runsm_sees_sleep "$ID"
	sm kill "$ID" KILL
	wait_status "$pid"
	[ "$status" -eq 137 ] || [ "$status" -eq 255 ]
	wait_gone "$ID"
}

runsm_sees_sleep() { sm exec "$1" ps < /dev/null | grep -q ' sleep 1000$'; }

@test "ends by SIGSEGV and SIGABRT are 139 and 134, with a core dump or without; so for pid 1" {
	config '.linux.namespaces |= map(select(.type != "pid")) |
		.process.rlimits = [{type: "RLIMIT_CORE", soft: 1000000000, hard: 1000000000}]'
	args sh -c 'cd /tmp; kill -SEGV $$; sleep 1000'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 139 ]
	args sh -c 'ulimit -c 0; kill -ABRT $$; sleep 1000'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 134 ]
	config '.linux.namespaces += [{type: "pid"}]'
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	runsm exec "$ID" sh -c 'ulimit -c unlimited; kill -SEGV $$; sleep 1000'
	[ "$status" -eq 139 ]
	runsm exec "$ID" sh -c 'kill -ABRT $$; sleep 1000'
	[ "$status" -eq 134 ]
	# pid 1 of a pid namespace that faults by itself, which no kill from within can do
	config '.process.args = ["/fault"]'
	python3 - "$BUNDLE/rootfs/fault" <<- 'END'
		# an ELF file whose program is "xor eax, eax; mov [rax], eax"
		import os, struct, sys
		head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
		load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 124, 124, 4096)
		open(sys.argv[1], "wb").write(head + load + b"\x31\xc0\x89\x00")
		os.chmod(sys.argv[1], 0o755)
	END
	sm delete --force "$ID"
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 139 ]
}

@test "an init as pid 1 reaps orphans, forwards signals, ends with its child's status" {
	# not "init": that is a link of busybox's to the host's /bin/busybox
	cp --remove-destination /usr/bin/tini-static "$BUNDLE/rootfs/bin/tini"
	args /bin/tini -- sh -c 'trap "exit 9" TERM; (sleep 0.1 & exec true) & echo ready; while :; do sleep 0.1; done'
	start_foreground
	[ "$line" = ready ]
	eventually no_zombies "$ID"
	[ "$(sm exec "$ID" cat /proc/1/comm < /dev/null)" = tini ]
	sm kill "$ID" TERM
	wait_status "$runner"
	[ "$status" -eq 9 ]
	# one without a handler ends by the signal's default: it is not pid 1
	args /bin/tini -- sh -c 'touch /tmp/ready; exec sleep 1000'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	eventually test -e "$BUNDLE/rootfs/tmp/ready"
	sm kill "$ID" TERM
	wait_gone "$ID"
}

no_zombies() { ! sm exec "$1" sh -c 'grep -l "^State:.Z" /proc/[0-9]*/status' < /dev/null; }

@test "orphans of an exec go to pid 1, and end with the container" {
	args sh -c 'while :; do sleep 0.1; done'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	orphan=$(sm exec "$ID" sh -c 'sleep 1001 > /dev/null 2>&1 & echo $!' < /dev/null)
	[ "$(sm exec "$ID" grep ^PPid "/proc/$orphan/status" < /dev/null)" = $'PPid:\t1' ]
	sm kill "$ID" KILL
	wait_gone "$ID"
}

@test "exec into a container that is ending: its end, or an error, but no hang" {
	args sh -c 'trap "exit 0" TERM; touch /tmp/ready; while :; do sleep 0.01; done'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	eventually test -e "$BUNDLE/rootfs/tmp/ready"
	sm kill "$ID" TERM
	for _ in 1 2 3 4 5 6 7 8; do
		run timeout 100 "$SM_BUILD_DIR/sm-runtime" --root "$ROOT" exec "$ID" true < /dev/null
		case $status in
		0 | 137) ;;
		255) [[ $output == *'exec failed: '* ]] ;;
		*) false ;;
		esac
	done
	wait_gone "$ID"
	runsm exec "$ID" true
	[ "$status" -eq 255 ]
	[[ $output == *'cannot exec in a stopped container'* ]]
}

@test "environment, working directory, user, hostname, umask" {
	args sh -c 'echo $X-$HOME; pwd; id -u; id -g; id -G; hostname; umask'
	config '.process.env += ["X=1", "X=2"] | .process.cwd = "/tmp" | .hostname = "box" |
		.process.user = {uid: 1000, gid: 1000, additionalGids: [5, 6], umask: 23}'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 0 ]
	[ "$output" = $'2-/home/user\n/tmp\n1000\n1000\n1000 5 6\nbox\n0027' ]
}

@test "capabilities, no_new_privs, limits, oom score, sysctl" {
	args sh -c 'grep -E "^(Cap|NoNewPrivs)" /proc/self/status; ulimit -n; cat /proc/self/oom_score_adj /proc/sys/kernel/msgmax'
	config '.process.capabilities = {bounding: ["CAP_KILL", "CAP_CHOWN"], effective: ["CAP_KILL"],
		permitted: ["CAP_KILL"], inheritable: ["CAP_KILL"], ambient: ["CAP_KILL"]} |
		.process.user = {uid: 1000, gid: 1000} |
		.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 123, hard: 456}] |
		.process.oomScoreAdj = 77 | .linux.sysctl = {"kernel.msgmax": "4242"}'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 0 ]
	[[ $output == *$'CapInh:\t0000000000000020\nCapPrm:\t0000000000000020\nCapEff:\t0000000000000020\nCapBnd:\t0000000000000021\nCapAmb:\t0000000000000020\nNoNewPrivs:\t1'* ]]
	[[ $output == *$'123\n77\n4242' ]]
}

@test "seccomp: a forbidden call fails with the errno asked for" {
	args sh -c 'mkdir /tmp/x; echo $?; ls -d /tmp'
	config '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64"],
		syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28}]}'
	runsm run -b "$BUNDLE" "$ID"
	[[ $output == *'No space left on device'* ]]
	[[ $output == *$'1\n/tmp' ]]
}

@test "memory and pids limits hold in the guest" {
	args sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max'
	config '.linux.resources.memory.limit = 67108864 | .linux.resources.pids.limit = 77 |
		.linux.namespaces |= map(select(.type != "cgroup")) + [{type: "cgroup"}] |
		.mounts |= map(select(.destination != "/sys/fs/cgroup")) + [{destination: "/sys/fs/cgroup",
		type: "cgroup", source: "cgroup", options: ["ro"]}]'
	runsm run -b "$BUNDLE" "$ID"
	[ "$output" = $'67108864\n77' ]
}
