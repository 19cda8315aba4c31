// SPDX-License-Identifier: MIT

package program

// Known are golden values of a program: found by exhaustive enumeration of a model of it, and by the tools named beside
// them.
type Known struct {
	States        int // of the model, the initial and the final ones included
	Interleavings uint64
	Buggy         uint64 // interleavings with the bug
	Traces        int    // Mazurkiewicz traces, which optimal DPOR runs once each
	BuggyTraces   int
	Blocked       int     // runs that source DPOR starts in vain, as Nidhugg --sc --source counts them; -1: nobody has
	RandomWalk    float64 // probability that the random walk meets the bug
	Bounds        []Bound // by number of preemptions
	// Rates are probabilities per schedule, by chooser: measured over a million schedules of the model where they
	// are not exact.
	Rates map[string]float64
}

// Bound is how many interleavings have at most so many preemptions, and how many of them have the bug.
type Bound struct{ Preemptions, Interleavings, Buggy int }

// known has the golden values by program.
var known = map[string]*Known{
	"lsr": {
		States: 65, Interleavings: 204, Buggy: 7, Traces: 4, BuggyTraces: 1, Blocked: 1, RandomWalk: 0.003328,
		Bounds: []Bound{{0, 2, 0}, {1, 14, 1}, {2, 55, 4}, {3, 119, 7}, {4, 176, 7}, {5, 199, 7}, {6, 204, 7}},
		Rates: map[string]float64{
			"pct:d=2": 1. / 57, "pos": 0.0333, "urw": 0.0295, "surw": 0.0701, "uniform": 7. / 204,
		},
	},
	"lsr-fixed": {
		States: 51, Interleavings: 109, Traces: 3,
		Bounds: []Bound{{0, 2, 0}, {1, 13, 0}, {2, 39, 0}, {3, 73, 0}, {4, 99, 0}, {5, 109, 0}},
	},
	"pad(5)": {
		States: 210, Interleavings: 582_664, Buggy: 12_376, Traces: 4, BuggyTraces: 1, Blocked: 1, RandomWalk: 0.0001369,
	},
	"pad(20)": {
		States: 1245, Interleavings: 1_302_637_816_456_354, Buggy: 12_551_759_587_422, Traces: 4, BuggyTraces: 1, Blocked: 1,
		RandomWalk: 1.35e-9,
	},
	"cont(1)": {
		States: 104, Interleavings: 1182, Buggy: 39, Traces: 14, BuggyTraces: 4, Blocked: 5, RandomWalk: 0.000805,
	},
	"cont(2)": {
		States: 155, Interleavings: 6820, Buggy: 182, Traces: 50, BuggyTraces: 15, Blocked: 19, RandomWalk: 0.000142,
	},
	"cont(4)": {
		States: 293, Interleavings: 165_813, Buggy: 3117, Traces: 672, BuggyTraces: 210, Blocked: 251, RandomWalk: 3.18e-6,
	},
	"reorder(2)": {
		States: 87, Interleavings: 1069, Buggy: 57, Traces: 47, BuggyTraces: 27, Blocked: -1, RandomWalk: 0.0844,
	},
	"reorder(3)": {
		States: 272, Interleavings: 129_779, Buggy: 1433, Traces: 677, BuggyTraces: 317, Blocked: -1, RandomWalk: 0.0273,
	},
	"reorder-fixed(2)": {States: 104, Interleavings: 1256, Traces: 6, Blocked: -1},
	"twostage(1)": {
		States: 32, Interleavings: 87, Buggy: 3, Traces: 3, BuggyTraces: 1, Blocked: -1, RandomWalk: 0.0781,
	},
	"twostage(2)": {
		States: 156, Interleavings: 36_416, Buggy: 71, Traces: 28, BuggyTraces: 8, Blocked: -1, RandomWalk: 0.0482,
	},
	"twostage-fixed(2)": {States: 101, Interleavings: 2336, Traces: 8, Blocked: -1},
	"cont(5)": {
		States: 380, Interleavings: 757_526, Buggy: 12_412, Traces: 2508, BuggyTraces: 792, Blocked: 923,
		RandomWalk: 4.44e-7,
	},
}
