// SPDX-License-Identifier: MIT

package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/seed17199236/svcfuzz/stress/server"
)

// Options say what to play, and to whom. The zero value, with a folder, plays everything to the port.
type Options struct {
	Folder  string   // of the recordings and the differences
	Groups  []string // none: all
	Kernels []string // none: all
	Case    string   // pattern of names, as in path.Match; "": all
	// Against is another server, host:port, of lockd or of the callback service. Only stateless groups can be played to
	// it, and nothing explains a difference.
	Against  string
	Progress func(played, of int) // nil: nobody is interested; one call at a time
}

// Result is what became of what one kernel was sent in a case.
type Result struct {
	Case       *Case
	Kernel     string
	Got        Answer
	Difference *Difference // explains why Got is not what the kernel did
	Skipped    string      // why it could not be played
}

// Equal reports whether the server did what the kernel did.
func (r *Result) Equal() bool { return r.Skipped == "" && r.Case.Takes[r.Kernel].equal(r.Got) }

// Unexplained reports whether it did something else, and nobody knows why.
func (r *Result) Unexplained() bool { return r.Skipped == "" && !r.Equal() && r.Difference == nil }

// stateless are the groups in which no case depends on another one, and none names a file.
var stateless = []string{"nlm-rpc", "nlm-rm", "nfs-cb-rpc", "nfs-cb-rm"}

// Groups lists the groups of a recording in their order.
func (r *Recording) Groups() []string {
	var list []string
	for _, c := range r.Cases {
		if !slices.Contains(list, c.Group) {
			list = append(list, c.Group)
		}
	}
	return list
}

// UsageError is a wish that cannot be met: one line with the thing, the reason and the remedy.
type UsageError struct{ What string }

func (e *UsageError) Error() string { return e.What }

// Conform plays recordings and compares.
func Conform(ctx context.Context, opt Options) (*Report, error) {
	recording, err := Load(opt.Folder)
	if err != nil {
		return nil, err
	}
	return recording.conform(ctx, opt)
}

// conform is Conform with what was recorded at hand.
func (r *Recording) conform(ctx context.Context, opt Options) (*Report, error) {
	list, err := LoadDifferences(filepath.Join(opt.Folder, "differences.json"))
	if err != nil {
		return nil, err
	}
	if err := opt.check(r); err != nil {
		return nil, err
	}
	if opt.Against != "" {
		list = nil
	}
	c := &conformance{opt: opt, recording: r, list: list, report: &Report{Versions: r.Versions}}
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	c.report.finish(r, list, len(opt.Groups) == 0 && len(opt.Kernels) == 0 && opt.Case == "" && opt.Against == "")
	return c.report, nil
}

// check says what cannot be played.
func (o *Options) check(r *Recording) error {
	for _, want := range []struct {
		what        string
		given, have []string
	}{{"group", o.Groups, r.Groups()}, {"kernel", o.Kernels, Kernels}} {
		for _, name := range want.given {
			if !slices.Contains(want.have, name) {
				return &UsageError{fmt.Sprintf("there is no %s %q; choose from %s", want.what, name, strings.Join(want.have, ", "))}
			}
		}
	}
	if _, err := path.Match(o.Case, ""); err != nil {
		return &UsageError{fmt.Sprintf("%q is no pattern of case names (%v); write e.g. 'nlm-v4-tcp-*'", o.Case, err)}
	}
	if !slices.ContainsFunc(r.Cases, o.selects) {
		return &UsageError{fmt.Sprintf("no recorded case matches %q in these groups; choose another pattern", o.Case)}
	}
	if o.Against == "" {
		return nil
	}
	if len(o.Groups) == 0 {
		return &UsageError{"--group: which groups another server is to be asked is not said; choose from " + strings.Join(stateless, ", ")}
	}
	for _, g := range o.Groups {
		if !slices.Contains(stateless, g) {
			return &UsageError{fmt.Sprintf("group %s needs files and state that only the server of this process has; "+
				"choose from %s", g, strings.Join(stateless, ", "))}
		}
	}
	return nil
}

// selects reports whether a case is to be reported.
func (o *Options) selects(c *Case) bool {
	ok, _ := path.Match(o.Case, c.Name)
	return !c.Step && (ok || o.Case == "") && (len(o.Groups) == 0 || slices.Contains(o.Groups, c.Group))
}

// conformance is one run of Conform.
type conformance struct {
	opt       Options
	recording *Recording
	list      []*Difference
	of        int

	mu     sync.Mutex // guards what is below
	report *Report
	played int
}

// lane is what one server gets: cases of a kernel in their order, or the stateless ones of a transport.
type lane struct {
	kernel, setup string // "" and main: the stateless ones
	plays         []play
}

// play is what is sent, and for whom: kernels that got the same octets share it where nothing depends on state.
type play struct {
	c       *Case
	kernels []string
}

// laneOf names the lane of a case within a kernel: what is played before it changes what comes back.
func laneOf(c *Case) string {
	switch {
	case slices.Contains(stateless, c.Group):
		return ""
	case c.Setup == "main" && c.Target == "nlm":
		return c.Name[:len("nlm-v4")] // no version sees the locks of another one: each case cleans up
	case c.Setup == "main":
		return c.Group
	}
	return c.Setup
}

// lanes puts the selected cases, and what has to go before them, into lanes.
func (c *conformance) lanes() []*lane {
	kernels := c.opt.Kernels
	if len(kernels) == 0 {
		kernels = Kernels
	}
	var order []*lane
	byName := map[string]*lane{}
	last := map[*lane]int{} // how many plays are needed
	add := func(name, kernel string, p play) {
		l := byName[name]
		if l == nil {
			l = &lane{kernel: kernel, setup: p.c.Setup}
			byName[name] = l
			order = append(order, l)
		}
		if selected := c.opt.selects(p.c); selected || kernel != "" {
			l.plays = append(l.plays, p)
			if selected {
				last[l] = len(l.plays)
			}
		}
	}
	for _, x := range c.recording.Cases {
		if laneOf(x) == "" {
			for _, p := range sharing(x, kernels) {
				add(fmt.Sprint("stateless ", x.UDP), "", p)
			}
			continue
		}
		for _, kernel := range kernels {
			if x.Takes[kernel] != nil {
				add(kernel+" "+laneOf(x), kernel, play{x, []string{kernel}})
			}
		}
	}
	for _, l := range order {
		l.plays = l.plays[:last[l]]
	}
	order = slices.DeleteFunc(order, func(l *lane) bool { return len(l.plays) == 0 })
	slices.SortStableFunc(order, func(a, b *lane) int { return cmp.Compare(len(b.plays), len(a.plays)) })
	return order
}

// sharing puts the kernels together that were sent the same.
func sharing(c *Case, kernels []string) []play {
	var plays []play
	for _, kernel := range kernels {
		t := c.Takes[kernel]
		if t == nil {
			continue
		}
		at := slices.IndexFunc(plays, func(p play) bool { return slices.EqualFunc(c.Takes[p.kernels[0]].Writes, t.Writes, slices.Equal) })
		if at < 0 {
			plays = append(plays, play{c: c})
			at = len(plays) - 1
		}
		plays[at].kernels = append(plays[at].kernels, kernel)
	}
	return plays
}

// atOnce is how many servers, and how many connections to the one for the stateless groups, there are at a time.
const atOnce = 8

// run plays all lanes.
func (c *conformance) run(ctx context.Context) error {
	lanes := c.lanes()
	for _, l := range lanes {
		c.of += len(l.plays)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := make(chan *lane, len(lanes))
	for _, l := range lanes {
		work <- l
	}
	close(work)
	var wg sync.WaitGroup
	errs := make([]error, atOnce)
	for i := range atOnce {
		wg.Go(func() {
			for l := range work {
				if err := c.lane(ctx, l); err != nil {
					errs[i] = err
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	return firstReal(errs)
}

// firstReal is the first error that is not only the consequence of another one.
func firstReal(errs []error) error {
	var found error
	for _, err := range errs {
		if err != nil && (found == nil || errors.Is(found, context.Canceled)) {
			found = err
		}
	}
	return found
}

// lane plays one lane to a server of its own, or to the one that Against names.
func (c *conformance) lane(ctx context.Context, l *lane) error {
	if c.opt.Against != "" {
		conn, err := net.DialTimeout("tcp", c.opt.Against, Patient.First)
		if err != nil {
			return &UsageError{fmt.Sprintf("nobody takes connections at %s (%v); start the server, or name another address",
				c.opt.Against, err)}
		}
		_ = conn.Close()
		p := &player{addr: func(*Case) string { return c.opt.Against }, pace: Brisk}
		return c.atOnce(ctx, p, l)
	}
	return c.serve(ctx, l, func(ctx context.Context, p *player, g *guest) error {
		if l.kernel == "" {
			return c.atOnce(ctx, p, l)
		}
		return c.inOrder(ctx, p, g, l)
	})
}

// serve runs a server that is as the recorded guest was, and body with it.
func (c *conformance) serve(ctx context.Context, l *lane, body func(context.Context, *player, *guest) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := listen(usualClient, outsideClient)
	if err != nil {
		return err
	}
	defer client.close()
	g, err := c.recording.guest(l.kernel, l.setup, client.port)
	if err != nil {
		return err
	}
	ready := make(chan map[string]string, 1)
	var out *server.Outcome
	done := make(chan error, 1)
	go func() {
		var err error
		out, err = server.Run(ctx, g.config, func(all []server.Endpoint) {
			at := map[string]string{}
			for _, e := range all {
				at[e.Service+" "+e.Netid] = e.Addr
			}
			ready <- at
		})
		done <- err
	}()
	select {
	case at := <-ready:
		if err = g.check(); err == nil {
			err = body(ctx, &player{
				addr: endpoint(at), bound: true, peer: client, pace: Steady, files: g.files, ordered: l.kernel != "", lockd: g.lockd,
			}, g)
		}
		cancel()
		err = errors.Join(err, <-done)
	case err = <-done:
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range out.Findings {
		c.report.Findings = append(c.report.Findings, fmt.Sprintf("%s %s: %s\n%s", l.kernel, l.setup, f, f.Text))
	}
	return nil
}

// endpoint finds the service that a case is for.
func endpoint(at map[string]string) func(*Case) string {
	service := map[string]string{"nlm": "lockd", "nfs-cb": "callback0"}
	netid := map[bool]string{false: " tcp", true: " udp"}
	return func(c *Case) string { return at[service[c.Target]+netid[c.UDP]] }
}

// inOrder plays cases that depend on each other.
func (c *conformance) inOrder(ctx context.Context, p *player, g *guest, l *lane) error {
	missing := map[string]bool{} // sequences of which something could not be played
	for _, x := range l.plays {
		if err := ctx.Err(); err != nil {
			return err
		}
		got, err := one(p, g, x.c, l.kernel)
		if errors.Is(err, errUnprivileged) {
			missing[sequence(x.c)] = true
		} else if err == nil && missing[sequence(x.c)] {
			err = fmt.Errorf("what comes before it %w", errUnprivileged)
		}
		if err := c.note(x, got, err); err != nil {
			return err
		}
	}
	return nil
}

// one plays a case in its turn.
func one(p *player, g *guest, c *Case, kernel string) (Answer, error) {
	if err := g.before(c); err != nil {
		return Answer{}, err
	}
	t, err := g.translate(c, c.Takes[kernel])
	if err != nil {
		return Answer{}, err
	}
	var got Answer
	if c.Step {
		err = p.step(c, t)
	} else {
		got, err = p.play(c, t)
	}
	if err == nil {
		got.Returned, err = g.returned(c)
	}
	return got, err
}

// numbered is the beginning of the names of a sequence, whose cases are numbered.
var numbered = regexp.MustCompile(`^.*?-[0-9]{2}-`)

// sequence names the sequence that a case belongs to; one that does not has one of its own.
func sequence(c *Case) string {
	if head := numbered.FindString(c.Name); head != "" {
		return head[:len(head)-len("00-")]
	}
	return c.Name
}

// atOnce plays cases that do not depend on each other, over TCP a few at a time. One datagram follows another, since
// what a short one leaves unsaid is read from the one before. What is not understood at once gets a second chance.
func (c *conformance) atOnce(ctx context.Context, p *player, l *lane) error {
	twice := func(x play) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		brisk, patient := *p, *p
		brisk.pace, patient.pace = Brisk, Patient
		got, err := brisk.play(x.c, x.c.Takes[x.kernels[0]])
		if err == nil && !c.understood(x, got) {
			got, err = patient.play(x.c, x.c.Takes[x.kernels[0]])
		}
		return c.note(x, got, err)
	}
	queue := make(chan play, len(l.plays))
	var udp []play
	for _, x := range l.plays {
		if x.c.UDP {
			udp = append(udp, x)
		} else {
			queue <- x
		}
	}
	close(queue)
	var wg sync.WaitGroup
	errs := make([]error, atOnce+1)
	wg.Go(func() {
		for _, x := range udp {
			if errs[atOnce] == nil {
				errs[atOnce] = twice(x)
			}
		}
	})
	for i := range atOnce {
		wg.Go(func() {
			for x := range queue {
				if errs[i] == nil {
					errs[i] = twice(x)
				}
			}
		})
	}
	wg.Wait()
	return firstReal(errs)
}

// understood reports whether every kernel gave this answer or the data file says why not.
func (c *conformance) understood(x play, got Answer) bool {
	return !slices.ContainsFunc(x.kernels, func(kernel string) bool {
		r := c.result(x.c, kernel, got)
		return r.Unexplained()
	})
}

// result compares.
func (c *conformance) result(x *Case, kernel string, got Answer) Result {
	r := Result{Case: x, Kernel: kernel, Got: got}
	if !r.Equal() {
		if i := slices.IndexFunc(c.list, func(d *Difference) bool { return d.Explains(x, kernel, got) }); i >= 0 {
			r.Difference = c.list[i]
		}
	}
	return r
}

// note puts what came of a play into the report.
func (c *conformance) note(x play, got Answer, err error) error {
	if err != nil && !errors.Is(err, errUnprivileged) {
		return fmt.Errorf("%s as %s was sent it: %w", x.c.Name, x.kernels[0], err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kernel := range x.kernels {
		switch {
		case !c.opt.selects(x.c):
		case err != nil:
			c.report.Results = append(c.report.Results, Result{Case: x.c, Kernel: kernel, Skipped: err.Error()})
		default:
			c.report.Results = append(c.report.Results, c.result(x.c, kernel, got))
		}
	}
	c.played++
	if c.opt.Progress != nil {
		c.opt.Progress(c.played, c.of)
	}
	return nil
}
