// SPDX-License-Identifier: MIT

//go:build !race

// The machine here races on purpose.

package kernel

import (
	"fmt"
	"strings"
	"testing"
)

// slate is what two tasks write on.
type slate struct {
	Obj
	x    Var[int]
	fl   Flags
	lock Mutex
}

// racing has two tasks of one name; b is the value that the first one sees.
func racing(seen *int) func(cur *Task) {
	return func(cur *Task) {
		m := cur.Machine()
		s := StaticObj[slate](m, "slate")
		s.x.Init(&s.Obj, "x")
		s.fl.Init(&s.Obj, "fl", []string{"", "READY"})
		s.lock.Init(&s.Obj, "lock")
		reader := func(me *int) func(cur *Task) {
			return func(cur *Task) {
				s.lock.Lock(cur)
				s.lock.Unlock(cur)
				v := s.x.Load()
				if me != nil {
					*me = v
				}
				s.fl.SetBit(0)
			}
		}
		one := m.Spawn(cur, "reader", reader(seen))
		two := m.Spawn(cur, "reader", reader(nil))
		w := m.Spawn(cur, "writer", func(*Task) {
			s.x.Store(1)
			s.fl.SetBit(1)
			s.x.Store(2)
		})
		for _, t := range []*Task{one, two, w} {
			Join(cur, t)
		}
	}
}

func before(t *testing.T, first, then string) Before {
	t.Helper()
	var ops [2]OpName
	for i, text := range []string{first, then} {
		var err error
		if ops[i], err = ParseOpName(text); err != nil || ops[i].String() != text {
			t.Fatalf("%q becomes %q: %v", text, ops[i], err)
		}
	}
	return Before{ops[0], ops[1]}
}

// holding goes on with the youngest task that is not held back, with any if all are.
type holding struct{}

func (holding) Pick(c *Choice) *Task {
	var best *Task
	for _, t := range c.Runnable {
		if !t.Held() && (best == nil || t.Index() > best.Index()) {
			best = t
		}
	}
	if best == nil {
		return c.Runnable[0]
	}
	return best
}

// On both back ends the order decides what the reader sees.
func TestOrderIsKept(t *testing.T) {
	for want, order := range map[int][]Before{
		0: {before(t, "reader.load(x)#1", "writer.store(x)#1")},
		1: {before(t, "writer.set_bit(fl.READY)#1", "reader.load(x)#1"), before(t, "reader.load(x)#1", "writer.store(x)#2")},
		2: {before(t, "writer.store(x)#2", "reader.mutex_lock(lock)#1")},
	} {
		// Whatever comes of the other reader, whose bit has no name of its own.
		order = append(order, before(t, "reader.set_bit(fl.0)#1", "reader/2.mutex_lock(lock)#1"))
		seen := -1
		m := NewSim()
		res := m.Run(holding{}, Options{Order: order, NameOps: true}, "main", racing(&seen))
		m.Close()
		if seen != want || len(res.Unmet) > 0 || res.Worst() != nil {
			t.Errorf("sim: the reader sees %d, want %d; unmet %v, finding %v", seen, want, res.Unmet, res.Worst())
		}
		var names []string
		for _, o := range res.Ops {
			names = append(names, o.String())
		}
		for _, b := range order {
			text := strings.Join(names, " ") + " "
			i, j := strings.Index(text, b.First.String()+" "), strings.Index(text, b.Then.String()+" ")
			if i < 0 || j < i {
				t.Errorf("%s does not hold in %s", b, text)
			}
		}
		for range 20 {
			seen := -1
			res := NewFree().Run(nil, Options{Order: order, Hold: 2000}, "main", racing(&seen))
			if seen != want || len(res.Unmet) > 0 || res.Worst() != nil {
				t.Errorf("free: the reader sees %d, want %d; unmet %v, finding %v", seen, want, res.Unmet, res.Worst())
			}
		}
	}
}

// What cannot be kept is let go, and told.
func TestOrderLetsGo(t *testing.T) {
	order := []Before{
		before(t, "reader.load(x)#1", "writer.store(x)#1"),
		before(t, "writer.store(x)#2", "reader.mutex_lock(lock)#1"),
	}
	seen := 0
	m := NewSim()
	defer m.Close()
	for back, res := range map[string]*Result{
		"sim":  m.Run(holding{}, Options{Order: order}, "main", racing(&seen)),
		"free": NewFree().Run(nil, Options{Order: order, Hold: 500}, "main", racing(&seen)),
	} {
		if len(res.Unmet) != 1 || res.Worst() != nil {
			t.Errorf("%s: unmet %v, finding %v", back, res.Unmet, res.Worst())
		}
	}
}

// What tasks were about to do when the run was ended has a name as well.
func TestOpsOfAnEndedRun(t *testing.T) {
	m := NewSim()
	defer m.Close()
	res := m.Run(holding{}, Options{NameOps: true}, "main", func(cur *Task) {
		s := StaticObj[slate](m, "slate")
		s.x.Init(&s.Obj, "x")
		s.lock.Init(&s.Obj, "lock")
		s.fl.Init(&s.Obj, "fl", nil)
		s.lock.Lock(cur)
		m.Spawn(cur, "waits", func(cur *Task) { s.x.Load(); s.lock.Lock(cur) })
		s.fl.TestBit(3)
		m.BugOn(true, "enough")
	})
	var pending []string
	for _, o := range res.Ops {
		if o.Pending {
			pending = append(pending, o.String())
		}
	}
	if got := fmt.Sprint(pending); got != "[waits.mutex_lock(lock)#1]" {
		t.Errorf("pending %s", got)
	}
}
