# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What net.bats and cases.bats need beside helpers.bash: network namespaces of its own, containers of Debian in them.
#
#	namespace NAME            makes one as tests/net expects it, with its native peer in it
#	namespaces_gone           ends the peers and removes them
#	inside NAME CMD…          runs it natively there
#	no_complaints             of the guests' kernels on their consoles; one built with --debug has more
#	debian_bundle DIR NS CMD… a bundle of the root file system $ROOTFS; NS: a name, "new" or "host"
#	guest NS CMD…             runs it in a container of its own, to its end

NET=$SM_TOP/tests/net
PREFIX=${PREFIX-smt$$}

inside() {
	local ns=$1
	shift
	if [ "$ns" = host ]; then "$@"; else ip netns exec "$PREFIX-$ns" "$@"; fi
}

namespace() {
	local fifo=$BATS_FILE_TMPDIR/$1.stdin
	"$NET/namespace" "$PREFIX-$1"
	mkfifo "$fifo"
	# The peer ends with its stdin: a sleep holds it, whose end is the namespace's too.
	sleep 100000 > "$fifo" 2> /dev/null 3>&- &
	echo $! > "$BATS_FILE_TMPDIR/$1.holder"
	ip netns exec "$PREFIX-$1" python3 "$NET/peer.py" < "$fifo" > "$BATS_FILE_TMPDIR/$1.peer" 2>&1 3>&- &
	eventually grep -q ready "$BATS_FILE_TMPDIR/$1.peer"
}

namespaces_gone() {
	local holder
	for holder in "$BATS_FILE_TMPDIR"/*.holder; do
		kill "$(cat "$holder")"
	done
	for holder in $(ip netns list | awk -v p="$PREFIX-" 'index($1, p) == 1 { print $1 }'); do
		ip netns del "$holder"
	done
}

# Not of being slow.
COMPLAINTS='BUG: (KASAN|kernel|unable|sleeping|scheduling|spinlock|key)|WARNING: '

no_complaints() {
	! cat "$ROOT"/*/console.log 2> /dev/null | grep -E -A 60 "$COMPLAINTS"
}

# All capabilities, as the native run has them; many descriptors; nothing of the root is written to.
debian_bundle() {
	local dir=$1 ns=$2 filter
	shift 2
	rm -rf "$dir"
	mkdir -p "$dir"
	"$SM_BUILD_DIR/sm-runtime" spec --bundle "$dir"
	case $ns in
	host) filter='del(.linux.namespaces[] | select(.type == "network"))' ;;
	new) filter='.' ;;
	*) filter='(.linux.namespaces[] | select(.type == "network")).path = "/run/netns/" + $prefix + "-" + $ns' ;;
	esac
	edit_config "$dir/config.json" "$filter"' | .root = {path: $root, readonly: true} |
		.process.terminal = false | .process.args = $ARGS.positional | .process.env += ["LC_ALL=C.UTF-8", "SM_NET_WAIT=" + $wait, "SM_NET_EVERY=" + $every] |
		.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 20000, hard: 20000}] |
		.process.capabilities[] = ($caps | split(" ")) | .annotations["supermachine.io/memory"] = "1024" |
		.mounts += [{destination: "/net", type: "bind", source: $net, options: ["rbind", "ro"]}] +
			["/tmp", "/run", "/var/log", "/var/lib/nginx", "/var/lib/redis", "/var/lib/misc", "/root", "/home"
			| {destination: ., type: "tmpfs", source: "tmpfs", options: ["mode=1777"]}]' \
		--arg prefix "$PREFIX" --arg ns "$ns" --arg root "$ROOTFS" --arg net "$NET" --arg caps "$CAPS" \
		--arg wait "${SM_NET_WAIT-60}" --arg every "${SM_NET_EVERY-1}" --args -- "$@"
}

guest() {
	debian_bundle "$BUNDLE" "$1" sh -c '"$@" || exit; dmesg | grep -E -A 60 "$0" >&2 && exit 3; true' "$COMPLAINTS" "${@:2}"
	sm run --bundle "$BUNDLE" "$ID" < /dev/null
	sm delete --force "$ID"
}

CAPS='CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP
CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_SYS_CHROOT CAP_SYS_PTRACE
CAP_SYS_ADMIN CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYSLOG CAP_AUDIT_WRITE'
CAPS=${CAPS//$'\n'/ }
