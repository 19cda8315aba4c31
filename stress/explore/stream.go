// SPDX-License-Identifier: MIT

package explore

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Stream is the schedules of a sampler by number: the n-th one depends on the seed and on n alone, whoever asks for it
// and whatever was run before. Several streams of one seed, each with a machine of its own, share the work of one.
type Stream struct{ s *stream }

// NewStream makes the stream of a chooser such as "pct:d=3". r rehearses it, where it has to know how long a run is.
// The error is a chooser that does not draw its schedules, or that there is not.
func NewStream(chooser string, seed uint64, r Runner, opt kernel.Options) (*Stream, error) {
	spec, err := ParseSpec(chooser)
	if err != nil {
		return nil, err
	}
	s := newStream(spec, seed, 0)
	if s == nil {
		return nil, fmt.Errorf("chooser %q draws no schedules by number; choose random, pct or another sampler", chooser)
	}
	if err := s.rehearse(r, opt); err != nil {
		return nil, err
	}
	return &Stream{s}, nil
}

// Chooser prepares schedule n, from 1.
func (s *Stream) Chooser(n uint64) kernel.Chooser {
	s.s.n = n - 1
	ch, _ := s.s.next()
	return ch
}

// Depth is that of the schedule that was prepared last, and among how many steps its change points lie; 0 for samplers
// other than pct.
func (s *Stream) Depth() (depth, steps int) {
	if c, ok := s.s.sampler.(*PCT); ok {
		return c.d, c.K
	}
	return 0, 0
}
