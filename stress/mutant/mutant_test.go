// SPDX-License-Identifier: MIT

package mutant

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const goodHeader = `SPDX-License-Identifier: GPL-2.0-only
Subject: start before the store
What-happens: the thread runs
 before its creator has stored it
Kernel-fix: none
Scenario: lockd-start
Backend: sim
Budget: 20000 schedules, 30s
Expect: oops nil-task | use-after-free
`

const goodDiff = `diff --git a/target/lockd/svc.go b/target/lockd/svc.go
--- a/target/lockd/svc.go
+++ b/target/lockd/svc.go
@@ -4,4 +4,4 @@
 func Start() []string {
-	return []string{"create", "store", "wake"}
+	return []string{"create", "wake", "store"}
 }
 
`

func TestParse(t *testing.T) {
	m, err := Parse("corpus/mutants/lockd-early.patch", []byte(goodHeader+"\n"+goodDiff))
	if err != nil {
		t.Fatal(err)
	}
	if m.ID != "lockd-early" || m.Era != TreeEra || m.Scenario != "lockd-start" || m.Backend != "sim" || m.Control {
		t.Errorf("header: %+v", m)
	}
	if m.WhatHappens != "the thread runs before its creator has stored it" {
		t.Errorf("folded field: %q", m.WhatHappens)
	}
	if m.Budget != (Budget{20000, 30 * time.Second}) || m.Budget.String() != "20000 schedules, 30s" {
		t.Errorf("budget: %v", m.Budget)
	}
	if m.Expected() != "oops nil-task | use-after-free" {
		t.Errorf("expectation: %s", m.Expected())
	}
	if !m.Accepts("oops", "nil-task") || m.Accepts("oops", "bug") || !m.Accepts("use-after-free", "poison") {
		t.Error("an expectation without an oracle accepts all of its verdict, one with an oracle only that one")
	}
	if files := m.Files(); len(files) != 1 || files[0] != "target/lockd/svc.go" {
		t.Errorf("files: %q", files)
	}
}

func TestParamsAndFailAt(t *testing.T) {
	for _, test := range []struct {
		add, params string
		fails       []int
	}{
		{"", "", []int{0}},
		{"Params: clients=1,proto=0\n", "clients=1,proto=0", []int{0}},
		{"Params: service=1\nFail-at: 20\n", "service=1", []int{20}},
		{"Fail-at: 1..3\n", "", []int{1, 2, 3}},
	} {
		text := strings.Replace(goodHeader+"\n"+goodDiff, "Budget:", test.add+"Budget:", 1)
		m, err := Parse("a.patch", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", test.add, err)
		} else if m.Params != test.params || !slices.Equal(m.Fails(), test.fails) {
			t.Errorf("%q: parameters %q, fails %v", test.add, m.Params, m.Fails())
		}
	}
}

func TestParseErrors(t *testing.T) {
	edit := func(from, to string) string { return strings.Replace(goodHeader+"\n"+goodDiff, from, to, 1) }
	for _, test := range []struct{ what, name, text, want string }{
		{"no subject", "", edit("Subject: start before the store\n", ""), "a.patch: the header lacks subject"},
		{"unknown field", "", edit("Backend:", "Back:"), `a.patch:7: unknown field "Back" (known: `},
		{"twice", "", edit("Backend: sim", "Backend: sim\nBackend: free"), "a.patch:8: Backend stands in line 7 already"},
		{"no colon", "", edit("Backend: sim", "sim"), `a.patch:7: "sim" is no header field (write: Name: value)`},
		{"continuation first", "", " x\n" + edit("", ""), "a.patch:1: a continued line, but no field to continue"},
		{"empty", "", edit("Kernel-fix: none", "Kernel-fix:"), "a.patch:5: Kernel-fix: empty"},
		{"back end", "", edit("Backend: sim", "Backend: both"), `a.patch:7: Backend: "both" is no back end`},
		{"memory", "", edit("Backend: sim", "Backend: sim\nMemory: arm"), `a.patch:8: Memory: "arm" is no memory model (write: sc, tso`},
		{"chooser of the machine", "", edit("Backend: sim", "Backend: free\nChooser: pos"), `a.patch:8: Chooser: nobody chooses with back end free`},
		{"memory of the machine", "", edit("Backend: sim", "Backend: free\nMemory: tso"), `a.patch:8: Memory: "tso" with back end free`},
		{"budget", "", edit("20000 schedules, 30s", "plenty"),
			`a.patch:8: Budget: "plenty" is no budget (write: 20000 schedules`},
		{"budget below zero", "", edit("20000 schedules, 30s", "-1s"), `a.patch:8: Budget: "-1s" is no budget`},
		{"expectation", "", edit("oops nil-task |", "oops by nil task |"),
			`a.patch:9: Expect: "oops by nil task" is no verdict`},
		{"unmarked control", "", edit("oops nil-task | use-after-free", "clean"), "(add: Control: yes)"},
		{"wrong control", "", edit("Budget:", "Control: yes\nBudget:"), "a negative control expects clean"},
		{"control word", "", edit("Budget:", "Control: maybe\nBudget:"),
			`a.patch:8: Control: "maybe" is neither yes nor no`},
		{"parameters", "", edit("Budget:", "Params: clients = 1\nBudget:"), `a.patch:8: Params: "clients = 1" are no parameters`},
		{"fallible step", "", edit("Budget:", "Fail-at: 0\nBudget:"), `a.patch:8: Fail-at: "0" names no fallible step`},
		{"fallible range", "", edit("Budget:", "Fail-at: 9..2\nBudget:"), `a.patch:8: Fail-at: "9..2" names no`},
		{"no blank line", "", edit("\n\ndiff", "\ndiff"), "a.patch:10: the diff starts inside the header"},
		{"no diff", "", goodHeader, "a.patch: no diff in it"},
		{"text", "", edit("\ndiff", "\nsome words\ndiff"), "text between header and diff"},
		{"wrong counts", "", edit("-4,4 +4,4", "-4,9 +4,9"), "a.patch: not a diff that applies: line "},
		{"two diffs", "", edit("Budget:", "Same-as: b\nBudget:"), "has a diff of its own as well"},
		{"outside", "", strings.ReplaceAll(edit("", ""), "target/lockd", "stress/runner"),
			"only files below target/ can be patched"},
		{"climbs out", "", strings.ReplaceAll(edit("", ""), "target/lockd", "target/../../x"),
			"only files below target/ can be patched"},
		{"no context", "", edit(goodDiff[strings.Index(goodDiff, "@@"):], "@@ -4,0 +5,1 @@\n+// x\n"), "no line to recognise its place by"},
		{"only tests", "", strings.ReplaceAll(edit("", ""), "svc.go", "svc_test.go"), "changes no Go code that is built"},
		{"name", "A b.patch", edit("", ""), "the file name is the ID"},
	} {
		name := test.name
		if name == "" {
			name = "a.patch"
		}
		_, err := Parse(name, []byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.what, err, test.want)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %v", test.what, err)
		}
	}
}

func TestDiffErrorNamesTheLineOfTheFile(t *testing.T) {
	text := goodHeader + "\n" + strings.Replace(goodDiff, "@@ -4,4", "@@ -four,4", 1)
	_, err := Parse("a.patch", []byte(text))
	if err == nil || !strings.Contains(err.Error(), "line 14") {
		t.Errorf("got %v, want the line 14 of the file", err)
	}
}

func TestParsePlain(t *testing.T) {
	mail := "From 0123 Mon Sep 17 00:00:00 2001\nFrom: A <a@example.org>\nSubject: [PATCH] wake late\n\nBecause.\n---\n" +
		" target/lockd/svc.go | 2 +-\n\n" + goodDiff + "-- \n2.39.5\n"
	p, err := ParsePlain("/tmp/My Change.diff", []byte(mail))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(p.ID, "own-my-change-") || p.Subject != "[PATCH] wake late" {
		t.Errorf("got %q, %q", p.ID, p.Subject)
	}
	if other, err := ParsePlain("/tmp/My Change.diff", []byte(goodDiff)); err != nil || other.ID == p.ID {
		t.Errorf("two contents share the ID %q (%v)", p.ID, err)
	}
	if _, err := ParsePlain("x", []byte("hello")); err == nil || !strings.Contains(err.Error(), "no diff in it") {
		t.Errorf("no diff: %v", err)
	}
	const missing = "nowhere.patch: cannot read the patch: no such file or directory"
	if _, err := ReadPlain("nowhere.patch"); err == nil || err.Error() != missing {
		t.Errorf("missing file: %v", err)
	}
}

// write makes a file below dir.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "one.patch", goodHeader+"\n"+goodDiff)
	twin := strings.Replace(goodHeader, "oops nil-task | use-after-free", "clean\nControl: yes\nSame-as: one\nEra: 3.17", 1)
	write(t, dir, "twin.patch", twin)
	write(t, dir, "notes.txt", "not a patch")
	list, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].ID != "one" || list[1].ID != "twin" {
		t.Fatalf("got %v", list)
	}
	control := list[1]
	if !control.Control || control.BuildID() != "one" || len(control.Files()) != 1 || For(control).Mutant.ID != "one" {
		t.Errorf("the control does not share the diff: %+v", control)
	}
	if _, err := Find(list, "two"); err == nil || err.Error() != `unknown mutant "two" (known: one, twin)` {
		t.Errorf("unknown mutant: %v", err)
	}

	write(t, dir, "lost.patch", strings.Replace(twin, "Same-as: one", "Same-as: gone", 1))
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), `lost.patch: Same-as: unknown mutant "gone"`) {
		t.Errorf("missing owner: %v", err)
	}
	write(t, dir, "lost.patch", strings.Replace(twin, "Same-as: one", "Same-as: twin", 1))
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "twin has no diff of its own; name one") {
		t.Errorf("chain: %v", err)
	}
}

const eraHeader = "SPDX-License-Identifier: GPL-2.0-only\nSubject: older\nWhat-happens: an older core\n"

func TestLoadEras(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "3.18.patch", eraHeader+"\n"+goodDiff)
	write(t, dir, "3.18-no-net.patch", eraHeader+"Base: 3.18\n\n"+goodDiff)
	eras, err := LoadEras(dir)
	if err != nil {
		t.Fatal(err)
	}
	series, err := eras.Series("3.18-no-net")
	if err != nil || len(series) != 2 || series[0].ID != "3.18" || series[1].ID != "3.18-no-net" {
		t.Errorf("series: %v, %v", series, err)
	}
	if series, err := eras.Series(TreeEra); err != nil || len(series) != 0 {
		t.Errorf("the tree: %v, %v", series, err)
	}
	if _, err := eras.Series("2.6"); err == nil || err.Error() != `unknown era "2.6" (known: 3.18, 3.18-no-net, 3.19)` {
		t.Errorf("unknown era: %v", err)
	}
	write(t, dir, "3.18.patch", eraHeader+"Base: 3.18-no-net\n\n"+goodDiff)
	if _, err := LoadEras(dir); err == nil || !strings.Contains(err.Error(), "based on each other") {
		t.Errorf("circle: %v", err)
	}
}

func TestJudge(t *testing.T) {
	m := &Mutant{Scenario: "lockd-start", Expect: []Expect{{"oops", "nil-task"}}}
	control := &Mutant{Scenario: "lockd-start", Expect: []Expect{{Verdict: Clean}}, Control: true}
	clean := Outcome{Verdict: Clean, Schedules: 7}
	oops := Outcome{Verdict: "oops", Oracle: "nil-task", Sentence: "NULL in SvcXprtEnqueue", Schedules: 3}
	for _, test := range []struct {
		m         *Mutant
		base, got Outcome
		want      Word
		why       string
	}{
		{m, clean, oops, KILLED, "oops nil-task: NULL in SvcXprtEnqueue"},
		{m, clean, clean, SURVIVED, "no finding in 7 schedules, expected oops nil-task"},
		{m, clean, Outcome{Verdict: "hang"}, WRONGORACLE, "expected oops nil-task, found hang"},
		{m, oops, oops, SICK, "lockd-start fails without the patch: oops nil-task: NULL in SvcXprtEnqueue"},
		{control, clean, clean, CLEAN, "no finding in 7 schedules, as it must be"},
		{control, clean, oops, WRONGORACLE, "expected clean, found oops nil-task: NULL in SvcXprtEnqueue"},
	} {
		word, why := Judge(test.m, test.base, test.got)
		if word != test.want || why != test.why {
			t.Errorf("got %s: %s, want %s: %s", word, why, test.want, test.why)
		}
		if green := word == KILLED || word == CLEAN; word.Green() != green {
			t.Errorf("%s: green is %v", word, word.Green())
		}
	}
}
