// SPDX-License-Identifier: MIT

package explore

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

func TestReductionsDev(t *testing.T) {
	from, _ := strconv.Atoi(os.Getenv("FROM"))
	n, _ := strconv.Atoi(os.Getenv("N"))
	limit, _ := strconv.Atoi(os.Getenv("LIMIT"))
	fails := 0
	stats := [3][3]int{}
	for seed := from; seed < from+n; seed++ {
		p := newProgram(seed, 2+seed%3, 2+seed%4)
		if w := os.Getenv("SKIPFAM"); w != "" {
			skip := false
			for _, f := range strings.Split(w, ",") {
				skip = skip || strings.Contains(strings.Split(p.words, "|")[0], f)
			}
			if skip {
				continue
			}
		}
		for bound := range 3 {
			m := kernel.NewSim()
			plain, ok := p.explore(t, m, &Bounded{Bound: bound, Plain: true}, limit)
			m.Close()
			if !ok {
				break
			}
			m = kernel.NewSim()
			red, ok := p.explore(t, m, &Bounded{Bound: bound}, 20*limit)
			stats[bound][0]++
			stats[bound][1] += plain.runs
			stats[bound][2] += red.runs
			if d := red.compare(plain); d != "" {
				t.Errorf("bound %d, %d runs of %d, %v\n%s\n%s", bound, red.runs, plain.runs, ok, p, d)
				m.Close()
				fails++
				if fails > 5 {
					t.Fatal("enough")
				}
				break
			}
			m.Close()
		}
	}
	t.Log(stats)
}
