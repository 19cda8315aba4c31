// SPDX-License-Identifier: MIT

package wire

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/xdrpp/goxdr/xdr"
)

// encoder appends values. It implements [xdr.XDR].
type encoder struct{ b []byte }

// Sprintf makes no names: an encoder has nothing to say about them.
func (e *encoder) Sprintf(string, ...any) string { return "" }

// Marshal appends one value.
func (e *encoder) Marshal(name string, v xdr.XdrType) {
	switch v := v.(type) {
	case xdr.XdrNum32:
		e.b = binary.BigEndian.AppendUint32(e.b, v.GetU32())
	case xdr.XdrNum64:
		e.b = binary.BigEndian.AppendUint64(e.b, v.GetU64())
	case xdr.XdrVarBytes:
		e.b = binary.BigEndian.AppendUint32(e.b, uint32(len(v.GetByteSlice())))
		e.bytes(v.GetByteSlice())
	case xdr.XdrBytes:
		e.bytes(v.GetByteSlice())
	case xdr.XdrAggregate:
		v.XdrRecurse(e, name)
	}
}

func (e *encoder) bytes(s []byte) {
	e.b = append(e.b, s...)
	e.b = append(e.b, make([]byte, -len(s)&3)...)
}

// decode reads a value from b[at:] and returns where it ends, or what is wrong where.
func decode(b []byte, at int, v xdr.XdrType, what string) (int, error) {
	d := &decoder{b: b, at: at}
	err := d.run(v, "")
	if err == nil {
		return d.at, nil
	}
	// Once more, with names: only a wrong message has to pay for them.
	d = &decoder{b: b, at: at, named: true}
	err = d.run(v, what)
	return d.at, fmt.Errorf("octet %d, %s: %w", d.start, d.name, err)
}

// decoder takes values off octets. It implements [xdr.XDR].
type decoder struct {
	b     []byte
	at    int
	named bool
	name  string // of the item that is being decoded, if named
	start int    // where that begins
}

// run decodes a value. goxdr tells what is wrong with one by a panic.
func (d *decoder) run(v xdr.XdrType, name string) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case xdr.XdrError:
			err = p
		default:
			panic(p)
		}
	}()
	v.XdrMarshal(d, name)
	return nil
}

// Sprintf makes the name of an item.
func (d *decoder) Sprintf(format string, args ...any) string {
	if !d.named {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// take is the next n octets.
func (d *decoder) take(n int) []byte {
	if left := len(d.b) - d.at; n > left {
		xdr.XdrPanic("%d octets are left, %d needed", left, n)
	}
	s := d.b[d.at : d.at+n]
	d.at += n
	return s
}

// padded is the next n octets without their padding, which must be zero.
func (d *decoder) padded(n int) []byte {
	s := d.take((n + 3) &^ 3)
	for _, pad := range s[n:] {
		if pad != 0 {
			xdr.XdrPanic("padding %x is not zero", s[n:])
		}
	}
	return s[:n:n]
}

// Marshal reads one value.
func (d *decoder) Marshal(name string, v xdr.XdrType) {
	d.name, d.start = name, d.at
	switch v := v.(type) {
	case xdr.XdrNum32:
		n := binary.BigEndian.Uint32(d.take(4))
		v.SetU32(n)
		if e, ok := v.(xdr.XdrEnum); ok && e.XdrEnumNames()[int32(n)] == "" {
			xdr.XdrPanic("%d is no %s", int32(n), e.XdrTypeName())
		}
	case xdr.XdrNum64:
		v.SetU64(binary.BigEndian.Uint64(d.take(8)))
	case xdr.XdrVarBytes:
		n := binary.BigEndian.Uint32(d.take(4))
		if n > v.XdrBound() {
			xdr.XdrPanic("length %d is above the bound %d", n, v.XdrBound())
		}
		if uint64(n) > uint64(len(d.b)-d.at) {
			xdr.XdrPanic("length %d, but only %d octets are left", n, len(d.b)-d.at)
		}
		v.SetByteSlice(slices.Clone(d.padded(int(n))))
	case xdr.XdrBytes:
		copy(v.GetByteSlice(), d.padded(len(v.GetByteSlice())))
	case xdr.XdrAggregate:
		v.XdrRecurse(d, name)
	}
}
