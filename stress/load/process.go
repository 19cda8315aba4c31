// SPDX-License-Identifier: MIT

package load

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server is a server that runs as a process of its own.
type Server struct {
	Name     string
	Pid      int
	TCP, UDP string // where it listens; empty: not
	Prog     uint32
	Vers     uint32
	Fh       []byte // a file that a lock manager can be asked about; nil: there is none

	cmd    *exec.Cmd
	ended  chan struct{}
	err    error
	mu     sync.Mutex
	said   bytes.Buffer
	ready  chan struct{}
	addrs  map[string]string // serve: "lockd tcp" -> address
	others []*Server         // that it cannot do without
}

// stopWithin is how long a server may take to start or to stop.
const stopWithin = 30 * time.Second

// run starts a program that is killed when ctx ends.
func run(ctx context.Context, name, path string, args ...string) (*Server, error) {
	s := &Server{Name: name, ended: make(chan struct{}), ready: make(chan struct{}), addrs: map[string]string{}}
	s.cmd = exec.CommandContext(ctx, path, args...)
	s.cmd.Stderr = s
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s does not start: %w", name, err)
	}
	s.Pid = s.cmd.Process.Pid
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			s.heard(lines.Text())
		}
		s.err = s.cmd.Wait()
	}()
	return s, nil
}

// heard takes one line that the program said.
func (s *Server) heard(line string) {
	fmt.Fprintln(s, line)
	if words := strings.Fields(line); len(words) == 3 {
		s.addrs[words[0]+" "+words[1]] = words[2]
	}
	if line == "ready" {
		close(s.ready)
	}
}

// Write takes what the program says.
func (s *Server) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(b)
}

// Said is the end of what the program said, in one line.
func (s *Server) Said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := bytes.TrimSpace(s.said.Bytes())
	if b = b[max(0, len(b)-600):]; len(b) == 0 {
		return "it said nothing"
	}
	return string(bytes.ReplaceAll(b, []byte("\n"), []byte("; ")))
}

// Serve starts `stress serve` with more arguments and waits until it is ready.
func Serve(ctx context.Context, exe string, args ...string) (*Server, error) {
	s, err := run(ctx, "svcfuzz", exe, append([]string{"serve"}, args...)...)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.ready:
	case <-s.ended:
		return nil, fmt.Errorf("stress serve ends at once: %s", s.Said())
	case <-time.After(stopWithin):
		s.Kill()
		return nil, fmt.Errorf("stress serve is not ready after %s: %s", stopWithin, s.Said())
	}
	s.TCP, s.UDP, s.Prog, s.Vers, s.Fh = s.addrs["lockd tcp"], s.addrs["lockd udp"], NlmProgram, 4, HelloFh
	return s, nil
}

// attackRole is the environment variable that makes a process one that attacks: see [AttackMain].
const attackRole = "SVCFUZZ_ATTACK"

// order is what an attacking process is told.
type order struct {
	Attack string
	At     Target
	Size   int
}

// Apart is the attack of that name from a process of its own, so that well-behaved clients do not have to wait for
// their turn within this one. The process is this program once more, which has AttackMain do the work.
func Apart(name string) Attack {
	a := *FindAttack(name)
	a.Run = func(ctx context.Context, at Target, size int, d *Damage) {
		text, err := json.Marshal(order{name, at, size})
		if err != nil {
			d.wrong("%w", err)
			return
		}
		killed, kill := context.WithCancel(context.WithoutCancel(ctx))
		defer kill()
		cmd := exec.CommandContext(killed, "/proc/self/exe")
		cmd.Env = append(os.Environ(), attackRole+"="+string(text))
		stdin, err := cmd.StdinPipe()
		if err != nil {
			d.wrong("%w", err)
			return
		}
		// The end of its input ends it, whether it has come to read that or not.
		defer context.AfterFunc(ctx, func() {
			_ = stdin.Close()
			time.AfterFunc(stopWithin, kill)
		})()
		out, err := cmd.Output()
		if jsonErr := json.Unmarshal(out, d); jsonErr != nil {
			d.wrong("the attacking process: %w", cmp.Or(err, jsonErr))
		}
	}
	return a
}

// AttackMain is called first of all by a program that uses Apart. In an attacking process it does the work until its
// input ends or an interrupt comes, and does not return.
func AttackMain() {
	text := os.Getenv(attackRole)
	if text == "" {
		return
	}
	var o order
	err := json.Unmarshal([]byte(text), &o)
	a := FindAttack(o.Attack)
	if err != nil || a == nil {
		fmt.Fprintf(os.Stderr, "%s is set by svcfuzz itself; unset it\n", attackRole)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	var d Damage
	a.Run(ctx, o.At, o.Size, &d)
	if err := json.NewEncoder(os.Stdout).Encode(&d); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// Stop ends a server in order. It is an error if it does not end, or ends with anything but success.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Signal(os.Interrupt)
	select {
	case <-s.ended:
	case <-time.After(stopWithin):
		s.Kill()
		return fmt.Errorf("%s does not stop within %s: %s", s.Name, stopWithin, s.Said())
	}
	if s.err != nil {
		return fmt.Errorf("%s: %w: %s", s.Name, s.err, s.Said())
	}
	return nil
}

// Kill ends a server at once, and those that were started for it.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
	for _, o := range s.others {
		o.Kill()
	}
}

// Weight is what a process holds and has used.
type Weight struct {
	CPU time.Duration // of all its threads so far, in steps of 10 ms
	RSS int64         // octets
	Fds int
}

// Weigh looks at a running process.
func Weigh(pid int) (w Weight, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return w, fmt.Errorf("process %d cannot be looked at: %w", pid, err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // behind the name, which may contain anything
	words := strings.Fields(rest)
	if len(words) < 22 {
		return w, fmt.Errorf("process %d: %q is not what /proc/PID/stat looks like", pid, stat)
	}
	var nums [3]int64 // utime, stime, rss: the 14th, 15th and 24th of the file
	for i, at := range []int{11, 12, 21} {
		if nums[i], err = strconv.ParseInt(words[at], 10, 64); err != nil {
			return w, err
		}
	}
	w.CPU = time.Duration(nums[0]+nums[1]) * 10 * time.Millisecond
	w.RSS = nums[2] * int64(os.Getpagesize())
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	w.Fds = len(fds)
	return w, err
}

// fewFds is how many open files any system allows.
const fewFds = 1024

// Supported says why servers cannot be weighed here; nil if they can.
func Supported() error {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return fmt.Errorf("it weighs servers by what /proc says of them, and there is none on %s; run it on Linux", runtime.GOOS)
	}
	return nil
}

// errMissing is a program that is not installed.
var errMissing = errors.New("not installed")

// lookPath finds a program, also where administrators' programs are.
func lookPath(name string) (string, error) {
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is %w", name, errMissing)
}
