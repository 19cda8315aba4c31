// SPDX-License-Identifier: MIT

//go:build linux

// The agent runs inside the guest of the kernel peer: it does what it is told over TCP, and takes file locks.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const usage = `agent serve ADDR           run every script that is sent to ADDR, and answer with its output and "status N"
agent lock FILE OP...      byte-range locks on a file, one after the other, one line of output each:
  w:OFF:LEN r:OFF:LEN      take a write or read lock, or fail
  W:OFF:LEN R:OFF:LEN      wait for it
  t:OFF:LEN                ask who has it
  u:OFF:LEN                give it back
  s:MILLISECONDS           sleep
`

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "serve":
		err = serve(args[1])
	case len(args) > 2 && args[0] == "lock":
		err = locks(args[1], args[2:])
	default:
		err = fmt.Errorf("wrong arguments %q; the forms are:\n%s", args, usage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			script, err := io.ReadAll(conn)
			if err != nil {
				return
			}
			cmd := exec.Command("/bin/sh", "-c", string(script))
			cmd.Stdout, cmd.Stderr = conn, conn
			_ = cmd.Run()
			fmt.Fprintf(conn, "\nstatus %d\n", cmd.ProcessState.ExitCode())
		}()
	}
}

// locks performs the operations. One that is refused is a line like any other.
func locks(name string, ops []string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, op := range ops {
		kind, rest, _ := strings.Cut(op, ":")
		if kind == "s" {
			var ms int
			if _, err := fmt.Sscanf(rest, "%d", &ms); err != nil {
				return fmt.Errorf("%q: want s:MILLISECONDS", op)
			}
			time.Sleep(time.Duration(ms) * time.Millisecond)
			continue
		}
		lk := syscall.Flock_t{Type: syscall.F_WRLCK}
		if _, err := fmt.Sscanf(rest, "%d:%d", &lk.Start, &lk.Len); err != nil {
			return fmt.Errorf("%q: want KIND:OFF:LEN", op)
		}
		cmd := syscall.F_SETLK
		switch kind {
		case "w":
		case "W":
			cmd = syscall.F_SETLKW
		case "r":
			lk.Type = syscall.F_RDLCK
		case "R":
			lk.Type, cmd = syscall.F_RDLCK, syscall.F_SETLKW
		case "u":
			lk.Type = syscall.F_UNLCK
		case "t":
			cmd = syscall.F_GETLK
		default:
			return fmt.Errorf("%q: there is no kind %q", op, kind)
		}
		err := syscall.FcntlFlock(f.Fd(), cmd, &lk)
		switch {
		case err != nil:
			fmt.Printf("%s: %v\n", op, err)
		case kind == "t" && lk.Type == syscall.F_UNLCK:
			fmt.Printf("%s: free\n", op)
		case kind == "t":
			fmt.Printf("%s: held %d:%d\n", op, lk.Start, lk.Len)
		default:
			fmt.Printf("%s: ok\n", op)
		}
	}
	return nil
}
