// SPDX-License-Identifier: MIT

package main

import "testing"

// TestRaceInShort leaves the two accesses of a report, each down to its caller outside the port.
func TestRaceInShort(t *testing.T) {
	const report = `==================
WARNING: DATA RACE
Read at 0x00c0003e3128 by goroutine 13:
  github.com/seed17199236/svcfuzz/target/lockd.(*Lockd).LockdUp()
      github.com/seed17199236/svcfuzz/target/lockd/svc.go:396 +0xef
  github.com/seed17199236/svcfuzz/stress/scenario.(*World).lockdUp.func1()
      github.com/seed17199236/svcfuzz/stress/scenario/lockd.go:67 +0x5c
  github.com/seed17199236/svcfuzz/target/kernel.(*Task).main()
      github.com/seed17199236/svcfuzz/target/kernel/task.go:341 +0x13a

Previous write at 0x00c0003e3128 by goroutine 15:
  runtime.mapassign_fast32()
      /usr/lib/go/src/runtime/map_fast32.go:113 +0x0
  github.com/seed17199236/svcfuzz/target/nfs.(*Nfs).NfsCallbackUp()
      github.com/seed17199236/svcfuzz/target/nfs/callback.go:12 +0x108

Goroutine 13 (running) created at:
  github.com/seed17199236/svcfuzz/target/kernel.newStrand()
      github.com/seed17199236/svcfuzz/target/kernel/strand_race.go:39 +0xf3
==================
`
	const want = `read in
  lockd.(*Lockd).LockdUp                        target/lockd/svc.go:396
  scenario.(*World).lockdUp.func1               stress/scenario/lockd.go:67
previous write in
  runtime.mapassign_fast32                      /usr/lib/go/src/runtime/map_fast32.go:113
  nfs.(*Nfs).NfsCallbackUp                      target/nfs/callback.go:12`
	if got := raceInShort(report); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
