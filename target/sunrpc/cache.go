// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// Bits of CacheHead.Flags.
const (
	CACHE_VALID    = 0 // the entry has been answered
	CACHE_NEGATIVE = 1 // the answer was "no such thing"
	CACHE_PENDING  = 2 // a question is out and not answered
	CACHE_CLEANED  = 3 // taken out of its cache
)

var cacheFlagNames = []string{"VALID", "NEGATIVE", "PENDING", "CLEANED"}

const (
	// CACHE_NEW_EXPIRY is how long an unanswered or negated entry lives, in seconds.
	CACHE_NEW_EXPIRY = 120
	// DFR_MAX is how many requests may wait in all caches together.
	DFR_MAX = 300
)

// CacheHead is what every cache entry embeds. The times are seconds since boot; they change under HashLock and are
// read without it, as are the flags.
type CacheHead struct {
	CacheList   kernel.Node[CacheHead] // in CacheDetail.Entries; HashLock
	Ref         kernel.Kref
	Flags       kernel.Flags  // CACHE_*
	ExpiryTime  kernel.Atomic // seconds; 0: replaced, not to be used any more
	LastRefresh kernel.Atomic // seconds
	Entry       any           // the entry this is embedded in: what container_of finds in C
}

// CacheDetail is one cache of one network namespace.
//
// Differs: HashLock is a plain lock; in 3.19 lookups share it as readers (1863d77f15da).
//
// Init and Update copy from one entry to another, Upcall asks the
// helper for an answer (0, -EINVAL: nobody to ask, -EAGAIN: not now).
type CacheDetail struct {
	kernel.Obj
	Name      string
	Net       *sock.Net
	Rpc       *Sunrpc
	HashLock  kernel.Spinlock
	Entries   kernel.List[CacheHead] // HashLock
	FlushTime kernel.Atomic          // entries refreshed before this second are expired

	CachePut func(h *CacheHead)
	Upcall   func(cur *kernel.Task, cd *CacheDetail, h *CacheHead) int
	Match    func(a, b *CacheHead) bool
	Init     func(fresh, key *CacheHead)
	Update   func(dst, src *CacheHead)
	Alloc    func(cd *CacheDetail) *CacheHead
}

// CacheReq is a request's part in a cache: how long its thread may wait for an answer, and how to put the request
// aside when that was not enough. Defer returns nil if the request cannot be put aside.
type CacheReq struct {
	Defer      func(cur *kernel.Task, req *CacheReq) *CacheDeferredReq
	ThreadWait kernel.Jiffies
	Rqstp      *SvcRqst // the request this is embedded in
}

// CacheDeferredReq is a request, or a thread, that waits for the answer to Item. Revisit is called once, after the
// request was taken off all lists, without a lock; tooMany: give the request up.
type CacheDeferredReq struct {
	Hash      kernel.Node[CacheDeferredReq] // in CacheDeferHash; CacheDeferLock
	Recent    kernel.Node[CacheDeferredReq] // in CacheDeferList; CacheDeferLock. Later in XptDeferred
	Item      *CacheHead
	Owner     *SvcServ // whose destruction gives the request up; nil for a waiting thread
	Revisit   func(cur *kernel.Task, dreq *CacheDeferredReq, tooMany bool)
	Container any // what container_of finds in C: the *SvcDeferredReq or *threadDeferredReq
}

// CacheState is what cache.c keeps in variables.
//
// Differs: one list instead of a table of hash chains, and no periodic cleaner, whose timer would never let a machine
// come to rest: expired entries go, and who waits for them is revisited, when an answer arrives, the entry is looked up
// again or the cache is purged.
type CacheState struct {
	CacheDeferLock kernel.Spinlock
	CacheDeferList kernel.List[CacheDeferredReq] // requests put aside, newest first, through Recent
	CacheDeferHash kernel.List[CacheDeferredReq] // those and the waiting threads, through Hash
	CacheDeferCnt  kernel.Atomic                 // length of CacheDeferList; changed under the lock, read without
}

// init readies what C initialises statically.
func (s *CacheState) init(rpc *Sunrpc) {
	s.CacheDeferLock.Init(&rpc.Obj, "cache_defer_lock")
	s.CacheDeferList.Init(&rpc.Obj, "cache_defer_list")
	s.CacheDeferHash.Init(&rpc.Obj, "cache_defer_hash")
	s.CacheDeferCnt.Init(&rpc.Obj, "cache_defer_cnt")
}

// secondsSinceBoot is the caches' clock, in seconds.
//
// C: seconds_since_boot, include/linux/sunrpc/cache.h
func secondsSinceBoot(m *kernel.Machine) int64 {
	return int64(m.Jiffies() / kernel.HZ)
}

// cacheInit makes h an unanswered entry with one reference; o is the object h is embedded in, entry that object.
//
// C: cache_init, net/sunrpc/cache.c
func cacheInit(o *kernel.Obj, h *CacheHead, entry any) {
	now := secondsSinceBoot(o.Machine())
	h.Entry = entry
	h.CacheList.Init(h)
	h.Flags.Init(o, "cache_head.flags", cacheFlagNames)
	h.Ref.Init(o, "cache_head.ref")
	h.ExpiryTime.Init(o, "expiry_time")
	h.LastRefresh.Init(o, "last_refresh")
	h.ExpiryTime.Set(now + CACHE_NEW_EXPIRY)
	h.LastRefresh.Set(now)
}

// cacheIsExpired tells whether h is too old to be used, or was replaced. The caller holds a reference, or HashLock
// with h on the list.
//
// C: cache_is_expired, include/linux/sunrpc/cache.h
func cacheIsExpired(cd *CacheDetail, h *CacheHead) bool {
	return h.ExpiryTime.Read() < secondsSinceBoot(cd.Machine()) || cd.FlushTime.Read() > h.LastRefresh.Read()
}

// CacheGet takes a reference; the caller holds one, or HashLock with h on the list.
//
// C: cache_get, include/linux/sunrpc/cache.h
func CacheGet(h *CacheHead) *CacheHead {
	h.Ref.Get()
	return h
}

// CachePut drops a reference and frees the entry with the last one. Process context, no lock that the entry's own
// references need.
//
// Differs: nobody need be told when to clean next.
//
// C: cache_put, include/linux/sunrpc/cache.h
func CachePut(h *CacheHead, cd *CacheDetail) {
	h.Ref.Put(func() { cd.CachePut(h) })
}

// SunrpcCacheLookup finds the entry that matches key, or inserts an unanswered one. The result carries a reference;
// nil if there is no memory. May sleep, also in the requests it revisits.
//
// Differs: whoever waits for an expired entry that is taken out here is told that there is no such thing; 3.19 only
// drops the cache's reference, and nobody ever finds those requests again (4ecd55ea0742, d58431eacb22).
//
// C: sunrpc_cache_lookup, net/sunrpc/cache.c
func SunrpcCacheLookup(cur *kernel.Task, cd *CacheDetail, key *CacheHead) *CacheHead {
	cd.HashLock.Lock()
	for tmp := cd.Entries.First(); tmp != nil; tmp = cd.Entries.Next(&tmp.CacheList) {
		if cd.Match(tmp, key) {
			if cacheIsExpired(cd, tmp) {
				break
			}
			CacheGet(tmp)
			cd.HashLock.Unlock()
			return tmp
		}
	}
	cd.HashLock.Unlock()

	fresh := cd.Alloc(cd)
	if fresh == nil {
		return nil
	}
	cd.Init(fresh, key)

	var freeme *CacheHead
	cd.HashLock.Lock()
	// Somebody may have inserted it while the lock was free.
	for tmp := cd.Entries.First(); tmp != nil; tmp = cd.Entries.Next(&tmp.CacheList) {
		if cd.Match(tmp, key) {
			if cacheIsExpired(cd, tmp) {
				cd.Entries.DelInit(&tmp.CacheList)
				if cacheIsValid(cd, tmp) == -kernel.EAGAIN {
					tmp.Flags.SetBit(CACHE_NEGATIVE)
				}
				cacheFreshLocked(cd, tmp, 0)
				freeme = tmp
				break
			}
			CacheGet(tmp)
			cd.HashLock.Unlock()
			CachePut(fresh, cd)
			return tmp
		}
	}
	cd.Entries.Add(&fresh.CacheList)
	CacheGet(fresh)
	cd.HashLock.Unlock()

	if freeme != nil {
		cacheFreshUnlocked(cur, freeme, cd)
		CachePut(freeme, cd)
	}
	return fresh
}

// cacheFreshLocked declares h answered until the second expiry. HashLock is held.
//
// C: cache_fresh_locked, net/sunrpc/cache.c
func cacheFreshLocked(cd *CacheDetail, h *CacheHead, expiry int64) {
	h.ExpiryTime.Set(expiry)
	h.LastRefresh.Set(secondsSinceBoot(cd.Machine()))
	cd.Machine().SmpWmb()
	h.Flags.SetBit(CACHE_VALID)
}

// cacheFreshUnlocked ends the wait for an answer to h. No lock is held; may sleep in the revisits.
//
// Differs: there is no queue from which the question is taken back (cache_dequeue): who asks the helper hands it over.
//
// C: cache_fresh_unlocked, net/sunrpc/cache.c
func cacheFreshUnlocked(cur *kernel.Task, h *CacheHead, cd *CacheDetail) {
	if h.Flags.TestAndClearBit(CACHE_PENDING) {
		cacheRevisitRequest(cur, cd, h)
	}
}

// SunrpcCacheUpdate puts the answer that fresh holds into old, or, if old has been answered before, replaces old by a
// new entry. Consumes the caller's reference to old; the result carries one. nil if there is no memory.
//
// C: sunrpc_cache_update, net/sunrpc/cache.c
func SunrpcCacheUpdate(cur *kernel.Task, cd *CacheDetail, fresh *CacheHead, negative bool, expiry int64,
	old *CacheHead) *CacheHead {
	if !old.Flags.TestBit(CACHE_VALID) {
		cd.HashLock.Lock()
		if !old.Flags.TestBit(CACHE_VALID) {
			if negative {
				old.Flags.SetBit(CACHE_NEGATIVE)
			} else {
				cd.Update(old, fresh)
			}
			cacheFreshLocked(cd, old, expiry)
			cd.HashLock.Unlock()
			cacheFreshUnlocked(cur, old, cd)
			return old
		}
		cd.HashLock.Unlock()
	}

	tmp := cd.Alloc(cd)
	if tmp == nil {
		CachePut(old, cd)
		return nil
	}
	cd.Init(tmp, old)

	cd.HashLock.Lock()
	if negative {
		tmp.Flags.SetBit(CACHE_NEGATIVE)
	} else {
		cd.Update(tmp, fresh)
	}
	cd.Entries.Add(&tmp.CacheList)
	CacheGet(tmp)
	cacheFreshLocked(cd, tmp, expiry)
	cacheFreshLocked(cd, old, 0)
	cd.HashLock.Unlock()
	cacheFreshUnlocked(cur, tmp, cd)
	cacheFreshUnlocked(cur, old, cd)
	CachePut(old, cd)
	return tmp
}

// cacheIsValid is 0 for a usable answer, -ENOENT for a negative one, -EAGAIN for none yet.
//
// C: cache_is_valid, net/sunrpc/cache.c
func cacheIsValid(cd *CacheDetail, h *CacheHead) int {
	if !h.Flags.TestBit(CACHE_VALID) {
		return -kernel.EAGAIN
	}
	if h.Flags.TestBit(CACHE_NEGATIVE) {
		return -kernel.ENOENT
	}
	cd.Machine().SmpRmb()
	return 0
}

// tryToNegateEntry answers h with "no such thing" unless an answer came meanwhile; returns what h says then.
//
// C: try_to_negate_entry, net/sunrpc/cache.c
func tryToNegateEntry(cur *kernel.Task, cd *CacheDetail, h *CacheHead) int {
	cd.HashLock.Lock()
	rv := cacheIsValid(cd, h)
	if rv == -kernel.EAGAIN {
		h.Flags.SetBit(CACHE_NEGATIVE)
		cacheFreshLocked(cd, h, secondsSinceBoot(cd.Machine())+CACHE_NEW_EXPIRY)
		rv = -kernel.ENOENT
	}
	cd.HashLock.Unlock()
	cacheFreshUnlocked(cur, h, cd)
	return rv
}

// CacheCheck decides what to do with the entry h, to which the caller has a reference: 0, and the reference stays
// the caller's; else the reference is dropped and the result is -ENOENT (negative answer), -EAGAIN (the request has
// been put aside) or -ETIMEDOUT (no answer and it could not be put aside). Asks the helper if h is unanswered or past
// half of its life. req may be nil: then nothing is asked and nothing waits. May sleep.
//
// C: cache_check, net/sunrpc/cache.c
func CacheCheck(cur *kernel.Task, cd *CacheDetail, h *CacheHead, req *CacheReq) int {
	rv := cacheIsValid(cd, h)
	if req == nil {
		if rv == -kernel.EAGAIN {
			rv = -kernel.ENOENT
		}
	} else if rv == -kernel.EAGAIN || cacheWantsRefresh(cd, h) {
		if !h.Flags.TestAndSetBit(CACHE_PENDING) {
			switch cd.Upcall(cur, cd, h) {
			case -kernel.EINVAL:
				rv = tryToNegateEntry(cur, cd, h)
			case -kernel.EAGAIN:
				cacheFreshUnlocked(cur, h, cd)
			}
		}
	}
	if rv == -kernel.EAGAIN {
		if !cacheDeferReq(cur, cd, req, h) {
			rv = cacheIsValid(cd, h)
			if rv == -kernel.EAGAIN {
				rv = -kernel.ETIMEDOUT
			}
		}
	}
	if rv != 0 {
		CachePut(h, cd)
	}
	return rv
}

// cacheWantsRefresh tells whether an answered entry is past half of its life.
//
// C: cache_check (age), net/sunrpc/cache.c
func cacheWantsRefresh(cd *CacheDetail, h *CacheHead) bool {
	expiry := h.ExpiryTime.Read()
	last := h.LastRefresh.Read()
	return expiry != 0 && secondsSinceBoot(cd.Machine())-last > (expiry-last)/2
}

// SunrpcInitCacheDetail makes cd an empty cache; its functions have been set.
//
// Differs: there is no list of all caches, and no cleaner to start (see CacheState).
//
// C: sunrpc_init_cache_detail, net/sunrpc/cache.c
func SunrpcInitCacheDetail(rpc *Sunrpc, net *sock.Net, cd *CacheDetail, name string) {
	cd.Name = name
	cd.Rpc = rpc
	cd.Net = net
	cd.HashLock.Init(&cd.Obj, "hash_lock")
	cd.Entries.Init(&cd.Obj, name)
	cd.FlushTime.Init(&cd.Obj, "flush_time")
}

// CacheFlush takes all expired entries out of the cache. May sleep in the revisits.
//
// Differs: C walks all caches of all namespaces, under a lock of its own that keeps two cleaners apart.
//
// C: cache_flush, net/sunrpc/cache.c
func CacheFlush(cur *kernel.Task, cd *CacheDetail) {
	for {
		cd.HashLock.Lock()
		ch := cd.Entries.First()
		for ch != nil && !cacheIsExpired(cd, ch) {
			ch = cd.Entries.Next(&ch.CacheList)
		}
		if ch == nil {
			cd.HashLock.Unlock()
			return
		}
		cd.Entries.DelInit(&ch.CacheList)
		cd.HashLock.Unlock()
		ch.Flags.SetBit(CACHE_CLEANED)
		cacheFreshUnlocked(cur, ch, cd)
		CachePut(ch, cd)
	}
}

// CachePurge takes all entries out of the cache. May sleep.
//
// C: cache_purge, net/sunrpc/cache.c
func CachePurge(cur *kernel.Task, cd *CacheDetail) {
	cd.FlushTime.Set(1<<62 - 1)
	CacheFlush(cur, cd)
	cd.FlushTime.Set(1)
}

// unhashDeferredReq takes dreq off the lists of waiters. CacheDeferLock is held.
//
// C: __unhash_deferred_req, net/sunrpc/cache.c
func unhashDeferredReq(s *CacheState, dreq *CacheDeferredReq) {
	s.CacheDeferHash.DelInit(&dreq.Hash)
	if dreq.Recent.Linked() {
		s.CacheDeferList.DelInit(&dreq.Recent)
		s.CacheDeferCnt.Dec()
	}
}

// hashDeferredReq makes dreq findable for the answer to its item. CacheDeferLock is held.
//
// C: __hash_deferred_req, net/sunrpc/cache.c
func hashDeferredReq(s *CacheState, dreq *CacheDeferredReq) {
	dreq.Recent.Init(dreq)
	dreq.Hash.Init(dreq)
	s.CacheDeferHash.Add(&dreq.Hash)
}

// setupDeferral registers dreq for the answer to item; countMe: it is a request that counts against DFR_MAX, not a
// waiting thread.
//
// C: setup_deferral, net/sunrpc/cache.c
func setupDeferral(s *CacheState, dreq *CacheDeferredReq, item *CacheHead, countMe bool) {
	dreq.Item = item
	s.CacheDeferLock.Lock()
	hashDeferredReq(s, dreq)
	if countMe {
		s.CacheDeferCnt.Inc()
		s.CacheDeferList.Add(&dreq.Recent)
	}
	s.CacheDeferLock.Unlock()
}

// threadDeferredReq is a thread that waits for an answer; it lives on that thread's stack in C.
type threadDeferredReq struct {
	kernel.Obj
	Handle     CacheDeferredReq
	Completion kernel.Completion
}

// cacheRestartThread lets the waiting thread go on.
//
// C: cache_restart_thread, net/sunrpc/cache.c
func cacheRestartThread(_ *kernel.Task, dreq *CacheDeferredReq, _ bool) {
	dreq.Container.(*threadDeferredReq).Completion.Complete()
}

// cacheWaitReq sleeps until item is answered or req's patience is over.
//
// C: cache_wait_req, net/sunrpc/cache.c
func cacheWaitReq(cur *kernel.Task, cd *CacheDetail, req *CacheReq, item *CacheHead) {
	s := &cd.Rpc.Cache
	sleeper := kernel.StaticObj[threadDeferredReq](cd.Machine(), "thread_deferred_req")
	sleeper.Completion.Init(&sleeper.Obj, "thread_deferred_req.completion")
	sleeper.Handle.Container = sleeper
	sleeper.Handle.Revisit = cacheRestartThread

	setupDeferral(s, &sleeper.Handle, item, false)

	if !item.Flags.TestBit(CACHE_PENDING) || sleeper.Completion.WaitInterruptibleTimeout(cur, req.ThreadWait) <= 0 {
		s.CacheDeferLock.Lock()
		if sleeper.Handle.Hash.Linked() {
			unhashDeferredReq(s, &sleeper.Handle)
			s.CacheDeferLock.Unlock()
		} else {
			// The answer has taken it off the list and is about to complete it: it must not be gone then.
			s.CacheDeferLock.Unlock()
			sleeper.Completion.Wait(cur)
		}
	}
}

// cacheLimitDefers gives the oldest or the newest waiting request up if there are more than DFR_MAX.
//
// C: cache_limit_defers, net/sunrpc/cache.c
func cacheLimitDefers(cur *kernel.Task, m *kernel.Machine, s *CacheState) {
	if s.CacheDeferCnt.Read() <= DFR_MAX {
		return
	}
	var discard *CacheDeferredReq
	s.CacheDeferLock.Lock()
	if s.CacheDeferCnt.Read() > DFR_MAX {
		if m.RandomU32()&1 != 0 {
			discard = s.CacheDeferList.First()
		} else {
			discard = s.CacheDeferList.Last()
		}
		unhashDeferredReq(s, discard)
	}
	s.CacheDeferLock.Unlock()
	if discard != nil {
		discard.Revisit(cur, discard, true)
	}
}

// cacheDeferReq waits for the answer to item and, if none comes, puts the request aside. True: it has been put
// aside, and somebody will revisit it.
//
// C: cache_defer_req, net/sunrpc/cache.c
func cacheDeferReq(cur *kernel.Task, cd *CacheDetail, req *CacheReq, item *CacheHead) bool {
	s := &cd.Rpc.Cache
	if req.ThreadWait != 0 {
		cacheWaitReq(cur, cd, req, item)
		if !item.Flags.TestBit(CACHE_PENDING) {
			return false
		}
	}
	dreq := req.Defer(cur, req)
	if dreq == nil {
		return false
	}
	setupDeferral(s, dreq, item, true)
	if !item.Flags.TestBit(CACHE_PENDING) {
		// The answer came before the request was on the list.
		cacheRevisitRequest(cur, cd, item)
	}
	cacheLimitDefers(cur, cd.Machine(), s)
	return true
}

// cacheRevisitRequest lets all who wait for item go on, in the order in which they came.
//
// C: cache_revisit_request, net/sunrpc/cache.c
func cacheRevisitRequest(cur *kernel.Task, cd *CacheDetail, item *CacheHead) {
	s := &cd.Rpc.Cache
	var pending []*CacheDeferredReq
	s.CacheDeferLock.Lock()
	for dreq := s.CacheDeferHash.First(); dreq != nil; {
		next := s.CacheDeferHash.Next(&dreq.Hash)
		if dreq.Item == item {
			unhashDeferredReq(s, dreq)
			pending = append(pending, dreq)
		}
		dreq = next
	}
	s.CacheDeferLock.Unlock()
	// C moves them to a private list head by head, which turns their order round.
	for i := len(pending) - 1; i >= 0; i-- {
		pending[i].Revisit(cur, pending[i], false)
	}
}

// CacheCleanDeferred gives up every request that serv has put aside. serv is being destroyed: none of its threads
// runs. May sleep in the revisits.
//
// C: cache_clean_deferred, net/sunrpc/cache.c
func CacheCleanDeferred(cur *kernel.Task, serv *SvcServ) {
	s := &serv.SvRpc.Cache
	var pending []*CacheDeferredReq
	s.CacheDeferLock.Lock()
	for dreq := s.CacheDeferList.First(); dreq != nil; {
		next := s.CacheDeferList.Next(&dreq.Recent)
		if dreq.Owner == serv {
			unhashDeferredReq(s, dreq)
			pending = append(pending, dreq)
		}
		dreq = next
	}
	s.CacheDeferLock.Unlock()
	for i := len(pending) - 1; i >= 0; i-- {
		pending[i].Revisit(cur, pending[i], true)
	}
}
