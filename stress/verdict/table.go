// SPDX-License-Identifier: MIT

package verdict

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/seed17199236/svcfuzz/stress/job"
)

// Text prints the matrix as columns, then one minimal interleaving for each kind of failing row.
func Text(w io.Writer, rows []*Row) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "era\torder\tservice\tverdict\toracle\tcovered\texpected\t\tsays")
	for _, r := range rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			r.Era, r.Order, r.Service, r.Verdict, dash(r.Oracle), r.covered(), r.Expected, mark(r.OK), r.Says)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Trace == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "\n%s\n", r.Trace); err != nil {
			return err
		}
	}
	return nil
}

// Markdown prints the matrix for the README, one line an order and era, both services side by side.
func Markdown(w io.Writer, rows []*Row) error {
	if _, err := fmt.Fprint(w, "| era | order | lockd | callback | expected, and who says so |\n|---|---|---|---|---|\n"); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Service != "lockd" {
			continue
		}
		other := "-"
		for _, q := range rows {
			if q.Service == "callback0" && q.Era == r.Era && q.Order == r.Order {
				other = q.short()
			}
		}
		if _, err := fmt.Fprintf(w, "| %s | %s | %s | %s | %s (%s) |\n", r.Era, r.Order, r.short(), other, r.Expected, r.Says); err != nil {
			return err
		}
	}
	return nil
}

func (r *Row) short() string {
	s := r.Verdict
	if r.Verdict != job.Clean {
		s = "**" + s + "**"
	}
	s += ", " + r.covered()
	if !r.OK {
		s += " UNEXPECTED"
	}
	return s
}

func mark(ok bool) string {
	if ok {
		return "ok"
	}
	return "UNEXPECTED"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// AllOK reports whether every row is as expected.
func AllOK(rows []*Row) bool {
	for _, r := range rows {
		if !r.OK {
			return false
		}
	}
	return true
}
