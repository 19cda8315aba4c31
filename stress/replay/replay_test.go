// SPDX-License-Identifier: MIT

package replay

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/stress/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const folder = "../../corpus/kernel/"

// play sends all cases to a fresh server, UDP in order, TCP a few at a time, and returns the answers.
func play(t *testing.T, cases []*Case, list []*Difference) map[*Case]Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	ready := make(chan map[string]string, 1)
	done := make(chan error, 1)
	go func() {
		out, err := server.Run(ctx, server.Config{}, func(all []server.Endpoint) {
			at := map[string]string{}
			for _, e := range all {
				at[e.Service+" "+e.Netid] = e.Addr
			}
			ready <- at
		})
		if err == nil {
			for _, f := range out.Findings {
				t.Errorf("%s\n%s", f, f.Text)
			}
		}
		done <- err
	}()
	var at map[string]string
	select {
	case at = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	answers := map[*Case]Answer{}
	one := func(c *Case) {
		name := map[string]string{"nlm": "lockd", "nfs-cb": "callback0"}[c.Target] + map[bool]string{true: " udp", false: " tcp"}[c.UDP]
		got, err := Play(c, at[name], Brisk)
		if err == nil && !c.understood(list, got) {
			got, err = Play(c, at[name], Patient)
		}
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		answers[c] = got
	}
	work := make(chan *Case)
	for range 8 {
		wg.Go(func() {
			for c := range work {
				one(c)
			}
		})
	}
	wg.Go(func() {
		for _, c := range cases {
			if c.UDP {
				one(c)
			}
		}
	})
	for _, c := range cases {
		if !c.UDP {
			work <- c
		}
	}
	close(work)
	wg.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return answers
}

// understood reports whether every recorded kernel gave this answer or the data file says why not.
func (c *Case) understood(list []*Difference, got Answer) bool {
	for kernel, want := range c.Want {
		if !got.Equal(want) && explanation(list, c, kernel, got) < 0 {
			return false
		}
	}
	return true
}

func explanation(list []*Difference, c *Case, kernel string, got Answer) int {
	return slices.IndexFunc(list, func(x *Difference) bool { return x.Explains(c, kernel, got) })
}

// TestRecordedKernels plays everything that is recorded and holds the answers against those of each kernel.
// What differs must stand in differences.json with its reason, and what stands there must differ.
func TestRecordedKernels(t *testing.T) {
	cases, err := Load(folder + "vectors-rpc.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	list, err := LoadDifferences(folder + "differences.json")
	if err != nil {
		t.Fatal(err)
	}
	type use struct {
		entry  *Difference
		kernel string
	}
	used := map[use]bool{}
	same, explained, total := map[string]int{}, map[string]int{}, map[string]int{}
	answers := play(t, cases, list)
	for _, c := range cases {
		got, ok := answers[c]
		if !ok {
			continue
		}
		for kernel, want := range c.Want {
			total[kernel]++
			if got.Equal(want) {
				same[kernel]++
				continue
			}
			i := explanation(list, c, kernel, got)
			if i < 0 {
				t.Errorf("%s: unlike %s, and differences.json does not say why\n got %s\nwant %s", c.Name, kernel, got, want)
				continue
			}
			explained[kernel]++
			used[use{list[i], kernel}] = true
		}
	}
	for _, x := range list {
		for _, kernel := range x.Kernels {
			if !used[use{x, kernel}] && !x.Sometimes {
				t.Errorf("differences.json: nothing that matches %s differs from %s: take it out", x.Case, kernel)
			}
		}
	}
	for _, kernel := range []string{"6.1", "6.12", "6.18", "7.3"} {
		t.Logf("%4s: %d of %d octet for octet, %d explained", kernel, same[kernel], total[kernel], explained[kernel])
		if total[kernel] != 699 {
			t.Errorf("%s: %d cases, want all 699", kernel, total[kernel])
		}
	}
}

func TestExplains(t *testing.T) {
	c := &Case{
		Name: "nlm-tcp-x", Writes: [][]byte{{0x80, 0, 0, 4}, {1, 2, 3, 4}},
		Want: map[string]Answer{"6.1": {Conn: "closed", After: "closed"}, "7.3": {Reply: []byte{9}, Conn: "open", After: "answered"}},
	}
	shut := Answer{Conn: "closed", After: "closed"}
	for i, test := range []struct {
		x      Difference
		kernel string
		got    Answer
		want   bool
	}{
		{Difference{Case: "nlm-*-x", Kernels: []string{"7.3"}, As: "6.1"}, "7.3", shut, true},
		{Difference{Case: "nlm-*-x", Kernels: []string{"7.3"}, As: "6.1"}, "6.18", shut, false},
		{Difference{Case: "nlm-*-y", Kernels: []string{"7.3"}, As: "6.1"}, "7.3", shut, false},
		{Difference{Case: "nlm-*-x", Kernels: []string{"7.3"}, As: "6.1"}, "7.3", Answer{Conn: "open"}, false},
		{Difference{Case: "nlm-*-x", Kernels: []string{"7.3"}, As: "5.0"}, "7.3", shut, false},
		{Difference{Case: "nlm-*", Kernels: []string{"6.1"}, Answer: &AnswerInHex{"XID05", "open", "answered", ""}}, "6.1",
			Answer{Reply: []byte{1, 2, 3, 4, 5}, Conn: "open", After: "answered"}, true},
		{Difference{Case: "nlm-*", Kernels: []string{"6.1"}, Answer: &AnswerInHex{"XID05", "open", "answered", ""}}, "6.1",
			Answer{Reply: []byte{1, 2, 3, 4, 6}, Conn: "open", After: "answered"}, false},
		{Difference{Case: "nlm-*", Kernels: []string{"6.1"}, Answer: &AnswerInHex{"zz", "open", "answered", ""}}, "6.1",
			Answer{Conn: "open", After: "answered"}, false},
	} {
		if got := test.x.Explains(c, test.kernel, test.got); got != test.want {
			t.Errorf("%d: got %t", i, got)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "reason": "r"}]`:                                  "is not complete",
		`[{"case": "x", "kernels": ["6.1"], "reason": "r", "source": "s"}]`:                                "is not complete",
		`[{"case": "x", "kernels": [], "as": "7.3", "reason": "r", "source": "s"}]`:                        "is not complete",
		`[{"case": "[", "kernels": ["6.1"], "as": "7.3", "reason": "r", "source": "s"}]`:                   "is not complete",
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "reason": "r", "source": "s", "why": "because"}]`: "unknown field",
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "reason": "r", "source": "s"}] x`:                 "something follows",
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "answer": {}, "reason": "r", "source": "s"}]`:     "is not complete",
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "reason": "r", "source": "s"}`:                    "unexpected EOF",
	} {
		name := t.TempDir() + "/d.json"
		writeFile(t, name, text)
		if _, err := LoadDifferences(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	name := t.TempDir() + "/v.json.gz"
	writeFile(t, name, "no gzip")
	if _, err := Load(name); err == nil {
		t.Error("a file that is no gzip was read")
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
