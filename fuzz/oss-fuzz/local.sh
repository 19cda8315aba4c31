#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# usage: fuzz/oss-fuzz/local.sh [SECONDS [TARGET...]]     20 s each, all targets
#
# Builds what OSS-Fuzz would build, without docker: one libFuzzer binary a target, in fuzz/oss-fuzz/out, and runs each
# on its seeds. A crash stays there as a file; `go test` replays it when it is put into corpus/wire.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}
shift || true
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(FuzzCallback FuzzNLM FuzzRecordMark FuzzRPCCall FuzzStartup)

clang=${CLANG:-}
for name in clang-19 clang; do
	[ -n "$clang" ] || clang=$(command -v "$name" || true)
done
if [ -z "$clang" ]; then
	echo "no clang: run make install-peers-libfuzzer, or set CLANG" >&2
	exit 2
fi
if ! [[ $seconds =~ ^[0-9]+$ ]]; then
	echo "$seconds is no number of seconds" >&2
	exit 2
fi

out=$PWD/fuzz/oss-fuzz/out
mkdir -p "$out"
# Counters in the port alone: in the floor, the harness and the run-time they cost five sixths of the speed, and what
# they see there is not worth an input.
flags=()
for pkg in fs sunrpc lockd nfs; do
	flags+=("-gcflags=github.com/seed17199236/svcfuzz/target/$pkg=-d=libfuzzer")
done

bad=0
for target in "${targets[@]}"; do
	if ! [ -d "corpus/wire/$target" ]; then
		echo "no fuzz target $target (no seeds in corpus/wire/$target)" >&2
		exit 2
	fi
	echo "== $target"
	CGO_ENABLED=1 go build -buildmode=c-archive -tags gofuzz,libfuzzer -trimpath "${flags[@]}" \
		-ldflags "-X main.target=$target" -o "$out/$target.a" ./fuzz/libfuzzer
	"$clang" -fsanitize=fuzzer "$out/$target.a" -lresolv -o "$out/$target"
	rm -f "$out/$target.a" "$out/$target.h"
	mkdir -p "$out/corpus/$target"
	if ! "$out/$target" -max_total_time="$seconds" -max_len=1024 -timeout=20 -print_final_stats=1 -verbosity=1 \
		-artifact_prefix="$out/$target-" "$out/corpus/$target" "corpus/wire/$target" >"$out/$target.log" 2>&1; then
		bad=1
		grep -v '^#[0-9]' "$out/$target.log" | head -100
		echo "$target: failed; the whole log is in $out/$target.log"
		continue
	fi
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$target.log")
	rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$out/$target.log")
	echo "$target: $runs runs in $seconds s, $rate/s, no failure, corpus of $(find "$out/corpus/$target" -type f | wc -l) inputs"
done
exit "$bad"
