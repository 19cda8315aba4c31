// SPDX-License-Identifier: MIT

package explore

import (
	"reflect"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// stock is what two tasks fill and empty in the machine below.
type stock struct {
	kernel.Obj
	n kernel.Atomic
}

// storing is a machine that goes wrong only if one of its allocations fails and the other task looks before the first
// one corrects its mistake.
func storing(cur *kernel.Task) {
	m := cur.Machine()
	s := kernel.StaticObj[stock](m, "stock")
	s.n.Init(&s.Obj, "stock.n")
	fill := func(*kernel.Task) {
		for range 3 {
			s.n.Inc()
			if p := kernel.Kzalloc[stock](m, "page", kernel.GFP_KERNEL); p != nil {
				kernel.Kfree(p)
				s.n.Dec()
			}
		}
		s.n.Set(0)
	}
	filler := m.Spawn(cur, "filler", fill)
	looker := m.Spawn(cur, "looker", func(*kernel.Task) {
		for range 2 {
			m.BugOn(s.n.Read() == 2, "two are missing")
		}
	})
	kernel.Join(cur, filler)
	kernel.Join(cur, looker)
}

// failAll answers every question about an allocation with yes as long as the budget lasts.
type failAll struct{ kernel.Chooser }

func (failAll) Decide(d *kernel.Decision) int { return 1 }

// A schedule holds the decisions of its run: the file form gives the same run again, hash and all.
func TestDecisionsAreReplayed(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	opt := kernel.Options{Faults: [kernel.DecisionKinds]int{kernel.DecideAlloc: 2}}
	r := &Random{}
	for seed := range uint64(1000) {
		r.Seed(seed, 1)
		res := m.Run(failAll{r}, opt, "starter", storing)
		s := Take(res, map[string]string{"faults": BudgetsText(opt.Faults)})
		if len(s.Decisions) != 2 {
			t.Fatalf("seed %d: decisions %v", seed, s.Decisions)
		}
		title := ""
		if f := res.Worst(); f != nil {
			title = f.Title
		}
		read, err := Parse(s.Text())
		if err != nil || !reflect.DeepEqual(read, s) {
			t.Fatalf("seed %d: %v\n%s", seed, err, s.Text())
		}
		budgets, err := read.Budgets()
		if err != nil || budgets != opt.Faults {
			t.Fatalf("seed %d: budgets %v, %v", seed, budgets, err)
		}
		rep := NewReplay(read)
		again := m.Run(&Counter{Chooser: rep}, kernel.Options{Faults: budgets}, "starter", storing)
		f := again.Worst()
		if again.Hash != s.Hash || rep.Diverged != "" || s.Left(again) != "" ||
			(f == nil) != (title == "") || f != nil && f.Title != title {
			t.Fatalf("seed %d: another run: %v %s %s", seed, f, rep.Diverged, s.Left(again))
		}
	}
}

// What is left of a schedule is what the failure needs: of each ingredient that was there it says how much.
func TestShrinkSaysWhatIsNecessary(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	r := RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		return m.Run(ch, opt, "starter", storing)
	})
	opt := kernel.Options{Faults: [kernel.DecisionKinds]int{kernel.DecideAlloc: 3, kernel.DecideTimer: 1}}
	random := &Random{}
	for seed := range uint64(1000) {
		random.Seed(seed, 7)
		res := r.Run(failAll{random}, opt)
		f := res.Worst()
		if f == nil || len(res.Decisions) < 2 {
			continue
		}
		sh := Shrink(Work{Runner: r}, Take(res, nil), f, opt, Effort{Runs: 500})
		if sh.Faults != [kernel.DecisionKinds]int{kernel.DecideAlloc: 1} {
			t.Errorf("seed %d: %v faults are left", seed, sh.Faults)
		}
		want := "needs 1 preemption, 1 alloc failure, 0 early timers"
		if sh.Needs != want || sh.Options.Faults[kernel.DecideTimer] != 0 {
			t.Errorf("seed %d: %q, want %q", seed, sh.Needs, want)
		}
		return
	}
	t.Fatal("no run failed")
}

func TestScheduleForms(t *testing.T) {
	head := magic + "\nscenario: x\n\n"
	// Before there were decisions and constraints, a task might have been called like the words that begin them.
	old, err := Parse([]byte(head + "starter 3\ndecide 2\nbefore 7\nend\n"))
	want := []Segment{{"starter", 3}, {"decide", 2}, {"before", 7}}
	if err != nil || !reflect.DeepEqual(old.Segments, want) || old.Decisions != nil || old.Constraints != nil {
		t.Errorf("%v, %v", old, err)
	}
	for line, words := range map[string]string{
		"decide luck a 1 1":                     "no kind of decision; choose one of alloc",
		"decide alloc a 1":                      "KIND TASK NTH VALUE",
		"decide alloc a 0 1":                    "not both positive",
		"decide alloc a 1 x":                    "not both positive",
		"before a.load(x)#1":                    "two operations",
		"before a.jump(x)#1 b.load(x)#1":        `no operation called "jump"`,
		"before a.load(x)#1 load(x)#1":          "TASK.OPERATION(CELL)#NUMBER",
		"before a.load(x)#0 b.load(x)#1":        "not a positive number",
		"before a.load(x)#1 b.load(x)#1 c 3 #x": "not a positive number",
	} {
		_, err := Parse([]byte(head + line + "\nend\n"))
		if err == nil || !strings.Contains(err.Error(), words) || !strings.HasPrefix(err.Error(), "line 4: ") {
			t.Errorf("%q: %v", line, err)
		}
	}
	for _, text := range []string{"alloc", "alloc=0", "luck=1", "alloc=1,,timer=1"} {
		if _, err := ParseBudgets(text); err == nil || !strings.Contains(err.Error(), "KIND=NUMBER") {
			t.Errorf("%q: %v", text, err)
		}
	}
	got, err := ParseBudgets(" timer=2, alloc=1")
	if err != nil || BudgetsText(got) != "alloc=1,timer=2" {
		t.Errorf("%s, %v", BudgetsText(got), err)
	}
}
