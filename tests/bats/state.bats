#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# State that never lies: after a reboot, on a full disk, when files are gone, when two commands meet, when a
# command is killed in the midst. With fake-vmm: it is about sm-runtime.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	jq -n --arg vmm "$SM_BUILD_DIR/fake-vmm" '{vmm: $vmm, kernel: "/etc/passwd",
		initrd: "/etc/passwd", vcpus: 1, memory: 128}' > "$BATS_FILE_TMPDIR/config.json"
	export SUPERMACHINE_CONFIG=$BATS_FILE_TMPDIR/config.json
}

nothing_left() { [ -z "$(leftovers)" ] && ! pgrep -f -- "--id $ID" > /dev/null; }
gone() { ! [ -e "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status"; }
create() { sm create -b "$BUNDLE" "$1" < /dev/null > /dev/null 3>&-; }
background() { sm run -d -b "$BUNDLE" "$1" < /dev/null > /dev/null 3>&-; }

# fails TEXT ARG…: exit code 1 and the text on standard error.
fails() {
	local text=$1
	shift
	runsm "$@"
	[ "$status" -eq 1 ]
	[[ $output == *"$text"* ]] || { echo "$* said: $output"; return 1; }
}

# ---- reboot --------------------------------------------------------------------------------------

other_boot() {
	edit_config "$ROOT/$1/state.json" '.bootId = "00000000-0000-0000-0000-000000000000"'
}

@test "after a reboot a container is stopped, and its pid and its cgroup are somebody else's" {
	args sleep 1000
	for how in background create; do
		$how "$ID"
		vmm=$(pid_of "$ID")
		dirs=$(jq -r '.cgroups[]' "$ROOT/$ID/state.json")
		other_boot "$ID"
		[ "$(sm state "$ID" | jq -c '[.status, .pid]')" = '["stopped",0]' ]
		[ "$(sm list -f json | jq -c 'map([.status, .pid])')" = '[["stopped",0]]' ]
		fails 'container not running' kill "$ID" KILL
		fails 'cannot start a container that has stopped' start "$ID"
		sm delete "$ID"
		[ -d "/proc/$vmm" ]
		kill -KILL "$vmm"
		eventually gone "$vmm"
		for dir in $dirs; do eventually rmdir "$dir"; done
	done
}

@test "after a reboot one that was being created is stopped, whoever has its creator's pid" {
	args sleep 1000
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" create -b "$BUNDLE" "$ID-never" < /dev/null 2> /dev/null 3>&- &
	creator=$!
	eventually grep -qs '"pid": [1-9]' "$ROOT/$ID-never/state.json"
	[ "$(status_of "$ID-never")" = creating ]
	other_boot "$ID-never"
	[ "$(status_of "$ID-never")" = stopped ]
	kill -KILL "$creator"
	sm delete --force "$ID-never"
	eventually no_vmm
	find /sys/fs/cgroup -depth -type d -name "$ID*" -exec rmdir {} +
}

no_vmm() { ! pgrep -f -- "--id $ID" > /dev/null; }

@test "a state root that is gone: nothing exists, and the id is not given out while its VM is there" {
	args sleep 1000
	background "$ID"
	vmm=$(pid_of "$ID")
	mv "$ROOT" "$ROOT.gone"
	fails 'container does not exist' state "$ID"
	fails 'container does not exist' kill "$ID" KILL
	fails 'container does not exist' delete "$ID"
	sm delete --force "$ID"
	fails "container's cgroup is not empty" create -b "$BUNDLE" "$ID"
	[ -d "/proc/$vmm" ]
	rm -rf "$ROOT"
	mv "$ROOT.gone" "$ROOT"
	[ "$(status_of "$ID")" = running ]
	sm delete --force "$ID"
	nothing_left
}

# ---- what is gone --------------------------------------------------------------------------------

@test "bundle, rootfs and working directory gone: state, list, exec, kill and delete work" {
	args sleep 1000
	background "$ID"
	mv "$BUNDLE" "$BUNDLE.gone"
	[ "$(status_of "$ID")" = running ]
	[ "$(sm list -q)" = "$ID" ]
	sm kill "$ID" KILL
	wait_gone "$ID"
	sm delete "$ID"
	nothing_left
	mv "$BUNDLE.gone" "$BUNDLE"
	create "$ID"
	rm -r "$BUNDLE"
	mkdir "$BATS_TEST_TMPDIR/cwd"
	cd "$BATS_TEST_TMPDIR/cwd"
	rmdir "$BATS_TEST_TMPDIR/cwd"
	sm start "$ID"
	sm delete --force "$ID"
	nothing_left
}

@test "files of the state directory gone, one by one and all: delete --force ends the VM" {
	args sleep 1000
	for files in state.json config.json lock vmm.log 'state.json config.json' 'vmm.sock lock' \
		'state.json config.json lock vmm.log console.log'; do
		background "$ID"
		vmm=$(pid_of "$ID")
		(cd "$ROOT/$ID" && rm -f $files)
		sm list > /dev/null
		case $files in
		*state.json*) fails 'container does not exist' state "$ID" ;;
		*) [ "$(status_of "$ID")" = running ] ;;
		esac
		sm delete --force "$ID"
		eventually gone "$vmm"
		[ ! -e "$ROOT/$ID" ]
		# without both files nobody knows the cgroups
		case $files in
		*state.json*config.json*) find /sys/fs/cgroup -depth -type d -name "$ID*" -exec rmdir {} + ;;
		esac
		nothing_left || { echo "without $files:"; leftovers; return 1; }
	done
}

# ---- cgroups that two had ------------------------------------------------------------------------

dirs_of() { jq -r '.cgroups[]' "$ROOT/$1/state.json"; }
no_dir() { ! [ -e "$1" ]; }

@test "a cgroup that another container was given after this one had stopped stays its own" {
	args sleep 1000
	config '.linux.cgroupsPath = $p' --arg p "/$ID-shared"
	for how in delete 'delete --force' damaged; do
		background "$ID"
		sm kill "$ID" KILL
		wait_gone "$ID"
		background "$ID-2"
		vmm=$(pid_of "$ID-2")
		fails "container's cgroup is not empty" create -b "$BUNDLE" "$ID-3"
		if [ "$how" = damaged ]; then
			echo '{' > "$ROOT/$ID/state.json"
			how='delete --force'
		fi
		sm $how "$ID" 2> "$BATS_TEST_TMPDIR/said"
		grep -F "is left: process $vmm in it is not the container's" "$BATS_TEST_TMPDIR/said"
		[ "$(wc -l < "$BATS_TEST_TMPDIR/said")" -eq 1 ]
		[ "$(status_of "$ID-2")" = running ]
		dirs=$(dirs_of "$ID-2")
		sm delete --force "$ID-2"
		for dir in $dirs; do no_dir "$dir"; done
	done
	nothing_left
}

@test "a container whose cgroup is below that of a stopped one outlives it; a stranger's process is not killed" {
	args sleep 1000
	config '.linux.cgroupsPath = $p' --arg p "/$ID-outer"
	background "$ID"
	sm kill "$ID" KILL
	wait_gone "$ID"
	config '.linux.cgroupsPath = $p' --arg p "/$ID-outer/inner"
	background "$ID-2"
	sm delete --force "$ID"
	[ "$(status_of "$ID-2")" = running ]
	sm delete --force "$ID-2"
	find /sys/fs/cgroup -depth -type d -name "$ID-outer" -exec rmdir {} +
	background "$ID"
	sleep 1000 3>&- &
	stranger=$!
	dirs=$(dirs_of "$ID")
	for dir in $dirs; do echo "$stranger" > "$dir/cgroup.procs"; done
	sm delete --force "$ID"
	[ -d "/proc/$stranger" ]
	kill "$stranger"
	wait_status "$stranger"
	for dir in $dirs; do eventually rmdir "$dir"; done
	find /sys/fs/cgroup -depth -type d -name "$ID-outer" -exec rmdir {} +
}

@test "the process of a detached exec goes with its container, also one that stands still" {
	args sleep 1000
	background "$ID"
	sm exec -d --pid-file "$BATS_TEST_TMPDIR/pid" "$ID" sleep 1000 < /dev/null > /dev/null 3>&-
	proxy=$(cat "$BATS_TEST_TMPDIR/pid")
	kill -STOP "$proxy"
	sm delete --force "$ID" 2> "$BATS_TEST_TMPDIR/said"
	[ ! -s "$BATS_TEST_TMPDIR/said" ]
	eventually gone "$proxy"
	nothing_left
}

# ---- a full disk ---------------------------------------------------------------------------------

@test "a full disk: create fails and leaves nothing; what is there can be seen, killed and deleted" {
	unshare --mount --propagation private bash "$BATS_TEST_DIRNAME/full.bash" "$SM_BUILD_DIR/sm-runtime" \
		"$ROOT" "$BUNDLE" "$ID" 3>&-
	nothing_left
}

# ---- two at once ---------------------------------------------------------------------------------

# at_once WORD: four of the command at once; sets wins, and leaves what they said in out.N.
at_once() {
	local i pids=()
	for i in 1 2 3 4; do
		"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" "$@" < /dev/null > "$BATS_TEST_TMPDIR/out.$i" 2>&1 3>&- &
		pids+=($!)
	done
	wins=0
	for i in "${pids[@]}"; do
		if wait "$i"; then wins=$((wins + 1)); fi
	done
}

said() { cat "$BATS_TEST_TMPDIR"/out.* | grep -c -- "$1"; }

@test "start, delete and kill against themselves: one wins, the others say why" {
	args sleep 1000
	for _ in {1..10}; do
		create "$ID"
		at_once start "$ID"
		[ "$wins" -eq 1 ]
		[ "$(said 'cannot start an already running container')" -eq 3 ]
		[ "$(status_of "$ID")" = running ]
		at_once kill "$ID" CONT
		[ "$wins" -eq 4 ]
		at_once kill "$ID" KILL
		[ "$wins" -ge 1 ]
		[ "$(said 'container not running')" -eq $((4 - wins)) ]
		wait_gone "$ID"
		at_once delete "$ID"
		[ "$wins" -eq 1 ]
		[ "$(said 'container does not exist')" -eq 3 ]
		background "$ID"
		at_once delete --force "$ID"
		[ "$wins" -eq 4 ]
		nothing_left
	done
}

@test "start against kill and against delete: no state that is neither" {
	args sleep 1000
	for i in {1..20}; do
		create "$ID"
		sm start "$ID" < /dev/null > /dev/null 2>&1 3>&- &
		starter=$!
		if ((i % 2)); then
			sm kill "$ID" KILL
			wait "$starter" || :
			wait_gone "$ID"
			fails 'cannot start a container that has stopped' start "$ID"
			sm delete "$ID"
		else
			sm delete --force "$ID"
			wait "$starter" || :
			fails 'container does not exist' state "$ID"
		fi
		eventually nothing_left
	done
}

@test "exec against delete: the exec ends, with an error or with the container" {
	args sleep 1000
	for _ in {1..10}; do
		background "$ID"
		sm exec "$ID" sleep 1000 < /dev/null > /dev/null 2>&1 3>&- &
		executor=$!
		sm delete --force "$ID"
		wait_status "$executor"
		[ "$status" -eq 255 ] || [ "$status" -eq 137 ]
		eventually nothing_left
	done
}

# ---- a command that is killed --------------------------------------------------------------------

@test "a start that is killed before it wrote so: the container runs, and everybody says so" {
	args sleep 1000
	create "$ID-mute"
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" start "$ID-mute" < /dev/null > /dev/null 2>&1 3>&- &
	starter=$!
	started() { pgrep -P "$(pid_of "$ID-mute")" -x sleep > /dev/null; }
	eventually started
	[ "$(jq -r .status "$ROOT/$ID-mute/state.json")" = created ]
	kill -KILL "$starter"
	wait "$starter" || :
	[ "$(status_of "$ID-mute")" = running ]
	[ "$(sm list -f json | jq -r '.[].status')" = running ]
	fails 'cannot start an already running container' start "$ID-mute"
	fails 'that is not stopped: running' delete "$ID-mute"
	sm kill "$ID-mute" KILL
	wait_gone "$ID-mute"
	sm delete "$ID-mute"
	nothing_left
}

@test "a start that is killed before it asked: the container is created, and can be started" {
	args sleep 1000
	create "$ID"
	sleep 1000 3>&- &
	other=$!
	edit_config "$ROOT/$ID/state.json" '.creatorPid = $pid | .creatorStartTime = 1' --argjson pid "$other"
	[ "$(status_of "$ID")" = created ]
	sm start "$ID"
	[ "$(status_of "$ID")" = running ]
	sm delete --force "$ID"
	kill "$other"
}

@test "a start in the midst of which its VM hangs is not waited for" {
	args sleep 1000
	create "$ID"
	vmm=$(pid_of "$ID")
	edit_config "$ROOT/$ID/state.json" '.creatorPid = 1 | .creatorStartTime = 1'
	kill -STOP "$vmm"
	timeout 20 "$SM_BUILD_DIR/sm-runtime" --root "$ROOT" state "$ID" > "$BATS_TEST_TMPDIR/said"
	[ "$(jq -r .status "$BATS_TEST_TMPDIR/said")" = created ]
	sm delete --force "$ID"
	nothing_left
}

# ---- ids -----------------------------------------------------------------------------------------

@test "ids with every allowed character, and ones that begin like others" {
	args sleep 1000
	long=$ID-$(printf '%0*d' $((255 - ${#ID} - 1)) 0)
	ids=("$ID" "$ID-" "$ID-a" "$ID-aa" "$ID-a.b" "$ID-a+b" "$ID-a_b" "$ID..." "$ID-AZ09" "$long")
	for id in "${ids[@]}"; do create "$id"; done
	[ "$(sm list -q)" = "$(printf '%s\n' "${ids[@]}" | LC_ALL=C sort)" ]
	for id in "${ids[@]}"; do
		[ "$(sm state "$id" | jq -r .id)" = "$id" ]
		sm start "$id"
	done
	# the shortest first, of which the others begin
	for id in "${ids[@]}"; do
		sm delete --force "$id"
		for other in "${ids[@]}"; do
			[ ! -d "$ROOT/$other" ] || [ "$(status_of "$other")" = running ]
		done
	done
	nothing_left
}

@test "ids that look like options and hidden files" {
	args sleep 1000
	for id in ".$ID" "..$ID" "+$ID" "_$ID" "-$ID"; do
		sm create -b "$BUNDLE" -- "$id" < /dev/null 3>&-
		[ "$(sm list -q)" = "$id" ]
		sm start -- "$id"
		sm exec -- "$id" true < /dev/null
		sm kill -- "$id" KILL
		stopped() { [ "$(sm state -- "$id" | jq -r .status)" = stopped ]; }
		eventually stopped
		sm delete -- "$id"
		[ -z "$(sm list -q)" ]
	done
}
