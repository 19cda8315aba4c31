// SPDX-License-Identifier: MIT

//go:build ignore

// Gen writes the Go of the .x files to the file that -o names, "-" for the standard output.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"regexp"
)

var (
	text   = regexp.MustCompile(`XdrString\{([^,{}]+), ([^{}]+)\}`)
	opaque = regexp.MustCompile(`XdrVecOpaque\{([^,{}]+), ([^{}]+)\}`)
)

func main() {
	out := flag.String("o", "xdr_gen.go", "`file` to write")
	flag.Parse()
	if err := generate(*out); err != nil {
		fmt.Fprintf(os.Stderr, "gen: %v\n", err)
		os.Exit(1)
	}
}

func generate(out string) error {
	// What a file uses stands in one before it.
	src, err := exec.Command("go", "tool", "goxdr", "-lax-discriminants", "-p", "wire", "rpc.x", "sm.x", "nlm.x", "rpcb.x", "cb.x").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return fmt.Errorf("goxdr: %w", err)
	}
	// Two things that the checks of this tree do not suffer: literals of another package's types without field names,
	// and a mark on interface assertions that elsewhere asks for work.
	src = text.ReplaceAll(src, []byte("XdrString{Str: $1, Bound: $2}"))
	src = opaque.ReplaceAll(src, []byte("XdrVecOpaque{Bytes: $1, Bound: $2}"))
	src = bytes.ReplaceAll(src, []byte(" // X"+"XX\n"), []byte("\n"))
	src, err = format.Source(append([]byte("// SPDX-License-Identifier: MIT\n\n"), src...))
	if err != nil {
		return err
	}
	if out == "-" {
		_, err = os.Stdout.Write(src)
		return err
	}
	return os.WriteFile(out, src, 0o644)
}
