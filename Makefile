# SPDX-License-Identifier: MIT
#
# `go` is all that stress and test need. What else a target needs stands in its help line.

# make fuzz
F ?=
T ?= 60s
# make explore
S ?= lockd-start
# make soak
D ?= 10m
# more flags for the command that a target runs, e.g. make stress ARGS='--json verdict.json'
ARGS ?=

GO     ?= go
STRESS := $(GO) run -trimpath ./stress
LINT   := $(GO) tool -modfile=tools/go.mod golangci-lint
ACTION := $(GO) tool -modfile=tools/actionlint.mod actionlint

.DEFAULT_GOAL := help
.PHONY: help stress explore test race presubmit lint format calibrate bench bench-rpc bench-race endure mutants soak soak-race fuzz fuzz-list oss-fuzz-local readme \
	audit conformance peers peers-spin install-peers-spin install-peers-libfuzzer install-peers-rpcbind install-peers-rpcgen \
	install-peers-statd install-peers-libnfs install-peers-kernel browser-test install-browser

help: ## print this list
	@echo 'make TARGET [VARIABLE=value ...]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-24s %s\n", $$1, $$2 }' Makefile

stress: ## answer the question of 2014 for every way to start the thread: the verdict matrix
	$(STRESS) $(ARGS)

test: format ## vet, format, the rules of the rooms, all unit tests
	$(GO) vet ./...
	$(GO) test .
	$(GO) test ./...

race: ## all unit tests under the race detector (needs a C compiler)
	$(GO) test -race -timeout 20m ./...

presubmit: lint test ## what a change must pass: lint, test, a short run under the race detector
	$(GO) test -race -short -timeout 5m ./...

# The first run compiles the linter, which takes two minutes; the build cache keeps it.
lint: format ## format, licence lines, linters, workflows (the first time: network)
	$(GO) test -run '^TestLicences$$' .
	$(LINT) run ./...
	$(ACTION)

format: ## say which files are not as gofmt wants them
	@files=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .); if [ -n "$$files" ]; then \
		echo "not formatted (run gofmt -w on them):"; echo "$$files"; exit 1; fi

explore: ## ask whether any interleaving of scenario S (lockd-start) fails, on all cores; ARGS='--for 10m --params clients=2'
	$(STRESS) explore '$(S)' $(ARGS)

calibrate: ## hold choosers and searches against programs whose every number is known
	$(STRESS) calibrate $(ARGS)

bench: ## steps and schedules a second, against the bare switch
	$(STRESS) bench $(ARGS)

audit: ## are tasks interrupted wherever a kernel would? (ARGS='mutants --all' for the whole table of bugs)
	$(STRESS) audit $(ARGS)

bench-rpc: ## calls per second and latencies of our lockd beside rpcbind and other servers (root; install-peers-rpcbind)
	$(STRESS) bench-rpc $(ARGS)

endure: ## a million calls, 10,000 connections, hostile clients, restarts in a flood: what our lockd puts up with
	$(STRESS) endure $(ARGS)

bench-race: ## bench under the race detector (needs a C compiler)
	$(GO) run -race -trimpath ./stress bench $(ARGS)

mutants: ## the track record: plant every historical bug and see it found
	$(STRESS) mutants $(ARGS)

soak: ## run on real goroutines for D (10m)
	$(STRESS) soak --for $(D) $(ARGS)

soak-race: ## the same under the race detector (needs a C compiler)
	$(STRESS) soak --race --for $(D) $(ARGS)

fuzz: ## fuzz target F (all of them if empty) for T (60s, or 100000x); F=FuzzStartup T=30s
	@.ci/fuzz '$(F)' '$(T)'

fuzz-list: ## names of the fuzz targets, one a line
	@$(GO) test -list '^Fuzz' ./fuzz | grep '^Fuzz'

oss-fuzz-local: ## build the fuzz targets with libFuzzer and run each for 20 s (needs install-peers-libfuzzer)
	fuzz/oss-fuzz/local.sh

browser-test: ## the page of an interleaving in headless Chromium (needs install-browser)
	$(GO) test -tags browser -run '^TestBrowser' ./stress/report

readme: ## write the generated tables of the README anew
	$(STRESS) verdict --readme README.md
	$(STRESS) mutants --readme README.md
	$(STRESS) conformance --readme README.md

conformance: ## play what four real kernels were sent to the port, and compare octet by octet
	$(STRESS) conformance $(ARGS)

peers: ## hold the services against rpcgen, rpcbind, rpc.statd, libnfs, a real kernel and SPIN (root; each needs its install-peers-...)
	$(STRESS) peers $(ARGS)

peers-spin: ## compare the explorer with SPIN on the same programs (needs install-peers-spin)
	$(STRESS) peers spin $(ARGS)

install-peers-spin: ## SPIN and a C compiler, for peers-spin (Debian, root)
	apt-get install -y --no-install-recommends spin gcc libc6-dev

install-peers-libfuzzer: ## clang with libFuzzer, for oss-fuzz-local (Debian, root)
	apt-get install -y --no-install-recommends clang-19 libclang-rt-19-dev lld-19 llvm-19

install-peers-rpcbind: ## rpcbind and rpcinfo, to talk to `stress serve` (Debian, root)
	apt-get install -y --no-install-recommends rpcbind

install-peers-rpcgen: ## rpcgen, libtirpc and a C compiler, for peers (Debian, root)
	apt-get install -y --no-install-recommends rpcsvc-proto libtirpc-dev gcc libc6-dev

install-peers-statd: ## rpc.statd, sm-notify and rpcbind, for peers (Debian, root; its services are not to run on this host)
	apt-get install -y --no-install-recommends nfs-common rpcbind

install-peers-libnfs: ## libnfs, a C compiler and rpcbind, for peers (Debian, root)
	apt-get install -y --no-install-recommends libnfs-dev gcc libc6-dev rpcbind

install-peers-kernel: ## an emulator and what the guest needs, for peers (Debian, root; its services are not to run on this host)
	apt-get install -y --no-install-recommends qemu-system-x86 busybox-static cpio kmod xz-utils iproute2 rpcbind \
		nfs-kernel-server nfs-common

install-browser: ## chromium, for browser-test (Debian, root)
	apt-get install -y --no-install-recommends chromium
