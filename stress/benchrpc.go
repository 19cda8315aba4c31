// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/load"
	"github.com/seed17199236/svcfuzz/stress/scratch"
)

func init() { register(benchRPCCmd) }

// benchInside is set in the environment of the part of bench-rpc that has a network of its own.
const benchInside = "SVCFUZZ_BENCH_RPC"

func benchRPCCmd() *cobra.Command {
	var b rpcBench
	cmd := &cobra.Command{
		Use:   "bench-rpc",
		Short: "measure calls per second and latencies of our lockd beside other RPC servers",
		Long: `bench-rpc starts "stress serve" and every other RPC server that it finds (rpcbind, nfs-ganesha, those given
by --peer), each as a process of its own, in a network namespace where nobody else is, and puts the same load on one
after the other: NULL calls and, on lock managers, NLM TEST calls with an AUTH_SYS credential. "4x16" is 4
connections with 16 calls in flight on each: the next call is made when one is answered. A latency is the time from
the write that carried a call to the end of the read that brought its answer; waiting behind the other calls of the
connection is part of it, calls that a slow server kept from being made are not. CPU is what the server's process
used, in all its threads and in the kernel. Servers take turns in every round, and the round with the median rate
counts. Client and server share the processors: compare the figures of one run with each other, not with another
machine's. A server that is not there is told of and left out, one that was asked for by --peer ends the command with 2.`,
		Example: `  go run ./stress bench-rpc
  go run ./stress bench-rpc --each 3s --profile cpu.prof
  go run ./stress bench-rpc --peer 'go-nfs 127.0.0.1:12050 100003 3 /path/to/gonfs'`,
		Args: args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error { return b.main(cmd) },
	}
	fs := cmd.Flags()
	fs.DurationVar(&b.each, "each", time.Second, "how long to measure each figure")
	fs.IntVar(&b.rounds, "rounds", 3, "how often to measure it")
	fs.StringArrayVar(&b.peers, "peer", nil,
		"a `SERVER` that must be there, in one argument: NAME HOST:PORT PROGRAM VERSION COMMAND..., or rpcbind or ganesha;\n"+
			"may be given several times")
	fs.StringVar(&b.profile, "profile", "", "write the CPU profile of our server to this `FILE`")
	addJSON(fs, "the figures")
	return cmd
}

// rpcBench is one run of bench-rpc.
type rpcBench struct {
	each    time.Duration
	rounds  int
	peers   []string
	profile string

	rivals  []*load.Rival
	servers []*load.Server
	folder  *scratch.Folder // of the files of others
	rows    []*rpcRow
}

// rpcRow is one figure: of the round with the median rate.
type rpcRow struct {
	Procedure string        `json:"procedure"`
	Network   string        `json:"network"`
	Conns     int           `json:"connections"`
	Depth     int           `json:"depth"`
	Server    string        `json:"server"`
	Rate      float64       `json:"calls_per_second"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	P999      time.Duration `json:"p999_ns"`
	Max       time.Duration `json:"max_ns"`
	CPU       float64       `json:"server_cpu_us_per_call"`
	Refused   int64         `json:"refused"`
	Resent    int64         `json:"resent"`
	Rates     []float64     `json:"rates"` // of all rounds
}

// shape is how many connections and how many calls on each.
type shape struct {
	network      string
	conns, depth int
}

var shapes = []shape{
	{"tcp", 1, 1}, {"tcp", 1, 16}, {"tcp", 4, 16}, {"tcp", 16, 16}, {"udp", 1, 1}, {"udp", 1, 16}, {"udp", 4, 16},
}

func (b *rpcBench) main(cmd *cobra.Command) error {
	if err := load.Supported(); err != nil {
		return usagef("bench-rpc: %v", err)
	}
	switch {
	case b.each <= 0:
		return usagef("--each %s: not a time to measure; write e.g. --each 2s", b.each)
	case b.rounds < 1:
		return usagef("--rounds %d: not a number of rounds; write 1 or more", b.rounds)
	}
	for _, text := range b.peers {
		r, err := load.ParseRival(text)
		if err != nil {
			return usagef("--peer: %v", err)
		}
		if err := r.Missing(); err != nil {
			return usagef("--peer %s: %v", r.Name, err)
		}
		b.rivals = append(b.rivals, r)
	}
	w := cmd.OutOrStdout()
	if os.Getenv(benchInside) == "" {
		inside, err := load.Isolated(cmd.Context(), benchInside+"=1", os.Args[1:])
		if err == nil {
			return passOn(cmd, inside)
		}
		if len(b.rivals) > 0 {
			return usagef("--peer %s: other servers are not available: %v", b.rivals[0].Name, err)
		}
		fmt.Fprintf(w, "other servers: not available: %s\n", oneLine(err.Error()))
	} else {
		for _, r := range load.Rivals() {
			if !slices.ContainsFunc(b.rivals, func(x *load.Rival) bool { return x.Name == r.Name }) {
				b.rivals = append(b.rivals, &r)
			}
		}
	}
	out, err := openJSON(cmd)
	if err != nil {
		return err
	}
	defer out.discard()
	if b.profile != "" { // the server writes it, and can no longer say what is wrong with the name
		f, err := openOutput("--profile", b.profile)
		if err != nil {
			return err
		}
		f.discard()
	}
	if err := b.start(cmd.Context(), w); err != nil {
		return cmp.Or(cmd.Context().Err(), err) // an interrupt is no fault
	}
	defer b.kill()
	if err := b.measure(cmd.Context()); err != nil {
		return err
	}
	if err := b.servers[0].Stop(); err != nil { // which writes the profile
		return faultf("%v", err)
	}
	if err := b.print(w); err != nil {
		return err
	}
	return out.json(w, b.rows)
}

// passOn runs the part inside to its end and ends as it does.
func passOn(cmd *cobra.Command, inside *exec.Cmd) error {
	inside.Stdout, inside.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	err := inside.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return &saidError{code: exit.ExitCode()}
	case cmd.Context().Err() != nil:
		return cmd.Context().Err()
	}
	if exit != nil {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signal() == syscall.SIGPIPE {
			return &saidError{code: 128 + int(syscall.SIGPIPE)} // nobody reads on
		}
	}
	return faultf("%v", err)
}

// start brings up our server, which is the first, and the others, in the order in which they need each other.
func (b *rpcBench) start(ctx context.Context, w io.Writer) error {
	exe, err := os.Executable()
	if err != nil {
		return faultf("%v", err)
	}
	var flags []string
	if b.profile != "" {
		path, err := filepath.Abs(b.profile)
		if err != nil {
			return faultf("%v", err)
		}
		flags = append(flags, "--cpuprofile", path)
	}
	ours, err := load.Serve(ctx, exe, flags...)
	if err != nil {
		return faultf("%v", err)
	}
	b.servers = append(b.servers, ours)
	if b.folder, err = scratch.New("bench"); err != nil {
		b.kill()
		return usagef("no folder for the other servers' files can be made in %s (%s); set TMPDIR", os.TempDir(), fileError(err))
	}
	slices.SortStableFunc(b.rivals, func(x, y *load.Rival) int { return cmp.Compare(rank(x.Name), rank(y.Name)) })
	for _, r := range b.rivals {
		sub := filepath.Join(b.folder.Dir, r.Name)
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.kill()
			return faultf("%v", err)
		}
		s, err := r.Start(ctx, sub)
		if err != nil && r.Asked {
			b.kill()
			return usagef("--peer %s: not available: %v", r.Name, err)
		}
		if err != nil {
			fmt.Fprintf(w, "%s: not available: %s\n", r.Name, oneLine(err.Error()))
			continue
		}
		b.servers = append(b.servers, s)
	}
	return nil
}

// rank puts rpcbind first, since others register there.
func rank(name string) int {
	if name == "rpcbind" {
		return 0
	}
	return 1
}

func (b *rpcBench) kill() {
	for _, s := range b.servers {
		s.Kill()
	}
	if b.folder != nil {
		_ = b.folder.Remove()
	}
}

// measure fills in the rows: round by round, so that what else the machine does meets all servers alike.
func (b *rpcBench) measure(ctx context.Context) error {
	type key struct {
		proc   string
		shape  shape
		server *load.Server
	}
	runs := map[key][]*rpcRow{}
	var keys []key
	for range b.rounds {
		for _, proc := range []string{"NULL", "TEST"} {
			for _, sh := range shapes {
				for _, s := range b.servers {
					if proc == "TEST" && s.Fh == nil || sh.network == "udp" && s.UDP == "" {
						continue
					}
					row, err := b.one(ctx, proc, sh, s)
					if err != nil {
						return err
					}
					k := key{proc, sh, s}
					if runs[k] == nil {
						keys = append(keys, k)
					}
					runs[k] = append(runs[k], row)
				}
			}
		}
	}
	for _, k := range keys {
		all := runs[k]
		slices.SortFunc(all, func(x, y *rpcRow) int { return cmp.Compare(x.Rate, y.Rate) })
		mid := all[len(all)/2]
		for _, r := range all {
			mid.Rates = append(mid.Rates, r.Rate)
		}
		b.rows = append(b.rows, mid)
	}
	return nil
}

// one measures one server under one load.
func (b *rpcBench) one(ctx context.Context, proc string, sh shape, s *load.Server) (*rpcRow, error) {
	call, addr := load.Null(s.Prog, s.Vers), s.TCP
	if proc == "TEST" {
		call = load.Test(s.Fh)
	}
	if sh.network == "udp" {
		addr = s.UDP
	}
	cfg := load.Config{
		Network: sh.network, Addr: addr, Call: call, Conns: sh.conns, Depth: sh.depth, Warm: b.each / 8, For: b.each,
	}
	before, err := load.Weigh(s.Pid)
	if err != nil {
		return nil, faultf("%s: %v", s.Name, err)
	}
	r, err := load.Run(ctx, cfg)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, faultf("%s, %s %s %dx%d: %v: %s", s.Name, proc, sh.network, sh.conns, sh.depth, err, s.Said())
	}
	after, err := load.Weigh(s.Pid)
	if err != nil {
		return nil, faultf("%s: %v", s.Name, err)
	}
	row := &rpcRow{
		Procedure: proc, Network: sh.network, Conns: sh.conns, Depth: sh.depth, Server: s.Name, Rate: r.Rate,
		P50: r.Latency.Quantile(0.5), P99: r.Latency.Quantile(0.99), P999: r.Latency.Quantile(0.999), Max: r.Latency.Max(),
		Refused: r.Refused, Resent: r.Resent,
	}
	if r.All > 0 {
		row.CPU = float64((after.CPU - before.CPU).Microseconds()) / float64(r.All)
	}
	return row, nil
}

// print prints the table and what it says about NULL calls over TCP.
func (b *rpcBench) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "call\tnet\tload\tserver\tcalls/s\tp50\tp99\tp99.9\tlongest\tCPU/call\trefused\tresent\t")
	for _, r := range b.rows {
		fmt.Fprintf(tw, "%s\t%s\t%dx%d\t%s\t%s\t%s\t%s\t%s\t%s\t%.1fus\t%d\t%d\t\n", r.Procedure, r.Network, r.Conns, r.Depth,
			r.Server, count(int64(r.Rate)), micros(r.P50), micros(r.P99), micros(r.P999), micros(r.Max), r.CPU,
			r.Refused, r.Resent)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, sh := range shapes {
		if sh.network != "tcp" {
			continue
		}
		var ours, best *rpcRow
		for _, r := range b.rows {
			switch {
			case r.Procedure != "NULL" || r.Network != "tcp" || r.Conns != sh.conns || r.Depth != sh.depth:
			case r.Server == b.servers[0].Name:
				ours = r
			case best == nil || r.Rate > best.Rate:
				best = r
			}
		}
		if ours != nil && best != nil {
			fmt.Fprintf(w, "NULL over TCP, %dx%d: %.2f times %s, the fastest of the others\n", sh.conns, sh.depth,
				ours.Rate/best.Rate, best.Server)
		}
	}
	return nil
}

// micros spells a latency.
func micros(d time.Duration) string {
	return fmt.Sprintf("%.0fus", float64(d)/1e3)
}
