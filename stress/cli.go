// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/mutant"
	"github.com/seed17199236/svcfuzz/stress/scratch"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// errFinding ends a command that has found something and has said so: exit code 1 and no further line.
var errFinding = errors.New("a finding")

// saidError is the end of a process that did the work of this one and has said why itself.
type saidError struct{ code int }

func (e *saidError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// usageError is wrong use: one line that names the thing, the reason and the remedy.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// usagef makes a usageError.
func usagef(format string, args ...any) error {
	return &usageError{oneLine(fmt.Sprintf(format, args...))}
}

// faultf makes a fault of the suite.
func faultf(format string, args ...any) error {
	return &mutant.FaultError{What: fmt.Sprintf(format, args...)}
}

// oneLine joins the lines of a message.
func oneLine(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "\n", "; ")), " ")
}

// finish prints what a command ended with and returns the exit code.
func finish(stderr io.Writer, err error) int {
	var (
		usage   *usageError
		jobErr  *job.UsageError
		unknown *mutant.UnknownError
		stale   *mutant.StaleError
		broken  *mutant.BrokenError
		missing *mutant.MissingError
		said    *saidError
	)
	if full := scratch.Full(err); full != nil {
		fmt.Fprintf(stderr, "stress: %s\n", oneLine(full.Error()))
		return exitUsage
	}
	switch {
	case err == nil, errors.Is(err, errStopped):
		return exitOK
	case errors.Is(err, errFinding):
		return exitFinding
	case errors.As(err, &said):
		return said.code
	case errors.As(err, &usage), errors.As(err, &jobErr), errors.As(err, &unknown), errors.As(err, &stale),
		errors.As(err, &broken), errors.As(err, &missing):
		fmt.Fprintf(stderr, "stress: %s\n", oneLine(err.Error()))
		return exitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "interrupted")
		return exitInterrupted
	}
	const prefix = "SVCFUZZ BUG: "
	fmt.Fprintf(stderr, "%s%s\n", prefix, strings.TrimPrefix(err.Error(), prefix))
	return exitFault
}

// args wants between least and most arguments; what says which, in words.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s: %s is missing; the form is: %s", cmd.Name(), what, cmd.UseLine())
		case most >= 0 && len(args) > most:
			return usagef("%s: %q is one argument too many; the form is: %s", cmd.Name(), args[most], cmd.UseLine())
		}
		return nil
	}
}

const modulePath = "github.com/seed17199236/svcfuzz"

// moduleRoot is the folder of this module: of the working directory or above it. A module within it, such as tools,
// is passed by.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", usagef("the working directory cannot be told (%v); change to a checkout of svcfuzz", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		data, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil {
			for line := range strings.Lines(string(data)) {
				if words := strings.Fields(line); len(words) == 2 && words[0] == "module" && words[1] == modulePath {
					return at, nil
				}
			}
		}
		if at == filepath.Dir(at) {
			return "", usagef("%s is not inside a checkout of svcfuzz; change to one", dir)
		}
	}
}

// shown is a file name as it is short to a person who stands in the working directory.
func shown(name string) string {
	if dir, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(dir, name); err == nil && len(rel) < len(name) {
			return rel
		}
	}
	return name
}

// fileError turns the error of a file into a reason without the file's name.
func fileError(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// addSeed adds --seed; drawSeed reads it.
func addSeed(fs *pflag.FlagSet) {
	fs.Uint64("seed", 0, "seed of all random choices (default: a fresh one)")
}

// drawSeed is the seed of this run, a fresh one unless --seed says which, and prints it first of all.
func drawSeed(cmd *cobra.Command) (uint64, error) {
	seed, err := cmd.Flags().GetUint64("seed")
	if err != nil {
		return 0, err
	}
	if !cmd.Flags().Changed("seed") {
		seed = kernel.NewSeed() >> 32
	}
	fmt.Fprintf(cmd.OutOrStdout(), "seed %d\n", seed)
	return seed, nil
}

// budget bounds a search by a number of schedules or by time.
type budget struct {
	schedules int
	period    time.Duration
}

// add adds the two flags. what says what is counted.
func (b *budget) add(fs *pflag.FlagSet, what string) {
	fs.IntVar(&b.schedules, "schedules", 0, "how many "+what+" to run")
	fs.DurationVar(&b.period, "for", 0, "how long to run, e.g. 30s or 10m")
}

// check says what is wrong with the flags, or reports whether one of them was given.
func (b *budget) check(cmd *cobra.Command) (given bool, err error) {
	count, period := cmd.Flags().Changed("schedules"), cmd.Flags().Changed("for")
	switch {
	case count && period:
		return false, usagef("--schedules and --for are both given; choose one")
	case count && b.schedules <= 0:
		return false, usagef("--schedules %d: not a number of runs; write 1 or more", b.schedules)
	case period && b.period <= 0:
		return false, usagef("--for %s: not a time to run; write e.g. --for 30s", b.period)
	}
	return count || period, nil
}

// output is a file for machines. It is opened before the work begins, so that a name that cannot be written is told
// at once, and comes into being as a whole. A nil output is none.
type output struct {
	name string
	temp *os.File // renamed to name at the end; nil: name is no regular file and is written as it is
}

// outputs are the files that a search leaves behind. A nil one was not asked for.
type outputs struct {
	json, junit, html *output
	findings          *findings
}

// addOutputs adds --findings and --json; what says what the latter holds.
func addOutputs(fs *pflag.FlagSet, what string) {
	addFindings(fs)
	addJSON(fs, what)
}

// addJUnit adds --junit, and addHTML --html, to the files of a search.
func addJUnit(fs *pflag.FlagSet) {
	fs.String("junit", "", "write the results to this `FILE` as JUnit XML")
}

func addHTML(fs *pflag.FlagSet) {
	fs.String("html", "", "write the failing interleaving to this `FILE` as a page (check: the first one)")
}

// openOutputs opens what the flags of the command name. Discard it.
func openOutputs(cmd *cobra.Command, root string) (*outputs, error) {
	o := &outputs{}
	for _, f := range []struct {
		flag string
		out  **output
	}{{"json", &o.json}, {"junit", &o.junit}, {"html", &o.html}} {
		if cmd.Flags().Lookup(f.flag) == nil {
			continue
		}
		var err error
		if *f.out, err = openFlag(cmd, f.flag); err != nil {
			o.discard()
			return nil, err
		}
	}
	if cmd.Flags().Lookup("findings") == nil {
		return o, nil
	}
	var err error
	if o.findings, err = openFindings(cmd, root); err != nil {
		o.discard()
		return nil, err
	}
	return o, nil
}

// noPage says that there is nothing to draw, so that nobody takes an old page for a new one.
func (o *outputs) noPage(w io.Writer) {
	if o.html != nil {
		fmt.Fprintf(w, "--html: nothing failed, so %s was not written\n", o.html.name)
	}
}

// discard removes what was not written to its end; to be deferred.
func (o *outputs) discard() {
	o.json.discard()
	o.junit.discard()
	o.html.discard()
}

// page writes the page of the first finding, with the name of its schedule file.
func (o *outputs) page(stdout io.Writer, page, file string) error {
	out := o.html
	o.html = nil
	return out.write(stdout, func(w io.Writer) error {
		_, err := io.WriteString(w, namedHTML(page, file))
		return err
	})
}

// addJSON adds --json; openJSON opens what it names.
func addJSON(fs *pflag.FlagSet, what string) {
	fs.String("json", "", "write "+what+" to this `FILE` as JSON (- is standard output)")
}

// openJSON opens the file that --json names; nil if none.
func openJSON(cmd *cobra.Command) (*output, error) { return openFlag(cmd, "json") }

// openFlag opens the file that a flag names; nil if none.
func openFlag(cmd *cobra.Command, flag string) (*output, error) {
	name, err := cmd.Flags().GetString(flag)
	if err != nil {
		return nil, err
	}
	if name == "" && cmd.Flags().Changed(flag) {
		return nil, usagef("--%[1]s: the name is empty; write --%[1]s FILE", flag)
	}
	return openOutput("--"+flag, name)
}

// openOutput opens name, which flag gave.
func openOutput(flag, name string) (*output, error) {
	switch name {
	case "":
		return nil, nil
	case "-":
		return &output{name: name}, nil
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return nil, usagef("%s %s: is a folder; name a file", flag, name)
		}
		return &output{name: name}, nil
	}
	temp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return nil, usagef("%s %s: cannot be written (%s); choose another place", flag, name, fileError(err))
	}
	return &output{name: name, temp: temp}, nil
}

// write puts what fill writes into the file. A nil output does nothing.
func (o *output) write(stdout io.Writer, fill func(io.Writer) error) error {
	if o == nil {
		return nil
	}
	if o.name == "-" {
		return fill(stdout)
	}
	if o.temp == nil {
		f, err := os.OpenFile(o.name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(fill(f), f.Close())
	}
	defer o.discard()
	if err := fill(o.temp); err != nil {
		return err
	}
	if err := errors.Join(o.temp.Chmod(0o644), o.temp.Close()); err != nil {
		return err
	}
	return os.Rename(o.temp.Name(), o.name)
}

// json writes v, indented.
func (o *output) json(stdout io.Writer, v any) error {
	return o.write(stdout, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	})
}

// discard removes what was not written to its end; to be deferred.
func (o *output) discard() {
	if o != nil && o.temp != nil {
		_ = o.temp.Close()
		_ = os.Remove(o.temp.Name()) // gone after a rename
	}
}

// writeFile makes a file of data at once or not at all.
func writeFile(name string, data []byte) error {
	o, err := openOutput("file", name)
	if err != nil {
		return err
	}
	return o.write(nil, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// checkBlock says whether replaceBlock will find its place; to be asked before the work begins.
func checkBlock(file, name string) error {
	_, _, err := findBlock(file, name)
	return err
}

// findBlock is what stands before and behind the text between the lines <!-- NAME:begin --> and <!-- NAME:end -->, the
// lines included.
func findBlock(file, name string) (head, tail string, err error) {
	old, err := os.ReadFile(file)
	if err != nil {
		return "", "", usagef("--readme %s: cannot be read (%s); name a file that has the place for the table", file, fileError(err))
	}
	begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", "", usagef("--readme %s: lacks the lines %q and %q; add them where the table shall stand", file,
			strings.TrimSpace(begin), end)
	}
	return head + begin, end + tail, nil
}

// replaceBlock puts text between the lines <!-- NAME:begin --> and <!-- NAME:end --> of a file.
func replaceBlock(file, name, text string) error {
	head, tail, err := findBlock(file, name)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return writeFile(file, []byte(head+text+tail))
}

// progress is a sign of life on standard error: one line that changes on a terminal, a plain line every ten
// seconds elsewhere. Its methods may be called from several goroutines.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	live  bool
	every time.Duration
	next  time.Time
	drawn bool
}

// newProgress writes to w, usually cmd.ErrOrStderr().
func newProgress(w io.Writer) *progress {
	p := &progress{w: w, every: 10 * time.Second}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb" {
			p.live, p.every = true, 200*time.Millisecond
		}
	}
	if !p.live {
		p.next = time.Now().Add(p.every)
	}
	return p
}

// waiting shows that something goes on until stop is called. A nil progress shows nothing.
func (p *progress) waiting(format string, args ...any) (stop func()) {
	if p == nil {
		return func() {}
	}
	text, start := fmt.Sprintf(format, args...), time.Now()
	return p.watching(func() string { return fmt.Sprintf("%s, %s", text, short(time.Since(start).Truncate(time.Second))) })
}

// watching shows what text returns, now and then, until stop is called.
func (p *progress) watching(text func() string) (stop func()) {
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(p.every)
		defer tick.Stop()
		for {
			p.show("%s", text())
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-over }
}

// show replaces the line, if it is time to.
func (p *progress) show(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(p.every)
	text := oneLine(fmt.Sprintf(format, args...))
	if !p.live {
		fmt.Fprintln(p.w, text)
		return
	}
	if r := []rune(text); len(r) > 79 {
		text = string(r[:79])
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	p.drawn = true
}

// clear takes the line off a terminal; to be called before anything else is printed and at the end.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// job shows the progress of a job.
func (p *progress) job(what string) func(job.Progress) {
	return func(x job.Progress) {
		rate := ""
		if s := x.Elapsed.Seconds(); s > 0 {
			rate = fmt.Sprintf(", %s/s", count(int64(float64(x.Schedules)/s)))
		}
		p.show("%s: %s, %s schedules in %s%s", what, x.Chooser, count(int64(x.Schedules)), short(x.Elapsed), rate)
	}
}

// count spells a number with its thousands apart.
func count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short spells a time for a person.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}
