#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The root filesystem and its files, shared between guest and host.

load helpers

# Runs a shell script in the container, root in busybox.
guest() {
	args sh -ec "$1"
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -eq 0 ]
}

# The same in a Debian with development tools. It is a copy, for it gets written.
debian() {
	local rootfs
	rootfs=$("$BATS_TEST_DIRNAME/../make-rootfs" devel)
	cp -a --reflink=auto "$rootfs" "$BATS_TEST_TMPDIR/debian"
	config '.root.path = $dir' --arg dir "$BATS_TEST_TMPDIR/debian"
	config '.process.capabilities |= map_values(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID",
		"CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_MKNOD", "CAP_SYS_CHROOT", "CAP_SETFCAP",
		"CAP_SYS_ADMIN", "CAP_NET_BIND_SERVICE"])'
	args bash -ec "$1"
	runsm run -b "$BUNDLE" "$ID"
	if [ "$status" -ne 0 ]; then
		echo "$output"
		return 1
	fi
}

all_caps() {
	config '.process.capabilities |= map_values(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID",
		"CAP_SETFCAP", "CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_MKNOD"])'
}

@test "the host sees what the guest wrote: ids, mode, times, content" {
	all_caps
	guest 'echo content > /f; chown 1234:567 /f; chmod 2741 /f; touch -d "2001-02-03 04:05:06" /f
		mkdir -m 1755 /d; ln -s /nowhere /dangling; ln -s ../x /rel; ln /f /hard; mkfifo /fifo; mknod /node c 1 3'
	[ "$(stat -c '%u %g %a %h %s %Y' "$BUNDLE/rootfs/f")" = "1234 567 2741 2 8 $(date -ud '2001-02-03 04:05:06' +%s)" ]
	[ "$(cat "$BUNDLE/rootfs/f")" = content ]
	[ "$(stat -c '%a %F' "$BUNDLE/rootfs/d")" = '1755 directory' ]
	[ "$(readlink "$BUNDLE/rootfs/dangling")" = /nowhere ]
	[ "$(readlink "$BUNDLE/rootfs/rel")" = ../x ]
	[ "$(stat -c %i "$BUNDLE/rootfs/hard")" = "$(stat -c %i "$BUNDLE/rootfs/f")" ]
	[ "$(stat -c %F "$BUNDLE/rootfs/fifo")" = fifo ]
	[ "$(stat -c '%F %t %T' "$BUNDLE/rootfs/node")" = 'character special file 1 3' ]
}

@test "the guest sees what the host wrote, before and within a second while running" {
	echo before > "$BUNDLE/rootfs/f"
	chown 1234:567 "$BUNDLE/rootfs/f"
	chmod 644 "$BUNDLE/rootfs/f"
	touch -d @1000000000 "$BUNDLE/rootfs/f"
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	[ "$(sm exec "$ID" stat -c '%u %g %a %Y' /f < /dev/null)" = '1234 567 644 1000000000' ]
	[ "$(sm exec "$ID" cat /f < /dev/null)" = before ]
	echo 'after it' > "$BUNDLE/rootfs/f"
	echo new > "$BUNDLE/rootfs/g"
	run sm exec "$ID" sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do [ "$(cat /f /g 2>/dev/null)" = "after it
new" ] && echo seen $i && exit; sleep 0.1; done; cat /f /g' < /dev/null
	[[ $output == seen* ]]
	rm "$BUNDLE/rootfs/g"
	run sm exec "$ID" sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11; do [ -e /g ] || exit 0; sleep 0.1; done; exit 1' < /dev/null
	[ "$status" -eq 0 ]
}

@test "rename over, append, holes, large and long names, deep trees" {
	guest 'echo a > /a; echo b > /b; mv /a /b; [ "$(cat /b)" = a ]; [ ! -e /a ]
		echo 1 > /log; (for i in 2 3 4; do echo $i >> /log; done); [ "$(cat /log | tr "\n" " ")" = "1 2 3 4 " ]
		dd if=/dev/zero of=/hole bs=1 count=1 seek=10000000 2>/dev/null
		n=$(printf "%0255d" 0); echo x > /$n; [ "$(cat /$n)" = x ]
		if (echo x > /${n}0) 2>/dev/null; then exit 1; fi
		mkdir -p /deep/$(for i in $(seq 100); do printf d$i/; done); find /deep | wc -l'
	[ "$output" = 101 ]
	[ "$(stat -c %s "$BUNDLE/rootfs/hole")" = 10000001 ]
	[ "$(stat -c %b "$BUNDLE/rootfs/hole")" -lt 100 ]
}

@test "${SM_FILES:-200000} files in one directory" {
	n=${SM_FILES:-200000}
	mkdir "$BUNDLE/rootfs/many"
	(cd "$BUNDLE/rootfs/many" && seq -f f%06g "$n" | xargs touch)
	guest 'ls /many | wc -l; ls -l /many | tail -n 1 | sed "s/.* //"; rm -r /many; ls -d /many 2>/dev/null | wc -l'
	[ "$output" = "$(printf '%d\nf%06d\n0' "$n" "$n")" ]
}

@test "a full filesystem says so" {
	mkdir "$BATS_TEST_TMPDIR/small"
	mount -t tmpfs -o size=1m none "$BATS_TEST_TMPDIR/small"
	config '.mounts += [{destination: "/small", type: "bind", source: $s, options: ["rbind"]}]' \
		--arg s "$BATS_TEST_TMPDIR/small"
	args sh -c 'dd if=/dev/zero of=/small/f bs=64k count=100 2>&1; df -m /small | tail -n 1'
	runsm run -b "$BUNDLE" "$ID"
	umount "$BATS_TEST_TMPDIR/small"
	[[ $output == *'No space left on device'* ]]
}

@test "a read-only root refuses writes, on the host's side too" {
	config '.root.readonly = true'
	args sh -c 'echo x > /x'
	runsm run -b "$BUNDLE" "$ID"
	[ "$status" -ne 0 ]
	[[ $output == *'Read-only file system'* ]]
	[ ! -e "$BUNDLE/rootfs/x" ]
}

@test "a symlink in the root filesystem leads nowhere outside" {
	ln -s "$BATS_TEST_TMPDIR" "$BUNDLE/rootfs/out"
	echo secret > "$BATS_TEST_TMPDIR/secret"
	args sh -c 'cat /out/secret; ls /run/host /../../../..'
	runsm run -b "$BUNDLE" "$ID"
	[[ $output != *secret$'\n'* ]]
	[[ $output == *"can't open '/out/secret'"* ]]
}

@test "file system calls as a program makes them" {
	cp "$BATS_TEST_DIRNAME/fscalls.py" "$BUNDLE/"
	rootfs=$("$BATS_TEST_DIRNAME/../make-rootfs" devel)
	config '.root = {path: $dir, readonly: true} | .mounts += [
		{destination: "/mnt", type: "bind", source: $bundle, options: ["bind"]}]' \
		--arg dir "$rootfs" --arg bundle "$BUNDLE"
	all_caps
	mkdir "$BUNDLE/work"
	args python3 /mnt/fscalls.py /mnt/work
	runsm run -b "$BUNDLE" "$ID"
	echo "$output"
	[ "$status" -eq 0 ]
	[ "${lines[-1]}" = 'all calls behave' ]
	[ "$(getfattr --only-values -n user.name "$BUNDLE/work/xattr")" = value ]
}

@test "dpkg and apt install a package" {
	debian 'dpkg -i /srv/hello_*.deb; hello; dpkg -r hello
		apt-get -y -o APT::Sandbox::User=root install /srv/hello_*.deb; hello -g bye; dpkg -V hello'
	[[ $output == *'Hello, world!'* ]]
	[[ $output == *bye* ]]
	grep -q '^Package: hello$' "$BATS_TEST_TMPDIR/debian/var/lib/dpkg/status"
}

@test "git clones a local repository, gcc builds, setuid and capabilities stay" {
	mkdir "$BUNDLE/src"
	printf '#include <stdio.h>\nint main(void) { puts("built here"); }\n' > "$BUNDLE/src/main.c"
	git -C "$BUNDLE/src" init -q
	git -C "$BUNDLE/src" add .
	git -C "$BUNDLE/src" -c user.name=x -c user.email=x@example.org commit -qm x
	config '.mounts += [{destination: "/opt", type: "bind", source: $s, options: ["bind"]}]' --arg s "$BUNDLE/src"
	debian 'export HOME=/root; git config --global --add safe.directory "*"; git clone -q /opt /root/c; cd /root/c; git log --oneline | wc -l
		gcc -O2 main.c -o main; ./main; git status --short
		cp main suid; chmod 4755 suid; cp main capped; setcap cap_net_raw+ep capped; getcap capped
		echo x >> suid; stat -c %a suid'
	[[ $output == *$'1\nbuilt here\n?? main\n'* ]]
	[ "$(stat -c %a "$BATS_TEST_TMPDIR/debian/usr/bin/su")" = 4755 ]
	[ -n "$(getfattr -m - "$BATS_TEST_TMPDIR/debian/root/c/capped" 2> /dev/null)" ]
}
