// SPDX-License-Identifier: MIT

package history

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// Verdict is what a check comes to.
type Verdict uint8

// The verdicts. Unknown is no pass: the search was given up.
const (
	Linearizable Verdict = iota
	Wrong
	Unknown
)

func (v Verdict) String() string { return [...]string{"linearizable", "wrong", "unknown"}[v] }

// Report is a verdict and what a person needs to understand it.
type Report struct {
	Verdict Verdict
	Text    string
	Ops     int // requests looked at
	Files   int
	bad     string // the file that Text is about
}

// Check judges the history; the text says what is wrong, or that it is unknown whether something is.
func (r *Recorder) Check() (ok bool, text string) {
	report := r.Judge()
	return report.Verdict == Linearizable, report.Text
}

// Judge is Check with more to tell. The clients have ended.
func (r *Recorder) Judge() Report {
	report := Report{}
	j := r.join()
	if j.wrong != "" {
		return Report{Verdict: Wrong, Text: j.wrong}
	}
	for _, file := range j.files {
		ops := j.ops[file]
		report.Ops += len(ops)
		report.Files++
		verdict, _ := r.search(ops, false)
		if verdict == Linearizable || report.Verdict == Wrong {
			continue
		}
		if verdict == Unknown {
			report.Verdict, report.bad = Unknown, file
			report.Text = fmt.Sprintf("unknown: no order of the %d events on %s was found within %d steps, and neither was "+
				"there shown to be none; raise the budget or record a shorter history", len(ops), file, r.budget())
			continue
		}
		_, info := r.search(ops, true)
		report.Verdict, report.bad, report.Text = Wrong, file, explain(file, ops, info)
	}
	if report.Verdict == Linearizable {
		report.Text = fmt.Sprintf("linearizable: %d events on %d files", report.Ops, report.Files)
	}
	return report
}

// WriteHTML draws the history of the file that a report is about, of the first file if it found nothing wrong.
func (r *Recorder) WriteHTML(w io.Writer, report *Report) error {
	j := r.join()
	if j.wrong != "" {
		return fmt.Errorf("the history cannot be drawn: %s", j.wrong)
	}
	file := report.bad
	if file == "" && len(j.files) > 0 {
		file = j.files[0]
	}
	_, info := r.search(j.ops[file], true)
	steps := 0
	return porcupine.Visualize(r.model(&steps), info, w)
}

func (r *Recorder) budget() int {
	if r.Budget > 0 {
		return r.Budget
	}
	return DefaultBudget
}

// search looks for an order of the events. It is cut off by a number of steps, so that it ends the same everywhere.
func (r *Recorder) search(ops []porcupine.Operation, verbose bool) (Verdict, porcupine.LinearizationInfo) {
	steps := 0
	model := r.model(&steps)
	var result porcupine.CheckResult
	var info porcupine.LinearizationInfo
	if verbose {
		result, info = porcupine.CheckOperationsVerbose(model, ops, 0)
	} else {
		result = porcupine.CheckOperationsTimeout(model, ops, 0)
	}
	switch {
	case result == porcupine.Ok:
		return Linearizable, info
	case steps > r.budget():
		return Unknown, info
	}
	return Wrong, info
}

// model is the locks of one file; steps counts, for each table once.
func (r *Recorder) model(steps *int) porcupine.Model {
	budget := r.budget()
	return porcupine.Model{
		Init: func() any { return newState(table{}) },
		StepContext: func(_ context.Context, s, input, _ any) (bool, any) {
			*steps += len(s.(state).tables)
			if *steps > budget {
				return false, s
			}
			next, wrong := input.(*event).step(s.(state))
			return wrong == "", next
		},
		Equal:             func(a, b any) bool { return slices.Equal(a.(state).keys, b.(state).keys) },
		Hash:              func(s any) uint64 { return s.(state).hash() },
		DescribeOperation: func(input, _ any) string { return input.(*event).text },
		DescribeState:     func(s any) string { return s.(state).String() },
	}
}

// joined is a history as events on files.
type joined struct {
	files   []string // in the order of their first requests
	ops     map[string][]porcupine.Operation
	owners  map[string][]Owner // who ever asked for a lock, by file
	settled []int64
	wrong   string // what needs no search
}

// forever is when what was not answered may still happen.
const forever = math.MaxInt64 - 1

// join makes events of requests, answers and call backs.
func (r *Recorder) join() *joined {
	j := &joined{ops: map[string][]porcupine.Operation{}, owners: map[string][]Owner{}, settled: r.settled}
	var calls []*Call
	var grants []grant
	for _, c := range r.clients {
		calls = append(calls, c.calls...)
		grants = append(grants, c.grants...)
	}
	slices.SortStableFunc(calls, func(a, b *Call) int { return compare(a.from, b.from) })
	slices.SortStableFunc(grants, func(a, b grant) int { return compare(a.at, b.at) })
	for _, call := range calls {
		if call.Kind == Drop {
			continue
		}
		if _, known := j.ops[call.File]; !known {
			j.files = append(j.files, call.File)
			j.ops[call.File] = nil
		}
		if call.Kind == Lock && !slices.Contains(j.owners[call.File], call.Owner) {
			j.owners[call.File] = append(j.owners[call.File], call.Owner)
		}
	}
	granted := j.match(calls, grants)
	for _, call := range calls {
		j.add(call, calls, granted[call])
	}
	return j
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// match finds the request that each call back answers: the last one of that lock that was made before. A second call
// back of one is the same, sent again.
func (j *joined) match(calls []*Call, grants []grant) map[*Call]*grant {
	granted := map[*Call]*grant{}
	for i := range grants {
		g := &grants[i]
		var of *Call
		for _, call := range calls {
			if call.Kind == Lock && call.Block && call.from <= g.at && call.same(&g.Op) && call.Exclusive == g.Exclusive {
				if call.status == Blocked || call.status == NoAnswer || of == nil {
					of = call
				}
			}
		}
		switch {
		case of == nil:
			j.wrong = fmt.Sprintf("wrong: %s was told at %d that its request was granted, but nobody waits for %s",
				g.c.name, g.at, g.Op.String())
		case granted[of] != nil:
		case of.status == Denied || of.status == Deadlock || of.status == Refused:
			j.wrong = fmt.Sprintf("wrong: %s was told at %d that its request was granted, but it had been answered %s: %s",
				g.c.name, g.at, of.status, of.Op.String())
		default:
			granted[of] = g
		}
	}
	return granted
}

// put adds one event on a file.
func (j *joined) put(call *Call, from, to int64, e *event) {
	e.text = fmt.Sprintf("%s: %s -> %s", call.c.name, call.Op.String(), e.text)
	j.ops[call.File] = append(j.ops[call.File], porcupine.Operation{
		ClientId: call.c.id, Input: e, Call: from, Return: to,
	})
}

// add makes the events of one request.
func (j *joined) add(call *Call, calls []*Call, g *grant) {
	to, maybe := call.to, false
	if call.status == NoAnswer {
		to, maybe = forever, true
	}
	if call.status == Refused {
		return
	}
	want := held{call.Owner, call.Start, call.end(), call.Exclusive}
	switch call.Kind {
	case Test:
		j.addTest(call, want)
	case Unlock:
		j.put(call, call.from, to, &event{text: call.status.String(), rule: removes, want: want, maybe: maybe})
	case Drop:
		// Not one moment for all: the locks go owner by owner.
		for _, file := range j.files {
			for _, owner := range j.owners[file] {
				if owner.Host == call.Owner.Host {
					on := *call
					on.File = file
					j.put(&on, call.from, to, &event{text: "those of " + owner.String(), rule: removes, want: all(owner),
						maybe: maybe})
				}
			}
		}
	case Cancel:
		// A file's own server to which a lock is cancelled that it has just granted takes it back, whatever the answer.
		if call.Deferred {
			j.put(call, call.from, to, &event{text: call.status.String(), rule: removes, want: want, maybe: true})
		}
	case Lock:
		j.addLock(call, calls, g, want)
	}
}

func (j *joined) addTest(call *Call, want held) {
	e := &event{text: call.status.String(), rule: free, want: want}
	switch call.status {
	case NoAnswer:
		return
	case Denied:
		e.rule, e.named = taken, call.holder
		if n := call.holder; n != nil {
			h := held{n.Owner, n.Start, (&Op{Start: n.Start, Len: n.Len}).end(), n.Exclusive}
			e.text += ", held: " + h.String()
		}
	}
	j.put(call, call.from, call.to, e)
}

// addLock makes up to three events: that something was in the way when the answer was Blocked, that it still was when
// nothing was under way, and the lock itself, which is granted before the call back, or perhaps before the request is
// given up.
func (j *joined) addLock(call *Call, calls []*Call, g *grant, want held) {
	switch call.status {
	case Granted:
		j.put(call, call.from, call.to, &event{text: "granted", rule: grants, want: want})
		return
	case Denied, Deadlock:
		j.put(call, call.from, call.to, &event{text: call.status.String(), rule: taken, want: want})
		return
	case Blocked:
		if !call.Deferred {
			j.put(call, call.from, call.to, &event{text: "blocked", rule: taken, want: want})
		}
	}
	if !call.Block && call.status == Blocked {
		j.wrong = fmt.Sprintf("wrong: %s does not want to wait and was answered blocked: %s", call.c.name, call.Op.String())
		return
	}
	from, until := call.from, int64(forever)
	if call.status == Blocked {
		until = givenUp(call, calls)
	}
	if g != nil {
		until = min(until, g.at)
	}
	if call.status == Blocked {
		for _, at := range j.settled {
			if call.to <= at && at < until && !askedAgain(call, calls, at) {
				j.put(call, at, at, &event{text: "still waits", rule: taken, want: want})
				from = at
			}
		}
	}
	if g != nil {
		j.put(call, from, until, &event{text: "called back", rule: grants, want: want})
	} else {
		j.put(call, from, until, &event{text: "no call back", rule: grants, want: want, maybe: true})
	}
}

// givenUp is when a request that was answered Blocked cannot be granted any more: when the first answer has come to
// whatever took it back, which was sent after that answer.
func givenUp(waits *Call, calls []*Call) int64 {
	until := int64(forever)
	for _, call := range calls {
		if call.from < waits.to || call.status != Granted {
			continue
		}
		switch {
		case call.Kind == Drop && call.Owner.Host == waits.Owner.Host,
			(call.Kind == Cancel || call.Kind == Unlock) && call.same(&waits.Op):
			until = min(until, call.to)
		}
	}
	return until
}

// askedAgain tells whether by then there was a later request for a lock that was answered Blocked: its fate is that of
// both.
func askedAgain(waits *Call, calls []*Call, by int64) bool {
	return slices.ContainsFunc(calls, func(call *Call) bool {
		return call.Kind == Lock && waits.to <= call.from && call.from <= by && call.same(&waits.Op)
	})
}

// shown is how many events of the explained part an explanation repeats.
const shown = 12

// explain says how far the events of a file can be explained and what does not fit behind that.
func explain(file string, ops []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var best []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations()[0] {
		if len(partial) > len(best) {
			best = partial
		}
	}
	done := map[*event]bool{}
	s := newState(table{})
	var b strings.Builder
	fmt.Fprintf(&b, "wrong: no order of the %d events on %s explains them; %d of them can be:\n", len(ops), file, len(best))
	for i, op := range best {
		e := op.Input.(*event)
		done[e] = true
		s, _ = e.step(s)
		if i >= len(best)-shown {
			fmt.Fprintf(&b, "  %s  %s\n", window(op), e.text)
		}
	}
	fmt.Fprintf(&b, "then there is: %s\nand of what has to come next nothing fits:\n", s)
	limit := int64(math.MaxInt64)
	for _, op := range ops {
		if !done[op.Input.(*event)] {
			limit = min(limit, op.Return)
		}
	}
	for _, op := range ops {
		e := op.Input.(*event)
		if done[e] || op.Call > limit {
			continue
		}
		if _, wrong := e.step(s); wrong != "" {
			fmt.Fprintf(&b, "  %s  %s: %s\n", window(op), e.text, wrong)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// window is when an event can have been.
func window(op porcupine.Operation) string {
	if op.Return == forever {
		return fmt.Sprintf("%d..", op.Call)
	}
	return fmt.Sprintf("%d..%d", op.Call, op.Return)
}
