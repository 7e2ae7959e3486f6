#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py [--list] [PATTERN…]: runs, or lists, the cases whose names match; one line each.

Expects the namespace that ./namespace makes and the native peer (peer.py) in it.
SM_NET_WAIT: seconds until what must happen counts as missing (60). SM_NET_TIMES=1: the time of each case on stderr.
SM_NET_EVERY=N: every Nth of them, for where each takes long.
"""

import sys

sys.dont_write_bytecode = True	# the directory may be anybody's

import cases_close	# noqa: F401: registers its cases, as the others
import cases_connect	# noqa: F401
import cases_errors	# noqa: F401
import cases_icmp	# noqa: F401
import cases_listen	# noqa: F401
import cases_options	# noqa: F401
import cases_poll	# noqa: F401
import cases_share	# noqa: F401
import cases_stream	# noqa: F401
import cases_udp	# noqa: F401
import lib

if sys.argv[1:2] == ['--list']:
	for name, *_ in lib.choose(sys.argv[2:]):
		print(name)
else:
	lib.main(sys.argv[1:])
