#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The stress tests of tests/stress, short: SM_CYCLES=500 is what a release has to stand.

load helpers

@test "${SM_CYCLES:-20} cycles with random SIGKILLs: nothing left, no state that lies" {
	"$SM_TOP/tests/stress/cycles" "${SM_CYCLES:-20}"
}

@test "${SM_MANY:-30} containers at once" {
	"$SM_TOP/tests/stress/many" "${SM_MANY:-30}"
}
