// SPDX-License-Identifier: MIT

//go:build browser && !race

package report

// The page in a real browser: make install-browser browser-test. The page is put into a frame of the wanted width, and
// does what a person would; a script that is added to it looks at what comes of that, and the outer page hands its
// answer over as the document that chromium prints.

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/browser.js
var browserJS string

// browserName is what CHROMIUM says, or what Debian calls it.
func browserName() string {
	if name := os.Getenv("CHROMIUM"); name != "" {
		return name
	}
	return "chromium"
}

// answer is what the script in the page found.
type answer struct {
	Width    int      `json:"width"`
	Dark     bool     `json:"dark"`
	Checks   int      `json:"checks"`
	Failures []string `json:"failures"`
	Texts    int      `json:"texts"` // whose contrast was looked at
	Worst    float64  `json:"worst"`
}

// browse runs a page in a frame of the given width and returns the answer and what URLs were asked for.
func browse(t *testing.T, page string, width int, dark bool) (answer, []string) {
	t.Helper()
	dir := t.TempDir()
	watch := `<script>window.problems=[];addEventListener("error",e=>problems.push(String(e.message)));` +
		`addEventListener("unhandledrejection",e=>problems.push(String(e.reason)));` +
		`addEventListener("securitypolicyviolation",e=>problems.push("policy: "+e.blockedURI));` +
		`for(const k of ["error","warn"]){console[k]=(...a)=>problems.push(a.join(" "))}</script>`
	page = strings.Replace(page, "<head>", "<head>"+watch, 1)
	page = strings.Replace(page, "</body>", "<script>"+browserJS+"</script></body>", 1)
	outer := fmt.Sprintf(`<!DOCTYPE html><meta name="color-scheme" content="light dark"><iframe src="page.html" style="border:0" width="%d" height="900">`+
		`</iframe><pre id="answer"></pre><script>addEventListener("message",e=>{document.getElementById("answer").textContent=e.data})</script>`, width)
	for name, text := range map[string]string{"page.html": page, "outer.html": outer} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	scheme := 1
	if dark {
		scheme = 0
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	netlog := filepath.Join(dir, "net.json")
	cmd := exec.CommandContext(ctx, browserName(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+filepath.Join(dir, "profile"),
		"--window-size=1400,1000", "--virtual-time-budget=20000", fmt.Sprintf("--blink-settings=preferredColorScheme=%d", scheme),
		"--log-net-log="+netlog, "--net-log-capture-mode=Everything", "--dump-dom", "file://"+filepath.Join(dir, "outer.html"))
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v; install it with make install-browser, or name another one in CHROMIUM\n%s", browserName(), err, stderr.String())
	}
	m := regexp.MustCompile(`(?s)<pre id="answer">(.*?)</pre>`).FindStringSubmatch(out.String())
	if m == nil || m[1] == "" {
		t.Fatalf("the page gives no answer:\n%s\n%s", out.String(), stderr.String())
	}
	var a answer
	if err := json.Unmarshal([]byte(html.UnescapeString(m[1])), &a); err != nil {
		t.Fatalf("%v: %s", err, m[1])
	}
	return a, requests(t, netlog)
}

// requests lists what pages asked the network for, from chromium's log of it: an event a line.
func requests(t *testing.T, netlog string) (urls []string) {
	t.Helper()
	log, err := os.ReadFile(netlog)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		var event struct {
			Params struct{ Initiator, URL string }
		}
		if json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimSpace(line), ",")), &event) != nil {
			continue // the frame around the events
		}
		by := event.Params.Initiator
		if by == "" || by == "not an origin" || strings.HasPrefix(by, "chrome") {
			continue // the browser's own doing
		}
		if !strings.HasPrefix(event.Params.URL, "file:") && !strings.HasPrefix(event.Params.URL, "data:") {
			urls = append(urls, event.Params.URL)
		}
	}
	return urls
}

func TestBrowser(t *testing.T) {
	pages := map[string]string{"real": rendered(t, realFailure(t)), "race": rendered(t, race()), "long": rendered(t, long())}
	for name, page := range pages {
		for _, width := range []int{1280, 390} {
			for _, dark := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/dark=%t", name, width, dark), func(t *testing.T) {
					a, urls := browse(t, page, width, dark)
					for _, failure := range a.Failures {
						t.Error(failure)
					}
					if len(urls) > 0 {
						t.Errorf("the page asks for %v", urls)
					}
					if a.Width != width || a.Dark != dark || a.Checks < 20 || a.Texts < 40 {
						t.Errorf("%+v", a)
					}
					if a.Worst < 4.5 {
						t.Errorf("the worst contrast is %.2f", a.Worst)
					}
				})
			}
		}
	}
}

// A request that the page's own policy does not stop is seen as well.
func TestBrowserSeesRequests(t *testing.T) {
	page := strings.Replace(rendered(t, race()), "img-src data:", "img-src *", 1)
	page = strings.Replace(page, "</body>", `<img src="http://localhost:1/x.png"></body>`, 1)
	if _, urls := browse(t, page, 1280, false); fmt.Sprint(urls) == "[]" {
		t.Error("nobody has seen the request")
	}
}

// The test itself notices what it is there to notice.
func TestBrowserNotices(t *testing.T) {
	page := rendered(t, race())
	for what, broken := range map[string]string{
		"an error":        strings.Replace(page, "</body>", "<script>nobody.knows()</script></body>", 1),
		"a request":       strings.Replace(page, "</body>", `<img src="http://localhost:1/x.png"></body>`, 1),
		"lost task names": strings.Replace(page, "position: sticky; top: 0", "position: static; top: 0", 1),
		"faint text":      strings.Replace(page, "--dim: #5b6168", "--dim: #b5bbc0", 1),
		"a dead fold":     strings.Replace(page, "setFold(button.dataset.of, button", "void (button.dataset.of, button", 1),
		"a dead step":     strings.Replace(page, "show(Number(", "void (Number(", 1),
		"a wide element":  strings.Replace(page, "<header>", `<header><div style="width:1500px">x</div>`, 1),
	} {
		t.Run(what, func(t *testing.T) {
			if broken == page {
				t.Fatal("nothing was broken")
			}
			if a, urls := browse(t, broken, 390, false); len(a.Failures) == 0 && len(urls) == 0 {
				t.Errorf("%+v", a)
			}
		})
	}
}
