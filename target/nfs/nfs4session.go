// SPDX-License-Identifier: GPL-2.0-only

package nfs

import "github.com/seed17199236/svcfuzz/target/kernel"

// Limits of slot tables.
const (
	NFS4_MAX_SLOT_TABLE = 1024
	NFS4_NO_SLOT        = 1<<32 - 1
	// NFS41_BC_MAX_CALLBACKS is the number of slots that the client offers on its back channels.
	NFS41_BC_MAX_CALLBACKS = 1
)

// SESSION4_BACK_CHAN is set in the flags of a session whose connection is a back channel, too.
const SESSION4_BACK_CHAN = 1 << 1

// NFS4_SLOT_TBL_DRAINING is the bit of SlotTblState that keeps new users out.
const NFS4_SLOT_TBL_DRAINING = 0

var slotTblNames = []string{NFS4_SLOT_TBL_DRAINING: "DRAINING"}

// Nfs4Slot is one slot; SlotTblLock.
//
// C: struct nfs4_slot, fs/nfs/nfs4session.h
type Nfs4Slot struct {
	kernel.Obj
	SlotNr uint32
	SeqNr  uint32
}

// Nfs4SlotTable is the slot table of one direction of a session. All but the cells is guarded by SlotTblLock.
//
// C: struct nfs4_slot_table, fs/nfs/nfs4session.h
type Nfs4SlotTable struct {
	SlotTblLock         kernel.Spinlock
	SlotTblState        kernel.Flags // NFS4_SLOT_TBL_*
	SlotWaitq           kernel.WaitQueueHead
	Complete            kernel.Completion // the table has drained
	Slots               []*Nfs4Slot
	UsedSlots           [NFS4_MAX_SLOT_TABLE / 64]uint64
	HighestUsedSlotid   uint32 // NFS4_NO_SLOT: none
	TargetHighestSlotid uint32
	ServerHighestSlotid uint32
	MaxSlotid           uint32 // the highest that may be used
}

// Nfs4Session is a session with a server: calls go out through the fore channel's table and callbacks come in through
// the back channel's.
//
// C: struct nfs4_session, fs/nfs/nfs4session.h
type Nfs4Session struct {
	kernel.Obj
	SessID      Nfs4Sessionid
	Flags       uint32 // SESSION4_*
	FcSlotTable Nfs4SlotTable
	BcSlotTable Nfs4SlotTable
}

// SessionArgs says what session to make.
type SessionArgs struct {
	SessID Nfs4Sessionid
	// FcSlots is the size of the fore channel's table, at most NFS4_MAX_SLOT_TABLE.
	FcSlots uint32
	// NoBackchannel makes the server one that did not bind the connection to the back channel.
	NoBackchannel bool
}

// nfs4InitSlotTable prepares a table without slots.
//
// C: nfs4_init_slot_table, fs/nfs/nfs4session.c
func nfs4InitSlotTable(tbl *Nfs4SlotTable, o *kernel.Obj, name string) {
	tbl.HighestUsedSlotid = NFS4_NO_SLOT
	tbl.SlotTblLock.Init(o, "slot_tbl_lock")
	tbl.SlotTblState.Init(o, name, slotTblNames)
	tbl.SlotWaitq.Init(o, "slot_waitq")
	tbl.Complete.Init(o, "slot_tbl.complete")
}

// nfs4ShrinkSlotTable frees the slots from newsize on.
//
// C: nfs4_shrink_slot_table, fs/nfs/nfs4session.c
func nfs4ShrinkSlotTable(tbl *Nfs4SlotTable, newsize int) {
	if newsize >= len(tbl.Slots) {
		return
	}
	for _, slot := range tbl.Slots[newsize:] {
		kernel.Kfree(slot)
	}
	tbl.Slots = tbl.Slots[:newsize]
}

// nfs4SlotTblDrainComplete wakes who waits for the table to drain. SlotTblLock is held.
//
// C: nfs4_slot_tbl_drain_complete, fs/nfs/nfs4session.c
func nfs4SlotTblDrainComplete(tbl *Nfs4SlotTable) {
	if tbl.SlotTblState.TestBit(NFS4_SLOT_TBL_DRAINING) {
		tbl.Complete.Complete()
	}
}

// nfs4FreeSlot ends the use of a slot. SlotTblLock is held.
//
// C: nfs4_free_slot, fs/nfs/nfs4session.c
func nfs4FreeSlot(tbl *Nfs4SlotTable, slot *Nfs4Slot) {
	slotid := slot.SlotNr
	tbl.UsedSlots[slotid/64] &^= 1 << (slotid % 64)
	if slotid != tbl.HighestUsedSlotid {
		return
	}
	for slotid > 0 {
		slotid--
		if nfs4TestLockedSlot(tbl, slotid) {
			tbl.HighestUsedSlotid = slotid
			return
		}
	}
	tbl.HighestUsedSlotid = NFS4_NO_SLOT
	nfs4SlotTblDrainComplete(tbl)
}

// nfs4FindOrCreateSlot returns a slot, and makes it and those before it, with the sequence number seqInit, if there
// are not so many yet; nil if there is no memory. SlotTblLock is held unless nobody knows the table yet.
//
// C: nfs4_find_or_create_slot, fs/nfs/nfs4session.c
func nfs4FindOrCreateSlot(tbl *Nfs4SlotTable, m *kernel.Machine, slotid, seqInit uint32, gfp kernel.GFP) *Nfs4Slot {
	for uint32(len(tbl.Slots)) <= slotid {
		slot := kernel.Kzalloc[Nfs4Slot](m, "nfs4_slot", gfp)
		if slot == nil {
			return nil
		}
		slot.SlotNr, slot.SeqNr = uint32(len(tbl.Slots)), seqInit
		tbl.Slots = append(tbl.Slots, slot)
	}
	return tbl.Slots[slotid]
}

// nfs4TestLockedSlot tells whether a slot of the table is in use. SlotTblLock is held.
//
// C: nfs4_test_locked_slot (later), fs/nfs/nfs4session.h
func nfs4TestLockedSlot(tbl *Nfs4SlotTable, slotid uint32) bool {
	return tbl.UsedSlots[slotid/64]>>(slotid%64)&1 != 0
}

// nfs4TryToLockSlot begins the use of a slot; false if it is in use. SlotTblLock is held.
//
// C: nfs4_try_to_lock_slot (later), fs/nfs/nfs4session.c
func nfs4TryToLockSlot(tbl *Nfs4SlotTable, slot *Nfs4Slot) bool {
	slotid := slot.SlotNr
	if nfs4TestLockedSlot(tbl, slotid) {
		return false
	}
	tbl.UsedSlots[slotid/64] |= 1 << (slotid % 64)
	if tbl.HighestUsedSlotid == NFS4_NO_SLOT || slotid > tbl.HighestUsedSlotid {
		tbl.HighestUsedSlotid = slotid
	}
	return true
}

// nfs4LookupSlot returns the slot of that number; nil if the table has none or there is no memory. SlotTblLock is
// held.
//
// C: nfs4_lookup_slot (later), fs/nfs/nfs4session.c
func nfs4LookupSlot(tbl *Nfs4SlotTable, m *kernel.Machine, slotid uint32) *Nfs4Slot {
	if slotid > tbl.MaxSlotid {
		return nil
	}
	return nfs4FindOrCreateSlot(tbl, m, slotid, 1, kernel.GFP_ATOMIC)
}

// nfs4SlotSeqidInUse tells whether the call with that slot and sequence number is still under way. Takes SlotTblLock.
//
// C: nfs4_slot_seqid_in_use (later), fs/nfs/nfs4session.c
func nfs4SlotSeqidInUse(tbl *Nfs4SlotTable, m *kernel.Machine, slotid, seqNr uint32) bool {
	tbl.SlotTblLock.Lock()
	slot := nfs4LookupSlot(tbl, m, slotid)
	used := slot != nil && slot.SeqNr == seqNr && nfs4TestLockedSlot(tbl, slotid)
	tbl.SlotTblLock.Unlock()
	return used
}

// nfs4SlotWaitOnSeqid waits until the call with that slot and sequence number is answered: 0, or -ETIMEDOUT after
// timeout jiffies. Process context.
//
// C: nfs4_slot_wait_on_seqid (later), fs/nfs/nfs4session.c
func nfs4SlotWaitOnSeqid(cur *kernel.Task, tbl *Nfs4SlotTable, slotid, seqNr uint32, timeout kernel.Jiffies) int {
	m := cur.Machine()
	done := func() bool { return !nfs4SlotSeqidInUse(tbl, m, slotid, seqNr) }
	if kernel.WaitEventTimeout(cur, &tbl.SlotWaitq, done, timeout) == 0 {
		return -kernel.ETIMEDOUT
	}
	return 0
}

// Nfs4AllocSlot begins a call over the fore channel: the lowest free slot, nil if there is none or the table drains.
// The call's sequence number is the slot's. Takes SlotTblLock.
//
// Differs: nobody waits for a slot.
//
// C: nfs4_alloc_slot, fs/nfs/nfs4session.c; nfs41_setup_sequence, fs/nfs/nfs4proc.c
func Nfs4AllocSlot(cur *kernel.Task, tbl *Nfs4SlotTable) *Nfs4Slot {
	tbl.SlotTblLock.Lock()
	defer tbl.SlotTblLock.Unlock()
	if tbl.SlotTblState.TestBit(NFS4_SLOT_TBL_DRAINING) {
		return nil
	}
	for slotid := range tbl.MaxSlotid + 1 {
		if nfs4TestLockedSlot(tbl, slotid) {
			continue
		}
		slot := nfs4FindOrCreateSlot(tbl, cur.Machine(), slotid, 1, kernel.GFP_ATOMIC)
		if slot != nil {
			nfs4TryToLockSlot(tbl, slot)
		}
		return slot
	}
	return nil
}

// Nfs41SequenceDone ends a call that Nfs4AllocSlot began: it has been answered. Takes SlotTblLock.
//
// Differs: wakes those that wait in nfs4SlotWaitOnSeqid (4.8); nobody waits for a slot, and the server is not told that
// its wish for a smaller table is fulfilled.
//
// C: nfs41_sequence_done, nfs41_sequence_free_slot, fs/nfs/nfs4proc.c
func Nfs41SequenceDone(tbl *Nfs4SlotTable, slot *Nfs4Slot) {
	tbl.SlotTblLock.Lock()
	slot.SeqNr++
	nfs4FreeSlot(tbl, slot)
	tbl.SlotTblLock.Unlock()
	tbl.SlotWaitq.WakeUpAll()
}

// Nfs4DrainSlotTbl keeps new users out of a table and waits until nobody uses it any more. Takes SlotTblLock;
// may sleep.
//
// Differs: a signal does not end the wait; the state manager, which is who waits in 3.19, gets none here.
//
// C: nfs4_drain_slot_tbl, fs/nfs/nfs4state.c
func Nfs4DrainSlotTbl(cur *kernel.Task, tbl *Nfs4SlotTable) {
	tbl.SlotTblState.SetBit(NFS4_SLOT_TBL_DRAINING)
	tbl.SlotTblLock.Lock()
	busy := tbl.HighestUsedSlotid != NFS4_NO_SLOT
	if busy {
		tbl.Complete.Reinit()
	}
	tbl.SlotTblLock.Unlock()
	if busy {
		tbl.Complete.Wait(cur)
	}
}

// Nfs4EndDrainSlotTable lets users in again.
//
// Differs: nobody waits for a slot.
//
// C: nfs4_end_drain_slot_table, fs/nfs/nfs4state.c
func Nfs4EndDrainSlotTable(tbl *Nfs4SlotTable) {
	tbl.SlotTblState.ClearBit(NFS4_SLOT_TBL_DRAINING)
}

// nfs4SetupSlotTable makes the slots of a table; -ENOMEM. Nobody knows the table yet.
//
// C: nfs4_realloc_slot_table, fs/nfs/nfs4session.c
func nfs4SetupSlotTable(tbl *Nfs4SlotTable, m *kernel.Machine, maxReqs, ivalue uint32) int {
	maxReqs = min(maxReqs, NFS4_MAX_SLOT_TABLE)
	if maxReqs > 0 && nfs4FindOrCreateSlot(tbl, m, maxReqs-1, ivalue, kernel.GFP_KERNEL) == nil {
		return -kernel.ENOMEM
	}
	tbl.TargetHighestSlotid = maxReqs - 1
	tbl.ServerHighestSlotid = maxReqs - 1
	tbl.MaxSlotid = maxReqs - 1
	return 0
}

// nfs41SetTargetSlotid is the server's wish that the highest slot in use be the given one. Takes SlotTblLock.
//
// Differs: nobody waits for a slot, and no answer of the server changes the wish, so its past is not kept.
//
// C: nfs41_set_target_slotid, nfs41_set_max_slotid_locked, fs/nfs/nfs4session.c
func nfs41SetTargetSlotid(tbl *Nfs4SlotTable, targetHighestSlotid uint32) {
	tbl.SlotTblLock.Lock()
	tbl.TargetHighestSlotid = targetHighestSlotid
	tbl.MaxSlotid = min(NFS4_MAX_SLOT_TABLE-1, targetHighestSlotid, tbl.ServerHighestSlotid)
	tbl.SlotTblLock.Unlock()
}

// AddSession gives the client of a later minor version its session, and from then on it can be called back. 0 or
// -ENOMEM. May sleep.
//
// C: nfs4_alloc_session, nfs4_setup_session_slot_tables, fs/nfs/nfs4session.c; nfs_mark_client_ready, fs/nfs/client.c
func (n *Nfs) AddSession(cur *kernel.Task, clp *NfsClient, args SessionArgs) int {
	m := cur.Machine()
	session := kernel.Kzalloc[Nfs4Session](m, "nfs4_session", kernel.GFP_KERNEL)
	if session == nil {
		return -kernel.ENOMEM
	}
	session.SessID = args.SessID
	nfs4InitSlotTable(&session.FcSlotTable, &session.Obj, "fc_slot_table")
	nfs4InitSlotTable(&session.BcSlotTable, &session.Obj, "bc_slot_table")
	err := nfs4SetupSlotTable(&session.FcSlotTable, m, max(args.FcSlots, 1), 1)
	if err == 0 && !args.NoBackchannel {
		session.Flags = SESSION4_BACK_CHAN
		err = nfs4SetupSlotTable(&session.BcSlotTable, m, NFS41_BC_MAX_CALLBACKS, 0)
	}
	if err != 0 {
		nfs4DestroySession(session)
		return err
	}
	clp.ClSession = session
	m.SmpWmb()
	clp.ClConsState.Store(NFS_CS_READY)
	return 0
}

// nfs4DestroySession frees a session that nobody uses any more.
//
// Differs: the server is not told, and what the transport has reserved is the business of who reserved it.
//
// C: nfs4_destroy_session, fs/nfs/nfs4session.c
func nfs4DestroySession(session *Nfs4Session) {
	nfs4ShrinkSlotTable(&session.FcSlotTable, 0)
	nfs4ShrinkSlotTable(&session.BcSlotTable, 0)
	kernel.Kfree(session)
}
