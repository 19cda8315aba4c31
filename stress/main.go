// SPDX-License-Identifier: MIT

// Command stress asks whether any interleaving breaks the start and stop of RPC services, plants historical bugs to
// show that it would notice, replays what it found, and serves real clients.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed17199236/svcfuzz/stress/load"
	"github.com/seed17199236/svcfuzz/stress/peers"
	"github.com/seed17199236/svcfuzz/stress/scratch"
)

// What the command ends with.
const (
	exitOK          = 0
	exitFinding     = 1
	exitUsage       = 2
	exitFault       = 3
	exitInterrupted = 130
)

func main() {
	load.AttackMain() // does not return in a process that attacks a server
	peers.Main()      // does not return in the part of a peer's run that has namespaces of its own
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // a run leaves nothing but garbage, of a few megabytes: collecting less often is a third faster
	}
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// subcommands are the commands in no particular order: each file adds its own.
var subcommands []func() *cobra.Command

// register adds a subcommand; to be called by init.
func register(c func() *cobra.Command) { subcommands = append(subcommands, c) }

// order is that of help. A command that is not in it comes last.
var order = []string{
	"verdict", "list", "run", "explore", "replay", "keep", "check", "mutants", "soak",
	"serve", "conformance", "peers", "endure", "bench-rpc", "calibrate", "bench", "audit", "version",
}

const about = `stress explores the interleavings of Linux's SunRPC server core, in a Go port of it, and says which break.

Without a command it runs verdict: the question of 2014 for every way to start a service thread.

Exit codes: 0 all is as expected, 1 a finding, 2 wrong use or a full disk, 3 a fault of svcfuzz itself (its line begins
"SVCFUZZ BUG:"), 130 interrupted. "go run" turns every code but 0 into 1 and prints the real one; scripts should build
the command first: go build -o DIR ./stress`

// execute runs the command line and returns the exit code.
func execute(args []string, stdout, stderr io.Writer) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	defer stop()
	defer func() {
		if p := recover(); p != nil {
			code = finish(stderr, faultf("%v\n%s", p, debug.Stack()))
		}
	}()
	root := rootCmd()
	out := &standardOutput{w: stdout}
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if code := finish(stderr, err); out.err == nil || code == exitFault || code == exitUsage {
		return code
	}
	if scratch.Full(out.err) != nil {
		return finish(stderr, out.err)
	}
	return finish(stderr, usagef("standard output cannot be written (%s); send it elsewhere", fileError(out.err)))
}

// standardOutput is standard output. Who prints does not look at errors, so the first one is kept for the end.
type standardOutput struct {
	w   io.Writer
	err error
}

func (o *standardOutput) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	o.err = cmp.Or(o.err, err)
	return n, err
}

// endings are the signals that end a command in order, so that it leaves nothing behind. The end of its terminal is one
// unless nohup says that it is none.
func endings() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return []os.Signal{os.Interrupt, syscall.SIGTERM}
	}
	return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
}

// flagReason is what is wrong with a flag. A number is told by the values that will do, not by what failed to read it.
func flagReason(err error) string {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err.Error()
	}
	flag, value := invalid.GetFlag(), invalid.GetValue()
	want, ok := map[string]string{
		"uint16": "a whole number from 0 to 65535", "uint32": "a whole number from 0 to 4294967295",
		"uint64": "a whole number from 0 on", "int": "a whole number", "int64": "a whole number",
		"duration": "a time, as 30s or 10m",
	}[flag.Value.Type()]
	if !ok {
		return err.Error()
	}
	return fmt.Sprintf("invalid argument %q for \"--%s\" flag: write %s", value, flag.Name, want)
}

func rootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:           "stress",
		Short:         "find the interleavings that break the start and stop of RPC services",
		Long:          about,
		Example:       "  go run ./stress\n  go run ./stress run lockd-start --chooser bounded:n=2\n  go run ./stress check my.patch",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s: %s; see %s --help", cmd.Name(), oneLine(flagReason(err)), cmd.CommandPath())
	})
	cobra.EnableCommandSorting = false
	var cmds []*cobra.Command
	for _, c := range subcommands {
		cmds = append(cmds, c())
	}
	place := func(c *cobra.Command) int {
		if i := slices.Index(order, c.Name()); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(cmds, func(a, b *cobra.Command) int { return place(a) - place(b) })
	root.AddCommand(cmds...)

	// A bare command, and one with nothing but flags, is verdict.
	root.RunE = func(*cobra.Command, []string) error { return faultf("this build has no verdict") }
	var names []string
	for _, c := range cmds {
		names = append(names, c.Name())
		if c.Name() == "verdict" && c.RunE != nil {
			root.Flags().AddFlagSet(c.Flags())
			root.RunE = func(_ *cobra.Command, args []string) error {
				c.SetContext(root.Context())
				return c.RunE(c, args)
			}
		}
	}
	root.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("unknown command %q; choose %s", args[0], strings.Join(names, ", "))
		}
		return nil
	}
	root.SetHelpCommand(helpCmd(root, names))
	return root
}

// helpCmd is help, which cobra's own prints for the whole if there is no such command.
func helpCmd(root *cobra.Command, names []string) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "explain a command, with examples",
		Long:    "help explains a command, with examples; without one it names them all.",
		Example: "  go run ./stress help explore\n  go run ./stress help peers spin",
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("help: unknown command %q; choose %s", strings.Join(args, " "), strings.Join(names, ", "))
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
}
