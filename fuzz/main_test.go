// SPDX-License-Identifier: MIT

package fuzz

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// targets are all of them, for the tests below.
var targets = []struct {
	name   string
	decode func([]byte) func() *plan
}{
	{"FuzzCallback", callback},
	{"FuzzNLM", nlm},
	{"FuzzRecordMark", recordMark},
	{"FuzzRPCCall", rpcCall},
	{"FuzzStartup", startup},
}

// seeds are the files of corpus/wire for a target.
func seeds(t testing.TB, target string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "corpus", "wire", target, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no seeds for %s in corpus/wire (%v)", target, err)
	}
	m := map[string][]byte{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m[filepath.Base(name)] = data
	}
	return m
}

// seedNames are the names of the seeds, in the order in which Go's engine counts them: FuzzNLM/seed#7 must be the same
// one tomorrow.
func seedNames(all map[string][]byte) []string { return slices.Sorted(maps.Keys(all)) }

// addSeeds gives the seeds of a target to Go's engine.
func addSeeds(f *testing.F, target string) {
	all := seeds(f, target)
	for _, name := range seedNames(all) {
		f.Add(all[name])
	}
}

// fail ends a test with what a target says about an input. Of a seed it names the file, and how to run it again: the
// engine keeps no other copy of it.
func fail(t *testing.T, target string, data []byte, failure error) {
	t.Helper()
	text := failure.Error()
	all := seeds(t, target)
	for i, name := range seedNames(all) {
		if bytes.Equal(all[name], data) {
			text += fmt.Sprintf("\nthe input is corpus/wire/%s/%s\nreplay:  go test -run '^%s$/^seed#%d$' ./fuzz",
				target, name, target, i)
		}
	}
	t.Fatal(text)
}

// TestSeedsInWords says, with -v, what every seed means.
func TestSeedsInWords(t *testing.T) {
	for _, target := range targets {
		all := seeds(t, target.name)
		for _, name := range seedNames(all) {
			t.Run(target.name+"/"+name, func(t *testing.T) {
				p := target.decode(all[name])()
				if p.about == nil || p.about() == "" {
					t.Fatal("it means nothing")
				}
				t.Logf("%s %s\n%s", p.scenario.Name, p.params, p.about())
			})
		}
	}
}

// random makes inputs that look like what an engine makes.
func random(r *rand.Rand) []byte {
	b := make([]byte, r.IntN(400))
	for i := range b {
		if r.IntN(4) > 0 {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

// TestDeterministic runs inputs twice, with others in between, and compares all visible operations.
func TestDeterministic(t *testing.T) {
	n := 200
	if testing.Short() {
		n = 40
	}
	for _, target := range targets {
		r := rand.New(rand.NewPCG(1, 2))
		var inputs [][]byte
		for _, data := range seeds(t, target.name) {
			inputs = append(inputs, data)
		}
		for range n {
			inputs = append(inputs, random(r))
		}
		first := make([]outcome, len(inputs))
		different := map[uint64]bool{}
		longest := 0
		for i, data := range inputs {
			first[i] = execute(target.name, target.decode(data))
			different[first[i].hash] = true
			longest = max(longest, first[i].steps)
			if f := first[i].failure; f != nil {
				t.Fatalf("%x: %s", data, f.Error())
			}
		}
		for i, data := range inputs {
			copied := append([]byte(nil), data...)
			if again := execute(target.name, target.decode(data)); again.hash != first[i].hash || again.steps != first[i].steps {
				t.Errorf("%s: %x ran in %d steps to %016x, and then in %d to %016x", target.name, data, first[i].steps, first[i].hash,
					again.steps, again.hash)
			}
			if fmt.Sprintf("%x", copied) != fmt.Sprintf("%x", data) {
				t.Errorf("%s: %x was changed to %x", target.name, copied, data)
			}
		}
		if len(different) < len(inputs)/2 || longest > maxSteps/4 {
			t.Errorf("%s: %d inputs gave %d runs, the longest of %d steps", target.name, len(inputs), len(different), longest)
		}
		t.Logf("%s: %d inputs, %d different runs, the longest of %d steps", target.name, len(inputs), len(different), longest)
	}
}

// loop is a loop that goes round in visible operations.
type loop struct {
	kernel.Obj
	lock kernel.Spinlock
}

// TestEndlessLoop: a loop inside the machine is a finding of the machine's, with a drawing, not a fault of the suite.
func TestEndlessLoop(t *testing.T) {
	out := execute("loop", func() *plan {
		return &plan{about: func() string { return "" }, scenario: &scenario.Scenario{Name: "loop",
			Main: func(_ *kernel.Task, w *scenario.World) {
				l := kernel.StaticObj[loop](w.M, "loop")
				l.lock.Init(&l.Obj, "lock")
				for {
					l.lock.Lock()
					l.lock.Unlock()
				}
			}}}
	})
	if f := out.failure; f == nil || !strings.HasPrefix(f.Title, "hang: livelock") || !strings.Contains(f.Text, "spin_lock") {
		t.Fatalf("an endless loop is reported as: %v", f)
	}
}

// BenchmarkTargets runs random inputs without an engine around them.
func BenchmarkTargets(b *testing.B) {
	for _, target := range targets {
		b.Run(target.name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			inputs := make([][]byte, 256)
			for i := range inputs {
				inputs[i] = random(r)
			}
			steps := 0
			for i := 0; b.Loop(); i++ {
				steps += execute(target.name, target.decode(inputs[i%len(inputs)])).steps
			}
			b.ReportMetric(float64(steps)/float64(b.N), "steps/op")
		})
	}
}
