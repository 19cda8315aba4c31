// SPDX-License-Identifier: MIT

package explore

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Tape is a run as a list of small numbers, one for each choice and each decision, in the order in which they came. 0
// is the default: the current task goes on, nothing special happens. v at a choice is the v-th runnable task after
// the default one, in order of creation, the oldest following the youngest; v at a decision is its answer. What lies
// behind the end is the default, so that a shorter tape is a schedule with fewer preemptions and faults.
type Tape []uint16

// String is the text form: numbers, "5*0" for five of them.
func (t Tape) String() string {
	var b strings.Builder
	for i := 0; i < len(t); {
		j := i
		for j < len(t) && t[j] == t[i] {
			j++
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		if j-i > 1 {
			fmt.Fprintf(&b, "%d*", j-i)
		}
		b.WriteString(strconv.Itoa(int(t[i])))
		i = j
	}
	return b.String()
}

// maxTape bounds how long a tape in a file may be, in numbers.
const maxTape = 1 << 22

// ParseTape reads the text form.
func ParseTape(s string) (Tape, error) {
	t := Tape{}
	for f := range strings.FieldsSeq(s) {
		times, value, repeated := strings.Cut(f, "*")
		if !repeated {
			times, value = "1", f
		}
		n, err := strconv.Atoi(times)
		v, err2 := strconv.ParseUint(value, 10, 16)
		if err != nil || err2 != nil || n < 1 || n > maxTape-len(t) {
			return nil, fmt.Errorf("%q is not a number of at most 5 digits, or TIMES*NUMBER", f)
		}
		for range n {
			t = append(t, uint16(v))
		}
	}
	return t, nil
}

// Player follows a tape.
type Player struct {
	Tape Tape
	pos  int
	turn ring
}

// NewPlayer prepares one run along t.
func NewPlayer(t Tape) *Player { return &Player{Tape: t} }

func (p *Player) next() int {
	if p.pos >= len(p.Tape) {
		return 0
	}
	p.pos++
	return int(p.Tape[p.pos-1])
}

// Pick implements kernel.Chooser.
func (p *Player) Pick(ch *kernel.Choice) *kernel.Task {
	p.turn.update(ch)
	return p.turn.byValue(ch, p.next())
}

// Decide implements kernel.Decider.
func (p *Player) Decide(d *kernel.Decision) int { return p.next() % d.N }

// Recorder passes choices and decisions of one run through and notes them on a tape.
type Recorder struct {
	kernel.Chooser
	Tape Tape
	turn ring
}

// Pick implements kernel.Chooser.
func (r *Recorder) Pick(ch *kernel.Choice) *kernel.Task {
	t := r.Chooser.Pick(ch)
	if t != nil {
		r.turn.update(ch)
		r.Tape = append(r.Tape, r.turn.value(ch, t))
	}
	return t
}

// Decide implements kernel.Decider.
func (r *Recorder) Decide(d *kernel.Decision) int {
	v := decide(r.Chooser, d)
	r.Tape = append(r.Tape, uint16(v))
	return v
}

// standard is the index of the task that Default returns.
func (r *ring) standard(ch *kernel.Choice) int {
	if ch.Cur != nil {
		return ch.Cur.Index()
	}
	return r.at(0)
}

// byValue is the task that the number v on a tape stands for.
func (r *ring) byValue(ch *kernel.Choice, v int) *kernel.Task {
	i := r.standard(ch)
	if n := len(ch.Runnable); v%n != 0 {
		i = r.at((r.rank(i) + v) % n)
	}
	return r.task[i]
}

// value is the number on a tape that stands for t.
func (r *ring) value(ch *kernel.Choice, t *kernel.Task) uint16 {
	i, n := r.standard(ch), len(ch.Runnable)
	if i == t.Index() {
		return 0
	}
	return uint16((r.rank(t.Index()) - r.rank(i) + n) % n)
}
