#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Podman and conmon drive sm-runtime: storage and state are this file's own.

bats_require_minimum_version 1.5.0
load helpers

podman() {
	/usr/bin/podman --root "$BATS_FILE_TMPDIR/storage" --runroot "$BATS_FILE_TMPDIR/run" \
		--tmpdir "$BATS_FILE_TMPDIR/tmp" --cgroup-manager cgroupfs --events-backend file \
		--runtime "$SM_BUILD_DIR/sm-runtime" "$@"
}

setup_file() {
	make_busybox_rootfs "$BATS_FILE_TMPDIR/image"
	tar -C "$BATS_FILE_TMPDIR/image" -c . |
		podman import -c 'ENV PATH=/bin' -c 'CMD ["sh"]' - box > /dev/null
	rm -r "$BATS_FILE_TMPDIR/image"
}

teardown_file() {
	podman rmi -af > /dev/null
	if mountpoint -q "$BATS_FILE_TMPDIR/storage/overlay"; then umount "$BATS_FILE_TMPDIR/storage/overlay"; fi
}

setup() { NAME=c$BATS_TEST_NUMBER; }

podman_leftovers() {
	local pid

	for pid in $(pgrep -x sm-vmm; pgrep -x qemu-system-x86; pgrep -x conmon); do
		tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null | grep -F -e "$BATS_FILE_TMPDIR"
	done
	grep -F "$BATS_FILE_TMPDIR/storage/overlay/" /proc/self/mounts
	find /sys/fs/cgroup -type d -path '*/libpod*' 2> /dev/null | grep -F "libpod-${CID-none}"
	return 0
}

no_leftovers() { [ -z "$(podman_leftovers)" ]; }

teardown() {
	if [ -n "${USER_DIR-}" ]; then
		pkill -KILL -u 54321 || true
		rm -rf "$USER_DIR"
	fi
	CID=$(podman ps -aq --no-trunc | head -n 1)
	podman pod rm -af -t 0 > /dev/null
	podman rm -af -t 0 > /dev/null
	eventually no_leftovers || { echo "left behind: $(podman_leftovers)"; return 1; }
}

inspect() { podman inspect -f "{{$2}}" "$1"; }
logged() { podman logs "$1" 2>&1 | grep -q "$2"; }
in_container() { podman exec "$@"; }
run_here() { podman run --network none "$@"; }

@test "podman run: output, exit codes, what cannot be run" {
	run run_here --rm box sh -c 'echo out; exit 42'
	[ "$status" -eq 42 ]
	[ "$output" = out ]
	[ "$(run_here --rm box sh -c 'echo out; echo err >&2' 2> /dev/null)" = out ]
	run -127 run_here --rm box nosuch
	[[ $output == *'executable file not found in $PATH'* ]]
	run -126 run_here --rm box /etc
	run run_here --name "$NAME" --user 1000:100 --workdir /mnt -e A=b --hostname guest --read-only box \
		sh -c 'id -u; id -g; pwd; echo $A; hostname; touch /x 2>&1'
	[ "$output" = $'1000\n100\n/mnt\nb\nguest\ntouch: /x: Read-only file system' ]
	head -c 1000000 /dev/urandom > "$BATS_TEST_TMPDIR/data"
	run_here --rm -i box cat < "$BATS_TEST_TMPDIR/data" | cmp - "$BATS_TEST_TMPDIR/data"
}

@test "podman run -it and exec -it on a terminal" {
	local words=(/usr/bin/podman --root "$BATS_FILE_TMPDIR/storage" --runroot "$BATS_FILE_TMPDIR/run"
		--tmpdir "$BATS_FILE_TMPDIR/tmp" --cgroup-manager cgroupfs --events-backend file
		--runtime "$SM_BUILD_DIR/sm-runtime")

	python3 "$BATS_TEST_DIRNAME/terminal.py" words "${words[@]}" run --network none --rm -it box sh
	run_here -d --name "$NAME" box sleep 1000
	python3 "$BATS_TEST_DIRNAME/terminal.py" words "${words[@]}" exec -it "$NAME" sh
}

@test "podman run -d, exec, logs, top, stop, wait, start again, rm" {
	run_here -d --name "$NAME" box sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'
	eventually logged "$NAME" up
	[ "$(inspect "$NAME" .State.Status)" = running ]
	[ "$(podman exec -u 1000 -w /tmp -e B=c "$NAME" sh -c 'id -u; pwd; echo $B')" = $'1000\n/tmp\nc' ]
	run podman exec "$NAME" sh -c 'exit 6'
	[ "$status" -eq 6 ]
	[ "$(echo text | podman exec -i "$NAME" cat)" = text ]
	run -127 podman exec "$NAME" nosuch
	podman top "$NAME" -ef | grep -q sleep	# its own /proc reader finds no /proc of the guest's: ps in it does
	podman stop -t 60 "$NAME"
	[ "$(podman wait "$NAME")" -eq 3 ]
	podman start "$NAME"
	podman kill -s KILL "$NAME"
	[ "$(podman wait "$NAME")" -eq 137 ]
	podman rm "$NAME"
}

@test "podman pause, unpause, stats" {
	run_here -d --name "$NAME" box sleep 1000
	podman pause "$NAME"
	[ "$(inspect "$NAME" .State.Status)" = paused ]
	podman unpause "$NAME"
	podman exec "$NAME" true
	run podman stats --no-stream --format '{{.Name}} {{.MemUsage}}' "$NAME"
	[[ $output == "$NAME "[1-9]*MB* ]]
}

@test "podman healthcheck" {
	run_here -d --name "$NAME" --health-cmd 'test -e /healthy' --health-interval disable box sleep 1000
	run podman healthcheck run "$NAME"
	[ "$status" -eq 1 ]
	podman exec "$NAME" touch /healthy
	podman healthcheck run "$NAME"
}

@test "podman cp both ways while it runs, into its root and into a volume" {
	mkdir "$BATS_TEST_TMPDIR/volume"
	run_here -d --name "$NAME" -v "$BATS_TEST_TMPDIR/volume:/data" box sh -c 'echo inside > /in; sleep 1000'
	eventually in_container "$NAME" test -s /in
	echo outside > "$BATS_TEST_TMPDIR/out"
	podman cp "$BATS_TEST_TMPDIR/out" "$NAME:/out"
	podman cp "$BATS_TEST_TMPDIR/out" "$NAME:/data/out"
	[ "$(podman exec "$NAME" cat /out /data/out)" = $'outside\noutside' ]
	[ "$(cat "$BATS_TEST_TMPDIR/volume/out")" = outside ]
	[ "$(podman cp "$NAME:/in" - | tar -xO)" = inside ]
	# who joins the namespace finds files, and no programs
	run nsenter -t "$(inspect "$NAME" .State.Pid)" -m /bin/sh -c true
	[[ $output == *'Permission denied'* ]]
}

@test "podman pod: two containers, one network namespace; generate kube" {
	# In a cgroup of its own on cgroup v2 a pod may use no device, if not systemd makes it: so Podman 4.3, and crun
	# makes no /dev/null there.
	local own=true
	[ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ] || own=false
	podman pod create --network none --share-parent=$own --name "pod$NAME"
	podman run -d --pod "pod$NAME" --name "$NAME-a" box sh -c 'hostname; exec sleep 1000'
	podman run -d --pod "pod$NAME" --name "$NAME-b" box sleep 1000
	[ "$(podman pod inspect -f '{{.State}}' "pod$NAME")" = Running ]
	[ "$(podman exec "$NAME-b" cat /proc/1/cmdline | tr '\0' ' ')" = 'sleep 1000 ' ]
	[ "$(podman exec "$NAME-b" hostname)" = "pod$NAME" ]
	[ "$(netns_of "$NAME-a")" = "$(netns_of "$NAME-b")" ]
	[ "$(netns_of "$NAME-a")" != "$(readlink /proc/self/ns/net)" ]
	podman generate kube "pod$NAME" | grep -q "name: $NAME-b"
	podman pod stop -t 0 "pod$NAME"
}

netns_of() { readlink "/proc/$(inspect "$1" .State.Pid)/ns/net"; }

@test "podman container checkpoint is refused with a reason" {
	run_here -d --name "$NAME" box sleep 1000
	run podman container checkpoint "$NAME"
	[ "$status" -ne 0 ]
	[[ $output == *CRIU* ]]
	[ "$(inspect "$NAME" .State.Status)" = running ]
}

# as_user COMMAND…: as a user of 65,536 subordinate ids whom only this mount namespace knows, with the programs at
# a place that any user can reach.
as_user() {
	unshare -m bash -euc '
		dir=$1
		shift
		for file in passwd group subuid subgid; do mount --bind "$dir/etc/$file" "/etc/$file"; done
		exec setpriv --reuid 54321 --regid 54321 --clear-groups env -i PATH="$PATH" HOME="$dir/home" \
			USER=smuser XDG_RUNTIME_DIR="$dir/xdg" "$@"' bash "$USER_DIR" "$@"
}

rootless() {
	as_user podman --runtime "$USER_DIR/bin/sm-runtime" --cgroup-manager cgroupfs --storage-driver vfs \
		--events-backend file "$@"
}

make_user() {
	USER_DIR=$(mktemp -d /tmp/sm-user-XXXXXX)
	chmod 755 "$USER_DIR"
	mkdir "$USER_DIR"/{bin,etc,home,xdg}
	cp -L "$SM_BUILD_DIR"/{sm-runtime,sm-vmm,vmlinux,initramfs.cpio} "$USER_DIR/bin/"
	cp /etc/{passwd,group,subuid,subgid} "$USER_DIR/etc/"
	echo "smuser:x:54321:54321::$USER_DIR/home:/bin/sh" >> "$USER_DIR/etc/passwd"
	echo 'smuser:x:54321:' >> "$USER_DIR/etc/group"
	echo 'smuser:700000:65536' >> "$USER_DIR/etc/subuid"
	echo 'smuser:700000:65536' >> "$USER_DIR/etc/subgid"
	chown -R 54321:54321 "$USER_DIR"/{home,xdg}
	chmod 700 "$USER_DIR/xdg"
}

@test "podman without root: run, ids, volume, exec, cp; kvm asked for and not permitted" {
	make_user
	make_busybox_rootfs "$BATS_TEST_TMPDIR/image"
	tar -C "$BATS_TEST_TMPDIR/image" -c . | rootless import -c 'ENV PATH=/bin' - box
	mkdir "$USER_DIR/home/volume"
	chown 54321 "$USER_DIR/home/volume"
	run rootless run --rm --network none -v "$USER_DIR/home/volume:/v" --user 1000:100 box sh -c 'id -u; id -g; touch /tmp/x; stat -c %u /tmp/x'
	echo "$output"
	[ "${lines[*]}" = '1000 100 1000' ]
	rootless run --rm --network none -v "$USER_DIR/home/volume:/v" box sh -c 'touch /v/root /v/other; chown 33 /v/other'
	[ "$(stat -c %u "$USER_DIR/home/volume/root" "$USER_DIR/home/volume/other")" = $'54321\n700032' ]
	rootless run -d --network none --name "$NAME" box sleep 1000
	[ "$(rootless exec "$NAME" id -u)" -eq 0 ]
	[ "$(rootless cp "$NAME:/etc/passwd" - | tar -t)" = passwd ]
	rootless rm -f -t 0 "$NAME"
	if [ "$(stat -c %a /dev/kvm 2> /dev/null)" = 600 ]; then
		run rootless run --rm --network none --annotation supermachine.io/hypervisor=kvm box true
		[ "$status" -ne 0 ]
		[[ $output == *'/dev/kvm'* && $output == *ermission* ]]
	fi
	rootless rmi -af
	# but for what keeps the user namespace between commands
	eventually no_user_processes
}

no_user_processes() { [ -z "$(pgrep -u 54321 -l | grep -v -e catatonit)" ]; }
