// SPDX-License-Identifier: MIT

package load

import (
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

// Programs and procedures that load consists of.
const (
	NlmProgram  = 100021
	nlmProcTest = 1
)

// Null is a call of procedure 0 of a program.
func Null(prog, vers uint32) rpcclient.Call { return rpcclient.Call{Prog: prog, Vers: vers} }

// HelloFh is the handle of the first file that `stress serve` exports.
var HelloFh = []byte{1, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}

// Test is a call of NLM version 4 that asks whether a byte range of the file fh is locked, with an AUTH_SYS credential.
func Test(fh []byte) rpcclient.Call {
	var b []byte
	word := func(w uint32) { b = binary.BigEndian.AppendUint32(b, w) }
	opaque := func(s []byte) {
		word(uint32(len(s)))
		b = append(b, s...)
		b = append(b, make([]byte, -len(s)&3)...)
	}
	opaque([]byte("cook")) // cookie
	word(1)                // exclusive
	opaque([]byte("load")) // caller_name
	opaque(fh)
	opaque([]byte("owner")) // oh
	word(4711)              // svid
	b = binary.BigEndian.AppendUint64(b, 100)
	b = binary.BigEndian.AppendUint64(b, 10)
	return rpcclient.Call{
		Prog: NlmProgram, Vers: 4, Proc: nlmProcTest, Args: b, Cred: rpcclient.Sys(1, "load", 0, 0),
	}
}
