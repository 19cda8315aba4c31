// SPDX-License-Identifier: MIT

package report

import (
	"regexp"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// TestDump cuts real runs short at every length, where all structures are in the middle of something.
func TestDump(t *testing.T) {
	s, err := scenario.Find("lockd-start")
	if err != nil {
		t.Fatal(err)
	}
	m, again := kernel.NewSim(), kernel.NewSim()
	defer m.Close()
	defer again.Close()
	run := func(m *kernel.Machine, steps int) (string, *kernel.Result) {
		ch := &explore.Random{}
		ch.Seed(7, 1)
		res := s.Run(m, ch, scenario.Params{}, kernel.Options{MaxSteps: steps, Record: true})
		return Dump(m, res), res
	}
	whole, res := run(m, 0)
	if f := res.Worst(); f != nil {
		t.Fatal(f)
	}
	if !strings.Contains(whole, `Who: (string)`) || !strings.Contains(whole, `Replies: ([]string) (len=1)`) {
		t.Errorf("the dump of a whole run lacks its exchanges:\n%s", whole)
	}
	address := regexp.MustCompile(`0x[0-9a-f]{9,}`)
	seen := map[string]bool{}
	for steps := 1; steps < res.Steps; steps += 7 {
		a, _ := run(m, steps)
		b, _ := run(again, steps)
		if a != b {
			t.Fatalf("two dumps of one run cut at step %d differ:\n%s\n%s", steps, a, b)
		}
		if at := address.FindString(a); at != "" {
			t.Fatalf("an address in the dump: %s\n%s", at, a)
		}
		for _, part := range []string{
			"report.ServState", "report.RqstState", "report.XprtState", "report.TaskState", `"BUSY"`, `"udp"`, `"tcp"`,
			`AboutTo: (string) (len=`, `Doing: (string) (len=8) "lockd_up"`, `Task: (string) (len=5) "lockd"`,
			`Mutex: (string) (len=5) "mount"`,
		} {
			seen[part] = seen[part] || strings.Contains(a, part)
		}
	}
	for part, ok := range seen {
		if !ok {
			t.Errorf("no dump shows %s", part)
		}
	}
	if testing.Verbose() {
		text, _ := run(m, res.Steps*2/3)
		t.Log(text)
	}
}

func TestDumpWithoutWorld(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	res := m.Run(&explore.Random{}, kernel.Options{}, "main", func(*kernel.Task) {})
	if text := Dump(m, res); text != "" {
		t.Error(text)
	}
}
