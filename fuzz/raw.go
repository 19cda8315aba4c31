// SPDX-License-Identifier: MIT

//go:build gofuzz

package fuzz

// The entries for compile_go_fuzzer of OSS-Fuzz, which takes the input as it is: one corpus for all engines.

// RawCallback is the entry of FuzzCallback.
func RawCallback(data []byte) int { return raw(RunCallback(data)) }

// RawNLM is the entry of FuzzNLM.
func RawNLM(data []byte) int { return raw(RunNLM(data)) }

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
