// SPDX-License-Identifier: MIT

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/audit"
)

// TestAuditUse asks for audits and peers in ways that cannot be: one line that names the thing and the remedy.
func TestAuditUse(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"audit everything", `there is no part "everything"; choose sites, points, mutants`},
		{"audit --schedules 0", "--schedules 0: not a number of runs"},
		{"audit --for 0s", "--for 0s: not a time to run"},
		{"audit --all --for 1m", "--all and --for are both given; choose one"},
		{"audit --only nope", `--only: unknown mutant "nope"`},
		{"audit sites points mutants sites", `"sites" is one argument too many`},
		{"peers tlc", `there is no peer "tlc": there are rpcgen, rpcbind, statd, libnfs, kernel, and spin`},
		{"peers rpcgen --messages 7", "--messages 7: too few to say anything"},
		{"peers spin tlc", `"tlc" is one argument too many`},
		{"peers spin --each 0s", "--each 0s: not a time to search"},
		{"peers spin --only reorder(2)", "no model of reorder(2); choose lsr"},
	} {
		code, stdout, stderr := stress(t, tree, strings.Fields(test.args)...)
		if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: %d, %q, %q; want one line with %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

// TestPeerMissing asks for a peer that is not installed.
func TestPeerMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	code, _, stderr := stress(t, tree, "peers", "spin")
	if code != exitUsage || !strings.Contains(stderr, "spin is not installed; run make install-peers-spin") {
		t.Errorf("%d, %q", code, stderr)
	}
}

// TestAuditSites compares the tree with the kernel, and again with a row that is not true.
func TestAuditSites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sites.json")
	code, stdout, stderr := stress(t, tree, "audit", "sites", "--json", file)
	if code != exitOK || !strings.Contains(stdout, " 0 unexplained") {
		t.Fatalf("%d, %q, %q", code, stdout, stderr)
	}
	var report auditReport
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &report)
	}
	if err != nil || report.Sites == nil || report.Sites.C < 200 || len(report.Sites.Missing) == 0 {
		t.Errorf("%v, %s", err, data)
	}
	facts := filepath.Join(tree, filepath.FromSlash(audit.SitesFile))
	before, err := os.ReadFile(facts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(facts, before, 0o600); err != nil {
			t.Error(err)
		}
	}()
	row := "net/sunrpc/svc_xprt.c,svc_xprt_enqueue,test_bit,XPT_BUSY,1,1,"
	wrong := strings.Replace(string(before), row, strings.Replace(row, "1,1,", "2,2,", 1), 1)
	if err := os.WriteFile(facts, []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ = stress(t, tree, "audit", "sites")
	if code != exitFinding || !strings.Contains(stdout, "UNEXPLAINED net/sunrpc/svc_xprt.c svc_xprt_enqueue test_bit(XPT_BUSY)") {
		t.Errorf("a wrong row: %d, %q", code, stdout)
	}
}
