# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A dockerd for one bats file, with everything of it in $BATS_FILE_TMPDIR.
#
#	docker_up [FLAG…]     starts it, sm-runtime as its default runtime
#	docker_restart        ends it, containers left running, and starts it again
#	docker_down           ends it and its containerd
#	docker ARG…           Debian's client

DOCKER=/usr/bin/docker
DOCKER_DIR=${BATS_FILE_TMPDIR-}/docker
export DOCKER_HOST=unix://$DOCKER_DIR/sock

docker() { "$DOCKER" "$@"; }
inspect() { docker inspect -f "{{$2}}" "$1"; }
exited() { [ "$(inspect "$1" .State.Status)" = exited ]; }
logged() { docker logs "$1" 2>&1 | grep -q "$2"; }
in_container() { docker exec "$@"; }

# A busybox root filesystem as a tar archive.
image() {
	make_busybox_rootfs "$BATS_FILE_TMPDIR/image"
	tar -C "$BATS_FILE_TMPDIR/image" -c .
	rm -r "$BATS_FILE_TMPDIR/image"
}

docker_up() {
	mkdir -p "$DOCKER_DIR"
	printf '%s\n' "$@" > "$DOCKER_DIR/flags"
	jq -n --arg path "$SM_BUILD_DIR/sm-runtime" --arg root "$DOCKER_DIR/runc" '{"default-runtime": "supermachine",
		"live-restore": true, runtimes: {supermachine: {path: $path}}}' > "$DOCKER_DIR/daemon.json"
	docker_start
}

docker_start() {
	local flags

	mapfile -t flags < <(grep . "$DOCKER_DIR/flags")
	dockerd --config-file "$DOCKER_DIR/daemon.json" --bip 10.200.0.1/24 --data-root "$DOCKER_DIR/data" \
		--exec-root "$DOCKER_DIR/exec" -H "$DOCKER_HOST" -p "$DOCKER_DIR/pid" "${flags[@]}" \
		>> "$DOCKER_DIR/log" 2>&1 < /dev/null 3>&- &
	echo $! > "$DOCKER_DIR/process"
	eventually docker_answers || { tail -n 20 "$DOCKER_DIR/log"; return 1; }
}

docker_answers() { docker info > /dev/null 2>&1; }

# dockerd with live-restore leaves its containerd to the containers that run; it takes it up again.
docker_stop() {
	local pid

	pid=$(cat "$DOCKER_DIR/process")
	kill "$pid"
	eventually gone "$pid"
}

gone() { ! kill -0 "$1" 2> /dev/null; }

docker_restart() {
	docker_stop
	docker_start
}

docker_down() {
	local pid mount

	docker ps -aq | xargs -r "$DOCKER" rm -f > /dev/null
	docker_stop
	for pid in $(pgrep -f "$DOCKER_DIR/exec/containerd/containerd.toml"); do
		kill "$pid"
		eventually gone "$pid"
	done
	# what dockerd itself leaves mounted when it ends with live-restore
	for mount in "$DOCKER_DIR/data" "$DOCKER_DIR/exec/netns/default"; do
		if mountpoint -q "$mount"; then umount "$mount"; fi
	done
}

docker_leftovers() {
	local pid

	for pid in $(pgrep -x sm-vmm; pgrep -x qemu-system-x86; pgrep -f containerd-shim); do
		tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null | grep -F -e "$DOCKER_DIR" -e /docker/
	done
	find "$DOCKER_DIR"/exec/runtime-*/moby -mindepth 1 -maxdepth 1 2> /dev/null
	grep -F "$DOCKER_DIR/data/overlay2/" /proc/self/mounts
	find /sys/fs/cgroup -type d -path '*/docker/*' 2> /dev/null
	return 0
}

no_leftovers() { [ -z "$(docker_leftovers)" ]; }
