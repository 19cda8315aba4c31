// SPDX-License-Identifier: MIT

package soak

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/stress/scenario"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDraw(t *testing.T) {
	a, err := newDrawer(Config{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	b, err := newDrawer(Config{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	c, err := newDrawer(Config{Seed: 8})
	if err != nil {
		t.Fatal(err)
	}
	b.draw(0)
	seen, differ := map[string]bool{}, 0
	noise, procs, scale, extreme := map[uint32]bool{}, map[int]bool{}, map[int64]bool{}, 0
	for n := range uint64(2000) {
		x, y, z := a.draw(n), b.draw(n), c.draw(n)
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("draw %d depends on more than seed and number:\n%+v\n%+v", n, x, y)
		}
		if x.String() != z.String() {
			differ++
		}
		seen[x.Scenario] = true
		noise[x.Noise], procs[x.Procs], scale[x.TimeScale] = true, true, true
		if x.params.String() != x.scenario.Defaults().String() {
			extreme++
		}
		if _, err := x.scenario.ParseParams(x.Params); err != nil {
			t.Fatal(err)
		}
		if x.Scenario == "careless-admin" && x.params.Get("mutex") != 1 {
			t.Error("a known defect is drawn")
		}
	}
	if len(seen) != len(scenario.All()) || len(noise) < 10 || len(procs) != 4 || len(scale) != 5 || extreme < 500 || differ < 1500 {
		t.Errorf("scenarios %d, noise %d, procs %d, time scales %d, not the defaults %d, unlike another seed %d", len(seen), len(noise),
			len(procs), len(scale), extreme, differ)
	}
}

func TestFixedParams(t *testing.T) {
	d, err := newDrawer(Config{Scenarios: []string{"lockd-start"}, Params: "clients=2"})
	if err != nil {
		t.Fatal(err)
	}
	free, err := newDrawer(Config{Scenarios: []string{"lockd-start"}})
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(100) {
		x, y := d.draw(n), free.draw(n)
		if x.params.Get("clients") != 2 {
			t.Fatalf("%s: clients is not fixed", &x)
		}
		if x.params.Get("proto") != y.params.Get("proto") || x.Seed != y.Seed {
			t.Fatalf("a fixed parameter changes what else is drawn: %s, %s", &x, &y)
		}
	}
}

func TestClean(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	samples := 0
	cfg := Config{Seed: 1, For: 2 * time.Second, Sample: func(s Sample) { samples++ }}
	if testing.Short() {
		cfg.For = 500 * time.Millisecond
	}
	out, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if out.Finding != nil {
		t.Fatalf("iteration %d (%s): %s\n%s\n%s", out.At, &out.Draw, out.Finding, out.Finding.Text, out.Dump)
	}
	if out.Iterations == 0 || samples != 1 {
		t.Errorf("%d iterations, %d samples", out.Iterations, samples)
	}
	if runtime.GOMAXPROCS(0) != procs {
		t.Error("GOMAXPROCS is not what it was")
	}
	t.Logf("%d iterations in %s", out.Iterations, out.Elapsed)
}

func TestWrongConfig(t *testing.T) {
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{Scenarios: []string{"nonsense"}}, `no scenario "nonsense": there are lockd-start`},
		{Config{Params: "nonsense=1"}, "has no parameter"},
		{Config{Scenarios: []string{"lockd-start"}, Params: "clients=99"}, "not in 1..3"},
		{Config{For: -1}, "cannot be negative"},
	} {
		if _, err := Run(context.Background(), test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.cfg, err, test.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if out, err := Run(ctx, Config{}); !errors.Is(err, context.Canceled) || out.Iterations != 0 {
		t.Errorf("a cancelled run: %+v, %v", out, err)
	}
}

func TestRaceFunc(t *testing.T) {
	const text = `WARNING: DATA RACE
Read at 0x00c000 by goroutine 12:
  github.com/seed17199236/svcfuzz/target/kernel.(*Var[go.shape.*uint8]).Load()
      /x/cell.go:90 +0x1
  github.com/seed17199236/svcfuzz/target/sunrpc.SvcXprtEnqueue()
      /x/svc_xprt.go:377 +0x1

Previous write at 0x00c000 by goroutine 11:
  github.com/seed17199236/svcfuzz/target/lockd.(*Lockd).lockdStartSvc()
      /x/svc.go:319 +0x1
`
	if got := raceFunc(text); got != "SvcXprtEnqueue" {
		t.Errorf("got %q", got)
	}
	if got := raceFunc("  github.com/seed17199236/svcfuzz/target/lockd.(*Lockd).LockdUp()\n"); got != "LockdUp" {
		t.Errorf("got %q", got)
	}
	if got := raceFunc("nothing"); got != "" {
		t.Errorf("got %q", got)
	}
}
