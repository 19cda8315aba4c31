// SPDX-License-Identifier: MIT

package explore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Schedule is one run as text: what was run, who performed each visible operation, and what else was decided. The same
// schedule gives the same run. It may be edited by hand; corpus/schedules/README.md describes the form.
type Schedule struct {
	// Meta holds what the harness needs to set the run up: scenario, params, era, mutant, fail_at ...
	Meta map[string]string
	// Segments says who runs, for how many visible operations. After the last one the current task goes on.
	Segments []Segment
	// Decisions are those that differ from the default: a step that fails, an alarm that fires early.
	Decisions []Decision
	// Constraints are the orders of operations that the failure needs, for when the code has moved since.
	Constraints []kernel.Before
	// Hash is the trace hash of the run it was taken from, 0 if unknown.
	Hash uint64
}

// Segment is a stretch of operations of one task. A task is named as in traces; the second task of the same
// name in a run is NAME/2, and so on.
type Segment struct {
	Task  string
	Steps int
}

// Decision is an answer other than the default to the Nth question of its kind that concerns a task. It means the same
// in every interleaving.
type Decision struct {
	Kind  kernel.DecisionKind
	Task  string // as in segments; "" if it concerns none
	Nth   int    // 1-based
	Value int
}

// nobody stands in a file for the task of a decision that concerns none.
const nobody = "-"

func (d Decision) String() string {
	task := d.Task
	if task == "" {
		task = nobody
	}
	return fmt.Sprintf("%s %s %d %d", d.Kind, task, d.Nth, d.Value)
}

// magic is the first line of a schedule file, ending its last.
const (
	magic  = "svcfuzz schedule 1"
	ending = "end"
)

// Words that begin a line of the body that is no segment.
const (
	decideWord = "decide "
	beforeWord = "before "
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
	for _, d := range r.Decisions {
		task := ""
		if d.Index >= 0 {
			task = labels[d.Index]
		}
		s.Decisions = append(s.Decisions, Decision{d.Kind, task, d.Nth, d.Value})
	}
	return s
}

// Budgets are the budgets of decisions under which the schedule was taken: those that its head names, and no less than
// its decisions need. A kind that is on changes what counts as a step, so a replay must have the same kinds on.
func (s *Schedule) Budgets() ([kernel.DecisionKinds]int, error) {
	budgets, err := ParseBudgets(s.Meta["faults"])
	if err != nil {
		return budgets, err
	}
	var used [kernel.DecisionKinds]int
	for _, d := range s.Decisions {
		used[d.Kind]++
	}
	for k := range budgets {
		budgets[k] = max(budgets[k], used[k])
	}
	return budgets, nil
}

// MaxSteps is after how many operations the run was cut off, 0 if its head does not say.
func (s *Schedule) MaxSteps() (int, error) {
	text := s.Meta["max_steps"]
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("max_steps: %q is no number of operations; write 20000, or drop the line", text)
	}
	return n, nil
}

// ParseBudgets reads "alloc=1,timer=2"; nothing means that every kind is off.
func ParseBudgets(text string) ([kernel.DecisionKinds]int, error) {
	var budgets [kernel.DecisionKinds]int
	if text == "" {
		return budgets, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(strings.TrimSpace(part), "=")
		k, ok := decisionKind(name)
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n < 1 {
			return budgets, fmt.Errorf("faults: %q is no budget; write KIND=NUMBER with a KIND of %s",
				part, strings.Join(decisionKinds(), ", "))
		}
		budgets[k] = n
	}
	return budgets, nil
}

// BudgetsText is the form that [ParseBudgets] reads.
func BudgetsText(budgets [kernel.DecisionKinds]int) string {
	var parts []string
	for k, n := range budgets {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", kernel.DecisionKind(k), n))
		}
	}
	return strings.Join(parts, ",")
}

func decisionKinds() []string {
	var names []string
	for k := range kernel.DecisionKinds {
		names = append(names, k.String())
	}
	return names
}

func decisionKind(name string) (kernel.DecisionKind, bool) {
	i := slices.Index(decisionKinds(), name)
	return kernel.DecisionKind(max(i, 0)), i >= 0
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
	for _, d := range s.Decisions {
		fmt.Fprintf(&b, "%s%s\n", decideWord, d)
	}
	for _, c := range s.Constraints {
		fmt.Fprintf(&b, "%s%s %s\n", beforeWord, c.First, c.Then)
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
		if err := s.parseLine(l); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
}

// parseLine reads a line of the body. A task may be called as the words are: what follows tells them apart.
func (s *Schedule) parseLine(l string) error {
	if rest, ok := strings.CutPrefix(l, decideWord); ok && strings.Contains(rest, " ") {
		return s.parseDecision(rest)
	}
	if rest, ok := strings.CutPrefix(l, beforeWord); ok && strings.Contains(rest, "(") {
		return s.parseConstraint(rest)
	}
	i := strings.LastIndex(l, " ")
	if i < 0 {
		return fmt.Errorf("%q is not of the form TASK STEPS", l)
	}
	n, err := strconv.Atoi(l[i+1:])
	if err != nil || n < 1 {
		return fmt.Errorf("%q is not a positive number of steps", l[i+1:])
	}
	s.Segments = append(s.Segments, Segment{strings.TrimSpace(l[:i]), n})
	return nil
}

// parseDecision reads KIND TASK NTH VALUE.
func (s *Schedule) parseDecision(text string) error {
	words := strings.Fields(text)
	if len(words) < 4 {
		return fmt.Errorf("%q is not of the form KIND TASK NTH VALUE", text)
	}
	n := len(words)
	kind, ok := decisionKind(words[0])
	if !ok {
		return fmt.Errorf("%q is no kind of decision; choose one of %s", words[0], strings.Join(decisionKinds(), ", "))
	}
	nth, err := strconv.Atoi(words[n-2])
	value, err2 := strconv.Atoi(words[n-1])
	if err != nil || err2 != nil || nth < 1 || value < 1 {
		return fmt.Errorf("%q: NTH and VALUE are not both positive numbers", text)
	}
	d := Decision{kind, strings.Join(words[1:n-2], " "), nth, value}
	if d.Task == nobody {
		d.Task = ""
	}
	s.Decisions = append(s.Decisions, d)
	return nil
}

// parseConstraint reads two operations, the one that comes first before the other.
func (s *Schedule) parseConstraint(text string) error {
	cut := strings.Index(text, ")#")
	if cut >= 0 {
		if n := strings.IndexByte(text[cut:], ' '); n >= 0 {
			first, err := kernel.ParseOpName(text[:cut+n])
			if err != nil {
				return err
			}
			then, err := kernel.ParseOpName(strings.TrimSpace(text[cut+n:]))
			if err != nil {
				return err
			}
			s.Constraints = append(s.Constraints, kernel.Before{First: first, Then: then})
			return nil
		}
	}
	return fmt.Errorf("%q are not two operations of the form TASK.OPERATION(CELL)#NUMBER", text)
}

var errCut = errors.New("the file is cut short: the last line must be \"" + ending + "\"; copy it again from where it was written")

// Replay follows a schedule. Where it cannot, it notes the divergence and goes on by default.
type Replay struct {
	segments []Segment
	ends     []int // step at which each segment is over
	pos      int
	labels   labels
	answers  map[question]int
	// Diverged says where and why the run left the schedule; "" if it did not.
	Diverged string
	// Lenient skips what cannot be followed without calling it a divergence. For shrinking.
	Lenient bool
	skew    int // lenient: steps by which the run lags behind the schedule
}

// NewReplay prepares one run along s.
func NewReplay(s *Schedule) *Replay {
	r := &Replay{segments: s.Segments}
	end := 0
	for _, g := range s.Segments {
		end += g.Steps
		r.ends = append(r.ends, end)
	}
	if len(s.Decisions) > 0 {
		r.answers = map[question]int{}
		for _, d := range s.Decisions {
			r.answers[question{d.Kind, d.Task, d.Nth}] = d.Value
		}
	}
	return r
}

// question names a decision.
type question struct {
	kind kernel.DecisionKind
	task string
	nth  int
}

// Decide implements kernel.Decider.
func (r *Replay) Decide(d *kernel.Decision) int {
	if r.answers == nil {
		return 0
	}
	task := ""
	if d.Task != nil {
		task = r.labels.of(d.Task)
	}
	v := r.answers[question{d.Kind, task, d.Nth}]
	if v < d.N {
		return v
	}
	if r.Diverged == "" && !r.Lenient {
		r.Diverged = fmt.Sprintf("step %d: the schedule decides %s, which has %d answers only",
			d.Step+1, Decision{d.Kind, task, d.Nth, v}, d.N)
	}
	return 0
}

// labels names the tasks of a run as schedules do.
type labels struct {
	all   []string
	count map[string]int
}

func (l *labels) of(t *kernel.Task) string {
	if t.Index() >= len(l.all) {
		if l.count == nil {
			l.count = map[string]int{}
		}
		for _, u := range t.Machine().Tasks()[len(l.all):] {
			l.count[u.Name()]++
			l.all = append(l.all, label(u.Name(), l.count[u.Name()]))
		}
	}
	return l.all[t.Index()]
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
			if r.labels.of(t) == want {
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
		names = append(names, r.labels.of(t))
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// Left says where a run that was to follow s left it, "" if it did not: a chooser is not asked where only one task
// can go on, so what it saw is not enough. What a run does after the schedule's end is not looked at.
func (s *Schedule) Left(r *kernel.Result) string {
	step := 0
	took := Take(r, nil)
	did := took.Segments
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
	for _, d := range s.Decisions {
		if !slices.Contains(took.Decisions, d) {
			return fmt.Sprintf("the schedule decides %s, which was not asked", d)
		}
	}
	return ""
}
