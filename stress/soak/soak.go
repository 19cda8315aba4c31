// SPDX-License-Identifier: MIT

// Package soak runs scenarios on the free back end, over and over, each time in another way: real goroutines, real
// time, as many processors as the draw of the iteration says. What an iteration does is drawn from a seed and its
// number alone, so that a failing one can be drawn again, if not forced to interleave again.
package soak

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/leakcheck"
	"github.com/seed17199236/svcfuzz/stress/report"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Config says what to run and for how long. Without Iterations and For it runs until its context ends.
type Config struct {
	Scenarios  []string // which to draw from; empty: all
	Params     string   // "clients=2": those that are not drawn. It must suit every scenario.
	Seed       uint64
	First      uint64        // number of the first iteration
	Iterations int           // how many at most; 0: no limit
	For        time.Duration // how long at most; 0: no limit
	Repeat     int           // how often to run each draw; 0 means once
	Watchdog   time.Duration // for one run; 0 means half a minute

	// Progress is called about once a second, Sample once a minute and at the end. Both may be nil.
	Progress func(iterations int, elapsed time.Duration)
	Sample   func(Sample)
}

// Sample is what the process weighs.
type Sample struct {
	Elapsed    time.Duration `json:"elapsed"`
	Iterations int           `json:"iterations"`
	RSS        int64         `json:"rss"` // octets; 0: this host does not tell
	Goroutines int           `json:"goroutines"`
}

func (s Sample) String() string {
	return fmt.Sprintf("%s: %d iterations (%.0f/s), RSS %.1f MB, %d goroutines", s.Elapsed.Round(time.Second),
		s.Iterations, float64(s.Iterations)/s.Elapsed.Seconds(), float64(s.RSS)/1e6, s.Goroutines)
}

// Outcome is what came of it. Finding is nil if all went well.
type Outcome struct {
	Iterations int
	Elapsed    time.Duration
	Finding    *kernel.Finding
	At         uint64 // number of the failing iteration
	Draw       Draw   // of the failing iteration
	Dump       string // of the structures at the end of the failing run
}

// Check says what is wrong with the names and values of a configuration.
func Check(cfg Config) error {
	_, err := newDrawer(cfg)
	return err
}

// Run runs iterations until one finds something or a limit is reached. The error is a wrong name or value in the
// configuration, or the end of ctx.
func Run(ctx context.Context, cfg Config) (*Outcome, error) {
	d, err := newDrawer(cfg)
	if err != nil {
		return nil, err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	out := &Outcome{}
	start := time.Now()
	tick, minute := start.Add(time.Second), start.Add(time.Minute)
	for cfg.Iterations == 0 || out.Iterations < cfg.Iterations {
		now := time.Now()
		if ctx.Err() != nil || cfg.For > 0 && now.Sub(start) >= cfg.For {
			break
		}
		if cfg.Progress != nil && now.After(tick) {
			tick = now.Add(time.Second)
			cfg.Progress(out.Iterations, now.Sub(start))
		}
		if cfg.Sample != nil && now.After(minute) {
			minute = minute.Add(time.Minute)
			cfg.Sample(sample(out.Iterations, now.Sub(start)))
		}
		n := cfg.First + uint64(out.Iterations)
		draw := d.draw(n)
		out.Iterations++
		for range max(cfg.Repeat, 1) {
			if out.Finding, out.Dump = draw.run(cfg.Watchdog); out.Finding != nil || ctx.Err() != nil {
				break
			}
		}
		if out.Finding != nil {
			out.At, out.Draw = n, draw
			break
		}
	}
	out.Elapsed = time.Since(start)
	if cfg.Sample != nil {
		cfg.Sample(sample(out.Iterations, out.Elapsed))
	}
	if out.Finding == nil && ctx.Err() != nil {
		return out, ctx.Err()
	}
	return out, nil
}

// run performs one draw.
func (d *Draw) run(watchdog time.Duration) (*kernel.Finding, string) {
	if runtime.GOMAXPROCS(0) != d.Procs {
		runtime.GOMAXPROCS(d.Procs)
	}
	if watchdog == 0 {
		watchdog = 30 * time.Second
	}
	gate := leakcheck.Open(false)
	races := raceErrors()
	m := kernel.NewFree()
	res := d.scenario.Run(m, nil, d.params, kernel.Options{
		Seed: d.Seed, Noise: d.Noise, TimeScale: d.TimeScale, Watchdog: int(watchdog.Milliseconds()),
	})
	m.Close()
	if n := raceErrors() - races; n > 0 {
		text := raceText()
		return &kernel.Finding{
			Oracle: "race", Title: "data race" + raceIn(text), Text: text, Func: raceFunc(text), Fatal: true,
		}, report.Dump(m, res)
	}
	if f := res.Worst(); f != nil {
		return f, report.Dump(m, res)
	}
	if err := gate.Check(); err != nil {
		return &kernel.Finding{Oracle: "leak", Title: "goroutines are left", Text: err.Error(), Fatal: true}, ""
	}
	return nil, ""
}

// sample weighs the process.
func sample(iterations int, elapsed time.Duration) Sample {
	s := Sample{Elapsed: elapsed, Iterations: iterations, Goroutines: runtime.NumGoroutine()}
	if data, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, resident int64
		if _, err := fmt.Sscan(string(data), &size, &resident); err == nil {
			s.RSS = resident * int64(os.Getpagesize())
		}
	}
	return s
}

// raceIn names the function of the target that a report of the race detector is about.
func raceIn(text string) string {
	if fn := raceFunc(text); fn != "" {
		return " in " + fn
	}
	return ""
}

// raceFunc is the first function of the port, else of the suite, on the stacks of a report.
func raceFunc(text string) string {
	const module = "github.com/seed17199236/svcfuzz/"
	best := ""
	for line := range strings.Lines(text) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), module)
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, "()")
		name = name[strings.LastIndex(name, "/")+1:]
		pkg, fn, _ := strings.Cut(name, ".")
		if i := strings.LastIndex(fn, ")."); i >= 0 {
			fn = fn[i+2:]
		}
		switch pkg {
		case "sunrpc", "lockd", "nfs", "fs":
			return fn
		}
		if best == "" && pkg != "kernel" {
			best = fn
		}
	}
	return best
}
