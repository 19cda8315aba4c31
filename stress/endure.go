// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/load"
)

func init() { register(endureCmd) }

// Parts of endure.
const (
	partMemory      = "memory"
	partConnections = "connections"
	partHostile     = "hostile"
	partRestarts    = "restarts"
)

// spareFiles is how many files this process has open beside the connections that a part asks for, at most.
const spareFiles = 200

// connLimit is how many connections lockd keeps (nlm_max_connections).
const connLimit = 1024

func endureCmd() *cobra.Command {
	var e endurance
	cmd := &cobra.Command{
		Use:   "endure",
		Short: "wear our lockd down: a million calls, thousands of connections, clients that mean no good",
		Long: `endure starts "stress serve" as a process of its own and looks at it from outside:
  memory       a million calls: its memory stays within 5 % of what it is after the first tenth
  connections  10,000 connections made and dropped leave no file open, and the limit of 1,024 connections holds:
               the oldest are dropped
  hostile      records that are too long, empty fragments, one octet a write, 10,000 connections that say nothing,
               garbage over TCP and UDP, each beside well-behaved clients that make 200 calls a second over TCP and
               over UDP: every call is answered, and how late is printed with the attack and without. Lateness counts
               from the time when a call was due.
  restarts     starts and stops while garbage comes in: nothing hangs, every start serves
When the server has stopped it must have left nothing behind: no task, object, reference or goroutine.`,
		Example: "  go run ./stress endure\n  go run ./stress endure --only hostile --each 30s",
		Args:    args(0, 0, "nothing"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return e.main(cmd) },
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&e.only, "only", nil, "which parts: memory, connections, hostile, restarts (default: all)")
	fs.Int64Var(&e.calls, "calls", 1_000_000, "how many calls")
	fs.IntVar(&e.conns, "connections", 10_000, "how many connections are made and dropped")
	fs.IntVar(&e.halfOpen, "half-open", 10_000, "how many connections say nothing")
	fs.DurationVar(&e.each, "each", 5*time.Second, "how long each attack lasts")
	fs.IntVar(&e.cycles, "cycles", 10, "how many starts and stops")
	addJSON(fs, "the figures")
	return cmd
}

// endurance is one run of endure.
type endurance struct {
	only            []string
	calls           int64
	conns, halfOpen int
	each            time.Duration
	cycles          int

	exe   string
	lines []load.Line
	say   func(load.Line)
}

func (e *endurance) main(cmd *cobra.Command) error {
	if err := load.Supported(); err != nil {
		return usagef("endure: %v", err)
	}
	parts := []string{partMemory, partConnections, partHostile, partRestarts}
	if cmd.Flags().Changed("only") && len(e.only) == 0 {
		return usagef("--only: nothing is named; choose %s", strings.Join(parts, ", "))
	}
	for _, p := range e.only {
		if !slices.Contains(parts, p) {
			return usagef("--only %s: there is no such part; choose %s", p, strings.Join(parts, ", "))
		}
	}
	for _, n := range []struct {
		flag  string
		value int64
	}{{"calls", e.calls}, {"connections", int64(e.conns)}, {"half-open", int64(e.halfOpen)}, {"cycles", int64(e.cycles)}} {
		if n.value < 1 {
			return usagef("--%s %d: not a number of them; write 1 or more", n.flag, n.value)
		}
	}
	if e.each <= 0 {
		return usagef("--each %s: not a time to attack; write e.g. --each 5s", e.each)
	}
	out, err := openJSON(cmd)
	if err != nil {
		return err
	}
	defer out.discard()
	if e.exe, err = os.Executable(); err != nil {
		return faultf("%v", err)
	}
	w := cmd.OutOrStdout()
	e.say = func(l load.Line) {
		if cmd.Context().Err() != nil {
			return // what was interrupted says nothing
		}
		fmt.Fprintln(w, l)
		e.lines = append(e.lines, l)
	}
	has := func(part string) bool { return len(e.only) == 0 || slices.Contains(e.only, part) }
	limit := load.FdLimit() - spareFiles
	if has(partConnections) && load.Beyond(connLimit) > limit || has(partHostile) && limit < 1 {
		return usagef("this process may have %d files open, and that part needs %d: raise it (ulimit -n), or choose others "+
			"with --only", limit+spareFiles, load.Beyond(connLimit)+spareFiles)
	}
	if has(partHostile) && e.halfOpen > limit {
		fmt.Fprintf(w, "--half-open %d: this process may have %d files open (ulimit -n), so it is %d\n", e.halfOpen,
			limit+spareFiles, limit)
		e.halfOpen = limit
	}
	ctx := cmd.Context()
	if has(partMemory) || has(partConnections) || has(partHostile) {
		if err := e.served(ctx, has); err != nil {
			return cmp.Or(ctx.Err(), err) // an interrupt is no fault
		}
	}
	if has(partRestarts) && ctx.Err() == nil {
		e.say(load.Restarts(ctx, e.start, load.Apart(load.Garbage), e.cycles, 8, time.Second))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := out.json(w, e.lines); err != nil {
		return err
	}
	if slices.ContainsFunc(e.lines, func(l load.Line) bool { return l.Fault != "" }) {
		return errFinding
	}
	return nil
}

// served does the parts that one server goes through, and stops it.
func (e *endurance) served(ctx context.Context, has func(string) bool) error {
	s, err := load.Serve(ctx, e.exe)
	if err != nil {
		return faultf("%v", err)
	}
	at := load.Target{TCP: s.TCP, UDP: s.UDP, Call: load.Test(s.Fh)}
	if err := load.Refuses(ctx, at, at.Call); err != nil {
		s.Kill()
		return faultf("NLM TEST: %v", err)
	}
	if has(partMemory) {
		e.say(load.Memory(ctx, at, s.Pid, e.calls, 0))
	}
	if has(partConnections) {
		e.say(load.Connections(ctx, at, s.Pid, e.conns))
		e.say(load.Limit(ctx, at, s.Pid, connLimit))
	}
	if has(partHostile) {
		e.say(load.Calm(ctx, at, e.each))
		for _, a := range load.Attacks() {
			size := 16
			if a.Name == load.HalfOpen {
				size = e.halfOpen
			}
			e.say(load.Hostile(ctx, at, s.Pid, load.Apart(a.Name), size, e.each))
		}
		e.say(load.Calm(ctx, at, e.each))
	}
	l := load.Line{Name: "stop", Detail: "nothing is left behind"}
	if err := s.Stop(); err != nil {
		l.Fault, l.Detail = oneLine(err.Error()), "the server did not end in order"
	}
	e.say(l)
	return nil
}

// start starts a server for load.Restarts.
func (e *endurance) start(ctx context.Context, tcp, udp uint16) (load.Target, func() error, error) {
	s, err := load.Serve(ctx, e.exe,
		"--lockd-tcp-port", strconv.Itoa(int(tcp)), "--lockd-udp-port", strconv.Itoa(int(udp)))
	if err != nil {
		return load.Target{}, nil, err
	}
	return load.Target{TCP: s.TCP, UDP: s.UDP, Call: load.Test(s.Fh)}, s.Stop, nil
}
