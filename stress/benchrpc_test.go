// SPDX-License-Identifier: MIT

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/load"
)

func TestBenchRPCWrongUse(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"bench-rpc", "more"}, `bench-rpc: "more" is one argument too many`},
		{[]string{"bench-rpc", "--each", "0s"}, "--each 0s: not a time to measure; write e.g. --each 2s"},
		{[]string{"bench-rpc", "--rounds", "0"}, "--rounds 0: not a number of rounds; write 1 or more"},
		{[]string{"bench-rpc", "--peer", "x 127.0.0.1:1 one 2 sleep"}, "the program one is not a number"},
		{[]string{"bench-rpc", "--peer", "x"}, `"x": write NAME HOST:PORT PROGRAM VERSION COMMAND..., all in one argument`},
		{
			[]string{"bench-rpc", "--peer", "absent 127.0.0.1:1 100000 2 no-such-program-here"},
			"--peer absent: no-such-program-here is not installed; install it, or write the path of the program",
		},
		{[]string{"bench-rpc", "--peer", "ends 127.0.0.1:1 100000 2 true"}, "stress: --peer ends: "},
		{[]string{"bench-rpc", "--peer", "nfsd"}, "all in one argument, or choose rpcbind, ganesha"},
		{[]string{"serve", "--cpuprofile", "/no/such/cpu.prof"}, "--cpuprofile /no/such/cpu.prof: no such file"},
		{[]string{"bench-rpc", "--profile", "/no/such/cpu.prof"}, "--profile /no/such/cpu.prof: cannot be written (no such file"},
		{[]string{"endure", "--only", ""}, "--only: nothing is named; choose memory, connections"},
		{[]string{"endure", "--only", "fun"}, "--only fun: there is no such part; choose memory, connections"},
		{[]string{"endure", "--calls", "0"}, "--calls 0: not a number of them; write 1 or more"},
		{[]string{"endure", "--each", "-1s"}, "--each -1s: not a time to attack; write e.g. --each 5s"},
	} {
		code, stdout, stderr := stress(t, ".", test.args...)
		if code != exitUsage || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: %d, %q, %q, want one line with %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

// Our server is measured, alone if need be, and the profile is there.
func TestBenchRPC(t *testing.T) {
	dir := t.TempDir()
	file, profile := filepath.Join(dir, "figures.json"), filepath.Join(dir, "cpu.prof")
	code, stdout, stderr := stress(t, ".", "bench-rpc", "--each", "100ms", "--rounds", "1", "--json", file,
		"--profile", profile)
	if code != exitOK || stderr != "" {
		t.Fatalf("%d, %q, %q", code, stdout, stderr)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rows []rpcRow
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	ours := map[string]int{}
	for _, r := range rows {
		if r.Server != "svcfuzz" {
			continue
		}
		ours[r.Procedure]++
		if r.Rate <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 || r.Refused != 0 {
			t.Errorf("%+v", r)
		}
	}
	if ours["NULL"] != len(shapes) || ours["TEST"] != len(shapes) {
		t.Errorf("figures of our server: %v, want %d of each", ours, len(shapes))
	}
	for _, r := range load.Rivals() {
		told := strings.Contains(stdout, r.Name+": not available: ") || strings.Contains(stdout, "other servers: not available: ")
		if measured := slices.ContainsFunc(rows, func(x rpcRow) bool { return x.Server == r.Name }); measured == told {
			t.Errorf("%s is measured: %t, is said not to be there: %t; %q", r.Name, measured, told, stdout)
		}
	}
	if info, err := os.Stat(profile); err != nil || info.Size() == 0 {
		t.Errorf("the profile: %v", err)
	}
}

// A short endure looks at everything and finds nothing. Where a process may not have as many files open as it takes to
// look at the limit of connections, it looks at the rest.
func TestEndure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "figures.json")
	only, connections := "hostile,restarts", 0
	if load.FdLimit()-spareFiles >= load.Beyond(connLimit) {
		only, connections = "connections,hostile,restarts", 2
	}
	code, stdout, stderr := stress(t, ".", "endure", "--calls", "20000", "--connections", "200", "--half-open", "100",
		"--each", "200ms", "--cycles", "1", "--only", only, "--json", file)
	if code != exitOK || stderr != "" {
		t.Fatalf("%d, %q, %q", code, stdout, stderr)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []load.Line
	if err := json.Unmarshal(data, &lines); err != nil {
		t.Fatal(err)
	}
	if want := connections + 2 + len(load.Attacks()) + 2; len(lines) != want {
		t.Errorf("%d lines, want %d: %s", len(lines), want, stdout)
	}
	for _, l := range lines {
		if l.Name == "" || l.Detail == "" || l.Fault != "" {
			t.Errorf("%+v", l)
		}
	}
}
