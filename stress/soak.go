// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/mutant"
	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/stress/scratch"
	"github.com/seed17199236/svcfuzz/stress/soak"
)

func init() { register(soakCmd) }

// soakFlags are the flags of soak.
type soakFlags struct {
	period     time.Duration
	scenarios  []string
	params     string
	first      uint64
	iterations int
	repeat     int
	race       bool
	mutant     string
	era        string
	args       []string // of a rebuilt command
}

// soakReport is what --json writes.
type soakReport struct {
	Seed       uint64        `json:"seed"`
	Era        string        `json:"era"`
	Mutant     string        `json:"mutant,omitempty"`
	Race       bool          `json:"race"`
	Verdict    string        `json:"verdict"`
	Oracle     string        `json:"oracle,omitempty"`
	Title      string        `json:"title,omitempty"`
	Text       string        `json:"text,omitempty"`
	Iteration  *uint64       `json:"iteration,omitempty"`
	Draw       *soak.Draw    `json:"draw,omitempty"`
	Dump       string        `json:"dump,omitempty"`
	Iterations int           `json:"iterations"`
	Elapsed    time.Duration `json:"elapsed"`
	Rate       float64       `json:"rate"` // iterations a second
	Samples    []soak.Sample `json:"samples"`
}

func soakCmd() *cobra.Command {
	var f soakFlags
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "run scenarios on real goroutines, each iteration in another way",
		Long: `soak runs scenarios on the free back end: real goroutines and real time. Scenario, parameters, GOMAXPROCS, noise,
time scale and the moments of arrival of every iteration are drawn from the seed and the iteration's number. After each
one all oracles look, and no goroutine may be left.

--race, --mutant and --era build the command anew, under the race detector or with the patch in it, and run that.`,
		Example: "  go run ./stress soak --for 10m\n" +
			"  go run ./stress soak --for 1m --race --mutant lockd-run-before-rq-task\n" +
			"  go run ./stress soak --seed 4711 --first 1234 --iterations 1 --repeat 1000",
		Args: args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.DurationVar(&f.period, "for", 10*time.Minute, "how long to run")
	fs.StringSliceVar(&f.scenarios, "scenario", nil, "scenarios to draw from, with commas (default: all)")
	fs.StringVar(&f.params, "params", "", "parameters that are not drawn, e.g. clients=2,proto=1")
	fs.Uint64Var(&f.first, "first", 0, "number of the first iteration")
	fs.IntVar(&f.iterations, "iterations", 0, "how many iterations at most (default: as many as the time allows)")
	fs.IntVar(&f.repeat, "repeat", 1, "how often to run each iteration")
	fs.BoolVar(&f.race, "race", false, "under the race detector (needs a C compiler)")
	fs.StringVar(&f.mutant, "mutant", "", "with this mutant planted, an ID or a patch file; its scenario is the default")
	fs.StringVar(&f.era, "era", "", "on this era instead of "+mutant.TreeEra)
	addSeed(fs)
	addJSON(fs, "the outcome")
	return cmd
}

func (f *soakFlags) run(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	switch {
	case changed("for") && f.period <= 0:
		return usagef("--for %s: not a time to run; write e.g. --for 10m", f.period)
	case changed("iterations") && f.iterations <= 0:
		return usagef("--iterations %d: not a number of runs; write 1 or more", f.iterations)
	case f.repeat <= 0:
		return usagef("--repeat %d: not a number of runs; write 1 or more", f.repeat)
	}
	if err := soak.Check(f.config(0)); err != nil {
		return usagef("soak: %v", err)
	}
	if right, err := f.rightBuild(); err != nil {
		return err
	} else if !right {
		f.args = commandLine(cmd)
		return f.rebuild(cmd)
	}
	seed, err := drawSeed(cmd)
	if err != nil {
		return err
	}
	out, err := openJSON(cmd)
	if err != nil {
		return err
	}
	defer out.discard()
	stdout, line := cmd.OutOrStdout(), newProgress(cmd.ErrOrStderr())
	rep := soakReport{Seed: seed, Era: f.eraName(), Mutant: f.mutant, Race: soak.Race, Verdict: job.Clean}
	cfg := f.config(seed)
	cfg.Progress = func(n int, elapsed time.Duration) {
		line.show("soak: %s iterations in %s, %.0f/s", count(int64(n)), short(elapsed), float64(n)/elapsed.Seconds())
	}
	cfg.Sample = func(s soak.Sample) {
		line.clear()
		rep.Samples = append(rep.Samples, s)
		fmt.Fprintln(stdout, s)
	}
	if f.iterations > 0 && !changed("for") {
		cfg.For = 0
	}
	o, err := soak.Run(cmd.Context(), cfg)
	line.clear()
	if o == nil {
		return usagef("soak: %v", err)
	}
	rep.Iterations, rep.Elapsed = o.Iterations, o.Elapsed
	rep.Rate = float64(o.Iterations) / max(o.Elapsed.Seconds(), 1e-9)
	if o.Finding != nil {
		rep.found(o)
		f.show(stdout, seed, o)
	}
	if werr := out.json(stdout, rep); werr != nil {
		return werr
	}
	if o.Finding != nil {
		return errFinding
	}
	if err == nil {
		fmt.Fprintf(stdout, "no finding in %s iterations\n", count(int64(o.Iterations)))
	}
	return err
}

func (f *soakFlags) config(seed uint64) soak.Config {
	return soak.Config{
		Scenarios: f.scenarios, Params: f.params, Seed: seed, First: f.first, Iterations: f.iterations, For: f.period,
		Repeat: f.repeat,
	}
}

// commandLine is the command with the flags that were given.
func commandLine(cmd *cobra.Command) []string {
	line := []string{cmd.Name()}
	cmd.Flags().Visit(func(fl *pflag.Flag) {
		value := fl.Value.String()
		if list, ok := fl.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		line = append(line, "--"+fl.Name+"="+value)
	})
	return line
}

// found fills in the finding.
func (r *soakReport) found(o *soak.Outcome) {
	r.Verdict = oracle.Verdict(o.Finding)
	r.Oracle, r.Title, r.Text, r.Dump = o.Finding.Oracle, o.Finding.Title, o.Finding.Text, o.Dump
	r.Iteration, r.Draw = &o.At, &o.Draw
}

// show prints the finding for a person.
func (f *soakFlags) show(w io.Writer, seed uint64, o *soak.Outcome) {
	fmt.Fprintf(w, "FAIL %s: %s\n", o.Draw.Scenario, o.Finding)
	fmt.Fprintf(w, "seed %d  iteration %d: %s\n", seed, o.At, &o.Draw)
	if o.Finding.Text != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(o.Finding.Text))
	}
	if len(o.Finding.Stack) > 0 {
		fmt.Fprintln(w)
		for _, fr := range o.Finding.Stack {
			fmt.Fprintf(w, "  %s  %s:%d\n", fr.Func, fr.File, fr.Line)
		}
	}
	if o.Dump != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(o.Dump))
	}
	fmt.Fprintf(w, "\nagain:  go run ./stress soak --seed %d --first %d --iterations 1 --repeat 1000%s\n", seed, o.At, f.same())
}

// same are the flags that an iteration depends on besides seed and number.
func (f *soakFlags) same() string {
	var b strings.Builder
	if len(f.scenarios) > 0 {
		fmt.Fprintf(&b, " --scenario %s", strings.Join(f.scenarios, ","))
	}
	if f.params != "" {
		fmt.Fprintf(&b, " --params %s", f.params)
	}
	if soak.Race {
		b.WriteString(" --race")
	}
	if f.mutant != "" {
		fmt.Fprintf(&b, " --mutant %s", f.mutant)
	}
	if f.era != "" {
		fmt.Fprintf(&b, " --era %s", f.era)
	}
	return b.String()
}

func (f *soakFlags) eraName() string {
	if f.era == "" {
		return mutant.TreeEra
	}
	return f.era
}

// A command that was built by rebuild finds here what was asked for, and which patches it must carry.
const (
	rebuiltFor  = "SVCFUZZ_REBUILT_FOR"
	rebuiltWith = "SVCFUZZ_REBUILT_WITH"
)

// mutants are the patches that were compiled in. A scratch build adds a file that fills it in.
var mutants []string

// rightBuild reports whether this command is the one that the flags ask for. A patch that was asked for and not
// compiled in must not pass for one that does no harm.
func (f *soakFlags) rightBuild() (bool, error) {
	if _, child := os.LookupEnv(rebuiltFor); !child {
		return f.plain() && len(mutants) == 0 && (soak.Race || !f.race), nil
	}
	want := strings.Fields(os.Getenv(rebuiltWith))
	if f.race && !soak.Race || os.Getenv(rebuiltFor) != f.asked() || !slices.Equal(want, mutants) {
		return false, faultf("the rebuilt command carries [%s] (race %t), but [%s] were asked for", strings.Join(mutants, " "),
			soak.Race, strings.Join(want, " "))
	}
	return true, nil
}

// plain says that nothing is planted.
func (f *soakFlags) plain() bool { return f.mutant == "" && (f.era == "" || f.era == mutant.TreeEra) }

func (f *soakFlags) asked() string { return f.era + "," + f.mutant }

// focus makes a mutant's own scenario the one to run, unless --scenario names others.
func (f *soakFlags) focus(shop *workshop) {
	m, err := mutant.Find(shop.mutants, f.mutant)
	if err != nil || len(f.scenarios) > 0 {
		return
	}
	if _, err := scenario.Find(m.Scenario); err == nil {
		f.args = append(f.args, "--scenario="+m.Scenario)
	}
}

// rebuild builds this command as the flags say and lets it do the work.
func (f *soakFlags) rebuild(cmd *cobra.Command) error {
	shop, err := openHere()
	if err != nil {
		return err
	}
	defer shop.close()
	p, err := shop.plant(f.mutant, f.era)
	if err != nil {
		return err
	}
	pool, err := mutant.NewPool(shop.root, mutant.Options{Eras: shop.eras, Runner: "stress"})
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }()
	f.focus(shop)
	req := p.request()
	req.Race = f.race
	fmt.Fprintln(cmd.ErrOrStderr(), "building")
	v, err := pool.Get(cmd.Context(), req)
	if err != nil {
		return err
	}
	logs, err := scratch.New("race")
	if err != nil {
		return err
	}
	defer func() { _ = logs.Remove() }()
	child := exec.CommandContext(cmd.Context(), v.Binary, f.args...)
	child.Stdout, child.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	// The report of a race goes into a file, from which the child takes it into its finding; the race detector's own
	// exit code would hide the child's.
	child.Env = append(os.Environ(), "GORACE=exitcode=0 log_path="+filepath.Join(logs.Dir, "race"),
		rebuiltFor+"="+f.asked(), rebuiltWith+"="+strings.Join(v.Patches, " "))
	child.Cancel = func() error { return child.Process.Signal(os.Interrupt) }
	child.WaitDelay = time.Minute
	err = child.Run()
	var exit *exec.ExitError
	switch {
	case cmd.Context().Err() != nil:
		return context.Canceled
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == exitFinding:
		return errFinding
	}
	return faultf("the rebuilt command: %v", err)
}
