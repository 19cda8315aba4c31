// SPDX-License-Identifier: MIT

package mutant

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed17199236/svcfuzz/stress/scratch"
)

// Options of a [Pool]. The zero value is the usual one.
type Options struct {
	Eras         Eras
	Runner       string        // folder of the runner's main package; stress/runner if empty
	Parallel     int           // builds at a time; 2 if zero: each one keeps several compilers busy
	Ahead        int           // builds that were started and nobody has waited for yet, at most; 2 if zero
	BuildTimeout time.Duration // 5 minutes if zero
}

// Request names a build.
type Request struct {
	Era    string // TreeEra if empty
	Mutant *Patch // nil for the era as it is
	Race   bool   // with the race detector
}

// For is the request for a mutant in the era it is planted in.
func For(m *Mutant) Request {
	return Request{Era: m.Era, Mutant: m.Diff()}
}

// Diff is the patch that is compiled in. Mutants that share a diff share its ID, and so the build.
func (m *Mutant) Diff() *Patch {
	p := m.Patch
	p.ID = m.BuildID()
	return &p
}

type key struct {
	era, mutant string
	race        bool
}

// Pool builds variants of the module, each once, a few at a time, on the shared build cache. A variant stays until all
// that started it are done with it. Its methods may be called from several goroutines.
type Pool struct {
	root, module string
	folder       *scratch.Folder
	opt          Options
	ctx          context.Context
	cancel       context.CancelFunc

	mu       sync.Mutex
	closed   bool
	jobs     map[key]*job
	queue    []*job // that are not begun, in their order
	building int
	made     int // for the names of folders
	wg       sync.WaitGroup
}

type job struct {
	request Request
	done    chan struct{}
	variant *Variant
	err     error

	uses   int  // of those that started it, and are not done with it
	wanted bool // somebody has waited for it
	begun  bool
}

// Variant is a built runner and where its source is.
type Variant struct {
	Binary  string   // the runner
	Patches []string // IDs that it must report, sorted
	Era     string

	root, overlay string // what [Variant.Go] reads
	race          bool
}

// RaceError is a data race that a runner was ended by: one that was built with the race detector is by the first.
type RaceError struct {
	Report string // as the detector words it
}

func (e *RaceError) Error() string { return "data race\n" + e.Report }

// raceExit is the exit code of a runner that the race detector ends.
const raceExit = 66

// NewPool prepares a pool for the module at root. Close it to remove everything it made.
func NewPool(root string, opt Options) (*Pool, error) {
	module, err := modulePath(root)
	if err != nil {
		return nil, err
	}
	if opt.Runner == "" {
		opt.Runner = "stress/runner"
	}
	if opt.Parallel <= 0 {
		opt.Parallel = 2
	}
	if opt.BuildTimeout <= 0 {
		opt.BuildTimeout = 5 * time.Minute
	}
	if opt.Ahead <= 0 {
		opt.Ahead = 2
	}
	folder, err := scratch.New("scratch")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Pool{
		root: root, module: module, folder: folder, opt: opt, ctx: ctx, cancel: cancel, jobs: map[key]*job{},
	}, nil
}

// Close stops the builds that are under way, waits for them and removes all scratch folders. It may be
// called more than once.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, j := range p.queue {
		j.end(nil, errClosed)
	}
	p.queue = nil
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
	return p.folder.Remove()
}

var errClosed = errors.New("the build pool is closed")

// Start begins a build without waiting for it, so that it runs beside a search; it waits for its turn if enough was
// built ahead. A later [Pool.Get] of the same request gets its result. Who calls it calls [Pool.Done] at the end.
func (p *Pool) Start(r Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.job(r).uses++
}

// Done says that one of those that started a request needs it no more. What was built for it goes with the last of them.
func (p *Pool) Done(r Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := keyOf(r)
	j := p.jobs[k]
	if j == nil {
		return
	}
	if j.uses--; j.uses > 0 {
		return
	}
	delete(p.jobs, k)
	if p.queue = slices.DeleteFunc(p.queue, func(q *job) bool { return q == j }); !j.begun {
		j.end(nil, errClosed)
	}
	if j.ended() && j.variant != nil {
		_ = os.RemoveAll(filepath.Dir(j.variant.Binary)) // else Close will
	}
	p.pump()
}

func keyOf(r Request) key {
	k := key{era: cmp.Or(r.Era, TreeEra), race: r.Race}
	if r.Mutant != nil {
		k.mutant = r.Mutant.ID
	}
	return k
}

// job finds or queues the job of a request. The caller holds the lock.
func (p *Pool) job(r Request) *job {
	r.Era = cmp.Or(r.Era, TreeEra)
	k := keyOf(r)
	j := p.jobs[k]
	if j != nil {
		return j
	}
	j = &job{request: r, done: make(chan struct{})}
	if p.closed {
		j.end(nil, errClosed)
		return j
	}
	p.jobs[k] = j
	p.queue = append(p.queue, j)
	p.pump()
	return j
}

func (j *job) end(v *Variant, err error) {
	j.variant, j.err = v, err
	close(j.done)
}

func (j *job) ended() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// pump begins what may begin: what somebody waits for, and as much of the rest as is to be built ahead. The caller holds
// the lock.
func (p *Pool) pump() {
	for p.building < p.opt.Parallel {
		i := slices.IndexFunc(p.queue, func(j *job) bool { return j.wanted })
		if i < 0 && len(p.queue) > 0 && p.ahead() < p.opt.Ahead {
			i = 0
		}
		if i < 0 {
			return
		}
		j := p.queue[i]
		p.queue = slices.Delete(p.queue, i, i+1)
		p.made++
		dir := filepath.Join(p.folder.Dir, fmt.Sprintf("%03d", p.made))
		p.building++
		j.begun = true
		p.wg.Go(func() {
			v, err := p.make(j.request, dir)
			if err != nil {
				err = errors.Join(err, os.RemoveAll(dir))
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.building--
			j.end(v, err)
			if p.jobs[keyOf(j.request)] != j {
				_ = os.RemoveAll(dir) // all are done with it already
			}
			p.pump()
		})
	}
}

// ahead counts what was begun for nobody so far.
func (p *Pool) ahead() (n int) {
	for _, j := range p.jobs {
		if j.begun && !j.wanted {
			n++
		}
	}
	return n
}

// Building is how many builds are under way, and how many are ready for somebody who has not come for them.
func (p *Pool) Building() (now, ready int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range p.jobs {
		if !j.wanted && j.ended() {
			ready++
		}
	}
	return p.building, ready
}

// Get returns the variant of a request, building it if nobody has yet. The error is a [StaleError],
// a [BrokenError], a [MissingError], or a fault that says nothing about the patch. The build goes on for
// other callers if ctx ends.
func (p *Pool) Get(ctx context.Context, r Request) (*Variant, error) {
	p.mu.Lock()
	j := p.job(r)
	j.wanted = true
	p.pump()
	p.mu.Unlock()
	select {
	case <-j.done:
		return j.variant, j.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// make patches, marks and builds.
func (p *Pool) make(r Request, dir string) (*Variant, error) {
	eras, err := p.opt.Eras.Series(r.Era)
	if err != nil {
		return nil, err
	}
	var series []*Patch
	for _, era := range eras {
		series = append(series, &era.Patch)
	}
	if r.Mutant != nil {
		series = append(series, r.Mutant)
	}
	v := &Variant{
		Binary: filepath.Join(dir, "runner"), Era: r.Era, Patches: []string{}, root: p.root, race: r.Race,
		overlay: filepath.Join(dir, "overlay.json"),
	}
	for _, patch := range series {
		v.Patches = append(v.Patches, patch.ID)
	}
	slices.Sort(v.Patches)
	o := &overlay{root: p.root, dir: filepath.Join(dir, sources)}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	if err := o.take(series); err != nil {
		return nil, err
	}
	marks, err := applySeries(o.dir, series)
	if err != nil {
		return nil, err
	}
	if err := o.mark(p.module, p.opt.Runner, marks); err != nil {
		return nil, err
	}
	if err := o.json(v.overlay); err != nil {
		return nil, err
	}
	if err := v.build(p.ctx, p.module, p.opt.Runner, r.Race, series, p.opt.BuildTimeout); err != nil {
		return nil, err
	}
	return v, nil
}

// FaultError is a fault of the suite, not of the target.
type FaultError struct {
	What string
}

func (e *FaultError) Error() string {
	return "SVCFUZZ BUG: " + e.What
}

// Run starts the runner with options as JSON on its standard input and calls line for every line that it
// prints, except for the first: that one must be {"mutants":[...]} and name exactly the patches
// of the variant, so that a patch that was not compiled in cannot pass for one that survived. The
// runner ends with 0, or with 1 after a finding. What the race detector sees is a [RaceError]; anything
// else, a crash and running longer than limit included, is a [FaultError] with both ends of its standard
// error. limit 0 is none.
func (v *Variant) Run(ctx context.Context, options any, limit time.Duration, line func(json.RawMessage) error) error {
	input, err := json.Marshal(options)
	if err != nil {
		return err
	}
	timed, cancel := context.WithCancel(ctx)
	if limit > 0 {
		timed, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	cmd := exec.CommandContext(timed, v.Binary)
	cmd.Stdin = bytes.NewReader(input)
	if v.race {
		cmd.Env = append(os.Environ(), fmt.Sprintf("GORACE=halt_on_error=1 atexit_sleep_ms=0 exitcode=%d", raceExit))
	}
	stderr := &ends{max: 64 << 10}
	cmd.Stderr = stderr
	// SIGQUIT makes the Go run-time print every goroutine before it ends the process.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 5 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := v.read(stdout, line)
	if readErr != nil {
		cancel()
	}
	waitErr := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(timed.Err(), context.DeadlineExceeded):
		return &FaultError{fmt.Sprintf("the runner took longer than %s\n%s", limit, stderr)}
	case v.race && errors.As(waitErr, &exit) && exit.ExitCode() == raceExit:
		return &RaceError{stderr.String()}
	case readErr != nil:
		return readErr
	case errors.As(waitErr, &exit) && exit.ExitCode() == 1:
		return nil
	case waitErr != nil:
		return &FaultError{fmt.Sprintf("the runner failed: %v\n%s", waitErr, stderr)}
	}
	return nil
}

// read passes the lines of a runner on after it has checked the first.
func (v *Variant) read(stdout io.Reader, line func(json.RawMessage) error) error {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 256<<20) // a finding carries its whole trace
	if !lines.Scan() {
		return &FaultError{"the runner printed nothing"}
	}
	var first struct {
		Mutants []string `json:"mutants"`
	}
	if err := json.Unmarshal(lines.Bytes(), &first); err != nil {
		return &FaultError{fmt.Sprintf("the runner's first line is %q, not its list of patches", lines.Text())}
	}
	slices.Sort(first.Mutants)
	if !slices.Equal(first.Mutants, v.Patches) {
		return &FaultError{fmt.Sprintf("the runner carries the patches [%s], but [%s] were asked for",
			strings.Join(first.Mutants, " "), strings.Join(v.Patches, " "))}
	}
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := line(bytes.Clone(lines.Bytes())); err != nil {
			return err
		}
	}
	return lines.Err()
}

// ends keeps both ends of a stream: a Go dump starts with the reason, a talkative runner ends with it,
// and neither may fill the memory.
type ends struct {
	max  int
	head []byte
	rest []byte
}

// Write keeps the first and the last max/2 bytes.
func (t *ends) Write(b []byte) (int, error) {
	n := len(b)
	if room := t.max/2 - len(t.head); room > 0 {
		k := min(room, len(b))
		t.head, b = append(t.head, b[:k]...), b[k:]
	}
	t.rest = append(t.rest, b...)
	if over := len(t.rest) - t.max/2; over > 0 {
		t.rest = append(t.rest[:0], t.rest[over:]...)
	}
	return n, nil
}

// String is what was kept.
func (t *ends) String() string {
	if len(t.rest) == 0 {
		return string(t.head)
	}
	return string(t.head) + "\n...\n" + string(t.rest)
}
