// SPDX-License-Identifier: MIT

// Package program has tiny machines that are known through and through: how many interleavings each has, how many of
// them fail, how likely every sampler is to meet one. Choosers and searches are tried and measured on them, because
// there is nothing else on which a wrong distribution shows.
//
// They are written on the bare tasks of the floor: one scheduling point per operation and none besides.
package program

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Program is one tiny machine. Several goroutines may run it at a time, each with a machine of its own; only one of
// them then runs it without allocating.
type Program struct {
	Name  string // what Parse reads: "lsr", "pad(5)"
	Doc   string // what it does, one sentence
	Bug   string // what goes wrong in some interleaving, "" if nothing does
	Tasks int    // how many tasks a run has, the first one included
	Known *Known // golden values, nil if there are none

	family *family
	size   int
	idle   atomic.Pointer[instance]
}

// instance is the memory of one run, kept for the next.
type instance struct {
	start func(cur *kernel.Task) // body of the first task; binds the memory to the run
}

// First is the name of every program's first task.
const First = "S"

// Oracle names the finding of a program that failed, unless it hangs: then it is "deadlock".
const Oracle = "oops"

// Run runs the program once on m, which must be a machine of the sim back end. The result's Tasks and Seq live until
// the machine's next run.
func (p *Program) Run(m *kernel.Machine, ch kernel.Chooser, opt kernel.Options) *kernel.Result {
	in := p.idle.Swap(nil)
	if in == nil {
		in = &instance{start: p.family.build(p.size)}
	}
	res := m.RunBare(ch, opt, First, in.start)
	p.idle.Store(in)
	return res
}

// Family is the name without the size: "pad" of "pad(5)".
func (p *Program) Family() string { return p.family.name }

// Size is the number in the name, 0 if there is none.
func (p *Program) Size() int { return p.size }

// family is a row of programs that differ in their size only.
type family struct {
	name      string
	doc, bug  string
	low, high int   // which sizes there are; high 0: it has no size
	shown     []int // sizes that All lists
	tasks     func(size int) int
	build     func(size int) func(cur *kernel.Task)
}

// families is every program there is, in the order of All.
func families() []family {
	return slices.Concat(lsrFamilies(), orderFamilies(), gokerFamilies())
}

// Parse makes the program that a name such as "lsr", "pad(60)" or "twostage(100)" stands for. Every call makes one of
// its own.
func Parse(name string) (*Program, error) {
	base, size, sized := strings.Cut(name, "(")
	var names []string
	for _, f := range families() {
		if f.name != base {
			names = append(names, f.title())
			continue
		}
		if f.high == 0 {
			if sized {
				return nil, fmt.Errorf("program %q: %s has no size; write %s", name, base, base)
			}
			return f.program(0), nil
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, ")"))
		if err != nil || !strings.HasSuffix(size, ")") || n < f.low || n > f.high {
			return nil, fmt.Errorf("program %q: %s takes a size from %d to %d; write e.g. %s(%d)", name, base, f.low, f.high,
				base, f.shown[0])
		}
		return f.program(n), nil
	}
	return nil, fmt.Errorf("unknown program %q; choose %s", name, strings.Join(names, ", "))
}

// All lists the programs with a size that is worth a row in a table.
func All() []*Program {
	var all []*Program
	for _, f := range families() {
		if f.high == 0 {
			all = append(all, f.program(0))
		}
		for _, n := range f.shown {
			all = append(all, f.program(n))
		}
	}
	return all
}

// title is the name with a letter in the place of the size.
func (f *family) title() string {
	if f.high == 0 {
		return f.name
	}
	return f.name + "(N)"
}

func (f *family) program(size int) *Program {
	p := &Program{Name: f.name, Doc: f.doc, Bug: f.bug, Tasks: f.tasks(size), family: f, size: size}
	if f.high > 0 {
		p.Name = fmt.Sprintf("%s(%d)", f.name, size)
	}
	p.Known = known[p.Name]
	return p
}

// fixed says of how many tasks a program is.
func fixed(n int) func(int) int { return func(int) int { return n } }

// fail ends the run with the finding of a program.
func fail(m *kernel.Machine, title string) {
	m.Report(&kernel.Finding{Oracle: Oracle, Title: title, Fatal: true})
}
