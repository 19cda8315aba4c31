// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/leakcheck"
	"github.com/seed17199236/svcfuzz/stress/server"
)

func init() { register(serveCmd) }

// errStopped ends serve when a signal has stopped it and nothing was left behind: exit code 0.
var errStopped = errors.New("stopped")

func serveCmd() *cobra.Command {
	var cfg server.Config
	var profile string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "serve lockd and the NFSv4 callback service on real loopback sockets",
		Long: `serve starts lockd (program 100021, versions 1, 3 and 4) and the NFSv4 callback service (program 0x40000000) on
real UDP and TCP sockets of the loopback interface, registers lockd with an rpcbind, and prints where everything
is, one socket a line, and then "ready". A SIGINT or SIGTERM stops all of it; what is left behind then is a finding.

There are files to lock, in memory: hello and f0 to f7, for every loopback address but 127.0.0.3. f0 has the handle
0100010100000000020000000300000000000000; for the next file add one to 02 (its generation) and to 03 (its number).`,
		Example: "  go run ./stress serve\n" +
			"  go run ./stress serve --rpcbind-port 111   # rpcinfo asks the rpcbind there first, even with -n\n" +
			"  rpcinfo -n PORT -T tcp 127.0.0.1 100021 4\n" +
			"  go run ./stress serve --rpcbind 127.0.0.1:111 --lockd-tcp-port 4045 --lockd-udp-port 4045",
		Args: args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			stop, err := startProfile("--cpuprofile", profile)
			if err != nil {
				return err
			}
			return errors.Join(serve(cmd, cfg), stop())
		},
	}
	fs := cmd.Flags()
	fs.Uint16Var(&cfg.LockdUDP, "lockd-udp-port", 0, "port of lockd over UDP, 0 for any free one")
	fs.Uint16Var(&cfg.LockdTCP, "lockd-tcp-port", 0, "port of lockd over TCP, 0 for any free one")
	fs.Uint16Var(&cfg.Callback, "callback-port", 0, "port of the callback service, 0 for any free one")
	fs.Uint16Var(&cfg.RpcbindPort, "rpcbind-port", 0, "port of the embedded rpcbind, 0 for any free one")
	fs.StringVar(&cfg.Rpcbind, "rpcbind", "", "register with the rpcbind at this `ADDR` instead: host:port, or the path of its socket")
	fs.StringVar(&cfg.Statd, "statd", "", "have clients watched by the rpc.statd at this `ADDR`, host:port (default: an embedded one)")
	fs.Uint32Var(&cfg.Grace, "grace", 0, "how many `SECONDS` locks can only be reclaimed, rounded up to tens; 0 for none")
	fs.Uint16Var(&cfg.PeerRpcbindPort, "peer-rpcbind-port", 0, "port of the rpcbind of a client that is called back, 0 for 111")
	fs.StringVar(&profile, "cpuprofile", "", "write a CPU profile of the server to this `FILE`")
	return cmd
}

// startProfile starts a CPU profile in the file that flag names, and returns what ends it; no name is none.
func startProfile(flag, name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, usagef("%s %s: %s; give a file that can be written", flag, name, fileError(err))
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, faultf("%v", err)
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func serve(cmd *cobra.Command, cfg server.Config) error {
	flags := cmd.Flags()
	switch {
	case flags.Changed("rpcbind") && cfg.Rpcbind == "":
		return usagef("--rpcbind: the address is empty; write host:port, or leave the flag out")
	case flags.Changed("statd") && cfg.Statd == "":
		return usagef("--statd: the address is empty; write host:port, or leave the flag out")
	case flags.Changed("rpcbind") && flags.Changed("rpcbind-port"):
		return usagef("--rpcbind and --rpcbind-port are both given; choose a running rpcbind or the embedded one")
	}
	stdout := cmd.OutOrStdout()
	gate := leakcheck.Open(true)
	out, err := server.Run(cmd.Context(), cfg, func(all []server.Endpoint) {
		var b strings.Builder
		for _, e := range all {
			fmt.Fprintln(&b, e)
		}
		fmt.Fprintln(stdout, b.String()+"ready")
	})
	var usage *server.UsageError
	switch {
	case errors.As(err, &usage):
		return usagef("%s", usage.What)
	case err != nil:
		return err
	}
	found := len(out.Findings) > 0
	for _, f := range out.Findings {
		fmt.Fprintf(stdout, "FAIL serve: %s\n", f)
		if f.Text != "" {
			fmt.Fprintln(stdout, strings.TrimSpace(f.Text))
		}
	}
	if err := gate.Check(); err != nil {
		found = true
		fmt.Fprintf(stdout, "FAIL serve: leak: goroutines are left\n%v\n", err)
	}
	if found {
		return errFinding
	}
	fmt.Fprintf(stdout, "stopped: lockd %s calls, callback0 %s calls, nothing left behind\n", count(out.Calls["lockd"]),
		count(out.Calls["callback0"]))
	return errStopped
}
