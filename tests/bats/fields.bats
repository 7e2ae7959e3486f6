#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Fields of config.json that the host has a part in: createContainer hooks and the mounts they make,
# id-mapped mounts, namespaces by path.

load helpers

# hook NAME SHELL_TEXT
hook() {
	config '.hooks[$name] += [{path: "/bin/sh", args: ["sh", "-c", $text]}]' --arg name "$1" --arg text "$2"
}

# ---- createContainer hooks -----------------------------------------------------------------------

@test "createContainer hooks: the container's root, its environment, and what they write and mount" {
	log=$BATS_TEST_TMPDIR/hooks
	config '.process.env += ["OF=container"]'
	hook createContainer "pwd > $log; echo \$OF >> $log; cat >> $log; echo written > written
		mkdir -p mnt && mount -t tmpfs none mnt && echo mounted > mnt/file"
	hook createContainer "cat mnt/file >> $log; echo more >> mnt/file; readlink /proc/self/ns/mnt >> $log"
	args sh -c 'cat /written /mnt/file; echo guest > /mnt/new && cat /mnt/new'
	runsm run -b "$BUNDLE" "$ID"
	echo "$output"
	[ "$output" = $'written\nmounted\nmore\nguest' ]
	cat "$log"
	[ "$(sed -n 1,2p "$log")" = "$BUNDLE/rootfs"$'\ncontainer' ]
	# the state has no newline at its end
	[[ $(sed -n 3p "$log") == '{'*"\"id\":\"$ID\",\"status\":\"creating\",\"pid\":"*"\"bundle\":\"$BUNDLE\"}mounted" ]]
	# nothing of it in the host's namespace
	[ "$(sed -n 4p "$log")" != "$(readlink /proc/self/ns/mnt)" ]
	[ ! -e "$BUNDLE/rootfs/mnt/file" ]
}

@test "createContainer hooks: a file mounted over another, below a read-only root" {
	echo host > "$BUNDLE/library"
	echo image > "$BUNDLE/rootfs/etc/library"
	config '.root.readonly = true'
	hook createContainer "mount --bind $BUNDLE/library etc/library"
	args cat /etc/library
	runsm run -b "$BUNDLE" "$ID"
	[ "$output" = host ]
	[ "$(cat "$BUNDLE/rootfs/etc/library")" = image ]
}

@test "createContainer hooks: a failing one undoes all, poststop runs" {
	hook createContainer 'mount -t tmpfs none mnt; echo "no such card" >&2; exit 4'
	hook poststop "echo poststop > $BATS_TEST_TMPDIR/poststop"
	args true
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'error during container init: error running hook #0: error running hook: exit status 4, stdout: , stderr: no such card'* ]]
	[ "$(cat "$BATS_TEST_TMPDIR/poststop")" = poststop ]
	[ -z "$(leftovers)" ]
}

# ---- id-mapped mounts ----------------------------------------------------------------------------

# A tmpfs in $BUNDLE/vol with files of the users 0 and 5.
volume() {
	mkdir "$BUNDLE/vol"
	mount -t tmpfs none "$BUNDLE/vol"
	touch "$BUNDLE/vol/root" "$BUNDLE/vol/five"
	chown 5:6 "$BUNDLE/vol/five"
}

# Does the host know id-mapped tmpfs? Linux 6.3.
host_maps_tmpfs() { [ "$(printf '%s\n' 6.3 "$(uname -r)" | sort -V | head -n 1)" = 6.3 ]; }

@test "id-mapped mounts: owners both ways, and the same source without" {
	volume
	config '.process.capabilities |= map_values(. + ["CAP_CHOWN"]) | .mounts += [
		{destination: "/mapped", type: "bind", source: "vol", options: ["bind", "idmap"],
			uidMappings: [{containerID: 0, hostID: 1000, size: 10}],
			gidMappings: [{containerID: 0, hostID: 2000, size: 10}]},
		{destination: "/plain", type: "bind", source: "vol", options: ["bind"]}]'
	args sh -c 'stat -c "%u:%g %n" /mapped/* /plain/*
		chown 1003:2003 /mapped/root && touch /plain/new && stat -c "%u:%g %n" /plain/new
		echo x > /mapped/alien || echo refused'
	runsm run -b "$BUNDLE" "$ID"
	after=$(stat -c '%u:%g %n' "$BUNDLE/vol/root")
	umount "$BUNDLE/vol"
	echo "$output"
	if ! host_maps_tmpfs; then
		[[ $output == *"id-mapped mount of $BUNDLE/vol: the host's tmpfs file system does not support that: leave the mappings and idmap out"* ]]
		return
	fi
	[[ $output == $'1005:2006 /mapped/five\n1000:2000 /mapped/root\n5:6 /plain/five\n0:0 /plain/root\n0:0 /plain/new\n'* ]]
	# root is not in the mapping: it can make nothing there, as on any Linux
	[[ $output == *"Value too large"*refused ]]
	[ "$after" = "3:3 $BUNDLE/vol/root" ]
}

@test "id-mapped mounts: by the container's user namespace" {
	volume
	chmod 777 "$BUNDLE/rootfs"
	config '.linux.namespaces += [{type: "user"}] | .mounts += [
			{destination: "/mapped", type: "bind", source: "vol", options: ["rbind", "ridmap"]}] |
		.linux.uidMappings = [{containerID: 0, hostID: 100000, size: 1000}] |
		.linux.gidMappings = .linux.uidMappings'
	args sh -c 'stat -c "%u:%g %n" /mapped/*; touch /mapped/new; stat -c "%u:%g %n" /mapped/new'
	chown -R 100000:100000 "$BUNDLE/rootfs"
	runsm run -b "$BUNDLE" "$ID"
	after=$(stat -c '%u:%g' "$BUNDLE/vol/new" || true)
	umount "$BUNDLE/vol"
	echo "$output"
	if host_maps_tmpfs; then
		[ "$output" = $'5:6 /mapped/five\n0:0 /mapped/root\n0:0 /mapped/new' ]
		[ "$after" = 0:0 ]
	else
		[[ $output == *"the host's tmpfs file system, or one mounted below it, does not support that"* ]]
	fi
}

@test "id-mapped mounts: a file system that cannot is named" {
	config '.mounts += [{destination: "/x", type: "bind", source: "/sys/kernel", options: ["bind", "idmap"],
		uidMappings: [{containerID: 0, hostID: 1000, size: 10}],
		gidMappings: [{containerID: 0, hostID: 2000, size: 10}]}]'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *"/sys/kernel is the guest's own and cannot be id-mapped: leave the mappings and idmap out"* ]]
}

# ---- namespaces by path --------------------------------------------------------------------------

@test "namespaces of another container, as in a pod: its name, an ipc namespace of one's own" {
	infra=$ID-infra
	args sleep 1000
	config '.hostname = "pod-name"'
	sm run -d -b "$BUNDLE" "$infra" < /dev/null
	pid=$(pid_of "$infra")
	config 'del(.hostname) | .linux.namespaces |= map(select(.type == "mount" or .type == "pid")) + [
		{type: "uts", path: "/proc/\($pid)/ns/uts"}, {type: "ipc", path: "/proc/\($pid)/ns/ipc"},
		{type: "network", path: "/proc/\($pid)/ns/net"}]' --arg pid "$pid"
	args hostname
	runsm run -b "$BUNDLE" "$ID"
	[ "$output" = pod-name ]
	# a name of its own counts more
	config '.hostname = "own"'
	runsm run -b "$BUNDLE" "$ID"
	[ "$output" = own ]
	sm delete --force "$infra"
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *"lstat /proc/$pid/ns/ipc: no such file or directory"* ]]
}

@test "namespaces of the host cannot be joined, and of a wrong type neither" {
	config '.linux.namespaces |= map(select(.type != "ipc")) + [{type: "ipc", path: "/proc/self/ns/ipc"}]'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *"linux.namespaces: ipc namespace /proc/self/ns/ipc is not that of a container of this runtime, and cannot be joined: the container has a kernel of its own; leave the path out"* ]]
	config 'del(.hostname) | .linux.namespaces |= map(select(.type != "ipc" and .type != "uts")) +
		[{type: "uts", path: "/proc/self/ns/net"}]'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *"linux.namespaces: uts namespace /proc/self/ns/net: invalid argument"* ]]
}
