// SPDX-License-Identifier: MIT

package fuzz

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/stress/mutant"
)

// TestFindsTheBugOf2014 lets Go's engine loose on a tree with the bug in it.
func TestFindsTheBugOf2014(t *testing.T) {
	if testing.Short() {
		return // two builds of the tree
	}
	root, err := mutant.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	all, err := mutant.Load(filepath.Join(root, "corpus", "mutants"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := mutant.Find(all, "lockd-run-before-rq-task")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := mutant.NewPool(root, mutant.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	v, err := pool.Get(ctx, mutant.For(m))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(v.Dir, "fuzz")
	run := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "PWD="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("go", "test", "-c", "-buildvcs=false", "-trimpath", "-fuzz", "^FuzzStartup$", "-o", "fuzz.bin", "."); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := time.Now()
	out, err := run("./fuzz.bin", "-test.run=^$", "-test.fuzz=^FuzzStartup$", "-test.fuzztime=3m", "-test.fuzzminimizetime=10x",
		"-test.fuzzcachedir="+t.TempDir())
	if err == nil || !strings.Contains(out, "wake_up_process(NULL)") || !strings.Contains(out, "oops: NULL pointer dereference") {
		t.Fatalf("not found (%v):\n%s", err, out)
	}
	t.Logf("found in %s", time.Since(start).Round(100*time.Millisecond))
	for line := range strings.Lines(out) {
		if strings.Contains(line, "execs:") || strings.Contains(line, "FAIL lockd-start") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
