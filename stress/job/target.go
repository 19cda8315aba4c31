// SPDX-License-Identifier: MIT

package job

import (
	"fmt"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/program"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Target is what a job explores: a scenario with its parameters, or one of the tiny programs of package program.
type Target struct {
	Name   string
	Params string // canonical, with all defaults
	// Unusual are those of the parameters that are not the defaults.
	Unusual string
	Tiny    bool // a program, which has no parameters and the sim back end only
	run     func(m *kernel.Machine, ch kernel.Chooser, opt kernel.Options) *kernel.Result
	// smaller are the targets with a smaller workload; nil: there are none.
	smaller func() []*Target
}

// FindTarget looks a target up. Each is for one goroutine. The error is a [*UsageError].
func FindTarget(name, params string) (*Target, error) {
	if p, err := program.Parse(name); err == nil {
		if params != "" {
			return nil, &UsageError{fmt.Sprintf("program %s has no parameters; leave %q out", p.Name, params)}
		}
		return &Target{Name: p.Name, Tiny: true, run: p.Run}, nil
	} else if strings.Contains(name, "(") {
		return nil, &UsageError{err.Error()}
	}
	s, err := scenario.Find(name)
	if err != nil {
		return nil, &UsageError{err.Error() + "; the programs of stress/program, such as lsr or cont(4), will do as well"}
	}
	p, err := s.ParseParams(params)
	if err != nil {
		return nil, &UsageError{err.Error()}
	}
	return loaded(s, p), nil
}

// loaded is a scenario with parameters.
func loaded(s *scenario.Scenario, p scenario.Params) *Target {
	t := &Target{Name: s.Name, Params: p.String(), Unusual: s.Unusual(p)}
	t.run = func(m *kernel.Machine, ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		return s.Run(m, ch, p, opt)
	}
	t.smaller = func() []*Target {
		var all []*Target
		for _, q := range s.Smaller(p) {
			all = append(all, loaded(s, q))
		}
		return all
	}
	return t
}

// work is the target on m as something to make smaller.
func (t *Target) work(m *kernel.Machine) explore.Work {
	w := explore.Work{Runner: t.On(m), Params: t.Params}
	if t.smaller == nil {
		return w
	}
	w.Smaller = func() []explore.Work {
		var all []explore.Work
		for _, u := range t.smaller() {
			all = append(all, u.work(m))
		}
		return all
	}
	return w
}

// On is the target on a machine of the sim back end.
func (t *Target) On(m *kernel.Machine) explore.Runner {
	return explore.RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result { return t.run(m, ch, opt) })
}
