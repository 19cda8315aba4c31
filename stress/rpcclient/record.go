// SPDX-License-Identifier: MIT

package rpcclient

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

const lastFragment = 1 << 31

// maxRecord is the longest record that is read, if nothing else is said.
const maxRecord = 1 << 20

// Plan says how records go onto a connection. The zero value is one fragment in one write.
type Plan struct {
	// Fragments are the sizes of the fragments. The last size is used again until the record is sent; sizes before it
	// may be 0.
	Fragments []int
	// EmptyLast puts the mark of the last fragment onto one more, which is empty.
	EmptyLast bool
	// Writes are the sizes of the pieces that the octets, marks included, are written in; the last size is used again.
	// None: all at once.
	Writes []int
	// Delay is between writes.
	Delay time.Duration
}

// check says what is wrong with a plan.
func (p *Plan) check() error {
	for _, list := range []struct {
		name  string
		sizes []int
	}{{"fragment", p.Fragments}, {"write", p.Writes}} {
		for i, n := range list.sizes {
			if n < 0 || n == 0 && (i == len(list.sizes)-1 || list.name == "write") {
				return fmt.Errorf("plan: %s %d has %d octets, so the record would never end", list.name, i+1, n)
			}
		}
	}
	return nil
}

// Record is the message with its marks.
func (p *Plan) Record(msg []byte) []byte {
	b := make([]byte, 0, len(msg)+8)
	rest := msg
	for i := 0; ; i++ {
		n := len(rest)
		if len(p.Fragments) > 0 {
			n = min(n, p.Fragments[min(i, len(p.Fragments)-1)])
		}
		last := n == len(rest) && !p.EmptyLast
		b = append(appendMark(b, n, last), rest[:n]...)
		if rest = rest[n:]; last {
			return b
		}
		if len(rest) == 0 && p.EmptyLast {
			return appendMark(b, 0, true)
		}
	}
}

// pieces cuts the octets into the writes of the plan.
func (p *Plan) pieces(b []byte) [][]byte {
	if len(p.Writes) == 0 {
		return [][]byte{b}
	}
	var out [][]byte
	for i := 0; len(b) > 0; i++ {
		n := min(len(b), p.Writes[min(i, len(p.Writes)-1)])
		out, b = append(out, b[:n]), b[n:]
	}
	return out
}

func appendMark(b []byte, n int, last bool) []byte {
	m := uint32(n)
	if last {
		m |= lastFragment
	}
	return binary.BigEndian.AppendUint32(b, m)
}

// ReadRecord reads one record, all its fragments together, of at most limit octets. At the end of the stream between
// records the error is [io.EOF], within one [io.ErrUnexpectedEOF].
func ReadRecord(r io.Reader, limit int) ([]byte, error) {
	var rec []byte
	for fragments := 0; ; fragments++ {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			if errors.Is(err, io.EOF) && fragments > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		m := binary.BigEndian.Uint32(mark[:])
		n := int(m &^ lastFragment)
		if n > limit-len(rec) || fragments > limit {
			return nil, fmt.Errorf("a record of more than %d octets", limit)
		}
		at := len(rec)
		rec = append(rec, make([]byte, n)...)
		if _, err := io.ReadFull(r, rec[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if m&lastFragment != 0 {
			return rec, nil
		}
	}
}
