// SPDX-License-Identifier: MIT

package oracle

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/lockd"
)

// The grace period of a namespace belongs to the time in which lockd is up there. Invariants I28 and I29.
var grace = &Oracle{
	Name:      "grace",
	Doc:       "a namespace without lockd users is not in grace; in grace the work that ends it is pending",
	Quiescent: checkGrace,
	End:       checkGrace,
}

func checkGrace(s *Subject) {
	l := s.Lockd
	if l == nil || l.NlmsvcMutex.PeekOwner() != nil {
		return
	}
	for _, ln := range l.Nets() {
		listed, pending := ln.LockdManager.List.Linked(), ln.GracePeriodEnd.Pending()
		on := 0
		for _, lm := range ln.GraceNet.GraceList.Peek() {
			if lm == &ln.LockdManager {
				on++
			}
		}
		// A SIGKILL sends the initial namespace into grace whoever uses it, as long as lockd runs.
		signalled := ln.Net == l.InitNet && l.NlmsvcUsers > 0 && l.NlmsvcOps.Peek() != nil
		switch {
		case on > 1:
			s.fire("grace", "a lock manager is on the grace list twice", describeGrace(ln))
		case listed != (on == 1):
			s.fire("grace", "a lock manager is on a wrong grace list", describeGrace(ln))
		case ln.NlmsvcUsers == 0 && listed && !signalled:
			s.fire("grace", "a namespace without lockd users is in grace", describeGrace(ln))
		case ln.NlmsvcUsers == 0 && pending && !signalled:
			s.fire("grace", "the end of a grace period is pending in a namespace without lockd users", describeGrace(ln))
		case listed && !pending:
			s.fire("grace", "a grace period that nothing ends", describeGrace(ln))
		default:
			continue
		}
		return
	}
}

func describeGrace(ln *lockd.LockdNet) string {
	return fmt.Sprintf("net %s: %d users, on the grace list %v, end pending %v", ln.Net.Name, ln.NlmsvcUsers,
		ln.LockdManager.List.Linked(), ln.GracePeriodEnd.Pending())
}
