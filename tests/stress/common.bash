# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What tests/stress share: a bundle, a state root, and what must be true of both.

# shellcheck disable=SC2154	# top is the caller's
build=$(cd "${SM_BUILD_DIR:-$top/build}" && pwd)
runtime=$build/sm-runtime
work=$(mktemp -d /var/tmp/sm-stress.XXXXXX)
root=$work/state
before=$work/before
id='' victim='' i=0

sm() { "$runtime" --root "$root" "$@" < /dev/null; }

finish() {
	local c
	for c in $(sm list -q 2> /dev/null); do sm delete --force "$c"; done
	rm -rf --one-file-system "$work"
}
trap finish EXIT

# make_work ARG…: a bundle that runs the arguments in busybox.
make_work() {
	local bin=$work/bundle/rootfs/bin
	mkdir -p "$bin" "$root"
	cp /bin/busybox "$bin/busybox"
	for name in sh sleep cat true; do ln -s busybox "$bin/$name"; done
	sm spec --bundle "$work/bundle"
	jq '.process.terminal = false | .process.args = $ARGS.positional' "$work/bundle/config.json" \
		--args -- "$@" > "$work/config" && mv "$work/config" "$work/bundle/config.json"
	outside > "$before"
}

fail() {
	echo "FAILED: cycle $i, container $id, victim ${victim:-nobody}: $*"
	exit 1
}

# Again and again, for 60 s at most.
eventually() {
	local end=$((SECONDS + 60))
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.05
	done
}

# Of this run only: others may run meanwhile.
processes() {
	local pid
	for pid in $(pgrep -x 'sm-.*'; pgrep -x qemu-system-x86); do
		{ tr '\0' ' ' < "/proc/$pid/cmdline"; } 2> /dev/null | grep -F "$work/state"
	done
}

# What a command could have forgotten beyond its root.
outside() {
	find /run/supermachine /tmp /var/tmp /dev/shm -maxdepth 1 -name '.sm-*' -o -name 'sm-vmm*' 2> /dev/null
}

leftovers() {
	processes
	find "$root" -mindepth 1 -maxdepth 1
	grep -F "$work" /proc/self/mounts /proc/net/unix
	find /sys/fs/cgroup -type d -name "[cm]$$-*" 2> /dev/null
	outside | diff "$before" - | grep '^>'
}

clean() { [ -z "$(leftovers)" ]; }

ended() {
	local status
	status=$(sm state "$1" 2> /dev/null | jq -r .status)
	[ -z "$status" ] || [ "$status" = stopped ]
}

# The state as commands tell it, against the process table.
check_state() {
	local state status pid
	state=$(sm state "$1" 2> "$work/err") || {
		grep -q 'container does not exist' "$work/err" || fail "state: $(cat "$work/err")"
		! sm list -q | grep -qxF "$1" || fail 'in the list, but has no state'
		return 0
	}
	status=$(jq -r .status <<< "$state") pid=$(jq -r .pid <<< "$state")
	case $status in
	created | running) true_alive "$1" "$pid" || fail "$status, but pid $pid is not its sm-vmm" ;;
	creating) ;;	# killed while it was created: stopped, as soon as the creator is reaped
	stopped) [ "$pid" -eq 0 ] || fail "stopped with pid $pid" ;;
	*) fail "status $status" ;;
	esac
}

# It may have ended since we asked: then the state must say so now.
true_alive() {
	local line
	line=$({ tr '\0' ' ' < "/proc/$2/cmdline"; } 2> /dev/null)
	[[ $line == *"--id $1 "* ]] || eventually ended "$1"
}
