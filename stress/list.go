// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/mutant"
	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/scenario"
)

func init() { register(listCmd) }

// listing is all that other commands take by name.
type listing struct {
	Scenarios []listedScenario `json:"scenarios"`
	Oracles   []listed         `json:"oracles"`
	Mutants   []listedMutant   `json:"mutants"`
	Orders    []listedMutant   `json:"orders"`
	Eras      []listed         `json:"eras"`
	Choosers  []listed         `json:"choosers"`
	Backends  []listed         `json:"backends"`
}

type listed struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
}

type listedScenario struct {
	listed
	Params []listedParam `json:"params"`
}

type listedParam struct {
	listed
	Default int `json:"default"`
	Min     int `json:"min"`
	Max     int `json:"max"`
}

type listedMutant struct {
	listed
	Era      string `json:"era"`
	Scenario string `json:"scenario"`
	Backend  string `json:"backend"`
	Expect   string `json:"expect"`
	Fix      string `json:"kernel_fix,omitempty"`
}

func listCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "name the scenarios, oracles, mutants, eras, choosers and back ends",
		Example: "  go run ./stress list\n  go run ./stress list --json -",
		Args:    args(0, 0, "nothing"),
	}
	addJSON(cmd.Flags(), "the list")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		shop, err := openHere()
		if err != nil {
			return err
		}
		out, err := openJSON(cmd)
		if err != nil {
			return err
		}
		defer out.discard()
		l := shop.list()
		if out == nil || out.name != "-" {
			l.print(cmd)
		}
		return out.json(cmd.OutOrStdout(), l)
	}
	return cmd
}

func (w *workshop) list() *listing {
	l := &listing{
		Mutants: []listedMutant{}, Orders: []listedMutant{},
		Choosers: []listed{
			{"random", "every task that can run is as likely at every step"},
			{"pct[:d=N]", "random priorities, changed at d-1 points; without d it varies from 2 to 4"},
			{"pctc[:d=N]", "pct that counts only the steps at which there is a choice"},
			{"pos", "random priorities of operations, drawn anew where they race"},
			{"urw", "random walk, by how many operations each task has left"},
			{"surw[:o=CELL]", "even over the orders of the operations on one cell; without o it varies"},
			{"delay[:c=N]", "one task after the other, but for c delays at random points"},
			{"delayall[:c=N]", "all schedules with at most c delays, each once"},
			{"bounded[:n=N]", "all schedules with at most n preemptions, each once; n is 2 if left out"},
			{"dpor", "every trace once (optimal partial order reduction)"},
			{"sdpor", "every trace at least once (source sets)"},
			{"feedback", "keeps and changes schedules that showed operations meet in a new order"},
		},
		Backends: []listed{
			{"sim", "one task at a time, virtual time, every run can be repeated"},
			{"free", "real goroutines in real time"},
		},
	}
	for _, s := range scenario.All() {
		ls := listedScenario{listed: listed{s.Name, s.Doc}, Params: []listedParam{}}
		for _, p := range s.Params {
			ls.Params = append(ls.Params, listedParam{listed{p.Name, p.Doc}, p.Default, p.Min, p.Max})
		}
		l.Scenarios = append(l.Scenarios, ls)
	}
	for _, o := range oracle.All() {
		l.Oracles = append(l.Oracles, listed{o.Name, o.Doc})
	}
	add := func(to *[]listedMutant, from []*mutant.Mutant) {
		for _, m := range from {
			*to = append(*to, listedMutant{listed{m.ID, m.Subject}, m.Era, m.Scenario, m.Backend, m.Expected(), m.KernelFix})
		}
	}
	add(&l.Mutants, w.mutants)
	add(&l.Orders, w.orders)
	for _, name := range w.eras.Names() {
		doc := "the tree"
		if e := w.eras[name]; e != nil {
			doc = e.Subject
		}
		l.Eras = append(l.Eras, listed{name, doc})
	}
	return l
}

func (l *listing) print(cmd *cobra.Command) {
	tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	defer func() { _ = tw.Flush() }()
	section := func(title string, rows []listed) {
		fmt.Fprintf(tw, "%s\n", title)
		for _, r := range rows {
			fmt.Fprintf(tw, "  %s\t%s\n", r.Name, r.Doc)
		}
		fmt.Fprintln(tw)
	}
	fmt.Fprintln(tw, "scenarios (run SCENARIO --params k=v,...)")
	for _, s := range l.Scenarios {
		fmt.Fprintf(tw, "  %s\t%s\n", s.Name, s.Doc)
		for _, p := range s.Params {
			fmt.Fprintf(tw, "    %s=%d\t%s (%d..%d)\n", p.Name, p.Default, p.Doc, p.Min, p.Max)
		}
	}
	fmt.Fprintln(tw)
	section("oracles, besides those of the floor", l.Oracles)
	mutants := func(title string, list []listedMutant) {
		var rows []listed
		for _, m := range list {
			rows = append(rows, listed{m.Name, fmt.Sprintf("%s [%s, era %s, %s: %s]", m.Doc, m.Scenario, m.Era, m.Backend, m.Expect)})
		}
		section(title, rows)
	}
	mutants("mutants (--mutant ID)", l.Mutants)
	mutants("orders of starting a thread (--mutant ID)", l.Orders)
	section("eras (--era NAME)", l.Eras)
	section("choosers (--chooser NAME)", l.Choosers)
	section("back ends (--backend NAME)", l.Backends)
}
