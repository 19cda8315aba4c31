// SPDX-License-Identifier: MIT

package explore

import (
	"bufio"
	"bytes"
	"fmt"
	"math/bits"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Feedback is a fuzzer of schedules: a run that shows an order of two dependent operations that no run before it has
// shown becomes a parent, and every parent has children that differ from it in a few choices and decisions. Where a
// child's tape ends, and in every run without a parent, POS chooses. Which schedule comes next depends on the seed and
// on all runs before it.
//
// Use: for { f.Next(); machine.Run(f, ...) }.
type Feedback struct {
	// Fresh counts the runs that POS alone chose, Grown those that became parents.
	Fresh, Grown int
	// Kept is told of every new parent; may be nil.
	Kept func(t Tape)

	seed, n  uint64
	r        rng
	pos      POS
	turn     ring
	tape     Tape // of the run under way: what was chosen
	play     Tape // of the run under way: what to choose
	at       int
	edges    edges
	corpus   []Tape
	parent   int // whose children are run
	children int // that are still to be run
	imported []Tape
	running  bool
}

// What the fuzzer of schedules does how often. A corpus beyond its limit forgets its oldest parents.
const (
	childrenEach = 16
	changesEach  = 5
	corpusLimit  = 2048
	longestTape  = 1 << 16 // choices and decisions of one run that are kept
)

// NewFeedback makes one whose runs depend on the seed and on the shard's number alone. budget is that of Faults.
func NewFeedback(seed, shard uint64, budget [kernel.DecisionKinds]int) *Feedback {
	f := &Feedback{seed: seed ^ bits.RotateLeft64(shard, 32)}
	f.r.seed(f.seed, feedbackStream)
	f.pos.Budget = budget
	f.parent = -1
	return f
}

// feedbackStream keeps the numbers of mutations apart from those of POS.
const feedbackStream = 0xd1b54a32d192ed03

// Next judges the run that is over, and prepares the next one.
func (f *Feedback) Next() {
	f.settle()
	f.running = true
	f.edges.clear()
	f.turn.clear()
	f.n++
	f.pos.Seed(f.seed, f.n)
	f.tape, f.at = f.tape[:0], 0
	switch {
	case len(f.imported) > 0:
		f.play = append(f.play[:0], f.imported[0]...)
		f.imported = f.imported[1:]
	case f.children > 0:
		f.children--
		f.mutate(f.corpus[f.parent])
	default:
		f.play = f.play[:0]
		f.Fresh++
		if len(f.corpus) > 0 {
			f.parent = (f.parent + 1) % len(f.corpus)
			f.children = childrenEach
		}
	}
}

// settle judges the last run.
func (f *Feedback) settle() {
	if f.running && f.edges.news() {
		f.keep(f.tape)
	}
	f.running = false
}

// keep makes the run of the tape a parent.
func (f *Feedback) keep(t Tape) {
	f.Grown++
	kept := append(Tape(nil), t...)
	if f.Kept != nil {
		f.Kept(kept)
	}
	if len(f.corpus) < corpusLimit {
		f.corpus = append(f.corpus, kept)
		return
	}
	f.corpus[f.Grown%corpusLimit] = kept
}

// mutate makes a child of the parent the tape to play.
func (f *Feedback) mutate(parent Tape) {
	t := append(f.play[:0], parent...)
	if len(t) == 0 {
		f.play = t
		return
	}
	switch f.r.n(8) {
	case 0: // one choice more or less
		at := f.r.n(len(t))
		if f.r.n(2) == 0 {
			t = append(t[:at], t[at+1:]...)
		} else {
			t = append(t, 0)
			copy(t[at+1:], t[at:])
			t[at] = f.value()
		}
	case 1: // the rest of another parent
		if other := f.corpus[f.r.n(len(f.corpus))]; len(other) > 0 {
			t = append(t[:f.r.n(len(t))], other[f.r.n(len(other)):]...)
		}
	default: // POS goes on from somewhere
		t = t[:f.r.n(len(t))]
	}
	if len(t) > 0 {
		for range changesEach {
			t[f.r.n(len(t))] = f.value()
		}
	}
	f.play = t[:min(len(t), longestTape)]
}

// value draws a number for a tape: as often as not the default, else seldom a large one.
func (f *Feedback) value() uint16 {
	if f.r.n(2) == 0 {
		return 0
	}
	return uint16(1 + f.r.n(1<<(1+f.r.n(6))))
}

// next is what the tape says.
func (f *Feedback) next() (v int, ok bool) {
	if f.at >= len(f.play) {
		return 0, false
	}
	f.at++
	return int(f.play[f.at-1]), true
}

func (f *Feedback) note(v uint16) {
	if len(f.tape) < longestTape {
		f.tape = append(f.tape, v)
	}
}

// Pick implements kernel.Chooser.
func (f *Feedback) Pick(ch *kernel.Choice) *kernel.Task {
	f.turn.update(ch)
	t := f.pos.best(ch)
	if v, ok := f.next(); ok {
		t = f.turn.byValue(ch, v)
	}
	f.pos.performed(t)
	f.note(f.turn.value(ch, t))
	f.edges.performed(t)
	return t
}

// Decide implements kernel.Decider.
func (f *Feedback) Decide(d *kernel.Decision) int {
	v := f.pos.Decide(d)
	if x, ok := f.next(); ok {
		v = x % d.N
	}
	f.note(uint16(v))
	return v
}

// Edges is how many orders of two dependent operations have been seen, each with a rough count of how often in one run.
func (f *Feedback) Edges() int { return f.edges.seen }

// edges are the ordered pairs of dependent operations of different tasks that follow each other on a cell. An operation
// that nobody was asked about, because only one task could go on, is not seen. Pairs are kept as hashes.
type edges struct {
	known [1 << edgeBits]uint8 // rough counts seen in any run, one bit each
	count [1 << edgeBits]uint8 // in this run
	used  []uint16             // entries of count
	last  cellMap[cellOp]      // the last operation on each cell
	seen  int
}

const edgeBits = 16

func (e *edges) clear() {
	for _, i := range e.used {
		e.count[i] = 0
	}
	e.used = e.used[:0]
	e.last.clear()
}

// performed notes what t is about to do.
func (e *edges) performed(t *kernel.Task) {
	k, cell := t.Pending()
	if cell == 0 {
		return
	}
	now := cellOp{t.Path() + uint64(k), int32(t.Index()), k.Writes()}
	op := e.last.at(cell)
	if was := *op; was.op != 0 && was.task != now.task && (was.writes || now.writes) {
		x := (cell ^ bits.RotateLeft64(was.op, 17)) * 0x9e3779b97f4a7c15
		i := uint16((x ^ now.op) * 0xd1b54a32d192ed03 >> (64 - edgeBits))
		if e.count[i] == 0 {
			e.used = append(e.used, i)
		}
		if e.count[i] < 255 {
			e.count[i]++
		}
	}
	*op = now
}

// news takes over what this run has shown and reports whether there was anything new.
func (e *edges) news() bool {
	before := e.seen
	for _, i := range e.used {
		bit := uint8(1) << min(bits.Len8(e.count[i])-1, 7)
		if e.known[i]&bit == 0 {
			e.known[i] |= bit
			e.seen++
		}
	}
	return e.seen > before
}

// cellOp is one operation: what and by whom, 0 if there was none; the task's index; whether it writes.
type cellOp struct {
	op     uint64
	task   int32
	writes bool
}

// corpusMagic is the first line of a corpus file, ending its last.
const corpusMagic = "svcfuzz tapes 1"

// Export writes the parents as text, one a line.
func (f *Feedback) Export() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, corpusMagic)
	for _, t := range f.corpus {
		fmt.Fprintln(&b, t)
	}
	for _, t := range f.imported { // not run yet
		fmt.Fprintln(&b, t)
	}
	fmt.Fprintln(&b, ending)
	return b.Bytes()
}

// Import reads what Export wrote: these runs come first, and those that still show something new become parents. The
// error is one line that names the line of the text and the remedy; then nothing is taken over.
func (f *Feedback) Import(text []byte) error {
	if whole := strings.TrimSpace(string(text)); !strings.HasSuffix(whole, "\n"+ending) {
		return fmt.Errorf("tapes: %w", errCut)
	}
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, len(text)+1)
	var tapes []Tape
	for line := 1; sc.Scan(); line++ {
		s := strings.TrimSpace(sc.Text())
		if line == 1 {
			if s != corpusMagic {
				return fmt.Errorf("line 1: not a file of tapes: it must begin with %q", corpusMagic)
			}
			continue
		}
		if s == ending {
			break
		}
		t, err := ParseTape(s)
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		tapes = append(tapes, t)
	}
	f.Begin(tapes)
	return nil
}

// Begin has the tapes run first; those that still show something new become parents.
func (f *Feedback) Begin(tapes []Tape) { f.imported = append(f.imported, tapes...) }
