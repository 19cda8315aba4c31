// SPDX-License-Identifier: MIT

package scenario

import (
	"strings"
	"testing"
)

func TestParams(t *testing.T) {
	s, p := find(t, "lockd-start", " proto=1, clients=2 ")
	if got, want := p.String(), "clients=2,proto=1,rpcbind=2,stop=1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if p.Get("clients") != 2 || p.Get("nosuch") != 0 || p.Has("nosuch") || !p.Has("stop") {
		t.Errorf("%v", p)
	}
	if q := p.With("clients", 3); p.Get("clients") != 2 || q.Get("clients") != 3 {
		t.Errorf("With changes its receiver: %v, %v", p, q)
	}
	for text, want := range map[string]string{
		"nosuch=1":  `lockd-start has no parameter "nosuch": it has clients (1..3), proto (0..2)`,
		"clients=9": "lockd-start: clients=9 is not in 1..3",
		"clients":   `parameter "clients" of lockd-start: want NAME=NUMBER`,
		"clients=x": `parameter "clients=x" of lockd-start: want NAME=NUMBER`,
	} {
		if _, err := s.ParseParams(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	if _, err := Find("nosuch"); err == nil || !strings.Contains(err.Error(), "lockd-start, callback-start") {
		t.Errorf("Find: %v", err)
	}
}

// Every scenario can be looked up, is documented, and its bounds hold its defaults.
func TestAll(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		if f, err := Find(s.Name); err != nil || f != s || seen[s.Name] || s.Doc == "" || strings.Contains(s.Doc, "\n") {
			t.Errorf("%s: %v, doc %q", s.Name, err, s.Doc)
		}
		seen[s.Name] = true
		for _, x := range s.Params {
			if x.Default < x.Min || x.Default > x.Max || x.Doc == "" {
				t.Errorf("%s: %+v", s.Name, x)
			}
		}
	}
}
