// SPDX-License-Identifier: MIT

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/replay"
)

// TestConformance plays a part of the recordings and prints the table.
func TestConformance(t *testing.T) {
	code, out, errs := stress(t, ".", "conformance", "--group", "nlm-grace,nlm-range", "--case", "*-v3-*", "--kernel", "7.3",
		"--json", "-")
	if code != exitOK || errs != "" {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	for _, want := range []string{"\nnlm-grace  -  ", "\nnlm-range  -  ", " / 0\n", `"unexplained": 0`, `"kernels": {`} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}

// The counts go into one page, and the differences into the one beside the recordings, here a copy of them.
func TestConformanceTables(t *testing.T) {
	report, err := replay.Conform(t.Context(), replay.Options{
		Folder: "../corpus/kernel", Groups: []string{"nlm-grace", "nlm-range"}, Case: "*-v3-*", Kernels: []string{"7.3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	page := func(file, block string) string {
		name := filepath.Join(folder, file)
		text := "head\n<!-- " + block + ":begin -->\nold\n<!-- " + block + ":end -->\ntail\n"
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	counts, differences := page("page.md", "conformance"), page("README.md", "differences")
	if err := writeConformance(counts, folder, report); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, block, head, row string }{
		{counts, "conformance", "| group | Linux 6.1.", "\n| nlm-grace | - | - | - | "},
		{differences, "differences", "| cases | unlike |", "\n| `grace-v[34]-"},
	} {
		data, err := os.ReadFile(test.name)
		if err != nil {
			t.Fatal(err)
		}
		got := string(data)
		if !strings.HasPrefix(got, "head\n<!-- "+test.block+":begin -->\n"+test.head) || strings.Contains(got, "old\n<!--") ||
			!strings.HasSuffix(got, "<!-- "+test.block+":end -->\ntail\n") || !strings.Contains(got, test.row) {
			t.Errorf("the page is\n%s", got)
		}
	}
}

func TestConformanceWrongUse(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"more"}, "one argument too many"},
		{[]string{"--group", "x"}, `there is no group "x"; choose from nlm-rpc`},
		{[]string{"--kernel", "3.19"}, `there is no kernel "3.19"; choose from 6.1`},
		{[]string{"--case", "nothing"}, "no recorded case matches"},
		{[]string{"--against", "nonsense"}, "write host:port"},
		{[]string{"--against", "127.0.0.1:1"}, "choose from nlm-rpc, nlm-rm"},
		{[]string{"--against", "127.0.0.1:1", "--group", "nlm-rpc"}, "nobody takes connections at 127.0.0.1:1"},
		{[]string{"--against", "127.0.0.1:1", "--readme", "README.md"}, "about the port alone"},
		{[]string{"--group", "nlm-rm", "--readme", "README.md"}, "--group asks for a part of them; drop one of them"},
		{[]string{"--case", "*-v3-*", "--readme", "README.md"}, "--case asks for a part of them; drop one of them"},
		{[]string{"--group", ""}, "--group: nothing is named"},
		{[]string{"--case", ""}, "--case: nothing is named"},
		{[]string{"--readme", "/nonexistent"}, "cannot be read"},
		{[]string{"--json", ""}, "the name is empty"},
	} {
		code, out, errs := stress(t, ".", append([]string{"conformance"}, test.args...)...)
		if code != exitUsage || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, test.want) {
			t.Errorf("%v: exit code %d, %q, %q, want %q", test.args, code, out, errs, test.want)
		}
	}
}
