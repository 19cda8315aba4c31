// SPDX-License-Identifier: MIT

package fuzz

import (
	"fmt"
	"slices"

	"github.com/seed17199236/svcfuzz/stress/scenario"
)

// RunStartup starts and stops services while clients talk to them, in the interleaving that the data spell. It returns
// nil if no oracle has anything to say.
func RunStartup(data []byte) *Failure { return execute("FuzzStartup", startup(data)).failure }

// startups are the scenarios that it chooses from; lockd-start is first, for short inputs. A careless administrator is
// not among them: with all of its parameters it is a known defect. Seeds name a scenario by its place: append new ones.
var startups = func() []*scenario.Scenario {
	var list []*scenario.Scenario
	for _, name := range []string{
		"lockd-start", "callback-start", "start-stop-restart", "stop-under-load", "second-net", "resize", "deferral",
		"backchannel-stop", "backchannel-nets", "rpc-garbage", "cb-compound", "cb-session", "nlm-locks", "lockd-stop-locks",
		"nlm-requests", "nlm-client", "nlm-reboot", "nlm-failover", "nlm-nfsd",
	} {
		s, err := scenario.Find(name)
		if err != nil {
			panic("SVCFUZZ BUG: " + err.Error())
		}
		list = append(list, s)
	}
	return slices.Clip(list)
}()

// startupHeader is how many bytes say what happens; how the schedule is spelled and the schedule follow. Its length is
// fixed, so that a mutation of the schedule stays one.
const startupHeader = 6

func startup(data []byte) func() *plan {
	return func() *plan {
		head := data[:min(startupHeader, len(data))]
		in := newInput(head)
		s := startups[in.below(len(startups))]
		p := s.Defaults()
		for _, x := range s.Params {
			// Zero is the default, whatever that is.
			if b := in.byte(); b != 0 {
				p = p.With(x.Name, x.Min+(b-1)%min(x.Max-x.Min+1, 255))
			}
		}
		var sched schedule
		if rest := data[len(head):]; len(rest) > 0 {
			sched = schedule{rest[0], rest[1:]}
		}
		return &plan{
			scenario: s, params: p, schedule: sched, faults: sched.departures(),
			about: func() string { return fmt.Sprintf("schedule of %d bytes\n", len(sched.b)) },
		}
	}
}
