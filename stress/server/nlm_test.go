// SPDX-License-Identifier: MIT

package server

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/stress/nlmclient"
	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/stress/wire"
)

// handleOf is the handle of the i-th of the usual files, as long as version 1 wants it.
func handleOf(i int, vers uint32) []byte {
	b := []byte{1, 0, 1, 1, 0, 0, 0, 0}
	b = binary.LittleEndian.AppendUint32(b, usualFiles[i].Gen)
	b = binary.LittleEndian.AppendUint32(b, uint32(2+i))
	b = append(b, 0, 0, 0, 0)
	if vers != 4 {
		b = append(b, make([]byte, 32-len(b))...)
	}
	return b
}

// TestLocksOverSockets takes, tests, waits for and releases locks from outside, in every version and over both
// transports: by call and by message, and called back with GRANTED.
func TestLocksOverSockets(t *testing.T) {
	peer, err := nlmclient.Listen(nlmclient.PeerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	serve(t, Config{PeerRpcbindPort: peer.Port()}, func(at map[string]string) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for i, vers := range []uint32{4, 1, 3} {
			for j, network := range []string{"tcp", "udp"} {
				sock, err := rpcclient.Dial(ctx, network, at["lockd "+network], rpcclient.Options{Cred: rpcclient.Sys(0, "guest", 0, 0)})
				if err != nil {
					t.Fatal(err)
				}
				lockFile(ctx, t, peer, sock, vers, handleOf(2*i+j, vers))
				sock.Close()
			}
		}
	})
}

// lockFile has two owners of one client want one file.
func lockFile(ctx context.Context, t *testing.T, peer *nlmclient.Peer, sock *rpcclient.Client, vers uint32, fh []byte) {
	t.Helper()
	c, err := nlmclient.New(sock, vers, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	must := func(what string, want nlmclient.Status) func(nlmclient.Status, error) {
		return func(got nlmclient.Status, err error) {
			t.Helper()
			if err != nil || got != want {
				t.Errorf("version %d: %s: %v, %v, want %v", vers, what, got, err, want)
			}
		}
	}
	mine := nlmclient.Lock{Fh: fh, Owner: []byte("me"), Svid: 1, Offset: 10, Len: 20, Exclusive: true}
	yours := nlmclient.Lock{Fh: fh, Owner: []byte("you"), Svid: 2, Offset: 15, Len: 5, Exclusive: true}
	must("LOCK", wire.NLM4_GRANTED)(c.Lock(ctx, mine, nlmclient.Options{}))
	must("LOCK of a held range", wire.NLM4_DENIED)(c.Lock(ctx, yours, nlmclient.Options{}))
	s, holder, err := c.Test(ctx, yours)
	if err != nil || s != wire.NLM4_DENIED || holder == nil || holder.Offset != 10 || holder.Len != 20 || !holder.Exclusive {
		t.Errorf("version %d: TEST: %v, %+v, %v", vers, s, holder, err)
	}
	must("LOCK that waits", wire.NLM4_BLOCKED)(c.Lock(ctx, yours, nlmclient.Options{Block: true}))
	must("UNLOCK", wire.NLM4_GRANTED)(c.Unlock(ctx, mine))
	if err := peer.AwaitGranted(ctx, yours); err != nil {
		t.Errorf("version %d: %v", vers, err)
	}
	must("UNLOCK by message", wire.NLM4_GRANTED)(c.UnlockMsg(ctx, peer, yours))
	must("LOCK by message", wire.NLM4_GRANTED)(c.LockMsg(ctx, peer, mine, nlmclient.Options{}))
	if s, holder, err := c.TestMsg(ctx, peer, yours); err != nil || s != wire.NLM4_DENIED || holder == nil || holder.Offset != 10 {
		t.Errorf("version %d: TEST by message: %v, %+v, %v", vers, s, holder, err)
	}
	must("CANCEL of nothing", wire.NLM4_GRANTED)(c.Cancel(ctx, yours, nlmclient.Options{Block: true}))
	must("UNLOCK again", wire.NLM4_GRANTED)(c.Unlock(ctx, mine))
	if vers == 1 {
		return
	}
	share := nlmclient.Share{Fh: fh, Owner: []byte("me"), Mode: 1, Access: 1}
	must("SHARE", wire.NLM4_GRANTED)(c.Share(ctx, share))
	must("UNSHARE", wire.NLM4_GRANTED)(c.Unshare(ctx, share))
	must("NM_LOCK", wire.NLM4_GRANTED)(c.NmLock(ctx, mine, nlmclient.Options{}))
	if err := c.FreeAll(ctx, "localhost", 1); err != nil {
		t.Errorf("version %d: FREE_ALL: %v", vers, err)
	}
	must("LOCK behind FREE_ALL", wire.NLM4_GRANTED)(c.Lock(ctx, yours, nlmclient.Options{}))
	must("UNLOCK of it", wire.NLM4_GRANTED)(c.Unlock(ctx, yours))
}
