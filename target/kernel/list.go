// SPDX-License-Identifier: MIT

package kernel

// List is a struct list_head that heads a list of *T. Every operation on it is visible: some readers hold no
// lock. Adding a linked node and deleting an unlinked one are findings.
type List[T any] struct {
	c          cell
	head, tail *Node[T]

	// Options.TSO: how many changes are still in a store buffer, and what others see meanwhile
	late      int
	seenEmpty bool
}

// Node links one *T into one list.
type Node[T any] struct {
	prev, next *Node[T]
	owner      *T
	obj        *Obj // of the owner, if it is one
	on         *List[T]
	gone       bool // RCU: deleted, but a reader that stands here may still go on
}

// Init makes an empty list as part of o. C: INIT_LIST_HEAD.
//
//go:norace
func (l *List[T]) Init(o *Obj, name string) {
	l.c.init(o, name)
	l.head, l.tail, l.late = nil, nil, 0
}

// Init binds the node to the structure that embeds it. C: INIT_LIST_HEAD.
//
//go:norace
func (n *Node[T]) Init(owner *T) {
	*n = Node[T]{owner: owner}
	if o, ok := any(owner).(objecter); ok && owner != nil {
		n.obj = o.object()
	}
}

// Linked reports, without a visible operation, whether the node is on a list. C: !list_empty(&node).
//
//go:norace
func (n *Node[T]) Linked() bool { return n.on != nil }

//go:norace
func (l *List[T]) write(k OpKind, n *Node[T], rcu bool) {
	m := l.c.o.m
	if m.tso && !rcu && m.sim.cur != nil {
		m.sim.cur.lateOp(l.c.id)
		if l.c.o.dead {
			m.useAfterFree(m.sim.cur, k, &l.c)
		}
		if l.late == 0 {
			l.seenEmpty = l.head == nil
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
		m.rec.text("%s %s, %s", what, describe(any(n.owner)), l.c.name)
	}
}

// wrote ends an operation that write began and that changed the list.
//
//go:norace
func (l *List[T]) wrote(k OpKind, rcu bool) {
	if m := l.c.o.m; m.tso && !rcu && m.sim.cur != nil {
		l.late++
		m.sim.cur.stores.add(k, &l.c, l, l.head == nil)
	}
}

// touch checks that the memory of n, of which the operation reads or writes a link, is still there.
//
//go:norace
func (l *List[T]) touch(k OpKind, n *Node[T]) {
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
func (l *List[T]) corrupt(what string) {
	l.c.o.m.Report(&Finding{Oracle: "list", Title: what + ": " + l.c.name, Fatal: true})
}

// Add puts n at the head. The list's lock is held. C: list_add, include/linux/list.h.
//
//go:norace
func (l *List[T]) Add(n *Node[T]) { l.add(n, false, false) }

// AddTail puts n at the tail. The list's lock is held. C: list_add_tail, include/linux/list.h.
//
//go:norace
func (l *List[T]) AddTail(n *Node[T]) { l.add(n, true, false) }

// AddRcu puts n at the head of a list that readers walk under RCU. C: list_add_rcu, include/linux/rculist.h.
//
//go:norace
func (l *List[T]) AddRcu(n *Node[T]) { l.add(n, false, true) }

//go:norace
func (l *List[T]) add(n *Node[T], tail, rcu bool) {
	l.write(OpListAdd, n, rcu)
	if n.on != nil {
		l.corrupt("list_add of a linked node")
		return
	}
	l.touch(OpListAdd, n)
	n.on, n.gone = l, false
	if tail {
		l.touch(OpListAdd, l.tail)
		n.prev, n.next = l.tail, nil
	} else {
		l.touch(OpListAdd, l.head)
		n.prev, n.next = nil, l.head
	}
	l.link(n)
	l.wrote(OpListAdd, rcu)
}

// AddBefore puts n in front of at, which is on the list. The list's lock is held. C: list_add_tail with an entry in the
// place of the head.
//
//go:norace
func (l *List[T]) AddBefore(n, at *Node[T]) {
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
func (l *List[T]) link(n *Node[T]) {
	if n.prev != nil {
		n.prev.next = n
	} else {
		l.head = n
	}
	if n.next != nil {
		n.next.prev = n
	} else {
		l.tail = n
	}
}

//go:norace
func (l *List[T]) cut(n *Node[T]) {
	l.touch(OpListDel, n)
	l.touch(OpListDel, n.prev)
	l.touch(OpListDel, n.next)
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		l.head = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		l.tail = n.prev
	}
	n.on = nil
}

// Del takes n off the list. The list's lock is held. C: list_del, include/linux/list.h.
//
//go:norace
func (l *List[T]) Del(n *Node[T]) {
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
func (l *List[T]) DelInit(n *Node[T]) {
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
func (l *List[T]) DelRcu(n *Node[T]) {
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
func (l *List[T]) MoveTail(n *Node[T]) {
	l.Del(n)
	l.AddTail(n)
}

//go:norace
func (l *List[T]) read() {
	l.c.visible(OpListRead, 0)
	if m := l.c.o.m; m.rec != nil {
		m.rec.text("%s: first is %s", l.c.name, describe(any(l.first())))
	}
}

//go:norace
func (l *List[T]) first() *T {
	if l.head == nil {
		return nil
	}
	return l.head.owner
}

// Empty reports whether the list is empty; no lock is needed. C: list_empty, include/linux/list.h.
//
//go:norace
func (l *List[T]) Empty() bool {
	t := l.c.visible(OpListRead, 0)
	empty := l.head == nil
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
func (l *List[T]) First() *T {
	l.read()
	l.c.plainRead(OpListRead)
	return l.first()
}

// Last returns the tail's owner, nil if the list is empty. The list's lock is held. C: list_last_entry.
//
//go:norace
func (l *List[T]) Last() *T {
	l.read()
	l.c.plainRead(OpListRead)
	if l.tail == nil {
		return nil
	}
	return l.tail.owner
}

// Next returns the owner after n, nil at the end. The list's lock is held. C: list_next_entry.
//
//go:norace
func (l *List[T]) Next(n *Node[T]) *T {
	l.c.plainRead(OpListRead)
	if s := l.c.o.m.sim; s != nil {
		s.also(&l.c, false)
	}
	l.touch(OpListRead, n)
	if n.next == nil {
		return nil
	}
	return n.next.owner
}

// FirstRcu starts a walk in an RCU read section. C: list_for_each_entry_rcu, include/linux/rculist.h.
//
//go:norace
func (l *List[T]) FirstRcu() *T {
	l.rcuRead()
	x := l.first()
	l.c.acquire() // after the read: what was published is seen with all that was done before
	return x
}

// NextRcu goes on with the walk. The reader may stand on a node that has been deleted meanwhile.
//
//go:norace
func (l *List[T]) NextRcu(n *Node[T]) *T {
	l.rcuRead()
	l.touch(OpListRead, n)
	next := n.next
	l.c.acquire()
	if next == nil {
		return nil
	}
	return next.owner
}

//go:norace
func (l *List[T]) rcuRead() {
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
func (l *List[T]) Peek() []*T {
	var out []*T
	for n := l.head; n != nil; n = n.next {
		out = append(out, n.owner)
	}
	return out
}

// Each calls fn for every owner until it returns false, without a visible operation. For oracles.
//
//go:norace
func (l *List[T]) Each(fn func(*T) bool) {
	for n := l.head; n != nil; n = n.next {
		if !fn(n.owner) {
			return
		}
	}
}
