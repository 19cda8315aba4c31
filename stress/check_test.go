// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/job"
)

// TestCheckClean says of a change that breaks nothing what was covered, and what was not, with commands that run.
func TestCheckClean(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(tree, "target", "lockd", "svc.go"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(source), "\n")
	patch := put(t, "harmless.patch", fmt.Sprintf("diff --git a/target/lockd/svc.go b/target/lockd/svc.go\n"+
		"--- a/target/lockd/svc.go\n+++ b/target/lockd/svc.go\n@@ -1,1 +1,2 @@\n %s\n+\n", first))
	code, out, errs := stress(t, tree, "check", patch, "lockd-start", "lockd-start", "--schedules", "200", "--seed", "1")
	if code != exitOK || !strings.Contains(out, "\nverdict: clean in 2 scenarios\n") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	if n := strings.Count(out, "\nof all: "); n != 1 || strings.LastIndex(out, "\nclean ") > strings.Index(out, "\nof all: ") {
		t.Errorf("the legend is there %d times, or not at the end\n%s", n, out)
	}
	_, rest, _ := strings.Cut(out, "\nnot looked at")
	commands := 0
	for line := range strings.Lines(rest) {
		if _, command, ok := strings.Cut(line, "go run ./stress "); ok {
			commands++
			checkCommand(t, "the verdict", strings.Fields(command))
		}
	}
	if commands != 3 {
		t.Errorf("%d commands say what to look at next, want 3\n%s", commands, out)
	}
}

// TestLegend says once what is the same for all scenarios, and not what check knows better.
func TestLegend(t *testing.T) {
	var l legend
	done := []job.Coverage{{Chooser: "bounded:n=1", Exhausted: true, Bound: 1}}
	for i, c := range []struct {
		sentence string
		coverage []job.Coverage
		want     bool
	}{
		{"of all: a", nil, true}, {"new: b", nil, true}, {"of all: a", nil, true},
		{"dpor did not come to its end", done, false}, {"missed: c", done, false},
		{"bounded: every schedule", done, true},
		{"bounded: every schedule", []job.Coverage{{Chooser: "bounded:n=1"}}, false},
		{"bounded: every schedule", []job.Coverage{{Chooser: "pct", Exhausted: true}}, false},
	} {
		if got := l.takes(c.sentence, c.coverage); got != c.want {
			t.Errorf("%d: %q: took it: %t, want %t", i, c.sentence, got, c.want)
		}
	}
	var b strings.Builder
	if l.tell(&b); b.String() != "of all: a\nnew: b\n" {
		t.Errorf("the legend is %q", b.String())
	}
}

// TestRaceInShort leaves the two accesses of a report, each down to its caller outside the port.
func TestRaceInShort(t *testing.T) {
	const report = `==================
WARNING: DATA RACE
Read at 0x00c0003e3128 by goroutine 13:
  github.com/seed17199236/svcfuzz/target/lockd.(*Lockd).LockdUp()
      github.com/seed17199236/svcfuzz/target/lockd/svc.go:396 +0xef
  github.com/seed17199236/svcfuzz/stress/scenario.(*World).lockdUp.func1()
      github.com/seed17199236/svcfuzz/stress/scenario/lockd.go:67 +0x5c
  github.com/seed17199236/svcfuzz/target/kernel.(*Task).main()
      github.com/seed17199236/svcfuzz/target/kernel/task.go:341 +0x13a

Previous write at 0x00c0003e3128 by goroutine 15:
  runtime.mapassign_fast32()
      /usr/lib/go/src/runtime/map_fast32.go:113 +0x0
  github.com/seed17199236/svcfuzz/target/nfs.(*Nfs).NfsCallbackUp()
      github.com/seed17199236/svcfuzz/target/nfs/callback.go:12 +0x108

Goroutine 13 (running) created at:
  github.com/seed17199236/svcfuzz/target/kernel.newStrand()
      github.com/seed17199236/svcfuzz/target/kernel/strand_race.go:39 +0xf3
==================
`
	const want = `read in
  lockd.(*Lockd).LockdUp                        target/lockd/svc.go:396
  scenario.(*World).lockdUp.func1               stress/scenario/lockd.go:67
previous write in
  runtime.mapassign_fast32                      /usr/lib/go/src/runtime/map_fast32.go:113
  nfs.(*Nfs).NfsCallbackUp                      target/nfs/callback.go:12`
	if got := raceInShort(report); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
