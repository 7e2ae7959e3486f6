#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# stdin, stdout, stderr and terminals.

load helpers

@test "${SM_STREAM_MB:-200} MB through stdin, cat and stdout arrive unchanged" {
	args cat
	openssl enc -aes-128-ctr -pass pass:x -nosalt -pbkdf2 < <(head -c "${SM_STREAM_MB:-200}M" /dev/zero) \
		> "$BATS_TEST_TMPDIR/data" 2> /dev/null
	sm run -b "$BUNDLE" "$ID" < "$BATS_TEST_TMPDIR/data" > "$BATS_TEST_TMPDIR/back"
	[ "$(sha256sum < "$BATS_TEST_TMPDIR/data")" = "$(sha256sum < "$BATS_TEST_TMPDIR/back")" ]
}

@test "the same through pipes, by exec" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	sum=$(head -c 50M /dev/urandom | tee "$BATS_TEST_TMPDIR/data" | sm exec "$ID" cat | sha256sum)
	[ "$sum" = "$(sha256sum < "$BATS_TEST_TMPDIR/data")" ]
}

@test "stderr is apart from stdout" {
	args sh -c 'echo out; echo err >&2'
	sm run -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/1" 2> "$BATS_TEST_TMPDIR/2"
	[ "$(cat "$BATS_TEST_TMPDIR/1")" = out ]
	[ "$(cat "$BATS_TEST_TMPDIR/2")" = err ]
}

@test "stdin that ends early, and /dev/null as stdin" {
	args sh -c 'cat; echo end; readlink /proc/self/fd/0'
	[ "$(printf 'abc' | sm run -b "$BUNDLE" "$ID" | head -n 1)" = abcend ]
	runsm run -b "$BUNDLE" "$ID"
	[ "$output" = $'end\n/dev/null' ]
}

@test "closed standard descriptors are /dev/null in the container" {
	args sh -c 'cat; echo lost; echo lost >&2; exit 4'
	code=0
	sm run -b "$BUNDLE" "$ID" <&- >&- 2>&- || code=$?
	[ "$code" -eq 4 ]
}

@test "a writer whose reader has gone gets SIGPIPE" {
	args sh -c 'yes; echo $? > /tmp/status'
	sm run -b "$BUNDLE" "$ID" < /dev/null | head -n 1 > /dev/null
	[ "$(cat "$BUNDLE/rootfs/tmp/status")" = 141 ]
}

@test "a reader that stops does not hang kill" {
	args sh -c 'echo ready; exec yes'
	mkfifo "$BATS_TEST_TMPDIR/out"
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/out" 3>&- &
	runner=$!
	exec 8< "$BATS_TEST_TMPDIR/out"
	read -r line <&8
	sm kill "$ID" KILL
	wait_status "$runner"
	[ "$status" -eq 137 ]
	exec 8<&-
}

# A packet a write: each holds the buffer it came in until it is read.
@test "input that is not read takes little more of the guest's memory than its bytes" {
	available() { sm exec "$ID" awk '/^MemAvailable/ { print $2 }' /proc/meminfo < /dev/null; }

	args sleep 1000
	config '.annotations = {"supermachine.io/memory": "256"}'
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	mkfifo "$BATS_TEST_TMPDIR/in"
	sm exec "$ID" sleep 1000 < "$BATS_TEST_TMPDIR/in" 3>&- &
	reader=$!
	exec 8> "$BATS_TEST_TMPDIR/in"
	before=$(available)
	timeout 300 python3 "$BATS_TEST_DIRNAME/unread.py" "$BATS_TEST_TMPDIR/in"
	after=$(available)
	echo "$before KiB before, $after after"
	((before - after < 12288))
	exec 8>&-
	sm delete --force "$ID"
	wait_status "$reader"
}

@test "output just before the end arrives whole" {
	args sh -c 'head -c 1000000 /dev/zero'
	for _ in 1 2 3 4 5; do
		[ "$(sm run -b "$BUNDLE" "$ID" < /dev/null | wc -c)" -eq 1000000 ]
	done
}

@test "output goes to files with their offset, appended in turn" {
	args sh -c 'echo one; echo two >&2; echo three'
	echo zero > "$BATS_TEST_TMPDIR/file"
	sm run -b "$BUNDLE" "$ID" < /dev/null >> "$BATS_TEST_TMPDIR/file" 2>&1
	[ "$(sort "$BATS_TEST_TMPDIR/file")" = $'one\nthree\ntwo\nzero' ]
}

@test "/dev/stdout and /dev/stderr can be opened" {
	args sh -c 'echo a > /dev/stdout; echo b > /dev/stderr'
	runsm run -b "$BUNDLE" "$ID"
	[ "$(sort <<< "$output")" = $'a\nb' ]
}

@test "files, sockets, pipes, devices, directories, ttys and nothing as standard descriptors" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	python3 "$BATS_TEST_DIRNAME/stdio.py" "$SM_BUILD_DIR/sm-runtime" "$ROOT" "$ID"
}

@test "the same for the container's first process: a file at its offset, a tty on one" {
	args sh -c 'cat; test -t 1 || echo no terminal; echo error >&2'
	printf 'xxfile\n' > "$BATS_TEST_TMPDIR/in"
	exec 8< "$BATS_TEST_TMPDIR/in"
	head -c 2 <&8 > /dev/null
	python3 -c 'import os; os.lseek(8, 2, 0)'
	sm run -b "$BUNDLE" "$ID" <&8 >> "$BATS_TEST_TMPDIR/out" 2> "$BATS_TEST_TMPDIR/err"
	exec 8<&-
	[ "$(cat "$BATS_TEST_TMPDIR/out")" = $'file\nno terminal' ]
	[ "$(cat "$BATS_TEST_TMPDIR/err")" = error ]
	python3 -c 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)' \
		sh -c "\"$SM_BUILD_DIR/sm-runtime\" --root \"$ROOT\" run -b \"$BUNDLE\" \"$ID\" < /dev/null 2> /dev/null" \
		< /dev/null > "$BATS_TEST_TMPDIR/tty"
	[[ $(cat "$BATS_TEST_TMPDIR/tty") == 'no terminal'* ]]
}

@test "no descriptor but 0, 1 and 2 reaches the container" {
	args sh -c 'ls /proc/self/fd'
	runsm run -b "$BUNDLE" "$ID"
	# ls itself opens one for the directory
	[ "$output" = $'0\n1\n2\n3' ]
}

@test "a terminal: tty, size, ctrl-C, resize" {
	args sh
	config '.process.terminal = true | .process.consoleSize = {height: 33, width: 99}'
	python3 "$BATS_TEST_DIRNAME/terminal.py" init "$SM_BUILD_DIR/sm-runtime" "$ROOT" "$BUNDLE" "$ID"
}

@test "a terminal by exec -t" {
	args sleep 1000
	sm run -d -b "$BUNDLE" "$ID" < /dev/null
	python3 "$BATS_TEST_DIRNAME/terminal.py" exec "$SM_BUILD_DIR/sm-runtime" "$ROOT" "$BUNDLE" "$ID"
}

@test "a terminal handed over a console socket" {
	args sh
	config '.process.terminal = true | .process.consoleSize = {height: 33, width: 99}'
	python3 "$BATS_TEST_DIRNAME/terminal.py" console "$SM_BUILD_DIR/sm-runtime" "$ROOT" "$BUNDLE" "$ID"
	wait_gone "$ID"
}
