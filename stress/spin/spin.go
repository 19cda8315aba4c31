// SPDX-License-Identifier: MIT

// Package spin compares the explorer with SPIN (Holzmann, The SPIN Model Checker, 2003): the same small program as a
// model in Promela and as one of package program, verified by both in one run, and a counterexample of SPIN's replayed
// on the floor.
package spin

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/program"
	"github.com/seed17199236/svcfuzz/stress/scratch"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

//go:embed lsr.pml
var model []byte

// Programs are those that are compared if nothing else is said.
var Programs = []string{"lsr", "lsr-fixed", "pad(5)", "pad(20)", "cont(2)", "cont(5)", "pad(300)", "cont(100)"}

// Row is what one tool made of one program.
type Row struct {
	Program string        `json:"program"`
	Tool    string        `json:"tool"` // "spin", "svcfuzz"
	Mode    string        `json:"mode"`
	Count   int           `json:"count"`
	Unit    string        `json:"unit"` // "states", "runs"
	Elapsed time.Duration `json:"elapsed_ns"`
	Build   time.Duration `json:"build_ns,omitempty"` // to make the verifier from the model
	Bug     bool          `json:"bug"`
	Trail   int           `json:"trail,omitempty"` // operations of the shortest counterexample that it met
	Whole   bool          `json:"whole"`           // it came to its end
	Note    string        `json:"note,omitempty"`
}

// MissingError says which program of the peer is not there, and what to install.
type MissingError struct{ Program string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed; run make install-peers-spin, or apt-get install spin gcc", e.Program)
}

// DisagreeError says in what SPIN and the explorer disagree.
type DisagreeError struct{ What string }

func (e *DisagreeError) Error() string { return "DISAGREE " + e.What }

func disagree(format string, args ...any) error { return &DisagreeError{fmt.Sprintf(format, args...)} }

// Models says what is wrong with the name of a program that has no model; nil if it has one.
func Models(name string) error {
	_, err := defines(name)
	return err
}

// Installed says what is missing to run SPIN; nil if nothing is.
func Installed() error {
	for _, name := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(name); err != nil {
			return &MissingError{name}
		}
	}
	return nil
}

// sized reads the size of a program, from 1 on.
var sized = regexp.MustCompile(`^(pad|cont)(-fixed)?\((\d+)\)$`)

// defines are the parameters of the model for a program.
func defines(name string) ([]string, error) {
	switch name {
	case "lsr":
		return nil, nil
	case "lsr-fixed":
		return []string{"-DFIXED=1"}, nil
	}
	m := sized.FindStringSubmatch(name)
	if m == nil || m[3] == "0" {
		return nil, fmt.Errorf("no model of %s; choose lsr, lsr-fixed, pad(N), cont(N), pad-fixed(N) or cont-fixed(N)", name)
	}
	list := []string{"-D" + strings.ToUpper(m[1]) + "=" + m[3]}
	if m[2] != "" {
		list = append(list, "-DFIXED=1")
	}
	return list, nil
}

// mode is a way to verify the model.
type mode struct {
	name, unit string
	compile    []string
	run        []string
}

var modes = []mode{
	{"every state", "states", []string{"-DNOREDUCE"}, []string{"-c0"}}, // -c0 goes on behind an error
	{"partial order reduction", "states", nil, []string{"-c0"}},
	{"breadth first", "states", []string{"-DNOREDUCE", "-DBFS"}, []string{"-c1"}},
}

// Verify lets SPIN verify a program in every mode. The trail is the shortest counterexample as process numbers, one for
// each operation; nil if there is none.
func Verify(ctx context.Context, name string) (rows []Row, trail []int, err error) {
	params, err := defines(name)
	if err != nil {
		return nil, nil, err
	}
	folder, err := scratch.New("spin")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = folder.Remove() }()
	dir := folder.Dir
	if err := os.WriteFile(filepath.Join(dir, "lsr.pml"), model, 0o600); err != nil {
		return nil, nil, err
	}
	if _, err := run(ctx, dir, "spin", append(params, "-a", "lsr.pml")...); err != nil {
		return nil, nil, err
	}
	for _, m := range modes {
		start := time.Now()
		args := slices.Concat([]string{"-w", "-O2", "-DSAFETY"}, m.compile, []string{"-o", "pan", "pan.c"})
		if _, err := run(ctx, dir, "gcc", args...); err != nil {
			return nil, nil, err
		}
		built := time.Now()
		output, err := run(ctx, dir, "./pan", append(slices.Clone(m.run), "-n", "-m100000", "-w20")...)
		if err != nil {
			return nil, nil, err
		}
		row := Row{Program: name, Tool: "spin", Mode: m.name, Unit: m.unit}
		row.Elapsed, row.Build = time.Since(built), built.Sub(start)
		if err := row.read(output); err != nil {
			return nil, nil, err
		}
		if m.name == "breadth first" && row.Bug {
			if trail, err = readTrail(filepath.Join(dir, "lsr.pml.trail")); err != nil {
				return nil, nil, err
			}
			row.Trail = len(trail)
			row.Note = "to the first error"
		}
		rows = append(rows, row)
	}
	return rows, trail, nil
}

// run runs a program in dir and returns what it wrote. SPIN's verifiers say by their words and not by their exit code
// what they found.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil && (name != "./pan" || !errors.As(err, &exit)) {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, oneLine(output))
	}
	return output, nil
}

var (
	storedWords = regexp.MustCompile(`(?m)^\s*(\d+) states, stored`)
	// A state from which nothing goes on, or a search that was cut off.
	deadlockWords = regexp.MustCompile(`(?m)^pan:\d+: invalid end state|max search depth too small`)
	errorWords    = regexp.MustCompile(`errors: (\d+)`)
)

// read takes the figures from what a verifier wrote.
func (r *Row) read(output []byte) error {
	stored, errs := storedWords.FindSubmatch(output), errorWords.FindSubmatch(output)
	if stored == nil || errs == nil || deadlockWords.Match(output) {
		return fmt.Errorf("spin verifies %s otherwise than expected: %s", r.Program, oneLine(output))
	}
	var err1, err2 error
	var n int
	r.Count, err1 = strconv.Atoi(string(stored[1]))
	n, err2 = strconv.Atoi(string(errs[1]))
	r.Bug, r.Whole = n > 0, true
	return errors.Join(err1, err2)
}

// oneLine joins the lines of a report.
func oneLine(output []byte) string { return strings.Join(strings.Fields(string(output)), " ") }

// readTrail reads a trail: lines DEPTH:PROCESS:TRANSITION, those with a negative depth being settings.
func readTrail(name string) ([]int, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseTrail(data)
}

func parseTrail(data []byte) ([]int, error) {
	var trail []int
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		var depth, process, transition int
		if _, err := fmt.Sscanf(sc.Text(), "%d:%d:%d", &depth, &process, &transition); err != nil {
			return nil, fmt.Errorf("trail: %q is not of the form DEPTH:PROCESS:TRANSITION", sc.Text())
		}
		if depth > 0 {
			trail = append(trail, process)
		}
	}
	return trail, sc.Err()
}

// tasks are the names of the model's processes in the program: SPIN numbers them as they are made.
var tasks = []string{program.First, "E", "T"}

// Schedule is a trail as a schedule of the program: one operation for each transition.
func Schedule(trail []int) (*explore.Schedule, error) {
	s := &explore.Schedule{}
	for _, process := range trail {
		if process < 0 || process >= len(tasks) {
			return nil, fmt.Errorf("trail: there is no process %d", process)
		}
		if n := len(s.Segments); n > 0 && s.Segments[n-1].Task == tasks[process] {
			s.Segments[n-1].Steps++
		} else {
			s.Segments = append(s.Segments, explore.Segment{Task: tasks[process], Steps: 1})
		}
	}
	return s, nil
}

// Replay performs a counterexample of SPIN's on the floor. The error says what happens otherwise than in the model: the
// bug must be met by the very last operation.
func Replay(name string, trail []int) error {
	p, err := program.Parse(name)
	if err != nil {
		return err
	}
	s, err := Schedule(trail)
	if err != nil {
		return err
	}
	m := kernel.NewSim()
	defer m.Close()
	rep := explore.NewReplay(s)
	res := p.Run(m, rep, kernel.Options{})
	f := res.Worst()
	switch {
	case rep.Diverged != "":
		return disagree("%s: the floor does not follow SPIN's trail: %s", name, rep.Diverged)
	case s.Left(res) != "":
		return disagree("%s: the floor does not follow SPIN's trail: %s", name, s.Left(res))
	case f == nil:
		return disagree("%s: SPIN's trail does not fail on the floor", name)
	case f.Step != len(trail):
		return disagree("%s: SPIN's trail fails at operation %d, the floor at %d", name, len(trail), f.Step)
	}
	return nil
}

// search is one of the explorer's ways to go through all schedules.
type search struct {
	name string
	next func() bool
	kernel.Chooser
}

// searches are those that are compared with SPIN.
func searches() []search {
	plain := &explore.Bounded{Bound: math.MaxInt32, Plain: true}
	cached := &explore.Bounded{Bound: 2}
	source, optimal := &explore.DPOR{}, &explore.DPOR{Optimal: true}
	return []search{
		{"every interleaving", plain.Next, plain},
		{"state cache, bounded:n=2", cached.Next, cached},
		{"source DPOR", source.Next, source},
		{"optimal DPOR", optimal.Next, optimal},
	}
}

// Explore lets the explorer go through a program in each of its ways, for at most limit each.
func Explore(ctx context.Context, name string, limit time.Duration) ([]Row, error) {
	p, err := program.Parse(name)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, s := range searches() {
		m := kernel.NewSim()
		row := Row{Program: name, Tool: "svcfuzz", Mode: s.name, Unit: "runs", Whole: true}
		start := time.Now()
		for s.next() {
			if row.Count&255 == 255 && (time.Since(start) > limit || ctx.Err() != nil) {
				row.Whole = false
				break
			}
			res := p.Run(m, s, kernel.Options{Causal: strings.HasPrefix(s.name, "state cache")})
			if res.Pruned && row.Count == 0 {
				continue // it only found the machine
			}
			row.Count++
			if f := res.Worst(); f != nil && !res.Pruned {
				row.Bug = true
				if row.Trail == 0 || f.Step < row.Trail {
					row.Trail = f.Step
				}
			}
		}
		row.Elapsed = time.Since(start)
		m.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !row.Whole {
			row.Note = "stopped"
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// Compare verifies the programs with both and replays SPIN's counterexamples. The error is one of wrong use
// ([*MissingError], an unknown program), of the end of ctx, or says in what the two disagree.
func Compare(ctx context.Context, names []string, limit time.Duration, each func([]Row)) error {
	if err := Installed(); err != nil {
		return err
	}
	for _, name := range names {
		theirs, trail, err := Verify(ctx, name)
		if err != nil {
			return err
		}
		ours, err := Explore(ctx, name, limit)
		if err != nil {
			return err
		}
		if trail != nil {
			if err := Replay(name, trail); err != nil {
				return err
			}
		}
		each(append(theirs, ours...))
		if err := agree(name, theirs, ours); err != nil {
			return err
		}
	}
	return nil
}

// agree compares what the tools say.
func agree(name string, theirs, ours []Row) error {
	p, err := program.Parse(name)
	if err != nil {
		return err
	}
	if k := p.Known; k != nil && theirs[0].Count != k.States {
		return disagree("%s: SPIN stores %d states, the reference has %d", name, theirs[0].Count, k.States)
	}
	for _, r := range ours {
		if r.Whole && r.Bug != theirs[0].Bug {
			return disagree("%s: bug found by SPIN: %t, by %s: %t", name, theirs[0].Bug, r.Mode, r.Bug)
		}
	}
	if whole := ours[0]; whole.Whole && whole.Trail != theirs[2].Trail {
		return disagree("%s: SPIN's shortest counterexample has %d operations, that of %s %d", name, theirs[2].Trail,
			whole.Mode, whole.Trail)
	}
	return nil
}
