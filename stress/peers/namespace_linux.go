// SPDX-License-Identifier: MIT

package peers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"unsafe"
)

// Inside is the environment variable by which a process knows that it is the part of a peer's run that has namespaces
// of its own: the name of the peer.
const Inside = "SVCFUZZ_PEER"

// line is what the part inside says to the one outside, one JSON object a line.
type line struct {
	Check   *Check   `json:"check,omitempty"`
	Error   string   `json:"error,omitempty"`
	Missing bool     `json:"missing,omitempty"` // the error is that the peer is not available
	Options *Options `json:"options,omitempty"` // to the part inside
}

// isolated runs body in a process of its own that has a network of its own, with nothing but the loopback interface,
// and a /run of its own. The process is this program once more: Main is what it does first of all. It is killed when
// this one ends, and with it all that it has started.
func isolated(name string, body func(ctx context.Context, c *Checks) error) func(context.Context, *Checks) error {
	bodies[name] = body
	return func(ctx context.Context, c *Checks) error {
		if os.Geteuid() != 0 {
			return notAvailable("network namespaces: they take root; run it as root")
		}
		cmd := exec.CommandContext(ctx, "/proc/self/exe")
		cmd.Env = append(os.Environ(), Inside+"="+name)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
		}
		opt, err := json.Marshal(line{Options: &c.Options})
		if err != nil {
			return err
		}
		var noise bytes.Buffer
		cmd.Stdin, cmd.Stderr = bytes.NewReader(append(opt, '\n')), &noise
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return notAvailable("network namespaces: they cannot be made here (%v); run it on a Linux host, as root", err)
		}
		told := c.listen(out)
		if err := cmd.Wait(); err != nil && told == nil {
			return fmt.Errorf("%s: %w: %s", name, err, lastLines(noise.Bytes()))
		}
		return told
	}
}

// bodies are what runs inside, by peer.
var bodies = map[string]func(ctx context.Context, c *Checks) error{}

// listen takes what the part inside says until it ends.
func (c *Checks) listen(out io.Reader) error {
	var failed error
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return fmt.Errorf("the part inside says %q", s.Text())
		}
		switch {
		case l.Check != nil:
			c.add(*l.Check)
		case l.Missing:
			failed = &errNotAvailable{l.Error}
		case l.Error != "":
			failed = errors.New(l.Error)
		}
	}
	return errors.Join(failed, s.Err())
}

// Main is called first of all by a program that runs peers. In the part inside it does that part's work and does not
// return.
func Main() {
	name := os.Getenv(Inside)
	if name == "" {
		return
	}
	say := json.NewEncoder(os.Stdout)
	err := inside(name, func(x Check) { _ = say.Encode(line{Check: &x}) })
	var missing *errNotAvailable
	if err != nil {
		_ = say.Encode(line{Error: err.Error(), Missing: errors.As(err, &missing)})
	}
	os.Exit(0)
}

func inside(name string, tell func(Check)) error {
	body := bodies[name]
	if body == nil {
		return fmt.Errorf("%s=%s: there is no such peer; unset it", Inside, name)
	}
	var l line
	if err := json.NewDecoder(os.Stdin).Decode(&l); err != nil || l.Options == nil {
		return fmt.Errorf("%s=%s: it is set by svcfuzz itself; unset it", Inside, name)
	}
	if err := furnish(); err != nil {
		return err
	}
	return body(context.Background(), &Checks{Options: *l.Options, tell: tell})
}

// nfsSettings is where programs of NFS tell the kernel what they know, such as how often the machine was up.
const nfsSettings = "/proc/sys/fs/nfs"

// furnish makes the new namespaces habitable: mounts stay private, /run is empty, the kernel's settings of NFS cannot
// be reached (they are the host's), loopback is up.
func furnish() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	if _, err := os.Stat(nfsSettings); err == nil {
		if err := syscall.Mount("tmpfs", nfsSettings, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("mounting over %s: %w", nfsSettings, err)
		}
	}
	return loopbackUp()
}

// loopbackUp does what "ip link set lo up" does.
func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	var req struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS,
		uintptr(unsafe.Pointer(&req))); e != 0 {
		return fmt.Errorf("bringing lo up: %w", e)
	}
	return nil
}
