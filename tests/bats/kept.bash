# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Part of backend.bats: in a mount namespace of its own, counts probes of KVM.

mount -t tmpfs -o mode=700 none /run/supermachine
kept=/run/supermachine/kvm:verdict

# probes N WHAT: one more container; so far there were N probes.
probes() {
	"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" run -b "$BUNDLE" "$ID" < /dev/null
	local n
	n=$(wc -l < "$BATS_TEST_TMPDIR/probes")
	[ "$n" -eq "$1" ] || { echo "$2: $n probes, not $1"; exit 1; }
}

probes 1 'the first'
probes 1 'kept'
[ "$(stat -c '%a %u' "$kept")" = '600 0' ]
[ "$(find /run/supermachine -mindepth 1)" = "$kept" ]
[ -z "$("$SM_BUILD_DIR/sm-runtime" list -q)" ]
printf '{"key":' > "$kept"
probes 2 'damaged'
probes 2 'mended'
chmod 666 "$kept"
probes 3 'writable by anyone'
chown 65534 "$kept"
probes 4 'of another owner'
sed -i 's/boot=./boot=x/' "$kept"
probes 5 'of another boot'
cp "$BATS_TEST_TMPDIR/vmm" "$BATS_TEST_TMPDIR/vmm.new"
mv "$BATS_TEST_TMPDIR/vmm.new" "$BATS_TEST_TMPDIR/vmm"
probes 6 'of another sm-vmm'
"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" doctor > /dev/null
probes 7 'asked by doctor'
rm "$kept"
mkdir "$kept"
probes 8 'cannot be written'
probes 9 'still not'
rmdir "$kept"
probes 10 'can be written again'
probes 10 'kept again'
# a refusal does not come from what is kept, and a bad answer that may pass is not kept
jq '.hypervisor = "kvm"' "$SUPERMACHINE_CONFIG" > "$BATS_TEST_TMPDIR/kvm.json"
export SUPERMACHINE_CONFIG=$BATS_TEST_TMPDIR/kvm.json
sed -i 's/"works"/"slow"/' "$kept"
probes 11 'refused at first'
probes 11 'and mended by that'
rm "$kept"
export FAKE_PROBE='{"reason":"busy","text":"busy"}'
"$SM_BUILD_DIR/sm-runtime" --root "$ROOT" create -b "$BUNDLE" "$ID" < /dev/null 2> /dev/null && exit 1
[ ! -e "$kept" ]
