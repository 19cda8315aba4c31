// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/peers"
	"github.com/seed17199236/svcfuzz/stress/spin"
)

func init() { register(peersCmd) }

func peersCmd() *cobra.Command {
	opt := peers.Options{Messages: 100_000, Seed: 1}
	var verbose bool
	var about strings.Builder
	for _, p := range peers.All() {
		fmt.Fprintf(&about, "  %-8s %s\n           (make %s)\n", p.Name, p.Doc, p.Install)
	}
	cmd := &cobra.Command{
		Use:   "peers [NAME...]",
		Short: "hold the services against programs that others wrote",
		Long: `peers runs the services against programs that others wrote, all of them or those that are named, and says in
one line what became of each: passed, failed, or not available and why. Each has a network of its own, which takes
root. Ends with 1 if one failed, and with 2 if one that was named is not available.

` + about.String() + `  spin     SPIN on the same small programs as the explorer
           (make install-peers-spin)`,
		Example: `  go run ./stress peers
  go run ./stress peers rpcgen --messages 1000000 --seed 7
  go run ./stress peers kernel --verbose --kernel /path/of/an/unpacked/kernel/package
  go run ./stress peers spin`,
		Args: cobra.ArbitraryArgs,
	}
	fs := cmd.Flags()
	fs.IntVar(&opt.Messages, "messages", opt.Messages, "for rpcgen: how many version 4 messages; a quarter as many of version 3")
	fs.Uint64Var(&opt.Seed, "seed", opt.Seed, "for rpcgen: seed of the messages")
	fs.StringVar(&opt.Kernel, "kernel", "", "for kernel: `DIR` with boot and lib/modules, as a kernel package unpacks (default: the\n"+
		"distribution's, which is downloaded once)")
	fs.BoolVarP(&verbose, "verbose", "v", false, "print every check")
	addJSON(fs, "the results")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		if opt.Messages < 1000 {
			return usagef("--messages %d: too few to say anything; give 1000 or more", opt.Messages)
		}
		return runPeers(cmd, names, opt, verbose)
	}
	cmd.AddCommand(peersSpinCmd())
	return cmd
}

// spinPeer is the name of the peer that has a command of its own.
const spinPeer = "spin"

func runPeers(cmd *cobra.Command, names []string, opt peers.Options, verbose bool) error {
	named := len(names) > 0
	if !named {
		for _, p := range peers.All() {
			names = append(names, p.Name)
		}
		names = append(names, spinPeer)
	}
	var list []*peers.Peer // nil: SPIN
	for _, name := range names {
		p, err := peers.Find(name)
		if err != nil && name != spinPeer {
			return usagef("peers: %v", err)
		}
		list = append(list, p)
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	opt.Recording = filepath.Join(root, "corpus", "kernel")
	cache, err := os.UserCacheDir()
	if err != nil {
		return usagef("there is no folder for a downloaded kernel (%v); set HOME or XDG_CACHE_HOME", err)
	}
	opt.Cache = filepath.Join(cache, "svcfuzz")
	out, err := openJSON(cmd)
	if err != nil {
		return err
	}
	defer out.discard()
	var results []peers.Result
	for _, p := range list {
		r := runPeer(cmd, p, opt, verbose)
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		results = append(results, r)
		printPeer(cmd.OutOrStdout(), r)
	}
	return errors.Join(out.json(cmd.OutOrStdout(), results), endOfPeers(results, named))
}

// runPeer holds the services against one peer, SPIN if p is nil.
func runPeer(cmd *cobra.Command, p *peers.Peer, opt peers.Options, verbose bool) peers.Result {
	live := newProgress(cmd.ErrOrStderr())
	name := spinPeer
	if p != nil {
		name = p.Name
	}
	stop := live.waiting("running %s", name)
	defer func() {
		stop()
		live.clear()
	}()
	if p == nil {
		return spinInOneLine(cmd.Context())
	}
	var tell func(peers.Check)
	if verbose {
		tell = func(c peers.Check) {
			live.clear()
			printCheck(cmd.OutOrStdout(), name, c)
		}
	}
	return p.Run(cmd.Context(), opt, tell)
}

// spinInOneLine compares the explorer with SPIN, with little time for each program.
func spinInOneLine(ctx context.Context) peers.Result {
	start := time.Now()
	r := peers.Result{Peer: spinPeer, Verdict: peers.Passed}
	if err := spin.Installed(); err != nil {
		r.Verdict, r.Why = peers.NotAvailable, err.Error()
		return r
	}
	rows := 0
	err := spin.Compare(ctx, spin.Programs, time.Second, func(x []spin.Row) { rows += len(x) })
	if err != nil {
		r.Verdict, r.Why = peers.Failed, oneLine(err.Error())
	}
	r.Checks = []peers.Check{{Name: "programs on which both agree", Detail: fmt.Sprintf("%d rows", rows), Took: time.Since(start)}}
	r.Took = time.Since(start)
	return r
}

func printCheck(w io.Writer, peer string, c peers.Check) {
	verdict, text := "ok", c.Detail
	if c.Fault != "" {
		verdict, text = "WRONG", c.Fault
	}
	fmt.Fprintf(w, "  %-7s %-5s %s: %s\n", peer, verdict, c.Name, oneLine(text))
}

func printPeer(w io.Writer, r peers.Result) {
	good := 0
	for _, c := range r.Checks {
		if c.Fault == "" {
			good++
		}
	}
	line := fmt.Sprintf("%-8s %s", r.Peer, r.Verdict)
	if len(r.Checks) > 0 {
		line += fmt.Sprintf(", %d of %s in %s", good, plural(len(r.Checks), "check"), short(r.Took))
	}
	if r.Why != "" {
		line += ": " + oneLine(r.Why)
	}
	fmt.Fprintln(w, line)
	if r.Verdict == peers.Failed {
		for _, c := range r.Checks {
			if c.Fault != "" {
				printCheck(w, "", c)
			}
		}
		fmt.Fprintf(w, "  again:  go run ./stress peers %s --verbose\n", r.Peer)
	}
}

// endOfPeers is what the command ends with.
func endOfPeers(results []peers.Result, named bool) error {
	for _, r := range results {
		if r.Verdict == peers.Failed {
			return errFinding
		}
	}
	for _, r := range results {
		if named && r.Verdict == peers.NotAvailable {
			return usagef("peers: %s is not available: %s", r.Peer, r.Why)
		}
	}
	return nil
}
