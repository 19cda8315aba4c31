// SPDX-License-Identifier: MIT

package main

import (
	"os"
	"strings"
	"testing"
)

// TestConformance plays a part of the recordings, prints the table and writes it into a page.
func TestConformance(t *testing.T) {
	page := t.TempDir() + "/page.md"
	text := "head\n<!-- conformance:begin -->\nold\n<!-- conformance:end -->\ntail\n"
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, errs := stress(t, ".", "conformance", "--group", "nlm-grace,nlm-range", "--case", "*-v3-*", "--kernel", "7.3",
		"--readme", page, "--json", "-")
	if code != exitOK || errs != "" {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	for _, want := range []string{"\nnlm-grace  -  ", "\nnlm-range  -  ", " / 0\n", `"unexplained": 0`, `"kernels": {`} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	got := string(data)
	if !strings.HasPrefix(got, "head\n<!-- conformance:begin -->\n| group | Linux 6.1.") || strings.Contains(got, "old") ||
		!strings.HasSuffix(got, "<!-- conformance:end -->\ntail\n") || !strings.Contains(got, "\n| nlm-grace | - | - | - | ") {
		t.Errorf("the page is\n%s", got)
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
		{[]string{"--readme", "/nonexistent"}, "cannot be read"},
		{[]string{"--json", ""}, "the name is empty"},
	} {
		code, out, errs := stress(t, ".", append([]string{"conformance"}, test.args...)...)
		if code != exitUsage || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, test.want) {
			t.Errorf("%v: exit code %d, %q, %q, want %q", test.args, code, out, errs, test.want)
		}
	}
}
