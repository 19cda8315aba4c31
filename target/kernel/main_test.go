// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rnd is a small generator of its own, so that a seed means the same in every Go version.
type rnd struct{ x uint64 }

func seeded(seed int) rnd { return rnd{mix(uint64(seed)+1) | 1} }

func (r *rnd) next(n int) int {
	r.x ^= r.x << 13
	r.x ^= r.x >> 7
	r.x ^= r.x << 17
	return int((r.x >> 33) % uint64(n))
}

// randomChooser picks anybody.
type randomChooser struct{ rnd }

func (r *randomChooser) Pick(c *Choice) *Task { return c.Runnable[r.next(len(c.Runnable))] }

func random(seed int) *randomChooser { return &randomChooser{seeded(seed)} }

// lazyChooser lets a task run on until it sleeps, then takes the oldest.
type lazyChooser struct{}

func (lazyChooser) Pick(c *Choice) *Task {
	if c.Cur != nil {
		return c.Cur
	}
	return oldest(c.Runnable)
}

func oldest(ts []*Task) *Task {
	best := ts[0]
	for _, t := range ts {
		if t.Index() < best.Index() {
			best = t
		}
	}
	return best
}

// dfs enumerates all schedules of a program, from the moment on when the first task of the program sleeps: it
// has made the others by then, and nothing of interest has happened.
type dfs struct {
	bound int // preemptions, 0 for no bound
	path  []dfsChoice
	depth int
	used  int
	begun bool
	open  bool
}

type dfsChoice struct {
	key     [3]uint64 // the state, who ran last, and how many preemptions are spent
	options []int
	cur     int // index of who ran last, -1 if it cannot go on
	pos     int
}

func (d *dfs) next() bool {
	if d.begun {
		for len(d.path) > 0 {
			last := &d.path[len(d.path)-1]
			if last.pos++; last.pos < len(last.options) {
				break
			}
			d.path = d.path[:len(d.path)-1]
		}
		if len(d.path) == 0 {
			return false
		}
	}
	d.begun, d.depth, d.open, d.used = true, 0, false, 0
	return true
}

func (d *dfs) Pick(c *Choice) *Task {
	if d.open = d.open || c.Cur == nil; !d.open {
		return c.Cur
	}
	if d.depth == len(d.path) {
		n := dfsChoice{key: [3]uint64{c.State, 0, uint64(d.used)}, cur: -1}
		if c.Cur != nil {
			n.key[1], n.cur = c.Cur.Path(), c.Cur.Index()
		}
		for _, t := range c.Runnable {
			if c.Cur == nil || t == c.Cur || d.bound == 0 || d.used < d.bound {
				n.options = append(n.options, t.Index())
			}
		}
		for i := range n.options { // in order of creation, whatever the order in Runnable
			for j := i; j > 0 && n.options[j] < n.options[j-1]; j-- {
				n.options[j], n.options[j-1] = n.options[j-1], n.options[j]
			}
		}
		d.path = append(d.path, n)
	}
	n := &d.path[d.depth]
	d.depth++
	if d.bound != 0 && n.cur >= 0 && n.options[n.pos] != n.cur {
		d.used++
	}
	for _, t := range c.Runnable {
		if t.Index() == n.options[n.pos] {
			return t
		}
	}
	panic("a prefix did not repeat")
}

// simClean runs main under n seeds and wants no finding.
func simClean(t *testing.T, n int, main func(cur *Task)) {
	t.Helper()
	m := NewSim()
	defer m.Close()
	for seed := range n {
		wantClean(t, fmt.Sprintf("sim, seed %d", seed), m.Run(random(seed), Options{}, "main", main))
	}
}

// clean runs main on both back ends, under n seeds in sim and some on real goroutines, and wants no finding.
func clean(t *testing.T, n int, main func(cur *Task)) {
	t.Helper()
	t.Run("sim", func(t *testing.T) { simClean(t, n, main) })
	t.Run("free", func(t *testing.T) {
		for seed := range min(n, 8) {
			wantClean(t, fmt.Sprintf("free, seed %d", seed), runFree(seed, main))
		}
	})
}

// runFree runs main on a machine of the free back end whose seconds last a tenth.
func runFree(seed int, main func(cur *Task)) *Result {
	opt := Options{Seed: uint64(seed), Noise: 1 << 12, TimeScale: 10, Watchdog: 20_000}
	return NewFree().Run(nil, opt, "main", main)
}

func wantClean(t *testing.T, where string, r *Result) {
	t.Helper()
	if f := r.Worst(); f != nil {
		t.Fatalf("%s: %v\n%s", where, f, f.Text)
	}
	if r.Live != 0 {
		t.Fatalf("%s: %d objects are left", where, r.Live)
	}
}

// found runs main under all of n seeds and returns the first finding of the oracle whose title has the words
// in it. Other findings are errors. must says that every seed has to have it.
func found(t *testing.T, n int, must bool, opt Options, oracle, words string, main func(cur *Task)) *Finding {
	t.Helper()
	m := NewSim()
	defer m.Close()
	var first *Finding
	for seed := range n {
		r := m.Run(random(seed), opt, "main", main)
		f := r.Worst()
		if f == nil {
			if must {
				t.Fatalf("seed %d: no finding, want %s: %s", seed, oracle, words)
			}
			continue
		}
		if f.Oracle != oracle || !strings.Contains(f.Title, words) {
			t.Fatalf("seed %d: got %v, want %s: %s\n%s", seed, f, oracle, words, f.Text)
		}
		if first == nil {
			first = f
		}
	}
	if first == nil {
		t.Fatalf("%d seeds without %s: %s", n, oracle, words)
	}
	return first
}

// always is found for a program that fails in every schedule, sim and free.
func always(t *testing.T, oracle, words string, main func(cur *Task)) *Finding {
	t.Helper()
	f := found(t, 20, true, Options{}, oracle, words, main)
	r := runFree(1, main)
	if g := r.Worst(); g == nil || g.Oracle != oracle || !strings.Contains(g.Title, words) {
		t.Fatalf("free: got %v, want %s: %s", g, oracle, words)
	}
	return f
}

// box is an object with one of each of the common cells.
type box struct {
	Obj
	n    Atomic
	x    Var[int]
	task Var[*Task]
	mu   Mutex
	sl   Spinlock
	fl   Flags
	wq   WaitQueueHead
	done Completion
	irq  Softirq
	ref  Kref
	list List[item]
}

type item struct {
	Obj
	node Node[item]
	x    Var[int]
	next *item // a plain pointer
}

func (i *item) Poison() { i.next = nil }

func newBox(m *Machine) *box {
	b := Kzalloc[box](m, "box", GFP_ATOMIC)
	b.init()
	return b
}

func (b *box) init() {
	b.n.Init(&b.Obj, "n")
	b.x.Init(&b.Obj, "x")
	b.task.Init(&b.Obj, "task")
	b.mu.Init(&b.Obj, "mu")
	b.sl.Init(&b.Obj, "sl")
	b.fl.Init(&b.Obj, "fl", []string{"A", "B"})
	b.wq.Init(&b.Obj, "wq")
	b.done.Init(&b.Obj, "done")
	b.irq.Init(&b.Obj, "irq")
	b.ref.Init(&b.Obj, "ref")
	b.list.Init(&b.Obj, "list")
}

func newItem(m *Machine) *item {
	i := Kzalloc[item](m, "item", GFP_ATOMIC)
	i.node.Init(i)
	i.x.Init(&i.Obj, "item.x")
	return i
}

// spawn starts actors named a, b, c... and returns a function that joins them.
func spawn(cur *Task, bodies ...func(cur *Task)) func() {
	var ts []*Task
	for i, body := range bodies {
		ts = append(ts, cur.Machine().Spawn(cur, string(rune('a'+i)), body))
	}
	return func() {
		for _, t := range ts {
			Join(cur, t)
		}
	}
}

// diary is a list that all tasks write to; its lock is no part of the machine.
type diary struct {
	mu sync.Mutex
	s  []string
}

func (d *diary) add(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.s = append(d.s, s)
}

// read returns what was written, with spaces between.
func (d *diary) read() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.s, " ")
}

func (d *diary) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.s = nil
}

// until sleeps until cond holds, looking now and then: for tests, which must not depend on the primitive that
// they test.
func until(cur *Task, cond func() bool) {
	for !cond() {
		Msleep(cur, 1)
	}
}

// forever sleeps until the run is ended: for a finding that a timer or a grace period brings, however late.
func forever(cur *Task) { until(cur, func() bool { return false }) }
