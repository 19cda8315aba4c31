// SPDX-License-Identifier: MIT

package portfolio

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/scratch"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// What is in a state folder.
const (
	journalName = "journal" // header and progress
	lockName    = "lock"    // held by the process that explores
	corpusName  = "corpus"  // parents of the feedback search, as tapes
	foundFolder = "found"   // one schedule file for each finding, as it was found
	foundSuffix = ".schedule"
)

// state is the folder of an exploration.
type state struct {
	dir     string
	mu      sync.Mutex // of the journal
	journal *ledger
	corpus  *ledger
	lock    *os.File
	written map[string]int // chunks of each lane in the journal
}

// entry is one record of the journal: the first one holds the header, the others what a lane has come to.
type entry struct {
	Header map[string]string `json:"header,omitempty"`

	Lane   string      `json:"lane,omitempty"`
	Merged int         `json:"merged,omitempty"` // chunks
	Total  *job.Search `json:"total,omitempty"`
	Once   []uint64    `json:"once,omitempty"` // traces seen for the first time
	More   []uint64    `json:"more,omitempty"` // traces seen again for the first time

	Ended bool `json:"ended,omitempty"` // the budget is spent
}

// Header is what an exploration in a folder was begun with: the seed under "seed". It is nil if there is none.
func Header(dir string) (header map[string]string, ended bool, err error) {
	records, _, err := readLedger(filepath.Join(dir, journalName))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, false, nil
	}
	if err != nil || len(records) == 0 {
		return nil, false, err
	}
	for i, r := range records {
		var e entry
		if err := json.Unmarshal(r, &e); err != nil {
			return nil, false, fmt.Errorf("%s:%d: %w", filepath.Join(dir, journalName), i+1, err)
		}
		if i == 0 {
			header = e.Header
		}
		ended = ended || e.Ended
	}
	return header, ended, nil
}

// header says on what the numbers of an exploration depend.
func (x *explorer) header() (map[string]string, error) {
	code, err := codeVersion()
	if err != nil {
		return nil, err
	}
	e := x.job.Explore
	var names []string
	for _, l := range x.lanes {
		names = append(names, l.name)
	}
	return map[string]string{
		"scenario": x.job.Scenario, "params": x.job.Params, "era": x.job.Era, "mutant": x.job.Mutant,
		"seed": strconv.FormatUint(x.job.Seed, 10), "code": code, "searches": strings.Join(names, " "),
		"schedules": strconv.Itoa(e.Schedules), "shard": fmt.Sprintf("%d/%d", e.Shard, e.Shards), "faults": e.Faults,
		"fail-at": strconv.Itoa(x.job.FailAt), "detect": strconv.FormatBool(x.job.Detect), "memory": x.job.Memory,
	}, nil
}

// codeVersion is the hash of the command that explores: of the code of suite and target, and of what compiled it.
var codeVersion = sync.OnceValues(func() (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), errors.Join(err, f.Close())
})

// openState begins a folder, or goes on with one.
func openState(x *explorer) (*state, error) {
	e := x.job.Explore
	s := &state{dir: e.State, written: map[string]int{}}
	header, err := x.header()
	if err != nil {
		return nil, err
	}
	old, ended, err := Header(s.dir)
	switch {
	case err != nil:
		return nil, &job.UsageError{What: err.Error()}
	case e.Resume && old == nil:
		return nil, refuse("%s: there is no exploration to go on with; leave --resume out to begin one", s.dir)
	}
	if err := s.enter(); err != nil {
		return s, err
	}
	switch {
	case e.Resume:
		return s, s.resume(x, old, header)
	case old != nil && !ended:
		return s, refuse("%s: holds an exploration that has not come to its end (seed %s); go on with "+
			"it with --resume, or name another folder with --state", s.dir, old["seed"])
	}
	return s, s.begin(header)
}

// enter makes the folder and keeps others out of it.
func (s *state) enter() error {
	if err := os.MkdirAll(filepath.Join(s.dir, foundFolder), 0o755); err != nil {
		return refuse("%s: no folder can be made there (%v); name another with --state", s.dir,
			errors.Unwrap(err))
	}
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(s.dir, lockName), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return refuse("%s: cannot be written (%v); name another folder with --state", s.dir,
			errors.Unwrap(err))
	}
	if !scratch.Lock(s.lock) {
		return refuse("%s: another process explores there; wait for its end, or name another folder "+
			"with --state", s.dir)
	}
	return nil
}

// begin empties the folder for a new exploration.
func (s *state) begin(header map[string]string) error {
	names, err := filepath.Glob(filepath.Join(s.dir, foundFolder, "*"+foundSuffix))
	for _, name := range names {
		err = errors.Join(err, os.Remove(name)) // of an exploration that is over, and was reported
	}
	if err != nil {
		return err
	}
	if s.corpus, err = createLedger(filepath.Join(s.dir, corpusName)); err != nil {
		return err
	}
	if s.journal, err = createLedger(filepath.Join(s.dir, journalName)); err != nil {
		return err
	}
	return errors.Join(s.journal.append(entry{Header: header}), s.journal.flush())
}

// resume reads what an earlier process has left.
func (s *state) resume(x *explorer, old, header map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(header)) {
		if old[key] == header[key] {
			continue
		}
		what := fmt.Sprintf("%s was begun with %s %q, and this is %q", s.dir, key, old[key], header[key])
		if key == "code" {
			what = fmt.Sprintf("%s was begun by other code (the command had the hash %s, this one has %s)", s.dir,
				old[key], header[key])
		}
		return &job.UsageError{What: what + "; its numbers would not be those of one search: begin anew with another --state"}
	}
	var records [][]byte
	var err error
	if s.journal, records, err = openLedger(filepath.Join(s.dir, journalName)); err != nil {
		return err
	}
	if err := s.readCorpus(x); err != nil {
		return err
	}
	for _, r := range records[1:] {
		var e entry
		if err := json.Unmarshal(r, &e); err != nil {
			return err
		}
		s.restore(x, &e)
	}
	return s.readFound(x)
}

// readCorpus reads the parents of the feedback search, and lets it go on from them. With a budget of schedules it
// begins again instead, so that it comes to what it would have come to.
func (s *state) readCorpus(x *explorer) error {
	name := filepath.Join(s.dir, corpusName)
	if x.job.Explore.Schedules > 0 {
		var err error
		s.corpus, err = createLedger(name)
		return err
	}
	var records [][]byte
	var err error
	if s.corpus, records, err = openLedger(name); err != nil {
		return err
	}
	var tapes []string
	for _, r := range records {
		var t string
		if err := json.Unmarshal(r, &t); err != nil {
			return err
		}
		tapes = append(tapes, t)
	}
	for _, l := range x.lanes {
		if f, ok := l.serial.(*fuzz); ok {
			if err := f.begin(tapes); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// resumes says whether a lane goes on from its entries in the journal. One that does not begins again: what it knows is
// not in there, and it comes to the same.
func (x *explorer) resumes(l *lane, total *job.Search) bool {
	switch l.serial.(type) {
	case nil:
		return true
	case *fuzz:
		return x.job.Explore.Schedules == 0
	}
	return l.exhaustive() && total.Exhausted
}

// restore takes an entry of the journal over.
func (s *state) restore(x *explorer, e *entry) {
	i := slices.IndexFunc(x.lanes, func(l *lane) bool { return l.name == e.Lane })
	if i < 0 || e.Total == nil {
		return
	}
	l := x.lanes[i]
	if !x.resumes(l, e.Total) {
		return
	}
	l.total, l.merged, l.given = *e.Total, e.Merged, e.Merged
	for _, state := range e.Once {
		l.seen.add(state, false)
	}
	for _, state := range e.More {
		l.seen.add(state, true)
	}
	s.written[l.name] = l.merged
	if l.budget > 0 && l.given*chunk >= l.budget {
		l.finished = true
	}
	if l.proves() {
		x.covered(l)
	}
}

// flush writes what has been counted since the last time. It is on disk when flush returns.
func (s *state) flush(x *explorer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.mu.Lock()
	var entries []entry
	var tapes []explore.Tape
	for _, l := range x.lanes {
		if f, ok := l.serial.(*fuzz); ok {
			tapes = append(tapes, f.take()...)
		}
		if l.merged == s.written[l.name] {
			continue
		}
		s.written[l.name] = l.merged
		total := l.total
		total.Hits, total.Depths = maps.Clone(total.Hits), slices.Clone(total.Depths)
		e := entry{Lane: l.name, Merged: l.merged, Total: &total}
		if !l.exhaustive() {
			e.Once, e.More = l.since.once, l.since.more
		}
		l.since = delta{}
		entries = append(entries, e)
	}
	x.mu.Unlock()
	var err error
	for _, t := range tapes {
		err = errors.Join(err, s.corpus.append(t.String()))
	}
	if len(tapes) > 0 {
		err = errors.Join(err, s.corpus.flush())
	}
	for _, e := range entries {
		err = errors.Join(err, s.journal.append(e))
	}
	if len(entries) > 0 {
		err = errors.Join(err, s.journal.flush())
	}
	return err
}

// end writes the last of the journal.
func (s *state) end(x *explorer) error {
	if err := s.flush(x); err != nil {
		return err
	}
	over := true
	for _, l := range x.lanes {
		over = over && l.finished
	}
	if !over && !x.enough && !x.spent {
		return nil
	}
	return errors.Join(s.journal.append(entry{Ended: true}), s.journal.flush())
}

// close closes the journal. A nil state is none.
func (s *state) close() {
	if s == nil {
		return
	}
	for _, l := range []*ledger{s.journal, s.corpus} {
		if l != nil {
			_ = l.close() // flush has told of what went wrong
		}
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

// keep writes the schedule of a finding at once. It is there when keep returns.
func (s *state) keep(j job.Job, f *find, opt kernel.Options) error {
	h := fnv.New64a()
	_, _ = h.Write([]byte(f.key))
	f.Schedule.Meta = job.Head(j, &f.Found, opt)
	name := fmt.Sprintf("%016x%s", h.Sum64(), foundSuffix)
	return writeDurably(filepath.Join(s.dir, foundFolder, name), f.Schedule.Text())
}

// readFound takes over the findings, and runs each once more.
func (s *state) readFound(x *explorer) error {
	names, err := filepath.Glob(filepath.Join(s.dir, foundFolder, "*"+foundSuffix))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := x.takeOver(name); err != nil {
			return refuse("%s: %v; remove the file to look for the finding again", name, err)
		}
	}
	return nil
}

// takeOver reads the schedule of one finding.
func (x *explorer) takeOver(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	sched, err := explore.Parse(text)
	if err != nil {
		return err
	}
	by, key := sched.Meta["chooser"], sched.Meta["key"]
	at, err := strconv.Atoi(sched.Meta["number"])
	i := slices.IndexFunc(x.lanes, func(l *lane) bool { return l.name == by })
	if err != nil || i < 0 {
		return fmt.Errorf("its head names no schedule of a search (chooser %q, number %q)", by, sched.Meta["number"])
	}
	res := x.workers[0].run.Run(explore.NewReplay(sched), x.lanes[i].opt)
	var f *kernel.Finding
	if f = res.Worst(); f == nil || keyOf(f) != key {
		return fmt.Errorf("the schedule does not find %q any more", key)
	}
	x.finds[key] = &find{Found: job.Found{By: by, At: at, Finding: f, Schedule: sched}, key: key, place: i}
	return nil
}
