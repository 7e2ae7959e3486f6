#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What a container may use and uses: update, events, out of memory.

load helpers

# host CONTROLLER V1FILE V2FILE: a file of the container's cgroup on the host, or nothing.
host() {
	local f
	for f in "/sys/fs/cgroup/$1/$ID/$2" "/sys/fs/cgroup/$1,"*"/$ID/$2" "/sys/fs/cgroup/"*",$1/$ID/$2" \
		"/sys/fs/cgroup/$ID/$3"; do
		if [ -f "$f" ]; then
			cat "$f"
			return
		fi
	done
}
# The host's quota and period.
quota() {
	if [ -f "/sys/fs/cgroup/$ID/cpu.max" ]; then
		cat "/sys/fs/cgroup/$ID/cpu.max"
	else
		echo "$(host cpu cpu.cfs_quota_us x) $(host cpu cpu.cfs_period_us x)"
	fi
}
# How often the host's kernel has killed in the container's cgroup.
host_kills() { host memory memory.oom_control memory.events | sed -n 's/^oom_kill //p'; }
background() { sm run -d -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/run.out" 2>&1; }
data() { sm events --stats "$ID" | jq -r ".data$1"; }
has_line() { grep -q "$1" "$2"; }

# A program that uses memory until it is killed.
hog='a=0123456789abcdef; while :; do a=$a$a; done'

@test "events --stats: runc's members, the guest's numbers" {
	config '.linux.resources.memory = {limit: 67108864} | .linux.resources.pids = {limit: 50}'
	args sleep 1000
	background
	runsm events --stats "$ID"
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 1 ]
	[ "$(command jq -c 'keys_unsorted' <<< "$output")" = '["type","id","data"]' ]
	[ "$(jq -r '.type + " " + .id' <<< "$output")" = "stats $ID" ]
	[ "$(command jq -c '.data | keys_unsorted' <<< "$output")" = \
		'["cpu","cpuset","memory","pids","blkio","hugetlb","intel_rdt","network_interfaces","tsi"]' ]
	jq -e '.data | .memory.usage.limit == 67108864 and .memory.usage.usage > 0 and
		.memory.raw.anon > 0 and .pids == {current: 1, limit: 50} and .cpu.usage.total > 0 and
		.network_interfaces == null and .tsi.policyDenials == 0' <<< "$output"
}

@test "events: a line for each kill, lines of numbers, the end with the container" {
	config '.linux.resources.memory = {limit: 67108864}'
	args sleep 1000
	background
	sm events --interval 100ms "$ID" > "$BATS_TEST_TMPDIR/events" 3>&- &
	local events=$!
	eventually has_line '^{"type":"stats"' "$BATS_TEST_TMPDIR/events"
	[ "$(grep -c '"oom"' "$BATS_TEST_TMPDIR/events")" -eq 0 ]
	run sm exec "$ID" sh -c "$hog"
	[ "$status" -eq 137 ]
	eventually has_line "^{\"type\":\"oom\",\"id\":\"$ID\"}\$" "$BATS_TEST_TMPDIR/events"
	sm kill "$ID" KILL
	wait_status "$events"
	[ "$status" -eq 0 ]
	[ "$(grep -c '"oom"' "$BATS_TEST_TMPDIR/events")" -eq 1 ]
	grep 'out of memory in the guest: 1 process' "$ROOT/$ID/vmm.log"
}

@test "out of memory: status 137, an event, and the host's cgroup knows" {
	config '.linux.resources.memory = {limit: 67108864}'
	args sh -c "while [ ! -e /go ]; do sleep 0.1; done; $hog"
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run --keep -b "$BUNDLE" "$ID" < /dev/null \
		> "$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	local runner=$!
	eventually is_running
	sm events --interval 100ms "$ID" > "$BATS_TEST_TMPDIR/events" 3>&- &
	local events=$!
	eventually has_line '"stats"' "$BATS_TEST_TMPDIR/events"
	touch "$BUNDLE/rootfs/go"
	wait_status "$runner"
	[ "$status" -eq 137 ]
	wait_status "$events"
	[ "$status" -eq 0 ]
	[ "$(grep -c '"oom"' "$BATS_TEST_TMPDIR/events")" -eq 1 ]
	[ "$(host_kills)" -eq 1 ]
}

is_running() { [ "$(status_of "$ID" 2> /dev/null)" = running ]; }

@test "a kill of another process than the first: the container's own status, and the host's cgroup knows" {
	config '.linux.resources.memory = {limit: 67108864}'
	args sh -c 'sh -c "$0"; exit 5' "$hog"
	runsm run --keep -b "$BUNDLE" "$ID"
	[ "$status" -eq 5 ]
	[ "$(host_kills)" -eq 1 ]
}

@test "no kill: none on the host either" {
	config '.linux.resources.memory = {limit: 67108864}'
	args sh -c 'kill -9 $$'
	config '.linux.namespaces |= map(select(.type != "pid"))'
	runsm run --keep -b "$BUNDLE" "$ID"
	[ "$status" -eq 137 ]
	[ "$(host_kills)" -eq 0 ]
}

@test "update: memory and pids in the guest, CPU on the host; what is not given stays" {
	config '.linux.resources.memory = {limit: 67108864} | .linux.resources.cpu = {quota: 80000, period: 40000}'
	args sleep 1000
	background
	sm update --memory 48M --pids-limit 77 "$ID"
	[ "$(data .memory.usage.limit)" -eq 50331648 ]
	[ "$(data .pids.limit)" -eq 77 ]
	[ "$(quota)" = '80000 40000' ]
	sm update --cpu-quota 60000 "$ID"
	[ "$(quota)" = '60000 40000' ]
	sm update --cpu-period 30000 "$ID"
	[ "$(quota)" = '60000 30000' ]
	sm update --cpu-quota -1 --pids-limit -1 "$ID"
	[[ $(quota) =~ ^(-1|max)' 30000'$ ]]
	[ "$(data .pids.limit)" = null ]
	[ "$(data .memory.usage.limit)" -eq 50331648 ]
	echo '{"memory":{"limit":60000000},"cpu":{"quota":70000}}' | sm update --cpu-quota 1 -r - "$ID"
	[ "$(quota)" = '70000 30000' ]
	[ "$(data .memory.usage.limit)" -eq 59998208 ]
	sm update --memory -1 "$ID"
	[ "$(data .memory.usage.limit)" = 18446744073709552000 ] || [ "$(data .memory.usage.limit)" = 18446744073709551615 ]
}

@test "update: created containers too" {
	args sh -c 'cat /proc/self/cgroup > /dev/null; sleep 1000'
	sm create -b "$BUNDLE" "$ID" < /dev/null > /dev/null 2>&1
	sm update --memory 50M "$ID"
	[ "$(data .memory.usage.limit)" -eq 52428800 ]
	sm start "$ID"
	[ "$(data .memory.usage.limit)" -eq 52428800 ]
}

@test "update: all or nothing" {
	config '.linux.resources.memory = {limit: 67108864} | .linux.resources.cpu = {quota: 80000, period: 40000}'
	args sleep 1000
	background
	# the host refuses one
	runsm update --cpu-quota 50000 --cpuset-cpus 8000 --memory 50M "$ID"
	[ "$status" -eq 1 ]
	[ "$(quota)" = '80000 40000' ]
	[ "$(data .memory.usage.limit)" -eq 67108864 ]
	# the guest refuses the last
	run sm update -r - "$ID" <<< '{"cpu":{"quota":50000},"memory":{"limit":50000000},"unified":{"memory.nonsense":"1"}}'
	[ "$status" -eq 1 ]
	[[ $output == *'write \"1\" to cgroup file memory.nonsense: no such file or directory'* ]]
	[ "$(quota)" = '80000 40000' ]
	[ "$(data .memory.usage.limit)" -eq 67108864 ]
	# what would make the kernel kill is refused if that is asked for
	run sm update -r - "$ID" <<< '{"memory":{"limit":4096,"checkBeforeUpdate":true}}'
	[ "$status" -eq 1 ]
	[[ $output == *'unable to set memory limit to 4096 (current usage: '* ]]
	[ "$(data .memory.usage.limit)" -eq 67108864 ]
	# and nothing of it is kept
	sm update --cpu-period 20000 "$ID"
	[ "$(quota)" = '80000 20000' ]
}

@test "update: a memory limit beyond the VM is refused, naming what would make it bigger" {
	config '.linux.resources.memory = {limit: 67108864}'
	args sleep 1000
	background
	runsm update --memory 8g "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'memory limit 8589934592: is more than the 162 MiB of the container'*'supermachine.io/memory'* ]]
	[ "$(data .memory.usage.limit)" -eq 67108864 ]
	sm delete --force "$ID"
	config '.annotations["supermachine.io/memory"] = "300"'
	background
	sm update --memory 256M "$ID"
	[ "$(data .memory.usage.limit)" -eq 268435456 ]
}

@test "a paused container: update applies at once on the host, at resume in the guest; events waits" {
	config '.linux.resources.memory = {limit: 67108864} | .linux.resources.cpu = {quota: 80000, period: 40000}'
	args sleep 1000
	background
	sm pause "$ID"
	runsm events --stats "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'the container is paused'* ]]
	sm events --interval 100ms "$ID" > "$BATS_TEST_TMPDIR/events" 3>&- &
	local events=$!
	sm update --memory 50M --cpu-quota 50000 "$ID"
	[ "$(quota)" = '50000 40000' ]
	sm resume "$ID"
	[ "$(data .memory.usage.limit)" -eq 52428800 ]
	eventually has_line '"stats"' "$BATS_TEST_TMPDIR/events"
	sm kill "$ID" KILL
	wait_status "$events"
	[ "$status" -eq 0 ]
}
