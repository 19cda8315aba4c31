// SPDX-License-Identifier: MIT

package history

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play records a history from words. A word is a client, what it asks, and the answer; without the answer the call
// stays open until a word gives it alone:
//
//	a+W0-9=granted  a+R5-!  a=blocked  b-0-9=granted  b?W0-9=denied:aW0-9  bxW0-9=granted  b*=granted  a^R5-
//
// + LOCK, ! to wait for it, - UNLOCK, ? TEST, x CANCEL, * DROP, ^ a call back; R shared, W exclusive; a range without end
// is up to the end of the file; a digit before the client is its file.
func play(t testing.TB, text string) *Recorder {
	var n int64
	r := New(func() int64 { n++; return n })
	clients := map[string]*Client{}
	open := map[string]*Call{}
	for _, name := range []string{"a", "b", "c", "d"} {
		clients[name] = r.Client(name)
	}
	for word := range strings.FieldsSeq(text) {
		if word == "settled" {
			r.Settled()
			continue
		}
		whole := word
		file := "f"
		if word[0] <= '9' {
			file, word = "f"+word[:1], word[1:]
		}
		name := word[:1]
		ask, answer, answered := strings.Cut(word[1:], "=")
		if ask != "" {
			op := Op{File: file, Owner: Owner{Host: name, Svid: 1}}
			op.Block = strings.HasSuffix(ask, "!")
			ask = strings.TrimSuffix(ask, "!")
			if strings.HasSuffix(ask, "~") {
				op.Deferred, ask = true, strings.TrimSuffix(ask, "~")
			}
			rest := ask[1:]
			if rest != "" && (rest[0] == 'R' || rest[0] == 'W') {
				op.Exclusive, rest = rest[0] == 'W', rest[1:]
			}
			op.Start, op.Len = scan(t, rest)
			kinds := map[byte]Kind{'+': Lock, '-': Unlock, '?': Test, 'x': Cancel, '*': Drop}
			if ask[0] == '^' {
				clients[name].Granted(op)
				continue
			}
			kind, ok := kinds[ask[0]]
			if !ok {
				t.Fatalf("%q is no word", whole)
			}
			op.Kind = kind
			open[name] = clients[name].Begin(op)
		}
		if !answered {
			continue
		}
		answer, by, named := strings.Cut(answer, ":")
		var holder *Holder
		if named {
			holder = &Holder{Owner: Owner{Host: by[:1], Svid: 1}, Exclusive: by[1] == 'W'}
			if by[0] == '-' {
				holder.Owner = Owner{}
			}
			holder.Start, holder.Len = scan(t, by[2:])
		}
		for _, status := range []Status{Granted, Denied, Blocked, Deadlock, Refused, NoAnswer} {
			if answer == status.String() {
				open[name].End(status, holder)
				answer = ""
			}
		}
		if answer != "" {
			t.Fatalf("%q is no word", whole)
		}
	}
	return r
}

// scan reads a range.
func scan(t testing.TB, text string) (start, length uint64) {
	if text == "" {
		return 0, 0
	}
	var end uint64
	switch n, _ := fmt.Sscanf(text, "%d-%d", &start, &end); n {
	case 2:
		return start, end - start + 1
	case 1:
		return start, 0
	}
	t.Fatalf("%q is no range", text)
	return 0, 0
}

func TestRight(t *testing.T) {
	for _, text := range []string{
		"",
		"a+W0-9=granted b?R0-9=denied:aW0-9 a-0-9=granted b?R0-9=granted",
		"a+R0-9=granted b+R5-14=granted c+W9-9=denied c+W15-=granted c?W0-=denied:bR5-14",
		// Splitting, growing together, another kind.
		"a+W0-9=granted a-3-5=granted b+W3-5=granted b?W0-=denied:aW0-2 b?W6-=denied:aW6-9",
		"a+W0-9=granted a+W10-=granted b?R50-50=denied:aW0-",
		"a+W0-9=granted a+R3-5=granted b+R4-4=granted b+W0-0=denied b?W5-5=denied:aR3-5 b?W9-9=denied:-W6-9",
		"a+R0-4=granted a+R10-14=granted a+R5-9=granted b?W2-2=denied:aR0-14",
		// Order among those that overlap in time.
		"a+W0-9 b+W0-9 a=granted b=denied",
		"a+W0-9 b+W0-9 b=granted a=denied",
		"a+W0-9=granted b?R0-0 a-0- a=granted b=granted",
		"a+W0-9=granted b?R0-0 a-0- a=granted b=denied:aW0-9",
		// Waiting.
		"a+W0-9=granted b+W0-9!=blocked a-0-9=granted b^W0-9 a?W0-9=denied:bW0-9 settled",
		"a+W0-9=granted b+W0-9!=blocked a-0-9=granted a?W0-9=granted b^W0-9",
		"a+W0-9=granted b+W0-9! a-0-9 b^W0-9 a=granted b=blocked",
		"a+W0-9=granted b+W0-9!=blocked a-0-9=granted b^W0-9 b^W0-9 b-0-9=granted a+W0-9=granted",
		"a+W0-9=granted b+W0-9!=blocked settled",
		"a+W0-9=granted b+W0-9!=blocked c+R5-5!=blocked a-0-9=granted b^W0-9 settled",
		"a+W0-9=granted b+W0-9!=blocked bxW0-9=granted a-0-9=granted c+W0-9=granted settled",
		"a+W0-9=granted b+W0-9!=blocked a-0-9=granted bxW0-9=granted b^W0-9 c?R0-0=denied:bW0-9",
		"a+W0-9=granted b+W0-9!=blocked a-0-9=granted bxW0-9=denied c?R0-0=denied:bW0-9",
		"a+W0-9=granted b+W0-9!=blocked b+W0-9!=blocked a-0-9=granted b^W0-9 settled",
		"a+W0-9=granted b+W0-9!=blocked a-0-9=granted b+W0-9!=granted settled",
		"a+W0-9=granted b+W0-9!=blocked b*=granted a-0-9=granted c+W0-9=granted settled",
		"a+W0-9=granted b+W0-9!=blocked settled a-0-9=granted b^W0-9 settled c+W0-9!=blocked settled b*=granted c^W0-9",
		"a+W0-9=granted b+W0-9!=blocked settled a*=granted",
		"a+W0-9~!=blocked a^W0-9 b?R0-0=denied:aW0-9 settled",
		"a+W0-9~!=blocked a^W0-9 axW0-9~=denied b+W0-9=granted",
		"a+W0-9~!=blocked a^W0-9 axW0-9~=denied b+W0-9=denied",
		"a+W0-4=granted b+W5-9=granted a+W5-9!=blocked b+W0-4!=deadlock",
		// Answers that are lost, or none.
		"a+W0-9 b+W0-9=granted", "a+W0-9 b+W0-9=denied",
		"a+W0-9=granted a-0-9 b+W0-9=granted", "a+W0-9=granted a-0-9 b+W0-9=denied b+W0-9=granted",
		"a+W0-9=granted a* b+W0-9=granted", "a+W0-9=granted a* b+W0-9=denied",
		"a+W0-9! a^W0-9 b+W0-9=denied", "a?W0-9 b+W0-9=granted",
		"a+W0-9=refused b+W0-9=granted a-0-9=refused a?R0-9=refused a+W0-9=denied",
		// All at once.
		"a+W0-9=granted 1a+W0-9=granted a*=granted b+W0-9=granted 1b+W0-9=granted",
		"1a+W0-9=granted 2b+W0-9=granted 2a?W0-9=denied:bW0-9 1b?W0-9=denied:aW0-9",
	} {
		if ok, report := play(t, text).Check(); !ok {
			t.Errorf("%s\n%s", text, report)
		}
	}
}

// What no order of locks explains, and how that is told.
func TestWrong(t *testing.T) {
	for text, want := range map[string]string{
		// A lock is granted twice.
		"a+W0-9=granted b+W9-=granted":                                    "LOCK exclusive f [9..] by b/1 -> granted: in the way is exclusive [0..9] by a/1",
		"a+R0-9=granted b+W0-0=granted":                                   "in the way is shared [0..9] by a/1",
		"a+W0-9=granted a+R0-4=granted b+R0-9=granted":                    "in the way is exclusive [5..9] by a/1",
		"1a+W0-9=granted 2a+W0-9=granted 2b+W0-9=granted":                 "on f2 ",
		"a+W0-9=granted b+W0-9 a-10-=granted b=granted":                   "in the way is exclusive [0..9] by a/1",
		"a+W0-9=granted b+W0-9!=blocked b^W0-9":                           "b: LOCK exclusive f [0..9] by b/1 -> called back: in the way",
		"a+W0-9=granted b+W0-9!=blocked b^W0-9 a-0-9=granted":             "called back: in the way",
		"a+W0-9=granted b+W0-9!=blocked a-0-4=granted b^W0-9":             "in the way is exclusive [5..9] by a/1",
		"a+W0-9=granted b+W0-9! b^W0-9 b=blocked a-0-9=granted":           "called back: in the way",
		"a+W0-=granted b+W5-5=granted":                                    "in the way is exclusive [0..] by a/1",
		"a+W0-9=granted b* b=granted b+W0-0=granted":                      "in the way is exclusive [0..9] by a/1",
		"a+W0-9!=blocked a^W0-9 axW0-9=denied b+W0-9=granted":             "then there is: exclusive [0..9] by a/1",
		"a+W0-9~!=blocked a^W0-9 b+W0-9=granted":                          "then there is: exclusive [0..9] by a/1",
		"a+R0-0=granted b+R0-0=granted c+W0-0=granted a-0-0 b*":           "in the way is shared [0..0] by a/1, shared [0..0] by b/1",
		"a+W0-9=granted b+W0-9!=blocked a*=granted c+W0-9=granted b^W0-9": "",
		// An unlocking is lost, or takes too much.
		"a+W0-9=granted a-0-9=granted b+W0-9=denied":  "denied: nothing is in the way",
		"a+W0-9=granted a-0-4=granted b?R0-4=denied":  "denied: nothing is in the way",
		"a+W0-9=granted a-3-5=granted b+W9-9=granted": "in the way is exclusive [6..9] by a/1",
		"a+W0-9=granted a-3-5=granted b+W2-2=granted": "in the way is exclusive [0..2] by a/1",
		"a+W0-9=granted a*=granted b+W0-9=denied":     "nothing is in the way",
		"a+W0-9=granted b*=granted b+W0-9=granted":    "in the way",
		"a+W0-9=granted a-0-9=refused b+W0-9=granted": "in the way",
		// The answer names another lock than there is.
		"a+W0-9=granted b?R0-0=denied:cW0-9":                    "in the way is exclusive [0..9] by a/1, and not what the answer names",
		"a+W0-9=granted b?R0-0=denied:aW0-8":                    "and not what the answer names",
		"a+W0-9=granted b?R0-0=denied:aR0-9":                    "and not what the answer names",
		"a+W0-9=granted c+W20-29=granted b?R0-0=denied:cW20-29": "and not what the answer names",
		"a+W0-9=granted a+W10-19=granted b?R0-0=denied:aW0-9":   "and not what the answer names",
		"a+W0-9=granted a+R4-4=granted b?R0-=denied:aW0-9":      "and not what the answer names",
		"a+W0-9=granted b?R5-5=denied:-W0-":                     "and not what the answer names",
		// A test that is not true any more.
		"a+W0-9=granted a-0-9=granted b?R0-9=denied:aW0-9": "nothing is in the way",
		"a+W0-9=granted b?R0-9=granted":                    "TEST shared f [0..9] by b/1 -> granted: in the way",
		"b?R0-9=denied a+W0-9=granted":                     "nothing is in the way",
		// Waiting without reason or end, calls back that nobody asked for.
		"b+W0-9!=blocked":                                      "blocked: nothing is in the way",
		"b+W0-9=deadlock":                                      "deadlock: nothing is in the way",
		"a+W0-9=granted b+W0-9=blocked":                        "does not want to wait and was answered blocked",
		"b^W0-9":                                               "nobody waits for LOCK exclusive f [0..9] by b/1",
		"b+W0-9!=refused b^W0-9":                               "it had been answered refused",
		"a+W0-9=granted b+W0-9!=denied b^W0-9":                 "it had been answered denied",
		"a+W0-9=granted b+W0-9!=blocked b^R0-9":                "nobody waits for LOCK shared",
		"a+W0-9=granted b+W0-9!=blocked a-0-9=granted settled": "still waits: nothing is in the way",
		"a+W0-9=granted b+W0-9!=blocked settled a-0-9=granted settled":                           "still waits: nothing is in the way",
		"a+W0-9=granted b+W0-9!=blocked a-0-9 settled b^W0-9 c?W0-9=granted":                     "TEST exclusive f [0..9] by c/1 -> granted: in the way",
		"a+W0-9=granted b+W0-9!=blocked bxW0-9=granted a-0-9=granted b^W0-9":                     "called back: in the way",
		"a+W0-9=granted b+W0-9!=blocked bxW0-9=granted a-0-9=granted c?R0-0=denied:bW0-9":        "nothing is in the way",
		"a+W0-9=granted b+W0-9!=blocked b*=granted a-0-9=granted b^W0-9":                         "called back: in the way",
		"a+W0-9=granted b+W0-9!=blocked b-0-9=granted a-0-9=granted c?R0-0=denied:bW0-9 settled": "nothing is in the way",
	} {
		r := play(t, text)
		report := r.Judge()
		if report.Verdict != Wrong || !strings.HasPrefix(report.Text, "wrong: ") || !strings.Contains(report.Text, want) {
			t.Errorf("%s: %s, want %q in\n%s", text, report.Verdict, want, report.Text)
		}
	}
}

// server is the locks of a file byte by byte, with what can be wrong with them.
type server struct {
	*rand.Rand
	held   [4][16]byte // by client: 0, R or W
	waits  []*pending
	broken string
	did    bool // what is broken made a difference
}

type pending struct {
	client, from, to int
	exclusive        bool
	call             *Call
}

// mutate tells whether the server is to do something wrong now.
func (s *server) mutate(what string) bool {
	if s.broken != what || s.did {
		return false
	}
	s.did = true
	return true
}

func (s *server) conflict(p *pending) int {
	for other := range s.held {
		for i := p.from; other != p.client && i <= p.to; i++ {
			if h := s.held[other][i]; h == 'W' || h == 'R' && p.exclusive {
				return other
			}
		}
	}
	return -1
}

func (s *server) set(p *pending, h byte) {
	for i := p.from; i <= p.to; i++ {
		s.held[p.client][i] = h
	}
}

// holder is the lock of other that the range meets first.
func (s *server) holder(p *pending, other int) *Holder {
	i := p.from
	for h := s.held[other][i]; h == 0 || h == 'R' && !p.exclusive; h = s.held[other][i] {
		i++
	}
	kind, from, to := s.held[other][i], i, i
	for from > 0 && s.held[other][from-1] == kind {
		from--
	}
	for to < 15 && s.held[other][to+1] == kind {
		to++
	}
	return &Holder{Owner: owner(other), Start: uint64(from), Len: uint64(to - from + 1), Exclusive: kind == 'W'}
}

func owner(client int) Owner { return Owner{Host: string(rune('a' + client)), Svid: 7} }

// letter is how the server keeps a lock.
func letter(exclusive bool) byte {
	if exclusive {
		return 'W'
	}
	return 'R'
}

// act is the moment at which a request takes place; it returns the answer.
func (s *server) act(p *pending) (Status, *Holder) {
	other := s.conflict(p)
	switch p.call.Kind {
	case Test:
		if other < 0 {
			if s.mutate("test denied") {
				return Denied, nil
			}
			return Granted, nil
		}
		h := s.holder(p, other)
		if s.mutate("test granted") {
			return Granted, nil
		}
		if s.mutate("holder") {
			h.Start++
			h.Len++
		}
		return Denied, h
	case Unlock:
		before := s.held
		s.set(p, 0)
		if before != s.held && s.mutate("lost unlock") {
			s.held = before
		}
		return Granted, nil
	}
	switch {
	case other >= 0 && s.mutate("double grant"):
		return Granted, nil
	case other < 0:
		s.set(p, letter(p.call.Exclusive))
		if s.mutate("lost lock") {
			s.set(p, 0)
		}
		return Granted, nil
	case p.call.Block:
		s.waits = append(s.waits, p)
		return Blocked, nil
	}
	return Denied, nil
}

// wake grants to those who wait what can be granted now.
func (s *server) wake(clients []*Client) {
	for i := 0; i < len(s.waits); i++ {
		p := s.waits[i]
		if s.conflict(p) < 0 || s.mutate("early call back") {
			s.set(p, letter(p.exclusive))
			clients[p.client].Granted(p.call.Op)
			s.waits = slices.Delete(s.waits, i, i+1)
			i--
		}
	}
}

// random records a history of four clients, each with one request at a time.
func random(seed uint64, broken string) (*Recorder, *server) {
	s := &server{Rand: rand.New(rand.NewPCG(seed, 1)), broken: broken}
	var n int64
	r := New(func() int64 { n++; return n })
	clients := make([]*Client, 4)
	open := make([]*pending, 4)
	acted := make([]func(), 4)
	for i := range clients {
		clients[i] = r.Client(string(rune('a' + i)))
	}
	for range 160 {
		i := s.IntN(4)
		waiting := slices.ContainsFunc(s.waits, func(p *pending) bool { return p.client == i })
		switch p := open[i]; {
		case p == nil && waiting && s.IntN(4) > 0:
		case p == nil:
			from := s.IntN(16)
			p = &pending{client: i, from: from, to: from + s.IntN(16-from), exclusive: s.IntN(2) == 0}
			kind := []Kind{Test, Lock, Lock, Unlock, Unlock}[s.IntN(5)]
			if waiting {
				kind = Test
			}
			p.call = clients[i].Begin(Op{
				Kind: kind, File: "f", Owner: owner(i), Start: uint64(p.from), Len: uint64(p.to - p.from + 1),
				Exclusive: p.exclusive, Block: kind == Lock && s.IntN(2) == 0,
			})
			open[i] = p
		case acted[i] == nil:
			status, holder := s.act(p)
			acted[i] = func() { p.call.End(status, holder) }
			s.wake(clients)
		default:
			acted[i]()
			open[i], acted[i] = nil, nil
		}
	}
	return r, s
}

func TestRandom(t *testing.T) {
	for seed := range uint64(200) {
		r, _ := random(seed, "")
		if report := r.Judge(); report.Verdict != Linearizable {
			t.Fatalf("seed %d: %s", seed, report.Text)
		}
	}
	// What a mutant does may stay unseen, but not often.
	for _, broken := range []string{
		"test denied", "test granted", "holder", "lost unlock", "double grant", "lost lock", "early call back",
	} {
		did, seen := 0, 0
		for seed := range uint64(200) {
			r, s := random(seed, broken)
			report := r.Judge()
			if report.Verdict == Unknown {
				t.Errorf("%s, seed %d: %s", broken, seed, report.Text)
			}
			if s.did {
				did++
			}
			if report.Verdict == Wrong {
				seen++
				if !s.did {
					t.Errorf("%s, seed %d: nothing was broken: %s", broken, seed, report.Text)
				}
			}
		}
		t.Logf("%s: %d of %d seen", broken, seen, did)
		if did < 100 || seen*2 < did {
			t.Errorf("%s: seen %d of %d times", broken, seen, did)
		}
	}
}

// A search that is cut off says so, and does not pass.
func TestUnknown(t *testing.T) {
	var n int64
	r := New(func() int64 { n++; return n })
	for i := range 14 {
		c := r.Client(fmt.Sprint(i))
		c.Begin(Op{Kind: Lock, File: "f", Owner: Owner{fmt.Sprint(i), 1}, Start: uint64(i), Len: 2, Exclusive: true})
	}
	c := r.Client("last")
	c.Begin(Op{Kind: Test, File: "f", Owner: Owner{"x", 1}, Start: 90, Len: 1}).End(Denied, nil)
	r.Budget = 1000
	ok, text := r.Check()
	if ok || !strings.HasPrefix(text, "unknown: no order of the 15 events on f was found within 1000 steps") {
		t.Errorf("%t: %s", ok, text)
	}
	// What is wrong elsewhere is told all the same.
	for _, name := range []string{"g", "e"} {
		c.Begin(Op{Kind: Lock, File: name, Owner: Owner{"x", 1}}).End(Denied, nil)
	}
	if report := r.Judge(); report.Verdict != Wrong || !strings.Contains(report.Text, "on g ") {
		t.Errorf("%s: %s", report.Verdict, report.Text)
	}
}

func TestHTML(t *testing.T) {
	r := play(t, "1a+W0-9=granted 2a+W0-9=granted 2b+R0-9=granted")
	report := r.Judge()
	var b bytes.Buffer
	if err := r.WriteHTML(&b, &report); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "LOCK shared f2 [0..9] by b/1") || strings.Contains(b.String(), "f1") {
		t.Errorf("%d octets, without the file that is wrong or with another", b.Len())
	}
	r = play(t, "b^W0-9")
	report = r.Judge()
	if err := r.WriteHTML(&b, &report); err == nil || !strings.Contains(err.Error(), "cannot be drawn: wrong: b was told") {
		t.Errorf("%v", err)
	}
}

func TestFromNLM(t *testing.T) {
	for status, want := range []Status{Granted, Denied, Refused, Blocked, Refused, Deadlock, Refused, Refused, Refused, Refused} {
		if got := FromNLM(uint32(status)); got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
}

func TestClocks(t *testing.T) {
	for name, clock := range map[string]Clock{"steps": Steps(), "wall": Wall()} {
		last := clock()
		for range 1000 {
			now := clock()
			if now < last || name == "steps" && now == last {
				t.Errorf("%s: %d after %d", name, now, last)
			}
			last = now
		}
	}
}
