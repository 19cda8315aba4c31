// SPDX-License-Identifier: MIT

package oracle

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// A start call that returned success has started everything that its caller may use next. Invariant I31.
var start = &Oracle{
	Name:      "start",
	Doc:       "what is read after a successful start call has been initialised",
	Quiescent: checkStarted,
}

func checkStarted(s *Subject) {
	l := s.Lockd
	if l == nil || l.NlmsvcMutex.PeekOwner() != nil || l.NlmsvcUsers == 0 {
		return
	}
	if l.NlmsvcTimeout.Peek() == 0 {
		s.fire("start", "nlmsvc_timeout is not set while lockd is up", "")
	}
}

// Started is called by an actor that uses what a successful start call gave it: value is what it read of name, and 0
// would mean that nobody has set it yet.
func (s *Subject) Started(name string, value int64) {
	if value == 0 {
		s.fire("start", name+" is not set when the start call returns", "")
	}
}

// StartFailed is called by an actor whose start call returned an error, for the times-th time. It returns only if it was
// decided that as many steps of this run fail.
func (s *Subject) StartFailed(what string, err, times int) {
	if s.M.Departed(kernel.DecideAlloc) >= times {
		return
	}
	s.fire("start", what+" fails", fmt.Sprintf("%s returned %s", what, kernel.ErrName(err)))
}
