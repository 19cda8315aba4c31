// SPDX-License-Identifier: MIT

//go:build race

package spin

const raceEnabled = true
