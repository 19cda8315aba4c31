// SPDX-License-Identifier: MIT

package rpcclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// End is how the other side left a connection.
type End uint8

// The ends of a connection.
const (
	Open    End = iota // it has not ended
	FIN                // it was closed in order
	RST                // it was reset
	Refused            // datagrams: nobody listens on the port
)

func (e End) String() string { return [...]string{"open", "closed", "reset", "refused"}[e] }

// Raw is a socket for octets that need not make sense. It is not for several goroutines at a time.
type Raw struct {
	conn net.Conn
	peer string
	end  End
}

// DialRaw connects; network and addr are those of [Dial], local may be empty.
func DialRaw(ctx context.Context, network, addr, local string) (*Raw, error) {
	conn, err := dial(ctx, network, addr, local)
	if err != nil {
		return nil, err
	}
	return &Raw{conn: conn, peer: network + " " + addr}, nil
}

// LocalAddr is the address that the server sees.
func (r *Raw) LocalAddr() net.Addr { return r.conn.LocalAddr() }

// Send writes octets as they are; on a datagram socket each piece is a datagram, and may be empty. A server that does
// not read makes it fail when ctx ends.
func (r *Raw) Send(ctx context.Context, pieces ...[]byte) error {
	for _, b := range pieces {
		if err := write(ctx, r.conn, false, &Plan{}, b); err != nil {
			r.note(err)
			return fmt.Errorf("send to %s: %w", r.peer, err)
		}
	}
	return nil
}

// SendRecord writes a message as a record in fragments and pieces as the plan says.
func (r *Raw) SendRecord(ctx context.Context, msg []byte, plan Plan) error {
	if err := plan.check(); err != nil {
		return err
	}
	if err := write(ctx, r.conn, true, &plan, plan.Record(msg)); err != nil {
		r.note(err)
		return fmt.Errorf("send to %s: %w", r.peer, err)
	}
	return nil
}

// note remembers what an error says about the end of the connection.
func (r *Raw) note(err error) {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		r.end = FIN
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		r.end = RST
	case errors.Is(err, syscall.ECONNREFUSED):
		r.end = Refused
	}
}

// Read returns what comes within wait, up to 64 KiB and a datagram at most: no octets and Open if nothing does.
func (r *Raw) Read(wait time.Duration) ([]byte, End) {
	_ = r.conn.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 1<<16)
	n, err := r.conn.Read(buf)
	if err != nil {
		r.note(err)
	}
	return buf[:n], r.end
}

// ReadAll returns all that comes until nothing has come for the time quiet, or the other side ends.
func (r *Raw) ReadAll(quiet time.Duration) ([]byte, End) {
	var all []byte
	for {
		b, end := r.Read(quiet)
		all = append(all, b...)
		if end != Open || len(b) == 0 {
			return all, end
		}
	}
}

// ReadRecord reads one record of a stream, of at most limit octets, 0 for 1 MiB. The error [os.ErrDeadlineExceeded]
// says that it did not come within wait.
func (r *Raw) ReadRecord(wait time.Duration, limit int) ([]byte, error) {
	setDefault(&limit, maxRecord)
	_ = r.conn.SetReadDeadline(time.Now().Add(wait))
	rec, err := ReadRecord(r.conn, limit)
	if err != nil {
		r.note(err)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("no record in time: %w", os.ErrDeadlineExceeded)
		}
		return nil, fmt.Errorf("%s: %w", r.peer, reason(err))
	}
	return rec, nil
}

// End is how the connection has ended, as far as reads and writes have seen.
func (r *Raw) End() End { return r.end }

// CloseWrite closes our half of a stream.
func (r *Raw) CloseWrite() error {
	if h, ok := r.conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return fmt.Errorf("%s: only a stream has a half to close", r.peer)
}

// Reset ends a TCP connection with a reset instead of an orderly close.
func (r *Raw) Reset() error {
	if tcp, ok := r.conn.(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil {
			return err
		}
	}
	return r.conn.Close()
}

// Close ends the connection.
func (r *Raw) Close() error { return r.conn.Close() }

// SplitRecords takes octets of a stream apart into records without their marks; rest is what is left of one that is
// not complete.
func SplitRecords(b []byte) (records [][]byte, rest []byte) {
	r := bytes.NewReader(b)
	for {
		at := len(b) - r.Len()
		rec, err := ReadRecord(r, len(b))
		if err != nil {
			return records, b[at:]
		}
		records = append(records, rec)
	}
}
