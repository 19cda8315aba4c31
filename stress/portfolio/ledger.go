// SPDX-License-Identifier: MIT

package portfolio

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// ledger is a text file that only grows: one record a line, in JSON, behind a checksum. A process that is killed while
// it writes leaves at most a torn last record, which the next one cuts off.
type ledger struct {
	f    *os.File
	w    *bufio.Writer
	name string
}

// createLedger begins an empty one.
func createLedger(name string) (*ledger, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	return &ledger{f, bufio.NewWriter(f), name}, syncFolder(filepath.Dir(name))
}

// readLedger reads the whole records of a ledger, and how many octets they are.
func readLedger(name string) (records [][]byte, size int64, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, 0, err
	}
	for line := 1; len(text) > 0; line++ {
		record, rest, whole := bytes.Cut(text, []byte("\n"))
		body, ok := checked(record)
		switch {
		case ok && whole:
			records = append(records, body)
			size += int64(len(record)) + 1
		case len(rest) > 0:
			return nil, 0, fmt.Errorf("%s:%d: the record is damaged (its checksum is another); bring the file back from "+
				"a copy, or remove its folder to begin anew", name, line)
		}
		text = rest
	}
	return records, size, nil
}

// checked takes the checksum off a record.
func checked(record []byte) ([]byte, bool) {
	var sum uint32
	head, body, ok := bytes.Cut(record, []byte(" "))
	if n, err := fmt.Sscanf(string(head), "%08x", &sum); !ok || n != 1 || err != nil {
		return nil, false
	}
	return body, sum == crc32.ChecksumIEEE(body)
}

// openLedger goes on behind the whole records of one that is there.
func openLedger(name string) (l *ledger, records [][]byte, err error) {
	records, size, err := readLedger(name)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	if err = f.Truncate(size); err == nil {
		_, err = f.Seek(size, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return &ledger{f, bufio.NewWriter(f), name}, records, nil
}

// append adds a record, which is on disk after the next flush.
func (l *ledger) append(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(l.w, "%08x %s\n", crc32.ChecksumIEEE(body), body)
	return err
}

func (l *ledger) flush() error { return errors.Join(l.w.Flush(), l.f.Sync()) }

func (l *ledger) close() error { return errors.Join(l.flush(), l.f.Close()) }

// writeDurably makes a file of data at once or not at all, so that it is still there after a crash.
func writeDurably(name string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(name), ".new.*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // gone after a rename
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(name))
}

// syncFolder makes the names in a folder durable, where the system can.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // not everywhere possible
	return d.Close()
}
