package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// shotsVariable names a folder where the tests leave pictures of the page, for
// people to look at.
const shotsVariable = "OMPS_SCREENSHOTS"

// browser is a real one. What it complains of is a failure of the test.
type browser struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // it is what chromedp calls a browser

	mu       sync.Mutex
	problems []string
}

// newBrowser starts a browser, or skips the test where there is none.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no chromium on this machine (Debian: apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, // its folder is a new one
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(patience))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	limited, cancelLimit := context.WithTimeout(allocator, 4*patience)
	t.Cleanup(cancelLimit)
	b := &browser{t: t}
	var cancelTab context.CancelFunc
	b.ctx, cancelTab = chromedp.NewContext(limited)
	t.Cleanup(func() {
		_ = chromedp.Cancel(b.ctx) // and waits for its end
		cancelTab()
	})
	chromedp.ListenTarget(b.ctx, b.hear)
	b.do(log.Enable(), runtime.Enable())
	return b
}

// hear notes what no page of ours may cause.
func (b *browser) hear(event any) {
	problem := ""
	switch e := event.(type) {
	case *cdpage.EventJavascriptDialogOpening:
		problem = "a dialog: " + e.Message
	case *runtime.EventExceptionThrown:
		problem = "an exception: " + e.ExceptionDetails.Error()
	case *log.EventEntryAdded:
		if strings.Contains(e.Entry.Text, "Content Security Policy") {
			problem = e.Entry.Text
		}
	}
	if problem != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.problems = append(b.problems, problem)
	}
}

func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.t.Fatalf("browser: %v", err)
	}
}

// is waits until an expression of JavaScript is true, on this page or on the
// one that is being loaded.
func (b *browser) is(expression string) {
	b.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var isTrue bool
		err := chromedp.Run(b.ctx, chromedp.Evaluate(expression, &isTrue))
		if err == nil && isTrue {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			var text string
			_ = chromedp.Run(b.ctx, chromedp.Evaluate(`document.body.innerText`, &text))
			b.t.Fatalf("never true: %s: %v\n%s", expression, err, text)
		}
	}
}

// quiet fails the test where the browser complained.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, problem := range b.problems {
		b.t.Error(problem)
	}
}

// look sets the size of the window and the colours that somebody likes.
func (b *browser) look(width, height int64, scheme string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
}

// shoot leaves a picture where the environment names a folder for it.
func (b *browser) shoot(name string) {
	b.t.Helper()
	folder := os.Getenv(shotsVariable)
	if folder == "" {
		return
	}
	var window, whole []byte
	b.do(chromedp.CaptureScreenshot(&window), chromedp.FullScreenshot(&whole, 100))
	for end, picture := range map[string][]byte{".png": window, "-whole.png": whole} {
		if err := os.WriteFile(filepath.Join(folder, name+end), picture, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
}

// fits fails the test where the page is wider than its window.
func (b *browser) fits(what string) {
	b.t.Helper()
	var over int
	b.do(chromedp.Evaluate(`document.documentElement.scrollWidth - document.documentElement.clientWidth`, &over))
	if over > 0 {
		b.t.Errorf("%s is %d pixels wider than the window", what, over)
	}
}

// tell stores results.
func (s *system) tell(results ...events.ResultData) {
	s.t.Helper()
	js := s.jetStream()
	for i, d := range results {
		if d.DurationsMS == nil {
			d.DurationsMS = map[pipeline.StageName]int64{}
		}
		data, err := json.Marshal(map[string]any{
			"specversion": "1.0", "id": fmt.Sprintf("told-%s-%d", d.NVR, i), "source": "/test",
			"type": "org.koji.operator-manifests." + string(d.Outcome) + ".v1", "data": d,
		})
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := js.Publish(s.t.Context(), events.ResultSubject(d.Outcome, d.Organization, d.Package), data); err != nil {
			s.t.Fatal(err)
		}
	}
}

const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>`

// hostileResult is a result whose every text tries something.
func hostileResult() events.ResultData {
	return events.ResultData{
		NVR: evil + "-1-1", Organization: "my\u202egro" + evil, Package: evil, Outcome: pipeline.OutcomeRejected,
		Repository: "javascript:alert(3)/" + evil, Warnings: []string{evil, "\x1b[31mred"}, Files: []string{"../" + evil},
		Bundles:      []pipeline.PushedBundle{{Version: evil, CSV: evil, Repository: "javascript:alert(4)/x", Reference: `javascript:alert(5)@"x`, Tags: []string{evil}, Channels: []string{evil}}},
		Decision:     &pipeline.Decision{Summary: evil, Unsatisfied: []pipeline.Requirement{{Type: evil, Testcase: evil, Details: evil}}},
		Error:        &events.ErrorData{Reason: pipeline.Reason(evil), Message: strings.Repeat(evil+" ", 40), Faults: []string{strings.Repeat("x", 2000)}},
		Replacements: []pipeline.Replacement{{Old: evil, New: evil, Count: 1, Changes: []pipeline.Change{{File: evil, Before: evil, After: evil}}}},
		Archive:      &events.ArchiveData{Name: evil, Checksum: evil}, Tries: 3,
		DurationsMS: map[pipeline.StageName]int64{"lookup": 3, "gate": 900},
		Trigger:     events.TriggerData{ID: evil, Source: "javascript:alert(6)", Type: evil},
	}
}

func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := newSystem(t, sandbox.Options{}, "")
	b.look(1280, 900, "light")
	b.do(chromedp.Navigate(s.ops + "/"))
	b.is(`document.body.innerText.includes("Nothing was published yet.")`)
	b.is(`document.getElementById("live-text").textContent === "Live"`)
	b.shoot("empty")

	// A build appears while the page is open, which is not loaded again.
	b.do(chromedp.Evaluate(`window.stayed = true`, nil))
	s.announce(sandbox.SampleNVR)
	b.is(`[...document.querySelectorAll(".row.published .name")].some((n) => n.textContent.includes("` + sandbox.SampleNVR + `")) && window.stayed`)
	b.is(`document.getElementById("spoken").textContent.includes("` + sandbox.SampleNVR + ` published for myorg")`)
	b.is(`document.querySelector("#chart .totals .published b").textContent === "1"`)
	s.announce(sandbox.WaitingNVR)
	b.is(`document.getElementById("pending").textContent.includes("` + sandbox.WaitingNVR + `")`)

	// Whoever reads is not disturbed: what is new waits behind a button.
	b.do(chromedp.Focus(".row .name a"))
	s.announce(sandbox.RejectedNVR)
	b.is(`!document.getElementById("fresh").hidden && document.getElementById("fresh").textContent === "1 new"`)
	b.do(chromedp.Click("#fresh"))
	b.is(`document.querySelector(".row .name").textContent.includes("` + sandbox.RejectedNVR + `") && window.stayed`)

	// A filter is an address, and leaves out what was not asked for.
	b.do(chromedp.SendKeys(`[name=nvr]`, "sample-*-3"), chromedp.Click(`.filter [type=submit]`))
	b.is(`document.querySelectorAll("#list .row").length === 1 && document.querySelector("#list .row.waiting") !== null`)
	b.is(`location.search === "?nvr=sample-*-3"`)

	// From there to all about one build.
	b.do(chromedp.Click(`#list .name a`))
	b.is(`document.querySelector("h1").textContent === "` + sandbox.WaitingNVR + `"`)
	b.is(`document.body.innerText.includes("test-result-missing")`)
	b.fits("a build")
	b.shoot("build-waiting")
	b.do(chromedp.Navigate(s.ops + buildAddress("myorg", sandbox.SampleNVR, 0)))
	b.is(`document.querySelector(".copied code").textContent.includes("@sha256:") && !document.querySelector(".copy").hidden`)
	b.do(chromedp.Click(".copy"))
	b.is(`getSelection().toString() === document.querySelector(".copied code").textContent`)
	b.shoot("build")
	b.quiet()
}

func TestPageShowsHostileNamesAsTheyAre(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := newSystem(t, sandbox.Options{}, "")
	s.tell(hostileResult())
	s.publish("koji.build.completed", evil, nil) // a dead letter
	b.look(390, 844, "dark")
	b.do(chromedp.Navigate(s.ops + "/"))
	b.is(`document.querySelector(".row .name").textContent.includes("<script>alert(1)</script>")`)
	b.is(`document.querySelector(".row .org").textContent.includes("\\u202e")`)
	b.is(`document.getElementById("dead").textContent.includes("unreadable-event")`)
	b.fits("a list on a phone")
	b.do(chromedp.Navigate(s.ops + "/results/1"))
	b.is(`document.querySelector("h1").textContent.includes("<script>alert(1)</script>")`)
	b.fits("a result on a phone")
	b.shoot("hostile")
	b.is(`[...document.querySelectorAll("a")].every((a) => a.protocol === "http:" || a.protocol === "https:")`)
	b.is(`document.querySelectorAll("script").length === 1 && document.querySelectorAll("img, [style], [onerror]").length === 0`)
	b.quiet()
}

func TestPageLooks(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	ops := busyPage(t)
	for _, c := range []struct {
		name          string
		width, height int64
		scheme        string
		ground        string
	}{
		{"desktop-light", 1280, 900, "light", "rgb(245, 246, 248)"},
		{"desktop-dark", 1280, 900, "dark", "rgb(15, 18, 23)"},
		{"phone-light", 390, 844, "light", "rgb(245, 246, 248)"},
		{"phone-dark", 390, 844, "dark", "rgb(15, 18, 23)"},
		{"narrow", 320, 640, "light", "rgb(245, 246, 248)"},
	} {
		b.look(c.width, c.height, c.scheme)
		b.do(chromedp.Navigate(ops + "/"))
		b.is(`document.querySelectorAll("#list .row").length === 50 && document.querySelector("#dead .count") !== null`)
		b.is(`getComputedStyle(document.body).backgroundColor === "` + c.ground + `"`)
		b.fits(c.name)
		b.shoot(c.name)
	}
	b.look(1280, 900, "light")
	b.do(chromedp.Navigate(ops + "/?span=week"))
	b.shoot("week")

	// All of it works without script.
	b.do(emulation.SetScriptExecutionDisabled(true), chromedp.Navigate(ops+"/?outcome=rejected"))
	var rows, other int
	var hidden bool
	b.do(chromedp.Evaluate(`document.querySelectorAll("#list .row.rejected").length`, &rows),
		chromedp.Evaluate(`document.querySelectorAll("#list .row:not(.rejected)").length`, &other),
		chromedp.Evaluate(`document.getElementById("live").hidden`, &hidden))
	if rows == 0 || other != 0 || !hidden {
		t.Errorf("without script %d rejected and %d other rows, and what takes script is hidden: %t", rows, other, hidden)
	}
	b.do(chromedp.Navigate(ops+"/"), chromedp.Click(`.pages [rel=next]`, chromedp.NodeVisible))
	b.is(`location.search.startsWith("?before=") && document.querySelectorAll("#list .row").length === 50`)
	b.quiet()
}
