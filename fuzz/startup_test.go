// SPDX-License-Identifier: MIT

package fuzz

import (
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

func FuzzStartup(f *testing.F) {
	addSeeds(f, "FuzzStartup")
	f.Fuzz(func(t *testing.T, data []byte) {
		if failure := RunStartup(data); failure != nil {
			fail(t, "FuzzStartup", data, failure)
		}
	})
}

// The byte that says how a schedule is spelled also says what else may happen; the pristine target bears it.
func TestStartupDepartures(t *testing.T) {
	for kind := range kernel.DecisionKinds {
		departed := 0
		for i := range 120 {
			data := make([]byte, 40)
			h := uint64(i+1) * 0x9e3779b97f4a7c15
			for j := range data {
				h ^= h << 13
				h ^= h >> 7
				h ^= h << 17
				data[j] = byte(h >> 24)
			}
			data[0] = byte(i) // the scenario
			data[startupHeader] = byte(len(spellings)*(int(kind)+1) + i/len(startups)%len(spellings))
			if failure := RunStartup(data); failure != nil {
				t.Fatalf("%s, input %x: %v", kind, data, failure)
			}
			m, p := kernel.NewSim(), startup(data)()
			r := p.scenario.Run(m, p.schedule.chooser(), p.params, kernel.Options{Faults: p.faults})
			departed += len(r.Decisions)
			m.Close()
		}
		if departed < 10 {
			t.Errorf("%s: departed %d times", kind, departed)
		}
	}
}
