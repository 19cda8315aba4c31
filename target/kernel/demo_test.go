// SPDX-License-Identifier: MIT

package kernel

import (
	"os/exec"
	"strings"
	"testing"
)

// TestOopsNamesTheTarget runs a program of its own, because a function counts as the port's by its package.
func TestOopsNamesTheTarget(t *testing.T) {
	out, err := exec.Command("go", "run", "./testdata/oopsdemo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const null = "oops: NULL pointer dereference in "
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	want := []string{
		"bit: " + null + "setBusy, task main [setBusy] ",
		"bug: oops: kernel BUG: list is empty in bug, task main [bug] ",
		"deref: " + null + "release, task main [release] ",
		"index: oops: general protection fault in lookup, task main [lookup] ",
		"signal: " + null + "ServDestroy, task main [ServDestroy] ",
		"softirq: " + null + "XprtEnqueue, task softirq/udp [XprtEnqueue] ",
		"stop: " + null + "ServDestroy, task main [ServDestroy] ",
		"wake: " + null + "XprtEnqueue, task main [XprtEnqueue] ",
	}
	if len(got) != 2*len(want) { // in sim and on real goroutines
		t.Fatalf("%d lines, want %d:\n%s", len(got), 2*len(want), out)
	}
	for i, line := range got {
		if !strings.HasPrefix(line, want[i/2]+"kernel/testdata/oopsdemo/sunrpc/svc.go:") {
			t.Errorf("got %q, want %q", line, want[i/2])
		}
	}
}
