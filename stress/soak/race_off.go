// SPDX-License-Identifier: MIT

//go:build !race

package soak

// Race says whether this binary was built with the race detector.
const Race = false

func raceErrors() int { return 0 }

func raceText() string { return "" }
