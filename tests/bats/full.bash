# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Part of state.bats, in a mount namespace of its own: full.bash SM_RUNTIME ROOT BUNDLE ID
set -eu

runtime=$1 root=$2 bundle=$3 id=$4
mkdir -p "$root"
mount -t tmpfs -o size=128k none "$root"
umount_root() { umount -l "$root"; }
trap umount_root EXIT

sm() { "$runtime" --root "$root" "$@" < /dev/null; }
status_of() { sm state "$1" | jq -r .status; }
fill() { dd if=/dev/zero of="$root/fill" bs=4k 2> /dev/null || :; }
die() { echo "$*"; exit 1; }

jq '.process.args = ["sleep", "1000"]' "$bundle/config.json" > "$bundle/new"
mv "$bundle/new" "$bundle/config.json"

sm create -b "$bundle" "$id-a" > /dev/null
sm run -d -b "$bundle" "$id-b" > /dev/null
fill

# nothing can be made, at whatever page the room ends
for pages in 0 1 2 3 4 5 6 7 8; do
	truncate -s "-$((pages * 4))k" "$root/fill"
	sm create -b "$bundle" "$id-c" > /dev/null 2> "$bundle/err" && sm delete --force "$id-c"
	[ ! -e "$root/$id-c" ] || die "with $pages pages: $(ls -la "$root/$id-c")"
	! pgrep -f -- "--id $id-c" > /dev/null || die "with $pages pages: sm-vmm is left"
	[ ! -s "$bundle/err" ] || grep -q 'No space left\|no space left' "$bundle/err" || die "$(cat "$bundle/err")"
	fill
done

[ "$(sm list -q | wc -l)" -eq 2 ] || die 'list'
[ "$(status_of "$id-a")" = created ] || die "created: $(status_of "$id-a")"
[ "$(status_of "$id-b")" = running ] || die "running: $(status_of "$id-b")"

# a start that cannot be written down does not happen
sm start "$id-a" 2> "$bundle/err" && die 'start on a full disk'
grep -q 'o space left' "$bundle/err" || die "$(cat "$bundle/err")"
[ "$(status_of "$id-a")" = created ] || die "not started: $(status_of "$id-a")"

sm exec "$id-b" true
sm kill "$id-b" KILL
sm delete --force "$id-b"
rm "$root/fill"
sm start "$id-a"
[ "$(status_of "$id-a")" = running ] || die 'started with room'
fill
sm delete --force "$id-a"
[ -z "$(sm list -q)" ] || die 'left'
