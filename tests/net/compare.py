#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare.py NATIVE GUEST: compares two outputs of run.py.

The file `differences` lists the cases that must differ, each with its reason: a pattern, a tab, the reason. A case that
differs and is not listed fails, and so does a listed one that does not differ. One whose pattern begins with ~ depends on
time or on the host's kernel: it may differ or not.
Exit status 1 if anything fails.
"""

import fnmatch
import os
import sys


def read(path):
	cases = {}
	with open(path) as f:
		for line in f:
			name, colon, rest = line.rstrip('\n').partition(': ')
			if colon:
				cases[name] = rest
	return cases


def difference(native, guest):
	"""The observations that are not the same, side by side."""
	if native is None or guest is None:
		return 'ran natively only' if guest is None else 'ran in the guest only'
	if len(native) < 300:
		return f'\n\tnative {native}\n\tguest  {guest}'
	a, b = native.split(' '), guest.split(' ')
	out = [f'\n\tnative {x}\n\tguest  {y}' for x, y in zip(a, b) if x != y]
	return ''.join(out) if len(a) == len(b) else f'\n\tnative {native}\n\tguest  {guest}'


def table(path):
	rows = []
	with open(path) as f:
		for line in f:
			line = line.rstrip('\n')
			if line and not line.startswith('#'):
				pattern, _, reason = line.partition('\t')
				if not reason.strip():
					sys.exit(f'{path}: {pattern}: a reason is missing')
				rows.append((pattern, reason.strip()))
	return rows


def main(native, guest):
	native, guest = read(native), read(guest)
	rows = table(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'differences'))
	same = differ = bad = 0
	for name in list(native) + [n for n in guest if n not in native]:
		matching = [(p, r) for p, r in rows if fnmatch.fnmatchcase(name, p.removeprefix('~'))]
		listed = [r for p, r in matching]
		if native.get(name) == guest.get(name):
			same += 1
			if any(not p.startswith('~') for p, r in matching):
				bad += 1
				print(f'not ok {name}: no difference any more; take it from the table: {listed[0]}')
		elif listed:
			differ += 1
		else:
			bad += 1
			print(f'not ok {name}: {difference(native.get(name), guest.get(name))}')
		if 'FAILED' in native.get(name, '') or 'HUNG' in native.get(name, ''):
			bad += 1
			print(f'not ok {name}: does not end well natively: {native[name]}')
	print(f'{len(native)} cases: {same} the same, {differ} differ as listed, {bad} wrong')
	return bad > 0 or not native


sys.exit(main(*sys.argv[1:]))
