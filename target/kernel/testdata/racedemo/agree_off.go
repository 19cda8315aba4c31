// SPDX-License-Identifier: MIT

//go:build !race

package main

import (
	"fmt"
	"os"
)

// agree needs Go's detector.
func agree() {
	fmt.Println("build with -race to compare the detectors")
	os.Exit(2)
}
