// SPDX-License-Identifier: MIT

package program

import (
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

func TestParse(t *testing.T) {
	for _, p := range All() {
		got, err := Parse(p.Name)
		if err != nil || got.Name != p.Name || got.Tasks != p.Tasks || got == p || p.Doc == "" || p.Tasks < 2 {
			t.Errorf("%s: %+v, %v", p.Name, got, err)
		}
	}
	for name, want := range map[string]string{
		"":               "unknown program",
		"lsr(3)":         "lsr has no size; write lsr",
		"pad":            "pad takes a size from 0 to 1000; write e.g. pad(5)",
		"pad()":          "pad takes a size from 0",
		"pad(5":          "pad takes a size from 0",
		"pad(-1)":        "pad takes a size from 0",
		"pad(1001)":      "pad takes a size from 0",
		"pad(5)x":        "pad takes a size from 0",
		"reorder(0)":     "reorder takes a size from 1",
		"twostage(1000)": "twostage takes a size from 1 to 999; write e.g. twostage(1)",
		"nope":           "choose lsr, lsr-fixed",
	} {
		if _, err := Parse(name); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
	}
	if p, err := Parse("pad(60)"); err != nil || p.Family() != "pad" || p.Size() != 60 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestKnownNamesPrograms(t *testing.T) {
	for name := range known {
		if p, err := Parse(name); err != nil || p.Known != known[name] {
			t.Errorf("golden values of %s: %v", name, err)
		}
	}
}

// first takes the first runnable task, always.
type first struct{}

func (first) Pick(c *kernel.Choice) *kernel.Task { return c.Runnable[0] }

// TestTwoMachines runs one program on two machines in turn, and on both at once.
func TestTwoMachines(t *testing.T) {
	p, err := Parse("twostage(98)")
	if err != nil {
		t.Fatal(err)
	}
	a, b := kernel.NewSim(), kernel.NewSim()
	defer a.Close()
	defer b.Close()
	want := p.Run(a, first{}, kernel.Options{}).Hash
	if got := p.Run(b, first{}, kernel.Options{}); got.Hash != want || len(got.Tasks) != p.Tasks {
		t.Errorf("%d tasks, hash %x; want %d, %x", len(got.Tasks), got.Hash, p.Tasks, want)
	}
	done := make(chan uint64)
	for _, m := range []*kernel.Machine{a, b} {
		go func() { done <- p.Run(m, first{}, kernel.Options{}).Hash }()
	}
	for range 2 {
		if got := <-done; got != want {
			t.Errorf("hash %x, want %x", got, want)
		}
	}
}

// drunk is a random walk.
type drunk uint64

func (d *drunk) Pick(c *kernel.Choice) *kernel.Task {
	*d = *d*6364136223846793005 + 1442695040888963407
	return c.Runnable[uint64(*d)>>33%uint64(len(c.Runnable))]
}

// TestNoRace runs every program a few times: under the race detector what is not meant to race must not.
func TestNoRace(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	var walk drunk
	for _, p := range All() {
		if p.Name == "lsr-plain" { // this one is
			continue
		}
		for range 100 {
			f := p.Run(m, &walk, kernel.Options{}).Worst()
			if f != nil && (p.Bug == "" || f.Oracle != Oracle && f.Oracle != "deadlock") {
				t.Errorf("%s: %s", p.Name, f)
			}
		}
	}
}
