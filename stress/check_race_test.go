// SPDX-License-Identifier: MIT

//go:build race

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCheckRace has a change leave a lock, at a field at which tasks do not interleave.
func TestCheckRace(t *testing.T) {
	const early = `diff --git a/target/lockd/svc.go b/target/lockd/svc.go
--- a/target/lockd/svc.go
+++ b/target/lockd/svc.go
@@ -392,7 +392,9 @@ func (l *Lockd) LockdUp(cur *kernel.Task, net *sock.Net) int {
 		goto errStart
 	}
 
+	l.NlmsvcMutex.Unlock(cur)
 	l.NlmsvcUsers++
+	l.NlmsvcMutex.Lock(cur)
 	// From here on the thread's reference keeps the service; ours goes, whether we succeeded or not.
 errNet:
 	sunrpc.SvcDestroy(cur, serv)
`
	junit := filepath.Join(t.TempDir(), "junit.xml")
	code, out, errs := stress(t, tree, "check", put(t, "early.patch", early), "careless-admin", "second-net",
		"--schedules", "300", "--seed", "1", "--race", "--findings", t.TempDir(), "--junit", junit)
	for _, want := range []string{
		`(?m)^clean careless-admin: .* 200 schedules drawn by pct under the race detector$`,
		`(?m)^FAIL second-net: race detector: .*\n(?s:.*)^read in\n  lockd.*LockdUp +target/lockd/svc.go:\d+\n`,
		`(?m)^again:   go run ./stress check .* second-net --race --seed 1 --era 3.19 `,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("it does not say %q", want)
		}
	}
	if xml, err := os.ReadFile(junit); err != nil || !strings.Contains(string(xml), "previous write in") {
		t.Errorf("the JUnit file does not say where: %v\n%s", err, xml)
	}
	if code != exitFinding || strings.Contains(out, "SICK") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}
