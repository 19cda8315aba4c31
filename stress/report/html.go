// SPDX-License-Identifier: MIT

package report

import (
	_ "embed" // the page, its style and its script
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

//go:embed web/page.html
var pageHTML string

//go:embed web/page.css
var pageCSS string

//go:embed web/page.js
var pageJS string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// HTML writes the failure as one file that needs no other: the whole interleaving in lanes, a task each, with what
// explains little folded away, and the state of the touched structure at every step. It needs events with states
// ([State] as Options.Snapshot) for the latter.
func HTML(w io.Writer, f *Failure) error {
	return pageTemplate.Execute(w, newPage(f))
}

// page is all that the template shows.
type page struct {
	Title    string
	Ours     bool // a fault of the suite
	Oracle   string
	Sentence string
	Scenario string
	Facts    []fact
	Details  []string
	Commands []fact
	Lanes    []lane
	Visible  int // lanes that are shown at first
	Longest  int // characters of a task's name
	Locks    []lock
	Rows     []*line
	FailRow  int // -1: the finding stands in no row
	Data     data
	Dump     string
	CSS      template.CSS
	JS       template.JS
}

// fact is a name and what it stands for.
type fact struct{ Name, Value string }

// lane is the column of a task.
type lane struct {
	Name   string
	Steps  int
	Shown  bool // at first
	Column int  // among the shown ones
}

// lock is a lock class and its colour.
type lock struct {
	Class  string
	Colour int
}

// lineKind says what a line of the chart is.
type lineKind string

const (
	lineStep     lineKind = "step"
	lineFold     lineKind = "fold"     // stands for the lines of its fold
	lineTime     lineKind = "time"     // the clock moved on
	lineDecision lineKind = "decision" // something other than who runs was chosen
	lineNever    lineKind = "never"    // an operation that was never reached
)

// line is one line of the chart.
type line struct {
	ID       int
	Kind     lineKind
	Step     int // 0: none
	Lane     int // -1: none
	Task     string
	Text     string
	At       string
	Fold     int // the fold that it is in, or stands for; -1: none
	Fails    bool
	Conflict bool
	Badges   []string
	Segments []segment

	event *kernel.Event
}

// Hidden says that the line is folded away at first.
func (l *line) Hidden() bool { return l.Fold >= 0 && l.Kind != lineFold }

// Classes are the line's classes for the style.
func (l *line) Classes() string {
	c := []string{string(l.Kind)}
	if l.Lane >= 0 {
		c = append(c, "t"+strconv.Itoa(l.Lane))
	}
	if l.Fails {
		c = append(c, "fails")
	}
	if l.Conflict {
		c = append(c, "conflict")
	}
	return strings.Join(c, " ")
}

// segment is the part of a lock's bar or of a wake-up's arrow that lies in one line.
type segment struct {
	Classes string
	Title   string
}

// data is what the script looks up: the state of the touched structure by line.
type data struct {
	Words []string      `json:"words"` // each line of any state once
	Steps map[int]*look `json:"steps"` // by ID of the line
}

// look is what is shown for a step. Diff holds pairs: 0 as before, 1 new, -1 gone; and an index into Words.
type look struct {
	Object string `json:"object"`
	Field  string `json:"field,omitempty"` // of it, as the state spells it but in lower case
	Func   string `json:"func,omitempty"`
	Now    string `json:"now"`
	Prev   int    `json:"prev"` // line of the previous and of the next operation on the object; -1: none
	Next   int    `json:"next"`
	Diff   []int  `json:"diff,omitempty"`
}

func newPage(f *Failure) *page {
	d := newDrawing(f)
	p := &page{
		Title: title(f), Ours: f.Finding.Oracle == ours, Oracle: f.Finding.Oracle, Sentence: f.Finding.Title,
		Scenario: f.Scenario, Facts: facts(f), Details: details(f.Finding, d), FailRow: -1, Dump: f.Dump,
		CSS: template.CSS(pageCSS), JS: template.JS(pageJS), // files of this package
	}
	if f.Finding.Task != "" {
		p.Sentence += ", task " + f.Finding.Task
	}
	if f.Schedule != "" {
		p.Commands = []fact{
			{"replay", "go run ./stress replay " + f.Schedule}, {"keep", "go run ./stress keep " + f.Schedule + " NAME"},
		}
	}
	b := &pageBuilder{page: p, d: d, lanes: map[string]int{}}
	b.addLines()
	b.showLanes()
	b.addLocks()
	b.addWakes()
	b.addStates()
	return p
}

// facts is all that the run depends on, and how big it is.
func facts(f *Failure) []fact {
	all := []fact{
		{"mutant", f.Mutant}, {"era", f.Era}, {"parameters", f.Params}, {"back end", f.Backend}, {"memory", f.Memory},
		{"chooser", f.Chooser},
		{"seed", strconv.FormatUint(f.Seed, 10)}, {"steps", strconv.Itoa(f.Steps)},
		{"preemptions", strconv.Itoa(f.Preemptions)}, {"faults", f.faults()}, {"depth", positive(f.Depth)},
		{"constraints", strings.Join(f.Constraints, "; ")},
	}
	var out []fact
	for _, x := range all {
		if x.Value != "" && (f.Backend != "free" || x.Name != "preemptions") {
			out = append(out, x)
		}
	}
	return out
}

func positive(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// faults names what was made to go wrong.
func (f *Failure) faults() string {
	var s []string
	if f.FailAt > 0 {
		s = append(s, fmt.Sprintf("fallible step %d fails", f.FailAt))
	}
	for i := range f.Decisions {
		s = append(s, decisionText(&f.Decisions[i]))
	}
	return strings.Join(s, "; ")
}

// pageBuilder fills a page.
type pageBuilder struct {
	*page
	d     *drawing
	lanes map[string]int // by name of the task
	folds int
}

// lane is the number of the task's lane, which is made for its first line; -1 for no task.
func (b *pageBuilder) lane(task string) int {
	if task == "" {
		return -1
	}
	i, ok := b.lanes[task]
	if !ok {
		i = len(b.Lanes)
		b.lanes[task] = i
		b.Lanes = append(b.Lanes, lane{Name: task})
	}
	return i
}

// add appends a line.
func (b *pageBuilder) add(l line) *line {
	l.ID = len(b.Rows)
	l.Lane = b.lane(l.Task)
	b.Rows = append(b.Rows, &l)
	return &l
}

// addLines makes the lines of the chart: the events, in folds where they explain nothing, what was decided and
// where the clock moved on, and what was never reached.
func (b *pageBuilder) addLines() {
	mine, theirs, never := b.d.pair()
	decisions := b.d.f.Decisions
	from := 0
	for i := range b.d.events {
		e := &b.d.events[i]
		var between []line
		if i > 0 && e.Now-b.d.events[i-1].Now >= later {
			between = append(between, line{Kind: lineTime, Text: span(e.Now-b.d.events[i-1].Now) + " later", Fold: -1})
		}
		for len(decisions) > 0 && decisions[0].Step < e.Step {
			x := &decisions[0]
			between = append(between, line{Kind: lineDecision, Task: x.Task, Text: decisionText(x), Fold: -1})
			decisions = decisions[1:]
		}
		shown := b.d.score[i] >= worthBefore || b.d.score[i] > 0 && len(e.Wakes) > 0 || i == mine || i == theirs
		if shown || len(between) > 0 {
			b.addFold(from, i)
			from = i
		}
		for _, l := range between {
			b.add(l)
		}
		if shown {
			l := b.addEvent(i, -1)
			l.Fails, l.Conflict = i == b.d.fail, i == theirs || i == mine && i != b.d.fail
			from = i + 1
		}
	}
	b.addFold(from, len(b.d.events))
	for i := range decisions {
		b.add(line{Kind: lineDecision, Task: decisions[i].Task, Text: decisionText(&decisions[i]), Fold: -1})
	}
	b.addNever(never)
}

// decisionText spells what was chosen.
func decisionText(x *kernel.Decided) string {
	what := map[kernel.DecisionKind]string{
		kernel.DecideAlloc: "fails", kernel.DecideTimer: "timer fires early", kernel.DecideSpurious: "spurious wake-up",
		kernel.DecideRead: "short read", kernel.DecideRcu: "grace period ends late", kernel.DecideSignal: "signal arrives",
	}[x.Kind]
	if what == "" {
		what = x.Kind.String()
	}
	if x.Site != "" {
		what += ": " + x.Site
	}
	if x.Value > 1 {
		what += fmt.Sprintf(" (%d)", x.Value)
	}
	return what
}

// addFold adds the events from..to, in a fold unless it would stand for a single one.
func (b *pageBuilder) addFold(from, to int) {
	if to-from < 2 {
		for i := from; i < to; i++ {
			b.addEvent(i, -1)
		}
		return
	}
	names := map[string]bool{}
	var order []string
	for i := from; i < to; i++ {
		if task := b.d.events[i].Task; task != "" && !names[task] {
			names[task] = true
			order = append(order, task)
		}
	}
	of := strings.Join(order, ", ")
	if len(order) > 4 {
		of = fmt.Sprintf("%s and %d others", strings.Join(order[:3], ", "), len(order)-3)
	}
	fold := b.folds
	b.folds++
	head := b.add(line{Kind: lineFold, Text: fmt.Sprintf("%d more of %s", to-from, of), Fold: fold})
	if len(order) == 1 {
		head.Lane = b.lane(order[0])
	}
	for i := from; i < to; i++ {
		b.addEvent(i, fold)
	}
}

func (b *pageBuilder) addEvent(i, fold int) *line {
	e := &b.d.events[i]
	l := b.add(line{Kind: lineStep, Step: e.Step, Task: e.Task, Text: flagText(e), Fold: fold, event: e})
	if i > 0 && e.Step == b.d.events[i-1].Step {
		l.Step = 0 // an oracle fired at the step above
	}
	if e.Obj != "" && e.Obj != "task" && e.Obj != "machine" && !strings.Contains(l.Text, e.Obj) {
		l.Badges = append(l.Badges, e.Obj)
	}
	if e.File != "" && e.Task != "" {
		l.At = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if l.Lane >= 0 {
		b.Lanes[l.Lane].Steps++
	}
	if i == b.d.fail {
		b.FailRow = l.ID
	}
	return l
}

// addNever adds what the other tasks were about to do, that which would have changed a cell that matters first.
func (b *pageBuilder) addNever(conflict *kernel.Event) {
	matters := map[string]bool{}
	for i := range b.d.never {
		matters[b.d.never[i].Task+b.d.never[i].Cell] = true
	}
	var rest []*kernel.Event
	for i := range b.d.f.Pending {
		e := &b.d.f.Pending[i]
		if !matters[e.Task+e.Cell] {
			rest = append(rest, e)
			continue
		}
		l := b.addPending(e, -1)
		l.Conflict = conflict != nil && conflict.Task == e.Task && placeOf(conflict) == placeOf(e)
	}
	if len(rest) == 0 {
		return
	}
	b.add(line{Kind: lineFold, Text: fmt.Sprintf("what %d other tasks were about to do", len(rest)), Fold: b.folds})
	for _, e := range rest {
		b.addPending(e, b.folds)
	}
	b.folds++
}

func (b *pageBuilder) addPending(e *kernel.Event, fold int) *line {
	l := b.add(line{Kind: lineNever, Task: e.Task, Text: flagText(e), Fold: fold})
	if e.File != "" {
		l.At = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return l
}

// showLanes shows the lanes of the tasks that have a line outside the folds.
func (b *pageBuilder) showLanes() {
	for _, l := range b.Rows {
		if l.Lane >= 0 && !l.Hidden() && l.Kind != lineFold {
			b.Lanes[l.Lane].Shown = true
		}
	}
	for i := range b.Lanes {
		b.Longest = max(b.Longest, utf8.RuneCountInString(b.Lanes[i].Name))
		b.Lanes[i].Column = b.Visible
		if b.Lanes[i].Shown {
			b.Visible++
		}
	}
}

// pair finds the two operations that the failure is about: that of the failing task, and the one of another task
// that it runs into, which may be one that was never reached. That is the free of an object that the finding names;
// or else, for the latest operation of the failing task that has such a one, the last operation of another task on
// the same cell of which one writes. Indices of events, -1 and nil if there is none.
func (d *drawing) pair() (mine, theirs int, never *kernel.Event) {
	if d.fail < 0 {
		return -1, -1, nil
	}
	_, objs := d.named()
	for i := d.fail - 1; i >= 0; i-- {
		if e := &d.events[i]; e.Op == kernel.OpFree && objs[e.Obj] && d.f.Finding.Oracle != "leak" {
			return d.fail, i, nil
		}
	}
	task, k := d.failing(), 0
	for i := d.fail; i >= 0 && k < nearBack; i-- {
		e := &d.events[i]
		if e.Task != task || e.Cell == "" || e.Obj == "task" || d.quiet(e) || e.Op == kernel.OpPrintk {
			continue
		}
		k++
		if j, p := d.against(i); j >= 0 || p != nil {
			return i, j, p
		}
	}
	return d.fail, -1, nil
}

// against finds what another task did, or was about to do, to the cell of event i.
func (d *drawing) against(i int) (int, *kernel.Event) {
	e := &d.events[i]
	for n := range d.never {
		if p := &d.never[n]; p.Task != e.Task && placeOf(p) == placeOf(e) {
			return -1, p
		}
	}
	for j := i - 1; j >= 0; j-- {
		o := &d.events[j]
		if placeOf(o) == placeOf(e) && o.Task != e.Task && (o.Op.Writes() || e.Op.Writes()) && o.Op != kernel.OpAlloc {
			return j, nil
		}
	}
	return -1, nil
}
