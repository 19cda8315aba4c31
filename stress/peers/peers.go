// SPDX-License-Identifier: MIT

// Package peers holds the services of the port against programs that none of us wrote: rpcbind and rpcinfo, rpc.statd,
// libnfs, the decoders that rpcgen makes, and a Linux kernel in an emulator. Each runs in network and mount namespaces
// of its own, on addresses that nobody else sees.
package peers

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Peer is something to be held against.
type Peer struct {
	Name string
	Doc  string // one line
	// Needs are the programs it takes, and Install the make target that brings them.
	Needs   []string
	Install string
	// Root says that it takes privileges that a user namespace does not give.
	Root bool
	run  func(ctx context.Context, c *Checks) error
}

// All lists the peers, the quick ones first.
func All() []*Peer { return []*Peer{rpcgenPeer, rpcbindPeer, statdPeer, libnfsPeer, kernelPeer} }

// Find returns the peer of that name. The error names all there are.
func Find(name string) (*Peer, error) {
	var names []string
	for _, p := range All() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("there is no peer %q: there are %s, and spin", name, strings.Join(names, ", "))
}

// Check is one thing that was looked at.
type Check struct {
	Name   string        `json:"name"`
	Detail string        `json:"detail,omitempty"`
	Fault  string        `json:"fault,omitempty"` // what was wrong; empty: nothing
	Took   time.Duration `json:"took_ns"`
}

// Result is what became of a peer.
type Result struct {
	Peer    string `json:"peer"`
	Verdict string `json:"verdict"`       // passed, failed, not available
	Why     string `json:"why,omitempty"` // of the latter two
	Checks  []Check
	Took    time.Duration `json:"took_ns"`
}

// Verdicts of a Result.
const (
	Passed       = "passed"
	Failed       = "failed"
	NotAvailable = "not available"
)

// errNotAvailable is a peer that cannot be had on this machine: the thing, the reason and the remedy.
type errNotAvailable struct{ why string }

func (e *errNotAvailable) Error() string { return e.why }

// notAvailable makes an errNotAvailable.
func notAvailable(format string, args ...any) error {
	return &errNotAvailable{fmt.Sprintf(format, args...)}
}

// Checks collects what is looked at while a peer runs.
type Checks struct {
	Options
	all  []Check
	tell func(Check)
	at   time.Time
}

// Options of a run.
type Options struct {
	// Messages is how many messages the decoders of rpcgen are given.
	Messages int
	Seed     uint64
	// Kernel is a folder with boot/vmlinuz-* and lib/modules, as a kernel package unpacks; empty: the distribution's.
	Kernel string
	// Cache is where the guest's kernel is kept.
	Cache string
	// Recording is the folder of what kernels answered.
	Recording string
}

// ok notes that something was as it has to be.
func (c *Checks) ok(name, detail string, args ...any) {
	c.add(Check{Name: name, Detail: fmt.Sprintf(detail, args...)})
}

// that notes whether something is as it has to be, and if not what is instead.
func (c *Checks) that(ok bool, name, detail string, args ...any) {
	if ok {
		c.ok(name, detail, args...)
		return
	}
	c.add(Check{Name: name, Fault: fmt.Sprintf(detail, args...)})
}

func (c *Checks) add(x Check) {
	now := time.Now()
	x.Took, c.at = now.Sub(c.at), now
	c.all = append(c.all, x)
	if c.tell != nil {
		c.tell(x)
	}
}

// faults are the names of the checks that went wrong.
func (c *Checks) faults() (names []string) {
	for _, x := range c.all {
		if x.Fault != "" {
			names = append(names, x.Name)
		}
	}
	return names
}

// Run holds the port against p. tell, which may be nil, hears of every check when it is done.
func (p *Peer) Run(ctx context.Context, opt Options, tell func(Check)) Result {
	start := time.Now()
	c := &Checks{Options: opt, tell: tell, at: start}
	err := p.available()
	if err == nil {
		err = p.run(ctx, c)
	}
	r := Result{Peer: p.Name, Verdict: Passed, Checks: c.all, Took: time.Since(start)}
	var missing *errNotAvailable
	switch faults := c.faults(); {
	case errors.As(err, &missing):
		r.Verdict, r.Why = NotAvailable, missing.why
	case err != nil:
		r.Verdict, r.Why = Failed, err.Error()
	case len(faults) > 0:
		r.Verdict, r.Why = Failed, strings.Join(faults, ", ")
	case len(c.all) == 0:
		r.Verdict, r.Why = Failed, "nothing was looked at"
	}
	return r
}

// available says what is missing, nil if nothing is.
func (p *Peer) available() error {
	var missing []string
	for _, name := range p.Needs {
		if _, err := lookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return notAvailable("%s: not installed; run make %s", strings.Join(missing, ", "), p.Install)
	}
	return nil
}

// lookPath is exec.LookPath that knows where administrators' programs are.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}
