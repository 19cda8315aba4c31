// SPDX-License-Identifier: MIT

package kernel

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// outside is a poller whose events are functions.
type outside struct {
	q      Softirq
	events chan func()
	kicks  chan struct{}
	idle   atomic.Int64 // calls of Idle
	inside atomic.Int64 // goroutines in Poll
	most   atomic.Int64
}

func newOutside(o *Obj) *outside {
	p := &outside{events: make(chan func(), 64), kicks: make(chan struct{}, 1)}
	p.q.Init(o, "outside")
	return p
}

type fnEvent func()

func (f fnEvent) Softirq(uint32) { f() }

func (p *outside) Poll(wait bool) {
	if n := p.inside.Add(1); n > p.most.Load() {
		p.most.Store(n)
	}
	defer p.inside.Add(-1)
	if !wait {
		select {
		case fn := <-p.events:
			p.q.Run(fnEvent(fn), 0)
		default:
		}
		return
	}
	select {
	case fn := <-p.events:
		p.q.Run(fnEvent(fn), 0)
	case <-p.kicks:
	}
}

func (p *outside) Kick() {
	select {
	case p.kicks <- struct{}{}:
	default:
	}
}

func (p *outside) Idle()      { p.idle.Add(1) }
func (p *outside) Tick() bool { return false }

// polled runs fn on a machine with a poller.
func polled(t *testing.T, fn func(cur *Task, p *outside)) *Result {
	t.Helper()
	m := NewFree()
	defer m.Close()
	return m.Run(nil, Options{}, "main", func(cur *Task) {
		p := newOutside(&m.static)
		defer m.Attach("outside", p)()
		fn(cur, p)
		if p.most.Load() > 1 {
			t.Errorf("%d goroutines polled at a time", p.most.Load())
		}
	})
}

// A task that sleeps takes the event that wakes it itself, in softirq context.
func TestPollerWakesItself(t *testing.T) {
	r := polled(t, func(cur *Task, p *outside) {
		var x Completion
		x.Init(&cur.m.static, "x")
		for range 100 {
			p.events <- func() {
				if run := cur.m.b.here(); !run.IsSoftirq() || run.Name() != "softirq/outside" {
					t.Errorf("the softirq runs as %s", run.Name())
				}
				x.Complete()
			}
			x.Wait(cur)
		}
		if p.idle.Load() == 0 {
			t.Errorf("the poller was not told of sleepers")
		}
	})
	for _, f := range r.Findings {
		t.Error(f, f.Text)
	}
}

// Whoever polls is woken by other tasks and by timeouts, too; and who sleeps while another polls is woken by events.
func TestPollerHandsOver(t *testing.T) {
	r := polled(t, func(cur *Task, p *outside) {
		var ping, pong, start Completion
		for name, x := range map[string]*Completion{"ping": &ping, "pong": &pong, "start": &start} {
			x.Init(&cur.m.static, name)
		}
		other := cur.m.Spawn(cur, "other", func(cur *Task) {
			for range 200 {
				ping.Wait(cur)
				p.events <- pong.Complete
			}
			start.Wait(cur)
		})
		for i := range 200 {
			if i%2 == 0 {
				ping.Complete()
			} else {
				p.events <- ping.Complete
			}
			pong.Wait(cur)
			if i%50 == 0 {
				Msleep(cur, 1)
			}
		}
		start.Complete()
		Join(cur, other)
	})
	for _, f := range r.Findings {
		t.Error(f, f.Text)
	}
}

// With nobody asleep, a task that offers the processor looks for events, and the daemon does when none does.
func TestPollerWhileBusy(t *testing.T) {
	polled(t, func(cur *Task, p *outside) {
		var n atomic.Int64
		p.events <- func() { n.Add(1) }
		for n.Load() == 0 {
			CondResched(cur)
		}
		p.events <- func() { n.Add(1) }
		cur.m.Block(cur, func(dead <-chan struct{}) {
			for n.Load() == 1 {
				time.Sleep(time.Millisecond)
			}
		})
	})
}

// A softirq that fails ends the run with a finding of its own, whoever lent it the stack.
func TestPollerOops(t *testing.T) {
	r := polled(t, func(cur *Task, p *outside) {
		var x Completion
		x.Init(&cur.m.static, "x")
		p.events <- func() { WakeUpProcess(nil) }
		x.Wait(cur)
	})
	if len(r.Findings) == 0 || r.Findings[0].Task != "softirq/outside" ||
		!strings.Contains(r.Findings[0].Title, "NULL pointer dereference") {
		t.Errorf("%v", r.Findings)
	}
	r = polled(t, func(cur *Task, p *outside) {
		var x, y Completion
		x.Init(&cur.m.static, "x")
		y.Init(&cur.m.static, "y")
		p.events <- func() { y.Wait(cur) }
		x.Wait(cur)
	})
	if len(r.Findings) == 0 || r.Findings[0].Oracle != "sleep-in-atomic" {
		t.Errorf("%v", r.Findings)
	}
}

// A page that is freed comes back if it may, and is never used again otherwise.
func TestReusePages(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		m := NewFree()
		m.Run(nil, Options{ReusePages: reuse}, "main", func(*Task) {
			first := m.AllocPage(GFP_KERNEL)
			first.Put()
			for range 10 {
				p := m.AllocPage(GFP_KERNEL)
				if (p == first) != reuse {
					t.Errorf("reuse %t: the same page %t", reuse, p == first)
				}
				p.Put()
			}
		})
		if len(m.pages) != 0 {
			t.Errorf("reuse %t: %d pages are kept", reuse, len(m.pages))
		}
		m.Close()
	}
}
