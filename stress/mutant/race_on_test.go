// SPDX-License-Identifier: MIT

//go:build race

package mutant

const raceEnabled = true
