// SPDX-License-Identifier: GPL-2.0-only

package lockd

import "github.com/seed17199236/svcfuzz/target/kernel"

// LockManager is one reason why a network namespace is in grace: while it is on the list, only reclaims are served.
type LockManager struct {
	List kernel.Node[LockManager] // in GraceNet.GraceList; GraceLock
}

// GraceNet is the grace state of one network namespace. It lives as long as the namespace.
type GraceNet struct {
	kernel.Obj
	GraceList kernel.List[LockManager] // who is in grace here; changed under GraceLock, read without
}

// Grace is what the grace module keeps in variables: one lock for the lists of all namespaces.
type Grace struct {
	kernel.Obj
	GraceLock kernel.Spinlock
}

// NewGrace loads the grace module.
//
// C: init_grace, fs/nfs_common/grace.c
func NewGrace(m *kernel.Machine) *Grace {
	g := kernel.StaticObj[Grace](m, "grace")
	g.GraceLock.Init(&g.Obj, "grace_lock")
	return g
}

// LocksStartGrace puts lm into the grace list of a namespace. No lock is held that nests inside GraceLock. A manager
// that is in grace already stays as it is.
//
// Differs: 3.19 adds without looking, and a second call corrupts the list; the membership test is the later one
// (81833de1a46e). Upstream warns in that case. Here it is a line of the log: lockd's SIGKILL handler works on
// init_net even while lockd serves other namespaces only, so a second start is a legal sequence of calls.
//
// C: locks_start_grace, fs/nfs_common/grace.c
func (g *Grace) LocksStartGrace(gn *GraceNet, lm *LockManager) {
	g.GraceLock.Lock()
	if !lm.List.Linked() {
		gn.GraceList.Add(&lm.List)
	} else {
		g.Machine().Printk("grace: manager of %s is in grace already", gn.Name())
	}
	g.GraceLock.Unlock()
}

// LocksEndGrace takes lm off the grace list of its namespace; nothing happens if it is not on it. No lock is held
// that nests inside GraceLock.
//
// C: locks_end_grace, fs/nfs_common/grace.c
func (g *Grace) LocksEndGrace(gn *GraceNet, lm *LockManager) {
	g.GraceLock.Lock()
	gn.GraceList.DelInit(&lm.List)
	g.GraceLock.Unlock()
}

// LocksInGrace tells whether ordinary lock requests have to wait in a namespace. No lock: the answer may be old when
// it arrives.
//
// C: locks_in_grace, fs/nfs_common/grace.c
func (g *Grace) LocksInGrace(gn *GraceNet) bool {
	return !gn.GraceList.Empty()
}

// graceInitNet makes the grace state of a namespace.
//
// C: grace_init_net, fs/nfs_common/grace.c
func (g *Grace) graceInitNet() *GraceNet {
	gn := kernel.StaticObj[GraceNet](g.Machine(), "grace_net")
	gn.GraceList.Init(&gn.Obj, "grace_list")
	return gn
}
