// SPDX-License-Identifier: MIT

// Command runner executes jobs on the tree that it was built from. Scratch builds with historical bugs in them are
// driven through it: it reads an array of jobs from standard input, prints which patches it carries, and then the
// progress and the result of each job, as JSON, one line each. It ends with 1 if one of them found anything.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/portfolio"
)

// mutants are the patches that were compiled in. A scratch build adds a file that fills it in.
var mutants []string

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // a run leaves nothing but garbage, of a few megabytes: collecting less often is a third faster
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	found, err := run(ctx, os.Stdin, os.Stdout)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "SVCFUZZ BUG:", err)
		os.Exit(3)
	case found:
		os.Exit(1)
	}
}

// run executes the jobs that r holds. A job that cannot be run has a result that says why.
func run(ctx context.Context, r io.Reader, w io.Writer) (found bool, err error) {
	out := json.NewEncoder(w)
	if mutants == nil {
		mutants = []string{}
	}
	if err := out.Encode(map[string][]string{"mutants": mutants}); err != nil {
		return false, err
	}
	var jobs []job.Job
	in := json.NewDecoder(r)
	in.DisallowUnknownFields()
	if err := in.Decode(&jobs); err != nil {
		return false, fmt.Errorf("standard input is no array of jobs: %w", err)
	}
	for _, j := range jobs {
		var lost error
		res, err := portfolio.Execute(ctx, j, func(p job.Progress) {
			lost = errors.Join(lost, out.Encode(job.Line{Progress: &p}))
		})
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		if lost != nil {
			return found, lost
		}
		if err != nil {
			res = &job.Result{Job: j, Fault: err.Error()}
			if usage := (*job.UsageError)(nil); errors.As(err, &usage) && j.Explore != nil {
				res = &job.Result{Job: j, Refused: usage.What}
			}
		}
		if err := out.Encode(job.Line{Result: res}); err != nil {
			return found, err
		}
		found = found || res.Fault != "" || res.Refused == "" && res.Verdict != job.Clean
	}
	return found, nil
}
