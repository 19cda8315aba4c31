// SPDX-License-Identifier: MIT

package portfolio

import (
	"sync/atomic"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// chunk is how many schedules are handed out at a time. Shards are made of whole chunks.
const chunk = 64

// lane is one search of the portfolio with what came of it. What several workers do in it is put together in the order
// of the schedule numbers, so that its counts are those of a prefix of its stream.
type lane struct {
	name   string // of the search with the faults that it allows: "pos", "pos+timer=1"
	search string // what it is without them
	place  int    // among the lanes
	weight int    // its share of the budget
	budget int    // schedules of this shard; 0: no limit
	opt    kernel.Options
	shard  shard
	serial serial // of a search that goes on from one schedule to the next; nil for samplers

	given    int            // chunks handed out
	busy     int            // of them, those that are being run
	merged   int            // chunks that are counted
	ahead    map[int]*piece // chunks that wait for those before them
	finished bool           // nothing is left to hand out
	covered  bool           // an exhaustive search has come to its end meanwhile
	over     atomic.Bool    // so that it may be left in the midst of a chunk

	total job.Search
	seen  classes
	since delta // the last entry in the journal
}

// shard is a part of a stream: chunks at, at+of, at+2*of ...
type shard struct{ at, of int }

// share is how many of n schedules belong to the shard.
func (s shard) share(n int) int {
	whole := n / chunk
	mine := (whole - s.at + s.of - 1) / s.of * chunk
	if whole%s.of == s.at {
		mine += n % chunk
	}
	return mine
}

// delta is what has changed since the last entry in the journal.
type delta struct{ once, more []uint64 }

// serial is a search whose next schedule depends on those before it. One worker at a time goes on with it.
type serial interface {
	open(x *explorer) error
	// next prepares a schedule; false if there is none any more.
	next() (kernel.Chooser, bool)
	// on is the program on the search's own machine.
	on() explore.Runner
	// close gives back the machine.
	close()
}

// counter is a search that counts its traces itself.
type counter interface{ counts(s *job.Search) }

// piece is a chunk on its way: what is to be run and what came of it.
type piece struct {
	lane  *lane
	at    int    // its place among the chunks of the lane's shard
	first uint64 // number of its first schedule, from 1
	size  int

	cut   bool // the search was ended before the piece was
	last  bool // nothing comes behind it
	total job.Search
	seen  map[uint64]bool // traces; true: more than once
	spent time.Duration
}

// ready says whether a worker may take a chunk of the lane.
func (l *lane) ready(window int) bool {
	switch {
	case l.finished || l.serial != nil && l.busy > 0 || l.given >= l.merged+window:
		return false
	}
	return l.budget == 0 || l.given*chunk < l.budget
}

// cost is what the lane has used of its share.
func (l *lane) cost() float64 { return float64(l.total.Spent) / float64(l.weight) }

// take hands out the next chunk.
func (l *lane) take() *piece {
	p := &piece{lane: l, at: l.given, size: chunk, seen: map[uint64]bool{}}
	p.first = uint64(l.shard.at+l.given*l.shard.of)*chunk + 1
	if l.budget > 0 {
		p.size = min(chunk, l.budget-l.given*chunk)
	}
	l.given++
	l.busy++
	return p
}

// done counts what came of a piece, and of those that waited for it.
func (l *lane) done(p *piece) {
	l.busy--
	l.total.Spent += p.spent
	l.ahead[p.at] = p
	for {
		p := l.ahead[l.merged]
		if p == nil || p.cut {
			break
		}
		delete(l.ahead, l.merged)
		l.merged++
		l.count(p)
	}
	if e, ok := l.serial.(counter); ok {
		e.counts(&l.total)
	}
	if p.last || l.budget > 0 && l.given*chunk >= l.budget {
		l.finished = true
	}
}

// settle counts what was left open when the search was ended: schedules of which some before them were not run.
func (l *lane) settle() {
	for _, p := range l.ahead {
		l.count(p)
	}
	clear(l.ahead)
}

// count adds a piece to the lane.
func (l *lane) count(p *piece) {
	add(&l.total, &p.total)
	for state, several := range p.seen {
		if !l.seen.add(state, several) {
			continue
		}
		if several || l.seen.more[state] {
			l.since.more = append(l.since.more, state)
		} else {
			l.since.once = append(l.since.once, state)
		}
	}
	l.total.Exhausted = l.total.Exhausted || p.last
}

// add adds the counts of a part, all but the time that it took.
func add(sum, part *job.Search) {
	sum.Schedules += part.Schedules
	sum.Steps += part.Steps
	sum.MaxTasks, sum.MaxSteps = max(sum.MaxTasks, part.MaxTasks), max(sum.MaxSteps, part.MaxSteps)
	sum.MaxPick = max(sum.MaxPick, part.MaxPick)
	for len(sum.Depths) < len(part.Depths) {
		sum.Depths = append(sum.Depths, 0)
	}
	for d, n := range part.Depths {
		sum.Depths[d] += n
	}
	sum.Among = max(sum.Among, part.Among)
	for key, n := range part.Hits {
		if sum.Hits == nil {
			sum.Hits = map[string]int{}
		}
		sum.Hits[key] += n
	}
}

// note counts one run in the piece.
func (p *piece) note(res *kernel.Result, choices int, trace uint64) {
	t := &p.total
	t.Steps += int64(res.Steps)
	t.MaxTasks, t.MaxSteps = max(t.MaxTasks, len(res.Tasks)), max(t.MaxSteps, res.Steps)
	t.MaxPick = max(t.MaxPick, choices)
	t.Schedules++
	if res.Pruned {
		return
	}
	_, again := p.seen[trace]
	p.seen[trace] = again
}

// drawn counts the depth of a schedule in the piece.
func (p *piece) drawn(depth, among int) {
	if depth == 0 {
		return
	}
	t := &p.total
	for len(t.Depths) <= depth {
		t.Depths = append(t.Depths, 0)
	}
	t.Depths[depth]++
	t.Among = among
}

// hit counts a finding in the piece.
func (p *piece) hit(key string) {
	if p.total.Hits == nil {
		p.total.Hits = map[string]int{}
	}
	p.total.Hits[key]++
}
