#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Many containers, killed processes, nothing left behind.

load helpers

@test "${SM_RUNS:-200} runs one after the other, nothing left" {
	args sh -c 'exit 5'
	for ((i = 0; i < ${SM_RUNS:-200}; i++)); do
		code=0
		sm run -b "$BUNDLE" "$ID-$i" < /dev/null > /dev/null || code=$?
		[ "$code" -eq 5 ] || { echo "run $i: exit code $code"; return 1; }
	done
	[ -z "$(leftovers)" ]
}

@test "8 at a time, ${SM_ROUNDS:-5} times, nothing left" {
	args sh -c 'echo output; exit 6'
	for ((round = 0; round < ${SM_ROUNDS:-5}; round++)); do
		pids=()
		for ((i = 0; i < 8; i++)); do
			sm run -b "$BUNDLE" "$ID-$round-$i" < /dev/null > "$BATS_TEST_TMPDIR/out.$i" 3>&- &
			pids+=($!)
		done
		for ((i = 0; i < 8; i++)); do
			code=0
			wait "${pids[i]}" || code=$?
			[ "$code" -eq 6 ] || { echo "round $round, $i: exit code $code"; return 1; }
			[ "$(cat "$BATS_TEST_TMPDIR/out.$i")" = output ]
		done
	done
	[ -z "$(leftovers)" ]
}

# As many as said, and one more command in each way that has to go on working.
execs() {
	local i
	for ((i = 0; i < $1; i++)); do
		sm exec -d "$ID" sleep 1000 < /dev/null > /dev/null 2> "$BATS_TEST_TMPDIR/err" 3>&- || {
			echo "exec $i: $(cat "$BATS_TEST_TMPDIR/err")"
			return 1
		}
	done
}

@test "${SM_EXECS:-300} execs at once in one VM" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&-
	execs "${SM_EXECS:-300}"
	[ "$(sm ps "$ID" | grep -c 'sleep 1000')" -eq $((${SM_EXECS:-300} + 1)) ]
	runsm exec "$ID" echo hello
	[ "$output" = hello ]
	sm events --stats "$ID" > /dev/null
	sm kill "$ID" KILL
	wait_gone "$ID"
	sm delete "$ID"
	[ -z "$(leftovers)" ]
}

@test "more execs than there are descriptors for are refused, and make no harm" {
	args sleep 1000
	# Without the capability by which sm-vmm raises the limit again.
	(ulimit -n 512 && exec setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource \
		"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&-)
	execs 31
	runsm exec "$ID" true
	[ "$status" -eq 255 ]
	[[ $output == *'exec: this VM has 32 containers and execs already, and more would need more open files than sm-vmm may have: end some first, or raise RLIMIT_NOFILE where they are created'* ]]
	runsm exec -d "$ID" true
	[ "$status" -eq 255 ]
	pkill -n -f -- "exec -d $ID sleep" # the process is its proxy's
	works() { sm exec "$ID" true < /dev/null 2> /dev/null; }
	eventually works
	[ "$(status_of "$ID")" = running ]
	sm delete --force "$ID"
}

rss() { awk '/^VmRSS/ { print $2 }' "/proc/$(pid_of "$ID")/status"; }

@test "a client that waits 1000 times on one connection; what it leaves behind" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null > /dev/null 3>&-
	(cd "$ROOT/$ID" && python3 "$BATS_TEST_DIRNAME/waits.py" vmm.sock "$ID" 1000 1)
	before=$(rss)
	(cd "$ROOT/$ID" && python3 "$BATS_TEST_DIRNAME/waits.py" vmm.sock "$ID" 1000 "${SM_WAITS:-60}")
	after=$(rss)
	echo "VmRSS: $before kB, after ${SM_WAITS:-60} times 1,000 requests $after kB"
	((after - before < 6000))
	sm delete --force "$ID"
}

@test "SIGKILL to sm-vmm: stopped, 137, deletable; the next run works" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	kill -KILL "$(pid_of "$ID")"
	wait_gone "$ID"
	sm delete --force "$ID"
	[ -z "$(leftovers)" ]
	args true
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 0 ]
}

@test "SIGKILL to a foreground run leaves the container to delete --force" {
	args sh -c 'echo ready; exec sleep 1000'
	mkfifo "$BATS_TEST_TMPDIR/out"
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/out" 3>&- &
	runner=$!
	exec 8< "$BATS_TEST_TMPDIR/out"
	read -r line <&8
	kill -KILL "$runner"
	wait "$runner" || :
	[ "$(status_of "$ID")" = running ]
	sm delete --force "$ID"
	exec 8<&-
}

@test "many execs: 20 at once, then 100 in turn; no descriptor is left in sm-vmm" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	vmm=$(pid_of "$ID")
	sm exec "$ID" true < /dev/null
	before=$(ls "/proc/$vmm/fd" | wc -l)
	pids=()
	for ((i = 0; i < 20; i++)); do
		sm exec "$ID" sh -c "echo $i; exit $i" < /dev/null > "$BATS_TEST_TMPDIR/out.$i" \
			2> "$BATS_TEST_TMPDIR/err.$i" 3>&- &
		pids+=($!)
	done
	for ((i = 0; i < 20; i++)); do
		code=0
		wait "${pids[i]}" || code=$?
		[ "$code" -eq "$i" ] || { echo "exec $i: exit code $code: $(cat "$BATS_TEST_TMPDIR/err.$i")"; return 1; }
		[ "$(cat "$BATS_TEST_TMPDIR/out.$i")" = "$i" ]
	done
	for ((i = 0; i < 100; i++)); do
		sm exec "$ID" true < /dev/null
	done
	same_fds() { [ "$(ls "/proc/$vmm/fd" | wc -l)" -le "$before" ]; }
	eventually same_fds
}

@test "a guest that kills its own kernel ends the container, not silently" {
	args tail /dev/zero
	config '.linux.sysctl = {"vm.panic_on_oom": "2"} | .annotations = {"supermachine.io/memory": "128"}'
	runsm run --keep -b "$BUNDLE" "$ID"
	[ "$status" -eq 255 ]
	grep -q 'panic' "$ROOT/$ID/console.log"
	grep -q 'VM lost while running the container' "$ROOT/$ID/vmm.log"
	sm delete --force "$ID"
}
