#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each command and each option of sm-runtime's tables is in its man page, and the page names no others.
# TAP output. Run where sm-runtime was built.

set -u

page=${srcdir:-$(dirname "$0")/..}/man/sm-runtime.8
program=./sm-runtime
n=0

report() { # ok|not ok, what
	n=$((n + 1))
	echo "$1 $n - $2"
}

# The long options that a help text shows; the section of the page that they belong to.
shown() { "$program" "$@" --help | sed -n 's/^   --\([a-z-]*\).*/\1/p' | sort -u; }
section() { sed -n "/^\\.Ss $1\$/,/^\\.S[sh] /p" "$page"; }
described() { section "$1" | grep -oE 'Fl -[a-z-]+' | sed 's/^Fl -//' | sort -u; }

commands=$("$program" help | sed -n '/^COMMANDS:/,/^$/s/^   \([a-z]*\) .*/\1/p')

for command in $commands; do
	if section "$command" | grep -q .; then report ok "$command"; else report 'not ok' "$command: no section"; fi
	want=$(shown "$command" | grep -vx help)
	have=$(described "$command")
	if [ "$command" = run ]; then
		have=$(printf '%s\n' "$have" "$(described create)" | grep . | sort -u)
	fi
	if [ "$want" = "$have" ]; then
		report ok "$command: options"
	else
		report 'not ok' "$command: options"
		diff <(echo "$want") <(echo "$have") | sed 's/^/# /'
	fi
done

if [ "$(shown)" = "$(described 'Global options')" ]; then
	report ok 'global options'
else
	report 'not ok' 'global options'
	diff <(shown) <(described 'Global options') | sed 's/^/# /'
fi
echo "1..$n"
