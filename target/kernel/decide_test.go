// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"reflect"
	"testing"
)

// decider runs tasks like a random chooser and answers decisions from a table; it notes what it was asked.
type decider struct {
	randomChooser
	answers map[string]int // by "kind task nth"
	asked   []string
}

func newDecider(seed int, answers map[string]int) *decider {
	return &decider{randomChooser: randomChooser{seeded(seed)}, answers: answers}
}

func (d *decider) Decide(q *Decision) int {
	name := "-"
	if q.Task != nil {
		name = q.Task.Name()
	}
	key := fmt.Sprintf("%s %s %d", q.Kind, name, q.Nth)
	d.asked = append(d.asked, fmt.Sprintf("%s of %d", key, q.N))
	return d.answers[key]
}

// allOf is a budget of n for every kind.
func allOf(n int) (f [DecisionKinds]int) {
	for k := range f {
		f[k] = n
	}
	return f
}

// decided runs main with the answers and returns what was decided.
func decided(t *testing.T, answers map[string]int, main func(cur *Task)) []Decided {
	t.Helper()
	m := NewSim()
	defer m.Close()
	r := m.Run(newDecider(1, answers), Options{Faults: allOf(9)}, "main", main)
	wantClean(t, "", r)
	return r.Decisions
}

func TestDecideAlloc(t *testing.T) {
	var got [3]bool
	d := decided(t, map[string]int{"alloc main 2": 1}, func(cur *Task) {
		for i := range got {
			b := Kzalloc[box](cur.m, fmt.Sprint("box", i), GFP_KERNEL)
			got[i] = b != nil
			Kfree(b)
		}
	})
	want := []Decided{{Kind: DecideAlloc, Task: "main", Index: 0, Nth: 2, N: 2, Value: 1, Step: 3, Site: "box1"}}
	if got != [3]bool{true, false, true} || !reflect.DeepEqual(d, want) {
		t.Errorf("%v, decided %+v", got, d)
	}
}

// A sleep ends by the clock although another task can run all the time; without the decision it cannot.
func TestDecideTimer(t *testing.T) {
	for _, early := range []int{0, 1} {
		var order string
		decided(t, map[string]int{"timer sleeper 1": early}, func(cur *Task) {
			var woke Jiffies
			sleeper := cur.m.Spawn(cur, "sleeper", func(cur *Task) {
				Msleep(cur, 50)
				woke = cur.m.Jiffies()
			})
			for i := 0; i < 200 && !sleeper.Exited(); i++ {
				CondResched(cur)
			}
			done := sleeper.Exited()
			Join(cur, sleeper)
			order = fmt.Sprintf("done meanwhile %t, slept until %d", done, woke)
		})
		if want := fmt.Sprintf("done meanwhile %t, slept until 51", early == 1); order != want {
			t.Errorf("early %d: %q", early, order)
		}
	}
}

// A timer that goes off early runs while others do; one that has been deleted meanwhile does not.
func TestDecideTimerOfTimers(t *testing.T) {
	m := NewSim()
	defer m.Close()
	fired, deleted := 0, 0
	for seed := range 200 {
		var n, clock int
		r := m.Run(newDecider(seed, map[string]int{"timer main 1": 1}), Options{Faults: allOf(9)}, "main", func(cur *Task) {
			b := StaticObj[struct {
				Obj
				tm Timer
			}](m, "box")
			b.tm.Init(&b.Obj, "timer", func() { n++ })
			b.tm.Mod(1000)
			CondResched(cur)
			CondResched(cur)
			if b.tm.DelSync(cur) {
				deleted++
			}
			clock = int(m.Jiffies())
		})
		wantClean(t, "", r)
		fired += n
		if n > 1 || n == 1 && clock != 1000 || n == 0 && clock != 0 {
			t.Fatalf("seed %d: fired %d times, the clock is at %d", seed, n, clock)
		}
	}
	if fired == 0 || deleted == 0 || fired+deleted != 200 {
		t.Errorf("fired %d, deleted %d", fired, deleted)
	}
}

func TestDecideSpurious(t *testing.T) {
	for _, v := range []int{0, 1} {
		var woken []string
		decided(t, map[string]int{"spurious k 1": v}, func(cur *Task) {
			k := cur.m.KthreadRun(cur, func(cur *Task, _ any) int {
				for {
					cur.SetCurrentState(TASK_INTERRUPTIBLE)
					if cur.KthreadShouldStop() {
						cur.SetCurrentState(TASK_RUNNING)
						return 0
					}
					Schedule(cur)
					woken = append(woken, fmt.Sprint(cur.m.Jiffies()))
				}
			}, nil, "k")
			Msleep(cur, 10)
			KthreadStop(cur, k)
		})
		if want := [][]string{{"11"}, {"0", "11"}}[v]; !reflect.DeepEqual(woken, want) {
			t.Errorf("%d: woken at %v", v, woken)
		}
	}
}

func TestDecideRcu(t *testing.T) {
	for _, v := range []int{0, 1} {
		var at Jiffies
		decided(t, map[string]int{"rcu main 1": v}, func(cur *Task) {
			cur.m.SynchronizeRcu(cur)
			at = cur.m.Jiffies()
		})
		if at != Jiffies(v) {
			t.Errorf("%d: the grace period was over at %d", v, at)
		}
	}
}

func TestDecideSignal(t *testing.T) {
	for v, want := range []uint64{0, 1 << SIGINT, 1 << SIGKILL} {
		var got uint64
		d := decided(t, map[string]int{"signal k 1": v}, func(cur *Task) {
			k := cur.m.KthreadRun(cur, func(cur *Task, _ any) int {
				cur.AllowSignal(SIGKILL)
				cur.AllowSignal(SIGINT)
				if cur.SignalPending() {
					got = cur.pending
				}
				for !cur.KthreadShouldStop() {
					Msleep(cur, 1)
				}
				return 0
			}, nil, "k")
			Msleep(cur, 10)
			KthreadStop(cur, k)
		})
		if got != want || len(d) != min(v, 1) {
			t.Errorf("%d: pending %x, decided %+v", v, got, d)
		}
	}
}

// The chooser is asked as often as the budget says, decisions are named alike in every interleaving, and a kind that
// is off is not asked about.
func TestDecisions(t *testing.T) {
	m := NewSim()
	defer m.Close()
	main := func(cur *Task) {
		child := func(cur *Task) {
			for range 3 {
				Kfree(Kzalloc[box](m, "box", GFP_KERNEL))
			}
		}
		a, b := m.Spawn(cur, "a", child), m.Spawn(cur, "b", child)
		Join(cur, a)
		Join(cur, b)
	}
	answers := map[string]int{"alloc b 2": 1, "alloc b 3": 1}
	for seed := range 50 {
		var opt Options
		opt.Faults[DecideAlloc] = 1
		d := newDecider(seed, answers)
		r := m.Run(d, opt, "main", main)
		wantClean(t, "", r)
		if len(r.Decisions) != 1 || r.Decisions[0].Task != "b" || r.Decisions[0].Nth != 2 {
			t.Fatalf("seed %d: decided %+v", seed, r.Decisions)
		}
		hash := r.Hash
		if again := m.Run(newDecider(seed, answers), opt, "main", main); again.Hash != hash {
			t.Fatalf("seed %d: another run", seed)
		}
		if plain := m.Run(newDecider(seed, nil), opt, "main", main); plain.Hash == hash {
			t.Fatalf("seed %d: the trace hash does not tell the decision", seed)
		}
		d.asked = nil
		if r := m.Run(d, Options{}, "main", main); len(d.asked) > 0 || len(r.Decisions) > 0 {
			t.Fatalf("seed %d: asked %v with all kinds off", seed, d.asked)
		}
		if r := m.Run(random(seed), opt, "main", main); len(r.Decisions) > 0 {
			t.Fatalf("seed %d: a chooser that does not decide has decided %+v", seed, r.Decisions)
		}
	}
}

// alternate gives everybody a turn.
type alternate struct{ last int }

func (a *alternate) Pick(c *Choice) *Task {
	var next *Task
	for _, t := range c.Runnable {
		if d, e := t.Index()-a.last, 0; next == nil {
			next = t
		} else {
			e = next.Index() - a.last
			if d > 0 && (e <= 0 || d < e) || d <= 0 && e <= 0 && d < e {
				next = t
			}
		}
	}
	a.last = next.Index()
	return next
}

func TestRound(t *testing.T) {
	for _, c := range []struct {
		ch           Chooser
		every, least int
	}{{&alternate{}, 0, 45}, {&alternate{}, 10, 4}, {lazyChooser{}, 1, 1}} {
		calls := 0
		m := NewSim()
		defer m.Close()
		opt := Options{Rounds: func() { calls++ }, RoundsEvery: c.every}
		r := m.Run(c.ch, opt, "main", func(cur *Task) {
			body := func(cur *Task) {
				for range 50 {
					CondResched(cur)
				}
			}
			a, b := m.Spawn(cur, "a", body), m.Spawn(cur, "b", body)
			Join(cur, a)
			Join(cur, b)
		})
		wantClean(t, "", r)
		// A task that runs alone is a round a step: only the stretch with both of them tells the choosers apart.
		if raceEnabled {
			c.least = 0
		}
		if calls < c.least || calls > r.Steps/max(c.every, 1) {
			t.Errorf("%T: %d calls, one for %d rounds, in %d steps", c.ch, calls, c.every, r.Steps)
		}
	}
}

// A bare program has no operation but those that it names, and its tasks have announced the first when they exist.
func TestBare(t *testing.T) {
	m := NewSim()
	defer m.Close()
	type cells struct {
		Obj
		a  Atomic
		tk Token
	}
	var x cells
	var announced []string
	run := func(ch Chooser, opt Options) *Result {
		return m.RunBare(ch, opt, "S", func(cur *Task) {
			Bind(m, &x.Obj, "x")
			x.a.Init(&x.Obj, "a")
			x.tk.Init(&x.Obj, "token")
			child := m.Go(cur, "T", func(*Task) {
				x.tk.Park()
				x.a.Inc()
			})
			k, _ := child.Pending()
			announced = append(announced, fmt.Sprint(k, child.Runnable()))
			x.a.Inc()
			x.tk.Unpark()
			x.tk.Unpark()
			WaitGone(cur, child)
		})
	}
	m.LogAccesses()
	seen := map[string]bool{}
	for seed := range 200 {
		r := run(random(seed), Options{Record: seed == 0})
		wantClean(t, "", r)
		if r.Steps != 7 || !raceEnabled && len(m.Steps()) != 7 {
			t.Fatalf("seed %d: %d operations in %d steps", seed, r.Steps, len(m.Steps()))
		}
		order := ""
		for _, s := range m.Steps() {
			order += r.Tasks[s.Task]
		}
		seen[order] = true
		if raceEnabled {
			continue
		}
		if announced[seed] != "wait false" {
			t.Fatalf("seed %d: T is announced as %s", seed, announced[seed])
		}
	}
	// S spawns, adds and unparks; then T's two operations and S's second unpark come in any order, and S joins last.
	if !raceEnabled && len(seen) != 3 {
		t.Errorf("orders %v", seen)
	}
}
