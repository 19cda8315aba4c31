// SPDX-License-Identifier: MIT

package scenario

import (
	"fmt"
	"math"

	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/lockd"
)

// What a client asks for in nlm-requests: the values of its parameter.
const (
	askReplace = iota
	askOverflow
	askHolder
	askHolderMsg
	askReject
	askAgain
	askFiles
	askLong
	askKinds
)

// nlmRequests is what needs no race to go wrong, or one between lockd and what it calls at most.
var nlmRequests = &Scenario{
	Name:  "nlm-requests",
	Doc:   "one client asks lockd for what is rare: odd ranges, who is in the way, a lock that it does not want",
	Actor: "mount",
	Params: []Param{
		{Name: "ask", Doc: "for 0 a lock that replaces others; 1 a range that overflows; 2 who holds a lock, 3 the same " +
			"by TEST_MSG; 4 a lock that it rejects; 5 a lock that it waits for, twice; 6 one range of all files; " +
			"7 a lock that it waits for, by an owner with a long handle",
			Max: askKinds - 1},
		{Name: "files", Doc: "files that there are; all but for 6 use the first one", Default: 1, Min: 1, Max: maxFiles},
		stopParam,
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		early := w.P.Get("stop") == 2
		h := w.newLockHosts(cur, 1, early)
		if h == nil {
			return
		}
		w.lockdUp(cur, w.Init)
		w.endGrace(w.Init)
		c := h.lockers[0]
		if lockd := w.Lockd.NlmsvcTask; lockd != nil {
			c.holderPid = int32(lockd.Pid())
		}
		c.spawn(cur, func(cur *kernel.Task) { c.rare(cur) })
		if !early {
			h.join(cur)
		}
		w.Arrive(cur)
		w.lockdDown(cur, w.Init)
		h.end(cur)
	},
}

// rare makes the requests of nlm-requests.
func (c *locker) rare(cur *kernel.Task) {
	const granted, denied = wire.NLM4_GRANTED, wire.NLM4_DENIED
	a, b, other := c.process(0), c.process(1), c.process(2)
	switch c.h.w.P.Get("ask") {
	case askReplace:
		c.want1(cur, a.lock(0, 3, false), granted)
		c.want1(cur, a.lock(5, 3, false), granted)
		c.want1(cur, a.lock(0, 10, true), granted)
		settle(cur) // the oracle looks at the locks
	case askOverflow:
		c.want1(cur, a.lock(math.MaxUint64, 100, true), wire.NLM4_FBIG)
		c.want1(cur, a.lock(math.MaxInt64, 2, true), wire.NLM4_FBIG)
		c.ask(cur, lockd.NLMPROC_FREE_ALL, &wire.Nlm4_notify{Name: c.name})
	case askHolder:
		c.want1(cur, a.lock(2, 5, true), granted)
		c.holder(cur, b.lock(0, 3, false), true)
	case askHolderMsg:
		c.want1(cur, a.lock(2, 5, true), granted)
		c.holderMsg(cur, b.lock(0, 3, false), true)
		c.want1(cur, b.lock(20, 0, false), granted)
		c.holderMsg(cur, a.lock(22, 3, true), false)
	case askReject:
		c.want1(cur, a.lock(0, 10, true), granted)
		c.want1(cur, b.waits(0, 10), wire.NLM4_BLOCKED)
		c.unlock(cur, a)
		c.pump(cur, c.patience(), func() bool { return c.results > 0 })
		if st, _ := c.testRange(cur, other.lock(0, 10, true)); st == denied {
			c.complain("locks", "a client that has rejected a lock has it", "")
		}
	case askAgain:
		c.want1(cur, a.lock(0, 10, true), granted)
		c.want1(cur, b.waits(0, 10), wire.NLM4_BLOCKED)
		c.unlock(cur, a)
		c.want1(cur, b.waits(0, 10), granted)
		c.pump(cur, kernel.HZ, func() bool { return false }) // what lockd has to say now is late
		if st, _ := c.testRange(cur, other.lock(0, 10, true)); st == granted {
			c.complain("locks", "a lock that was granted is taken away", "")
		}
	case askLong:
		waits := b.waits(0, 10)
		waits.long = true
		c.want1(cur, a.lock(0, 10, true), granted)
		blocked := c.want1(cur, waits, wire.NLM4_BLOCKED)
		c.unlock(cur, a)
		if !blocked {
			return
		}
		if !c.pump(cur, c.patience(), func() bool { return c.results > 0 }) {
			c.complain("locks", "lockd does not call a client whose owner has a long handle", "")
		} else if string(c.offer.Oh) != string(waits.owner()) {
			c.complain("reply", "lockd names another owner than the one that waits", fmt.Sprintf("%q", c.offer.Oh))
		}
	case askFiles:
		for i := range c.h.files {
			c.want1(cur, a.lock(0, 10, true).of(i), granted)
			if !c.want1(cur, b.waits(0, 10).of(i), wire.NLM4_BLOCKED) {
				return
			}
		}
		for i := range c.h.files { // who came last is first
			c.unlockFile(cur, a, len(c.h.files)-1-i)
			if !c.pump(cur, c.patience(), func() bool { return c.results > uint32(i) }) {
				c.complain("locks", "lockd does not call a client that waits for one range of several files", "")
			}
		}
	}
}

// ownerOf is a process of a client.
type ownerOf struct {
	c    *locker
	svid int32
}

// process is the i-th process of the client.
func (c *locker) process(i int32) ownerOf { return ownerOf{c, c.svid + i} }

// rangeLock is a request for a range of one of the client's files, by its number.
type rangeLock struct {
	by               ownerOf
	file             int
	start, length    uint64
	exclusive, block bool
	long             bool // the owner's handle has longHandle octets
}

// longHandle is more than lockd's own owner handles have, and less than a client may send.
const longHandle = 600

// owner is the handle of who asks.
func (r *rangeLock) owner() []byte {
	oh := fmt.Appendf(nil, "%s-%d", r.by.c.name, r.by.svid)
	if r.long {
		oh = append(oh, make([]byte, longHandle-len(oh))...)
	}
	return oh
}

func (o ownerOf) lock(start, length uint64, exclusive bool) rangeLock {
	return rangeLock{by: o, start: start, length: length, exclusive: exclusive}
}

func (o ownerOf) waits(start, length uint64) rangeLock {
	return rangeLock{by: o, start: start, length: length, exclusive: true, block: true}
}

// of is the request for another file.
func (r rangeLock) of(file int) rangeLock {
	r.file = file
	return r
}

func (r *rangeLock) alock() wire.Nlm4_lock {
	c := r.by.c
	return wire.Nlm4_lock{
		Caller_name: c.name, Fh: c.handle(c.h.files[r.file].IName), Oh: r.owner(), Svid: r.by.svid, L_offset: r.start, L_len: r.length,
	}
}

// complain files a finding unless something was made to fail, or lockd may be gone.
func (c *locker) complain(oracle, title, text string) {
	if !c.h.disturbed() && !c.h.early {
		c.h.w.report(oracle, title, text)
	}
}

// want1 asks for a lock and is content with one answer only. It tells whether that came.
func (c *locker) want1(cur *kernel.Task, r rangeLock, want wire.Nlm4_stats) bool {
	res, ok := c.ask(cur, lockd.NLMPROC_LOCK, &wire.Nlm4_lockargs{
		Cookie: wire.Netobj(c.name), Block: r.block, Exclusive: r.exclusive, Alock: r.alock(), State: 1,
	}).(*wire.Nlm4_res)
	if ok && res.Stat.Stat != want {
		c.complain("reply", "LOCK has another answer than the only one there is",
			fmt.Sprintf("bytes from %d, %d of them: %v, want %v", r.start, r.length, res.Stat.Stat, want))
	}
	return ok && res.Stat.Stat == want
}

// unlock gives back all that a process has of the first file.
func (c *locker) unlock(cur *kernel.Task, by ownerOf) { c.unlockFile(cur, by, 0) }

// unlockFile gives back all that a process has of a file.
func (c *locker) unlockFile(cur *kernel.Task, by ownerOf, file int) {
	all := by.lock(0, 0, true).of(file)
	c.ask(cur, lockd.NLMPROC_UNLOCK, &wire.Nlm4_unlockargs{Cookie: wire.Netobj(c.name), Alock: all.alock()})
}

func (r *rangeLock) testargs() *wire.Nlm4_testargs {
	return &wire.Nlm4_testargs{Cookie: wire.Netobj(r.by.c.name), Exclusive: r.exclusive, Alock: r.alock()}
}

// testRange asks whether a lock could be got, and who is in the way if not. -1 if there is no answer.
func (c *locker) testRange(cur *kernel.Task, r rangeLock) (wire.Nlm4_stats, *wire.Nlm4_holder) {
	res, ok := c.ask(cur, lockd.NLMPROC_TEST, r.testargs()).(*wire.Nlm4_testres)
	if !ok {
		return -1, nil
	}
	return told(res)
}

func told(res *wire.Nlm4_testres) (wire.Nlm4_stats, *wire.Nlm4_holder) {
	st := res.Test_stat.Stat
	if st != wire.NLM4_DENIED {
		return st, nil
	}
	return st, res.Test_stat.Holder()
}

// holder asks for a lock that another one, which may be exclusive, is in the way of.
func (c *locker) holder(cur *kernel.Task, r rangeLock, exclusive bool) {
	if st, in := c.testRange(cur, r); st != -1 {
		c.judgeHolder(st, in, exclusive)
	}
}

// holderMsg is holder by TEST_MSG.
func (c *locker) holderMsg(cur *kernel.Task, r rangeLock, exclusive bool) {
	c.tested = nil
	c.ask(cur, lockd.NLMPROC_TEST_MSG, r.testargs())
	if !c.pump(cur, c.wait, func() bool { return c.tested != nil }) {
		c.complain("reply", "lockd does not say what it has found", "")
		return
	}
	st, in := told(c.tested)
	c.judgeHolder(st, in, exclusive)
}

// judgeHolder holds what lockd says about the lock in the way against the one that is there: its range and type tell
// which that is, for as its process lockd names its own thread.
func (c *locker) judgeHolder(st wire.Nlm4_stats, in *wire.Nlm4_holder, exclusive bool) {
	start, length := uint64(2), uint64(5)
	if !exclusive {
		start, length = 20, 0
	}
	switch {
	case st != wire.NLM4_DENIED:
		c.complain("locks", "lockd does not see the lock that is in the way", fmt.Sprint(st))
	case in.Svid != c.holderPid || in.Exclusive != exclusive || in.L_offset != start || in.L_len != length:
		c.complain("reply", "lockd names another lock than the one that is in the way", fmt.Sprintf("%+v", *in))
	}
}
