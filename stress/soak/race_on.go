// SPDX-License-Identifier: MIT

//go:build race

package soak

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Race says whether this binary was built with the race detector.
const Race = true

// raceErrors is the number of data races that the detector has reported so far.
func raceErrors() int { return runtime.RaceErrors() }

// raceText is what it reported last, if the process was started with GORACE=log_path=...; elsewhere the report
// has gone to standard error.
func raceText() string {
	for _, field := range strings.Fields(os.Getenv("GORACE")) {
		if path, ok := strings.CutPrefix(field, "log_path="); ok {
			if data, err := os.ReadFile(fmt.Sprintf("%s.%d", path, os.Getpid())); err == nil {
				return string(data)
			}
		}
	}
	return ""
}
