// SPDX-License-Identifier: MIT

package kernel

import "fmt"

// PageSize is the size of a page in bytes.
const PageSize = 4096

// cellStride spreads the ids of an object's cells; an odd constant, so that ids do not meet.
const cellStride = 0x9e3779b97f4a7c15

// GFP says in which context memory is asked for.
type GFP uint8

// The allocation contexts of Linux that the port uses.
const (
	GFP_ATOMIC GFP = iota // never sleeps
	GFP_KERNEL            // may sleep: process context, no spinlock held
)

// Obj is what every shared structure embeds: its life, its owner and its identity in traces.
type Obj struct {
	m     *Machine
	id    uint64
	class string
	n     int // ordinal within the class, for its name
	cells uint64
	live  int // index+1 in Machine.live, 0 for static objects
	dead  bool
	hfree uint64 // sim: history of the free
	acc   uint64 // sim: sum of the histories of all accesses
	c     cell   // the object as a whole: allocation and free
	freer string // who freed it
	by    int32  // sim: index+1 of the only task that has used it, several for more than one
}

//go:norace
func (o *Obj) object() *Obj { return o }

// Machine returns the machine that the object lives on.
//
//go:norace
func (o *Obj) Machine() *Machine { return o.m }

// Name is the class of the object, with its ordinal from the second on: "svc_xprt", "svc_xprt#2".
//
//go:norace
func (o *Obj) Name() string {
	if o.n < 2 {
		return o.class
	}
	return fmt.Sprintf("%s#%d", o.class, o.n)
}

// Freed reports whether the object has been freed. For oracles and reports.
//
//go:norace
func (o *Obj) Freed() bool { return o.dead }

type objecter interface{ object() *Obj }

//go:norace
func (m *Machine) adopt(o *Obj, class string, t *Task) {
	*o = Obj{m: m, class: class}
	if t != nil {
		t.allocs++
		o.id = mix(t.path + t.allocs*cellStride)
	} else {
		m.statics++
		o.id = mix(m.statics * cellStride)
	}
	o.c = cell{o: o, name: class, id: o.id}
}

// Kzalloc makes a zeroed object of the given class, nil on an injected failure. GFP_KERNEL may sleep.
// C: kzalloc, include/linux/slab.h.
//
//go:norace
func Kzalloc[T any, P interface {
	*T
	objecter
}](m *Machine, class string, gfp GFP) P {
	t := m.b.here()
	if gfp == GFP_KERNEL {
		m.mightSleep(t, "kzalloc")
	}
	if m.AllocFails(class) {
		return nil
	}
	p := P(new(T))
	if m.rec != nil {
		m.rec.owns(p.object(), p)
	}
	m.track(p.object(), class, t)
	return p
}

// track starts the life of a counted object.
//
//go:norace
func (m *Machine) track(o *Obj, class string, t *Task) {
	m.adopt(o, class, t)
	m.mem.lock(m)
	o.n = m.ordinal(class)
	m.live = append(m.live, o)
	o.live = len(m.live)
	m.mem.unlock(m)
	m.b.note(t, OpAlloc, &o.c, 0)
	if m.rec != nil {
		m.rec.text("alloc %s", o.Name())
	}
}

// StaticObj makes an object that C has as a static variable: never freed, not in the leak accounting.
//
//go:norace
func StaticObj[T any, P interface {
	*T
	objecter
}](m *Machine, class string) P {
	p := P(new(T))
	m.adopt(p.object(), class, m.b.here())
	if m.rec != nil {
		m.rec.owns(p.object(), p)
	}
	return p
}

// Kfree ends the life of p. Every later operation on one of its cells is a use after free; a Poison method
// is called so that plain pointers die as well. Any context; nil is allowed. C: kfree, mm/slab.c.
//
//go:norace
func Kfree[P objecter](p P) {
	if isNil(p) {
		return
	}
	o := p.object()
	m := o.m
	t := m.b.point(OpFree, &o.c)
	if o.dead {
		if m.sim != nil {
			m.sim.attempted(OpFree, &o.c)
		}
		m.Report(&Finding{Oracle: "use-after-free", Title: "double free of " + o.class,
			Text:  o.Name() + " was freed by " + o.freer,
			Fatal: true, Symmetric: true})
		return
	}
	m.b.note(t, OpFree, &o.c, 0)
	if m.rec != nil {
		m.rec.text("free %s", o.Name())
	}
	m.untrack(o, t)
	if q, ok := any(p).(interface{ Poison() }); ok {
		q.Poison()
	}
}

//go:norace
func (m *Machine) untrack(o *Obj, t *Task) {
	o.dead, o.hfree = true, o.c.hw
	if t != nil {
		o.freer = t.Name()
	}
	m.mem.lock(m)
	if o.live > 0 {
		last := m.live[len(m.live)-1]
		m.live[o.live-1], last.live = last, o.live
		m.live = m.live[:len(m.live)-1]
		o.live = 0
	}
	m.mem.unlock(m)
}

// KfreeRcu frees p after a grace period. Any context. C: kfree_rcu, include/linux/rcupdate.h.
//
//go:norace
func KfreeRcu[P objecter](p P) {
	o := p.object()
	if o.m.sim != nil {
		o.m.sim.also(&o.c, false)
	}
	if o.dead {
		o.m.useAfterFree(o.m.b.here(), OpRcuCall, &o.c)
	}
	o.m.CallRcu(o, func() { Kfree(p) })
}

// AllocFails counts one fallible step (an allocation, a bind, a registration, the making of a thread) and
// reports whether it is the one that this run was told to fail.
//
//go:norace
func (m *Machine) AllocFails(site string) bool {
	m.mem.lock(m)
	m.fallible++
	k := m.fallible
	m.mem.unlock(m)
	if m.Decide(DecideAlloc, 2, site) != 0 {
		m.failed = site
		return true
	}
	if m.failAt == 0 {
		return false
	}
	m.b.note(m.b.here(), OpFault, &m.faultCell, 0)
	if k != m.failAt {
		return false
	}
	m.failed = site
	if m.rec != nil {
		m.rec.text("fails: %s (fallible step %d)", site, k)
	}
	return true
}

// Page is one page of memory. Its contents are not cleared when it is allocated: stale octets stay.
type Page struct {
	Obj
	ref  Kref
	Data [PageSize]byte
}

// AllocPage returns a page with one reference, nil on an injected failure. C: alloc_page, include/linux/gfp.h.
//
//go:norace
func (m *Machine) AllocPage(gfp GFP) *Page {
	t := m.b.here()
	if gfp == GFP_KERNEL {
		m.mightSleep(t, "alloc_page")
	}
	if m.AllocFails("page") {
		return nil
	}
	m.mem.lock(m)
	var p *Page
	if n := len(m.freePages); n > 0 {
		p = m.freePages[n-1]
		m.freePages = m.freePages[:n-1]
		p.c.acquire()
	} else {
		p = new(Page)
		if m.sim != nil {
			m.pages = append(m.pages, p) // for the runs to come
		}
	}
	m.mem.unlock(m)
	if m.rec != nil {
		m.rec.owns(&p.Obj, p)
	}
	m.track(&p.Obj, "page", t)
	p.ref.Init(&p.Obj, "page._count")
	return p
}

// Get takes a reference. C: get_page, include/linux/mm.h.
//
//go:norace
func (p *Page) Get() { p.ref.Get() }

// Put drops a reference and frees the page with the last. Any context. C: put_page, mm/swap.c.
//
//go:norace
func (p *Page) Put() {
	if p.ref.a.AddReturn(-1) > 0 {
		return
	}
	m := p.m
	t := m.b.here()
	m.b.note(t, OpFree, &p.c, 0)
	m.untrack(&p.Obj, t)
	if m.sim != nil || m.opt.ReusePages {
		p.c.merge()
		m.mem.lock(m)
		m.freePages = append(m.freePages, p)
		m.mem.unlock(m)
	}
}

// Scribble overwrites the contents of pages, nil for none, as their next user would: who must not count on them any more
// shows if he does. For tests and fuzzers; it is no visible operation, and the race detector does not see it.
//
//go:norace
func Scribble(pages []*Page) {
	for _, p := range pages {
		if p != nil {
			for i := range p.Data {
				p.Data[i] = 0xa5
			}
		}
	}
}

// ordinal counts the objects of a class in this run. m.mem is held.
//
//go:norace
func (m *Machine) ordinal(class string) int {
	for i := range m.classes {
		if m.classes[i].name == class {
			m.classes[i].n++
			return m.classes[i].n
		}
	}
	m.classes = append(m.classes, classCount{class, 1})
	return 1
}

type classCount struct {
	name string
	n    int
}

//go:norace
func (m *Machine) useAfterFree(t *Task, k OpKind, c *cell) {
	if m.sim != nil {
		m.sim.attempted(k, c)
	}
	m.Report(&Finding{
		Oracle: "use-after-free",
		Title:  fmt.Sprintf("%s of %s in freed %s", k, c.name, c.o.class),
		Text:   fmt.Sprintf("%s was freed by %s", c.o.Name(), c.o.freer),
		Fatal:  true,
	})
}
