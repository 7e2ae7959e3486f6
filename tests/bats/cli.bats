#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The command line: flags, exit codes, texts, state, list, kill, delete, hooks, pid files. What is compared
# literally is what runc 1.1.5 prints, with our name in the place of its own.
#
# SM_FAKE=1 runs it with fake-vmm in the place of sm-vmm: no guest, a tenth of the time.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	if [ -n "${SM_FAKE:-}" ]; then
		jq -n --arg vmm "$SM_BUILD_DIR/fake-vmm" '{vmm: $vmm, kernel: "/etc/passwd",
			initrd: "/etc/passwd", vcpus: 1, memory: 128}' > "$BATS_FILE_TMPDIR/config.json"
		export SUPERMACHINE_CONFIG=$BATS_FILE_TMPDIR/config.json
	fi
}

# fails CODE TEXT ARG…: the command fails with the code and logs exactly one line, with TEXT in it as it
# is; nothing but usage goes to standard output.
fails() {
	local code=$1 text=$2 got=0
	shift 2
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" --log-format json "$@" \
		< /dev/null > "$BATS_TEST_TMPDIR/stdout" 2> "$BATS_TEST_TMPDIR/stderr" || got=$?
	if [ "$got" -ne "$code" ] || [ "$(jq -r .msg "$BATS_TEST_TMPDIR/stderr")" != "$text" ]; then
		printf '%s\n' "sm-runtime $*: exit $got, not $code; stderr:"
		cat "$BATS_TEST_TMPDIR/stderr"
		printf 'not: %s\n' "$text"
		return 1
	fi
}

background() { sm run -d -b "$BUNDLE" "$ID" < /dev/null; }

# ---- the command line itself ---------------------------------------------------------------------

@test "--version names the program, its version and the spec's" {
	run "$SM_BUILD_DIR/sm-runtime" --version
	[ "$status" -eq 0 ]
	[[ ${lines[0]} == 'sm-runtime version '[0-9]* ]]
	# what dockerd looks for: one line with "version" in it; the commit is there in a git tree only
	[ "$(grep -c version <<< "$output")" -eq 1 ]
	[ "$(grep -v '^commit: [0-9a-f]\{40\}\(-dirty\)\?$' <<< "$output" | sed 's/:.*//' | tail -n +2 | xargs)" = 'spec libseccomp' ]
	[ "$("$SM_BUILD_DIR/sm-runtime" -v)" = "$output" ]
}

@test "no command, help, -h, --help: the commands on stdout, exit 0" {
	for how in '' help h -h --help; do
		# shellcheck disable=SC2086
		run "$SM_BUILD_DIR/sm-runtime" $how
		[ "$status" -eq 0 ]
		for word in checkpoint create delete doctor events exec features kill list pause ps restore resume run spec start state update; do
			[[ $output == *"   $word "* ]]
		done
	done
}

@test "help COMMAND is COMMAND --help, for each command" {
	for word in checkpoint create delete doctor events exec features kill list pause ps restore resume run spec start state update; do
		run "$SM_BUILD_DIR/sm-runtime" "$word" --help
		[ "$status" -eq 0 ]
		[[ ${lines[1]} == "   sm-runtime $word - "* ]]
		[ "$("$SM_BUILD_DIR/sm-runtime" help "$word")" = "$output" ]
	done
}

@test "an unknown command: exit 3" {
	fails 3 "No help topic for 'bogus'" bogus
	fails 3 "No help topic for 'bogus'" help bogus
}

@test "an unknown flag: usage on stdout, exit 1" {
	for where in '--bogus list' 'list --bogus' 'exec --bogus x y'; do
		# shellcheck disable=SC2086
		fails 1 'flag provided but not defined: -bogus' $where ||
			grep -q 'flag provided but not defined: -bogus' "$BATS_TEST_TMPDIR/stderr"
		case $where in
		--*) usage='Incorrect Usage.' ;;
		*) usage='Incorrect Usage:' ;;
		esac
		[ "$(head -n 1 "$BATS_TEST_TMPDIR/stdout")" = "$usage flag provided but not defined: -bogus" ]
	done
	fails 1 'invalid value "x" for flag -preserve-fds: parse error' create --preserve-fds x y
	fails 1 'flag needs an argument: -bundle' create --bundle
}

@test "the wrong number of arguments: usage on stdout, exit 1, exec too" {
	for word in checkpoint create restore run start state delete pause resume; do
		fails 1 "sm-runtime: \"$word\" requires exactly 1 argument(s)" "$word"
		[ "$(head -n 1 "$BATS_TEST_TMPDIR/stdout")" = 'Incorrect Usage.' ]
		fails 1 "sm-runtime: \"$word\" requires exactly 1 argument(s)" "$word" a b
	done
	fails 1 'sm-runtime: "kill" requires a minimum of 1 argument(s)' kill
	fails 1 'sm-runtime: "kill" requires a maximum of 2 argument(s)' kill a b c
	fails 1 'sm-runtime: "ps" requires a minimum of 1 argument(s)' ps
	fails 1 'sm-runtime: "exec" requires a minimum of 1 argument(s)' exec
}

@test "one dash or two, a value in the same word or the next, flags after the id" {
	args sleep 1000
	sm create -bundle="$BUNDLE" -pid-file "$BATS_TEST_TMPDIR/pid" "$ID" < /dev/null
	sm delete "$ID"
	sm create "$ID" --bundle "$BUNDLE" --no-pivot=true --no-new-keyring --preserve-fds 0 < /dev/null
	sm delete --force=true "$ID"
}

# ---- features, checkpoint, restore, pause, ps ------------------------------------------------------

@test "features: what runc's has and is true here, unprivileged and without a root" {
	mkdir -m 755 "$BATS_TEST_TMPDIR/bin"
	cp "$SM_BUILD_DIR/sm-runtime" "$BATS_TEST_TMPDIR/bin"
	chmod a+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR"/test "$BATS_TEST_TMPDIR"
	for root in / /nosuch/root; do
		run setpriv --reuid 65534 --regid 65534 --clear-groups env XDG_RUNTIME_DIR=/nosuch \
			"$BATS_TEST_TMPDIR/bin/sm-runtime" --root "$root" features
		echo "$output"
		[ "$status" -eq 0 ]
	done
	[ "${lines[1]}" = '    "ociVersionMin": "1.0.0",' ]
	jq -e '.ociVersionMax == "1.2.0" and (.hooks | length) == 6 and .hooks[0] == "prestart" and
		(.mountOptions | (index("rro") != null) and (index("idmap") != null)) and
		(.linux.namespaces | index("time") != null) and (.linux.capabilities | length) == 41 and
		.linux.cgroup.v1 and .linux.cgroup.v2 and
		(.linux.seccomp.actions | (index("SCMP_ACT_ERRNO") != null) and (index("SCMP_ACT_NOTIFY") == null)) and
		.linux.seccomp.enabled and (.linux.apparmor.enabled | not) and
		.linux.mountExtensions.idmap.enabled and
		.annotations."supermachine.io/checkpoint.enabled" == "false" and
		(.potentiallyUnsafeConfigAnnotations | index("supermachine.io/memory") != null)' <<< "$output"
	fails 1 'sm-runtime: "features" requires exactly 0 argument(s)' features x
}

@test "checkpoint and restore take runc's flags and say why not; a wrong state comes first" {
	local all=(--image-path i --work-path w --tcp-established --ext-unix-sk --shell-job --file-locks
		--manage-cgroups-mode soft --empty-ns network --auto-dedup --lazy-pages --tcp-close)
	local checkpoint=("${all[@]}" --parent-path p --leave-running --tcp-skip-in-flight --link-remap
		--status-fd 3 --page-server a:1 --pre-dump)
	local restore=("${all[@]}" --console-socket s -b b -d --pid-file p -no-subreaper --no-pivot
		--lsm-profile l --lsm-mount-context c)
	local why='is not supported: a container here is a virtual machine, and'
	local hint='; "pause" stops one in memory'
	fails 1 'container does not exist' checkpoint "${checkpoint[@]}" "$ID"
	fails 1 "restore $why none can be made from files yet$hint" restore "${restore[@]}" "$ID"
	args sleep 1000
	sm create -b "$BUNDLE" "$ID" < /dev/null
	fails 1 'Container cannot be checkpointed in created state' checkpoint "$ID"
	fails 1 'container with given ID already exists' restore "$ID"
	sm start "$ID"
	fails 1 "checkpoint $why its memory cannot be written to files yet$hint" checkpoint "${checkpoint[@]}" "$ID"
	fails 1 'flag provided but not defined: -bogus' checkpoint --bogus "$ID"
	[ "$(status_of "$ID")" = running ]
	sm kill "$ID" KILL
	wait_gone "$ID"
	fails 1 'Container cannot be checkpointed in stopped state' checkpoint "$ID"
}

@test "a paused container: the texts of each command, and its state without asking sm-vmm" {
	args sleep 1000
	background
	fails 1 'container not paused' resume "$ID"
	sm pause "$ID"
	[ "$(status_of "$ID")" = paused ]
	[ "$(sm list | awk 'NR == 2 {print $3}')" = paused ]
	fails 1 'container not running' pause "$ID"
	fails 1 'cannot start a container in the paused state' start "$ID"
	fails 255 'exec failed: cannot exec in a paused container (use --ignore-paused to override)' exec "$ID" true
	fails 1 "cannot delete container $ID that is not stopped: paused" delete "$ID"
	fails 1 'cannot list the processes of a paused container: resume it, or use --format json' ps "$ID"
	fails 1 'invalid format option' ps -f xml "$ID"
	fails 1 'ps: -o: needs a list of columns' ps "$ID" -o
	[ "$(sm ps -f json "$ID")" = "[$(pid_of "$ID")]" ]
	sm resume "$ID"
	[ "$(status_of "$ID")" = running ]
	sm pause "$ID"
	kill -KILL "$(pid_of "$ID")"
	wait_gone "$ID"
	fails 1 'container not paused' resume "$ID"
	[ "$(sm ps -f json "$ID")" = null ]
}

# ---- errors and the log --------------------------------------------------------------------------

@test "without --log: one line of text on stderr" {
	runsm state nosuch
	[ "$status" -eq 1 ]
	[ "${#lines[@]}" -eq 1 ]
	[[ $output =~ ^time=\"20[0-9-]{8}T[0-9:]{8}Z\"\ level=error\ msg=\"container\ does\ not\ exist\"$ ]]
}

@test "with --log: the line goes to the file, which is appended to, the bare text to stderr" {
	log=$BATS_TEST_TMPDIR/log
	echo first > "$log"
	runsm --log "$log" --log-format json state nosuch
	[ "$status" -eq 1 ]
	[ "$output" = 'container does not exist' ]
	[ "$(head -n 1 "$log")" = first ]
	tail -n +2 "$log" | jq -se 'length == 1 and .[0].level == "error" and
		.[0].msg == "container does not exist" and (.[0].time | fromdate > 0)'
	runsm --log "$BATS_TEST_TMPDIR/no/log" list
	[ "$status" -eq 1 ]
	[[ $output == *'no such file or directory'* ]]
}

@test "a JSON line stays one object whatever the message holds" {
	args $'no"such\nprogram\\'
	log=$BATS_TEST_TMPDIR/log
	runsm --log "$log" --log-format json create -b $'/no/"such"\n\xffdir' "$ID"
	[ "$status" -eq 1 ]
	jq -se 'length == 1 and (.[0].msg | startswith("sm-runtime create failed: chdir "))' "$log"
}

@test "an unknown log format" {
	runsm --log-format xml list
	[ "$status" -eq 1 ]
	[[ $output == *'invalid log-format: xml'* ]]
}

@test "bad ids are refused by each command, and no path is touched" {
	mkdir -p "$ROOT/keep"
	touch "$ROOT/keep/file"
	for id in . .. a/b ../keep keep/.. 'a b' $'a\nb' ü '*' "$(printf 'x%.0s' {1..300})"; do
		fails 1 'sm-runtime create failed: invalid container ID format' create -b "$BUNDLE" "$id"
		fails 1 'sm-runtime run failed: invalid container ID format' run -b "$BUNDLE" "$id"
		fails 255 'exec failed: invalid container ID format' exec "$id" true
		for word in state start kill delete 'delete --force' checkpoint pause ps restore resume; do
			# shellcheck disable=SC2086
			fails 1 'invalid container ID format' $word "$id"
		done
	done
	fails 1 'sm-runtime create failed: container id cannot be empty' create -b "$BUNDLE" ''
	fails 1 'container id cannot be empty' delete --force ''
	[ -f "$ROOT/keep/file" ]
	rm -r "$ROOT/keep"
}

@test "the root: relative is taken from the working directory, / and nothing are refused" {
	mkdir "$ROOT"
	cd "$BATS_TEST_TMPDIR"
	[ "$("$SM_BUILD_DIR/sm-runtime" --root state list -q)" = '' ]
	run "$SM_BUILD_DIR/sm-runtime" --root / list
	[ "$status" -eq 1 ]
	run "$SM_BUILD_DIR/sm-runtime" --root '' list
	[ "$status" -eq 1 ]
	run "$SM_BUILD_DIR/sm-runtime" --root "$BATS_TEST_TMPDIR/nosuch" list
	[ "$status" -eq 1 ]
}

# ---- create --------------------------------------------------------------------------------------

# refused TEXT FILTER: a create of the bundle, edited so, fails with the text and leaves nothing.
refused() {
	cp "$BUNDLE/config.json" "$BATS_TEST_TMPDIR/good.json"
	config "$2"
	fails 1 "sm-runtime create failed: $1" create -b "$BUNDLE" "$ID"
	cp "$BATS_TEST_TMPDIR/good.json" "$BUNDLE/config.json"
	[ -z "$(leftovers)" ]
}

@test "create: what is wrong with a bundle is said in runc's words, and nothing is left" {
	rm -f "$ROOT"
	fails 1 'sm-runtime create failed: chdir /no/such: no such file or directory' create -b /no/such "$ID"
	fails 1 'sm-runtime create failed: JSON specification file config.json not found' \
		create -b "$BATS_TEST_TMPDIR" "$ID"
	for filter in 'null' '.process = null' '.process.cwd = ""' '.process.cwd = "tmp"' \
		'.process.args = []' '.root = null' '.root.path = "nosuch"'; do
		case $filter in
		null) text='config.json cannot be null' ;;
		'.process = null') text='process property must not be empty' ;;
		'.process.cwd = ""') text='Cwd property must not be empty' ;;
		'.process.cwd = "tmp"') text='Cwd must be an absolute path' ;;
		'.process.args = []') text='args must not be empty' ;;
		'.root = null') text='root must be specified' ;;
		*) text='no such file or directory' ;;
		esac
		cp "$BUNDLE/config.json" "$BATS_TEST_TMPDIR/good.json"
		config "$filter"
		runsm create -b "$BUNDLE" "$ID"
		cp "$BATS_TEST_TMPDIR/good.json" "$BUNDLE/config.json"
		[ "$status" -eq 1 ]
		[[ $output == *'sm-runtime create failed: '*"$text"* ]] || { echo "$filter: $output"; return 1; }
		[ -z "$(leftovers)" ]
	done
}

@test "create: a rootfs that is a symlink is refused" {
	mv "$BUNDLE/rootfs" "$BUNDLE/real"
	ln -s real "$BUNDLE/rootfs"
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'sm-runtime create failed: '*symlink* ]]
	[ -z "$(leftovers)" ]
}

@test "create: bad JSON of every kind is an error, not a crash" {
	for text in '' '[]' '{' '"x"' '0' '{"process":[]}' "$(printf '[%.0s' {1..5000})"; do
		printf '%s' "$text" > "$BUNDLE/config.json"
		runsm create -b "$BUNDLE" "$ID"
		[ "$status" -eq 1 ]
		[ "${#lines[@]}" -eq 1 ]
	done
	head -c 12000000 /dev/zero | tr '\0' ' ' > "$BUNDLE/config.json"
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[ -z "$(leftovers)" ]
}

@test "create: the missing source of a bind mount is named" {
	config '.mounts += [{destination: "/x", type: "bind", source: "/no/such/source", options: ["bind"]}]'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'/no/such/source'*'no such file or directory'* ]]
	[ -z "$(leftovers)" ]
}

@test "create: an id in use" {
	args sleep 1000
	sm create -b "$BUNDLE" "$ID" < /dev/null
	fails 1 'sm-runtime create failed: container with given ID already exists' create -b "$BUNDLE" "$ID"
	[ "$(status_of "$ID")" = created ]
}

@test "create: a network namespace that is not there, or is something else" {
	config '(.linux.namespaces[] | select(.type == "network")).path = "/no/such/netns"'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'/no/such/netns'*'no such file or directory'* ]]
	config '(.linux.namespaces[] | select(.type == "network")).path = "/proc/self/ns/mnt"'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[ -z "$(leftovers)" ]
}

@test "create: sm-vmm is in the network namespace that the config names, its own, or the host's" {
	args sleep 1000
	background
	[ "$(readlink "/proc/$(pid_of "$ID")/ns/net")" != "$(readlink /proc/self/ns/net)" ]
	nsenter -t "$(pid_of "$ID")" -n ip -o link show lo 2> /dev/null | grep -q UP ||
		nsenter -t "$(pid_of "$ID")" -n cat /proc/net/if_inet6 /proc/net/dev | grep -q lo:
	unshare -n sleep 1000 3>&- &
	holder=$!
	eventually netns_differs "$holder"
	config '(.linux.namespaces[] | select(.type == "network")).path = $p' --arg p "/proc/$holder/ns/net"
	sm run -d -b "$BUNDLE" "$ID-path" < /dev/null
	[ "$(readlink "/proc/$(pid_of "$ID-path")/ns/net")" = "$(readlink "/proc/$holder/ns/net")" ]
	kill "$holder"
	config '.linux.namespaces |= map(select(.type != "network"))'
	sm run -d -b "$BUNDLE" "$ID-host" < /dev/null
	[ "$(readlink "/proc/$(pid_of "$ID-host")/ns/net")" = "$(readlink /proc/self/ns/net)" ]
}

netns_differs() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }

@test "create: the caller may have closed 0, 1 and 2" {
	args sleep 1000
	for closed in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
		eval "sm create -b '$BUNDLE' '$ID' < /dev/null $closed"
		[ "$(status_of "$ID")" = created ]
		sm start "$ID"
		[ "$(status_of "$ID")" = running ]
		sm delete --force "$ID"
	done
}

@test "create: nobody keeps the caller's other descriptors, nor its stdio after a failure" {
	args sleep 1000
	exec 7> "$BATS_TEST_TMPDIR/leak"
	sm create -b "$BUNDLE" "$ID" < /dev/null
	for fd in /proc/"$(pid_of "$ID")"/fd/*; do
		[ "$(readlink "$fd")" != "$BATS_TEST_TMPDIR/leak" ]
	done
	exec 7>&-
	args nosuchprogram
	# cat ends when nobody has the pipe any more
	run timeout 60 bash -c "'$SM_BUILD_DIR/sm-runtime' --root '$ROOT' create -b '$BUNDLE' '$ID-2' < /dev/null 2>&1 | cat"
	[ "$status" -eq 0 ]
	[[ $output == *'executable file not found'* ]]
}

@test "create: sm-vmm is a child of who adopts the command's children" {
	args sleep 1000
	sm create -b "$BUNDLE" "$ID" < /dev/null
	vmm=$(pid_of "$ID")
	[ "$(awk '{ print $4 }' "/proc/$vmm/stat")" = "$(adopter)" ]
}

# Who gets orphans here: the nearest subreaper, else 1.
adopter() {
	bash -c '(sleep 5 & echo $! > "$0") ' "$BATS_TEST_TMPDIR/orphan" 3>&-
	awk '{ print $4 }' "/proc/$(cat "$BATS_TEST_TMPDIR/orphan")/stat"
}

@test "create: what --preserve-fds asks for does not exist in a VM" {
	runsm create --preserve-fds 1 -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'--preserve-fds 1: must be 0'* ]]
}

@test "create: config.json is copied: edited or removed later, it has no effect" {
	args sleep 1000
	sm create -b "$BUNDLE" "$ID" < /dev/null
	echo garbage > "$BUNDLE/config.json"
	sm start "$ID"
	rm "$BUNDLE/config.json"
	runsm exec "$ID" echo fine
	[ "$output" = fine ]
	sm delete --force "$ID"
}

@test "pid file: the pid without a newline, mode by umask, replaced as a whole" {
	args sleep 1000
	pid=$BATS_TEST_TMPDIR/pid
	echo 'something longer than a pid' > "$pid"
	(umask 027 && cd "$BATS_TEST_TMPDIR" && sm create -b "$BUNDLE" --pid-file pid "$ID" < /dev/null)
	[ "$(cat "$pid"; echo .)" = "$(pid_of "$ID")." ]
	[ "$(stat -c %a "$pid")" = 640 ]
	[ ! -e "$BATS_TEST_TMPDIR/.pid" ]
	fails 1 'sm-runtime create failed: open /no/such/.pid: no such file or directory' \
		create -b "$BUNDLE" --pid-file /no/such/pid "$ID-2"
	[ "$(sm list -q)" = "$ID" ]
}

@test "terminal and console socket must fit together" {
	config '.process.terminal = true'
	fails 1 'sm-runtime create failed: cannot allocate tty if sm-runtime will detach without setting console socket' \
		create -b "$BUNDLE" "$ID"
	fails 1 'sm-runtime create failed: dial unix /no/such: connect: no such file or directory' \
		create -b "$BUNDLE" --console-socket /no/such "$ID"
	run setsid -w "$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run -b "$BUNDLE" "$ID" < /dev/null
	[ "$status" -eq 1 ]
	[[ $output == *'open /dev/tty: no such device or address'* ]]
	config '.process.terminal = false'
	fails 1 'sm-runtime create failed: cannot use console socket if sm-runtime will not detach or allocate tty' \
		create -b "$BUNDLE" --console-socket /no/such "$ID"
	[ -z "$(leftovers)" ]
}

@test "cgroups: sm-vmm is in the one that the config names, in each hierarchy; delete removes it" {
	args sleep 1000
	config '.linux.cgroupsPath = $p | .linux.resources.cpu = {shares: 512}' --arg p "/$ID-parent/sub"
	background
	[ "$(grep -c ":/$ID-parent/sub\$" "/proc/$(pid_of "$ID")/cgroup")" -ge 1 ]
	run ! grep -v ":/$ID-parent/sub\$" "/proc/$(pid_of "$ID")/cgroup"
	fails 1 "sm-runtime create failed: $(busy_text "$ID-parent/sub")" create -b "$BUNDLE" "$ID-2"
	sm delete --force "$ID"
	[ -z "$(find /sys/fs/cgroup -path "*/$ID-parent/sub")" ]
	find /sys/fs/cgroup -type d -name "$ID-parent" -exec rmdir {} +
}

# What the first hierarchy that is looked at says.
busy_text() {
	local dir
	dir=$(awk '$9 ~ /^cgroup/ || $8 ~ /^cgroup/ || $0 ~ / - cgroup/ { print $5; exit }' /proc/self/mountinfo)/$1
	echo "container's cgroup is not empty: $(wc -l < "$dir/cgroup.procs") process(es) found ($dir)"
}

@test "--systemd-cgroup wants slice:prefix:name" {
	config '.linux.cgroupsPath = "/not/so"'
	fails 1 'sm-runtime create failed: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/not/so" instead' \
		--systemd-cgroup create -b "$BUNDLE" "$ID"
	[ -z "$(leftovers)" ]
}

@test "annotations and vm.hwConfig choose the size of the VM, and more kernel parameters" {
	args sleep 1000
	config '.annotations = {"supermachine.io/vcpus": "1", "supermachine.io/memory": "200",
		"supermachine.io/kernel_params": "sm.test=1"} | .vm = {hwConfig: {vcpus: 2, memory: 314572800}}'
	background
	vmm=$(tr '\0' ' ' < "/proc/$(pid_of "$ID")/cmdline")
	[[ $vmm == *' --vcpus 1 '* && $vmm == *' --memory 200 '* && $vmm == *' --cmdline sm.test=1 '* ]]
	config 'del(.annotations)'
	sm run -d -b "$BUNDLE" "$ID-2" < /dev/null
	vmm=$(tr '\0' ' ' < "/proc/$(pid_of "$ID-2")/cmdline")
	[[ $vmm == *' --vcpus 2 '* && $vmm == *' --memory 300 '* ]]
	config '.annotations = {"supermachine.io/vcpus": "many"}'
	runsm create -b "$BUNDLE" "$ID-3"
	[ "$status" -eq 1 ]
	[[ $output == *supermachine.io/vcpus* ]]
}

@test "annotations and settings choose the network, its policy and its ports" {
	args sleep 1000
	background
	vmm=$(tr '\0' ' ' < "/proc/$(pid_of "$ID")/cmdline")
	[[ $vmm == *' --network tsi'* && $vmm != *policy* && $vmm != *' --ports'* ]]
	jq -s '(.[0] // {}) + {networkPolicy: ["deny 10.0.0.0/8", "deny any:25 tcp"], ports: ["80:81"]}' "${SUPERMACHINE_CONFIG:-/dev/null}" > "$BATS_TEST_TMPDIR/settings"
	export SUPERMACHINE_CONFIG=$BATS_TEST_TMPDIR/settings
	sm run -d -b "$BUNDLE" "$ID-2" < /dev/null
	vmm=$(tr '\0' ' ' < "/proc/$(pid_of "$ID-2")/cmdline")
	[[ $vmm == *' --network-policy deny 10.0.0.0/8, deny any:25 tcp --ports 80:81 '* ]]
	config '.annotations = {"supermachine.io/network-policy": "default deny", "supermachine.io/ports": "8080:80/tcp"}'
	sm run -d -b "$BUNDLE" "$ID-3" < /dev/null
	vmm=$(tr '\0' ' ' < "/proc/$(pid_of "$ID-3")/cmdline")
	[[ $vmm == *' --network-policy deny 10.0.0.0/8, deny any:25 tcp; default deny --ports 8080:80/tcp '* ]]
	config '.annotations = {"supermachine.io/network": "none"}'
	sm run -d -b "$BUNDLE" "$ID-4" < /dev/null
	vmm=$(tr '\0' ' ' < "/proc/$(pid_of "$ID-4")/cmdline")
	[[ $vmm == *' --network none '* ]]
	config '.annotations = {"supermachine.io/network": "tap"}'
	fails 1 'sm-runtime create failed: config.json: annotations: supermachine.io/network "tap": must be tsi or none' \
		create -b "$BUNDLE" "$ID-5"
}

@test "sysctls of net, and any port, in the container's network namespace; not in the host's" {
	args sleep 1000
	before=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
	config '.linux.sysctl = {"net.ipv4.ping_group_range": "0 1000", "net/ipv4/ip_unprivileged_port_start": "500", "net.tsi.enabled": "1"}'
	background
	netns() { nsenter -t "$(pid_of "$1")" -n cat "/proc/sys/net/ipv4/$2"; }
	[ "$(netns "$ID" ip_unprivileged_port_start)" = 0 ]
	[ "$(netns "$ID" ping_group_range)" = "0"$'\t'"1000" ]
	[[ $(tr '\0' ' ' < "/proc/$(pid_of "$ID")/cmdline") != *--bind-privileged* ]]
	grep -F 'net/tsi/enabled: No such file or directory' "$ROOT/$ID/vmm.log"
	config '.linux.namespaces |= map(select(.type != "network")) | del(.linux.sysctl)'
	sm run -d -b "$BUNDLE" "$ID-2" < /dev/null
	[[ $(tr '\0' ' ' < "/proc/$(pid_of "$ID-2")/cmdline") == *--bind-privileged* ]]
	[ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" = "$before" ]
}

# ---- state and list ------------------------------------------------------------------------------

@test "state: runc's members in runc's order, no newline at the end" {
	args sleep 1000
	command jq '.annotations = {"b": "2", "a": "1"}' "$BUNDLE/config.json" > "$BUNDLE/new"
	mv "$BUNDLE/new" "$BUNDLE/config.json"
	sm create -b "$BUNDLE" "$ID" < /dev/null
	state=$(sm state "$ID"; echo .)
	created=$(jq -r .created <<< "${state%.}")
	[[ $created =~ ^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{9}Z$ ]]
	[ "$(jq -r .ociVersion <<< "${state%.}" | cut -d. -f1)" = 1 ]
	want=$(printf '{\n  "ociVersion": "%s",\n  "id": "%s",\n  "pid": %d,\n  "status": "created",\n  "bundle": "%s",\n  "rootfs": "%s",\n  "created": "%s",\n  "annotations": {\n    "b": "2",\n    "a": "1"\n  },\n  "owner": ""\n}.' \
		"$(jq -r .ociVersion <<< "${state%.}")" "$ID" "$(pid_of "$ID")" "$BUNDLE" "$BUNDLE/rootfs" "$created")
	[ "$(jq . <<< "${state%.}")" = "$(jq . <<< "${want%.}")" ]
	[ "${state//[0-9]/}" = "${want//[0-9]/}" ]
	sm kill "$ID" KILL
	wait_gone "$ID"
	[ "$(pid_of "$ID")" = 0 ]
}

@test "list: table, JSON, quiet; nothing there; a bad format" {
	mkdir -p "$ROOT"
	[ "$(sm list)" = 'ID          PID         STATUS      BUNDLE      CREATED     OWNER' ]
	[ "$(sm list -f json)" = null ]
	args sleep 1000
	sm create -b "$BUNDLE" "$ID" < /dev/null
	sm run -d -b "$BUNDLE" "$ID-2" < /dev/null
	[ "$(sm list -q)" = "$ID"$'\n'"$ID-2" ]
	[ "$(sm list --format=json | jq -r '.[] | "\(.id) \(.status) \(.owner)"')" = \
		"$ID created root"$'\n'"$ID-2 running root" ]
	[ "$(sm list -f json | wc -l)" -eq 1 ]
	pid=$(pid_of "$ID")
	created=$(sm state "$ID" | jq -r .created)
	[[ "$(sm list | sed -n 2p)" == "$ID "*" $pid "*" created     $BUNDLE   $created   root" ]]
	fails 1 'invalid format option' list -f xml
}

@test "list skips what is no container, and tells of a damaged one" {
	args sleep 1000
	background
	mkdir -p "$ROOT/empty" "$ROOT/broken"
	touch "$ROOT/file"
	echo garbage > "$ROOT/broken/state.json"
	run --separate-stderr "$SM_BUILD_DIR/sm-runtime" --root "$ROOT" list -q
	[ "$status" -eq 0 ]
	[ "$output" = "$ID" ]
	[[ $stderr == 'load container broken: '* ]]
	fails 1 'container does not exist' state empty
	fails 1 'container does not exist' delete empty
	sm delete --force empty
	sm delete --force broken
	rm "$ROOT/file"
}

# ---- start, kill, delete -------------------------------------------------------------------------

@test "start: wrong states" {
	fails 1 'container does not exist' start "$ID"
	args sleep 1000
	background
	fails 1 'cannot start an already running container' start "$ID"
	sm kill "$ID" KILL
	wait_gone "$ID"
	fails 1 'cannot start a container that has stopped' start "$ID"
}

@test "start prints nothing and keeps no descriptor" {
	args sleep 1000
	sm create -b "$BUNDLE" "$ID" < /dev/null
	run timeout 60 bash -c "'$SM_BUILD_DIR/sm-runtime' --root '$ROOT' start '$ID' 2>&1 | cat"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "kill: names and numbers" {
	args sh -c 'trap "" HUP USR1; sleep 1000 & wait; sleep 1000'
	background
	for signal in 0 1 HUP SIGHUP hup sighup SigUsr1 10; do
		sm kill "$ID" "$signal"
	done
	for signal in FOO SIGFOO RTMIN RTMIN+1 SIGRTMAX 1x ' 9' SIG; do
		fails 1 "unknown signal \"$signal\"" kill "$ID" "$signal"
	done
	for signal in 99 65 -1 99999999999999999999; do
		fails 1 'unable to signal init: invalid argument' kill "$ID" "$signal"
	done
	[ "$(status_of "$ID")" = running ]
}

@test "kill: states" {
	fails 1 'container does not exist' kill "$ID"
	fails 1 'container does not exist' kill --all "$ID"
	args sleep 1000
	background
	sm kill --all "$ID" 9
	wait_gone "$ID"
	fails 1 'container not running' kill "$ID"
	fails 1 'container not running' kill "$ID" KILL
	sm kill --all "$ID"
	sm kill -a "$ID" KILL
}

@test "delete: states" {
	fails 1 'container does not exist' delete "$ID"
	sm delete --force "$ID"
	args sleep 1000
	background
	fails 1 "cannot delete container $ID that is not stopped: running" delete "$ID"
	[ "$(status_of "$ID")" = running ]
	sm delete -f "$ID"
	fails 1 'container does not exist' state "$ID"
	[ -z "$(leftovers)" ]
}

@test "delete: a container whose sm-vmm was killed" {
	args sleep 1000
	background
	kill -KILL "$(pid_of "$ID")"
	wait_gone "$ID"
	sm delete "$ID"
	[ -z "$(leftovers)" ]
}

@test "delete --force: with a damaged state.json, everything goes" {
	args sleep 1000
	background
	vmm=$(pid_of "$ID")
	for text in '' garbage '{}' '{"version": 99}'; do
		printf '%s' "$text" > "$ROOT/$ID/state.json"
		for word in state kill start delete; do
			runsm "$word" "$ID"
			[ "$status" -eq 1 ]
		done
	done
	sm delete --force "$ID"
	eventually gone "$vmm"
	[ -z "$(leftovers)" ]
}

gone() { ! [ -e "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status"; }

@test "a pid that came back is not the container's" {
	args sleep 1000
	background
	vmm=$(pid_of "$ID")
	sleep 1000 3>&- &
	other=$!
	edit_config "$ROOT/$ID/state.json" '.pid = $pid' --argjson pid "$other"
	[ "$(status_of "$ID")" = stopped ]
	fails 1 'container not running' kill "$ID" KILL
	sm delete --force "$ID"
	kill -0 "$other"
	kill "$other"
	eventually gone "$vmm"
}

@test "the id can be used again after delete, at once" {
	args sleep 1000
	for _ in 1 2 3; do
		background
		sm delete --force "$ID"
	done
}

@test "one of ten concurrent creates of one id wins" {
	args sleep 1000
	local jobs=()
	for i in {1..10}; do
		sm create -b "$BUNDLE" "$ID" < /dev/null > "$BATS_TEST_TMPDIR/out.$i" 2>&1 3>&- &
		jobs+=("$!")	# `jobs -p` does not name those that have ended and were told of
	done
	wins=0
	for job in "${jobs[@]}"; do
		if wait "$job"; then wins=$((wins + 1)); fi
	done
	[ "$wins" -eq 1 ]
	[ "$(cat "$BATS_TEST_TMPDIR"/out.* | grep -c 'container with given ID already exists')" -eq 9 ]
	[ "$(status_of "$ID")" = created ]
}

@test "create killed at any moment: delete --force leaves nothing" {
	args sleep 1000
	mkdir -p "$ROOT"
	for i in {0..19}; do
		"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" create -b "$BUNDLE" "$ID" < /dev/null > /dev/null 2>&1 3>&- &
		creator=$!
		sleep "$(awk -v i="$i" -v n="${SM_FAKE:+0.0008}" 'BEGIN { print i * (n ? n : 0.08) }')"
		{ kill -KILL "$creator" && wait "$creator"; } 2> /dev/null || true
		sm list > /dev/null
		sm delete --force "$ID"
		eventually nothing_left || { leftovers; return 1; }
	done
	args true
	[ -n "${SM_FAKE-}" ] || sm run -b "$BUNDLE" "$ID"
}

nothing_left() { [ -z "$(leftovers)" ]; }

# ---- hooks ---------------------------------------------------------------------------------------

# hook NAME SHELL_TEXT: adds a hook that runs the text; its stdin is the state.
hook() {
	config '.hooks[$name] += [{path: "/bin/sh", args: ["sh", "-c", $text]}]' --arg name "$1" --arg text "$2"
}

@test "hooks: order, state, working directory, environment" {
	log=$BATS_TEST_TMPDIR/hooks
	for name in prestart createRuntime createContainer poststart poststop; do
		hook "$name" "read -r state; echo \"$name \$(pwd) \$state\" >> $log"
	done
	hook createRuntime "echo second >> $log"
	config '.hooks.createRuntime += [{path: "/usr/bin/env", args: ["env"], env: ["ONLY=this"]}] | .annotations = {"k": "v"}'
	args sleep 1000
	sm create -b "$BUNDLE" "$ID" < /dev/null
	vmm=$(pid_of "$ID")
	creating="{\"ociVersion\":\"1.2.0\",\"id\":\"$ID\",\"status\":\"creating\",\"pid\":$vmm,\"bundle\":\"$BUNDLE\",\"annotations\":{\"k\":\"v\"}}"
	[ "$(cat "$log")" = "prestart $BUNDLE $creating
createRuntime $BUNDLE $creating
second
createContainer $BUNDLE/rootfs $creating" ]
	sm start "$ID"
	[ "$(tail -n 1 "$log")" = "poststart $BUNDLE ${creating/creating/running}" ]
	sm delete --force "$ID"
	stopped=${creating/creating/stopped}
	[ "$(tail -n 1 "$log")" = "poststop $BUNDLE ${stopped/\"pid\":$vmm,/}" ]
}

@test "hooks: a failing one undoes the create, and poststop runs" {
	log=$BATS_TEST_TMPDIR/hooks
	hook poststop "echo poststop >> $log"
	cp "$BUNDLE/config.json" "$BATS_TEST_TMPDIR/good.json"
	for name in prestart createRuntime createContainer; do
		: > "$log"
		cp "$BATS_TEST_TMPDIR/good.json" "$BUNDLE/config.json"
		hook "$name" 'echo some output; echo "some error" >&2; exit 3'
		hook "$name" "echo never >> $log"
		fails 1 "sm-runtime create failed: unable to start container process: error during container init: error running hook #0: error running hook: exit status 3, stdout: some output
, stderr: some error" create -b "$BUNDLE" "$ID" ||
			grep -q 'error running hook #0: error running hook: exit status 3, stdout: some output\\n, stderr: some error\\n' "$BATS_TEST_TMPDIR/stderr"
		[ "$(cat "$log")" = poststop ]
		[ -z "$(leftovers)" ]
	done
}

@test "hooks: a missing program, a signal, a timeout that takes the hook's children along" {
	config '.hooks.createRuntime = [{path: "/no/such/hook"}]'
	fails 1 'sm-runtime create failed: unable to start container process: error during container init: error running hook #0: fork/exec /no/such/hook: no such file or directory' \
		create -b "$BUNDLE" "$ID"
	config '.hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c", "kill -KILL $$"]}]'
	runsm create -b "$BUNDLE" "$ID"
	[[ $output == *'error running hook: signal: killed, stdout: , stderr: '* ]]
	config 'del(.hooks)'
	hook createRuntime "sleep 1000 & echo \$! > $BATS_TEST_TMPDIR/child; wait"
	config '.hooks.createRuntime[0].timeout = 1'
	runsm create -b "$BUNDLE" "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'error running hook #0: hook ran past specified timeout of 1.0s'* ]]
	eventually gone "$(cat "$BATS_TEST_TMPDIR/child")"
	[ -z "$(leftovers)" ]
}

@test "hooks: one that leaves a daemon behind is not waited for" {
	hook createRuntime 'sleep 1000 & echo $! > '"$BATS_TEST_TMPDIR/daemon"
	args sleep 1000
	timeout 60 "$SM_BUILD_DIR/sm-runtime" --root "$ROOT" create -b "$BUNDLE" "$ID" < /dev/null
	kill "$(cat "$BATS_TEST_TMPDIR/daemon")"
}

@test "hooks: a failing poststart stops the container; a failing poststop only warns" {
	args sleep 1000
	hook poststart 'exit 1'
	sm create -b "$BUNDLE" "$ID" < /dev/null
	runsm start "$ID"
	[ "$status" -eq 1 ]
	[[ $output == *'error running hook #0: error running hook: exit status 1'* ]]
	[ "$(status_of "$ID")" = stopped ]
	sm delete "$ID"
	config 'del(.hooks)'
	hook poststop 'exit 1'
	hook poststop "echo second > $BATS_TEST_TMPDIR/second"
	background
	runsm delete --force "$ID"
	[ "$status" -eq 0 ]
	[[ $output == *'level=warning msg="error running hook #0: '* ]]
	[ -s "$BATS_TEST_TMPDIR/second" ]
}

@test "hooks: createContainer runs in the network namespace of the container" {
	hook createContainer "readlink /proc/self/ns/net > $BATS_TEST_TMPDIR/netns"
	args sleep 1000
	background
	[ "$(cat "$BATS_TEST_TMPDIR/netns")" = "$(readlink "/proc/$(pid_of "$ID")/ns/net")" ]
}

# ---- exec ----------------------------------------------------------------------------------------

@test "exec: its own failures are 255" {
	args sleep 1000
	background
	fails 255 'exec failed: process args cannot be empty' exec "$ID"
	fails 255 'exec failed: container does not exist' exec nosuch true
	fails 255 'exec failed: parsing a as int for uid failed: strconv.Atoi: parsing "a": invalid syntax' \
		exec --user a "$ID" true
	fails 255 'exec failed: cannot allocate tty if sm-runtime will detach without setting console socket' \
		exec -d -t "$ID" true
	fails 255 'exec failed: cannot use console socket if sm-runtime will not detach or allocate tty' \
		exec --console-socket /x "$ID" true
	fails 255 'exec failed: unable to start container process: exec: "nosuchprogram": executable file not found in $PATH' \
		exec "$ID" nosuchprogram
	fails 255 'exec failed: open /no/such/.pid: no such file or directory' \
		exec --pid-file /no/such/pid -d "$ID" sleep 1000
	for option in '--preserve-fds 1' '--apparmor x' '--process-label x' '--cgroup x'; do
		# shellcheck disable=SC2086
		runsm exec $option "$ID" true
		[ "$status" -eq 255 ]
		[[ $output == *"exec failed: ${option% *}: "* ]]
	done
	run setsid -w "$SM_BUILD_DIR/sm-runtime" --root "$ROOT" exec -t "$ID" true < /dev/null
	[ "$status" -eq 255 ]
	[[ $output == *'exec failed: open /dev/tty: no such device or address'* ]]
}

@test "exec: flags of the command stay the command's" {
	args sleep 1000
	background
	runsm exec "$ID" echo -n --env -t x
	[ "$output" = '--env -t x' ]
	runsm exec -- "$ID" echo x
	[ "$output" = x ]
}

@test "exec --process: only the file counts" {
	args sleep 1000
	config '.process.env += ["FROM=bundle"]'
	background
	jq -n '{args: ["sh", "-c", "echo FROM=$FROM A=$A; exit 4"], cwd: "/", env: ["PATH=/bin:/usr/bin", "A=1"],
		user: {uid: 0, gid: 0}}' > "$BATS_TEST_TMPDIR/process.json"
	runsm exec --process "$BATS_TEST_TMPDIR/process.json" "$ID"
	[ "$status" -eq 4 ]
	[ "$output" = 'FROM= A=1' ]
	runsm exec -p /no/such "$ID"
	[ "$status" -eq 255 ]
}

@test "exec --detach: the pid is a proxy's, which passes signals in and the exit code out" {
	args sleep 1000
	background
	cat > "$BATS_TEST_TMPDIR/reap.py" <<- 'PY'
		import ctypes, os, signal, subprocess, sys
		ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
		pidfile, signo, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
		subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
		pid = int(open(pidfile).read())
		if signo:
		    os.kill(pid, signo)
		print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
	PY
	reap() {
		local signo=$1
		shift
		python3 "$BATS_TEST_TMPDIR/reap.py" "$BATS_TEST_TMPDIR/pid" "$signo" "$SM_BUILD_DIR/sm-runtime" \
			--root "$ROOT" exec --detach --pid-file "$BATS_TEST_TMPDIR/pid" "$ID" "$@"
	}
	[ "$(reap 0 sh -c 'exit 7')" = 7 ]
	[ "$(reap 15 sleep 1000)" = 143 ]
	[ "$(reap 9 sleep 1000)" = -9 ]
	eventually no_sleep
}

# SIGKILL to the proxy killed the process in the container as well.
no_sleep() { [ "$(sm exec "$ID" ps < /dev/null | grep -c 'sleep 1000')" -le 1 ] || [ -n "${SM_FAKE:-}" ]; }

@test "exec --detach keeps no descriptor and returns at once" {
	args sleep 1000
	background
	run timeout 60 bash -c "'$SM_BUILD_DIR/sm-runtime' --root '$ROOT' exec -d '$ID' sleep 1000 < /dev/null > /dev/null 2>&1; echo returned"
	[ "$output" = returned ]
}

# ---- spec ----------------------------------------------------------------------------------------

@test "spec: writes a config that create takes, and none over another" {
	mkdir "$BATS_TEST_TMPDIR/new"
	cd "$BATS_TEST_TMPDIR/new"
	sm spec
	jq -e '.process.args == ["sh"] and .process.terminal and .root.path == "rootfs"' config.json
	grep -q $'^\t"process": {' config.json
	fails 1 'File config.json exists. Remove it first' spec
	rm config.json
	sm spec --rootless
	jq -e '[.linux.namespaces[].type] | index("user") != null and index("network") == null' config.json
	fails 1 'chdir /no/such: no such file or directory' spec -b /no/such
}

@test "doctor: a line for each check, exit 0 where containers run" {
	runsm doctor
	[ "$status" -eq 0 ]
	[[ $output == *'Containers can run here.'* ]]
	for check in 'host kernel' kvm backend sm-vmm qemu 'guest kernel' initramfs cgroups state memory; do
		[[ $output == *"  $check "* ]]
	done
	echo '{"kernel": "/no/such/kernel"}' > "$BATS_TEST_TMPDIR/settings.json"
	SUPERMACHINE_CONFIG=$BATS_TEST_TMPDIR/settings.json runsm doctor
	[ "$status" -eq 1 ]
	[[ $output == *'FAIL  guest kernel    /no/such/kernel: '* ]]
}

# ---- events, update ------------------------------------------------------------------------------

@test "events: texts" {
	fails 1 'container does not exist' events "$ID"
	for time in 5 '' x 5x 1.s. -; do
		fails 1 "invalid value \"$time\" for flag -interval: parse error" events --interval "$time" x
	done
	args sleep 1000
	background
	for time in 0 0s -1s -1h30m; do
		fails 1 'duration interval must be greater than 0' events --interval "$time" "$ID"
	done
	sm kill "$ID" KILL
	wait_gone "$ID"
	fails 1 "container with id $ID is not running" events "$ID"
	fails 1 "container with id $ID is not running" events --stats "$ID"
}

@test "events ends with the container, exit 0" {
	args sleep 1000
	background
	sm events --interval 1h "$ID" > "$BATS_TEST_TMPDIR/events" 3>&- &
	local events=$!
	sm kill "$ID" KILL
	wait_status "$events"
	[ "$status" -eq 0 ] || [ "$status" -eq 1 ]	# it may have come too late
}

@test "update: texts" {
	fails 1 'container does not exist' update --memory 100M "$ID"
	args sleep 1000
	background
	fails 1 "invalid value for memory: invalid size: '1x'" update --memory 1x "$ID"
	fails 1 "invalid value for memory: invalid size: '-2'" update --memory -2 "$ID"
	fails 1 "invalid value for memory-swap: invalid size: '9999999999g'" update --memory-swap 9999999999g "$ID"
	fails 1 'invalid value for cpu-quota: strconv.ParseInt: parsing "x": invalid syntax' update --cpu-quota x "$ID"
	fails 1 'invalid value for cpu-period: strconv.ParseUint: parsing "-3": invalid syntax' update --cpu-period -3 "$ID"
	fails 1 'invalid value for cpu-share: strconv.ParseUint: parsing "99999999999999999999": value out of range' \
		update --cpu-share 99999999999999999999 "$ID"
	fails 1 'invalid value "x" for flag -pids-limit: parse error' update --pids-limit x "$ID"
	fails 1 '--l3-cache-schema: Intel RDT is not supported: leave it out' update --l3-cache-schema L3:0=f "$ID"
	fails 1 '--mem-bw-schema: Intel RDT is not supported: leave it out' update --mem-bw-schema MB:0=5 "$ID"
	fails 1 'open /no/such: no such file or directory' update -r /no/such "$ID"
	fails 1 'resources: memory.swap: unable to set swap limit without memory limit (runtime-spec config-linux.md#memory)' \
		update --memory-swap 100M "$ID"
	fails 1 'resources: blockIO.weight: must be from 10 to 1000 (runtime-spec config-linux.md#block-io)' \
		update --blkio-weight 5 "$ID"
	sm update "$ID"
	sm update --memory= "$ID"
	echo '{}' | sm update -r - "$ID"
	sm kill "$ID" KILL
	wait_gone "$ID"
	fails 1 'container not running' update --memory 100M "$ID"
}
