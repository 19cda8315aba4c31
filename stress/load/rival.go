// SPDX-License-Identifier: MIT

package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

// Rivals lists the servers that can be started to stand beside ours. They take the ports that they always have, so the
// caller sees to it that nobody else needs them: see [Isolated].
func Rivals() []Rival {
	return []Rival{
		{Name: "rpcbind", program: "rpcbind", Install: "rpcbind", start: startRpcbind},
		{
			Name: "ganesha", program: "ganesha.nfsd", Install: "nfs-ganesha nfs-ganesha-mem nfs-common rpcbind",
			start: startGanesha,
		},
	}
}

// Rival is a way to start a server.
type Rival struct {
	Name    string
	Install string // the Debian packages; empty: unknown
	Asked   bool   // by the user, who would not do without it
	program string // that is started
	start   func(ctx context.Context, dir string) (*Server, error)
}

// Missing says what is not installed that it takes, nil if nothing is.
func (r *Rival) Missing() error {
	_, err := lookPath(r.program)
	return r.remedy(err)
}

// remedy adds to the error of a missing program where it is to be had.
func (r *Rival) remedy(err error) error {
	switch {
	case !errors.Is(err, errMissing):
		return err
	case r.Install != "":
		return fmt.Errorf("%w; apt-get install %s", err, r.Install)
	}
	return fmt.Errorf("%w; install it, or write the path of the program", err)
}

// Start starts it and waits until it answers. dir is for its files.
func (r *Rival) Start(ctx context.Context, dir string) (*Server, error) {
	s, err := r.start(ctx, dir)
	if err != nil {
		return nil, r.remedy(err)
	}
	return s, nil
}

// ParseRival reads which server somebody asks for: the name of one of [Rivals], or the description of another,
// "NAME HOST:PORT PROGRAM VERSION COMMAND...", where the command keeps running and listens on that TCP port.
func ParseRival(text string) (*Rival, error) {
	words := strings.Fields(text)
	var names []string
	for _, r := range Rivals() {
		if len(words) == 1 && r.Name == words[0] {
			r.Asked = true
			return &r, nil
		}
		names = append(names, r.Name)
	}
	if len(words) < 5 {
		return nil, fmt.Errorf("%q: write NAME HOST:PORT PROGRAM VERSION COMMAND..., all in one argument, or choose %s", text,
			strings.Join(names, ", "))
	}
	prog, err := strconv.ParseUint(words[2], 0, 32)
	if err != nil {
		return nil, fmt.Errorf("%q: the program %s is not a number", text, words[2])
	}
	vers, err := strconv.ParseUint(words[3], 0, 32)
	if err != nil {
		return nil, fmt.Errorf("%q: the version %s is not a number", text, words[3])
	}
	given := func(ctx context.Context, _ string) (*Server, error) {
		s, err := start(ctx, words[0], words[4], words[5:]...)
		if err != nil {
			return nil, err
		}
		s.TCP, s.Prog, s.Vers = words[1], uint32(prog), uint32(vers)
		return s, s.answers(ctx)
	}
	return &Rival{Name: words[0], Asked: true, program: words[4], start: given}, nil
}

// start is run for a program that is looked up.
func start(ctx context.Context, name, program string, args ...string) (*Server, error) {
	path, err := lookPath(program)
	if err != nil {
		return nil, err
	}
	return run(ctx, name, path, args...)
}

// answers waits until the server does, else kills it.
func (s *Server) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	for {
		c, err := rpcclient.Dial(ctx, "tcp", s.TCP, rpcclient.Options{Timeout: time.Second})
		if err == nil {
			_, err = c.Call(ctx, s.Prog, s.Vers, 0, nil)
			c.Close()
		}
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			s.Kill()
			return fmt.Errorf("%s ends at once: %s", s.Name, s.Said())
		case <-ctx.Done():
			s.Kill()
			return fmt.Errorf("%s does not answer: %w: %s", s.Name, err, s.Said())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func startRpcbind(ctx context.Context, _ string) (*Server, error) {
	if err := os.MkdirAll("/run/rpcbind", 0o755); err != nil {
		return nil, err
	}
	s, err := start(ctx, "rpcbind", "rpcbind", "-f")
	if err != nil {
		return nil, err
	}
	s.TCP, s.UDP, s.Prog, s.Vers = "127.0.0.1:111", "127.0.0.1:111", 100000, 2
	return s, s.answers(ctx)
}

// ganeshaConf is a file system in memory behind NLM version 4.
const ganeshaConf = `
NFS_CORE_PARAM { NFS_Port = 2049; MNT_Port = 20048; NLM_Port = 32803; Protocols = 3;
  Enable_NLM = true; Enable_RQUOTA = false; Enable_UDP = true; }
NFSv4 { RecoveryBackend = fs; RecoveryRoot = %[1]s/recovery; Graceless = true; }
EXPORT { Export_Id = 77; Path = /mem; Pseudo = /mem; Access_Type = RW; Protocols = 3; SecType = sys;
  Squash = No_Root_Squash; FSAL { Name = MEM; } }
LOG { Default_Log_Level = WARN; }
`

// startGanesha needs an rpcbind that runs.
func startGanesha(ctx context.Context, dir string) (*Server, error) {
	conf := filepath.Join(dir, "ganesha.conf")
	for _, d := range []string{
		"/run/ganesha", "/run/sendsigs.omit.d", dir + "/recovery", dir + "/statd/sm", dir + "/statd/sm.bak",
	} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(conf, fmt.Appendf(nil, ganeshaConf, dir), 0o644); err != nil {
		return nil, err
	}
	statd, err := start(ctx, "rpc.statd", "rpc.statd", "--foreground", "--no-notify", "-P", dir+"/statd")
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, "ganesha", "ganesha.nfsd", "-F", "-f", conf, "-L", dir+"/ganesha.log", "-p", dir+"/ganesha.pid")
	if err != nil {
		statd.Kill()
		return nil, err
	}
	s.others = append(s.others, statd)
	s.TCP, s.UDP, s.Prog, s.Vers = "127.0.0.1:32803", "127.0.0.1:32803", NlmProgram, 4
	s.Fh = HelloFh // which it does not know: the answer is STALE_FH, after the same work on the wire
	return s, s.answers(ctx)
}

// Isolated is the command that runs this program once more with the same arguments where all ports are free: a network
// with nothing but the loopback interface, and a /run of its own. mark is put into its environment.
func Isolated(ctx context.Context, mark string, args []string) (*exec.Cmd, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("they take ports of their own, for which a network namespace is needed: run it as root")
	}
	path, err := lookPath("unshare")
	if err != nil {
		return nil, fmt.Errorf("%w (apt-get install util-linux)", err)
	}
	if _, err := lookPath("ip"); err != nil {
		return nil, fmt.Errorf("%w (apt-get install iproute2)", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	const furnish = `PATH=$PATH:/usr/sbin:/sbin; mount -t tmpfs tmpfs /run && ip link set lo up && ` +
		`ip addr add 10.88.0.1/32 dev lo && exec "$@"`
	within := []string{"--net", "--mount", "--", "sh", "-c", furnish, "sh"}
	if out, err := exec.CommandContext(ctx, path, append(within, "true")...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("a network of its own cannot be made here: %w: %s", err, out)
	}
	cmd := exec.CommandContext(ctx, path, slices.Concat(within, []string{exe}, args)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopWithin
	cmd.Env = append(os.Environ(), mark)
	return cmd, nil
}
