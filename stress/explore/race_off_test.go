// SPDX-License-Identifier: MIT

//go:build !race

package explore

const raceEnabled = false
