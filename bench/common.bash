# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the benchmarks share. SM_BUILD_DIR: the build to measure (./build).

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${SM_BUILD_DIR:-$top/build}
runtime=$build/sm-runtime
work=$(mktemp -d /var/tmp/sm-bench.XXXXXX)
root=$work/state
containers=()

cleanup() {
	local c

	for c in "${containers[@]}"; do
		"$runtime" --root "$root" delete --force "$c" 2> /dev/null
	done
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT

# bundle DIR ARG…: a busybox bundle that runs ARG…
bundle() {
	local dir=$1
	shift
	mkdir -p "$dir/rootfs/bin" "$dir/rootfs/tmp"
	cp /bin/busybox "$dir/rootfs/bin/busybox"
	local applet
	for applet in sh cat true sleep dd head wc; do
		ln -sf busybox "$dir/rootfs/bin/$applet"
	done
	"$runtime" spec --bundle "$dir"
	jq '.process.terminal = false | .process.args = $ARGS.positional | .root.readonly = false' \
		"$dir/config.json" --args "$@" > "$dir/config.json.new"
	mv "$dir/config.json.new" "$dir/config.json"
}

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
