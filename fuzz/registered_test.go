// SPDX-License-Identifier: MIT

package fuzz

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryTargetIsBuilt compares the targets with the places that must name each of them.
func TestEveryTargetIsBuilt(t *testing.T) {
	var want []string
	for _, target := range targets {
		want = append(want, strings.TrimPrefix(target.name, "Fuzz"))
	}
	slices.Sort(want)
	check := func(where string, found []string) {
		slices.Sort(found)
		found = slices.Compact(found)
		if !slices.Equal(found, want) {
			t.Errorf("%s: has %v, want %v", where, found, want)
		}
	}
	out, err := exec.Command("go", "test", "-list", "^Fuzz", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	grep := func(text, pattern string) (found []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		return found
	}
	check("go test -list", grep(string(out), `(?m)^Fuzz(\w+)$`))
	for file, pattern := range map[string]string{
		"raw.go":            `func Raw(\w+)\(`,
		"libfuzzer/main.go": `fuzz\.Raw(\w+)`,
		"oss-fuzz/local.sh": `\bFuzz([A-Z]\w+)`,
	} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		check(file, grep(string(data), pattern))
	}
	data, err := os.ReadFile("oss-fuzz/build.sh")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`for target in (.*); do`).FindSubmatch(data)
	if list == nil {
		t.Fatal("oss-fuzz/build.sh: no list of targets")
	}
	check("oss-fuzz/build.sh", strings.Fields(string(list[1])))
}
