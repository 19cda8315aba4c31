// SPDX-License-Identifier: MIT

//go:build gofuzz

package fuzz

// The entries for compile_go_fuzzer of OSS-Fuzz, which takes the input as it is: one corpus for all engines.

// RawRecordMark is the entry of FuzzRecordMark.
func RawRecordMark(data []byte) int { return raw(RunRecordMark(data)) }

// RawRPCCall is the entry of FuzzRPCCall.
func RawRPCCall(data []byte) int { return raw(RunRPCCall(data)) }

// RawStartup is the entry of FuzzStartup.
func RawStartup(data []byte) int { return raw(RunStartup(data)) }

// raw makes a failure a crash, which is all that these engines understand. Every other input is worth keeping if it
// reaches something new.
func raw(f *Failure) int {
	if f != nil {
		panic(f.Error())
	}
	return 0
}
