// SPDX-License-Identifier: MIT

package explore

import (
	"fmt"
	"math"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// How much of a program's behaviour has been seen is not one number. Each of these speaks of the sampler that it comes
// from and of nothing else, and says so: on one and the same program the Good-Turing estimate of PCT can be zero while
// POS sees a new class in every third schedule.

// Residual is one statement about what a search may have missed.
type Residual interface {
	// Value is the number: a probability, a fraction or a count, as String says.
	Value() float64
	// String is a sentence that says what the number means and what it does not.
	String() string
}

// PCTBound is the guarantee of PCT: see Burckhardt et al., ASPLOS 2010, theorem 9.
type PCTBound struct {
	Tasks, Steps, Depth int // n, k and d
	Schedules           int // that were drawn with this depth
}

// Value is the probability, at most, that all schedules missed a given bug of that depth.
func (b PCTBound) Value() float64 {
	if b.Schedules == 0 || b.Tasks == 0 {
		return 1
	}
	once := 1 / (float64(b.Tasks) * math.Pow(float64(b.Steps), float64(b.Depth-1)))
	return math.Exp(float64(b.Schedules) * math.Log1p(-min(once, 1)))
}

func (b PCTBound) String() string {
	return fmt.Sprintf("PCT: a given bug of depth %d that a run of at most %d tasks and %d steps can show was missed by "+
		"%d schedules with probability at most %.2g; nothing is said about deeper bugs, longer runs or other inputs",
		b.Depth, b.Tasks, b.Steps, b.Schedules, b.Value())
}

// GoodTuring estimates how likely the next schedule is of a class that has not been seen (Good, Biometrika 1953).
type GoodTuring struct {
	Sampler             string
	Schedules           int
	Classes, Singletons int // of equivalent schedules; seen once only
}

// Value is the probability that the next schedule is of a class that has not been seen.
func (g GoodTuring) Value() float64 {
	if g.Schedules == 0 {
		return 1
	}
	return float64(g.Singletons) / float64(g.Schedules)
}

func (g GoodTuring) String() string {
	return fmt.Sprintf("Good-Turing: the next schedule of %s is of a class that its %d schedules have not shown with "+
		"probability about %.2g (%d classes seen, %d of them once); only true for %s: classes that it hardly ever draws "+
		"do not count",
		g.Sampler, g.Schedules, g.Value(), g.Classes, g.Singletons, g.Sampler)
}

// Share is how many of all classes of equivalent schedules have been seen.
type Share struct {
	Sampler string
	Classes int
	Total   float64
	Exact   bool // Total was counted, not estimated
}

// Value is the fraction of all classes that has been seen.
func (s Share) Value() float64 {
	if s.Total <= 0 {
		return 0
	}
	return min(1, float64(s.Classes)/s.Total)
}

func (s Share) String() string {
	how := "about "
	if s.Exact {
		how = ""
	}
	return fmt.Sprintf("classes: %s has shown %d of %s%.4g (%.2g %%); a bug is in one class or in many, so this is not "+
		"the chance that one is left", s.Sampler, s.Classes, how, s.Total, 100*s.Value())
}

// Knuth estimates how many schedules there are, from random walks: the product of the numbers of options along a walk
// is right on average (Knuth, Mathematics of Computation 1975). It works with logarithms, as the number has no bound.
type Knuth struct {
	Walks    int
	log, sq  float64 // logarithms of the sum of the products, and of that of their squares
	anything bool
}

// Add counts one random walk, by the logarithm of the product.
func (k *Knuth) Add(log float64) {
	k.Walks++
	if !k.anything {
		k.log, k.sq, k.anything = log, 2*log, true
		return
	}
	k.log = addLogs(k.log, log)
	k.sq = addLogs(k.sq, 2*log)
}

// addLogs is the logarithm of the sum of two numbers given by theirs.
func addLogs(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	return a + math.Log1p(math.Exp(b-a))
}

// Log is the natural logarithm of the estimate; 0 without a walk.
func (k *Knuth) Log() float64 {
	if k.Walks == 0 {
		return 0
	}
	return k.log - math.Log(float64(k.Walks))
}

// Value is the estimated number of schedules, +Inf if it is out of range.
func (k *Knuth) Value() float64 { return math.Exp(k.Log()) }

// Error is the standard error of Value as a fraction of it. An estimate whose walks differ by orders of magnitude has a
// large one, and is too low more often than not.
func (k *Knuth) Error() float64 {
	if k.Walks < 2 {
		return math.Inf(1)
	}
	n := float64(k.Walks)
	spread := math.Exp(k.sq-math.Log(n)-2*k.Log()) - 1 // variance over square of the mean
	return math.Sqrt(max(0, spread) / n)
}

func (k *Knuth) String() string {
	return fmt.Sprintf("Knuth: there are about 10^%.1f schedules (standard error %.0f %%, from %d random walks); most "+
		"are equivalent to others, so this is the size of the haystack and says nothing about what was seen",
		k.Log()/math.Ln10, 100*k.Error(), k.Walks)
}

// weigher takes the logarithm of the product of the numbers of options along a run.
type weigher struct {
	*Counter
	log float64
}

// Pick implements kernel.Chooser.
func (w *weigher) Pick(ch *kernel.Choice) *kernel.Task {
	w.log += math.Log(float64(len(ch.Runnable)))
	return w.Counter.Pick(ch)
}

// Residuals are the statements that the search supports, each for the sampler that it used; none if it used none.
func (o *Outcome) Residuals() []Residual {
	var out []Residual
	k := o.MaxSteps
	if o.K > 0 {
		k = o.K
	}
	for d, n := range o.Depths {
		if n > 0 {
			out = append(out, PCTBound{Tasks: o.MaxTasks, Steps: k, Depth: d, Schedules: n})
		}
	}
	if o.classes != nil && o.Sampler != "" {
		out = append(out, GoodTuring{o.Sampler, o.Schedules, o.Classes, o.Singletons})
	}
	if o.Knuth.Walks > 0 {
		out = append(out, &o.Knuth)
	}
	return out
}
