// SPDX-License-Identifier: MIT

package mutant

import (
	"bufio"
	"bytes"
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
)

// Options of a [Pool]. The zero value is the usual one.
type Options struct {
	Eras         Eras
	Runner       string        // folder of the runner's main package; stress/runner if empty
	Parallel     int           // builds at a time; 2 if zero: each one keeps several compilers busy
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

// Pool builds variants of the module in scratch folders, each once, a few at a time, on the shared
// build cache. Its methods may be called from several goroutines.
type Pool struct {
	root, module, dir string
	opt               Options
	ctx               context.Context
	cancel            context.CancelFunc
	slots             chan struct{}

	mu     sync.Mutex
	closed bool
	jobs   map[key]*job
	wg     sync.WaitGroup
}

type job struct {
	done    chan struct{}
	variant *Variant
	err     error
}

// Variant is a built runner and the folder that holds its source.
type Variant struct {
	Dir     string   // root of the patched module; package fuzz may be built there as well
	Binary  string   // the runner
	Patches []string // IDs that it must report, sorted
	Era     string
}

// scratchPrefix starts the name of every scratch folder.
const scratchPrefix = "svcfuzz-scratch-"

// staleAfter is the age at which a scratch folder cannot belong to a live run any more.
const staleAfter = 48 * time.Hour

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
	sweep(os.TempDir(), time.Now().Add(-staleAfter))
	dir, err := os.MkdirTemp("", scratchPrefix)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Pool{
		root: root, module: module, dir: dir, opt: opt, ctx: ctx, cancel: cancel,
		slots: make(chan struct{}, opt.Parallel), jobs: map[key]*job{},
	}, nil
}

// sweep removes what runs left behind that were killed before they could clean up. It is best
// effort: a folder that cannot be removed is somebody else's.
func sweep(temp string, before time.Time) {
	old, _ := filepath.Glob(filepath.Join(temp, scratchPrefix+"*"))
	for _, dir := range old {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && info.ModTime().Before(before) {
			_ = os.RemoveAll(dir)
		}
	}
}

// Close stops the builds that are under way, waits for them and removes all scratch folders. It may be
// called more than once.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
	return os.RemoveAll(p.dir)
}

// Start begins a build without waiting for it, so that it runs beside a search. A later [Pool.Get]
// of the same request gets its result.
func (p *Pool) Start(r Request) {
	p.start(r)
}

// start finds or begins the job of a request.
func (p *Pool) start(r Request) *job {
	if r.Era == "" {
		r.Era = TreeEra
	}
	k := key{era: r.Era, race: r.Race}
	if r.Mutant != nil {
		k.mutant = r.Mutant.ID
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.jobs[k]
	if j != nil {
		return j
	}
	j = &job{done: make(chan struct{})}
	if p.closed {
		j.err = errors.New("the build pool is closed")
		close(j.done)
		return j
	}
	p.jobs[k] = j
	dir := filepath.Join(p.dir, fmt.Sprintf("%03d", len(p.jobs)))
	p.wg.Go(func() {
		defer close(j.done)
		select {
		case p.slots <- struct{}{}:
			defer func() { <-p.slots }()
		case <-p.ctx.Done():
			j.err = p.ctx.Err()
			return
		}
		if j.variant, j.err = p.make(r, dir); j.err != nil {
			j.err = errors.Join(j.err, os.RemoveAll(dir))
		}
	})
	return j
}

// Get returns the variant of a request, building it if nobody has yet. The error is a [StaleError],
// a [BrokenError], or a fault that says nothing about the patch. The build goes on for other callers
// if ctx ends.
func (p *Pool) Get(ctx context.Context, r Request) (*Variant, error) {
	j := p.start(r)
	select {
	case <-j.done:
		return j.variant, j.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// make copies, patches, marks and builds.
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
	v := &Variant{Dir: filepath.Join(dir, "src"), Binary: filepath.Join(dir, "runner"), Era: r.Era, Patches: []string{}}
	for _, patch := range series {
		v.Patches = append(v.Patches, patch.ID)
	}
	slices.Sort(v.Patches)
	if err := os.MkdirAll(v.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := copyModule(p.ctx, p.root, v.Dir); err != nil {
		return nil, err
	}
	marks, err := applySeries(v.Dir, series)
	if err != nil {
		return nil, err
	}
	if err := mark(v.Dir, p.module, p.opt.Runner, marks); err != nil {
		return nil, err
	}
	if err := build(p.ctx, v.Dir, p.opt.Runner, v.Binary, r.Race, series, p.opt.BuildTimeout); err != nil {
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
// runner ends with 0, or with 1 after a finding; anything else, a crash and running longer than limit
// included, is a [FaultError] with both ends of its standard error. limit 0 is none.
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
