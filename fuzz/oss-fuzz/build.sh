#!/bin/bash -eu
# SPDX-License-Identifier: MIT
#
# Runs inside the OSS-Fuzz and ClusterFuzzLite builders. compile_go_fuzzer hands the input over as it is, so the seeds
# in corpus/wire serve here as they serve Go's own engine.
cd "$SRC/svcfuzz"
module=github.com/seed17199236/svcfuzz/fuzz
for target in Callback NLM RecordMark RPCCall Startup; do
	compile_go_fuzzer "$module" "Raw$target" "Fuzz$target"
	# The helper only says so when it does not find a function.
	[ -x "$OUT/Fuzz$target" ]
	zip -qj "$OUT/Fuzz${target}_seed_corpus.zip" "corpus/wire/Fuzz$target"/*
	cp fuzz/oss-fuzz/default.options "$OUT/Fuzz$target.options"
done
