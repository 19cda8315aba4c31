// SPDX-License-Identifier: MIT

package peers

import (
	"bytes"
	"context"
	_ "embed" // the client's source
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/rpcbind"
	"github.com/seed17199236/svcfuzz/stress/server"
	"github.com/seed17199236/svcfuzz/target/lockd"
)

// libnfsPeer is a lock client that is not ours.
var libnfsPeer = &Peer{
	Name:    "libnfs",
	Doc:     "libnfs as a client of the lock manager: takes, tests, blocks on and releases locks",
	Needs:   []string{"gcc", "rpcbind"},
	Install: "install-peers-libnfs",
	run:     isolated("libnfs", runLibnfs),
}

//go:embed libnfs/nlm.c
var libnfsC []byte

// libnfsSteps is what the client does, with the answers that it must get. Owner a holds a range, b wants it.
var libnfsSteps = []struct {
	what, step string
	status     int
	holder     string
}{
	{"NULL", "null", lockd.NLM_LCK_GRANTED, ""},
	{"TEST of a free range", "test:a:0:10", lockd.NLM_LCK_GRANTED, ""},
	{"LOCK", "lock:a:0:10", lockd.NLM_LCK_GRANTED, ""},
	{"LOCK again by its owner", "lock:a:0:10", lockd.NLM_LCK_GRANTED, ""},
	{"TEST names the holder", "test:b:5:1", lockd.NLM_LCK_DENIED, "1 0:10"},
	{"TEST beside it", "test:b:10:5", lockd.NLM_LCK_GRANTED, ""},
	{"LOCK of what is held", "lock:b:9:5", lockd.NLM_LCK_DENIED, ""},
	{"blocking LOCK of what is held", "block:b:0:20", lockd.NLM_LCK_BLOCKED, ""},
	{"the same once more", "block:b:0:20", lockd.NLM_LCK_BLOCKED, ""},
	{"CANCEL", "cancel:b:0:20", lockd.NLM_LCK_GRANTED, ""},
	{"UNLOCK of the middle", "unlock:a:3:4", lockd.NLM_LCK_GRANTED, ""},
	{"TEST of the hole", "test:b:3:4", lockd.NLM_LCK_GRANTED, ""},
	{"TEST names the second part", "test:b:4:10", lockd.NLM_LCK_DENIED, "1 7:3"},
	{"blocking LOCK of the rest", "block:b:0:10", lockd.NLM_LCK_BLOCKED, ""},
	{"UNLOCK of all", "unlock:a:0:0", lockd.NLM_LCK_GRANTED, ""},
	{"", "sleep:200", 0, ""},
	{"blocking LOCK has become a lock", "block:b:0:10", lockd.NLM_LCK_GRANTED, ""},
	{"TEST names the new holder", "test:a:0:1", lockd.NLM_LCK_DENIED, "1 0:10"},
	{"UNLOCK", "unlock:b:0:0", lockd.NLM_LCK_GRANTED, ""},
	{"LOCK behind the end of offsets", "lock:a:18446744073709551615:100", lockd.NLM_FBIG, ""},
	{"LOCK to the end of the file", "lock:a:9223372036854775807:0", lockd.NLM_LCK_GRANTED, ""},
	{"UNLOCK of that", "unlock:a:0:0", lockd.NLM_LCK_GRANTED, ""},
}

func runLibnfs(ctx context.Context, c *Checks) error {
	dir, err := os.MkdirTemp("/run", "libnfs")
	if err != nil {
		return err
	}
	client, source := filepath.Join(dir, "nlm"), filepath.Join(dir, "nlm.c")
	if err := os.WriteFile(source, libnfsC, 0o644); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "gcc", "-O1", "-o", client, source, "-lnfs").CombinedOutput()
	if bytes.Contains(out, []byte("nfsc/libnfs.h")) || bytes.Contains(out, []byte("-lnfs")) {
		return notAvailable("libnfs: its headers are not installed; run make install-peers-libnfs")
	}
	if err != nil {
		return fmt.Errorf("building the client of libnfs: %w: %s", err, lastLines(out))
	}
	rb, err := startRpcbind(ctx)
	if err != nil {
		return err
	}
	defer rb.kill()
	inside := server.NewHandle()
	s, err := serve(ctx, server.Config{Rpcbind: rpcbind.DefaultSocket, Handle: inside})
	if err != nil {
		return err
	}
	defer func() { _ = s.stop() }()
	handles, err := fileHandles(inside)
	if err != nil {
		return err
	}
	// Port 0 makes libnfs ask rpcbind.
	args := []string{"127.0.0.1", "0", hex.EncodeToString(handles["f0"])}
	for _, x := range libnfsSteps {
		args = append(args, x.step)
	}
	got, err := output(ctx, client, args...)
	c.that(err == nil, "all calls are answered", "%v", err)
	c.compareSteps(strings.Split(strings.TrimSpace(got), "\n"))
	return s.stop()
}

// compareSteps compares the client's lines with libnfsSteps.
func (c *Checks) compareSteps(lines []string) {
	i := 0
	for _, x := range libnfsSteps {
		if x.what == "" {
			continue
		}
		got := "nothing"
		if i < len(lines) {
			got = lines[i]
		}
		i++
		want := strings.TrimSpace(fmt.Sprintf("%s %d %s", x.step, x.status, x.holder))
		c.that(got == want, x.what, "%q, want %q", got, want)
	}
}

// fileHandles are the handles of a server's files by name; "" is the root's.
func fileHandles(inside *server.Handle) (map[string][]byte, error) {
	handles := map[string][]byte{}
	err := inside.Do(func(w *server.World) {
		for _, name := range append([]string{""}, fileNames...) {
			handles[name] = w.HandleOf(name)
		}
	})
	for name, fh := range handles {
		if len(fh) == 0 && err == nil {
			err = fmt.Errorf("the server has no file %q", name)
		}
	}
	return handles, err
}

// fileNames are files that every server has.
var fileNames = []string{"hello", "f0", "f1", "f2", "f3"}
