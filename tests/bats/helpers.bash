# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the bats files share. Each test has a state root, a bundle and an id of its own and leaves nothing
# behind: teardown deletes its containers and fails the test if a process, mount, cgroup or state entry is
# still there.
#
#	sm ARG…             sm-runtime with this test's --root
#	runsm ARG…          the same through bats' `run`, stdin from /dev/null
#	leave_nothing       what teardown does, for those who have their own
#	config FILTER [jq options…]   edits the bundle's config.json
#	args ARG…           sets process.args
#	wait_gone ID        returns when the container's sm-vmm is gone

SM_TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
SM_BUILD_DIR=${SM_BUILD_DIR:-$SM_TOP/build}

# A root filesystem of busybox in $1: a copy of the first that a run of bats made, as each link takes a process.
make_busybox_rootfs() {
	local first=$BATS_RUN_TMPDIR/busybox

	if [ ! -d "$first" ]; then
		link_busybox "$first.$BASHPID"
		mv -T "$first.$BASHPID" "$first"
	fi
	mkdir -p "$1"
	cp -a "$first/." "$1"
}

link_busybox() {
	mkdir -p "$1"/{bin,dev,etc,proc,sys,tmp,run,root,mnt,var}
	chmod 1777 "$1/tmp"
	cp /bin/busybox "$1/bin/busybox"
	# relative links: what writes to one from outside must not find the host's busybox
	"$1/bin/busybox" sh -c 'cd "$0" && for applet in $(./busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$applet"; done' "$1/bin"
	printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n' > "$1/etc/passwd"
	printf 'root:x:0:\nuser:x:1000:\n' > "$1/etc/group"
}

# A bundle in $1 that runs the rest of the arguments in busybox, without a terminal, root writable.
make_bundle() {
	local dir=$1
	shift
	mkdir -p "$dir"
	make_busybox_rootfs "$dir/rootfs"
	"$SM_BUILD_DIR/sm-runtime" spec --bundle "$dir"
	edit_config "$dir/config.json" '.process.terminal = false | .root.readonly = false |
		.process.args = $ARGS.positional' --args -- "$@"
}

# jq 1.6 reads a library of its own at each start: 0.7 s in an emulated host. Only jq itself keeps the order of
# members: `command jq` where that matters.
jq() { gojq "$@"; }

edit_config() {
	local file=$1 filter=$2
	shift 2
	jq "$filter" "$file" "$@" > "$file.new" && mv "$file.new" "$file"
}

setup() {
	ROOT=$BATS_TEST_TMPDIR/state
	BUNDLE=$BATS_TEST_TMPDIR/bundle
	ID=t$$-$BATS_TEST_NUMBER
	make_bundle "$BUNDLE" true
}

sm() { "$SM_BUILD_DIR/sm-runtime" --root "$ROOT" "$@"; }
runsm() { run "$SM_BUILD_DIR/sm-runtime" --root "$ROOT" "$@" < /dev/null; }
config() { edit_config "$BUNDLE/config.json" "$@"; }
args() { config '.process.args = $ARGS.positional' --args -- "$@"; }
status_of() { sm state "$1" | jq -r .status; }
pid_of() { sm state "$1" | jq -r .pid; }

# Runs the arguments again and again until they succeed, for 60 s at most.
eventually() {
	local end=$((SECONDS + 60))
	until "$@"; do
		if ((SECONDS >= end)); then
			echo "not in 60 s: $*"
			return 1
		fi
		sleep 0.05
	done
}

# Waits for a background job and sets $status: bats' `run` would wait in a subshell, for nobody's child.
wait_status() {
	status=0
	wait "$1" || status=$?
}

is_stopped() { [ "$(status_of "$1")" = stopped ]; }
wait_gone() { eventually is_stopped "$1"; }

# Everything of this test that is still there.
leftovers() {
	local pid
	for pid in $(pgrep -x 'sm-vmm|qemu-system-x86'); do
		tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null | grep -F "$BATS_TEST_TMPDIR"
	done
	grep -F "$BATS_TEST_TMPDIR" /proc/self/mounts
	grep -F "$BATS_TEST_TMPDIR" /proc/net/unix
	find /sys/fs/cgroup -type d -name "$ID*" 2> /dev/null
	if [ -d "$ROOT" ]; then find "$ROOT" -mindepth 1 -maxdepth 1; fi
	return 0
}

teardown() { leave_nothing; }

leave_nothing() {
	local left c
	if [ -d "$ROOT" ]; then
		for c in $(sm list -q); do sm delete --force "$c"; done
	fi
	left=$(leftovers)
	if [ -n "$left" ]; then
		echo "left behind:"
		echo "$left"
		return 1
	fi
}
