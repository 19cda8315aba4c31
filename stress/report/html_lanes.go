// SPDX-License-Identifier: MIT

package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

const (
	maxColours = 12 // of lock classes; the style has as many
	maxSlots   = 4  // locks of one task side by side
)

// stretch is what runs down a lane over some lines: a lock that is held, a wake-up under way.
type stretch struct {
	from, to int // IDs of lines; to may be behind the last one
	lane     int
	classes  string
	title    string
}

// pass puts the stretch into the lines between its ends. A fold's own line stands for its lines while they are
// hidden: it shows what goes through it, and where the stretch begins or ends among them, that.
func (b *pageBuilder) pass(s stretch, first, last string) {
	for id := s.from; id <= min(s.to, len(b.Rows)-1); id++ {
		l := b.Rows[id]
		classes := fmt.Sprintf("%s t%d", s.classes, s.lane)
		switch id {
		case s.from:
			classes += first
		case s.to:
			classes += last
		}
		l.Segments = append(l.Segments, segment{classes, s.title})
		if id == s.to && l.Hidden() {
			b.foldLine(id).endWithin(s, last)
		}
	}
	if l := b.Rows[s.from]; l.Hidden() && (s.to >= len(b.Rows) || b.Rows[s.to].Fold != l.Fold) {
		head := b.foldLine(s.from)
		head.Segments = append(head.Segments, segment{fmt.Sprintf("%s t%d closed%s", s.classes, s.lane, first), s.title})
	}
}

// foldLine is the line that stands for the fold of a line.
func (b *pageBuilder) foldLine(id int) *line {
	fold := b.Rows[id].Fold
	for b.Rows[id].Kind != lineFold || b.Rows[id].Fold != fold {
		id--
	}
	return b.Rows[id]
}

// endWithin makes the part of the stretch that goes into a fold end there while the fold is closed.
func (l *line) endWithin(s stretch, last string) {
	through := fmt.Sprintf("%s t%d", s.classes, s.lane)
	for i := range l.Segments {
		if l.Segments[i].Classes == through {
			l.Segments[i].Classes += " open"
			l.Segments = append(l.Segments, segment{through + " closed" + last, s.title})
			return
		}
	}
}

// addLocks draws the locks that tasks hold, from the line that takes one to the line that gives it back. That one may be
// of another lane: a store buffer gives back what its task has taken.
func (b *pageBuilder) addLocks() {
	type hold struct{ lane, from, slot int }
	held := map[place]hold{}
	used := map[int][]bool{} // by lane: slots that are taken
	colour := map[string]int{}
	end := func(k place, to int) {
		h, ok := held[k]
		if !ok {
			return
		}
		delete(held, k)
		used[h.lane][h.slot] = false
		title := k.cell
		if k.obj != "" && k.obj != "machine" {
			title += " of " + k.obj
		}
		b.pass(stretch{
			h.from, to, h.lane, fmt.Sprintf("bar c%d s%d", colour[k.cell]%maxColours, min(h.slot, maxSlots-1)),
			b.Lanes[h.lane].Name + " holds " + title,
		}, " from", " to")
	}
	var order []place // what may still be held, in the order of taking
	for _, l := range b.Rows {
		if l.event == nil || l.Lane < 0 {
			continue
		}
		k := placeOf(l.event)
		switch {
		case takes(l.event):
			end(k, l.ID)
			slot := slices.Index(used[l.Lane], false)
			if slot < 0 {
				slot = len(used[l.Lane])
				used[l.Lane] = append(used[l.Lane], false)
			}
			used[l.Lane][slot] = true
			if _, ok := colour[k.cell]; !ok {
				colour[k.cell] = len(b.Locks)
				b.Locks = append(b.Locks, lock{k.cell, len(b.Locks) % maxColours})
			}
			held[k] = hold{l.Lane, l.ID, slot}
			order = append(order, k)
		case l.event.Op == kernel.OpUnlock || l.event.Op == kernel.OpMutexUnlock:
			end(k, l.ID)
		}
	}
	for _, k := range order {
		end(k, len(b.Rows))
	}
}

// takes says that the event takes a lock.
func takes(e *kernel.Event) bool {
	switch e.Op {
	case kernel.OpLock, kernel.OpMutexLock:
		return true
	case kernel.OpTryLock:
		return strings.HasSuffix(e.Text, "true")
	}
	return false
}

// addWakes draws an arrow from each wake-up to what the woken task does next.
func (b *pageBuilder) addWakes() {
	next := map[int]int{} // by lane: its next line, for a walk from the end
	ends := make([][]int, len(b.Rows))
	for id := len(b.Rows) - 1; id >= 0; id-- {
		l := b.Rows[id]
		if l.event != nil {
			for _, task := range l.event.Wakes {
				to, ok := next[b.lanes[task]]
				if _, known := b.lanes[task]; !known || !ok {
					to = -1
				}
				ends[id] = append(ends[id], to)
			}
		}
		if l.Lane >= 0 && l.Kind != lineDecision && l.Kind != lineFold {
			next[l.Lane] = id
		}
	}
	for id, l := range b.Rows {
		for i, to := range ends[id] {
			if to < 0 || b.Rows[to].Lane == l.Lane {
				continue
			}
			woken := b.Rows[to].Lane
			title := fmt.Sprintf("%s makes %s runnable", l.Task, b.Lanes[woken].Name)
			if l.Lane < 0 {
				title = l.event.Wakes[i] + " becomes runnable"
			}
			b.pass(stretch{id, to, woken, "wake", title}, fmt.Sprintf(" hop f%d", max(l.Lane, 0)), " into")
		}
	}
}

// addStates keeps for each step what is known of the structure that it touched, and what has changed since the
// operation on it before.
func (b *pageBuilder) addStates() {
	words := map[string]int{}
	b.Data = data{Steps: map[int]*look{}}
	last := map[string]*look{}
	lastID := map[string]int{}
	state := map[string]string{}
	for _, l := range b.Rows {
		e := l.event
		if e == nil {
			continue
		}
		x := &look{Object: object(e), Func: e.Func, Now: span(e.Now), Prev: -1, Next: -1}
		if e.Obj != "task" {
			x.Field = strings.ToLower(strings.ReplaceAll(e.Cell, "_", "")) // rq_task is RqTask
		}
		b.Data.Steps[l.ID] = x
		if x.Object == "" {
			continue
		}
		if before, ok := last[x.Object]; ok {
			x.Prev, before.Next = lastID[x.Object], l.ID
		}
		last[x.Object], lastID[x.Object] = x, l.ID
		if e.State == "" {
			continue
		}
		for _, c := range diff(state[x.Object], e.State) {
			i, ok := words[c.text]
			if !ok {
				i = len(b.Data.Words)
				words[c.text] = i
				b.Data.Words = append(b.Data.Words, c.text)
			}
			x.Diff = append(x.Diff, c.sign, i)
		}
		state[x.Object] = e.State
	}
}

// object names the structure that an event touched, so that no other has the name; empty for none.
func object(e *kernel.Event) string {
	switch e.Obj {
	case "", "machine":
		return ""
	case "task":
		return "task " + strings.TrimSuffix(e.Cell, ".exited")
	}
	return e.Obj
}

// change is a line of a difference: 0 as before, 1 new, -1 gone.
type change struct {
	sign int
	text string
}

// diff tells how the lines of before became those of after. Without a before nothing is new.
func diff(before, after string) []change {
	to := strings.Split(strings.TrimSuffix(after, "\n"), "\n")
	if before == "" {
		out := make([]change, len(to))
		for i, text := range to {
			out[i] = change{0, text}
		}
		return out
	}
	from := strings.Split(strings.TrimSuffix(before, "\n"), "\n")
	common := make([][]int, len(from)+1) // length of the longest common subsequence of the rests
	for i := range common {
		common[i] = make([]int, len(to)+1)
	}
	for i := len(from) - 1; i >= 0; i-- {
		for j := len(to) - 1; j >= 0; j-- {
			if from[i] == to[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []change
	i, j := 0, 0
	for i < len(from) || j < len(to) {
		switch {
		case i < len(from) && j < len(to) && from[i] == to[j]:
			out = append(out, change{0, to[j]})
			i, j = i+1, j+1
		case j == len(to) || i < len(from) && common[i+1][j] >= common[i][j+1]:
			out = append(out, change{-1, from[i]})
			i++
		default:
			out = append(out, change{1, to[j]})
			j++
		}
	}
	return out
}
