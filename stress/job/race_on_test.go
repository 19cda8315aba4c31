// SPDX-License-Identifier: MIT

//go:build race

package job

const raceEnabled = true
