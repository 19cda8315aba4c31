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
	// It writes what fails into the folder that it runs in, and its seeds are beside that.
	dir := t.TempDir()
	fuzzer := filepath.Join(dir, "fuzz", "fuzz.bin")
	if out, err := v.Go(ctx, "test", "-c", "-fuzz", "^FuzzStartup$", "-o", fuzzer, "./fuzz").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Symlink(filepath.Join(root, "corpus"), filepath.Join(dir, "corpus")); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	cmd := exec.CommandContext(ctx, fuzzer, "-test.run=^$", "-test.fuzz=^FuzzStartup$", "-test.fuzztime=3m",
		"-test.fuzzminimizetime=10x", "-test.fuzzcachedir="+t.TempDir())
	cmd.Dir = filepath.Dir(fuzzer)
	text, err := cmd.CombinedOutput()
	out := string(text)
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
