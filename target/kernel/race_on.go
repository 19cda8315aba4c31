// SPDX-License-Identifier: MIT

//go:build race

package kernel

import (
	"runtime"
	"unsafe"
)

// raceEnabled says whether this binary was built with the race detector.
const raceEnabled = true

// The floor tells the detector about exactly those edges that a kernel primitive promises, and about the
// memory that a plain cell stands for. Everything else the floor does is hidden from it (go:norace, and the
// hand-over between raceHide and raceShow), so that a schedule of the sim back end orders nothing by itself.

//go:norace
func raceAcquire(p unsafe.Pointer) { runtime.RaceAcquire(p) }

//go:norace
func raceRelease(p unsafe.Pointer) { runtime.RaceRelease(p) }

//go:norace
func raceReleaseMerge(p unsafe.Pointer) { runtime.RaceReleaseMerge(p) }

//go:norace
func raceRead(p unsafe.Pointer) { runtime.RaceRead(p) }

//go:norace
func raceWrite(p unsafe.Pointer) { runtime.RaceWrite(p) }

//go:norace
func raceHide() { runtime.RaceDisable() }

//go:norace
func raceShow() { runtime.RaceEnable() }
