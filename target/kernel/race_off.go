// SPDX-License-Identifier: MIT

//go:build !race

package kernel

import "unsafe"

// raceEnabled says whether this binary was built with the race detector.
const raceEnabled = false

func raceAcquire(unsafe.Pointer)      {}
func raceRelease(unsafe.Pointer)      {}
func raceReleaseMerge(unsafe.Pointer) {}
func raceRead(unsafe.Pointer)         {}
func raceWrite(unsafe.Pointer)        {}
func raceHide()                       {}
func raceShow()                       {}
