// SPDX-License-Identifier: MIT

package calibrate

import (
	"math/rand/v2"
	"slices"
)

// What follows is the probability that one schedule of a sampler meets the bug, computed from the definition of the
// sampler and not by sampling.

// pct is that of PCT with k steps and depth d: all orders of the tasks and all places of the change points, one by one.
func (m *model) pct(d, k int) float64 {
	n := len(m.tasks)
	order := make([]int, 0, n)
	points := make([]int, d-1)
	runs, bugs := 0, 0
	var place func(i int)
	place = func(i int) {
		if i == len(points) {
			runs++
			if m.pctRun(order, points) {
				bugs++
			}
			return
		}
		for at := 1; at <= k; at++ {
			if !slices.Contains(points[:i], at) {
				points[i] = at
				place(i + 1)
			}
		}
	}
	var permute func()
	permute = func() {
		if len(order) == n {
			place(0)
			return
		}
		for t := range n {
			if !slices.Contains(order, t) {
				order = append(order, t)
				permute()
				order = order[:len(order)-1]
			}
		}
	}
	permute()
	return float64(bugs) / float64(runs)
}

// pctRun is one schedule of PCT: order has the tasks by priority, the highest one first; at the i-th of points the task
// that would run falls to priority -1-i.
func (m *model) pctRun(order, points []int) bool {
	var prio [mostTasks]int
	for i, t := range order {
		prio[t] = len(order) - i
	}
	s := m.begin()
	var buf [mostTasks]int
	for step := 1; ; step++ {
		en := m.enabled(&s, buf[:])
		if len(en) == 0 {
			return m.buggy(&s)
		}
		best := func() int {
			return slices.MaxFunc(en, func(a, b int) int { return prio[a] - prio[b] })
		}
		t := best()
		if i := slices.Index(points, step); i >= 0 {
			prio[t] = -1 - i
			t = best()
		}
		m.step(&s, t)
	}
}

// drawnState is a run of POS so far. Of all the values that were ever drawn only the order matters, and a fresh one is
// at each place of it with the same probability.
type drawnState struct {
	s    state
	n    int16            // values drawn
	rank [mostTasks]int16 // of the value of each task's pending operation among them; 0: none
}

// pos is that of POS.
func (m *model) pos() (float64, error) {
	seen := map[drawnState]float64{}
	var from, draw func(d drawnState, t int) float64
	spent := false
	// draw gives a value to t and to all enabled tasks behind it that have none, and goes on from there.
	draw = func(d drawnState, t int) float64 {
		if spent {
			return 0
		}
		for ; t < len(m.tasks); t++ {
			if d.rank[t] == 0 && m.live(&d.s, t) && m.can(&d.s, m.pending(&d.s, t)) {
				break
			}
		}
		if t == len(m.tasks) {
			return m.perform(d, from)
		}
		sum := 0.
		for at := int16(1); at <= d.n+1; at++ {
			to := d
			to.n++
			for u := range m.tasks {
				if to.rank[u] >= at {
					to.rank[u]++
				}
			}
			to.rank[t] = at
			sum += draw(to, t+1)
		}
		return sum / float64(d.n+1)
	}
	from = func(d drawnState, _ int) float64 {
		if p, ok := seen[d]; ok {
			return p
		}
		if spent || len(seen) >= 4*m.room {
			spent = true
			return 0
		}
		p := 0.
		switch en := m.enabled(&d.s, nil); {
		case len(en) > 0:
			p = draw(d, 0)
		case m.buggy(&d.s):
			p = 1
		}
		seen[d] = p
		return p
	}
	p := from(drawnState{s: m.begin()}, 0)
	if spent {
		return 0, errLarge
	}
	return p, nil
}

// perform lets the enabled task with the highest value go on; what its operation races with has to draw anew.
func (m *model) perform(d drawnState, from func(drawnState, int) float64) float64 {
	var buf [mostTasks]int
	en := m.enabled(&d.s, buf[:])
	t := slices.MaxFunc(en, func(a, b int) int { return int(d.rank[a]) - int(d.rank[b]) })
	o := m.pending(&d.s, t)
	for _, u := range en {
		if u == t || depends(m.pending(&d.s, u), o) {
			d.rank[u] = 0
		}
	}
	m.step(&d.s, t)
	return from(d, 0)
}

// posRun is one schedule of POS, and reports whether it met the bug: for models that are too large for pos.
func (m *model) posRun(r *rand.Rand) bool {
	var value [mostTasks]float64 // 0: none
	var buf [mostTasks]int
	for s := m.begin(); ; {
		en := m.enabled(&s, buf[:])
		if len(en) == 0 {
			return m.buggy(&s)
		}
		t := en[0]
		for _, u := range en {
			if value[u] == 0 {
				value[u] = 1 - r.Float64()
			}
			if value[u] > value[t] {
				t = u
			}
		}
		o := m.pending(&s, t)
		for _, u := range en {
			if u == t || depends(m.pending(&s, u), o) {
				value[u] = 0
			}
		}
		m.step(&s, t)
	}
}

// weighted is a run of URW or SURW so far.
type weighted struct {
	s        state
	left     [mostTasks]int16 // operations that each task and its children to come have left
	intended int8             // SURW: whose operation is next, noTask if nobody's
	held     uint16           // SURW: who must not perform one before
}

// shares is how many operations that count each task performs in the random walk, on the average, rounded; at least one
// if it may perform any. Those of its children are not in it.
func (m *model) shares(counted func(*op) bool) (own [mostTasks]int16, err error) {
	type mean = [mostTasks]float64
	seen := map[state]mean{}
	var of func(s state) mean
	of = func(s state) (r mean) {
		if r, ok := seen[s]; ok || len(seen) >= m.room {
			return r
		}
		en := m.enabled(&s, nil)
		for _, t := range en {
			to := s
			m.step(&to, t)
			rest := of(to)
			if counted(m.pending(&s, t)) {
				rest[t]++
			}
			for u, x := range rest {
				r[u] += x / float64(len(en))
			}
		}
		seen[s] = r
		return r
	}
	r := of(m.begin())
	if len(seen) >= m.room {
		return own, errLarge
	}
	for t, x := range r {
		if x > 0 {
			own[t] = max(1, int16(x+0.5))
		}
	}
	return own, nil
}

// beginWeighted puts the shares of all tasks into that of the first one, who starts them all.
func (m *model) beginWeighted(own [mostTasks]int16) weighted {
	w := weighted{s: m.begin(), intended: noTask}
	for _, n := range own {
		w.left[0] += n
	}
	return w
}

// urw is that of the uniform random walk: a task is as likely as it has operations left. Operations that wait do not
// count.
func (m *model) urw() (float64, error) {
	own, err := m.shares(func(o *op) bool { return !o.waits() })
	if err != nil {
		return 0, err
	}
	seen := map[weighted]float64{}
	var of func(w weighted) float64
	of = func(w weighted) (p float64) {
		if p, ok := seen[w]; ok {
			return p
		}
		var buf [mostTasks]int
		en := m.enabled(&w.s, buf[:])
		total := 0
		for _, t := range en {
			total += max(1, int(w.left[t]))
		}
		for _, t := range en {
			o, to := m.pending(&w.s, t), w
			if !o.waits() {
				to.left[t] = max(0, to.left[t]-1)
			}
			if o.kind == opSpawn {
				to.left[o.obj] = own[o.obj]
				to.left[t] = max(0, to.left[t]-own[o.obj])
			}
			m.step(&to.s, t)
			p += float64(max(1, int(w.left[t]))) / float64(total) * of(to)
		}
		if len(en) == 0 && m.buggy(&w.s) {
			p = 1
		}
		seen[w] = p
		return p
	}
	return of(m.beginWeighted(own)), nil
}

// waits reports whether the operation waits for what another task does, other than to leave a lock.
func (o *op) waits() bool { return o.kind == opJoin || o.kind == opPark }

// surw is that of selective URW with the operations on one object, unlocks excluded.
func (m *model) surw(obj int) (float64, error) {
	counted := func(o *op) bool { return o.object() == obj && o.kind != opUnlock }
	own, err := m.shares(counted)
	if err != nil {
		return 0, err
	}
	seen := map[weighted]float64{}
	var of func(w weighted) float64
	// then performs the pending operation of t.
	then := func(w weighted, t int) float64 {
		o := m.pending(&w.s, t)
		m.step(&w.s, t)
		if m.done(&w.s, t) && int(w.intended) == t {
			w.intended, w.held = noTask, 0
		}
		if o.kind != opSpawn {
			return of(w)
		}
		c := o.obj
		stays := w
		stays.left[c], stays.left[t] = own[c], max(0, w.left[t]-own[c])
		if int(w.intended) != t || own[c] == 0 {
			return of(stays)
		}
		moves := stays
		moves.intended = int8(c)
		q := float64(own[c]) / float64(max(w.left[t], own[c]))
		return q*of(moves) + (1-q)*of(stays)
	}
	// meet is what happens when t, about to perform an operation that counts, was picked.
	meet := func(w weighted, t int) float64 {
		if int(w.intended) != t {
			w.held |= 1 << t
			return of(w)
		}
		w.left[t]--
		w.intended, w.held = noTask, 0
		return then(w, t)
	}
	of = func(w weighted) (p float64) {
		if p, ok := seen[w]; ok {
			return p
		}
		var buf [mostTasks]int
		en := m.enabled(&w.s, buf[:])
		if len(en) == 0 {
			if m.buggy(&w.s) {
				p = 1
			}
			seen[w] = p
			return p
		}
		if len(en) == 1 { // nobody is asked
			return then(w, en[0])
		}
		among := slices.DeleteFunc(slices.Clone(en), func(t int) bool { return w.held>>t&1 != 0 })
		v := w
		if len(among) == 0 {
			v.intended, v.held, among = noTask, 0, en
		}
		for _, t := range among {
			p += m.surwPick(v, t, counted, then, meet) / float64(len(among))
		}
		seen[w] = p
		return p
	}
	return of(m.beginWeighted(own)), nil
}

// surwPick goes on with t, which was picked.
func (m *model) surwPick(w weighted, t int, counted func(*op) bool, then, meet func(weighted, int) float64) float64 {
	if !counted(m.pending(&w.s, t)) {
		return then(w, t)
	}
	w.left[t] = max(1, w.left[t])
	if w.intended != noTask {
		return meet(w, t)
	}
	p, total := 0., 0.
	for u := range m.tasks {
		if n := float64(w.left[u]); n > 0 && m.live(&w.s, u) {
			v := w
			v.intended = int8(u)
			p += n * meet(v, t)
			total += n
		}
	}
	return p / total
}
