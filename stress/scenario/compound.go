// SPDX-License-Identifier: MIT

package scenario

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/nfs"
)

// cbCompound has servers of minor version 0 call back over connections of their own.
var cbCompound = &Scenario{
	Name:  "cb-compound",
	Doc:   "servers ask for attributes and recall delegations over the listener, and send compounds that are none",
	Actor: "mount",
	Params: []Param{
		{Name: "clients", Doc: "servers that call back", Default: 1, Min: 1, Max: 2, Amount: true},
		{Name: "first", Doc: "which compound comes first, then the next ones in turn", Max: len(compounds0) - 1},
		{Name: "calls", Doc: "compounds of each server", Default: 2, Min: 1, Max: len(compounds0), Amount: true},
		{Name: "umount", Doc: "1: the file system is unmounted meanwhile", Max: 1},
	},
	Main: func(cur *kernel.Task, w *World) {
		w.Nfs = nfs.New(cur, w.Rpc, w.Init)
		w.Nfs.NfsCallbackSetTcpport = callbackPort
		w.Init.NoIPv6 = true
		s := w.NewMount(cur, 0)
		if !s.ok {
			w.StartFailed("mount", -kernel.ENOMEM, 1)
			s.End(cur, func() {})
			return
		}
		for range w.P.Get("clients") {
			c := w.newClient(w.Init, sock.IPPROTO_TCP, nfs.NFS4_CALLBACK, callbackVersion, w.P.Get("calls"), false)
			msgs := map[uint32][]byte{}
			for i, x := range c.xs {
				msgs[x.Xid] = s.prepare(x, compounds0[(w.P.Get("first")+i)%len(compounds0)](s))
			}
			c.msg = func(xid uint32) []byte { return msgs[xid] }
			w.spawnAt(cur, c, callbackPort)
		}
		w.callbackUp(cur, 0, nil)
		s.End(cur, func() { w.joinClients(cur) })
		w.callbackDown(cur, 0)
	},
}

// cbSession has a server of minor version 1 call back over the client's connection.
var cbSession = &Scenario{
	Name:  "cb-session",
	Doc:   "a server calls back within a session: in order, repeated, out of order and hostile",
	Actor: "mount",
	Params: []Param{
		{Name: "first", Doc: "which compound comes first, then the next ones in turn", Max: len(compounds1) - 1},
		{Name: "calls", Doc: "compounds", Default: 2, Min: 1, Max: len(compounds1), Amount: true},
		{Name: "umount", Doc: "1: the file system is unmounted meanwhile", Max: 1},
	},
	Main: func(cur *kernel.Task, w *World) {
		w.Nfs = nfs.New(cur, w.Rpc, w.Init)
		s := w.NewMount(cur, 1)
		bc := w.newBackchannel(cur, w.Init, 1)
		if bc == nil || !s.ok {
			w.StartFailed("mount", -kernel.ENOMEM, 1)
			if bc != nil {
				bc.free(cur)
			}
			s.End(cur, func() {})
			return
		}
		w.callbackUp(cur, 1, bc.xprt)
		var todo []*bcCall
		var each []*compound
		for i := range w.P.Get("calls") {
			c := bc.newCall("server", false)
			x := compounds1[(w.P.Get("first")+i)%len(compounds1)](s)
			c.msg = s.prepare(c.x, x)
			todo, each = append(todo, c), append(each, x)
		}
		server := w.M.Spawn(cur, "server", func(cur *kernel.Task) {
			w.Arrive(cur)
			for i, c := range todo {
				if each[i].referring {
					s.refer(cur, bc, c)
				} else {
					bc.call(cur, c)
				}
			}
		})
		s.End(cur, func() { kernel.Join(cur, server) })
		w.callbackDown(cur, 1)
		bc.free(cur)
	},
}

// compound is a compound with what must come of it.
type compound struct {
	minor, ident uint32
	tag          string
	ops          [][]byte
	nops         int // 0: as many as there are
	deny         bool
	want         oracle.Status
	status       uint32   // of the compound
	results      []uint32 // of its operations
	gone         bool     // the delegation that it recalls may have been returned
	referring    bool     // it refers to the call that occupies slot 0 of the fore channel
}

// Mount is a client with a file system: a file with a write delegation, one with a read delegation, and for minor
// version 1 a session, a layout and a data server.
type Mount struct {
	w      *World
	clp    *nfs.NfsClient
	server *nfs.NfsServer
	ok     bool   // all of it is there
	seq    uint32 // of the last call that took the slot
	given  bool   // the client has been asked for any delegation, and may return that of CbRead
	late   bool   // a call that is referred to was not answered in time; of look
}

const (
	// CbIdent is what a server puts into its compounds of minor version 0.
	CbIdent      = 7
	cbLayoutType = 2
	// Statuses of operations.
	cbOK       = 0
	cbBadFh    = 10001
	cbDelay    = 10008
	cbResource = 10018
)

// CbWritten and CbRead are the handles of the files with a write and a read delegation.
var (
	CbWritten  = []byte("written file")
	CbRead     = []byte("read file...")
	cbSessID   = nfs.Nfs4Sessionid{'s', 'e', 's', 's'}
	cbDelegate = map[string]nfs.Nfs4Stateid{
		string(CbWritten): {Seqid: 1, Other: [12]byte{'w'}}, string(CbRead): {Seqid: 1, Other: [12]byte{'r'}},
	}
	cbLayout = nfs.Nfs4Stateid{Seqid: 1, Other: [12]byte{'l'}}
)

// NewMount makes the state of the client.
func (w *World) NewMount(cur *kernel.Task, minor uint32) *Mount {
	s := &Mount{w: w}
	n := w.Nfs
	s.clp = n.AddClient(cur, w.Init, nfs.ClientArgs{
		Addr: sock.LoopbackAddr(sock.AF_INET, nfsPort), Minorversion: minor, Ident: CbIdent,
	})
	if s.clp == nil {
		return s
	}
	if s.server = n.AddServer(cur, s.clp, nfs.NfsFsid{Major: 1}, cbLayoutType); s.server == nil {
		return s
	}
	var inodes []*nfs.NfsInode
	for _, fh := range [][]byte{CbWritten, CbRead} {
		mode := uint32(nfs.FMODE_READ)
		if string(fh) == string(CbWritten) {
			mode = nfs.FMODE_WRITE
		}
		inode := n.AddInode(cur, s.server, fh, nfs.InodeAttr{Size: 6})
		if inode == nil || n.AddDelegation(cur, inode, cbDelegate[string(fh)], mode, 41) != 0 {
			return s
		}
		inodes = append(inodes, inode)
	}
	if minor != 0 {
		if n.AddLayout(cur, inodes[0], cbLayout, nfs.PnfsLayoutRange{Iomode: nfs.IOMODE_RW, Length: 100}) != 0 ||
			n.AddDevice(cur, s.clp, cbLayoutType, nfs.Nfs4Deviceid{'d'}) != 0 ||
			n.AddSession(cur, s.clp, nfs.SessionArgs{SessID: cbSessID, FcSlots: 1}) != 0 {
			return s
		}
	}
	s.ok = true
	return s
}

// End unmounts, behind the callbacks that wait waits for or beside them, and sees that every delegation was returned
// once.
func (s *Mount) End(cur *kernel.Task, wait func()) {
	n := s.w.Nfs
	if s.w.P.Get("umount") == 0 {
		wait()
	}
	s.w.Arrive(cur)
	if s.server != nil {
		n.Umount(cur, s.server)
	}
	if s.w.P.Get("umount") == 1 {
		wait()
	}
	if s.clp == nil {
		return
	}
	// The state manager may still be at work. It has a reference, and so has what it unmounts.
	for wait := kernel.Jiffies(1); s.clp.ClCount.Peek() > 1 && wait < 10*replyTimeout; wait *= 2 {
		pause(cur, wait)
	}
	if s.ok && s.w.M.Departed(kernel.DecideAlloc)+s.w.M.Departed(kernel.DecideTimer) == 0 {
		seen := map[string]int{}
		for _, d := range s.clp.Delegreturns() {
			seen[string(d.Fh)]++
		}
		for _, fh := range [][]byte{CbWritten, CbRead} {
			if seen[string(fh)] != 1 {
				s.w.report("accounting", "a delegation is not returned exactly once",
					fmt.Sprintf("%s: %d times", fh, seen[string(fh)]))
			}
		}
	}
	n.NfsPutClient(cur, s.clp)
}

// prepare says in x what must come back and is the call.
func (s *Mount) prepare(x *oracle.Exchange, c *compound) []byte {
	x.Proc, x.Want = nfs.CB_COMPOUND, c.want
	if c.deny {
		denied(x, wire.AUTH_BADCRED)
	}
	if x.Want == oracle.AcceptSuccess {
		x.Look = func(r *wire.Reply) string { return s.look(c, r.Results.(*wire.CB_COMPOUND4res)) }
	}
	call := wire.NewCall(x.Xid, nfs.NFS4_CALLBACK, callbackVersion, nfs.CB_COMPOUND, nil)
	call.Header.Cred = wire.Sys(&wire.Authsys_parms{Machinename: "server"})
	nops := c.nops
	if nops == 0 {
		nops = len(c.ops)
	}
	b := opaque(wire.EncodeCall(call), []byte(c.tag))
	b = put(b, c.minor, c.ident, uint32(nops))
	return append(b, slices.Concat(c.ops...)...)
}

// look compares the results with what they must be. What steps that fail or an unmount may change is let pass.
func (s *Mount) look(c *compound, res *wire.CB_COMPOUND4res) string {
	if string(res.Tag) != c.tag {
		return fmt.Sprintf("tag %q", res.Tag)
	}
	var got []uint32
	for i := range res.Resarray {
		got = append(got, uint32(res.Resarray[i].Outcome()))
	}
	if c.referring && !s.w.M.Sim() && uint32(res.Status) == cbDelay {
		s.late = true // the service waits for half a second; real time may not give that, and the slot stays behind
	}
	disturbed := s.late || s.w.P.Get("umount") == 1 || s.w.M.Departed(kernel.DecideAlloc) > 0
	if disturbed || uint32(res.Status) == c.status && slices.Equal(got, c.results) {
		return ""
	}
	if (c.gone || s.w.P.Get("clients") > 1) && uint32(res.Status) == cbBadFh && len(got) == len(c.results) {
		return "" // the other server, or a call before this one, recalled it
	}
	return fmt.Sprintf("status %d and %v, want %d and %v", res.Status, got, c.status, c.results)
}

// refer makes a callback while the call that it refers to is under way, and answers that one then.
func (s *Mount) refer(cur *kernel.Task, bc *backchannel, c *bcCall) {
	tbl := &s.clp.ClSession.FcSlotTable
	slot := nfs.Nfs4AllocSlot(cur, tbl)
	taken := bc.send(cur, c)
	pause(cur, kernel.HZ/10)
	if slot != nil {
		nfs.Nfs41SequenceDone(tbl, slot)
	}
	if taken && c.answered.WaitTimeout(cur, replyTimeout) == 0 {
		c.x.Err = -kernel.ETIMEDOUT
	}
}

// put appends words.
func put(b []byte, ws ...uint32) []byte {
	for _, w := range ws {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// opaque appends counted octets.
func opaque(b, x []byte) []byte {
	b = append(put(b, uint32(len(x))), x...)
	return append(b, make([]byte, -len(x)&3)...)
}

// The operations of a compound.

func getattr(fh []byte, bitmap ...uint32) []byte {
	return put(opaque(put(nil, nfs.OP_CB_GETATTR), fh), append([]uint32{uint32(len(bitmap))}, bitmap...)...)
}

func recall(fh []byte, id nfs.Nfs4Stateid) []byte {
	b := append(put(nil, nfs.OP_CB_RECALL, id.Seqid), id.Other[:]...)
	return opaque(put(b, 0), fh)
}

// sequence is CB_SEQUENCE with lists of referring calls behind it.
func sequence(id nfs.Nfs4Sessionid, seq, slot, cache uint32, lists ...[]byte) []byte {
	b := append(put(nil, nfs.OP_CB_SEQUENCE), id[:]...)
	return append(put(b, seq, slot, 0, cache, uint32(len(lists))), slices.Concat(lists...)...)
}

// next is the CB_SEQUENCE of the next call.
func (s *Mount) next(lists ...[]byte) []byte {
	s.seq++
	return sequence(cbSessID, s.seq, 0, 0, lists...)
}

func notifyDeviceid(ids ...nfs.Nfs4Deviceid) []byte {
	b := put(nil, nfs.OP_CB_NOTIFY_DEVICEID, uint32(len(ids)))
	for _, id := range ids {
		b = append(put(b, 1, nfs.NOTIFY_DEVICEID4_DELETE, 20, cbLayoutType), id[:]...)
	}
	return b
}

// minor0 is a compound of minor version 0 whose operations have these statuses.
func minor0(results []uint32, ops ...[]byte) *compound {
	c := &compound{ident: CbIdent, ops: ops, results: results}
	if len(results) > 0 {
		c.status = results[len(results)-1]
	}
	return c
}

// minor1 is minor0 for minor version 1.
func minor1(results []uint32, ops ...[]byte) *compound {
	c := minor0(results, ops...)
	c.minor = 1
	return c
}

// results are statuses.
func results(list ...uint32) []uint32 { return list }

// compounds0 are compounds of minor version 0, in the order in which they are sent.
var compounds0 = []func(s *Mount) *compound{
	func(*Mount) *compound {
		c := minor0(results(cbOK), getattr(CbWritten, 0x18, 0x300000))
		c.tag = "attributes"
		return c
	},
	func(*Mount) *compound { return minor0(results(cbOK), recall(CbRead, cbDelegate[string(CbRead)])) },
	func(*Mount) *compound {
		return minor0(results(cbOK, 10025), getattr(CbWritten, 0x18), recall(CbWritten, nfs.Nfs4Stateid{}))
	},
	func(*Mount) *compound { return minor0(results(cbBadFh), getattr([]byte("no such file"))) },
	func(*Mount) *compound { return minor0(results(10044), put(nil, nfs.OP_CB_SEQUENCE)) },
	func(*Mount) *compound { return &compound{ident: CbIdent + 1, deny: true} },
	func(*Mount) *compound {
		return &compound{ident: CbIdent, tag: string(make([]byte, 520)), want: oracle.AcceptGarbageArgs}
	},
	func(*Mount) *compound { return &compound{minor: 3, status: 10021} },
	func(*Mount) *compound {
		return minor0(results(cbOK, cbResource), getattr(CbWritten, 0x18), getattr(CbWritten)[:8])
	},
	func(*Mount) *compound { return &compound{ident: CbIdent, nops: 1 << 31, status: cbResource} },
}

// compounds1 are compounds of minor version 1, in the order in which they are sent.
var compounds1 = []func(s *Mount) *compound{
	func(s *Mount) *compound {
		c := minor1(results(cbOK, cbOK, cbOK), s.next(), notifyDeviceid(nfs.Nfs4Deviceid{'d'}), notifyDeviceid())
		c.tag = "devices"
		return c
	},
	func(*Mount) *compound {
		list := put(append([]byte(nil), cbSessID[:]...), 1<<31+1, 1, 0)
		return minor1(results(cbResource), sequence(cbSessID, 9, 0, 0, list))
	},
	func(s *Mount) *compound {
		c := minor1(results(cbOK), s.next(put(append([]byte(nil), cbSessID[:]...), 1, 1, 0)))
		c.referring = true
		return c
	},
	func(s *Mount) *compound {
		c := minor1(results(cbOK, cbOK), s.next(), recall(CbRead, cbDelegate[string(CbRead)]))
		c.gone = s.given
		return c
	},
	func(s *Mount) *compound {
		return minor1(results(cbOK, 10068), sequence(cbSessID, s.seq, 0, 0), put(nil, nfs.OP_CB_RECALL_SLOT, 0))
	},
	func(s *Mount) *compound { return minor1(results(10063), sequence(cbSessID, s.seq+2, 0, 0)) },
	func(s *Mount) *compound { return minor1(results(10053), sequence(cbSessID, s.seq+1, 1, 0)) },
	func(s *Mount) *compound { return minor1(results(10052), sequence(nfs.Nfs4Sessionid{}, s.seq+1, 0, 0)) },
	func(s *Mount) *compound { return minor1(results(10067), sequence(cbSessID, s.seq+1, 0, 1)) },
	func(s *Mount) *compound {
		return minor1(results(cbOK, cbOK), s.next(), put(nil, nfs.OP_CB_RECALL_SLOT, 0))
	},
	func(s *Mount) *compound {
		s.given = true
		mask := put(nil, nfs.OP_CB_RECALL_ANY, 0, 1, 1<<nfs.RCA4_TYPE_MASK_RDATA_DLG)
		return minor1(results(cbOK, cbOK), s.next(), mask)
	},
	func(s *Mount) *compound {
		b := opaque(put(nil, nfs.OP_CB_LAYOUTRECALL, cbLayoutType, nfs.IOMODE_ANY, 0, nfs.RETURN_FILE), CbWritten)
		b = append(put(b, 0, 0, 1<<32-1, 1<<32-1, 2), cbLayout.Other[:]...)
		return minor1(results(cbOK, 10060), s.next(), b)
	},
	func(s *Mount) *compound {
		return minor1(results(cbOK, 10004), s.next(), put(nil, nfs.OP_CB_NOTIFY_LOCK))
	},
	func(*Mount) *compound { return minor1(results(10071), getattr(CbWritten)) },
}
