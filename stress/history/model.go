// SPDX-License-Identifier: MIT

package history

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
)

// held is a lock that is granted. Those of one owner do not overlap, and those that touch differ in kind.
type held struct {
	owner      Owner
	start, end uint64
	exclusive  bool
}

func (h held) String() string {
	return fmt.Sprintf("%s %s by %s", map[bool]string{false: "shared", true: "exclusive"}[h.exclusive],
		spell(h.start, h.end), h.owner)
}

// table is the locks of one file, by owner and start.
type table []held

func (t table) String() string {
	var words []string
	for _, h := range t {
		words = append(words, h.String())
	}
	if len(words) == 0 {
		return "no locks"
	}
	return strings.Join(words, ", ")
}

// key is a table in few octets, for comparisons.
func (t table) key() string {
	var b []byte
	for _, h := range t {
		b = append(b, h.owner.Host...)
		b = append(b, 0)
		b = binary.BigEndian.AppendUint32(b, h.owner.Svid)
		b = binary.BigEndian.AppendUint64(b, h.start)
		b = binary.BigEndian.AppendUint64(b, h.end<<1|map[bool]uint64{true: 1}[h.exclusive])
	}
	return string(b)
}

// inTheWay lists the locks of others that a request cannot be granted beside.
func (t table) inTheWay(want held) []held {
	var out []held
	for _, h := range t {
		if h.owner != want.owner && h.start <= want.end && want.start <= h.end && (h.exclusive || want.exclusive) {
			out = append(out, h)
		}
	}
	return out
}

// without takes the range of one owner out: what it covers goes, what it cuts is shortened.
func (t table) without(cut held) table {
	out := make(table, 0, len(t)+1)
	for _, h := range t {
		if h.owner != cut.owner || h.end < cut.start || cut.end < h.start {
			out = append(out, h)
			continue
		}
		if h.start < cut.start {
			left := h
			left.end = cut.start - 1
			out = append(out, left)
		}
		if h.end > cut.end {
			right := h
			right.start = cut.end + 1
			out = append(out, right)
		}
	}
	return out
}

// with grants a lock: it replaces what its owner had there and grows together with what touches it.
func (t table) with(want held) table {
	out := table{}
	for _, h := range t.without(want) {
		// A start of 0 and the last byte of all have no neighbour on that side.
		touches := h.start > 0 && h.start-1 == want.end || want.start > 0 && want.start-1 == h.end
		if h.owner == want.owner && h.exclusive == want.exclusive && touches {
			want.start, want.end = min(want.start, h.start), max(want.end, h.end)
			continue
		}
		out = append(out, h)
	}
	out = append(out, want)
	slices.SortFunc(out, func(a, b held) int {
		switch {
		case a.owner != b.owner:
			if a.owner.Host != b.owner.Host {
				return strings.Compare(a.owner.Host, b.owner.Host)
			}
			return int(int64(a.owner.Svid) - int64(b.owner.Svid))
		case a.start < b.start:
			return -1
		}
		return 1
	})
	return out
}

// state is what the locks may be: several tables if requests without an answer may have been obeyed or not.
type state struct {
	tables []table // by key, without repetition
	keys   []string
}

func newState(tables ...table) state {
	s := state{}
	for _, t := range tables {
		key := t.key()
		i, found := slices.BinarySearch(s.keys, key)
		if !found {
			s.keys = slices.Insert(s.keys, i, key)
			s.tables = slices.Insert(s.tables, i, t)
		}
	}
	return s
}

func (s state) String() string {
	var words []string
	for _, t := range s.tables {
		words = append(words, t.String())
	}
	return strings.Join(words, "; or ")
}

func (s state) hash() uint64 {
	h := fnv.New64a()
	for _, key := range s.keys {
		h.Write([]byte(key))
		h.Write([]byte{1, 2, 3})
	}
	return h.Sum64()
}

// rule is what an answer, or none, says about the locks at one moment between call and return.
type rule uint8

const (
	free    rule = iota // a Test: nothing is in the way
	taken               // something is in the way, and if a holder is named, it is that
	grants              // nothing is in the way, and the lock is held from then on
	removes             // the range of the owner is not held any more
)

// event is one of the moments whose order is looked for.
type event struct {
	text  string // what a person reads
	rule  rule
	want  held
	maybe bool    // it may as well not have happened
	named *Holder // with taken
}

// step lets the event happen: the states that come of it, or why it cannot.
func (e *event) step(s state) (state, string) {
	var next []table
	why := ""
	for _, t := range s.tables {
		after, wrong := e.on(t)
		if wrong == "" {
			next = append(next, after)
		}
		if why == "" {
			why = wrong
		}
		if e.maybe {
			next = append(next, t)
		}
	}
	if len(next) == 0 {
		return s, why
	}
	return newState(next...), ""
}

// on is step for one table.
func (e *event) on(t table) (table, string) {
	if e.rule == removes {
		return t.without(e.want), ""
	}
	others := t.inTheWay(e.want)
	switch {
	case e.rule == taken && len(others) == 0:
		return t, "nothing is in the way"
	case e.rule == taken && e.named != nil:
		for _, h := range others {
			if e.named.is(h) {
				return t, ""
			}
		}
		return t, "in the way is " + table(others).String() + ", and not what the answer names"
	case e.rule == taken:
		return t, ""
	case len(others) > 0:
		return t, "in the way is " + table(others).String()
	case e.rule == free:
		return t, ""
	}
	return t.with(e.want), ""
}

// is tells whether the holder that an answer named can be h.
func (n *Holder) is(h held) bool {
	op := Op{Start: n.Start, Len: n.Len}
	return (n.Owner.Host == "" || n.Owner == h.owner) && n.Start == h.start && op.end() == h.end &&
		n.Exclusive == h.exclusive
}

// all is the range of a whole file.
func all(owner Owner) held { return held{owner: owner, end: math.MaxInt64} }
