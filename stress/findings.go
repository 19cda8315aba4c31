// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"hash/fnv"
	"html"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed17199236/svcfuzz/stress/job"
)

// findings is the folder for what was found.
type findings struct{ dir string }

// addFindings adds --findings; openFindings reads it.
func addFindings(fs *pflag.FlagSet) {
	fs.String("findings", "", "`DIR` for what is found (default: findings in the checkout)")
}

// openFindings finds the folder, and makes one that was asked for, so that a wrong name is told at once.
func openFindings(cmd *cobra.Command, root string) (*findings, error) {
	dir, err := cmd.Flags().GetString("findings")
	if err != nil {
		return nil, err
	}
	if dir == "" {
		if cmd.Flags().Changed("findings") {
			return nil, usagef("--findings: the name is empty; write --findings DIR")
		}
		return &findings{filepath.Join(root, "findings")}, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, usagef("--findings %s: no folder can be made there (%s); choose another place", dir, fileError(err))
	}
	probe, err := os.CreateTemp(dir, ".probe.*")
	if err != nil {
		return nil, usagef("--findings %s: cannot be written (%s); choose another place", dir, fileError(err))
	}
	_ = probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return nil, err
	}
	return &findings{dir}, nil
}

// save writes a finding, SCENARIO-XXXX.schedule, .html and .txt, puts the name of the schedule into the trace, and
// returns it; the name of the text if there is no schedule. The same finding has the same name.
func (f *findings) save(res *job.Result) (string, error) {
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return "", usagef("--findings %s: no folder can be made there (%s); choose another place", f.dir, fileError(err))
	}
	content := res.Schedule
	ext := ".schedule"
	if content == "" {
		ext = ".txt"
		content = fmt.Sprint(res.Job.Scenario, res.Job.Seed, res.Title)
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(content))
	base := ""
	for n := hash.Sum32(); ; n++ {
		base = filepath.Join(f.dir, fmt.Sprintf("%s-%04x", res.Job.Scenario, n&0xffff))
		old, err := os.ReadFile(base + ext)
		if err != nil || ext == ".txt" || string(old) == content {
			break // free, or this very finding
		}
	}
	name := shown(base + ext)
	res.Trace = job.Named(res.Trace, name)
	if res.Schedule != "" {
		if err := writeFile(base+ext, []byte(res.Schedule)); err != nil {
			return "", err
		}
	}
	if res.HTML != "" {
		if err := writeFile(base+".html", []byte(namedHTML(res.HTML, name))); err != nil {
			return "", err
		}
	}
	var text strings.Builder
	tell(&text, res, name)
	if res.Dump != "" {
		fmt.Fprintf(&text, "\n%s", res.Dump)
	}
	return name, writeFile(base+".txt", []byte(text.String()))
}

// keep is save; a finding that cannot be written is printed, with its schedule, so that it is not lost.
func (f *findings) keep(w io.Writer, res *job.Result) (string, error) {
	file, err := f.save(res)
	if err != nil {
		tell(w, res, "FILE")
		if res.Schedule != "" {
			fmt.Fprintf(w, "\nThe schedule could not be written. These are the lines of its file:\n\n%s\n", res.Schedule)
		}
	}
	return file, err
}

// namedHTML puts the name of the schedule file into a page.
func namedHTML(page, file string) string {
	return strings.ReplaceAll(page, job.SchedulePlaceholder, html.EscapeString(job.ShellWord(file)))
}

// beside is the name of the file with another extension next to that of a finding.
func beside(file, ext string) string { return strings.TrimSuffix(file, filepath.Ext(file)) + ext }

// why says what a failure needs, and which orders of operations bring it back.
func why(w io.Writer, res *job.Result) {
	if len(res.Constraints) == 0 && res.Needs == "" {
		return
	}
	fmt.Fprintf(w, "\nwhy:     %s", res.Needs)
	switch {
	case res.Cut:
		fmt.Fprintf(w, "; the time was over after %s runs: it may need less, and shorter schedules may do", count(int64(res.ShrinkRuns)))
	case res.Needs != "" && res.Depth < 0:
		fmt.Fprint(w, "; no set of orders was found that brings it back")
	case res.Needs != "" && res.Depth == 0:
		fmt.Fprint(w, "; depth 0: it fails in any order")
	case res.Needs != "":
		fmt.Fprintf(w, "; depth %d: these orders bring it back", res.Depth)
	default:
		fmt.Fprintf(w, "depth %d: these orders bring it back", res.Depth)
	}
	fmt.Fprintln(w)
	for _, c := range res.Constraints {
		fmt.Fprintf(w, "         %s\n", c)
	}
}

// tell prints a finding: the drawn interleaving, or what there is in its place.
func tell(w io.Writer, res *job.Result, file string) {
	if res.Trace != "" {
		fmt.Fprint(w, res.Trace)
		why(w, res)
		return
	}
	task := ""
	if res.Task != "" {
		task = ", task " + res.Task
	}
	fmt.Fprintf(w, "FAIL %s: %s: %s%s\n", res.Job.Scenario, res.Oracle, res.Title, task)
	mutant := ""
	if res.Job.Mutant != "" {
		mutant = "mutant " + res.Job.Mutant + "  "
	}
	fmt.Fprintf(w, "%sera %s  back end %s  seed %d\n", mutant, res.Job.Era, res.Job.Backend, res.Job.Seed)
	if res.Text != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimRight(res.Text, "\n"))
	}
	if res.Job.Backend == "free" {
		fmt.Fprintf(w, "\nagain:   go run ./stress run %s --backend free --seed %d --schedules %d", res.Job.Scenario, res.Job.Seed, max(res.FoundAt, 1))
		if res.Job.Params != "" {
			fmt.Fprintf(w, " --params %s", res.Job.Params)
		}
		if res.Job.Mutant != "" {
			fmt.Fprintf(w, " --mutant %s", res.Job.Mutant)
		}
		fmt.Fprintf(w, " --era %s   (real goroutines: it may take more tries)\n", res.Job.Era)
		return
	}
	if res.Oracle == raceOracle {
		fmt.Fprintf(w, "\nagain:   go run ./stress check %s %s --race --seed %d --era %s   (all of the report: %s)\n",
			job.ShellWord(res.Job.Mutant), res.Job.Scenario, res.Job.Seed, res.Job.Era, job.ShellWord(file))
		return
	}
	fmt.Fprintf(w, "\nreplay:  go run ./stress replay %s\n", job.ShellWord(file))
}
