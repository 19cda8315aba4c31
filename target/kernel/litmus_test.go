// SPDX-License-Identifier: MIT

//go:build !race

package kernel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Litmus tests are races on purpose, and Go's detector says so; hence the build tag.

// litmus is a small parallel program on three cells that are 0 at first: each thread is a list of operations, "x=1" to
// store, "x" to load, and those of litmusOps. What an operation reads, it returns.
type litmus []string

// shared is what the threads of a litmus test work on.
type shared struct {
	Obj
	v  [3]Var[int]
	n  Atomic
	fl Flags
	sl Spinlock
}

func (w *shared) init(m *Machine) {
	Bind(m, &w.Obj, "shared")
	for i := range w.v {
		w.v[i].Init(&w.Obj, "xyz"[i:i+1])
		w.v[i].Preset(0)
	}
	w.n.Init(&w.Obj, "n")
	w.fl.Init(&w.Obj, "fl", nil)
	w.sl.Init(&w.Obj, "sl")
}

var litmusOps = map[string]func(cur *Task, w *shared) string{
	"mb":            func(cur *Task, _ *shared) string { cur.m.SmpMb(); return "" },
	"wmb":           func(cur *Task, _ *shared) string { cur.m.SmpWmb(); return "" },
	"rmb":           func(cur *Task, _ *shared) string { cur.m.SmpRmb(); return "" },
	"inc":           func(_ *Task, w *shared) string { w.n.Inc(); return "" },
	"add":           func(_ *Task, w *shared) string { w.n.AddReturn(1); return "" },
	"n":             func(_ *Task, w *shared) string { return fmt.Sprint(w.n.Read()) },
	"set":           func(_ *Task, w *shared) string { w.fl.SetBit(0); return "" },
	"tas":           func(_ *Task, w *shared) string { w.fl.TestAndSetBit(0); return "" },
	"lock":          func(_ *Task, w *shared) string { w.sl.Lock(); return "" },
	"unlock":        func(_ *Task, w *shared) string { w.sl.Unlock(); return "" },
	"state":         func(cur *Task, _ *shared) string { cur.SetCurrentState(TASK_RUNNING); return "" },
	"state-relaxed": func(cur *Task, _ *shared) string { cur.SetCurrentStateRelaxed(TASK_RUNNING); return "" },
	"bit": func(_ *Task, w *shared) string {
		if w.fl.TestBit(0) {
			return "1"
		}
		return "0"
	},
}

// perform performs one operation and returns what it read.
func (w *shared) perform(cur *Task, op string) string {
	if f := litmusOps[op]; f != nil {
		return f(cur, w)
	}
	v := &w.v[strings.IndexByte("xyz", op[0])]
	if len(op) == 1 {
		return fmt.Sprint(v.Load())
	}
	v.Store(int(op[2] - '0'))
	return ""
}

// outcomes runs the program in every interleaving. An outcome is what each thread read, and what is in memory at the
// end.
func (l litmus) outcomes(t *testing.T, opt Options) map[string]int {
	t.Helper()
	m := NewSim()
	defer m.Close()
	var w shared
	got := map[string]int{}
	for d := (&dfs{}); d.next(); {
		read := make([]string, len(l))
		r := m.RunBare(d, opt, "S", func(cur *Task) {
			w.init(m)
			var ts []*Task
			for i, body := range l {
				ts = append(ts, m.Go(cur, fmt.Sprintf("P%d", i), func(cur *Task) {
					for op := range strings.FieldsSeq(body) {
						read[i] += w.perform(cur, op)
					}
				}))
			}
			for _, task := range ts {
				WaitGone(cur, task)
			}
		})
		if f := r.Worst(); f != nil {
			t.Fatalf("%v: %v\n%s", l, f, f.Text)
		}
		got[fmt.Sprintf("%s %d%d%d", strings.Join(read, "/"), w.v[0].Peek(), w.v[1].Peek(), w.v[2].Peek())]++
	}
	return got
}

// TestLitmus runs the classic litmus tests in all interleavings. weak is an outcome that sequential consistency does
// not allow; tso says whether x86 does.
func TestLitmus(t *testing.T) {
	for name, c := range map[string]struct {
		l    litmus
		weak string
		tso  bool
	}{
		"SB":               {litmus{"x=1 y", "y=1 x"}, "0/0 110", true},
		"SB+mbs":           {litmus{"x=1 mb y", "y=1 mb x"}, "0/0 110", false},
		"SB+mb+none":       {litmus{"x=1 mb y", "y=1 x"}, "0/0 110", true},
		"SB+wmbs":          {litmus{"x=1 wmb y", "y=1 wmb x"}, "0/0 110", true},
		"SB+locked":        {litmus{"x=1 inc y", "y=1 inc x"}, "0/0 110", false},
		"SB+locks":         {litmus{"x=1 lock y unlock", "y=1 lock x unlock"}, "0/0 110", false},
		"SB+unlock":        {litmus{"lock x=1 unlock y", "y=1 mb x"}, "0/0 110", true},
		"SB+unlock+mb":     {litmus{"lock x=1 unlock mb y", "y=1 mb x"}, "0/0 110", false},
		"MP+unlock":        {litmus{"lock x=1 unlock y=1", "y x"}, "/10 110", false},
		"locked+locked":    {litmus{"lock x=1 y=1 unlock", "lock y x unlock"}, "/10 110", false},
		"SB+state":         {litmus{"x=1 state y", "y=1 state x"}, "0/0 110", false},
		"SB+state-relaxed": {litmus{"x=1 state-relaxed y", "y=1 mb x"}, "0/0 110", true},
		"MP":               {litmus{"x=1 y=1", "y x"}, "/10 110", false},
		"LB":               {litmus{"x y=1", "y x=1"}, "1/1 110", false},
		"S":                {litmus{"x=2 y=1", "y x=1"}, "/1 210", false},
		"R":                {litmus{"x=1 y=1", "y=2 x"}, "/0 120", true},
		"R+mbs":            {litmus{"x=1 mb y=1", "y=2 mb x"}, "/0 120", false},
		"2+2W":             {litmus{"x=1 y=2", "y=1 x=2"}, "/ 110", false},
		"n6":               {litmus{"x=1 x y", "y=2 x=2"}, "10/ 120", true},
		"forwarding":       {litmus{"x=1 x y", "y=1 y x"}, "10/10 110", true},
		"WRC":              {litmus{"x=1", "x y=1", "y x"}, "/1/10 110", false},
		"IRIW":             {litmus{"x=1", "y=1", "x y", "y x"}, "//10/10 110", false},
		"CoRR":             {litmus{"x=1", "x x"}, "/10 100", false},
		"CoWR":             {litmus{"x=1 x", "x=2"}, "0/ 200", false},
	} {
		t.Run(name, func(t *testing.T) {
			sc, tso := c.l.outcomes(t, Options{}), c.l.outcomes(t, Options{TSO: true})
			if sc[c.weak] > 0 {
				t.Errorf("%s without store buffers", c.weak)
			}
			if got := tso[c.weak] > 0; got != c.tso {
				t.Errorf("%s with store buffers: %t, want %t: %v", c.weak, got, c.tso, tso)
			}
			for o := range sc {
				if tso[o] == 0 {
					t.Errorf("%s is lost with store buffers: %v", o, slices.Sorted(maps.Keys(tso)))
				}
			}
		})
	}
}

// TestWeakAtomics: bits and counters without a result wait in the buffer only where the machine is told so, and are
// seen by their own task at once.
func TestWeakAtomics(t *testing.T) {
	for name, c := range map[string]struct {
		l    litmus
		out  string
		weak bool
	}{
		"SB+set_bit":              {litmus{"set y", "y=1 mb bit"}, "0/0 010", true},
		"SB+set_bit+mb":           {litmus{"set mb y", "y=1 mb bit"}, "0/0 010", false},
		"SB+test_and_set_bit":     {litmus{"tas y", "y=1 mb bit"}, "0/0 010", false},
		"SB+atomic_inc":           {litmus{"inc y", "y=1 mb n"}, "0/0 010", true},
		"SB+atomic_add_return":    {litmus{"add y", "y=1 mb n"}, "0/0 010", false},
		"forwarding of a bit":     {litmus{"set bit y", "y=1 mb bit"}, "10/0 010", true},
		"forwarding of a counter": {litmus{"inc n y", "y=1 mb n"}, "10/0 010", true},
		"MP of a bit":             {litmus{"x=1 set", "bit x"}, "/10 100", false},
		"counters add up":         {litmus{"inc inc mb n", "inc"}, "1/ 000", false},
	} {
		tso, weak := c.l.outcomes(t, Options{TSO: true}), c.l.outcomes(t, Options{TSO: true, WeakAtomics: true})
		if tso[c.out] > 0 || weak[c.out] > 0 != c.weak {
			t.Errorf("%s: %s on x86 %d times, weaker %d times, want %t: %v", name, c.out, tso[c.out], weak[c.out], c.weak, weak)
		}
	}
}
