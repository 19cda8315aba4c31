// SPDX-License-Identifier: MIT

package load

import (
	"math/bits"
	"time"
)

// subBuckets is how many buckets there are between one power of two and the next: a figure is right within 1.6 %.
const (
	subBits    = 6
	subBuckets = 1 << subBits
)

// Histogram counts latencies from 1 ns to hours in buckets whose width grows with the value. The zero value is empty.
type Histogram struct {
	counts [(64 - subBits) * subBuckets]uint64
	n      uint64
	max    time.Duration
}

// bucket is where a value is counted: values below subBuckets exactly, above it by their leading subBits+1 bits.
func bucket(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return shift*subBuckets + int(v>>shift)
}

// upper is the largest value of a bucket.
func upper(i int) uint64 {
	if i < 2*subBuckets {
		return uint64(i)
	}
	shift := i/subBuckets - 1
	return (uint64(i-shift*subBuckets)+1)<<shift - 1
}

// Record counts n latencies of d.
func (h *Histogram) Record(d time.Duration, n uint64) {
	h.counts[bucket(uint64(max(d, 0)))] += n
	h.n += n
	h.max = max(h.max, d)
}

// Merge adds what o counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// Quantile is the latency that a share q of all calls did not exceed, 0 if there were none.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := uint64(q * float64(h.n))
	var seen uint64
	for i, n := range h.counts {
		if seen += n; n > 0 && seen >= want {
			return min(time.Duration(upper(i)), h.max)
		}
	}
	return h.max
}

// Count is how many were recorded, Max the longest.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the longest latency.
func (h *Histogram) Max() time.Duration { return h.max }
