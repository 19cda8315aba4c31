// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serving is a `stress serve` that is ready.
type serving struct {
	cmd  *exec.Cmd
	at   map[string]string // "lockd udp" -> address
	rest chan string       // what it prints behind "ready"
	errs bytes.Buffer
}

func startServe(t *testing.T, args ...string) *serving {
	t.Helper()
	s := &serving{at: map[string]string{}, rest: make(chan string, 1)}
	s.cmd = exec.Command(binary, append([]string{"serve"}, args...)...)
	s.cmd.Stderr = &s.errs
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	guard := time.AfterFunc(time.Minute, func() { _ = s.cmd.Process.Kill() })
	defer guard.Stop()
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("ended before it was ready: %q, %s", line, &s.errs)
		}
		if line == "ready\n" {
			break
		}
		words := strings.Fields(line)
		if len(words) != 3 {
			t.Fatalf("line %q: want service, netid, address", line)
		}
		s.at[words[0]+" "+words[1]] = words[2]
	}
	go func() {
		rest, _ := io.ReadAll(lines)
		s.rest <- string(rest)
	}()
	return s
}

// stop sends a signal and returns the exit code and the last words.
func (s *serving) stop(t *testing.T, sig os.Signal) (int, string) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	rest := <-s.rest
	_ = s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode(), rest
}

func TestServe(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		s := startServe(t)
		for _, name := range []string{"lockd udp", "lockd tcp", "callback0 tcp", "rpcbind tcp", "rpcbind udp"} {
			if !strings.HasPrefix(s.at[name], "127.0.0.1:") {
				t.Errorf("%s at %q", name, s.at[name])
			}
		}
		conn, err := net.Dial("tcp", s.at["lockd tcp"])
		if err != nil {
			t.Fatal(err)
		}
		call := []byte{0x80, 0, 0, 40, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0x86, 0xb5, 0, 0, 0, 4}
		call = append(call, make([]byte, 20)...)
		want := append([]byte{0x80, 0, 0, 24, 1, 2, 3, 4, 0, 0, 0, 1}, make([]byte, 16)...)
		got := make([]byte, len(want))
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Write(call); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("NULL call: %x (%v), want %x", got, err, want)
		}
		// The connection stays open: the server has to end it.
		code, rest := s.stop(t, sig)
		if code != exitOK || !strings.Contains(rest, "stopped: lockd 1 calls, callback0 0 calls, nothing left behind") || s.errs.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, %q", sig, code, rest, &s.errs)
		}
		_ = conn.Close()
	}
}

func TestServeTwice(t *testing.T) {
	s := startServe(t)
	port := func(name string) string { return s.at[name][strings.LastIndexByte(s.at[name], ':')+1:] }
	for _, args := range [][]string{
		{"--lockd-tcp-port", port("lockd tcp")},
		{"--lockd-udp-port", port("lockd udp")},
		{"--callback-port", port("callback0 tcp")},
		{"--rpcbind-port", port("rpcbind tcp")},
	} {
		code, out, errs := stress(t, ".", append([]string{"serve"}, args...)...)
		if code != exitUsage || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, args[1]) ||
			!strings.Contains(errs, "in use") || !strings.Contains(errs, args[0]) {
			t.Errorf("%v: exit code %d, %q, %q", args, code, out, errs)
		}
	}
	if code, rest := s.stop(t, os.Interrupt); code != exitOK {
		t.Errorf("exit code %d, %q, %q", code, rest, &s.errs)
	}
}

func TestServeWrongUse(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--rpcbind", ""}, "the address is empty"},
		{[]string{"--rpcbind", "127.0.0.1:1", "--rpcbind-port", "1"}, "choose a running rpcbind or the embedded one"},
		{[]string{"--rpcbind", "127.0.0.1:1"}, "no rpcbind answers there"},
		{[]string{"--rpcbind", "nonsense"}, "give a loopback address"},
		{[]string{"--lockd-tcp-port", "65536"}, "write a whole number from 0 to 65535"},
		{[]string{"--statd", ""}, "the address is empty"},
		{[]string{"--statd", "192.0.2.1:4047"}, "give a loopback address with a port"},
		{[]string{"--grace", "241"}, "lockd takes 240 seconds at most"},
		{[]string{"--grace", "-1"}, "invalid argument"},
		{[]string{"more"}, "one argument too many"},
	} {
		code, out, errs := stress(t, ".", append([]string{"serve"}, test.args...)...)
		if code != exitUsage || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, test.want) {
			t.Errorf("%v: exit code %d, %q, %q, want %q", test.args, code, out, errs, test.want)
		}
	}
}
