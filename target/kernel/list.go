// SPDX-License-Identifier: MIT

package kernel

import "unsafe"

// List is a struct list_head that heads a list of *T. Every operation on it is visible: some readers hold no
// lock. Adding a linked node and deleting an unlinked one are findings.
//
// What a list does is done by listHead, which knows no T: each package compiles the methods of List anew for each T that
// it hears of, so they had better be short.
type List[T any] = ListOf[*T]

// ListOf is a List by the type of pointers to its elements. Pointers are all alike to the compiler, so that it makes
// one body for the methods of all lists.
type ListOf[P any] struct{ h listHead }

// Node links one *T into one list.
type Node[T any] = NodeOf[*T]

// NodeOf is a Node by the type of pointers to its owner.
type NodeOf[P any] struct{ n listNode }

// listHead is a list of whatever it is.
type listHead struct {
	c           cell
	front, back *listNode

	// Options.TSO: how many changes are still in a store buffer, and what others see meanwhile
	late      int
	seenEmpty bool
}

// listNode is a link of a listHead.
type listNode struct {
	_ [0]func()

	prev, next *listNode
	owner      any  // a *T
	obj        *Obj // of the owner, if it is one
	on         *listHead
	gone       bool // RCU: deleted, but a reader that stands here may still go on
}

// Init makes an empty list as part of o. C: INIT_LIST_HEAD.
//
//go:norace
func (l *ListOf[P]) Init(o *Obj, name string) { l.h.init(o, name) }

//go:norace
func (l *listHead) init(o *Obj, name string) {
	l.c.init(o, name)
	l.front, l.back, l.late = nil, nil, 0
}

// Init binds the node to the structure that embeds it. C: INIT_LIST_HEAD.
//
//go:norace
func (n *NodeOf[P]) Init(owner P) { n.n.init(owner) }

//go:norace
func (n *listNode) init(owner any) {
	*n = listNode{owner: owner}
	if o, ok := owner.(objecter); ok && !isNil(owner) {
		n.obj = o.object()
	}
}

// of is the owner of n, or nil if there is no n.
//
//go:norace
func of[P any](n *listNode) P {
	p := n.pointer()
	return *(*P)(unsafe.Pointer(&p))
}

//go:norace
func (n *listNode) pointer() unsafe.Pointer {
	if n == nil {
		return nil
	}
	return (*[2]unsafe.Pointer)(unsafe.Pointer(&n.owner))[1]
}

// Linked reports, without a visible operation, whether the node is on a list. C: !list_empty(&node).
//
//go:norace
func (n *NodeOf[P]) Linked() bool { return n.n.on != nil }

//go:norace
func (l *listHead) write(k OpKind, n *listNode, rcu bool) {
	m := l.c.o.m
	if m.tso && !rcu && m.sim.cur != nil {
		m.sim.cur.lateOp(l.c.id)
		if l.c.o.dead {
			m.useAfterFree(m.sim.cur, k, &l.c)
		}
		if l.late == 0 {
			l.seenEmpty = l.front == nil
		}
	} else {
		l.c.visible(k, 0)
	}
	if rcu {
		l.c.merge()
	} else {
		l.c.plainWrite(k)
	}
	if m.rec != nil {
		what := "list_add"
		if k == OpListDel {
			what = "list_del"
		}
		m.rec.text("%s %s, %s", what, describe(n.owner), l.c.name)
	}
}

// wrote ends an operation that write began and that changed the list.
//
//go:norace
func (l *listHead) wrote(k OpKind, rcu bool) {
	if m := l.c.o.m; m.tso && !rcu && m.sim.cur != nil {
		l.late++
		m.sim.cur.stores.add(k, &l.c, l, l.front == nil)
	}
}

// touch checks that the memory of n, of which the operation reads or writes a link, is still there.
//
//go:norace
func (l *listHead) touch(k OpKind, n *listNode) {
	if n == nil || n.obj == nil {
		return
	}
	m := l.c.o.m
	if m.sim != nil {
		m.sim.also(&n.obj.c, false)
	}
	if !n.obj.dead {
		return
	}
	m.Report(&Finding{
		Oracle: "use-after-free",
		Title:  k.String() + " of " + l.c.name + " in freed " + n.obj.class,
		Text:   n.obj.Name() + " was freed by " + n.obj.freer,
		Fatal:  true,
	})
}

//go:norace
func (l *listHead) corrupt(what string) {
	l.c.o.m.Report(&Finding{Oracle: "list", Title: what + ": " + l.c.name, Fatal: true})
}

// Add puts n at the head. The list's lock is held. C: list_add, include/linux/list.h.
//
//go:norace
func (l *ListOf[P]) Add(n *NodeOf[P]) { l.h.add(&n.n, false, false) }

// AddTail puts n at the tail. The list's lock is held. C: list_add_tail, include/linux/list.h.
//
//go:norace
func (l *ListOf[P]) AddTail(n *NodeOf[P]) { l.h.add(&n.n, true, false) }

// AddRcu puts n at the head of a list that readers walk under RCU. C: list_add_rcu, include/linux/rculist.h.
//
//go:norace
func (l *ListOf[P]) AddRcu(n *NodeOf[P]) { l.h.add(&n.n, false, true) }

//go:norace
func (l *listHead) add(n *listNode, tail, rcu bool) {
	l.write(OpListAdd, n, rcu)
	if n.on != nil {
		l.corrupt("list_add of a linked node")
		return
	}
	l.touch(OpListAdd, n)
	n.on, n.gone = l, false
	if tail {
		l.touch(OpListAdd, l.back)
		n.prev, n.next = l.back, nil
	} else {
		l.touch(OpListAdd, l.front)
		n.prev, n.next = nil, l.front
	}
	l.link(n)
	l.wrote(OpListAdd, rcu)
}

// AddBefore puts n in front of at, which is on the list. The list's lock is held. C: list_add_tail with an entry in the
// place of the head.
//
//go:norace
func (l *ListOf[P]) AddBefore(n, at *NodeOf[P]) { l.h.addBefore(&n.n, &at.n) }

//go:norace
func (l *listHead) addBefore(n, at *listNode) {
	l.write(OpListAdd, n, false)
	if n.on != nil || at.on != l {
		l.corrupt("list_add of a linked node or before one that is not")
		return
	}
	l.touch(OpListAdd, n)
	l.touch(OpListAdd, at)
	l.touch(OpListAdd, at.prev)
	n.on, n.gone = l, false
	n.prev, n.next = at.prev, at
	l.link(n)
	l.wrote(OpListAdd, false)
}

//go:norace
func (l *listHead) link(n *listNode) {
	if n.prev != nil {
		n.prev.next = n
	} else {
		l.front = n
	}
	if n.next != nil {
		n.next.prev = n
	} else {
		l.back = n
	}
}

//go:norace
func (l *listHead) cut(n *listNode) {
	l.touch(OpListDel, n)
	l.touch(OpListDel, n.prev)
	l.touch(OpListDel, n.next)
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		l.front = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		l.back = n.prev
	}
	n.on = nil
}

// Del takes n off the list. The list's lock is held. C: list_del, include/linux/list.h.
//
//go:norace
func (l *ListOf[P]) Del(n *NodeOf[P]) { l.h.del(&n.n) }

//go:norace
func (l *listHead) del(n *listNode) {
	l.write(OpListDel, n, false)
	if n.on != l {
		l.corrupt("list_del of a node that is not linked")
		return
	}
	l.cut(n)
	n.prev, n.next = nil, nil
	l.wrote(OpListDel, false)
}

// DelInit is Del for a node that may be unlinked already. C: list_del_init, include/linux/list.h.
//
//go:norace
func (l *ListOf[P]) DelInit(n *NodeOf[P]) { l.h.delInit(&n.n) }

//go:norace
func (l *listHead) delInit(n *listNode) {
	l.write(OpListDel, n, false)
	if n.on == nil {
		return
	}
	if n.on != l {
		l.corrupt("list_del_init of a node on another list")
		return
	}
	l.cut(n)
	n.prev, n.next = nil, nil
	l.wrote(OpListDel, false)
}

// DelRcu takes n off; readers that stand on it still find their way. C: list_del_rcu, include/linux/rculist.h.
//
//go:norace
func (l *ListOf[P]) DelRcu(n *NodeOf[P]) { l.h.delRcu(&n.n) }

//go:norace
func (l *listHead) delRcu(n *listNode) {
	l.write(OpListDel, n, true)
	if n.on != l {
		l.corrupt("list_del_rcu of a node that is not linked")
		return
	}
	l.cut(n)
	n.gone = true
}

// MoveTail takes n off the list and puts it at its tail. The list's lock is held. C: list_move_tail.
//
//go:norace
func (l *ListOf[P]) MoveTail(n *NodeOf[P]) {
	l.h.del(&n.n)
	l.h.add(&n.n, true, false)
}

//go:norace
func (l *listHead) read() {
	l.c.visible(OpListRead, 0)
	if m := l.c.o.m; m.rec != nil {
		first := "NULL"
		if l.front != nil {
			first = describe(l.front.owner)
		}
		m.rec.text("%s: first is %s", l.c.name, first)
	}
	l.c.plainRead(OpListRead)
}

// Empty reports whether the list is empty; no lock is needed. C: list_empty, include/linux/list.h.
//
//go:norace
func (l *ListOf[P]) Empty() bool { return l.h.empty() }

//go:norace
func (l *listHead) empty() bool {
	t := l.c.visible(OpListRead, 0)
	empty := l.front == nil
	if t != nil && l.late > 0 {
		empty = l.emptyTo(t)
	}
	if m := l.c.o.m; m.rec != nil {
		m.rec.text("list_empty %s -> %t", l.c.name, empty)
	}
	return empty
}

// First returns the head's owner, nil if the list is empty. The list's lock is held. C: list_first_entry_or_null.
//
//go:norace
func (l *ListOf[P]) First() P {
	l.h.read()
	return of[P](l.h.front)
}

// Last returns the tail's owner, nil if the list is empty. The list's lock is held. C: list_last_entry.
//
//go:norace
func (l *ListOf[P]) Last() P {
	l.h.read()
	return of[P](l.h.back)
}

// Next returns the owner after n, nil at the end. The list's lock is held. C: list_next_entry.
//
//go:norace
func (l *ListOf[P]) Next(n *NodeOf[P]) P { return of[P](l.h.after(&n.n)) }

//go:norace
func (l *listHead) after(n *listNode) *listNode {
	l.c.plainRead(OpListRead)
	if s := l.c.o.m.sim; s != nil {
		s.also(&l.c, false)
	}
	l.touch(OpListRead, n)
	return n.next
}

// FirstRcu starts a walk in an RCU read section. C: list_for_each_entry_rcu, include/linux/rculist.h.
//
//go:norace
func (l *ListOf[P]) FirstRcu() P { return of[P](l.h.firstRcu()) }

//go:norace
func (l *listHead) firstRcu() *listNode {
	l.rcuRead()
	first := l.front
	l.c.acquire() // after the read: what was published is seen with all that was done before
	return first
}

// NextRcu goes on with the walk. The reader may stand on a node that has been deleted meanwhile.
//
//go:norace
func (l *ListOf[P]) NextRcu(n *NodeOf[P]) P { return of[P](l.h.nextRcu(&n.n)) }

//go:norace
func (l *listHead) nextRcu(n *listNode) *listNode {
	l.rcuRead()
	l.touch(OpListRead, n)
	next := n.next
	l.c.acquire()
	return next
}

//go:norace
func (l *listHead) rcuRead() {
	t := l.c.visible(OpListRead, 0)
	m := l.c.o.m
	if m.rec != nil {
		m.rec.text("%s: walk", l.c.name)
	}
	if t != nil && t.rcu == 0 {
		m.Report(&Finding{Oracle: "lockdep", Title: l.c.name + " is walked outside an RCU read section", Fatal: true})
	}
}

// Peek lists the owners without a visible operation, for oracles and reports.
//
//go:norace
func (l *ListOf[P]) Peek() []P {
	var out []P
	for n := l.h.front; n != nil; n = n.next {
		out = append(out, of[P](n))
	}
	return out
}

// Each calls fn for every owner until it returns false, without a visible operation. For oracles.
//
//go:norace
func (l *ListOf[P]) Each(fn func(P) bool) {
	for n := l.h.front; n != nil; n = n.next {
		if !fn(of[P](n)) {
			return
		}
	}
}
