// SPDX-License-Identifier: MIT

package scenario

import (
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// The lock scenarios are about what they say: their clients get every answer that a lock manager has for them.
func TestLockAnswers(t *testing.T) {
	for _, c := range []struct {
		scenario, params string
		want             []string
	}{
		{"nlm-locks", "", []string{
			"LOCK NLM4_GRANTED", "LOCK NLM4_DENIED", "LOCK NLM4_BLOCKED", "TEST NLM4_DENIED", "UNLOCK NLM4_GRANTED",
		}},
		{"nlm-locks", "clients=3,proto=1,cancel=1", []string{
			"LOCK NLM4_GRANTED", "LOCK NLM4_BLOCKED", "CANCEL NLM4_GRANTED", "CANCEL NLM4_DENIED", "UNLOCK NLM4_GRANTED",
		}},
		{"nlm-locks", "async=1", []string{
			"LOCK NLM4_GRANTED", "LOCK NLM4_DENIED", "LOCK NLM4_BLOCKED", "TEST NLM4_DENIED", "UNLOCK NLM4_GRANTED",
		}},
		{"nlm-locks", "stop=2", []string{"LOCK NLM4_GRANTED", "LOCK no answer", "UNLOCK NLM4_GRANTED"}},
		{"lockd-stop-locks", "clients=3,proto=2", []string{
			"LOCK NLM4_GRANTED", "LOCK NLM4_BLOCKED", "UNLOCK NLM4_GRANTED", "UNLOCK no answer",
		}},
	} {
		seen := map[string]int{}
		for n := range 200 {
			answers(t, c.scenario, c.params, n, seen)
		}
		for _, want := range c.want {
			if seen[want] == 0 {
				t.Errorf("%s %s: never %s, but %v", c.scenario, c.params, want, seen)
			}
		}
	}
}

// answers counts the answers of one run.
func answers(t *testing.T, name, params string, n int, seen map[string]int) {
	t.Helper()
	s, p := find(t, name, params)
	m := kernel.NewSim()
	defer m.Close()
	if r := s.Run(m, chooser(n), p, kernel.Options{}); r.Worst() != nil {
		t.Fatal(explain(s, p, r, n))
	}
	for _, x := range m.Tag().(*World).Exchanges {
		if !x.Sent {
			continue
		}
		answer := "no answer"
		if len(x.Replies) > 0 {
			r, err := wire.DecodeReply(x.Prog, x.Vers, x.Proc, x.Replies[0])
			if err != nil {
				t.Fatal(err)
			}
			switch res := r.Results.(type) {
			case *wire.Nlm4_res:
				answer = res.Stat.Stat.String()
			case *wire.Nlm4_testres:
				answer = res.Test_stat.Stat.String()
			}
		}
		seen[fmt.Sprint(map[uint32]string{1: "TEST", 2: "LOCK", 3: "CANCEL", 4: "UNLOCK"}[x.Proc], " ", answer)]++
	}
}
