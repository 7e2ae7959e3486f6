# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the scripts of the cases are written in. They run in a directory of their own, under each runtime in turn:
#
#	b/            the bundle
#	$C            an id that nobody else has
#	rt ARG…       the runtime
#	t COMMAND…    runs it, and tells: the command, its standard output and error apart, its status
#	d COMMAND…    the same for what leaves a container running: what that writes is for `later`
#	later         what it has written since
#	stopped ID    waits for the container's end
#	config FILTER edits b/config.json once more
#	section NAME  what follows is a test of its own

tell_count=0

rt() { "$RT" --root "$PWD/state" "$@"; }

section() { printf '%%%% %s\n' "$*"; }

# A file's lines, each with a word in front; says so if the last one does not end.
lines() {
	[ -s "$2" ] || return 0
	sed "s/^/$1| /" "$2"
	[ -z "$(tail -c 1 "$2")" ] || printf '\n%s: no newline at the end\n' "$1"
}

# Standard input is /dev/null unless IN names a file.
t() {
	local status=0

	tell_count=$((tell_count + 1))
	printf '$'
	printf ' %s' "$@"
	printf '\n'
	"$@" < "${IN:-/dev/null}" > "out.$tell_count" 2> "err.$tell_count" || status=$?
	lines out "out.$tell_count"
	lines err "err.$tell_count"
	echo "status $status"
}

d() {
	local status=0

	printf '$'
	printf ' %s' "$@"
	printf '\n'
	"$@" < "${IN:-/dev/null}" > out.d 2> err.d || status=$?
	echo "status $status"
}

later() {
	lines out out.d
	lines err err.d
}

status_of() { rt state "$1" 2> /dev/null | jq -r .status; }

# Runs the arguments until they succeed, for two minutes at most.
eventually() {
	local end=$((SECONDS + 120))

	until "$@" 2> /dev/null; do
		((SECONDS < end)) || { echo "not in two minutes: $*"; return 1; }
		sleep 0.02
	done
}

is() { [ "$(status_of "$1")" = "$2" ]; }
stopped() { eventually is "$1" stopped; }

config() { jq "$@" b/config.json > config.new && mv config.new b/config.json; }
