// SPDX-License-Identifier: MIT

package kernel

import (
	"strings"
	"testing"
)

func TestKref(t *testing.T) {
	clean(t, 100, func(cur *Task) {
		b := newBox(cur.Machine())
		released := 0
		put := func(*Task) { b.ref.Put(func() { released++ }) }
		b.ref.Get()
		if !b.ref.GetUnlessZero() || b.ref.Peek() != 3 || b.ref.Read() != 3 {
			t.Errorf("%d references, want 3", b.ref.Peek())
		}
		spawn(cur, put, put, put)()
		if released != 1 {
			t.Errorf("released %d times", released)
		}
		if b.ref.GetUnlessZero() || b.ref.Peek() != 0 {
			t.Error("got a reference of a counter that is 0")
		}
		Kfree(b)
	})
	always(t, "refcount", "ref taken from zero", func(cur *Task) {
		b := newBox(cur.Machine())
		b.ref.Put(nil)
		b.ref.Get()
	})
	always(t, "refcount", "ref dropped below zero", func(cur *Task) {
		b := newBox(cur.Machine())
		if !b.ref.Put(nil) {
			t.Error("the last reference was not the last")
		}
		b.ref.Put(nil)
	})
	always(t, "refcount", "ref saturated", func(cur *Task) {
		b := newBox(cur.Machine())
		b.ref.a.Preset(krefSaturated - 1)
		b.ref.Get()
	})
}

func TestCells(t *testing.T) {
	clean(t, 20, func(cur *Task) {
		b := newBox(cur.Machine())
		b.n.Set(5)
		b.n.Add(3)
		b.n.Sub(2)
		b.n.Dec()
		if b.n.Read() != 5 || b.n.DecAndTest() || b.n.AddReturn(-3) != 1 || !b.n.DecAndTest() || b.n.Peek() != 0 {
			t.Errorf("the counter is at %d", b.n.Peek())
		}
		b.n.Preset(9)
		b.x.Preset(4)
		if b.n.Read() != 9 || b.x.Load() != 4 {
			t.Error("a preset value is not there")
		}
		b.x.Store(6)
		if b.x.Load() != 6 || b.x.Peek() != 6 {
			t.Error("a stored value is not there")
		}
		f := &b.fl
		f.SetBit(1)
		f.Preset(63)
		if !f.TestBit(1) || f.TestBit(0) || !f.TestAny(0, 1) || f.TestAny(0, 2) || !f.Peek(63) {
			t.Errorf("bits %v", f.PeekNames())
		}
		if f.TestAndSetBit(0) || !f.TestAndSetBit(0) || !f.TestAndClearBit(1) || f.TestAndClearBit(1) {
			t.Errorf("bits %v", f.PeekNames())
		}
		f.SetBit(2)
		f.ClearBit(63)
		f.ClearBit(63)
		if got := strings.Join(f.PeekNames(), " "); got != "A fl.2" {
			t.Errorf("bits %s", got)
		}
		var c Count
		c.Inc()
		c.Add(2)
		if c.Peek() != 3 {
			t.Errorf("counted %d", c.Peek())
		}
		Kfree(b)
	})
}

func TestLists(t *testing.T) {
	clean(t, 20, func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		var it [3]*item
		for i := range it {
			it[i] = newItem(m)
			it[i].x.Preset(i)
		}
		spell := func() string {
			s := ""
			for i := b.list.First(); i != nil; i = b.list.Next(&i.node) {
				s += string(rune('0' + i.x.Peek()))
			}
			peek := ""
			for _, i := range b.list.Peek() {
				peek += string(rune('0' + i.x.Peek()))
			}
			if peek != s || (s == "") != b.list.Empty() || (s == "") != (b.list.First() == nil) || (s == "") != (b.list.Last() == nil) {
				t.Errorf("the list reads %q, %q", s, peek)
			}
			return s
		}
		want := func(s string) {
			t.Helper()
			if got := spell(); got != s {
				t.Errorf("the list is %s, want %s", got, s)
			}
		}
		want("")
		b.list.AddTail(&it[1].node)
		want("1")
		b.list.Add(&it[0].node)
		b.list.AddTail(&it[2].node)
		want("012")
		b.list.MoveTail(&it[0].node)
		want("120")
		b.list.MoveTail(&it[2].node)
		want("102")
		b.list.Del(&it[0].node)
		b.list.AddBefore(&it[0].node, &it[2].node)
		want("102")
		b.list.Del(&it[1].node)
		b.list.AddBefore(&it[1].node, &it[0].node)
		want("102")
		b.list.Del(&it[0].node)
		want("12")
		if it[0].node.Linked() || !it[1].node.Linked() || b.list.Last() != it[2] {
			t.Error("who is on the list")
		}
		b.list.DelInit(&it[2].node)
		b.list.DelInit(&it[2].node)
		want("1")
		b.list.DelRcu(&it[1].node)
		want("")
		b.list.AddRcu(&it[1].node)
		n := 0
		b.list.Each(func(*item) bool { n++; return true })
		if n != 1 {
			t.Errorf("%d entries", n)
		}
		b.list.Del(&it[1].node)
		for _, i := range it {
			Kfree(i)
		}
		Kfree(b)
	})
	type world struct {
		l1, l2 *List[item]
		i, j   *item
	}
	for words, break1 := range map[string]func(w world){
		"list_add of a linked node: list":                   func(w world) { w.l1.Add(&w.i.node) },
		"list_add of a linked node: list of another":        func(w world) { w.l2.AddTail(&w.i.node) },
		"list_add of a linked node: list under rcu":         func(w world) { w.l1.AddRcu(&w.i.node) },
		"list_del of a node that is not linked: list":       func(w world) { w.l1.Del(&w.j.node) },
		"list_del of a node that is not linked: twice":      func(w world) { w.l1.Del(&w.i.node); w.l1.Del(&w.i.node) },
		"list_del of a node that is not linked: stranger":   func(w world) { w.l2.Del(&w.i.node) },
		"list_del_init of a node on another list":           func(w world) { w.l2.DelInit(&w.i.node) },
		"list_del_rcu of a node that is not linked: list":   func(w world) { w.l1.DelRcu(&w.j.node) },
		"list_del_rcu of a node that is not linked: twice":  func(w world) { w.l1.DelRcu(&w.i.node); w.l1.DelRcu(&w.i.node) },
		"list_del of a node that is not linked: after move": func(w world) { w.l1.MoveTail(&w.i.node); w.l1.MoveTail(&w.j.node) },
	} {
		title, _, _ := strings.Cut(words, ":")
		t.Run(words, func(t *testing.T) {
			always(t, "list", title, func(cur *Task) {
				m := cur.Machine()
				w := world{&newBox(m).list, &newBox(m).list, newItem(m), newItem(m)}
				w.l1.Add(&w.i.node)
				break1(w)
			})
		})
	}
	// A list with an entry whose memory is gone.
	for words, use := range map[string]func(m *Machine, l *List[item], i *item){
		"list_add":  func(m *Machine, l *List[item], _ *item) { l.Add(&newItem(m).node) },
		"list_del":  func(_ *Machine, l *List[item], i *item) { l.Del(&i.node) },
		"list_read": func(_ *Machine, l *List[item], i *item) { l.Next(&i.node) },
		"list_walk": func(m *Machine, l *List[item], i *item) { m.RcuReadLock(); l.NextRcu(&i.node) },
	} {
		t.Run("freed "+words, func(t *testing.T) {
			always(t, "use-after-free", "of list in freed item", func(cur *Task) {
				m := cur.Machine()
				b := newBox(m)
				i := newItem(m)
				b.list.Add(&i.node)
				Kfree(i) // still on the list
				use(m, &b.list, i)
			})
		})
	}
}

func TestUseAfterFree(t *testing.T) {
	for words, use := range map[string]func(cur *Task, b *box){
		"load of x in freed box":             func(_ *Task, b *box) { b.x.Load() },
		"store of x in freed box":            func(_ *Task, b *box) { b.x.Store(1) },
		"read of n in freed box":             func(_ *Task, b *box) { b.n.Read() },
		"set of n in freed box":              func(_ *Task, b *box) { b.n.Set(1) },
		"add of n in freed box":              func(_ *Task, b *box) { b.n.Inc() },
		"add of ref in freed box":            func(_ *Task, b *box) { b.ref.GetUnlessZero() },
		"set_bit of fl in freed box":         func(_ *Task, b *box) { b.fl.SetBit(1) },
		"clear_bit of fl":                    func(_ *Task, b *box) { b.fl.ClearBit(1) },
		"test_bit of fl":                     func(_ *Task, b *box) { b.fl.TestBit(1) },
		"test_and_set_bit of fl":             func(_ *Task, b *box) { b.fl.TestAndSetBit(1) },
		"test_and_clear_bit of fl":           func(_ *Task, b *box) { b.fl.TestAndClearBit(1) },
		"spin_lock of sl in freed box":       func(_ *Task, b *box) { b.sl.Lock() },
		"spin_trylock of sl in freed box":    func(_ *Task, b *box) { b.sl.TryLock() },
		"mutex_lock of mu in freed box":      func(cur *Task, b *box) { b.mu.Lock(cur) },
		"spin_trylock of mu in freed box":    func(cur *Task, b *box) { b.mu.TryLock(cur) },
		"list_add of list in freed box":      func(_ *Task, b *box) { b.list.Add(&newItem(b.m).node) },
		"list_read of list in freed box":     func(_ *Task, b *box) { b.list.Empty() },
		"wake_up_process of wq in freed box": func(_ *Task, b *box) { b.wq.WakeUp() },
		"wait of wq in freed box": func(cur *Task, b *box) {
			WaitEvent(cur, &b.wq, func() bool { return true })
		},
		"complete of done in freed box": func(_ *Task, b *box) { b.done.Complete() },
		"wait of done in freed box":     func(cur *Task, b *box) { b.done.Wait(cur) },
		"raise of irq in freed box":     func(_ *Task, b *box) { b.irq.Raise(func() {}) },
		"call_rcu of box in freed box":  func(_ *Task, b *box) { KfreeRcu(b) },
	} {
		t.Run(words, func(t *testing.T) {
			f := always(t, "use-after-free", words, func(cur *Task) {
				b := newBox(cur.Machine())
				Kfree(b)
				use(cur, b)
			})
			if !strings.Contains(f.Text, "box was freed by main") || !f.Fatal || f.Task != "main" {
				t.Errorf("%v: %s", f, f.Text)
			}
		})
	}
	always(t, "use-after-free", "spin_unlock of sl in freed box", func(cur *Task) {
		b := newBox(cur.Machine())
		b.sl.Lock()
		Kfree(b)
		b.sl.Unlock()
	})
	always(t, "use-after-free", "mutex_unlock of mu in freed box", func(cur *Task) {
		b := newBox(cur.Machine())
		b.mu.Lock(cur)
		Kfree(b)
		b.mu.Unlock(cur)
	})
	// Only some schedules: freed by one task while another still uses it.
	found(t, 100, false, Options{}, "use-after-free", "add of n in freed box", func(cur *Task) {
		b := newBox(cur.Machine())
		join := spawn(cur, func(*Task) { b.n.Inc() })
		Kfree(b)
		join()
	})
}

func TestKfree(t *testing.T) {
	f := always(t, "use-after-free", "double free of box", func(cur *Task) {
		b := newBox(cur.Machine())
		Kfree(b)
		Kfree(b)
	})
	if f.Task != "main" {
		t.Errorf("found in task %s", f.Task)
	}
	always(t, "use-after-free", "double free of item", func(cur *Task) {
		i := newItem(cur.Machine())
		KfreeRcu(i)
		KfreeRcu(i)
		forever(cur)
	})
	clean(t, 20, func(cur *Task) {
		m := cur.Machine()
		Kfree((*box)(nil))
		i := newItem(m)
		i.next = newItem(m)
		j := i.next
		if i.Freed() || len(m.LiveObjects()) != 2 || i.Name() != "item" || j.Name() != "item#2" || i.Machine() != m {
			t.Errorf("%d objects, %s and %s", len(m.LiveObjects()), i.Name(), j.Name())
		}
		Kfree(i)
		if !i.Freed() || i.next != nil {
			t.Error("the freed object was not poisoned")
		}
		if live := m.LiveObjects(); len(live) != 1 || live[0] != &j.Obj {
			t.Errorf("%d objects are left", len(live))
		}
		j.next = j
		KfreeRcu(j)
		m.SynchronizeRcu(cur)
		if !j.Freed() || j.next != nil || len(m.LiveObjects()) != 0 {
			t.Error("kfree_rcu did not free, or did not poison")
		}
		s := StaticObj[box](m, "static")
		s.init()
		s.n.Inc()
		if s.Name() != "static" || len(m.LiveObjects()) != 0 {
			t.Error("a static object counts as allocated")
		}
	})
}

func TestLeaksAreListed(t *testing.T) {
	m := NewSim()
	defer m.Close()
	var names []string
	look := func() {
		names = nil
		for _, o := range m.LiveObjects() {
			names = append(names, o.Name())
		}
	}
	r := m.Run(random(1), Options{AtEnd: look}, "main", func(*Task) {
		newBox(m)
		b := newBox(m)
		newItem(m)
		m.AllocPage(GFP_KERNEL)
		Kfree(b)
	})
	if got := strings.Join(names, " "); got != "box page item" && got != "box item page" || r.Live != 3 {
		t.Errorf("%d left: %s", r.Live, got)
	}
	if r := m.Run(random(1), Options{}, "main", func(*Task) {}); r.Live != 0 {
		t.Errorf("%d objects of the last run are left", r.Live)
	}
}

// fallible is a program with five fallible steps that copes with the failure of each.
func fallible(cur *Task) (done int) {
	m := cur.Machine()
	b := Kzalloc[box](m, "box", GFP_KERNEL)
	if b == nil {
		return 0
	}
	defer func() { Kfree(b) }()
	p := m.AllocPage(GFP_ATOMIC)
	if p == nil {
		return 1
	}
	defer p.Put()
	if m.AllocFails("bind") {
		return 2
	}
	k := m.KthreadCreate(cur, idler, nil, "k")
	if IsErr(k) {
		if PtrErr(k) != -ENOMEM || k.Name() != "ERR_PTR(-ENOMEM)" {
			panic("not the ERR_PTR of ENOMEM")
		}
		return 3
	}
	defer func() { KthreadStop(cur, k) }()
	i := Kzalloc[item](m, "item", GFP_ATOMIC)
	if i == nil {
		return 4
	}
	Kfree(i)
	return 5
}

func TestInjectedFailures(t *testing.T) {
	m := NewSim()
	defer m.Close()
	sites := []string{"", "box", "page", "bind", "kthread", "item"}
	for k := range 7 {
		done := -1
		r := m.Run(random(k), Options{FailAt: k}, "main", func(cur *Task) { done = fallible(cur) })
		wantClean(t, "sim", r)
		want, site := 5, ""
		if k > 0 && k <= 5 {
			want, site = k-1, sites[k]
		}
		if done != want || r.Failed != site || r.Fallible != min(want+1, 5) {
			t.Errorf("failure at %d: %d steps done, %q failed, %d fallible", k, done, r.Failed, r.Fallible)
		}
	}
	if IsErr(nil) {
		t.Error("NULL is no ERR_PTR")
	}
	for _, use := range []func(cur, k *Task){
		func(_, k *Task) { WakeUpProcess(k) }, func(cur, k *Task) { KthreadStop(cur, k) }, func(_, k *Task) { SendSig(1, k) },
	} {
		found(t, 3, true, Options{FailAt: 1}, "SVCFUZZ BUG", "NULL pointer dereference", func(cur *Task) {
			use(cur, cur.Machine().KthreadRun(cur, idler, nil, "k"))
		})
	}
}

func TestPages(t *testing.T) {
	clean(t, 50, func(cur *Task) {
		m := cur.Machine()
		p := m.AllocPage(GFP_KERNEL)
		if p.Data != [PageSize]byte{} {
			t.Error("the first page of a run is not blank")
		}
		p.Data[7] = 42
		p.Get()
		p.Put()
		if p.Freed() {
			t.Error("freed with a reference left")
		}
		p.Put()
		if !p.Freed() {
			t.Error("not freed with the last reference")
		}
		if q := m.AllocPage(GFP_KERNEL); m.Sim() && (q != p || q.Data[7] != 42 || q.Freed()) {
			t.Error("a page comes back with what was on it")
		} else {
			q.Put()
		}
	})
	always(t, "use-after-free", "page._count in freed page", func(cur *Task) {
		p := cur.Machine().AllocPage(GFP_KERNEL)
		p.Put()
		p.Put()
	})
}
