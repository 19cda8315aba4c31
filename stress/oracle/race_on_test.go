// SPDX-License-Identifier: MIT

//go:build race

package oracle

const raceEnabled = true
