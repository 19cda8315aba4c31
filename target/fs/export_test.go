// SPDX-License-Identifier: GPL-2.0-only

package fs

import (
	"encoding/hex"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

func TestHandles(t *testing.T) {
	both(t, 1, func(cur *kernel.Task, fail func(string, ...any)) {
		v := New(cur, cur.Machine())
		file := v.Create("hello", false, 0xcdf903ed)
		dir := v.Create("wd", true, 0xb9583e6b)
		gone := v.Create("gone", false, 1)
		v.Remove(gone)
		for handle, want := range map[string]struct {
			inode *Inode
			err   int
		}{
			// As a kernel makes them for a tmpfs that is exported with fsid=0.
			"0100010000000000":                                        {v.Root(), 0},
			"0100010100000000ed03f9cd0200000000000000":                {file, 0},
			"01000101000000006b3e58b90300000000000000":                {dir, 0},
			"0100010100000000ed03f9cd020000000000000000":              {file, 0},             // cut to words
			"0100010100000000ed03f9cd0200000000000000000000000000":    {file, 0},             // NFSv2 pads
			"01000101" + "00000000" + "01000000" + "0400000000000000": {nil, -kernel.ESTALE}, // removed
			"0100010100000000ee03f9cd0200000000000000":                {nil, -kernel.ESTALE}, // another generation
			"0100010100000000ed03f9cd0200000001000000":                {nil, -kernel.ESTALE}, // another number
			"0100010100000000ed03f9cd02000000":                        {nil, -kernel.ESTALE}, // cut
			"0100010107000000ed03f9cd0200000000000000":                {nil, -kernel.ESTALE}, // another export
			"0100000000000000" + "0000000000000000":                   {nil, -kernel.ESTALE}, // an export by device
			"":                                                        {nil, -kernel.EBADHANDLE},
			"010001":                                                  {nil, -kernel.EBADHANDLE},
			"01000100":                                                {nil, -kernel.EBADHANDLE}, // no export
			"0101010000000000":                                        {nil, -kernel.EBADHANDLE}, // authentication
			"0100080000000000":                                        {nil, -kernel.EBADHANDLE}, // kind of export
			"0100070000000000":                                        {nil, -kernel.EBADHANDLE}, // too short for it
			"ffffffffffffffffffffffffffffffff":                        {nil, -kernel.EBADHANDLE},
			"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": {nil, -kernel.ESTALE}, // the old form
		} {
			fh, err := hex.DecodeString(handle)
			if err != nil {
				t.Fatal(err)
			}
			if inode, err := v.FhToInode(fh); inode != want.inode || err != want.err {
				fail("%s: %v, %s", handle, inode, kernel.ErrName(err))
			}
		}
		for _, inode := range v.PeekInodes() {
			if got, err := v.FhToInode(v.FhOf(inode)); got != inode || err != 0 {
				fail("%s: %x leads to %v, %s", inode.IName, v.FhOf(inode), got, kernel.ErrName(err))
			}
		}
		if got := hex.EncodeToString(v.FhOf(file)); got != "0100010100000000ed03f9cd0200000000000000" {
			fail("%s", got)
		}
		// Who has it open goes on with it.
		filp, err := v.Open(cur, gone, FMODE_READ|FMODE_WRITE)
		if err != 0 {
			fail("%s", kernel.ErrName(err))
		}
		if err := v.FcntlSetlk(cur, filp, F_SETLK, req(1, F_WRLCK, 0, 0)); err != 0 {
			fail("%s", kernel.ErrName(err))
		}
		v.FilpClose(cur, filp, 1)
	})
}
