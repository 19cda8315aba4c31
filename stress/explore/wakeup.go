// SPDX-License-Identifier: MIT

package explore

// deed is one event as a partial-order search remembers it beyond the run in which it was seen: who did it, and all
// that it touched. It stays the same wherever the event is moved to among events that are independent of it.
type deed struct {
	path    uint64 // of the task
	touches []touch
	wakes   []uint64 // paths of the tasks that it made runnable
	reads   uint64   // which cells it reads and writes, one bit for every 64th cell
	writes  uint64
	fatal   bool // it ended the run, so what comes after it in other tasks has not been seen
}

// touch is one access: of a cell, or of an object as a whole, which every access to a part of it reads and which
// freeing it writes.
type touch struct {
	slot  int32
	write bool
}

func (t touch) bit() uint64 { return 1 << (t.slot & 63) }

// add notes an access, once.
func (d *deed) add(t touch) {
	for i := range d.touches {
		if o := &d.touches[i]; o.slot == t.slot {
			if t.write && !o.write {
				o.write = true
				d.writes |= t.bit()
			}
			return
		}
	}
	d.touches = append(d.touches, t)
	if t.write {
		d.writes |= t.bit()
	} else {
		d.reads |= t.bit()
	}
}

// dependent reports whether the order of the two events matters or is given: the same task performs them, they
// conflict, or one lets the task of the other go on.
func (d *deed) dependent(o *deed) bool {
	if d.path == o.path || d.letsGo(o.path) || o.letsGo(d.path) {
		return true
	}
	if d.writes&(o.reads|o.writes)|d.reads&o.writes == 0 {
		return false
	}
	for _, a := range d.touches {
		for _, b := range o.touches {
			if a.slot == b.slot && (a.write || b.write) {
				return true
			}
		}
	}
	return false
}

func (d *deed) letsGo(path uint64) bool {
	for _, p := range d.wakes {
		if p == path {
			return true
		}
	}
	return false
}

// first says where in v the event d of its task may be taken out and put in front: at len(v) if the task is not in v
// and d is independent of all of it. If so d is a weak initial of v: some run that begins with d is equivalent to one
// that begins with v. What the task does first in v is not looked at but d, which is known for this very place.
func (d *deed) first(v []*deed) (at int, ok bool) {
	for i, e := range v {
		if e.path == d.path {
			return i, true
		}
		if d.dependent(e) {
			return 0, false
		}
	}
	return len(v), true
}

// wake is a branch of a wakeup tree (Abdulla, Aronis, Jonsson and Sagonas, POPL 2014): an event that is to be performed
// next, and what is to follow. A branch that does not fork is kept flat.
type wake struct {
	deed *deed
	kids []*wake // in the order in which they are to be explored
	// guess says that the event was seen behind another one with which it is in a race, and not here: it may do other
	// things here.
	guess bool
	// doubtful says that the branch goes once a guess beside it has turned out to come to the same; extra is what
	// else it stands for.
	doubtful bool
	extra    [][]*deed
	tail     []*deed // the only way to go on, in the place of kids
	idx      int     // of the task, for source sets
}

// fork gives the branch its kids where it was kept flat.
func (w *wake) fork() []*wake {
	if len(w.tail) > 0 {
		w.kids = []*wake{newWake(w.tail, w.doubtful)}
		w.tail = nil
	}
	return w.kids
}

// newWake makes the branch of v, of which the last event is a guess.
func newWake(v []*deed, doubtful bool) *wake {
	return &wake{deed: v[0], tail: v[1:], guess: len(v) == 1, doubtful: doubtful}
}

// insert makes sure that the branches explore v or something equivalent, and returns them. The last event of v is a
// guess. v is not kept.
func insert(kids []*wake, v []*deed, doubtful bool) []*wake {
	for _, k := range kids {
		at, ok := k.deed.first(v)
		if !ok || k.guess && at > 0 {
			doubtful = doubtful || k.guess
			continue
		}
		if len(k.kids)+len(k.tail) == 0 { // whatever comes after k is explored there, and v does
			if k.doubtful {
				k.extra = append(k.extra, append([]*deed(nil), v...))
			}
			return kids
		}
		rest := v[:at:at]
		if at < len(v) {
			rest = append(rest, v[at+1:]...)
		}
		if len(rest) > 0 {
			k.kids = insert(k.fork(), rest, doubtful || k.doubtful)
		}
		return kids
	}
	return append(kids, newWake(append([]*deed(nil), v...), doubtful))
}

// without returns the branches but for what has d as a weak initial: that is explored where d comes first.
func without(kids []*wake, d *deed) []*wake {
	var out []*wake
	for _, k := range kids {
		switch {
		case k.deed.path == d.path:
		case d.dependent(k.deed):
			out = append(out, k)
		case len(k.kids) > 0:
			if k.kids = without(k.kids, d); len(k.kids) > 0 {
				out = append(out, k)
			}
		default:
			if _, ok := d.first(k.tail); !ok {
				out = append(out, k)
				continue
			}
			for _, v := range k.extra {
				if _, ok := d.first(v); !ok {
					out = insert(out, v, true)
				}
			}
		}
	}
	return out
}
