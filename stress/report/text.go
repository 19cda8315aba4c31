// SPDX-License-Identifier: MIT

// Package report shows what was found: the interleaving as a person reads it, the structures that it
// touched, and JUnit XML for CI.
package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Failure is a finding and the recorded run that has it.
type Failure struct {
	Scenario string
	Finding  *kernel.Finding
	Events   []kernel.Event
	Pending  []kernel.Event // what the other tasks were about to do when the run was ended

	Mutant  string // empty: none
	Era     string
	Backend string // sim or free
	Unusual string // parameters of the scenario that are not the defaults
	Memory  string // the memory model; empty: sequential consistency
	Chooser string // as on the command line, "pct:d=3"
	Seed    uint64

	Steps       int
	Preemptions int
	Schedule    string // name of the schedule file; empty: there is none

	// What the page shows beside it; nothing of it need be known.
	Params      string           // of the scenario
	FailAt      int              // the fallible step that was made to fail, 0: none
	Decisions   []kernel.Decided // what else was chosen but who runs
	Depth       int              // how many orderings the failure needs, 0: unknown
	Constraints []string         // those orderings, in words
	Dump        string           // the structures as the run left them
}

// The bounds of a drawing. A person takes in one screen.
const (
	maxWidth   = 150 // columns of a terminal
	maxRows    = 25
	fullRows   = 18 // what explains little is added only up to here
	maxTasks   = 4  // columns of the table
	lookBack   = 10 // operations of the failing task that say which cells matter
	nearBack   = 6  // and that matter most
	minColumn  = 14 // a text column is never cut below this
	maxColumn  = 48 // and never made wider than this
	maxPending = 3
	maxDetails = 12 // lines of the finding's own text
)

// Text writes the failure: what was found, how to get there again, the part of the interleaving that explains
// it, and the commands to go on with.
func Text(w io.Writer, f *Failure) {
	fmt.Fprintf(w, "%s\n%s\n\n", title(f), setup(f))
	d := newDrawing(f)
	d.write(w)
	if lines := details(f.Finding, d); len(lines) > 0 {
		fmt.Fprintln(w)
		for _, line := range lines {
			fmt.Fprintf(w, "%*s%s\n", d.indent(), "", clip(line, maxWidth-d.indent()))
		}
	}
	if f.Schedule != "" {
		fmt.Fprintf(w, "\nreplay:  go run ./stress replay %s\n", f.Schedule)
		fmt.Fprintf(w, "keep:    go run ./stress keep %s NAME\n", f.Schedule)
	}
}

// ours starts the oracle name of a finding that is a fault of the suite.
const ours = "SVCFUZZ BUG"

// title is the first line. A fault of the suite never reads like one of the target.
func title(f *Failure) string {
	if f.Finding.Oracle == ours {
		task := ""
		if f.Finding.Task != "" {
			task = ", task " + f.Finding.Task
		}
		return fmt.Sprintf("%s: %s: %s%s", ours, f.Scenario, f.Finding.Title, task)
	}
	return fmt.Sprintf("FAIL %s: %s", f.Scenario, f.Finding)
}

// setup is the second line: all that the run depends on.
func setup(f *Failure) string {
	var s []string
	if f.Mutant != "" {
		s = append(s, "mutant "+f.Mutant)
	}
	if f.Era != "" {
		s = append(s, "era "+f.Era)
	}
	s = append(s, "back end "+f.Backend)
	if f.Unusual != "" {
		s = append(s, f.Unusual)
	}
	if f.Memory != "" {
		s = append(s, "memory "+f.Memory)
	}
	if f.Chooser != "" && f.Chooser != f.Backend {
		kind, arg, ok := strings.Cut(f.Chooser, ":")
		if ok {
			kind += "(" + arg + ")"
		}
		s = append(s, "chooser "+kind)
	}
	s = append(s, fmt.Sprintf("seed %d", f.Seed), fmt.Sprintf("steps %d", f.Steps))
	if f.Backend != "free" {
		s = append(s, fmt.Sprintf("preemptions %d", f.Preemptions))
	}
	return strings.Join(s, "  ")
}

// details are the lines of the finding's text that the table does not show already.
func details(f *kernel.Finding, d *drawing) []string {
	text := strings.TrimRight(f.Text, "\n")
	if !strings.Contains(text, " ") || strings.HasPrefix(text, "runtime error: ") || d.fail >= 0 && d.events[d.fail].Text == text {
		return nil
	}
	lines := strings.Split(text, "\n")
	if n := len(lines) - maxDetails; n > 1 {
		lines = append(lines[:maxDetails], fmt.Sprintf("... %d more lines", n))
	}
	return lines
}

// place is one cell of one object.
type place struct{ obj, cell string }

func placeOf(e *kernel.Event) place { return place{e.Obj, e.Cell} }

// drawing is the table under construction.
type drawing struct {
	f      *Failure
	events []kernel.Event // up to the failure
	fail   int            // index of the failing event, -1 if the finding stands in no event
	score  []int          // how much each event explains; 0 is nothing
	used   map[place]bool // by the failing task, shortly before the end
	held   map[place]bool // mutexes that it holds
	never  []kernel.Event

	tasks []string // with a column
	rows  []row
	twice map[string]bool // cells that more than one shown object has
}

// row is one line of the table. Column -1 spans all of them.
type row struct {
	step   int // 0: none
	column int
	text   string
	at     string
	mark   string
}

func newDrawing(f *Failure) *drawing {
	d := &drawing{f: f, used: map[place]bool{}, held: map[place]bool{}, twice: map[string]bool{}}
	d.cut()
	d.rate()
	d.choose()
	return d
}

// cut drops what came after the failure, and joins the operation that met a bad pointer with the finding
// about it.
func (d *drawing) cut() {
	events := d.f.Events
	d.fail = slices.IndexFunc(events, func(e kernel.Event) bool { return e.Finding == d.f.Finding })
	if d.fail < 0 {
		d.fail = slices.IndexFunc(events, func(e kernel.Event) bool {
			return e.Finding != nil && e.Finding.Oracle == d.f.Finding.Oracle && e.Finding.Title == d.f.Finding.Title
		})
	}
	if d.fail < 0 {
		d.events = slices.Clone(events)
		return
	}
	d.events = slices.Clone(events[:d.fail+1])
	if n := d.fail; n > 0 && d.events[n-1].Op == kernel.OpOops && d.events[n-1].Finding == nil &&
		d.events[n-1].Task == d.events[n].Task {
		d.events = d.events[:n]
		d.fail--
		return
	}
	// The title of a finding repeats the function, which stands at the right, and the table shows what came before.
	e := &d.events[d.fail]
	if e.Finding.Func != "" {
		e.Text = strings.TrimSuffix(e.Text, " in "+e.Finding.Func)
	}
}

// isLock tells the operations that surround others and seldom explain anything.
func isLock(k kernel.OpKind) bool {
	switch k {
	case kernel.OpLock, kernel.OpUnlock, kernel.OpTryLock, kernel.OpMutexLock, kernel.OpMutexUnlock:
		return true
	}
	return false
}

// quiet tells the operations that are shown only if nothing else is left to show.
func (d *drawing) quiet(e *kernel.Event) bool {
	switch e.Op {
	case kernel.OpRcuLock, kernel.OpRcuUnlock, kernel.OpFault, kernel.OpYield, kernel.OpFreeze:
		return true
	case kernel.OpSignal:
		return !isSend(e)
	case kernel.OpBitTest:
		if e.Cell == "system_freezing" {
			return true
		}
	}
	if isLock(e.Op) && !d.held[placeOf(e)] {
		switch d.f.Finding.Oracle {
		case "lockdep", "deadlock", "sleep-in-atomic", "hang":
			return false
		}
		return true
	}
	return false
}

// isSend tells a signal that is sent from one that is looked at.
func isSend(e *kernel.Event) bool { return strings.HasPrefix(e.Text, "send_sig(") }

// isLife tells the events of a task's life: made, woken, started, asleep, sent a signal, told to stop, gone. The
// cell of all of them is the task's own.
func isLife(e *kernel.Event) bool {
	switch e.Op {
	case kernel.OpStart, kernel.OpExit, kernel.OpWake, kernel.OpStop:
		return true
	case kernel.OpSignal:
		return isSend(e)
	case kernel.OpSchedule:
		return strings.Contains(e.Text, "sleeps")
	}
	return false
}

// What an event is worth. The table is filled from the top; from worthRow down only as long as there is plenty of room.
const (
	worthFail   = 1000
	worthNear   = 90 // the failing task's last operations, 2 less for each step back
	worthFreed  = 88 // the free of an object that the finding names
	worthNamed  = 78 // the last write to a cell that the finding names
	worthWriter = 76 // the last write of another task to a cell that the failing one used near the end
	worthBirth  = 70 // a thread is made, woken for the first time, told to stop
	worthStart  = 68
	worthSleep  = 66 // a task's last
	worthRow    = 60
	worthPrintk = 58
	worthFar    = 56 // as worthWriter, for a cell that was used longer ago
	worthBefore = 52 // the write before the last
	worthLife   = 42
	worthAlloc  = 40
	worthOld    = 25
	worthRead   = 20
)

// rate says how much each event explains. The cells of the failing task's last operations matter, and with
// them whoever wrote them last; so do the objects and cells that the finding names, the lives of the tasks that took
// part, and what they were about to do to one of those cells when the run was over.
func (d *drawing) rate() {
	d.score = make([]int, len(d.events))
	end := len(d.events)
	if d.fail >= 0 {
		end = d.fail
		d.score[d.fail] = worthFail
	}
	involved := map[string]bool{}
	near := map[place]bool{}
	words, objs := d.named()
	if task := d.failing(); task != "" {
		d.rateHeld(end, task, near)
		d.rateLast(end, task, involved, near)
	}
	d.rateNamed(end, words, objs, involved, near)
	if d.f.Finding.Task == "" || d.f.Finding.Oracle == "hang" {
		// Nobody did it: the explanation is what those did last whom the finding names, or else everybody.
		left := d.left(end)
		subjects := slices.DeleteFunc(slices.Clone(left), func(task string) bool { return !contains(d.f.Finding.Title, task) })
		if len(subjects) == 0 && (len(near) == 0 || d.f.Finding.Oracle == "hang") {
			subjects = left
		}
		for _, task := range left {
			involved[task] = true
		}
		for _, task := range subjects {
			d.rateLast(end, task, involved, map[place]bool{})
		}
	}
	d.rateWriters(end, near, involved)
	d.pick(near, involved)
	d.rateLives(end, involved)
	for i := range d.events[:end] {
		e := &d.events[i]
		switch {
		case e.Op == kernel.OpPrintk:
			d.raise(i, worthPrintk)
		case d.used[placeOf(e)] && !d.quiet(e):
			d.raise(i, worthRead)
		}
	}
}

func (d *drawing) raise(i, worth int) { d.score[i] = max(d.score[i], worth) }

// rateLast rates the last operations of a task, and notes which cells it used: near those of the very last.
func (d *drawing) rateLast(end int, task string, involved map[string]bool, near map[place]bool) {
	involved[task] = true
	k := 0
	for i := end - 1; i >= 0 && k < lookBack; i-- {
		e := &d.events[i]
		if e.Task != task || d.quiet(e) {
			continue
		}
		if k < nearBack {
			d.raise(i, worthNear-2*k)
		} else {
			d.raise(i, worthBefore)
		}
		k++
		if e.Cell == "" || e.Obj == "task" || e.Op == kernel.OpPrintk {
			continue
		}
		d.used[placeOf(e)] = true
		if k <= nearBack {
			near[placeOf(e)] = true
		}
	}
}

// rateHeld rates the taking of the mutexes that a task holds at the end: who held them before it, and let go of
// them too early, often explains a state that must not be.
func (d *drawing) rateHeld(end int, task string, near map[place]bool) {
	since := map[place]int{}
	for i := range d.events[:end] {
		e := &d.events[i]
		if e.Task != task {
			continue
		}
		switch e.Op {
		case kernel.OpMutexLock:
			since[placeOf(e)] = i
		case kernel.OpMutexUnlock:
			delete(since, placeOf(e))
		}
	}
	for p, i := range since {
		d.held[p], d.used[p], near[p] = true, true, true
		d.raise(i, worthRow)
	}
}

// rateNamed rates what happened to the objects and cells that the finding names.
func (d *drawing) rateNamed(end int, words, objs, involved map[string]bool, near map[place]bool) {
	count := map[place]int{}
	for i := end - 1; i >= 0; i-- {
		e := &d.events[i]
		switch {
		case e.Op == kernel.OpRcuCall && objs[strings.TrimPrefix(e.Text, "call_rcu ")]:
			d.raise(i, worthFreed)
			involved[e.Task] = true
		case !objs[e.Obj]:
		case e.Op == kernel.OpFree:
			d.raise(i, worthFreed)
			involved[e.Task] = true
		case e.Op == kernel.OpAlloc:
			d.raise(i, worthAlloc)
		case words[e.Cell]:
			p := placeOf(e)
			d.used[p], near[p] = true, true
			if !e.Op.Writes() || d.quiet(e) {
				continue
			}
			count[p]++
			switch count[p] {
			case 1:
				d.raise(i, worthNamed)
				involved[e.Task] = true
			case 2:
				d.raise(i, worthRow)
			default:
				d.raise(i, worthOld)
			}
		}
	}
}

// rateLives rates the lives of the tasks that took part.
func (d *drawing) rateLives(end int, involved map[string]bool) {
	slept, ran, woken := map[string]bool{}, map[string]bool{}, map[string]int{}
	for i := end - 1; i >= 0; i-- {
		e := &d.events[i]
		if !isLife(e) || !involved[e.Task] && !involved[e.Cell] {
			continue
		}
		worth := worthLife
		switch e.Op {
		case kernel.OpStart:
			switch {
			case strings.HasPrefix(e.Text, "kthread_create"):
				worth = worthBirth
				if at, ok := woken[e.Cell]; ok { // what has been seen last, walking back, was the first
					d.raise(at, worthBirth)
				}
			case strings.HasPrefix(e.Text, "spawn"):
			case !ran[e.Task]:
				worth = worthStart
			}
			if e.Task == e.Cell || strings.HasSuffix(e.Text, " runs") {
				ran[e.Task] = true
			}
		case kernel.OpStop, kernel.OpSignal:
			worth = worthBirth
		case kernel.OpWake:
			woken[e.Cell] = i
		case kernel.OpSchedule:
			if !slept[e.Task] {
				worth = worthSleep
			}
			slept[e.Task] = true
		}
		d.raise(i, worth)
	}
}

// failing is the task that the finding is about.
func (d *drawing) failing() string {
	if d.f.Finding.Task != "" {
		return d.f.Finding.Task
	}
	if d.fail >= 0 {
		return d.events[d.fail].Task
	}
	return ""
}

// left are the tasks that had not ended, those that acted last first.
func (d *drawing) left(end int) []string {
	gone := map[string]bool{} // a softirq comes again under its name
	for i := range d.events[:end] {
		switch e := &d.events[i]; e.Op {
		case kernel.OpStart:
			delete(gone, e.Task)
		case kernel.OpExit:
			gone[e.Task] = true
		}
	}
	var names []string
	for i := end - 1; i >= 0 && len(names) < maxTasks; i-- {
		if task := d.events[i].Task; task != "" && !gone[task] && !slices.Contains(names, task) {
			names = append(names, task)
		}
	}
	return names
}

// contains says whether text names word: neither a part of a longer word nor of a longer name.
func contains(text, word string) bool {
	for rest := text; ; {
		before, after, ok := strings.Cut(rest, word)
		if !ok {
			return false
		}
		if (before == "" || !isNameByte(before[len(before)-1])) && (after == "" || !isNameByte(after[0])) {
			return true
		}
		rest = after
	}
}

func isNameByte(b byte) bool {
	return b == '_' || b == '-' || b == '/' || b == '#' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// named are the words of the finding, and the objects among them.
func (d *drawing) named() (words, objs map[string]bool) {
	words, objs = map[string]bool{}, map[string]bool{}
	for word := range strings.FieldsFuncSeq(d.f.Finding.Title+" "+d.f.Finding.Text, func(r rune) bool {
		return !(r == '_' || r == '#' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}) {
		words[word] = true
	}
	for i := range d.events {
		if o := d.events[i].Obj; words[o] && o != "task" {
			objs[o] = true
		}
	}
	return words, objs
}

// rateWriters rates the writes of the others to the cells that matter, the last one of each cell highest.
func (d *drawing) rateWriters(end int, near map[place]bool, involved map[string]bool) {
	failing := d.failing()
	count := map[place]int{}
	for i := end - 1; i >= 0; i-- {
		e := &d.events[i]
		p := placeOf(e)
		if !d.used[p] || !e.Op.Writes() || d.quiet(e) || e.Task == failing {
			continue
		}
		count[p]++
		switch {
		case count[p] > 2:
			d.raise(i, worthOld)
		case count[p] == 2:
			d.raise(i, worthBefore)
		case near[p]:
			d.raise(i, worthWriter)
			involved[e.Task] = true
		default:
			d.raise(i, worthFar)
		}
	}
}

// pick takes the operations that were never reached and would have changed a cell that matters.
func (d *drawing) pick(near map[place]bool, involved map[string]bool) {
	for _, e := range d.f.Pending {
		if len(d.never) == maxPending || !e.Op.Writes() || e.Op == kernel.OpAdd || !near[placeOf(&e)] || d.quiet(&e) {
			continue
		}
		e.Text = flagText(&e)
		d.never = append(d.never, e)
		involved[e.Task] = true
	}
}

// choose takes the events that explain most, as long as the table stays small.
func (d *drawing) choose() {
	order := make([]int, 0, len(d.events))
	for i := range d.events {
		if d.score[i] > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if c := cmp.Compare(d.score[b], d.score[a]); c != 0 {
			return c
		}
		return cmp.Compare(b, a)
	})
	var tasks []string
	shown := map[int]bool{}
	room := maxRows - len(d.never)
	for _, i := range order {
		e := &d.events[i]
		fresh := e.Task != "" && !slices.Contains(tasks, e.Task)
		if fresh && len(tasks) == maxTasks {
			continue
		}
		shown[i] = true
		with := tasks
		if fresh {
			with = append(slices.Clip(tasks), e.Task)
		}
		limit := room
		if d.score[i] < worthRow {
			limit = min(room, fullRows)
		}
		if leastRows(shown) > limit || len(d.layOut(shown, with)) > limit {
			delete(shown, i)
			continue
		}
		tasks = with
	}
	// The columns stand in the order in which their tasks come in.
	slices.SortStableFunc(tasks, func(a, b string) int { return cmp.Compare(first(d.events, shown, a), first(d.events, shown, b)) })
	d.tasks = tasks
	d.ambiguous(shown)
	d.rows = d.layOut(shown, tasks)
}

// leastRows is how many rows layOut makes at least: one for each event that is shown, one for what was left out before it.
// That is quickly found, while to lay out takes a look at all events.
func leastRows(shown map[int]bool) int {
	rows := len(shown)
	for i := range shown {
		if i > 0 && !shown[i-1] {
			rows++
		}
	}
	return rows
}

func first(events []kernel.Event, shown map[int]bool, task string) int {
	for i := range events {
		if shown[i] && events[i].Task == task {
			return i
		}
	}
	return len(events)
}

// ambiguous notes the cells that two shown objects have, so that their rows name the object.
func (d *drawing) ambiguous(shown map[int]bool) {
	objs := map[string]string{}
	for i := range d.events {
		e := &d.events[i]
		if !shown[i] || e.Cell == "" || e.Obj == "task" || isLock(e.Op) {
			continue
		}
		if o, ok := objs[e.Cell]; ok && o != e.Obj {
			d.twice[e.Cell] = true
		}
		objs[e.Cell] = e.Obj
	}
}

// later is how much virtual time must pass between two rows to be worth a row of its own.
const later = kernel.HZ / 2

// layOut makes the rows for a choice of events: one for each, one for what was left out between two of them
// and a task, and one where the clock moved on.
func (d *drawing) layOut(shown map[int]bool, tasks []string) []row {
	var rows []row
	prev := -1
	for i := range d.events {
		if !shown[i] {
			continue
		}
		rows = append(rows, d.fold(prev+1, i, prev < 0, tasks)...)
		e := &d.events[i]
		if prev >= 0 && e.Now-d.events[prev].Now >= later {
			rows = append(rows, row{column: -1, text: "--- " + span(e.Now-d.events[prev].Now) + " later ---"})
		}
		r := d.row(i, tasks)
		if i > 0 && r.step == d.events[i-1].Step {
			r.step = 0 // an oracle fired at the step above
		}
		prev = i
		rows = append(rows, r)
	}
	if d.fail < 0 && prev+1 < len(d.events) {
		rows = append(rows, d.fold(prev+1, len(d.events), prev < 0, tasks)...)
	}
	return rows
}

func (d *drawing) row(i int, tasks []string) row {
	e := &d.events[i]
	r := row{step: e.Step, column: slices.Index(tasks, e.Task), text: flagText(e)}
	if d.twice[e.Cell] && e.Obj != "task" && !strings.Contains(r.text, e.Obj) {
		r.text += " (" + e.Obj + ")"
	}
	if e.File != "" && e.Task != "" {
		r.at = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if i == d.fail {
		r.mark = "<- " + d.f.Finding.Oracle
		if utf8.RuneCountInString(r.text) > maxColumn {
			r.column = -1
		}
	}
	return r
}

// fold makes the rows for the events from..to that are not shown: each switch is seen unless there are too
// many of them. What came before the first shown event is one row.
func (d *drawing) fold(from, to int, all bool, tasks []string) []row {
	type stretch struct {
		task string
		n, i int
	}
	var parts []stretch
	for i := from; i < to; i++ {
		if k := len(parts) - 1; k >= 0 && parts[k].task == d.events[i].Task {
			parts[k].n++
		} else {
			parts = append(parts, stretch{d.events[i].Task, 1, i})
		}
	}
	columns := !slices.ContainsFunc(parts, func(s stretch) bool { return !slices.Contains(tasks, s.task) })
	switch {
	case len(parts) == 0:
		return nil
	case len(parts) <= 2 && columns && !all:
		var rows []row
		for _, s := range parts {
			if s.n == 1 {
				rows = append(rows, d.row(s.i, tasks))
				continue
			}
			rows = append(rows, row{column: slices.Index(tasks, s.task), text: fmt.Sprintf("... %d more", s.n)})
		}
		return rows
	}
	var names []string
	for _, s := range parts {
		if s.task != "" && !slices.Contains(names, s.task) {
			names = append(names, s.task)
		}
	}
	of := strings.Join(names, ", ")
	if len(names) > 4 {
		of = fmt.Sprintf("%s and %d others", strings.Join(names[:3], ", "), len(names)-3)
	}
	return []row{{column: -1, text: fmt.Sprintf("... %d more of %s", to-from, of)}}
}

// span spells a stretch of virtual time.
func span(j kernel.Jiffies) string {
	if j%kernel.HZ == 0 {
		return fmt.Sprintf("%d s", j/kernel.HZ)
	}
	return fmt.Sprintf("%.1f s", float64(j)/float64(kernel.HZ))
}

// flagPrefix is what the C names of a word's bits start with.
var flagPrefix = map[string]string{
	"rq_flags": "RQ_", "xpt_flags": "XPT_", "sp_flags": "SP_", "sock_flags": "SOCK_", "cache_head.flags": "CACHE_",
}

// flagText is the event's text with its bits spelt as C spells them: the floor knows BUSY of which there are two.
func flagText(e *kernel.Event) string {
	if e.Op == kernel.OpSignal && e.Text == "send_sig "+e.Cell {
		return "look at signals"
	}
	prefix := flagPrefix[e.Cell]
	if prefix == "" {
		return e.Text
	}
	switch e.Op {
	case kernel.OpBitSet, kernel.OpBitClear, kernel.OpBitTest, kernel.OpBitTAS, kernel.OpBitTAC:
		op, bit, ok := strings.Cut(e.Text, " ")
		if ok && !strings.HasPrefix(bit, prefix) && !strings.HasPrefix(bit, e.Cell) {
			return op + " " + prefix + bit
		}
	case kernel.OpRead:
		head, rest, ok := strings.Cut(e.Text, "(")
		names, tail, ok2 := strings.Cut(rest, ")")
		if ok && ok2 {
			bits := strings.Split(names, "|")
			for i, b := range bits {
				if !strings.HasPrefix(b, prefix) {
					bits[i] = prefix + b
				}
			}
			return head + "(" + strings.Join(bits, "|") + ")" + tail
		}
	}
	return e.Text
}

const stepWidth, gap = 4, 2

func (d *drawing) indent() int { return stepWidth + gap }

// sheet is where what of the table goes.
type sheet struct {
	w      io.Writer
	indent int
	width  []int // of the columns
	whole  int   // of all of them, for what spans them
}

// write draws the table.
func (d *drawing) write(w io.Writer) {
	rows := slices.Concat(d.rows, d.neverRows())
	s := d.sheet(w, rows)
	s.head(d.tasks)
	for _, r := range rows {
		cells := []string{r.text}
		if r.column >= 0 {
			cells = make([]string, len(d.tasks))
			cells[r.column] = r.text
		}
		s.line(r.step, cells, r.at, r.mark)
	}
}

// neverRows are what was announced and not reached any more.
func (d *drawing) neverRows() []row {
	var rows []row
	for _, e := range d.never {
		r := row{column: -1, text: fmt.Sprintf("never reached: %s  %s", e.Task, e.Text)}
		if e.File != "" {
			r.at = fmt.Sprintf("%s:%d", e.File, e.Line)
		}
		rows = append(rows, r)
	}
	return rows
}

// sheet gives each column what its rows need, and takes from the widest until all have room.
func (d *drawing) sheet(w io.Writer, rows []row) *sheet {
	width := make([]int, len(d.tasks))
	for c, name := range d.tasks {
		width[c] = min(utf8.RuneCountInString(name), 30)
	}
	at, mark := len("at"), 0
	wide := 0 // of what spans the columns
	for _, r := range rows {
		at, mark = max(at, len(r.at)), max(mark, len(r.mark))
		if r.column >= 0 {
			width[r.column] = max(width[r.column], min(utf8.RuneCountInString(r.text), maxColumn))
		} else {
			wide = max(wide, min(utf8.RuneCountInString(r.text), 90))
		}
	}
	if mark > 0 {
		mark += gap
	}
	room := maxWidth - d.indent() - at - mark
	for sum(width)+gap*len(width) > room {
		c := widest(width)
		if width[c] <= minColumn {
			break
		}
		width[c]--
	}
	if n := len(width); n > 0 && sum(width)+gap*(n-1) < wide {
		width[n-1] += min(wide-sum(width)-gap*(n-1), max(0, room-sum(width)-gap*n))
	}
	whole := sum(width) + gap*max(len(width)-1, 0)
	if len(width) == 0 {
		whole = wide
	}
	return &sheet{w, d.indent(), width, whole}
}

// head names the columns.
func (s *sheet) head(tasks []string) {
	var b strings.Builder
	b.WriteString("step  ")
	for c, name := range tasks {
		b.WriteString(pad(clip(name, s.width[c]), s.width[c]+gap))
	}
	if len(tasks) == 0 {
		b.WriteString(pad("", s.whole+gap))
	}
	fmt.Fprintln(s.w, strings.TrimRight(b.String()+"at", " "))
}

// line draws one row: a cell for each column, or one that spans them.
func (s *sheet) line(step int, cells []string, at, mark string) {
	var b strings.Builder
	if step > 0 {
		fmt.Fprintf(&b, "%*d  ", stepWidth, step)
	} else {
		fmt.Fprintf(&b, "%*s", s.indent, "")
	}
	if len(cells) == 1 && len(s.width) != 1 {
		b.WriteString(pad(clip(cells[0], s.whole), s.whole+gap))
	} else {
		for c, text := range cells {
			b.WriteString(pad(clip(text, s.width[c]), s.width[c]+gap))
		}
	}
	b.WriteString(at)
	if mark != "" {
		b.WriteString("  " + mark)
	}
	fmt.Fprintln(s.w, strings.TrimRight(b.String(), " "))
}

func sum(width []int) int {
	n := 0
	for _, w := range width {
		n += w
	}
	return n
}

func widest(width []int) int {
	c := 0
	for i := range width {
		if width[i] > width[c] {
			c = i
		}
	}
	return c
}

// clip cuts text to n columns; two dots say that it was cut.
func clip(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:max(n-2, 0)]) + ".."
}

func pad(text string, n int) string {
	return text + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(text)))
}
