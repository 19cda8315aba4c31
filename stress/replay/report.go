// SPDX-License-Identifier: MIT

package replay

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is what Conform found out.
type Report struct {
	Versions map[string]string // by kernel: its own name
	Results  []Result          // in the order of the recording
	Findings []string          // of the servers, while they were played to
	Idle     []string          // what the differences explain although nothing differs; only if everything was played
	groups   []string
	list     []*Difference
}

// Counts is a cell of the table.
type Counts struct {
	Equal       int `json:"equal"`
	Explained   int `json:"explained"`
	Unexplained int `json:"unexplained"`
	Skipped     int `json:"skipped"`
}

// OK reports whether nothing is left to be explained.
func (r *Report) OK() bool {
	return len(r.Unexplained()) == 0 && len(r.Findings) == 0 && len(r.Idle) == 0
}

// finish puts the report in order. whole: everything was played that could be.
func (r *Report) finish(recording *Recording, list []*Difference, whole bool) {
	at := map[*Case]int{}
	for i, c := range recording.Cases {
		at[c] = i
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int {
		if a.Case != b.Case {
			return at[a.Case] - at[b.Case]
		}
		return slices.Index(Kernels, a.Kernel) - slices.Index(Kernels, b.Kernel)
	})
	slices.Sort(r.Findings)
	r.groups, r.list = recording.Groups(), list
	if whole {
		r.findIdle()
	}
}

// findIdle looks for differences that are none. What was not played may be one.
func (r *Report) findIdle() {
	for _, x := range r.list {
		for _, kernel := range x.Kernels {
			used := x.Sometimes || slices.ContainsFunc(r.Results, func(res Result) bool {
				matches, _ := path.Match(x.Case, res.Case.Name)
				return res.Kernel == kernel && matches && (res.Difference == x || res.Skipped != "")
			})
			if !used {
				r.Idle = append(r.Idle, fmt.Sprintf("nothing that matches %s differs from %s: take it out", x.Case, kernel))
			}
		}
	}
}

// Unexplained lists what differs without a reason.
func (r *Report) Unexplained() []Result {
	var list []Result
	for _, x := range r.Results {
		if x.Unexplained() {
			list = append(list, x)
		}
	}
	return list
}

// Count counts the results of a group and a kernel; "" is any.
func (r *Report) Count(group, kernel string) Counts {
	var n Counts
	for _, x := range r.Results {
		switch {
		case group != "" && x.Case.Group != group || kernel != "" && x.Kernel != kernel:
		case x.Skipped != "":
			n.Skipped++
		case x.Equal():
			n.Equal++
		case x.Difference != nil:
			n.Explained++
		default:
			n.Unexplained++
		}
	}
	return n
}

// cell is Counts for a person.
func (n Counts) cell() string {
	if n == (Counts{}) {
		return "-"
	}
	s := fmt.Sprintf("%d / %d / %d", n.Equal, n.Explained, n.Unexplained)
	if n.Skipped > 0 {
		s += fmt.Sprintf(" (%d not played)", n.Skipped)
	}
	return s
}

// rows is the table: a heading, a row for each group that was played, a sum.
func (r *Report) rows() [][]string {
	head := []string{"group"}
	for _, kernel := range Kernels {
		head = append(head, "Linux "+r.Versions[kernel])
	}
	table := [][]string{head}
	for _, group := range append(slices.Clone(r.groups), "") {
		if group != "" && r.Count(group, "") == (Counts{}) {
			continue
		}
		row := []string{group}
		if group == "" {
			row[0] = "all"
		}
		for _, kernel := range Kernels {
			row = append(row, r.Count(group, kernel).cell())
		}
		table = append(table, row)
	}
	return table
}

// use is a difference and how often it was the reason.
type use struct {
	*Difference
	records int
	kernels []string
}

// used lists the differences that were a reason, in the order of the file.
func (r *Report) used() []use {
	var list []use
	for _, x := range r.list {
		u := use{Difference: x}
		for _, res := range r.Results {
			if res.Difference == x {
				u.records++
				if !slices.Contains(u.kernels, res.Kernel) {
					u.kernels = append(u.kernels, res.Kernel)
				}
			}
		}
		if u.records > 0 {
			slices.SortFunc(u.kernels, func(a, b string) int { return slices.Index(Kernels, a) - slices.Index(Kernels, b) })
			list = append(list, u)
		}
	}
	return list
}

// skipped lists why cases were not played, each reason once.
func (r *Report) skipped() []string {
	var list []string
	for _, x := range r.Results {
		if x.Skipped != "" {
			list = append(list, fmt.Sprintf("not played: %s: %s", x.Case.Name, x.Skipped))
		}
	}
	return slices.Compact(list)
}

// Text writes the report for a person.
func (r *Report) Text(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.rows() {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\neach cell: equal / different, explained / different, unexplained")
	for _, s := range r.skipped() {
		fmt.Fprintln(w, s)
	}
	for _, u := range r.used() {
		fmt.Fprintf(w, "\n%s, unlike %s (%d)\n  %s\n  %s\n", u.Case, strings.Join(u.kernels, ", "), u.records, u.Reason, u.Source)
	}
	for _, x := range r.Unexplained() {
		fmt.Fprintf(w, "\nUNEXPLAINED %s, unlike %s\n   got %s\n  want %s\n", x.Case.Name, x.Kernel, x.Got, x.Case.Takes[x.Kernel].Want)
	}
	for _, s := range r.Idle {
		fmt.Fprintf(w, "\ndifferences.json: %s\n", s)
	}
	for _, s := range r.Findings {
		fmt.Fprintf(w, "\nFAIL %s\n", s)
	}
	return nil
}

// Summary is the report for a program.
type Summary struct {
	Kernels     map[string]string            `json:"kernels"`
	Groups      map[string]map[string]Counts `json:"groups"` // by group and kernel
	Differences []Difference                 `json:"differences,omitempty"`
	Unexplained []Miss                       `json:"unexplained,omitempty"`
	NotPlayed   []string                     `json:"notPlayed,omitempty"`
	Idle        []string                     `json:"idle,omitempty"`
	Findings    []string                     `json:"findings,omitempty"`
}

// Miss is an answer that nothing explains.
type Miss struct {
	Case   string `json:"case"`
	Kernel string `json:"kernel"`
	Got    string `json:"got"`
	Want   string `json:"want"`
}

// Summary puts the report into the form for programs.
func (r *Report) Summary() Summary {
	s := Summary{Kernels: r.Versions, Groups: map[string]map[string]Counts{}, NotPlayed: r.skipped(), Idle: r.Idle, Findings: r.Findings}
	for _, group := range r.groups {
		s.Groups[group] = map[string]Counts{}
		for _, kernel := range Kernels {
			s.Groups[group][kernel] = r.Count(group, kernel)
		}
	}
	for _, u := range r.used() {
		s.Differences = append(s.Differences, *u.Difference)
	}
	for _, x := range r.Unexplained() {
		s.Unexplained = append(s.Unexplained, Miss{x.Case.Name, x.Kernel, x.Got.String(), x.Case.Takes[x.Kernel].Want.String()})
	}
	return s
}

// CountsTable writes the counts, for a page: kernels across, groups down.
func (r *Report) CountsTable(w io.Writer) {
	for i, row := range r.rows() {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat(" --- |", len(row)))
		}
	}
	for _, s := range r.skipped() {
		fmt.Fprintf(w, "\n%s\n", s)
	}
}

// DifferencesTable writes what differs and why, for a page.
func (r *Report) DifferencesTable(w io.Writer) {
	fmt.Fprintf(w, "| cases | unlike | records | what the port does | where that is decided |\n| --- | --- | --- | --- | --- |\n")
	for _, u := range r.used() {
		fmt.Fprintf(w, "| `%s` | %s | %d | %s | %s |\n", u.Case, strings.Join(u.kernels, ", "), u.records, u.Reason, u.Source)
	}
}
