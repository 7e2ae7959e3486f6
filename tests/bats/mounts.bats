#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# config.json's mounts, masked and read-only paths.

load helpers

mount_entry() { config '.mounts += [$m]' --argjson m "$1"; }

@test "bind mounts: directory, file, read-only, nested" {
	mkdir -p "$BUNDLE/dir/sub" "$BUNDLE/inner"
	echo file > "$BUNDLE/file"
	echo in > "$BUNDLE/dir/sub/f"
	echo inner > "$BUNDLE/inner/g"
	config '.mounts += [
		{destination: "/m/dir", type: "bind", source: ($b + "/dir"), options: ["rbind", "rw"]},
		{destination: "/m/dir/sub/inner", type: "bind", source: ($b + "/inner"), options: ["bind"]},
		{destination: "/m/ro", type: "bind", source: ($b + "/dir"), options: ["bind", "ro"]},
		{destination: "/m/file", type: "bind", source: ($b + "/file"), options: ["bind"]},
		{destination: "/etc/rofile", type: "bind", source: "file", options: ["bind", "ro"]}]' --arg b "$BUNDLE"
	args sh -c 'cat /m/dir/sub/f /m/dir/sub/inner/g /m/file /etc/rofile
		echo new > /m/dir/new && echo changed > /m/file
		echo x > /m/ro/x; echo x > /etc/rofile; touch /m/ro/sub/f; cat /m/ro/new'
	runsm run -b "$BUNDLE" "$ID"
	echo "$output"
	[[ $output == $'in\ninner\nfile\nfile\n'* ]]
	[[ $output == *"can't create /m/ro/x: Read-only file system"* ]]
	[[ $output == *"can't create /etc/rofile: Read-only file system"* ]]
	[ "$(cat "$BUNDLE/dir/new")" = new ]
	[ "$(cat "$BUNDLE/file")" = changed ]
	[ ! -e "$BUNDLE/dir/x" ]
}

@test "a recursive bind shows what is mounted below the source" {
	mkdir -p "$BUNDLE/tree/below"
	mount -t tmpfs none "$BUNDLE/tree/below"
	echo there > "$BUNDLE/tree/below/f"
	mount_entry '{"destination": "/tree", "type": "bind", "source": "tree", "options": ["rbind"]}'
	args sh -c 'cat /tree/below/f; [ $(stat -c %d /tree) != $(stat -c %d /tree/below) ] && echo other device'
	runsm run -b "$BUNDLE" "$ID"
	umount "$BUNDLE/tree/below"
	[ "$output" = $'there\nother device' ]
}

@test "a bind that is not recursive does not; later mounts of the host are not seen" {
	mkdir -p "$BUNDLE/tree/below" "$BUNDLE/tree/later"
	mount -t tmpfs none "$BUNDLE/tree/below"
	touch "$BUNDLE/tree/below/hidden"
	config '.mounts += [
		{destination: "/tree", type: "bind", source: "tree", options: ["bind"]},
		{destination: "/rootfs", type: "bind", source: "rootfs", options: ["rbind", "rslave"]}]'
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	umount "$BUNDLE/tree/below"
	mount -t tmpfs none "$BUNDLE/rootfs/mnt"
	touch "$BUNDLE/rootfs/mnt/hidden"
	run sm exec "$ID" ls /tree/below /rootfs/mnt < /dev/null
	umount "$BUNDLE/rootfs/mnt"
	[ "$status" -eq 0 ]
	[[ $output != *hidden* ]]
}

@test "tmpfs with size and mode, nosuid nodev noexec" {
	mount_entry '{"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec", "size=1m", "mode=1711"]}'
	args sh -c 'stat -c %a /t; grep " /t " /proc/mounts; cp /bin/busybox /t 2>&1 | head -n 1; echo x > /t/s; chmod 755 /t/s; /t/s'
	runsm run -b "$BUNDLE" "$ID"
	[ "${lines[0]}" = 1711 ]
	[[ ${lines[1]} == *nosuid,nodev,noexec*size=1024k,mode=1711* ]]
	[[ $output == *'Permission denied'* ]]
}

@test "proc, sysfs, devpts, mqueue, shm, cgroup2 are real" {
	# `spec` writes one already where the host has cgroup v2 alone
	config '.linux.namespaces |= map(select(.type != "cgroup")) + [{type: "cgroup"}] | .mounts |= map(select(.destination != "/sys/fs/cgroup")) +
		[{destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "noexec", "nodev", "ro"]}]'
	args sh -c 'awk "{ print \$2, \$3 }" /proc/mounts; cat /proc/self/cgroup; ls -l /dev/ptmx | sed "s/.*-> //"; ls /dev/pts'
	runsm run -b "$BUNDLE" "$ID"
	echo "$output"
	for m in '/proc proc' '/dev tmpfs' '/dev/pts devpts' '/dev/shm tmpfs' '/dev/mqueue mqueue' '/sys sysfs' '/sys/fs/cgroup cgroup2'; do
		[[ $'\n'$output == *$'\n'"$m"$'\n'* ]]
	done
	[[ $output == *$'\n0::/\n'* ]]
}

@test "the device files that the spec promises" {
	args sh -c 'cd /dev; stat -c "%n %t %T %a" null zero full random urandom tty; for l in fd stdin stdout stderr; do readlink $l; done; echo x > null'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 0 ]
	[ "$output" = $'null 1 3 666\nzero 1 5 666\nfull 1 7 666\nrandom 1 8 666\nurandom 1 9 666\ntty 5 0 666\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2' ]
}

@test "masked and read-only paths" {
	echo secret > "$BUNDLE/rootfs/etc/secret"
	mkdir "$BUNDLE/rootfs/etc/hidden"
	echo x > "$BUNDLE/rootfs/etc/hidden/f"
	config '.linux.maskedPaths += ["/etc/secret", "/etc/hidden", "/nowhere"] | .linux.readonlyPaths += ["/var", "/nowhere"]'
	args sh -c 'cat /etc/secret; ls /etc/hidden; echo x > /var/x; echo x > /proc/sys/kernel/hostname; wc -c < /proc/timer_list'
	runsm run -b "$BUNDLE" "$ID"
	echo "$output"
	[[ $output != *secret* ]]
	[[ $output == *"can't create /var/x: Read-only file system"* ]]
	[[ $output == *"can't create /proc/sys/kernel/hostname: Read-only file system"* ]]
	[ "${lines[-1]}" = 0 ]
}

@test "a missing bind source fails create with its name, and leaves nothing" {
	mount_entry '{"destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"]}'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'/no/such/source'*'no such file or directory'* ]]
	[ -z "$(leftovers)" ]
}

@test "a mount that the guest refuses fails create with its name, and leaves nothing" {
	mount_entry '{"destination": "/x", "type": "nosuchfs", "source": "none"}'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *nosuchfs* ]]
	[ -z "$(leftovers)" ]
}

@test "a mount destination behind a symlink stays inside the root" {
	mkdir "$BATS_TEST_TMPDIR/outside" "$BUNDLE/src"
	echo f > "$BUNDLE/src/f"
	ln -s "$BATS_TEST_TMPDIR/outside" "$BUNDLE/rootfs/link"
	mount_entry '{"destination": "/link/x", "type": "bind", "source": "src", "options": ["bind"]}'
	args cat /link/x/f
	runsm run -b "$BUNDLE" "$ID"
	[ "$output" = f ]
	[ -z "$(ls "$BATS_TEST_TMPDIR/outside")" ]
}
