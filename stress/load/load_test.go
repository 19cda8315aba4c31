// SPDX-License-Identifier: MIT

package load

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/stress/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a server in this process.
func served(ctx context.Context, cfg server.Config) (Target, func() error, error) {
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan []server.Endpoint, 1)
	done := make(chan error, 1)
	go func() {
		out, err := server.Run(ctx, cfg, func(all []server.Endpoint) { ready <- all })
		if err == nil && len(out.Findings) > 0 {
			err = found{out.Findings[0].String() + "\n" + out.Findings[0].Text}
		}
		done <- err
	}()
	at := Target{Call: Test(HelloFh)}
	select {
	case all := <-ready:
		for _, e := range all {
			switch e.Service + " " + e.Netid {
			case "lockd tcp":
				at.TCP = e.Addr
			case "lockd udp":
				at.UDP = e.Addr
			}
		}
	case err := <-done:
		cancel()
		return at, nil, err
	}
	return at, func() error { cancel(); return <-done }, nil
}

type found struct{ what string }

func (f found) Error() string { return f.what }

// beginning starts a server for a test, which it must leave without a trace.
func beginning(t *testing.T, cfg server.Config) Target {
	t.Helper()
	at, stop, err := served(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return at
}

func check(t *testing.T, l Line) {
	t.Helper()
	if t.Log(l); l.Fault != "" {
		t.Errorf("%s", l.Fault)
	}
}

func TestHistogram(t *testing.T) {
	var h, other Histogram
	rnd := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for i := range 10000 {
		d := time.Duration(rnd.Uint64() >> (4 + rnd.IntN(60)))
		all = append(all, d)
		if i%2 == 0 {
			h.Record(d, 1)
		} else {
			other.Record(d, 1)
		}
	}
	h.Merge(&other)
	slices.Sort(all)
	for _, q := range []float64{0.0001, 0.1, 0.5, 0.9, 0.99, 1} {
		want, got := all[int(q*10000)-1], h.Quantile(q)
		if got < want || float64(got) > float64(want)*(1+1./subBuckets)+1 {
			t.Errorf("quantile %v is %d, want %d or a little more", q, got, want)
		}
	}
	if h.Count() != 10000 || h.Max() != all[9999] {
		t.Errorf("%d latencies, the longest %d", h.Count(), h.Max())
	}
	for v := uint64(1); v < 1<<62; v = v*3 + 1 {
		if i := bucket(v); upper(i) < v || i > 0 && upper(i-1) >= v {
			t.Errorf("%d is counted in bucket %d, up to %d", v, i, upper(i))
		}
	}
}

// Every call that is made is answered, whatever the number of connections and of calls in flight.
func TestRun(t *testing.T) {
	at := beginning(t, server.Config{})
	for _, network := range []string{"tcp", "udp"} {
		for _, call := range []rpcclient.Call{Null(NlmProgram, 4), at.Call} {
			addr := at.TCP
			if network == "udp" {
				addr = at.UDP
			}
			var r *Result
			for range 50 { // on a busy host such a time may pass before the first answer
				var err error
				r, err = Run(t.Context(), Config{
					Network: network, Addr: addr, Call: call, Conns: 3, Depth: 8, For: 100 * time.Millisecond,
				})
				if err != nil {
					t.Fatal(err)
				}
				if r.Calls > 0 {
					break
				}
			}
			if r.Calls == 0 || r.Refused != 0 || r.Latency.Count() != uint64(r.Calls) || r.All < r.Calls {
				t.Errorf("%s, %v: %d calls, %d in all, %d refused", network, &call, r.Calls, r.All, r.Refused)
			}
		}
	}
	r, err := Run(t.Context(), Config{
		Network: "tcp", Addr: at.TCP, Call: Null(NlmProgram, 9), Conns: 1, Depth: 1, For: 10 * time.Millisecond,
	})
	if err != nil || r.Calls != 0 || r.Refused == 0 {
		t.Errorf("a version that is not there: %+v, %v", r, err)
	}
	if _, err := Run(t.Context(), Config{Network: "tcp", Addr: at.TCP, Conns: 1, Depth: MaxDepth + 1}); err == nil {
		t.Errorf("%d calls in flight are taken", MaxDepth+1)
	}
}

// The answer to TEST tells that nobody holds a lock.
func TestTest(t *testing.T) {
	at := beginning(t, server.Config{})
	c, err := rpcclient.Dial(t.Context(), "tcp", at.TCP, rpcclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := c.Do(t.Context(), at.Call)
	if err != nil || r.Err() != nil {
		t.Fatal(r, err)
	}
	if s := testStatus(r.Results); s != 0 {
		t.Errorf("status %d", s)
	}
}

func TestMemory(t *testing.T) {
	at := beginning(t, server.Config{})
	// A page of each call kept would be 120 MB. The heap of the tests themselves is a part of what is weighed.
	check(t, Memory(t.Context(), at, os.Getpid(), 30000, 32<<20))
}

func TestConnections(t *testing.T) {
	const limit = 64
	at := beginning(t, server.Config{MaxConnections: limit})
	check(t, Connections(t.Context(), at, os.Getpid(), 400))
	check(t, Limit(t.Context(), at, os.Getpid(), limit))
}

func TestAttacks(t *testing.T) {
	at := beginning(t, server.Config{})
	for _, a := range Attacks() {
		size := 4
		if a.Name == HalfOpen {
			size = 100
		}
		check(t, Hostile(t.Context(), at, os.Getpid(), a, size, 300*time.Millisecond))
	}
	check(t, Calm(t.Context(), at, 100*time.Millisecond))
}

// An attack that is over at once has begun all the same.
func TestAttacksBegin(t *testing.T) {
	at := beginning(t, server.Config{})
	over, end := context.WithCancel(t.Context())
	end()
	for _, a := range Attacks() {
		var d Damage
		if a.Run(over, at, 4, &d); d.Sent.Load() == 0 || d.Why() != nil {
			t.Errorf("%s: %s: %v", a.Name, &d, d.Why())
		}
	}
}

func TestRestarts(t *testing.T) {
	start := func(ctx context.Context, tcp, udp uint16) (Target, func() error, error) {
		return served(ctx, server.Config{LockdTCP: tcp, LockdUDP: udp})
	}
	check(t, Restarts(t.Context(), start, *FindAttack(Garbage), 3, 2, 100*time.Millisecond))
}

// What should have happened and did not is told.
// An interrupted client waits for no answer: its calls fail at once, however patient it is.
func TestSteadyInterrupted(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		if c, err := silent.Accept(); err == nil {
			interrupt() // when its first call is on its way
			c.Close()
		}
	}()
	r := Steady(ctx, SteadyConfig{
		Network: "tcp", Addr: silent.Addr().String(), Call: Null(NlmProgram, 4), Rate: steadyRate, For: time.Hour,
		Patience: time.Hour,
	})
	if r.Answered != 0 || r.Failed == 0 || r.Failed != r.Due {
		t.Errorf("%d due, %d answered, %d failed", r.Due, r.Answered, r.Failed)
	}
}

func TestWrong(t *testing.T) {
	ln, err := rpcclient.DialRaw(t.Context(), "tcp", "127.0.0.1:1", "")
	if err == nil {
		ln.Close()
		t.Fatal("somebody listens on port 1")
	}
	var l Line
	l.judge(&SteadyResult{Due: 1, Failed: 1, Why: err}, &SteadyResult{Due: 1, Answered: 1})
	if !strings.Contains(l.String(), "FAIL") || !strings.Contains(l.Fault, "1 calls of a well-behaved client failed") {
		t.Errorf("%v", l)
	}
	var d, there Damage
	d.wrong("no %s", "answer")
	d.Sent.Add(7)
	text, err := d.MarshalJSON()
	if err == nil {
		err = there.UnmarshalJSON(text)
	}
	if err != nil || there.String() != d.String() || there.Why().Error() != "no answer" {
		t.Errorf("%v: %s, %v", err, &there, there.Why())
	}
	for _, text := range []string{"", "name addr", "n a x 1 c", "n a 1 x c"} {
		if _, err := ParseRival(text); err == nil {
			t.Errorf("%q is taken for a server", text)
		}
	}
}

// testStatus is the lock manager's status in the results of Test, ^0 if there is none.
func testStatus(results []byte) uint32 {
	if len(results) >= 4 {
		if n := (int(binary.BigEndian.Uint32(results)) + 3) &^ 3; n <= 1024 && len(results) >= 8+n {
			return binary.BigEndian.Uint32(results[4+n:])
		}
	}
	return ^uint32(0)
}
