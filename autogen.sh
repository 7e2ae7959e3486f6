#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes ./configure from configure.ac; needed after a clone and after a change to the build files.
set -e
cd "$(dirname "$0")"
exec autoreconf --force --install --warnings=all
