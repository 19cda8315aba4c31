// SPDX-License-Identifier: MIT

// Oopsdemo lets functions of a package that looks like the port fail, and prints what the floor says to it.
package main

import (
	"fmt"
	"slices"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/testdata/oopsdemo/sunrpc"
)

type first struct{}

func (first) Pick(c *kernel.Choice) *kernel.Task { return c.Runnable[0] }

func main() {
	var names []string
	for name := range sunrpc.Failures {
		names = append(names, name)
	}
	slices.Sort(names)
	sim := kernel.NewSim()
	defer sim.Close()
	for _, name := range names {
		for _, m := range []*kernel.Machine{sim, kernel.NewFree()} {
			r := m.Run(first{}, kernel.Options{Record: true}, "main", sunrpc.Failures[name])
			f := r.Worst()
			if f == nil {
				fmt.Printf("%s: nothing\n", name)
				continue
			}
			fmt.Printf("%s: %v [%s] %s:%d\n", name, f, f.Func, f.Stack[0].File, f.Stack[0].Line)
			if last := r.Events[len(r.Events)-1]; last.Op != kernel.OpOops {
				fmt.Printf("%s: the last event is %s\n", name, last.Text)
			}
		}
	}
}
