#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The walls around a running sm-vmm, seen from outside. From inside: tests/unit/test_jail.c.

load helpers

run_sleeper() {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	VMM=$(pid_of "$ID")
}

# The field NAME of task or process directory $1.
field() { awk -v name="$2:" '$1 == name { print $2 }' "$1/status"; }

@test "every thread of sm-vmm has a filter, no new privileges, no bounding set" {
	run_sleeper
	tasks=0
	for task in "/proc/$VMM/task"/*; do
		tasks=$((tasks + 1))
		[ "$(field "$task" Seccomp)" = 2 ]
		[ "$(field "$task" NoNewPrivs)" = 1 ]
		[ "$(field "$task" CapBnd)" = 0000000000000000 ]
		[ "$(field "$task" CapInh)" = 0000000000000000 ]
		[ "$(field "$task" CapAmb)" = 0000000000000000 ]
	done
	# the loop, and those that serve files
	[ "$tasks" -ge 6 ]
}

@test "capabilities: none in the loop; chown, permissions, ids, mknod where files are served" {
	run_sleeper
	[ "$(field "/proc/$VMM/task/$VMM" CapEff)" = 0000000000000000 ]
	[ "$(field "/proc/$VMM/task/$VMM" CapPrm)" = 0000000000000000 ]
	serving=0
	for task in "/proc/$VMM/task"/*; do
		case $(field "$task" CapPrm) in
		0000000000000000) ;;
		# chown dac_override fowner fsetid setgid setuid mknod setfcap
		00000000880000db) serving=$((serving + 1)) ;;
		*)
			field "$task" CapPrm
			return 1
			;;
		esac
	done
	[ "$serving" -eq 5 ]
}

@test "the root of sm-vmm is empty but for its own processes, and read-only" {
	run_sleeper
	[ "$(ls -A "/proc/$VMM/root/")" = proc ]
	[ "$(readlink "/proc/$VMM/cwd")" = / ]
	# neither the host's processes nor its settings
	for name in "/proc/$VMM/root/proc"/*; do
		[[ ${name##*/} =~ ^([123]|self|thread-self)$ ]]
	done
	# its two, and over them what joins the namespace sees: the container's root
	[ "$(wc -l < "/proc/$VMM/mountinfo")" -eq 3 ]
	[ "$(awk '{ print $5, $6 }' "/proc/$VMM/mountinfo" | grep -c '^/\(proc\)\? ro,nosuid,nodev,noexec')" -eq 2 ]
	run ! touch "/proc/$VMM/root/x"
}

@test "who joins the mount namespace of sm-vmm sees the container's files, and can run none" {
	mkdir "$BATS_TEST_TMPDIR/dir" "$BUNDLE/rootfs/real"
	touch "$BATS_TEST_TMPDIR/dir/in-dir"
	ln -s /real "$BUNDLE/rootfs/link"	# absolute: of the container's root, not of the host's
	config '.mounts += [{destination: "/link/ro", type: "bind", source: $dir, options: ["rbind", "ro"]}]' \
		--arg dir "$BATS_TEST_TMPDIR/dir"
	run_sleeper
	# python3 is of the host, already running when it joins
	run python3 - "$VMM" <<-'END'
		import ctypes, os, sys
		fd = os.open(f"/proc/{sys.argv[1]}/ns/mnt", os.O_RDONLY)
		libc = ctypes.CDLL(None, use_errno=True)
		assert libc.unshare(0x200) == 0 and libc.setns(fd, 0x20000) == 0
		assert "busybox" in os.listdir("/bin"), os.listdir("/")
		assert os.listdir("/real/ro") == ["in-dir"], os.listdir("/real")
		open("/made", "w").write("x")
		for what in (lambda: open("/real/ro/x", "w"), lambda: os.execv("/bin/busybox", ["busybox"])):
		    try:
		        what()
		    except OSError as e:
		        print(e.strerror)
	END
	echo "$output"
	[ "$output" = $'Read-only file system\nPermission denied' ]
	[ "$(sm exec "$ID" ls /made < /dev/null)" = /made ]
}

@test "the namespaces of sm-vmm are its own; the network is the container's" {
	run_sleeper
	for ns in mnt pid ipc uts cgroup net; do
		[ "$(readlink "/proc/$VMM/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ]
	done
	[ "$(awk '/^NSpid:/ { print $NF }' "/proc/$VMM/status")" = 1 ]
}

@test "sm-vmm holds no directory of the host but the exports, which end at their own root" {
	mkdir -p "$BUNDLE/share/below"
	config '.mounts += [{destination: "/m", type: "bind", source: "share", options: ["bind"]}]'
	run_sleeper
	sm exec "$ID" ls /m/below < /dev/null
	for fd in "/proc/$VMM/fd"/*; do
		[ -d "$fd/" ] || continue
		case $(readlink "$fd") in
		/proc/1/fd) ;;
		*) [ "$(stat -L -c %d:%i "$fd/../../../..")" != "$(stat -c %d:%i /)" ] ;;
		esac
	done
}

@test "no core dump of sm-vmm nor QEMU, unless the settings ask for it" {
	run_sleeper
	for pid in "$VMM" $(pgrep -P "$VMM" qemu); do
		grep -Eq '^Max core file size +0 +0 ' "/proc/$pid/limits"
	done
	sm delete --force "$ID"
	jq '. + {coreDumps: true}' "${SUPERMACHINE_CONFIG:-/etc/supermachine/config.json}" \
		> "$BATS_TEST_TMPDIR/settings" 2> /dev/null || echo '{"coreDumps": true}' > "$BATS_TEST_TMPDIR/settings"
	export SUPERMACHINE_CONFIG=$BATS_TEST_TMPDIR/settings
	ulimit -c unlimited
	run_sleeper
	grep -Eq '^Max core file size +unlimited' "/proc/$VMM/limits"
}

@test "the helper for kills: strict seccomp, no way to look into it, not the first victim, nothing open" {
	run_sleeper
	helper=$(pgrep -x -P "$VMM" sm-oom)
	[ "$(field "/proc/$helper" Seccomp)" = 1 ]
	[ "$(field "/proc/$helper" NoNewPrivs)" = 1 ]
	[ "$(cat "/proc/$helper/oom_score_adj")" = "$(cat "/proc/$VMM/oom_score_adj")" ]
	grep -Eq '^Max core file size +0 +0 ' "/proc/$helper/limits"
	# its socket, its limit, its score
	[ "$(ls "/proc/$helper/fd" | xargs)" = '3 4 5' ]
	# of the same user, with no more than that
	run setpriv --bounding-set -all --inh-caps -all ls -A "/proc/$helper/root/"
	[ "$status" -ne 0 ]
	kill -KILL "$VMM"
	wait_gone "$ID"
	[ ! -e "/proc/$helper" ]
}

@test "--print-seccomp: three kinds of threads, sorted, within what is promised" {
	run "$SM_BUILD_DIR/sm-vmm" --print-seccomp
	[ "$status" -eq 0 ]
	[ "$(grep -v '^ ' <<< "$output" | xargs)" = 'loop vcpu fs' ]
	max() { awk -v kind="$1" '/^[a-z]/ { on = $1 == kind; next } on { sub(/\(.*/, ""); print $1 }' <<< "$output" | sort -u | wc -l; }
	[ "$(max loop)" -le 45 ]
	[ "$(max vcpu)" -le 20 ]
	[ "$(max fs)" -le 45 ]
	# sockets of the guest's kinds, and where a port is one of the host's, in the loop alone
	[ "$(grep -E '^  socket(\(|$)' <<< "$output" | xargs)" = 'socket(0=AF_INET) socket(0=AF_INET6) socket(0=AF_UNIX)' ]
	run ! grep -E '^  (execve|clone3?|ptrace|mprotect|mount|open_by_handle_at|kill)(\(|$)' <<< "$output"
}

@test "a pipe of another user is read and written" {
	args cat
	chmod 755 "$BATS_TEST_TMPDIR"
	mkfifo "$BATS_TEST_TMPDIR/in"
	chmod 600 "$BATS_TEST_TMPDIR/in"
	chown 65534 "$BATS_TEST_TMPDIR/in"
	echo through > "$BATS_TEST_TMPDIR/in" 3>&- &
	output=$(sm run -b "$BUNDLE" "$ID" < "$BATS_TEST_TMPDIR/in")
	[ "$output" = through ]
}
