#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Who may include whom: the modules of src/, shim/ and guest/ against the table below. TAP output.
# Argument: the tree to look at (default: $srcdir, or the tree that this script is in).

set -u

cd "${1:-${srcdir:-$(dirname "$0")/..}}" || exit 1

# directory: the modules whose headers its files may include, beside its own
table='
src/base:
src/virtio: base
src/vsock: virtio base
src/fs: virtio base
src/dev: virtio base
src/spec: base proto
src/rpc: base proto
src/hv: virtio vsock fs dev rpc proto base
src/runtime: spec rpc proto base
src/tls: base
shim: spec rpc proto base
guest/agent: rpc proto base
'

# file:line:target of every include by quotes or by <linux/kvm.h>
includes() {
	grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*("|<linux/kvm\.h>)' "$1" |
		sed -E 's/^([^:]*:[0-9]+):[^"<]*["<]([^">]*)[">].*/\1:\2/'
}

# The module that an include names: src/base for "base/io.h"; nothing for a neighbour or config.h.
module_of() {
	case "$1" in
	config.h) ;;
	shim/* | guest/*) echo "${1%/*}" ;;
	*/*) echo "src/${1%%/*}" ;;
	esac
}

# Whether a file of directory $1 may include $2.
may_include() {
	local dir=$1 target=$2 allowed=$3 module a

	case "$target" in
	../*) return 1 ;; # modules are named from src/
	linux/kvm.h) return 0 ;; # has a rule of its own
	esac
	module=$(module_of "$target")
	[ -z "$module" ] || [ "$module" = "$dir" ] && return 0
	for a in $allowed; do
		[ "$module" = "src/$a" ] && return 0
	done
	return 1
}

check_dir() {
	local dir=$1 allowed=$2 line target bad=

	while IFS= read -r line; do
		[ -n "$line" ] || continue
		target=${line##*:}
		may_include "$dir" "$target" "$allowed" || bad+="# ${line%:*} includes $target"$'\n'
	done <<<"$(includes "$dir")"
	report "$dir includes only: $allowed" "$bad"
}

check_kvm() {
	local bad

	bad=$(for dir in src shim guest/agent; do
		[ -d "$dir" ] && includes "$dir"
	done | grep ':linux/kvm\.h$' | grep -v '^src/hv/kvm/' | sed 's/^/# /')
	report "only src/hv/kvm includes <linux/kvm.h>" "$bad"
}

# A directory of src/ that the table does not know would go unchecked.
check_table() {
	local dir bad=

	for dir in src/*/; do
		dir=${dir%/}
		[ "$dir" = src/proto ] && continue
		grep -q "^$dir:" <<<"$table" || bad+="# $dir is not in the table"$'\n'
	done
	report "the table knows every module" "$bad"
}

report() {
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf '%s\n' "$2"
		failed=1
	fi
}

n=0
failed=0
while IFS=: read -r dir allowed; do
	[ -n "$dir" ] && [ -d "$dir" ] && check_dir "$dir" "${allowed# }"
done <<<"$table"
check_kvm
check_table
echo "1..$n"
exit $failed
