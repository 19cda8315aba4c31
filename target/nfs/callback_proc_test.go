// SPDX-License-Identifier: GPL-2.0-only

package nfs

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

var (
	writtenFh = []byte("written file")
	readFh    = []byte("read file...")
	writtenID = Nfs4Stateid{1, [12]byte{'w'}}
	readID    = Nfs4Stateid{1, [12]byte{'r'}}
	layoutID  = Nfs4Stateid{1, [12]byte{'l'}}
	sessID    = Nfs4Sessionid{'s'}
	deviceID  = Nfs4Deviceid{'d'}
)

// mounted is a world with one client that holds some of everything.
type mounted struct {
	*world
	clp    *NfsClient
	server *NfsServer
	wrote  *NfsInode
	minor  uint32 // of the compounds that back sends
	calls  uint32
}

// mount fails only if a step was made to fail, and then takes everything back.
func (w *world) mount(cur *kernel.Task, minor uint32) *mounted {
	m := &mounted{world: w, minor: minor}
	ok := func() bool {
		m.clp = w.AddClient(cur, w.nets[0], ClientArgs{Addr: w.xprts[0].Addr, Minorversion: minor, Ident: 7})
		if m.clp == nil {
			return false
		}
		if m.server = w.AddServer(cur, m.clp, NfsFsid{1, 2}, 2); m.server == nil {
			return false
		}
		attr := InodeAttr{Size: 6, Ctime: Timespec{100, 1}, Mtime: Timespec{200, 2}}
		m.wrote = w.AddInode(cur, m.server, writtenFh, attr)
		read := w.AddInode(cur, m.server, readFh, attr)
		return m.wrote != nil && read != nil &&
			w.AddDelegation(cur, m.wrote, writtenID, FMODE_READ|FMODE_WRITE, 41) == 0 &&
			w.AddDelegation(cur, read, readID, FMODE_READ, 1) == 0 &&
			w.AddLayout(cur, m.wrote, layoutID,
				PnfsLayoutRange{IOMODE_RW, 0, 100}, PnfsLayoutRange{IOMODE_READ, 100, 100}) == 0 &&
			w.AddDevice(cur, m.clp, 2, deviceID) == 0 &&
			(minor == 0 || w.AddSession(cur, m.clp, SessionArgs{SessID: sessID, FcSlots: 4}) == 0)
	}()
	if !ok {
		m.umount(cur)
		return nil
	}
	return m
}

// umount takes back what mount did.
func (m *mounted) umount(cur *kernel.Task) {
	if m.server != nil {
		m.Umount(cur, m.server)
	}
	m.NfsPutClient(cur, m.clp)
}

// returned wants both delegations returned behind an unmount, and ends the client and its service.
func (m *mounted) returned(cur *kernel.Task, fail func(string, ...any)) {
	for m.clp.ClCount.Peek() > 1 { // the state manager has a reference while it is at work
		kernel.Msleep(cur, 1)
	}
	kernel.Msleep(cur, 10) // what has been answered is given back
	if n := len(m.clp.Delegreturns()); n != 2 {
		fail("%d delegations returned", n)
	}
	m.NfsPutClient(cur, m.clp)
	m.NfsCallbackDown(cur, int(m.minor), m.nets[0])
}

// reply is a decoded answer to a compound.
type reply struct {
	accept uint32
	status uint32
	nops   uint32
	body   []byte // the results
}

// parse reads an answer with its marker; it stops at what is not there.
func parse(record string, tag int) reply {
	at := func(i int) uint32 {
		if len(record) < i+4 {
			return 1<<32 - 1
		}
		return binary.BigEndian.Uint32([]byte(record[i:]))
	}
	r := reply{accept: at(24)}
	if r.accept == 0 {
		r.status = at(28)
		body := 36 + (tag+3)&^3
		r.nops = at(body)
		r.body = []byte(record[min(len(record), body+4):])
	}
	return r
}

// compound is the octets of a call.
func compound(xid, minor, ident, nops uint32, tag string, ops ...string) string {
	b := words(xid, 0, 2, NFS4_CALLBACK, 1, CB_COMPOUND, 1, 20, 0, 0, 0, 0, 0, 0, 0, uint32(len(tag)))
	b += tag + "\x00\x00\x00"[:-len(tag)&3] + words(minor, ident, nops)
	for _, op := range ops {
		b += op
	}
	return b
}

// back sends a compound over the first transport and waits for the answer.
func (m *mounted) back(cur *kernel.Task, ops ...string) reply {
	m.calls++
	xprt := sunrpc.XprtGet(m.xprts[0])
	msg := compound(m.calls, m.minor, 7, uint32(len(ops)), "", ops...)
	m.irq.Raise(func() {
		sunrpc.XsTcpReadCallback(xprt, []byte(msg))
		sunrpc.XprtPut(xprt)
	})
	if m.each.WaitTimeout(cur, 10*kernel.HZ) != 0 {
		return parse(m.sent[0][len(m.sent[0])-1], 0)
	}
	return reply{accept: 1 << 31}
}

func opaque(b []byte) string { return words(uint32(len(b))) + string(b) + "\x00\x00\x00"[:-len(b)&3] }

func opGetattr(fh []byte, bitmap ...uint32) string {
	return words(OP_CB_GETATTR) + opaque(fh) + words(append([]uint32{uint32(len(bitmap))}, bitmap...)...)
}

func opRecall(fh []byte, id Nfs4Stateid) string {
	return words(OP_CB_RECALL, id.Seqid) + string(id.Other[:]) + words(0) + opaque(fh)
}

func opSequence(id Nfs4Sessionid, seq, slot, cache uint32, lists ...string) string {
	b := words(OP_CB_SEQUENCE) + string(id[:]) + words(seq, slot, 9, cache, uint32(len(lists)))
	for _, l := range lists {
		b += l
	}
	return b
}

func rcList(id Nfs4Sessionid, n uint32, calls ...uint32) string {
	return string(id[:]) + words(n) + words(calls...)
}

func opLayoutrecall(recall uint32, iomode uint32, rest string) string {
	return words(OP_CB_LAYOUTRECALL, 2, iomode, 0, recall) + rest
}

func layoutOf(fh []byte, id Nfs4Stateid, offset, length uint64) string {
	return opaque(fh) + words(uint32(offset>>32), uint32(offset), uint32(length>>32), uint32(length), id.Seqid) +
		string(id.Other[:])
}

func opDevices(n uint32, items ...string) string {
	b := words(OP_CB_NOTIFY_DEVICEID, n)
	for _, x := range items {
		b += x
	}
	return b
}

func device(notify, size, layout uint32, id Nfs4Deviceid) string {
	return words(1, notify, size, layout) + string(id[:])
}

// sequenceRes is the result of a CB_SEQUENCE that succeeds.
func sequenceRes(seq uint32) string {
	return words(OP_CB_SEQUENCE, 0) + string(sessID[:]) + words(seq, 0, 0, 0)
}

// within runs a test with a mounted client of a minor version whose callback service is up.
func within(t *testing.T, runs int, minor int, body func(cur *kernel.Task, m *mounted, fail func(string, ...any))) {
	t.Helper()
	choosertest.Simulate(t, runs, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		m := w.mount(cur, uint32(minor))
		if !w.started(cur, fail, minor, 0) {
			return
		}
		body(cur, m, fail)
		m.umount(cur)
		kernel.Msleep(cur, 100) // the state manager may still be at work
		w.NfsCallbackDown(cur, minor, w.nets[0])
		w.down(cur, fail, "down")
	})
}

// TestOps holds every operation's statuses, each of them in a compound of its own behind a CB_SEQUENCE.
func TestOps(t *testing.T) {
	const big = 1<<32 - 1
	all := layoutOf(writtenFh, layoutID, 0, NFS4_MAX_UINT64)
	for _, x := range []struct {
		name   string
		op     string
		status uint32
	}{
		{"getattr of a written file", opGetattr(writtenFh, 0), 0},
		{"getattr of a read file", opGetattr(readFh, 0), NFS4ERR_BADHANDLE},
		{"getattr of an unknown file", opGetattr([]byte("nothing"), 0), NFS4ERR_BADHANDLE},
		{"getattr of a long handle", opGetattr(make([]byte, 129), 0), NFS4ERR_BADHANDLE},
		{"getattr of the longest handle", opGetattr(make([]byte, 128), 0), NFS4ERR_BADHANDLE},
		{"getattr that is cut", opGetattr(writtenFh, 0)[:12], NFS4ERR_RESOURCE},
		{"getattr without bitmap", opGetattr(writtenFh), 0},
		{"getattr with a long bitmap", opGetattr(writtenFh, make([]uint32, 50)...), 0},
		{"getattr with a bitmap that is too long", words(OP_CB_GETATTR) + opaque(writtenFh) + words(2, 0), NFS4ERR_RESOURCE},
		{"getattr with a bitmap that wraps", words(OP_CB_GETATTR) + opaque(writtenFh) + words(1<<30, 0), NFS4ERR_RESOURCE},
		{"recall", opRecall(writtenFh, writtenID), 0},
		{"recall of any update", opRecall(readFh, Nfs4Stateid{0, readID.Other}), 0},
		{"recall of another update", opRecall(readFh, Nfs4Stateid{9, readID.Other}), NFS4ERR_BAD_STATEID},
		{"recall of another state", opRecall(readFh, writtenID), NFS4ERR_BAD_STATEID},
		{"recall of an unknown file", opRecall([]byte("nothing"), readID), NFS4ERR_BADHANDLE},
		{"recall that is cut", opRecall(readFh, readID)[:20], NFS4ERR_RESOURCE},
		{"recall with a cut stateid", opRecall(readFh, readID)[:16], NFS4ERR_RESOURCE},
		{"layoutrecall of a file", opLayoutrecall(RETURN_FILE, IOMODE_ANY, all), NFS4ERR_NOMATCHING_LAYOUT},
		{"layoutrecall of an unknown file", opLayoutrecall(RETURN_FILE, IOMODE_ANY, layoutOf(readFh, layoutID, 0, 1)),
			NFS4ERR_NOMATCHING_LAYOUT},
		{"layoutrecall of a file that is cut", opLayoutrecall(RETURN_FILE, IOMODE_ANY, all[:len(all)-4]), NFS4ERR_RESOURCE},
		{"layoutrecall without a range", opLayoutrecall(RETURN_FILE, IOMODE_ANY, opaque(writtenFh)), NFS4ERR_BADXDR},
		{"layoutrecall of a long handle", opLayoutrecall(RETURN_FILE, 0, opaque(make([]byte, 132))), NFS4ERR_BADHANDLE},
		{"layoutrecall of a file system", opLayoutrecall(RETURN_FSID, 0, words(0, 1, 0, 2)), NFS4ERR_NOMATCHING_LAYOUT},
		{"layoutrecall of half a file system", opLayoutrecall(RETURN_FSID, 0, words(0, 1, 0)), NFS4ERR_BADXDR},
		{"layoutrecall of all", opLayoutrecall(RETURN_ALL, 0, ""), NFS4ERR_NOMATCHING_LAYOUT},
		{"layoutrecall of what", opLayoutrecall(4, 0, ""), NFS4ERR_BADXDR},
		{"layoutrecall that is cut", words(OP_CB_LAYOUTRECALL, 2, 1, 0), NFS4ERR_BADXDR},
		{"no device", opDevices(0), 0},
		{"a device", opDevices(1, device(NOTIFY_DEVICEID4_DELETE, 20, 2, deviceID)), 0},
		{"a device that changes", opDevices(1, device(NOTIFY_DEVICEID4_CHANGE, 24, 2, deviceID)+words(1)), 0},
		{"a device of a type that reads one word more", opDevices(1, device(NOTIFY_DEVICEID4_CHANGE, 24, 1, deviceID)),
			NFS4ERR_BADXDR},
		{"a device of a wrong size", opDevices(1, device(NOTIFY_DEVICEID4_DELETE, 24, 2, deviceID)), NFS4ERR_INVAL},
		{"a device that changes, of a wrong size", opDevices(1, device(NOTIFY_DEVICEID4_CHANGE, 20, 2, deviceID)),
			NFS4ERR_INVAL},
		{"a device of a third kind", opDevices(1, device(3, 20, 2, deviceID)), NFS4ERR_INVAL},
		{"a device with two words of kinds", opDevices(1, words(2, 2, 20, 2)+string(deviceID[:])), NFS4ERR_INVAL},
		{"one device too few", opDevices(2, device(NOTIFY_DEVICEID4_DELETE, 20, 2, deviceID)), NFS4ERR_BADXDR},
		{"too many devices", opDevices(big), NFS4ERR_BADXDR},
		{"devices without a number", words(OP_CB_NOTIFY_DEVICEID), NFS4ERR_BADXDR},
		{"recall_any", words(OP_CB_RECALL_ANY, 0, 1, 0xf31f), 0},
		{"recall_any without a mask", words(OP_CB_RECALL_ANY, 0, 0), 0},
		{"recall_any of what", words(OP_CB_RECALL_ANY, 0, 1, 0x20), NFS4ERR_INVAL},
		{"recall_any that is cut", words(OP_CB_RECALL_ANY), NFS4ERR_BADXDR},
		{"recall_any with a cut mask", words(OP_CB_RECALL_ANY, 0, 1), NFS4ERR_RESOURCE},
		{"recall_slot", words(OP_CB_RECALL_SLOT, 0), 0},
		{"recall_slot that is cut", words(OP_CB_RECALL_SLOT), NFS4ERR_BADXDR},
		{"a second sequence", opSequence(sessID, 2, 0, 0), NFS4ERR_SEQUENCE_POS},
		{"notify", words(OP_CB_NOTIFY), NFS4ERR_NOTSUPP},
		{"push_deleg", words(OP_CB_PUSH_DELEG), NFS4ERR_NOTSUPP},
		{"recallable_obj_avail", words(OP_CB_RECALLABLE_OBJ_AVAIL), NFS4ERR_NOTSUPP},
		{"wants_cancelled", words(OP_CB_WANTS_CANCELLED), NFS4ERR_NOTSUPP},
		{"notify_lock", words(OP_CB_NOTIFY_LOCK), NFS4ERR_NOTSUPP},
		{"offload", words(OP_CB_OFFLOAD), NFS4ERR_OP_ILLEGAL},
		{"operation 0", words(0), NFS4ERR_OP_ILLEGAL},
		{"the last operation", words(big), NFS4ERR_OP_ILLEGAL},
	} {
		within(t, 1, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
			r := m.back(cur, opSequence(sessID, 1, 0, 0), x.op)
			want := binary.BigEndian.Uint32([]byte(x.op))
			if x.status == NFS4ERR_OP_ILLEGAL {
				want = OP_CB_ILLEGAL
			}
			if r.accept != 0 || r.status != x.status || r.nops != 2 {
				fail("%s: %+v", x.name, r)
				return
			}
			if head := sequenceRes(1) + words(want, x.status); len(r.body) < len(head) || string(r.body[:len(head)]) != head {
				fail("%s: % x", x.name, r.body)
			}
		})
	}
}

// TestMinor holds what a compound's header leads to.
func TestMinor(t *testing.T) {
	within(t, 1, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		for _, x := range []struct {
			minor  uint32
			op     string
			status uint32
			body   string
		}{
			{1, opGetattr(writtenFh, 0), NFS4ERR_OP_NOT_IN_SESSION, words(OP_CB_GETATTR, NFS4ERR_OP_NOT_IN_SESSION)},
			{1, words(99), NFS4ERR_OP_NOT_IN_SESSION, words(99, NFS4ERR_OP_NOT_IN_SESSION)},
			{2, opSequence(sessID, 1, 0, 0), NFS4ERR_BADSESSION, words(OP_CB_SEQUENCE, NFS4ERR_BADSESSION)},
			{2, words(OP_CB_OFFLOAD), NFS4ERR_OP_NOT_IN_SESSION, words(OP_CB_OFFLOAD, NFS4ERR_OP_NOT_IN_SESSION)},
			{3, words(OP_CB_GETATTR), NFS4ERR_MINOR_VERS_MISMATCH, ""},
			{1<<32 - 1, "", NFS4ERR_MINOR_VERS_MISMATCH, ""},
		} {
			m.minor = x.minor
			if r := m.back(cur, x.op); r.accept != 0 || r.status != x.status || string(r.body) != x.body {
				fail("minor %d: %+v", x.minor, r)
			}
		}
	})
}

// TestSlot holds the table of sequence numbers.
func TestSlot(t *testing.T) {
	within(t, 1, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		slot := m.clp.ClSession.BcSlotTable.Slots[0]
		for _, x := range []struct {
			name             string
			start            uint32 // what the slot has
			seq, slot, cache uint32
			status           uint32
			next             uint32 // of the operation behind it
			end              uint32 // what the slot has then
		}{
			{"the first call", 0, 1, 0, 0, 0, 0, 1},
			{"the same again", 1, 1, 0, 0, 0, NFS4ERR_RETRY_UNCACHED_REP, 1},
			{"the same again, from the cache", 1, 1, 0, 1, NFS4ERR_SEQ_FALSE_RETRY, 0, 1},
			{"an old one", 5, 4, 0, 0, NFS4ERR_SEQ_MISORDERED, 0, 5},
			{"one too far", 5, 7, 0, 0, NFS4ERR_SEQ_MISORDERED, 0, 5},
			{"one to be kept", 5, 6, 0, 1, NFS4ERR_REP_TOO_BIG_TO_CACHE, 0, 5},
			{"round the end", 1<<32 - 1, 0, 0, 0, 0, 0, 0},
			{"another slot", 5, 6, 1, 0, NFS4ERR_BADSLOT, 0, 5},
			{"the last slot", 5, 6, 1<<32 - 1, 0, NFS4ERR_BADSLOT, 0, 5},
		} {
			slot.SeqNr = x.start
			r := m.back(cur, opSequence(sessID, x.seq, x.slot, x.cache), words(OP_CB_RECALL_SLOT, 3))
			want, body := max(x.status, x.next), sequenceRes(x.seq)+words(OP_CB_RECALL_SLOT, x.next)
			if x.status != 0 {
				body = words(OP_CB_SEQUENCE, x.status)
			}
			if r.accept != 0 || r.status != want || string(r.body) != body {
				fail("%s: %+v", x.name, r)
			}
			if tbl := &m.clp.ClSession.BcSlotTable; slot.SeqNr != x.end || tbl.HighestUsedSlotid != NFS4_NO_SLOT {
				fail("%s: the slot has %d, the highest in use is %d", x.name, slot.SeqNr, tbl.HighestUsedSlotid)
			}
		}
	})
}

// TestBusySlot has a call arrive while the slot is in use, or its table drains.
func TestBusySlot(t *testing.T) {
	within(t, 1, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		expect := func(what string, seq, status uint32) {
			if r := m.back(cur, opSequence(sessID, seq, 0, 0)); r.status != status {
				fail("%s: %+v", what, r)
			}
		}
		tbl := &m.clp.ClSession.BcSlotTable
		busy := Nfs4AllocSlot(cur, tbl)
		expect("the call in hand again", 0, NFS4ERR_DELAY)
		expect("the next call too early", 1, NFS4ERR_DELAY)
		drained := cur.Machine().Spawn(cur, "drain", func(cur *kernel.Task) { Nfs4DrainSlotTbl(cur, tbl) })
		kernel.Msleep(cur, 10)
		if drained.Exited() {
			fail("drained while in use")
		}
		expect("while it drains", 1, NFS4ERR_DELAY)
		if Nfs4AllocSlot(cur, tbl) != nil {
			fail("a slot of a draining table")
		}
		Nfs41SequenceDone(tbl, busy)
		kernel.Join(cur, drained)
		m.clp.ClState.SetBit(NFS4CLNT_SESSION_RESET)
		expect("while the session is replaced", 2, NFS4ERR_BADSESSION)
		m.clp.ClState.ClearBit(NFS4CLNT_SESSION_RESET)
		Nfs4EndDrainSlotTable(tbl)
		expect("afterwards", 2, 0)
	})
}

// TestSession looks for clients by session.
func TestSession(t *testing.T) {
	within(t, 1, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		expect := func(what string, id Nfs4Sessionid, status uint32) {
			if r := m.back(cur, opSequence(id, 1, 0, 0)); r.status != status {
				fail("%s: %+v", what, r)
			}
		}
		expect("an unknown session", Nfs4Sessionid{}, NFS4ERR_BADSESSION)
		add := func(addr sunrpc.SockAddr, args SessionArgs) *NfsClient {
			clp := m.AddClient(cur, m.nets[0], ClientArgs{Addr: addr, Minorversion: 1})
			if args.FcSlots > 0 && m.AddSession(cur, clp, args) != 0 {
				fail("no session")
			}
			return clp
		}
		here := m.xprts[0].Addr
		others := []*NfsClient{
			add(sock.Addr4(192, 0, 2, 9, 2049), SessionArgs{SessID: Nfs4Sessionid{'a'}, FcSlots: 1}),
			add(here, SessionArgs{SessID: Nfs4Sessionid{'b'}, FcSlots: 1, NoBackchannel: true}),
			add(here, SessionArgs{}),
			add(here.WithPort(1), SessionArgs{SessID: Nfs4Sessionid{'c'}, FcSlots: 2000}),
		}
		expect("another server", Nfs4Sessionid{'a'}, NFS4ERR_BADSESSION)
		expect("a session without back channel", Nfs4Sessionid{'b'}, NFS4ERR_BADSESSION)
		expect("a session from another port", Nfs4Sessionid{'c'}, 0)
		if n := len(others[3].ClSession.FcSlotTable.Slots); n != NFS4_MAX_SLOT_TABLE {
			fail("%d slots", n)
		}
		for _, clp := range others {
			if n := clp.ClCount.Peek(); n != 1 {
				fail("%d references", n)
			}
			m.NfsPutClient(cur, clp)
		}
		m.NfsPutClient(cur, nil)
	})
}

// TestReferringCalls refers to calls that are answered, under way and nobody's, in virtual time.
func TestReferringCalls(t *testing.T) {
	within(t, 5, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		tbl := &m.clp.ClSession.FcSlotTable
		seq := uint32(0)
		expect := func(what string, status uint32, atLeast, atMost kernel.Jiffies, lists ...string) {
			start := cur.Machine().Jiffies()
			r := m.back(cur, opSequence(sessID, seq+1, 0, 0, lists...))
			if status == 0 {
				seq++
			}
			if took := cur.Machine().Jiffies() - start; r.status != status || took < atLeast || took > atMost {
				fail("%s: %+v after %d jiffies", what, r, took)
			}
		}
		soon := kernel.Jiffies(kernel.HZ / 10)
		expect("nobody's call", 0, 0, soon, rcList(sessID, 1, 1, 0))
		slot := Nfs4AllocSlot(cur, tbl)
		half := kernel.Jiffies(kernel.HZ / 2)
		expect("a call under way", NFS4ERR_DELAY, half, half+soon, rcList(sessID, 1, 1, 0))
		expect("a call of another session", 0, 0, soon, rcList(Nfs4Sessionid{}, 1, 1, 0))
		expect("the next call of that slot", 0, 0, soon, rcList(sessID, 1, 2, 0))
		expect("slots that do not exist", 0, 0, soon, rcList(sessID, 3, 1, 4, 1, 1024, 1, 1<<32-1))
		expect("no calls", 0, 0, soon, rcList(sessID, 0), rcList(sessID, 0))
		expect("a list that is cut", NFS4ERR_RESOURCE, 0, soon, rcList(sessID, 2, 1, 0))
		expect("a session that is cut", NFS4ERR_RESOURCE, 0, soon, rcList(sessID, 1, 1, 0), "half")
		expect("a number that wraps", NFS4ERR_RESOURCE, 0, soon, rcList(sessID, 1<<31+1, 1, 0))
		answer := cur.Machine().Spawn(cur, "answer", func(cur *kernel.Task) {
			kernel.Msleep(cur, 200)
			Nfs41SequenceDone(tbl, slot)
		})
		expect("a call that is answered meanwhile", 0, half/4, half, rcList(sessID, 2, 1, 0, 1, 1))
		kernel.Join(cur, answer)
	})
}

// TestLists says more lists than there are.
func TestLists(t *testing.T) {
	within(t, 1, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		for _, n := range []uint32{1, 3, 100, 1 << 16, 1<<32 - 1} {
			op := words(OP_CB_SEQUENCE) + string(sessID[:]) + words(1, 0, 0, 0, n)
			if r := m.back(cur, op); r.status != NFS4ERR_RESOURCE || r.nops != 1 {
				fail("%d lists: %+v", n, r)
			}
		}
	})
}

// TestGetattr reads attributes; a bitmap is not mixed up with that of another operation of the same compound.
func TestGetattr(t *testing.T) {
	within(t, 1, 0, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		res := func(bitmap ...uint32) string {
			return string(m.listen(cur, fail, opGetattr(writtenFh, bitmap...), opGetattr(writtenFh)).body)
		}
		const both = OP_CB_GETATTR
		empty := words(both, 0, 0, 0)
		for _, x := range []struct {
			bitmap []uint32
			want   string
		}{
			{nil, words(both, 0, 0, 0)},
			{[]uint32{8}, words(both, 0, 1, 8, 8, 0, 41)},
			{[]uint32{16}, words(both, 0, 1, 16, 8, 0, 6)},
			{[]uint32{0, 1 << 20}, words(both, 0, 2, 0, 1<<20, 12, 0, 100, 1)},
			{[]uint32{1<<32 - 1, 1<<32 - 1, 1<<32 - 1},
				words(both, 0, 2, 0x18, 0x300000, 40, 0, 41, 0, 6, 0, 100, 1, 0, 200, 2)},
			{[]uint32{0, 1, 0, 0x18}, words(both, 0, 0, 0)},
		} {
			if got := res(x.bitmap...); got != x.want+empty {
				fail("bitmap %x: % x", x.bitmap, got)
			}
		}
		m.wrote.Attr.Nrequests = 1
		if got := res(8); got != words(both, 0, 1, 8, 8, 0, 42)+empty {
			fail("with writes under way: % x", got)
		}
	})
}

// listen sends a compound of minor version 0 to the listener and waits for the answer.
func (m *mounted) listen(cur *kernel.Task, fail func(string, ...any), ops ...string) reply {
	m.calls++
	return parse(m.raw(cur, fail, compound(m.calls, 0, 7, uint32(len(ops)), "", ops...)), 0)
}

// raw sends a call to the listener and reads one record.
func (m *mounted) raw(cur *kernel.Task, fail func(string, ...any), msg string) string {
	c, err := sock.Dial(cur, m.nets[0], sock.IPPROTO_TCP, sock.LoopbackAddr(sock.AF_INET, 4046))
	if err != 0 {
		fail("dial: %s", kernel.ErrName(err))
		return ""
	}
	defer c.Close()
	c.Write(cur, []byte(words(1<<31|uint32(len(msg)))+msg))
	head := make([]byte, 4)
	if n := c.ReadFull(cur, head, 10*kernel.HZ); n != 4 {
		return ""
	}
	body := make([]byte, binary.BigEndian.Uint32(head)&^(1<<31))
	c.ReadFull(cur, body, 10*kernel.HZ)
	return string(head) + string(body)
}

// TestListenerCompounds holds what a compound's header leads to in minor version 0.
func TestListenerCompounds(t *testing.T) {
	within(t, 1, 0, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		tag := func(n int) string { return string(make([]byte, n)) }
		call := func(ident, nops uint32, tag string, ops ...string) string {
			return m.raw(cur, fail, compound(5, 0, ident, nops, tag, ops...))
		}
		for _, x := range []struct {
			name, got string
			tag       int
			want      reply
		}{
			{"nothing", call(7, 0, ""), 0, reply{}},
			{"nothing, with a tag", call(7, 0, "tag"), 3, reply{}},
			{"the longest tag", call(7, 0, tag(500)), 500, reply{}},
			{"a longer tag", call(7, 0, tag(501)), 501, reply{accept: sunrpc.RPC_GARBAGE_ARGS}},
			{"an operation behind the last", call(7, 0, "", words(99)), 0, reply{}},
			{"too many operations", call(7, 2, ""), 0, reply{status: NFS4ERR_RESOURCE}},
			{"too many operations behind one", call(7, 1<<32-1, "", opGetattr(writtenFh)), 0,
				reply{status: NFS4ERR_RESOURCE, nops: 1, body: []byte(words(OP_CB_GETATTR, 0, 0, 0))}},
			{"an operation of a session", call(7, 1, "", opSequence(sessID, 1, 0, 0)), 0,
				reply{status: NFS4ERR_OP_ILLEGAL, nops: 1, body: []byte(words(OP_CB_ILLEGAL, NFS4ERR_OP_ILLEGAL))}},
			{"behind one that fails", call(7, 2, "", words(99), opGetattr(writtenFh)), 0,
				reply{status: NFS4ERR_OP_ILLEGAL, nops: 1, body: []byte(words(OP_CB_ILLEGAL, NFS4ERR_OP_ILLEGAL))}},
			{"a bad stateid", call(7, 1, "", opRecall(readFh, Nfs4Stateid{0, readID.Other})), 0,
				reply{status: NFS4ERR_BAD_STATEID, nops: 1, body: []byte(words(OP_CB_RECALL, NFS4ERR_BAD_STATEID))}},
		} {
			if r := parse(x.got, x.tag); r.accept != x.want.accept || r.status != x.want.status || r.nops != x.want.nops ||
				string(r.body) != string(x.want.body) {
				fail("%s: %+v", x.name, r)
			}
		}
		if got := call(8, 0, ""); got != record(5, 1, 1, 1, sunrpc.RPC_AUTH_BADCRED) {
			fail("an unknown client: % x", got)
		}
		full := compound(5, 0, 7, 0, "tag")
		for n := len(full) - 16; n < len(full); n++ {
			if r := parse(m.raw(cur, fail, full[:n]), 3); r.accept != sunrpc.RPC_GARBAGE_ARGS {
				fail("a header of %d octets: %+v", n, r)
			}
		}
	})
}

// TestReplyFull asks for more than a page of attributes: the answer ends in the middle of one.
func TestReplyFull(t *testing.T) {
	within(t, 1, 0, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		ops := slices.Repeat([]string{opGetattr(writtenFh, 0x18)}, 150)
		const each, head = 36, 4 + 24 + 12
		r := m.listen(cur, fail, ops...)
		if want := uint32((sunrpc.PAGE_SIZE-head)/each) + 1; r.status != NFS4ERR_RESOURCE || r.nops != want {
			fail("status %d, %d operations, want %d", r.status, r.nops, want)
		}
		if n := len(r.body) + head; n > sunrpc.PAGE_SIZE || n <= sunrpc.PAGE_SIZE-each {
			fail("%d octets", n)
		}
		tag := string(make([]byte, 20)) // leaves room for half a header
		r = parse(m.raw(cur, fail, compound(5, 0, 7, 130, tag, ops...)), len(tag))
		if want := uint32((sunrpc.PAGE_SIZE - head) / each); r.status != NFS4ERR_RESOURCE || r.nops != want {
			fail("without room for a header: status %d, %d operations, want %d", r.status, r.nops, want)
		}
		// What does not lie on one page of the request cannot be read.
		ops = slices.Repeat([]string{opGetattr(writtenFh)}, 300)
		if r = m.listen(cur, fail, ops...); r.status != NFS4ERR_RESOURCE || r.nops >= 300 {
			fail("over the end of a page: status %d, %d operations", r.status, r.nops)
		}
	})
}

// TestSequenceReplyCut writes the result of CB_SEQUENCE where there is too little room: whole parts of it stay.
func TestSequenceReplyCut(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	for room, want := range map[uint32]struct {
		status uint32
		octets uint64
	}{12: {NFS4ERR_RESOURCE, 0}, 16: {NFS4ERR_RESOURCE, 16}, 28: {NFS4ERR_RESOURCE, 16}, 32: {NFS4_OK, 32}} {
		var xdr sunrpc.XdrStream
		buf := &sunrpc.XdrBuf{Head: sunrpc.KvecOf(make([]byte, 64), 0), Buflen: room}
		sunrpc.XdrInitEncode(m, &xdr, buf, sunrpc.XdrPtr{})
		status := encodeCbSequenceRes(&xdr, &cbArgs{sequenceRes: CbSequenceres{CsrSessionid: sessID}})
		if status != want.status || buf.Head.IovLen != want.octets {
			t.Errorf("room for %d octets: status %d, %d octets", room, status, buf.Head.IovLen)
		}
	}
}

// TestDelegationAppears recalls a delegation that is just being given: it is known by the file's handle first and by
// its stateid a moment later.
func TestDelegationAppears(t *testing.T) {
	const nothing = 1
	seen := map[int]bool{}
	within(t, 1000, 0, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		fh, id := []byte("third file"), Nfs4Stateid{1, [12]byte{'t'}}
		inode := m.AddInode(cur, m.server, fh, InodeAttr{})
		server := cur.Machine().Spawn(cur, "server", func(cur *kernel.Task) {
			found, _ := nfsDelegationFindInode(m.clp, fh)
			if found == nil {
				seen[nothing] = true
				return
			}
			seen[m.nfsAsyncInodeReturnDelegation(cur, found, &id)] = true
			m.nfsIputAndDeactive(cur, found)
		})
		m.AddDelegation(cur, inode, id, FMODE_READ, 1)
		kernel.Join(cur, server)
	})
	if !seen[nothing] || !seen[-kernel.ENOENT] || !seen[0] {
		t.Errorf("seen %v", seen)
	}
}

// TestRecall has delegations returned: once each, by the state manager, however often they are recalled.
func TestRecall(t *testing.T) {
	within(t, 100, 0, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		r := m.listen(cur, fail, opRecall(readFh, readID), opRecall(writtenFh, writtenID))
		if r.status != 0 || r.nops != 2 {
			fail("%+v", r)
		}
		if r = m.listen(cur, fail, opRecall(readFh, readID)); r.status != 0 && r.status != NFS4ERR_BADHANDLE {
			fail("again: %+v", r)
		}
		kernel.Msleep(cur, 100)
		if r = m.listen(cur, fail, opRecall(readFh, readID)); r.status != NFS4ERR_BADHANDLE {
			fail("when it is gone: %+v", r)
		}
		var got []string
		for _, d := range m.clp.Delegreturns() {
			got = append(got, fmt.Sprintf("%s %d %c", d.Fh, d.Stateid.Seqid, d.Stateid.Other[0]))
		}
		slices.Sort(got)
		if want := []string{"read file... 1 r", "written file 1 w"}; !slices.Equal(got, want) {
			fail("%q", got)
		}
		if n := m.clp.ClCount.Peek(); n != 2 {
			fail("%d references to the client", n)
		}
	})
}

// TestRecallAny gives up what is not in use, of the kinds that are asked for.
func TestRecallAny(t *testing.T) {
	for _, x := range []struct {
		mask        uint32
		open        bool
		returned    string
		layoutStays bool
	}{
		{0, false, "", true},
		{1 << RCA4_TYPE_MASK_RDATA_DLG, false, "r", true},
		{1 << RCA4_TYPE_MASK_WDATA_DLG, false, "w", true},
		{1 << RCA4_TYPE_MASK_WDATA_DLG, true, "", true},
		{3, false, "rw", true},
		{1 << RCA4_TYPE_MASK_FILE_LAYOUT, false, "", false},
	} {
		within(t, 5, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
			m.wrote.Attr.Open = x.open
			if r := m.back(cur, opSequence(sessID, 1, 0, 0), words(OP_CB_RECALL_ANY, 0, 1, x.mask)); r.status != 0 {
				fail("%+v", r)
			}
			kernel.Msleep(cur, 100)
			var got []byte
			for _, d := range m.clp.Delegreturns() {
				got = append(got, d.Stateid.Other[0])
			}
			slices.Sort(got)
			if string(got) != x.returned || (m.wrote.Layout != nil) != x.layoutStays {
				fail("mask %#x: %q returned, layout %t", x.mask, got, m.wrote.Layout != nil)
			}
		})
	}
}

// TestRecallSlot shrinks the fore channel and tells the server so; the server cannot make it grow.
func TestRecallSlot(t *testing.T) {
	within(t, 5, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		tbl := &m.clp.ClSession.FcSlotTable
		for i, x := range []struct{ target, max uint32 }{{1, 1}, {0, 0}, {1<<32 - 1, 3}, {2, 2}} {
			if r := m.back(cur, opSequence(sessID, uint32(i+1), 0, 0), words(OP_CB_RECALL_SLOT, x.target)); r.status != 0 {
				fail("%+v", r)
			}
			if tbl.MaxSlotid != x.max || tbl.TargetHighestSlotid != x.target {
				fail("target %d: up to slot %d", x.target, tbl.MaxSlotid)
			}
			kernel.Msleep(cur, 100)
			if m.clp.pings != i+1 {
				fail("target %d: %d calls to the server", x.target, m.clp.pings)
			}
		}
		var got []uint32
		for s := Nfs4AllocSlot(cur, tbl); s != nil; s = Nfs4AllocSlot(cur, tbl) {
			got = append(got, s.SlotNr)
		}
		if !slices.Equal(got, []uint32{0, 1, 2}) {
			fail("slots %v", got)
		}
		for _, nr := range []uint32{2, 0, 1} {
			Nfs41SequenceDone(tbl, tbl.Slots[nr])
		}
		if tbl.HighestUsedSlotid != NFS4_NO_SLOT {
			fail("slot %d is in use", tbl.HighestUsedSlotid)
		}
	})
}

// TestLayoutRecall recalls parts of a layout, some of them in use.
func TestLayoutRecall(t *testing.T) {
	within(t, 5, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		seq := uint32(0)
		expect := func(what, op string, status uint32, segs int) {
			seq++
			r := m.back(cur, opSequence(sessID, seq, 0, 0), op)
			n := 0
			if m.wrote.Layout != nil {
				n = len(m.wrote.Layout.PlhSegs)
			}
			if r.status != status || n != segs {
				fail("%s: %+v, %d segments", what, r, n)
			}
		}
		of := func(iomode uint32, offset, length uint64) string {
			return opLayoutrecall(RETURN_FILE, iomode, layoutOf(writtenFh, Nfs4Stateid{5, layoutID.Other}, offset, length))
		}
		expect("another state", opLayoutrecall(RETURN_FILE, IOMODE_ANY, layoutOf(writtenFh, readID, 0, 1)),
			NFS4ERR_NOMATCHING_LAYOUT, 2)
		expect("a part without segments", of(IOMODE_ANY, 200, NFS4_MAX_UINT64), NFS4ERR_NOMATCHING_LAYOUT, 2)
		expect("the other mode", of(IOMODE_READ, 0, 100), NFS4ERR_NOMATCHING_LAYOUT, 2)
		expect("a part of one", of(IOMODE_READ, 150, 1), NFS4ERR_NOMATCHING_LAYOUT, 1)
		lseg := PnfsGetLseg(m.wrote, 0)
		if lseg == nil || PnfsGetLseg(m.wrote, 1) != nil {
			fail("segments to use")
			return
		}
		expect("one in use", of(IOMODE_ANY, 0, NFS4_MAX_UINT64), NFS4ERR_DELAY, 1)
		expect("the file system", opLayoutrecall(RETURN_FSID, 0, words(0, 1, 0, 2)), NFS4ERR_DELAY, 1)
		expect("another file system", opLayoutrecall(RETURN_FSID, 0, words(0, 1, 0, 3)), NFS4ERR_NOMATCHING_LAYOUT, 1)
		if PnfsGetLseg(m.wrote, 0) != nil {
			fail("a recalled segment is used again")
		}
		PnfsPutLseg(lseg)
		if m.wrote.Layout != nil {
			fail("the layout is still there")
		}
		expect("what is gone", of(IOMODE_ANY, 0, NFS4_MAX_UINT64), NFS4ERR_NOMATCHING_LAYOUT, 0)
	})
}

// TestLayoutStateid recalls with newer and older sequence numbers: the layout keeps the newest, which may be a small
// one.
func TestLayoutStateid(t *testing.T) {
	within(t, 1, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		for i, seqid := range []struct{ recall, want uint32 }{
			{5, 5}, {3, 5}, {1<<31 + 4, 1<<31 + 4}, {2, 2}, {1<<32 - 1, 2},
		} {
			id := Nfs4Stateid{seqid.recall, layoutID.Other}
			r := m.back(cur, opSequence(sessID, uint32(i+1), 0, 0),
				opLayoutrecall(RETURN_FILE, IOMODE_ANY, layoutOf(writtenFh, id, 1000, 1)))
			if got := m.wrote.Layout.PlhStateid; r.status != NFS4ERR_NOMATCHING_LAYOUT || got.Seqid != seqid.want ||
				got.Other != layoutID.Other {
				fail("recall %d: %+v, %+v", i, r, got)
			}
		}
		lo := &PnfsLayoutHdr{PlhStateid: Nfs4Stateid{7, layoutID.Other}}
		if pnfsSetLayoutStateid(lo, &Nfs4Stateid{3, layoutID.Other}); lo.PlhStateid.Seqid != 3 {
			fail("an empty layout has number %d", lo.PlhStateid.Seqid)
		}
	})
}

// TestDevices makes the layout driver forget data servers.
func TestDevices(t *testing.T) {
	within(t, 1, 1, func(cur *kernel.Task, m *mounted, fail func(string, ...any)) {
		send := func(seq uint32, items ...string) {
			op := opDevices(uint32(len(items)), items...)
			if r := m.back(cur, opSequence(sessID, seq, 0, 0), op, opDevices(0), op); r.status != 0 || r.nops != 4 {
				fail("%+v", r)
			}
		}
		send(1, device(NOTIFY_DEVICEID4_DELETE, 20, 7, deviceID), device(NOTIFY_DEVICEID4_DELETE, 20, 2, Nfs4Deviceid{}))
		if !m.HasDevice(m.clp, 2, deviceID) {
			fail("forgotten for another")
		}
		send(2, device(NOTIFY_DEVICEID4_DELETE, 20, 7, Nfs4Deviceid{}), device(NOTIFY_DEVICEID4_DELETE, 20, 2, deviceID))
		if m.HasDevice(m.clp, 2, deviceID) {
			fail("not forgotten")
		}
	})
}

// TestUmount unmounts at any step of callbacks that look for files there.
func TestUmount(t *testing.T) {
	choosertest.Simulate(t, 400, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		m := w.mount(cur, 1)
		if !w.started(cur, fail, 1, 0) {
			return
		}
		server := cur.Machine().Spawn(cur, "server", func(cur *kernel.Task) {
			for i, op := range []string{
				opRecall(readFh, readID), opGetattr(writtenFh, 8),
				opLayoutrecall(RETURN_ALL, 0, ""), opRecall(writtenFh, writtenID),
			} {
				if r := m.back(cur, opSequence(sessID, uint32(i+1), 0, 0), op); r.accept != 0 || r.nops != 2 {
					fail("%+v", r)
				}
			}
		})
		m.Umount(cur, m.server)
		kernel.Join(cur, server)
		m.returned(cur, fail)
		w.down(cur, fail, "down")
	})
}

// TestFaults makes every fallible step of the set-up and of some callbacks fail in turn. Nothing is lost.
func TestFaults(t *testing.T) {
	choosertest.Failed(t, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		if w == nil || w.NfsCallbackUp(cur, 1, w.xprts[0], w.nets[0]) != 0 {
			return
		}
		if mt := w.mount(cur, 1); mt != nil {
			for i, op := range []string{
				opDevices(1, device(NOTIFY_DEVICEID4_DELETE, 20, 2, deviceID)), opRecall(readFh, readID),
			} {
				mt.back(cur, opSequence(sessID, uint32(i+1), 0, 0, rcList(sessID, 1, 1, 0)), op)
			}
			mt.umount(cur)
		}
		kernel.Msleep(cur, 100)
		w.NfsCallbackDown(cur, 1, w.nets[0])
		w.down(cur, fail, "down")
	}, "nfs_client", "nfs_server", "nfs_inode", "nfs_delegation", "nfs4_session", "nfs4_slot", "pnfs_layout_hdr",
		"pnfs_layout_segment", "nfs4_deviceid_node", "cbn_devs", "csa_rclists", "rcl_refcalls",
		"nfs4_delegreturndata", "kthread")
}

// TestFree lets real goroutines call back, recall and unmount.
func TestFree(t *testing.T) {
	choosertest.Free(t, 20, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		mt := w.mount(cur, 0)
		if !w.started(cur, fail, 0, 0) {
			return
		}
		var servers []*kernel.Task
		for range 3 {
			servers = append(servers, cur.Machine().Spawn(cur, "server", func(cur *kernel.Task) {
				msg := compound(9, 0, 7, 2, "", opRecall(readFh, readID), opGetattr(writtenFh, 8))
				if r := parse(mt.raw(cur, fail, msg), 0); r.accept != 0 || r.nops == 0 {
					fail("%+v", r)
				}
			}))
		}
		mt.Umount(cur, mt.server)
		for _, s := range servers {
			kernel.Join(cur, s)
		}
		mt.returned(cur, fail)
	})
}

// TestDecodersAllocate asks for memory for more than a request holds.
func TestDecodersAllocate(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	r := m.Run(choosertest.NewRandom(1), kernel.Options{}, "main", func(cur *kernel.Task) {
		w := boot(cur)
		for _, n := range []uint32{3, 1000, 1 << 16, 1 << 20, 1 << 28, 1<<31 + 1, 1<<32 - 1} {
			for i, x := range []struct {
				msg    string
				decode func(*sunrpc.SvcRqst, *sunrpc.XdrStream, *cbArgs) uint32
			}{
				{words(n) + device(NOTIFY_DEVICEID4_DELETE, 20, 2, deviceID), decodeDevicenotifyArgs},
				{string(sessID[:]) + words(1, 0, 0, 0, n) + rcList(sessID, 0), decodeCbSequenceArgs},
				{string(sessID[:]) + words(1, 0, 0, 0, 1) + rcList(sessID, n, 1, 0), decodeCbSequenceArgs},
			} {
				rqstp := &sunrpc.SvcRqst{Obj: w.Obj}
				var xdr sunrpc.XdrStream
				mem := []byte(x.msg)
				buf := &sunrpc.XdrBuf{Head: sunrpc.KvecOf(mem, uint64(len(mem))), Len: uint32(len(mem))}
				sunrpc.XdrInitDecode(&xdr, buf, buf.Head.P())
				live := len(cur.Machine().LiveObjects())
				if status := x.decode(rqstp, &xdr, &cbArgs{}); status == NFS4_OK {
					t.Errorf("case %d: %d of them are read", i, n)
				}
				if now := len(cur.Machine().LiveObjects()); now != live {
					t.Errorf("case %d, %d: %d objects left", i, n, now-live)
				}
			}
		}
	})
	for _, f := range r.Findings {
		t.Error(f)
	}
}

// TestScribble sees that no operation can take another's arguments for its own.
func TestScribble(t *testing.T) {
	args := &cbArgs{}
	args.at(OP_CB_GETATTR)
	args.getattr.Fh.Size = 3
	args.at(OP_CB_GETATTR)
	if args.getattr.Fh.Size != 3 || args.devicenotify.Devs != nil {
		t.Error("the memory of the same operation is lost")
	}
	args.at(OP_CB_NOTIFY_DEVICEID)
	if args.getattr.Fh.Size <= NFS4_FHSIZE || args.devicenotify.Devs == nil || args.devicenotify.Ndevs == 0 {
		t.Error("the memory of another operation can be used")
	}
}
