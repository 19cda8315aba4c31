// SPDX-License-Identifier: MIT

package load

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

// Line is one thing that was looked at.
type Line struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`          // figures
	Fault  string `json:"fault,omitempty"` // what was wrong; empty: nothing
}

func (l Line) String() string {
	if l.Fault != "" {
		return fmt.Sprintf("FAIL %s: %s; %s", l.Name, l.Fault, l.Detail)
	}
	return fmt.Sprintf("ok   %s: %s", l.Name, l.Detail)
}

// fault notes the first thing that is wrong.
func (l *Line) fault(format string, args ...any) {
	if l.Fault == "" {
		l.Fault = fmt.Sprintf(format, args...)
	}
}

// slack is how much more memory a process may hold at the end than when it had done a tenth of its work.
const slack = 1.05

// Memory makes calls, NULL and at.Call in turn, and looks at the memory of the process pid, which may at no time be
// more than 5 % and extra octets above what it is after the first tenth.
func Memory(ctx context.Context, at Target, pid int, calls, extra int64) Line {
	l := Line{Name: fmt.Sprintf("%d calls", calls)}
	var done, base, most, last int64
	null := Null(at.Call.Prog, at.Call.Vers)
	for i := 0; done < calls && ctx.Err() == nil; i++ {
		call := at.Call
		if i%2 == 0 {
			call = null
		}
		r, err := Run(ctx, Config{
			Network: "tcp", Addr: at.TCP, Call: call, Conns: 4, Depth: 16, For: 200 * time.Millisecond,
		})
		if err != nil {
			l.fault("%v", err)
			break
		}
		if r.Refused > 0 {
			l.fault("%d calls of %v were refused", r.Refused, &call)
		}
		done += r.All
		w, err := Weigh(pid)
		if err != nil {
			l.fault("%v", err)
			break
		}
		last = w.RSS
		switch {
		case done < calls/10:
		case base == 0:
			base, most = w.RSS, w.RSS
		default:
			most = max(most, w.RSS)
		}
	}
	l.Detail = fmt.Sprintf("%d answered, RSS %.1f MB after the first tenth, %.1f MB at most, %.1f MB at the end",
		done, float64(base)/1e6, float64(most)/1e6, float64(last)/1e6)
	if float64(most) > slack*float64(base)+float64(extra) {
		l.fault("memory grows")
	}
	return l
}

// settles waits until the process has no more than fds files open, and returns how many it has.
func settles(ctx context.Context, pid, fds int) int {
	for end := time.Now().Add(patience); ; {
		w, err := Weigh(pid)
		if err == nil && w.Fds <= fds || time.Now().After(end) || ctx.Err() != nil {
			return w.Fds
		}
		rpcclient.Sleep(ctx, 10*time.Millisecond)
	}
}

// Connections makes and drops n connections, and looks at the files that the process pid has open before and after.
func Connections(ctx context.Context, at Target, pid, n int) Line {
	l := Line{Name: fmt.Sprintf("%d connections, made and dropped", n)}
	before, err := Weigh(pid)
	if err != nil {
		l.fault("%v", err)
	}
	var d Damage
	Churn(ctx, at, n, 16, &d)
	after := settles(ctx, pid, before.Fds)
	w, _ := Weigh(pid)
	l.Detail = fmt.Sprintf("%d of them with a call that was answered, %d to %d files open, RSS %.1f to %.1f MB",
		d.Answered.Load(), before.Fds, after, float64(before.RSS)/1e6, float64(w.RSS)/1e6)
	if err := d.Why(); err != nil {
		l.fault("%v", err)
	}
	if after > before.Fds {
		l.fault("%d files are left open", after-before.Fds)
	}
	if int(d.Conns.Load()) != n && ctx.Err() == nil {
		l.fault("only %d connections were made", d.Conns.Load())
	}
	return l
}

// Beyond is how many connections Limit makes at a time.
func Beyond(limit int) int { return limit + limit/4 }

// Limit makes a quarter more connections than the service keeps: the newest stay, the oldest are dropped.
func Limit(ctx context.Context, at Target, pid, limit int) Line {
	n := Beyond(limit)
	l := Line{Name: fmt.Sprintf("%d connections at a time, of which %d are kept", n, limit)}
	before, err := Weigh(pid)
	if err != nil {
		l.fault("%v", err)
	}
	var d Damage
	alive, dropped := Crowd(ctx, at, n, limit, &d)
	after := settles(ctx, pid, before.Fds)
	l.Detail = fmt.Sprintf("%d were there at the end, the %d oldest dropped, %d to %d files open", alive, dropped,
		before.Fds, after)
	if err := d.Why(); err != nil {
		l.fault("%v", err)
	}
	// The limit is looked at before a connection is accepted.
	if ctx.Err() == nil && (alive < limit || alive > limit+1) {
		l.fault("%d connections are kept", alive)
	}
	if after > before.Fds {
		l.fault("%d files are left open", after-before.Fds)
	}
	return l
}

// steadyRate is how many calls a second well-behaved clients make, over each transport.
const steadyRate = 200

// beside runs an attack for some time beside two well-behaved clients, and tells what became of them.
func beside(ctx context.Context, at Target, each time.Duration,
	attack func(ctx context.Context)) (tcp, udp *SteadyResult) {
	attacked, over := context.WithCancel(ctx)
	defer over()
	var all, other sync.WaitGroup
	if attack != nil {
		other.Go(func() { attack(attacked) })
	}
	steady := SteadyConfig{
		Network: "tcp", Addr: at.TCP, Call: at.Call, Rate: steadyRate, For: each, Patience: patience,
	}
	all.Go(func() { tcp = Steady(ctx, steady) })
	all.Go(func() {
		u := steady
		u.Network, u.Addr = "udp", at.UDP
		udp = Steady(ctx, u)
	})
	all.Wait()
	over()
	other.Wait()
	return tcp, udp
}

// String says what became of the calls.
func (r *SteadyResult) String() string {
	s := fmt.Sprintf("%d of %d calls answered, p50 %s, p99 %s, longest %s", r.Answered, r.Due,
		millis(r.Latency.Quantile(0.5)), millis(r.Latency.Quantile(0.99)), millis(r.Latency.Max()))
	if r.Redials > 0 {
		s += fmt.Sprintf(", connected anew %d times", r.Redials)
	}
	if r.Resent > 0 {
		s += fmt.Sprintf(", %d datagrams sent again", r.Resent)
	}
	return s
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2fms", float64(d)/1e6) }

// judge notes what was wrong with the service of well-behaved clients.
func (l *Line) judge(tcp, udp *SteadyResult) {
	l.Detail = strings.TrimPrefix(l.Detail+"; ", "; ") + "beside it TCP: " + tcp.String() + "; UDP: " + udp.String()
	for _, r := range []*SteadyResult{tcp, udp} {
		switch {
		case r.Failed > 0:
			l.fault("%d calls of a well-behaved client failed: %v", r.Failed, r.Why)
		case r.Answered == 0:
			l.fault("no call of a well-behaved client was answered")
		}
	}
}

// Calm is the service of well-behaved clients without an attack.
func Calm(ctx context.Context, at Target, each time.Duration) Line {
	l := Line{Name: "no attack"}
	tcp, udp := beside(ctx, at, each, nil)
	l.judge(tcp, udp)
	return l
}

// Hostile runs one attack beside well-behaved clients. The server has dropped all of it afterwards.
func Hostile(ctx context.Context, at Target, pid int, a Attack, size int, each time.Duration) Line {
	l := Line{Name: fmt.Sprintf("%s, %d at a time", a.Name, size)}
	before, err := Weigh(pid)
	if err != nil {
		l.fault("%v", err)
	}
	var d Damage
	tcp, udp := beside(ctx, at, each, func(ctx context.Context) { a.Run(ctx, at, size, &d) })
	l.Detail = d.String()
	l.judge(tcp, udp)
	if err := d.Why(); err != nil {
		l.fault("%v", err)
	}
	if d.Sent.Load() == 0 {
		l.fault("nothing was sent")
	}
	if after := settles(ctx, pid, before.Fds); after > before.Fds {
		l.fault("%d files are left open", after-before.Fds)
	}
	return l
}

// Starter starts a server on the given ports, 0 being any, and returns what stops it.
type Starter func(ctx context.Context, tcp, udp uint16) (at Target, stop func() error, err error)

// Restarts starts and stops a server over and over while an attack goes on against its ports all the time.
func Restarts(ctx context.Context, start Starter, flood Attack, cycles, size int, each time.Duration) Line {
	l := Line{Name: fmt.Sprintf("%d starts and stops in a flood of %s", cycles, flood.Name)}
	at, stop, err := start(ctx, 0, 0)
	if err == nil {
		err = stop()
	}
	if err != nil {
		l.fault("%v", err)
		return l
	}
	var d Damage
	flooded, over := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { flood.Run(flooded, at, size, &d) })
	sum := [2]*SteadyResult{{}, {}}
	var longest time.Duration
	for range cycles {
		again, stop, err := start(ctx, portOf(at.TCP), portOf(at.UDP))
		if err != nil {
			l.fault("start: %v", err)
			break
		}
		tcp, udp := beside(ctx, again, each, nil)
		sum[0].add(tcp)
		sum[1].add(udp)
		from := time.Now()
		if err := stop(); err != nil {
			l.fault("stop: %v", err)
			break
		}
		longest = max(longest, time.Since(from))
	}
	over()
	all.Wait()
	l.Detail = fmt.Sprintf("%s, the longest stop took %s", &d, millis(longest))
	l.judge(sum[0], sum[1])
	if d.Sent.Load() == 0 {
		l.fault("nothing was sent")
	}
	return l
}

// add puts another result on top.
func (r *SteadyResult) add(o *SteadyResult) {
	r.Due += o.Due
	r.Answered += o.Answered
	r.Failed += o.Failed
	r.Redials += o.Redials
	r.Resent += o.Resent
	if r.Why == nil {
		r.Why = o.Why
	}
	r.Latency.Merge(&o.Latency)
}

// portOf is the port of host:port.
func portOf(addr string) (port uint16) {
	_, err := fmt.Sscanf(addr[strings.LastIndexByte(addr, ':')+1:], "%d", &port)
	if err != nil {
		return 0
	}
	return port
}

// Refuses reports whether the server answers call with anything but success, and what it says.
func Refuses(ctx context.Context, at Target, call rpcclient.Call) error {
	c, err := rpcclient.Dial(ctx, "tcp", at.TCP, rpcclient.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Do(ctx, call)
	if err != nil {
		return err
	}
	return r.Err()
}
