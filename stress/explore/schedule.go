// SPDX-License-Identifier: MIT

package explore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Schedule is one run as text: what was run, and who performed each visible operation. The same schedule
// gives the same run. It may be edited by hand.
type Schedule struct {
	// Meta holds what the harness needs to set the run up: scenario, params, era, mutant, failat ...
	Meta map[string]string
	// Segments says who runs, for how many visible operations. After the last one the current task goes on.
	Segments []Segment
	// Hash is the trace hash of the run it was taken from, 0 if unknown.
	Hash uint64
}

// Segment is a stretch of operations of one task. A task is named as in traces; the second task of the same
// name in a run is NAME/2, and so on.
type Segment struct {
	Task  string
	Steps int
}

// magic is the first line of a schedule file, ending its last.
const (
	magic  = "svcfuzz schedule 1"
	ending = "end"
)

// Take makes a schedule of a run's result.
func Take(r *kernel.Result, meta map[string]string) *Schedule {
	labels := make([]string, len(r.Tasks))
	count := map[string]int{}
	for i, name := range r.Tasks {
		count[name]++
		labels[i] = label(name, count[name])
	}
	s := &Schedule{Meta: meta, Hash: r.Hash}
	for i := 0; i < len(r.Seq); {
		j := i
		for j < len(r.Seq) && r.Seq[j] == r.Seq[i] {
			j++
		}
		s.Segments = append(s.Segments, Segment{labels[r.Seq[i]], j - i})
		i = j
	}
	return s
}

func label(name string, k int) string {
	if k == 1 {
		return name
	}
	return name + "/" + strconv.Itoa(k)
}

// Text is the file form.
func (s *Schedule) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, magic)
	keys := make([]string, 0, len(s.Meta))
	for k := range s.Meta {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, "%s: %s\n", k, strings.Join(strings.Fields(s.Meta[k]), " "))
	}
	if s.Hash != 0 {
		fmt.Fprintf(&b, "hash: %016x\n", s.Hash)
	}
	fmt.Fprintln(&b)
	for _, g := range s.Segments {
		fmt.Fprintf(&b, "%s %d\n", g.Task, g.Steps)
	}
	fmt.Fprintln(&b, ending)
	return b.Bytes()
}

// Parse reads the file form. Its errors are one line that names the line and the remedy.
func Parse(text []byte) (*Schedule, error) {
	s := &Schedule{Meta: map[string]string{}}
	sc := bufio.NewScanner(bytes.NewReader(text))
	line := 0
	next := func() (string, bool) {
		for sc.Scan() {
			line++
			if l := strings.TrimSpace(sc.Text()); !strings.HasPrefix(l, "#") {
				return l, true
			}
		}
		return "", false
	}
	if l, ok := next(); !ok || l != magic {
		return nil, fmt.Errorf("line 1: not a schedule file: it must begin with %q", magic)
	}
	if whole := strings.TrimSpace(string(text)); !strings.HasSuffix(whole, "\n"+ending) {
		return nil, errCut
	}
	for {
		l, ok := next()
		if !ok {
			return nil, errCut
		}
		if l == "" {
			break
		}
		k, v, ok := strings.Cut(l+" ", ": ") // a value may be empty
		if v = strings.TrimSpace(v); !ok {
			return nil, fmt.Errorf("line %d: %q is not of the form KEY: VALUE", line, l)
		}
		if k == "hash" {
			h, err := strconv.ParseUint(v, 16, 64)
			if err != nil {
				return nil, fmt.Errorf("line %d: hash %q is not a 16-digit hexadecimal number", line, v)
			}
			s.Hash = h
			continue
		}
		s.Meta[k] = v
	}
	for {
		l, ok := next()
		if !ok {
			return nil, errCut
		}
		if l == ending {
			return s, nil
		}
		if l == "" {
			continue
		}
		i := strings.LastIndex(l, " ")
		if i < 0 {
			return nil, fmt.Errorf("line %d: %q is not of the form TASK STEPS", line, l)
		}
		n, err := strconv.Atoi(l[i+1:])
		if err != nil || n < 1 {
			return nil, fmt.Errorf("line %d: %q is not a positive number of steps", line, l[i+1:])
		}
		s.Segments = append(s.Segments, Segment{strings.TrimSpace(l[:i]), n})
	}
}

var errCut = errors.New("the file is cut short: the last line must be \"" + ending + "\"; copy it again from where it was written")

// Replay follows a schedule. Where it cannot, it notes the divergence and goes on by default.
type Replay struct {
	segments []Segment
	ends     []int // step at which each segment is over
	pos      int
	labels   []string
	count    map[string]int
	// Diverged says where and why the run left the schedule; "" if it did not.
	Diverged string
	// Lenient skips what cannot be followed without calling it a divergence. For shrinking.
	Lenient bool
	skew    int // lenient: steps by which the run lags behind the schedule
}

// NewReplay prepares one run along s.
func NewReplay(s *Schedule) *Replay {
	r := &Replay{segments: s.Segments, count: map[string]int{}}
	end := 0
	for _, g := range s.Segments {
		end += g.Steps
		r.ends = append(r.ends, end)
	}
	return r
}

func (r *Replay) label(t *kernel.Task) string {
	if i := t.Index(); i >= len(r.labels) {
		all := t.Machine().Tasks()
		for _, u := range all[len(r.labels):] {
			r.count[u.Name()]++
			r.labels = append(r.labels, label(u.Name(), r.count[u.Name()]))
		}
	}
	return r.labels[t.Index()]
}

// Pick implements kernel.Chooser.
func (r *Replay) Pick(c *kernel.Choice) *kernel.Task {
	for {
		for r.pos < len(r.segments) && r.ends[r.pos]+r.skew <= c.Step {
			r.pos++
		}
		if r.pos == len(r.segments) {
			return Default(c)
		}
		want := r.segments[r.pos].Task
		for _, t := range c.Runnable {
			if r.label(t) == want {
				return t
			}
		}
		if r.Lenient {
			r.skew -= r.ends[r.pos] + r.skew - c.Step
			r.pos++
			continue
		}
		if r.Diverged == "" {
			r.Diverged = fmt.Sprintf("step %d: the schedule says %s, which cannot run; runnable: %s", c.Step+1, want, r.names(c))
		}
		return Default(c)
	}
}

func (r *Replay) names(c *kernel.Choice) string {
	var names []string
	for _, t := range c.Runnable {
		names = append(names, r.label(t))
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// Left says where a run that was to follow s left it, "" if it did not: a chooser is not asked where only one task
// can go on, so what it saw is not enough. What a run does after the schedule's end is not looked at.
func (s *Schedule) Left(r *kernel.Result) string {
	step := 0
	did := Take(r, nil).Segments
	i, n := 0, 0 // operations of did[i] that are still to be matched
	if len(did) > 0 {
		n = did[0].Steps
	}
	for _, g := range s.Segments {
		for left := g.Steps; left > 0; {
			switch {
			case i == len(did):
				return fmt.Sprintf("the run is over after %d steps, the schedule goes on with %s", step, g.Task)
			case did[i].Task != g.Task:
				return fmt.Sprintf("step %d: the schedule says %s, %s went on", step+1, g.Task, did[i].Task)
			}
			k := min(left, n)
			step, left, n = step+k, left-k, n-k
			if n == 0 {
				if i++; i < len(did) {
					n = did[i].Steps
				}
			}
		}
	}
	return ""
}
