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

// What is handed in to OSS-Fuzz names somebody who reads mail, or is not written.
func TestPackage(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/projects", 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(contact string) (string, error) {
		cmd := exec.Command("oss-fuzz/package.sh", dir)
		cmd.Env = append(os.Environ(), "OSS_FUZZ_CONTACT="+contact)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for contact, want := range map[string]string{
		"":                  "package.sh: OSS_FUZZ_CONTACT is not set; set it to",
		"nobody":            "package.sh: OSS_FUZZ_CONTACT=nobody is no address; set it to",
		"a@b.example":       "package.sh: OSS_FUZZ_CONTACT=a@b.example takes no mail; set it to",
		"a@noreply.b.org":   "package.sh: OSS_FUZZ_CONTACT=a@noreply.b.org takes no mail; set it to",
		"a\"b@c.org\nx: \"": "is no address; set it to",
	} {
		if out, err := run(contact); err == nil || !strings.Contains(out, want) {
			t.Errorf("%q: %v, %q, want %q", contact, err, out, want)
		}
	}
	if out, err := run("committer@gmail.com"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(dir + "/projects/svcfuzz/project.yaml")
	if err != nil || !strings.Contains(string(data), "\nprimary_contact: \"committer@gmail.com\"\nlanguage: go\n") {
		t.Errorf("%v: %s", err, data)
	}
}
