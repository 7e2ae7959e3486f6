#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each command and each option of sm-runtime's tables is in its man page, and the page names no others; so
# are those of sm-vmm and of sm-tls in their own. TAP output. Run where the programs were built.

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
section() { sed -n "/^\\.S[sh] $1\$/,/^\\.S[sh] /p" "$page"; }
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

same_options() { # what, the section
	if [ "$(shown)" = "$(described "$2")" ]; then
		report ok "$1"
	else
		report 'not ok' "$1"
		diff <(shown) <(described "$2") | sed 's/^/# /'
	fi
}
same_options 'global options' 'Global options'
page=${page%sm-runtime.8}sm-vmm.8
program=./sm-vmm
same_options 'sm-vmm: options' OPTIONS
page=${page%sm-vmm.8}sm-tls.8
program=./sm-tls
same_options 'sm-tls: options' OPTIONS
echo "1..$n"
