// SPDX-License-Identifier: MIT

package mutant

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const fakeSvc = `package lockd

// Start lists the steps.
func Start() []string {
	return []string{"create", "store", "wake"}
}

func other() {
	_ = Start()
}
`

// fakeRunner prints its patches and then the steps; the options make it misbehave.
const fakeRunner = `package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"example.test/fake/target/lockd"
)

var mutants []string

func main() {
	var opt struct{ Mode string }
	if err := json.NewDecoder(os.Stdin).Decode(&opt); err != nil {
		panic(err)
	}
	if opt.Mode == "silent" {
		return
	}
	if opt.Mode == "liar" {
		mutants = append(mutants, "somebody-else")
	}
	first, _ := json.Marshal(map[string][]string{"mutants": mutants})
	fmt.Printf("%s\n", first)
	switch opt.Mode {
	case "panic":
		panic("the runner is ill")
	case "hang":
		time.Sleep(time.Hour)
	}
	steps, _ := json.Marshal(lockd.Start())
	fmt.Printf("%s\n\n", steps)
	if opt.Mode == "finding" {
		os.Exit(1)
	}
}
`

// fake makes a module as small as a module with a runner can be.
func fake(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	write(t, root, "go.mod", "module example.test/fake\n\ngo 1.26\n")
	write(t, root, "target/lockd/svc.go", fakeSvc)
	write(t, root, "stress/runner/main.go", fakeRunner)
	write(t, root, "findings/big", "not needed for a build")
	return root
}

// pool makes a pool that is gone, with its folder, at the end of the test.
func pool(t *testing.T, root string, opt Options) *Pool {
	t.Helper()
	p, err := NewPool(root, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return p
}

// patch parses a diff.
func patch(t *testing.T, id, diff string) *Patch {
	t.Helper()
	p, err := ParsePlain(id, []byte(diff))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = id
	return p
}

// run returns the steps that a variant prints.
func run(t *testing.T, v *Variant, mode string, limit time.Duration) ([]string, error) {
	t.Helper()
	var steps []string
	err := v.Run(t.Context(), map[string]string{"Mode": mode}, limit, func(line json.RawMessage) error {
		return json.Unmarshal(line, &steps)
	})
	return steps, err
}

func TestApply(t *testing.T) {
	for _, test := range []struct{ what, before, want string }{
		{"in place", fakeSvc, ""},
		{"moved down", "// a\n// b\n" + fakeSvc, ""},
		{"moved up", strings.Replace(fakeSvc, "\n// Start lists the steps.", "", 1), ""},
		{"other text", strings.Replace(fakeSvc, `"store", "wake"`, `"wake"`, 1),
			`target/lockd/svc.go:5: hunk 1: the line is "return []string{\"create\", \"wake\"}", ` +
				`the patch expects "return []string{\"create\", \"store\", \"wake\"}"; make the change by hand`},
		{"other context", strings.Replace(fakeSvc, "func Start() []string {", "func Start() (s []string) {", 1),
			`svc.go:4: hunk 1: the line is "func Start() (s []string) {", the patch expects "func Start() []string {"`},
		{"other blanks", strings.Replace(fakeSvc, "\treturn []", "\treturn  []", 1), "svc.go:5: hunk 1: the line is"},
		{"cut short", fakeSvc[:strings.Index(fakeSvc, "}\n\n")+2], `hunk 1: the file ends where the patch expects ""`},
		{"twice, moved", "// a\n" + fakeSvc + strings.TrimPrefix(fakeSvc, "package lockd\n"),
			"its lines stand at lines 5 and 14 alike"},
		{"empty", "", "hunk 1: the line"},
	} {
		root := t.TempDir()
		write(t, root, "target/lockd/svc.go", test.before)
		err := patch(t, "p", goodDiff).Apply(root)
		after, readErr := os.ReadFile(filepath.Join(root, "target/lockd/svc.go"))
		if readErr != nil {
			t.Fatal(readErr)
		}
		if test.want == "" {
			want := strings.Replace(test.before, `"store", "wake"`, `"wake", "store"`, 1)
			if err != nil || string(after) != want {
				t.Errorf("%s: %v\n%s", test.what, err, after)
			}
			continue
		}
		var stale *StaleError
		if !errors.As(err, &stale) || test.what != "empty" && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.what, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %v", test.what, err)
		}
		if string(after) != test.before {
			t.Errorf("%s: the file was changed", test.what)
		}
	}
}

func TestApplyWholeFiles(t *testing.T) {
	root := t.TempDir()
	write(t, root, "target/lockd/svc.go", fakeSvc)
	write(t, root, "target/lockd/old.go", "package lockd\n")
	write(t, root, "target/lockd/here.go", "package lockd\n")
	p := patch(t, "p", `diff --git a/target/lockd/new.go b/target/lockd/new.go
new file mode 100644
--- /dev/null
+++ b/target/lockd/new.go
@@ -0,0 +1 @@
+package lockd
diff --git a/target/lockd/old.go b/target/lockd/old.go
deleted file mode 100644
--- a/target/lockd/old.go
+++ /dev/null
@@ -1 +0,0 @@
-package lockd
diff --git a/target/lockd/here.go b/target/lockd/there.go
similarity index 100%
rename from target/lockd/here.go
rename to target/lockd/there.go
`)
	if err := p.Apply(root); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, _ := os.ReadDir(filepath.Join(root, "target/lockd"))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"new.go", "svc.go", "there.go"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	var stale *StaleError
	if err := p.Apply(root); !errors.As(err, &stale) || !strings.Contains(err.Error(), "creates this file, but it exists") {
		t.Errorf("second time: %v", err)
	}
	if err := patch(t, "q", strings.ReplaceAll(goodDiff, "svc.go", "gone.go")).Apply(root); !errors.As(err, &stale) ||
		!strings.Contains(err.Error(), "target/lockd/gone.go: no such file") {
		t.Errorf("no file: %v", err)
	}
}

func TestPool(t *testing.T) {
	root := fake(t)
	era, err := ParseEra("3.18.patch", []byte(eraHeader+"\n"+strings.NewReplacer("@@ -4,4 +4,4 @@", "@@ -3,3 +3,4 @@",
		" func Start()", " // Start lists the steps.\n+// It is older.\n func Start()",
		"-\treturn []string{\"create\", \"store\", \"wake\"}\n", "",
		"+\treturn []string{\"create\", \"wake\", \"store\"}\n", " \treturn []string{\"create\", \"store\", \"wake\"}\n",
		" }\n \n", "").Replace(goodDiff)))
	if err != nil {
		t.Fatal(err)
	}
	p := pool(t, root, Options{Eras: Eras{"3.18": era}})
	m := patch(t, "lockd-early", goodDiff)

	t.Run("the tree", func(t *testing.T) {
		v, err := p.Get(t.Context(), Request{})
		if err != nil {
			t.Fatal(err)
		}
		steps, err := run(t, v, "", time.Minute)
		if err != nil || !slices.Equal(steps, []string{"create", "store", "wake"}) {
			t.Errorf("got %q, %v", steps, err)
		}
		if all := contents(t, filepath.Dir(v.Binary)); !slices.Equal(all, []string{"overlay.json", "runner"}) {
			t.Errorf("a tree without patches takes %q", all)
		}
	})

	t.Run("era and mutant", func(t *testing.T) {
		p.Start(Request{Era: "3.18", Mutant: m})
		v, err := p.Get(t.Context(), Request{Era: "3.18", Mutant: m})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"3.18", "lockd-early"}; !slices.Equal(v.Patches, want) {
			t.Errorf("patches: %q", v.Patches)
		}
		dir := filepath.Dir(v.Binary)
		if all := contents(t, dir); !slices.Equal(all, []string{
			"overlay.json", "runner", "src/stress/runner/" + mutantsFile, "src/target/lockd/svc.go", "src/target/lockd/" + markerFile,
		}) {
			t.Errorf("more or less than what is patched is copied: %q", all)
		}
		marker, err := os.ReadFile(filepath.Join(dir, "src/target/lockd", markerFile))
		if err != nil || !strings.Contains(string(marker), `const SvcfuzzMutant = "3.18 lockd-early"`) {
			t.Errorf("marker: %v\n%s", err, marker)
		}
		steps, err := run(t, v, "finding", time.Minute)
		if err != nil || !slices.Equal(steps, []string{"create", "wake", "store"}) {
			t.Errorf("got %q, %v", steps, err)
		}
		for mode, want := range map[string]string{
			"silent": "SVCFUZZ BUG: the runner printed nothing",
			"liar": "SVCFUZZ BUG: the runner carries the patches [3.18 lockd-early somebody-else], " +
				"but [3.18 lockd-early] were asked for",
			"panic": "panic: the runner is ill",
		} {
			var fault *FaultError
			if _, err := run(t, v, mode, time.Minute); !errors.As(err, &fault) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", mode, err, want)
			}
		}
		var fault *FaultError
		if _, err := run(t, v, "hang", 300*time.Millisecond); !errors.As(err, &fault) ||
			!strings.Contains(err.Error(), "took longer than 300ms") || !strings.Contains(err.Error(), "SIGQUIT") {
			t.Errorf("hang: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := v.Run(ctx, map[string]string{"Mode": "hang"}, 0, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's end: %v", err)
		}
	})

	t.Run("a variant is built once", func(t *testing.T) {
		var wg sync.WaitGroup
		got := make([]*Variant, 4)
		for i := range got {
			wg.Go(func() { got[i], _ = p.Get(t.Context(), Request{Mutant: m}) })
		}
		wg.Wait()
		for _, v := range got {
			if v == nil || v != got[0] {
				t.Errorf("got %v", got)
			}
		}
	})

	t.Run("stale", func(t *testing.T) {
		bad := patch(t, "stale", strings.ReplaceAll(goodDiff, `"create", "store"`, `"make", "store"`))
		_, err := p.Get(t.Context(), Request{Mutant: bad})
		const want = "patch stale does not apply: target/lockd/svc.go:5: hunk 1"
		if word, why, ok := JudgeError(err); !ok || word != STALE || !strings.Contains(why, want) {
			t.Errorf("got %s, %s, %v", word, why, ok)
		}
	})

	t.Run("broken", func(t *testing.T) {
		bad := patch(t, "broken", strings.Replace(goodDiff,
			`+	return []string{"create", "wake", "store"}`, `+	return nothing`, 1))
		_, err := p.Get(t.Context(), Request{Mutant: bad})
		word, why, ok := JudgeError(err)
		const want = "the tree with broken does not build: target/lockd/svc.go:5:9: undefined: nothing"
		if !ok || word != BROKEN || why != want {
			t.Errorf("got %s, %s, %v", word, why, ok)
		}
	})

	t.Run("unknown era", func(t *testing.T) {
		_, err := p.Get(t.Context(), Request{Era: "2.6"})
		if word, why, ok := JudgeError(err); ok || !strings.Contains(why, `unknown era "2.6"`) {
			t.Errorf("got %s, %s", word, why)
		}
	})

	t.Run("sources of failed builds are gone", func(t *testing.T) {
		entries, err := os.ReadDir(p.folder.Dir)
		if err != nil || len(entries) != 4 { // the tree, two variants, the lock
			t.Errorf("%v, %v", entries, err)
		}
	})
}

// contents are the names of the files below dir.
func contents(t *testing.T, dir string) (names []string) {
	t.Helper()
	if err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

// A patch that adds, removes and renames files is built as if it had been applied to the tree, and the tree stays.
func TestPoolWholeFiles(t *testing.T) {
	root := fake(t)
	write(t, root, "target/lockd/old.go", "package lockd\n\nvar which = \"old\"\n")
	write(t, root, "target/lockd/alone/alone.go", "package alone\n")
	write(t, root, "target/lockd/steps.go", "package lockd\n\nfunc init() { _ = which }\n")
	before := contents(t, root)
	p := pool(t, root, Options{})
	v, err := p.Get(t.Context(), Request{Mutant: patch(t, "whole", `diff --git a/target/lockd/new.go b/target/lockd/new.go
new file mode 100644
--- /dev/null
+++ b/target/lockd/new.go
@@ -0,0 +1,3 @@
+package lockd
+
+var which = "new"
diff --git a/target/lockd/old.go b/target/lockd/old.go
deleted file mode 100644
--- a/target/lockd/old.go
+++ /dev/null
@@ -1,3 +0,0 @@
-package lockd
-
-var which = "old"
diff --git a/target/lockd/alone/alone.go b/target/lockd/alone/alone.go
deleted file mode 100644
--- a/target/lockd/alone/alone.go
+++ /dev/null
@@ -1 +0,0 @@
-package alone
diff --git a/target/lockd/svc.go b/target/lockd/svc2.go
similarity index 90%
rename from target/lockd/svc.go
rename to target/lockd/svc2.go
--- a/target/lockd/svc.go
+++ b/target/lockd/svc2.go
@@ -4,3 +4,3 @@
 func Start() []string {
-	return []string{"create", "store", "wake"}
+	return []string{which}
 }
`)})
	if err != nil {
		t.Fatal(err)
	}
	if steps, err := run(t, v, "", time.Minute); err != nil || !slices.Equal(steps, []string{"new"}) {
		t.Errorf("got %q, %v", steps, err)
	}
	if after := contents(t, root); !slices.Equal(after, before) {
		t.Errorf("the tree has changed: %q", after)
	}
	if out, err := v.Go(t.Context(), "vet", "./target/lockd").CombinedOutput(); err != nil {
		t.Errorf("another go command: %v: %s", err, out)
	}
}

// Builds run ahead as far as they may, nobody waits for those that were not asked for, and what all are done with goes.
func TestPoolAhead(t *testing.T) {
	root := fake(t)
	p := pool(t, root, Options{Parallel: 1, Ahead: 1})
	request := func(id string) Request { return Request{Mutant: patch(t, id, goodDiff)} }
	for _, id := range []string{"a", "b", "c", "c"} {
		p.Start(request(id))
	}
	get := func(id string) *Variant {
		t.Helper()
		v, err := p.Get(t.Context(), request(id))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	gone := func(v *Variant) bool {
		_, err := os.Stat(filepath.Dir(v.Binary))
		return errors.Is(err, fs.ErrNotExist)
	}
	c := get("c") // before its turn
	if now, ready := p.Building(); now+ready > 1 {
		t.Errorf("%d are built and %d ready, and only one is to be", now, ready)
	}
	p.Done(request("c"))
	if gone(c) {
		t.Error("one of two is done with it, and it is gone")
	}
	p.Done(request("c"))
	if !gone(c) {
		t.Error("both are done with it, and it is there")
	}
	a, b := get("a"), get("b")
	p.Done(request("a"))
	if !gone(a) || gone(b) {
		t.Errorf("a is gone: %t, b is gone: %t", gone(a), gone(b))
	}
	if again := get("a"); gone(again) {
		t.Error("it was not built again")
	}
	p.Start(request("d"))
	p.Done(request("d")) // whether it is being built or not
	if now, ready := p.Building(); ready != 0 || now > 1 {
		t.Errorf("%d are built and %d ready for nobody", now, ready)
	}
}

func TestPoolFaults(t *testing.T) {
	root := fake(t)

	t.Run("build timeout", func(t *testing.T) {
		p := pool(t, root, Options{BuildTimeout: time.Nanosecond})
		_, err := p.Get(t.Context(), Request{Mutant: patch(t, "slow", goodDiff)})
		if word, why, _ := JudgeError(err); word != BROKEN || !strings.Contains(why, "the build took longer than 1ns") {
			t.Errorf("got %s, %s", word, why)
		}
	})

	t.Run("closed", func(t *testing.T) {
		p := pool(t, root, Options{Parallel: 1})
		p.Start(Request{})
		p.Start(Request{Mutant: patch(t, "a", goodDiff)})
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Get(t.Context(), Request{Mutant: patch(t, "b", goodDiff)}); err == nil {
			t.Error("a closed pool built something")
		}
		if _, err := os.Stat(p.folder.Dir); err == nil {
			t.Error("the scratch folder is still there")
		}
	})

	for what, broken := range map[string]func(t *testing.T){
		"the race detector needs a C compiler (go: -race requires cgo": func(t *testing.T) { t.Setenv("CGO_ENABLED", "0") },
		"the race detector needs a C compiler (": func(t *testing.T) {
			t.Setenv("CGO_ENABLED", "1")
			t.Setenv("CC", filepath.Join(root, "no-such-compiler"))
		},
		"the go command is not found; put its folder into PATH": func(t *testing.T) { t.Setenv("PATH", root) },
	} {
		t.Run(what, func(t *testing.T) {
			p := pool(t, root, Options{})
			broken(t)
			_, err := p.Get(t.Context(), Request{Mutant: patch(t, "early", goodDiff), Race: true})
			var missing *MissingError
			if word, why, ok := JudgeError(err); ok || !errors.As(err, &missing) || !strings.HasPrefix(why, what) {
				t.Errorf("got %s, %s", word, why)
			}
		})
	}

	t.Run("the tree does not build", func(t *testing.T) {
		write(t, root, "target/lockd/bad.go", "package lockd\n\nvar x int = \"\"\n")
		p := pool(t, root, Options{})
		_, err := p.Get(t.Context(), Request{})
		const want = "the tree itself does not build: target/lockd/bad.go:3:13:"
		if word, why, ok := JudgeError(err); ok || !strings.Contains(why, want) {
			t.Errorf("got %s, %s", word, why)
		}
	})

	t.Run("no module", func(t *testing.T) {
		if _, err := NewPool(filepath.Join(root, "target"), Options{}); err == nil {
			t.Error("no error")
		}
		if at, err := FindRoot(filepath.Join(root, "target", "lockd")); err != nil || at != root {
			t.Errorf("got %q, %v, want %q", at, err, root)
		}
	})
}

func TestEnds(t *testing.T) {
	e := &ends{max: 8}
	for _, s := range []string{"ab", "cdef", "ghij", "k"} {
		if n, err := e.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := e.String(); got != "abcd\n...\nhijk" {
		t.Errorf("got %q", got)
	}
}
