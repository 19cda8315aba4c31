#!/bin/bash -eu
# SPDX-License-Identifier: MIT
exec "$SRC/svcfuzz/fuzz/oss-fuzz/build.sh"
