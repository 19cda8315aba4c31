// SPDX-License-Identifier: MIT

//go:build libfuzzer && gofuzz

// Package main is a libFuzzer binary without the tools of OSS-Fuzz: built as a C archive and linked by clang with
// -fsanitize=fuzzer. oss-fuzz/local.sh builds it once for each target.
package main

import "C"

import (
	"bytes"
	"unsafe"

	"github.com/seed17199236/svcfuzz/fuzz"
)

// target is set by the linker: -ldflags '-X main.target=FuzzStartup'.
var target string

var entries = map[string]func([]byte) int{
	"FuzzCallback":   fuzz.RawCallback,
	"FuzzNLM":        fuzz.RawNLM,
	"FuzzRecordMark": fuzz.RawRecordMark,
	"FuzzRPCCall":    fuzz.RawRPCCall,
	"FuzzStartup":    fuzz.RawStartup,
}

var entry = entries[target]

//export LLVMFuzzerTestOneInput
func LLVMFuzzerTestOneInput(data *C.char, size C.size_t) C.int {
	// libFuzzer watches its buffer for writes, and reuses it.
	return C.int(entry(bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(data)), size))))
}

func main() {
	if entry == nil {
		panic("no fuzz target " + target)
	}
}
