// SPDX-License-Identifier: MIT

package fuzz

import (
	"encoding/binary"

	headers "github.com/AdaLogics/go-fuzz-headers"
)

// input takes values off the front of the data. When the data are used up all values are zero: a shorter input is a
// tamer one, never an invalid one.
//
// Only those getters of go-fuzz-headers are used that read a fixed number of bytes: the others allocate what the data
// say, or throw most inputs away. Numbers that mean something come from tables, since Go's engine cannot see what a
// number is compared with.
type input struct{ c *headers.ConsumeFuzzer }

func newInput(data []byte) *input { return &input{headers.NewConsumer(data)} }

// split takes the schedule off the front: a byte that says how it is spelled, a length byte, and that many bytes.
func split(data []byte) (schedule, rest []byte) {
	if len(data) < 2 {
		return nil, nil
	}
	n := min(int(data[1]), len(data)-2)
	return spell(data[0], data[2:2+n]), data[2+n:]
}

// The ways to spell a schedule for explore.Bytes, which takes a byte a choice: 0 lets the task go on that ran last, and
// so does the end of the bytes; another byte picks a task.
const (
	plain  = iota // as it is
	pairs         // two bytes a switch: after how many choices, and to which task
	walk          // as it is, and then a random walk that the bytes seed
	stroll        // the same with fewer switches
	spellings
)

// walkLength is how many choices a random walk makes. Few runs have more.
const walkLength = 768

// spell makes the bytes of a schedule. Long schedules are tedious for an engine to find: it starts with short inputs,
// and most of what it tries is one more change to them.
func spell(how byte, b []byte) []byte {
	switch how % spellings {
	case pairs:
		var out []byte
		for ; len(b) > 1; b = b[2:] {
			out = append(out, make([]byte, b[0])...)
			out = append(out, max(b[1], 1))
		}
		return out
	case walk, stroll:
		seed := uint64(0xcbf29ce484222325)
		for _, x := range b {
			seed = (seed ^ uint64(x)) * 0x100000001b3
		}
		out := append(make([]byte, 0, len(b)+walkLength), b...)
		for range walkLength {
			seed ^= seed << 13
			seed ^= seed >> 7
			seed ^= seed << 17
			x := byte(seed>>32) | 1
			if how%spellings == stroll && seed>>56 > 24 {
				x = 0
			}
			out = append(out, x)
		}
		return out
	}
	return b
}

func (in *input) byte() int {
	b, err := in.c.GetByte()
	if err != nil {
		return 0
	}
	return int(b)
}

// below is a number in [0, n), n at most 256.
func (in *input) below(n int) int { return in.byte() % n }

// chance is true once in n inputs, and false when the data are used up.
func (in *input) chance(n int) bool { return in.byte()%n == n-1 }

func (in *input) uint16() int { return in.byte()<<8 | in.byte() }

func (in *input) uint32() uint32 {
	v, err := in.c.GetUint32()
	if err != nil {
		return 0
	}
	return v
}

// pick takes an element of a table; the first when the data are used up.
func pick[T any](in *input, table ...T) T { return table[in.below(len(table))] }

// bytes takes up to limit bytes, as many as a byte says, and never fewer than that because of the data's end.
func (in *input) bytes(limit int) []byte {
	b := make([]byte, in.below(min(limit, 255)+1))
	for i := range b {
		b[i] = byte(in.byte())
	}
	return b
}

// words appends big-endian words.
func words(b []byte, w ...uint32) []byte {
	for _, x := range w {
		b = binary.BigEndian.AppendUint32(b, x)
	}
	return b
}
