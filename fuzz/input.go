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
func (in *input) bytes(limit int) []byte { return in.take(in.below(min(limit, 255) + 1)) }

// take takes n bytes.
func (in *input) take(n int) []byte {
	b := make([]byte, n)
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
